"""A scripted OpenAI-compatible endpoint: real HTTP, no model."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Endpoint:
    """choose: the probability of the letter A by the question's text; a text is answered as it is, without probabilities.

    A whole number is the status it is refused with.
    refusals: statuses answered before anything else, one a request. headers: sent with every answer.
    """

    choose: Callable[[str], float | str | int]
    write: Callable[[str], str | int] = lambda question: "Rewritten."
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self, body: dict[str, Any]) -> dict[str, Any] | int:
        question = body["messages"][-1]["content"]
        said = self.choose(question) if body["max_tokens"] == 1 else self.write(question)
        if isinstance(said, int):
            return said
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": said},
        }
        if isinstance(said, float):
            letters = [{"token": " A", "logprob": math.log(said)}, {"token": " B", "logprob": math.log(1 - said)}]
            choice["message"]["content"] = "A" if said > 0.5 else "B"
            choice["logprobs"] = {"content": [{**letters[0], "top_logprobs": letters}]}
        return {"object": "chat.completion", "choices": [choice], "usage": {"total_tokens": 10}}


@contextmanager
def serve(endpoint: Endpoint) -> Iterator[Endpoint]:
    """Serve it on a free port of this machine until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            endpoint.keys.append(self.headers.get("Authorization", ""))
            status, headers = endpoint.refusals.pop(0) if endpoint.refusals else (200, {})
            payload = b'{"error": {"message": "not now"}}'
            if status == 200:
                endpoint.asked.append(body)
                answer = endpoint.answer(body)
                status, payload = (answer, payload) if isinstance(answer, int) else (200, json.dumps(answer).encode())
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **endpoint.headers, **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
