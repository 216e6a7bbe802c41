"""A labeler changes her mind: one more row, the last word, until what she said is in a dataset or a graded exam."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from labeling.domain.assignment import require_member
from labeling.domain.attention import is_hasty
from labeling.domain.errors import AlreadyFrozen, AlreadyRevised, ClaimLost
from labeling.domain.exams import refuse_graded
from labeling.domain.fixing import store_fix, withdraw_fix
from labeling.domain.judging import Vote, count_shown, read_vote
from labeling.domain.overlap import ask_another
from labeling.domain.placing import choose_guideline_id, find_guideline_id, load_judged
from labeling.domain.tallying import update_tally
from labeling.models import PROBES, Comparison, Judgment, Project, Reason, User


def revise_judgment(
    judgment: Judgment,
    labeler: User,
    *,
    idempotency_key: uuid.UUID,
    vote: Vote,
    shown_at: datetime | None = None,
    guideline_id: int | None = None,
) -> Judgment:
    """Store the labeler's new word on what she judged before; the old row stays. A replay is the stored row.

    What went into a dataset, or into an exam that is graded, stays as it is.
    """
    stored = Judgment.objects.filter(idempotency_key=idempotency_key, revises=judgment, labeler=labeler).first()
    if stored:
        return stored
    if judgment.labeler_id != labeler.pk:
        raise ClaimLost(_("This judgment is someone else's: only its labeler can change it."))
    try:
        with transaction.atomic():
            comparison = load_judged(judgment.comparison_id)
            require_member(comparison.project, labeler)
            refuse_sealed(judgment, comparison.project)
            latest_id = find_guideline_id(comparison.project)
            followed_id = choose_guideline_id(comparison.project, guideline_id, latest_id=latest_id)
            return store_revision(
                judgment,
                comparison,
                vote,
                idempotency_key=idempotency_key,
                shown_at=shown_at,
                guideline_id=followed_id,
            )
    except IntegrityError as error:
        require_member(judgment.comparison.project, labeler)
        raise AlreadyRevised(_("This vote was changed already: undo the newer one.")) from error


def store_revision(
    judgment: Judgment,
    comparison: Comparison,
    vote: Vote,
    *,
    idempotency_key: uuid.UUID,
    shown_at: datetime | None,
    guideline_id: int | None,
) -> Judgment:
    """Insert the row that revises another, and what follows from it."""
    now = timezone.now()
    elapsed_s = (now - judgment.shown_at).total_seconds()
    revision = Judgment.objects.create(
        idempotency_key=idempotency_key,
        comparison=comparison,
        labeler_id=judgment.labeler_id,
        revises=judgment,
        is_extra=judgment.is_extra,
        a_shown_left=judgment.a_shown_left,
        lease_token=judgment.lease_token,
        guideline_id=guideline_id,
        reason=judgment.reason,
        propensity=judgment.propensity,
        is_conditional=judgment.is_conditional,
        shown_at=min(shown_at or now, now),
        # A second look mends haste, unless it came as soon itself.
        is_hasty=judgment.is_hasty and is_hasty(count_shown(comparison), elapsed_s),
        **read_vote(vote, comparison, a_shown_left=judgment.a_shown_left),
    )
    store_fix(revision, vote.fix, judgment.labeler)
    withdraw_fix(judgment)
    if judgment.reason not in PROBES:
        update_tally(comparison)
        ask_another(comparison)
    return revision


def refuse_sealed(judgment: Judgment, project: Project) -> None:
    """Raise where a change of mind comes too late: the vote is in a dataset, or in an exam that is graded."""
    if judgment.pk <= project.frozen_upto:
        raise AlreadyFrozen(_("This vote went into a dataset and cannot be changed any more."))
    if judgment.reason == Reason.EXAM:
        refuse_graded(judgment)


def seal_judgments(project: Project, upto: int) -> None:
    """Let nobody revise the project's judgments up to this id any more: a dataset is frozen of them.

    What has been revised when this returns stays so, and nothing else will be.
    """
    Project.objects.filter(pk=project.pk, frozen_upto__lt=upto).update(frozen_upto=upto)
