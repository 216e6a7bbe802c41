"""Where a model comes from, down to people's judgments, and where a judgment went, up to every model."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Count, Model, Q

from labeling.domain.people import quarantine_member
from labeling.models import Judgment, Membership, Project, User
from rlhf.domain.errors import NotReady
from rlhf.domain.loop import current_policy
from rlhf.domain.rounds import insert_round
from rlhf.domain.stages import plan_stages
from rlhf.domain.terms import freeze_terms, get_loop
from rlhf.models import Checkpoint, Dataset, DatasetSource, Loop, Round, Run

MAX_CHECKPOINTS = 60  # of one picture; what is older is said to be there
MAX_PEOPLE = 20
RUN_INPUTS = ("base", "reward_model", "other")


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
    is_cut: bool = False  # there is more than is shown

    def add(self, node: Node, *, of: Iterable[str] = ()) -> str:
        """Add a node, made of others, and return its key."""
        self.nodes.setdefault(node.key, node)
        self.edges.update((key, node.key) for key in of)
        return node.key

    def list_of(self, kind: str) -> list[Node]:
        """Return the nodes of a kind, in the order they were found."""
        return [node for node in self.nodes.values() if node.kind == kind]


def trace_back(checkpoint: Checkpoint) -> Graph:
    """Return everything a checkpoint was made of: models, runs, datasets, and who said what stands in them."""
    graph, datasets = Graph(), set()
    waiting, seen = [checkpoint.pk], {checkpoint.pk}
    while waiting:
        if len(seen) > MAX_CHECKPOINTS:
            graph.is_cut = True
            break
        found = Checkpoint.objects.filter(pk__in=waiting).select_related(
            "parent", "run", "run__dataset", *(f"run__{name}" for name in RUN_INPUTS)
        )
        waiting = []
        for each in found:
            inputs = [getattr(each.run, name) for name in RUN_INPUTS] if each.run else [each.parent]
            datasets |= {each.run.dataset_id} if each.run and each.run.dataset_id else set()
            for before in add_checkpoint(graph, each, inputs):
                if before.pk not in seen:
                    seen.add(before.pk)
                    waiting.append(before.pk)
    add_sources(graph, datasets)
    mark_promoted(graph, checkpoint.project)
    return graph


def add_checkpoint(graph: Graph, checkpoint: Checkpoint, inputs: list[Checkpoint | None]) -> list[Checkpoint]:
    """Add a checkpoint with the run that made it, and return the models that run read."""
    before = [each for each in inputs if each is not None]
    made_of = [node_key(each) for each in before]
    run: Run | None = checkpoint.run
    if run is not None:
        if run.dataset is not None:
            made_of.append(graph.add(dataset_node(run.dataset)))
        made_of = [graph.add(run_node(run), of=made_of)]
    graph.add(checkpoint_node(checkpoint), of=made_of)
    for each in before:
        graph.add(checkpoint_node(each))
    return before


def add_sources(graph: Graph, datasets: set[int]) -> None:
    """Add who stands behind the lines of datasets: labelers, guidelines, imports, annotators."""
    sources = DatasetSource.objects.filter(dataset__in=datasets).order_by()
    kinds = {
        "labeler": "judgment__labeler__username",
        "guideline": "judgment__guideline__version",
        "import": "imported_judgment__imported__source",
        "annotator": "ai_judgment__annotator__name",
    }
    for kind, column in kinds.items():
        rows = sources.exclude(**{column: None}).values_list("dataset", column).annotate(n=Count("id"))
        add_people(graph, kind, list(rows))


def add_people(graph: Graph, kind: str, rows: list[tuple[int, object, int]]) -> None:
    """Add those of a kind with the most lines, and the others together."""
    total: dict[object, int] = defaultdict(int)
    for _, who, n in rows:
        total[who] += n
    shown = sorted(total, key=lambda who: -total[who])[:MAX_PEOPLE]
    others = len(total) - len(shown)
    for dataset, who, _ in rows:
        key = f"{kind}:{who}" if who in shown else f"{kind}:"
        name = (f"version {who}" if kind == "guideline" else str(who)) if who in shown else f"{others} more"
        detail = f"{total[who]:,} lines" if who in shown else ""
        graph.add(Node(key, kind, name, detail))
        graph.edges.add((key, f"dataset:{dataset}"))


def trace_labeler(project: Project, labeler: User) -> Graph:
    """Return every dataset and model of a project that a labeler's judgments went into."""
    sources = DatasetSource.objects.filter(dataset__project=project, judgment__labeler=labeler)
    return trace_forward(project, Node(f"labeler:{labeler.username}", "labeler", labeler.username), sources)


