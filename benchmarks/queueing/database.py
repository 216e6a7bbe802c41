"""What a benchmark of the queue does inside Django, as a process of its own: the environment names the database.

python -m benchmarks.queueing.database {prepare N_COMPARISONS N_LABELERS | count | serve}
"""

from __future__ import annotations

import json
import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()  # models can be imported only now

from django.conf import settings  # noqa: E402
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.models import Count, F, Q  # noqa: E402

from labeling.models import Comparison, ImportedJudgment, Judgment, Membership, Project, User  # noqa: E402
from rlhf.domain.supervision import web_service  # noqa: E402

OVERLAP = 3
SPREAD = 3_000_000_019  # slots have ids drawn at random
COMPLETION = "Put the egg into boiling water, wait for eight minutes, and cool it under the tap. " * 4


def prepare(n_comparisons: int, n_labelers: int) -> list[str]:
    """Fill the migrated database and return a session key for each labeler."""
    project = Project.objects.create(slug="bench", name="Bench", overlap=OVERLAP)
    keys = []
    for number in range(n_labelers):
        user = User.objects.create(username=f"labeler-{number}", password="!")
        Membership.objects.create(project=project, user=user)
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        keys.append(session.session_key)
    fill(project.pk, n_comparisons)
    return keys


def fill(project_id: int, n: int) -> None:
    """Insert n comparisons with their texts and slots, by the database's own counting; guards look away meanwhile."""
    is_sqlite = connection.vendor == "sqlite"
    json_type, now = ("TEXT", "CURRENT_TIMESTAMP") if is_sqlite else ("jsonb", "now()")
    common = {"project_id": project_id}
    queue = {"priority": 0, "score": 0, "reason": "'random'", "propensity": 1}
    messages = f"""CAST('[{{"role": "user", "content": "How do I boil egg ' || i || '?"}}]' AS {json_type})"""
    tables: list[tuple[str, dict[str, object]]] = [
        (
            "prompt",
            common | {"id": "i", "messages": messages, "content_sha": "'p' || i", '"group"': "'g' || i"}
            | {"is_held_out": "FALSE", "created_at": now},
        ),
        *(
            ("completion", {"id": f"2 * i - {side}", "prompt_id": "i", "text": f"'{side} {COMPLETION}'"}
             | {"content_sha": f"'{side}'"})
            for side in (1, 0)
        ),
        (
            "comparison",
            common | queue | {"id": "i", "prompt_id": "i", "completion_a_id": "2 * i - 1", "completion_b_id": "2 * i"}
            | {"content_sha": "'c' || i", "overlap": OVERLAP, "state": "'open'", "n_judgments": 0, "spread": 0}
            | {"is_split": "FALSE", "created_at": now},
        ),
        *(
            (
                "slot",
                common | queue | {"id": f"({OVERLAP} * i - {number}) * {SPREAD} % {2**53 - 111}"}
                | {"comparison_id": "i", "number": number}
                | {"shuffle": f"((i + {number * 7919}) * 2654435761) % 2147483648", "state": "'free'"}
                | {"a_shown_left": f"i % 2 = {number % 2}"},
            )
            for number in range(OVERLAP)
        ),
    ]  # fmt: skip
    with connection.cursor() as cursor:
        if is_sqlite:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            guards = cursor.fetchall()
            for name, _ in guards:
                cursor.execute(f"DROP TRIGGER {name}")
        else:
            cursor.execute("SET session_replication_role = replica")
        for table, columns in tables:
            names, values = ", ".join(columns), ", ".join(map(str, columns.values()))
            counting = f"WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < {n})"
            # What comes first in SQL differs by one word: SQLite wants the count before INSERT, PostgreSQL takes it too.
            cursor.execute(f"{counting} INSERT INTO labeling_{table} ({names}) SELECT {values} FROM n")
            if not is_sqlite and table != "slot":
                cursor.execute(
                    f"SELECT setval(pg_get_serial_sequence('labeling_{table}', 'id'), (SELECT max(id) FROM labeling_{table}))"
                )
        if is_sqlite:
            for _, sql in guards:
                cursor.execute(sql)
        else:
            cursor.execute("VACUUM ANALYZE")


def count_faults() -> dict[str, int]:
    """Return what must be 0, and how many judgments were stored and votes imported."""
    pairs = Judgment.objects.filter(revises=None).values("comparison", "labeler").annotate(n=Count("id"))
    judged = Comparison.objects.filter(pk__in=Judgment.objects.values("comparison"))
    counted = judged.annotate(n=Count("judgments", filter=Q(judgments__slot__number__lt=1_000_000)))
    return {
        "doubles": pairs.filter(n__gt=1).count(),
        "over": counted.filter(n__gt=F("overlap")).count(),
        "stored": Judgment.objects.count(),
        "imported": ImportedJudgment.objects.count(),
    }


def main(act: str, *arguments: str) -> None:
    """Do one act and print its result, or become the web server."""
    if act == "serve":
        command = web_service("127.0.0.1").command
        os.execv(command[0], command)
    print(json.dumps(count_faults() if act == "count" else prepare(*map(int, arguments))))


if __name__ == "__main__":
    main(*sys.argv[1:])
