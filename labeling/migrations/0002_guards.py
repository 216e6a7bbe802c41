from django.db import migrations

from labeling.guards import make_guard

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


class Migration(migrations.Migration):
    dependencies = [("labeling", "0001_initial")]
    operations = [
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
            "AND j.labeler_id = NEW.labeler_id AND j.comparison_id = NEW.comparison_id))",
        ),
        make_guard(
            "slot_number_is_under_overlap",
            "labeling_slot",
            "INSERT",
            "(NEW.number >= (SELECT c.overlap FROM labeling_comparison c WHERE c.id = NEW.comparison_id))",
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
            "UPDATE",
            f"(NEW.state = 'held' AND NOT EXISTS ({MEMBER}))",
        ),
        make_guard("comparison_is_of_one_prompt", "labeling_comparison", "INSERT", MIXED_COMPARISON),
        make_guard("comparison_stays_of_one_prompt", "labeling_comparison", "UPDATE", MIXED_COMPARISON),
        make_guard("completion_text_is_fixed", "labeling_completion", "UPDATE", "(NEW.text <> OLD.text)"),
    ]
