from django.db import migrations, models
from django.db.models import Q

from labeling.guards import drop_guard, make_guard

SCALES = [
    ("seven", "seven steps, much better to much better"),
    ("quick", "one key: A, B, tie, both bad"),
    ("forced", "eight steps, no tie: significantly better to negligibly better or unsure"),
    ("eight", "eight numbered steps, no tie"),
]
REVIEWER = (
    "SELECT 1 FROM labeling_membership m JOIN labeling_comparison c ON c.project_id = m.project_id "
    "WHERE c.id = NEW.comparison_id AND m.user_id = NEW.reviewer_id AND m.is_active = TRUE "
    "AND m.role IN ('reviewer', 'manager')"
)
TABLE = "labeling_adjudication"
GUARDS = [
    ("adjudications_are_append_only", TABLE, "UPDATE", "(TRUE)"),
    ("adjudication_is_a_reviewers", TABLE, "INSERT", f"(NOT EXISTS ({REVIEWER}))"),
]
IS_FORCED = Q(scale__in=["forced", "eight"])
OF_ITS_SCALE = (~IS_FORCED & Q(strength__gte=-3, strength__lte=3)) | (IS_FORCED & ~Q(strength=0))


class Migration(migrations.Migration):
    """Reviewers decide on the project's scale. What they decided before was said in seven steps."""

    dependencies = [("labeling", "0010_judgment_lease")]

    operations = [
        *(drop_guard(name, table) for name, table, *_ in GUARDS),
        migrations.RemoveConstraint("adjudication", "override_has_a_strength"),
        migrations.AddField(
            "adjudication",
            "scale",
            models.CharField(choices=SCALES, default="seven", help_text="The scale of the strength.", max_length=16),
        ),
        migrations.AlterField(
            "adjudication",
            "strength",
            models.SmallIntegerField(
                blank=True, help_text="When she decides otherwise: negative is A, positive is B.", null=True
            ),
        ),
        migrations.AddConstraint(
            "adjudication",
            models.CheckConstraint(
                condition=(Q(act="override", strength__isnull=False, strength__gte=-4, strength__lte=4) & OF_ITS_SCALE)
                | (~Q(act="override") & Q(strength__isnull=True)),
                name="override_has_a_strength",
            ),
        ),
        *(make_guard(*guard) for guard in GUARDS),
    ]
