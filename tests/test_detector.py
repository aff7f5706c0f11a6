import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.settings import TurnSettings
from agent.turn_taking.detector import TRANSITIONS, FrameKind, TurnDetector, TurnEvent, TurnState

FRAME = 0.032
SETTINGS = TurnSettings(endpoint_delay=0.5, min_speech=0.1, threshold=0.5, release=0.35)


def run(detector: TurnDetector, *pieces: tuple[float, float], start: float = 0.0):
    """Feed (seconds, probability) pieces; returns (time, event) pairs."""
    events, position = [], start
    for seconds, probability in pieces:
        for _ in range(round(seconds / FRAME)):
            event = detector.frame(probability, position, position + FRAME)
            position += FRAME
            if event:
                events.append((position, event))
    return events


def test_a_turn_begins_pauses_and_ends():
    detector = TurnDetector(SETTINGS)
    events = run(detector, (0.32, 0.0), (0.96, 0.9), (0.5, 0.0))
    assert [event for _, event in events] == [TurnEvent.BEGAN, TurnEvent.PAUSED, TurnEvent.ENDED]
    began, _, ended = [when for when, _ in events]
    assert detector.began == pytest.approx(0.32)
    assert began - 0.32 == pytest.approx(0.128)  # the first whole frame past min_speech
    assert detector.speech_end == pytest.approx(1.28)
    assert 0.5 <= ended - 1.28 < 0.5 + FRAME


def test_a_short_pause_does_not_end_the_turn():
    events = run(TurnDetector(SETTINGS), (0.5, 0.9), (0.4, 0.0), (0.5, 0.9), (0.6, 0.0))
    assert [event for _, event in events] == [
        TurnEvent.BEGAN,
        TurnEvent.PAUSED,
        TurnEvent.RESUMED,
        TurnEvent.PAUSED,
        TurnEvent.ENDED,
    ]


def test_a_click_is_no_turn():
    detector = TurnDetector(SETTINGS)
    assert run(detector, (0.064, 1.0), (0.5, 0.0)) == []
    assert detector.state is TurnState.QUIET


def test_between_release_and_threshold_speech_goes_on_and_a_pause_goes_on():
    detector = TurnDetector(SETTINGS)
    run(detector, (0.5, 0.9), (1.0, 0.4))
    assert detector.state is TurnState.SPEAKING
    assert run(detector, (0.1, 0.1), (0.6, 0.4), start=1.5)[-1][1] is TurnEvent.ENDED


def test_endless_speech_is_ended():
    detector = TurnDetector(TurnSettings(max_turn=2.0))
    events = run(detector, (3.0, 0.9))
    assert events[1][1] is TurnEvent.ENDED
    assert events[1][0] == pytest.approx(2.0, abs=FRAME)


def test_the_table_ends_only_open_turns_and_begins_only_closed_ones():
    for (state, _), (_, event) in TRANSITIONS.items():
        open_before = state not in (TurnState.QUIET, TurnState.ONSET)
        if event is TurnEvent.BEGAN:
            assert not open_before
        elif event is not None:
            assert open_before
    assert all(isinstance(kind, FrameKind) for _, kind in TRANSITIONS)


@given(st.lists(st.floats(0, 1), max_size=300))
def test_events_alternate_whatever_is_heard(probabilities):
    detector = TurnDetector(SETTINGS)
    inside = paused = False
    for number, probability in enumerate(probabilities):
        match detector.frame(probability, number * FRAME, (number + 1) * FRAME):
            case TurnEvent.BEGAN:
                assert not inside
                inside = True
            case TurnEvent.PAUSED:
                assert inside
                assert not paused
                paused = True
            case TurnEvent.RESUMED:
                assert paused
                paused = False
            case TurnEvent.ENDED:
                assert inside
                inside = paused = False
        assert detector.open == inside
