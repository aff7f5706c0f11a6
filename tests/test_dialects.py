"""Every dialect against messages as the providers document them, and against garbage."""

import base64
import json
import struct
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.audio.g711 import encode_mulaw
from agent.audio.samples import to_pcm16
from agent.telephony.dialects.asterisk import MAX_CONTROL, AsteriskStream
from agent.telephony.dialects.audiosocket import RATES, AudioSocketStream, FrameReader
from agent.telephony.dialects.base import (
    AudioReceived,
    Complaint,
    DialectError,
    Dtmf,
    Held,
    MarkReached,
    Resumed,
    Started,
    Stopped,
)
from agent.telephony.dialects.json_fields import MAX_MESSAGE
from agent.telephony.dialects.registry import DIALECTS, provider_of

TONE = (0.5 * np.sin(np.arange(160) / 5)).astype(np.float32)
MULAW = base64.b64encode(encode_mulaw(TONE)).decode()
LINEAR = base64.b64encode(to_pcm16(TONE)).decode()
CALL = uuid.UUID("40325ec2-5efd-4bd3-805f-53576e581d13")

TWILIO_START = (
    '{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC1","streamSid":"MZ1",'
    '"callSid":"CA1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw",'
    '"sampleRate":8000,"channels":1},"customParameters":{"token":"abc","plan":"gold"}},'
    '"streamSid":"MZ1"}'
)
EXOTEL_START = (
    '{"event":"start","sequence_number":"1","stream_sid":"EX1","start":{"stream_sid":"EX1",'
    '"call_sid":"CA1","account_sid":"AC1","from":"+919876543210","to":"+918047491899",'
    '"custom_parameters":{"token":"abc"},"media_format":{"encoding":"audio/x-raw",'
    '"sample_rate":"16000","bit_rate":"16"}}}'
)
TELNYX_START = (
    '{"event":"start","sequence_number":"1","stream_id":"32DE","start":{"user_id":"u",'
    '"call_control_id":"v2:1","call_session_id":"s","from":"+15550100","to":"+15550101",'
    '"tags":[],"client_state":"","custom_parameters":{"token":"abc"},'
    '"media_format":{"encoding":"PCMU","sample_rate":8000,"channels":1}}}'
)
PLIVO_START = (
    '{"event":"start","sequenceNumber":1,"start":{"callId":"c1","streamId":"s1",'
    '"accountId":"MA1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw",'
    '"sampleRate":8000}},"extra_headers":"token=abc;plan=gold"}'
)
VONAGE_START = (
    '{"event":"websocket:connected","content-type":"audio/l16;rate=16000",'
    '"uuid":"c1","token":"abc","plan":"gold"}'
)
JAMBONZ_START = (
    '{"callSid":"c1","from":"+15550100","to":"+15550101","direction":"inbound",'
    '"sampleRate":16000,"mixType":"mono","metadata":{"token":"abc"}}'
)
ASTERISK_START = (
    '{"event":"MEDIA_START","connection_id":"agent","channel":"WebSocket/agent/0x1",'
    '"channel_id":"1795474091.1","format":"slin16","optimal_frame_size":640,"ptime":20,'
    '"channel_variables":{"LANGUAGE":"en"}}'
)
ASTERISK_TEXT = (
    "MEDIA_START connection_id:agent channel:WebSocket/agent/0x1 channel_id:1795474515.25 "
    "format:ulaw optimal_frame_size:160 ptime:20"
)
STARTS = {
    "twilio": TWILIO_START,
    "signalwire": TWILIO_START,
    "exotel": EXOTEL_START,
    "telnyx": TELNYX_START,
    "plivo": PLIVO_START,
    "vonage": VONAGE_START,
    "jambonz": JAMBONZ_START,
    "asterisk": ASTERISK_START,
}


def started(name, start=None):
    dialect = DIALECTS[name]()
    (event,) = dialect.read(start or STARTS[name])
    assert isinstance(event, Started)
    return dialect, event


def only(events, kind):
    (event,) = events
    assert isinstance(event, kind)
    return event


def sent(messages):
    (message,) = messages
    return json.loads(message)


def media(name, **fields):
    return json.dumps({"event": "media", **fields})


