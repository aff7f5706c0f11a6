"""Settings of the telephony bridge; a provider is served when it has a section."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from agent.config.telephony_template import check_template

Secret = Annotated[SecretStr, Field(min_length=8)]
WideRate = Literal[8000, 16_000]
"""Samples per second of a provider; audio at 16000 is not resampled for the recogniser."""

ASK_BY_WEBHOOK = ("twilio", "signalwire", "exotel", "telnyx", "plivo", "vonage", "jambonz")
"""Providers that ask by an HTTP webhook how to handle a call."""


def public_address(url: str) -> str:
    """``url`` without a slash at its end, if others can call it.

    Raises:
        ValueError: it is neither https nor of this machine.
    """
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}
    if not (parts.scheme == "https" or local) or not parts.hostname or parts.query:
        raise ValueError(
            "give the address that providers call, such as https://phone.example.com; "
            "http is for this machine only"
        )
    return url.rstrip("/")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TwilioSettings(_Section):
    """Twilio account.

    Attributes:
        auth_token: token from the console's front page, which signs the webhooks.
    """

    auth_token: Secret


class SignalWireSettings(_Section):
    """SignalWire account.

    Attributes:
        signing_key: key from "API Credentials", which signs the webhooks.
    """

    signing_key: Secret


class ExotelSettings(_Section):
    """Exotel account. Exotel signs nothing, so name and password go into the address set there.

    Attributes:
        username: user name of your choice.
        password: password of your choice.
        rate: samples per second of the audio, 8000 or 16000.
    """

    username: str = Field(min_length=1)
    password: Secret
    rate: WideRate = 8000


class TelnyxSettings(_Section):
    """Telnyx account.

    Attributes:
        public_key: key from "Keys & Credentials" in base64, which verifies the webhooks.
    """

    public_key: str

    @field_validator("public_key")
    @classmethod
    def _is_a_key(cls, key: str) -> str:
        try:
            if len(base64.b64decode(key, validate=True)) == 32:
                return key
        except binascii.Error:
            pass
        raise ValueError("copy the public key of the Telnyx portal: 44 characters that end in =")


class PlivoSettings(_Section):
    """Plivo account.

    Attributes:
        auth_token: token of the account, which signs the webhooks.
        rate: samples per second of the audio, 8000 or 16000.
    """

    auth_token: Secret
    rate: WideRate = 16_000


class VonageSettings(_Section):
    """Vonage account.

    Attributes:
        signature_secret: secret from the API settings for HMAC-SHA256, which signs the webhooks.
        application_id: only application whose webhooks are accepted; None: all of the account.
        rate: samples per second of the audio, 8000 or 16000.
    """

    signature_secret: Secret
    application_id: str | None = None
    rate: WideRate = 16_000


class JambonzSettings(_Section):
    """Jambonz application.

    Attributes:
        username: user name of the application's webhook, as set in its portal.
        password: password of the application's webhook.
        rate: samples per second of the audio, 8000 or 16000.
    """

    username: str = Field(min_length=1)
    password: Secret
    rate: WideRate = 16_000


class AsteriskSettings(_Section):
    """Asterisk exchange that connects over chan_websocket.

    Attributes:
        username: user name in websocket_client.conf.
        password: password in websocket_client.conf.
    """

    username: str = Field(min_length=1)
    password: Secret


class TelephonySettings(_Section):
    """Telephone calls over providers and exchanges; a provider is served when it has a section.

    Attributes:
        public_url: address by which providers reach this server, such as
            ``https://phone.example.com``.
        require_token: whether media sockets need a token; False lets every program on this machine
            open one, for tests.
        start_seconds: seconds after which a socket that has not named its call is closed.
        max_calls: concurrent calls and opening sockets; ``server.max_calls`` counts telephone
            calls, too.
        max_calls_per_address: concurrent calls and opening sockets from one address.
        lead: seconds of audio that are sent ahead of playback; below ``playback.lead``, frames are
            sent at an even pace.
        instructions_template: text added to the instructions of a call, with the fields {caller},
            {called}, {provider}, {call_id} and {parameter.NAME}; no other facts about a call reach
            the model.
        record: directory for stereo recordings, caller left and agent right; None: calls are not
            recorded.
        announce_recording: sentence spoken to its end at the start of a recorded call.
        audiosocket_port: TCP port for Asterisk's AudioSocket; 0 takes a free one, None: off.
        audiosocket_host: address of the AudioSocket port. Its traffic is not encrypted, so only the
            exchange should reach it.
        audiosocket_uuid: UUID that the dialplan gives to every call, the password of AudioSocket.
        twilio: Twilio account.
        signalwire: SignalWire account.
        exotel: Exotel account.
        telnyx: Telnyx account.
        plivo: Plivo account.
        vonage: Vonage account.
        jambonz: Jambonz application.
        asterisk: Asterisk exchange.
    """

    public_url: str | None = None
    require_token: bool = True
    start_seconds: float = Field(5.0, gt=0, le=60)
    max_calls: int = Field(32, ge=1, le=1000)
    max_calls_per_address: int = Field(16, ge=1, le=1000)
    lead: float = Field(0.2, ge=0.02, le=2)
    instructions_template: str = Field("", max_length=2000)
    record: Path | None = None
    announce_recording: str = Field("This call is recorded.", min_length=1, max_length=500)
    audiosocket_port: int | None = Field(None, ge=0, le=65_535)
    audiosocket_host: str = "127.0.0.1"
    audiosocket_uuid: UUID | None = None

    twilio: TwilioSettings | None = None
    signalwire: SignalWireSettings | None = None
    exotel: ExotelSettings | None = None
    telnyx: TelnyxSettings | None = None
    plivo: PlivoSettings | None = None
    vonage: VonageSettings | None = None
    jambonz: JambonzSettings | None = None
    asterisk: AsteriskSettings | None = None

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        return None if url is None else public_address(url)

    @field_validator("instructions_template")
    @classmethod
    def _has_known_fields(cls, template: str) -> str:
        check_template(template)
        return template

    @field_validator("record")
    @classmethod
    def _is_a_directory(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_dir():
            raise ValueError("name a directory that is there")
        return path

    @model_validator(mode="after")
    def _public_servers_need_tokens(self) -> TelephonySettings:
        public = self.public_url is not None and self.public_url.startswith("https:")
        if public and not self.require_token:
            raise ValueError(
                "require_token = false admits every program behind a proxy of this machine; "
                "set it to true, or leave telephony.public_url out"
            )
        return self

    @model_validator(mode="after")
    def _audiosocket_has_a_secret(self) -> TelephonySettings:
        if self.audiosocket_port is not None and self.require_token and not self.audiosocket_uuid:
            raise ValueError(
                "telephony.audiosocket_port needs telephony.audiosocket_uuid, the UUID that the "
                "dialplan gives; make one with uuidgen"
            )
        return self

    @model_validator(mode="after")
    def _webhooks_have_an_address(self) -> TelephonySettings:
        asking = [name for name in ASK_BY_WEBHOOK if getattr(self, name) is not None]
        if asking and self.public_url is None:
            raise ValueError(
                f"[telephony.{asking[0]}] needs telephony.public_url, the address that the "
                "provider calls, such as https://phone.example.com"
            )
        return self
