"""Whatever a model writes into the slots, the document is one of its schema."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import tiny_config, tiny_model
from test_reply import byte_tokenizer

from dllm_core import DecodeOptions, Engine, OptionError
from dllm_core.tasks.json_fill import JsonFiller
from dllm_core.tasks.scaffold import Slot, scaffold, value

CONFIG = tiny_config(
    vocab_size=260, attention="bidirectional", mask_id=257, eos_ids=(258,), context_length=2048
)
FILLER = JsonFiller(
    Engine(tiny_model(CONFIG), byte_tokenizer(), 2048),
    DecodeOptions(rule="quota", steps=1, eos_last=False),
)
CAUSAL = JsonFiller(
    Engine(tiny_model(tiny_config(vocab_size=260, context_length=512)), byte_tokenizer(), 512)
)


def valid(document: Any, schema: dict[str, Any]) -> bool:
    """An independent reading of the keywords used here."""
    if "enum" in schema:
        return document in schema["enum"]
    match schema["type"]:
        case "object":
            parts = schema["properties"]
            return document.keys() == parts.keys() and all(
                valid(document[k], parts[k]) for k in parts
            )
        case "array":
            low, high = schema.get("minItems", 0), schema.get("maxItems", 99)
            return low <= len(document) <= high and all(valid(d, schema["items"]) for d in document)
        case "string":
            return isinstance(document, str) and len(document) <= schema.get("maxLength", 10_000)
        case "integer" | "number":
            kinds = (int,) if schema["type"] == "integer" else (int, float)
            low, high = schema.get("minimum", -(10**9)), schema.get("maximum", 10**9)
            return type(document) in kinds and low <= document <= high
        case "boolean":
            return isinstance(document, bool)
    return document is None


def numbers(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    bound = (
        st.integers(-50, 50) if kind == "integer" else st.floats(-50, 50).map(lambda x: round(x, 2))
    )
    pairs = st.tuples(bound, bound).map(sorted)
    both = pairs.map(lambda p: {"type": kind, "minimum": p[0], "maximum": p[1]})
    return both | st.just({"type": kind}) | bound.map(lambda b: {"type": kind, "minimum": b})


LEAVES = st.one_of(
    st.integers(0, 12).map(lambda n: {"type": "string", "maxLength": n}),
    st.just({"type": "string"}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    numbers("integer"),
    numbers("number"),
    st.lists(st.integers() | st.text(max_size=5), min_size=1, max_size=3).map(
        lambda v: {"enum": v}
    ),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(st.text(max_size=6), inner, max_size=3).map(
            lambda p: {"type": "object", "properties": p}
        ),
        st.tuples(inner, st.integers(0, 2), st.integers(0, 1)).map(
            lambda t: {"type": "array", "items": t[0], "minItems": t[1], "maxItems": t[1] + t[2]}
        ),
    ),
    max_leaves=4,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=500)
@given(SCHEMAS)
def test_documents_are_valid(schema: dict[str, Any]) -> None:
    found = FILLER.fill([5, 9, 2], schema)
    assert valid(found, schema)
    assert json.loads(json.dumps(found)) == found


def test_a_model_that_was_never_adapted_fills_it_too() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}}}
    assert valid(CAUSAL.fill([5, 9, 2], schema), schema)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({}, "needs a type"),
        ({"type": "string", "pattern": "a+"}, "pattern"),
        ({"type": "integer", "minimum": 2.2, "maximum": 2.8}, "No number"),
        ({"type": "array", "minItems": 2, "maxItems": 1}, "impossible"),
        ({"type": "array", "minItems": 1}, "schema for them"),
        ({"type": "object", "required": ["a"]}, "without a schema"),
        ({"enum": []}, "permits nothing"),
    ],
)
def test_what_cannot_be_guaranteed_is_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        scaffold(schema)


def test_values_are_brought_into_bounds() -> None:
    assert value(Slot("digits", 4, {"type": "integer", "minimum": 3, "maximum": 9}), "0042") == "9"
    assert value(Slot("text", 4, {"type": "string", "maxLength": 2}), "a'b") == "a'"
