"""A responder that runs as replicas of a Ray Serve application, shared by voice servers.

A voice server speaks HTTP with the application and does not join the cluster (ADR 41): nothing here
imports Ray. `agent.runtime.ray_app` is the application.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from secrets import token_hex
from time import monotonic, perf_counter
from typing import Any

from agent.responders.base import (
    PLAIN,
    Answer,
    Message,
    Prefilled,
    Question,
    ReplyDone,
    ReplyOptions,
    ReplyPiece,
    ResponderError,
    WaitingCall,
)
from agent.responders.ray_connection import Cluster, NoAnswer, RayConnection
from agent.responders.ray_wire import Answers, Asked, Description, Failure, Sent, Superseded

PREPARE_SECONDS = 1.0
"""Longest wait for a prompt to be read ahead: the reply that follows waits for it."""
END_SECONDS = 0.5
"""Longest wait for the end of an answer behind a reply that is complete."""
CLOSE_SECONDS = 1.0
"""Longest wait for a replica to forget a call."""


class RayResponder:
    """Replies by replicas elsewhere; each call keeps to one of them, which keeps its prompt cache.

    Attributes:
        uses_tools, judges_turns, decides, decoding: those of the replicas' responder, known after
            ``warm_up``.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._trust = ssl.create_default_context()  # takes milliseconds: once, not for each call
        self._found: Description | None = None

    @property
    def uses_tools(self) -> bool:
        return self._found is None or self._found.uses_tools

    @property
    def judges_turns(self) -> bool:
        return self._found is not None and self._found.judges_turns

    @property
    def decides(self) -> bool:
        return self._found is not None and self._found.decides

    @property
    def decoding(self) -> Mapping[str, Any]:
        return {} if self._found is None else self._found.decoding

    def open(self) -> RayCall:
        return RayCall(self.cluster, self._trust)

    def warm_up(self) -> None:
        """Ask for the description and for one reply, to find mistakes before the first call."""
        asyncio.run(self._ask())

    async def _ask(self) -> None:
        call = self.open()
        try:
            self._found = await call.description()
            async with aclosing(call.reply([Message("user", "Say hello.")])) as pieces:
                async for _ in pieces:
                    pass
        finally:
            await call.close()

    def close(self) -> None:
        """Do nothing: connections belong to calls."""


class RayCall(WaitingCall):
    """One call: its name at the replicas, and a connection that is kept between turns."""

    def __init__(self, cluster: Cluster, trust: ssl.SSLContext) -> None:
        self._cluster = cluster
        self._session = token_hex(12)
        self._generation = 0
        self._connection = RayConnection(cluster, trust)

    async def description(self) -> Description:
        """The properties of the replicas' responder.

        Raises:
            ResponderError: the application cannot be reached, or is another one.
        """
        found = await self._only("describe", Asked(self._session))
        if not isinstance(found, Description):
            raise self._connection.unreadable(found)
        return found

    async def prepare(
        self, messages: Sequence[Message], options: ReplyOptions = PLAIN
    ) -> Prefilled:
        """Let the replica of this call read the prompt; if it cannot, the reply reads it."""
        asked = self._newest(Asked(self._session, 0, tuple(messages), options))
        found: Sent | None = None
        with suppress(TimeoutError, NoAnswer, ResponderError):
            async with asyncio.timeout(PREPARE_SECONDS):
                found = await self._connection.first("prepare", asked)
        return found if isinstance(found, Prefilled) else Prefilled(0, 0, 0.0)

    async def reply(
        self,
        messages: Sequence[Message],
        deadline: float | None = None,
        options: ReplyOptions = PLAIN,
    ) -> AsyncGenerator[ReplyPiece, None]:
        """See `ResponderCall.reply`; closing it ends the work at the replica, too.

        ``ReplyDone.stats`` has ``network_ms``: milliseconds until the first piece, less those in
        which the replica read the prompt.
        """
        asked = Asked(self._session, 0, tuple(messages), self._bounded(options))
        began, network = perf_counter(), 0.0

        def attempt() -> Asked:
            left = None if deadline is None else deadline - monotonic()
            return self._newest(replace(asked, seconds_left=left))

        async with aclosing(self._connection.pieces("reply", attempt)) as pieces:
            async for piece in pieces:
                match piece:
                    case Failure(words):
                        raise ResponderError(words)
                    case Answers() | Description() | Superseded():
                        raise self._connection.unreadable(piece)
                    case Prefilled():
                        network = max(0.0, (perf_counter() - began) * 1e3 - piece.ms)
                        yield piece
                    case ReplyDone():
                        yield replace(piece, stats={**piece.stats, "network_ms": network})
                        await _read_end(pieces)
                        return
                    case _:
                        yield piece
        raise ResponderError(f"{self._cluster.place} ended a reply before it was complete")

    def _bounded(self, options: ReplyOptions) -> ReplyOptions:
        longest = self._cluster.max_tokens
        asked = longest if options.max_tokens is None else min(longest, options.max_tokens)
        return replace(options, max_tokens=asked)

    async def decide(
        self,
        messages: Sequence[Message],
        questions: Sequence[Question],
        words: str = "",
        *,
        quick: bool = False,
    ) -> Sequence[Answer] | None:
        asked = Asked(
            self._session, 0, tuple(messages), questions=tuple(questions), words=words, quick=quick
        )
        found = await self._only("decide", asked)
        if isinstance(found, Failure):
            raise ResponderError(found.words)
        if not isinstance(found, Answers):
            raise self._connection.unreadable(found)
        return found.answers

    async def close(self) -> None:
        """Let the replica forget the call; one that cannot be reached forgets it by itself."""
        if self._generation:
            with suppress(TimeoutError, NoAnswer, ResponderError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._connection.first("close", self._newest(Asked(self._session)))
        await self._connection.close()

    def _newest(self, asked: Asked) -> Asked:
        """The request with the next generation, which ends those before it at the replica."""
        self._generation += 1
        return replace(asked, generation=self._generation)

    async def _only(self, path: str, asked: Asked) -> Sent:
        """The only piece of an answer."""
        async with aclosing(self._connection.pieces(path, lambda: asked)) as pieces:
            async for piece in pieces:
                return piece
        raise ResponderError(f"{self._cluster.place} answered without a word")


async def _read_end(pieces: AsyncGenerator[Sent, None]) -> None:
    """Read the end of an answer, without which its connection cannot be used again."""
    with suppress(TimeoutError, ResponderError):
        async with asyncio.timeout(END_SECONDS):
            await anext(pieces, None)
