"""G.711 against the values of the standard, and its path through a telephone line."""

import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.audio.g711 import (
    ALAW,
    MULAW,
    decode_alaw,
    decode_mulaw,
    encode_alaw,
    encode_mulaw,
)
from agent.telephony.dialects.base import DialectError
from agent.telephony.dialects.encodings import Encoding, check_rate, encoding_named

EVERY = np.arange(-32768, 32768, dtype=np.int32)

# ITU-T G.711 (11/88), decoder output values: table 2a (mu-law, 14 bits) and 1a (A-law, 13 bits).
# Of each segment the first and the last value of the standard, in its own scale.
MULAW_SEGMENTS = [(0, 30), (33, 93), (99, 219), (231, 471), (495, 975), (1023, 1983)]
MULAW_SEGMENTS += [(2079, 3999), (4191, 8031)]
ALAW_SEGMENTS = [(1, 31), (33, 63), (66, 126), (132, 252), (264, 504), (528, 1008)]
ALAW_SEGMENTS += [(1056, 2016), (2112, 4032)]


def test_the_mulaw_values_of_the_standard():
    """Codes count down from 0xFF = +0; bit 8 is the sign."""
    for segment, (first, last) in enumerate(MULAW_SEGMENTS):
        codes = 0xFF - 16 * segment - np.arange(16)
        expected = 4 * np.linspace(first, last, 16)
        np.testing.assert_array_equal(MULAW[codes], expected)
        np.testing.assert_array_equal(MULAW[codes & 0x7F], -expected)


def test_the_alaw_values_of_the_standard():
    """Even bits are inverted on the line."""
    for segment, (first, last) in enumerate(ALAW_SEGMENTS):
        codes = (0x80 + 16 * segment + np.arange(16)) ^ 0x55
        expected = 8 * np.linspace(first, last, 16)
        np.testing.assert_array_equal(ALAW[codes], expected)
        np.testing.assert_array_equal(ALAW[codes & 0x7F], -expected)


@pytest.mark.parametrize(
    ("values", "encode", "decode"),
    [(MULAW, encode_mulaw, decode_mulaw), (ALAW, encode_alaw, decode_alaw)],
)
def test_every_value_comes_back_and_the_nearest_one_is_chosen(values, encode, decode):
    codes = bytes(code for code in range(256) if values[code] or code != 0x7F)
    assert encode(decode(codes)) == codes
    coded = np.frombuffer(encode((EVERY / 32768).astype(np.float32)), np.uint8)
    error = np.abs(values[coded].astype(np.int32) - EVERY)
    nearest = np.abs(np.unique(values.astype(np.int32))[:, None] - EVERY[None, ::97]).min(axis=0)
    np.testing.assert_array_equal(error[::97], nearest)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="audioop left the library")
def test_audioop_agrees_within_one_step():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import audioop
    pcm = EVERY.astype("<i2").tobytes()
    ours = np.frombuffer(encode_mulaw((EVERY / 32768).astype(np.float32)), np.uint8)
    theirs = np.frombuffer(audioop.lin2ulaw(pcm, 2), np.uint8)
    assert np.abs((ours & 0x7F).astype(int) - (theirs & 0x7F)).max() <= 1
    every_code = bytes(range(256))
    for values, expand in ((MULAW, audioop.ulaw2lin), (ALAW, audioop.alaw2lin)):
        np.testing.assert_array_equal(values, np.frombuffer(expand(every_code, 2), "<i2"))


def test_louder_than_full_scale_is_clipped():
    loud = np.array([5.0, -5.0], np.float32)
    assert encode_mulaw(loud) == b"\x80\x00"
    assert encode_alaw(loud) == b"\xaa\x2a"


@given(st.sampled_from(Encoding), st.binary(max_size=400))
def test_bytes_survive_unless_they_are_half_a_sample(encoding, data):
    if len(data) % encoding.sample_bytes:
        with pytest.raises(DialectError, match="whole number"):
            encoding.decode(data)
    else:
        again = encoding.decode(encoding.encode(encoding.decode(data)))
        np.testing.assert_array_equal(again, encoding.decode(data))


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("audio/x-mulaw", Encoding.MULAW),
        ("PCMU", Encoding.MULAW),
        ("PCMA", Encoding.ALAW),
        ("alaw", Encoding.ALAW),
        ("slin16", Encoding.L16),
        ("L16@24000h", Encoding.L16),
        ("audio/x-l16;rate=16000", Encoding.L16),
    ],
)
def test_names_of_encodings(name, encoding):
    assert encoding_named(name) is encoding


def test_what_is_not_spoken_is_said():
    with pytest.raises(DialectError, match="'opus' is not spoken here"):
        encoding_named("opus")
    with pytest.raises(DialectError, match="11025 Hz"):
        check_rate(11_025)
