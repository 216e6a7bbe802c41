"""For machines that watch: is the process up, can it work, and how much is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import DatabaseError, transaction
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from kombu.exceptions import KombuError
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from config.celery import app
from labeling.models import Judgment, Slot
from rlhf.models import Checkpoint, Dataset, Round, Run

BROKER_WITHIN_S = 2.0
MIN_FREE_SHARE = 0.05


@require_safe
@never_cache
def show_health(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok", content_type="text/plain")


@require_safe
@never_cache
def show_readiness(request: HttpRequest) -> JsonResponse:
    """Answer 503 when this host cannot serve; a missing learning worker is only told: people can judge without it."""
    checks = {name: check() for name, check in CHECKS.items()}
    is_ready = all(checks.values())
    body = {"ready": is_ready, "checks": checks, "learning_worker": checks["broker"] and see_learning_worker()}
    return JsonResponse(body, status=200 if is_ready else 503)


def check_database() -> bool:
    """Write a row and take it back: a database that is full or read-only answers every SELECT."""
    try:
        with transaction.atomic():
            Session.objects.create(session_key="readyz", session_data="", expire_date=timezone.now())
            transaction.set_rollback(True)
    except DatabaseError:
        return False
    return True


def check_broker() -> bool:
    """Ask the broker for a channel, for 2 s and no longer: it may be mute and not only gone."""
    return answer_in_time(open_channel) is True


def open_channel() -> bool:
    try:
        with app.connection_for_write(connect_timeout=BROKER_WITHIN_S) as connection:
            connection.default_channel.close()
    except (KombuError, OSError):
        return False
    return True


def check_disk() -> bool:
    usage = shutil.disk_usage(settings.PREFLOOP_HOME)
    return usage.free / usage.total > MIN_FREE_SHARE


CHECKS: dict[str, Callable[[], bool]] = {"database": check_database, "broker": check_broker, "disk": check_disk}


def see_learning_worker() -> bool:
    """Say whether a learning worker answers a ping."""
    return bool(answer_in_time(ping_learning_worker))


def ping_learning_worker() -> bool:
    """Ask the workers named learning@HOST; supervision.worker_services names them so."""
    try:
        replies = app.control.broadcast(
            "ping", reply=True, limit=1, timeout=BROKER_WITHIN_S / 2, pattern="learning@*", matcher="glob"
        )
    except (KombuError, OSError):
        return False
    return bool(replies)


def answer_in_time(ask: Callable[[], bool]) -> bool | None:
    """Return the answer, or None when it takes longer than 2 s; the thread that waits for it is left behind."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(ask).result(BROKER_WITHIN_S)
    except TimeoutError:
        return None
    finally:
        pool.shutdown(wait=False)


@require_safe
@never_cache
def show_metrics(request: HttpRequest) -> HttpResponse:
    """Answer in Prometheus' text format to superusers and to a scraper with the token; for others it is not there."""
    if not request.user.is_superuser and not has_scrape_token(request):
        raise Http404
    registry = CollectorRegistry()
    registry.register(Tables())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def has_scrape_token(request: HttpRequest) -> bool:
    """An address proves nothing: behind a proxy everyone has the proxy's. Without METRICS_TOKEN no token is right."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    is_right = constant_time_compare(token, settings.METRICS_TOKEN)
    return bool(settings.METRICS_TOKEN) and scheme.lower() == "bearer" and is_right


class Tables:
    """Counts read from the tables when Prometheus asks; equal for every web process."""

    def collect(self) -> Iterator[Metric]:
        runs = GaugeMetricFamily("prefloop_runs", "Runs by kind and state.", labels=["kind", "state"])
        for row in Run.objects.order_by().values("kind", "state").annotate(n=Count("id")):
            runs.add_metric([row["kind"], row["state"]], row["n"])
        yield runs
        rounds = GaugeMetricFamily("prefloop_rounds", "Rounds by state.", labels=["state"])
        for row in Round.objects.order_by().values("state").annotate(n=Count("id")):
            rounds.add_metric([row["state"]], row["n"])
        yield rounds
        slots = GaugeMetricFamily("prefloop_slots", "Places for judgments by state.", labels=["state"])
        for row in Slot.objects.order_by().values("state").annotate(n=Count("id")):
            slots.add_metric([row["state"]], row["n"])
        yield slots
        yield CounterMetricFamily("prefloop_judgments", "Judgments given.", value=Judgment.objects.count())
        yield GaugeMetricFamily("prefloop_datasets", "Frozen datasets.", value=Dataset.objects.count())
        yield GaugeMetricFamily("prefloop_checkpoints", "Registered models.", value=Checkpoint.objects.count())


PROBES: dict[str, Callable[[HttpRequest], HttpResponseBase]] = {"/healthz": show_health, "/readyz": show_readiness}


def answer_probes(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Make the first middleware: load balancers ask by address and over plain HTTP, so no host and no TLS is asked for."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        return PROBES.get(request.path_info, get_response)(request)

    return answer
