"""Where a model comes from, down to people's judgments, and where a judgment went, up to every model."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable

from django.db.models import Count

from labeling.models import Judgment, Project, User
from rlhf.domain.lineage_graph import Graph, Node, checkpoint_node, dataset_node, node_key, run_node
from rlhf.domain.links import RUN_INPUTS, Link, Voice, list_links, list_makers, list_voices
from rlhf.models import Checkpoint, Dataset, DatasetSource, Loop, Run

MAX_CHECKPOINTS = 60  # of one picture; how many more there are is said
MAX_RUNS = 120  # likewise: most make no checkpoint
MAX_PEOPLE = 20


def trace_back(checkpoint: Checkpoint) -> Graph:
    """Return everything a checkpoint was made of: models, runs, datasets, and who said what stands in them.

    The nearest MAX_CHECKPOINTS are drawn, and the others are one node; the sources are those of all.
    """
    graph = Graph(checkpoints={checkpoint.pk})
    makers: dict[int, Link] = {}
    voices: list[Voice] = []
    nearest = [checkpoint.pk]
    for each in nearest:
        if each not in makers:  # a project's are read at once; few models are made of another's
            project = Checkpoint.objects.values_list("project", flat=True).get(pk=each)
            heard = list_voices(project)
            voices += heard
            makers |= list_makers(project, heard)
        nearest += [before for before in makers[each].inputs if before not in graph.checkpoints]
        graph.checkpoints.update(makers[each].inputs)
    nearest = list(dict.fromkeys(nearest))
    shown = nearest[:MAX_CHECKPOINTS]
    found = Checkpoint.objects.select_related("parent", "run", *(f"run__{name}" for name in RUN_INPUTS)).in_bulk(shown)
    data = Dataset.objects.in_bulk({dataset for each in shown for dataset in makers[each].datasets})
    for each in shown:
        drawn = found[each]
        inputs = [getattr(drawn.run, name) for name in RUN_INPUTS] if drawn.run else [drawn.parent]
        datasets = [data[dataset] for dataset in makers[each].datasets]
        add_checkpoint(graph, drawn, datasets, [before for before in inputs if before and before.pk in found])
    add_older(graph, [makers[each] for each in shown], [makers[each] for each in nearest[MAX_CHECKPOINTS:]])
    add_sources(graph, {dataset for each in nearest for dataset in makers[each].datasets})
    add_voices(graph, voices)
    mark_promoted(graph, checkpoint.project)
    return graph


def add_older(graph: Graph, shown: list[Link], older: list[Link]) -> None:
    """Add the models that are not drawn as one node, and the datasets only they were made of as another."""
    if not older:
        return
    graph.is_cut = True
    data = {dataset for link in older for dataset in link.datasets if f"dataset:{dataset}" not in graph.nodes}
    made_of = [graph.add(Node("dataset:", "dataset", f"{len(data)} more"))] if data else []
    rest = graph.add(Node("checkpoint:", "checkpoint", f"{len(older)} more"), of=made_of)
    left_out = {link.checkpoint for link in older}
    for link in shown:
        if left_out.intersection(link.inputs):
            graph.edges.add((rest, f"run:{link.run}" if link.run else f"checkpoint:{link.checkpoint}"))


def add_checkpoint(graph: Graph, checkpoint: Checkpoint, datasets: list[Dataset], inputs: list[Checkpoint]) -> None:
    """Add a checkpoint with the run that made it, and the datasets and models that run read."""
    made_of = [node_key(each) for each in inputs]
    run: Run | None = checkpoint.run
    if run is not None:
        made_of += [graph.add(dataset_node(each)) for each in datasets]
        made_of = [graph.add(run_node(run), of=made_of)]
    graph.add(checkpoint_node(checkpoint), of=made_of)
    for each in inputs:
        graph.add(checkpoint_node(each))


def add_voices(graph: Graph, voices: Iterable[Voice]) -> None:
    """Add how models had their say in datasets, where both are drawn: by the run of a voice, or by the annotator it is.

    Where a picture is cut, an annotator may stand before what is drawn as one, and its model after it: there the model
    leads to the dataset itself, for nothing leads backward.
    """
    drawn = [
        voice
        for voice in voices
        if f"dataset:{voice.dataset}" in graph.nodes and f"checkpoint:{voice.checkpoint}" in graph.nodes
    ]
    runs = Run.objects.in_bulk({voice.run for voice in drawn if voice.run})
    for voice in drawn:
        key = f"checkpoint:{voice.checkpoint}"
        if voice.run:
            key = graph.add(run_node(runs[voice.run]), of=[key])
        elif not graph.is_cut:
            key = graph.add(Node(f"annotator:{voice.annotator}", "annotator", voice.annotator), of=[key])
        graph.edges.add((key, f"dataset:{voice.dataset}"))


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
    voices = list_voices(project.pk)
    reached = []
    for link in list_links(project.pk, voices):
        if not n_lines.keys().isdisjoint(link.datasets) or graph.checkpoints.intersection(link.inputs):
            reached.append(link)
            graph.checkpoints |= {link.checkpoint} if link.checkpoint else set()
    shown = {link.run: link for link in reached[:MAX_RUNS]}
    voices = [each for each in voices if each.checkpoint in graph.checkpoints and (each.run in shown or not each.run)]
    for dataset in Dataset.objects.filter(pk__in={*n_lines, *(voice.dataset for voice in voices)}):
        n = n_lines.get(dataset.pk)
        graph.add(dataset_node(dataset, detail=f"{n:,} of its lines" if n else ""), of=[start.key] if n else [])
    add_runs(graph, shown)
    add_newer(graph, reached[MAX_RUNS:])
    add_voices(graph, voices)
    mark_promoted(graph, project)
    return graph


def add_runs(graph: Graph, links: dict[int, Link]) -> None:
    """Add runs, by id, behind what is drawn already of what they read, with the checkpoints they made."""
    for run in Run.objects.filter(pk__in=links).select_related("checkpoint").order_by("pk"):
        models = [getattr(run, f"{name}_id") for name in RUN_INPUTS]
        read = [*(f"dataset:{each}" for each in links[run.pk].datasets), *(f"checkpoint:{each}" for each in models)]
        key = graph.add(run_node(run), of=[key for key in read if key in graph.nodes])
        checkpoint = getattr(run, "checkpoint", None)
        if checkpoint is not None:
            graph.add(checkpoint_node(checkpoint), of=[key])


def add_newer(graph: Graph, newer: list[Link]) -> None:
    """Add the runs that are not drawn as one node, and the models they made as another."""
    if not newer:
        return
    graph.is_cut = True
    read = {f"checkpoint:{each}" for link in newer for each in link.inputs} | {
        f"dataset:{each}" for link in newer for each in link.datasets
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
