"""``onebreath bench endpoint``: false cut-offs and endpoint delays by endpointing policy.

Each utterance passes through the turn detector. At each pause the recogniser decodes the speech so
far, as in a call, and each policy gives the longest pause that it allows. A longer pause inside the
utterance is a false cut-off. After the last word, the time from the end of the speech to the end of
the turn is the endpoint delay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any, Final

import numpy as np

from agent.audio.samples import Samples
from agent.audio.smart_turn import MODEL, SmartTurn
from agent.audio.vad import FRAME_SAMPLES, RATE, SileroVad, SpeechGateFactory
from agent.bench.figures import Progress
from agent.bench.utterances import (
    SpeakUtterance,
    SpokenUtterance,
    Utterance,
    program_voice,
    read_utterances,
    synthesizer_voice,
)
from agent.config.settings import Settings, TurnSettings
from agent.models import store
from agent.reply import Message, Prefilled, TurnEnding
from agent.runtime.engines import load_asr, load_tts, make_responder, thread_plan
from agent.session.endpointing import SOUNDS_OVER, EndpointDelays, verdict_of
from agent.turn_taking.completeness import completeness
from agent.turn_taking.detector import TurnDetector, TurnEvent
from agent.turn_taking.ending import whole_probability
from asr.engine import Transcriber

EAGER: Final = EndpointDelays(0.2, 0.5, 1.5)
"""Shorter delays than the default, in seconds."""
PATIENT: Final = EndpointDelays(0.3, 1.0, 1.5)
"""Longer delays than the default, in seconds."""
SHORTEST: Final = 0.2
"""Shortest pause that a policy may take for the end, in seconds."""
DECODE_AFTER: Final = 0.096
"""Seconds of a pause after which the words are decoded and the turn model is asked."""
FACTORS: Final = tuple(round(0.1 + 0.05 * number, 2) for number in range(59))
"""Factors of all delays of a policy, for its curve: 0.1 to 3."""
FADE_TOLERANCE: Final = 0.15
"""Seconds by which the detector may take the fading end of an utterance for silence too early."""


@dataclass(frozen=True, slots=True)
class Pause:
    """One pause of one utterance, with the transcript up to it.

    Attributes:
        voice: name of the caller's voice.
        kind: kind of the utterance, such as ``question``.
        text: the whole utterance as written.
        held_out: whether the utterance belongs to the half on which no rule was tuned.
        final: whether the pause follows the last word.
        late: seconds from the end of the speech to the detected end; 0 for other than final pauses.
        seconds: length of the pause; for a final pause, until the recording ends.
        words: transcript of the speech before the pause.
        decode_seconds: time of the recogniser, in seconds.
        seconds_of_speech: length of the turn before the pause.
        seconds_of_voice: the same without the pauses within it.
        model: smart-turn's probability (0 to 1) that the turn is over; None: not asked.
        ending: what the responder's head says of the words; None where it has no head.
    """

    voice: str
    kind: str
    text: str
    held_out: bool
    final: bool
    late: float
    seconds: float
    words: str
    decode_seconds: float
    seconds_of_speech: float
    seconds_of_voice: float
    model: float | None
    ending: TurnEnding | None = None


Policy = Callable[[Pause], float]
"""Longest pause that a policy allows, in seconds."""


def fixed(seconds: float) -> Policy:
    """Policy with the same delay for every pause."""
    return lambda pause: seconds


def by_rules(delays: EndpointDelays) -> Policy:
    """Policy that decides by the words alone."""
    return lambda pause: delays.after(verdict_of(pause.words, pause.seconds_of_speech, 0.0))


def by_model(delays: EndpointDelays) -> Policy:
    """Policy that decides by smart-turn alone, at its own threshold."""
    return lambda pause: (
        delays.complete if _probability(pause) >= SOUNDS_OVER else delays.incomplete
    )


def by_head(delays: EndpointDelays) -> Policy:
    """By the words and the responder's head, as one probability."""

    def delay(pause: Pause) -> float:
        found = completeness(pause.words, pause.seconds_of_speech)
        if pause.ending is None:
            return delays.after(found.verdict)
        voice = pause.seconds_of_voice
        return delays.at(whole_probability(found, pause.ending, seconds_of_voice=voice))

    return delay


def by_both(delays: EndpointDelays) -> Policy:
    """Policy that decides by the words and, where they leave it open, by smart-turn."""
    return lambda pause: delays.after(
        verdict_of(pause.words, pause.seconds_of_speech, _probability(pause))
    )


def _probability(pause: Pause) -> float:
    return pause.model or 0.0


