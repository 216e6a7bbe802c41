"""The same acts as the page, for programs: see projects, claim, renew, judge, skip, and look back."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling.api.serializers import (
    ClaimSerializer,
    JudgmentPageSerializer,
    JudgmentSerializer,
    LeaseSerializer,
    NewJudgmentSerializer,
    NewSkipSerializer,
    ProjectSerializer,
    RefusalSerializer,
    RenewalSerializer,
    StoredJudgmentSerializer,
    StoredSkipSerializer,
    add_key,
    show_claim,
    show_judgment,
    to_vote,
)
from labeling.domain.assignment import claim_slot, explain_empty, one_turn, renew_lease
from labeling.domain.errors import (
    AlreadyJudged,
    ClaimLost,
    IdempotencyConflict,
    InvalidContent,
    InvalidJudgment,
    LabelingError,
    NotAMember,
    TooManyActs,
)
from labeling.domain.flood import refuse_flood_of_skips, refuse_flood_of_votes
from labeling.domain.judging import record_judgment
from labeling.domain.placing import find_replay
from labeling.domain.progress import measure_progresses
from labeling.domain.skipping import skip_comparison
from labeling.models import Judgment, Project, Slot, User
from labeling.permissions import get_known_project

IDEMPOTENCY_KEY = OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, description="A UUID you made.")
PROJECT = OpenApiParameter("project", str, description="Only judgments of the project with this slug.")
CURSOR = OpenApiParameter("cursor", str, description="The page, as next and previous name it.")
REFUSALS = dict.fromkeys((400, 403, 409, 410, 429), RefusalSerializer)
STATUSES: dict[type[LabelingError], int] = {
    InvalidContent: status.HTTP_400_BAD_REQUEST,
    InvalidJudgment: status.HTTP_400_BAD_REQUEST,
    NotAMember: status.HTTP_403_FORBIDDEN,
    AlreadyJudged: status.HTTP_409_CONFLICT,
    IdempotencyConflict: status.HTTP_409_CONFLICT,
    ClaimLost: status.HTTP_410_GONE,
    TooManyActs: status.HTTP_429_TOO_MANY_REQUESTS,
}


class ProjectList(APIView):
    @extend_schema(responses={200: ProjectSerializer(many=True), 403: RefusalSerializer})
    def get(self, request: Request) -> Response:
        """The projects you may judge in, with your own progress."""
        projects = list(Project.objects.visible_to(request.user))
        progresses = measure_progresses(projects, request.user)
        for project in projects:
            project.waiting = progresses[project.pk].left
            project.judged_today = progresses[project.pk].today
        return Response(ProjectSerializer(projects, many=True).data)


class ClaimList(APIView):
    @extend_schema(
        request=None,
        responses={200: ClaimSerializer, 204: None, 403: RefusalSerializer, 404: RefusalSerializer},
    )
    def post(self, request: Request, slug: str) -> Response:
        """The pair you hold, its lease renewed, or the next one; 204, with the reason in Prefloop-Empty, for none."""
        project = get_known_project(request.user, slug)
        try:
            slot = claim_slot(project, request.user)
        except NotAMember as error:
            raise PermissionDenied(str(error)) from error
        if slot is None:
            reason = explain_empty(project, request.user).value
            return Response(status=status.HTTP_204_NO_CONTENT, headers={"Prefloop-Empty": reason, "Retry-After": "20"})
        return Response(ClaimSerializer(slot).data)


class ClaimRenewal(APIView):
    @extend_schema(request=RenewalSerializer, responses={200: LeaseSerializer} | REFUSALS)
    def post(self, request: Request, slot_id: int) -> Response:
        """Keep a pair you are still at; 410 when it is no longer yours."""
        serializer = RenewalSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        held = Slot.objects.held_by(request.user).select_related("project")
        slot = held.filter(pk=slot_id).first()
        if slot is None or not renew_lease(slot, request.user, serializer.validated_data["lease_token"]):
            return refuse(ClaimLost("This comparison is not yours any more: take the next one.")).to_response()
        slot.refresh_from_db(fields=["lease_until"])
        return Response(LeaseSerializer(slot).data)


class SkipList(APIView):
    @extend_schema(request=NewSkipSerializer, responses={200: StoredSkipSerializer, 404: RefusalSerializer} | REFUSALS)
    def post(self, request: Request, slug: str) -> Response:
        """Pass a pair on; you are not given it again. The same skip again answers the stored one."""
        project = get_known_project(request.user, slug)
        serializer = NewSkipSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        said = serializer.validated_data
        try:
            refuse_flood_of_skips(request.user)
            with one_turn():
                skip = skip_comparison(
                    said["slot"], request.user, lease_token=said["lease_token"], reason=said["reason"], project=project
                )
                following = claim_following(project, request.user) if said["claim_next"] else {}
        except tuple(STATUSES) as error:
            return refuse(error).to_response()
        return Response({"reason": skip.reason} | following)


class JudgmentPages(CursorPagination):
    page_size = 50
    ordering = "-id"

    def decode_cursor(self, request: Request) -> Cursor | None:
        cursor = super().decode_cursor(request)
        if cursor and cursor.position is not None and not re.fullmatch("[0-9]{1,19}", cursor.position):
            raise NotFound(self.invalid_cursor_message)  # or the database would be asked for it
        return cursor


class JudgmentList(APIView):
    @extend_schema(
        parameters=[PROJECT, CURSOR],
        responses={200: JudgmentPageSerializer, 403: RefusalSerializer, 404: RefusalSerializer},
    )
    def get(self, request: Request) -> Response:
        """Your own judgments as they stand, newest first, 50 a page."""
        own = Judgment.objects.filter(labeler=request.user).current().select_related("fix__completion")
        if slug := request.query_params.get("project"):
            own = own.of_project(get_object_or_404(Project.objects.known_to(request.user), slug=slug))
        pages = JudgmentPages()
        page = pages.paginate_queryset(own, request, view=self)
        return pages.get_paginated_response(JudgmentSerializer(page, many=True).data)

    @extend_schema(
        parameters=[IDEMPOTENCY_KEY],
        request=NewJudgmentSerializer,
        responses={200: StoredJudgmentSerializer, 201: StoredJudgmentSerializer} | REFUSALS,
    )
    def post(self, request: Request) -> Response:
        """Judge a pair you claimed. The same key again answers 200 with the stored judgment."""
        serializer = NewJudgmentSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return answer_vote(request.user, add_key(serializer.validated_data, request.headers)).to_response()


class Answer(NamedTuple):
    """What is answered, on the usual way or the short one."""

    body: dict[str, Any]
    status: int = status.HTTP_200_OK
    headers: dict[str, str] = {}

    def to_response(self) -> Response:
        return Response(self.body, status=self.status, headers=self.headers)


def answer_vote(labeler: User, said: dict[str, Any]) -> Answer:
    """Store a vote that is valid, claim what follows if she asks for it, and return the answer."""
    try:
        with one_turn():
            judgment = find_flooding_replay(labeler, said) or record_judgment(
                said["slot"],
                labeler,
                idempotency_key=said["idempotency_key"],
                lease_token=said["lease_token"],
                vote=to_vote(said),
            )
            following = claim_following(judgment.comparison.project, labeler) if said["claim_next"] else {}
    except tuple(STATUSES) as error:
        return refuse(error)
    is_new = not getattr(judgment, "is_replay", False)
    body = show_judgment(judgment) | following
    return Answer(body, status.HTTP_201_CREATED if is_new else status.HTTP_200_OK)


def find_flooding_replay(labeler: User, said: dict[str, Any]) -> Judgment | None:
    """Return the stored judgment where one more would be too many; raise TooManyActs where it would be a new one."""
    try:
        refuse_flood_of_votes(labeler)
    except TooManyActs:
        stored = find_replay(said["idempotency_key"], labeler, slot_id=said["slot"])
        if stored is None:
            raise
        return stored
    return None


def claim_following(project: Project, labeler: User) -> dict[str, Any]:
    """Return the next claim for the answer to an act; what was done stays done where there is none for her."""
    try:
        slot = claim_slot(project, labeler)
    except NotAMember:
        return {"next": None, "empty": "not_a_member"}
    if slot is None:
        return {"next": None, "empty": explain_empty(project, labeler).value}
    return {"next": show_claim(slot), "empty": None}


def refuse(error: LabelingError) -> Answer:
    """Answer what the domain refuses, in its words and with the status of its kind."""
    headers = {"Retry-After": str(error.wait_s)} if isinstance(error, TooManyActs) else {}
    return Answer({"detail": str(error)}, STATUSES[type(error)], headers)
