from django.db import migrations, models


class Migration(migrations.Migration):
    """What goes by scores goes by priority first, and its index with it."""

    dependencies = [("labeling", "0011_adjudication_scale")]

    operations = [
        migrations.RemoveIndex("slot", "slot_free_score"),
        migrations.AddIndex(
            "slot",
            models.Index(
                fields=["project", "slice", "number", "-priority", "-score", "shuffle", "id"],
                name="slot_free_score",
                condition=models.Q(state="free"),
            ),
        ),
        migrations.AlterField(
            "project",
            "strategy",
            models.CharField(
                choices=[
                    ("priority", "by priority, else in random order"),
                    ("score", "by priority, then score: what the reward model is least sure of first"),
                ],
                default="priority",
                max_length=16,
            ),
        ),
    ]
