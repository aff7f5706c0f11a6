"""azure-ai-voicelive: Azure's client of Voice Live, at `/voice-live/realtime`."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from azure.ai.voicelive.aio import connect
from azure.ai.voicelive.models import (
    AudioEchoCancellation,
    AudioInputTranscriptionOptions,
    AudioNoiseReduction,
    AzureSemanticVad,
    AzureStandardVoice,
    FunctionCallOutputItem,
    FunctionTool,
    InputAudioFormat,
    InputTextContentPart,
    Modality,
    OutputAudioFormat,
    RequestSession,
    ServerEventType,
    UserMessageItem,
)
from azure.core.credentials import AzureKeyCredential
from report import feature, main, pieces, question

WEATHER = FunctionTool(
    name="get_weather",
    description="The weather in a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}},
)


def settings(**changes: Any) -> RequestSession:
    """The session of the package's samples."""
    given: dict[str, Any] = {
        "modalities": [Modality.TEXT, Modality.AUDIO],
        "instructions": "You are kind.",
        "voice": AzureStandardVoice(name="en-US-AvaNeural"),
        "input_audio_format": InputAudioFormat.PCM16,
        "output_audio_format": OutputAudioFormat.PCM16,
        "turn_detection": AzureSemanticVad(
            threshold=0.5, prefix_padding_ms=300, silence_duration_ms=500
        ),
        "input_audio_echo_cancellation": AudioEchoCancellation(),
        "input_audio_noise_reduction": AudioNoiseReduction(type="azure_deep_noise_suppression"),
        "input_audio_transcription": AudioInputTranscriptionOptions(model="azure-speech"),
    }
    return RequestSession(**given | changes)


@asynccontextmanager
async def call(**changes: Any) -> AsyncIterator[Any]:
    credential = AzureKeyCredential(os.environ["OPENAI_API_KEY"])
    endpoint = f"http://{sys.argv[1]}"
    async with connect(endpoint=endpoint, credential=credential, model="gpt-realtime") as line:
        await line.session.update(session=settings(**changes))
        await until(line, ServerEventType.SESSION_UPDATED)
        yield line


async def until(line: Any, kind: Any) -> Any:
    async for event in line:
        assert event.type != ServerEventType.ERROR, event.error
        if event.type == kind:
            return event
    raise AssertionError(f"no {kind}")


async def type_text(line: Any, text: str) -> None:
    item = UserMessageItem(content=[InputTextContentPart(text=text)])
    await line.conversation.item.create(item=item)
    await line.response.create()


@feature("spoken question and answer")
async def spoken() -> None:
    async with call() as line:
        for piece in pieces(question()):
            await line.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
            await asyncio.sleep(0)
        heard = ServerEventType.CONVERSATION_ITEM_INPUT_AUDIO_TRANSCRIPTION_COMPLETED
        assert (await until(line, heard)).transcript == "how are you"
        assert (await until(line, ServerEventType.RESPONSE_AUDIO_DELTA)).delta
        said = await until(line, ServerEventType.RESPONSE_AUDIO_TRANSCRIPT_DONE)
        assert said.transcript == "Fine, thank you."


@feature("typed text")
async def typed() -> None:
    async with call() as line:
        await type_text(line, "how are you")
        await until(line, ServerEventType.CONVERSATION_ITEM_CREATED)
        done = await until(line, ServerEventType.RESPONSE_DONE)
        assert done.response.output[0].content[0].transcript == "Fine, thank you."


@feature("tools")
async def tools() -> None:
    async with call(tools=[WEATHER]) as line:
        await type_text(line, "is it cold")
        asked = await until(line, ServerEventType.RESPONSE_FUNCTION_CALL_ARGUMENTS_DONE)
        assert (asked.name, asked.arguments) == ("get_weather", '{"city": "Oslo"}')
        await until(line, ServerEventType.RESPONSE_DONE)
        output = FunctionCallOutputItem(call_id=asked.call_id, output="3 C")
        await line.conversation.item.create(item=output)
        await line.response.create()
        done = await until(line, ServerEventType.RESPONSE_DONE)
        assert done.response.output[0].content[0].transcript == "Yes, it is three degrees."


@feature("client interrupts")
async def interrupts() -> None:
    async with call() as line:
        await type_text(line, "a story")
        await until(line, ServerEventType.RESPONSE_AUDIO_DELTA)
        await line.response.cancel()
        done = await until(line, ServerEventType.RESPONSE_DONE)
        assert done.response.status == "cancelled"


main()
