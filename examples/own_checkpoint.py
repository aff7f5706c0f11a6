"""A diffusion checkpoint of your own, with a rule and a deadline:

python examples/own_checkpoint.py DIRECTORY_OR_HUGGING_FACE_NAME "a question"
"""

import argparse

from dllm_core import DecodeOptions, DllmError, Engine

parser = argparse.ArgumentParser(description="Answer with a diffusion checkpoint in 400 ms.")
parser.add_argument("model", help="directory, GGUF file or Hugging Face name")
parser.add_argument("question")
given = parser.parse_args()
options = DecodeOptions(rule="quota", canvas_length=32, deadline_ms=400)
try:
    engine = Engine.load(given.model, progress=lambda share, what: print(f"{share:4.0%} {what}"))
    engine.warm_up()  # measures what a step costs: the deadline is kept by that
    reply = engine.reply(engine.encode_chat([("user", given.question)]), options=options)
except DllmError as error:
    parser.error(str(error))
print(reply.text)
print(f"{reply.stats.forwards} steps in {reply.stats.ms:.0f} ms")
