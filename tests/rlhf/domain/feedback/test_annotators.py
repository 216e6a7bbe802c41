import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.models import AuditEvent
from rlhf.contract.errors import ConfigError
from rlhf.domain.feedback.annotators import InvalidAnnotator, add_annotator, retire_annotator, warn_of_kin
from rlhf.domain.feedback.constitutions import STARTER, write_constitution
from tests.rlhf.conftest import make_checkpoint

pytestmark = pytest.mark.django_db
HERE = "http://127.0.0.1:9/v1"


@pytest.fixture
def constitution(project):
    return write_constitution(project, STARTER)


def test_an_annotator_keeps_how_it_is_asked(project, constitution, manager):
    clara = add_annotator(
        project, "clara", endpoint=HERE, model="m", decoding={"orders": "one", "temperature": 0.0}, user=manager
    )

    assert (clara.constitution, clara.both_orders, clara.exam, clara.is_active) == (constitution, False, "open", True)
    assert clara.decoding == {
        "orders": "one", "reasoning": "none", "temperature": 0.0, "max_new_tokens": 256, "max_prompt_tokens": 2048,
        "batch_size": 16, "timeout_s": 60.0,
    }  # fmt: skip
    assert AuditEvent.objects.filter(verb="annotator.add", actor=manager).count() == 1


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "name either a checkpoint or an endpoint"),
        ({"endpoint": "ftp://127.0.0.1/v1", "model": "m"}, "endpoint must be like https://host/v1"),
        ({"endpoint": "https://user:pw@127.0.0.1/v1", "model": "m"}, "endpoint must be like https://host/v1"),
        ({"endpoint": "https://models.example.org/v1", "model": "m"}, "is not allowed: texts would leave this machine"),
        ({"endpoint": "http://[bad/v1", "model": "m"}, "endpoint must be like https://host/v1"),
        ({"endpoint": "http://127.0.0.1:999999/v1", "model": "m"}, "endpoint must be like https://host/v1"),
        ({"endpoint": "http://127.0.0.1:9/v1 x", "model": "m"}, "endpoint must be like https://host/v1"),
        ({"endpoint": "http://127.0.0.1:9\\@evil.net/v1", "model": "m"}, "endpoint must be like https://host/v1"),
        ({"endpoint": HERE, "model": "m", "decoding": {"\ud800": 1}}, r"unknown \\ud800"),
        ({"endpoint": HERE, "model": "m", "weight": 0}, "weight must be over 0"),
        ({"endpoint": HERE, "model": "m", "decoding": {"top_k": 1}}, "unknown top_k"),
    ],
)
def test_an_annotator_that_cannot_be_asked_is_refused(project, constitution, facts, message):
    with pytest.raises(InvalidAnnotator, match=message):
        add_annotator(project, "clara", **facts)


def test_an_answer_has_a_longest_length(project, constitution):
    with pytest.raises(ConfigError, match="max_new_tokens must be <= 32768"):
        add_annotator(project, "clara", endpoint=HERE, model="m", decoding={"max_new_tokens": 10**30})


def test_a_setting_that_no_computer_reckons_with_is_refused(project, constitution):
    with pytest.raises(ConfigError, match="temperature must be a finite number"):
        add_annotator(project, "clara", endpoint=HERE, model="m", decoding={"temperature": 10**400})


def test_an_endpoint_without_a_model_is_refused(project, constitution):
    with pytest.raises(ConfigError, match="name the model of the endpoint"):
        add_annotator(project, "clara", endpoint=HERE)


@pytest.mark.parametrize(
    ("endpoint", "is_allowed"),
    [
        ("https://models.example.org/v1", True),
        ("https://models.example.org/v1/", True),
        ("https://models.example.org/v1/eu", True),
        ("https://models.example.org/v2", False),
        ("https://models.example.org.evil.net/v1", False),
    ],
)
def test_the_installation_says_where_texts_may_go(project, constitution, settings, endpoint, is_allowed):
    settings.AI_ENDPOINTS = ["https://models.example.org/v1"]

    if is_allowed:
        assert add_annotator(project, "clara", endpoint=endpoint, model="m").endpoint == endpoint
    else:
        with pytest.raises(InvalidAnnotator, match="add it to AI_ENDPOINTS"):
            add_annotator(project, "clara", endpoint=endpoint, model="m")


def test_without_a_constitution_there_is_nothing_to_judge_by(project):
    with pytest.raises(InvalidAnnotator, match="has no constitution: write one"):
        add_annotator(project, "clara", endpoint=HERE, model="m")


def test_two_annotators_of_one_name_are_one_too_many(project, constitution):
    add_annotator(project, "clara", endpoint=HERE, model="m")

    with pytest.raises(InvalidAnnotator, match="choose another name"):
        add_annotator(project, "clara", endpoint=HERE, model="m")


def test_only_a_policy_of_the_project_can_be_asked(project, other_project, constitution):
    for checkpoint in (make_checkpoint(project, kind="reward"), make_checkpoint(other_project)):
        with pytest.raises(InvalidAnnotator, match="the checkpoint is no policy of Harbour"):
            add_annotator(project, "clara", checkpoint=checkpoint)


def test_whoever_judges_its_own_kin_is_named(project, constitution):
    base = make_checkpoint(project, name="base")
    clara = add_annotator(project, "clara", checkpoint=make_checkpoint(project, name="judge", parent=base))
    make_checkpoint(project, name="policy", parent=base)

    assert warn_of_kin(clara) == (
        "clara is of the same family as policy: it may prefer what it would have written itself"
    )
    assert warn_of_kin(add_annotator(project, "dora", endpoint=HERE, model="m")) == ""


def test_a_long_line_costs_no_more_queries_than_a_short_one(project, constitution):
    def add_line(n, base):
        for _ in range(n):
            base = make_checkpoint(project, parent=base)
        return base

    counts, base = [], make_checkpoint(project)
    clara = add_annotator(project, "clara", checkpoint=base)
    for n in (1, 20):
        base = add_line(n, base)
        with CaptureQueriesContext(connection) as queries:
            assert warn_of_kin(clara) != ""
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_a_retired_annotator_is_retired_once(project, constitution, manager):
    clara = add_annotator(project, "clara", endpoint=HERE, model="m")

    for _ in range(2):
        assert not retire_annotator(clara, user=manager).is_active

    assert AuditEvent.objects.filter(verb="annotator.retire").count() == 1
