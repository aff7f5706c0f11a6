"""Sources of the settings: a TOML file, the environment and flags; later sources win.

Unknown keys are errors in every source.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from agent.config.explain import explain
from agent.config.settings import ENV_PREFIX, Settings
from agent.errors import ConfigError

OTHER_VARIABLES = {"ONEBREATH_CONFIG", "ONEBREATH_MODELS"}
DEFAULT_FILE = Path("onebreath.toml")


def load_settings(flags: Mapping[str, Any] | None = None, file: Path | None = None) -> Settings:
    """Load the settings from defaults, TOML file, environment and flags; later sources win.

    Args:
        flags: settings nested by section; None counts as not given.
        file: the TOML file; None: ``$ONEBREATH_CONFIG``, or ``onebreath.toml`` if it exists.

    Raises:
        ConfigError: an unknown key, a bad value, a missing or malformed file.
    """
    _check_environment()
    chosen = _file(file)
    sources = {
        "command line": _given(flags or {}),
        "environment": _read_environment(),
        str(chosen): {} if chosen is None else _read_file(chosen),
    }
    merged: dict[str, Any] = {}
    for source in reversed(sources.values()):
        merged = _merge(merged, source)
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise ConfigError(explain(error, sources)) from None


def _file(file: Path | None) -> Path | None:
    """The settings file that is read, if one is."""
    named = os.environ.get("ONEBREATH_CONFIG")
    chosen = file or (Path(named) if named else DEFAULT_FILE)
    return chosen if file or named or chosen.is_file() else None


def _read_file(chosen: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(chosen.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{chosen}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{chosen}: not valid TOML: {error}") from error


def _read_environment() -> dict[str, Any]:
    try:
        return dict(EnvSettingsSource(Settings)())
    except ValueError as error:
        raise ConfigError(f"environment: {error}") from None


def _check_environment() -> None:
    """Refuse unknown variables, which pydantic-settings would ignore: they may be misspelt."""
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields} | OTHER_VARIABLES
    for variable in os.environ:
        section = variable.partition("__")[0]
        if variable.startswith(ENV_PREFIX) and section not in known:
            near = get_close_matches(section, known, 1)
            guess = f"; did you mean {variable.replace(section, near[0])}?" if near else ""
            raise ConfigError(f"environment: {variable} is no setting of onebreath{guess}")


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    nested = {k: _given(v) if isinstance(v, Mapping) else v for k, v in flags.items()}
    return {key: value for key, value in nested.items() if value is not None and value != {}}


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged
