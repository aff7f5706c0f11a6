"""All settings: one TOML file, the environment and flags; flags win, unknown keys are errors."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from agent.errors import ConfigError
from agent.telephony.settings import TelephonySettings
from agent.timing import LatencyBudget

ENV_PREFIX = "ONEBREATH_"
OTHER_VARIABLES = {"ONEBREATH_CONFIG", "ONEBREATH_MODELS"}
DEFAULT_FILE = Path("onebreath.toml")

INSTRUCTIONS = (
    "You are a helpful voice assistant. Answer in one or two short sentences, "
    "in plain words that can be spoken."
)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(Section):
    """Where the agent listens and what it bears."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65_535)
    max_calls: int = Field(4, ge=1, le=1000)
    max_call_seconds: float = Field(1800.0, gt=0)
    idle_seconds: float = Field(120.0, gt=0)
    """A call without any message from the client ends after this."""
    max_message_bytes: int = Field(1_048_576, ge=1024, le=16 * 1_048_576)
    allowed_origins: tuple[str, ...] = ()
    """Web origins besides our own that may open a call."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names besides the bound address by which clients may call us."""

    @field_validator("allowed_origins", "allowed_hosts")
    @classmethod
    def _as_browsers_send_them(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name.lower().rstrip("/") for name in names)


class TurnSettings(Section):
    """When a turn begins and ends, and what may happen meanwhile. Seconds unless the name says
    otherwise."""

    threshold: float = Field(0.5, gt=0, lt=1)
    """Speech probability at which speech begins."""
    release: float = Field(0.35, gt=0, lt=1)
    """Speech probability under which a pause begins."""
    min_speech: float = Field(0.1, gt=0, le=2)
    """Speech shorter than this is a click, neither a turn nor the end of a pause."""
    pre_roll: float = Field(0.4, ge=0, le=2)
    """Sound before the detected start that is heard too, so that no first word is lost."""
    detection: Literal["semantic_vad", "server_vad"] = "semantic_vad"
    """Whether the words have a say in when a turn is over, or only the pause."""
    complete_delay: float = Field(0.3, ge=0.1, le=5)
    """Pause that ends a turn whose words are complete."""
    endpoint_delay: float = Field(0.8, ge=0.1, le=5)
    """Pause that ends a turn otherwise; with ``server_vad``, any turn."""
    incomplete_delay: float = Field(1.5, ge=0.1, le=10)
    """Pause that ends a turn whose words are not complete."""
    turn_model: Literal["rules", "smart-turn"] = "rules"
    """What judges whether the words are complete: rules alone, or a network that hears the melody
    of the sentence where the rules leave it open (`onebreath models fetch smart-turn`)."""
    max_turn: float = Field(60.0, gt=1, le=300)
    """A turn is ended after this even if the caller goes on."""
    partial_every: float = Field(0.8, gt=0)
    """Speech between two partial transcripts."""
    speculation: bool = True
    """Whether a pause starts the words, the reply and its first sound before the turn is over."""
    speculate_after: float = Field(0.08, ge=0.03, le=1)
    """Pause that starts them."""
    max_revisions: int = Field(4, ge=0, le=20)
    """Pauses of one turn that may start them."""
    backchannels: bool = True
    """Whether "mhm", "yeah" and noise leave the agent speaking: it ducks until it knows."""
    decide_within: float = Field(0.3, gt=0, le=2)
    """Sound of the caller, from its detection on, that is enough to know."""
    echo: bool = True
    """Whether the agent's own voice is told from the caller's where the microphone hears both."""
    duck_db: float = Field(-12.0, ge=-60, le=0)
    """Gain of the agent's voice until it knows."""


class CallSettings(Section):
    """What the agent says of its own accord. Seconds unless the name says otherwise."""

    greeting: str | None = Field(None, max_length=500)
    """Said as soon as the caller can hear it."""
    idle_after: float | None = Field(None, ge=1, le=600)
    """Silence of both sides after which ``idle_prompt`` is said."""
    idle_prompt: str = Field("Are you still there?", min_length=1, max_length=500)
    max_idle_prompts: int = Field(2, ge=1, le=20)
    """After so many without an answer the agent says ``goodbye`` and hangs up."""
    goodbye: str | None = Field("Goodbye.", max_length=500)
    """Said before the agent hangs up, at the end of ``server.max_call_seconds`` too."""
    filler: str | None = Field(None, max_length=100)
    """Said when a reply is late, such as "Let me see."."""
    filler_after: float = Field(0.8, gt=0, le=10)
    """Time from the end of a turn after which a reply without sound is late."""


class BudgetSettings(Section):
    """Limits in seconds. What overruns one is told; the responder gets the time that is left."""

    total: float | None = Field(None, gt=0)
    """From the end of the caller's speech to the first sound of the reply."""
    per_span: dict[str, Annotated[float, Field(gt=0)]] = {}
    """By the name of a span: endpoint_wait, asr, prefill, denoise, tts, transport."""

    @field_validator("per_span")
    @classmethod
    def _of_spans_that_exist(cls, limits: dict[str, float]) -> dict[str, float]:
        LatencyBudget(None, limits)
        return limits

    @property
    def latency(self) -> LatencyBudget:
        return LatencyBudget(self.total, self.per_span)


class AsrSettings(Section):
    engine: str = "whisper"
    model: str = "whisper-base"
    """A name from `onebreath models`, any faster-whisper model name, or a directory."""
    language: str = "en"
    compute_type: str = "auto"
    device: str = "auto"
    threads: int | None = Field(None, ge=1)


