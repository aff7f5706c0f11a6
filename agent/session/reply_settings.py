"""The settings of the replies of a call: those of the session, and a request's in their place."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from agent.reply import Message, ReplyOptions
from agent.session.conversation import Conversation
from agent.session.events import Configure, RespondNow, ToolChoice
from agent.session.playback import Delivery
from agent.session.tool_calls import ToolCalls
from tts.lexicon import EMPTY, Lexicon

OPENING = Message("user", "Hello.")
"""What a reply answers before anybody has said anything."""
BY_SESSION = RespondNow()
"""The options of a reply that nobody asked for in particular."""


@dataclass(slots=True)
class ReplySettings:
    """What replies are like unless the client asks otherwise.

    Attributes:
        tool_calls: knows the functions of this server, which any reply may call.
        paced_lead: seconds of sound that may be at the client unplayed, where sound is paced.
        budget: seconds from the end of speech to the first sound that a reply may take.
        lexicon: the user's own words, for the spoken form.
        options: functions and length of replies.
        delivery: the way of the sound to the client.
        text_only: whether replies are words without sound.
        unspeakable: words that are said in place of a reply of which no letter can be spoken.
    """

    tool_calls: ToolCalls
    paced_lead: float
    budget: float | None
    lexicon: Lexicon = EMPTY
    options: ReplyOptions = field(default_factory=ReplyOptions)
    delivery: Delivery = Delivery.PACED
    text_only: bool = False
    unspeakable: str = ""

    @property
    def lead(self) -> float:
        """Seconds of sound that may be at the client unplayed; infinite for all at once."""
        return math.inf if self.delivery is Delivery.AT_ONCE else self.paced_lead

    def deadline(self, begin: float) -> float | None:
        """Monotonic second of the first sound of a reply to speech that ended at ``begin``."""
        return None if self.budget is None else begin + self.budget

    def text_only_of(self, request: RespondNow) -> bool:
        """Whether a reply is words without sound."""
        return self.text_only if request.text_only is None else request.text_only

    def options_of(self, request: RespondNow) -> ReplyOptions:
        """The options of a reply: the request's, else the session's.

        A reply outside the conversation calls no function of this server: its output would have
        no place.
        """
        given: dict[str, object] = {}
        if request.apart:
            tools = self.options.tools if request.tools is None else request.tools
            given["tools"] = tuple(tool for tool in tools if tool.run_by == "client")
        elif request.tools is not None:
            given["tools"] = self.tool_calls.offered(request.tools)
        if request.tool_choice is not None:
            given |= _choice(request.tool_choice)
        if request.max_tokens is not None:
            given["max_tokens"] = _whole(request.max_tokens)
        if request.schema is not None:
            given |= {"schema": request.schema, "tool_choice": "none"}
        return replace(self.options, **given)  # type: ignore[arg-type]

    def configure(self, event: Configure) -> None:
        """Take the settings of replies that the client changes."""
        if event.text_only is not None:
            self.text_only = event.text_only
        given: dict[str, object] = {}
        if event.tools is not None:
            given["tools"] = self.tool_calls.offered(event.tools)
        if event.tool_choice is not None:
            given |= _choice(event.tool_choice)
        if event.max_tokens is not None:
            given["max_tokens"] = _whole(event.max_tokens)
        self.options = replace(self.options, **given)  # type: ignore[arg-type]


def prompt_of(conversation: Conversation, request: RespondNow) -> tuple[Message, ...]:
    """The prompt of a reply, with something to answer where nothing was said yet."""
    messages = conversation.messages(instructions=request.instructions)
    if request.context is not None:
        messages = (messages[0], *request.context)
    nobody = all(message.role in ("system", "assistant") for message in messages)
    return (*messages, OPENING) if nobody else messages


def _whole(tokens: float) -> int | None:
    """A limit of tokens; None where it is infinite."""
    return None if math.isinf(tokens) else int(tokens)


def _choice(choice: ToolChoice) -> dict[str, object]:
    return {"tool_choice": choice.choice, "tool_name": choice.name}
