"""Prices of replies, from a price file of the user."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from agent.errors import ConfigError


class Price(BaseModel):
    """Price of one responder's replies, in any currency; the parts are added.

    Attributes:
        input_per_million: price of a million prompt tokens, cached or not.
        output_per_million: price of a million reply tokens.
        per_hour: price of an hour of the machine, charged while it works on a reply for one caller.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_per_million: float = Field(0.0, ge=0)
    output_per_million: float = Field(0.0, ge=0)
    per_hour: float = Field(0.0, ge=0)

    def of_reply(self, prompt_tokens: float, tokens: float, seconds: float) -> float:
        """Price of one reply that took ``seconds``."""
        by_token = prompt_tokens * self.input_per_million + tokens * self.output_per_million
        return by_token / 1e6 + self.per_hour * seconds / 3600


_FILE = TypeAdapter(dict[str, Price])


def read_prices(path: Path) -> dict[str, Price]:
    """Read a TOML file with one table per responder, named as on the command line.

    Raises:
        ConfigError: the file cannot be read, or a table is malformed.
    """
    try:
        return _FILE.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise ConfigError(f"{path}: {where}: {problem['msg']}") from None
