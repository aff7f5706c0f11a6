"""Joules that this machine has used, by its own counters: NVML for GPUs, RAPL for processors.

Both count the whole device, idle power and other programs included.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter(Protocol):
    """A counter that only grows."""

    @property
    def name(self) -> str: ...

    def joules(self) -> float: ...


class RaplMeter:
    """The packages of the processor, through Linux's powercap files."""

    name = "RAPL"

    def __init__(self, root: Path = POWERCAP) -> None:
        """Find the packages.

        Raises:
            OSError: there are none, or only the superuser may read them.
        """
        zones = sorted(root.glob("intel-rapl:[0-9]*"))
        # A zone within a package ("intel-rapl:0:1") is part of its count.
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
            # The counter starts again from zero behind its range.
            self._total += new - old if new >= old else new - old + size
        self._last = now
        return self._total / 1e6


class NvmlMeter:
    """All NVIDIA GPUs of this machine."""

    name = "NVML"

    def __init__(self, millijoules: Callable[[], int]) -> None:
        self._millijoules = millijoules

    @classmethod
    def find(cls) -> NvmlMeter | None:
        """None where there is no driver, no GPU, or none that counts."""
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
    """The GPUs' counter if there are GPUs, else the processor's, else None: not available."""
    if (gpus := NvmlMeter.find()) is not None:
        return gpus
    try:
        return RaplMeter()
    except OSError:
        return None


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))
