"""Connections on which nothing is said keep nobody out."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection

import pytest

DEMO = ("wsgiref.simple_server:demo_app", "--workers", "1", "--threads", "1", "--no-control-socket")


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server that has one thread."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
    command = (sys.executable, "-m", "gunicorn", *DEMO, "--bind", f"127.0.0.1:{number}")
    server = subprocess.Popen([*command, "--worker-class", "config.worker.ListeningWorker"], stderr=subprocess.DEVNULL)
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", number)).close()
            break
        except ConnectionError:
            time.sleep(0.05)
    yield number
    server.terminate()
    server.wait()


def test_a_request_is_answered_while_many_connections_are_silent(port: int) -> None:
    with ExitStack() as silent:
        for _ in range(20):  # five seconds each, if each took the thread
            silent.enter_context(socket.create_connection(("127.0.0.1", port)))
        speaking = HTTPConnection("127.0.0.1", port, timeout=40)
        speaking.request("GET", "/")

        assert speaking.getresponse().status == 200


def test_who_speaks_late_is_answered_on_the_same_connection(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=40) as late:
        time.sleep(0.3)
        late.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")

        assert late.recv(12) == b"HTTP/1.1 200"
