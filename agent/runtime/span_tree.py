"""The span tree of a finished turn, made from its timing record: pure, without a tracing library.

The attributes are those of OpenTelemetry's GenAI conventions, with the operations that its open
proposal for voice agents adds (``speech_to_text``, ``text_to_speech``, the end reason of a turn).
What neither of them has is named ``onebreath.*``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.config.settings import ResponderChoice, Settings
from agent.session.notices import ReplyFinished, TurnTimed, Usage
from agent.timing import SPAN_NAMES, Speculation, WorkSpan

Attribute = str | bool | int | float | Sequence[str]
WITH_MODEL = ("diffusion", "diffusion-gemma", "autoregressive", "hosted")
"""Responders whose ``model`` names what answers."""
OWN = "onebreath"
END_REASONS = {
    ("completed", ""): "completed",
    ("cancelled", "turn_detected"): "interrupted",
    ("cancelled", "client_cancelled"): "interrupted",
}
"""The conventions' end reason of a turn, by status and reason of its reply."""
CALL_OVER = "session_closed"
CONNECTION_REPLACED = "resumed"


@dataclass(frozen=True, slots=True)
class Span:
    """One span with those below it.

    Attributes:
        start: monotonic second at which it began.
        end: monotonic second at which it ended.
        client: whether it is a request to another service.
        error: the conventions' ``error.type``; empty for no error.
    """

    name: str
    start: float
    end: float
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    children: tuple[Span, ...] = ()
    client: bool = False
    error: str = ""

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class TracedEngines:
    """The engines as spans name them.

    Attributes:
        provider: the conventions' name of who answers.
        hosted: whether the responder is a service on another machine.
    """

    recogniser: str
    language: str
    responder: str
    provider: str
    hosted: bool
    voice: str

    @classmethod
    def of(cls, settings: Settings) -> TracedEngines:
        """The engines that the settings choose."""
        asr, tts, responder = settings.asr, settings.tts, settings.responder
        hosted = responder.engine == "hosted"
        return cls(
            asr.model if asr.engine == "whisper" else asr.engine,
            asr.language,
            _model(responder),
            "openai" if hosted else OWN,  # by the interface: who stands behind it is not known
            hosted,
            tts.voice if tts.engine == "piper" else tts.engine,
        )


def _model(responder: ResponderChoice) -> str:
    return responder.model if responder.engine in WITH_MODEL else responder.engine


@dataclass(slots=True)
class TracedTurn:
    """What is known of a turn while it lasts. All times are monotonic seconds.

    Attributes:
        began: when its reply began.
        item_id: the caller's turn; empty where the agent speaks on its own.
        heard: the caller's words.
        timed: the latency of the turn, and ``timed_at`` when its first sound left.
        last_text_at: when the last words of the reply were final.
    """

    response_id: str
    began: float
    text_only: bool = False
    item_id: str = ""
    heard: str = ""
    timed: TurnTimed | None = None
    timed_at: float = 0.0
    last_text_at: float = 0.0


