"""Groups of commands whose help reads like that of other programs."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class Commands(TyperGroup):
    """A group in whose help options that take no value name none (typer writes ``<bool>``)."""

    def get_params(self, ctx: Any) -> Any:
        return _without_values(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            _without_values(found.get_params(ctx))
        return found


def _without_values(params: Any) -> Any:
    for each in params:
        if getattr(each, "is_flag", False) and each.metavar is None:
            each.metavar = ""
    return params
