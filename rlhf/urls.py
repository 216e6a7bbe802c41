"""Addresses of the pages on which models learn, and of what machines count. Probes: views.health.answer_probes."""

from django.urls import path

from rlhf.views import (
    benchmarks,
    board,
    checkpoints,
    datasets,
    exports,
    feedback,
    health,
    lineage,
    loop,
    runs,
    win_rates,
)

app_name = "rlhf"
urlpatterns = [
    path("loop/", loop.list_loops, name="loop-list"),
    path("loop/progress/", loop.show_progress, name="progress"),
    path("loop/<slug:slug>/settings/", loop.update_loop, name="loop-update"),
    *(
        path(f"loop/<slug:slug>/{act}/", loop.move_loop, {"act": act}, name=f"loop-{act}")
        for act in ("start", "pause", "resume", "stop", "step")
    ),
    path("loop/<slug:slug>/rollback/", loop.restore_policy, name="loop-rollback"),
    path("loop/<slug:slug>/rounds/", loop.create_round, name="round-create"),
    path("datasets/", datasets.list_datasets, name="dataset-list"),
    path("datasets/new/", datasets.create_dataset, name="dataset-create"),
    path("datasets/benchmarks/new/", benchmarks.create_benchmark, name="benchmark-create"),
    path("datasets/<int:pk>/", datasets.show_dataset, name="dataset-detail"),
    path("datasets/<int:pk>/<slug:split>.<slug:format>", datasets.download_dataset, name="dataset-download"),
    path("exports/", exports.list_exports, name="export-list"),
    path("exports/datasets/", exports.create_dataset_export, name="dataset-export-create"),
    path("exports/judgments/", exports.create_judgment_export, name="judgment-export-create"),
    path("exports/<int:pk>/", exports.show_export, name="export-detail"),
    path("exports/<int:pk>/file/", exports.download_export, name="export-download"),
    path("runs/", runs.list_runs, name="run-list"),
    path("runs/new/", runs.create_run, name="run-create"),
    path("runs/new/estimate/", runs.estimate_run, name="run-estimate"),
    path("runs/<int:pk>/", runs.show_run, name="run-detail"),
    path("runs/<int:pk>/cancel/", runs.request_cancel, name="run-cancel"),
    path("checkpoints/", checkpoints.list_checkpoints, name="checkpoint-list"),
    path("checkpoints/standings/", win_rates.show_standings, name="checkpoint-standings"),
    path("checkpoints/board/", board.show_board, name="checkpoint-board"),
    path("checkpoints/board/<slug:slug>/scores/", board.score_votes, name="board-score"),
    path("checkpoints/new/", checkpoints.register_checkpoint, name="checkpoint-create"),
    path("checkpoints/<int:pk>/", checkpoints.show_checkpoint, name="checkpoint-detail"),
    path("checkpoints/<int:pk>/model.tar", checkpoints.download_checkpoint, name="checkpoint-download"),
    path("feedback/", feedback.list_feedback, name="feedback-list"),
    path("feedback/<slug:slug>/", feedback.show_feedback, name="feedback-detail"),
    path("feedback/<slug:slug>/constitutions/", feedback.create_constitution, name="constitution-create"),
    path("feedback/<slug:slug>/reports/", feedback.create_report, name="report-create"),
    path("feedback/<slug:slug>/annotators/", feedback.create_annotator, name="annotator-create"),
    path("feedback/<slug:slug>/annotators/<int:pk>/ask/", feedback.ask_annotator, name="annotator-ask"),
    path("feedback/<slug:slug>/annotators/<int:pk>/exam/", feedback.examine_annotator, name="annotator-exam"),
    path("feedback/<slug:slug>/annotators/<int:pk>/route/", feedback.route_annotator, name="annotator-route"),
    path("feedback/<slug:slug>/annotators/<int:pk>/retire/", feedback.stop_annotator, name="annotator-retire"),
    path("lineage/checkpoints/<int:pk>/", lineage.show_checkpoint_lineage, name="lineage-checkpoint"),
    path("lineage/judgments/<int:pk>/", lineage.show_judgment_lineage, name="lineage-judgment"),
    path("lineage/<slug:slug>/labelers/<int:pk>/", lineage.show_labeler_lineage, name="lineage-labeler"),
    path("lineage/<slug:slug>/labelers/<int:pk>/rebuild/", lineage.rebuild, name="lineage-rebuild"),
    path("metrics", health.show_metrics, name="metrics"),
]
