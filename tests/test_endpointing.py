"""How long a pause may be: by the server's settings, the client's wishes and the words."""

from __future__ import annotations

import pytest

from agent.config.settings import TurnSettings
from agent.session.endpointing import EAGERNESS, EndpointDelays, Endpointing
from agent.session.events import Configure
from agent.turn_taking.completeness import TurnVerdict

OWN = TurnSettings(complete_delay=0.25, endpoint_delay=0.7, incomplete_delay=2.0)
WORDS = {"complete": "Yes.", "unsure": "I live in Rome.", "incomplete": "a table for"}


def endpointing(language: str = "en", **changes: object) -> Endpointing:
    return Endpointing(OWN.model_copy(update=changes), language)


def delays(judge: Endpointing) -> EndpointDelays:
    """What becomes of pauses, found out by asking."""
    return EndpointDelays(
        **{name: judge.delay_after(words, 1.0, 0.0) for name, words in WORDS.items()}
    )


def test_without_a_wish_the_delays_are_those_of_the_settings() -> None:
    judge = endpointing()
    assert delays(judge) == EndpointDelays.of(OWN) == EndpointDelays(0.25, 0.7, 2.0)
    assert (judge.default_delay, judge.delay_for_words) == (0.7, 2.0)


def test_delays_go_by_the_verdict() -> None:
    assert [EndpointDelays(0.2, 0.5, 1.5).after(verdict) for verdict in sorted(TurnVerdict)] == [
        1.5,
        0.5,
        0.2,
    ]


@pytest.mark.parametrize("eagerness", ["low", "high"])
def test_low_and_high_have_delays_of_their_own(eagerness: str) -> None:
    judge = endpointing()
    judge.configure(Configure(semantic=True, eagerness=eagerness))  # type: ignore[arg-type]
    assert delays(judge) == EAGERNESS[eagerness] != EndpointDelays.of(OWN)
    assert judge.default_delay == EAGERNESS[eagerness].unsure


@pytest.mark.parametrize("eagerness", ["auto", "medium"])
@pytest.mark.parametrize(
    "before",
    [
        Configure(),
        Configure(semantic=True, eagerness="low"),
        Configure(semantic=True, eagerness="high"),
        Configure(semantic=False, endpoint_delay=0.2),
    ],
)
def test_auto_and_medium_are_what_the_server_is_configured_to(
    before: Configure, eagerness: str
) -> None:
    judge = endpointing()
    judge.configure(before)
    judge.configure(Configure(semantic=True, eagerness=eagerness))  # type: ignore[arg-type]
    assert delays(judge) == EndpointDelays.of(OWN)
    assert judge.default_delay == OWN.endpoint_delay


def test_what_a_client_leaves_out_stays() -> None:
    judge = endpointing()
    judge.configure(Configure(semantic=True, eagerness="low"))
    judge.configure(Configure(semantic=True, instructions="Be brief."))
    assert delays(judge) == EAGERNESS["low"]


def test_eagerness_says_nothing_about_a_pause_without_words() -> None:
    judge = endpointing(detection="server_vad")
    judge.configure(Configure(semantic=True, eagerness="low"))
    judge.configure(Configure(semantic=False))
    assert judge.default_delay == judge.delay_after("Yes.", 1.0, 0.9) == OWN.endpoint_delay
    judge.configure(Configure(semantic=False, endpoint_delay=0.4))
    assert judge.default_delay == judge.delay_after("a table for", 1.0, 0.0) == 0.4


def test_melody_decides_only_where_the_words_leave_it_open() -> None:
    judge = endpointing()
    heard = {name: judge.delay_after(words, 1.0, 0.5) for name, words in WORDS.items()}
    assert heard == {"complete": 0.25, "unsure": 0.25, "incomplete": 2.0}


def test_another_language_leaves_it_open_whatever_the_words_look_like() -> None:
    judge = endpointing("de")
    assert delays(judge) == EndpointDelays(0.7, 0.7, 0.7)
    assert judge.delay_after("Ich hätte gern einen Tisch für", 1.0, 0.9) == 0.25
    assert not judge.expects_more("a table for")
    assert endpointing().expects_more("a table for")
