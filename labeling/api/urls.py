"""Addresses of the API on which programs judge, under /api/v1/."""

from django.urls import path

from labeling.api.views import ClaimList, JudgmentList, ProjectList

app_name = "labeling-api"
urlpatterns = [
    path("projects/", ProjectList.as_view(), name="project-list"),
    path("projects/<slug:slug>/claims/", ClaimList.as_view(), name="claim-list"),
    path("judgments/", JudgmentList.as_view(), name="judgment-list"),
]
