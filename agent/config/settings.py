"""All settings by section, with their defaults and bounds; ``agent.config.sources`` reads them."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from agent.config.decisions import DecisionSettings
from agent.config.decoding import DecodingSettings
from agent.config.telephony import TelephonySettings, public_address
from agent.config.tools import ToolSettings
from agent.timing import LatencyBudget
from tts.engine import TtsError
from tts.lexicon import EMPTY, Lexicon, read_lexicon

ENV_PREFIX = "ONEBREATH_"

INSTRUCTIONS = (
    "You are a helpful voice assistant. Answer in one or two short sentences, "
    "in plain words that can be spoken."
)


class Section(BaseModel):
    """Base of the settings' sections: read-only, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ApiKeySettings(Section):
    """One API key, by its hash; ``onebreath key`` makes both.

    Attributes:
        hash: ``sha256:`` and the hash of the key in hexadecimal digits.
        max_calls: calls at once that it may have up.
        events_per_minute: client events of all its calls together.
        expires: time from which it is refused.
    """

    hash: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    max_calls: int | None = Field(None, ge=1, le=1000)
    events_per_minute: int | None = Field(None, ge=60)
    expires: AwareDatetime | None = None


class ServerSettings(Section):
    """Address and limits of the server.

    Attributes:
        host: address to listen on.
        port: TCP port to listen on; 0 takes a free one.
        max_calls: concurrent calls, telephone calls included.
        max_calls_per_address: concurrent calls from one IP address, telephone calls aside; None:
            half of ``max_calls``, and all of them from this machine.
        offers_per_minute: WebRTC offers from one IP address, each minute; some more may come at
            once.
        health_port: a port of its own for ``/healthz``, ``/readyz`` and ``/metrics``, which no
            client of the other one can crowd out; 0 takes a free one, None: they are there only.
        drain_seconds: seconds that running calls may go on after the server was asked to stop;
            then the agent says goodbye.
        max_call_seconds: longest call, in seconds.
        resume_seconds: seconds for which the session of a client that asked for it waits when its
            connection is lost, keeping its place among the calls; 0: no session does.
        idle_seconds: seconds without a message from the client after which a call ends.
        max_message_bytes: largest message from a client, in bytes.
        allowed_origins: web origins that may open a call besides the server's own, such as
            ``https://example.org``.
        allowed_hosts: host names by which clients may call besides the bound address.
        api_keys: keys by name; a client needs one of them where there are any; read again on
            SIGHUP.
        certificate: PEM file of the TLS certificate with its chain; read again on SIGHUP.
        key: PEM file of the certificate's private key.
        workers: processes that serve calls behind the one port; 1: the program itself.
        shared_key: secret of 32 characters and more that several servers have in common: each
            then accepts what another one signed, such as client secrets.
        trusted_proxies: addresses and networks of proxies that are believed about the address of a
            client (``X-Forwarded-For``).
        advertise: this server's own address, such as ``https://voice-0.example.com``, where several
            stand behind one name: telephony providers are sent to it.
    """

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65_535)
    max_calls: int = Field(4, ge=1, le=1000)
    max_calls_per_address: int | None = Field(None, ge=1, le=1000)
    offers_per_minute: float = Field(60.0, gt=0, le=60_000)
    health_port: int | None = Field(None, ge=0, le=65_535)
    drain_seconds: float = Field(600.0, ge=0, le=86_400)
    max_call_seconds: float = Field(1800.0, gt=0)
    resume_seconds: float = Field(30.0, ge=0, le=300)
    idle_seconds: float = Field(120.0, gt=0)
    max_message_bytes: int = Field(1_048_576, ge=1024, le=16 * 1_048_576)
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    api_keys: dict[str, ApiKeySettings] = {}
    certificate: Path | None = None
    key: Path | None = None
    workers: int = Field(1, ge=1, le=64)
    shared_key: Annotated[SecretStr, Field(min_length=32)] | None = None
    advertise: str | None = None
    trusted_proxies: tuple[str, ...] = ("127.0.0.1",)

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            ip_network(proxy, strict=False)
        return proxies

    @field_validator("advertise")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        return None if url is None else public_address(url)

    @model_validator(mode="after")
    def _advertised_servers_share_a_key(self) -> ServerSettings:
        if self.advertise is not None and self.shared_key is None:
            raise ValueError(
                "server.advertise needs server.shared_key, the same at all servers of the name; "
                "make one with: openssl rand -hex 32"
            )
        return self

    @model_validator(mode="after")
    def _certificate_with_its_key(self) -> ServerSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("server.certificate and server.key go together: set both or neither")
        return self

    @field_validator("allowed_origins", "allowed_hosts")
    @classmethod
    def _as_browsers_send_them(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name.lower().rstrip("/") for name in names)


