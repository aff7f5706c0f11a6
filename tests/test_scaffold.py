"""Whatever a model writes into the slots, the document is one of its schema."""

import datetime
import json
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from pydantic import Field as PydanticField
from support.tiny import tiny_config, tiny_model
from test_reply import byte_tokenizer

from dllm_core import DecodeOptions, Engine, OptionError, PromptTooLongError
from dllm_core.tasks.json_fill import JsonFiller
from dllm_core.tasks.nodes import Choice, Number
from dllm_core.tasks.scaffold import scaffold

jsonschema = pytest.importorskip("jsonschema")

BIDIRECTIONAL = tiny_config(
    vocab_size=260,
    attention="bidirectional",
    shift=False,
    mask_id=257,
    eos_ids=(258,),
    context_length=4096,
)
PROMPT = [5, 9, 2]


def causal_engine(context: int = 4096, seed: int = 0) -> Engine:
    config = tiny_config(vocab_size=260, eos_ids=(258,), context_length=context)
    return Engine(tiny_model(config, seed), byte_tokenizer(), context)


DENOISER = JsonFiller(
    Engine(tiny_model(BIDIRECTIONAL), byte_tokenizer(), 4096),
    DecodeOptions(rule="quota", steps=1, eos_last=False),
    string_tokens=8,
)
CAUSAL = [JsonFiller(causal_engine(seed=seed), string_tokens=8) for seed in range(3)]


def check(document: Any, schema: Any) -> None:
    """The document parses again and is valid, formats included."""
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    known = jsonschema.Draft202012Validator
    known(schema, format_checker=known.FORMAT_CHECKER).validate(document)


def numbers(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    bound = (
        st.integers(-90, 90) if kind == "integer" else st.floats(-50, 50).map(lambda x: round(x, 2))
    )
    lows = st.sampled_from(["minimum", "exclusiveMinimum"])
    highs = st.sampled_from(["maximum", "exclusiveMaximum"])
    pairs = st.tuples(bound, bound, lows, highs).filter(lambda t: t[0] + 2 < t[1])
    both = pairs.map(lambda p: {"type": kind, p[2]: p[0], p[3]: p[1]})
    one = st.tuples(bound, lows | highs).map(lambda p: {"type": kind, p[1]: p[0]})
    steps = st.tuples(st.integers(1, 7), bound).map(
        lambda p: {"type": kind, "multipleOf": p[0], "minimum": p[1]}
    )
    return both | st.just({"type": kind}) | one | steps


LEAVES = st.one_of(
    st.integers(0, 12).map(lambda n: {"type": "string", "maxLength": n}),
    st.integers(0, 30).map(lambda n: {"type": "string", "minLength": n}),
    st.sampled_from(["date", "date-time"]).map(lambda f: {"type": "string", "format": f}),
    st.just({"type": ["string", "null"]}),
    st.just({"anyOf": [{"type": "integer"}, {"type": "null"}, {"enum": ["a", True]}]}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    numbers("integer"),
    numbers("number"),
    st.lists(st.integers() | st.text(max_size=5), min_size=1, max_size=3).map(
        lambda v: {"enum": v}
    ),
    st.tuples(st.integers(0, 2), st.integers(0, 3)).map(
        lambda t: {
            "type": "array",
            "items": {"enum": ["a", "b", "ab", 3]},
            "uniqueItems": True,
            "minItems": t[0],
            "maxItems": t[0] + t[1],
        }
    ),
)


def objects(parts: tuple[dict[str, Any], int]) -> dict[str, Any]:
    properties, required = parts
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties)[::2][:required],
        "additionalProperties": False,
    }


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.dictionaries(st.text(max_size=6), inner, max_size=4), st.integers(0, 2)).map(
            objects
        ),
        st.tuples(inner, st.integers(0, 2), st.integers(0, 2)).map(
            lambda t: {"type": "array", "items": t[0], "minItems": t[1], "maxItems": t[1] + t[2]}
        ),
    ),
    max_leaves=4,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(SCHEMAS)
def test_documents_of_a_model_that_denoises_are_valid(schema: dict[str, Any]) -> None:
    check(DENOISER.fill(PROMPT, schema), schema)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(SCHEMAS, st.sampled_from(CAUSAL), st.lists(st.integers(0, 255), min_size=1, max_size=5))
def test_documents_of_a_causal_model_are_valid(
    schema: dict[str, Any], filler: JsonFiller, prompt: list[int]
) -> None:
    check(filler.fill(prompt, schema), schema)


BOOKING = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "Guest": {
            "type": "object",
            "title": "Guest",
            "properties": {
                "name": {"type": "string", "maxLength": 10},
                "age": {"type": "integer", "minimum": 0, "maximum": 120},
            },
            "required": ["name", "age"],
        },
        "Meal": {"enum": ["lunch", "dinner"], "type": "string"},
    },
    "properties": {
        "guests": {"type": "array", "items": {"$ref": "#/$defs/Guest"}, "minItems": 1},
        "meal": {"$ref": "#/$defs/Meal", "description": "which meal"},
        "note": {"anyOf": [{"type": "string", "maxLength": 12}, {"type": "null"}], "default": None},
        "size": {"oneOf": [{"const": "small"}, {"const": "large"}]},
        "day": {"type": "string", "format": "date"},
        "price": {"type": "number", "exclusiveMinimum": 0, "x-unit": "EUR"},
        "again": {"allOf": [{"$ref": "#/$defs/Meal"}]},
    },
    "required": ["guests", "meal", "day"],
}


