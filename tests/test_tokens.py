"""Tokens open one socket of one call, once, for a minute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.telephony.access import spent
from agent.telephony.access.tokens import LIFETIME, TokenError, Tokens


def test_a_token_is_spent_once() -> None:
    desk = Tokens()
    token = desk.issue("CA1", 100.0)
    desk.spend(token, "CA1", 100.0 + LIFETIME - 0.01)
    with pytest.raises(TokenError, match="used before"):
        desk.spend(token, "CA1", 100.0 + LIFETIME - 0.01)


def test_a_token_fits_plivos_headers_and_urls() -> None:
    token = Tokens().issue("CA1", 1e9)
    assert token.isalnum()
    assert token.isascii()
    assert len(token) <= 128


def test_a_token_expires() -> None:
    desk = Tokens()
    with pytest.raises(TokenError, match="expired"):
        desk.spend(desk.issue("CA1", 0.0), "CA1", LIFETIME)


@pytest.mark.parametrize("other", ["CA2", "", None, "CA1 ", "ca1"])
def test_a_token_opens_no_other_call(other: str | None) -> None:
    desk = Tokens()
    token = desk.issue("CA1", 0.0)
    with pytest.raises(TokenError, match="not for this call"):
        desk.spend(token, other, 1.0)
    desk.spend(token, "CA1", 1.0)  # the attempt did not use it up


def test_a_token_of_another_server_opens_nothing() -> None:
    with pytest.raises(TokenError, match="not of this server"):
        Tokens().spend(Tokens().issue("CA1", 0.0), "CA1", 1.0)
    shared = b"k" * 32
    Tokens(shared).spend(Tokens(shared).issue("CA1", 0.0), "CA1", 1.0)


def test_a_stream_without_an_id_takes_tokens_without_an_id() -> None:
    desk = Tokens()
    desk.spend(desk.issue("", 0.0), None, 1.0)


@given(st.data())
def test_any_changed_digit_is_noticed(data: st.DataObject) -> None:
    desk = Tokens()
    token = desk.issue("CA1", 5.0)
    at = data.draw(st.integers(0, len(token) - 1))
    digit = data.draw(st.sampled_from([d for d in "0123456789abcdef" if d != token[at]]))
    with pytest.raises(TokenError):
        desk.spend(token[:at] + digit + token[at + 1 :], "CA1", 5.0)


@given(st.text(max_size=200))
def test_junk_is_refused_and_never_repeated(junk: str) -> None:
    with pytest.raises(TokenError) as refused:
        Tokens().spend(junk, "CA1", 0.0)
    assert len(junk) < 8 or junk not in str(refused.value)


def test_memory_is_bounded_and_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spent, "MAX_SPENT", 3)
    desk = Tokens()
    for _ in range(3):
        desk.spend(desk.issue("CA1", 0.0), "CA1", 1.0)
    with pytest.raises(TokenError, match="too many"):
        desk.spend(desk.issue("CA1", 1.0), "CA1", 1.0)
    desk.spend(desk.issue("CA1", LIFETIME), "CA1", LIFETIME)
    assert len(desk._spent) == 1


def test_a_longer_life_is_not_to_be_had() -> None:
    with pytest.raises(ValueError, match="up to 60 s"):
        Tokens(lifetime=61.0)


def test_a_token_of_one_provider_opens_no_door_of_another():
    desk = Tokens()
    token = desk.issue("CA1", 0.0, "twilio")
    for other in ("telnyx", "", "twili", "twilioC"):
        with pytest.raises(TokenError, match="provider"):
            desk.spend(token, "CA1", 1.0, other)
    desk.spend(token, "CA1", 1.0, "twilio")
    with pytest.raises(TokenError):  # the name and the id do not run into each other
        desk.spend(desk.issue("A1", 0.0, "twilioC"), "CA1", 1.0, "twilio")