class TurnSettings(Section):
    """Turn taking: detection of turns, speculative replies and interruptions.

    Attributes:
        threshold: speech probability (0 to 1) at which speech begins.
        release: speech probability (0 to 1) below which a pause begins.
        min_speech: shortest speech in seconds; shorter sounds count as clicks, which neither begin
            a turn nor end a pause.
        pre_roll: seconds of audio before the detected start that belong to the turn, so that the
            first word is complete.
        detection: ``semantic_vad`` ends a turn by its words and the pause, ``server_vad`` by the
            pause alone.
        complete_delay: seconds of pause that end a turn whose words are complete.
        endpoint_delay: seconds of pause that end a turn whose words leave it open; with
            ``server_vad``, every turn.
        incomplete_delay: seconds of pause that end a turn whose words are incomplete.
        turn_model: judge of whether the words are complete: ``rules``, or ``smart-turn``, a network
            that hears the intonation where the rules leave it open
            (``onebreath models --fetch smart-turn``).
        max_turn: longest turn in seconds; a longer one is ended while the caller speaks.
        partial_every: seconds of speech between two partial transcripts.
        speculation: whether transcript, reply and first audio are prepared during a pause, before
            the turn is over.
        speculate_after: seconds of pause after which that work begins.
        max_revisions: pauses of one turn in which that work may begin.
        backchannels: whether the agent goes on speaking through "mhm", "yeah" and noise, ducked
            until the words are known.
        decide_within: seconds of detected speech after which a possible interruption is decided.
        echo: whether the agent's own voice is told apart from the caller's in the microphone.
        echo_settling: seconds of the agent's first sound in a call, and over a new connection, in
            which a voice without words does not interrupt it: the browser's echo cancellation
            has not settled.
        far_voices: whether voices far below the caller's level, such as a television, are left
            out.
        asides: whether what the caller says to somebody beside him gets no reply.
        duck_db: gain of the agent's voice during a possible interruption, in dB.
    """

    threshold: float = Field(0.5, gt=0, lt=1)
    release: float = Field(0.35, gt=0, lt=1)
    min_speech: float = Field(0.1, gt=0, le=2)
    pre_roll: float = Field(0.4, ge=0, le=2)
    detection: Literal["semantic_vad", "server_vad"] = "semantic_vad"
    complete_delay: float = Field(0.3, ge=0.1, le=5)
    endpoint_delay: float = Field(0.8, ge=0.1, le=5)
    incomplete_delay: float = Field(1.5, ge=0.1, le=10)
    turn_model: Literal["rules", "smart-turn"] = "rules"
    max_turn: float = Field(60.0, gt=1, le=300)
    partial_every: float = Field(0.8, gt=0)
    speculation: bool = True
    speculate_after: float = Field(0.05, ge=0.03, le=1)
    max_revisions: int = Field(4, ge=0, le=20)
    backchannels: bool = True
    decide_within: float = Field(0.3, gt=0, le=2)
    echo: bool = True
    echo_settling: float = Field(1.5, ge=0, le=10)
    far_voices: bool = True
    asides: bool = True
    duck_db: float = Field(-12.0, ge=-60, le=0)


class CallSettings(Section):
    """Sentences that the agent says on its own: greeting, idle prompts, goodbye, filler.

    Attributes:
        greeting: first sentence of a call; None: the agent waits for the caller.
        idle_after: seconds of silence on both sides after which ``idle_prompt`` is said; None: the
            agent does not prompt.
        idle_prompt: question after a long silence.
        max_idle_prompts: unanswered prompts after which the agent says goodbye and hangs up.
        goodbye: last sentence before the agent hangs up, also at the end of
            ``server.max_call_seconds``; None or empty: it hangs up without a word.
        apology: sentence said when a reply fails, recorded beforehand in case that the voice fails
            too; None or empty: a failed reply ends in silence.
        unspeakable: sentence said in place of a reply of which the voice knows no letter, such as
            one in another script; None or empty: silence.
        filler: short sentence said when a reply is late, such as "Let me see."; None: no filler.
        filler_after: seconds from the end of a turn after which a reply without audio is late.
    """

    greeting: str | None = Field(None, max_length=500)
    idle_after: float | None = Field(None, ge=1, le=600)
    idle_prompt: str = Field("Are you still there?", min_length=1, max_length=500)
    max_idle_prompts: int = Field(2, ge=1, le=20)
    goodbye: str | None = Field("Goodbye.", max_length=500)
    apology: str | None = Field(
        "Sorry, something went wrong. Please say that again.", max_length=200
    )
    unspeakable: str | None = Field("Sorry, I cannot say that out loud.", max_length=200)
    filler: str | None = Field(None, max_length=100)
    filler_after: float = Field(0.8, gt=0, le=10)


