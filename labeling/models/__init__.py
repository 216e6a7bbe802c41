"""Projects, prompts, completions, comparisons, slots and judgments: what people judge and what they said.

Nothing here knows which model wrote a completion; `rlhf` keeps that, and no relation leads there.
What must never be true is a constraint here or a trigger in the migrations (labeling/guards.py).
"""

from labeling.models.content import Completion, Demonstration, Import, Prompt, Slice
from labeling.models.judgments import Adjudication, Fix, ImportedJudgment, Judgment, Verdict
from labeling.models.projects import Guideline, Membership, Project, User
from labeling.models.queue import PROBES, Comparison, Gold, Reason, Skip, Slot
from labeling.models.records import AuditEvent, SavedView

__all__ = [
    "PROBES",
    "Adjudication",
    "AuditEvent",
    "Comparison",
    "Completion",
    "Demonstration",
    "Fix",
    "Gold",
    "Guideline",
    "Import",
    "ImportedJudgment",
    "Judgment",
    "Membership",
    "Project",
    "Prompt",
    "Reason",
    "SavedView",
    "Skip",
    "Slice",
    "Slot",
    "User",
    "Verdict",
]
