"""A transport of your own: a call whose caller is one WAV file and whose ear is another.

python examples/own_transport.py agent/questions/capital_of_france.wav answer.wav

The models are those of the settings; `--quick` loads none.
"""

import argparse
import asyncio
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from agent.audio.samples import Samples
from agent.config.sources import load_settings
from agent.errors import OnebreathError
from agent.latency.question import read_questions
from agent.protocol import WIRE_RATE, AppendedAudio, ClientMessage
from agent.runtime.call import CallRunner
from agent.runtime.engines import close_engines, load_engines
from agent.session.notices import Notice, Play, ReplyFinished, Trouble
from agent.transports.base import Disconnected

FRAME = 0.02  # seconds
LONGEST_WAIT = 20.0  # seconds of silence after the question


class FileTransport:
    """A `Transport`: the recording is spoken in real time; the call ends after the reply."""

    def __init__(self, question: Samples, rate: int) -> None:
        self.rate = rate
        self.heard: list[Samples] = []
        self.heard_rate = rate
        self._question = question
        self._over = asyncio.Event()

    async def receive(self) -> AsyncIterator[ClientMessage | Trouble]:
        size = int(FRAME * self.rate)
        began, sent = asyncio.get_running_loop().time(), 0
        frames = len(self._question) // size + int(LONGEST_WAIT / FRAME)
        while not self._over.is_set() and sent < frames:
            piece = self._question[sent * size : (sent + 1) * size]
            yield AppendedAudio(np.pad(piece, (0, size - len(piece))))  # then silence
            sent += 1
            await asyncio.sleep(began + sent * FRAME - asyncio.get_running_loop().time())

    async def send(self, notice: Notice) -> None:
        if self._over.is_set():
            raise Disconnected
        if isinstance(notice, Play):
            self.heard.append(notice.samples)
            self.heard_rate = notice.rate
        elif isinstance(notice, ReplyFinished):
            print(notice.text)
            self._over.set()
        elif isinstance(notice, Trouble):
            print(f"trouble: {notice.message}")

    async def close(self, code: int, reason: str) -> None:
        self._over.set()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", type=Path, help="WAV file with a spoken question")
    parser.add_argument("answer", type=Path, help="WAV file for the answer")
    parser.add_argument("--quick", action="store_true", help="answer without models")
    given = parser.parse_args()
    own = {"asr": "own_recogniser:Stopwatch", "responder": "scripted", "tts": "tone"}
    engines = own if given.quick else {}
    try:
        [question] = read_questions([given.question], print)
        settings = load_settings({part: {"engine": name} for part, name in engines.items()})
        loaded, _ = load_engines(settings)
    except OnebreathError as error:
        parser.error(str(error))

    async def call() -> FileTransport:
        transport = FileTransport(question.samples, WIRE_RATE)
        await CallRunner(loaded, settings, transport).run()
        return transport

    try:
        transport = asyncio.run(call())
    finally:
        close_engines(loaded)
    with wave.open(str(given.answer), "wb") as file:
        file.setparams((1, 2, transport.heard_rate, 0, "NONE", ""))
        sound = np.concatenate([*transport.heard, np.zeros(1, np.float32)])
        file.writeframes((sound * 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    main()
