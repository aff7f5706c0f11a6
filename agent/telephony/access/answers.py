"""Answers to webhooks: they tell a provider to open a media socket, with a token.

Each function makes the answer for one provider. The token goes where that provider hands custom
values on: to the first message of the socket. Only Exotel takes them from the socket's address,
which proxies log; there, as everywhere, the token is void once the call has begun.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

ENDED = "/telephony/jambonz/ended"
"""Path that jambonz asks at the end of a stream; an empty answer lets it hang up."""


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """The answer to a webhook: the body and its media type."""

    media_type: str
    body: str


def twiml(url: str, token: str) -> WebhookAnswer:
    """TwiML for Twilio and SignalWire: ``<Connect>``, because ``<Start>`` streams one way only.

    (twilio.com/docs/voice/twiml/stream; a query in ``url`` is refused there, error 31920)
    """
    response = Xml.Element("Response")
    stream = Xml.SubElement(Xml.SubElement(response, "Connect"), "Stream", {"url": url})
    Xml.SubElement(stream, "Parameter", {"name": "token", "value": token})
    return _xml(response)


def texml(url: str, token: str) -> WebhookAnswer:
    """TeXML for Telnyx, in ``rtp`` mode: otherwise the stream takes MP3 only.

    (developers.telnyx.com, "TeXML Stream")
    """
    response = Xml.Element("Response")
    attributes = {"url": url, "bidirectionalMode": "rtp", "bidirectionalCodec": "PCMU"}
    stream = Xml.SubElement(Xml.SubElement(response, "Connect"), "Stream", attributes)
    Xml.SubElement(stream, "Parameter", {"name": "token", "value": token})
    return _xml(response)


def plivo_xml(url: str, token: str, rate: int) -> WebhookAnswer:
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
    return _xml(response)


def ncco(url: str, token: str, rate: int, call_id: str) -> WebhookAnswer:
    """NCCO for Vonage. (developer.vonage.com, "NCCO reference", "WebSockets")

    Args:
        rate: samples per second of 16-bit audio; 8000 or 16000.
        call_id: comes back in the first message, which has no id of its own.
    """
    endpoint = {
        "type": "websocket",
        "uri": url,
        "content-type": f"audio/l16;rate={rate}",
        "headers": {"token": token, "uuid": call_id},
    }
    return _json([{"action": "connect", "endpoint": [endpoint]}])


def jambonz_verbs(url: str, token: str, rate: int) -> WebhookAnswer:
    """Verbs for jambonz, with ``streaming``: otherwise it drops the audio of the agent.

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
    """Dynamic URL for Exotel's Voicebot applet; its query comes back as custom parameters.

    (developer.exotel.com, "Stream and Voicebot applet")
    """
    return _json({"url": f"{url}?sample-rate={rate}&token={token}"})


def _xml(root: Xml.Element) -> WebhookAnswer:
    text = Xml.tostring(root, encoding="unicode")
    return WebhookAnswer("text/xml", f'<?xml version="1.0" encoding="UTF-8"?>{text}')


def _json(body: list[Mapping[str, object]] | Mapping[str, object]) -> WebhookAnswer:
    return WebhookAnswer("application/json", json.dumps(body))
