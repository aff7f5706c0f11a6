"""Reload on SIGHUP: the weights of an A/B test's arms are read again, without a restart."""

from __future__ import annotations

import logging
import signal
from pathlib import Path

from agent.config.sources import load_settings
from agent.errors import ConfigError
from agent.responders.ab import AbResponder
from agent.responders.base import Responder, ResponderError

log = logging.getLogger("onebreath.reload")


def reweigh_on_hangup(responder: Responder, config: Path | None) -> None:
    """Reload the arms' weights on SIGHUP, where the platform has it; call it on the main thread."""
    if isinstance(responder, AbResponder) and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda number, frame: reweigh(responder, config))


def reweigh(responder: AbResponder, config: Path | None) -> None:
    """Read the settings again and take their weights; errors are logged and change nothing."""
    try:
        arms = load_settings(None, config).responder.arms
        responder.weigh({name: arm.weight for name, arm in arms.items()})
    except (ConfigError, ResponderError) as error:
        log.error("the weights stay %s: %s", dict(responder.weights), error)
    else:
        log.warning("the weights are now %s", dict(responder.weights))
