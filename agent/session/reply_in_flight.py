"""One reply from its text to paced sound: segments to synthesise, playout, the end or a cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from agent.reply import PLAIN, FunctionTool, Prefilled, ReplyDone, ReplyOptions, ToolCall
from agent.session.commands import Command, EndSpeech, Speak
from agent.session.connection import Connection
from agent.session.conversation import AgentReply, FunctionCall, Turn
from agent.session.events import RespondNow, SegmentSpoken, SoundReady
from agent.session.notices import (
    ItemTruncated,
    Play,
    Remark,
    ReplyFinished,
    ReplyGenerated,
    ReplyItemStarted,
    ReplyTextDelta,
    StopPlaying,
    TurnTimed,
    Usage,
    WordTimestamp,
    WordTimestamps,
)
from agent.session.playback import Playback, SpokenMark
from agent.timing import SPAN_NAMES, Speculation, Stage, StageTimings, WorkSpan
from tts.engine import SpeechChunk
from tts.lexicon import EMPTY, Lexicon
from tts.segments import Segmenter
from tts.speakable import Speakable, speakable

_UNSPEAKABLE = "the voice cannot speak all letters of the reply; those of other scripts are skipped"
BURST_SECONDS = 5.0
"""Seconds of sound that go at once; then it is looked at whether the connection takes them."""
WORK = (Stage.PROMPT, Stage.FIRST_TEXT, Stage.FIRST_SOUND)
"""The marks that end an engine's work for a reply."""


