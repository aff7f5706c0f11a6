"""openai-py: the synchronous and the asynchronous client."""

from __future__ import annotations

import asyncio
import base64
import sys
from typing import Any

from openai import AsyncOpenAI, OpenAI
from report import feature, main, pieces, question

URL = f"http://{sys.argv[1]}/v1"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


def client() -> AsyncOpenAI:
    return AsyncOpenAI(base_url=URL, api_key="none", max_retries=0)


async def until(connection: Any, kind: str) -> list[Any]:
    """Events up to the first of ``kind``; an error event is raised."""
    seen = []
    async for event in connection:
        seen.append(event)
        if event.type == "error":
            raise RuntimeError(event.error.message)
        if event.type == kind:
            return seen
    raise RuntimeError(f"the connection ended before {kind}")


async def type_text(connection: Any, text: str) -> None:
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    await connection.conversation.item.create(item=item)


def words(done: Any) -> str:
    part = done.response.output[0].content[0]
    return str(part.transcript or part.text)


@feature("spoken question and answer")
async def spoken() -> None:
    async with client().realtime.connect(model="gpt-realtime") as connection:
        for piece in pieces(question()):
            await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
        events = await until(connection, "response.done")
        assert words(events[-1]) == "Fine, thank you.", words(events[-1])
        assert any(event.type == "response.output_audio.delta" for event in events)
        assert events[-1].response.usage.total_tokens > 0


@feature("typed text")
async def typed() -> None:
    async with client().realtime.connect(model="gpt-realtime") as connection:
        await type_text(connection, "how are you")
        await connection.response.create()
        assert words((await until(connection, "response.done"))[-1]) == "Fine, thank you."


@feature("text-only replies")
async def text_only() -> None:
    async with client().realtime.connect(model="gpt-realtime") as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await type_text(connection, "how are you")
        await connection.response.create()
        events = await until(connection, "response.done")
        assert events[-1].response.output[0].content[0].text == "Fine, thank you."
        assert any(event.type == "response.output_text.delta" for event in events)


@feature("tools")
async def tools() -> None:
    async with client().realtime.connect(model="gpt-realtime") as connection:
        await connection.session.update(session={"type": "realtime", "tools": [WEATHER]})
        await type_text(connection, "is it cold")
        await connection.response.create()
        call = (await until(connection, "response.done"))[-1].response.output[0]
        assert (call.name, call.arguments) == ("get_weather", '{"city": "Oslo"}')
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "3 C"}
        await connection.conversation.item.create(item=output)
        await connection.response.create()
        assert words((await until(connection, "response.done"))[-1]) == "Yes, it is three degrees."


@feature("speaks first")
async def speaks_first() -> None:
    async with client().realtime.connect(model="gpt-realtime") as connection:
        await connection.response.create(response={"instructions": "Greet the caller."})
        assert words((await until(connection, "response.done"))[-1]) == "Good day."


@feature("client interrupts")
async def interrupts() -> None:
    async with client().realtime.connect(model="gpt-realtime") as connection:
        await type_text(connection, "a story")
        await connection.response.create()
        item = (await until(connection, "response.output_item.added"))[-1].item
        await until(connection, "response.output_audio.delta")
        await connection.conversation.item.truncate(
            item_id=item.id, content_index=0, audio_end_ms=100
        )
        await until(connection, "conversation.item.truncated")
        await type_text(connection, "how are you")
        await connection.response.create()
        await until(connection, "response.created")
        assert words((await until(connection, "response.done"))[-1]) == "Fine, thank you."


@feature("G.711")
async def g711() -> None:
    async with client().realtime.connect(model="gpt-realtime") as connection:
        audio: Any = {
            "input": {"format": {"type": "audio/pcmu"}, "noise_reduction": {"type": "near_field"}},
            "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
        }
        await connection.session.update(session={"type": "realtime", "audio": audio})
        sound = b"\xff" * 4000 + b"\x10\x90" * 4000 + b"\xff" * 8000
        for piece in pieces(sound, 800):
            await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
        events = await until(connection, "response.done")
        heard = [e for e in events if e.type == "response.output_audio.delta"]
        assert sum(len(base64.b64decode(event.delta)) for event in heard) > 1000


