"""What a manager sends about a labeler: whether she works, whether her judgments count, and her exam."""

from __future__ import annotations

from django import forms
from django.db import models
from django.utils.translation import gettext_lazy as _

from labeling.models import Membership, User


class Act(models.TextChoices):
    """What a manager may do about a labeler."""

    PAUSE = "pause", _("Pause")
    QUARANTINE = "quarantine", _("Quarantine")
    REINSTATE = "reinstate", _("Reinstate")


DONE = {
    Act.PAUSE: _("%s is given nothing more to judge; what was judged counts."),
    Act.QUARANTINE: _("%s is in quarantine: the judgments are kept and left out of datasets until reinstated."),
    Act.REINSTATE: _("%s works again, and every judgment counts."),
}
MEANINGS = {
    Act.PAUSE: _("She is given nothing more to judge. What she judged counts."),
    Act.QUARANTINE: _("She is given nothing more to judge, and her judgments are kept but left out of datasets."),
    Act.REINSTATE: _("She judges again, and all her judgments count."),
}


class StandingForm(forms.Form):
    """An act and its reason, which the audit trail keeps."""

    act = forms.ChoiceField(choices=Act)
    reason = forms.CharField(
        max_length=1000, label=_("Reason"), error_messages={"required": _("Say why: the trail keeps it.")}
    )
    requeue = forms.BooleanField(required=False, label=_("With a quarantine, ask others for what she judged"))

    def say_done(self, labeler: User) -> str:
        """Return what to tell the manager once a valid form is carried out."""
        return str(DONE[Act(self.cleaned_data["act"])]) % labeler


class ExamForm(forms.Form):
    act = forms.ChoiceField(choices=[("retake", _("Let her take it again")), ("waive", _("Let her work without it"))])


def name_standing(membership: Membership | None) -> str:
    """Return how a labeler stands in the project: works, paused, quarantined or gone."""
    if membership is None:
        return "gone"
    if membership.is_quarantined:
        return "quarantined"
    return "works" if membership.is_active else "paused"


def list_acts(membership: Membership | None) -> list[tuple[str, str, str]]:
    """Return what may be done about a member as she stands: the act, its name, and what it means."""
    acts = {
        "works": [Act.PAUSE, Act.QUARANTINE],
        "paused": [Act.REINSTATE, Act.QUARANTINE],
        "quarantined": [Act.REINSTATE],
        "gone": [],
    }[name_standing(membership)]
    return [(act.value, str(act.label), str(MEANINGS[act])) for act in acts]
