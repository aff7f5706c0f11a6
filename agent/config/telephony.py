"""Settings of the telephone bridge; a provider is served when it has a section."""

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
"""Samples per second that a provider offers; 16000 needs no resampling here."""


ASK_BY_WEBHOOK = ("twilio", "signalwire", "exotel", "telnyx", "plivo", "vonage", "jambonz")
"""Providers that ask over HTTP what to do with a call."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TwilioSettings(_Section):
    auth_token: Secret
    """From the console's front page; signs the webhooks."""


class SignalWireSettings(_Section):
    signing_key: Secret
    """From "API Credentials"; signs the webhooks."""


class ExotelSettings(_Section):
    username: str = Field(min_length=1)
    password: Secret
    """Exotel signs nothing: name and password go into the address that is set there."""
    rate: WideRate = 8000


class TelnyxSettings(_Section):
    public_key: str
    """From "Keys & Credentials", base64; verifies the webhooks."""

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
    auth_token: Secret
    rate: WideRate = 16_000


class VonageSettings(_Section):
    signature_secret: Secret
    """From the API settings, with HMAC-SHA256 chosen; signs the webhooks."""
    application_id: str | None = None
    """Webhooks of the account's other applications are refused when this is set."""
    rate: WideRate = 16_000


class JambonzSettings(_Section):
    username: str = Field(min_length=1)
    password: Secret
    """Name and password of the application's webhook, as set in its portal."""
    rate: WideRate = 16_000


class AsteriskSettings(_Section):
    username: str = Field(min_length=1)
    password: Secret
    """As in websocket_client.conf."""


class TelephonySettings(_Section):
    """Everything about telephones."""

    public_url: str | None = None
    """How providers reach this server, such as "https://phone.example.com"."""
    require_token: bool = True
    """False lets programs on this machine open media sockets without one, for trying things out."""
    start_seconds: float = Field(5.0, gt=0, le=60)
    """A socket that did not name its call by then is closed."""
    max_calls: int = Field(32, ge=1, le=1000)
    """Calls and opening sockets at once; ``server.max_calls`` counts telephone calls too."""
    max_calls_per_address: int = Field(16, ge=1, le=1000)
    lead: float = Field(0.2, ge=0.02, le=2)
    """Seconds of sound that may be at the peer ahead of the caller's ear; with less than
    ``playback.lead``, frames go evenly, for some sound always waits here."""
    instructions_template: str = Field("", max_length=2000)
    """Added to the instructions of a call; {caller}, {called}, {provider}, {call_id} and
    {parameter.NAME} are filled in. Nothing about a call reaches the model otherwise."""
    record: Path | None = None
    """Directory for stereo recordings, caller left and agent right; None records nothing."""
    announce_recording: str = Field("This call is recorded.", min_length=1, max_length=500)
    """Spoken to its end before the call, if it is recorded."""
    audiosocket_port: int | None = Field(None, ge=0, le=65_535)
    """TCP port for Asterisk's AudioSocket; 0 takes a free one."""
    audiosocket_host: str = "127.0.0.1"
    """Let nobody but the Asterisk reach it: nothing on the line is encrypted."""
    audiosocket_uuid: UUID | None = None
    """What the dialplan names every call by; AudioSocket knows no other password."""

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
        if url is None:
            return None
        parts = urlsplit(url)
        local = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}
        if not (parts.scheme == "https" or local) or not parts.hostname or parts.query:
            raise ValueError(
                "give the address that providers call, such as https://phone.example.com; "
                "http is for this machine only"
            )
        return url.rstrip("/")

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
    def _strangers_need_tokens(self) -> TelephonySettings:
        public = self.public_url is not None and self.public_url.startswith("https:")
        if public and not self.require_token:
            raise ValueError(
                "require_token = false lets every program behind a proxy of this machine in; "
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
