"""The pacer by a clock that the test turns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.telephony.media.pacer import HOLD_SECONDS, MARK_PATIENCE, Mark, Pacer

RATE = 8000
FRAME = 160


def pacer(lead=0.3, marks=True, frame=FRAME):
    return Pacer(RATE, frame, lead, marks)


def sound(seconds):
    return np.arange(int(seconds * RATE), dtype=np.float32)


def drain(line, now):
    """Frames and marks that are due."""
    pieces = []
    while (piece := line.next(now)) is not None:
        pieces.append(piece)
    return pieces


def play(line, until, now=0.0, reached=lambda name, at: None):
    """Let time pass, from one due time to the next; (time, piece) pairs."""
    pieces = []
    while now <= until:
        pieces += [(now, piece) for piece in drain(line, now)]
        if line.starving(now):
            line.finish()
            continue
        due = line.next_due(now)
        if due is None:
            break
        now = max(due, now + 1e-4)
    return pieces


def frames(pieces):
    return [(at, piece) for at, piece in pieces if isinstance(piece, np.ndarray)]


def marks(pieces):
    return [(at, piece.name) for at, piece in pieces if isinstance(piece, Mark)]


def test_the_lead_goes_at_once_and_the_rest_at_the_speed_of_the_ear():
    line = pacer()
    line.queue(sound(2.0))
    times = [at for at, _ in frames(play(line, 5.0))]
    assert times[:15] == [0.0] * 15  # 0.3 s
    assert times[15] == pytest.approx(0.02, abs=0.001)
    gaps = np.diff(times[15:])
    assert gaps.max() == pytest.approx(0.02, abs=0.001)
    assert len(times) == 100


def test_nothing_is_lost_or_reordered_whatever_the_pieces():
    line = pacer()
    whole = sound(1.0)
    for start in range(0, len(whole), 333):
        line.queue(whole[start : start + 333])
    sent = np.concatenate([piece for _, piece in frames(play(line, 5.0))])
    np.testing.assert_array_equal(sent, whole)


def test_the_last_frame_waits_for_more_and_is_filled_when_none_comes():
    line = pacer()
    line.queue(sound(0.05))
    assert len(drain(line, 0.0)) == 2
    assert not line.starving(0.01)
    assert line.next_due(0.01) == pytest.approx(0.02)
    assert line.starving(0.02)
    line.finish()
    (tail, mark) = drain(line, 0.02)
    assert tail[80:].max() == 0.0
    np.testing.assert_array_equal(tail[:80], sound(0.05)[320:])
    assert isinstance(mark, Mark)
    assert line.next_due(0.02) is None


def test_a_late_wake_up_sends_what_was_missed_at_once():
    line = pacer()
    line.queue(sound(2.0))
    drain(line, 0.0)
    late = [piece for piece in drain(line, 0.2) if isinstance(piece, np.ndarray)]
    assert len(late) == 10


def test_after_a_gap_the_clock_starts_anew():
    line = pacer(marks=False)
    line.queue(sound(0.1))
    drain(line, 0.0)
    line.queue(sound(1.0))
    assert len(drain(line, 5.0)) == 15
    assert line.played(5.1) == pytest.approx(0.2 * RATE)


def test_a_mark_every_200_ms_and_at_the_end():
    line = pacer()
    line.queue(sound(1.0))
    assert [name for _, name in marks(play(line, 5.0))] == ["0.1", "0.2", "0.3", "0.4", "0.5"]


def test_marks_say_what_was_heard_while_the_clock_would_say_more():
    line = pacer()
    line.queue(sound(2.0))
    play(line, 0.8)
    line.reached("0.1", 0.5)  # position 0.2 s, 0.3 s late
    assert line.played(0.6) == pytest.approx(0.3 * RATE)
    # The next mark did not come back, so its place was not passed.
    assert line.played(0.8) == pytest.approx(0.4 * RATE)


def test_a_mark_that_never_comes_is_not_waited_for():
    line = pacer()
    line.queue(sound(5.0))
    last_patient = 0.2 + MARK_PATIENCE - 0.1
    play(line, last_patient)
    assert line.played(last_patient) == pytest.approx(0.2 * RATE)
    play(line, 4.0, now=last_patient)
    assert line.played(4.0) == pytest.approx(4.0 * RATE)


def test_marks_of_a_cleared_generation_say_nothing():
    line = pacer()
    line.queue(sound(1.0))
    ((_, first), *_) = marks(play(line, 0.3))
    line.clear()
    assert drain(line, 0.3) == []
    assert line.played(0.3) == 0
    line.queue(sound(1.0))
    drain(line, 0.4)
    line.reached(first, 0.4)
    assert line.played(0.4) == 0
    assert line.generation == 1


def test_an_earlier_mark_that_was_lost_is_passed_by_a_later_one():
    line = pacer()
    line.queue(sound(1.0))
    play(line, 0.6)
    line.reached("0.2", 0.45)
    line.reached("0.1", 0.5)  # out of order: says nothing new
    assert line.played(0.5) == pytest.approx(0.45 * RATE)


def test_outstanding():
    line = pacer()
    assert not line.outstanding(0.0)
    line.queue(sound(0.04))
    assert line.outstanding(0.0)
    play(line, 0.1)
    assert not line.outstanding(0.1)


def test_a_peer_that_holds_is_believed_for_a_while():
    line = pacer()
    line.queue(sound(1.0))
    line.hold(0.0)
    assert drain(line, 0.0) == []
    assert line.next_due(0.0) == HOLD_SECONDS
    line.resume()
    assert len(drain(line, 0.0)) > 0
    line.hold(1.0)
    assert len(drain(line, 1.0 + HOLD_SECONDS)) > 0


def test_a_frame_longer_than_the_lead_still_goes():
    line = pacer(lead=0.06, frame=1600)
    line.queue(sound(0.4))
    assert [at for at, _ in frames(play(line, 2.0))] == pytest.approx([0.0, 0.18], abs=0.001)


def test_marks_of_a_silent_peer_do_not_pile_up():
    line = pacer()
    for second in range(60):
        line.queue(sound(1.0))
        play(line, second + 0.999, now=float(second))
    assert len(line._asked) < 10


@pytest.mark.slow
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("queue"), st.integers(0, 2000)),
            st.tuples(st.just("wait"), st.integers(0, 500)),
            st.tuples(st.just("mark"), st.integers(0, 20)),
            st.tuples(st.just("clear"), st.just(0)),
            st.tuples(st.just("finish"), st.just(0)),
        ),
        max_size=40,
    )
)
def test_heard_never_exceeds_sent_and_the_lead_is_kept(steps):
    line, now, sent = pacer(), 0.0, 0
    for step, size in steps:
        if step == "queue":
            line.queue(np.zeros(size, np.float32))
        elif step == "wait":
            now += size / 1000
        elif step == "mark":
            line.reached(f"{line.generation}.{size}", now)
        elif step == "clear":
            line.clear()
            sent = 0
        else:
            line.finish()
        sent += sum(len(p) for p in drain(line, now) if isinstance(p, np.ndarray))
        assert 0 <= line.played(now) <= sent <= line.queued
        assert line.ahead(now) <= 0.3 + 1e-6
