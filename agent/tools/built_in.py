"""The built-in tools: end the call, transfer it, send keys."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from agent.config.tools import ToolSettings, TransferTarget
from agent.reply import FunctionTool
from agent.tools.base import ServerTool, TelephoneLine, ToolError, ToolResult

MAX_DIGITS = 32
"""Keys and pauses of one ``send_dtmf``."""
_DIGITS = re.compile(r"[0-9*#A-Dw]+")
_NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
HUNG_UP = "the agent hung up"


def built_in(settings: ToolSettings) -> list[ServerTool]:
    """The built-in tools that the settings switch on."""
    found: list[ServerTool] = []
    for name in dict.fromkeys(settings.built_in):
        match name:
            case "hang_up":
                found.append(HangUpTool())
            case "transfer":
                found.append(TransferTool(settings.transfer, settings.announcement))
            case "send_dtmf":
                found.append(SendDtmfTool())
    return found


class HangUpTool:
    """Ends the call, after the agent's goodbye."""

    offer = FunctionTool(
        "hang_up", "Say goodbye and end the call.", _NOTHING, "server", after_reply=True
    )

    def can_use(self, line: object) -> bool:
        return True

    async def run(self, arguments: Mapping[str, Any], line: object) -> ToolResult:
        return ToolResult(_json(ended=True), reply=False, leave=HUNG_UP, goodbye=True)


class TransferTool:
    """Connects the caller to a destination of the settings; nobody else chooses a number.

    Args:
        targets: the destinations by name.
        announcement: sentence before the transfer, where the reply has no words.
    """

    def __init__(self, targets: Mapping[str, TransferTarget], announcement: str) -> None:
        self._targets = dict(targets)
        people = (target.description or name for name, target in targets.items())
        schema = {
            "type": "object",
            "properties": {"target": {"enum": list(targets), "description": _who(targets)}},
            "required": ["target"],
            "additionalProperties": False,
        }
        self.offer = FunctionTool(
            "transfer",
            f"Speak to somebody else: {', '.join(people)}.",
            schema,
            "server",
            after_reply=True,
            announcement=announcement,
        )

    def can_use(self, line: object) -> bool:
        return isinstance(line, TelephoneLine) and line.transfers

    async def run(self, arguments: Mapping[str, Any], line: object) -> ToolResult:
        name = arguments.get("target")
        target = self._targets.get(name) if isinstance(name, str) else None
        if target is None:
            raise ToolError(f"there is no such destination; choose {', '.join(self._targets)}")
        assert isinstance(line, TelephoneLine)
        await line.transfer(target.number)
        return ToolResult(_json(transferred_to=name), reply=False, leave=f"transferred to {name}")


class SendDtmfTool:
    """Plays the tones of keys to the other side, such as a menu that the agent has called."""

    offer = FunctionTool(
        "send_dtmf",
        "Press keys of the telephone, as a voice menu asks for.",
        {
            "type": "object",
            "properties": {
                "digits": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_DIGITS,
                    "description": "The keys 0-9, *, #, A-D; w is a pause of half a second.",
                }
            },
            "required": ["digits"],
            "additionalProperties": False,
        },
        "server",
        after_reply=True,
    )

    def can_use(self, line: object) -> bool:
        return isinstance(line, TelephoneLine)

    async def run(self, arguments: Mapping[str, Any], line: object) -> ToolResult:
        given = arguments.get("digits")
        digits = re.sub(r"[\s-]", "", given) if isinstance(given, str) else ""
        digits = digits.upper().replace("W", "w")
        if not _DIGITS.fullmatch(digits) or len(digits) > MAX_DIGITS:
            raise ToolError(
                f"digits: give 1 to {MAX_DIGITS} of 0-9, *, #, A-D, and w for half a second"
            )
        assert isinstance(line, TelephoneLine)
        await line.send_dtmf(digits)
        # Whoever asked for keys speaks next; words of the agent would be in the way.
        return ToolResult(_json(sent=digits), reply=False)


def _who(targets: Mapping[str, TransferTarget]) -> str:
    said = (f"{n}: {t.description}" if t.description else n for n, t in targets.items())
    return "; ".join(said)


def _json(**fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False)
