import numpy as np
import pytest
from support.fakes import speech

from agent.errors import AudioError
from agent.transports.opus import CONCEALED, FRAME, RATE, OpusDecoder, OpusEncoder, packet_duration


def packets(seconds=1.0, bitrate=56_000):
    encoder = OpusEncoder(bitrate)
    sound = speech(seconds, RATE)
    return [encoder.encode(sound[i : i + FRAME]) for i in range(0, len(sound), FRAME)]


def level(samples):
    return float(np.sqrt(np.mean(samples**2)))


def test_sound_comes_through_whole_and_as_loud():
    decoder = OpusDecoder()
    pieces = [decoder.decode(packet) for packet in packets()]
    assert {len(piece) for piece in pieces} == {FRAME}
    assert level(np.concatenate(pieces[2:])) == pytest.approx(level(speech(1.0, RATE)), rel=0.05)


@pytest.mark.parametrize("bitrate", [16_000, 56_000, 128_000])
def test_the_bit_rate_is_kept(bitrate):
    sent = sum(map(len, packets(4.0, bitrate))) * 8 / 4.0
    assert sent < 1.25 * bitrate


@pytest.mark.parametrize(
    ("first_bytes", "duration"),
    [
        (b"\x08", 960),  # SILK, 20 ms
        (b"\x18", 2880),  # SILK, 60 ms
        (b"\x19\x00", 5760),  # two frames of 60 ms
        (b"\x60", 480),  # hybrid, 10 ms
        (b"\xe0", 120),  # CELT, 2.5 ms
        (b"\xfb\x03", 2880),  # CELT, three frames of 20 ms
    ],
)
def test_durations_are_read_from_the_first_bytes(first_bytes, duration):
    assert packet_duration(first_bytes) == duration


@pytest.mark.parametrize("bad", [b"", b"\xfb", b"\xfb\x00", b"\x1b\x3f"])
def test_no_opus_packet(bad):
    with pytest.raises(AudioError):
        packet_duration(bad)


def test_a_gap_is_concealed_and_long_ones_fall_silent():
    decoder = OpusDecoder()
    for packet in packets():
        decoder.decode(packet)
    gap = decoder.conceal(RATE // 2)
    assert len(gap) == RATE // 2
    assert level(gap[:FRAME]) > 0.1
    assert not gap[CONCEALED:].any()
    # It was concealed long enough already.
    assert not decoder.conceal(FRAME).any()
    assert len(decoder.decode(packets()[5])) == FRAME


def test_a_gap_before_any_sound_is_silence():
    assert not OpusDecoder().conceal(1000).any()


def test_a_gap_of_odd_length_has_that_length():
    decoder = OpusDecoder()
    decoder.decode(packets(0.02)[0])
    assert len(decoder.conceal(FRAME + 7)) == FRAME + 7


def test_a_damaged_packet_is_an_error_and_the_next_one_is_heard():
    decoder = OpusDecoder()
    good = packets(0.1)
    with pytest.raises(AudioError):
        decoder.decode(b"\xff\xff\xff\xff")
    assert len(decoder.decode(good[0])) == FRAME
