"""Why a websocket would be refused, told over plain HTTP."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import httpx
import pytest
from test_resumption import RESUMABLE, back, cut, token_of
from test_server import dial, server, until

from agent.server.handshakes import SPARE_QUESTIONS
from agent.server.keys import new_key


@asynccontextmanager
async def asking(address, **options):
    async with httpx.AsyncClient(base_url=f"http://{address}", **options) as web:

        async def ask(query="", **headers):
            answer = await web.get(f"/v1/realtime{query}", headers=headers)
            code = json.loads(answer.content)["error"]["code"] if answer.content else None
            return answer.status_code, code

        yield ask


async def test_what_would_be_taken_is_told_without_a_body():
    async with server() as (address, _), asking(address) as ask:
        assert await ask() == (204, None)
        assert await ask(RESUMABLE) == (204, None)


async def test_a_page_that_may_not_call_is_told_so():
    async with server() as (address, _), asking(address) as ask:
        assert await ask(origin="https://elsewhere.example") == (403, "forbidden")


async def test_a_wrong_key_is_told():
    key, hashed = new_key()
    async with server(api_keys={"me": {"hash": hashed}}) as (address, _), asking(address) as ask:
        assert await ask() == (401, "invalid_api_key")
        assert await ask(authorization="Bearer wrong") == (401, "invalid_api_key")
        assert await ask(authorization=f"Bearer {key}") == (204, None)


async def test_a_full_server_is_told():
    async with server(max_calls=1) as (address, _), asking(address) as ask, dial(address) as line:
        await until(line, "session.created")
        assert await ask() == (503, "server_full")


@pytest.mark.slow
async def test_a_token_is_looked_at_and_not_used():
    async with server() as (address, _), asking(address) as ask:
        async with dial(address, RESUMABLE) as line:
            token = await token_of(line)
            assert await ask("?resume=rs_wrong") == (404, "session_not_found")
            cut(line)
        for _ in range(2):
            assert await ask(f"?resume={token}") == (204, None)
        async with back(address, token) as line:
            assert (await until(line, "session.created"))[-1]["resumed"] is True


async def test_questions_without_end_are_refused():
    async with server() as (address, _), asking(address) as ask:
        answers = [await ask() for _ in range(SPARE_QUESTIONS + 3)]
    assert answers.count((204, None)) <= SPARE_QUESTIONS + 1
    assert answers[-1] == (429, "too_many_requests")


async def test_tokens_in_vain_are_counted_here_too():
    async with server() as (address, _), asking(address) as ask:
        answers = [(await ask("?resume=rs_wrong"))[0] for _ in range(25)]
    assert answers[0] == 404
    assert answers[-1] == 429
