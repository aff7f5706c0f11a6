"""Messages between a voice server and the replicas of a responder: one JSON object a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from agent.decision import Answer, Question
from agent.reply import PLAIN, Message, ReplyOptions, ReplyPiece

SESSION_HEADER: Final = "x-session-id"
"""Ray Serve sends requests with the same value to the same replica."""

MAX_BODY: Final = 1 << 20
"""Bytes of a request, and of a line of its answer."""

MAX_SESSION: Final = 64
"""Characters of a session's name."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of one call.

    Attributes:
        session: name of the call; its prompt cache is kept under it.
        generation: grows with each request of the session that its responder answers one after the
            other; a higher one ends those below it. 0 for a question that may come beside a reply.
        messages: the conversation.
        options: options of the reply.
        seconds_left: seconds until the reply should be complete; None without a deadline.
        questions: what is asked about the conversation.
        words: words that values are extracted from; the caller's last words if empty.
        quick: whether to answer only what the prompt cache tells.
    """

    session: str
    generation: int = 0
    messages: tuple[Message, ...] = ()
    options: ReplyOptions = PLAIN
    seconds_left: float | None = None
    questions: tuple[Question, ...] = ()
    words: str = ""
    quick: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to questions; None where they must wait for the reply that is under way."""

    answers: tuple[Answer, ...] | None


@dataclass(frozen=True, slots=True)
class Failure:
    """The request failed; these words tell a user why."""

    words: str


@dataclass(frozen=True, slots=True)
class Superseded:
    """A later request of the same session ended this one."""


@dataclass(frozen=True, slots=True)
class Description:
    """Properties of the replicas' responder, as `Responder` has them.

    Attributes:
        engine, model: as in the settings of the replicas.
        uses_tools, judges_turns, decides: attributes of the responder of the same names.
        decoding: options by which it decodes, for display.
    """

    engine: str
    model: str
    uses_tools: bool
    judges_turns: bool
    decides: bool
    decoding: dict[str, Any]


Sent = ReplyPiece | Answers | Failure | Superseded | Description

_KINDS: dict[str, TypeAdapter[Any]] = {kind.__name__: TypeAdapter(kind) for kind in get_args(Sent)}
_ASKED = TypeAdapter(Asked)


class WireError(ValueError):
    """Bytes that are no message of this protocol."""


def encode_request(asked: Asked) -> bytes:
    """The body of a request."""
    return to_json(_ASKED.dump_python(asked), inf_nan_mode="constants")


def decode_request(body: bytes) -> Asked:
    """The request of a body.

    Raises:
        WireError: it is too long, or is none; the message names the first mistake.
    """
    if len(body) > MAX_BODY:
        raise WireError(f"a request of more than {MAX_BODY} bytes")
    try:
        asked = _ASKED.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise WireError(f"{where or 'the body'}: {first['msg']}") from None
    if not 0 < len(asked.session) <= MAX_SESSION:
        raise WireError(f"session: 1 to {MAX_SESSION} characters")
    return asked


def encode_line(sent: Sent) -> bytes:
    """One line of an answer, with its end."""
    name = type(sent).__name__
    body = _KINDS[name].dump_python(sent)
    return to_json({"kind": name, "value": body}, inf_nan_mode="constants") + b"\n"


def decode_line(line: str | bytes) -> Sent:
    """The message of a line.

    Raises:
        WireError: it is none.
    """
    try:
        found = from_json(line)
        sent: Sent = _KINDS[found["kind"]].validate_python(found["value"])
    except (ValueError, KeyError, TypeError) as error:
        raise WireError(f"no message of a replica: {line[:80]!r}") from error
    return sent
