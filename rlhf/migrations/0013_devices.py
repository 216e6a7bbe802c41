import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("rlhf", "0012_tax_of_all"),
    ]

    operations = [
        migrations.CreateModel(
            name="Device",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("host", models.CharField(max_length=253)),
                ("name", models.CharField(help_text="As CUDA_VISIBLE_DEVICES names it.", max_length=64)),
                ("attempt", models.PositiveIntegerField(default=0, help_text="Of the run, when it took the device.")),
                (
                    "run",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="devices", to="rlhf.run"
                    ),
                ),
            ],
            options={
                "ordering": ["host", "name"],
                "constraints": [models.UniqueConstraint(fields=("host", "name"), name="one_row_per_device")],
            },
        ),
    ]
