from django.apps.registry import Apps
from django.core.management import call_command
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Count, Max, Min, Q

from labeling.guards import make_guard

CHUNK = 500

MEMBER = (
    "SELECT 1 FROM labeling_membership m JOIN labeling_comparison c ON c.project_id = m.project_id "
    "WHERE c.id = NEW.comparison_id AND m.user_id = NEW.labeler_id AND m.is_active = TRUE"
)
PROMPT_OF_PROJECT = "SELECT 1 FROM labeling_prompt p WHERE p.id = NEW.prompt_id AND p.project_id = NEW.project_id"
COMPLETIONS_OF_PROMPT = (
    "SELECT COUNT(*) FROM labeling_completion c "
    "WHERE c.id IN (NEW.completion_a_id, NEW.completion_b_id) AND c.prompt_id = NEW.prompt_id"
)
MIXED_COMPARISON = f"(NOT EXISTS ({PROMPT_OF_PROJECT}) OR ({COMPLETIONS_OF_PROMPT}) <> 2)"
REVIEWER = (
    "SELECT 1 FROM labeling_membership m JOIN labeling_comparison c ON c.project_id = m.project_id "
    "WHERE c.id = NEW.comparison_id AND m.user_id = NEW.reviewer_id AND m.is_active = TRUE "
    "AND m.role IN ('reviewer', 'manager')"
)


def count_judgments(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Give comparisons judged before this migration the counts that later ones keep up to date."""
    judgments = apps.get_model("labeling", "Judgment").objects.filter(revision__isnull=True)
    comparisons = apps.get_model("labeling", "Comparison").objects
    rows = judgments.values("comparison").annotate(
        n=Count("id"),
        low=Min("strength"),
        high=Max("strength"),
        n_a=Count("id", filter=Q(strength__lt=0)),
        n_b=Count("id", filter=Q(strength__gt=0)),
    )
    for row in rows.order_by("comparison").iterator(CHUNK):
        comparisons.filter(pk=row["comparison"]).update(
            n_judgments=row["n"], spread=row["high"] - row["low"], is_split=bool(row["n_a"] and row["n_b"])
        )


def look_often(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Let PostgreSQL count busy tables anew after a fiftieth of them has changed, not a tenth: its plans follow."""
    if editor.connection.vendor == "postgresql":
        for table in ("labeling_slot", "labeling_judgment"):
            editor.execute(
                f"ALTER TABLE {table} SET (autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_scale_factor = 0.05)"
            )


def make_cache_table(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Make the table of the shared cache, so that `migrate` leaves nothing to do; made before, it stays."""
    call_command("createcachetable", database=editor.connection.alias, verbosity=0)


class Migration(migrations.Migration):
    dependencies = [("labeling", "0003_workbench")]
    operations = [
        migrations.RunPython(count_judgments, migrations.RunPython.noop),
        migrations.RunPython(look_often, migrations.RunPython.noop),
        migrations.RunPython(make_cache_table, migrations.RunPython.noop),
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
        make_guard(
            "slot_number_is_under_overlap",
            "labeling_slot",
            "INSERT",
            "(NEW.reason NOT IN ('gold', 'repeat', 'exam') "
            "AND NEW.number >= (SELECT c.overlap FROM labeling_comparison c WHERE c.id = NEW.comparison_id))",
        ),
        make_guard(
            "slot_is_of_its_project",
            "labeling_slot",
            "INSERT",
            "(NOT EXISTS (SELECT 1 FROM labeling_comparison c "
            "WHERE c.id = NEW.comparison_id AND c.project_id = NEW.project_id))",
        ),
        make_guard(
            "slot_is_held_by_a_member",
            "labeling_slot",
            "UPDATE OF state, labeler_id",
            f"(NEW.state = 'held' AND NOT EXISTS ({MEMBER}))",
        ),
        make_guard(
            "new_slot_is_held_by_a_member",
            "labeling_slot",
            "INSERT",
            f"(NEW.state = 'held' AND NOT EXISTS ({MEMBER}))",
        ),
        make_guard("comparison_is_of_one_prompt", "labeling_comparison", "INSERT", MIXED_COMPARISON),
        make_guard(
            "comparison_stays_of_one_prompt",
            "labeling_comparison",
            "UPDATE OF project_id, prompt_id, completion_a_id, completion_b_id",
            MIXED_COMPARISON,
        ),
        make_guard("completion_text_is_fixed", "labeling_completion", "UPDATE", "(NEW.text <> OLD.text)"),
        make_guard("adjudications_are_append_only", "labeling_adjudication", "UPDATE", "(TRUE)"),
        make_guard("adjudication_is_a_reviewers", "labeling_adjudication", "INSERT", f"(NOT EXISTS ({REVIEWER}))"),
        make_guard("fixes_are_append_only", "labeling_fix", "UPDATE", "(TRUE)"),
        make_guard("audit_events_are_append_only", "labeling_auditevent", "UPDATE", "(TRUE)"),
    ]
