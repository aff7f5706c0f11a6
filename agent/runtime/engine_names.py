"""Names of engines, models and voices in the settings, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

import asr
import tts
from agent.config.settings import ResponderChoice, Settings
from agent.errors import ConfigError
from agent.models.catalogue import MODELS
from agent.responders import RESPONDERS
from agent.runtime import plugins

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("auto", "int4", "int8", "fp8", "bfloat16", "float32")


def check(settings: Settings) -> None:
    """Raise ConfigError for a name that no engine could load, with the names that exist."""
    _check_asr(settings)
    _check_tts(settings)
    chosen = settings.responder
    if chosen.engine == "ab":
        for arm in chosen.arms.values():
            check_responder(arm)
    else:
        check_responder(chosen)


def check_responder(chosen: ResponderChoice) -> None:
    """As `check`, for one responder."""
    if _is_own(plugins.RESPONDER, chosen.engine, RESPONDERS):
        return
    if chosen.engine not in ("diffusion", "diffusion-gemma", "autoregressive"):
        return
    _check_word("responder.dtype", chosen.dtype, DTYPES)
    _check_device("responder.device", chosen.device)
    _check_model("responder.model", chosen.model)
    if chosen.adapter is not None and not chosen.adapter.is_dir():
        raise ConfigError(f"responder.adapter: {chosen.adapter} is no directory")


def _check_asr(settings: Settings) -> None:
    chosen = settings.asr
    if _is_own(plugins.RECOGNISER, chosen.engine, asr.TRANSCRIBERS) or chosen.engine != "whisper":
        return
    _check_device("asr.device", chosen.device)
    name = chosen.model
    if (name in MODELS and MODELS[name].role == "asr") or Path(name).expanduser().is_dir():
        return
    if name.count("/") != 1 or not all(part.strip("~.") for part in name.split("/")):
        from faster_whisper import available_models  # only here: the import takes a second

        known = [*_of_role("asr"), *available_models()]
        if name not in known:
            also = "a directory or organisation/repository"
            raise ConfigError(_unknown("asr.model", name, known, also))


def _check_tts(settings: Settings) -> None:
    chosen = settings.tts
    if _is_own(plugins.VOICE, chosen.engine, tts.SYNTHESIZERS) or chosen.engine != "piper":
        return
    known = _of_role("tts")
    if chosen.voice in known or Path(chosen.voice).expanduser().is_file():
        return
    raise ConfigError(_unknown("tts.voice", chosen.voice, known, "the .onnx file of a Piper voice"))


def _is_own(part: plugins.Part, engine: str, shipped: Iterable[str]) -> bool:
    """Whether the engine is a plug-in, which is imported and looked at; raises for no name."""
    if ":" in engine:
        plugins.factory(part, engine)
        return True
    if engine not in shipped:
        raise ConfigError(_unknown(part.name, engine, sorted(shipped), "package.module:Class"))
    return False


def _check_model(key: str, name: str) -> None:
    path = Path(name).expanduser()
    if name in _of_role("responder") or path.exists() or _is_repository(name):
        return
    also = "a GGUF file, a directory or organisation/repository"
    raise ConfigError(_unknown(key, name, _of_role("responder"), also))


def _is_repository(name: str) -> bool:
    """Whether a name may be one of the Hugging Face Hub; a file's name is none."""
    owner, slash, model = name.partition("/")
    parts = bool(owner.strip("~.") and model and "/" not in model)
    return bool(slash) and parts and not name.endswith((".gguf", ".onnx", ".bin", ".safetensors"))


def _check_word(key: str, word: str, known: Iterable[str]) -> None:
    if word not in known:
        raise ConfigError(_unknown(key, word, list(known)))


def _check_device(key: str, name: str) -> None:
    if name.partition(":")[0] not in DEVICES:
        raise ConfigError(_unknown(key, name, list(DEVICES)))


def _of_role(role: str) -> list[str]:
    return [name for name, model in MODELS.items() if model.role == role]


def _unknown(key: str, name: str, known: list[str], also: str = "") -> str:
    near = get_close_matches(name, known, 1)
    guess = f" (did you mean {near[0]}?)" if near else ""
    rest = f", or {also}" if also else ""
    return f"{key}: there is no {name!r}{guess}; known are {', '.join(known)}{rest}"
