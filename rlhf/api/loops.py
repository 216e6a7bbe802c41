"""The API of loops: how each project's stands, its settings, and what people do with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from labeling.models import Membership, Project, User
from rlhf.api.access import IsManager, NewestFirst
from rlhf.api.views import REFUSALS, NotReadyYet
from rlhf.domain.adjusting import read_settings, record_settings
from rlhf.domain.errors import LearningError
from rlhf.domain.loop import pause_loop, resume_loop, start_loop, start_round, step_loop, stop_loop
from rlhf.domain.promoting import roll_back
from rlhf.domain.rebuilding import rebuild_without
from rlhf.domain.standing import Standing, read_standing, read_standings
from rlhf.domain.terms import get_loop
from rlhf.forms.projects import LOOP_FIELDS, check_terms
from rlhf.models import Checkpoint, Loop


class LoopSettingsSerializer(serializers.ModelSerializer):
    """What the next rounds are begun with; what a round under way was begun with stays."""

    class Meta:
        model = Loop
        fields = LOOP_FIELDS
        extra_kwargs = {
            "settings": {
                "help_text": 'Settings of a round\'s runs over the defaults, by kind or stage: {"ppo": {"kl_coef": 0.1}}. '
                "What is sent replaces all of them."
            },
            "rule": {
                "help_text": 'Parts of domain.datasets.FreezeRule over its defaults: {"consensus": "dawid_skene"}. '
                "What is sent replaces all of them."
            },
        }

    def get_fields(self) -> dict[str, serializers.Field]:
        """Offer the slices of the loop's own project."""
        found: dict[str, serializers.Field] = super().get_fields()
        if isinstance(self.instance, Loop):
            found["slice"].queryset = self.instance.project.slices.all()  # type: ignore[attr-defined]
        return found

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        assert isinstance(self.instance, Loop)
        kept = {name: getattr(self.instance, name) for name in LOOP_FIELDS}
        if errors := check_terms(self.instance.project, kept | attrs):
            raise serializers.ValidationError({name: [words] for name, words in errors.items()})
        return attrs

    def update(self, instance: Loop, validated_data: dict[str, Any]) -> Loop:
        """Store what was sent alone: a pause or a promotion since the row was read stays."""
        for name, value in validated_data.items():
            setattr(instance, name, value)
        instance.save(update_fields=list(validated_data))
        return instance


class LoopSerializer(serializers.Serializer):
    """How a project's loop stands."""

    project = serializers.SlugField(source="project.slug")
    state = serializers.ChoiceField(Loop.State.choices, source="loop.state")
    waits = serializers.CharField(source="wait", help_text="What it waits for and why, in words with figures.")
    n_new = serializers.IntegerField(
        help_text="Judgments that count toward the next round: those on the pairs it asks for."
    )
    n_waiting = serializers.IntegerField(help_text="Comparisons that wait to be judged.")
    n_fresh = serializers.IntegerField(help_text="Those of them that show the policy in use or under test.")
    policy = serializers.IntegerField(
        source="policy.pk", default=None, allow_null=True, help_text="The checkpoint rounds start from."
    )
    round = serializers.IntegerField(
        source="turn.round.pk", default=None, allow_null=True, help_text="The last round, under way or over."
    )
    candidate = serializers.IntegerField(
        source="pending.candidate_id",
        default=None,
        allow_null=True,
        help_text="The policy under test, if there is one.",
    )
    verdict = serializers.CharField(help_text="What the gate has said of the candidate so far, or when it will.")
    settings = LoopSettingsSerializer(source="loop")


class PauseSerializer(serializers.Serializer):
    """Why, for those who read it there."""

    because = serializers.CharField(default="", allow_blank=True, max_length=500)


class StepSerializer(serializers.Serializer):
    """How far."""

    whole_round = serializers.BooleanField(default=False, help_text="A whole round; else one stage.")


class RollbackSerializer(serializers.Serializer):
    """Where to."""

    policy = serializers.PrimaryKeyRelatedField(queryset=Checkpoint.objects.none(), help_text="A promoted policy.")

    def get_fields(self) -> dict[str, serializers.Field]:
        """Know the policies of the project alone: one of another project answers as one that is not there."""
        found: dict[str, serializers.Field] = super().get_fields()
        if project := self.context.get("project"):
            found["policy"].queryset = Checkpoint.objects.policies_of(project)  # type: ignore[attr-defined]
        return found


class RebuildSerializer(serializers.Serializer):
    """Without whom, and why."""

    labeler = serializers.SlugRelatedField(slug_field="username", queryset=User.objects.none())
    because = serializers.CharField(default="", allow_blank=True, max_length=500)

    def get_fields(self) -> dict[str, serializers.Field]:
        """Know the members of the project alone."""
        found: dict[str, serializers.Field] = super().get_fields()
        if project := self.context.get("project"):
            members = Membership.objects.filter(project=project).values("user")
            found["labeler"].queryset = User.objects.filter(pk__in=members)  # type: ignore[attr-defined]
        return found


