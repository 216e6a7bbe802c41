"""An annotator is asked through a real learning process and a real endpoint, and what it says is stored once."""

import subprocess
import sys

import pytest
from django.conf import settings as django_settings
from django.utils import timezone

from labeling.domain.assignment import claim_slot
from labeling.models import Comparison, Completion, Judgment, Prompt
from rlhf.contract import run_dir as seam
from rlhf.contract.records import read_rows
from rlhf.domain.checkpoints import run_folder
from rlhf.domain.errors import NotReady
from rlhf.domain.feedback.annotators import InvalidAnnotator, retire_annotator
from rlhf.domain.feedback.asking import ask_comparisons, ask_revisions, record_feedback, record_judgments
from rlhf.domain.provisioning import prepare_folder
from rlhf.models import AIJudgment, Annotator, Revision, Run
from tests.rlhf.domain.feedback.conftest import add_pairs
from tests.rlhf.endpoint import Endpoint, serve

pytestmark = pytest.mark.django_db


def execute(run: Run) -> int:
    """Do what a worker does with the run, through the one door, and store the answers."""
    folder = run_folder(run)
    prepare_folder(run, folder)
    done = subprocess.run(
        [sys.executable, "-m", "rlhf.learning", str(folder)],
        cwd=django_settings.BASE_DIR,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    end(run)
    return record_feedback(run, folder / seam.FEEDBACK)


def end(run: Run) -> Run:
    Run.objects.filter(pk=run.pk).update(state="succeeded", finished_at=timezone.now())
    return run


def prefer_kind(text: str) -> float:
    return 0.95 if "please" in text.split("(A)")[2].split("(B)")[0] else 0.05


def point_to(annotator: Annotator, endpoint: Endpoint) -> Annotator:
    Annotator.objects.filter(pk=annotator.pk).update(endpoint=endpoint.url)
    annotator.refresh_from_db()
    return annotator


def test_an_annotators_word_is_stored_once_and_nobodys_judgment(project, annotator):
    comparisons = add_pairs(project, 3)
    with serve(Endpoint(prefer_kind)) as endpoint:
        run = ask_comparisons(point_to(annotator, endpoint))
        assert execute(run) == 3

    record_feedback(run, run_folder(run) / seam.FEEDBACK)

    stored = AIJudgment.objects.order_by("comparison").values_list("comparison", "p", "is_flip", "needs_person", "run")
    assert list(stored) == [(comparison.pk, pytest.approx(0.95), False, False, run.pk) for comparison in comparisons]
    assert Judgment.objects.count() == 0
    with pytest.raises(NotReady, match="asked about every open comparison"):
        ask_comparisons(annotator)


def test_flips_and_halves_are_left_to_people(project, annotator):
    add_pairs(project, 1)
    with serve(Endpoint(lambda text: 0.8)) as endpoint:
        execute(ask_comparisons(point_to(annotator, endpoint)))

    assert AIJudgment.objects.values_list("p", "is_flip", "needs_person").get() == (0.5, True, True)


def test_held_out_prompts_are_nobodys_to_ask_about(project, annotator):
    add_pairs(project, 2)
    Prompt.objects.update(is_held_out=True)

    with pytest.raises(NotReady):
        ask_comparisons(annotator)


def test_a_question_carries_its_principle_and_is_the_same_when_asked_again(project, annotator):
    add_pairs(project, 5)

    first, second = (end(ask_comparisons(annotator)).dataset for _ in range(2))

    assert first == second
    prepare_folder(run := ask_comparisons(annotator), run_folder(run))
    rows = list(read_rows(run_folder(run) / "data" / "prompts.jsonl"))
    texts = {item["id"]: item["comparison"] for item in annotator.constitution.principles}
    assert [row["text"] for row in rows] == [texts[row["principle"]] for row in rows]


def test_a_revision_is_a_third_completion_and_a_pair_nobody_is_given(project, annotator, labeler):
    comparison = add_pairs(project, 1)[0]
    rude = comparison.completion_b
    Comparison.objects.filter(pk=comparison.pk).update(state="retired")
    with serve(Endpoint(prefer_kind, write=lambda text: "Come in, please.")) as endpoint:
        assert execute(ask_revisions(point_to(annotator, endpoint), [rude], n_turns=2)) == 1

    revision = Revision.objects.get()
    assert (revision.original, revision.revised.text, revision.turn) == (rude, "Come in, please.", 2)
    assert revision.revised.prompt == comparison.prompt
    said = AIJudgment.objects.get()
    pair = said.comparison
    chosen = pair.completion_a if said.p == 1 else pair.completion_b
    assert (chosen, {pair.completion_a, pair.completion_b}) == (revision.revised, {revision.revised, rude})
    assert (pair.overlap, claim_slot(project, labeler)) == (0, None)
    with pytest.raises(NotReady, match="no completion left"):
        ask_revisions(annotator, [rude])


def test_what_was_not_rewritten_is_no_revision(project, annotator):
    rude = add_pairs(project, 1)[0].completion_b
    with serve(Endpoint(prefer_kind, write=lambda text: rude.text)) as endpoint:
        assert execute(ask_revisions(point_to(annotator, endpoint), [rude])) == 0

    assert (Revision.objects.count(), Completion.objects.count(), AIJudgment.objects.count()) == (0, 2, 0)


def test_a_retired_annotator_and_a_forbidden_endpoint_are_not_asked(project, annotator):
    add_pairs(project, 1)
    Annotator.objects.update(endpoint="https://models.example.org/v1")
    annotator.refresh_from_db()

    with pytest.raises(InvalidAnnotator, match="AI_ENDPOINTS"):
        ask_comparisons(annotator)
    with pytest.raises(NotReady, match="clara is retired"):
        ask_comparisons(retire_annotator(annotator))


def test_whoever_asks_twice_is_told_of_the_run_there_is(project, annotator):
    add_pairs(project, 3)
    first = ask_comparisons(annotator)

    with pytest.raises(NotReady, match=rf"clara is being asked by run {first.pk} \(queued\): wait until it ends"):
        ask_comparisons(annotator)

    assert Run.objects.count() == 1
    rude = Comparison.objects.first().completion_b
    assert ask_revisions(annotator, [rude]).config["task"] == "revise"  # another kind of question
    end(first)
    assert ask_comparisons(annotator).state == "queued"


@pytest.mark.parametrize(("p_raw", "needs_person"), [(0.95, False), (0.62, True)])
def test_who_is_unsure_is_told_before_it_is_kept_near_a_half(project, annotator, p_raw, needs_person):
    comparison = add_pairs(project, 1)[0]
    run = ask_comparisons(annotator)
    said = {
        "comparison_id": str(comparison.pk),
        "principle": "kind",
        "p": 0.6,
        "p_raw": p_raw,
        "p_ab": 0.6,
        "p_ba": 0.6,
    }
    plain = said | {"is_flip": False, "is_unclear": False, "is_refused": False, "critique": "", "n_tokens": 1}

    record_judgments(run, annotator, [plain])

    assert AIJudgment.objects.values_list("p", "needs_person").get() == (0.6, needs_person)
