from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.core.management import CommandError, call_command

from rlhf.domain.checkpoints import open_checkpoint
from rlhf.domain.errors import ModelRefused
from rlhf.domain.hub import register_hub_model
from rlhf.models import Checkpoint
from tests.rlhf.contract.test_model_folder import CONFIG, pack

COMMIT = "c" * 40
FILES = {
    "config.json": json.dumps(CONFIG).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": pack({"embed": [10, 4]}),
    "pytorch_model.bin": b"a pickle",
    "README.md": b"hello",
}


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as fetching one model takes."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        Hub.asked.append(path)
        resolve = f"/owner/small/resolve/{COMMIT}/"
        if path.startswith(resolve):
            return self.send(FILES[path.removeprefix(resolve)], with_body=with_body)
        if path == f"/api/models/owner/small/revision/{COMMIT}":
            siblings = [{"rfilename": name} for name in FILES]
            return self.send(json.dumps({"id": "owner/small", "sha": COMMIT, "siblings": siblings}).encode())
        if path.startswith(f"/api/models/owner/small/tree/{COMMIT}"):
            rows = [{"type": "file", "path": name, "size": len(body), "oid": name} for name, body in FILES.items()]
            return self.send(json.dumps(rows).encode())
        self.send_error(404)

    def send(self, body: bytes, *, with_body: bool = True) -> None:
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Hub.asked.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_allowed_model_is_fetched_at_its_commit_without_its_pickles(hub, project, settings):
    settings.HUB_MODELS = ["owner/other", f"owner/small@{COMMIT}"]

    checkpoint = register_hub_model(project, "owner/small", kind="policy", name="small", endpoint=hub)

    folder = open_checkpoint(checkpoint)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"} == {
        name: FILES[name] for name in ("config.json", "tokenizer.json", "model.safetensors")
    }
    assert not any("pytorch_model.bin" in path or "README" in path for path in Hub.asked)


def test_a_model_that_is_not_allowed_is_not_even_asked_for(hub, project, settings):
    settings.HUB_MODELS = ["owner/other"]

    with pytest.raises(ModelRefused, match=r"owner/small is not among the models that may be fetched \(owner/other\)"):
        register_hub_model(project, "owner/small", kind="policy", name="small", endpoint=hub)

    assert Hub.asked == []
    assert not Checkpoint.objects.exists()


def test_a_model_the_hub_does_not_have_is_refused(hub, project, settings):
    settings.HUB_MODELS = ["owner/other"]

    with pytest.raises(ModelRefused, match="owner/other could not be fetched"):
        register_hub_model(project, "owner/other", kind="policy", name="other", endpoint=hub)


def test_the_command_refuses_what_is_neither_folder_nor_allowed(project):
    with pytest.raises(CommandError, match="is not among the models that may be fetched \\(none are\\)"):
        call_command("register", "owner/small", project="harbour")