class LoopViewSet(viewsets.GenericViewSet):
    """The loops of the projects the user manages, by the project's slug."""

    queryset = Project.objects.all()
    serializer_class = LoopSerializer
    permission_classes = [IsManager]
    pagination_class = NewestFirst
    lookup_field = "slug"
    lookup_value_regex = "[-a-zA-Z0-9_]{1,50}"

    def get_queryset(self) -> QuerySet[Project]:
        return Project.objects.managed_by(self.request.user)

    def find_project(self, slug: str) -> Project:
        return get_object_or_404(self.get_queryset(), slug=slug)

    def list(self, request: Request) -> Response:
        projects = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(LoopSerializer(read_standings(projects or []), many=True).data)

    def retrieve(self, request: Request, slug: str) -> Response:
        return self.answer(self.find_project(slug))

    @extend_schema(request=LoopSettingsSerializer(partial=True), responses={200: LoopSerializer, **REFUSALS})
    def partial_update(self, request: Request, slug: str) -> Response:
        """Change settings; rounds that have begun keep theirs."""
        loop = get_loop(self.find_project(slug))
        before = read_settings(loop)
        serializer = LoopSettingsSerializer(loop, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        with transaction.atomic():
            record_settings(serializer.save(), before, user=request.user)
        return self.answer(loop.project)

    @extend_schema(request=None, responses={200: LoopSerializer, **REFUSALS})
    @action(detail=True, methods=["post"])
    def start(self, request: Request, slug: str) -> Response:
        """Let it go by itself."""
        return self.act(slug, lambda loop: start_loop(loop, user=request.user))

    @extend_schema(request=PauseSerializer, responses={200: LoopSerializer, **REFUSALS})
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, slug: str) -> Response:
        """Start nothing new, not even the next stage, until it is resumed."""
        values = self.read(PauseSerializer)
        return self.act(slug, lambda loop: pause_loop(loop, user=request.user, because=values["because"]))

    @extend_schema(request=None, responses={200: LoopSerializer, **REFUSALS})
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, slug: str) -> Response:
        """Let it go by itself again."""
        return self.act(slug, lambda loop: resume_loop(loop, user=request.user))

    @extend_schema(request=PauseSerializer, responses={200: LoopSerializer, **REFUSALS})
    @action(detail=True, methods=["post"])
    def stop(self, request: Request, slug: str) -> Response:
        """Begin no round by itself any more; one under way goes to its end."""
        values = self.read(PauseSerializer)
        return self.act(slug, lambda loop: stop_loop(loop, user=request.user, because=values["because"]))

    @extend_schema(request=StepSerializer, responses={200: LoopSerializer, **REFUSALS})
    @action(detail=True, methods=["post"])
    def step(self, request: Request, slug: str) -> Response:
        """Take one stage by hand, or go one round."""
        if self.read(StepSerializer)["whole_round"]:
            return self.act(slug, lambda loop: start_round(loop.project, user=request.user))
        return self.act(slug, lambda loop: step_loop(loop, user=request.user))

    @extend_schema(request=RollbackSerializer, responses={200: LoopSerializer, **REFUSALS})
    @action(detail=True, methods=["post"])
    def rollback(self, request: Request, slug: str) -> Response:
        """Go back to an earlier promoted policy; later rounds are marked, their waiting pairs retired."""
        policy = self.read(RollbackSerializer, project=self.find_project(slug))["policy"]
        return self.act(slug, lambda loop: roll_back(loop, policy, user=request.user))

    @extend_schema(request=RebuildSerializer, responses={200: LoopSerializer, **REFUSALS})
    @action(detail=True, methods=["post"])
    def rebuild(self, request: Request, slug: str) -> Response:
        """Set a labeler aside and begin a round from the last policy none of her judgments went into."""
        values = self.read(RebuildSerializer, project=self.find_project(slug))
        labeler, because = values["labeler"], values["because"]
        return self.act(slug, lambda loop: rebuild_without(loop.project, labeler, user=request.user, reason=because))

    def read(self, serializer_class: type[serializers.Serializer], **context: Any) -> Any:
        serializer = serializer_class(data=self.request.data, context=self.get_serializer_context() | context)
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data

    def act(self, slug: str, do: Callable[[Loop], object]) -> Response:
        loop = get_loop(self.find_project(slug))
        try:
            do(loop)
        except LearningError as error:
            raise NotReadyYet(str(error)) from error
        return self.answer(loop.project)

    def answer(self, project: Project) -> Response:
        standing: Standing = read_standing(project)
        return Response(LoopSerializer(standing).data)
