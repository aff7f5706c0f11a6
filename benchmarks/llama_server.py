"""llama.cpp's greedy replies for `onebreath bench draft`; runs where llama-cpp-python is installed.

    python llama_server.py MODEL.gguf THREADS

A line of standard input is an object with `messages` (pairs of role and content), `max_tokens` and
`words`; the answer is a line with `ms` of the whole reply and `first_ms` until so many words or a
sentence are there. The prompt has been read before: a first call of one token reads it.
"""

# mypy: ignore-errors

from __future__ import annotations

import json
import sys
from time import perf_counter

from llama_cpp import Llama


def main() -> None:
    path, threads = sys.argv[1], int(sys.argv[2])
    model = Llama(path, n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)
    for line in sys.stdin:
        given = json.loads(line)
        chat = [{"role": role, "content": content} for role, content in given["messages"]]
        model.create_chat_completion(chat, max_tokens=1, temperature=0)
        begin, text, first = perf_counter(), "", None
        for piece in model.create_chat_completion(
            chat, max_tokens=given["max_tokens"], temperature=0, stream=True
        ):
            text += piece["choices"][0]["delta"].get("content") or ""
            spoken = len(text.split()) > given["words"] or text.rstrip().endswith((".", "!", "?"))
            if first is None and spoken:
                first = (perf_counter() - begin) * 1e3
        whole = (perf_counter() - begin) * 1e3
        print(json.dumps({"ms": whole, "first_ms": first or whole, "text": text}), flush=True)


if __name__ == "__main__":
    main()