@pytest.mark.parametrize(
    ("name", "call_id", "rate"),
    [
        ("twilio", "CA1", 8000),
        ("exotel", "CA1", 16_000),
        ("telnyx", "v2:1", 8000),
        ("plivo", "c1", 8000),
        ("vonage", "c1", 16_000),
        ("jambonz", "c1", 16_000),
        ("asterisk", "1795474091.1", 16_000),
    ],
)
def test_the_start_names_call_rate_and_token(name, call_id, rate):
    _, event = started(name)
    assert (event.call_id, event.rate) == (call_id, rate)
    assert event.token == (None if name == "asterisk" else "abc")
    assert "token" not in event.parameters
    assert "abc" not in repr(event)


def test_metadata_is_read_where_the_provider_has_it():
    assert started("twilio")[1].parameters == {"plan": "gold"}
    assert started("plivo")[1].parameters == {"plan": "gold"}
    assert started("vonage")[1].parameters == {"plan": "gold"}
    assert started("asterisk")[1].parameters == {"LANGUAGE": "en"}
    for name in ("telnyx", "exotel", "jambonz"):
        assert started(name)[1].caller.startswith("+")


TWILIO_MEDIA = {"track": "inbound", "chunk": "1", "timestamp": "40", "payload": MULAW}
SOUNDS = {
    "twilio": media("media", sequenceNumber="2", media=TWILIO_MEDIA, streamSid="MZ1"),
    "exotel": media("media", media={"chunk": "1", "timestamp": "40", "payload": LINEAR}),
    "telnyx": media("media", stream_id="32DE", media=TWILIO_MEDIA | {"chunk": "2"}),
    "plivo": media(
        "media",
        streamId="s1",
        media={"track": "inbound", "timestamp": "40", "chunk": 1, "payload": MULAW},
    ),
    "vonage": to_pcm16(TONE),
    "jambonz": to_pcm16(TONE),
    "asterisk": to_pcm16(TONE),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_sound_of_the_caller(name):
    dialect, _ = started(name)
    heard = only(dialect.read(SOUNDS[name]), AudioReceived)
    np.testing.assert_allclose(heard.samples, TONE, atol=0.02)
    assert heard.at == (0.04 if name in ("twilio", "exotel") else None)


def test_our_own_sound_is_not_the_callers():
    dialect, _ = started("twilio")
    assert dialect.read(media("media", media=TWILIO_MEDIA | {"track": "outbound"})) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("twilio", '{"event":"dtmf","dtmf":{"track":"inbound_track","digit":"5"}}'),
        ("exotel", '{"event":"dtmf","dtmf":{"digit":"5","duration":"100"}}'),
        ("telnyx", '{"event":"dtmf","stream_id":"32DE","dtmf":{"digit":"5"}}'),
        ("plivo", '{"event":"dtmf","streamId":"s1","dtmf":{"track":"inbound","digit":"5"}}'),
        ("vonage", '{"event":"websocket:dtmf","digit":"5","duration":260}'),
        ("vonage", '{"event":"websocket:dtmf","dtmf":{"digit":"5"}}'),
        ("jambonz", '{"event":"dtmf","dtmf":"5","duration":1600}'),
        ("asterisk", '{"event":"DTMF_END","channel_id":"1","digit":"5"}'),
        ("asterisk", "DTMF_END digit:5 channel_id:1"),
    ],
)
def test_a_key_is_read_and_not_shown(name, message):
    dialect, _ = started(name)
    pressed = only(dialect.read(message), Dtmf)
    assert pressed.digit == "5"
    assert "5" not in repr(pressed)


MARKS = {
    "twilio": (
        {"event": "mark", "streamSid": "MZ1", "mark": {"name": "0.1"}},
        '{"event":"mark","sequenceNumber":"103","streamSid":"MZ1","mark":{"name":"0.1"}}',
    ),
    "exotel": (
        {"event": "mark", "stream_sid": "EX1", "mark": {"name": "0.1"}},
        '{"event":"mark","stream_sid":"EX1","mark":{"name":"0.1"}}',
    ),
    "telnyx": (
        {"event": "mark", "mark": {"name": "0.1"}},
        '{"event":"mark","stream_id":"32DE","mark":{"name":"0.1"}}',
    ),
    "plivo": (
        {"event": "checkpoint", "streamId": "s1", "name": "0.1"},
        '{"event":"playedStream","streamId":"s1","name":"0.1"}',
    ),
    "vonage": (
        {"action": "notify", "payload": {"mark": "0.1"}},
        '{"event":"websocket:notify","payload":{"mark":"0.1"}}',
    ),
    "jambonz": (
        {"type": "mark", "data": {"name": "0.1"}},
        '{"type": "mark", "data": {"name":"0.1", "event": "playout"}}',
    ),
    "asterisk": (
        {"command": "MARK_MEDIA", "correlation_id": "0.1"},
        '{"event":"MEDIA_MARK_PROCESSED","channel_id":"1","correlation_id":"0.1"}',
    ),
}


