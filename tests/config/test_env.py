"""Every kind of setting, read here without a start of its own: tests/config/test_settings.py starts processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.env import (
    read_broker,
    read_database,
    read_file,
    read_home,
    read_hosts,
    read_models,
    read_origins,
    read_token,
)

NAME = "A_SETTING"


def test_empty_is_unset(monkeypatch, tmp_path):
    monkeypatch.setenv(NAME, "")

    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{tmp_path}/prefloop.sqlite3"}
    assert read_database(NAME, tmp_path) == sqlite
    assert (read_hosts(NAME, default=["localhost"]), read_origins(NAME)) == (["localhost"], [])
    assert (read_broker(NAME), read_token(NAME), read_file(NAME)) == ("", "", "")


def test_a_file_is_named_by_its_whole_path_and_must_be_there(monkeypatch, tmp_path):
    (tmp_path / "fsdp.yaml").touch()
    monkeypatch.chdir(tmp_path)

    monkeypatch.setenv(NAME, "fsdp.yaml")
    assert read_file(NAME) == str(tmp_path / "fsdp.yaml")
    monkeypatch.setenv(NAME, "no/such.yaml")
    with pytest.raises(ImproperlyConfigured, match="use the path of a file that is there"):
        read_file(NAME)


@pytest.mark.parametrize("folder", ["50% of it", "what?", "a#b"])
def test_the_database_lies_in_its_home_whatever_that_is_called(monkeypatch, tmp_path, folder):
    monkeypatch.delenv(NAME, raising=False)

    assert read_database(NAME, tmp_path / folder)["NAME"] == str(tmp_path / folder / "prefloop.sqlite3")


@pytest.mark.parametrize(
    "text",
    [
        *("banana", "postgres:name", "postgres://", "postgres://host", "postgres://host/", "postgres://host:x/name"),
        *("mysql://host/name", "sqlite://", "sqlite:///", "sqlite://prefloop.sqlite3", "sqlite://:memory:", " "),
        "sqlite:///:memory:",
    ],
)
def test_a_database_that_cannot_be_is_refused(monkeypatch, tmp_path, text):
    monkeypatch.setenv(NAME, text)

    with pytest.raises(ImproperlyConfigured, match="A_SETTING is not understood: use sqlite:///PATH or postgres://"):
        read_database(NAME, tmp_path)


@pytest.mark.parametrize("read", [lambda: read_database(NAME, Path("/home")), lambda: read_broker(NAME)])
def test_a_refused_address_does_not_show_its_password(monkeypatch, read):
    monkeypatch.setenv(NAME, "postgre://user:hunter2@host/name")

    with pytest.raises(ImproperlyConfigured) as caught:
        read()

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["banana", "redis:", "http://host", "sqs://", "redis://host:port/0", "redis://a;banana", "redis://a;", " "]
)
def test_a_broker_that_cannot_be_is_refused(monkeypatch, text):
    monkeypatch.setenv(NAME, text)

    with pytest.raises(ImproperlyConfigured, match="A_SETTING is not understood: use a URL that begins with one of"):
        read_broker(NAME)


@pytest.mark.parametrize(
    "text", ["redis://", "rediss://host:6380/1", "redis+socket:///run/redis.sock", "amqps://user:word@host//"]
)
def test_a_broker_is_taken_as_it_is_written(monkeypatch, text):
    monkeypatch.setenv(NAME, text)

    assert read_broker(NAME) == text


@pytest.mark.parametrize(
    "text", [",", " ", "a,,b", "a,", "a b", "https://a.org", "a.org:443", "a.org/", "::1", "*.a.org"]
)
def test_a_host_that_nobody_can_ask_for_is_refused(monkeypatch, text):
    monkeypatch.setenv(NAME, text)

    with pytest.raises(ImproperlyConfigured, match=r"comma-separated list like label\.example\.org"):
        read_hosts(NAME, default=["localhost"])


@pytest.mark.parametrize(
    "text", [",", "a.org", "ftp://a.org", "https://", "https://a.org/", "https://a.org,b.org", "*"]
)
def test_an_origin_no_browser_sends_is_refused(monkeypatch, text):
    monkeypatch.setenv(NAME, text)

    with pytest.raises(ImproperlyConfigured, match=r"comma-separated list like https://label\.example\.org"):
        read_origins(NAME)


def test_a_home_that_is_there_keeps_its_mode(monkeypatch, tmp_path):
    tmp_path.chmod(0o750)
    monkeypatch.setenv("PREFLOOP_HOME", str(tmp_path))

    assert (read_home(), tmp_path.stat().st_mode & 0o777) == (tmp_path, 0o750)


@pytest.mark.parametrize("text", ["gpt2", "owner/name@main", "https://huggingface.co/owner/name", "../up/name"])
def test_what_is_no_model_of_the_hub_is_refused(monkeypatch, text):
    monkeypatch.setenv("HUB_MODELS", text)

    with pytest.raises(ImproperlyConfigured, match="HUB_MODELS"):
        read_models("HUB_MODELS")


def test_models_of_the_hub_may_be_pinned_to_a_commit(monkeypatch):
    monkeypatch.setenv("HUB_MODELS", f"owner/one, owner/two@{'a' * 40}")

    assert read_models("HUB_MODELS") == ["owner/one", f"owner/two@{'a' * 40}"]
