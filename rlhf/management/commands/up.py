"""Start everything this machine runs, and stop it cleanly on Ctrl-C."""

from __future__ import annotations

import fcntl
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from labeling.domain.people import ensure_admin
from rlhf.domain.demo import seed_demo
from rlhf.domain.errors import LearningError
from rlhf.domain.supervision import Supervisor, redis_service, web_service, worker_services

WEB_READY_WITHIN_S = 60.0
# Megabytes that ship with packages and that no page of ours asks for.
UNUSED_STATIC = ["redoc*", "rest_framework"]


class Stop(Exception):
    """Someone asked the supervisor to stop."""


class Command(BaseCommand):
    help = "Start the web server, the workers, the scheduler and the bundled Redis; Ctrl-C stops them all."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on (default: this machine only).")
        parser.add_argument("--no-web", action="store_true", help="Only the workers: for a second host.")
        parser.add_argument("--no-demo", action="store_true", help="Do not make the demo project.")

    def handle(self, *args: Any, **options: Any) -> None:
        with hold_lock(Path(settings.PREFLOOP_HOME) / "up.lock"):
            self.run(options)

    def run(self, options: dict[str, Any]) -> None:
        if not options["no_web"]:
            check_port(options["host"])
        self.say("preparing the database and the static files")
        prepare()
        admin = ensure_admin()
        if not options["no_demo"]:
            seed_demo()
        connection.close()
        services = [redis_service()] if settings.USES_BUNDLED_REDIS else []
        services += worker_services()
        if not options["no_web"]:
            services.insert(len(services) - 3, web_service(options["host"]))
        supervisor = Supervisor(services)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, raise_stop)
        try:
            supervisor.start()
            self.greet(options, admin)
            while True:
                time.sleep(0.5)
                for line in supervisor.check():
                    self.say(line)
        except Stop:
            self.stop(supervisor)
        except LearningError as error:
            supervisor.stop()
            raise CommandError(str(error)) from error

    def greet(self, options: dict[str, Any], admin: tuple[Any, str] | None) -> None:
        """Say where to go once the web server answers."""
        if options["no_web"]:
            self.say("workers are running; press Ctrl-C to stop")
            return
        wait_for_web()
        self.say(f"Prefloop is running at http://localhost:{settings.PORT}/ - press Ctrl-C to stop")
        if admin is not None:
            user, password = admin
            self.say(f"log in as {user.get_username()} with the password {password} (shown this once)")
        self.say(f"logs: {Path(settings.PREFLOOP_HOME) / 'logs'}")

    def stop(self, supervisor: Supervisor) -> None:
        """Stop in order; a second Ctrl-C kills."""
        self.say("stopping: running work saves its place and goes back to the queue (Ctrl-C again to kill)")
        try:
            supervisor.stop()
        except Stop:
            supervisor.kill()
        self.say("stopped")

    def say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def raise_stop(number: int, frame: Any) -> None:
    raise Stop


def check_port(host: str) -> None:
    """Refuse to start where another server listens. Raises: CommandError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, settings.PORT))
        except OSError as error:
            raise CommandError(
                f"cannot listen on {host}:{settings.PORT} ({error.strerror}): stop what does, or choose with PORT=8001"
            ) from error


def prepare() -> None:
    """Bring the database and the static files up to date; quick when they are."""
    call_command("migrate", verbosity=0, interactive=False)
    call_command("createcachetable", verbosity=0)
    call_command("collectstatic", verbosity=0, interactive=False, ignore_patterns=UNUSED_STATIC)


def wait_for_web() -> None:
    """Wait until the web server answers. Raises: LearningError."""
    deadline = time.monotonic() + WEB_READY_WITHIN_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{settings.PORT}/healthz", timeout=2)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise LearningError(
        f"the web server did not answer on port {settings.PORT}; see {settings.PREFLOOP_HOME}/logs/web.log"
    )


class hold_lock:  # noqa: N801 -- reads as a verb in its with statement
    """Hold a lock file, so that one installation has one supervisor."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w")

    def __enter__(self) -> None:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError("Prefloop is running already on this PREFLOOP_HOME; stop it first") from error

    def __exit__(self, *_: object) -> None:
        self.file.close()
