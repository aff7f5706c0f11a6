"""Takes the caller of a scenario through its steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agent.audio.samples import AUDIBLE_DBFS, last_above
from agent.protocol import WIRE_RATE
from agent.runtime.engine_tasks import Engines
from support.scenario import Event, Scenario, Step, matches
from support.scenario_phone import HeardReply, Phone, Unmet

REST_SECONDS = 2.5
"""Nothing happens for so long: the conversation has come to rest."""
PROBE = "(what do you remember)"
BUTTONS = {
    "commit": "input_audio_buffer.commit",
    "clear": "input_audio_buffer.clear",
    "respond": "response.create",
    "cancel": "response.cancel",
}


@dataclass
class Director:
    """Takes the caller through the steps of a scenario."""

    scenario: Scenario
    phone: Phone
    engines: Engines
    slack_ms: float = 0.0
    """In real time everything may come so much later."""
    problems: list[str] = field(default_factory=list)
    log: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    """What arrived until the conversation came to rest, and its replies."""
    replies: list[HeardReply] = field(default_factory=list)
    _since: int = 0
    """Place in the log where the step before began."""
    _known: int = 0
    """Replies that were spoken of, or were there before the last action."""
    _begun: int = 0
    """Sample at which the step's action began, and its words ended."""
    _ended: int = 0

    async def perform(self) -> None:
        """Play all steps, then wait until nothing happens any more."""
        where = ""
        try:
            for number, step in enumerate(self.scenario.turns, 1):
                where = f"step {number}"
                await self._step(step)
            where = "at the end"
            await self._rest()
            self._freeze()
            if self.scenario.outcome.history is not None:
                await self._remember(self.scenario.outcome.history)
        except Unmet as unmet:
            self.problems.append(f"{where}: {unmet}")
            self._freeze()

    def _freeze(self) -> None:
        self.log, self.replies = list(self.phone.log), list(self.phone.replies.values())

    async def _step(self, step: Step) -> None:
        await self._moment(step)
        self._since = len(self.phone.log)
        running = self.phone.newest
        if step.actions:
            self._known = len(self.phone.replies)
        await self._act(step)
        if step.expect is not None or step.within_ms or step.not_before_ms:
            await self._check_reply(step)
        if step.silence_within_ms is not None:
            await self._check_silence(step.silence_within_ms, running)
        for event in step.not_expect:
            if self._arrived(event, self._since):
                self.problems.append(f"{event} arrived in {brief(step)}")

    async def _moment(self, step: Step) -> None:
        phone = self.phone
        if isinstance(step.after, str):
            wanted, since = step.after, self._since
            await phone.until(lambda: self._arrived(wanted, since), wanted)
        elif step.after:
            begun = phone.now
            await phone.until(lambda: phone.now >= begun + float(step.after), "the moment")
        if step.interrupt_at is not None:
            moment = step.interrupt_at
            await phone.until(lambda: self._heard(moment), f"{moment} s of a reply")

    def _heard(self, seconds: float) -> bool:
        reply = self.phone.newest
        return reply is not None and not reply.over and self.phone.played(reply) >= seconds

    async def _act(self, step: Step) -> None:
        phone = self.phone
        self._begun = self._ended = int(phone.now * WIRE_RATE)
        if step.say is not None:
            await self._say(self.engines.asr.tongue.say(step.say, WIRE_RATE))
        elif step.noise is not None:
            loud = np.random.default_rng(5).normal(0, 0.2, int(step.noise * WIRE_RATE))
            await self._say(loud.astype(np.float32))
        elif step.pause is not None:
            end = phone.now + step.pause
            await phone.until(lambda: phone.now >= end or phone.over, "the end of the pause")
        elif step.type is not None:
            await self._type(step.type)
        elif step.respond is not None:
            await phone.tell("response.create", response=step.respond)
        elif step.cancel is not None:
            (named,) = [r.id for r in phone.apart.values() if r.topic == step.cancel]
            await phone.tell("response.cancel", response_id=named)
        elif step.truncate is not None:
            reply = phone.newest
            assert reply is not None, "there is no reply to truncate"
            place = {"item_id": reply.item_id, "content_index": 0}
            await phone.tell("conversation.item.truncate", **place, audio_end_ms=step.truncate)
        elif step.configure is not None:
            await phone.tell("session.update", session=_session(step.configure))
        elif step.press is not None:
            await self._press(step.press)

    async def _say(self, sound: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        self._begun = self.phone.audio.say(sound)
        self._ended = self._begun + (last_above(sound, AUDIBLE_DBFS) or 0)
        phone = self.phone
        if phone.over:
            raise Unmet("the call was over before he spoke")
        await phone.until(lambda: phone.over or not phone.audio.saying, "the end of his words")

    async def _type(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self.phone.tell("conversation.item.create", item=item)

    async def _press(self, button: str) -> None:
        match button:
            case "hang_up":
                self.phone.end()
            case "mute" | "unmute":
                self.phone.muted = button == "mute"
            case "stop_reading":
                self.phone.reads = False
            case _:
                await self.phone.tell(BUTTONS[button])

    async def _check_reply(self, step: Step) -> None:
        phone, known = self.phone, self._known
        self._known += 1
        await phone.until(lambda: len(phone.replies) > known, "a reply")
        reply = list(phone.replies.values())[known]
        sounded = lambda: phone.first_sound(reply) is not None or reply.over  # noqa: E731
        await phone.until(sounded, "the first sound of the reply")
        first = phone.first_sound(reply)
        if step.within_ms is not None or step.not_before_ms is not None:
            self._check_delay(step, first)
        if step.expect is not None:
            await phone.until(lambda: reply.over, f"the end of {reply.id}")
            self.expect(f"heard after {brief(step)}", phone.words_of(reply), step.expect)

    def _check_delay(self, step: Step, first: int | None) -> None:
        if first is None:
            self.problems.append(f"no sound of a reply after {brief(step)}")
            return
        ms = (first - self._ended) / WIRE_RATE * 1000
        if step.within_ms is not None and ms > step.within_ms + self.slack_ms:
            self.problems.append(f"first sound {ms:.0f} ms after {brief(step)}")
        if step.not_before_ms is not None and ms < step.not_before_ms:
            self.problems.append(f"first sound already {ms:.0f} ms after {brief(step)}")

    async def _check_silence(self, limit: float, reply: HeardReply | None) -> None:
        if reply is None:
            self.problems.append("no reply ran that could fall silent")
            return
        await self.phone.until(lambda: reply.over, f"the end of {reply.id}")
        last = self.phone.last_sound(reply)
        ms = 0.0 if last is None else (last - self._begun) / WIRE_RATE * 1000
        if ms > limit + self.slack_ms:
            self.problems.append(f"{reply.id} sounded until {ms:.0f} ms after it was interrupted")

    async def _rest(self) -> None:
        phone = self.phone

        def rests() -> bool:
            idle = all(reply.over for reply in phone.replies.values())
            last = phone.log[-1][0] if phone.log else 0.0
            return phone.over or (idle and phone.now - last >= REST_SECONDS)

        await phone.until(rests, "rest")

    async def _remember(self, history: list[str]) -> None:
        """Ask once more, only to see what the prompt is made of."""
        prompts = self.engines.responder.prompts
        asked = lambda: bool(prompts) and PROBE in prompts[-1][-1].content  # noqa: E731
        await self._type(PROBE)
        await self.phone.tell("response.create")
        await self.phone.until(asked, "a prompt")
        names = {"user": "user", "assistant": "agent"}
        lines = [f"{names[m.role]}: {m.content}" for m in prompts[-1][1:]]
        lines[-1] = lines[-1].removesuffix(PROBE).strip()
        self.expect("history", [line for line in lines if line != "user:"], history)

    def _arrived(self, wanted: Event, since: int) -> bool:
        return any(matches(event, wanted) for _, event in self.phone.log[since:])

    def expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.problems.append(f"{what}: {found!r}, and not {wanted!r}")


def brief(step: Step) -> str:
    name = step.actions[0] if step.actions else "expect"
    return f"`{name}: {getattr(step, name)}`"


def _session(change: dict[str, Any]) -> dict[str, Any]:
    """The body of a session.update: fields of turn_detection are put in their place."""
    session = {key: value for key, value in change.items() if key != "turn_detection"}
    if "turn_detection" in change:
        detection = change["turn_detection"]
        if detection is not None:
            detection = {"type": "server_vad", **detection}
        session["audio"] = {"input": {"turn_detection": detection}}
    return {"type": "realtime", **session}
