import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.run_dir import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_HANDED_BACK,
    newest_checkpoint,
    prepare_run_dir,
    read_progress,
    read_result,
)
from tests.rlhf.learning.conftest import write_pairs

ROOT = Path(__file__).parents[3]


class Client:
    """One connection to the server, as the worker makes it."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(300)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rw")

    @staticmethod
    def answers(path: Path) -> bool:
        try:
            client = Client(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        ready = client.send(ping=True) == {"ready": True}
        client.close()
        return ready

    def send(self, **request) -> dict[str, object]:
        self.file.write(json.dumps(request) + "\n")
        self.file.flush()
        return self.receive()

    def receive(self) -> dict[str, object]:
        return json.loads(self.file.readline())

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def start_server(path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-m", "rlhf.learning", "--serve", str(path)], cwd=ROOT)
    wait_until(lambda: Client.answers(path), within_s=300)
    return process


def start_unloaded_server(path: Path) -> subprocess.Popen[bytes]:
    """Start a server that has imported no library: at once there, and its first run slow to start."""
    program = (
        f"from pathlib import Path; from rlhf.learning.server import ForkServer; ForkServer(Path({str(path)!r})).run()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    wait_until(lambda: Client.answers(path))
    return process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    """A server whose libraries are loaded: the path of its socket."""
    path = tmp_path_factory.mktemp("server") / "socket"
    left_behind = socket.socket(socket.AF_UNIX)
    left_behind.bind(str(path))  # by a server that was killed
    left_behind.close()
    process = start_server(path)
    yield path
    process.terminate()
    assert process.wait(60) == 0
    assert not path.exists()


@pytest.fixture
def client(server: Path):
    """A connection to the server."""
    connected = Client(server)
    yield connected
    connected.close()


def prepare(run_dir: Path, base_model: Path, **settings) -> Path:
    settings = {"batch_size": 4, "max_steps": 4, "save_steps": 1000, **settings}
    prepare_run_dir(run_dir, RewardConfig(base_model=str(base_model), **settings))
    write_pairs(run_dir, n_train=12, n_test=4)
    return run_dir


def endless(run_dir: Path, base_model: Path) -> Path:
    return prepare(run_dir, base_model, max_steps=1_000_000)


def wait_until(condition, *, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def has_stepped(run_dir: Path) -> bool:
    progress = read_progress(run_dir)
    return progress is not None and progress["step"] > 0


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_run_is_a_child_that_ends_with_its_exit_code(client: Client, tiny_policy: Path, tmp_path: Path):
    run_dir = prepare(tmp_path, tiny_policy)

    started = client.send(run_dir=str(run_dir))
    ended = client.receive()

    assert ended == {"exit": EXIT_DONE}
    assert isinstance(started["pid"], int)
    assert read_result(run_dir)["succeeded"] is True
    assert "train_runtime" in (run_dir / "learning.log").read_text()


def test_a_run_that_fails_leaves_the_server_whole(client: Client, server: Path, tmp_path: Path):
    prepare_run_dir(tmp_path, RewardConfig(base_model="nowhere"))

    client.send(run_dir=str(tmp_path))

    assert client.receive() == {"exit": EXIT_FAILED}
    assert "Traceback" in (tmp_path / "learning.log").read_text()
    assert Client(server).send(ping=True) == {"ready": True}


def list_mapped(pid: int, library: str) -> list[str]:
    """Return the addresses at which a process holds a library, which chance draws for each process that loads it."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line.split()[0] for line in lines if library in line]


def test_a_run_starts_with_the_libraries_that_the_server_has_loaded(client: Client, tiny_policy: Path, tmp_path: Path):
    peer = client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    server_pid, _, _ = struct.unpack("3i", peer)

    pid = client.send(run_dir=str(endless(tmp_path, tiny_policy)))["pid"]

    assert pid != server_pid
    assert list_mapped(pid, "libtorch_cpu") == list_mapped(server_pid, "libtorch_cpu") != []


def test_two_threads_multiply_in_a_forked_child(client: Client, tiny_policy: Path, tmp_path: Path):
    run_dir = prepare(tmp_path, tiny_policy)

    client.send(run_dir=str(run_dir), env={"OMP_NUM_THREADS": "2"})

    assert client.receive() == {"exit": EXIT_DONE}


def test_a_launcher_starts_a_run_in_several_processes(client: Client, tiny_policy: Path, tmp_path: Path):
    run_dir = prepare(tmp_path, tiny_policy)

    client.send(run_dir=str(run_dir), launcher=["--multi_gpu", "--num_processes", "2", "--main_process_port", "0"])

    assert client.receive() == {"exit": EXIT_DONE}
    assert read_result(run_dir)["succeeded"]
    # Two processes computed; each names itself once in the log where it met the other.
    assert (run_dir / "learning.log").read_text().count("of 2 is here") == 2


