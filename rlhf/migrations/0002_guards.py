from django.db import migrations

from labeling.guards import make_guard

SEALED = "SELECT 1 FROM rlhf_dataset d WHERE d.id = NEW.dataset_id AND d.sealed_at IS NOT NULL"


class Migration(migrations.Migration):
    dependencies = [("rlhf", "0001_initial"), ("labeling", "0002_guards")]
    operations = [
        make_guard("sealed_dataset_is_fixed", "rlhf_dataset", "UPDATE", "(OLD.sealed_at IS NOT NULL)"),
        make_guard("sealed_dataset_takes_no_source", "rlhf_datasetsource", "INSERT", f"(EXISTS ({SEALED}))"),
        make_guard("dataset_source_is_fixed", "rlhf_datasetsource", "UPDATE", "(TRUE)"),
        make_guard(
            "run_trains_a_sealed_dataset",
            "rlhf_run",
            "INSERT",
            f"(NEW.dataset_id IS NOT NULL AND NOT EXISTS ({SEALED}))",
        ),
        make_guard(
            "ended_run_stays_ended",
            "rlhf_run",
            "UPDATE",
            "(OLD.state IN ('succeeded', 'failed', 'cancelled') AND NEW.state <> OLD.state)",
        ),
        make_guard("fence_only_grows", "rlhf_run", "UPDATE", "(NEW.attempt < OLD.attempt)"),
        make_guard(
            "checkpoint_carries_the_fence",
            "rlhf_checkpoint",
            "INSERT",
            "(NEW.run_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM rlhf_run r "
            "WHERE r.id = NEW.run_id AND r.attempt = NEW.attempt))",
        ),
    ]
