"""Addresses of the API of the learning half, under /api/v1/."""

from rest_framework.routers import SimpleRouter

from rlhf.api.feedback import AnnotatorViewSet, ConstitutionViewSet, FeedbackReportViewSet
from rlhf.api.loops import LoopViewSet
from rlhf.api.views import CheckpointViewSet, DatasetViewSet, RoundViewSet, RunViewSet

app_name = "rlhf-api"
router = SimpleRouter()
router.register("datasets", DatasetViewSet, basename="dataset")
router.register("runs", RunViewSet, basename="run")
router.register("checkpoints", CheckpointViewSet, basename="checkpoint")
router.register("loops", LoopViewSet, basename="loop")
router.register("rounds", RoundViewSet, basename="round")
router.register("constitutions", ConstitutionViewSet, basename="constitution")
router.register("annotators", AnnotatorViewSet, basename="annotator")
router.register("feedback-reports", FeedbackReportViewSet, basename="feedback-report")
urlpatterns = router.urls