def test_several_runs_go_on_at_once(server: Path, tiny_policy: Path, tmp_path: Path):
    clients = [Client(server) for _ in range(3)]
    folders = [prepare(tmp_path / str(number), tiny_policy) for number in range(3)]

    pids = {client.send(run_dir=str(folder))["pid"] for client, folder in zip(clients, folders, strict=True)}

    assert [client.receive() for client in clients] == [{"exit": EXIT_DONE}] * 3
    assert len(pids) == 3


def test_sigterm_to_the_group_hands_the_run_back_with_a_checkpoint(client: Client, tiny_policy: Path, tmp_path: Path):
    run_dir = endless(tmp_path, tiny_policy)
    pid = client.send(run_dir=str(run_dir))["pid"]
    wait_until(lambda: has_stepped(run_dir))

    os.killpg(pid, signal.SIGTERM)

    assert client.receive() == {"exit": EXIT_HANDED_BACK}
    assert read_result(run_dir) is None
    assert newest_checkpoint(run_dir).name.startswith("checkpoint-")


def test_a_killed_run_is_told_by_its_signal(client: Client, tiny_policy: Path, tmp_path: Path):
    run_dir = endless(tmp_path, tiny_policy)
    pid = client.send(run_dir=str(run_dir))["pid"]
    wait_until(lambda: has_stepped(run_dir))

    os.killpg(pid, signal.SIGKILL)

    assert client.receive() == {"exit": -signal.SIGKILL}


def test_a_client_that_leaves_takes_its_run_with_it(server: Path, tiny_policy: Path, tmp_path: Path):
    run_dir = endless(tmp_path, tiny_policy)
    leaving = Client(server)
    pid = leaving.send(run_dir=str(run_dir))["pid"]
    wait_until(lambda: has_stepped(run_dir))

    leaving.close()

    wait_until(lambda: not is_alive(pid), within_s=60)
    assert newest_checkpoint(run_dir).name.startswith("checkpoint-")


@pytest.mark.parametrize(
    ("request_line", "complaint"),
    [
        ("{", 'send {"run_dir": "/absolute/path"} or {"ping": true}, one JSON object a line'),
        ("[1]", 'send {"run_dir": "/absolute/path"} or {"ping": true}, one JSON object a line'),
        ('{"run_dir": "relative"}', "relative is not the absolute path of a directory"),
        ('{"run_dir": "/no/such/folder"}', "/no/such/folder is not the absolute path of a directory"),
        ('{"run_dir": "/tmp", "env": {"A": 1}}', "env must map names to strings"),
    ],
)
def test_a_request_that_makes_no_sense_is_answered(request_line: str, complaint: str, client: Client):
    client.file.write(request_line + "\n")
    client.file.flush()

    assert client.receive() == {"error": complaint}
    assert client.send(ping=True) == {"ready": True}


def test_a_connection_has_one_run(client: Client, tiny_policy: Path, tmp_path: Path):
    run_dir = endless(tmp_path, tiny_policy)
    client.send(run_dir=str(run_dir))

    assert client.send(run_dir=str(run_dir)) == {"error": "one run a connection"}


def test_a_request_without_end_is_cut_off(client: Client):
    client.socket.sendall(b"x" * 70_000)

    assert client.socket.recv(1) == b""


def test_only_this_user_reaches_the_socket(server: Path):
    assert stat.S_IMODE(server.stat().st_mode) == 0o600


def test_runs_die_with_a_killed_server(tiny_policy: Path, tmp_path: Path):
    process = start_unloaded_server(tmp_path / "socket")
    run_dir = endless(tmp_path / "run", tiny_policy)
    client = Client(tmp_path / "socket")
    pid = client.send(run_dir=str(run_dir))["pid"]
    wait_until((run_dir / "learning.log").exists)

    process.kill()
    process.wait()

    wait_until(lambda: not is_alive(pid), within_s=60)


def test_a_server_asked_to_stop_ends_its_runs_first(tiny_policy: Path, tmp_path: Path):
    process = start_unloaded_server(tmp_path / "socket")
    run_dir = endless(tmp_path / "run", tiny_policy)
    client = Client(tmp_path / "socket")
    pid = client.send(run_dir=str(run_dir))["pid"]
    wait_until(lambda: has_stepped(run_dir), within_s=300)

    process.terminate()

    assert client.receive() == {"exit": EXIT_HANDED_BACK}
    assert process.wait(60) == 0
    assert not is_alive(pid)
    assert not (tmp_path / "socket").exists()
