import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("labeling", "0006_slot_opened"),
        ("rlhf", "0008_pair_scores"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="FeedbackReport",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("annotators", models.JSONField(help_text="Names of those whose labels were learned.")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "ai",
                    models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="rlhf.run"),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "human",
                    models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="rlhf.run"),
                ),
                (
                    "mixed",
                    models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="rlhf.run"),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="labeling.project"
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
    ]
