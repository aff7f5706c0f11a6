"""A reply as JSON of a schema: python examples/json_slots.py MODEL "a sentence about a meal"."""

import json
import sys

from dllm_core import Engine
from dllm_core.tasks.json_fill import JsonFiller

SCHEMA = {
    "type": "object",
    "properties": {
        "dish": {"type": "string", "maxLength": 30},
        "guests": {"type": "integer", "minimum": 1, "maximum": 20},
        "vegetarian": {"type": "boolean"},
    },
    "required": ["dish", "guests", "vegetarian"],
}

engine = Engine.load(sys.argv[1])
prompt = engine.encode_chat([("user", f"Describe as JSON: {sys.argv[2]}")])
print(json.dumps(JsonFiller(engine).fill(prompt, SCHEMA), indent=2))
