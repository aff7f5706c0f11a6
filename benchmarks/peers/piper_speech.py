"""Piper behind the speech endpoint of OpenAI's API, for peers that have no Piper of their own.

    python piper_speech.py --port 8767 --voice FILE.onnx

`POST /v1/audio/speech` with `{"input": "..."}` answers raw 16-bit PCM at OpenAI's 24 kHz, chunk by
chunk as Piper makes it. speech-to-speech would take the voice's own 22,050 Hz, too, but spends
seconds on a sentence to resample it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from piper import PiperVoice
from pydantic import BaseModel

RATE = 24_000


class Speech(BaseModel):
    """Field of OpenAI's speech request that matters to a single voice."""

    input: str


def app(voice: PiperVoice) -> FastAPI:
    made = FastAPI()

    @made.post("/v1/audio/speech")
    def speech(asked: Speech) -> StreamingResponse:
        def sound() -> Iterator[bytes]:
            stream = soxr.ResampleStream(voice.config.sample_rate, RATE, 1, dtype="int16")
            for chunk in voice.synthesize(asked.input):
                yield stream.resample_chunk(chunk.audio_int16_array).tobytes()
            yield stream.resample_chunk(np.zeros(0, np.int16), last=True).tobytes()

        return StreamingResponse(sound(), media_type="audio/pcm")

    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--voice", type=Path, required=True)
    options = parser.parse_args()
    voice = PiperVoice.load(options.voice)
    list(voice.synthesize("Ready."))
    uvicorn.run(app(voice), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
