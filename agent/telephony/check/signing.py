"""Webhooks signed as the providers sign them, and the reading of our answers.

For ``onebreath telephony-check``. Telnyx alone has the private key that it signs with,
so its webhooks cannot be made here.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, urlencode, urlsplit
from xml.etree import ElementTree as Xml

import jwt
from pydantic import SecretStr

from agent.config.telephony import TelephonySettings
from agent.errors import ProtocolError
from agent.telephony.access.signatures import FORM, SignedRequest, plivo_signature, twilio_signature


@dataclass(frozen=True, slots=True)
class MediaAddress:
    """The media socket that an answer tells the provider to open."""

    url: str
    token: str


def signed_webhook(
    provider: str, settings: TelephonySettings, call_id: str, now: float
) -> SignedRequest | None:
    """The webhook request of ``provider`` for a call; None where only the provider can sign.

    Args:
        now: seconds since 1970.
    """
    url = f"{settings.public_url}/telephony/{provider}/answer"
    match provider:
        case "twilio" if settings.twilio:
            return _twilio(url, call_id, "x-twilio-signature", settings.twilio.auth_token)
        case "signalwire" if settings.signalwire:
            key = settings.signalwire.signing_key
            return _twilio(url, call_id, "x-signalwire-signature", key)
        case "plivo" if settings.plivo:
            return _plivo(url, call_id, settings.plivo.auth_token)
        case "vonage" if settings.vonage:
            application = settings.vonage.application_id
            return _vonage(url, call_id, settings.vonage.signature_secret, application, now)
        case "exotel" if settings.exotel:
            header = basic_header(settings.exotel.username, settings.exotel.password)
            return SignedRequest("GET", f"{url}?{urlencode({'CallSid': call_id})}", header)
        case "jambonz" if settings.jambonz:
            header = basic_header(settings.jambonz.username, settings.jambonz.password)
            body = json.dumps({"call_sid": call_id}).encode()
            return SignedRequest("POST", url, {**header, "content-type": "application/json"}, body)
        case _:
            return None


def read_answer(provider: str, body: str) -> MediaAddress:
    """Read URL and token from the answer to a webhook.

    Raises:
        ProtocolError: the answer opens no media socket.
    """
    readers: Mapping[str, Callable[[str], MediaAddress]] = {
        "plivo": _read_plivo_xml,
        "vonage": _read_ncco,
        "jambonz": _read_verbs,
        "exotel": _read_dynamic_url,
    }
    try:
        return readers.get(provider, _read_twiml)(body)
    except (Xml.ParseError, ValueError, LookupError, TypeError, AttributeError):
        raise ProtocolError(f"the answer opens no media socket: {body[:200]!r}") from None


def _twilio(url: str, call_id: str, header: str, secret: SecretStr) -> SignedRequest:
    fields = {"CallSid": call_id, "From": "+15550100", "To": "+15550101"}
    signature = twilio_signature(url, fields.items(), secret.get_secret_value())
    headers = {"content-type": FORM, header: signature}
    return SignedRequest("POST", url, headers, urlencode(fields).encode())


def _plivo(url: str, call_id: str, secret: SecretStr) -> SignedRequest:
    body = urlencode({"CallUUID": call_id, "From": "15550100", "To": "15550101"}).encode()
    request = SignedRequest("POST", url, {"content-type": FORM}, body)
    signature = plivo_signature(request, call_id, secret.get_secret_value())
    named = {"x-plivo-signature-v3": signature, "x-plivo-signature-v3-nonce": call_id}
    return replace(request, headers={**request.headers, **named})


def _vonage(
    url: str, call_id: str, secret: SecretStr, application: str | None, now: float
) -> SignedRequest:
    body = json.dumps({"uuid": call_id, "from": "15550100", "to": "15550101"}).encode()
    claims = {"iat": int(now), "jti": call_id, "iss": "Vonage"}
    claims |= {"application_id": application or "", "payload_hash": _sha256(body)}
    token = jwt.encode(claims, secret.get_secret_value(), "HS256")
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    return SignedRequest("POST", url, headers, body)


def basic_header(username: str, password: SecretStr) -> dict[str, str]:
    """The header of HTTP Basic authentication (RFC 7617)."""
    pair = f"{username}:{password.get_secret_value()}".encode()
    return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read_twiml(body: str) -> MediaAddress:
    stream = Xml.fromstring(body).findall("Connect/Stream")[0]
    return MediaAddress(stream.attrib["url"], stream.findall("Parameter")[0].attrib["value"])


def _read_plivo_xml(body: str) -> MediaAddress:
    stream = Xml.fromstring(body).findall("Stream")[0]
    return MediaAddress(stream.text or "", stream.attrib["extraHeaders"].partition("=")[2])


def _read_ncco(body: str) -> MediaAddress:
    endpoint = json.loads(body)[0]["endpoint"][0]
    return MediaAddress(endpoint["uri"], endpoint["headers"]["token"])


def _read_verbs(body: str) -> MediaAddress:
    listen = next(verb for verb in json.loads(body) if verb["verb"] == "listen")
    return MediaAddress(listen["url"], listen["metadata"]["token"])


def _read_dynamic_url(body: str) -> MediaAddress:
    parts = urlsplit(json.loads(body)["url"])
    token = parse_qs(parts.query)["token"][0]
    return MediaAddress(parts.geturl(), token)
