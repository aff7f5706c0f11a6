"""Conversations as YAML scripts: what a caller does, and what he must experience.

A file in tests/scenarios/ is one conversation. It runs in virtual time through the whole call
(protocol, runner, session, scripted engines) and, on request, in real time through the server.

    name: A question is answered
    pain: 4                       # which of the fifteen recurrent pains this is about
    needs: core2                  # a feature that is not there yet: the scenario may fail
    live: true                    # is also run in real time, through the server, by default
    settings: {turns: {...}}      # as in onebreath.toml
    engines:                      # what the scripted engines cost, in seconds
      asr: 0.1                    #   a final transcript         partial: 0.1   a partial one
      glance: 0.05                #   a glance; without it the recogniser cannot glance
      prefill: 0.03               #   reading the prompt         step: 0.03     one denoising step
      steps: 2                    #   steps of a reply           tts: 0.02      one word of sound
      mishears: {"": "Thank you."}            # what the recogniser makes of a transcript
      guesses: {"Mhm.": "MMA"}                # and what a glance makes of one
      fail: {asr: x, responder: x, tts: x}    # breaks on the words that contain x
    answers: {"What is it?": "It is a pen."}  # other words are repeated: "You said: ..."
                                  # "call NAME": the reply calls a function, without arguments
    tools: {NAME: {output: words, seconds: 1}}  # functions of the server, and how long each takes
    callers_word: 0.3             # seconds of a spoken word, gap included; agents_word: 0.2
    echo: -20                     # dB at which the caller's microphone hears the agent
    callers: 1                    # so many do the same at once and share the engines
    turns:                        # the steps, one after the other
      - say: What is it?
        expect: It is a pen.
        within_ms: 600
    outcome: {replies: 1}

A step has at most one **action**:

    say: words          he speaks; the step goes on when the last word was said
    noise: seconds      loud noise without words
    pause: seconds      he says nothing
    type: words         a typed message (without asking for a reply)
    press: button       commit, clear, respond, cancel, hang_up, mute, unmute, stop_reading
    respond: {...}      response.create with these options
    cancel: topic       response.cancel of the reply whose metadata has this topic
    truncate: ms        his player says how much of the newest reply it has played
    configure: {...}    session.update: instructions, and fields of turn_detection (or null)

begins at a **moment** (at once where none is given):

    after: seconds      so long after the step before
    after: event        when an event of this type arrives, since the step before began
    interrupt_at: s     when he has heard so many seconds of the newest reply; 0: in its thinking

and may **check** what follows. Times are those of the caller's ear:

    expect: words            the next reply, heard to its end, is exactly this
    within_ms: n             its first sound comes so soon after the end of his words
    not_before_ms: n         and not sooner
    silence_within_ms: n     the reply that ran is silent so soon after the step began
    not_expect: [events]     none of these arrives before the step ends

``outcome`` is judged when all has come to rest, or the call is over:

    replies: n               responses that were created
    heard: [words]           of each, what reached the ear, or was read where it has no sound
    apart: {topic: words}    replies of words outside the conversation, by the topic of their
                             metadata: their words, or their status where it is not completed
    statuses: [status]       of each: completed, cancelled, failed
    ear: words               all that he heard, in one string
    history: [who: words]    what the next prompt will hold: ``user: ...``, ``agent: ...``
    events: [event]          arrived in this order, others between them
    never: [event]           did not arrive
    last: {event: {...}}     the last event of this type holds at least these fields
    errors: [code]           all errors, in order (none where this is not given)
    closed: code             the close code of the call
    gap_ms: n                the longest silence within a completed reply, between words aside

An event may be written as a mapping ``{type: {field: value}}``; a value may be ``"<= 4"``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

SCENARIOS = Path(__file__).parent.parent / "scenarios"
ACTIONS = (
    "say",
    "noise",
    "pause",
    "type",
    "press",
    "respond",
    "cancel",
    "truncate",
    "configure",
)
Event = str | dict[str, dict[str, Any]]


class ScenarioError(Exception):
    """A script that cannot be read; the message names file and place."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Failures(_Part):
    """Words at which an engine breaks."""

    asr: str | None = None
    responder: str | None = None
    tts: str | None = None


