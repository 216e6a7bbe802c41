"""A fork server: the libraries are imported once, each run is a forked child that starts in milliseconds.

Start it with `python -m rlhf.learning --serve SOCKET`, from a thread that lives as long as the server shall: the kernel
kills the server (and with it every run) when that thread ends. SOCKET (mode 0600) appears when the server is ready.

Protocol, JSON lines of at most 64 KiB over the Unix socket:

    client  {"ping": true}                                      any number of times
    server  {"ready": true}
    client  {"run_dir": "/abs/path", "env": {"NAME": "value"}}  env is optional; one run a connection
            "launcher": ["--num_processes", "2"]                optional too: starts the run with `accelerate launch`
    server  {"pid": 1234}                                       at once; pid is also the run's process group
    server  {"exit": 0}                                         when the run ended; -N when signal N ended it
    server  {"error": "..."}                                    instead, for a request that it cannot read or start

The run writes stdout and stderr to run_dir/learning.log. `exit` is one of contract.run_dir's EXIT codes; what happened
is in run_dir/result.json. To stop a run with time to save: os.killpg(pid, SIGTERM), and wait for `exit` (75, handed back).
A client that closes the connection, or dies, ends its run: SIGTERM to the group, SIGKILL 5 s later. Environment names
that the libraries read at import (HF_*) come too late in `env`; CUDA_VISIBLE_DEVICES and OMP_NUM_THREADS do not.
SIGTERM to the server ends all its runs in the same way, then the server.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf.learning.child import run_child
from rlhf.learning.preloading import preload

GRACE_S = 5.0
MAX_REQUEST_BYTES = 65536


@dataclass(eq=False)
class Connection:
    """One client, and the run it started, if any."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    pid: int = 0
    open: bool = True
    kill_at_s: float | None = None


def serve(path: Path) -> int:
    """Preload the libraries, listen on `path` until SIGTERM or SIGINT, and return the exit code."""
    preload()
    ForkServer(path).run()
    return 0