@feature("out-of-band replies")
async def apart() -> None:
    async with client().realtime.connect(model="gpt-realtime") as connection:
        options: Any = {
            "conversation": "none",
            "metadata": {"topic": "sorting"},
            "output_modalities": ["text"],
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "how are you"}],
                }
            ],
        }
        await connection.response.create(response=options)
        done = (await until(connection, "response.done"))[-1]
        assert done.response.metadata == {"topic": "sorting"}
        assert words(done) == "Fine, thank you."


@feature("items")
async def items() -> None:
    async with client().realtime.connect(model="gpt-realtime") as connection:
        item: Any = {"type": "message", "role": "system", "id": "rule"}
        item["content"] = [{"type": "input_text", "text": "Be kind."}]
        await connection.conversation.item.create(item=item)
        await until(connection, "conversation.item.done")
        await connection.conversation.item.retrieve(item_id="rule")
        shown = (await until(connection, "conversation.item.retrieved"))[-1].item
        assert shown.content[0].text == "Be kind."
        await connection.conversation.item.delete(item_id="rule")
        assert (await until(connection, "conversation.item.deleted"))[-1].item_id == "rule"


@feature("transcription session")
async def transcription() -> None:
    query: Any = {"intent": "transcription"}
    async with client().realtime.connect(extra_query=query) as connection:
        session: Any = {"type": "transcription", "audio": {"input": {"transcription": {}}}}
        await connection.session.update(session=session)
        for piece in pieces(question()):
            await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
        kind = "conversation.item.input_audio_transcription.completed"
        assert (await until(connection, kind))[-1].transcript == "how are you"


@feature("client secrets")
async def secrets() -> None:
    made = await client().realtime.client_secrets.create(
        session={"type": "realtime", "instructions": "Be brief."}
    )
    held = AsyncOpenAI(base_url=URL, api_key=made.value, max_retries=0)
    async with held.realtime.connect(model="gpt-realtime") as connection:
        created = (await until(connection, "session.created"))[-1]
        assert created.session.instructions == "Be brief."


@feature("synchronous client")
async def synchronous() -> None:
    def talk() -> None:
        sync = OpenAI(base_url=URL, api_key="none", max_retries=0)
        with sync.realtime.connect(model="gpt-realtime") as connection:
            content: Any = [{"type": "input_text", "text": "how are you"}]
            message: Any = {"type": "message", "role": "user", "content": content}
            connection.conversation.item.create(item=message)
            connection.response.create()
            for event in connection:
                if event.type == "response.done":
                    assert words(event) == "Fine, thank you."
                    return

    await asyncio.to_thread(talk)


@feature("bad input")
async def bad_input() -> None:
    """Each is an error with the path, the code and the event's id; then the call goes on."""
    huge = [{**WEATHER, "name": f"f{n}", "description": "x" * 20_000} for n in range(100)]
    named = {"type": "function", "name": "no_such_function"}
    no_schema = {**WEATHER, "parameters": {"type": "objekt"}}
    wishes: Any = [
        ({"tools": [WEATHER], "tool_choice": named}, "session.tool_choice.name", "invalid_value"),
        ({"tools": [no_schema]}, "session.tools[0].parameters", "invalid_value"),
        ({"tools": [{"type": "function"}]}, "session.tools[0].name", "missing_required_parameter"),
        ({"tools": huge}, None, "message_too_large"),
        ({"tools": huge[:20]}, "session.tools", "invalid_value"),
        ({"instructions": 7}, "session.instructions", "invalid_type"),
    ]
    async with client().realtime.connect(model="gpt-realtime") as connection:
        for number, (wish, param, code) in enumerate(wishes):
            session = {"type": "realtime", **wish}
            event: Any = {"type": "session.update", "event_id": f"ev_{number}", "session": session}
            await connection.send(event)
            error = None
            async for answer in connection:
                if answer.type == "error":
                    error = answer.error
                    if error.code != "rate_limit_exceeded":  # so large an event is told of twice
                        break
            assert error is not None
            assert (error.param, error.code, error.event_id) == (param, code, f"ev_{number}"), error
        await type_text(connection, "how are you")
        await connection.response.create()
        async for answer in connection:
            if answer.type == "response.done":
                assert words(answer) == "Fine, thank you."
                return


main()
