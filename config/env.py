"""Reads the environment and refuses junk; settings.py is its only caller."""

from __future__ import annotations

import os
import re
import secrets
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
BROKER_SCHEMES = ("redis", "rediss", "redis+socket", "amqp", "amqps", "memory")
HOST = re.compile(r"\*|\.?[a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\]", re.IGNORECASE)
ORIGIN = re.compile(r"https?://((\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.IGNORECASE)
ENDPOINT = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?")
HUB_MODEL = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[0-9a-f]{40})?")
DEVICE = re.compile(r"[0-9]{1,3}|(GPU|MIG)-[0-9A-Za-z-]{1,56}")
TOKEN = re.compile(r"[!-~]{16,}")

# A developer's .env never overrides what the shell says.
environ.Env.read_env(BASE_DIR / ".env", overwrite=False)


def read_bool(name: str, *, default: bool) -> bool:
    """Return True or False; any other spelling stops the start."""
    text = os.environ.get(name, "")
    if text == "":
        return default
    if text not in ("True", "False"):
        raise ImproperlyConfigured(f"{name}={text!r} is not understood: use True or False")
    return text == "True"


def read_int(name: str, *, default: int, low: int, high: int) -> int:
    """Return a whole number between low and high."""
    text = os.environ.get(name, "")
    if text == "":
        return default
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise ImproperlyConfigured(f"{name}={text!r} is not understood: use a whole number from {low} to {high}")
    return int(text)


def read_hosts(name: str, *, default: list[str]) -> list[str]:
    """Return the comma-separated names this server answers to."""
    return read_list(name, default=default, item=HOST, wanted="label.example.org, no scheme and no port")


def read_origins(name: str) -> list[str]:
    """Return comma-separated origins, none if unset."""
    return read_list(name, default=[], item=ORIGIN, wanted="https://label.example.org, no path")


def read_endpoints(name: str) -> list[str]:
    """Return the comma-separated base URLs that texts may be sent to, none if unset."""
    return read_list(name, default=[], item=ENDPOINT, wanted="https://models.example.org/v1")


def read_models(name: str) -> list[str]:
    """Return the comma-separated models of the Hub that may be fetched, none if unset."""
    return read_list(name, default=[], item=HUB_MODEL, wanted="owner/name or owner/name@COMMIT, 40 hexadecimal digits")


def read_devices(name: str) -> list[str]:
    """Return comma-separated GPUs as CUDA_VISIBLE_DEVICES names them, none if unset."""
    return read_list(name, default=[], item=DEVICE, wanted="0,1 or GPU-8932f937-d72c-4106-c12f-20bd9faed9f6")


def read_list(name: str, *, default: list[str], item: re.Pattern[str], wanted: str) -> list[str]:
    """Return a comma-separated list of at least one item."""
    text = os.environ.get(name, "")
    if text == "":
        return default
    items = [part.strip() for part in text.split(",")]
    if not all(item.fullmatch(part) for part in items):
        raise ImproperlyConfigured(f"{name}={text!r} is not understood: use a comma-separated list like {wanted}")
    return items


def read_token(name: str) -> str:
    """Return a secret that programs send in a header, '' if unset. The message does not repeat it."""
    text = os.environ.get(name, "")
    if text and not TOKEN.fullmatch(text):
        raise ImproperlyConfigured(f"{name} is not understood: use at least 16 ASCII characters without spaces")
    return text


def read_database(name: str, home: Path) -> dict[str, Any]:
    """Return Django's description of the database: a file in `home` if unset. The message repeats no password."""
    url = os.environ.get(name, "")
    if url == "":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(home / "prefloop.sqlite3")}
    try:
        is_known = url.startswith(("sqlite:///", "postgres://", "postgresql://"))
        database = environ.Env.db_url_config(url) if is_known else {}
    except ValueError:  # a port that is no number
        database = {}
    # A database in memory would be another one in every process.
    if database.get("NAME", "") in ("", ":memory:"):
        raise ImproperlyConfigured(
            f"{name} is not understood: use sqlite:///PATH or postgres://USER:PASSWORD@HOST/NAME, or leave it unset"
        )
    return database


def read_broker(name: str) -> str:
    """Return the broker's URL, or several to try in turn, between semicolons; '' if unset."""
    text = os.environ.get(name, "")
    if text and not all(is_broker(url) for url in text.split(";")):
        schemes = ", ".join(f"{scheme}://" for scheme in BROKER_SCHEMES)
        raise ImproperlyConfigured(f"{name} is not understood: use a URL that begins with one of {schemes}")
    return text


def is_broker(url: str) -> bool:
    scheme, separator, _ = url.partition("://")
    try:
        urlsplit(url).port  # noqa: B018 -- it raises when the port is no number
    except ValueError:
        return False
    return separator != "" and scheme in BROKER_SCHEMES


def read_file(name: str) -> str:
    """Return the absolute path of a file that is there, '' if unset."""
    text = os.environ.get(name, "")
    if text and not Path(text).is_file():
        raise ImproperlyConfigured(f"{name}={text!r} is not understood: use the path of a file that is there")
    return str(Path(text).resolve()) if text else ""


def read_home() -> Path:
    """Return PREFLOOP_HOME, made for its owner alone if need be: everything the installation writes lives there."""
    home = Path(os.environ.get("PREFLOOP_HOME") or BASE_DIR / "var").resolve()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"PREFLOOP_HOME={home} cannot be made: {error}") from error
    return home


def read_secret_key(home: Path) -> str:
    """Return SECRET_KEY, or the random one this installation made for itself at its first start."""
    key = os.environ.get("SECRET_KEY", "")
    if key:
        if len(key) < 32 or len(set(key)) < 8:
            raise ImproperlyConfigured("SECRET_KEY is too weak: use at least 32 random characters, or leave it unset")
        return key
    return make_secret(home / "secret_key")


def make_secret(path: Path) -> str:
    """Return the secret kept in `path`, made once with mode 0600 even when several processes start together."""

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return wait_for_secret(path)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(50))
        file.flush()
        os.fsync(file.fileno())
    return path.read_text()


def wait_for_secret(path: Path) -> str:
    """Return the secret another process is writing; it is one small write, so one second is plenty."""

    for _ in range(100):
        if text := path.read_text():
            return text
        time.sleep(0.01)
    raise ImproperlyConfigured(f"{path} is empty: delete it and start again")
