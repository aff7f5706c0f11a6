"""All settings, by section; `settings_sources` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from agent.config.telephony import TelephonySettings
from agent.timing import LatencyBudget

ENV_PREFIX = "ONEBREATH_"

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
    far_voices: bool = True
    """Whether voices far below the caller's level, such as a television, are left out."""
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
    turn_head: str = "auto"
    """What judges by the model's own state whether the caller's words are whole: a file of
    `onebreath adapt turns`, `auto` for the one that is shipped for the model, or `off`."""
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
