"""The picture of a lineage: things, and what was made of what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import Model

from rlhf.models import Checkpoint, Dataset, Run


@dataclass(frozen=True)
class Node:
    """One thing of a lineage. kind: labeler, guideline, import, annotator, judgment, dataset, run or checkpoint."""

    key: str
    kind: str
    name: str
    detail: str = ""
    url: str = ""
    is_promoted: bool = False


@dataclass
class Graph:
    """What came of what: an edge leads from what was there to what was made of it."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: set[tuple[str, str]] = field(default_factory=set)
    is_cut: bool = False  # there is more than is drawn
    checkpoints: set[int] = field(default_factory=set)  # all that were found, drawn or not

    def add(self, node: Node, *, of: Iterable[str] = ()) -> str:
        """Add a node, made of others, and return its key."""
        self.nodes.setdefault(node.key, node)
        self.edges.update((key, node.key) for key in of)
        return node.key

    def list_of(self, kind: str) -> list[Node]:
        """Return the nodes of a kind, in the order they were found."""
        return [node for node in self.nodes.values() if node.kind == kind]


def node_key(row: Model) -> str:
    return f"{row._meta.model_name}:{row.pk}"


def checkpoint_node(checkpoint: Checkpoint) -> Node:
    return Node(
        node_key(checkpoint),
        "checkpoint",
        checkpoint.name,
        checkpoint.get_kind_display(),
        checkpoint.get_absolute_url(),
    )


def run_node(run: Run) -> Node:
    return Node(node_key(run), "run", f"run {run.pk}", run.get_kind_display(), run.get_absolute_url())


def dataset_node(dataset: Dataset, *, detail: str = "") -> Node:
    return Node(
        node_key(dataset),
        "dataset",
        dataset.name,
        detail or f"{dataset.n_train + dataset.n_test:,} rows",
        dataset.get_absolute_url(),
    )
