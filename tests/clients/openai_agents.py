"""openai-agents (Python): RealtimeSession with a tool, a handoff, a guardrail and interruptions."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agents import GuardrailFunctionOutput, OutputGuardrail, function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner
from report import feature, main, pieces, question

URL = f"ws://{sys.argv[1]}/v1/realtime?model=gpt-realtime"
set_tracing_disabled(True)
asked: list[str] = []


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    asked.append(city)
    return "3 C"


def no_bananas(context: Any, agent: Any, output: Any) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered="banana" in str(output))


EXPERT = RealtimeAgent(name="expert", instructions="You are the expert.")
AGENT = RealtimeAgent(
    name="assistant",
    instructions="You are the first to speak. " * 200,
    tools=[get_weather],
    handoffs=[EXPERT],
)


@asynccontextmanager
async def session(agent: Any = AGENT, config: Any = None, **settings: Any) -> AsyncIterator[Any]:
    """A session that is open; ``settings`` are those of the model."""
    runner = RealtimeRunner(agent, config=config)
    model = {"url": URL, "api_key": "none", "initial_model_settings": settings}
    async with await runner.run(model_config=model) as opened:
        yield opened


async def until(opened: Any, kind: str, count: int = 1) -> list[Any]:
    """Events up to the ``count``-th of ``kind``; an error event is raised."""
    seen = []
    async for event in opened:
        seen.append(event)
        if event.type == "error":
            raise RuntimeError(str(event.error))
        count -= event.type == kind
        if not count:
            return seen
    raise RuntimeError(f"the session ended before {kind}")


def said(events: list[Any]) -> list[str]:
    """The words of the agent in the last history."""
    histories = [e.history for e in events if e.type == "history_updated"]
    items = [i for i in histories[-1] if getattr(i, "role", "") == "assistant"] if histories else []
    return [
        str(getattr(part, "transcript", None) or getattr(part, "text", ""))
        for i in items
        for part in i.content
    ]


@feature("spoken question and answer")
async def spoken() -> None:
    async with session() as opened:
        for piece in pieces(question()):
            await opened.send_audio(piece)
        events = await until(opened, "agent_end")
        assert any(event.type == "audio" for event in events)
        assert "Fine, thank you." in said(events), said(events)


@feature("typed text")
async def typed() -> None:
    async with session() as opened:
        await opened.send_message("how are you")
        assert "Fine, thank you." in said(await until(opened, "agent_end"))


@feature("text-only replies")
async def text_only() -> None:
    async with session(modalities=["text"]) as opened:
        await opened.send_message("how are you")
        events = await until(opened, "agent_end")
        assert not any(event.type == "audio" for event in events)


@feature("tools")
async def tools() -> None:
    async with session() as opened:
        await opened.send_message("is it cold")
        events = await until(opened, "tool_end")
        assert asked == ["Oslo"]
        events += await until(opened, "audio_end")
        raw = [e.data for e in events if e.type == "raw_model_event"]
        words = "".join(d.delta for d in raw if d.type == "transcript_delta")
        assert "three degrees" in words, words


@feature("handoff")
async def handoff() -> None:
    async with session() as opened:
        await opened.send_message("the expert, please")
        events = await until(opened, "handoff")
        assert events[-1].to_agent.name == "expert"
        await until(opened, "audio_end")


@feature("guardrail")
async def guardrail() -> None:
    guarded = RealtimeAgent(
        name="guarded",
        instructions="Say anything.",
        output_guardrails=[OutputGuardrail(guardrail_function=no_bananas)],
    )
    config: Any = {"guardrails_settings": {"debounce_text_length": 5}}
    async with session(guarded, config) as opened:
        await opened.send_message("forbidden")
        await until(opened, "guardrail_tripped")


@feature("client interrupts")
async def interrupts() -> None:
    async with session() as opened:
        await opened.send_message("a story")
        await until(opened, "audio")
        await opened.interrupt()
        await until(opened, "audio_interrupted")
        await opened.send_message("how are you")
        words = ""
        async for event in opened:
            if event.type == "error":
                raise RuntimeError(str(event.error))
            if event.type == "raw_model_event" and event.data.type == "transcript_delta":
                words += event.data.delta
            if "Fine, thank you." in words:
                return


@feature("G.711")
async def g711() -> None:
    """The settings of the Twilio example."""
    detection = {"type": "semantic_vad", "interrupt_response": True, "create_response": True}
    formats = {"input_audio_format": "g711_ulaw", "output_audio_format": "g711_ulaw"}
    async with session(**formats, turn_detection=detection) as opened:
        sound = b"\xff" * 4000 + b"\x10\x90" * 4000 + b"\xff" * 12_000
        for piece in pieces(sound, 400):
            await opened.send_audio(piece)
        heard = 0
        async for event in opened:
            if event.type == "error":
                raise RuntimeError(str(event.error))
            if event.type == "audio":
                heard += len(event.audio.data)
            if heard > 1000:
                return


main()
