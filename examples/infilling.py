"""Fill the gaps of a text: python examples/infilling.py MODEL "The capital of ___ is Paris." """

import sys

from dllm_core import Engine

engine = Engine.load(sys.argv[1])
template: list[int | None] = []
pieces = sys.argv[2].split("___")
for piece in pieces[:-1]:
    template += [*engine.tokenizer.encode(piece), None, None]
template += engine.tokenizer.encode(pieces[-1])
print(engine.tokenizer.decode(engine.fill(template)))