def policies(
    settings: TurnSettings, with_model: bool, with_head: bool = False
) -> dict[str, Policy]:
    """Policies to compare, by name; ``rules`` uses the delays of the settings."""
    delays = EndpointDelays.of(settings)
    found: dict[str, Policy] = {
        "fixed 500 ms": fixed(0.5),
        "fixed 800 ms": fixed(0.8),
        "rules": by_rules(delays),
        "eager rules": by_rules(EAGER),
        "patient rules": by_rules(PATIENT),
    }
    if with_head:
        found["rules + head"] = by_head(delays)
    if with_model:
        found["smart-turn"] = by_model(delays)
        found["rules + smart-turn"] = by_both(delays)
    return found


WordsJudge = Callable[[str], TurnEnding | None]
"""Judges the words of a pause as the responder does that drafts a reply to them."""


def head_judge(settings: Settings, engines: ExitStack, progress: Progress) -> WordsJudge | None:
    """The responder's head; None where the responder has none."""
    responder = make_responder(settings.responder, thread_plan(settings).responder, progress)
    engines.callback(responder.close)
    if not getattr(responder, "judges_turns", False):
        return None
    call = responder.open()
    instructions = Message("system", settings.responder.instructions)

    def judge(words: str) -> TurnEnding | None:
        pieces = call.reply([instructions, Message("user", words)])
        if not isinstance(pieces, Generator):
            return None
        with closing(pieces):
            first = next(pieces)
        return first.ending if isinstance(first, Prefilled) else None

    return judge


