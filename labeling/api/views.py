"""The same three acts as the page, for programs: see projects, claim, judge."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling.api.serializers import (
    ClaimSerializer,
    JudgmentSerializer,
    NewJudgmentSerializer,
    ProjectSerializer,
    RefusalSerializer,
)
from labeling.domain.assignment import claim_slot, explain_empty
from labeling.domain.errors import AlreadyJudged, ClaimLost, IdempotencyConflict, InvalidContent, NotAMember
from labeling.domain.judging import record_judgment
from labeling.domain.progress import measure_progresses
from labeling.models import Project
from labeling.permissions import get_known_project

IDEMPOTENCY_KEY = OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, description="A UUID you made.")


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


class JudgmentList(APIView):
    @extend_schema(
        parameters=[IDEMPOTENCY_KEY],
        request=NewJudgmentSerializer,
        responses={
            200: JudgmentSerializer,
            201: JudgmentSerializer,
            400: RefusalSerializer,
            403: RefusalSerializer,
            409: RefusalSerializer,
            410: RefusalSerializer,
        },
    )
    def post(self, request: Request) -> Response:
        """Judge a pair you claimed. The same key again answers 200 with the stored judgment."""
        serializer = NewJudgmentSerializer(data=request.data, context={"request": request})
        serializer.is_valid(raise_exception=True)
        said = serializer.validated_data
        key = said["idempotency_key"]
        is_replay = request.user.judgments.filter(idempotency_key=key).exists()
        try:
            judgment = record_judgment(
                said["slot"],
                request.user,
                idempotency_key=key,
                lease_token=said["lease_token"],
                vote=serializer.to_vote(),
            )
        except NotAMember as error:
            raise PermissionDenied(str(error)) from error
        except InvalidContent as error:
            return Response({"detail": str(error)}, status=status.HTTP_400_BAD_REQUEST)
        except (AlreadyJudged, IdempotencyConflict) as error:
            return Response({"detail": str(error)}, status=status.HTTP_409_CONFLICT)
        except ClaimLost as error:
            return Response({"detail": str(error)}, status=status.HTTP_410_GONE)
        return Response(
            JudgmentSerializer(judgment).data, status=status.HTTP_200_OK if is_replay else status.HTTP_201_CREATED
        )
