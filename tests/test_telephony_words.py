"""The small pure parts of a telephony call: keys, gaps, the template of its metadata."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.sources import load_settings
from agent.config.telephony_template import check_template, fill_in
from agent.errors import ConfigError
from agent.telephony.media.dtmf import MAX_KEYS, PATIENCE, DtmfCollector
from agent.telephony.media.gap_filler import MAX_FILL, GapFiller


def test_one_key_is_a_message_after_a_pause():
    keys = DtmfCollector()
    assert keys.press("1", 10.0) is None
    assert keys.due(10.0 + PATIENCE - 0.1) is None
    assert keys.due(10.0 + PATIENCE) == "pressed 1"
    assert keys.complete_at is None


def test_several_keys_are_one_message_and_hash_ends_it():
    keys = DtmfCollector()
    assert keys.press("#", 0.0) is None
    for at, digit in enumerate("12*4"):
        assert keys.press(digit, float(at)) is None
    assert keys.due(4.9) is None  # two seconds after the last, not the first
    assert keys.press("#", 4.95) == "pressed 1 2 * 4"


@pytest.mark.slow
@given(st.lists(st.text(max_size=2), max_size=200))
def test_keys_are_bounded_and_only_keys_count(digits):
    keys = DtmfCollector()
    for digit in digits:
        message = keys.press(digit, 0.0)
        assert message is None or set(message.removeprefix("pressed ")) <= set("0123456789*ABCD ")
        assert len(keys._pressed) < MAX_KEYS


def test_lost_sound_is_counted():
    line = GapFiller(8000)
    assert line.lost(0.0, 160) == 0
    assert line.lost(0.06, 160) == 320  # 40 ms
    assert line.lost(0.08, 160) == 0
    assert line.lost(0.05, 160) == 0  # late
    assert line.lost(None, 160) == 0
    assert line.lost(9.0, 160) == MAX_FILL * 8000
    assert line.lost(0.0, 160) == 0  # a new count
    assert line.lost(0.04, 160) == 160


@given(st.lists(st.floats(-0.007, 0.007), min_size=2, max_size=200))
def test_timestamps_that_tremble_do_not_lengthen_the_call(jitter):
    line = GapFiller(8000)
    assert sum(line.lost(1.0 + 0.02 * i + off, 160) for i, off in enumerate(jitter)) == 0


FIELDS = {"caller": "+1 555\n0100", "called": "", "provider": "twilio", "call_id": "CA1"}


def test_a_template_is_filled_in_with_one_short_line_each():
    text = fill_in("From {caller} by {provider}; {parameter.plan}.", FIELDS, {"plan": "gold" * 99})
    assert text.startswith("From +1 555 0100 by twilio; goldgold")
    assert len(text) < 150
    assert fill_in("{parameter.missing}", FIELDS, {}) == ""
    assert fill_in("{caller}", FIELDS | {"caller": "{called}"}, {}) == "{called}"  # once


@pytest.mark.parametrize("template", ["{token}", "{caller.name}", "{", "}{", "{}", "{parameter.}"])
def test_a_template_that_cannot_be_filled_in_is_refused_at_start(template):
    with pytest.raises(ValueError, match="field"):
        check_template(template)
    with pytest.raises(ConfigError, match="instructions_template"):
        load_settings({"telephony": {"instructions_template": template}})


def test_audiosocket_wants_its_secret():
    with pytest.raises(ConfigError, match="audiosocket_uuid"):
        load_settings({"telephony": {"audiosocket_port": 9092}})


def test_recordings_go_to_a_directory_that_is_there(tmp_path):
    with pytest.raises(ConfigError, match="directory that is there"):
        load_settings({"telephony": {"record": tmp_path / "missing"}})
