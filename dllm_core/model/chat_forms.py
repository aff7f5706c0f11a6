"""Forms of one conversation, for chat templates that refuse a system message or two in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

Chat = list[dict[str, str]]
"""Messages as templates take them, each with its `role` and `content`."""


def rendered(chat: Chat, render: Callable[[Chat], str]) -> str:
    """The conversation as `render` writes it, in the first form that it does not refuse.

    Raises:
        Exception: what `render` raised at the conversation as it is, where it refuses all forms.
    """
    refusal: Exception | None = None
    for form in _forms(chat):
        try:
            return render(form)
        except Exception as error:  # a template raises what it likes
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def _forms(chat: Chat) -> Iterator[Chat]:
    """The conversation, without system messages, and with the two sides by turns."""
    yield chat
    folded = _folded(chat)
    if folded != chat:
        yield folded
    taking_turns = _by_turns(folded)
    if taking_turns != folded:
        yield taking_turns


def _folded(chat: Sequence[dict[str, str]]) -> Chat:
    """System messages stand at the head of the user's message behind them, or become one."""
    waiting: list[str] = []
    folded: Chat = []
    for message in chat:
        if message["role"] == "system":
            waiting.append(message["content"])
            continue
        if waiting and message["role"] == "user":
            message = _of("user", *waiting, message["content"])
        elif waiting:
            folded.append(_of("user", *waiting))
        folded.append(message)
        waiting = []
    return [*folded, _of("user", *waiting)] if waiting else folded


def _by_turns(chat: Sequence[dict[str, str]]) -> Chat:
    """Messages of one side in a row are one; before a greeting the user has said nothing."""
    result: Chat = []
    for message in chat:
        if result and result[-1]["role"] == message["role"]:
            result[-1] = _of(message["role"], result[-1]["content"], message["content"])
        elif not result and message["role"] == "assistant":
            result += [_of("user", ""), message]
        else:
            result.append(message)
    return result


def _of(role: str, *contents: str) -> dict[str, str]:
    return {"role": role, "content": "\n\n".join(contents)}
