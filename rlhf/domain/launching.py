"""The learning process seen from the worker: a fork server that keeps the libraries loaded, and one child a run.

The server's protocol is described in rlhf/learning/server.py; nothing of torch is imported here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

from rlhf.contract import run_dir as seam
from rlhf.domain.errors import LaunchAbandoned, LaunchFailed, LearningError

# A cold import of torch, transformers and trl was measured at 5 to 20 s on 2 busy cores.
READY_WITHIN_S = 180.0


class LearningProcess:
    """One run's process, a child of the fork server and the leader of its own process group."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.connection = connection
        self.pid = pid
        self.exit_code: int | None = None

    def wait(self, timeout_s: float) -> int | None:
        """Return the exit code, negative for a signal, or None if the process is still there after timeout_s."""
        if self.exit_code is None:
            self.connection.settimeout(max(timeout_s, 0.01))  # 0 would not wait and raise something else
            try:
                self.exit_code = int(read_reply(self.connection)["exit"])
            except TimeoutError:
                return None
            self.connection.close()
        return self.exit_code

    def stop(self, grace_s: float) -> int | None:
        """Ask it to save and leave; after grace_s kill its whole group."""
        self.send_signal(signal.SIGTERM)
        if self.wait(grace_s) is None:
            self.send_signal(signal.SIGKILL)
            self.wait(10.0)
        return self.exit_code

    def send_signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass  # it has just ended; wait() will say how


class LearningServer:
    """Starts the fork server when it is first needed and starts it again should it have died."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.socket_path = Path(tempfile.gettempdir()) / "prefloop-not-started" / "learning.sock"

    def start(self) -> None:
        """Begin to load the libraries in the background; return at once."""
        if self.process is not None and self.process.poll() is None:
            return
        # Not under PREFLOOP_HOME: a Unix socket's path may have 107 bytes and no more.
        shutil.rmtree(self.socket_path.parent, ignore_errors=True)
        self.socket_path = Path(tempfile.mkdtemp(prefix="prefloop-")) / "learning.sock"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rlhf.learning", "--serve", str(self.socket_path)],
            cwd=settings.BASE_DIR,
            env=learning_environment(),
            start_new_session=True,
        )

    def launch(
        self,
        run_folder: Path,
        *,
        is_unwanted: Callable[[], bool],
        devices: Sequence[str] = (),
        in_several: bool = True,
    ) -> LearningProcess:
        """Start the run whose directory is ready, on some GPUs of this host or, without any, on what it finds.

        Args: in_several: in as many processes as this host starts of a run, if its kind can use them.
        Raises: LaunchFailed, LaunchAbandoned.
        """
        self.start()
        connection = self.connect(is_unwanted)
        try:
            connection.settimeout(30.0)
            environment = {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {}
            launcher = launcher_arguments() if in_several else []
            request = {"run_dir": str(run_folder), "launcher": launcher, "env": environment}
            connection.sendall(json.dumps(request).encode() + b"\n")
            reply = read_reply(connection)
        except (OSError, LearningError) as error:
            connection.close()
            raise LaunchFailed(f"the learning server did not start the run: {error}") from error
        if "pid" not in reply:
            connection.close()
            raise LaunchFailed(f"the learning server refused the run: {reply.get('error', reply)}")
        return LearningProcess(connection, int(reply["pid"]))

    def connect(self, is_unwanted: Callable[[], bool]) -> socket.socket:
        """Return a connection, waiting while the server is still loading its libraries."""
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                raise LaunchFailed("the learning server died while it loaded its libraries; see the worker's log")
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(str(self.socket_path))
                return connection
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
            if is_unwanted():
                raise LaunchAbandoned("the run was not started")
            time.sleep(0.1)
        raise LaunchFailed(f"the learning server was not ready within {READY_WITHIN_S:.0f} s")

    def stop(self) -> None:
        """End the server and with it every run it started."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None
        shutil.rmtree(self.socket_path.parent, ignore_errors=True)


def launcher_arguments() -> list[str]:
    """Return what `accelerate launch` is told on this host; nothing where a run is one process."""
    arguments = []
    if settings.LEARNING_ACCELERATE_CONFIG:
        arguments += ["--config_file", settings.LEARNING_ACCELERATE_CONFIG]
    if settings.LEARNING_PROCESSES > 1:
        arguments += ["--num_processes", str(settings.LEARNING_PROCESSES)]
        arguments += [] if settings.LEARNING_ACCELERATE_CONFIG else ["--multi_gpu"]  # without it accelerate starts one
    return arguments


# What a learning process may know of its surroundings: nothing that opens a database, a broker or a cloud account.
# AI_KEY_... is there to be known: the keys of endpoints that AI feedback asks.
KEPT_NAMES = {
    *("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "GLIBC_TUNABLES"),
    "PREFLOOP_HOME",
}
KEPT_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "NCCL_", "OMP_", "MKL_", "TORCH_", "PYTORCH_", "AI_KEY_")


def learning_environment() -> dict[str, str]:
    """The environment of everything that loads a model: no hub, no telemetry, no secrets."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT_NAMES or name.startswith(KEPT_PREFIXES)}
    offline = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PREFLOOP_HOME": str(settings.PREFLOOP_HOME),
    }
    return kept | offline


def read_reply(connection: socket.socket) -> dict[str, Any]:
    """Return the server's next JSON line. Raises: TimeoutError, LearningError when the server has gone."""
    line = bytearray()
    while not line.endswith(b"\n"):
        block = connection.recv(1)
        if not block:
            raise LearningError("the learning server went away in the middle of a run")
        line += block
    reply: dict[str, Any] = json.loads(line)
    return reply


def describe_exit(exit_code: int | None) -> str:
    """Say in words how a process without a result ended."""
    if exit_code is not None and exit_code < 0:
        hint = " (out of memory?)" if exit_code == -9 else ""
        return f"the learning process was killed by signal {-exit_code}{hint}"
    return f"the learning process ended with code {exit_code} and no result"


def last_words(folder: Path) -> str:
    """Return the end of the log, for the run's page."""
    log = folder / seam.LOG
    if not log.exists():
        return ""
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return f": {lines[-1][:300]}" if lines else ""
