"""Training data: prompts with their replies, from JSON lines.

A line is `{"prompt": ..., "reply": ...}`, with an optional `"system"`, or
`{"messages": [{"role": ..., "content": ...}, ...]}`, of which every reply of the assistant
becomes an example of its own: LLaDA is tuned on single replies, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dllm_core.config import ModelConfig
from dllm_core.errors import DataError
from dllm_core.json_lines import read_rows
from dllm_core.model.tokenizer import Tokenizer

Message = tuple[str, str]

MAX_TURNS = 100


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with its reply.

    Attributes:
        prompt: token ids of the prompt.
        reply: token ids of the reply, the end-of-reply token included.
        order: the step at which the model itself committed each position of the reply; empty if
            unknown.
    """

    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    order: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.prompt) + len(self.reply)


def end_of_reply(config: ModelConfig) -> int:
    """Id of the token that closes a reply. LLaDA has two: its end of turn, then padding."""
    return config.eos_ids[-1] if config.family == "llada" else config.eos_ids[0]


def conversations(path: Path, system: str | None) -> Iterator[tuple[list[Message], str]]:
    """Messages before a reply, and the reply, for every reply in the file.

    Raises:
        DataError: a line, which is named, has neither of the two forms.
    """
    for number, row in read_rows(path):
        try:
            yield from _replies(row, system)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}, line {number} is neither a prompt with a reply nor a list of messages "
                f"({error})."
            ) from error


def _replies(row: Mapping[str, Any], system: str | None) -> Iterator[tuple[list[Message], str]]:
    if "messages" in row:
        messages = [(_text(m["role"]), _text(m["content"])) for m in row["messages"][:MAX_TURNS]]
    else:
        messages = [("user", _text(row["prompt"])), ("assistant", _text(row["reply"]))]
        system = row.get("system", system)
    if system is not None and messages and messages[0][0] != "system":
        messages.insert(0, ("system", _text(system)))
    places = [i for i, (role, _) in enumerate(messages) if role == "assistant" and i > 0]
    if not places:
        raise ValueError("no message of the assistant follows another")
    for place in places:
        yield messages[:place], messages[place][1]


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is no text")
    value.encode()  # half a surrogate pair is no text
    return value


def read_examples(
    path: Path, tokenizer: Tokenizer, config: ModelConfig, *, system: str | None, longest: int
) -> list[Example]:
    """All examples of a file that have at most `longest` tokens.

    A line that holds token ids (`prompt_ids`, `reply_ids`, `order`), as `record` writes them, is
    taken as it is.

    Raises:
        DataError: a line is malformed, or no example is left.
    """
    found = list(_recorded(path))
    if not found:
        end = end_of_reply(config)
        for messages, reply in conversations(path, system):
            ids = tokenizer.encode_chat(messages)
            found.append(Example(tuple(ids), (*tokenizer.encode(reply), end)))
    kept = [example for example in found if len(example) <= longest and example.prompt]
    if not kept:
        raise DataError(
            f"{path} holds no example of at most {longest} tokens: give more data or a larger "
            "--longest."
        )
    return kept


def _recorded(path: Path) -> Iterator[Example]:
    for number, row in read_rows(path):
        if "prompt_ids" not in row:
            return
        try:
            order = tuple(map(int, row.get("order", ())))
            yield Example(
                tuple(map(int, row["prompt_ids"])), tuple(map(int, row["reply_ids"])), order
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}, line {number} holds no recorded reply ({error}).") from error


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], *, append: bool = False) -> None:
    """Write objects as JSON lines."""
    with path.open("a" if append else "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
