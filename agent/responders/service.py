"""Settings of a hosted model: its address, its key, and the limits of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from agent.responders.base import PLAIN, FunctionTool, Message, ReplyOptions, ResponderError
from agent.responders.patience import Patience

LONGEST_QUOTE = 200
"""Characters of a service's own words in an error message."""

_SPECIAL = re.compile(
    r"<(?=[|\uff5c][^<>\s]{1,40}[|\uff5c]>|/?s>|/?think>|(start|end)_of_turn>|bos>|eos>)"
    r"|\[(?=/?(INST|SYSTEM_PROMPT|THINK)\])"
)
"""Beginnings of special tokens as chat models spell them. A service's tokenizer is not known here,
and some servers recognise such tokens in the words of a message, too."""


def public_address(url: str) -> str:
    """A URL without a user's name, password or query, for messages and logs."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def as_words(content: str) -> str:
    """The content with a space of no width in each special token that is written out in it."""
    return _SPECIAL.sub(lambda found: found[0] + "\u200b", content)


@dataclass(frozen=True, slots=True)
class Service:
    """A model behind an OpenAI-style chat API.

    Attributes:
        base_url: address of the API, which mostly ends in /v1.
        model: name of the model at the service.
        api_key: secret key; None for a server that takes any.
        max_tokens: longest reply, in tokens.
        connect_timeout: seconds for making the connection, each try.
        word_timeout: seconds until the first word, all tries included, and between pieces.
        thinking_timeout: seconds until the next word of a model that shows its thoughts meanwhile.
        max_retries: tries beside the first, for requests that fail before their first word.
        request: further fields of the request, such as `reasoning_effort`.

    Raises:
        ResponderError: there is no address.
    """

    base_url: str
    model: str
    api_key: SecretStr | None = None
    max_tokens: int = 64
    connect_timeout: float = 3.0
    word_timeout: float = 10.0
    thinking_timeout: float = 30.0
    max_retries: int = 2
    request: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ResponderError(
                f"{self.base_url.rpartition('@')[2]!r} is no address of a chat API: "
                "set responder.base_url, such as http://127.0.0.1:8000/v1"
            )

    @property
    def place(self) -> str:
        """The address without a user's name, password or query, for messages and logs."""
        return public_address(self.base_url)

    def quoted(self, words: str) -> str:
        """A service's own words, short and without any secret of ours that they may repeat."""
        parts = urlsplit(self.base_url)
        secrets = [parts.password, parts.username, parts.query]
        if self.api_key is not None:
            secrets.append(self.api_key.get_secret_value())
        for secret in filter(None, secrets):
            words = words.replace(secret, "***").replace(unquote(secret), "***")
        return words if len(words) <= LONGEST_QUOTE else f"{words[:LONGEST_QUOTE]}..."

    def patience(self, now: float) -> Patience:
        """How long a reply that is asked for at second ``now`` is waited for."""
        return Patience(self.word_timeout, self.thinking_timeout, now)

    def longest(self, options: ReplyOptions = PLAIN) -> int:
        """Longest reply, in tokens."""
        return self.max_tokens if options.max_tokens is None else options.max_tokens

    def body(
        self, messages: Sequence[Message], options: ReplyOptions = PLAIN, room: int = 0
    ) -> dict[str, Any]:
        """Fields of the request for a reply to `messages`, with `room` for tokens of thought.

        `max_tokens` is left out where `request` has `max_completion_tokens`, the only name that
        newer OpenAI models accept for it. Special tokens written out in a message stay text.
        """
        longest = self.longest(options) + room
        request = dict(self.request)
        bound = {} if "max_completion_tokens" in request else {"max_tokens": longest}
        if options.max_tokens is not None and not bound:
            request["max_completion_tokens"] = longest
        return {
            "model": self.model,
            "messages": [_message(message) for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            **bound,
            **_tools(options),
            **_format(options),
            "extra_body": request,
        }


def _format(options: ReplyOptions) -> dict[str, Any]:
    """The field that asks for a document of a schema."""
    if options.schema is None:
        return {}
    named = {"name": "reply", "schema": options.schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _message(message: Message) -> dict[str, Any]:
    body: dict[str, Any] = {"role": message.role, "content": as_words(message.content)}
    if message.role == "tool":
        body["tool_call_id"] = message.call_id
    if message.calls:
        body["content"] = as_words(message.content) or None
        body["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    return body


def _tools(options: ReplyOptions) -> dict[str, Any]:
    """The fields about functions; none where there are none to call."""
    if not options.tools or options.tool_choice == "none":
        return {}
    choice: Any = options.tool_choice
    if choice == "function":
        choice = {"type": "function", "function": {"name": options.tool_name}}
    return {"tools": [_function(tool) for tool in options.tools], "tool_choice": choice}


def _function(tool: FunctionTool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description}
    return {"type": "function", "function": {**function, "parameters": dict(tool.parameters)}}
