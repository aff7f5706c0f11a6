"""The client in Firefox, another engine from the one it is mostly tested in."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.browsers import QUESTIONS, scripted, served
from support.firefox import Firefox, firefox, silent_speaker
from support.relay import Relay, relay_to

from agent.bench.browser_page import CONTROLLER, INSTRUMENTS

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

HELLO = "Hello yourself."
LEGS = "How many legs does a spider have?"
EIGHT = "Eight, as every spider has, unless it has lost one or two of them on its way to us."
ANSWERS = {"Hello": HELLO, "And now?": "Now as well.", LEGS: EIGHT}
PHASE = f"{CONTROLLER}.session.phase"
AUDIO = f"{CONTROLLER}.call.audio"
TRANSPORTS = pytest.mark.parametrize("transport", ["websocket", "webrtc"])


def happened(kind: str) -> str:
    return f"{CONTROLLER}.entries.filter(({{event}}) => event.type === '{kind}').length"


@asynccontextmanager
async def call(
    folder: Path, transport: str, preload: str, heard: tuple[str, ...] = ()
) -> AsyncIterator[tuple[Firefox, Relay]]:
    """A call that is up, through a relay that can be cut."""
    with (
        silent_speaker(folder) as sound,
        served(scripted(heard, ANSWERS)) as server,
        relay_to(server.url) as relay,
    ):
        async with firefox(folder, preload, sound) as tab:
            await tab.open(f"http://127.0.0.1:{relay.port}/?transport={transport}")
            await tab.evaluate("document.querySelector('.orb').click()")
            await tab.until(f"{PHASE} === 'listening'")
            assert await tab.evaluate(f"{CONTROLLER}.session.transport") == transport
            yield tab, relay
            assert server.calls() == 1


async def ask(tab: Firefox, words: str, answer: str) -> None:
    """Type a message; its reply is right, and heard."""
    count = await tab.evaluate(happened("response.done"))
    await tab.evaluate(f"{CONTROLLER}.say({words!r})")
    await tab.until(f"{happened('response.done')} > {count}")
    assert await tab.evaluate(f"{CONTROLLER}.session.items.at(-1).text") == answer
    await tab.until(f"{CONTROLLER}.session.turn.firstSoundAt > 0")


async def say(tab: Firefox, question: str) -> None:
    """Speak a bundled question into the microphone of the instruments."""
    sound = base64.b64encode((QUESTIONS / f"{question}.wav").read_bytes()).decode()
    bytes_of = f"Uint8Array.from(atob('{sound}'), (letter) => letter.charCodeAt(0))"
    await tab.evaluate(f"void (window.fetch = async () => new Response({bytes_of}))")
    await tab.evaluate("instruments.say('question').then(() => 1)")


@TRANSPORTS
async def test_a_typed_message_is_answered_and_heard(tmp_path, transport):
    async with call(tmp_path, transport, INSTRUMENTS.read_text()) as (tab, _):
        await ask(tab, "Hello", HELLO)


@TRANSPORTS
async def test_a_spoken_question_is_answered_and_timed(tmp_path, transport):
    async with call(tmp_path, transport, INSTRUMENTS.read_text(), (LEGS,)) as (tab, _):
        await say(tab, "spider_legs")
        await tab.until(f"{CONTROLLER}.session.turn?.status === 'completed'")
        texts = f"{CONTROLLER}.session.items.map(({{text}}) => text)"
        assert await tab.evaluate(texts) == [LEGS, EIGHT]
        await tab.until(f"{CONTROLLER}.session.turn.voiceToVoice > 100")


@TRANSPORTS
async def test_a_connection_that_is_lost_is_made_again(tmp_path, transport):
    async with call(tmp_path, transport, INSTRUMENTS.read_text()) as (tab, relay):
        await ask(tab, "Hello", HELLO)
        if transport == "websocket":
            relay.cut()
        else:
            lost = f"{CONTROLLER}.call.transport.listener.closed('connection_lost', '')"
            await tab.evaluate(f"void {lost}")
        await tab.until(f"{happened('page.reconnected')} === 1")
        resumed = f"{CONTROLLER}.entries.filter(({{event}}) => event.resumed).length"
        assert await tab.evaluate(resumed) == 1
        await ask(tab, "And now?", "Now as well.")


async def test_devices_of_its_own_end_close_and_come_back(tmp_path):
    """With the fake microphone of Firefox, whose permission needs no click."""
    preload = "window.keepMicrophone = true;" + INSTRUMENTS.read_text()
    async with call(tmp_path, "websocket", preload) as (tab, _):
        track = f"{AUDIO}.microphone.track.id"
        before = await tab.evaluate(track)
        # Firefox's tracks do not take events of a script; nothing here can unplug its device.
        await tab.evaluate(f"void {AUDIO}.microphone.onLost()")
        await tab.until(f"{happened('page.device')} === 1")
        assert await tab.evaluate(track) != before
        await tab.evaluate(f"{AUDIO}.context.close().then(() => 1)")
        await tab.until(f"{happened('page.sound.rebuilt')} === 1")
        await ask(tab, "Hello", HELLO)
        count = await tab.evaluate(f"{AUDIO}.mouth.count")
        await tab.until(f"{AUDIO}.mouth.count > {count} + 50")
        assert await tab.evaluate(happened("page.problem")) == 0
