"""The agents that are measured: which programs each consists of and where it is called."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stand_ins
from environments import LLAMA_CPP, PIPECAT, SPEECH_TO_SPEECH, Environment, site_packages

HERE = Path(__file__).parent
MODEL = "smollm2-135m-instruct"


@dataclass(frozen=True, slots=True)
class Setting:
    """Settings that all agents share.

    Attributes:
        cache: directory of the environments.
        whisper: directory of the recogniser's model.
        llm: GGUF file of the language model.
        voice: file of the Piper voice.
        instructions: system prompt.
        threads: threads of llama.cpp's server.
    """

    cache: Path
    whisper: Path
    llm: Path
    voice: Path
    instructions: str
    threads: int


@dataclass(frozen=True, slots=True)
class Program:
    """One process of an agent.

    Attributes:
        command: its command line.
        port: port on which it listens; without `ready` it is ready when it does.
        ready: path that it answers with 200 once it is ready.
        variables: environment variables.
    """

    command: Sequence[str]
    port: int
    ready: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Agent:
    """A voice agent as a user would set it up.

    Attributes:
        name: name in the rows.
        about: description in the rows.
        environments: virtual environments of its programs.
        programs: makes the programs from the setting and a first free port; callers connect to the
            last one.
        session: session settings that are sent at the start of a call.
    """

    name: str
    about: str
    environments: tuple[Environment, ...]
    programs: Callable[[Setting, int], list[Program]]
    session: Mapping[str, Any] | None = None


def _onebreath(setting: Setting, port: int) -> list[Program]:
    command = [sys.executable, "-m", "agent", "serve", "--host", "127.0.0.1", "--port", str(port)]
    return [Program(command, port, "/readyz")]


def _llama(setting: Setting, port: int) -> Program:
    command = [LLAMA_CPP.python(setting.cache), "-m", "llama_cpp.server"]
    command += ["--model", str(setting.llm), "--model_alias", MODEL, "--n_ctx", "2048"]
    command += ["--n_threads", str(setting.threads), "--n_threads_batch", str(setting.threads)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    return Program(command, port)


def _pipecat(setting: Setting, port: int) -> list[Program]:
    llama = _llama(setting, port)
    command = [PIPECAT.python(setting.cache), str(HERE / "pipecat_bot.py")]
    command += ["--port", str(port + 1), "--llm", f"http://127.0.0.1:{port}/v1", "--model", MODEL]
    command += ["--whisper", str(setting.whisper), "--voice", str(setting.voice)]
    command += ["--instructions", setting.instructions]
    return [llama, Program(command, port + 1)]


def _speech_to_speech(setting: Setting, port: int, *options: str) -> list[Program]:
    python = SPEECH_TO_SPEECH.python(setting.cache)
    packages = site_packages(setting.cache / SPEECH_TO_SPEECH.name)
    voice = [python, str(HERE / "piper_speech.py"), "--port", str(port + 1)]
    voice += ["--voice", str(setting.voice)]
    smart_turn = site_packages(setting.cache / PIPECAT.name) / "pipecat/audio/turn/smart_turn/data"
    command = [python, "-m", "speech_to_speech.s2s_pipeline", "serve", "--port", str(port + 2)]
    command += ["--device", "cpu", "--smart_turn_model_path"]
    command += [str(smart_turn / "smart-turn-v3.2-cpu.onnx")]
    command += ["--stt", "faster-whisper", "--faster_whisper_stt_model_name", str(setting.whisper)]
    command += ["--faster_whisper_stt_compute_type", "int8", "--faster_whisper_stt_device", "cpu"]
    command += ["--llm_backend", "chat-completions", "--model_name", MODEL]
    command += ["--responses_api_base_url", f"http://127.0.0.1:{port}/v1"]
    command += ["--responses_api_api_key", "none", "--responses_api_stream"]
    command += ["--init_chat_prompt", setting.instructions]
    command += ["--tts", "openai", "--openai_tts_base_url", f"http://127.0.0.1:{port + 1}/v1"]
    command += options
    variables = stand_ins.place(setting.cache, packages)
    speech = Program(voice, port + 1)
    return [_llama(setting, port), speech, Program(command, port + 2, variables=variables)]


def _speech_to_speech_tuned(setting: Setting, port: int) -> list[Program]:
    return _speech_to_speech(
        setting, port, "--no_enable_live_transcription", "--stream_batch_sentences", "1"
    )


_SOUND = {"format": {"type": "audio/pcm", "rate": 24_000}}
_SESSION = {"type": "realtime", "audio": {"input": _SOUND, "output": _SOUND}}
"""The rate of OpenAI's own endpoint; speech-to-speech takes 16 kHz for granted."""

_ALL_THREE = (LLAMA_CPP, PIPECAT, SPEECH_TO_SPEECH)  # Smart Turn's network is in Pipecat's wheel

AGENTS = {
    agent.name: agent
    for agent in (
        Agent("onebreath", "default settings", (), _onebreath),
        Agent("pipecat", "as shipped, Smart Turn v3.2", (LLAMA_CPP, PIPECAT), _pipecat),
        Agent("speech-to-speech", "defaults", _ALL_THREE, _speech_to_speech, _SESSION),
        Agent(
            "speech-to-speech-tuned",
            "live transcription off, one sentence per batch",
            _ALL_THREE,
            _speech_to_speech_tuned,
            _SESSION,
        ),
    )
}