class ForkServer:
    """The single-threaded loop: accept, read requests, fork, reap, kill what overstays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stopping = False
        self.connections: set[Connection] = set()
        self.selector = selectors.DefaultSelector()
        self.listener = listen(path)
        self.wake_reader, self.wake_writer = socket.socketpair()
        for end in (self.wake_reader, self.wake_writer):
            end.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.wake_reader, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until told to stop and the last run is over."""
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.note_signal)
        signal.set_wakeup_fd(self.wake_writer.fileno(), warn_on_full_buffer=False)
        try:
            while not (self.stopping and not self.running()):
                self.turn()
        finally:
            self.path.unlink(missing_ok=True)

    def turn(self) -> None:
        """Answer what has happened since the last turn."""
        for key, _ in self.selector.select(self.seconds_to_next_kill()):
            if key.fileobj is self.listener:
                self.accept()
            elif key.fileobj is self.wake_reader:
                self.wake_reader.recv(4096)
            else:
                self.receive(key.data)
        self.reap()
        if self.stopping:
            for connection in self.running():
                self.end_run(connection)
        self.kill_overdue()

    def note_signal(self, number: int, frame: Any) -> None:
        """Remember a request to stop. SIGCHLD needs no memory: the wakeup alone makes the loop reap."""
        if number != signal.SIGCHLD:
            self.stopping = True

    def running(self) -> list[Connection]:
        """Return the connections whose run has not ended."""
        return [connection for connection in self.connections if connection.pid]

    def accept(self) -> None:
        client, _ = self.listener.accept()
        connection = Connection(client)
        self.connections.add(connection)
        self.selector.register(client, selectors.EVENT_READ, connection)

    def receive(self, connection: Connection) -> None:
        """Take in bytes and answer whole lines; nothing more to come means that the client has left."""
        try:
            block = connection.socket.recv(MAX_REQUEST_BYTES)
        except ConnectionResetError:
            block = b""
        connection.received += block
        if not block or len(connection.received) > MAX_REQUEST_BYTES:
            self.close(connection)
            return
        while connection.open and (end := connection.received.find(b"\n")) >= 0:
            line = bytes(connection.received[:end])
            del connection.received[: end + 1]
            self.answer(connection, line)

    def answer(self, connection: Connection, line: bytes) -> None:
        """Do what one request line asks."""
        try:
            request = json.loads(line)
        except ValueError:
            request = None
        if isinstance(request, dict) and request.get("ping"):
            self.send(connection, {"ready": True})
        elif (complaint := find_complaint(request)) or connection.pid or self.stopping:
            self.send(connection, {"error": complaint or ("stopping" if self.stopping else "one run a connection")})
        else:
            self.start_run(connection, request)

    def start_run(self, connection: Connection, request: dict[str, Any]) -> None:
        """Fork; the child never returns from here."""
        run_dir, environment = Path(request["run_dir"]), request.get("env", {})
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            self.forget_in_child()
            run_child(run_dir, environment, parent=server, launcher=request.get("launcher", ()))
        os.setpgid(pid, pid)  # the child does the same: whoever comes first, the group is there before its pid is told
        connection.pid = pid
        self.send(connection, {"pid": pid})

    def forget_in_child(self) -> None:
        """Drop the server's descriptors and signal handlers in a fresh child."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        self.selector.close()
        for end in (self.listener, self.wake_reader, self.wake_writer, *(c.socket for c in self.connections)):
            end.close()

    def reap(self) -> None:
        """Tell the clients of ended children how they ended."""
        for connection in self.running():
            pid, status = os.waitpid(connection.pid, os.WNOHANG)
            if pid:
                connection.pid, connection.kill_at_s = 0, None
                self.send(connection, {"exit": os.waitstatus_to_exitcode(status)})
                if not connection.open:
                    self.connections.discard(connection)

    def close(self, connection: Connection) -> None:
        """Forget a client; a run of its that still goes on is ended."""
        connection.open = False
        self.selector.unregister(connection.socket)
        connection.socket.close()
        if connection.pid:
            self.end_run(connection)
        else:
            self.connections.discard(connection)

    def end_run(self, connection: Connection) -> None:
        """Ask the run's group to stop, once; `kill_overdue` does the rest."""
        if connection.kill_at_s is None:
            connection.kill_at_s = time.monotonic() + GRACE_S
            os.killpg(connection.pid, signal.SIGTERM)

    def kill_overdue(self) -> None:
        """Kill the groups whose grace is over."""
        for connection in self.running():
            if connection.kill_at_s is not None and connection.kill_at_s <= time.monotonic():
                os.killpg(connection.pid, signal.SIGKILL)

    def seconds_to_next_kill(self) -> float | None:
        """Return how long the loop may sleep, None for as long as it likes."""
        times = [connection.kill_at_s for connection in self.running() if connection.kill_at_s is not None]
        return max(min(times) - time.monotonic(), 0.05) if times else None

    def send(self, connection: Connection, answer: dict[str, Any]) -> None:
        """Send one line; a client that has gone is found out by the next read."""
        if connection.open:
            try:
                connection.socket.sendall(json.dumps(answer).encode() + b"\n")
            except OSError as error:
                print(f"answer to a client lost: {error}", file=sys.stderr)


def find_complaint(request: Any) -> str:
    """Return what is wrong with a request for a run, empty when nothing is."""
    if not isinstance(request, dict) or not isinstance(request.get("run_dir"), str):
        return 'send {"run_dir": "/absolute/path"} or {"ping": true}, one JSON object a line'
    environment = request.get("env", {})
    if not isinstance(environment, dict) or not all(isinstance(value, str) for value in environment.values()):
        return "env must map names to strings"
    launcher = request.get("launcher", [])
    if not isinstance(launcher, list) or not all(isinstance(argument, str) for argument in launcher):
        return "launcher must be a list of strings, the arguments of accelerate launch"
    if not Path(request["run_dir"]).is_absolute() or not Path(request["run_dir"]).is_dir():
        return f"{request['run_dir']} is not the absolute path of a directory"
    return ""


def listen(path: Path) -> socket.socket:
    """Return a listening socket that only this user can reach. Replaces the file of a server that died."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen(64)
    return listener
