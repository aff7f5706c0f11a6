"""Energy meters of this machine: NVML for GPUs, RAPL for processors.

Both count the whole device, with idle power and other programs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter(Protocol):
    """A monotonic counter of energy."""

    @property
    def name(self) -> str:
        """Name of the counter."""

    def joules(self) -> float:
        """Energy used so far, in joules, from an arbitrary start."""


class RaplMeter:
    """Energy of the processor packages, from Linux's powercap files."""

    name = "RAPL"

    def __init__(self, root: Path = POWERCAP) -> None:
        """Open the counters below ``root``.

        Raises:
            OSError: there are no counters, or this user may not read them.
        """
        zones = sorted(root.glob("intel-rapl:[0-9]*"))
        # Zones within a package ("intel-rapl:0:1") are part of the package's count.
        self._zones = [zone for zone in zones if zone.name.count(":") == 1]
        if not self._zones:
            raise FileNotFoundError("no RAPL counters")
        self._ranges = [_number(zone / "max_energy_range_uj") for zone in self._zones]
        self._last = self._read()
        self._total = 0

    def _read(self) -> list[int]:
        return [_number(zone / "energy_uj") for zone in self._zones]

    def joules(self) -> float:
        now = self._read()
        for new, old, size in zip(now, self._last, self._ranges, strict=True):
            # The counter wraps to zero at the end of its range.
            self._total += new - old if new >= old else new - old + size
        self._last = now
        return self._total / 1e6


class NvmlMeter:
    """Energy of all NVIDIA GPUs of this machine.

    Args:
        millijoules: reads the sum of the counters.
    """

    name = "NVML"

    def __init__(self, millijoules: Callable[[], int]) -> None:
        self._millijoules = millijoules

    @classmethod
    def find(cls) -> NvmlMeter | None:
        """Open the counters; None without a driver, a GPU or an energy counter."""
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            gpus = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]

            def millijoules() -> int:
                return sum(map(pynvml.nvmlDeviceGetTotalEnergyConsumption, gpus))

            millijoules()
        except pynvml.NVMLError:
            return None
        return cls(millijoules) if gpus else None

    def joules(self) -> float:
        return self._millijoules() / 1e3


def find_meter() -> EnergyMeter | None:
    """Find the meter of the GPUs, or else of the processor; None: no meter is available."""
    if (gpus := NvmlMeter.find()) is not None:
        return gpus
    try:
        return RaplMeter()
    except OSError:
        return None


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))
