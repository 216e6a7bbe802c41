"""Frozen datasets, runs, their metrics and checkpoints, samples, rounds, AI feedback: what models learned and from what.

Rows point at labeling rows, and every such relation ends in related_name="+": labeling cannot look back.
What must never be true is a constraint here or a trigger in the migrations (labeling/guards.py).
"""

from rlhf.models.checkpoints import Checkpoint
from rlhf.models.datasets import Dataset, DatasetSource
from rlhf.models.devices import Device
from rlhf.models.exports import Export
from rlhf.models.feedback import AIJudgment, Annotator, Constitution, Dispute, FeedbackReport, Revision
from rlhf.models.loops import Loop, Round
from rlhf.models.runs import Metric, Run, Sample
from rlhf.models.scores import PairScore

__all__ = [
    "AIJudgment",
    "Annotator",
    "Checkpoint",
    "Constitution",
    "Dataset",
    "DatasetSource",
    "Device",
    "Dispute",
    "Export",
    "FeedbackReport",
    "Loop",
    "Metric",
    "PairScore",
    "Revision",
    "Round",
    "Run",
    "Sample",
]
