import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("labeling", "0006_slot_opened"),
        ("rlhf", "0007_merged_with"),
    ]

    operations = [
        migrations.CreateModel(
            name="PairScore",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "margin",
                    models.FloatField(
                        help_text="Score of A less that of B, nats, mean over the heads; none where a text did not fit.",
                        null=True,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "comparison",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="labeling.comparison"
                    ),
                ),
                (
                    "reward_model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="rlhf.checkpoint"
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        help_text="The scoring run that said it.",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="rlhf.run",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Dispute",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "judgment",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="dispute", to="rlhf.aijudgment"
                    ),
                ),
                (
                    "score",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="rlhf.pairscore"
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="pairscore",
            constraint=models.UniqueConstraint(
                fields=("reward_model", "comparison"), name="one_pair_score_per_reward_model"
            ),
        ),
    ]
