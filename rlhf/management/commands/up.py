"""Start everything this machine runs, and stop it cleanly on Ctrl-C."""

from __future__ import annotations

import fcntl
import http.client
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from labeling.domain.people import ensure_admin
from rlhf.domain.demo import seed_demo
from rlhf.domain.errors import LearningError
from rlhf.domain.supervision import Supervisor, all_services, helper_services, log_folder

WEB_READY_WITHIN_S = 60.0
MAX_SOCKET_BYTES = 107
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 -- compared with, not bound to
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
        host = socket.gethostname()
        # One supervisor a host: a second host shares the folder and brings its own workers.
        with hold_lock(Path(settings.PREFLOOP_HOME) / f"up.{host}.lock"):
            self.run(options)

    def run(self, options: dict[str, Any]) -> None:
        is_helper = options["no_web"]
        if is_helper and settings.USES_BUNDLED_REDIS:
            raise CommandError(
                "--no-web is for a second host: set CELERY_BROKER_URL and DATABASE_URL to the first one's"
            )
        if not is_helper:
            check_port(options["host"])
        if settings.USES_BUNDLED_REDIS:
            check_socket_path()
        self.say("preparing the database and the static files")
        prepare()
        if not is_helper:
            self.welcome_admin()
            if not options["no_demo"]:
                seed_demo()
        connection.close()
        supervisor = Supervisor(helper_services() if is_helper else all_services(options["host"]))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, raise_stop)
        try:
            supervisor.start()
            self.greet(options["host"], is_helper=is_helper)
            self.keep_alive(supervisor)
        except Stop:
            self.stop(supervisor)
        except LearningError as error:
            raise CommandError(str(error)) from error
        finally:
            supervisor.stop()

    def welcome_admin(self) -> None:
        """Make the first admin, and say the password the moment it exists: nothing may come in between."""
        admin = ensure_admin()
        if admin is not None:
            user, password = admin
            self.say(f"log in as {user.get_username()} with the password {password} (shown this once)")

    def keep_alive(self, supervisor: Supervisor) -> None:
        """Start again what dies, until someone says stop. Raises: Stop, LearningError."""
        while True:
            time.sleep(0.5)
            for line in supervisor.check():
                self.say(line)

    def greet(self, host: str, *, is_helper: bool) -> None:
        """Say where to go once the web server answers."""
        if not is_helper:
            wait_for_web(host)
            self.say(f"Prefloop is running at http://localhost:{settings.PORT}/ - press Ctrl-C to stop")
        else:
            self.say("workers are running - press Ctrl-C to stop")
        self.say(f"logs: {log_folder()}")

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


def check_socket_path() -> None:
    """Refuse a home whose Redis socket no program could open. Raises: CommandError."""
    n_bytes = len(os.fsencode(settings.REDIS_SOCKET))
    if n_bytes > MAX_SOCKET_BYTES:
        raise CommandError(
            f"{settings.REDIS_SOCKET} has {n_bytes} bytes, a socket's path may have {MAX_SOCKET_BYTES}: choose a shorter "
            "PREFLOOP_HOME, or set CELERY_BROKER_URL"
        )


def wait_for_web(host: str) -> None:
    """Wait until the web server answers, whatever it says. Raises: LearningError."""
    address = "127.0.0.1" if host in ANY_ADDRESS else host
    deadline = time.monotonic() + WEB_READY_WITHIN_S
    while time.monotonic() < deadline:
        probe = http.client.HTTPConnection(address, settings.PORT, timeout=5)
        try:
            probe.request("GET", "/healthz")
            probe.getresponse()
            return
        except (OSError, http.client.HTTPException):
            time.sleep(0.2)
        finally:
            probe.close()
    raise LearningError(f"the web server did not answer on port {settings.PORT}; see {log_folder() / 'web.log'}")


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
