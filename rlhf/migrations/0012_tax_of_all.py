from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("rlhf", "0011_stale_by_policies"),
    ]

    operations = [
        migrations.AlterField(
            model_name="loop",
            name="tax_limit",
            field=models.FloatField(
                default=0.1,
                help_text="Rise of the perplexity on held-out text and demonstrations, and fall of the share of small tasks "
                "done right, that is allowed.",
            ),
        ),
    ]
