"""Connections that a test leaves open, told by the test's name.

An event loop that is closed keeps them open until the garbage collector finds them, which warns
within some later test.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, selector_events

_left: list[str] = []


def watch() -> None:
    """Note from now on what is open when a loop of asyncio's own closes."""
    close = selector_events.BaseSelectorEventLoop.close

    def noting(loop: selector_events.BaseSelectorEventLoop) -> None:
        _left.extend(_open(loop))
        close(loop)

    selector_events.BaseSelectorEventLoop.close = noting


def _open(loop: AbstractEventLoop) -> list[str]:
    transports = dict(getattr(loop, "_transports", {})).values()
    return [
        f"{type(each.get_protocol()).__name__} from {each.get_extra_info('peername')}"
        f" to {each.get_extra_info('sockname')}"
        for each in transports
        if each._sock is not None
    ]


def taken() -> list[str]:
    """What was left since this was asked last."""
    left = _left[:]
    _left.clear()
    return left
