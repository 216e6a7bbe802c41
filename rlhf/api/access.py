"""Who may call the API of the learning half, and how its lists are paged."""

from __future__ import annotations

from django.http import Http404
from rest_framework.pagination import CursorPagination
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from labeling.permissions import is_manager


class IsManager(IsAuthenticated):
    """Superusers and managers; for labelers nothing of this is there."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        if not is_manager(request.user):
            raise Http404
        return True


class NewestFirst(CursorPagination):
    ordering = "-id"
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200


class StepByStep(CursorPagination):
    ordering = "step"
    page_size = 500
    page_size_query_param = "page_size"
    max_page_size = 2000
