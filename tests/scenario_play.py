"""Plays a scenario and judges it: in virtual time, or for real through the server."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fakes import in_virtual_time
from scenario import Event, Outcome, Scenario, Step, holds, matches
from scenario_engines import live_engines, virtual_engines
from scenario_phone import HeardReply, Phone, Unmet
from starlette.websockets import WebSocketDisconnect, WebSocketState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agent.audio import AUDIBLE_DBFS, last_above
from agent.config import Settings
from agent.protocol import WIRE_RATE
from agent.runner import CallRunner
from agent.server import AgentServer, listen, serve
from agent.work import Engines

REST_SECONDS = 2.5
"""Nothing happens for so long: the conversation has come to rest."""
LIVE_SLACK_MS = 400.0
"""In real time, on a machine that does other things too, everything may come so much later."""
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
    problems: list[str] = field(default_factory=list)
    _since: int = 0
    """Place in the log where the step before began."""
    _known: int = 0
    """Replies that were spoken of, or were there before the last action."""
    _begun: int = 0
    """Sample at which the step's action began, and its words ended."""
    _ended: int = 0
    _log: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    """What arrived until the conversation came to rest, and its replies."""
    _replies: list[HeardReply] = field(default_factory=list)

    async def perform(self) -> None:
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
        self._log, self._replies = list(self.phone.log), list(self.phone.replies.values())

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
                self.problems.append(f"{event} arrived in {_brief(step)}")

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
        self._begun = self.phone.line.say(sound)
        self._ended = self._begun + (last_above(sound, AUDIBLE_DBFS) or 0)
        phone = self.phone
        if phone.over:
            raise Unmet("the call was over before he spoke")
        await phone.until(lambda: phone.over or not phone.line.saying, "the end of his words")

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
            self._same(f"heard after {_brief(step)}", phone.words_of(reply), step.expect)

    def _check_delay(self, step: Step, first: int | None) -> None:
        if first is None:
            self.problems.append(f"no sound of a reply after {_brief(step)}")
            return
        ms = (first - self._ended) / WIRE_RATE * 1000
        if step.within_ms is not None and ms > step.within_ms + self.slack_ms:
            self.problems.append(f"first sound {ms:.0f} ms after {_brief(step)}")
        if step.not_before_ms is not None and ms < step.not_before_ms:
            self.problems.append(f"first sound already {ms:.0f} ms after {_brief(step)}")

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
        self._same("history", [line for line in lines if line != "user:"], history)

    def _arrived(self, wanted: Event, since: int) -> bool:
        return any(matches(event, wanted) for _, event in self.phone.log[since:])

    def _same(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.problems.append(f"{what}: {found!r}, and not {wanted!r}")

    # ---- the verdict ---------------------------------------------------------------

    def judge(self) -> None:
        """Compare what the caller lived through with what he should have.

        Raises:
            AssertionError: with all that differs, and the log of the call.
        """
        phone, outcome = self.phone, self.scenario.outcome
        self.problems += phone.faults
        facts = {
            "replies": len(self._replies),
            "heard": [phone.words_of(reply) for reply in self._replies],
            "statuses": [reply.status for reply in self._replies],
            "ear": phone.all_words() if outcome.ear is not None else None,
            "errors": [e["error"]["code"] for _, e in self._log if e["type"] == "error"],
            "closed": phone.close_code,
        }
        for name, found in facts.items():
            wanted = getattr(outcome, name)
            if wanted is not None:
                self._same(name, found, wanted)
        self._judge_events(outcome)
        self._judge_gaps(outcome.gap_ms)
        self._judge_memory()
        self._judge_prompts()
        assert not self.problems, "\n".join([*self.problems, *_story(phone)])

    def _judge_events(self, outcome: Outcome) -> None:
        events = [event for _, event in self._log]
        rest = iter(events)
        for wanted in outcome.events:
            if not any(matches(event, wanted) for event in rest):
                self.problems.append(f"{wanted} did not arrive, or not in this order")
                break
        self.problems += [
            f"{wanted} arrived"
            for wanted in outcome.never
            if any(matches(event, wanted) for event in events)
        ]
        for kind, body in outcome.last.items():
            last = next((e for e in reversed(events) if e["type"] == kind), None)
            if not holds(last, body):
                self.problems.append(f"the last {kind} was {last}, and has not {body}")

    def _judge_gaps(self, limit: float | None) -> None:
        if limit is None:
            return
        for reply in self._replies:
            if reply.status == "completed":
                places = np.flatnonzero(np.abs(self.phone.sound_of(reply)[1]) > 0.01)
                gap = float(np.diff(places).max(initial=0)) / WIRE_RATE * 1000
                if gap > limit + self.slack_ms:
                    self.problems.append(f"a gap of {gap:.0f} ms in {reply.id}")

    def _judge_memory(self) -> None:
        """The agent remembers the words that were heard: no more, no less, fillers aside."""
        filler = str(self.scenario.settings.get("call", {}).get("filler"))
        truncated = {
            event["item_id"] for _, event in self._log if event["type"].endswith(".truncated")
        }
        for reply in self._replies:
            heard = self.phone.words_of(reply)
            heard = "" if filler.startswith(heard) else heard.removeprefix(filler)
            words = len(heard.split()) - len(reply.said.split())
            differ = abs(words) > (1 if self.slack_ms else 0)
            if reply.over and reply.item_id not in truncated and differ:
                self.problems.append(f"heard {heard!r}, remembered {reply.said!r}")

    def _judge_prompts(self) -> None:
        for prompt in self.engines.responder.prompts:
            roles = [message.role for message in prompt]
            alternate = all(a != b for a, b in itertools.pairwise(roles))
            if roles[0] != "system" or roles[-1] != "user" or not alternate:
                self.problems.append(f"a prompt with the roles {roles}")


def _brief(step: Step) -> str:
    name = step.actions[0] if step.actions else "expect"
    return f"`{name}: {getattr(step, name)}`"


def _story(phone: Phone) -> list[str]:
    """The log of the call, sound left out."""
    quiet = ("response.output_audio.delta", "onebreath.denoise.step")
    keys = ("transcript", "delta", "text", "code", "message", "heard_ms", "speculation", "status")
    lines = []
    for when, event in phone.log:
        if event["type"] in quiet:
            continue
        fields = {**event, **event.get("error", {}), **event.get("response", {})}
        shown = {key: fields[key] for key in keys if fields.get(key) not in (None, "")}
        lines.append(f"{when:8.3f}  {event['type']}  {shown or ''}".rstrip())
    return lines


def _session(change: dict[str, Any]) -> dict[str, Any]:
    """The body of a session.update: fields of turn_detection are put in their place."""
    session = {key: value for key, value in change.items() if key != "turn_detection"}
    if "turn_detection" in change:
        detection = change["turn_detection"]
        if detection is not None:
            detection = {"type": "server_vad", **detection}
        session["audio"] = {"input": {"turn_detection": detection}}
    return {"type": "realtime", **session}


# ---- in virtual time ---------------------------------------------------------------


class VirtualSocket:
    """A websocket without a network, as far as the transport needs one."""

    def __init__(self) -> None:
        self.phone: Phone | None = None
        self.application_state = WebSocketState.CONNECTED
        self._inbox: asyncio.Queue[str | None] = asyncio.Queue()

    async def to_server(self, text: str) -> None:
        self._inbox.put_nowait(text)

    def hang_up(self) -> None:
        self._inbox.put_nowait(None)

    async def receive(self) -> dict[str, str]:
        text = await self._inbox.get()
        if text is None:
            return {"type": "websocket.disconnect"}
        return {"type": "websocket.receive", "text": text}

    async def send_text(self, text: str) -> None:
        assert self.phone is not None
        if self.phone.over:
            raise WebSocketDisconnect
        if not self.phone.reads:
            await asyncio.Event().wait()
        self.phone.take(json.loads(text))

    async def close(self, code: int, reason: str) -> None:
        assert self.phone is not None
        self.application_state = WebSocketState.DISCONNECTED
        self.phone.close_code = code
        self.phone.end()


def play_virtually(scenario: Scenario) -> None:
    """Run a scenario in virtual time.

    Raises:
        AssertionError: the caller experienced something else.
    """
    in_virtual_time(_virtual_call(scenario))


async def _virtual_call(scenario: Scenario) -> None:
    engines = virtual_engines(scenario)
    calls = [_virtual_caller(scenario, engines) for _ in range(scenario.callers)]
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if result is not None:
            raise result
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"left behind: {left}"


async def _virtual_caller(scenario: Scenario, engines: Engines) -> None:
    settings = Settings(**scenario.settings)
    socket = VirtualSocket()
    phone = socket.phone = Phone(socket.to_server, engines.tts.tongue, scenario.echo)
    director = Director(scenario, phone, engines)
    # The transport of the real server; only its clock cannot be used here.
    transport = AgentServer(settings, engines)._transport(socket)
    await transport.open()
    call = asyncio.create_task(CallRunner(engines, settings, transport).run())
    call.add_done_callback(lambda _: phone.end())
    mouth = asyncio.create_task(phone.speak())
    await director.perform()
    socket.hang_up()
    async with asyncio.timeout(30):
        await call
    mouth.cancel()
    await asyncio.gather(mouth, return_exceptions=True)
    director.judge()


# ---- in real time ------------------------------------------------------------------


async def play_live(scenario: Scenario) -> None:
    """Run a scenario through a server on a real socket; takes as long as the conversation.

    Raises:
        AssertionError: the caller experienced something else.
    """
    settings = Settings(**scenario.settings)
    engines = live_engines(scenario)
    sock = listen("127.0.0.1", 0)
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(settings, engines, sock, ready.set))
    url = f"ws://127.0.0.1:{sock.getsockname()[1]}/v1/realtime"
    try:
        async with asyncio.timeout(10):
            await ready.wait()
        async with connect(url, compression=None) as connection:
            await _live_call(scenario, engines, connection)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        engines.compute.close()
        engines.voices.shutdown()


async def _live_call(scenario: Scenario, engines: Engines, connection: ClientConnection) -> None:
    phone = Phone(connection.send, engines.tts.tongue, scenario.echo)
    director = Director(scenario, phone, engines, LIVE_SLACK_MS)
    tasks = [
        asyncio.create_task(_listen(phone, connection)),
        asyncio.create_task(phone.speak()),
    ]
    try:
        await director.perform()
    finally:
        phone.end()
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception) and not isinstance(error, ConnectionClosed):
            raise error
    director.judge()


async def _listen(phone: Phone, connection: ClientConnection) -> None:
    async for message in connection:
        phone.take(json.loads(message))
    phone.close_code = connection.close_code
    phone.end()
