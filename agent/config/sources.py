"""Sources of the settings: a TOML file, the environment and flags; later sources win.

Unknown keys are errors in every source.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

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
    read, found = _read_file(file)
    environment = _read_environment()
    if found:
        _check_keys_stay(read, environment)
    merged = _merge(read, environment)
    try:
        return Settings(**_merge(merged, _given(flags or {})))
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def named_file(file: Path | None) -> Path | None:
    """The settings file that the user named, by a flag or the environment."""
    return file or (Path(env) if (env := os.environ.get("ONEBREATH_CONFIG")) else None)


def _read_file(file: Path | None) -> tuple[dict[str, Any], bool]:
    """The settings of the file, and whether it was only found, in the current directory."""
    chosen = named_file(file)
    found = chosen is None
    if chosen is None:
        if not DEFAULT_FILE.is_file():
            return {}, False
        chosen = DEFAULT_FILE
    try:
        return tomllib.loads(chosen.read_text(encoding="utf-8")), found
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
        if variable.startswith(ENV_PREFIX) and variable.partition("__")[0] not in known:
            raise ConfigError(f"environment: {variable} is no setting of onebreath")


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


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{where}: no such setting; see onebreath.example.toml")
        elif _may_hold_a_secret(where):
            lines.append(f"{where}: {problem['msg']}")
        else:
            lines.append(f"{where}: {problem['msg']} (got {problem['input']!r})")
    return "settings: " + "; ".join(lines)


def _may_hold_a_secret(where: str) -> bool:
    """Whether a setting's value is not to be repeated: keys, passwords, addresses with them."""
    secret = ("api_key", "credential", "username", "base_url", "request", "key", "token")
    names = where.split(".")
    return names[0] == "telephony" or "ice_servers" in names or any(n in secret for n in names)
