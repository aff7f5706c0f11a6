"""openai-py's clients of Azure: `/openai/realtime?api-version=...`, the key as `api-key`."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from openai import AsyncAzureOpenAI, AsyncOpenAI
from report import feature, main, pieces, question

ADDRESS = sys.argv[1]
KEY = os.environ["OPENAI_API_KEY"]
DEPLOYMENT = "gpt-realtime"


def azure(**options: Any) -> AsyncAzureOpenAI:
    """The client as Azure's quick start makes it."""
    version = options.pop("api_version", "2025-04-01-preview")
    return AsyncAzureOpenAI(
        azure_endpoint=f"http://{ADDRESS}",
        websocket_base_url=f"ws://{ADDRESS}/openai",
        api_key=KEY,
        api_version=version,
        **options,
    )


@asynccontextmanager
async def preview() -> AsyncIterator[Any]:
    """A connection of the preview, whose events are those of the beta."""
    async with azure().beta.realtime.connect(model=DEPLOYMENT) as line:
        yield line


async def until(line: Any, kind: str) -> Any:
    async for event in line:
        assert event.type != "error", event.error
        if event.type == kind:
            return event
    raise AssertionError(f"no {kind}")


async def type_text(line: Any, text: str) -> None:
    part = {"type": "input_text", "text": text}
    await line.conversation.item.create(item={"type": "message", "role": "user", "content": [part]})
    await line.response.create()


@feature("spoken question and answer")
async def spoken() -> None:
    async with preview() as line:
        await line.session.update(
            session={
                "voice": "alloy",
                "modalities": ["text", "audio"],
                "input_audio_transcription": {"model": "whisper-1"},
                "turn_detection": {"type": "azure_semantic_vad", "silence_duration_ms": 300},
            }
        )
        for piece in pieces(question()):
            await line.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
        heard = await until(line, "conversation.item.input_audio_transcription.completed")
        assert heard.transcript == "how are you"
        await until(line, "response.audio.delta")
        said = await until(line, "response.audio_transcript.done")
        assert said.transcript == "Fine, thank you."
        await until(line, "response.done")


@feature("typed text")
async def typed() -> None:
    async with preview() as line:
        await type_text(line, "how are you")
        await until(line, "conversation.item.created")
        assert (await until(line, "response.audio_transcript.done")).transcript


@feature("text-only replies")
async def text_only() -> None:
    """The helper of the GA form, at the address of the previews."""
    async with azure().realtime.connect(model=DEPLOYMENT) as line:
        await line.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await type_text(line, "how are you")
        said = await until(line, "response.output_text.done")
        assert said.text == "Fine, thank you."


@feature("client secrets")
async def secrets_at_the_newer_address() -> None:
    """The way that Azure's pages show today: the API's own client at `/openai/v1`."""
    client = AsyncOpenAI(
        base_url=f"http://{ADDRESS}/openai/v1",
        websocket_base_url=f"ws://{ADDRESS}/openai/v1",
        api_key=KEY,
    )
    async with client.realtime.connect(model=DEPLOYMENT) as line:
        await line.session.update(session={"type": "realtime", "instructions": "Be kind."})
        assert (await until(line, "session.updated")).session.instructions == "Be kind."
        await type_text(line, "how are you")
        await until(line, "response.output_audio.done")
    made = await client.realtime.client_secrets.create(session={"type": "realtime"})
    assert made.value.startswith("ek_")


main()
