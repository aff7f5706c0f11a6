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

OTHER_VARIABLES = {"ONEBREATH_CONFIG", "ONEBREATH_MODELS", "ONEBREATH_PACKED_WEIGHTS"}
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
    chosen, found = named_file(file), False
    if chosen is None and DEFAULT_FILE.is_file():
        chosen, found = DEFAULT_FILE, True
    read = {} if chosen is None else _read_file(chosen)
    environment = _read_environment()
    if found:
        _check_keys_stay(read, environment)
    sources = {"command line": _given(flags or {}), "environment": environment, str(chosen): read}
    merged: dict[str, Any] = {}
    for source in reversed(sources.values()):
        merged = _merge(merged, source)
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise ConfigError(explain(error, sources)) from None


def named_file(file: Path | None) -> Path | None:
    """The settings file that the user named, by a flag or the environment."""
    return file or (Path(env) if (env := os.environ.get("ONEBREATH_CONFIG")) else None)


def _read_file(chosen: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(chosen.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{chosen}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{chosen}: not valid TOML: {error}") from error


def _check_keys_stay(read: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
    """Refuse to send a key of the environment to an address of a file that nobody named.

    Raises:
        ConfigError: such a file, in whatever directory the command runs, names the address.
    """
    ours, theirs = _responders(environment), _responders(read)
    for name, choice in ours.items():
        if choice.get("api_key") and not choice.get("base_url"):
            address = theirs.get(name, {}).get("base_url")
            if address:
                raise ConfigError(
                    f"{DEFAULT_FILE} of this directory names an address ({name}.base_url) to which "
                    "the key of the environment would be sent; if you mean it, name the file: "
                    f"--config {DEFAULT_FILE}"
                )


def _responders(settings: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The responder and the arms in settings as they were read, by their names there."""
    chosen = settings.get("responder")
    if not isinstance(chosen, Mapping):
        return {}
    found: dict[str, Mapping[str, Any]] = {"responder": chosen}
    arms = chosen.get("arms")
    if isinstance(arms, Mapping):
        found |= {f"responder.arms.{n}": a for n, a in arms.items() if isinstance(a, Mapping)}
    return found


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
