"""`manage.py up` as a person starts it, where it must refuse."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent.parent


def start(home, *arguments, **environment):
    """Run `manage.py up` until it gives up; return what it says."""
    dropped = ("CELERY_BROKER_URL", "DATABASE_URL")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    process = subprocess.run(
        [sys.executable, "manage.py", "up", *arguments],
        cwd=ROOT,
        env=kept | {"PREFLOOP_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 1
    return process.stderr.strip()


def test_a_port_in_use_is_named_with_the_way_out(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        said = start(tmp_path, PORT=str(port))

    assert said.startswith(
        f"CommandError: cannot listen on 127.0.0.1:{port} (Address already in use): stop what does, or"
    )


def test_a_home_too_deep_for_a_socket_is_refused(tmp_path):
    said = start(tmp_path / ("deep" * 30))

    assert "a socket's path may have 107: choose a shorter PREFLOOP_HOME" in said


def test_a_second_host_needs_the_first_ones_broker(tmp_path):
    said = start(tmp_path, "--no-web")

    assert said == (
        "CommandError: --no-web is for a second host: set CELERY_BROKER_URL and DATABASE_URL to the first one's"
    )