class ResponderChoice(Section):
    """One responder: what a model on this machine needs, and what a hosted one needs."""

    engine: str = "diffusion"
    model: str = "smollm2-135m-instruct"
    """A name from `onebreath models`, a GGUF file, a directory, a Hugging Face name, or what a
    hosted service calls its model."""
    adapter: Path | None = None
    """Directory of a LoRA adapter for the model, as `onebreath adapt` or PEFT writes it."""
    dtype: str = "auto"
    device: str = "auto"
    threads: int | None = Field(None, ge=1)
    max_tokens: int = Field(48, ge=4, le=512)
    base_url: str = ""
    """Of a hosted service's chat API, such as http://127.0.0.1:8000/v1."""
    api_key: SecretStr | None = None
    """Of a hosted service; better in ONEBREATH_RESPONDER__API_KEY than in a file."""
    connect_timeout: float = Field(3.0, gt=0, le=60)
    """Seconds for the connection to a hosted service, each try."""
    word_timeout: float = Field(10.0, gt=0, le=120)
    """Seconds until a hosted service's first word, all tries included, and between two pieces."""
    max_retries: int = Field(2, ge=0, le=10)
    """Tries of a hosted request beside the first, before its first word."""
    request: dict[str, Any] = {}
    """Further fields of a hosted request, such as reasoning_effort."""


class ArmSettings(ResponderChoice):
    """A responder among others."""

    weight: float = Field(ge=0, le=1e6)
    """Its share of new calls, relative to the other arms; 0 switches it off."""


class ResponderSettings(ResponderChoice):
    instructions: str = Field(INSTRUCTIONS, max_length=4000)
    history_characters: int = Field(3000, ge=200)
    """Oldest turns are left out of the prompt beyond this."""
    arms: dict[str, ArmSettings] = {}
    """By name, what the engine `ab` draws from."""


class TtsSettings(Section):
    engine: str = "piper"
    voice: str = "joe"
    """A name from `onebreath models` or a Piper .onnx file."""
    device: Literal["cpu", "cuda"] = "cpu"
    """`cuda` needs onnxruntime-gpu in place of onnxruntime."""
    threads: int = Field(1, ge=1)


class PlaybackSettings(Section):
    lead: float = Field(0.3, ge=0.05, le=5)
    """Seconds of sound that may be at the client ahead of its ear."""


class IceServer(Section):
    """A STUN or TURN server, as a browser's RTCPeerConnection takes it."""

    urls: str = Field(pattern=r"^(stuns?|turns?):[^\s?]+(\?transport=(udp|tcp))?$")
    username: str | None = None
    credential: str | None = None


class WebRtcSettings(Section):
    """How calls from browsers travel."""

    ice_hosts: tuple[str, ...] = ()
    """Own addresses at which media is taken; empty: all but loopback."""
    ice_servers: tuple[IceServer, ...] = ()
    """For the server and the page; none is asked unless it is named here."""
    bitrate: int = Field(56_000, ge=16_000, le=128_000)
    """Bits per second of the agent's voice."""


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    server: ServerSettings = ServerSettings()
    turns: TurnSettings = TurnSettings()
    call: CallSettings = CallSettings()
    budget: BudgetSettings = BudgetSettings()
    asr: AsrSettings = AsrSettings()
    responder: ResponderSettings = ResponderSettings()
    tts: TtsSettings = TtsSettings()
    playback: PlaybackSettings = PlaybackSettings()
    webrtc: WebRtcSettings = WebRtcSettings()
    telephony: TelephonySettings = TelephonySettings()
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def load_settings(flags: Mapping[str, Any] | None = None, file: Path | None = None) -> Settings:
    """Merge defaults < TOML file < environment < flags.

    Args:
        flags: nested as the sections are; values of None are "not given".
        file: the TOML file; without it ``$ONEBREATH_CONFIG``, else ``onebreath.toml`` if there.

    Raises:
        ConfigError: an unknown key, a bad value, a missing or malformed file.
    """
    _check_environment()
    merged = _merge(_read_file(file), _read_environment())
    try:
        return Settings(**_merge(merged, _given(flags or {})))
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _read_file(file: Path | None) -> dict[str, Any]:
    chosen = file or (Path(env) if (env := os.environ.get("ONEBREATH_CONFIG")) else None)
    if chosen is None:
        if not DEFAULT_FILE.is_file():
            return {}
        chosen = DEFAULT_FILE
    try:
        return tomllib.loads(chosen.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{chosen}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{chosen}: not valid TOML: {error}") from error


def _read_environment() -> dict[str, Any]:
    try:
        return dict(EnvSettingsSource(Settings)())
    except ValueError as error:
        raise ConfigError(f"environment: {error}") from None


def _check_environment() -> None:
    """pydantic-settings passes over variables that it does not know; a typing error is one."""
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields} | OTHER_VARIABLES
    for variable in os.environ:
        if variable.startswith(ENV_PREFIX) and variable.partition("__")[0] not in known:
            raise ConfigError(f"environment: {variable} is no setting of onebreath")


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    nested = {k: _given(v) if isinstance(v, Mapping) else v for k, v in flags.items()}
    return {key: value for key, value in nested.items() if value is not None and value != {}}


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{where}: no such setting; see onebreath.example.toml")
        elif where.startswith("telephony") or where.endswith("api_key"):  # may hold a secret
            lines.append(f"{where}: {problem['msg']}")
        else:
            lines.append(f"{where}: {problem['msg']} (got {problem['input']!r})")
    return "settings: " + "; ".join(lines)
