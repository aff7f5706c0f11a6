"""Client events that are JSON and make no sense: each is answered, none ends the call."""

import json
import random
import re

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall

from agent.config.settings import ApiKeySettings
from agent.protocol import BadEvent, ClientEvents, Reading
from agent.protocol.abilities import Abilities
from agent.protocol.json_schema import MAX_PARTS, problem_of, too_many_parts
from agent.protocol.json_text import read_json
from agent.reply import FunctionTool
from agent.responders.engine_tools import schema_problem
from agent.responders.hosted_calls import StreamedCalls
from agent.server.keys import Keys, new_key
from agent.session.conversation import MAX_TURNS, Conversation, Turn
from agent.tools.mcp_servers import _reason

HUGE = 10**400
"""A whole number of JSON that is no float."""


def read(kind, **body):
    return ClientEvents(Reading(Abilities(refuses=schema_problem))).parse(
        json.dumps({"type": kind, **body})
    )


def refused(kind, **body):
    with pytest.raises(BadEvent) as caught:
        read(kind, **body)
    return caught.value.trouble


def with_schema(schema):
    parameters = {"type": "object", "properties": {"a": schema}}
    tool = {"type": "function", "name": "look", "parameters": parameters}
    return {"session": {"type": "realtime", "tools": [tool]}}


@pytest.mark.parametrize("kind", [[], {}, ["message"], 1, None, True])
def test_the_type_of_an_item_may_be_anything(kind):
    assert refused("conversation.item.create", item={"type": kind}).param == "item.type"
    trouble = refused("response.create", response={"input": [{"type": kind}]})
    assert trouble.param == "response.input[0].type"


@pytest.mark.parametrize("detection", [{"silence_duration_ms": HUGE}, {"prefix_padding_ms": HUGE}])
def test_a_pause_without_end_is_refused(detection):
    body = {"turn_detection": {"type": "server_vad", **detection}}
    trouble = refused("session.update", session={"audio": {"input": body}})
    assert trouble.param == f"session.audio.input.turn_detection.{next(iter(detection))}"


def test_a_limit_of_tokens_without_end_is_no_limit_to_speak_of():
    (change,) = read("session.update", session={"max_output_tokens": HUGE})
    assert change.max_tokens == 1 << 31
    (asked,) = read("response.create", response={"max_output_tokens": HUGE})
    assert asked.max_tokens == 1 << 31


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": HUGE},
        {"type": "number", "maximum": -HUGE},
        {"type": "integer", "multipleOf": HUGE, "minimum": 1},
        {"enum": [HUGE], "minimum": 0.5},
    ],
)
def test_a_function_with_numbers_that_are_no_floats_is_left_out(schema):
    (change,) = read("session.update", **with_schema(schema))
    assert change.tools == ()
    assert "session.tools[0].parameters" in change.ignored[0]


def test_the_range_of_64_bits_is_a_range():
    """Generators of schemas write it for every integer."""
    (change,) = read(
        "session.update", **with_schema({"type": "integer", "minimum": 0, "maximum": 2**63 - 1})
    )
    assert [tool.name for tool in change.tools] == ["look"]


# ---- schemas that take long to check ---------------------------------------------------


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{}] * MAX_PARTS},
        {"properties": {f"a{i}": {} for i in range(MAX_PARTS)}},
        {"required": [[i] for i in range(MAX_PARTS)] + ["a"]},
        {"enum": [[[[i] for i in range(MAX_PARTS)]]]},
    ],
)
def test_schemas_that_would_hold_up_all_calls_are_not_checked(schema, monkeypatch):
    monkeypatch.setattr("agent.protocol.json_schema._problem", pytest.fail)
    wish = {"type": "json_schema", "schema": schema}
    assert "more than" in refused("response.create", response={"text": {"format": wish}}).message
    assert "more than" in refused("session.update", **with_schema(schema)).message


def test_many_functions_of_ordinary_size_are_accepted():
    names = [f"parameter_{i}" for i in range(10)]
    properties = {name: {"type": "string", "description": "a word"} for name in names}
    schema = {"type": "object", "properties": properties, "required": names}
    tools = [{"name": f"f{i}", "parameters": schema} for i in range(128)]
    assert too_many_parts([{"type": "function", **tool} for tool in tools]) is None


def test_structured_output_reads_no_other_documents():
    schema = {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}}
    wish = {"type": "json_schema", "schema": schema}
    trouble = refused("response.create", response={"text": {"format": wish}})
    assert "other documents" in trouble.message


VALUES = (1, 0, -1, 2.5, True, None, "a", "object", "(", [], ["a"], [{}], {}, {"a": {}}, {"a": [1]})
KEYWORDS = re.findall(
    r"\S+",
    "type properties items required enum const anyOf allOf not $defs $id $anchor pattern minimum "
    "minLength multipleOf dependentRequired dependentSchemas prefixItems contains format title "
    "additionalProperties patternProperties unevaluatedItems $vocabulary definitions dependencies",
)