class PauseFinder:
    """Finds the pauses of utterances with the turn detector and transcribes the speech before them.

    Args:
        transcriber: recogniser.
        new_gate: makes the voice activity detector of one utterance.
        model: turn model; None: not asked.
        settings: settings of the turn detector.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        new_gate: SpeechGateFactory,
        model: SmartTurn | None,
        settings: TurnSettings,
        judge: WordsJudge | None = None,
    ) -> None:
        self._judge = judge
        self._transcriber = transcriber
        self._new_gate = new_gate
        self._model = model
        self._settings = settings.model_copy(update={"endpoint_delay": 5.0})

    def pauses(self, name: str, utterance: Utterance, spoken: SpokenUtterance) -> Iterator[Pause]:
        """Yield the pauses of at least ``SHORTEST`` seconds, in order; the last one is final.

        Args:
            name: name of the voice.
            utterance: the utterance as written.
            spoken: the utterance as audio.
        """
        silent = 0.0
        for began, start, seconds in self._silences(spoken):
            if seconds < SHORTEST:
                continue
            before, silent = silent, silent + seconds
            heard = self._heard(spoken, began, start)
            opened = time.perf_counter()
            words = self._decode(heard)
            decode_seconds = time.perf_counter() - opened
            final = start > spoken.speech_end - FADE_TOLERANCE
            yield Pause(
                voice=name,
                kind=utterance.kind,
                text=utterance.text,
                held_out=utterance.held_out,
                final=final,
                late=start - spoken.speech_end if final else 0.0,
                seconds=seconds,
                words=words,
                decode_seconds=decode_seconds,
                seconds_of_speech=start - began,
                seconds_of_voice=start - began - before,
                model=self._model.probability(heard) if self._model else None,
                ending=self._judge(words) if self._judge is not None and words else None,
            )

    def _silences(self, spoken: SpokenUtterance) -> Iterator[tuple[float, float, float]]:
        """Yield (begin of the turn, begin of the pause, length of the pause), in seconds."""
        gate, detector = self._new_gate(), TurnDetector(self._settings)
        began = paused = 0.0
        frame = FRAME_SAMPLES / RATE
        whole = len(spoken.samples) // FRAME_SAMPLES
        for number in range(whole):
            sound = spoken.samples[number * FRAME_SAMPLES : (number + 1) * FRAME_SAMPLES]
            now = number * frame
            event = detector.frame(gate.probability(sound), now, now + frame)
            if event is TurnEvent.BEGAN:
                began = detector.began
            elif event is TurnEvent.PAUSED:
                paused = detector.speech_end
            elif event is TurnEvent.RESUMED:
                # No turn ends while the detector waits to see whether speech has resumed.
                yield began, paused, detector.set_in - paused
        yield began, paused, whole * frame - paused

    def _heard(self, spoken: SpokenUtterance, began: float, start: float) -> Samples:
        first = max(0, round((began - self._settings.pre_roll) * RATE))
        return spoken.samples[first : round((start + DECODE_AFTER) * RATE)]

    def _decode(self, heard: Samples) -> str:
        listening = self._transcriber.listen()
        try:
            listening.feed(heard)
            return listening.finish().text
        finally:
            listening.close()


def measure(
    settings: Settings,
    names: Sequence[str],
    progress: Progress,
    utterances: Sequence[Utterance] | None = None,
) -> tuple[list[Pause], bool]:
    """Find the pauses of all utterances in all voices; takes about a second per utterance.

    Args:
        settings: settings of the agent.
        names: voices: ``piper``, ``espeak-ng:VOICE`` or ``flite:VOICE``.
        progress: called with a description of each step.
        utterances: what the voices say; None: the bundled utterances.

    Returns:
        The pauses, and whether smart-turn was asked.

    Raises:
        OnebreathError: a voice or a model is missing.
    """
    threads = thread_plan(settings)
    utterances = read_utterances() if utterances is None else utterances
    pauses: list[Pause] = []
    with ExitStack() as engines:
        voices = {name: _voice(name, settings, engines, progress) for name in names}
        transcriber = engines.enter_context(closing(load_asr(settings, threads.asr, progress)))
        transcriber.warm_up()
        model = None if store.problems(MODEL) else engines.enter_context(closing(SmartTurn.load()))
        judge = head_judge(settings, engines, progress)
        finder = PauseFinder(transcriber, SileroVad.load(), model, settings.turns, judge)
        for name, say in voices.items():
            for number, utterance in enumerate(utterances, 1):
                progress(f"{name}: utterance {number} of {len(utterances)}")
                pauses += finder.pauses(name, utterance, say(utterance))
    return pauses, model is not None


def _voice(name: str, settings: Settings, engines: ExitStack, progress: Progress) -> SpeakUtterance:
    if name != "piper":
        return program_voice(name)
    threads = thread_plan(settings).tts
    return synthesizer_voice(engines.enter_context(closing(load_tts(settings, threads, progress))))


def figures(
    pauses: Sequence[Pause], settings: TurnSettings, with_model: bool
) -> Iterator[dict[str, Any]]:
    """Yield a row for each half of the utterances and each policy."""
    for held_out in (False, True):
        half = [pause for pause in pauses if pause.held_out is held_out]
        if not half:
            continue
        with_head = any(pause.ending is not None for pause in half)
        for name, policy in policies(settings, with_model, with_head).items():
            yield {"half": "held out" if held_out else "tuned on", "policy": name} | score(
                half, policy
            )


def score(pauses: Sequence[Pause], policy: Policy) -> dict[str, Any]:
    """Compute the false cut-offs and delays of one policy; times are in milliseconds.

    ``delay`` is the time from the end of the speech to the end of the turn, if the transcript were
    known at once. ``answer`` is the time until a reply can begin: the turn is over, and the
    transcript is decoded, which begins in the pause and takes the time measured on this machine.
    """
    inside = [pause for pause in pauses if not pause.final]
    final = [pause for pause in pauses if pause.final]
    cut = [pause for pause in inside if policy(pause) < pause.seconds]
    utterances = {(pause.voice, pause.text) for pause in final}
    cut_short = {(pause.voice, pause.text) for pause in cut}
    delays = [1000 * (pause.late + policy(pause)) for pause in final]
    answers = [
        1000 * (pause.late + max(policy(pause), DECODE_AFTER + pause.decode_seconds))
        for pause in final
    ]
    return {
        "utterances": len(utterances),
        "pauses": len(inside),
        "pauses_cut": len(cut),
        "false_cutoff_rate": round(len(cut_short) / len(utterances), 4),
        "mean_delay_ms": round(mean(delays), 1),
        "p90_delay_ms": round(float(np.percentile(delays, 90)), 1),
        "mean_answer_ms": round(mean(answers), 1),
        **scaled(pauses, policy),
    }


def scaled(pauses: Sequence[Pause], policy: Policy) -> dict[str, float | None]:
    """Two points of the policy's curve, which all its delays times one factor draw.

    They are the false cut-offs at a mean delay of 300 ms and the mean delay, in ms, from which on
    at most 5 % of the utterances are cut off; None where no factor in reach does that.
    """
    inside = [(policy(pause), pause) for pause in pauses if not pause.final]
    final = [policy(pause) for pause in pauses if pause.final]
    count = len({(pause.voice, pause.text) for pause in pauses if pause.final})
    points = []
    for factor in FACTORS:
        cut = {(p.voice, p.text) for delay, p in inside if factor * delay < p.seconds}
        points.append((factor * mean(final), len(cut) / count))
    fast = min(points, key=lambda point: abs(point[0] - 0.3))
    careful = [delay for delay, cut in points if cut <= 0.05]
    return {
        "cutoff_rate_at_300_ms": round(fast[1], 4),
        "delay_at_5_percent_ms": round(1000 * min(careful), 1) if careful else None,
    }


def pause_row(pause: Pause) -> dict[str, Any]:
    """The pause as a JSON row, with the verdict of the rules."""
    found = completeness(pause.words, pause.seconds_of_speech)
    numbers = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(pause).items()}
    return numbers | {"verdict": found.verdict.name, "rule": found.rule}
