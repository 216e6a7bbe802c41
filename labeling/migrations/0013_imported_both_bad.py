from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("labeling", "0012_score_after_priority"),
    ]

    operations = [
        migrations.AddField(
            model_name="importedjudgment",
            name="both_bad",
            field=models.BooleanField(default=False),
        ),
    ]
