"""How often are callers cut off, and how long do they wait? By policy, on utterances with pauses.

Every utterance goes through the turn detector; at each pause that a policy could take for the end
the recogniser decodes what was said so far, as in a call. Then each policy says how long that pause
may last. A pause inside the utterance that lasts longer is a false cut-off; after the last
word the wait from the end of the sound to the end of the turn is the endpoint delay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
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
    CallersVoice,
    Spoken,
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
PATIENT: Final = EndpointDelays(0.3, 1.0, 1.5)
SHORTEST: Final = 0.2
"""Shorter pauses are none for any policy."""
LISTENED: Final = 0.096
"""Seconds of a pause after which the words are decoded and the turn model is asked."""
FACTORS: Final = tuple(round(0.1 + 0.05 * number, 2) for number in range(59))
"""Factors of all delays of a policy, for its curve: 0.1 to 3."""
SHORT_OF_END: Final = 0.15
"""The detector may take the last, fading sound of an utterance for silence this much too early."""


@dataclass(frozen=True, slots=True)
class Pause:
    """One pause of one utterance, and what was known in it."""

    voice: str
    kind: str
    text: str
    """The whole utterance as written."""
    held_out: bool
    final: bool
    """After the last word."""
    late: float
    """Seconds from the end of the sound to what the detector takes for it; final pauses only."""
    seconds: float
    """How long it lasts; of a final pause, until the recording ends."""
    words: str
    """What the recogniser had heard."""
    decode_seconds: float
    seconds_of_speech: float
    model: float | None
    """smart-turn's probability that the turn is over."""
    ending: TurnEnding | None = None
    """What the responder's head says of the words."""


Policy = Callable[[Pause], float]
"""Seconds that a pause may last."""


def fixed(seconds: float) -> Policy:
    """The same for every pause."""
    return lambda pause: seconds


def by_rules(delays: EndpointDelays) -> Policy:
    """By the words alone."""
    return lambda pause: delays.after(verdict_of(pause.words, pause.seconds_of_speech, 0.0))


def by_model(delays: EndpointDelays) -> Policy:
    """By smart-turn alone, at its own threshold."""
    return lambda pause: delays.complete if _melody(pause) >= SOUNDS_OVER else delays.incomplete


def by_both(delays: EndpointDelays) -> Policy:
    """By the words; where they leave it open, smart-turn may say that they are complete."""
    return lambda pause: delays.after(
        verdict_of(pause.words, pause.seconds_of_speech, _melody(pause))
    )


def by_head(delays: EndpointDelays) -> Policy:
    """By the words and the responder's head, as one probability."""

    def delay(pause: Pause) -> float:
        found = completeness(pause.words, pause.seconds_of_speech)
        if pause.ending is None:
            return delays.after(found.verdict)
        return delays.at(whole_probability(found, pause.ending))

    return delay


def _melody(pause: Pause) -> float:
    return pause.model or 0.0


def policies(
    settings: TurnSettings, with_model: bool, with_head: bool = False
) -> dict[str, Policy]:
    """What is compared, by name; ``rules`` is what the settings say."""
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
        with closing(pieces):
            first = next(pieces)
        return first.ending if isinstance(first, Prefilled) else None

    return judge


class PauseFinder:
    """Plays utterances to the detector and the recogniser and notes the pauses."""

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

    def pauses(self, name: str, utterance: Utterance, spoken: Spoken) -> Iterator[Pause]:
        """The pauses of at least the shortest delay, in order; the last one is final."""
        for began, start, seconds in self._silences(spoken):
            if seconds < SHORTEST:
                continue
            heard = self._heard(spoken, began, start)
            opened = time.perf_counter()
            words = self._decode(heard)
            decode_seconds = time.perf_counter() - opened
            final = start > spoken.speech_end - SHORT_OF_END
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
                model=self._model.probability(heard) if self._model else None,
                ending=self._judge(words) if self._judge is not None and words else None,
            )

    def _silences(self, spoken: Spoken) -> Iterator[tuple[float, float, float]]:
        """(begin of the turn, begin of the pause, its seconds)."""
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
                # While it is open whether somebody speaks again, no turn ends.
                yield began, paused, detector.set_in - paused
        yield began, paused, whole * frame - paused

    def _heard(self, spoken: Spoken, began: float, start: float) -> Samples:
        first = max(0, round((began - self._settings.pre_roll) * RATE))
        return spoken.samples[first : round((start + LISTENED) * RATE)]

    def _decode(self, heard: Samples) -> str:
        listening = self._transcriber.listen()
        try:
            listening.feed(heard)
            return listening.finish().text
        finally:
            listening.close()


def measure(
    settings: Settings, names: Sequence[str], progress: Progress
) -> tuple[list[Pause], bool]:
    """All pauses of all voices, and whether smart-turn was asked; about a second of work each.

    Raises:
        OnebreathError: a voice or a model is missing.
    """
    threads = thread_plan(settings)
    utterances = read_utterances()
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


def _voice(name: str, settings: Settings, engines: ExitStack, progress: Progress) -> CallersVoice:
    if name != "piper":
        return program_voice(name)
    threads = thread_plan(settings).tts
    return synthesizer_voice(engines.enter_context(closing(load_tts(settings, threads, progress))))


def figures(
    pauses: Sequence[Pause], settings: TurnSettings, with_model: bool
) -> Iterator[dict[str, Any]]:
    """A row for each half and policy."""
    for held_out in (False, True):
        half = [pause for pause in pauses if pause.held_out is held_out]
        with_head = any(pause.ending is not None for pause in half)
        for name, policy in policies(settings, with_model, with_head).items():
            yield {"half": "held out" if held_out else "tuned on", "policy": name} | score(
                half, policy
            )


def score(pauses: Sequence[Pause], policy: Policy) -> dict[str, Any]:
    """Cut-offs and delays of one policy.

    ``delay`` runs from the end of the sound to the end of the turn, were the words known at once;
    ``answer`` to when a reply can begin: the turn is over and the words, whose decoding
    began in the pause and took what it took on this machine, are known.
    """
    inside = [pause for pause in pauses if not pause.final]
    final = [pause for pause in pauses if pause.final]
    cut = [pause for pause in inside if policy(pause) < pause.seconds]
    utterances = {(pause.voice, pause.text) for pause in final}
    cut_short = {(pause.voice, pause.text) for pause in cut}
    delays = [1000 * (pause.late + policy(pause)) for pause in final]
    answers = [
        1000 * (pause.late + max(policy(pause), LISTENED + pause.decode_seconds)) for pause in final
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
    """Everything about one pause, with the verdict on it."""
    found = completeness(pause.words, pause.seconds_of_speech)
    numbers = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(pause).items()}
    return numbers | {"verdict": found.verdict.name, "rule": found.rule}
