"""The cast: ada manages the kitchen, grace and hedy label there, eve labels in the garden and is a stranger here."""

from __future__ import annotations

import pytest
from django.test import Client

from labeling.domain.people import add_member
from labeling.models import Project, User


def make_member(project: Project, name: str, role: str = "labeler") -> User:
    user = User.objects.create_user(name, password="correct horse")
    add_member(project, user, role=role)
    return user


@pytest.fixture
def kitchen(db: None) -> Project:
    return Project.objects.create(slug="kitchen", name="Kitchen")


@pytest.fixture
def garden(db: None) -> Project:
    return Project.objects.create(slug="garden", name="Garden")


@pytest.fixture
def ada(kitchen: Project) -> User:
    return make_member(kitchen, "ada", role="manager")


@pytest.fixture
def grace(kitchen: Project) -> User:
    return make_member(kitchen, "grace")


@pytest.fixture
def hedy(kitchen: Project) -> User:
    return make_member(kitchen, "hedy")


@pytest.fixture
def eve(garden: Project) -> User:
    return make_member(garden, "eve")


def log_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="labeling.accounts.PasswordBackend")
    return client


@pytest.fixture
def as_ada(ada: User) -> Client:
    return log_in(ada)


@pytest.fixture
def as_grace(grace: User) -> Client:
    return log_in(grace)


@pytest.fixture
def as_hedy(hedy: User) -> Client:
    return log_in(hedy)


@pytest.fixture
def as_eve(eve: User) -> Client:
    return log_in(eve)
