"""A language model behind an OpenAI-style chat API: Mercury, OpenAI, vLLM, llama.cpp's server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import perf_counter
from typing import cast

from agent.extras import install
from agent.responders.base import (
    PLAIN,
    Message,
    Prefilled,
    ReplyDone,
    ReplyOptions,
    ReplyPiece,
    ResponderError,
    WaitingCall,
)
from agent.responders.patience import Patience
from agent.responders.service import Service

try:
    from openai import (
        APIConnectionError,
        APIError,
        APIStatusError,
        AsyncOpenAI,
        AsyncStream,
        DefaultAsyncHttpxClient,
        Timeout,
    )
    from openai.types.chat import ChatCompletionChunk

    from agent.responders import bounded_answers
    from agent.responders.hosted_stream import StreamedReply
except ImportError as error:
    raise ResponderError(
        f"the responder hosted needs the package openai; install it: {install('hosted')}"
    ) from error

NO_KEY = "none"
"""Key that is sent where the settings have no key: local servers accept any."""
END_SECONDS = 1.0
"""Seconds behind the end of a reply within which its usage must come; a service may keep the
connection open, and the next reply must not wait for that."""
_ROOM = 1024
"""Tokens for the thoughts of a model that was seen to think, beside those of its reply."""


@dataclass(slots=True)
class _Seen:
    """What replies so far have shown of the model.

    Attributes:
        thinks: whether it thinks before it speaks.
    """

    thinks: bool = False


def _client(service: Service) -> AsyncOpenAI:
    """A client that tries again, with a growing jittered wait.

    It does so after refused connections and the statuses 408, 409, 429 and 5xx. It follows no
    redirects: they would take the callers' words to an address that nobody set.
    """
    timeout = Timeout(service.word_timeout, connect=service.connect_timeout)
    return AsyncOpenAI(
        base_url=service.base_url,
        api_key=NO_KEY if service.api_key is None else service.api_key.get_secret_value(),
        timeout=timeout,
        max_retries=service.max_retries,
        default_headers=bounded_answers.PLAIN,
        http_client=DefaultAsyncHttpxClient(
            timeout=timeout,
            follow_redirects=False,
            event_hooks={"response": [bounded_answers.bound]},
        ),
    )


class HostedResponder:
    """Replies with the words of a service; it has no prompt cache and shows no steps.

    Attributes:
        uses_tools: True: functions are passed on to the service.
    """

    uses_tools = True

    def __init__(self, service: Service) -> None:
        self.service = service
        self._seen = _Seen()

    def open(self) -> HostedCall:
        return HostedCall(self.service, self._seen)

    def warm_up(self) -> None:
        """Ask for one reply, to find a wrong key, model or address before the first call."""
        asyncio.run(self._ask())

    async def _ask(self) -> None:
        call = self.open()
        try:
            async for _ in call.reply([Message("user", "Say hello.")]):
                pass
        finally:
            await call.close()

    def close(self) -> None:
        """Do nothing: connections belong to calls."""


class HostedCall(WaitingCall):
    """One call: a connection to the service, kept between turns."""

    def __init__(self, service: Service, seen: _Seen) -> None:
        self._service, self._seen = service, seen
        self._client = _client(service)
        self._connected = False

    async def prepare(
        self, messages: Sequence[Message], options: ReplyOptions = PLAIN
    ) -> Prefilled:
        """Make the connection ahead of the reply; the service keeps its own prompt cache."""
        if not self._connected:
            self._connected = True
            # If it fails, the reply fails likewise with the reason.
            with suppress(Exception):
                async with asyncio.timeout(self._service.connect_timeout):
                    await self._client.with_options(max_retries=0).models.list()
        return Prefilled(0, 0, 0.0)

    async def reply(
        self,
        messages: Sequence[Message],
        deadline: float | None = None,
        options: ReplyOptions = PLAIN,
    ) -> AsyncGenerator[ReplyPiece, None]:
        """See `ResponderCall.reply`; `Prefilled` has the time until the first word.

        The service cannot be given a deadline, so it changes nothing. The limit of a reply is that
        of its spoken words: a model that was seen to think gets room for it, and is asked again
        where its first thoughts left no word.
        """
        began = perf_counter()
        room = _ROOM if self._seen.thinks else 0
        told, longest = StreamedReply(options.tools), self._service.longest(options)
        patience = self._service.patience(_now())
        stream: AsyncStream[ChatCompletionChunk] | None = None
        try:
            with self._explaining(told, patience):
                stream = await self._asked(messages, options, room, patience)
                chunk = await self._next(stream, told, patience)
                told.first_ms = _since(began)
                yield Prefilled(0, 0, told.first_ms)
                while chunk is not None and not (room and told.spoken >= longest):
                    for piece in told.take(chunk):
                        yield piece
                    self._seen.thinks |= told.thought
                    note = patience.word if told.spoke else patience.thought
                    note(_now())
                    chunk = await self._next(stream, told, patience)
                if chunk is None and not told.ended and told.begun:
                    self._check_end(stream)
                told.cut = told.cut or chunk is not None
                for piece in told.finish():
                    yield piece
        finally:
            if stream is not None:
                await stream.close()
        if told.wordless and told.cut and self._seen.thinks and not room:
            async for piece in self.reply(messages, deadline, options):
                if not isinstance(piece, Prefilled):
                    yield piece
            return
        if told.wordless:
            raise self._silent(told, longest + room)
        first = told.first_ms or 0.0
        yield ReplyDone(told.text, 0, 0, first, _since(began) - first, told.stats())

    @contextmanager
    def _explaining(self, told: StreamedReply, patience: Patience) -> Iterator[None]:
        """Turn what the service's package raises meanwhile into errors that say what to do."""
        try:
            yield
        except bounded_answers.BadAnswer as error:
            raise ResponderError(f"{self._service.place} {error}") from error
        except APIError as error:
            raise self._explained(error) from error
        except TimeoutError as error:
            if patience.thought_too_long(_now()):
                raise self._thinks_too_long() from error
            raise self._late(begun=told.first_ms is not None) from error
        except ResponderError:
            raise
        except Exception as error:  # broken JSON, fields of other types, bytes that are no text
            raise self._unreadable(error) from error

    async def _asked(
        self, messages: Sequence[Message], options: ReplyOptions, room: int, patience: Patience
    ) -> AsyncStream[ChatCompletionChunk]:
        """The stream of a reply, once the service has begun to answer."""
        async with asyncio.timeout_at(patience.until):
            body = self._service.body(messages, options, room)
            created = await self._client.chat.completions.create(**body)
            return cast("AsyncStream[ChatCompletionChunk]", created)

    async def _next(
        self, stream: AsyncStream[ChatCompletionChunk], told: StreamedReply, patience: Patience
    ) -> ChatCompletionChunk | None:
        """The next chunk that goes on with the reply, or completes it; None at its end.

        Behind the end that the service has told, only the usage is waited for, and not long.
        """
        until = min(patience.until, _now() + END_SECONDS) if told.ended else patience.until
        try:
            async with asyncio.timeout_at(until) as limit:
                async for chunk in stream:
                    if told.goes_on(chunk):
                        return chunk
                    for _ in told.take(chunk):  # its usage, or a thought
                        pass
                    if told.thinks and not told.ended:
                        self._seen.thinks = True
                        patience.thought(_now())
                        limit.reschedule(patience.until)
        except (TimeoutError, APIConnectionError):
            if not told.ended:
                raise
        return None

    def _check_end(self, stream: AsyncStream[ChatCompletionChunk]) -> None:
        """Check that a stream that told no reason for its end was not cut.

        Raises:
            ResponderError: it was; what it said so far is no whole reply.
        """
        if not bounded_answers.came_to_its_end(stream.response):
            raise ResponderError(
                f"{self._service.place} broke off a reply: its stream ended without a "
                "finish_reason or [DONE]"
            )

    def _thinks_too_long(self) -> ResponderError:
        return ResponderError(
            f"{self._service.place} thought for {self._service.thinking_timeout:g} s without a "
            "word: let it think less by responder.request, or see responder.thinking_timeout"
        )

    def _late(self, *, begun: bool) -> ResponderError:
        missing = "the rest of its reply" if begun else "a first word"
        return ResponderError(
            f"{self._service.place} did not send {missing} within "
            f"{self._service.word_timeout:g} s; see responder.word_timeout"
        )

    def _silent(self, told: StreamedReply, tokens: int) -> ResponderError:
        """The error of a reply without a word, for which the service had so many tokens."""
        if told.cut and self._seen.thinks:
            return ResponderError(
                f"{self._service.place} spent the {tokens} tokens of a reply on thinking: "
                'switch that off in responder.request, as with reasoning_effort = "none" or '
                "chat_template_kwargs = { enable_thinking = false }"
            )
        return ResponderError(
            f"{self._service.place} answered without a word; is responder.base_url the address "
            "of a chat API?"
        )

    def _unreadable(self, error: Exception) -> ResponderError:
        what = type(error).__name__
        return ResponderError(
            f"{self._service.place} sent what is no answer of a chat API ({what})"
        )

    def _explained(self, error: APIError) -> ResponderError:
        """The error with its remedy; the message never has the key."""
        where = self._service.place
        if isinstance(error, APIStatusError):
            refusal, quoted = self._refusal(error)
            return ResponderError(f"{where} {refusal}", quoted)
        if isinstance(error.__cause__, bounded_answers.BadAnswer):
            return ResponderError(f"{where} {error.__cause__}")
        if isinstance(error, APIConnectionError):
            cause = self._service.quoted(str(error.__cause__ or error))
            return ResponderError(
                f"{where}: no connection, or it was lost ({cause}); "
                "is the service running, is responder.base_url right?"
            )
        quoted = self._service.quoted(error.message)
        return ResponderError(f"{where} failed while it answered", quoted)

    def _refusal(self, error: APIStatusError) -> tuple[str, str]:
        """(the refusal with its remedy, the service's own words where they say more)."""
        quoted = self._service.quoted(error.message)
        status, tries = error.status_code, f"{self._service.max_retries + 1} tries"
        match status:
            case _ if 300 <= status < 400:
                where = "set responder.base_url to where it leads"
                return f"redirects the request ({status}): {where}", ""
            case 401:
                return "refuses the key (401): set ONEBREATH_RESPONDER__API_KEY", ""
            case 403:
                return f"does not let this key use the model {self._service.model!r} (403)", ""
            case 404:
                return (
                    f"has no chat API or no model {self._service.model!r} there (404): check "
                    "responder.model, and responder.base_url, which mostly ends in /v1"
                ), ""
            case 429:
                return (
                    f"takes no more requests (429, {tries}): its rate limit or quota is spent",
                    "",
                )
            case _ if status >= 500:
                return f"is out of order ({status}, {tries})", quoted
            case _:
                return f"refuses the request ({status})", quoted

    async def close(self) -> None:
        await self._client.close()


def _now() -> float:
    """Second of the running loop's clock."""
    return asyncio.get_running_loop().time()


def _since(began: float) -> float:
    return (perf_counter() - began) * 1e3
