"""Whose voice: the caller's level, learnt from what he says, tells him from voices far away.

A television or a colleague is heard 15 to 45 dB under the person at the microphone. Frames are
compared by the loudest of the last few, so that the weak sounds within a word stay part of it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from agent.audio.samples import Samples

VOICE: Final = 0.4
"""Speech probability from which a frame is somebody's voice."""
FRAME_SECONDS: Final = 0.032
HOLD: Final = 4
"""Frames whose loudest stands for the newest: 0.13 s, about a syllable."""
FALL: Final = 16
"""Frames of a low voice on end, half a second, from which on it is not the caller's. His own falls
within a sentence and at its end, by 7 to 10 dB, for 0.35 s in the longest of 150 falls."""
DROP: Final = 8
"""The same of a voice that is lower than he falls, or low where it sets in after a pause."""
GAP_SECONDS: Final = 0.19
"""Seconds without any voice that are a pause, and no gap within a word."""
LEARNT: Final = 12
"""Frames of voice from which on the level is known: 0.4 s."""
WINDOW: Final = 160
"""Frames of the caller's voice that the level is learnt from, about 5 s of speech."""
LOUDEST: Final = 80
"""Percentile of the levels in the window that is the caller's level."""
FAR: Final = 24.0
"""dB under the caller from which on a voice is not his, wherever it begins."""
FAR_OVER_AGENT: Final = 15.0
"""The same while the agent speaks: who wants to be heard over it does not speak more softly."""
BEHIND: Final = 7.0
"""dB under the caller from which on a voice in his turn is low."""
DEEP: Final = 12.0
"""dB under the caller to which he does not fall for longer than a sound."""
PAUSE_SECONDS: Final = 2.0
"""Seconds without any voice after which the next voice may begin at another level."""
ABOVE_BACKGROUND: Final = 5.0
"""dB above a far voice that goes on in the background from which on a voice may be the caller's."""
FORGET_SECONDS: Final = 8.0
"""Seconds without any voice after which a far voice is over."""
PHRASE: Final = (0.4, 6.0)
"""Seconds of a far voice between two silences that may be the caller, who has gone quiet."""
WAIT_SECONDS: Final = 1.2
"""Seconds of silence after which such a phrase waits for an answer."""
STEP_DB: Final = 6.0
MOST_STEPS_DB: Final = 18.0
"""dB by which the level may fall, step by step, for phrases that nobody answered."""
QUIETEST: Final = -120.0


def level_of(frame: Samples) -> float:
    """Level of a frame in dB of full scale, by its mean power."""
    power = float(np.mean(np.square(frame)))
    return 10.0 * float(np.log10(power)) if power > 1e-12 else QUIETEST


@dataclass(slots=True)
class CallerLevel:
    """Learns the caller's level and says frame by frame whether a voice may be his.

    Attributes:
        level: the caller's level in dB; None until enough of his voice was heard.
    """

    level: float | None = None
    _turn_level: float | None = None
    """The same of what he has said since his last long silence."""
    _window: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _turn: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _background: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    """Levels of voices that were not the caller's."""
    _held: deque[float] = field(default_factory=lambda: deque(maxlen=HOLD))
    _since_voice: float = PAUSE_SECONDS
    """Seconds since any voice, the caller's or a far one."""
    _low: int = 0
    """Frames of low voice on end, without a pause."""
    _deep: int = 0
    """Those of them on end that lie deep under the caller."""
    _after_pause: bool = False
    """Whether the voice has been low since it set in after a pause."""
    _far: bool = False
    """Whether the last voice within the turn was a far one."""
    _far_voice: float = 0.0
    """Seconds of far voice since the last silence."""
    _lowered: float = 0.0
    """dB by which the level was lowered for phrases that nobody answered."""

    def is_caller(self, level: float, probability: float, over_agent: bool = False) -> bool:
        """Whether the next frame may be the caller's voice; every frame must be given.

        Args:
            level: of the frame in dB (`level_of`).
            probability: the speech probability of the frame.
            over_agent: whether the agent is heard at that time.
        """
        self._held.append(level)
        self._since_voice += FRAME_SECONDS
        if probability < VOICE:
            self._note_silence()
            return True
        self._since_voice = 0.0
        if self._is_far(FAR_OVER_AGENT if over_agent else FAR):
            self._far_voice += FRAME_SECONDS
            self._background.append(level)
            return False
        self._far_voice = 0.0
        self._learn(level)
        return True

    def _is_far(self, far: float) -> bool:
        """Whether the voice is far away: at a start at once, in a turn once it stays low.

        Args:
            far: dB under the caller from which on a voice is not his where it begins.
        """
        loudest = max(self._held)
        low = loudest < self._lowest(far)
        if self._turn_level is None:
            return low
        under = self._turn_level - loudest
        self._low = self._low + 1 if low else 0
        self._deep = self._deep + 1 if under > DEEP else 0
        allowed, deepest = (DROP, far) if self._after_pause else (FALL, FAR)
        if not low:
            self._far = self._after_pause = False
        elif under > deepest or self._low >= allowed or self._deep >= DROP:
            self._far = True
        return low and self._far

    def _lowest(self, far: float) -> float:
        """Level under which a voice is not the caller's at this moment, in dB."""
        if self._turn_level is not None:
            return self._turn_level - BEHIND
        lowest = QUIETEST if self.level is None else self.level - far
        background = _loudness(self._background, None)
        return lowest if background is None else max(lowest, background + ABOVE_BACKGROUND)

    def _learn(self, level: float) -> None:
        self._window.append(level)
        self._turn.append(level)
        self.level = _loudness(self._window, self.level)
        self._turn_level = _loudness(self._turn, self._turn_level)

    def _note_silence(self) -> None:
        if self._since_voice >= GAP_SECONDS:
            self._low = self._deep = 0
            self._after_pause = True
        if self._since_voice >= WAIT_SECONDS and self._far_voice:
            self._note_phrase()
        if self._since_voice >= FORGET_SECONDS:
            self._background.clear()
        if self._since_voice >= PAUSE_SECONDS:
            self._turn.clear()
            self._turn_level, self._far = None, False

    def _note_phrase(self) -> None:
        """Lower the level for a far phrase and a wait after it: the caller may have gone quiet."""
        shortest, longest = PHRASE
        fallen = min(STEP_DB, MOST_STEPS_DB - self._lowered)
        if shortest <= self._far_voice <= longest and self.level is not None and fallen > 0:
            self._lowered += fallen
            self.level -= fallen
            self._window.clear()
            self._background.clear()
        self._far_voice = 0.0


def _loudness(window: deque[float], before: float | None) -> float | None:
    """The level of a window of frames; it is found anew with every fourth frame."""
    few = len(window) < LEARNT
    if few or (before is not None and len(window) % 4 and len(window) < WINDOW):
        return before
    return float(np.percentile(window, LOUDEST))
