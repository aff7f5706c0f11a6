"""Echo detection: the share of a microphone frame that is the agent's own voice.

Without headphones the agent's sound returns through the room, and VAD rightly reports speech;
taken for the caller's, it makes the agent interrupt itself. The playback is known, so every frame
of the microphone is compared with it, in powers of mel bands, hop by hop, over all delays up to
half a second. Nothing is subtracted and no waveforms are aligned, so a lossy codec, jitter and a
drifting delay do no harm (docs/adr/0010-echo.md has the figures).

The playback explains a frame as far as no band is louder than the echo of the playback before it.
The gain of a room is bounded without knowing the delay: all echoes of a sound lie in the half
second after it, so the loudest microphone power then, over the loudest playback power, is an upper
bound, whoever else spoke. The least bound so far is the estimate. It rises again where the
envelopes of all bands follow the playback's, only louder: then somebody turned the volume up. The
delay is the lag at which a second of these envelopes correlates best.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.audio.samples import AudioChunk, Samples, StreamResampler
from agent.audio.vad import FRAME_SAMPLES, RATE

HOP: Final = 256
"""Samples between two measurements (16 ms)."""
WINDOW: Final = 512
BANDS: Final = 24
LAGS: Final = 34
"""Hops of delay that are searched: 0 to 528 ms."""
HISTORY: Final = 64
"""Hops over which the delay and the bound are estimated (1 s)."""
SHAPE_HOPS: Final = 10
"""Hops over which the shape is compared (160 ms)."""

MAX_PIECES: Final = 1024
"""Newest pieces of playback that are kept."""
HORIZON: Final = 2 * RATE
"""Samples of past playback that are kept (2 s)."""

_FLOOR_DBFS: Final = -62.0
"""Level of the white noise that is added to both sides: quieter sound has no shape."""
_MOST_RETURNED: Final = 10 ** (-3 / 10)
"""Highest gain of a room in power, with which the estimate begins."""
_MARGIN: Final = 10 ** (3 / 10)
"""Power over the prediction that still counts as explained."""
_DECAY: Final = 0.5
"""Decay of the playback's power per hop: reverberation of 0.3 s."""
_FORGETTING: Final = 10 ** (0.01 / 10)
"""Factor by which the estimate rises each frame (0.3 dB a second)."""
_LOUDER: Final = 10 ** (2 / 10)
"""Factor by which the estimate rises in a frame of the playback's shape that is louder."""
_DELAY_CORRELATION: Final = 0.55
"""Correlation from which a delay is accepted; unrelated speech reaches 0.4."""
_SHAPE_CORRELATION: Final = 0.85
"""Correlation from which a frame has the playback's shape: 95 % of the frames with echo alone
exceed it, and 5 % of those in which a caller speaks 10 dB louder than the echo."""
_SEARCH_EVERY: Final = 8
"""Minimum number of frames between two searches for the delay."""
_BACKLOG: Final = 16
"""Frames without speech that are measured together: one by one they cost four times as much."""
_SPREAD: Final = 2
"""Hops on each side of the delay from which echo may come."""
KEPT: Final = HISTORY + LAGS + 2 * (_BACKLOG - 1)
"""Hops of history that are kept, enough for the oldest frame of a backlog."""

_PHASES = itertools.count()

Powers = NDArray[np.float32]


