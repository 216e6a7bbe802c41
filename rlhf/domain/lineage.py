"""Where a model comes from, down to people's judgments, and where a judgment went, up to every model."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import Count, Model

from labeling.models import Judgment, Project, User
from rlhf.models import Checkpoint, Dataset, DatasetSource, Loop, Run

MAX_CHECKPOINTS = 60  # of one picture; how many more there are is said
MAX_RUNS = 120  # likewise: most make no checkpoint
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


@dataclass(frozen=True)
class Link:
    """What one run made of what, by id; run is 0 where a checkpoint came from outside."""

    run: int
    dataset: int | None
    inputs: tuple[int, ...]
    checkpoint: int | None


def list_links(project: int) -> list[Link]:
    """Return what every run of a project read and made, oldest first: nobody reads what is not made yet."""
    rows = Run.objects.filter(project=project).order_by("pk")
    return [
        Link(run, dataset, tuple(each for each in inputs if each), checkpoint)
        for run, dataset, checkpoint, *inputs in rows.values_list("pk", "dataset", "checkpoint", *RUN_INPUTS)
    ]


def list_makers(project: int) -> dict[int, Link]:
    """Return how each checkpoint of a project was made."""
    outside = Checkpoint.objects.filter(project=project, run=None).values_list("pk", "parent")
    makers = {each: Link(0, None, (parent,) if parent else (), each) for each, parent in outside}
    return makers | {link.checkpoint: link for link in list_links(project) if link.checkpoint}


def trace_back(checkpoint: Checkpoint) -> Graph:
    """Return everything a checkpoint was made of: models, runs, datasets, and who said what stands in them.

    The nearest MAX_CHECKPOINTS are drawn, and the others are one node; the sources are those of all.
    """
    graph = Graph(checkpoints={checkpoint.pk})
    makers: dict[int, Link] = {}
    nearest = [checkpoint.pk]
    for each in nearest:
        if each not in makers:  # a project's are read at once; few models are made of another's
            makers |= list_makers(Checkpoint.objects.values_list("project", flat=True).get(pk=each))
        nearest += [before for before in makers[each].inputs if before not in graph.checkpoints]
        graph.checkpoints.update(makers[each].inputs)
    nearest = list(dict.fromkeys(nearest))
    shown = nearest[:MAX_CHECKPOINTS]
    found = Checkpoint.objects.select_related(
        "parent", "run", "run__dataset", *(f"run__{name}" for name in RUN_INPUTS)
    ).in_bulk(shown)
    for each in shown:
        drawn = found[each]
        inputs = [getattr(drawn.run, name) for name in RUN_INPUTS] if drawn.run else [drawn.parent]
        add_checkpoint(graph, drawn, [before for before in inputs if before and before.pk in found])
    add_older(graph, [makers[each] for each in shown], [makers[each] for each in nearest[MAX_CHECKPOINTS:]])
    add_sources(graph, {link.dataset for link in map(makers.__getitem__, nearest) if link.dataset})
    mark_promoted(graph, checkpoint.project)
    return graph


def add_older(graph: Graph, shown: list[Link], older: list[Link]) -> None:
    """Add the models that are not drawn as one node, and the datasets only they were made of as another."""
    if not older:
        return
    graph.is_cut = True
    data = {link.dataset for link in older if link.dataset and f"dataset:{link.dataset}" not in graph.nodes}
    made_of = [graph.add(Node("dataset:", "dataset", f"{len(data)} more"))] if data else []
    rest = graph.add(Node("checkpoint:", "checkpoint", f"{len(older)} more"), of=made_of)
    left_out = {link.checkpoint for link in older}
    for link in shown:
        if left_out.intersection(link.inputs):
            graph.edges.add((rest, f"run:{link.run}" if link.run else f"checkpoint:{link.checkpoint}"))


def add_checkpoint(graph: Graph, checkpoint: Checkpoint, inputs: list[Checkpoint]) -> None:
    """Add a checkpoint with the run that made it and the models that run read."""
    made_of = [node_key(each) for each in inputs]
    run: Run | None = checkpoint.run
    if run is not None:
        if run.dataset is not None:
            made_of.append(graph.add(dataset_node(run.dataset)))
        made_of = [graph.add(run_node(run), of=made_of)]
    graph.add(checkpoint_node(checkpoint), of=made_of)
    for each in inputs:
        graph.add(checkpoint_node(each))


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
        drawn = f"dataset:{dataset}"
        graph.edges.add((key, drawn if drawn in graph.nodes else "dataset:"))


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
    """Return what was made of some lines of datasets, and of what was made of those, to the end.

    The first MAX_RUNS are drawn, and the others are one node; graph.checkpoints is complete.
    """
    graph = Graph()
    graph.add(start)
    counted = sources.order_by().values_list("dataset").annotate(n=Count("id"))  # type: ignore[attr-defined]
    n_lines = dict(counted)
    for dataset in Dataset.objects.filter(pk__in=n_lines):
        graph.add(dataset_node(dataset, detail=f"{n_lines[dataset.pk]:,} of its lines"), of=[start.key])
    reached = []
    for link in list_links(project.pk):
        if link.dataset in n_lines or graph.checkpoints.intersection(link.inputs):
            reached.append(link)
            graph.checkpoints |= {link.checkpoint} if link.checkpoint else set()
    shown = [link.run for link in reached[:MAX_RUNS]]
    runs = Run.objects.filter(pk__in=shown).select_related("checkpoint", "dataset", *RUN_INPUTS).order_by("pk")
    for run in runs:
        touched = [node_key(each) for each in (run.dataset, *(getattr(run, name) for name in RUN_INPUTS)) if each]
        key = graph.add(run_node(run), of=[key for key in touched if key in graph.nodes])
        checkpoint = getattr(run, "checkpoint", None)
        if checkpoint is not None:
            graph.add(checkpoint_node(checkpoint), of=[key])
    add_newer(graph, reached[MAX_RUNS:])
    mark_promoted(graph, project)
    return graph


def add_newer(graph: Graph, newer: list[Link]) -> None:
    """Add the runs that are not drawn as one node, and the models they made as another."""
    if not newer:
        return
    graph.is_cut = True
    read = {f"checkpoint:{each}" for link in newer for each in link.inputs} | {
        f"dataset:{link.dataset}" for link in newer
    }
    rest = graph.add(Node("run:", "run", f"{len(newer)} more"), of=read.intersection(graph.nodes))
    if n_made := sum(1 for link in newer if link.checkpoint):
        graph.add(Node("checkpoint:", "checkpoint", f"{n_made} more"), of=[rest])


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
