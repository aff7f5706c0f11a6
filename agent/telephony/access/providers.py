"""The webhook of each provider: its verification, its field of the call's id, its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.config.telephony import (
    AsteriskSettings,
    ExotelSettings,
    JambonzSettings,
    PlivoSettings,
    SignalWireSettings,
    TelephonySettings,
    TelnyxSettings,
    TwilioSettings,
    VonageSettings,
)
from agent.telephony.access import answers
from agent.telephony.access.answers import WebhookAnswer
from agent.telephony.access.signatures import (
    SignedRequest,
    verify_basic,
    verify_plivo,
    verify_telnyx,
    verify_twilio,
    verify_vonage,
)

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class ProviderWebhook:
    """The webhook of one provider.

    Attributes:
        verify: raises ``SignatureError`` unless the provider signed the request.
        call_id: name of the field with the call's id, as the media stream will give it too.
        answer: makes the answer from the media socket's URL, the token, the call's id, and the
            address that is asked after the stream (None: nothing comes after it).
        next: makes the answer there from a destination; None for the end of the call. None where
            the provider cannot be told so.
    """

    verify: Callable[[SignedRequest], None]
    call_id: str
    answer: Callable[[str, str, str, str | None], WebhookAnswer]
    next: Callable[[str | None], WebhookAnswer] | None = None


def provider_webhooks(settings: TelephonySettings, wall: Clock) -> Mapping[str, ProviderWebhook]:
    """The webhooks by provider, of all providers with a section in the settings.

    Args:
        wall: clock in seconds since 1970.
    """
    found = {
        "twilio": settings.twilio and _twilio(settings.twilio),
        "signalwire": settings.signalwire and _signalwire(settings.signalwire),
        "exotel": settings.exotel and _exotel(settings.exotel),
        "telnyx": settings.telnyx and _telnyx(settings.telnyx, wall),
        "plivo": settings.plivo and _plivo(settings.plivo),
        "vonage": settings.vonage and _vonage(settings.vonage, wall),
        "jambonz": settings.jambonz and _jambonz(settings.jambonz),
    }
    return {name: hook for name, hook in found.items() if isinstance(hook, ProviderWebhook)}


def _twilio(settings: TwilioSettings) -> ProviderWebhook:
    secret = settings.auth_token.get_secret_value()
    return ProviderWebhook(
        lambda request: verify_twilio(request, secret),
        "CallSid",
        lambda url, token, call_id, after: answers.twiml(url, token, after),
        answers.dial_xml,
    )


def _signalwire(settings: SignalWireSettings) -> ProviderWebhook:
    secret = settings.signing_key.get_secret_value()
    return ProviderWebhook(
        lambda request: verify_twilio(request, secret, "x-signalwire-signature"),
        "CallSid",
        lambda url, token, call_id, after: answers.twiml(url, token, after),
        answers.dial_xml,
    )


def _exotel(settings: ExotelSettings) -> ProviderWebhook:
    password = settings.password.get_secret_value()
    return ProviderWebhook(
        lambda request: verify_basic(request, settings.username, password),
        "CallSid",
        lambda url, token, call_id, after: answers.exotel_url(url, token, settings.rate),
    )


def _telnyx(settings: TelnyxSettings, wall: Clock) -> ProviderWebhook:
    return ProviderWebhook(
        lambda request: verify_telnyx(request, settings.public_key, wall()),
        "CallSid",  # of TeXML; the stream calls it call_control_id
        lambda url, token, call_id, after: answers.texml(url, token, after),
        answers.dial_xml,
    )


def _plivo(settings: PlivoSettings) -> ProviderWebhook:
    secret = settings.auth_token.get_secret_value()
    return ProviderWebhook(
        lambda request: verify_plivo(request, secret),
        "CallUUID",
        lambda url, token, call_id, after: answers.plivo_xml(url, token, settings.rate, after),
        answers.plivo_dial_xml,
    )


def _vonage(settings: VonageSettings, wall: Clock) -> ProviderWebhook:
    secret = settings.signature_secret.get_secret_value()
    return ProviderWebhook(
        lambda request: verify_vonage(request, secret, wall(), settings.application_id),
        "uuid",
        lambda url, token, call_id, after: answers.ncco(url, token, settings.rate, call_id, after),
        answers.connect_ncco,
    )


def _jambonz(settings: JambonzSettings) -> ProviderWebhook:
    password = settings.password.get_secret_value()
    return ProviderWebhook(
        lambda request: verify_basic(request, settings.username, password),
        "call_sid",
        lambda url, token, call_id, after: answers.jambonz_verbs(url, token, settings.rate, after),
        answers.jambonz_dial,
    )


def exchange_hook(settings: AsteriskSettings) -> ProviderWebhook:
    """The question of a dialplan after the stream; it gets its socket without a webhook."""
    password = settings.password.get_secret_value()
    return ProviderWebhook(
        lambda request: verify_basic(request, settings.username, password),
        "call",
        lambda url, token, call_id, after: answers.plain(None),
        answers.plain,
    )
