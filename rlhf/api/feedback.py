"""The API of AI feedback: constitutions, annotators, and asking them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from rlhf.api.serializers import ProjectField, RunSerializer
from rlhf.api.views import DETAIL, REFUSALS, ManagedRows, NotReadyYet, filter_parameters, read
from rlhf.contract.errors import ContractError
from rlhf.domain.errors import LearningError
from rlhf.domain.feedback.annotators import add_annotator, retire_annotator
from rlhf.domain.feedback.asking import MAX_TURNS, ask_comparisons, ask_revisions
from rlhf.domain.feedback.constitutions import InvalidConstitution, write_constitution
from rlhf.domain.feedback.exam import list_exam_comparisons, take_exam
from rlhf.domain.feedback.overview import list_revisable
from rlhf.domain.feedback.report import TAUGHT_BY, read_figures, start_report
from rlhf.domain.feedback.routing import route_judgments
from rlhf.models import Annotator, Checkpoint, Constitution, FeedbackReport


class ConstitutionSerializer(serializers.ModelSerializer):
    project = serializers.SlugRelatedField(slug_field="slug", read_only=True)

    class Meta:
        model = Constitution
        fields = ["id", "project", "version", "principles", "note", "created_at"]


class ConstitutionCreateSerializer(serializers.Serializer):
    """The next version of a project's constitution."""

    project = ProjectField()
    principles = serializers.ListField(
        child=serializers.DictField(),
        help_text="Each with id, critique, revision, comparison; tags and weight if you like.",
    )
    note = serializers.CharField(default="", allow_blank=True, max_length=500)


class AnnotatorSerializer(serializers.ModelSerializer):
    project = serializers.SlugRelatedField(slug_field="slug", read_only=True)

    class Meta:
        model = Annotator
        fields = [
            *("id", "project", "name", "source", "checkpoint", "endpoint", "model", "key_name", "decoding"),
            *("constitution", "both_orders", "weight", "exam", "exam_result", "is_active", "created_at"),
        ]


class AnnotatorCreateSerializer(serializers.Serializer):
    """A checkpoint of the project, or an endpoint, that is to judge by the project's newest constitution."""

    project = ProjectField()
    name = serializers.CharField(max_length=100)
    checkpoint = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=1, max_value=2**63 - 1, help_text="A policy's id."
    )
    endpoint = serializers.CharField(default="", allow_blank=True, max_length=200)
    model = serializers.CharField(default="", allow_blank=True, max_length=200)
    key_name = serializers.CharField(default="", allow_blank=True, max_length=100)
    decoding = serializers.DictField(default=dict, help_text="orders, reasoning, temperature, max_new_tokens ...")
    weight = serializers.FloatField(default=0.5)

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values with the policy itself; those of other projects are as little there as unknown ones."""
        project, pk = values["project"], values["checkpoint"]
        if pk is None:
            return values
        policy = Checkpoint.objects.policies_of(project).filter(pk=pk).first()
        if policy is None:
            words = f"{project} has no policy {pk}: take an id from /checkpoints/"
            raise serializers.ValidationError({"checkpoint": [words]})
        return values | {"checkpoint": policy}


class AskSerializer(serializers.Serializer):
    """How much an annotator is asked."""

    task = serializers.ChoiceField(["judge", "exam", "revise"], default="judge")
    n = serializers.IntegerField(default=200, min_value=1, max_value=100_000)
    n_turns = serializers.IntegerField(default=1, min_value=1, max_value=MAX_TURNS)
    route = serializers.BooleanField(default=False, help_text="What it is unsure of goes to people at the run's end.")


class FigureSerializer(serializers.Serializer):
    """What a reward model, taught by one side, comes to on people's held-out pairs."""

    taught_by = serializers.CharField(source="name", help_text="human, ai or mixed.")
    run = serializers.IntegerField(source="run.pk")
    state = serializers.CharField(source="run.state")
    n_learned = serializers.IntegerField(help_text="Rows it was taught by.")
    n_tested = serializers.IntegerField(allow_null=True, help_text="People's pairs with a winner.")
    accuracy = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True, help_text="Of the 95% interval.")
    high = serializers.FloatField(allow_null=True)


class FeedbackReportSerializer(serializers.ModelSerializer):
    project = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    figures = serializers.SerializerMethodField()

    class Meta:
        model = FeedbackReport
        fields = ["id", "project", "annotators", "figures", "created_at"]

    @extend_schema_field(FigureSerializer(many=True))
    def get_figures(self, report: FeedbackReport) -> Any:
        return FigureSerializer(read_figures(report), many=True).data


class FeedbackReportCreateSerializer(serializers.Serializer):
    """Whose labels are held against people's; nobody named: all annotators that passed their exam."""

    project = ProjectField()
    annotators = serializers.ListField(child=serializers.CharField(max_length=100), default=list)


