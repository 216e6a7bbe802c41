from django.db import migrations, models

from labeling.guards import drop_guard, make_guard

SCALES = [
    ("seven", "seven steps, much better to much better"),
    ("quick", "one key: A, B, tie, both bad"),
    ("forced", "eight steps, no tie: significantly better to negligibly better or unsure"),
    ("eight", "eight numbered steps, no tie"),
]
GUARDS = (
    "judgments_are_append_only",
    "judgment_is_its_slot_holders",
    "judgment_is_a_members",
    "revision_is_of_the_same",
)
MEMBER = (
    "SELECT 1 FROM labeling_membership m JOIN labeling_comparison c ON c.project_id = m.project_id "
    "WHERE c.id = NEW.comparison_id AND m.user_id = NEW.labeler_id AND m.is_active = TRUE"
)


class Migration(migrations.Migration):
    """Two scales without a tie, of eight steps. What was said before stays as it was, and so do projects' shares."""

    dependencies = [("labeling", "0006_slot_opened")]

    operations = [
        migrations.SeparateDatabaseAndState(
            # Choices and defaults are Django's alone: for a default SQLite would make the table anew.
            state_operations=[
                migrations.AlterField(
                    "project", "scale", models.CharField(choices=SCALES, default="quick", max_length=16)
                ),
                migrations.AlterField(
                    "project",
                    "repeat_share",
                    models.FloatField(default=0.03, help_text="Share of claims that repeat an own earlier judgment."),
                ),
                migrations.AlterField(
                    "judgment",
                    "scale",
                    models.CharField(choices=SCALES, help_text="The scale it was given on.", max_length=16),
                ),
                migrations.AlterField(
                    "judgment",
                    "strength",
                    models.SmallIntegerField(
                        help_text="As said on its scale: -3 A is much better .. 0 about the same .. +3 B is much "
                        "better; or -4 .. -1 A, 1 .. 4 B."
                    ),
                ),
            ]
        ),
        *(drop_guard(name, "labeling_judgment") for name in GUARDS),
        migrations.RemoveConstraint("judgment", "verdict_is_the_sign_of_strength"),
        migrations.AddConstraint(
            "judgment",
            models.CheckConstraint(
                condition=models.Q(("strength__gte", -4), ("strength__lt", 0), ("verdict", "A"))
                | models.Q(("strength__gt", 0), ("strength__lte", 4), ("verdict", "B"))
                | models.Q(("strength", 0), ("verdict", "tie")),
                name="verdict_is_the_sign_of_strength",
            ),
        ),
        migrations.AddConstraint(
            "judgment",
            models.CheckConstraint(
                condition=(
                    ~models.Q(("scale__in", ["forced", "eight"]))
                    & models.Q(("strength__gte", -3), ("strength__lte", 3))
                )
                | (models.Q(("scale__in", ["forced", "eight"])) & ~models.Q(("strength", 0))),
                name="strength_is_of_its_scale",
            ),
        ),
        make_guard("judgments_are_append_only", "labeling_judgment", "UPDATE", "(TRUE)"),
        make_guard(
            "judgment_is_its_slot_holders",
            "labeling_judgment",
            "INSERT",
            "(NEW.slot_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM labeling_slot s WHERE s.id = NEW.slot_id "
            "AND s.labeler_id = NEW.labeler_id AND s.comparison_id = NEW.comparison_id))",
        ),
        make_guard("judgment_is_a_members", "labeling_judgment", "INSERT", f"(NOT EXISTS ({MEMBER}))"),
        make_guard(
            "revision_is_of_the_same",
            "labeling_judgment",
            "INSERT",
            "(NEW.revises_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM labeling_judgment j WHERE j.id = NEW.revises_id "
            "AND j.labeler_id = NEW.labeler_id AND j.comparison_id = NEW.comparison_id AND j.reason = NEW.reason))",
        ),
    ]
