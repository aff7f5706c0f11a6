"""Clients of the API's beta: their events, their session, by header and by subprotocol."""

import json

import pytest
from support.fakes import silence, speech
from support.webrtc_calls import agent, offer_of
from test_server import WIRE, append, dial, server, until
from test_session_settings import TOOL
from test_standard_client import ANSWERS

from agent.protocol.older_events import EVENTS, asks_for_beta

BETA = {"OpenAI-Beta": "realtime=v1"}


@pytest.mark.parametrize("header", ["realtime=v1", "assistants=v2, realtime=v1", "Realtime = v1"])
def test_the_beta_is_asked_for_by_a_header(header):
    assert asks_for_beta(header)


def test_or_by_a_subprotocol_and_else_not():
    assert asks_for_beta(None, ["realtime", "openai-beta.realtime-v1"])
    assert not asks_for_beta(None, ["realtime"])
    assert not asks_for_beta("assistants=v2")


async def talk(line, *events, until_kind="response.done"):
    for event in events:
        await line.send(json.dumps(event))
    return await until(line, until_kind)


def typed(text):
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    return {"type": "conversation.item.create", "item": item}


@pytest.mark.slow
async def test_a_spoken_turn_in_the_beta_names():
    async with (
        server("how are you", answers=ANSWERS) as (address, _),
        dial(address, "", additional_headers=BETA) as line,
    ):
        await line.send(append(silence(0.5, WIRE), speech(1.0, WIRE), silence(0.7, WIRE)))
        seen = await until(line, "response.done")
    kinds = {event["type"] for event in seen}
    assert not kinds & {*EVENTS, "conversation.item.done"}
    assert {"conversation.item.created", "response.audio.delta", "response.audio.done"} <= kinds
    assert {"response.audio_transcript.delta", "response.audio_transcript.done"} <= kinds
    response = seen[-1]["response"]
    assert response["output"][0]["content"] == [{"type": "audio", "transcript": "Fine."}]
    assert response["modalities"] == ["text", "audio"]
    assert "audio" not in response


async def test_the_session_is_flat_and_takes_what_it_shows():
    async with (
        server(answers=ANSWERS) as (address, _),
        dial(address, "", additional_headers=BETA) as line,
    ):
        session = (await until(line, "session.created"))[-1]["session"]
        assert session["modalities"] == ["text", "audio"]
        assert (session["input_audio_format"], session["output_audio_format"]) == ("pcm16", "pcm16")
        assert session["turn_detection"]["type"] == "semantic_vad"
        wish = {
            **session,
            "modalities": ["text"],
            "output_audio_format": "g711_ulaw",
            "max_response_output_tokens": 200,
            "tools": [TOOL],
        }
        events = await talk(
            line, {"type": "session.update", "session": wish}, until_kind="session.updated"
        )
        updated = events[-1]["session"]
        assert updated["modalities"] == ["text"]
        assert updated["output_audio_format"] == "g711_ulaw"
        assert updated["max_response_output_tokens"] == 200
        assert updated["tools"] == [TOOL]
        seen = await talk(line, typed("how are you"), {"type": "response.create"})
    assert "".join(e["delta"] for e in seen if e["type"] == "response.text.delta") == "Fine."
    assert seen[-1]["response"]["output"][0]["content"] == [{"type": "text", "text": "Fine."}]


async def test_options_of_a_response_in_the_beta_names():
    options = {"modalities": ["text"], "max_output_tokens": 100, "temperature": 0.8}
    async with (
        server(answers=ANSWERS) as (address, _),
        dial(address, "", subprotocols=["realtime", "openai-beta.realtime-v1"]) as line,
    ):
        create = {"type": "response.create", "response": options}
        seen = await talk(line, typed("how are you"), create)
    assert seen[-1]["response"]["modalities"] == ["text"]
    assert seen[-1]["response"]["max_output_tokens"] == 100


async def test_a_session_that_only_transcribes():
    update = {
        "type": "transcription_session.update",
        "session": {"input_audio_format": "pcm16", "input_audio_transcription": {}},
    }
    async with (
        server("how are you") as (address, _),
        dial(address, "?intent=transcription", additional_headers=BETA) as line,
    ):
        await until(line, "transcription_session.created")
        updated = await talk(line, update, until_kind="transcription_session.updated")
        assert updated[-1]["session"]["input_audio_format"] == "pcm16"


async def test_without_asking_nobody_gets_them():
    async with server(answers=ANSWERS) as (address, _), dial(address, "") as line:
        seen = await talk(line, typed("how are you"), {"type": "response.create"})
    assert not {event["type"] for event in seen} & set(EVENTS.values())


async def test_an_offer_may_ask_for_them_too():
    import httpx

    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        headers = {"Content-Type": "application/sdp", **BETA}
        answer = await web.post("/v1/realtime", content=await offer_of(), headers=headers)
        assert answer.status_code == 201
        made = (await web.post("/v1/realtime/sessions", json={"modalities": ["text"]})).json()
        assert made["modalities"] == made["output_modalities"] == ["text"]
