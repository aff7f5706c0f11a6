"""A reply as JSON of a schema: python examples/json_slots.py MODEL "a sentence about a meal"."""

import argparse
import json

from dllm_core import DllmError, Engine
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

parser = argparse.ArgumentParser(description="Answer as JSON of a schema.")
parser.add_argument("model", help="GGUF file, directory or Hugging Face name")
parser.add_argument("sentence", help="sentence about a meal")
given = parser.parse_args()
try:
    engine = Engine.load(given.model)
except DllmError as error:
    parser.error(str(error))
prompt = engine.encode_chat([("user", f"Describe as JSON: {given.sentence}")])
print(json.dumps(JsonFiller(engine).fill(prompt, SCHEMA), indent=2))