class BudgetSettings(Section):
    """Latency budget of a turn, in seconds. Overruns are reported to the client.

    Attributes:
        total: seconds from the end of the caller's speech to the first audio of the reply; the
            responder's deadline is the time that is left of it. None: no budget.
        per_span: seconds by name of a span: endpoint_wait, asr, prefill, denoise, tts, transport.
    """

    total: float | None = Field(None, gt=0)
    per_span: dict[str, Annotated[float, Field(gt=0)]] = {}

    @field_validator("per_span")
    @classmethod
    def _has_known_spans(cls, limits: dict[str, float]) -> dict[str, float]:
        LatencyBudget(None, limits)
        return limits

    @property
    def latency(self) -> LatencyBudget:
        """The budget as the session uses it."""
        return LatencyBudget(self.total, self.per_span)


class AsrSettings(Section):
    """Speech recognition.

    Attributes:
        engine: ``whisper``, ``scripted`` or ``package.module:Class``.
        model: name in `onebreath models`, any faster-whisper model name, or a directory.
        language: language of the caller, as a Whisper language code.
        compute_type: number format of the weights, as CTranslate2 names it, or ``auto``.
        device: ``cpu``, ``cuda`` or ``auto``.
        threads: CPU threads; None: half of the cores, at most four.
    """

    engine: str = "whisper"
    model: str = "whisper-base"
    language: str = "en"
    compute_type: str = "auto"
    device: str = "auto"
    threads: int | None = Field(None, ge=1)


class ResponderChoice(DecodingSettings):
    """One responder with its model, on this machine or hosted; the others are `DecodingSettings`.

    Attributes:
        engine: ``diffusion``, ``diffusion-gemma``, ``autoregressive``, ``hosted``, ``ray``,
            ``ab``, ``scripted`` or ``package.module:Class``.
        model: name in `onebreath models`, GGUF file, directory, Hugging Face name, or the name that
            a hosted service gives its model.
        adapter: directory of a LoRA adapter, as `onebreath adapt` or PEFT writes it.
        turn_head: what judges by the model's own state whether the caller's words are whole: a
            file of `onebreath adapt turns`, ``auto`` for the one that is shipped for the model,
            or ``off``.
        drafter: directory of a drafter for the model (`onebreath adapt drafter`), with which it
            writes several words per pass; ``auto``: the one that comes with the model; ``none``.
        dtype: type of the weights: ``int4``, ``int8``, ``bfloat16``, ``float32`` or ``auto``.
        device: ``cpu``, ``cuda`` or ``auto``.
        threads: CPU threads; None: by the number of cores.
        max_tokens: longest reply, in tokens.
        base_url: address of a hosted service's chat API, such as ``http://127.0.0.1:8000/v1``, or
            of a Ray Serve application, such as ``http://127.0.0.1:8000``.
        api_key: key of a hosted service or of that application; safer in
            ``ONEBREATH_RESPONDER__API_KEY`` than in a file.
        connect_timeout: seconds for each attempt to connect to a hosted service or to replicas.
        word_timeout: seconds until the first word of such a reply, over all attempts, and between
            two pieces of it.
        thinking_timeout: seconds until the next word of a hosted model that shows its thoughts
            meanwhile; they count as pieces up to here.
        max_retries: further attempts of such a request that fails before its first word.
        request: further fields of a hosted request, such as ``reasoning_effort``.
    """

    engine: str = "diffusion"
    model: str = "smollm2-135m-instruct"
    adapter: Path | None = None
    turn_head: str = "auto"
    drafter: str = "auto"
    dtype: str = "auto"
    device: str = "auto"
    threads: int | None = Field(None, ge=1)
    max_tokens: int = Field(48, ge=4, le=512)
    base_url: str = Field("", repr=False)
    api_key: SecretStr | None = None
    connect_timeout: float = Field(3.0, gt=0, le=60)
    word_timeout: float = Field(10.0, gt=0, le=120)
    thinking_timeout: float = Field(30.0, gt=0, le=600)
    max_retries: int = Field(2, ge=0, le=10)
    request: dict[str, Any] = Field({})


class ArmSettings(ResponderChoice):
    """One arm (variant) of an A/B test of responders; the other settings are those of a responder.

    Attributes:
        weight: share of new calls, relative to the other arms; 0 switches the arm off.
    """

    weight: float = Field(ge=0, le=1e6)


