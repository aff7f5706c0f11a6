"""Reload on SIGHUP: settings that need no restart are read again, for calls that begin then."""

from __future__ import annotations

import logging
from pathlib import Path

from agent.config.settings import Settings
from agent.config.sources import load_settings
from agent.errors import ConfigError
from agent.responders.ab import AbResponder
from agent.responders.base import Responder, ResponderError

log = logging.getLogger("onebreath.reload")

SECTIONS = ("turns", "call", "budget", "playback", "log")
"""Sections that are read anew for each call."""
OF_SERVER = (
    "max_calls",
    "max_calls_per_address",
    "max_call_seconds",
    "idle_seconds",
    "allowed_origins",
    "allowed_hosts",
    "drain_seconds",
)
KEY_OF_RUN = "this_run"
"""Name of the key that a server makes for itself; no file has it."""
OF_RESPONDER = ("instructions", "history_characters")


def reloaded(old: Settings, config: Path | None) -> Settings:
    """``old`` with what can be taken from the file and the environment as they are now.

    Settings that load engines or bind ports stay. Errors are logged and change nothing.
    """
    try:
        new = load_settings(None, config)
    except ConfigError as error:
        log.error("the settings stay as they are: %s", error)
        return old
    parts = {name: getattr(new, name) for name in SECTIONS}
    of_server = {name: getattr(new.server, name) for name in OF_SERVER}
    own = {name: key for name, key in old.server.api_keys.items() if name == KEY_OF_RUN}
    of_server["api_keys"] = {**new.server.api_keys, **own}
    parts["server"] = old.server.model_copy(update=of_server)
    parts["responder"] = old.responder.model_copy(
        update={name: getattr(new.responder, name) for name in OF_RESPONDER}
    )
    settings = old.model_copy(update=parts)
    logging.getLogger().setLevel(new.log_level.upper())
    log.warning("the settings were read again; calls that begin now have them")
    return settings


def reweigh(responder: Responder, config: Path | None) -> None:
    """Take the weights of an A/B test's arms from the settings as they are now.

    Errors are logged and change nothing.
    """
    if not isinstance(responder, AbResponder):
        return
    try:
        arms = load_settings(None, config).responder.arms
        responder.weigh({name: arm.weight for name, arm in arms.items()})
    except (ConfigError, ResponderError) as error:
        log.error("the weights stay %s: %s", dict(responder.weights), error)
    else:
        log.warning("the weights are now %s", dict(responder.weights))
