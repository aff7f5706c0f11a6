"""Pipecat as it ships, on the models of onebreath; runs in Pipecat's own environment.

    python pipecat_bot.py --port 8765 --whisper DIR --voice FILE.onnx --llm URL --model NAME ...

The pipeline is the one of Pipecat's own examples: Silero and Smart Turn end the turn, Whisper
hears it whole, the model's sentences go to Piper. Only the wire is ours: a serializer speaks the
few Realtime events that our caller needs, so that every agent is measured by the same caller.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
from pathlib import Path
from typing import Any

from pipecat.audio.utils import create_stream_resampler
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    InputAudioRawFrame,
    LLMTextFrame,
    OutputAudioRawFrame,
    OutputTransportMessageUrgentFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.piper.tts import PiperTTSService
from pipecat.services.whisper.stt import WhisperSTTService
from pipecat.transcriptions.language import Language
from pipecat.transports.websocket.server import (
    SingleClientWebsocketServerParams,
    SingleClientWebsocketServerTransport,
)
from pipecat.workers.runner import WorkerRunner

WIRE_RATE, HEARING_RATE = 24_000, 16_000


class LlamaServer(OpenAILLMService):
    """llama.cpp's server refuses the role `developer`."""

    supports_developer_role = False


class RealtimeEvents(FrameSerializer):
    """Sound as Realtime events, both ways; other events as `TellCaller` has them."""

    def __init__(self) -> None:
        super().__init__()
        self._resampler = create_stream_resampler()

    async def serialize(self, frame: Frame) -> str | None:
        if isinstance(frame, OutputAudioRawFrame):
            sound = base64.b64encode(frame.audio).decode("ascii")
            return json.dumps({"type": "response.output_audio.delta", "delta": sound})
        if isinstance(frame, OutputTransportMessageUrgentFrame):
            return None if self.should_ignore_frame(frame) else json.dumps(frame.message)
        return None

    async def deserialize(self, data: str | bytes) -> Frame | None:
        event = json.loads(data)
        if event["type"] != "input_audio_buffer.append":
            return None
        sound = base64.b64decode(event["audio"])
        heard = await self._resampler.resample(sound, WIRE_RATE, HEARING_RATE)
        return InputAudioRawFrame(audio=heard, sample_rate=HEARING_RATE, num_channels=1)


class TellCaller(FrameProcessor):
    """Reports frames of the pipeline to the caller."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if (event := self.event(frame)) is not None:
            await self.push_frame(OutputTransportMessageUrgentFrame(message=event))
        await self.push_frame(frame, direction)

    def event(self, frame: Frame) -> dict[str, Any] | None:
        raise NotImplementedError


class TellHeard(TellCaller):
    """Stands before the aggregator, which takes the transcripts away."""

    def event(self, frame: Frame) -> dict[str, Any] | None:
        if not isinstance(frame, TranscriptionFrame):
            return None
        kind = "conversation.item.input_audio_transcription.completed"
        return {"type": kind, "transcript": frame.text}


class TellTurns(TellCaller):
    """Stands before the voice, which takes the text away."""

    def __init__(self) -> None:
        super().__init__()
        self._said: list[str] = []

    def event(self, frame: Frame) -> dict[str, Any] | None:
        match frame:
            case LLMTextFrame():
                self._said.append(frame.text)
            case UserStartedSpeakingFrame():
                self._said.clear()
                return {"type": "input_audio_buffer.speech_started"}
            case UserStoppedSpeakingFrame():
                return {"type": "input_audio_buffer.speech_stopped"}
            case BotStartedSpeakingFrame():
                response = {"id": "r", "status": "in_progress"}
                return {"type": "response.created", "response": response}
            case BotStoppedSpeakingFrame():
                content = [{"type": "output_audio", "transcript": "".join(self._said).strip()}]
                response = {"id": "r", "status": "completed", "output": [{"content": content}]}
                return {"type": "response.done", "response": response}
        return None


def pipeline(options: argparse.Namespace) -> Pipeline:
    transport = SingleClientWebsocketServerTransport(
        params=SingleClientWebsocketServerParams(
            audio_in_enabled=True, audio_out_enabled=True, serializer=RealtimeEvents()
        ),
        host="127.0.0.1",
        port=options.port,
    )
    hears = WhisperSTTService(
        device="cpu",
        compute_type="int8",
        settings=WhisperSTTService.Settings(model=str(options.whisper), language=Language.EN),
    )
    answers = LlamaServer(
        base_url=options.llm,
        api_key="none",
        settings=OpenAILLMService.Settings(model=options.model, max_tokens=48, temperature=0.0),
    )
    speaks = PiperTTSService(
        download_dir=options.voice.parent,
        settings=PiperTTSService.Settings(voice=options.voice.stem),
    )
    context = LLMContext()

    @transport.event_handler("on_client_connected")  # type: ignore[untyped-decorator]
    async def begin(_transport: object, _client: object) -> None:
        """Every call is a conversation of its own."""
        context.set_messages([{"role": "system", "content": options.instructions}])

    turns = LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    aggregators = LLMContextAggregatorPair(context, user_params=turns)
    return Pipeline(
        [
            transport.input(),
            hears,
            TellHeard(),
            aggregators.user(),
            answers,
            TellTurns(),
            speaks,
            transport.output(),
            aggregators.assistant(),
        ]
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--whisper", type=Path, required=True)
    parser.add_argument("--voice", type=Path, required=True)
    parser.add_argument("--llm", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--instructions", required=True)
    options = parser.parse_args()
    params = PipelineParams(audio_in_sample_rate=HEARING_RATE, audio_out_sample_rate=WIRE_RATE)
    worker = PipelineWorker(pipeline(options), params=params, idle_timeout_secs=None)
    runner = WorkerRunner()
    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    asyncio.run(main())
