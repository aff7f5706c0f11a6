"""Denoise a reply in the terminal: python examples/denoise_text.py MODEL "a question"."""

import sys

from dllm_core import Engine

engine = Engine.load(sys.argv[1])
prompt = engine.encode_chat([("user", sys.argv[2])])
for step in engine.submit(prompt, engine.new_cache()):
    print(f"{step.step:3}  {step.ms:6.1f} ms  " + "".join(word or "▁" for word in step.tokens))
    if step.stats:
        print(
            f"{step.stats.tokens_per_forward:.2f} tokens per forward, ended by {step.stats.ended}"
        )