def schemas(random, depth=0):
    if depth == 3 or random.random() < 0.4:
        return random.choice(VALUES)
    chosen = random.sample(KEYWORDS, random.randint(1, 3))
    return {name: schemas(random, depth + 1) for name in chosen}


@pytest.mark.slow
def test_the_check_in_one_piece_is_that_of_the_published_metaschema():
    source, wrong = random.Random(1), 0
    for _ in range(400):
        schema = {source.choice(KEYWORDS): schemas(source)}
        try:
            Draft202012Validator.check_schema(schema)
            expected = None
        except SchemaError as error:
            expected, wrong = error, wrong + 1
        assert (problem_of(schema) is None) == (expected is None), schema
    assert 50 < wrong < 390  # both kinds occur


# ---- bounds ----------------------------------------------------------------------------


@pytest.mark.parametrize("previous", ["root", "first"])
def test_items_before_others_are_bounded_as_those_behind_them(previous):
    conversation = Conversation("Be kind.", 1000)
    for number in range(MAX_TURNS):
        conversation.place(Turn(number, f"item_{number}", transcript="word"), None)
    after = "root" if previous == "root" else "item_100"
    for number in range(3):
        conversation.place(Turn(1000 + number, f"new_{number}", transcript="word"), after)
        assert conversation.has(f"new_{number}")
    assert len(conversation.turns) == MAX_TURNS


def test_the_secrets_of_one_key_push_out_only_its_own(monkeypatch):
    monkeypatch.setattr("agent.server.keys.MAX_SECRETS", 2)
    monkeypatch.setattr("agent.server.keys.MAX_SESSIONS", 120)
    (one, first), (two, second) = new_key(), new_key()
    keys = Keys({"one": ApiKeySettings(hash=first), "two": ApiKeySettings(hash=second)})
    others = keys.make_secret(keys.admit(two).caller, {}).value
    mine = [keys.make_secret(keys.admit(one).caller, {}).value for _ in range(3)]
    assert [keys.admit(secret) is not None for secret in mine] == [False, True, True]
    long = keys.make_secret(keys.admit(one).caller, {"instructions": "a" * 80}).value
    assert [keys.admit(secret) is not None for secret in mine] == [False, False, True]
    keys.make_secret(keys.admit(one).caller, {"instructions": "a" * 80})
    assert keys.admit(long) is None
    assert keys.admit(others) is not None


def test_the_address_of_an_mcp_server_is_told_to_nobody():
    error = RuntimeError("Client error '401' for url 'https://mcp.example/mcp?key=abc'")
    assert _reason(error) == "Client error '401' for url 'its address'"


# ---- arguments of a service --------------------------------------------------------------


def arguments_of(schema, arguments):
    calls = StreamedCalls([FunctionTool("f", "", schema)])
    delta = ChoiceDeltaToolCall(index=0, function={"name": "f", "arguments": json.dumps(arguments)})
    assert list(calls.take([delta]))
    (call,) = calls.complete()
    return call


def test_a_regular_expression_of_a_client_is_not_run():
    schema = {"type": "object", "properties": {"pattern": {"type": "string", "pattern": "^(a+)+$"}}}
    assert arguments_of(schema, {"pattern": "a" * 40 + "!"}).problem == ""
    assert "do not fit" in arguments_of(schema, {"pattern": 7}).problem
    by_name = {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False}
    assert arguments_of(by_name, {"a" * 40 + "!": 1}).problem == ""


def test_references_that_double_are_given_up():
    doubled = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(30)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**doubled, "d30": {"type": "object"}}}
    assert "more than 2000 references" in arguments_of(schema, {}).problem


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud83d"', "\ufffd"),
        (r'"cut \uD83D here"', "cut \ufffd here"),
        (r'"\ude00\ud83d"', "\ufffd\ufffd"),
        (r'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
        (r'"\\ud83d \ud83d"', r"\ud83d" + " \ufffd"),
        (r'{"\udfff": "\n\"\u0041"}', {"\ufffd": '\n"A'}),
        ("\ufeff[1]", [1]),
        (b"\xef\xbb\xbf[1]", [1]),
        (rb'"\ud83d"', "\ufffd"),
    ],
)
def test_half_a_character_and_a_byte_order_mark_do_not_refuse_an_event(text, value):
    """``JSON.stringify("\U0001f600".slice(0, 1))`` is such a half."""
    assert read_json(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\ufeff",
        "\ufeff\ufeff[1]",
        "NaN",
        r'["\ud83d", NaN]',
        r'"\ud83d',
        r'"\u12"',
        r"\ud83d",
        b"\xff",
        b'"\xed\xa0\x80"',
        "\\" * 100_001,
        "[" * 100_000,
    ],
)
def test_what_is_no_json_stays_none(text):
    with pytest.raises(ValueError, match="line 1"):
        read_json(text)


def test_a_text_with_half_a_character_is_an_item_that_can_be_sent_again():
    event = {"type": "conversation.item.create", "item": {"type": "message", "role": "user"}}
    event["item"]["content"] = [{"type": "input_text", "text": "Hello \ud83d"}]
    (message,) = ClientEvents().parse(json.dumps(event))
    assert "Hello \ufffd" in repr(message)
