"""Second turns: which tool is wanted by words that answer a question of the agent, or do not.

    python benchmarks/tool_questions.py MODEL.gguf --json

The tools are those of `onebreath bench tools`. Compared are the caller's last words alone and what
the local engines read, `agent.responders.engine_tools.routed_words`.
"""

from __future__ import annotations

import argparse
import json

from agent.bench.tools import REQUESTS, read_requests
from agent.reply import Message, ToolCall
from agent.responders.engine_tools import routed_words
from dllm_core.engine import Engine
from dllm_core.tasks.routing import Router

ANSWERS = [
    ("i'd like to book a table", "For how many people?", "four, tomorrow at eight", "book_table"),
    ("can i get a table tonight", "How many guests will you be?", "we're six", "book_table"),
    ("we want to come for dinner on friday", "For how many?", "just the two of us", "book_table"),
    ("what's the weather like", "For which city?", "oslo please", "get_weather"),
    ("will it rain tomorrow", "Where are you?", "in berlin", "get_weather"),
    ("where is my order", "What is the order number?", "it's 4471", "order_status"),
    ("my package hasn't arrived", "Could you tell me the number?", "uh 90210", "order_status"),
    ("i need a reminder", "When should I remind you?", "in twenty minutes", "set_reminder"),
    ("can you wake me up", "In how many minutes?", "half an hour", "set_reminder"),
    ("please send a text", "Who should it go to?", "to my sister lisa", "send_message"),
    ("i want to message somebody", "To whom?", "to bob", "send_message"),
    ("hello", "Shall I book a table for you?", "yes please for three on sunday", "book_table"),
    ("good morning", "Good morning. How are you?", "fine thanks", None),
    ("tell me about yourself", "I am an assistant. What do you like?", "i like music", None),
]
"""(words, question of the agent, words, right tool)."""
AFTER_CALLS = [
    ("what's the weather in oslo today", "It is cold. Anything else?", "no thank you", None),
    ("book a table for four on friday", "Done. Anything else?", "how big is the moon", None),
    ("where's my order 4471", "On its way. Anything else?", "set an alarm in ten minutes",
     "set_reminder"),
    ("will it rain in paris today", "Yes. Anything else?", "text anna that i'm late",
     "send_message"),
]  # fmt: skip
"""The same; a tool was called for the first words."""


def conversation(words: str, question: str, last: str, *, called: bool) -> list[Message]:
    """The messages before the decision."""
    call = ToolCall("c", "tool", "{}")
    between = [Message("assistant", "", (call,)), Message("tool", "done", call_id="c")]
    asked = [Message("assistant", question), Message("user", last)]
    return [Message("user", words), *(between if called else []), *asked]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    engine = Engine.load(given.model, threads=given.threads)
    tools, _ = read_requests(REQUESTS)
    router = Router(engine, [tool.description for tool in tools])
    right = {"last words": 0, "behind the question": 0}
    cases = [*((*case, False) for case in ANSWERS), *((*case, True) for case in AFTER_CALLS)]
    for words, question, last, wanted, called in cases:
        messages = conversation(words, question, last, called=called)
        for method, text in zip(right, (last, routed_words(messages)), strict=True):
            task = router.route(text).task
            right[method] += (None if task is None else tools[task].name) == wanted
    row = {"what": "second turns", "of": len(cases), **right}
    print(json.dumps(row) if given.json else row)


if __name__ == "__main__":
    main()