class RoutingSerializer(serializers.Serializer):
    """What went to people, and the run that scores what the reward model has said nothing of yet."""

    n_unsure = serializers.IntegerField(help_text="What the annotator was unsure of, or changed its mind about.")
    n_disputed = serializers.IntegerField(help_text="Where the reward model is sure of the other side.")
    n_audit = serializers.IntegerField(help_text="Sure ones, drawn by chance.")
    n_unscored = serializers.IntegerField(help_text="What the run has yet to score; it routes them at its end.")
    run = serializers.IntegerField(allow_null=True)


@extend_schema_view(list=extend_schema(parameters=filter_parameters("project")))
class ConstitutionViewSet(ManagedRows):
    """Versions of the principles annotators judge by; creating one writes the next."""

    queryset = Constitution.objects.select_related("project")
    serializer_class = ConstitutionSerializer

    @extend_schema(request=ConstitutionCreateSerializer, responses={201: ConstitutionSerializer, **REFUSALS})
    def create(self, request: Request) -> Response:
        values = read(ConstitutionCreateSerializer, self, request)
        try:
            constitution = write_constitution(values.pop("project"), user=request.user, **values)
        except InvalidConstitution as error:
            raise serializers.ValidationError({"principles": [str(error)]}) from error
        return Response(self.get_serializer(constitution).data, status=status.HTTP_201_CREATED)


@extend_schema_view(list=extend_schema(parameters=filter_parameters("project")))
class AnnotatorViewSet(ManagedRows):
    """Models that compare and revise; what they say is never a person's judgment."""

    queryset = Annotator.objects.select_related("project", "constitution", "checkpoint")
    serializer_class = AnnotatorSerializer

    @extend_schema(request=AnnotatorCreateSerializer, responses={201: AnnotatorSerializer, **REFUSALS})
    def create(self, request: Request) -> Response:
        values = read(AnnotatorCreateSerializer, self, request)
        try:
            annotator = add_annotator(values.pop("project"), values.pop("name"), user=request.user, **values)
        except (LearningError, ContractError) as error:
            raise serializers.ValidationError({"detail": [str(error)]}) from error
        return Response(self.get_serializer(annotator).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=AskSerializer, responses={201: RunSerializer, **REFUSALS})
    @action(detail=True, methods=["post"])
    def ask(self, request: Request, pk: str) -> Response:
        """Queue a run that asks it."""
        annotator, asked = self.get_object(), read(AskSerializer, self, request)
        try:
            run = start(annotator, asked, request)
        except (LearningError, ContractError) as error:
            raise NotReadyYet(str(error)) from error
        return Response(RunSerializer(run).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={200: AnnotatorSerializer, 403: DETAIL, 404: DETAIL, 409: DETAIL})
    @action(detail=True, methods=["post"])
    def exam(self, request: Request, pk: str) -> Response:
        """Grade it by what people said of the same comparisons."""
        annotator = self.get_object()
        try:
            take_exam(annotator, user=request.user)
        except LearningError as error:
            raise NotReadyYet(str(error)) from error
        return Response(self.get_serializer(annotator).data)

    @extend_schema(request=None, responses={200: RoutingSerializer, 403: DETAIL, 404: DETAIL, 409: DETAIL})
    @action(detail=True, methods=["post"])
    def route(self, request: Request, pk: str) -> Response:
        """Send what is in doubt to people first, and some of the rest for an audit."""
        try:
            routing, run = route_judgments(self.get_object(), user=request.user)
        except LearningError as error:
            raise NotReadyYet(str(error)) from error
        return Response(asdict(routing) | {"run": run.pk if run else None})

    @extend_schema(request=None, responses={200: AnnotatorSerializer, 403: DETAIL, 404: DETAIL})
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str) -> Response:
        """Ask it no more; what it said stays."""
        return Response(self.get_serializer(retire_annotator(self.get_object(), user=request.user)).data)


@extend_schema_view(list=extend_schema(parameters=filter_parameters("project")))
class FeedbackReportViewSet(ManagedRows):
    """What AI feedback is worth: reward models taught by people, AI and both, tested on the same of people's pairs."""

    queryset = FeedbackReport.objects.select_related("project", *(f"{name}__dataset" for name in TAUGHT_BY))
    serializer_class = FeedbackReportSerializer

    @extend_schema(request=FeedbackReportCreateSerializer, responses={201: FeedbackReportSerializer, **REFUSALS})
    def create(self, request: Request) -> Response:
        values = read(FeedbackReportCreateSerializer, self, request)
        try:
            report = start_report(values["project"], values["annotators"], user=request.user)
        except (LearningError, ContractError) as error:
            raise NotReadyYet(str(error)) from error
        return Response(self.get_serializer(report).data, status=status.HTTP_201_CREATED)


def start(annotator: Annotator, asked: dict[str, Any], request: Request) -> Any:
    """Queue the run a caller asks for."""
    if asked["task"] == "revise":
        completions = list_revisable(annotator, asked["n"])
        return ask_revisions(annotator, completions, n_turns=asked["n_turns"], user=request.user)
    chosen = list_exam_comparisons(annotator)[: asked["n"]] if asked["task"] == "exam" else None
    return ask_comparisons(annotator, chosen, n=asked["n"], route=asked["route"], user=request.user)
