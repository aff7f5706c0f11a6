"""Warm-up in two parts: before the server listens, and while it waits for its first callers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Protocol, runtime_checkable

from agent.runtime.engine_tasks import Engines

log = logging.getLogger("onebreath.engines")


@runtime_checkable
class Staged(Protocol):
    """An engine of which a part of the warm-up may follow after the start; both are blocking."""

    def warm_up_first(self) -> None:
        """The part without which a first call would be slower."""

    def warm_up_rest(self) -> Iterator[None]:
        """The other part, in pieces between which calls may use the engine."""


class WarmUp(Protocol):
    """What every engine has."""

    def warm_up(self) -> None: ...


def warm_up_of(engine: WarmUp, *, whole: bool) -> Callable[[], None]:
    """The warm-up of an engine: the whole, or the first part where it has two."""
    if not whole and isinstance(engine, Staged):
        return engine.warm_up_first
    return engine.warm_up


def warm_up_rest(engines: Engines) -> None:
    """Begin the second parts of the warm-up; returns at once.

    That of the responder runs on the compute thread whenever nothing else waits there, that of the
    voice on a thread of its own: the voice takes turns between all that speak.
    """
    if isinstance(engines.responder, Staged):
        engines.compute.when_idle(engines.responder.warm_up_rest())
    if isinstance(engines.tts, Staged):
        arguments = (engines.tts.warm_up_rest(),)
        Thread(target=_run, args=arguments, name="recording", daemon=True).start()


def _run(pieces: Iterator[None]) -> None:
    try:
        for _ in pieces:
            pass
    except Exception as error:  # of a voice of one's own, or of a worker that is started again
        log.warning("not all of the agent's own sentences are recorded: %s", error)