@dataclass(frozen=True, slots=True)
class SpanTree:
    """Makes the spans of the turns of one call.

    Attributes:
        call_id: the call, and the conversation of the conventions.
        words: whether spans hold what was said.
    """

    call_id: str
    engines: TracedEngines
    words: bool

    def turn(self, turn: TracedTurn, reply: ReplyFinished | str, now: float) -> Span:
        """The tree of a turn that ends ``now``.

        Args:
            reply: its reply, or the end reason of one that was not told to be finished.
        """
        timed = turn.timed
        zero = turn.began if timed is None else turn.timed_at - sum(timed.spans.values())
        end = max(now, zero, turn.timed_at)
        children: list[Span] = []
        if timed is not None:
            children += [voice_to_voice(timed.spans, zero, turn.timed_at)]
            children += self._operations(turn, timed.work, zero, end, reply)
            children += [Span("playback", turn.timed_at, end)]
        elif turn.last_text_at:
            children += [self._chat(turn, zero, turn.last_text_at, None, reply)]
        attributes = self._operation("invoke_agent") | self._turn(turn, reply)
        name = f"invoke_agent {OWN}"
        return Span(name, zero, end, attributes, tuple(children), error=_error(reply))

    # ---- operations ------------------------------------------------------------------

    def _operations(
        self,
        turn: TracedTurn,
        work: Sequence[WorkSpan],
        zero: float,
        end: float,
        reply: ReplyFinished | str,
    ) -> list[Span]:
        """The engines' own work, which may have begun before the turn was over."""
        placed = [WorkSpan(each.name, zero + each.start, zero + each.end) for each in work]
        spans = [self._recognition(each) for each in placed if each.name == "asr"]
        answering = [each for each in placed if each.name in ("prefill", "denoise")]
        if answering:
            first = max(each.end for each in answering)
            last = min(max(first, turn.last_text_at), end)
            began = min(each.start for each in answering)
            spans.append(self._chat(turn, began, last, first - began, reply))
        spans += [self._synthesis(each) for each in placed if each.name == "tts"]
        return spans

    def _recognition(self, work: WorkSpan) -> Span:
        model = self.engines.recogniser
        attributes = self._operation("speech_to_text", model)
        if self.engines.language:
            attributes["gen_ai.speech.input.language"] = self.engines.language
        return Span(f"speech_to_text {model}", work.start, work.end, attributes)

    def _synthesis(self, work: WorkSpan) -> Span:
        voice = self.engines.voice
        attributes = self._operation("text_to_speech", voice)
        attributes |= {"gen_ai.output.type": "speech", "gen_ai.speech.voice": voice}
        return Span(f"text_to_speech {voice}", work.start, work.end, attributes)

    def _chat(
        self,
        turn: TracedTurn,
        start: float,
        end: float,
        first: float | None,
        reply: ReplyFinished | str,
    ) -> Span:
        engines = self.engines
        attributes = self._operation("chat", engines.responder)
        attributes |= {
            "gen_ai.provider.name": engines.provider,
            "gen_ai.output.type": "text",
            "gen_ai.response.id": turn.response_id,
        }
        if first is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = first
        if isinstance(reply, ReplyFinished):
            attributes |= _usage(reply.usage)
            if self.words:
                attributes |= _messages(turn.heard, reply.text)
        name = f"chat {engines.responder}"
        return Span(name, start, end, attributes, client=engines.hosted, error=_error(reply))

    def _operation(self, name: str, model: str = "") -> dict[str, Attribute]:
        attributes: dict[str, Attribute] = {
            "gen_ai.operation.name": name,
            "gen_ai.provider.name": OWN,
            "gen_ai.conversation.id": self.call_id,
        }
        return attributes | ({"gen_ai.request.model": model} if model else {})

    # ---- the turn --------------------------------------------------------------------

    def _turn(self, turn: TracedTurn, reply: ReplyFinished | str) -> dict[str, Attribute]:
        status, reason = _end(reply)
        attributes: dict[str, Attribute] = {
            "gen_ai.agent.name": OWN,
            "gen_ai.output.type": "text" if turn.text_only else "speech",
            "onebreath.response.id": turn.response_id,
            "onebreath.reply.status": status,
        }
        if reason:
            attributes["gen_ai.agent.invocation.end_reason"] = reason
        if turn.item_id:
            attributes["onebreath.item.id"] = turn.item_id
            attributes["onebreath.heard.words"] = len(turn.heard.split())
        if isinstance(reply, ReplyFinished):
            attributes["onebreath.said.words"] = len(reply.text.split())
        if turn.timed is not None:
            attributes["onebreath.voice_to_voice"] = sum(turn.timed.spans.values())
            attributes |= _speculation(turn.timed.speculation)
        return attributes


def voice_to_voice(spans: Mapping[str, float], start: float, end: float) -> Span:
    """The latency of a turn, with a span below it for each stage, one behind the other.

    Their seconds are those of the log line and of the histograms; stages without any are left out.
    """
    stages: list[Span] = []
    at = start
    for name in SPAN_NAMES.values():
        if seconds := spans.get(name, 0.0):
            stages.append(Span(name, at, at + seconds))
            at += seconds
    return Span("voice_to_voice", start, end, children=tuple(stages))


def _end(reply: ReplyFinished | str) -> tuple[str, str]:
    """The status of a reply, and the conventions' reason for the end of its turn."""
    if isinstance(reply, str):
        return "cancelled", reply if reply == CALL_OVER else ""
    return reply.status, END_REASONS.get((reply.status, reply.reason), "")


def _error(reply: ReplyFinished | str) -> str:
    """The reason of a failed reply may hold anything, so that it is not told."""
    return "reply_failed" if isinstance(reply, ReplyFinished) and reply.status == "failed" else ""


def _usage(usage: Usage | None) -> dict[str, Attribute]:
    if usage is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
    }


def _messages(heard: str, said: str) -> dict[str, Attribute]:
    def message(role: str, text: str) -> str:
        return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])

    return {
        "gen_ai.input.messages": message("user", heard),
        "gen_ai.output.messages": message("assistant", said),
    }


def _speculation(outcome: Speculation | None) -> dict[str, Attribute]:
    if outcome is None:
        return {}
    return {
        "onebreath.speculation.hit": outcome.hit,
        "onebreath.speculation.revisions": outcome.revisions,
        "onebreath.speculation.saved": outcome.saved,
        "onebreath.speculation.wasted": outcome.wasted,
    }
