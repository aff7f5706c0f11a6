"""A standard Realtime client against the real server: no events but the API's, all of its forms."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager

import numpy as np
import pytest
from support.fakes import silence, speech
from test_server import WIRE, append, dial, server, until
from test_session_settings import TOOL

from agent.audio.g711 import decode_mulaw, encode_mulaw
from agent.audio.samples import to_pcm16
from agent.reply import ToolCall

CALL = ToolCall("call_7", "get_weather", '{"city": "Oslo"}')
ANSWERS = {
    "how are you": "Fine.",
    "is it cold": CALL,
    "3 C": "Yes, three degrees.",
    "talk": "word " * 40,
    "Hello.": "Good day.",
}


class Client:
    """A websocket that sends events by their fields and reads up to the one that is wanted."""

    def __init__(self, line):
        self.line = line
        self.seen = []

    async def send(self, kind, **body):
        await self.line.send(json.dumps({"type": kind, **body}))

    async def until(self, kind):
        events = await until(self.line, kind)
        self.seen += events
        return events[-1]

    async def type_text(self, text, **body):
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content, **body}
        await self.send("conversation.item.create", item=item)

    async def error(self):
        return (await self.until("error"))["error"]

    def kinds(self):
        return [event["type"] for event in self.seen]


@asynccontextmanager
async def client(*heard, query="", **settings):
    async with (
        server(*heard, answers=ANSWERS, **settings) as (address, engines),
        dial(address, query) as line,
    ):
        opened = Client(line)
        opened.engines = engines
        await opened.until("session.created")
        yield opened


@pytest.mark.slow
async def test_events_of_this_project_come_only_when_asked_for():
    async with client("how are you") as it:
        await it.line.send(append(silence(0.5, WIRE), speech(1.0, WIRE), silence(0.7, WIRE)))
        await it.until("response.done")
    assert not [kind for kind in it.kinds() if kind.startswith("onebreath.")]
    assert "onebreath" not in it.seen[-1]["response"]
    usage = it.seen[-1]["response"]["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


async def test_a_session_field_asks_for_them_too():
    async with client() as it:
        await it.send("session.update", session={"onebreath": {"events": True}, "tracing": "auto"})
        notice = await it.until("onebreath.notice")
    assert "session.tracing" in notice["message"]


async def test_a_response_is_done_when_it_is_generated_and_all_its_sound_came():
    async with client() as it:
        await it.type_text("talk")
        await it.send("response.create")
        began = asyncio.get_running_loop().time()
        await it.until("response.done")
        took = asyncio.get_running_loop().time() - began
        audio = [e["delta"] for e in it.seen if e["type"] == "response.output_audio.delta"]
        seconds = sum(len(base64.b64decode(delta)) for delta in audio) / 2 / WIRE
    assert seconds > 2 * took
    assert it.seen[-1]["response"]["output"][0]["content"][0]["transcript"].startswith("word")


async def test_a_truncation_of_the_running_reply_ends_it_and_another_can_be_asked_for():
    async with client() as it:
        await it.type_text("talk")
        await it.send("response.create")
        done = await it.until("response.done")
        item_id = done["response"]["output"][0]["id"]
        await it.send("conversation.item.truncate", item_id=item_id, audio_end_ms=100)
        await it.until("conversation.item.truncated")
        await it.type_text("how are you")
        await it.send("response.create")
        async with asyncio.timeout(2):  # what was left to play would have taken longer
            again = await it.until("response.done")
    assert again["response"]["output"][0]["content"][0]["transcript"] == "Fine."


async def test_a_function_is_called_and_its_output_answered():
    async with client() as it:
        await it.send("session.update", session={"tools": [TOOL], "tool_choice": "auto"})
        assert (await it.until("session.updated"))["session"]["tools"] == [TOOL]
        await it.type_text("is it cold")
        await it.send("response.create")
        done = await it.until("response.done")
        deltas = [e for e in it.seen if e["type"] == "response.function_call_arguments.delta"]
        assert "".join(e["delta"] for e in deltas) == CALL.arguments
        (item,) = done["response"]["output"]
        assert (item["type"], item["name"]) == ("function_call", "get_weather")
        assert item["arguments"] == CALL.arguments
        output = {"type": "function_call_output", "call_id": item["call_id"], "output": "3 C"}
        await it.send("conversation.item.create", item=output)
        added = await it.until("conversation.item.done")
        assert added["item"]["output"] == "3 C"
        assert added["previous_item_id"] == item["id"]
        await it.send("response.create")
        done = await it.until("response.done")
    assert done["response"]["output"][0]["content"][0]["transcript"] == "Yes, three degrees."
    prompt = it.engines.responder.prompts[-1]
    assert [message.role for message in prompt] == ["system", "user", "assistant", "tool"]
    order = [kind for kind in it.kinds() if "function_call_arguments.done" in kind]
    assert order, "the end of the arguments is told"


async def test_a_spoken_question_may_call_a_function_ahead_of_the_end_of_the_turn():
    async with client("is it cold") as it:
        await it.send("session.update", session={"tools": [TOOL]})
        await it.line.send(append(silence(0.5, WIRE), speech(1.0, WIRE), silence(1.2, WIRE)))
        done = await it.until("response.done")
    assert [item["type"] for item in done["response"]["output"]] == ["function_call"]


async def test_tools_of_one_response_and_none():
    async with client() as it:
        await it.type_text("is it cold")
        await it.send("response.create", response={"tools": [TOOL], "tool_choice": "none"})
        done = await it.until("response.done")
        assert done["response"]["output"][0]["type"] == "message"
        await it.send(
            "response.create", response={"tool_choice": {"type": "function", "name": "x"}}
        )
        assert (await it.error())["param"] == "response.tool_choice.name"


async def test_an_output_that_nobody_waits_for_is_an_error_and_the_call_goes_on():
    async with client() as it:
        item = {"type": "function_call_output", "call_id": "call_none", "output": "?"}
        await it.send("conversation.item.create", item=item, event_id="ev_1")
        error = await it.error()
        assert (error["param"], error["event_id"]) == ("item.call_id", "ev_1")
        await it.type_text("how are you")
        await it.send("response.create")
        await it.until("response.done")


async def test_words_without_sound():
    async with client() as it:
        await it.send("session.update", session={"output_modalities": ["text"]})
        await it.type_text("how are you")
        await it.send("response.create")
        done = await it.until("response.done")
    assert done["response"]["output_modalities"] == ["text"]
    content = done["response"]["output"][0]["content"]
    assert content == [{"type": "output_text", "text": "Fine."}]
    assert "response.output_text.delta" in it.kinds()
    assert not [kind for kind in it.kinds() if "audio.delta" in kind]


async def test_a_reply_apart_beside_the_spoken_one_with_its_own_input_and_metadata():
    async with client() as it:
        await it.type_text("talk")
        await it.send("response.create")
        question = [{"type": "message", "role": "user", "content": "how are you"}]
        for number in range(3):
            apart = {
                "conversation": "none",
                "output_modalities": ["text"],
                "metadata": {"number": str(number)},
                "input": question,
                "instructions": "Classify.",
            }
            await it.send("response.create", response=apart)
        done = [await it.until("response.done") for _ in range(4)]
    known = {(d["response"]["metadata"] or {}).get("number"): d["response"] for d in done}
    assert set(known) == {None, "0", "1", "2"}
    assert known["1"]["output"][0]["content"][0]["text"] == "Fine."
    assert known["1"]["conversation_id"] is None
    added = [e["item"]["id"] for e in it.seen if e["type"] == "conversation.item.added"]
    assert known["1"]["output"][0]["id"] not in added
    assert ["Classify.", "how are you"] in [
        [message.content for message in prompt] for prompt in it.engines.responder.prompts
    ]


async def test_the_agent_speaks_first():
    async with client() as it:
        response = {"instructions": "Greet the caller.", "metadata": {"client_event_id": "x"}}
        await it.send("response.create", response=response)
        created = await it.until("response.created")
        assert created["response"]["metadata"] == {"client_event_id": "x"}
        done = await it.until("response.done")
    assert done["response"]["output"][0]["content"][0]["transcript"] == "Good day."
    assert it.engines.responder.prompts[-1][0].content == "Greet the caller."


@pytest.mark.slow
async def test_items_of_every_kind_in_their_places():
    async with client() as it:
        await it.type_text("second", id="two")
        await it.until("conversation.item.done")
        system = {
            "type": "message",
            "role": "system",
            "content": [{"type": "input_text", "text": "A"}],
        }
        await it.send("conversation.item.create", item=system, previous_item_id="root")
        assert (await it.until("conversation.item.done"))["previous_item_id"] is None
        said = [{"type": "output_text", "text": "I said it."}]
        agent = {"type": "message", "role": "assistant", "id": "three", "content": said}
        await it.send("conversation.item.create", item=agent, previous_item_id="two")
        assert (await it.until("conversation.item.done"))["previous_item_id"] == "two"
        call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
        await it.send("conversation.item.create", item=call)
        await it.until("conversation.item.done")
        await it.send("conversation.item.retrieve", item_id="three")
        item = (await it.until("conversation.item.retrieved"))["item"]
        assert item["content"] == said
        await it.type_text("how are you")
        await it.send("response.create")
        await it.until("response.done")
        prompt = it.engines.responder.prompts[-1]
        roles = ["system", "system", "user", "assistant", "tool", "user"]
        assert [message.role for message in prompt] == roles
        await it.send("conversation.item.delete", item_id="two")
        assert (await it.until("conversation.item.deleted"))["item_id"] == "two"
        await it.send("conversation.item.retrieve", item_id="two", event_id="ev_2")
        error = await it.error()
        assert error["code"] == "item_retrieve_invalid_item_id"
        assert error["event_id"] == "ev_2"


async def test_sound_in_an_item_is_transcribed():
    async with client("how are you") as it:
        audio = base64.b64encode(to_pcm16(speech(1.0, WIRE))).decode()
        item = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_audio", "audio": audio}],
        }
        await it.send("conversation.item.create", item=item)
        kind = "conversation.item.input_audio_transcription.completed"
        assert (await it.until(kind))["transcript"] == "how are you"
        await it.send("response.create")
        done = await it.until("response.done")
    assert done["response"]["output"][0]["content"][0]["transcript"] == "Fine."


def message(*content, **fields):
    return {"type": "message", "role": "user", "content": list(content), **fields}


CALL_ITEM = {"type": "function_call", "name": "f", "call_id": "c"}


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (message({"type": "input_image", "image_url": "x"}), "unsupported_content_type"),
        (message(), "invalid_value"),
        (message({"type": "input_text", "text": "x"}, role="wizard"), "invalid_value"),
        ({"type": "hologram"}, "invalid_value"),
        ({**message(), "content": "x", "id": "known"}, "item_create_duplicate_item_id"),
        ({**CALL_ITEM, "arguments": "{"}, "invalid_value"),
        (message({"type": "input_audio", "audio": "?"}), "invalid_audio"),
    ],
)
async def test_an_item_that_makes_no_sense_is_one_error(item, code):
    async with client() as it:
        await it.type_text("hello", id="known")
        await it.send("conversation.item.create", item=item, event_id="ev_9")
        error = await it.error()
        assert (error["code"], error["event_id"]) == (code, "ev_9")
        assert error["type"] == "invalid_request_error"


async def test_an_unknown_place_is_an_error():
    async with client() as it:
        item = {"type": "message", "role": "user", "content": "x"}
        await it.send("conversation.item.create", item=item, previous_item_id="nowhere")
        assert (await it.error())["code"] == "item_create_invalid_previous_item_id"


async def test_hundreds_of_harmless_errors_do_not_close_the_call():
    async with client() as it:
        for _ in range(300):
            await it.send("conversation.item.retrieve", item_id="gone")
            await it.send("make.coffee")
        for _ in range(600):
            await it.error()
        await it.type_text("how are you")
        await it.send("response.create")
        await it.until("response.done")


@pytest.mark.slow
async def test_megabytes_of_tools_are_an_error_and_the_call_goes_on():
    async with client() as it:
        tools = [{**TOOL, "name": f"f{n}", "description": "x" * 20_000} for n in range(100)]
        await it.send("session.update", session={"tools": tools})
        assert (await it.error())["code"] == "message_too_large"
        await it.send("session.update", session={"tools": tools[:20]})
        assert (await it.error())["param"] == "session.tools"
        await it.type_text("how are you")
        await it.send("response.create")
        await it.until("response.done")


@pytest.mark.slow
async def test_g711_both_ways():
    async with client("how are you") as it:
        formats = {
            "input": {"format": {"type": "audio/pcmu"}, "noise_reduction": {"type": "near_field"}},
            "output": {"format": {"type": "audio/pcmu"}},
        }
        await it.send("session.update", session={"type": "realtime", "audio": formats})
        sound = np.concatenate([silence(0.5, 8000), speech(1.0, 8000), silence(0.8, 8000)])
        for start in range(0, len(sound), 160):
            audio = base64.b64encode(encode_mulaw(sound[start : start + 160])).decode()
            await it.send("input_audio_buffer.append", audio=audio)
        await it.until("response.done")
    deltas = [e["delta"] for e in it.seen if e["type"] == "response.output_audio.delta"]
    heard = decode_mulaw(b"".join(base64.b64decode(delta) for delta in deltas))
    assert len(heard) > 0.05 * 8000
    assert np.abs(heard).max() > 0.05


async def test_a_transcription_session_writes_down_and_never_answers():
    async with client("how are you", query="?intent=transcription") as it:
        assert it.seen[0]["session"]["type"] == "transcription"
        await it.line.send(append(silence(0.5, WIRE), speech(1.0, WIRE), silence(1.2, WIRE)))
        kind = "conversation.item.input_audio_transcription.completed"
        assert (await it.until(kind))["transcript"] == "how are you"
        deltas = [e["delta"] for e in it.seen if e["type"].endswith("transcription.delta")]
        assert "".join(deltas) == "how are you"
        await it.send("response.create")
        assert "transcribes" in (await it.error())["message"]
    assert it.engines.responder.prompts == []


async def test_a_cancellation_of_nothing_says_so_in_the_words_that_clients_look_for():
    async with client() as it:
        await it.send("output_audio_buffer.clear")
        await it.send("response.cancel", event_id="ev_3")
        error = await it.error()
    assert error["message"].startswith("Cancellation failed")
    assert (error["code"], error["event_id"]) == ("response_cancel_not_active", "ev_3")


async def test_the_first_messages_of_a_benchmark_harness_and_a_scripted_task():
    policy = "As a retail agent you may help users with one order at a time. " * 120
    async with client() as it:
        session = {
            "type": "realtime",
            "instructions": policy,
            "output_modalities": ["audio"],
            "reasoning": {"effort": "minimal"},
            "audio": {
                "input": {
                    "format": {"type": "audio/pcmu"},
                    "noise_reduction": {"type": "near_field"},
                    "transcription": {"model": "gpt-4o-transcribe"},
                    "turn_detection": {"type": "server_vad", "threshold": 0.5},
                },
                "output": {"format": {"type": "audio/pcmu"}, "voice": "alloy"},
            },
            "tools": [TOOL],
            "tool_choice": "auto",
        }
        await it.send("session.update", session=session)
        updated = await it.until("session.updated")
        assert updated["session"]["instructions"] == policy
        await it.type_text("is it cold")
        await it.send("response.create")
        call = (await it.until("response.done"))["response"]["output"][0]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "3 C"}
        await it.send("conversation.item.create", item=output)
        await it.send("response.create")
        done = await it.until("response.done")
    assert done["response"]["output"][0]["content"][0]["transcript"] == "Yes, three degrees."
    assert "error" not in it.kinds()
