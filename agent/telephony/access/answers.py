"""What a provider is told when a call comes in: open a media socket here, with this token.

Each function gives the body for one provider. The token goes where that provider hands custom
values on: to the first message of the socket. Only Exotel takes them from the socket's address,
which proxies log; there, as everywhere, the token is worth nothing once the call has begun.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

ENDED = "/telephony/jambonz/ended"
"""Path where jambonz asks what to do when the stream is over; it is told nothing, and hangs up."""


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """Body of a webhook's answer."""

    media_type: str
    body: str


def twiml(url: str, token: str) -> WebhookAnswer:
    """Twilio and SignalWire. ``<Connect>`` and not ``<Start>``, whose stream only listens.

    (twilio.com/docs/voice/twiml/stream; a query in ``url`` is refused there, error 31920)
    """
    response = Xml.Element("Response")
    stream = Xml.SubElement(Xml.SubElement(response, "Connect"), "Stream", {"url": url})
    Xml.SubElement(stream, "Parameter", {"name": "token", "value": token})
    return _xml(response)


def texml(url: str, token: str) -> WebhookAnswer:
    """Telnyx. Without ``rtp`` mode the stream takes MP3 only, and our sound would be dropped.

    (developers.telnyx.com, "TeXML Stream")
    """
    response = Xml.Element("Response")
    attributes = {"url": url, "bidirectionalMode": "rtp", "bidirectionalCodec": "PCMU"}
    stream = Xml.SubElement(Xml.SubElement(response, "Connect"), "Stream", attributes)
    Xml.SubElement(stream, "Parameter", {"name": "token", "value": token})
    return _xml(response)


def plivo_xml(url: str, token: str, rate: int) -> WebhookAnswer:
    """Plivo. (plivo.com/docs, "Audio streaming XML"; extra headers: letters and digits only)

    Args:
        rate: of 16-bit sound; 8000 or 16000.
    """
    response = Xml.Element("Response")
    attributes = {
        "bidirectional": "true",
        "keepCallAlive": "true",
        "contentType": f"audio/x-l16;rate={rate}",
        "extraHeaders": f"token={token}",
    }
    Xml.SubElement(response, "Stream", attributes).text = url
    return _xml(response)


def ncco(url: str, token: str, rate: int, call_id: str) -> WebhookAnswer:
    """Vonage. (developer.vonage.com, "NCCO reference", "WebSockets")

    Args:
        rate: of 16-bit sound; 8000 or 16000.
        call_id: comes back in the first message, which otherwise names no call.
    """
    endpoint = {
        "type": "websocket",
        "uri": url,
        "content-type": f"audio/l16;rate={rate}",
        "headers": {"token": token, "uuid": call_id},
    }
    return _json([{"action": "connect", "endpoint": [endpoint]}])


def jambonz_verbs(url: str, token: str, rate: int) -> WebhookAnswer:
    """jambonz. Without ``streaming`` the sound that is sent back is dropped.

    (docs.jambonz.org, "listen")
    """
    listen = {
        "verb": "listen",
        "url": url,
        "actionHook": ENDED,
        "mixType": "mono",
        "sampleRate": rate,
        "passDtmf": True,
        "bidirectionalAudio": {"enabled": True, "streaming": True, "sampleRate": rate},
        "metadata": {"token": token},
    }
    return _json([{"verb": "answer"}, listen, {"verb": "hangup"}])


def exotel_url(url: str, token: str, rate: int) -> WebhookAnswer:
    """Exotel's Voicebot applet with a dynamic URL, whose query comes back as custom parameters.

    (developer.exotel.com, "Stream and Voicebot applet")
    """
    return _json({"url": f"{url}?sample-rate={rate}&token={token}"})


def _xml(root: Xml.Element) -> WebhookAnswer:
    text = Xml.tostring(root, encoding="unicode")
    return WebhookAnswer("text/xml", f'<?xml version="1.0" encoding="UTF-8"?>{text}')


def _json(body: list[Mapping[str, object]] | Mapping[str, object]) -> WebhookAnswer:
    return WebhookAnswer("application/json", json.dumps(body))
