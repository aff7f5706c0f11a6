"""llama.cpp's greedy replies, timed; run by speed.py in an interpreter that has llama-cpp-python.

    python llama_cpp_replies.py MODEL.gguf THREADS SYSTEM QUESTIONS_AS_JSON

One warm-up question fills the cache of the system prompt. Prints one JSON object; times are
medians in milliseconds from the question on, its reading included.
"""

# mypy: ignore-errors

from __future__ import annotations

import json
import sys
from statistics import median
from time import perf_counter

from llama_cpp import Llama

MOST = 48
WORDS = 8


def reply(model: Llama, system: str, question: str) -> tuple[float, float, float, int]:
    """Until the first token, until eight words are complete, until the end; tokens."""
    begin, text, tokens = perf_counter(), "", 0
    first = eight = None
    chat = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    for piece in model.create_chat_completion(chat, max_tokens=MOST, temperature=0, stream=True):
        part = piece["choices"][0]["delta"].get("content")
        if not part:
            continue
        now = (perf_counter() - begin) * 1e3
        tokens, text, first = tokens + 1, text + part, first or now
        # The ninth word begins: the eighth is complete.
        if eight is None and len(text.split()) > WORDS:
            eight = now
    end = (perf_counter() - begin) * 1e3
    return first or end, eight or end, end, tokens


def main() -> None:
    path, threads, system, questions = sys.argv[1:5]
    count = int(threads)
    model = Llama(path, n_ctx=2048, n_threads=count, n_threads_batch=count, verbose=False)
    reply(model, system, "Hello.")
    rows = [reply(model, system, question) for question in json.loads(questions)]
    first, eight, whole, tokens = (list(column) for column in zip(*rows, strict=True))
    rate = sum(tokens) / (sum(whole) - sum(first)) * 1e3
    print(
        json.dumps(
            {
                "what": "llama.cpp",
                "threads": count,
                "first_token_ms": round(median(first), 1),
                "first_8_words_ms": round(median(eight), 1),
                "whole_ms": round(median(whole), 1),
                "tokens": round(sum(tokens) / len(tokens), 1),
                "tokens_per_second": round(rate, 1),
                "replies": len(rows),
            }
        )
    )


if __name__ == "__main__":
    main()
