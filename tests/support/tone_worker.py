"""A worker process that beeps, and that fails in the ways its text asks for."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator

from tts.engine import SpeechChunk
from tts.pipes import PipeMessage, write_message
from tts.serving import leave_signals_to_the_parent, serve
from tts.tone import ToneSynthesizer


class BrittleVoice(ToneSynthesizer):
    """Beeps, unless told otherwise."""

    def speak(self, text: str) -> Generator[SpeechChunk, None, None]:
        try:
            yield from self._beeps_and_failures(text)
        except GeneratorExit:
            print("gave up", text.split()[0], file=sys.stderr, flush=True)

    def _beeps_and_failures(self, text: str) -> Generator[SpeechChunk, None, None]:
        for chunk in super().speak(text):
            word = chunk.words[0].text
            if word == "crash":
                print("a segment fault, say", file=sys.stderr, flush=True)
                os._exit(3)
            if word == "hang":
                threading.Event().wait()
            if word == "garbage":
                os.write(1, b"\xff" * 64)
            if word == "refuse":
                raise ValueError("this word is refused")
            yield chunk


def main() -> None:
    leave_signals_to_the_parent()
    if "--dead" in sys.argv:
        sys.exit("no voice today")
    if "--mute" in sys.argv:
        sys.stdin.buffer.read()
        return
    if "--fatal" in sys.argv:
        write_message(
            sys.stdout.buffer, PipeMessage("fatal", fields={"reason": "the voice is hoarse"})
        )
        return
    serve(BrittleVoice(), sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
