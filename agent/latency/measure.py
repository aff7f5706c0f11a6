"""Positions and times in the recording of a call. Pure: samples in, positions out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.audio.samples import AUDIBLE_DBFS, NOISE_FLOOR_DBFS, Samples, first_above, last_above
from agent.latency.call_audio import CallAudio

SILENT_SECONDS = 0.2
"""Silence after which the agent has stopped speaking, in seconds; pauses in words are shorter."""


@dataclass(frozen=True, slots=True)
class SpeechInterval:
    """Position of the caller's speech in the recording of the call, in samples.

    Attributes:
        begins: first sample of the recording that was played.
        onset: first sample above the noise floor.
        ends: last sample above the noise floor.
    """

    begins: int
    onset: int
    ends: int

    @classmethod
    def placed(cls, samples: Samples, begins: int) -> SpeechInterval:
        """Locate the speech in ``samples``, which are played from sample ``begins`` on."""
        onset = first_above(samples, NOISE_FLOOR_DBFS) or 0
        return cls(begins, begins + onset, begins + (last_above(samples, NOISE_FLOOR_DBFS) or 0))


def audible_from(audio: CallAudio, place: int) -> int | None:
    """First audible sample at the ear from sample ``place`` on; None without any."""
    found = first_above(audio.ear[place:], AUDIBLE_DBFS)
    return None if found is None else place + found


def silent_from(audio: CallAudio, place: int) -> int:
    """First sample from ``place`` on at which the agent has stopped speaking."""
    loud = np.flatnonzero(np.abs(audio.ear[place:]) > 10 ** (AUDIBLE_DBFS / 20))
    if not len(loud):
        return place
    silent = SILENT_SECONDS * audio.rate
    edges = np.concatenate([[-1], loud])
    breaks = np.flatnonzero(np.diff(edges) > silent)
    end = edges[breaks[0]] if len(breaks) else loud[-1]
    return place + int(end) + 1


def talked_over(audio: CallAudio, said: SpeechInterval) -> float:
    """Seconds of audible agent audio between the onset and the end of ``said``.

    Audio is counted in pieces of 20 ms, so that zero crossings do not count as silence.
    """
    ear = np.abs(audio.ear[said.onset : said.ends])
    size = audio.rate // 50
    pieces = np.pad(ear, (0, -len(ear) % size)).reshape(-1, size)
    return int((pieces.max(axis=1, initial=0.0) > 10 ** (AUDIBLE_DBFS / 20)).sum()) / 50


def speaks_at(audio: CallAudio, place: int) -> bool:
    """Whether the agent is audible in the 20 ms before sample ``place``."""
    around = audio.ear[max(0, place - audio.rate // 50) : place]
    return first_above(around, AUDIBLE_DBFS) is not None


def leading_silence(audio: CallAudio, said: SpeechInterval, audible: int) -> float | None:
    """Seconds of silence in the reply before its first audible sample.

    None: audio was already arriving when the caller stopped, as from agents that send silence.
    """
    begins = audio.segment_start(audible)
    return None if begins < said.ends else (audible - begins) / audio.rate
