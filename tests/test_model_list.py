"""The models as clients of the API list them, and half characters in what they send."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json
from test_access import BEARER, KEYS, web_at
from test_server import server

from agent.protocol import parse
from agent.protocol.half_characters import whole_characters


async def test_clients_list_the_models() -> None:
    async with server() as (address, _), web_at(address) as web:
        listed = (await web.get("/v1/models")).json()
        about = (await web.get("/about.json")).json()
        assert listed["object"] == "list"
        assert [each["id"] for each in listed["data"]] == [about["responder"], about["recogniser"]]
        for model in listed["data"]:
            assert model["object"] == "model"
            assert isinstance(model["created"], int)
            assert (await web.get(f"/v1/models/{model['id']}")).json() == model
        missing = await web.get("/v1/models/org/gpt-9")
        assert missing.status_code == 404
        assert missing.json()["error"]["code"] == "model_not_found"
        assert about["responder"] in missing.json()["error"]["message"]
        assert (await web.post("/v1/models")).status_code == 405


async def test_addresses_of_the_api_that_are_not_offered_are_told_so() -> None:
    async with server() as (address, _), web_at(address) as web:
        for path in ("audio/speech", "audio/transcriptions", "chat/completions", "responses"):
            answer = await web.post(f"/v1/{path}", json={})
            assert answer.status_code == 404
            error = answer.json()["error"]
            assert error["code"] == "not_offered"
            assert f"/v1/{path}" in error["message"]
            assert "/v1/realtime" in error["message"]
        long = await web.get("/v1/" + "x" * 2000)
        assert len(long.text) < 400
        other = await web.put("/v1/models")
        assert (other.status_code, other.headers["allow"]) == (405, "GET, HEAD")
        assert other.json()["error"]["code"] == "method_not_allowed"
        assert (await web.get("/about.json")).status_code == 200


async def test_the_models_are_told_to_those_who_may_call() -> None:
    async with server(api_keys=KEYS) as (address, _), web_at(address) as web:
        for path in ("/v1/models", "/v1/models/any"):
            assert (await web.get(path)).status_code == 401
        assert (await web.get("/v1/models", headers=BEARER)).status_code == 200


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (r"cut \ud83d", "cut \ufffd"),
        (r"\udca9 cut", "\ufffd cut"),
        (r"\ud83d\ud83d\udca9", "\ufffd\N{PILE OF POO}"),
        (r"\udca9\ud83d\n\"", '\ufffd\ufffd\n"'),
        (r"C:\\ud83d", r"C:\ud83d"),
        (r"\\\ud83d", "\\\ufffd"),
    ],
)
def test_half_a_character_is_replaced(sent: str, read: str) -> None:
    event = '{"type":"session.update","session":{"type":"realtime","instructions":"TEXT"}}'
    (update,) = parse(event.replace("TEXT", sent))
    assert update.instructions == read


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_of_a_client_can_be_read(text: str) -> None:
    written = json.dumps(text)
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert from_json(whole_characters(written)) == re.sub("[\ud800-\udfff]", "\ufffd", joined)
    if joined.isprintable():
        assert whole_characters(written) == written