@pytest.mark.parametrize("name", MARKS)
def test_marks(name):
    asked, answer = MARKS[name]
    dialect, _ = started(name)
    assert sent(dialect.mark("0.1")) == asked
    assert only(dialect.read(answer), MarkReached).name == "0.1"


def test_a_mark_that_jambonz_cleared_was_not_reached():
    dialect, _ = started("jambonz")
    assert dialect.read('{"type": "mark", "data": {"name":"0.1", "event": "cleared"}}') == []


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("twilio", {"event": "clear", "streamSid": "MZ1"}),
        ("exotel", {"event": "clear", "stream_sid": "EX1"}),
        ("telnyx", {"event": "clear"}),
        ("plivo", {"event": "clearAudio", "streamId": "s1"}),
        ("vonage", {"action": "clear"}),
        ("jambonz", {"type": "killAudio"}),
        ("asterisk", {"command": "FLUSH_MEDIA"}),
    ],
)
def test_clear(name, command):
    assert sent(started(name)[0].clear()) == command


def test_sound_to_the_caller():
    played = sent(started("twilio")[0].sound(TONE))
    assert played == {"event": "media", "streamSid": "MZ1", "media": {"payload": MULAW}}
    played = sent(started("exotel")[0].sound(TONE))
    assert played == {"event": "media", "stream_sid": "EX1", "media": {"payload": LINEAR}}
    played = sent(started("telnyx")[0].sound(TONE))
    assert played == {"event": "media", "media": {"payload": MULAW}}
    played = sent(started("plivo")[0].sound(TONE))
    form = {"contentType": "audio/x-mulaw", "sampleRate": 8000, "payload": MULAW}
    assert played == {"event": "playAudio", "media": form}
    for name in ("vonage", "jambonz", "asterisk"):
        assert started(name)[0].sound(TONE) == [to_pcm16(TONE)]
    assert started("asterisk", ASTERISK_TEXT)[0].sound(TONE) == [encode_mulaw(TONE)]


def test_hanging_up():
    assert sent(started("asterisk")[0].hang_up()) == {"command": "HANGUP"}
    assert sent(started("jambonz")[0].hang_up()) == {"type": "disconnect"}
    for name in ("twilio", "telnyx", "plivo", "vonage"):
        assert started(name)[0].hang_up() == []  # closing the socket does it
    assert isinstance(only(started("twilio")[0].read('{"event":"stop"}'), Stopped), Stopped)


def test_asterisk_in_plain_text():
    dialect, event = started("asterisk", ASTERISK_TEXT)
    assert (event.call_id, event.rate) == ("1795474515.25", 8000)
    assert dialect.capabilities.frame_samples == 160
    assert dialect.mark("0.1") == ["MARK_MEDIA 0.1"]
    assert dialect.clear() == ["FLUSH_MEDIA"]
    assert dialect.hang_up() == ["HANGUP"]
    assert dialect.read("MEDIA_MARK_PROCESSED 0.1") == [MarkReached("0.1")]
    assert dialect.read("MEDIA_XOFF channel_id:1") == [Held()]
    assert dialect.read("MEDIA_XON channel_id:1") == [Resumed()]
    assert dialect.read("ERROR channel_id:1 error_text:no such thing") == [
        Complaint("no such thing")
    ]


def test_asterisk_reads_no_control_message_of_more_than_128_bytes():
    dialect, _ = started("asterisk")
    (mark,) = dialect.mark("123456.12345678")
    assert len(mark) <= MAX_CONTROL


def test_asterisks_sound_may_overtake_its_first_words():
    assert AsteriskStream().read(b"\0" * 640) == []


