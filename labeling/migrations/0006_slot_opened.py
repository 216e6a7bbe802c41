import django.utils.timezone
from django.db import migrations, models

HELP = "When it could be claimed from, the last time."


class Migration(migrations.Migration):
    """Slots made before stay without a time.

    The default is Django's alone: for one of its own SQLite would make the table anew, and lose its guards.
    """

    dependencies = [("labeling", "0005_labeler_indexes")]

    operations = [
        migrations.AddField(
            "slot", "opened_at", models.DateTimeField(null=True, default=None, editable=False, help_text=HELP)
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    "slot",
                    "opened_at",
                    models.DateTimeField(null=True, default=django.utils.timezone.now, editable=False, help_text=HELP),
                )
            ]
        ),
        migrations.AddIndex(
            "slot",
            models.Index(condition=models.Q(state="free"), fields=["project", "opened_at"], name="slot_opened"),
        ),
    ]
