"""Pipecat: OpenAIRealtimeLLMService with the settings of its official example."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    LLMRunFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner
from report import feature, main, pieces, question

URL = f"ws://{sys.argv[1]}/v1/realtime"
asked: list[str] = []
WEATHER = FunctionSchema(
    name="get_weather",
    description="The weather in a city.",
    properties={"city": {"type": "string", "description": "name of the city"}},
    required=["city"],
)


class Listener(FrameProcessor):
    """The end of the pipeline: what the agent says, and what goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.words = ""
        self.sound = 0
        self.errors: list[str] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.sound += len(frame.audio)
        if isinstance(frame, TTSTextFrame):
            self.words += frame.text + " "
        if isinstance(frame, ErrorFrame):
            self.errors.append(frame.error)
        await self.push_frame(frame, direction)


def properties(**changes: Any) -> Any:
    """The session of the official example."""
    return events.SessionProperties(
        audio=events.AudioConfiguration(
            input=events.AudioInput(
                transcription=events.InputAudioTranscription(),
                turn_detection=events.SemanticTurnDetection(),
                noise_reduction=events.InputAudioNoiseReduction(type="near_field"),
            )
        ),
        **changes,
    )


async def weather(params: Any) -> None:
    asked.append(params.arguments["city"])
    await params.result_callback("3 C")


async def talk(first: str | None, expected: str, *, sound: bool = True, **changes: Any) -> Listener:
    """One conversation, until the agent has said what is expected."""
    settings = OpenAIRealtimeLLMService.Settings(
        session_properties=properties(**changes), system_instruction="You are kind. " * 400
    )
    llm = OpenAIRealtimeLLMService(api_key="none", base_url=URL, settings=settings)
    llm.register_function("get_weather", weather)
    before, after = Listener(), Listener()
    messages: Any = [{"role": "user", "content": first}] if first else []
    context = LLMContext(messages, ToolsSchema(standard_tools=[WEATHER]))
    aggregators = LLMContextAggregatorPair(context)
    pipeline = Pipeline([before, aggregators.user(), llm, after, aggregators.assistant()])
    worker = PipelineWorker(pipeline, cancel_on_idle_timeout=False)

    async def converse() -> None:
        await worker.queue_frame(LLMRunFrame())
        if not first:
            await asyncio.sleep(0.5)
            for piece in pieces(question(), 960):
                frame = InputAudioRawFrame(audio=piece, sample_rate=24_000, num_channels=1)
                await worker.queue_frame(frame)
        while expected.replace(" ", "") not in after.words.replace(" ", ""):
            await asyncio.sleep(0.05)
            assert not (before.errors or after.errors), before.errors or after.errors
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    try:
        async with asyncio.timeout(15):
            await converse()
    except TimeoutError:
        raise AssertionError(f"heard {after.words!r}") from None
    finally:
        await worker.cancel()
        await asyncio.wait_for(running, 5)
    assert not sound or after.sound, "no sound"
    return after


@feature("typed text")
async def typed() -> None:
    await talk("how are you", "Fine, thank you.")


@feature("tools")
async def tools() -> None:
    await talk("is it cold", "Yes, it is three degrees.")
    assert asked == ["Oslo"]


@feature("speaks first")
async def speaks_first() -> None:
    await talk("Hello there", "Good day.")


@feature("spoken question and answer")
async def spoken() -> None:
    await talk(None, "Fine, thank you.")


main()
