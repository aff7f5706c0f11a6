"""The connection of one call to a Ray Serve application: attempts, pauses, limits, explanations."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic

from pydantic import SecretStr

from agent.extras import pip_install
from agent.responders.base import ResponderError
from agent.responders.ray_wire import (
    MAX_BODY,
    SESSION_HEADER,
    Asked,
    Sent,
    WireError,
    decode_line,
    encode_request,
)
from agent.responders.service import public_address

try:
    import httpx
except ModuleNotFoundError as error:
    raise ResponderError(
        f"The responder ray needs the package httpx; install it: {pip_install('httpx>=0.28')}"
    ) from error

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds before a request is sent again, and the most they grow to."""
MAX_ANSWER = 16 * 1_048_576
"""Bytes of one answer; each step of a reply shows its whole canvas, some kilobytes."""
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which a request may succeed: a full queue, a replica that died or is started."""


class NoAnswer(Exception):
    """An attempt failed in a way that another may mend; the words say how."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray Serve application that answers for calls.

    Attributes:
        base_url: address of the application, such as ``http://ray.internal:8000``.
        api_key: key that its replicas ask for; None where they ask for none.
        max_tokens: longest reply, in tokens; the replicas may have a lower bound.
        connect_timeout: seconds for making the connection, each try.
        word_timeout: seconds until the first piece, all tries included, and between pieces.
        max_retries: tries beside the first, for requests that fail before their first piece.

    Raises:
        ResponderError: there is no address.
    """

    base_url: str
    api_key: SecretStr | None = None
    max_tokens: int = 64
    connect_timeout: float = 3.0
    word_timeout: float = 10.0
    max_retries: int = 2

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ResponderError(
                f"{self.base_url.rpartition('@')[2]!r} is no address of a Ray Serve application: "
                "set responder.base_url, such as http://127.0.0.1:8000"
            )

    @property
    def place(self) -> str:
        """The address without a user's name, password or query, for messages and logs."""
        return public_address(self.base_url)

    def client(self, trust: ssl.SSLContext) -> httpx.AsyncClient:
        """A client with the key and the limits of this application."""
        headers = {}
        if self.api_key is not None:
            headers["authorization"] = f"Bearer {self.api_key.get_secret_value()}"
        timeout = httpx.Timeout(None, connect=self.connect_timeout)
        return httpx.AsyncClient(
            base_url=self.base_url.rstrip("/"), headers=headers, timeout=timeout, verify=trust
        )


class RayConnection:
    """Sends the requests of one call; the connection is kept between them."""

    def __init__(self, cluster: Cluster, trust: ssl.SSLContext) -> None:
        self._cluster = cluster
        self._client = cluster.client(trust)

    async def pieces(self, path: str, request: Callable[[], Asked]) -> AsyncGenerator[Sent, None]:
        """The pieces of an answer, each within its time; until the first, failures are retried.

        Args:
            request: makes the request of an attempt, before each.

        Raises:
            ResponderError: there is no answer, or not the whole of it.
        """
        until, tries, pause = monotonic() + self._cluster.word_timeout, 0, FIRST_PAUSE
        while True:
            begun = False
            try:
                async with aclosing(self._timely(path, request(), until)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
                    return
            except TimeoutError:
                raise self._late(begun=begun) from None
            except NoAnswer as failure:
                tries += 1
                if begun or tries > self._cluster.max_retries or monotonic() + pause > until:
                    raise self._given_up(failure, tries, begun=begun) from failure
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _timely(self, path: str, asked: Asked, until: float) -> AsyncGenerator[Sent, None]:
        """The pieces of one attempt: the first until then, each further in ``word_timeout``."""
        seconds = until - monotonic()
        async with aclosing(self._attempt(path, asked)) as pieces:
            while True:
                async with asyncio.timeout(seconds):
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                yield piece
                seconds = self._cluster.word_timeout

    async def first(self, path: str, asked: Asked) -> Sent | None:
        """The first piece of an answer to one attempt.

        Raises:
            NoAnswer: there was none.
            ResponderError: the request was refused.
        """
        async with aclosing(self._attempt(path, asked)) as pieces:
            return await anext(pieces, None)

    async def _attempt(self, path: str, asked: Asked) -> AsyncGenerator[Sent, None]:
        """The pieces of one answer, as they come; closing it closes the connection."""
        headers = {SESSION_HEADER: asked.session}
        try:
            request = self._client.build_request(
                "POST", f"/{path}", content=encode_request(asked), headers=headers
            )
            response = await self._client.send(request, stream=True)
            try:
                if response.status_code != 200:
                    raise self._refusal(response.status_code)
                async with aclosing(_lines(response)) as lines:
                    async for line in lines:
                        yield decode_line(line)
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise NoAnswer(f"no connection, or it was lost ({type(error).__name__})") from error
        except (WireError, httpx.InvalidURL) as error:
            raise self.unreadable(error) from error

    async def close(self) -> None:
        await self._client.aclose()

    def _refusal(self, status: int) -> Exception:
        where = self._cluster.place
        if status in RETRIED:
            full = status in (429, 503)
            return NoAnswer(f"{'no replica is free' if full else 'a replica failed'} ({status})")
        match status:
            case 401:
                return ResponderError(
                    f"{where} refuses the key (401): set ONEBREATH_RESPONDER__API_KEY"
                )
            case 404:
                return ResponderError(
                    f"{where} has no responder (404): is responder.base_url the address of an "
                    "application of agent.runtime.ray_app?"
                )
            case _:
                return ResponderError(f"{where} refuses the request ({status})")

    def _given_up(self, failure: NoAnswer, tries: int, *, begun: bool) -> ResponderError:
        if begun:
            return ResponderError(f"{self._cluster.place} broke off a reply: {failure}")
        times = "once" if tries == 1 else f"{tries} times"
        return ResponderError(
            f"{self._cluster.place} did not answer, asked {times}: {failure}; is the Ray Serve "
            "application running, is responder.base_url right?"
        )

    def _late(self, *, begun: bool) -> ResponderError:
        missing = "the rest of a reply" if begun else "the beginning of a reply"
        return ResponderError(
            f"{self._cluster.place} did not send {missing} within "
            f"{self._cluster.word_timeout:g} s; see responder.word_timeout"
        )

    def unreadable(self, found: object) -> ResponderError:
        """The error for what is no answer to the request."""
        return ResponderError(
            f"{self._cluster.place} sent what no replica sends ({type(found).__name__}); does it "
            "run another version?"
        )


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The lines of a body, without their ends."""
    rest, read = bytearray(), 0  # a line may come byte by byte
    async for part in response.aiter_raw():
        read += len(part)
        *whole, last = part.split(b"\n")
        for line in whole:
            yield bytes(rest) + line
            rest.clear()
        rest += last
        if len(rest) > MAX_BODY:
            raise WireError("a line without an end")
        if read > MAX_ANSWER:
            raise WireError(f"an answer of more than {MAX_ANSWER} bytes")
    if rest:
        raise httpx.RemoteProtocolError("the body ended within a line")
