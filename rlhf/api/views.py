"""The API of the learning half: datasets, runs, checkpoints and rounds of the projects the user manages."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view, inline_serializer
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from rlhf.api.access import IsManager, NewestFirst, StepByStep
from rlhf.api.serializers import (
    BoardSerializer,
    CheckpointSerializer,
    DatasetCreateSerializer,
    DatasetSerializer,
    MetricSerializer,
    RoundCreateSerializer,
    RoundSerializer,
    RunCreateSerializer,
    RunSerializer,
)
from rlhf.domain.board import read_board, score_board
from rlhf.domain.datasets.completions import freeze_demonstrations, freeze_texts
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.errors import LearningError
from rlhf.domain.loop import start_round
from rlhf.domain.planning import plan_run
from rlhf.domain.runs import cancel_run
from rlhf.models import Checkpoint, Dataset, Metric, Round, Run
from rlhf.permissions import of_managed_projects

FREEZES = {"preference": freeze_preferences, "demonstration": freeze_demonstrations, "text": freeze_texts}
DETAIL = inline_serializer("Detail", {"detail": serializers.CharField()})
REFUSALS = {403: DETAIL, 404: DETAIL, 409: DETAIL}


class NotReadyYet(APIException):
    """The step needs something that is not there yet; the detail says what."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "not_ready"


def filter_parameters(*names: str) -> list[OpenApiParameter]:
    return [OpenApiParameter(name, OpenApiTypes.STR, description=f"Only of this {name}.") for name in names]


class ManagedRows(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Rows of the projects the user manages, newest first, narrowed by ?name=value. filters: name to column."""

    permission_classes = [IsManager]
    pagination_class = NewestFirst
    lookup_value_regex = "[0-9]{1,18}"
    filters: dict[str, str] = {"project": "project__slug"}

    def get_queryset(self) -> QuerySet[Any]:
        rows = of_managed_projects(super().get_queryset(), self.request.user)
        if self.action != "list":
            return rows
        asked = {column: self.request.query_params.get(name) for name, column in self.filters.items()}
        return rows.filter(**{column: value for column, value in asked.items() if value})


@extend_schema_view(list=extend_schema(parameters=filter_parameters("project", "kind")))
class DatasetViewSet(ManagedRows):
    """Frozen datasets; creating one freezes what the project has now."""

    queryset = Dataset.objects.filter(sealed_at__isnull=False).select_related("project")
    serializer_class = DatasetSerializer
    filters = {"project": "project__slug", "kind": "kind"}

    @extend_schema(request=DatasetCreateSerializer, responses={201: DatasetSerializer, **REFUSALS})
    def create(self, request: Request) -> Response:
        values = read(DatasetCreateSerializer, self, request)
        freeze = FREEZES[values.pop("kind")]
        try:
            dataset = freeze(values.pop("project"), user=request.user, **values)
        except LearningError as error:
            raise NotReadyYet(str(error)) from error
        return Response(self.get_serializer(dataset).data, status=status.HTTP_201_CREATED)


@extend_schema_view(list=extend_schema(parameters=filter_parameters("project", "kind", "state")))
class RunViewSet(ManagedRows):
    """Runs; creating one queues it."""

    queryset = Run.objects.select_related("project", "checkpoint")
    serializer_class = RunSerializer
    filters = {"project": "project__slug", "kind": "kind", "state": "state"}

    @extend_schema(request=RunCreateSerializer, responses={201: RunSerializer, **REFUSALS})
    def create(self, request: Request) -> Response:
        values = read(RunCreateSerializer, self, request)
        try:
            run = plan_run(values.pop("project"), values.pop("config"), user=request.user, **values)
        except LearningError as error:
            raise NotReadyYet(str(error)) from error
        return Response(self.get_serializer(run).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={200: RunSerializer, 403: DETAIL, 404: DETAIL})
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """End a queued run; ask a running one to stop, which it does within ten seconds. A run that is over stays."""
        return Response(self.get_serializer(cancel_run(self.get_object(), user=request.user)).data)

    @extend_schema(responses={200: MetricSerializer(many=True), 403: DETAIL, 404: DETAIL})
    @action(detail=True, pagination_class=StepByStep, serializer_class=MetricSerializer)
    def metrics(self, request: Request, pk: str) -> Response:
        """List what the run logged, step by step, under TRL's keys."""
        page = self.paginate_queryset(Metric.objects.filter(run=self.get_object()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


@extend_schema_view(list=extend_schema(parameters=filter_parameters("project", "kind")))
class CheckpointViewSet(ManagedRows):
    """Whole models on disk."""

    queryset = Checkpoint.objects.select_related("project")
    serializer_class = CheckpointSerializer
    filters = {"project": "project__slug", "kind": "kind"}

    @extend_schema(responses={200: BoardSerializer, 403: DETAIL, 404: DETAIL})
    @action(detail=True)
    def board(self, request: Request, pk: str) -> Response:
        """Hold a reward model against people's votes, of pairs it has not learned from."""
        return Response(BoardSerializer(read_board(self.get_reward_model())).data)

    @extend_schema(request=None, responses={201: RunSerializer, **REFUSALS})
    @action(detail=True, methods=["post"])
    def score(self, request: Request, pk: str) -> Response:
        """Queue a run that scores the judged pairs its board lacks."""
        try:
            run = score_board(self.get_reward_model(), user=request.user)
        except LearningError as error:
            raise NotReadyYet(str(error)) from error
        return Response(RunSerializer(run).data, status=status.HTTP_201_CREATED)

    def get_reward_model(self) -> Checkpoint:
        checkpoint: Checkpoint = self.get_object()
        if checkpoint.kind != Checkpoint.Kind.REWARD:
            raise Http404
        return checkpoint


@extend_schema_view(list=extend_schema(parameters=filter_parameters("project", "state")))
class RoundViewSet(ManagedRows):
    """Turns of a project's circle; creating one starts the next."""

    queryset = Round.objects.select_related("project").prefetch_related("runs")
    serializer_class = RoundSerializer
    filters = {"project": "project__slug", "state": "state"}

    @extend_schema(request=RoundCreateSerializer, responses={201: RoundSerializer, **REFUSALS})
    def create(self, request: Request) -> Response:
        values = read(RoundCreateSerializer, self, request)
        try:
            round = start_round(values["project"], user=request.user)
        except LearningError as error:
            raise NotReadyYet(str(error)) from error
        return Response(self.get_serializer(round).data, status=status.HTTP_201_CREATED)


def read(serializer_class: type[serializers.Serializer], view: viewsets.GenericViewSet, request: Request) -> Any:
    """Return what the caller sent. Raises: ValidationError."""
    serializer = serializer_class(data=request.data, context=view.get_serializer_context())
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data