def test_telnyx_chunks_are_put_in_order_and_a_lost_one_is_not_waited_for_long():
    dialect, _ = started("telnyx")

    def chunk(number):
        payload = base64.b64encode(bytes([number])).decode()
        message = media("media", media={"track": "inbound", "chunk": number, "payload": payload})
        return [encode_mulaw(event.samples)[0] for event in dialect.read(message)]

    assert chunk(2) == [2]
    assert chunk(4) == []
    assert chunk(3) == [3, 4]
    assert chunk(3) == []  # twice
    assert [chunk(number) for number in (6, 7, 8)] == [[], [], []]
    assert chunk(9) == [6, 7, 8, 9]  # 5 is given up
    assert chunk(5) == []


def test_telnyx_token_of_the_first_message():
    dialect = DIALECTS["telnyx"]()
    dialect.read('{"event":"connected","version":"1.0.0","x-telnyx-streaming-auth-token":"t0k"}')
    start = TELNYX_START.replace('{"token":"abc"}', "{}")
    assert only(dialect.read(start), Started).token == "t0k"


def frame(kind, payload=b""):
    return struct.pack(">BH", kind, len(payload)) + payload


def test_an_audiosocket_call():
    dialect = AudioSocketStream()
    assert dialect.read(frame(0x01, CALL.bytes)) == []
    event = only(dialect.read(frame(0x12, to_pcm16(TONE))), Started)
    assert (event.call_id, event.rate) == (str(CALL), 16_000)
    assert len(only(dialect.read(frame(0x12, to_pcm16(TONE))), AudioReceived).samples) == 160
    assert dialect.read(frame(0x03, b"7")) == [Dtmf("7")]
    assert dialect.sound(TONE) == [frame(0x12, to_pcm16(TONE))]
    assert (dialect.mark("0.1"), dialect.clear()) == ([], [])
    assert dialect.hang_up() == [frame(0x00)]
    assert isinstance(only(dialect.read(frame(0x00)), Stopped), Stopped)
    assert isinstance(only(dialect.read(frame(0xFF, b"\x01")), Complaint), Complaint)
    with pytest.raises(DialectError, match="rate"):
        dialect.read(frame(0x10, b"\0\0"))


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=700)), max_size=8), st.data())
def test_audiosocket_frames_survive_any_cutting_of_the_stream(frames, data):
    stream = b"".join(frame(kind, payload) for kind, payload in frames)
    reader = FrameReader()
    found = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += reader.push(stream[:cut])
        stream = stream[cut:]
    assert found == [frame(kind, payload) for kind, payload in frames]


@pytest.mark.parametrize("name", STARTS)
def test_who_calls_is_seen_from_the_first_messages(name):
    expected = "twilio" if name == "signalwire" else name
    assert provider_of(STARTS[name]) == expected
    assert provider_of('{"event":"connected","protocol":"Call","version":"1.0.0"}') is None
    assert provider_of(b"\0\0") is None
    assert provider_of(ASTERISK_TEXT) == "asterisk"


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize(
    "message",
    [
        "",
        "null",
        "[" * 60_000,
        '{"event":5}',
        '{"event":"start"}',
        '{"event":"start","start":[]}',
        '{"event":"media","media":{"payload":"?","chunk":1,"timestamp":1}}',
        '{"event":"websocket:connected","content-type":"audio/mp3"}',
        '{"callSid":"x","sampleRate":8001}',
        '{"event":"MEDIA_START","format":"opus","channel_id":"1"}',
        "MEDIA_START format:slin999999999999 channel_id:1 connection_id:1 optimal_frame_size:2",
        '{"event":' + "9" * 5000 + "}",
        "x" * (MAX_MESSAGE + 1),
    ],
)
def test_what_cannot_be_read_is_an_error_of_ours(name, message):
    dialect = DIALECTS[name]()
    try:
        assert [event for event in dialect.read(message) if isinstance(event, Started)] == []
    except DialectError as error:
        message = str(error)  # our error, and it does not repeat the peer's message
        if len(message) >= 300:
            raise