class EchoDetector:
    """Compares one call's microphone with what is played to it."""

    def __init__(self) -> None:
        self._playback = _Playback()
        self._clock = _Clock()
        self._microphone: Powers = np.zeros((KEPT, BANDS), np.float32)
        """Band powers of the microphone ``[KEPT, BANDS]``, newest last."""
        self._reverberated: Powers = np.zeros((KEPT, BANDS), np.float32)
        """Band powers of the playback with reverberation, in the same form."""
        self._quiet = True
        """Whether nothing was played during the kept hops."""
        self._backlog: list[tuple[Samples, Samples]] = []
        """Microphone and playback samples of frames that are not measured yet."""
        self._returned: Powers = np.full(BANDS, _MOST_RETURNED, np.float32)
        """Upper bound of the echo's power over the playback's, by band."""
        self._delay: int | None = None
        """Delay of the echo in hops; None while it is unknown."""
        self._last: Samples = np.zeros(HOP, np.float32)
        self._unsearched = 0
        """Frames since the last search for the delay."""
        self._backlog_phase = next(_PHASES)
        """Offset by which simultaneous calls measure their backlogs in different frames."""

    def played(self, samples: Samples, rate: int, at: float) -> None:
        """Note the next playback, audible from monotonic second ``at`` on.

        Pieces come in order; a constant error of ``at`` counts as delay.
        """
        self._playback.add(samples, rate, at)

    def stopped(self, at: float) -> None:
        """Drop the noted playback after monotonic second ``at``."""
        self._playback.cut(at)

    def likelihood(self, frame: AudioChunk) -> float:
        """The share of this frame that the playback explains, from 0 to 1.

        Frames are 512 samples at 16 kHz. Every frame of the call is given in order, to this method
        or to ``skip``. The caller's speech probability is that of the frame times one minus
        this share.

        Raises:
            ValueError: the frame has another size or rate.
        """
        if not self._remember(frame):
            return 0.0
        self._measure()
        if self._unsearched >= _SEARCH_EVERY:
            self._unsearched = 0
            self._search()
        return self._judge()

    def skip(self, frame: AudioChunk) -> bool:
        """Take a frame without speech, at a fraction of the cost of ``likelihood``.

        The frame bounds the echo as any other does. Returns whether anything was played lately.
        """
        due = (frame.start // FRAME_SAMPLES + self._backlog_phase) % _BACKLOG == 0
        audible = self._remember(frame)
        if audible and (due or len(self._backlog) >= _BACKLOG):
            self._measure()
        return audible

    def _remember(self, frame: AudioChunk) -> bool:
        """Add the frame and its playback to the backlog, if anything was played lately."""
        if frame.rate != RATE or len(frame.samples) != FRAME_SAMPLES:
            raise ValueError(f"a frame is {FRAME_SAMPLES} samples at {RATE} Hz")
        end = self._clock.end_of(frame)
        sound = np.concatenate([self._last, frame.samples])
        self._last = frame.samples[-HOP:]
        audible = self._playback.audible_before(end)
        if audible:
            self._quiet = False
            self._backlog.append((sound, self._playback.before(end, len(sound))))
        elif not self._quiet:
            self._quiet = True
            self._backlog.clear()
            self._microphone.fill(0.0)
            self._reverberated.fill(0.0)
        return audible

    def _measure(self) -> None:
        """Update band powers and bound with the frames of the backlog."""
        frames = len(self._backlog)
        # Axes: microphone or playback, hop, sample.
        sides = np.array(self._backlog).swapaxes(0, 1)
        self._backlog.clear()
        hops = np.stack([sides[:, :, :WINDOW], sides[:, :, HOP:]], axis=2)
        powers = band_powers(hops.reshape(-1, WINDOW)).reshape(2, 2 * frames, BANDS)
        for history, new in ((self._microphone, powers[0]), (self._reverberated, powers[1])):
            history[: -len(new)] = history[len(new) :]
            history[-len(new) :] = new
        for hop in range(-2 * frames, 0):
            np.maximum(
                self._reverberated[hop],
                _DECAY * self._reverberated[hop - 1],
                out=self._reverberated[hop],
            )
        self._bound(frames)
        self._unsearched += frames

    def _bound(self, frames: int) -> None:
        """Lower the estimate to the bound of the second before each of the newest ``frames``."""
        span = HISTORY + LAGS + 2 * (frames - 1)
        microphone = _loudest(self._microphone[-span:], HISTORY + LAGS)
        played = _loudest(self._reverberated[-span:-LAGS], HISTORY)
        microphone = np.maximum(microphone, _FLOOR)
        bound = np.where(played > 10 * _FLOOR, microphone / np.maximum(played, 1e-12), np.inf)
        since = np.arange(frames - 1, -1, -1, dtype=np.float32)[:, None]
        bound = (bound * _FORGETTING**since).min(axis=0)
        risen = self._returned * np.float32(_FORGETTING**frames)
        self._returned = np.minimum(risen, bound).clip(max=_MOST_RETURNED)

    def _search(self) -> None:
        """Find the delay at which the envelopes of the last second correlate best."""
        microphone = self._envelope(self._microphone[-HISTORY:])
        microphone = (microphone - microphone.mean(axis=0)).T.ravel()
        recent = self._reverberated[1 - HISTORY - LAGS :]
        played = self._envelope(recent * self._returned.mean())
        delayed = np.lib.stride_tricks.sliding_window_view(played, HISTORY, axis=0)
        delayed = (delayed - delayed.mean(axis=2, keepdims=True)).reshape(len(delayed), -1)
        power = np.einsum("lk,lk->l", delayed, delayed) * (microphone @ microphone)
        correlation = delayed @ microphone / np.sqrt(power + 1e-6)
        best = int(correlation.argmax())
        if correlation[best] > _DELAY_CORRELATION:
            self._delay = len(correlation) - 1 - best

    def _judge(self) -> float:
        microphone = self._microphone[-2:].mean(axis=0)
        unexplained = np.maximum(microphone - _MARGIN * (self._prediction() + _FLOOR), 0.0)
        if self._has_shape():
            louder = np.where(unexplained > 0, np.float32(_LOUDER), np.float32(1.0))
            self._returned = (self._returned * louder).clip(max=_MOST_RETURNED)
        return 1.0 - float(unexplained.sum() / max(microphone.sum(), 1e-12))

    def _prediction(self) -> Powers:
        """The loudest echo that the newest frame may contain, by band."""
        newest = len(self._reverberated)
        first, last = 0, LAGS - 1
        if self._delay is not None:
            first, last = max(0, self._delay - _SPREAD), self._delay + _SPREAD
        span = self._reverberated[newest - 1 - last : newest - first]
        prediction: Powers = self._returned * span.max(axis=0)
        return prediction

    def _has_shape(self) -> bool:
        """Whether the last envelopes follow the playback's at the known delay."""
        if self._delay is None:
            return False
        end = len(self._reverberated) - self._delay
        played = self._envelope(self._reverberated[:end][-HISTORY:] * self._returned.mean())
        microphone = self._envelope(self._microphone[-HISTORY:])
        a = microphone[-SHAPE_HOPS:] - microphone.mean(axis=0)
        b = played[-SHAPE_HOPS:] - played.mean(axis=0)
        power = np.square(a).sum() * np.square(b).sum()
        return float((a * b).sum()) > _SHAPE_CORRELATION * float(np.sqrt(power + 1e-6))

    @staticmethod
    def _envelope(powers: Powers) -> Powers:
        envelope: Powers = np.log(powers + _FLOOR)
        return envelope


class _Clock:
    """Capture times of the microphone's samples, without the jitter of the line.

    Samples are counted, so that their distances are exact; the least delay of the last two
    seconds gives their absolute time.
    """

    def __init__(self) -> None:
        self._offsets: deque[float] = deque(maxlen=64)

    def end_of(self, frame: AudioChunk) -> int:
        """The end of a frame, in samples at 16 kHz of monotonic time."""
        self._offsets.append(frame.captured_at - frame.end / RATE)
        return frame.end + round(min(self._offsets) * RATE)


class _Playback:
    """The playback by monotonic time, at 16 kHz."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, Samples]] = deque(maxlen=MAX_PIECES)
        self._resampler = StreamResampler(RATE, RATE)

    def add(self, samples: Samples, rate: int, at: float) -> None:
        if rate != self._resampler.source_rate:
            self._resampler = StreamResampler(rate, RATE)
        self._pieces.append((round(at * RATE), self._resampler.push(samples)))

    def cut(self, at: float) -> None:
        end = round(at * RATE)
        kept = [(start, piece[: end - start]) for start, piece in self._pieces if start < end]
        self._pieces = deque(kept, maxlen=MAX_PIECES)

    def audible_before(self, end: int) -> bool:
        """Whether anything was played in the two seconds before ``end``; drops older pieces."""
        while self._pieces:
            start, piece = self._pieces[0]
            if start + len(piece) > end - HORIZON:
                return True
            self._pieces.popleft()
        return False

    def before(self, end: int, length: int) -> Samples:
        """The ``length`` samples before ``end``; zeros where nothing was played."""
        begin = end - length
        sound = np.zeros(length, np.float32)
        for start, piece in reversed(self._pieces):
            if start + len(piece) <= begin:
                break  # so do all before it
            first, last = max(start, begin), min(start + len(piece), end)
            if first < last:
                sound[first - begin : last - begin] = piece[first - start : last - start]
        return sound


def _loudest(powers: Powers, hops: int) -> Powers:
    """The maximum of each band over ``hops`` hops, for every second hop that ends such a span."""
    spans, length = powers, 1
    while length < hops:
        step = min(length, hops - length)
        spans = np.maximum(spans[:-step], spans[step:])
        length += step
    return spans[::2]


def band_powers(sound: Samples) -> Powers:
    """Mean power of windows ``[n, 512]`` in mel bands: ``[n, BANDS]``."""
    spectrum = np.fft.rfft(sound * _TAPER, axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return (power @ _MEL / WINDOW).astype(np.float32)


def _mel_filters() -> NDArray[np.float64]:
    """Triangles from 150 to 7600 Hz, ``[257, BANDS]``, equidistant on O'Shaughnessy's mel scale."""

    def mel(hertz: float) -> float:
        return 2595 * float(np.log10(1 + hertz / 700))

    edges = 700 * (10 ** (np.linspace(mel(150), mel(7600), BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(rising, falling), 0.0)


_TAPER = np.hanning(WINDOW)
_MEL = _mel_filters()
_FLOOR = ((10 ** (_FLOOR_DBFS / 10)) * np.square(_TAPER).sum() / WINDOW * _MEL.sum(axis=0)).astype(
    np.float32
)
"""Band powers of white noise at the floor."""
