"""Bad networks: the model in virtual time; one call over each transport with scripted engines."""

from __future__ import annotations

import asyncio
import random
import socket

import numpy as np
import pytest
from support.fakes import silence, speech
from support.webrtc_calls import agent

from agent.bench.network import CALLERS, NetworkCall, NetworkTurn, conditions_of, converse
from agent.bench.network_caller import WebsocketCaller
from agent.bench.network_link import (
    CONDITIONS,
    FIRST_STALL,
    OVERTAKEN_SECONDS,
    QUEUE_SECONDS,
    STALL_EVERY,
    BurstLoss,
    Condition,
    DatagramLink,
    StreamLink,
)
from agent.bench.network_relay import READ_BYTES, WINDOW_BYTES, TcpRelay
from agent.errors import ConfigError
from agent.latency.question import SpokenQuestion
from agent.latency.results import TurnResult
from agent.latency.transport_names import TransportName
from agent.protocol import WIRE_RATE

FRAME = 0.02


def sent(condition, count, size=200, every=FRAME, link=DatagramLink):
    """The arrivals of each of ``count`` packets, one every ``every`` seconds."""
    line = link(condition, "seed")
    arrivals = line.arrivals if link is DatagramLink else line.arrival
    return [(step * every, arrivals(size, step * every)) for step in range(count)]


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.1, 0.2])
def test_loss_has_its_share_and_comes_in_bursts(loss):
    chain = BurstLoss(loss, 3.0, random.Random(1))
    lost = np.array([chain.lost() for _ in range(100_000)])
    assert lost.mean() == pytest.approx(loss, rel=0.2)
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], lost, [0]]))))[::2]
    assert runs.mean() == pytest.approx(3.0, rel=0.1)


def test_a_good_network_only_delays():
    for now, at in sent(Condition("clean"), 100):
        assert at == (pytest.approx(now + 0.02),)


def test_a_seed_repeats_its_network():
    def drawn(seed):
        link = DatagramLink(Condition("bad", loss=0.2, jitter=0.1, duplicated=0.1), seed)
        return [tuple(link.arrivals(100, step * FRAME)) for step in range(200)]

    assert drawn("a") == drawn("a") != drawn("b")


def test_jitter_delays_at_most_itself_and_keeps_the_order():
    times = [(now, at) for now, (at,) in sent(Condition("jitter", jitter=0.2), 500)]
    delays = [at - now for now, at in times]
    assert 0.02 <= min(delays) < 0.12 < max(delays) <= 0.22
    assert [at for _, at in times] == sorted(at for _, at in times)


def test_packets_are_overtaken_and_come_twice():
    plain = dict(sent(Condition("clean"), 1000))
    moved = [at[0] - plain[now][0] for now, at in sent(Condition("o", overtaken=0.1), 1000)]
    assert 70 < sum(move == pytest.approx(OVERTAKEN_SECONDS) for move in moved) < 130
    assert OVERTAKEN_SECONDS > FRAME, "else nothing is overtaken"
    twice = [len(at) for _, at in sent(Condition("d", duplicated=0.1), 1000)]
    assert set(twice) == {1, 2}
    assert 70 < twice.count(2) < 130


def test_a_slow_link_holds_half_a_second_and_drops_the_rest():
    times = sent(Condition("slow", rate=64_000), 500, size=372)  # 160 kbit/s, headers included
    delivered = [(now, at[0]) for now, at in times if at]
    assert len(delivered) / 500 == pytest.approx(64 / 160, abs=0.05)
    assert max(at - now for now, at in delivered) <= QUEUE_SECONDS + 0.05 + 0.02 + 1e-6


def test_what_fits_a_slow_link_is_hardly_late():
    times = sent(Condition("slow", rate=64_000), 500, size=100)
    assert all(at[0] - now == pytest.approx(0.02 + 128 * 8 / 64_000) for now, at in times)


def test_a_stall_holds_everything_and_loses_nothing():
    condition = Condition("stall", stall=3.0)
    times = [(now, at) for now, (at,) in sent(condition, 1500)]
    ends = FIRST_STALL + 3.0
    held = [at for now, at in times if FIRST_STALL <= now < ends]
    assert len(held) == 150
    assert all(ends <= at <= ends + 0.02 + 1e-3 for at in held)
    assert held == sorted(set(held)), "one after the other, in the order in which they were sent"
    late = [at - now for now, at in times if ends + 0.1 < now < FIRST_STALL + STALL_EVERY - 0.1]
    assert max(late) == pytest.approx(0.02)


def test_turns_know_the_stalls_in_them():
    condition = Condition("stall", stall=3.0)
    assert not condition.stalls(0.0, FIRST_STALL - 0.1)
    assert condition.stalls(FIRST_STALL - 1, FIRST_STALL + 0.1)
    assert condition.stalls(FIRST_STALL + 2.9, FIRST_STALL + 5)
    assert not condition.stalls(FIRST_STALL + 3.1, FIRST_STALL + STALL_EVERY - 0.1)
    assert condition.stalls(FIRST_STALL + 3.1, FIRST_STALL + STALL_EVERY + 0.1)
    assert not Condition("clean").stalls(0.0, 100.0)


