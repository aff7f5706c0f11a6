"""Options that choose engines, for every command that loads engines or starts a server."""

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
"""Engines without a model or voice."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Engines chosen on the command line; None: as in the settings.

    Attributes:
        asr: recogniser.
        asr_model: model of the recogniser.
        responder: responder.
        model: model of the responder.
        tts: synthesizer.
        voice: voice of the synthesizer.
    """

    asr: Annotated[
        str | None,
        typer.Option(
            help="Recogniser engine: whisper, scripted or package.module:Class. "
            "Default: as in the settings.",
        ),
    ] = None
    asr_model: Annotated[
        str | None,
        typer.Option(
            help="Whisper model: name or directory of a faster-whisper model. "
            "Default: as in the settings.",
        ),
    ] = None
    responder: ResponderOption = None
    model: ModelOption = None
    tts: Annotated[
        str | None,
        typer.Option(
            help="Synthesizer engine: piper, tone or package.module:Class. "
            "Default: as in the settings.",
        ),
    ] = None
    voice: Annotated[
        str | None,
        typer.Option(help="Piper voice: name or .onnx file. Default: as in the settings."),
    ] = None

    def settings(self) -> dict[str, dict[str, Any]]:
        """The choice as settings, nested by section.

        Raises:
            ConfigError: a model is named for an engine without models.
        """
        pairs = {
            "asr-model": (self.asr, self.asr_model),
            "model": (self.responder, self.model),
            "voice": (self.tts, self.voice),
        }
        for flag, (engine, name) in pairs.items():
            if engine in WITHOUT_MODEL and name is not None:
                raise ConfigError(
                    f"{engine} has no model to choose with --{flag} {name}: leave it out"
                )
        return {
            "asr": {"engine": self.asr, "model": self.asr_model},
            "responder": {"engine": self.responder, "model": self.model},
            "tts": {"engine": self.tts, "voice": self.voice},
        }

    def arguments(self) -> list[str]:
        """The choice as command-line arguments for a server process."""
        given = {name: word for name, word in asdict(self).items() if word is not None}
        return [word for name in given for word in (f"--{name.replace('_', '-')}", given[name])]


def takes_engines(command: Callable[..., None]) -> Callable[..., None]:
    """Add the engine options to a command, which receives them as the argument ``engines``."""
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
