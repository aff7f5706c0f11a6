"""Options of a command that say how the responder denoises its reply."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DecodeFlags:
    """Values of the settings of the same names; None: as in the settings."""

    rule: Annotated[
        str | None,
        typer.Option(
            help="Decode rule: fixed_point, sequential, quota, threshold, factor, entropy_bound, "
            "dynamic, remask or draft. Default: as in the settings, or as suits the model."
        ),
    ] = None
    steps: Annotated[
        int | None, typer.Option(help="Steps of a canvas, for the rules quota and dynamic.")
    ] = None
    canvas_length: Annotated[
        int | None, typer.Option(help="Positions that are denoised together.")
    ] = None
    first_canvas: Annotated[
        int | None, typer.Option(help="Positions of the first canvas of the reply.")
    ] = None
    block_length: Annotated[
        int | None, typer.Option(help="Positions of a canvas that are finished together.")
    ] = None
    threshold: Annotated[
        float | None, typer.Option(help="Confidence from which positions become final, 0 to 1.")
    ] = None
    cache: Annotated[
        str | None,
        typer.Option(help="Cache policy: auto, none, prompt_frozen, prefix, dual or exact."),
    ] = None
    confidence: Annotated[
        str | None,
        typer.Option(help="Measure of confidence: probability, margin, entropy or random."),
    ] = None
    guidance: Annotated[
        float | None, typer.Option(help="Scale of classifier-free guidance; 0: none.")
    ] = None
    temperature: Annotated[
        float | None, typer.Option(help="Sampling temperature; 0: the likeliest token.")
    ] = None
    top_k: Annotated[int | None, typer.Option(help="Number of best tokens that count.")] = None
    seed: Annotated[int | None, typer.Option(help="Seed of the noise.")] = None
    rounds: Annotated[
        int | None, typer.Option(help="Passes of a whole reply, for the rule draft.")
    ] = None
    draft_rows: Annotated[
        int | None, typer.Option(help="Tokens that a pass of the rule draft checks, 1 to 32.")
    ] = None
    context: Annotated[int | None, typer.Option(help="Longest prompt plus reply, in tokens.")] = (
        None
    )
    model_config: Annotated[
        str | None,
        typer.Option(
            help="JSON object of fields that the model's files leave out, such as "
            '{"attention": "block_causal", "block_length": 32}.'
        ),
    ] = None

    def settings(self) -> dict[str, Any]:
        """The values for the section ``responder``.

        Raises:
            ConfigError: the model's fields are no JSON object.
        """
        values = asdict(self)
        text = values.pop("model_config")
        if text is None:
            return values
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"--model-config is no JSON: {error}") from error
        if not isinstance(fields, dict):
            raise ConfigError(f"--model-config must be a JSON object, not {text}")
        return values | {"config": fields}


def takes_decoding(command: Callable[..., None]) -> Callable[..., None]:
    """Add these options to a command, which receives them as the argument ``decoding``."""
    options = get_type_hints(DecodeFlags, include_extras=True)
    signature = inspect.signature(command, eval_str=True)
    parameters = [p for p in signature.parameters.values() if p.name != "decoding"]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in options.items()
    ]

    @wraps(command)
    def run(*args: Any, **given: Any) -> None:
        chosen = DecodeFlags(**{name: given.pop(name) for name in options})
        command(*args, decoding=chosen, **given)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run
