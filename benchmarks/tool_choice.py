"""How a small model best tells which tool a caller wants: by its name, or by a noisy channel.

    python benchmarks/tool_choice.py MODEL.gguf --json

The requests are those of `onebreath bench tools`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

from agent.bench.tools import INSTRUCTIONS, REQUESTS, read_requests
from agent.reply import FunctionTool
from dllm_core.engine import Engine
from dllm_core.tasks.decide import Decider
from dllm_core.tasks.questions import Choice
from dllm_core.tasks.routing import OTHERWISE, Router

NONE = "none"
Chooser = Callable[[str], str | None]


def by_label(engine: Engine, tools: Sequence[FunctionTool], system: str, text: str,
             labels: Sequence[str]) -> Chooser:  # fmt: skip
    """The tool whose label is the likeliest answer, with contextual calibration."""
    question = Choice(name="tool", text=text, options=tuple(labels))
    decider = Decider(engine, [question], before=[("system", system)])
    decider.warm_up()
    cache, names = engine.new_cache(), [*(tool.name for tool in tools), None]

    def choose(words: str) -> str | None:
        ids = engine.encode_chat([("system", system), ("user", words)])
        engine.prefill(ids, cache)
        return names[labels.index(decider.decide(ids, cache)[0].value)]

    return choose


def by_channel(engine: Engine, tools: Sequence[FunctionTool], *, plain: bool) -> Chooser:
    """The tool behind whose description the words are the likeliest."""
    router = Router(engine, [tool.description for tool in tools], plain=plain)

    def choose(words: str) -> str | None:
        task = router.route(words).task
        return None if task is None else tools[task].name

    return choose


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--requests", type=Path, default=REQUESTS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    engine = Engine.load(given.model, threads=given.threads)
    tools, requests = read_requests(given.requests)
    listed = "\n".join(f"- {tool.name}: {tool.description}" for tool in tools)
    shown = f"{INSTRUCTIONS}\nYou can use these tools:\n{listed}"
    names = [*(tool.name for tool in tools), NONE]
    wishes = [each.description.rstrip(".").lower() for each in tools]
    choosers = {
        "name, tools in the prompt": by_label(engine, tools, shown, "Tool", names),
        "description as the answer": by_label(
            engine, tools, INSTRUCTIONS, "The caller wants me to",
            [*wishes, OTHERWISE.rstrip(".").lower()],
        ),
        "noisy channel": by_channel(engine, tools, plain=False),
        "noisy channel, plain": by_channel(engine, tools, plain=True),
    }  # fmt: skip
    for name, choose in choosers.items():
        right, times = 0, []
        for request in requests:
            begin = perf_counter()
            right += choose(request.words) == request.call
            times.append((perf_counter() - begin) * 1e3)
        row = {"method": name, "right": right, "of": len(requests),
               "ms": round(statistics.median(times), 1)}  # fmt: skip
        print(json.dumps(row) if given.json else row, flush=True)


if __name__ == "__main__":
    main()
