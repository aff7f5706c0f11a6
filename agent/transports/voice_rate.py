"""Bit rate and error correction of the agent's voice, by the losses that its client reports. Pure.

The setting's rate does not fit every link: with the headers of 50 packets a second (25 kbit/s), 56
kbit/s of Opus are more than a link of 64 kbit/s carries, which then drops a third of everything.
And only Opus at low rates (its SILK part) repeats the sound of one packet in the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LOSSY: Final = (0.05, 0.12)
"""Share of lost packets from which on the next lower rate is used, by level from the highest."""
VERY_LOSSY: Final = 0.25
"""Share of lost packets at which one report is enough; otherwise two in a row are asked for."""
CLEAN: Final = 0.02
"""Share of lost packets up to which the next higher rate may be tried."""
PATIENCE_SECONDS: Final = 20.0
"""Seconds of sound without losses before a higher rate is tried; twice that after each in vain."""
JUDGED_SECONDS: Final = 1.0
"""Seconds of sound from which on a report says something about a rate; silence fits any link."""
MAX_PATIENCE: Final = 320.0
PROOF_SECONDS: Final = 10.0
"""Seconds of sound after which a higher rate has proved itself."""


@dataclass(frozen=True, slots=True)
class VoiceCoding:
    """Settings of the Opus encoder.

    Attributes:
        bitrate: bits per second.
        expected_loss: percent of the packets that are expected to be lost; above 0, packets hold
            the sound of the one before them, too (in-band FEC), at the cost of fidelity.
    """

    bitrate: int
    expected_loss: int = 0


class VoiceRate:
    """Chooses the coding of one call.

    Args:
        bitrate: bits per second on a good network.

    Attributes:
        coding: the present choice.
    """

    def __init__(self, bitrate: int) -> None:
        self._levels = (
            VoiceCoding(bitrate),
            VoiceCoding(min(bitrate, 24_000), 10),
            VoiceCoding(min(bitrate, 16_000), 20),
        )
        self._level = 0
        self._lossy_before = False
        self._judged = False
        self._clean = 0.0
        self._patience = PATIENCE_SECONDS
        self._unproven = False

    @property
    def coding(self) -> VoiceCoding:
        return self._levels[self._level]

    def start_slowly(self) -> None:
        """Take the next lower rate where events arrive late and no report tells of sound yet.

        Browsers report every five seconds; by then a whole reply has broken.
        """
        lower = self._levels[1].bitrate < self._levels[0].bitrate
        if lower and not self._judged and self._level == 0:
            self._level = 1

    def report(self, lost: float, sound: float, slow: bool = False) -> None:
        """Take a report of the client.

        Args:
            lost: share of the packets that were lost since the last report.
            sound: seconds of sound, as opposed to silence, that were sent since then. Silence
                takes next to no bits, and proves nothing.
            slow: whether events arrive late, too, so that the losses are no accident: one report
                is enough then.
        """
        self._judged = self._judged or sound >= JUDGED_SECONDS
        if self._level < len(LOSSY) and lost >= LOSSY[self._level]:
            if slow or self._lossy_before or lost >= VERY_LOSSY:
                self._go_down()
                return
            self._lossy_before = True
            self._clean = 0.0
            return
        self._lossy_before = False
        self._clean = self._clean + sound if lost <= CLEAN else 0.0
        if self._unproven and self._clean >= PROOF_SECONDS:
            self._unproven, self._patience = False, PATIENCE_SECONDS
        if self._level and self._clean >= self._patience:
            self._level -= 1
            self._clean, self._unproven = 0.0, True

    def _go_down(self) -> None:
        if self._unproven:
            self._patience = min(MAX_PATIENCE, 2 * self._patience)
        self._level += 1
        self._lossy_before = self._unproven = False
        self._clean = 0.0
