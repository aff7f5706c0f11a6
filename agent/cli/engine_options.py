"""The options that choose engines, for every command that loads some or starts a server."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from agent.cli.console import ModelOption, ResponderOption
from agent.errors import ConfigError

WITHOUT_MODEL = {"scripted", "tone"}


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What the command line says of engines; None: nothing."""

    asr: Annotated[str | None, typer.Option(help="whisper, scripted or package.module:Class.")] = (
        None
    )
    asr_model: Annotated[
        str | None,
        typer.Option(help="Whisper model: name of `onebreath models`, any, or directory."),
    ] = None
    responder: ResponderOption = None
    model: ModelOption = None
    tts: Annotated[str | None, typer.Option(help="piper, tone or package.module:Class.")] = None
    voice: Annotated[str | None, typer.Option(help="Piper voice: name or .onnx file.")] = None

    def settings(self) -> dict[str, dict[str, Any]]:
        """Nested as the settings are.

        Raises:
            ConfigError: a model is named for an engine that has none.
        """
        pairs = {
            "asr-model": (self.asr, self.asr_model),
            "model": (self.responder, self.model),
            "voice": (self.tts, self.voice),
        }
        for flag, (engine, name) in pairs.items():
            if engine in WITHOUT_MODEL and name is not None:
                raise ConfigError(f"--{flag} {name} says nothing to {engine}: leave it out")
        return {
            "asr": {"engine": self.asr, "model": self.asr_model},
            "responder": {"engine": self.responder, "model": self.model},
            "tts": {"engine": self.tts, "voice": self.voice},
        }

    def words(self) -> list[str]:
        """The same for the command line of a server that is started."""
        given = {name: word for name, word in asdict(self).items() if word is not None}
        return [word for name in given for word in (f"--{name.replace('_', '-')}", given[name])]


def takes_engines(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options; it takes them as one argument, ``engines``."""
    options = get_type_hints(EngineChoice, include_extras=True)
    signature = inspect.signature(command, eval_str=True)
    parameters = [p for p in signature.parameters.values() if p.name != "engines"]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in options.items()
    ]

    @wraps(command)
    def run(**given: Any) -> None:
        chosen = EngineChoice(**{name: given.pop(name) for name in options})
        command(engines=chosen, **given)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run
