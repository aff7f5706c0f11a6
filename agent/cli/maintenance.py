"""The commands ``onebreath doctor``, ``telephony-check`` and ``models``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from agent.cli.console import ConfigOption, JsonOption, err, out, settings_from
from agent.errors import ConfigError

if TYPE_CHECKING:
    from agent.doctor.checks import Finding
    from dllm_core.model.packed_store import PackedStore


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check this machine and advise on problems.

    Exits with 1 when a check finds a problem.
    """
    from agent.doctor import checks
    from agent.runtime.engines import thread_plan

    settings = settings_from(config)
    with err.status("checking this machine"):
        findings = checks.examine(settings.server.host, settings.server.port, thread_plan(settings))
    _show(findings, as_json)
    raise typer.Exit(1 if checks.worst(findings) is checks.Level.PROBLEM else 0)


def telephony_check(
    url: Annotated[
        str | None,
        typer.Option(
            help="Address of the running server. Default: telephony.public_url of the settings."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the telephony of a running server by imitating each configured provider.

    Exits with 1 when a check finds a problem.
    """
    import asyncio

    from agent.doctor import checks
    from agent.telephony.check.check import check_telephony

    settings = settings_from(config)
    if url is not None:
        _check_web_address(url)
    with err.status("calling"):
        findings = asyncio.run(check_telephony(settings, url))
    _show(findings, as_json)
    raise typer.Exit(1 if checks.worst(findings) is checks.Level.PROBLEM else 0)


def _check_web_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"--url takes an http or https address, such as http://127.0.0.1:8080, not {url!r}"
        )


def _show(findings: Sequence[Finding], as_json: bool) -> None:
    from agent.doctor.checks import render

    if as_json:
        for finding in findings:
            print(json.dumps(asdict(finding)))
    else:
        out.print(render(findings))


def models(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of models. Default: all default models.")
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Download missing or damaged models first.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List models, verify their files and packed weights, and download missing ones.

    Packed weights are those that the engine keeps between runs. A damaged file of them is deleted,
    and made again when its model is loaded.

    Example: onebreath models --fetch smart-turn
    """
    from agent.cli.tables import models_table
    from agent.models import store as registry

    chosen = [registry.get(name) for name in names or registry.MODELS]
    if fetch:
        registry.fetch([model.name for model in chosen], lambda line: err.print(line, style="dim"))
    with err.status("verifying"):
        found = {model.name: registry.problems(model.name) for model in chosen}
        _drop_damaged_packed()
    if as_json:
        for model in chosen:
            row = {"name": model.name, "role": model.role, "bytes": model.size}
            row |= {"licence": model.licence, "problems": found[model.name]}
            print(json.dumps(row, ensure_ascii=False))
    else:
        out.print(models_table(chosen, found))
        for problem in (line for lines in found.values() for line in lines):
            err.print(problem, style="red", soft_wrap=True)
        _say_where()
    raise typer.Exit(1 if any(found.values()) else 0)


def _say_where() -> None:
    """Print the directories of what is made of the packages with models."""
    from agent.models import store as registry

    packed = _packed()
    places = {"models in parts are put together": registry.cache_dir()}
    if packed is not None:
        places["packed weights are kept"] = packed.directory
    for what, place in places.items():
        out.print(f"{what} in {place}", style="dim", soft_wrap=True, markup=False, highlight=False)


def _packed() -> PackedStore | None:
    """Where the settings say that packed weights are kept."""
    from agent.config.sources import load_settings
    from agent.errors import ConfigError
    from dllm_core.model import packed_store

    try:
        chosen = load_settings().responder.packed_weights
    except ConfigError:  # models are fetched before settings are right
        chosen = None
    return packed_store.choose(chosen or "auto")


def _drop_damaged_packed() -> None:
    """Read the packed weights that are kept between runs; delete what is damaged."""
    packed = _packed()
    for path, problem in () if packed is None else packed.problems():
        if problem is not None:
            err.print(f"{path} is deleted: {problem}", style="yellow", soft_wrap=True)
            path.unlink(missing_ok=True)