class ResponderSettings(ResponderChoice):
    """The agent's responder and its prompt; the other settings are those of a responder.

    Attributes:
        instructions: system prompt.
        history_characters: longest history in the prompt, in characters; the oldest turns are left
            out beyond it.
        arms: arms of an A/B test by name, for the engine ``ab``.
    """

    instructions: str = Field(INSTRUCTIONS, max_length=32_768)
    history_characters: int = Field(3000, ge=200)
    arms: dict[str, ArmSettings] = Field({})


@lru_cache(maxsize=8)
def _lexicon(path: Path) -> Lexicon:
    return read_lexicon(path)


class TtsSettings(Section):
    """Speech synthesis.

    Attributes:
        engine: ``piper``, ``tone`` or ``package.module:Class``.
        voice: name in `onebreath models`, or a Piper .onnx file.
        device: ``cpu`` or ``cuda``; ``cuda`` needs onnxruntime-gpu in place of onnxruntime.
        threads: CPU threads.
        lexicon: TOML file of the user's own words; a line `"written" = "spoken"` or
            `"written" = "/IPA/"` for each.
    """

    engine: str = "piper"
    voice: str = "joe"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(1, ge=1)
    lexicon: Path | None = None

    @field_validator("lexicon")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        if path is None:
            return None
        try:
            _lexicon(path.expanduser())
        except TtsError as error:
            raise ValueError(str(error)) from None
        return path.expanduser()

    @property
    def words(self) -> Lexicon:
        """Entries of the lexicon file, read once."""
        return EMPTY if self.lexicon is None else _lexicon(self.lexicon)


class PlaybackSettings(Section):
    """Playback of the agent's voice at the client.

    Attributes:
        lead: seconds of audio that are sent ahead of playback.
    """

    lead: float = Field(0.3, ge=0.05, le=5)


class IceServer(Section):
    """A STUN or TURN server, as for a browser's RTCPeerConnection.

    Attributes:
        urls: address, such as ``turn:example.org:3478``.
        username: user name at a TURN server.
        credential: password at a TURN server.
        secret: secret that a TURN server shares with this one (coturn: ``use-auth-secret``); each
            call then gets a user name and a password of its own, which expire.
        credential_seconds: seconds for which those are valid.
    """

    urls: str = Field(pattern=r"^(stuns?|turns?):[^\s?]+(\?transport=(udp|tcp))?$")
    username: str | None = None
    credential: SecretStr | None = None
    secret: SecretStr | None = None
    credential_seconds: int = Field(3600, ge=60, le=86_400)

    @model_validator(mode="after")
    def _one_kind_of_credential(self) -> IceServer:
        if self.secret is not None and (self.username or self.credential):
            raise ValueError("a secret makes username and credential; set it or them, not both")
        return self


class WebRtcSettings(Section):
    """WebRTC calls from browsers.

    Attributes:
        ice_hosts: local addresses for media; empty: all but loopback.
        ice_servers: STUN and TURN servers for the server and the page; empty: none is used.
        bitrate: bits per second of the agent's voice; less where the client reports losses.
    """

    ice_hosts: tuple[str, ...] = ()
    ice_servers: tuple[IceServer, ...] = ()
    bitrate: int = Field(56_000, ge=16_000, le=128_000)


class LogSettings(Section):
    """The log.

    Attributes:
        format: ``console`` for people, or ``json``: one object a line, for programs.
        words: whether the lines of turns, and their traces, hold what was said; else only its
            length.
    """

    format: Literal["console", "json"] = "console"
    words: bool = False


class TelemetrySettings(Section):
    """What other programs are told of calls, besides the metrics.

    Attributes:
        traces: whether calls are traced with OpenTelemetry; its variables, such as
            ``OTEL_EXPORTER_OTLP_ENDPOINT``, say where the spans go.
    """

    traces: bool = False


class Settings(BaseSettings):
    """All settings by section; ``load_settings`` reads them from file, environment and flags.

    Attributes:
        server: address and limits of the server.
        turns: turn taking.
        call: sentences that the agent says on its own.
        budget: latency budget of a turn.
        asr: speech recognition.
        responder: responder and its prompt.
        tts: speech synthesis.
        playback: playback of the agent's voice.
        webrtc: WebRTC calls.
        telephony: telephone calls.
        decisions: questions about each call, and what their answers do.
        tools: functions that this server offers to its responder and runs.
        log: format of the log, and what it may hold.
        telemetry: traces of calls.
        log_level: least severe level of the log: ``debug``, ``info``, ``warning`` or ``error``.
    """

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
    decisions: DecisionSettings = DecisionSettings()
    tools: ToolSettings = ToolSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
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
