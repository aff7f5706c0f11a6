"""Answers to webhooks: they tell a provider to open a media socket, with a token.

Each function makes the answer for one provider. The token goes where that provider hands custom
values on: to the first message of the socket. Only Exotel takes them from the socket's address,
which proxies log; there, as everywhere, the token is void once the call has begun.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode
from xml.etree import ElementTree as Xml

ENDED = "/telephony/jambonz/ended"
"""Path that jambonz asks at the end of a stream; an empty answer lets it hang up."""


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """The answer to a webhook: the body and its media type."""

    media_type: str
    body: str


def twiml(url: str, token: str, after: str | None = None) -> WebhookAnswer:
    """TwiML for Twilio and SignalWire: ``<Connect>``, because ``<Start>`` streams one way only.

    (twilio.com/docs/voice/twiml/stream; a query in ``url`` is refused there, error 31920)

    Args:
        after: address that is asked what comes next once the stream has ended; None: nothing does.
    """
    response = Xml.Element("Response")
    stream = Xml.SubElement(Xml.SubElement(response, "Connect"), "Stream", {"url": url})
    Xml.SubElement(stream, "Parameter", {"name": "token", "value": token})
    _go_on(response, after)
    return _xml(response)


def texml(url: str, token: str, after: str | None = None) -> WebhookAnswer:
    """TeXML for Telnyx, in ``rtp`` mode: otherwise the stream takes MP3 only.

    (developers.telnyx.com, "TeXML Stream")
    """
    response = Xml.Element("Response")
    attributes = {"url": url, "bidirectionalMode": "rtp", "bidirectionalCodec": "PCMU"}
    stream = Xml.SubElement(Xml.SubElement(response, "Connect"), "Stream", attributes)
    Xml.SubElement(stream, "Parameter", {"name": "token", "value": token})
    _go_on(response, after)
    return _xml(response)


def plivo_xml(url: str, token: str, rate: int, after: str | None = None) -> WebhookAnswer:
    """XML for Plivo. (plivo.com/docs, "Audio streaming XML"; extra headers: letters and digits)

    Args:
        rate: samples per second of 16-bit audio; 8000 or 16000.
    """
    response = Xml.Element("Response")
    attributes = {
        "bidirectional": "true",
        "keepCallAlive": "true",
        "contentType": f"audio/x-l16;rate={rate}",
        "extraHeaders": f"token={token}",
    }
    Xml.SubElement(response, "Stream", attributes).text = url
    _go_on(response, after)
    return _xml(response)


def ncco(url: str, token: str, rate: int, call_id: str, after: str | None = None) -> WebhookAnswer:
    """NCCO for Vonage. (developer.vonage.com, "NCCO reference", "WebSockets")

    Args:
        rate: samples per second of 16-bit audio; 8000 or 16000.
        call_id: comes back in the first message, which has no id of its own.
        after: address whose answer replaces the NCCO once the stream has ended; None: the call
            ends then. (developer.vonage.com, "NCCO reference", "Notify")
    """
    endpoint = {
        "type": "websocket",
        "uri": url,
        "content-type": f"audio/l16;rate={rate}",
        "headers": {"token": token, "uuid": call_id},
    }
    actions: list[Mapping[str, object]] = [{"action": "connect", "endpoint": [endpoint]}]
    if after is not None:
        # What Vonage sends then does not name the call.
        where = f"{after}?{urlencode({'uuid': call_id})}"
        notify = {"action": "notify", "payload": {}, "eventUrl": [where], "eventMethod": "POST"}
        actions.append(notify)
    return _json(actions)


def jambonz_verbs(url: str, token: str, rate: int, after: str | None = None) -> WebhookAnswer:
    """Verbs for jambonz, with ``streaming``: otherwise it drops the audio of the agent.

    (docs.jambonz.org, "listen")

    Args:
        after: address that is asked what comes next once the stream has ended; None: nothing does.
    """
    listen = {
        "verb": "listen",
        "url": url,
        "actionHook": after or ENDED,
        "mixType": "mono",
        "sampleRate": rate,
        "passDtmf": True,
        "bidirectionalAudio": {"enabled": True, "streaming": True, "sampleRate": rate},
        "metadata": {"token": token},
    }
    return _json([{"verb": "answer"}, listen, {"verb": "hangup"}])


def exotel_url(url: str, token: str, rate: int) -> WebhookAnswer:
    """Dynamic URL for Exotel's Voicebot applet; its query comes back as custom parameters.

    (developer.exotel.com, "Stream and Voicebot applet")
    """
    return _json({"url": f"{url}?sample-rate={rate}&token={token}"})


def dial_xml(destination: str | None) -> WebhookAnswer:
    """What comes after the stream at Twilio, SignalWire and Telnyx: a call, or the end."""
    response = Xml.Element("Response")
    if destination is None:
        Xml.SubElement(response, "Hangup")
    elif _is_sip(destination):
        Xml.SubElement(Xml.SubElement(response, "Dial"), "Sip").text = destination
    else:
        Xml.SubElement(response, "Dial").text = destination
    return _xml(response)


def plivo_dial_xml(destination: str | None) -> WebhookAnswer:
    """What comes after the stream at Plivo: a call, or the end."""
    response = Xml.Element("Response")
    if destination is None:
        Xml.SubElement(response, "Hangup")
    else:
        kind = "User" if _is_sip(destination) else "Number"
        Xml.SubElement(Xml.SubElement(response, "Dial"), kind).text = destination
    return _xml(response)


def connect_ncco(destination: str | None) -> WebhookAnswer:
    """What comes after the stream at Vonage: a call, or the end."""
    if destination is None:
        return _json([])
    endpoint = {"type": "phone", "number": destination.removeprefix("+")}
    if _is_sip(destination):
        endpoint = {"type": "sip", "uri": destination}
    return _json([{"action": "connect", "endpoint": [endpoint]}])


def jambonz_dial(destination: str | None) -> WebhookAnswer:
    """What comes after the stream at jambonz: a call, or the end."""
    if destination is None:
        return _json([])
    target = {"type": "phone", "number": destination}
    if _is_sip(destination):
        target = {"type": "sip", "sipUri": destination}
    return _json([{"verb": "dial", "target": [target]}])


def plain(destination: str | None) -> WebhookAnswer:
    """What comes after the stream for a dialplan: the destination as text, empty for the end."""
    return WebhookAnswer("text/plain", destination or "")


def _is_sip(destination: str) -> bool:
    return destination.startswith(("sip:", "sips:"))


def _go_on(response: Xml.Element, after: str | None) -> None:
    if after is not None:
        Xml.SubElement(response, "Redirect", {"method": "POST"}).text = after


def _xml(root: Xml.Element) -> WebhookAnswer:
    text = Xml.tostring(root, encoding="unicode")
    return WebhookAnswer("text/xml", f'<?xml version="1.0" encoding="UTF-8"?>{text}')


def _json(body: list[Mapping[str, object]] | Mapping[str, object]) -> WebhookAnswer:
    return WebhookAnswer("application/json", json.dumps(body))
