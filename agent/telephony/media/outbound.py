"""The agent's audio on its way to the peer: resampled, cut into frames, paced, truncated."""

from __future__ import annotations

from agent.audio.samples import Samples, StreamResampler
from agent.session.events import Truncate
from agent.telephony.dialects.base import Capabilities
from agent.telephony.media.pacer import FRAME_SECONDS, Mark, Pacer
from agent.telephony.media.recorder import StereoTrack


class Outbound:
    """The outbound audio of one call. Pure; ``now`` is in monotonic seconds.

    Args:
        rate: the peer's samples per second.
        can: the peer's capabilities.
        lead: seconds of audio that the peer may hold, at most ``can.max_lead``.

    Attributes:
        pacer: the send times and the played position.
        track: the recording of the call, if there is one.
    """

    def __init__(self, rate: int, can: Capabilities, lead: float) -> None:
        frame = can.frame_samples or round(FRAME_SECONDS * rate)
        self.pacer = Pacer(rate, frame, min(lead, can.max_lead), can.marks)
        self.track: StereoTrack | None = None
        self._rate = rate
        self._resampler = StreamResampler(rate, rate)
        self._item: tuple[str, int] | None = None
        """The newest reply with audio, and the position at which it begins."""

    def play(self, samples: Samples, rate: int, item_id: str | None = None) -> None:
        """Queue audio of the reply ``item_id``, or of an announcement where that is None."""
        if item_id is not None and (self._item is None or self._item[0] != item_id):
            self._item = (item_id, self.pacer.queued)
        if self._resampler.source_rate != rate:
            self._renew(rate)
        self.pacer.queue(self._resampler.push(samples))

    def next(self, now: float) -> Samples | Mark | None:
        """The next frame or mark that is due; call it again until it returns None."""
        if self.pacer.starving(now):
            # The audio ends here, or its source is late: flush the resampler.
            self._renew(self._resampler.source_rate)
            self.pacer.finish()
        piece = self.pacer.next(now)
        if self.track is not None and piece is not None and not isinstance(piece, Mark):
            self.track.agent(piece, now + self.pacer.ahead(now) - len(piece) / self._rate)
        return piece

    def _renew(self, rate: int) -> None:
        self.pacer.queue(self._resampler.flush())
        self._resampler = StreamResampler(rate, self._rate)

    def stop(self, now: float) -> Truncate | None:
        """Drop the queue; returns the played part of the newest reply, if it had audio."""
        played, queued = self.pacer.played(now), self.pacer.queued
        item, self._item = self._item, None
        if self.track is not None:
            self.track.cut(now)
        self.pacer.clear()
        self._resampler = StreamResampler(self._resampler.source_rate, self._rate)
        if item is None:
            return None
        item_id, begin = item
        return Truncate(item_id, min(max(played - begin, 0.0), queued - begin) / self._rate)