def trace_judgment(judgment: Judgment) -> Graph:
    """Return every dataset and model a judgment went into."""
    project = judgment.comparison.project
    node = Node(f"judgment:{judgment.pk}", "judgment", f"judgment {judgment.pk}", str(judgment.labeler))
    return trace_forward(project, node, DatasetSource.objects.filter(dataset__project=project, judgment=judgment))


def trace_forward(project: Project, start: Node, sources: object) -> Graph:
    """Return what was made of some lines of datasets, and of what was made of those, to the end."""
    graph = Graph()
    graph.add(start)
    counted = sources.order_by().values_list("dataset").annotate(n=Count("id"))  # type: ignore[attr-defined]
    n_lines = dict(counted)
    for dataset in Dataset.objects.filter(pk__in=n_lines):
        graph.add(dataset_node(dataset, detail=f"{n_lines[dataset.pk]:,} of its lines"), of=[start.key])
    runs = Run.objects.filter(project=project).select_related("checkpoint", "dataset", *RUN_INPUTS).order_by("pk")
    waiting = list(runs.filter(dataset__in=n_lines))
    seen: set[int] = set()
    while waiting:
        made = []
        for run in waiting:
            seen.add(run.pk)
            touched = [node_key(each) for each in (run.dataset, *(getattr(run, name) for name in RUN_INPUTS)) if each]
            key = graph.add(run_node(run), of=[key for key in touched if key in graph.nodes])
            checkpoint = getattr(run, "checkpoint", None)
            if checkpoint is not None:
                graph.add(checkpoint_node(checkpoint), of=[key])
                made.append(checkpoint.pk)
        reads = Q(base__in=made) | Q(reward_model__in=made) | Q(other__in=made)
        waiting = list(runs.filter(reads).exclude(pk__in=seen))
    mark_promoted(graph, project)
    return graph


def mark_promoted(graph: Graph, project: Project) -> None:
    """Mark the policy the project's loop goes by."""
    policy = Loop.objects.filter(project=project).values_list("policy", flat=True).first()
    key = f"checkpoint:{policy}"
    if key in graph.nodes:
        graph.nodes[key] = dataclasses.replace(graph.nodes[key], is_promoted=True)


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


def rebuild_without(project: Project, labeler: User, *, user: User | None, reason: str = "") -> Round:
    """Set a labeler aside and begin a round from the last policy none of her judgments went into, on all others'.

    Writes an audit event, by the quarantine. Raises: NotReady when a round is running, or when no policy is free of her.
    """
    loop = get_loop(project)
    membership = Membership.objects.filter(project=project, user=labeler).first()
    if membership is None:
        raise NotReady(f"{labeler} is no member of {project}, so there is nothing to rebuild")
    base = find_clean_policy(loop, trace_labeler(project, labeler))
    terms = freeze_terms(loop)
    excluded = sorted({*terms.rule.get("exclude_labelers", ()), labeler.username})
    terms = dataclasses.replace(terms, rule={**terms.rule, "exclude_labelers": excluded})
    upto = Judgment.objects.of_project(project).order_by("-pk").values_list("pk", flat=True).first() or 0
    with transaction.atomic():
        if not membership.is_quarantined:
            quarantine_member(membership, user, reason=reason or f"models are rebuilt without {labeler}")
        return insert_round(loop, terms, plan_stages(terms), base=base, upto=upto)


def find_clean_policy(loop: Loop, touched: Graph) -> Checkpoint:
    """Return the nearest ancestor of the loop's policy that is not touched. Raises: NotReady."""
    policy = current_policy(loop)
    while policy is not None and node_key(policy) in touched.nodes:
        policy = policy.parent
    if policy is None or not is_worth_starting_from(policy):
        raise NotReady(
            f"every policy of {loop.project} was trained with her judgments: register or fine-tune one first, "
            "then rebuild"
        )
    return policy


def is_worth_starting_from(policy: Checkpoint) -> bool:
    """Say whether a policy can answer: one that was merely pre-trained cannot."""
    return policy.run is None or policy.run.kind != Run.Kind.PRETRAIN
