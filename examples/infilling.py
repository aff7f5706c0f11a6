"""Fill the gaps of a text: python examples/infilling.py MODEL "The capital of ___ is Paris." """

import argparse

from dllm_core import DllmError, Engine

parser = argparse.ArgumentParser(description="Fill the gaps of a text.")
parser.add_argument("model", help="GGUF file, directory or Hugging Face name")
parser.add_argument("text", help="text with ___ for each gap")
given = parser.parse_args()
pieces = given.text.split("___")
if len(pieces) < 2:
    parser.error("the text has no gap: write ___ where words are missing")
try:
    engine = Engine.load(given.model)
except DllmError as error:
    parser.error(str(error))
template: list[int | None] = []
for piece in pieces[:-1]:
    template += [*engine.tokenizer.encode(piece), None, None]
template += engine.tokenizer.encode(pieces[-1])
print(engine.tokenizer.decode(engine.fill(template)))
