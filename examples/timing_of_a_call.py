"""Play recordings into a running server and print where the time of each turn went.

make run; python examples/timing_of_a_call.py [question.wav ...] [ws://host:port/v1/realtime]
"""

import asyncio
import sys
from pathlib import Path

from agent.errors import OnebreathError
from agent.latency.caller import Caller
from agent.latency.question import read_questions
from agent.latency.realtime import RealtimeConnection
from agent.questions import bundled_questions

URL = "ws://127.0.0.1:8080/v1/realtime"


async def main(url: str, paths: list[Path]) -> None:
    caller = Caller(RealtimeConnection(url))
    async for turn in caller.turns(read_questions(paths, print)):
        print(f"{turn.file}: {turn.heard} -> {turn.answered}")
        if turn.voice_to_voice_ms is None:
            print(f"  {turn.error}")
            continue
        for name, span in turn.spans.items():
            width = round(40 * max(span, 0.0) / turn.voice_to_voice_ms)
            print(f"  {name:<14}{span:7.0f} ms  {'█' * width}")
        print(f"  {'voice to voice':<14}{turn.voice_to_voice_ms:7.0f} ms")


if __name__ == "__main__":
    addresses = [word for word in sys.argv[1:] if "://" in word]
    files = [Path(word) for word in sys.argv[1:] if "://" not in word]
    try:
        asyncio.run(main(addresses[0] if addresses else URL, files or bundled_questions()[:1]))
    except OnebreathError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
