from django.db import migrations, models
from django.db.models import Q

from labeling.guards import drop_guard, make_guard

MEMBER = (
    "SELECT 1 FROM labeling_membership m JOIN labeling_comparison c ON c.project_id = m.project_id "
    "WHERE c.id = NEW.comparison_id AND m.user_id = NEW.labeler_id AND m.is_active = TRUE"
)
IS_HELD, IS_NO_MEMBERS = "(NEW.state = 'held')", f"(NOT EXISTS ({MEMBER}))"

# Name, table, event, what is forbidden, and of which rows at all: as before, but asked first.
GUARDS = [
    (
        "judgment_is_its_slot_holders",
        "labeling_judgment",
        "INSERT",
        "(NOT EXISTS (SELECT 1 FROM labeling_slot s WHERE s.id = NEW.slot_id "
        "AND s.labeler_id = NEW.labeler_id AND s.comparison_id = NEW.comparison_id))",
        "(NEW.slot_id IS NOT NULL)",
    ),
    (
        "revision_is_of_the_same",
        "labeling_judgment",
        "INSERT",
        "(NOT EXISTS (SELECT 1 FROM labeling_judgment j WHERE j.id = NEW.revises_id "
        "AND j.labeler_id = NEW.labeler_id AND j.comparison_id = NEW.comparison_id AND j.reason = NEW.reason))",
        "(NEW.revises_id IS NOT NULL)",
    ),
    ("slot_is_held_by_a_member", "labeling_slot", "UPDATE OF state, labeler_id", IS_NO_MEMBERS, IS_HELD),
    ("new_slot_is_held_by_a_member", "labeling_slot", "INSERT", IS_NO_MEMBERS, IS_HELD),
]


class Migration(migrations.Migration):
    dependencies = [("labeling", "0008_vote_writes")]

    operations = [
        *(drop_guard(name, table) for name, table, *_ in GUARDS),
        *(make_guard(*guard, concerns=concerns) for *guard, concerns in GUARDS),
        migrations.RemoveIndex("slot", "slot_lease"),
        migrations.AddIndex(
            "slot",
            models.Index(fields=["project", "lease_until"], name="slot_lease", condition=Q(lease_until__isnull=False)),
        ),
    ]