FIELD_NAMES = """event start media mark dtmf digit payload chunk timestamp track name stream_id
streamSid callSid mediaFormat media_format encoding sampleRate sample_rate type data callId
content-type metadata mixType format optimal_frame_size channel_id extra_headers
custom_parameters customParameters correlation_id""".split()  # noqa: SIM905
EVENT_NAMES = """start media mark dtmf stop connected playedStream websocket:connected
websocket:dtmf websocket:notify MEDIA_START MEDIA_MARK_PROCESSED DTMF_END ERROR
error""".split()  # noqa: SIM905
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELD_NAMES) | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
EVENT = st.sampled_from(EVENT_NAMES)
MESSAGES = (
    st.text(max_size=200)
    | st.binary(max_size=200)
    | JSON.map(json.dumps)
    | st.tuples(EVENT, st.dictionaries(st.text(max_size=10), JSON, max_size=3)).map(
        lambda pair: json.dumps({**pair[1], "event": pair[0]})
    )
    | st.tuples(EVENT, JSON).map(
        lambda pair: json.dumps({"event": pair[0], pair[0]: pair[1], "media": pair[1]})
    )
    | st.sampled_from([*STARTS.values(), ASTERISK_TEXT, *(s for s in SOUNDS.values())])
    | st.tuples(st.integers(0, 255), st.binary(max_size=64)).map(lambda pair: frame(*pair))
)


@pytest.mark.slow
@given(st.sampled_from([*DIALECTS, "audiosocket"]), st.lists(MESSAGES, max_size=6))
def test_nothing_but_our_error_whatever_is_said(name, messages):
    dialect = AudioSocketStream() if name == "audiosocket" else DIALECTS[name]()
    for message in messages:
        try:
            for event in dialect.read(message):
                if isinstance(event, AudioReceived):
                    assert len(event.samples) <= MAX_MESSAGE
        except DialectError:
            continue


@pytest.mark.slow
@given(MESSAGES)
def test_detection_fails_only_with_our_error(message):
    try:
        assert provider_of(message) in {None, *DIALECTS}
    except DialectError:
        return


@pytest.mark.slow
@given(st.lists(st.integers(0, 10**6), max_size=60))
def test_telnyx_holds_a_bounded_number_of_chunks(numbers):
    dialect, _ = started("telnyx")
    for number in numbers:
        dialect.read(media("media", media={"chunk": number, "payload": "/w=="}))
        assert len(dialect._order._early) <= 3


def test_every_audiosocket_rate_is_one_of_telephony():
    for kind, rate in RATES.items():
        dialect = AudioSocketStream()
        dialect.read(frame(0x01, CALL.bytes))
        assert only(dialect.read(frame(kind, b"\0\0")), Started).rate == rate


@pytest.mark.parametrize(
    ("name", "start", "stream"),
    [
        ("twilio", TWILIO_START, "streamSid"),
        ("exotel", EXOTEL_START, "stream_sid"),
        ("telnyx", TELNYX_START, "stream_id"),
        ("plivo", PLIVO_START, "streamId"),
    ],
)
def test_another_stream_on_the_connection_is_not_heard(name: str, start: str, stream: str) -> None:
    """It neither speaks in the call that began, nor ends it; that it is there is told once."""
    dialect = DIALECTS[name]()
    media = {"chunk": "1", "timestamp": "0", "payload": MULAW}

    def message(event: str, of: str) -> str:
        return json.dumps({"event": event, stream: of, "media": media, "dtmf": {"digit": "1"}})

    (begun,) = dialect.read(start)
    assert isinstance(begun, Started)
    (told,) = dialect.read(message("media", "other"))
    assert isinstance(told, Complaint)
    for event in ("media", "dtmf", "stop"):
        assert dialect.read(message(event, "other")) == []
    again = json.loads(start) | {stream: "other"}
    assert dialect.read(json.dumps(again)) == []
    for own in (begun.stream_id, ""):
        (heard,) = dialect.read(message("dtmf", own))
        assert heard == Dtmf("1")
    (ended,) = dialect.read(message("stop", begun.stream_id))
    assert isinstance(ended, Stopped)


@pytest.mark.parametrize(
    "form",
    [
        lambda text: text.rstrip("="),
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
    ],
    ids=["no padding", "the alphabet of URLs", "lines"],
)
def test_base64_of_any_common_form_is_heard(form) -> None:
    dialect = DIALECTS["twilio"]()
    dialect.read(TWILIO_START)
    heard = []
    for payload in (MULAW, form(MULAW)):
        media = {"event": "media", "streamSid": "MZ1", "media": {"payload": payload}}
        (audio,) = dialect.read(json.dumps(media))
        heard.append(audio.samples)
    assert form(MULAW) != MULAW
    np.testing.assert_array_equal(*heard)
