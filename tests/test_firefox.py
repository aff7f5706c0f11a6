"""The client in Firefox, another engine from the one it is mostly tested in."""

from __future__ import annotations

import pytest
from support.browsers import scripted, served
from support.firefox import firefox, silent_speaker

from agent.bench.browser_page import CONTROLLER, INSTRUMENTS

HELLO = "Hello yourself."
PHASE = f"{CONTROLLER}.session.phase"


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("transport", ["websocket", "webrtc"])
async def test_a_typed_message_is_answered_and_heard(tmp_path, transport):
    instruments = INSTRUMENTS.read_text()
    with silent_speaker(tmp_path) as sound, served(scripted([], {"Hello": HELLO})) as server:
        async with firefox(tmp_path, instruments, sound) as tab:
            await tab.open(f"{server.url}/?transport={transport}")
            await tab.evaluate("document.querySelector('.orb').click()")
            await tab.until(f"{PHASE} === 'listening'")
            assert await tab.evaluate(f"{CONTROLLER}.session.transport") == transport
            await tab.evaluate(f"{CONTROLLER}.say('Hello')")
            await tab.until(f"{CONTROLLER}.session.turn?.status === 'completed'")
            assert await tab.evaluate(f"{CONTROLLER}.session.items.at(-1).text") == HELLO
            assert await tab.evaluate(f"{CONTROLLER}.session.turn.firstSoundAt") > 0
