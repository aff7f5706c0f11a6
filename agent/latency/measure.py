"""Places and times in the recording of a call. Pure: samples in, places out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.audio.samples import AUDIBLE_DBFS, NOISE_FLOOR_DBFS, Samples, first_above, last_above
from agent.latency.line import Line

SILENT_SECONDS = 0.2
"""The agent has stopped when nothing audible comes for so long; words have shorter pauses."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What the caller said, as places on the timeline of the call, in samples."""

    begins: int
    onset: int
    """The first sample above the noise floor."""
    ends: int
    """The last one."""

    @classmethod
    def placed(cls, samples: Samples, begins: int) -> Utterance:
        """``samples``, spoken from ``begins`` on."""
        onset = first_above(samples, NOISE_FLOOR_DBFS) or 0
        return cls(begins, begins + onset, begins + (last_above(samples, NOISE_FLOOR_DBFS) or 0))


def audible_from(line: Line, place: int) -> int | None:
    """The first audible sample at the ear from ``place`` on."""
    found = first_above(line.ear[place:], AUDIBLE_DBFS)
    return None if found is None else place + found


def silent_from(line: Line, place: int) -> int:
    """Where the agent has stopped speaking: ``place``, if it is silent from there on."""
    loud = np.flatnonzero(np.abs(line.ear[place:]) > 10 ** (AUDIBLE_DBFS / 20))
    if not len(loud):
        return place
    silent = SILENT_SECONDS * line.rate
    edges = np.concatenate([[-1], loud])
    breaks = np.flatnonzero(np.diff(edges) > silent)
    end = edges[breaks[0]] if len(breaks) else loud[-1]
    return place + int(end) + 1


def talked_over(line: Line, said: Utterance) -> float:
    """Seconds of audible sound of the agent between the first and the last sample of ``said``.

    Counted in pieces of 20 ms, so that a zero crossing is not taken for silence.
    """
    ear = np.abs(line.ear[said.onset : said.ends])
    size = line.rate // 50
    pieces = np.pad(ear, (0, -len(ear) % size)).reshape(-1, size)
    return int((pieces.max(axis=1, initial=0.0) > 10 ** (AUDIBLE_DBFS / 20)).sum()) / 50


def speaks_at(line: Line, place: int) -> bool:
    """Whether the agent is audible in the 20 ms before ``place``."""
    around = line.ear[max(0, place - line.rate // 50) : place]
    return first_above(around, AUDIBLE_DBFS) is not None


def leading_silence(line: Line, said: Utterance, audible: int) -> float | None:
    """Seconds of the reply's sound before its first audible sample.

    None: sound arrived already when the caller stopped, as where silence is sent, too.
    """
    begins = line.piece_start(audible)
    return None if begins < said.ends else (audible - begins) / line.rate
