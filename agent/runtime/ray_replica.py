"""A replica: one responder with its compute thread, asked over HTTP for many calls.

It knows nothing of Ray: `agent.runtime.ray_app` deploys it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from hmac import compare_digest
from time import monotonic

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from agent.compute import Compute, Urgency
from agent.config.settings import ResponderChoice
from agent.reply import ReplyDone
from agent.responders.base import Responder, ResponderError, decoding_of, uses_tools
from agent.responders.ray_wire import (
    MAX_BODY,
    Answers,
    Asked,
    Description,
    Failure,
    Sent,
    Superseded,
    WireError,
    decode_request,
    encode_line,
)
from agent.runtime.contained import ContainedCall

HEALTHY_SECONDS = 10.0
"""Longest time that the compute thread may be busy with one piece of work."""


class _Session:
    """A call's state here: its responder's call, one request at a time, the newest wins."""

    def __init__(self, call: ContainedCall) -> None:
        self.call = call
        self.lock = asyncio.Lock()
        self.newest = 0
        self.uses = 0

    @contextmanager
    def used(self) -> Iterator[None]:
        """Mark the session as one that must not be given up."""
        self.uses += 1
        try:
            yield
        finally:
            self.uses -= 1


class _Lines(StreamingResponse):
    """Lines, whose making ends with the connection."""

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncGenerator[bytes, None]) -> None:
        super().__init__(lines)
        self._made = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._made):
            await super().__call__(scope, receive, send)


class Replica:
    """Answers the requests of `agent.responders.ray` with a responder of its own.

    Args:
        chosen: the responder as in the settings; ``api_key`` is the key that requests must bring.
        make: loads the responder, on the compute thread.
        sessions: calls whose state is kept; beyond it, that of the call which was silent longest
            goes, and its next reply reads the whole prompt again.
        reply_seconds: longest time of one request.
    """

    def __init__(
        self,
        chosen: ResponderChoice,
        make: Callable[[], Responder],
        *,
        sessions: int = 64,
        reply_seconds: float = 30.0,
    ) -> None:
        self._chosen = chosen
        self._most, self._seconds = sessions, reply_seconds
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._compute = Compute()
        self._responder = self._compute.do(make)
        self._compute.do(self._responder.warm_up)

    async def __call__(self, request: Request) -> Response:
        """Answer a request: a path of one word, an `Asked` as its body, lines as the answer."""
        path = request.url.path.rstrip("/").rpartition("/")[2]
        answers = {
            "describe": self._describe,
            "prepare": self._prepare,
            "reply": self._reply,
            "decide": self._decide,
            "close": self._close,
        }
        if request.method != "POST" or path not in answers:
            return PlainTextResponse("POST /describe, /prepare, /reply, /decide or /close\n", 404)
        if not self._admits(request.headers.get("authorization", "")):
            return PlainTextResponse("a key is needed\n", 401)
        try:
            asked = decode_request(await _body(request))
        except WireError as error:
            return PlainTextResponse(f"{error}\n", 422)
        return _Lines(self._lines(answers[path](asked)))

    def _admits(self, header: str) -> bool:
        key = self._chosen.api_key
        return key is None or compare_digest(
            header.encode(), f"Bearer {key.get_secret_value()}".encode()
        )

    async def _lines(self, pieces: AsyncGenerator[Sent, None]) -> AsyncGenerator[bytes, None]:
        """The lines of an answer; whatever goes wrong is its last."""
        until = monotonic() + self._seconds
        async with aclosing(pieces):
            while True:
                try:
                    async with asyncio.timeout(until - monotonic()):
                        piece = await anext(pieces, None)
                except TimeoutError:
                    piece = Failure(f"a replica took more than {self._seconds:g} s for a reply")
                except ResponderError as error:
                    piece = Failure(str(error))
                if piece is None:
                    return
                yield encode_line(piece)
                if isinstance(piece, (Failure, ReplyDone)):
                    return

    async def check_health(self) -> None:
        """Raise TimeoutError where the compute thread hangs; Ray Serve asks now and then."""
        async with asyncio.timeout(HEALTHY_SECONDS):
            await self._compute.run(Urgency.FINAL, lambda: None)

    def close(self) -> None:
        """Stop the compute thread and release the responder (blocking)."""
        self._compute.do(self._responder.close)
        self._compute.close()

    @asynccontextmanager
    async def _turn(self, asked: Asked) -> AsyncIterator[_Session | None]:
        """The session, when no other request uses it; None where a later request is known."""
        session = await self._session(asked)
        with session.used():
            if asked.generation <= session.newest:
                yield None
                return
            session.newest = asked.generation
            async with session.lock:
                yield session if session.newest == asked.generation else None

    async def _session(self, asked: Asked) -> _Session:
        """The session of a request, as the one that was used last."""
        found = self._sessions.get(asked.session)
        if found is None:
            found = _Session(ContainedCall(self._responder, self._compute))
            self._sessions[asked.session] = found
            found.uses += 1  # not to be given up while room is made for it
            try:
                await self._make_room()
            finally:
                found.uses -= 1
        self._sessions.move_to_end(asked.session)
        return found

    async def _make_room(self) -> None:
        idle = [name for name, session in self._sessions.items() if not session.uses]
        for name in idle[: max(0, len(self._sessions) - self._most)]:
            if session := self._sessions.pop(name, None):
                await session.call.close()

    async def _describe(self, asked: Asked) -> AsyncGenerator[Sent, None]:
        responder, chosen = self._responder, self._chosen
        yield Description(
            chosen.engine,
            chosen.model,
            uses_tools(responder),
            bool(getattr(responder, "judges_turns", False)),
            bool(getattr(responder, "decides", False)),
            dict(decoding_of(responder)),
        )

    async def _prepare(self, asked: Asked) -> AsyncGenerator[Sent, None]:
        async with self._turn(asked) as session:
            if session is None:
                yield Superseded()
            else:
                yield await session.call.prepare(asked.messages, asked.options)

    async def _reply(self, asked: Asked) -> AsyncGenerator[Sent, None]:
        left = asked.seconds_left
        deadline = None if left is None else monotonic() + left
        async with self._turn(asked) as session:
            if session is None:
                yield Superseded()
                return
            pieces = session.call.reply(asked.messages, deadline, asked.options)
            async with aclosing(pieces):
                async for piece in pieces:
                    if session.newest != asked.generation:
                        yield Superseded()
                        return
                    yield piece

    async def _decide(self, asked: Asked) -> AsyncGenerator[Sent, None]:
        session = await self._session(asked)
        with session.used():
            given = (asked.messages, asked.questions, asked.words)
            if asked.quick:
                answers = await session.call.decide(*given, quick=True)
            else:
                async with session.lock:
                    answers = await session.call.decide(*given)
            yield Answers(None if answers is None else tuple(answers))

    async def _close(self, asked: Asked) -> AsyncGenerator[Sent, None]:
        async with self._turn(asked) as session:
            if session is not None and self._sessions.pop(asked.session, None) is not None:
                await session.call.close()
        yield Superseded()


async def _body(request: Request) -> bytes:
    """The body of a request, read as far as one may be long."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            break
    return bytes(body)
