import json
from pathlib import Path

import pytest
from django.utils import translation

from labeling.domain.intake.refusals import FileRefused, Reason, RowRefused, tell
from labeling.domain.intake.report import Report, report_cause, translate_report

KNOWN = "%(labeler)s is no active member of %(project)s: ask its manager to be added"  # in the German catalogue


def test_a_reason_is_english_text_and_the_same_in_any_language():
    reason = Reason(KNOWN, labeler="ada", project=3)

    assert reason == "ada is no active member of 3: ask its manager to be added"
    assert reason.said == [KNOWN, {"labeler": "ada", "project": 3}]
    with translation.override("de"):
        assert tell(json.loads(json.dumps(reason.said))) == translation.gettext(KNOWN) % {
            "labeler": "ada",
            "project": 3,
        }
        assert tell(reason.said) != reason


def test_a_reason_within_a_reason_is_told_too():
    inner = RowRefused(KNOWN, labeler="ada", project="p")
    outer = FileRefused("%(path)s is not a JSON array: %(error)s", path=Path("/x"), error=inner)

    assert str(outer) == f"/x is not a JSON array: {inner}"
    assert str(outer.name_file("/x", "mine.json")) == f"mine.json is not a JSON array: {inner}"
    with translation.override("de"):
        assert tell(outer.reason.said).endswith(tell(inner.reason.said))


def test_several_reasons_are_one_and_a_percent_sign_is_no_placeholder():
    reasons = [Reason("one"), Reason("two of %(n)s", n="100%"), Reason("three: 5%")]

    assert Reason.chain(reasons) == "one; two of 100%; three: 5%"
    assert tell(Reason.chain(reasons).said) == "one; two of 100%; three: 5%"


def test_many_reasons_are_the_first_three_and_how_many_more_each_counted_once():
    reasons = [Reason("no %(n)s", n=n) for n in (1, 1, 2, 3, 2)]

    assert Reason.chain(reasons) == "no 1; no 2; no 3"
    assert Reason.chain(reasons + [Reason("no %(n)s", n=n) for n in range(4, 3000)]) == (
        "no 1; no 2; no 3; and 2996 more"
    )


def test_what_was_said_is_told_however_deep_it_is_nested():
    said = ["end", {}]
    for _ in range(5000):
        said = ["%(inner)s.", {"inner": {"said": said}}]

    assert tell(said) == "end" + 5000 * "."


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_kept_report_is_told_in_the_language_of_now(language):
    report = Report("trl")
    report.add_bad(3, Reason(KNOWN, labeler="\x00" + "x" * 500, project="p"))
    report.add_bad(4, "plain words")
    kept = json.loads(json.dumps(report.to_json() | report_cause(Reason(KNOWN, labeler="ada", project="p"))))

    with translation.override(language):
        told = translate_report(kept)
        words = {"labeler": "\ufffd" + "x" * 198 + "…", "project": "p"}
        assert told["bad"] == [[3, translation.gettext(KNOWN) % words], [4, "plain words"]]
        assert told["cause"] == translation.gettext(KNOWN) % {"labeler": "ada", "project": "p"}


def test_a_report_from_before_is_shown_as_it_was_kept():
    kept = {"cause": "old words", "bad": [[1, "old reason"]]}

    assert translate_report(kept) == kept
