"""litellm: its Realtime proxy between a client and this server."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

import litellm
from report import feature, main, question


class Browser:
    """The client's side of the proxy's websocket."""

    def __init__(self) -> None:
        self.to_proxy: asyncio.Queue[str] = asyncio.Queue()
        self.from_proxy: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.headers: dict[str, str] = {}
        self.scope: dict[str, Any] = {"headers": [], "type": "websocket", "subprotocols": []}
        self.client_state = self.application_state = None

    async def accept(self, **options: Any) -> None:
        """The proxy takes the connection."""

    async def receive_text(self) -> str:
        return await self.to_proxy.get()

    async def receive(self) -> dict[str, Any]:
        return {"type": "websocket.receive", "text": await self.to_proxy.get()}

    async def send_text(self, text: str | bytes) -> None:
        await self.from_proxy.put(json.loads(text))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self.from_proxy.put({"type": "closed", "code": code, "reason": reason})

    async def send(self, kind: str, **body: Any) -> None:
        await self.to_proxy.put(json.dumps({"type": kind, **body}))

    async def until(self, kind: str) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["type"] != kind:
            seen.append(await self.from_proxy.get())
            if seen[-1]["type"] in ("error", "closed"):
                raise RuntimeError(str(seen[-1]))
        return seen


async def talk(steps: Any) -> None:
    browser: Any = Browser()
    proxy = asyncio.create_task(
        litellm._arealtime(
            model="openai/gpt-realtime",
            websocket=browser,
            api_base=f"http://{sys.argv[1]}/v1",
            api_key="none",
            query_params={"model": "openai/gpt-realtime"},
        )
    )
    work = asyncio.create_task(steps(browser))
    done, _ = await asyncio.wait({proxy, work}, return_when=asyncio.FIRST_COMPLETED)
    for task in (proxy, work):
        task.cancel()
    if work not in done:
        raise RuntimeError(f"the proxy ended: {proxy.exception() if proxy in done else None}")
    await work


def words(done: dict[str, Any]) -> str:
    part = done["response"]["output"][0]["content"][0]
    return str(part.get("transcript") or part.get("text"))


@feature("spoken question and answer")
async def spoken() -> None:
    async def steps(browser: Browser) -> None:
        audio = base64.b64encode(question()).decode()
        await browser.send("input_audio_buffer.append", audio=audio)
        events = await browser.until("response.done")
        assert words(events[-1]) == "Fine, thank you."
        assert any(event["type"] == "response.output_audio.delta" for event in events)

    await talk(steps)


async def type_text(browser: Browser, text: str) -> None:
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    await browser.send("conversation.item.create", item=item)
    await browser.send("response.create")


@feature("typed text")
async def typed() -> None:
    async def steps(browser: Browser) -> None:
        await type_text(browser, "how are you")
        assert words((await browser.until("response.done"))[-1]) == "Fine, thank you."

    await talk(steps)


@feature("tools")
async def tools() -> None:
    async def steps(browser: Browser) -> None:
        schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        tool = {"type": "function", "name": "get_weather", "parameters": schema}
        await browser.send("session.update", session={"type": "realtime", "tools": [tool]})
        await type_text(browser, "is it cold")
        call = (await browser.until("response.done"))[-1]["response"]["output"][0]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "3 C"}
        await browser.send("conversation.item.create", item=output)
        await browser.send("response.create")
        done = (await browser.until("response.done"))[-1]
        assert words(done) == "Yes, it is three degrees."

    await talk(steps)


main()
