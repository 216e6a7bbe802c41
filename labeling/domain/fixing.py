"""A labeler rewrites the better completion: the new text is a demonstration, and better than both."""

from __future__ import annotations

from django.utils.translation import gettext as _

from labeling.domain.content import check_text, hash_text
from labeling.domain.errors import InvalidJudgment
from labeling.models import Completion, Demonstration, Fix, Judgment, User

MAX_CHARS = 100_000


def store_fix(judgment: Judgment, text: str, labeler: User) -> Fix | None:
    """Store the text as a completion of the prompt, as a demonstration, and as the fix of this judgment; "" is none.

    No comparison is proposed of it: that it is better than both completions is what the judgment says, and a freeze
    derives those pairs.
    """
    if not text.strip():
        Judgment._meta.get_field("fix").set_cached_value(judgment, None)  # type: ignore[union-attr]
        return None
    text = text.replace("\r\n", "\n")  # a form sends every line break as two characters
    check_fix(judgment, text)
    completion, _is_new = Completion.objects.get_or_create(
        prompt_id=judgment.comparison.prompt_id,
        content_sha=hash_text(text),
        defaults={"text": text, "author": labeler},
    )
    Demonstration.objects.get_or_create(completion=completion, imported=None)
    return Fix.objects.create(judgment=judgment, completion=completion)


def check_fix(judgment: Judgment, text: str) -> None:
    """Raise InvalidJudgment saying why the rewritten text cannot be what is better than both."""
    comparison = judgment.comparison
    if not comparison.project.asks_fixes:
        raise InvalidJudgment(_("This project asks for no rewriting: send your vote without it."))
    if judgment.strength == 0 and not judgment.both_bad:
        raise InvalidJudgment(_("Say which one is better before you rewrite it, or that both are bad."))
    if len(text) > MAX_CHARS:
        raise InvalidJudgment(
            _("The rewritten text has %(n)d characters: %(most)d are the most.") % {"n": len(text), "most": MAX_CHARS}
        )
    check_text(text, what=_("the rewritten text"))
    given = (comparison.completion_a.text, comparison.completion_b.text)
    if text in [other.replace("\r\n", "\n") for other in given]:
        raise InvalidJudgment(_("The rewritten text is one of the two completions: change it, or leave it out."))


def show_fix(judgment: Judgment) -> str:
    """Return the text a judgment came with, or "" for none."""
    fix: Fix | None = getattr(judgment, "fix", None)
    return fix.completion.text if fix else ""


def withdraw_fix(judgment: Judgment) -> None:
    """Take back the demonstration of a judgment that was revised, unless another judgment stands for it."""
    fix = Fix.objects.filter(judgment=judgment).first()
    if fix is None:
        return
    standing = Fix.objects.filter(completion=fix.completion_id, judgment__revision__isnull=True)
    if not standing.exists():
        Demonstration.objects.filter(completion=fix.completion_id, imported__isnull=True).delete()