@pytest.mark.parametrize("filler", [DENOISER, *CAUSAL])
def test_a_schema_as_clients_write_it(filler: JsonFiller) -> None:
    document = filler.fill(PROMPT, BOOKING)
    check(document, BOOKING)
    assert {"guests", "meal", "day"} <= document.keys()


@pytest.mark.parametrize("seed", range(3))
def test_the_cached_writer_writes_what_the_plain_one_does(seed: int) -> None:
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer"},
            "s": {"type": "string", "minLength": 3},
            "e": {"enum": ["a", "ab", "b"]},
            "l": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        },
    }
    filler = CAUSAL[seed]
    assert filler.fill(PROMPT, schema) == filler.fill(PROMPT, schema, plain=True)


def test_the_cache_holds_the_prompt_afterwards() -> None:
    engine = causal_engine()
    cache, prompt = engine.contiguous_cache(), [5, 9, 2, 7]
    engine.prefill(prompt, cache)
    rows = cache.store.layers[1][0][:, :4].clone()
    JsonFiller(engine).fill(prompt, BOOKING, cache)
    assert cache.ids == prompt
    assert (cache.store.layers[1][0][:, :4] - rows).abs().max() < 1e-5
    with pytest.raises(PromptTooLongError):
        JsonFiller(causal_engine(64)).fill([5] * 40, BOOKING)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "banana"}, "type at #"),
        ({"type": []}, "type at #"),
        ([], "no object"),
        ({"properties": {"a": {"properties": {"b": 7}}}}, "#/properties/a/properties/b"),
        ({"type": "string", "pattern": "a+"}, "'pattern' at #"),
        ({"type": "array", "items": {"not": {}}}, "'not' at #/items"),
        ({"type": "integer", "minimum": 2.2, "maximum": 2.8}, "No number fits the bounds at #"),
        ({"type": "number", "minimum": 2, "exclusiveMaximum": 2}, "No number"),
        ({"type": "integer", "minimum": "3"}, "minimum at # must be a number"),
        ({"type": "number", "multipleOf": 0.1}, "multipleOf"),
        ({"type": "array", "minItems": 2, "maxItems": 1}, "impossible"),
        ({"type": "array", "minItems": 1, "items": False}, "permits no item"),
        ({"type": "array", "minItems": 1e9}, "items"),
        ({"type": "array", "uniqueItems": True, "items": {"type": "string"}}, "uniqueItems"),
        (
            {"type": "array", "uniqueItems": True, "items": {"enum": [1]}, "minItems": 2},
            "2 different items",
        ),
        ({"type": "string", "minLength": -1}, "minLength at #"),
        ({"type": "string", "minLength": 5000}, "5000 characters"),
        ({"type": "string", "format": "date", "maxLength": 3}, "10 characters"),
        ({"type": "object", "required": ["a"]}, "'a' at # has no schema"),
        ({"type": "object", "properties": []}, "needs properties"),
        ({"type": "object", "minProperties": 1}, "impossible"),
        ({"enum": []}, "permits no value"),
        ({"enum": "abc"}, "list of values"),
        ({"enum": ["a", "b"], "type": "integer"}, "permits no value"),
        ({"enum": [[1], [2]], "minItems": 2}, "'minItems' beside an enum"),
        ({"enum": list(range(300))}, "300 values"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"$ref": "https://example.com/x"}, "not within the schema"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "back to itself"),
        (
            {"$ref": "#", "type": "object"},
            "leads back to itself",
        ),
        ({"anyOf": []}, "list of schemas"),
        ({"anyOf": [{"type": "object"}, {"properties": {}}]}, "#/anyOf are of the same type"),
        ({"oneOf": [{"enum": [1, 2]}, {"enum": [2, 3]}]}, "oneOf forbids"),
        ({"allOf": [{}, {}]}, "allOf"),
        ({"type": "integer", "anyOf": [{"type": "string"}]}, "'type' stands twice"),
    ],
)
def test_what_cannot_be_guaranteed_is_refused(schema: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message) as raised:
        scaffold(schema)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


def test_a_schema_of_any_size_is_bounded() -> None:
    deep: dict[str, Any] = {"type": "null"}
    for _ in range(40):
        deep = {"properties": {"a": deep}}
    wide = {"properties": {f"p{i}": {} for i in range(1000)}}
    for schema in (deep, wide):
        with pytest.raises(OptionError, match="too large"):
            scaffold(schema)


def test_numbers_are_brought_into_bounds() -> None:
    assert scaffold({"type": "integer", "minimum": 3, "maximum": 5}) == Choice(("3", "4", "5"))
    assert Number(False, 0, None, open_low=True).nearest(-5) == 1
    assert Number(False, 0, 1, open_low=True, open_high=True).nearest(7) == 0.5
    assert Number(True, 3, None, step=1).nearest(1.0) == 3
    assert Number(True, None, 100, step=7).nearest(1e9) == 98


@pytest.mark.slow
def test_schemas_of_pydantic_are_filled() -> None:
    class Guest(BaseModel):
        name: str = PydanticField(max_length=12)
        age: int | None = PydanticField(default=None, ge=0, lt=130)

    class Booking(BaseModel):
        model_config = ConfigDict(extra="forbid")
        kind: Literal["table", "room"]
        guests: list[Guest] = PydanticField(min_length=1, max_length=3)
        day: datetime.date
        window: bool = False
        deposit: float = PydanticField(default=0.0, gt=0, le=500)
        tags: set[Literal["quiet", "late"]] = set()
        anything: Any = None
        extra: dict[str, str] = {}

    schema = Booking.model_json_schema()
    for filler in (DENOISER, *CAUSAL):
        document = filler.fill(PROMPT, schema)
        check(document, schema)
        Booking.model_validate(document)
