import django.db.models.deletion
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# What other indexes begin with: one_slot_per_number, and comparison_newest.
FIELDS = {"slot": "comparison", "comparison": "project"}


def drop_plain(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Drop what each vote would write for nothing, by itself: SQLite would make the table anew, and lose its guards."""
    for name, field in FIELDS.items():
        model = apps.get_model("labeling", name)
        with editor.connection.cursor() as cursor:
            known = editor.connection.introspection.get_constraints(cursor, model._meta.db_table)
        for index, facts in known.items():
            if facts["index"] and not facts["unique"] and facts["columns"] == [f"{field}_id"]:
                editor.execute(editor._delete_index_sql(model, index))


def make_plain(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    for name, field in FIELDS.items():
        model = apps.get_model("labeling", name)
        editor.execute(editor._create_index_sql(model, fields=[model._meta.get_field(field)]))


def leave_room(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Let PostgreSQL keep the new count of a comparison on the page of the old one: then no index of it is written."""
    if editor.connection.vendor == "postgresql":
        editor.execute("ALTER TABLE labeling_comparison SET (fillfactor = 85)")


class Migration(migrations.Migration):
    dependencies = [("labeling", "0007_scales")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(drop_plain, make_plain)],
            state_operations=[
                migrations.AlterField(
                    "slot",
                    "comparison",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="slots",
                        to="labeling.comparison",
                    ),
                ),
                migrations.AlterField(
                    "comparison",
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="comparisons",
                        to="labeling.project",
                    ),
                ),
            ],
        ),
        migrations.RunPython(leave_room, migrations.RunPython.noop),
    ]
