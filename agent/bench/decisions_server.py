"""A decision service as a program of another process would offer it, on this machine.

It answers one typed question a request over HTTP, as hosted ones do, with the same model and a
prompt cache of its own. It is what ten questions in one pass are compared with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from dllm_core.engine import Engine
from dllm_core.tasks.decide import Decider
from dllm_core.tasks.questions import Question

MAX_BODY = 65_536


class DecisionClient:
    """Asks the questions one after the other on one connection."""

    def __init__(self, port: int, questions: Sequence[Question]) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self._questions = questions

    def decide(self, system: str, words: str) -> list[dict[str, Any]]:
        """The answers to all questions about the caller's words."""
        return [self._ask(question.name, system, words) for question in self._questions]

    def _ask(self, name: str, system: str, words: str) -> dict[str, Any]:
        body = json.dumps({"question": name, "system": system, "words": words})
        self._connection.request("POST", "/v1/decisions", body)
        found: dict[str, Any] = json.loads(self._connection.getresponse().read())
        return found

    def close(self) -> None:
        self._connection.close()


@contextmanager
def decision_server(engine: Engine, questions: Sequence[Question]) -> Iterator[DecisionClient]:
    """A running service, and a client of it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(engine, questions))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    client = DecisionClient(server.server_address[1], questions)
    try:
        yield client
    finally:
        client.close()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(engine: Engine, questions: Sequence[Question]) -> type[BaseHTTPRequestHandler]:
    deciders = {each.name: Decider(engine, [each], contextual=False) for each in questions}
    cache, lock = engine.contiguous_cache(), Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = min(int(self.headers.get("Content-Length", 0)), MAX_BODY)
            asked = json.loads(self.rfile.read(size))
            words = asked["words"]
            ids = engine.encode_chat([("system", asked["system"]), ("user", words)])
            with lock:
                answer = deciders[asked["question"]].decide(ids, cache, words)[0]
            body = json.dumps({"value": answer.value, "probability": answer.probability}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
