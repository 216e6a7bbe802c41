"""Reads the environment and refuses junk; settings.py is its only caller."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
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


def read_list(name: str, *, default: list[str]) -> list[str]:
    """Return a comma-separated list without blanks."""
    text = os.environ.get(name, "")
    return [item.strip() for item in text.split(",") if item.strip()] if text else default


def read_home() -> Path:
    """Return PREFLOOP_HOME, made if need be: everything the installation writes lives there."""
    home = Path(os.environ.get("PREFLOOP_HOME") or BASE_DIR / "var").resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
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
