from django.db import migrations, models


class Migration(migrations.Migration):
    """The lease a vote was given under. A column that may be empty SQLite adds in place, and keeps the guards."""

    dependencies = [("labeling", "0009_cheaper_guards")]

    operations = [
        migrations.AddField(
            "judgment",
            "lease_token",
            models.UUIDField(
                editable=False,
                help_text="Proof that she was given the place; none for what was said before it was kept.",
                null=True,
            ),
        ),
    ]
