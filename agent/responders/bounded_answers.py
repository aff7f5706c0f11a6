"""Answers of a service within bounds: it is not asked for compression, and is not read for ever."""

from __future__ import annotations

import importlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from openai import DefaultAsyncHttpxClient

MAX_ANSWER: Final = 4 * 1_048_576
"""Bytes of one answer; a reply of a thousand tokens, each in an event of its own, has 300 KB."""
MAX_LINE: Final = 131_072
"""Bytes of one line of an answer to POST: an event of a stream is parsed at once, and holds up all
calls meanwhile. A list of models, which is asked for by GET, may be one long line."""
PLAIN: Final[Mapping[str, str]] = {"Accept-Encoding": "identity"}
"""Headers that ask for an answer without compression. A kilobyte of it can stand for megabytes,
which are unpacked and parsed at once."""

_END: Final = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\]")
_KEPT: Final = 32
"""Last bytes of an answer that are kept, to tell whether it came to its end."""

_HTTP: Any = importlib.import_module(
    DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]
)
"""The client of HTTP that the installed openai uses: httpx, or httpx2 since openai 3."""


class BadAnswer(Exception):
    """An answer out of bounds; the message goes on from the name of the service."""


async def bound(response: Any) -> None:
    """Bound the body of ``response``; a hook for the event ``response`` of a client of HTTP.

    Raises:
        BadAnswer: the body is compressed; while it is read: it is too long.
    """
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        raise BadAnswer(f"compressed its answer ({coding[:20]}), which it was not asked for")
    longest = MAX_LINE if response.request.method == "POST" else MAX_ANSWER
    response.stream = _Bounded(response.stream, longest)


def came_to_its_end(response: Any) -> bool:
    """Whether the stream that was read from ``response`` ended as its protocol has it: [DONE]."""
    body = response.stream
    return isinstance(body, _Bounded) and body.done


class _Bounded(_HTTP.AsyncByteStream):  # type: ignore[misc]
    """A body that raises ``BadAnswer`` where it goes on past its bounds.

    Attributes:
        done: whether the last event of a stream was read.
    """

    def __init__(self, body: Any, max_line: int) -> None:
        self._body = body
        self._max_line = max_line
        self._last = b""
        self.done = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = line = 0
        async for part in self._body:
            read += len(part)
            *whole, rest = part.replace(b"\r", b"\n").split(b"\n")
            longest = max(map(len, whole), default=0)
            if whole:
                longest, line = max(longest, line + len(whole[0])), 0
            line += len(rest)
            if max(line, longest) > self._max_line:
                raise BadAnswer(f"sent a line of more than {self._max_line} bytes")
            if read > MAX_ANSWER:
                raise BadAnswer(f"sent an answer of more than {MAX_ANSWER} bytes")
            self._look(part)
            yield part

    def _look(self, part: bytes) -> None:
        """Look for the last event, which two parts may share."""
        if not self.done:
            self.done = _END.search(self._last + part) is not None
            self._last = (self._last + part)[-_KEPT:]

    async def aclose(self) -> None:
        await self._body.aclose()