@dataclass(slots=True)
class ReplyInFlight:
    """A reply that is being generated or played, or was played last.

    Attributes:
        generation: the number that all commands and inputs of the reply carry.
        entry: the reply in the conversation's history.
        lead: seconds of sound that may be at the client unplayed.
        began: monotonic second at which the work for it began.
        turn: the turn that it answers; None for a draft and for words of the agent's own.
        timings: the latency marks, shared with the turn that it answers.
        silence: seconds of silence before its first sound, for a line that loses its first sound.
        paused: whether its sound is held back.
        waits_until: monotonic second until which its first sound waits, because the caller may
            have begun to speak.
        done: the responder's last piece; None while it generates.
        work: the engines' work for it.
        speculation: the outcome of work ahead of the end of the turn.
        budget: seconds that the turn may take; None for no limit.
        request: the client's options for it.
        running_calls: the functions that it has begun to call, by the responder's ids.
        prompt: the size of its prompt; None until it is read.
        told: whether the client was told that all of it was generated.
        report_cut: whether the client, which may hold unplayed sound of a reply that was told to
            be complete, is told how much of it counts as heard when it is cut.
        lexicon: the user's own words, for the spoken form.
        connection: the connection to the client; nothing is sent while it is lost.
        resumed_from: position in its sound at which the client's present connection begins.
        options: the functions that it may call, and its length.
        unspeakable: words that are said in its place where no letter of it can be spoken.
    """

    generation: int
    response_id: str
    entry: AgentReply
    lead: float
    began: float
    turn: Turn | None = None
    timings: StageTimings = field(default_factory=StageTimings)
    silence: float = 0.0
    paused: bool = False
    waits_until: float = 0.0
    done: ReplyDone | None = None
    playback: Playback = field(init=False)
    work: list[WorkSpan] = field(default_factory=list)
    speculation: Speculation | None = None
    budget: float | None = None
    request: RespondNow = field(default_factory=RespondNow)
    running_calls: dict[str, FunctionCall] = field(default_factory=dict)
    prompt: Prefilled | None = None
    told: bool = False
    report_cut: bool = False
    lexicon: Lexicon = EMPTY
    connection: Connection = field(default_factory=Connection)
    resumed_from: float = 0.0
    options: ReplyOptions = PLAIN
    unspeakable: str = ""
    _segmenter: Segmenter = field(default_factory=Segmenter)
    _segments: list[tuple[str, Speakable]] = field(default_factory=list)
    _spoken: int = 0
    _remarked: bool = False
    """Whether the client was told that some letters cannot be spoken."""
    _truncated_at: float | None = None
    """Seconds that the client reported as played; they take precedence over the clock."""

    def __post_init__(self) -> None:
        # What was sent since the client was last seen is sent again if it did not arrive.
        self.playback = Playback(self.lead, keeps=self.connection.patience)

    @property
    def shown_ids(self) -> list[str]:
        """The ids of its items that the client knows."""
        message = [self.entry.item_id] if self.entry.shown else []
        return message + [call.item_id for call in self.entry.calls]

    def reached(self, stage: Stage, now: float) -> None:
        """Mark a stage, once, and the work that ended with it."""
        if stage in self.timings.marks:
            return
        self.timings.mark(stage, now)
        if stage in WORK:
            start = self.work[-1].end if self.work else self.began
            self.work.append(WorkSpan(SPAN_NAMES[stage], start, now))

    def text(self, delta: str, now: float) -> Iterator[Command]:
        """Take the next final text of the reply."""
        self.entry.text += delta
        yield ReplyTextDelta(self.response_id, self.entry.item_id, delta)
        if not self.entry.spoken:
            self.reached(Stage.FIRST_TEXT, now)
            return
        for segment in self._segmenter.feed(delta):
            yield from self._speak(segment, now)

    def complete(self, done: ReplyDone, now: float) -> Iterator[Command]:
        """Take the end of the reply's text."""
        self.done = done
        if self.entry.spoken:
            for segment in self._segmenter.flush():
                yield from self._speak(segment, now)
            yield from self._excuse(now)
            yield EndSpeech(self.generation)

    def fill(self, words: str) -> Iterator[Command]:
        """Speak a filler while the caller waits; it is not part of the reply's text."""
        if (
            not self.begun
            and self.entry.spoken
            and (spoken := speakable(words, lexicon=self.lexicon)).text
        ):
            self._segments.append(("", spoken))
            yield Speak(self.generation, 0, spoken.text)

    def _speak(self, source: str, now: float) -> Iterator[Command]:
        before = self._segments[-1][0] if self._segments else ""
        spoken = speakable(source, before=before, lexicon=self.lexicon)
        self._segments.append((source, spoken))
        if spoken.skipped and not self._remarked:
            self._remarked = True
            yield Remark("unspeakable_text", _UNSPEAKABLE)
        if not spoken.text:
            self._spoken += 1
            return
        self.reached(Stage.FIRST_TEXT, now)
        yield Speak(self.generation, len(self._segments) - 1, spoken.text)

    def _excuse(self, now: float) -> Iterator[Command]:
        """Say that the reply cannot be said, which a silent line would not tell."""
        said = any(spoken.text for source, spoken in self._segments if source)
        excuse = speakable(self.unspeakable, lexicon=self.lexicon)
        if self._remarked and not said and excuse.text:
            self._segments.append(("", excuse))
            self.reached(Stage.FIRST_TEXT, now)
            yield Speak(self.generation, len(self._segments) - 1, excuse.text)

    def sound(self, ready: SoundReady, now: float) -> Iterator[Command]:
        """Take the next sound of a segment; segments arrive in order."""
        answers = bool(self._segments[ready.segment][0])
        if self.silence:
            rate = ready.chunk.rate
            nothing = np.zeros(round(self.silence * rate), np.float32)
            self.playback.queue(ready.segment, SpeechChunk(nothing, rate, ()))
            self.silence = 0.0
        marks = self.playback.queue(ready.segment, ready.chunk, answers=answers)
        if marks and answers:
            yield self._placed(marks)
        if self.playback.first_audible is not None:
            self.reached(Stage.FIRST_SOUND, now)
        yield from self.pump(now)

    def _placed(self, marks: Sequence[SpokenMark]) -> WordTimestamps:
        start = self.resumed_from
        places = (
            WordTimestamp(mark.position - start, len(self._source_by(mark).strip()))
            for mark in marks
        )
        return WordTimestamps(self.response_id, self.entry.item_id, tuple(places))

    def segment_spoken(self, spoken: SegmentSpoken) -> None:
        """Take the end of a segment's sound."""
        self._spoken += 1
        self.playback.close_segment(spoken.segment)

    def pump(self, now: float) -> Iterator[Command]:
        """Send the sound that is due, unless the reply is paused or the client cannot take it."""
        ready = self.connection.up and not self.connection.congested
        if self.paused or not ready or self.waits(now):
            return
        burst = 0.0
        for samples in self.playback.due(now):
            yield Play(self.response_id, self.entry.item_id, samples, self.playback.rate)
            burst += len(samples) / self.playback.rate
            if burst >= BURST_SECONDS:
                break  # the next wake goes on, unless the connection cannot take it
        audible = self.playback.first_audible
        first = audible is not None and audible < self.playback.sent
        if first and Stage.FIRST_PLAYED not in self.timings.marks:
            self.reached(Stage.FIRST_PLAYED, now)
            if self.turn is not None:
                yield self._times(self.turn)

    def waits(self, now: float) -> bool:
        """Whether its first sound waits for what the caller is about to do."""
        return self.playback.sent == 0 and now < self.waits_until

    def _times(self, turn: Turn) -> TurnTimed:
        zero = min(self.timings.marks.values())
        return TurnTimed(
            self.response_id,
            self.entry.item_id,
            self.timings.spans(),
            turn.speech_end,
            tuple(span.shifted(zero) for span in (*turn.work, *self.work)),
            self.speculation,
            self.budget,
        )

    # ---- another connection ----------------------------------------------------------

    def unheard_at(self, when: float) -> bool:
        """Whether some of its sound had been sent and not been heard at monotonic second ``when``.

        A reply that was cut has none.
        """
        return self._truncated_at is None and self.playback.heard(when) < self.playback.sent

    def resume(self, response_id: str, position: float, now: float) -> None:
        """Go on over another connection, after the last word that ended by ``position``.

        Args:
            response_id: of the response that the client is told of there.
        """
        self.response_id, self.told = response_id, False
        self.playback.lead = self.lead
        if self.entry.spoken:
            self.resumed_from = self.playback.rewind(position)

    def tell_words(self, previous: str | None) -> Iterator[Command]:
        """Tell the client's new connection of the message so far.

        Args:
            previous: id of the item before it.
        """
        ids = (self.response_id, self.entry.item_id)
        yield ReplyItemStarted(*ids, previous)
        if self.entry.text:
            yield ReplyTextDelta(*ids, self.entry.text)
        marks = [
            mark
            for mark in self.playback.marks
            if mark.position > self.resumed_from and mark.words is not None
        ]
        if answered := [mark for mark in marks if self._segments[mark.segment][0]]:
            yield self._placed(answered)

    @property
    def begun(self) -> bool:
        """Whether there is a segment to speak."""
        return bool(self._segments)

    def busy(self, now: float) -> float:
        """Seconds of work for it up to its first sound, or up to ``now`` before there is one."""
        made = Stage.FIRST_SOUND in self.timings.marks
        return (self.work[-1].end if made else now) - self.began

    @property
    def generated(self) -> bool:
        """Whether text and sound of the whole reply are complete."""
        return self.done is not None and self._spoken == len(self._segments)

    def over(self, now: float) -> bool:
        """Whether the whole reply was heard."""
        return self.generated and self.playback.all_sent and self.playback.ahead(now) <= 0

    def tell_end(self, *, sound_in_events: bool) -> Iterator[Command]:
        """Tell the client once that all of the reply was generated, and its sound sent."""
        waiting = sound_in_events and not self.playback.all_sent
        if self.told or self.done is None or not self.generated or waiting:
            return
        self.told = True
        cut = self.request.max_tokens is not None and self.done.stats.get("cut") == 1.0
        yield ReplyGenerated(
            self.response_id,
            self.entry.item_id,
            "incomplete" if cut else "completed",
            self.entry.text,
            self.done.stats,
            self.usage,
        )

    @property
    def usage(self) -> Usage | None:
        """The tokens of the reply so far; None where the responder counts none."""
        stats = self.done.stats if self.done else {}
        prompt = self.prompt or Prefilled(0, 0, 0.0)
        read = stats.get("prompt_tokens", prompt.cached_tokens + prompt.new_tokens)
        made = stats.get("tokens", self.done.steps if self.done else 0)
        if not read and not made:
            return None
        return Usage(int(read), prompt.cached_tokens, int(made))

    def tool(self, name: str) -> FunctionTool:
        """The function of this name; one that was not offered is the client's to explain."""
        found = (tool for tool in self.options.tools if tool.name == name)
        return next(found, FunctionTool(name))

    def call_complete(self, call: ToolCall) -> FunctionCall:
        """Take a complete call of a function into the reply."""
        entry = self.running_calls[call.call_id]
        entry.call = replace(call, call_id=entry.call.call_id)
        self.entry.calls.append(entry)
        return entry

    def heard_text(self, position: float) -> str:
        """The words of the reply up to ``position`` seconds of its sound."""
        return self._heard_source(position).strip()

    def spoken_lately(self, seconds: float, now: float) -> str:
        """The words that were being spoken in the last ``seconds``, as text and as spoken."""
        until = self.playback.heard(now)
        marks = self.playback.marks
        first = self.playback.mark_at(until - seconds)
        begun = 0 if first is None else marks.index(first) + 1
        passed = [mark for mark in marks[begun:] if mark.position <= until]
        last = marks[begun + len(passed) : begun + len(passed) + 1]  # the word being spoken
        within = [mark for mark in (*passed, *last) if self._segments[mark.segment][0]]
        if not within:
            return ""
        before = "" if first is None else self._source_by(first)
        said = self._source_by(within[-1])[len(before) :]
        return " ".join([said, *(self._word_at(mark) for mark in within)])

    def _word_at(self, mark: SpokenMark) -> str:
        """The spoken word that ends at ``mark``: "42" is two of them."""
        words = self._segments[mark.segment][1].text.split()
        place = len(words) if mark.words is None else mark.words
        return words[place - 1] if 0 < place <= len(words) else ""

    def _heard_source(self, position: float) -> str:
        mark = self.playback.mark_at(position)
        return "" if mark is None else self._source_by(mark)

    def _source_by(self, mark: SpokenMark) -> str:
        before = "".join(source for source, _ in self._segments[: mark.segment])
        source, spoken = self._segments[mark.segment]
        part = source if mark.words is None or not source else spoken.heard(mark.words)
        return before + part

    @property
    def rest(self) -> str:
        """The words after the position at which it was cut; empty if it was not."""
        cut = self._truncated_at
        return "" if cut is None else self.entry.text[len(self._heard_source(cut)) :].strip()

    def truncate(self, position: float) -> None:
        """Cut the reply in the history to ``position`` seconds of its sound that was sent."""
        if not self.entry.spoken:
            self.entry.heard = self.entry.text  # it is read as it comes
            return
        self._truncated_at = min(position, self.playback.sent)
        self.entry.interrupted = True
        self.entry.heard = self.heard_text(self._truncated_at)

    def finish(self) -> ReplyFinished:
        """End a reply that was heard whole."""
        if self._truncated_at is None:
            self.entry.heard = self.entry.text
        stats = self.done.stats if self.done else {}
        return ReplyFinished(
            self.response_id,
            self.entry.item_id,
            "completed",
            "",
            self.entry.text,
            stats,
            self.usage,
        )

    def cut(
        self, now: float, reason: str, status: Literal["cancelled", "failed"] = "cancelled"
    ) -> Iterator[Command]:
        """End an interrupted or failed reply: drop its unsent sound, remember what was heard."""
        position = self.playback.heard(now)
        self.playback.cut()
        self.entry.failed = status == "failed"
        self.truncate(position if self._truncated_at is None else self._truncated_at)
        ids = (self.response_id, self.entry.item_id)
        played = max(0.0, position - self.resumed_from)
        yield StopPlaying(*ids, played)
        if self.told and self.report_cut:
            yield ItemTruncated(self.entry.item_id, played)
        yield ReplyFinished(*ids, status, reason, self.entry.heard, usage=self.usage)
