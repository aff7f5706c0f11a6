"""Denoise a reply in the terminal: python examples/denoise_text.py MODEL "a question"."""

import argparse

from dllm_core import DllmError, Engine

parser = argparse.ArgumentParser(description="Denoise a reply in the terminal, step by step.")
parser.add_argument("model", help="GGUF file, directory or Hugging Face name")
parser.add_argument("question")
given = parser.parse_args()
try:
    engine = Engine.load(given.model)
except DllmError as error:
    parser.error(str(error))
prompt = engine.encode_chat([("user", given.question)])
for step in engine.submit(prompt, engine.new_cache()):
    print(f"{step.step:3}  {step.ms:6.1f} ms  " + "".join(word or "▁" for word in step.tokens))
    if step.stats:
        print(
            f"{step.stats.tokens_per_forward:.2f} tokens per forward, ended by {step.stats.ended}"
        )
