"""How soon the whole of a reply is at its client, paced and at once: ADR 28.

python benchmarks/unpaced_delivery.py
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "tests")]

from clients.server import scripted_server  # noqa: E402
from websockets.asyncio.client import connect  # noqa: E402

WORDS = "word " * 40


async def reply(address: str, query: str) -> tuple[float, float, float, float]:
    """Seconds to the first sound, the last sound and the end of a reply; seconds of its sound."""
    async with connect(f"ws://{address}/v1/realtime{query}", max_size=None) as line:
        content = [{"type": "input_text", "text": WORDS}]
        item = {"type": "message", "role": "user", "content": content}
        await line.send(json.dumps({"type": "conversation.item.create", "item": item}))
        began = time.monotonic()
        await line.send(json.dumps({"type": "response.create"}))
        first, last, sound = 0.0, 0.0, 0
        async for text in line:
            event = json.loads(text)
            if event["type"] == "response.output_audio.delta":
                last = time.monotonic() - began
                first = first or last
                sound += len(base64.b64decode(event["delta"]))
            if event["type"] == "response.done":
                return first, last, time.monotonic() - began, sound / 48_000
    raise RuntimeError("the connection ended")


async def main() -> None:
    """Print the table."""
    async with scripted_server() as address:
        print("| delivery | first sound | last sound | response.done | sound |")
        print("|---|---|---|---|---|")
        for name, query in (("paced", "?onebreath=1"), ("at once", "")):
            times = [f"{seconds:.2f} s" for seconds in await reply(address, query)]
            print(f"| {name} | " + " | ".join(times) + " |")


if __name__ == "__main__":
    asyncio.run(main())
