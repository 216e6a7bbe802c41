from django.db import migrations, models

from labeling.guards import drop_guard, make_guard

APPEND_ONLY = make_guard("judgments_are_append_only", "labeling_judgment", "UPDATE", "(TRUE)")

# By what their project asks today, as agreement was measured until now: nothing says it of places of before.
MARK_SLOTS = """
UPDATE labeling_slot SET is_conditional = TRUE WHERE number >= 2 AND number < 1000000 AND EXISTS (
    SELECT 1 FROM labeling_project p WHERE p.id = labeling_slot.project_id AND p.overlap_max > p.overlap
    AND p.overlap_max > 2 AND labeling_slot.number >= p.overlap)
"""
# A revision has no place of its own: it stands in that of the labeler's first word. Reviewers send back what is contested,
# and whatever was said after that hangs on what was said before.
MARK_JUDGMENTS = """
UPDATE labeling_judgment SET is_conditional = TRUE WHERE reason NOT IN ('gold', 'repeat', 'exam') AND (EXISTS (
    SELECT 1 FROM labeling_slot s WHERE s.comparison_id = labeling_judgment.comparison_id
    AND s.labeler_id = labeling_judgment.labeler_id AND s.is_conditional AND s.state = 'done')
OR EXISTS (
    SELECT 1 FROM labeling_adjudication a WHERE a.comparison_id = labeling_judgment.comparison_id
    AND a.act = 'send_back' AND NOT EXISTS (
        SELECT 1 FROM labeling_judgment f WHERE f.comparison_id = a.comparison_id
        AND f.labeler_id = labeling_judgment.labeler_id AND f.id <= a.upto)))
"""


def add_column(table: str) -> migrations.RunSQL:
    """Return a step that adds the mark in place: SQLite would else rebuild the table, and lose its guards."""
    return migrations.RunSQL(
        f"ALTER TABLE {table} ADD COLUMN is_conditional boolean NOT NULL DEFAULT FALSE",
        f"ALTER TABLE {table} DROP COLUMN is_conditional",
    )


class Migration(migrations.Migration):
    """Places that were asked for only because of what others had said, and what was said there."""

    dependencies = [("labeling", "0013_imported_both_bad")]

    operations = [
        drop_guard("judgments_are_append_only", "labeling_judgment", again=APPEND_ONLY),
        migrations.SeparateDatabaseAndState(
            [add_column("labeling_slot"), add_column("labeling_judgment")],
            [
                migrations.AddField(
                    "slot",
                    "is_conditional",
                    models.BooleanField(
                        default=False,
                        help_text="Whether it was asked for hung on what others had said: agreement leaves it out.",
                    ),
                ),
                migrations.AddField(
                    "judgment",
                    "is_conditional",
                    models.BooleanField(default=False, help_text="That of the place she was given."),
                ),
            ],
        ),
        migrations.AddIndex(
            "slot",
            models.Index(fields=["project"], name="slot_conditional", condition=models.Q(is_conditional=True)),
        ),
        migrations.RunSQL(MARK_SLOTS, migrations.RunSQL.noop),
        migrations.RunSQL(MARK_JUDGMENTS, migrations.RunSQL.noop),
        APPEND_ONLY,
    ]
