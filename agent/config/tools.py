"""Settings of the functions that this server offers to its responder and runs itself."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

BuiltIn = Literal["hang_up", "transfer", "send_dtmf"]
NAME = r"^[A-Za-z0-9_-]{1,64}$"
Name = Annotated[str, Field(pattern=NAME)]
_DESTINATION = re.compile(
    r"\+?[0-9]{2,20}|[A-Za-z0-9*#_-]{1,32}|sips?:[A-Za-z0-9._+-]+@[A-Za-z0-9.:-]+"
)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TransferTarget(_Section):
    """One destination to which calls may be transferred.

    Attributes:
        number: telephone number, SIP address or extension of the exchange.
        description: who is there, in words for the model.
    """

    number: str
    description: str = Field("", max_length=200)

    @field_validator("number")
    @classmethod
    def _can_be_dialled(cls, number: str) -> str:
        if not _DESTINATION.fullmatch(number):
            raise ValueError("give a number such as +4930123456, an extension, or sip:name@host")
        return number


class McpServerSettings(_Section):
    """One MCP server: a program that is started, or an address.

    ``${NAME}`` in ``env`` and ``headers`` stands for an environment variable of this server.

    Attributes:
        command: program that speaks MCP over its standard input and output.
        args: its arguments.
        env: environment variables for it, besides the few that every program gets.
        url: address of a server that speaks streamable HTTP.
        headers: HTTP headers for it.
        tools: the tools that may be used; None: all.
        seconds: seconds that a connection attempt may take.
    """

    command: str | None = Field(None, min_length=1)
    args: tuple[str, ...] = ()
    env: dict[str, str] = Field({}, repr=False)
    url: str | None = Field(None, pattern=r"^https?://[^\s]+$")
    headers: dict[str, str] = Field({}, repr=False)
    tools: tuple[str, ...] | None = None
    seconds: float = Field(10.0, gt=0, le=120)

    @model_validator(mode="after")
    def _is_one_of_two(self) -> McpServerSettings:
        if (self.command is None) == (self.url is None):
            raise ValueError("give either command (with args) or url")
        if self.url is None and self.headers:
            raise ValueError("headers go with url; a command takes env")
        if self.command is None and (self.args or self.env):
            raise ValueError("args and env go with command; a url takes headers")
        return self

    @field_validator("env", "headers")
    @classmethod
    def _variables_are_set(cls, given: dict[str, str]) -> dict[str, str]:
        for value in given.values():
            for name in _VARIABLE.findall(value):
                if name not in os.environ:
                    raise ValueError(f"the environment variable {name} is not set")
        return given


def filled(given: dict[str, str]) -> dict[str, str]:
    """Values with the environment's variables in place of ``${NAME}``."""
    return {
        key: _VARIABLE.sub(lambda found: os.environ.get(found[1], ""), value)
        for key, value in given.items()
    }


class ToolSettings(_Section):
    """Functions that this server offers to its responder and runs itself.

    Attributes:
        built_in: built-in tools to switch on: ``hang_up``, ``transfer``, ``send_dtmf``.
        functions: Python functions, each as ``package.module:function``.
        seconds: seconds that a function may take, of this server or of a client; then the agent
            says that there is no answer.
        max_running: functions of this server that may run at once, over all calls.
        max_result: characters of one result; the rest is cut.
        transfer: destinations of ``transfer`` by the name that the model is told.
        announcement: sentence before a transfer, where the reply itself has no words; empty: none.
        mcp: MCP servers by name.
    """

    built_in: tuple[BuiltIn, ...] = ()
    functions: tuple[str, ...] = ()
    seconds: float = Field(20.0, gt=0, le=600)
    max_running: int = Field(8, ge=1, le=1000)
    max_result: int = Field(4000, ge=100, le=100_000)
    transfer: dict[Name, TransferTarget] = Field({}, max_length=64)
    announcement: str = Field("One moment, I am putting you through.", max_length=200)
    mcp: dict[Name, McpServerSettings] = Field({}, max_length=32)

    @model_validator(mode="after")
    def _transfer_has_targets(self) -> ToolSettings:
        if "transfer" in self.built_in and not self.transfer:
            raise ValueError(
                'the tool transfer needs destinations: [tools.transfer.NAME] with number = "..."'
            )
        return self
