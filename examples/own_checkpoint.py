"""A diffusion checkpoint of your own, with a rule and a deadline:

python examples/own_checkpoint.py DIRECTORY_OR_HUGGING_FACE_NAME "a question"
"""

import sys

from dllm_core import DecodeOptions, Engine

engine = Engine.load(sys.argv[1], progress=lambda share, what: print(f"{share:4.0%} {what}"))
engine.warm_up()  # measures what a step costs: the deadline is kept by that
prompt = engine.encode_chat([("user", sys.argv[2])])
options = DecodeOptions(rule="quota", canvas_length=32, deadline_ms=400)
reply = engine.reply(prompt, options=options)
print(reply.text)
print(f"{reply.stats.forwards} steps in {reply.stats.ms:.0f} ms")
