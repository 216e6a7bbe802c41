"""Addresses of the API on which programs judge, under /api/v1/."""

from django.urls import path

from labeling.api.views import ClaimList, ClaimRenewal, JudgmentList, ProjectList, SkipList

app_name = "labeling-api"
urlpatterns = [
    path("projects/", ProjectList.as_view(), name="project-list"),
    path("projects/<slug:slug>/claims/", ClaimList.as_view(), name="claim-list"),
    path("projects/<slug:slug>/skips/", SkipList.as_view(), name="skip-list"),
    path("claims/<int:slot_id>/renew/", ClaimRenewal.as_view(), name="claim-renew"),
    path("judgments/", JudgmentList.as_view(), name="judgment-list"),
]
