"""Real calls: a SIP telephone, a real Asterisk, and the agent on the other side of it.

Everything runs on loopback. The first run fetches Asterisk (tests/support/pbx.py); where it
cannot be had, these tests are skipped and say so.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
from support import pbx
from support.fakes import silence, speech
from support.sip_caller import RATE, Phone, dial
from support.telephony_providers import SECRET, UUID, TelephonyServer, telephony_server
from whisper_normalizer.english import EnglishTextNormalizer

from agent.audio.samples import Samples, read_sound_file, resample
from agent.compute import Urgency
from agent.config.settings import Settings
from agent.reply import ToolCall
from agent.runtime.engines import close_engines, load_engines
from agent.telephony.dialects.asterisk import AsteriskStream
from agent.telephony.dialects.audiosocket import AudioSocketStream
from tts.engine import SpeechChunk, Synthesizer

pytestmark = pytest.mark.slow

WAYS = ["wideband", "mulaw", "text", "audiosocket", "audiosocket16"]
"""Extensions of the dialplan (tests/asterisk/extensions.conf)."""
ANSWERS = {"how are you": "fine " * 8, "talk": "word " * 100}
SKY = Path(__file__).parent / "data" / "questions" / "color_of_the_sky.wav"
QUESTION = np.concatenate([speech(1.0, RATE), silence(0.1, RATE)])

Opens = Callable[..., AbstractAsyncContextManager["Office"]]


@pytest.fixture(scope="module")
def asterisk() -> Path:
    """The folder that Asterisk was unpacked into."""
    try:
        return pbx.installed()
    except pbx.NoAsterisk as error:
        pytest.skip(f"NO REAL TELEPHONE CALL WAS TESTED: Asterisk cannot be had: {error}")


@dataclass
class Office:
    """A server, the Asterisk before it, and telephones on the Asterisk."""

    server: TelephonyServer
    pbx: pbx.Pbx

    @asynccontextmanager
    async def calls(self, *extensions: str, seconds: float = 40.0) -> AsyncIterator[list[Phone]]:
        """Calls at the same time, all taken by the agent; at the end they are hung up."""
        async with asyncio.timeout(seconds), AsyncExitStack() as stack:
            port = self.pbx.sip_port
            phones = [await stack.enter_async_context(dial(port, name)) for name in extensions]
            await self.server.until_calls(len(extensions))
            yield phones
        await asyncio.wait_for(self.server.until_calls(0), 5)


@pytest.fixture
def office(asterisk: Path, tmp_path: Path) -> Opens:
    """Opens an office whose caller says the given words whenever there is sound."""

    @asynccontextmanager
    async def opened(
        *heard: str,
        script: Callable[[str], str] | Mapping[str, str | ToolCall] = ANSWERS,
        password: str = SECRET,
        **sections: Any,
    ) -> AsyncIterator[Office]:
        port = pbx.free_port(socket.SOCK_STREAM)
        telephony = {"audiosocket_port": port, "audiosocket_uuid": UUID}
        async with telephony_server(
            *heard, script=script, telephony=telephony, **sections
        ) as server:
            agent = {
                "agent_port": server.address.partition(":")[2],
                "audiosocket_port": port,
                "username": "agent",
                "password": password,
                "uuid": UUID,
            }
            with pbx.running(asterisk, tmp_path, agent) as running:
                yield Office(server, running)

    return opened


async def test_a_question_is_answered_to_the_last_word(office: Opens) -> None:
    async def ask(phone: Phone) -> int:
        asked = await phone.say(QUESTION)
        first = await phone.until_loud(since=asked)
        await phone.until_quiet(0.5)
        assert first - asked < 3.0
        return beeps(phone.recording(asked))

    async with office(*["how are you"] * len(WAYS)) as at, at.calls(*WAYS) as phones:
        heard = await asyncio.gather(*map(ask, phones))
    assert dict(zip(WAYS, heard, strict=True)) == dict.fromkeys(WAYS, 8)


async def test_barge_in(office: Opens) -> None:
    async def interrupt(phone: Phone) -> float:
        asked = await phone.say(QUESTION)
        await phone.until_loud(40, since=asked)
        began = time.monotonic()
        interrupting = asyncio.create_task(phone.say(speech(1.2, RATE)))
        last = await phone.until_quiet(0.3)
        await interrupting
        await phone.until_loud(since=last + 0.3)  # the answer to the interruption
        return last - began

    async with office(*["talk"] * 2 * len(WAYS)) as at, at.calls(*WAYS) as phones:
        silent = dict(zip(WAYS, await asyncio.gather(*map(interrupt, phones)), strict=True))
        prompts = at.server.responder.prompts
    assert max(silent.values()) < 1.0, silent
    cut = [m.content.split() for prompt in prompts for m in prompt if m.role == "assistant"]
    assert len(cut) == len(WAYS)
    # 40 loud packets are ten words; the rest was said while the caller began to speak.
    assert all(8 <= len(words) <= 22 for words in cut), [len(words) for words in cut]


async def test_a_caller_is_transferred(office: Opens) -> None:
    """The dialplan goes on with the extension that the agent's tool chose, the echo of the PBX."""
    tools = {"built_in": ["transfer"], "transfer": {"echo": {"number": "echo"}}}
    script = {"talk": ToolCall("", "transfer", '{"target": "echo"}')}
    async with office("talk", script=script, tools=tools) as at, at.calls("transfer") as phones:
        (phone,) = phones
        asked = await phone.say(QUESTION)
        await phone.until_loud(since=asked)  # the announcement
        await at.server.until_calls(0)
        began = time.monotonic()
        await phone.say(QUESTION)
        await phone.until_loud(20, since=began)  # his own voice