class EngineCosts(_Part):
    asr: float = Field(0.1, ge=0)
    partial: float = Field(0.1, ge=0)
    glance: float | None = Field(None, ge=0)
    prefill: float = Field(0.03, ge=0)
    step: float = Field(0.03, ge=0)
    steps: int = Field(2, ge=1)
    tts: float = Field(0.02, ge=0)
    mishears: dict[str, str] = {}
    guesses: dict[str, str] = {}
    fail: Failures = Failures()


class ToolScript(_Part):
    """A function of the server that returns ``output`` after so many seconds."""

    output: str
    seconds: float = Field(0.0, ge=0)


class Step(_Part):
    say: str | None = None
    noise: float | None = Field(None, gt=0)
    pause: float | None = Field(None, gt=0)
    type: str | None = None
    press: (
        Literal["commit", "clear", "respond", "cancel", "hang_up", "mute", "unmute", "stop_reading"]
        | None
    ) = None
    respond: dict[str, Any] | None = None
    cancel: str | None = None
    truncate: int | None = Field(None, ge=0)
    configure: dict[str, Any] | None = None

    after: float | str = 0.0
    interrupt_at: float | None = Field(None, ge=0)

    expect: str | None = None
    within_ms: float | None = Field(None, gt=0)
    not_before_ms: float | None = Field(None, gt=0)
    silence_within_ms: float | None = Field(None, gt=0)
    not_expect: list[Event] = []

    @model_validator(mode="after")
    def _one_action(self) -> Step:
        actions = self.actions
        if len(actions) > 1:
            raise ValueError(f"a step has one action; this one has {' and '.join(actions)}")
        if not actions and self.expect is None:
            raise ValueError(f"a step needs an action ({', '.join(ACTIONS)}) or `expect`")
        if self.interrupt_at is not None and self.after != 0.0:
            raise ValueError("a step begins `after` something or with `interrupt_at`, not both")
        return self

    @property
    def actions(self) -> list[str]:
        return [name for name in ACTIONS if getattr(self, name) is not None]


class Outcome(_Part):
    replies: int | None = None
    heard: list[str] | None = None
    apart: dict[str, str] | None = None
    statuses: list[Literal["completed", "cancelled", "failed"] | None] | None = None
    ear: str | None = None
    history: list[str] | None = None
    events: list[Event] = []
    never: list[Event] = []
    last: dict[str, dict[str, Any]] = {}
    errors: list[str] = []
    closed: int | None = None
    gap_ms: float | None = None


class Scenario(_Part):
    name: str
    pain: int | None = Field(None, ge=1, le=15)
    needs: str | None = None
    live: bool = False
    settings: dict[str, Any] = {}
    engines: EngineCosts = EngineCosts()
    answers: dict[str, str] = {}
    tools: dict[str, ToolScript] = {}
    callers_word: float = Field(0.3, ge=0.15, le=2)
    agents_word: float = Field(0.2, ge=0.1, le=2)
    echo: float | None = Field(None, lt=0)
    callers: int = Field(1, ge=1, le=8)
    turns: list[Step] = Field(min_length=1)
    outcome: Outcome = Outcome()


def load_scenario(path: Path) -> Scenario:
    """Read one script.

    Raises:
        ScenarioError: not YAML, an unknown field, a bad value.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Scenario.model_validate(raw)
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path.name}: not valid YAML: {error}") from None
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise ScenarioError(f"{path.name}: {'; '.join(lines)}") from None


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{where}: there is no such field; see tests/support/scenario.py"
    return f"{where}: {problem['msg']}"


def load_all() -> dict[str, Scenario]:
    """Every script of the folder by its file name, sorted."""
    return {path.stem: load_scenario(path) for path in sorted(SCENARIOS.glob("*.yaml"))}


def matches(event: dict[str, Any], wanted: Event) -> bool:
    """Whether an event of the wire is the one that a script names."""
    if isinstance(wanted, str):
        return bool(event["type"] == wanted)
    return any(event["type"] == kind and holds(event, body) for kind, body in wanted.items())


def holds(found: Any, wanted: Any) -> bool:
    """Whether ``found`` has at least the fields of ``wanted``; "<= 4" and ">= 4" compare."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            key in found and holds(found[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, str) and wanted[:2] in ("<=", ">="):
        limit = float(wanted[2:])
        return found is not None and (found <= limit if wanted[0] == "<" else found >= limit)
    return bool(found == wanted)
