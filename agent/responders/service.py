"""Settings of a hosted model: its address, its key, and the limits of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from agent.responders.base import Message, ResponderError

LONGEST_QUOTE = 200
"""Characters of a service's own words in an error message."""


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
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def quoted(self, words: str) -> str:
        """A service's own words, short and without any secret of ours that they may repeat."""
        parts = urlsplit(self.base_url)
        secrets = [parts.password, parts.username, parts.query]
        if self.api_key is not None:
            secrets.append(self.api_key.get_secret_value())
        for secret in filter(None, secrets):
            words = words.replace(secret, "***").replace(unquote(secret), "***")
        return words if len(words) <= LONGEST_QUOTE else f"{words[:LONGEST_QUOTE]}..."

    def body(self, messages: Sequence[Message]) -> dict[str, Any]:
        """Fields of the request for a reply to `messages`.

        `max_tokens` is left out where `request` has `max_completion_tokens`, the only name that
        newer OpenAI models accept for it.
        """
        bound = {} if "max_completion_tokens" in self.request else {"max_tokens": self.max_tokens}
        return {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            **bound,
            "extra_body": dict(self.request),
        }