async def test_how_soon_the_caller_hears_nothing(
    office: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the clear that the bridge sends to the last sound in the ear.

    AudioSocket has no clear: its lead of 60 ms is played out.
    """
    cleared: list[list[float]] = [[], []]
    for dialect, times in ((AsteriskStream, cleared[0]), (AudioSocketStream, cleared[1])):
        monkeypatch.setattr(dialect, "clear", _noting_time(dialect.clear, times))  # type: ignore[attr-defined]

    async def interrupt_often(phone: Phone) -> None:
        for _ in range(6):
            asked = await phone.say(QUESTION)
            await phone.until_loud(20, since=asked)

    ways = ["wideband", "audiosocket"]
    async with office(*["talk"] * 12) as at, at.calls(*ways) as phones:
        await asyncio.gather(*map(interrupt_often, phones))
    for way, phone, times, lead in zip(ways, phones, cleared, (0, 60), strict=True):
        waits = [1000 * (_last_sound(phone, at) - at) for at in times]
        print(f"\n{way}: clear to silence {[round(wait) for wait in waits]} ms")
        assert len(waits) >= 5
        # What is more than this is the machine's.
        assert min(waits) <= 60 + lead
        assert float(np.median(waits)) <= 150 + lead


def _noting_time(clear: Callable[[Any], Any], times: list[float]) -> Callable[[Any], Any]:
    def noted(dialect: Any) -> Any:
        times.append(time.monotonic())
        return clear(dialect)

    return noted


def _last_sound(phone: Phone, cleared: float) -> float:
    """When the ear had heard the last audible packet that was under way at ``cleared``."""
    under_way = [p.played for p in phone.heard if p.loud and 0 <= p.played - cleared < 0.4]
    return max(under_way, default=cleared)


async def test_keys(office: Opens) -> None:
    async def press(phone: Phone) -> None:
        for key in "42#":
            await phone.press(key)
            await asyncio.sleep(0.1)
        await phone.until_loud()

    async with office(script=lambda said: "yes yes yes") as at, at.calls(*WAYS) as phones:
        await asyncio.gather(*map(press, phones))
        said = [prompt[-1].content for prompt in at.server.responder.prompts]
    assert len(said) == len(WAYS)
    assert all("4 2" in words for words in said), said


async def test_the_caller_hangs_up(office: Opens) -> None:
    async def leave(phone: Phone) -> None:
        await phone.say(QUESTION)
        await phone.until_loud()
        await phone.hang_up()

    async with office(*["talk"] * len(WAYS)) as at, at.calls(*WAYS) as phones:
        await asyncio.gather(*map(leave, phones))
        await asyncio.wait_for(at.server.until_calls(0), 5)


async def test_the_agent_hangs_up(office: Opens) -> None:
    limits = {"max_calls": 8, "max_call_seconds": 1.5}
    async with office(server=limits) as at, at.calls(*WAYS, seconds=15.0) as phones:
        answered = time.monotonic()
        await asyncio.gather(*(phone.hung_up.wait() for phone in phones))
    lived = {w: phone.hung_up_at - answered for w, phone in zip(WAYS, phones, strict=True)}
    assert all(0.3 < seconds < 3.0 for seconds in lived.values()), lived


async def test_a_wrong_password(office: Opens) -> None:
    async with office("talk", password="another-password") as at, asyncio.timeout(20):
        async with dial(at.pbx.sip_port, "wideband") as phone:
            await phone.hung_up.wait()
        assert await at.server.calls() == 0


async def test_a_strange_uuid(office: Opens) -> None:
    async with office("talk") as at, asyncio.timeout(20):
        async with dial(at.pbx.sip_port, "stranger") as phone:
            await phone.hung_up.wait()
        assert await at.server.calls() == 0


@dataclass
class _Noting:
    """The real voice, and what it was told to say."""

    voice: Synthesizer
    said: list[str] = field(default_factory=list)

    @property
    def rate(self) -> int:
        return self.voice.rate

    def speak(self, text: str) -> Generator[SpeechChunk, None, None]:
        self.said.append(text)
        return self.voice.speak(text)

    def warm_up(self) -> None:
        self.voice.warm_up()

    def close(self) -> None:
        self.voice.close()


@pytest.mark.model
@pytest.mark.long
async def test_a_spoken_answer_of_the_real_models(office: Opens) -> None:
    """A recorded question over mu-law and SIP; what comes back is transcribed."""
    loaded, _ = load_engines(Settings())
    voice = _Noting(loaded.tts)
    engines = replace(loaded, tts=voice)
    question = read_sound_file(SKY, RATE).samples
    try:
        async with office(engines=engines) as at, at.calls("mulaw", seconds=120.0) as (phone,):
            asked = await phone.say(np.concatenate([question, silence(0.1, RATE)]))
            await phone.until_loud(since=asked)
            await phone.until_quiet(2.0)
            answer = resample(phone.recording(asked), RATE, 16_000)
        listening = engines.asr.listen()
        listening.feed(answer)
        heard = await engines.compute.run(Urgency.FINAL, listening.finish)
    finally:
        close_engines(engines)
    said = " ".join(voice.said)
    print(f"\nsaid {said!r}, heard at the telephone {heard.text!r}")
    assert len(said.split()) >= 2
    normal = EnglishTextNormalizer()
    assert jiwer.wer(normal(said), normal(heard.text)) <= 0.35


def beeps(sound: Samples) -> int:
    """Words of the tone synthesiser: rises above silence."""
    window = RATE // 100
    whole = len(sound) // window * window
    loud = (np.abs(sound[:whole]) > 0.03).reshape(-1, window).any(axis=1)
    return int((np.diff(loud.astype(int), prepend=0) == 1).sum())
