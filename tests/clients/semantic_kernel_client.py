"""semantic-kernel's realtime clients, of the API and of Azure's previews."""

from __future__ import annotations

import os
import sys
from typing import Any

from openai import AsyncOpenAI
from report import feature, main, pieces, question
from semantic_kernel.connectors.ai.open_ai import (
    AzureRealtimeExecutionSettings,
    AzureRealtimeWebsocket,
    OpenAIRealtimeExecutionSettings,
    OpenAIRealtimeWebsocket,
)
from semantic_kernel.connectors.ai.open_ai.services._open_ai_realtime import SendEvents
from semantic_kernel.contents import (
    AudioContent,
    ChatHistory,
    RealtimeAudioEvent,
    RealtimeEvent,
    RealtimeTextEvent,
    TextContent,
)

URL = f"https://{sys.argv[1]}"
KEY = os.environ["OPENAI_API_KEY"]


async def answer(client: Any) -> tuple[str, int]:
    """The words of the first reply, and the bytes of its sound."""
    words, size = "", 0
    async for event in client.receive():
        match event:
            case RealtimeTextEvent():
                words += event.text.text or ""
            case RealtimeAudioEvent():
                size += len(event.audio.data or b"")
            case _ if event.service_type == "error":
                raise AssertionError(event.service_event)
            case _ if event.service_type == "response.done":
                return words, size
    raise AssertionError("no reply")


@feature("spoken question and answer")
async def spoken() -> None:
    settings = OpenAIRealtimeExecutionSettings(
        instructions="You are kind.",
        turn_detection={"type": "server_vad", "create_response": True},
        voice="alloy",
    )
    api = AsyncOpenAI(api_key=KEY, base_url=f"{URL}/v1")
    client = OpenAIRealtimeWebsocket(ai_model_id="gpt-realtime", client=api)
    async with client(settings=settings):
        for piece in pieces(question()):
            content = AudioContent(data=piece, data_format="base64")
            await client.send(RealtimeAudioEvent(audio=content))
        words, size = await answer(client)
        assert "Fine, thank you." in words, words
        assert size


@feature("typed text")
async def typed() -> None:
    """At Azure's address of the previews, in the form of the GA, with a history."""
    client = AzureRealtimeWebsocket(
        deployment_name="gpt-realtime",
        endpoint=URL,
        api_key=KEY,
        api_version="2025-04-01-preview",
    )
    settings = AzureRealtimeExecutionSettings(instructions="You are kind.", voice="alloy")
    history = ChatHistory()
    history.add_user_message("hello")
    history.add_assistant_message("Good day.")
    async with client(settings=settings, chat_history=history):
        await client.send(RealtimeTextEvent(text=TextContent(text="how are you")))
        await client.send(RealtimeEvent(service_type=SendEvents.RESPONSE_CREATE))
        words, size = await answer(client)
        assert "Fine, thank you." in words, words
        assert size


main()
