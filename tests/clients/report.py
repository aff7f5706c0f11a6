"""What a client's script needs, whatever environment it runs in: a tone, and lines of results."""

from __future__ import annotations

import array
import asyncio
import json
import math
import traceback
from collections.abc import Awaitable, Callable

STEP_SECONDS = 20.0
"""Seconds that one feature may take."""

FEATURES: list[tuple[str, Callable[[], Awaitable[None]]]] = []


def feature(name: str) -> Callable[[Callable[[], Awaitable[None]]], Callable[[], Awaitable[None]]]:
    """Mark a coroutine function that shows one feature; it raises where it does not work."""

    def mark(show: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        FEATURES.append((name, show))
        return show

    return mark


def note_version(version: str) -> None:
    """Name the version of a client that is none of the pinned packages."""
    print("VERSION " + version, flush=True)


async def run_all() -> None:
    """Show all features, one after another, each with its result on a line of its own."""
    for name, show in FEATURES:
        problem = None
        try:
            await asyncio.wait_for(show(), STEP_SECONDS)
        except BaseException as error:
            problem = f"{type(error).__name__}: {error}"
            traceback.print_exc()
            if not isinstance(error, Exception):
                raise
        finally:
            print("RESULT " + json.dumps({"feature": name, "problem": problem}), flush=True)


def main() -> None:
    """Run the script."""
    asyncio.run(run_all())


def question(rate: int = 24_000, pitch: int = 220) -> bytes:
    """A spoken turn as 16-bit PCM: half a second of silence, a loud second, a pause.

    The server hears "is it cold" at a ``pitch`` of 440 Hz, "how are you" at others.
    """
    spoken = [
        int(16_000 * math.sin(2 * math.pi * pitch * n / rate))
        if rate // 2 <= n < rate * 3 // 2
        else 0
        for n in range(rate * 5 // 2)
    ]
    return array.array("h", spoken).tobytes()


def pieces(sound: bytes, size: int = 9600) -> list[bytes]:
    """The sound in pieces of ``size`` bytes."""
    return [sound[at : at + size] for at in range(0, len(sound), size)]
