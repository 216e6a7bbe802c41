import django.db.models.deletion
from django.apps.registry import Apps
from django.conf import settings
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

ROWS = {"judgment": "judgments", "skip": "skips"}


def drop_plain(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Drop what indexes the labeler alone, by itself: SQLite would make the table anew, and lose its guards."""
    for name in ROWS:
        model = apps.get_model("labeling", name)
        with editor.connection.cursor() as cursor:
            known = editor.connection.introspection.get_constraints(cursor, model._meta.db_table)
        for index, facts in known.items():
            if facts["index"] and not facts["unique"] and facts["columns"] == ["labeler_id"]:
                editor.execute(editor._delete_index_sql(model, index))


def make_plain(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    for name in ROWS:
        model = apps.get_model("labeling", name)
        editor.execute(editor._create_index_sql(model, fields=[model._meta.get_field("labeler")]))


class Migration(migrations.Migration):
    dependencies = [("labeling", "0004_workbench_guards")]

    operations = [
        migrations.AddIndex("skip", models.Index(fields=["labeler", "-id"], name="skip_by_labeler")),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(drop_plain, make_plain)],
            state_operations=[
                migrations.AlterField(
                    model,
                    "labeler",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name=related,
                        to=settings.AUTH_USER_MODEL,
                    ),
                )
                for model, related in ROWS.items()
            ],
        ),
    ]