def test_a_stream_loses_nothing_and_waits_for_what_was_lost():
    condition = Condition("loss", loss=0.05)
    times = sent(condition, 2000, link=StreamLink)
    ats = [at for _, at in times]
    assert ats == sorted(ats)
    delays = sorted(at - now for now, at in times)
    assert delays[0] == pytest.approx(0.02)
    assert delays[-1] >= 0.22
    assert delays[1000] == pytest.approx(0.02), "half of them are not held up"


def test_a_stream_sees_no_duplicates():
    assert sent(Condition("d", duplicated=0.5), 100, link=StreamLink) == sent(
        Condition("clean"), 100, link=StreamLink
    )


def test_conditions_are_chosen_by_name():
    assert conditions_of([]) == list(CONDITIONS)
    assert [each.name for each in conditions_of(["stall-3s", "clean"])] == ["clean", "stall-3s"]
    with pytest.raises(ConfigError, match="'fog' is unknown; choose from clean, loss-1"):
        conditions_of(["fog"])


def turn(heard, wait, expected="What is two plus two?", after=False):
    result = TurnResult(1, "q", heard, "Four.", wait, reply_seconds=6.0, expected=expected)
    return NetworkTurn(result, False, after)


def test_the_figures_of_a_call():
    call = NetworkCall(TransportName.WEBRTC, CONDITIONS[0], 4, glitches=3, left=1500)
    call.turns = [
        turn("What is 2 plus 2?", 400.0),
        turn("What is two plus new?", 600.0, after=True),
        turn("", None),
    ]
    row = call.row()
    assert row["words_right"] == 0.25, "the question that was not asked counts as well"
    assert (row["unanswered"], row["v2v_p50_ms"], row["v2v_p95_ms"]) == (2, 500, 590)
    assert row["v2v_after_stall_ms"] == 600
    assert row["glitches_a_minute"] == 10.0
    assert row["left_waiting_kb"] == 1.5


def asked(*texts):
    sound = np.concatenate([silence(0.1, WIRE_RATE), speech(0.6, WIRE_RATE)])
    return [SpokenQuestion(text, sound, text) for text in texts]


@pytest.mark.slow
@pytest.mark.parametrize("transport", [TransportName.WEBRTC, TransportName.REALTIME])
async def test_a_call_over_a_bad_network_goes_to_its_end(transport):
    condition = Condition("bad", loss=0.02, jitter=0.03, overtaken=0.05, duplicated=0.05)
    async with agent("how are you", "again", within=300) as (url, _):
        port = int(url.rpartition(":")[2])
        connection = CALLERS[transport](port, condition, 1)
        call = NetworkCall(transport, condition, 2)
        await converse(connection, asked("how are you", "again"), call, reply_timeout=120)
    assert call.error is None
    assert [turn.result.answered for turn in call.turns] == ["Fine.", "Again and again."]
    assert call.row()["words_right"] == 1.0
    assert all(turn.result.voice_to_voice_ms > 40 for turn in call.turns), "the way and back"
    assert 0 < call.most_waiting < WINDOW_BYTES + READ_BYTES


async def test_a_network_that_is_cut_ends_the_call_with_a_sentence():
    async with agent("how are you", within=300) as (url, _):
        caller = WebsocketCaller(int(url.rpartition(":")[2]), CONDITIONS[0], 1)
        call = NetworkCall(TransportName.REALTIME, CONDITIONS[0], 2)

        async def cut():
            while caller.relay.up.most < 1000:  # noqa: ASYNC110 - the first frame of sound
                await asyncio.sleep(0.01)
            caller.relay.cut()

        await asyncio.gather(converse(caller, asked("how are you", "again"), call), cut())
    assert "lost" in call.error
    assert call.row()["words_right"] == 0.0


async def test_a_stream_that_is_too_fast_for_its_link_waits_at_its_sender():
    gone = asyncio.Event()

    async def read(reader, writer):
        while await reader.read(65_536):
            pass
        writer.close()
        gone.set()

    server = await asyncio.start_server(read, "127.0.0.1", 0)
    relay = TcpRelay(server.sockets[0].getsockname()[1], Condition("slow", rate=64_000), 1)
    await relay.open()
    _, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WINDOW_BYTES)
    writer.write(bytes(2_000_000))
    async with asyncio.timeout(60):
        while relay.up.bytes < WINDOW_BYTES:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for _ in range(20):
        await asyncio.sleep(0)
    assert relay.up.most < WINDOW_BYTES + READ_BYTES
    assert writer.transport.get_write_buffer_size() > 0
    writer.transport.abort()
    await relay.close()
    async with asyncio.timeout(60):
        await gone.wait()
    server.close()
