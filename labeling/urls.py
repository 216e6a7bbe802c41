"""Addresses of the pages on which people judge."""

from django.urls import path

from labeling.views import home, judge, judging, projects, revision

app_name = "labeling"
urlpatterns = [
    path("", home.show_home, name="home"),
    path("judge/", home.resume, name="resume"),
    path("judge/<slug:slug>/", judge.judge, name="judge"),
    path("judge/<slug:slug>/claims/", judge.create_claim, name="claim-create"),
    path("judge/<slug:slug>/claims/<int:slot_id>/renew/", judge.renew_claim, name="claim-renew"),
    path("judge/<slug:slug>/claims/<int:slot_id>/<str:part>/", judge.show_text, name="claim-text"),
    path("judge/<slug:slug>/scale/", judge.choose_scale, name="scale-choose"),
    path("judge/<slug:slug>/judgments/", judging.create_judgment, name="judgment-create"),
    path("judge/<slug:slug>/judgments/<int:judgment_id>/", revision.revise, name="judgment-revise"),
    path("judge/<slug:slug>/skips/", judging.create_skip, name="skip-create"),
    path("judge/<slug:slug>/skips/undo/", judging.undo_last_skip, name="skip-undo"),
    path("projects/", projects.list_projects, name="project-list"),
    path("projects/<slug:slug>/", projects.show_project, name="project-detail"),
    path("projects/<slug:slug>/guidelines/", projects.create_guideline, name="guideline-create"),
    path("projects/<slug:slug>/memberships/", projects.join_project, name="membership-create"),
]
