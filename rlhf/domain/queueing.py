"""From samples to the labeling queue: what is fit to be shown, which pairs are asked about, and their comparisons."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from django.db.models import Count, F, OuterRef, Subquery

from labeling.domain.identity import tells_writer
from labeling.domain.pairing import CHUNK, Pair, propose_comparisons
from labeling.models import Comparison, Project, Prompt, Slot
from rlhf.domain.counting import list_votes
from rlhf.domain.holding import hold_round
from rlhf.domain.offers import Candidate, Choice, Offer
from rlhf.domain.pair_scores import adopt_scores, find_temperature
from rlhf.domain.selecting import select_pairs
from rlhf.domain.supply import find_place
from rlhf.domain.terms import Terms, read_terms
from rlhf.models import Loop, Round, Run, Sample


@dataclass
class Pool:
    """Samples fit to be shown, by prompt and text, and how many were not.

    counts: sampled, empty, identity (they tell who wrote them), same (as another of their prompt). temperature: of the
    reward model that scored them.
    """

    temperature: float = 1.0
    prompts: dict[int, Prompt] = field(default_factory=dict)
    texts: dict[int, dict[str, tuple[Sample, bool]]] = field(default_factory=dict)  # True: the previous policy's
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, run: Run, *, is_previous: bool) -> None:
        """Take in the samples of a run; of equal texts the first is kept, so that the current policy's stay its own."""
        for sample in run.samples.select_related("prompt").order_by("prompt_id", "index"):
            self.counts["sampled"] += 1
            texts = self.texts.setdefault(sample.prompt_id, {})
            self.prompts[sample.prompt_id] = sample.prompt
            if not sample.text.strip():
                self.counts["empty"] += 1
            elif tells_writer(sample.text, sample.prompt.messages):
                self.counts["identity"] += 1
            elif sample.text in texts:
                self.counts["same"] += 1
            else:
                texts[sample.text] = (sample, is_previous)

    def calibrate(self, scores: Iterable[float]) -> tuple[float, ...]:
        """Return scores whose differences are log-odds."""
        return tuple(score / self.temperature for score in scores)

    @property
    def offers(self) -> list[Offer]:
        """The prompts that are left something of, in the order of their ids."""
        return [
            Offer(
                prompt=pk,
                slice=self.prompts[pk].slice_id,
                candidates=tuple(
                    Candidate(text, scores=self.calibrate(sample.scores), is_previous=is_previous)
                    for text, (sample, is_previous) in self.texts[pk].items()
                ),
            )
            for pk in sorted(self.texts)
            if self.texts[pk]
        ]


def queue_round(
    round: Round, sampled: Run, previous: Run | None, *, scored: Run | None = None, by_hand: bool = False
) -> Counter[str]:
    """Put the round's pairs into the queue and return what became of its samples; done twice it changes nothing.

    The counts: those of Pool, and queued, duels, and repeated: pairs the project had already. Each chunk of pairs is
    stored together with where they come from, so that a roll-back finds all that were queued before it.
    scored: the run that scored the samples, whose word is kept beside the pairs. Raises: LostRound.
    """
    pool = Pool(find_temperature(scored.base) if scored is not None and scored.base is not None else 1.0)
    pool.add(sampled, is_previous=False)
    if previous is not None:
        pool.add(previous, is_previous=True)
    n_judged = count_by_slice(round)
    choices = select_pairs(pool.offers, read_terms(round), random.Random(round.pk), n_judged=n_judged)
    comparisons: list[Comparison] = []
    priority = find_place(round)
    for start in range(0, len(choices), CHUNK):
        with hold_round(round, by_hand=by_hand):
            chunk = choices[start : start + CHUNK]
            comparisons += propose_choices(round.project, pool, chunk, priority=priority)
    if scored is not None and scored.base is not None:
        adopt_scores(scored.base, [comparison.pk for comparison in comparisons])
    is_new = [comparison.created_at >= round.created_at for comparison in comparisons]
    pool.counts["queued"] = sum(is_new)
    pool.counts["repeated"] = len(is_new) - sum(is_new)
    pool.counts["duels"] = sum(choice.is_duel and new for choice, new in zip(choices, is_new, strict=True))
    return pool.counts


def queue_samples(run: Run, *, priority: int, limit: int | None = None) -> int:
    """Turn a run's samples into comparisons by chance, one per prompt; return how many are in the queue because of it.

    Doing it twice changes nothing.
    """
    pool = Pool()
    pool.add(run, is_previous=False)
    offers = pool.offers
    terms = Terms(n_pairs=limit or max(len(offers), 1), strategy=Loop.Strategy.RANDOM.value, previous_share=0.0)
    choices = select_pairs(offers, terms, random.Random(run.pk))
    return len(propose_choices(run.project, pool, choices, priority=priority))


def count_by_slice(round: Round) -> Mapping[int | None, int]:
    """Return the votes there were by slice when the round began: the same whenever it is asked."""
    votes = list_votes().filter(comparison__project=round.project, pk__lte=round.upto).order_by()
    rows = votes.values(slice=F("comparison__prompt__slice")).annotate(n=Count("id"))
    return {row["slice"]: row["n"] for row in rows}


def propose_choices(project: Project, pool: Pool, choices: list[Choice], *, priority: int) -> list[Comparison]:
    """Queue the chosen pairs, and let each sample know the completion it became."""
    pairs = [make_pair(pool.prompts[choice.prompt], choice, priority=priority) for choice in choices]
    comparisons = propose_comparisons(project, pairs)
    link_samples(pool, comparisons)
    scored = [
        (comparison, choice.score)
        for comparison, choice in zip(comparisons, choices, strict=True)
        if choice.score != comparison.score
    ]
    for comparison, score in scored:
        comparison.score = score
    if scored:
        Comparison.objects.bulk_update([comparison for comparison, _ in scored], ["score"], batch_size=200)
        score_of = Comparison.objects.filter(pk=OuterRef("comparison")).values("score")[:1]
        ids = [comparison.pk for comparison, _ in scored]
        Slot.objects.filter(comparison__in=ids).update(score=Subquery(score_of))
    return comparisons


def make_pair(prompt: Prompt, choice: Choice, *, priority: int) -> Pair:
    return Pair(
        messages=prompt.messages,
        group=prompt.group,
        text_a=choice.text_a,
        text_b=choice.text_b,
        priority=priority,
        reason=choice.reason,
        propensity=choice.propensity,
    )


def link_samples(pool: Pool, comparisons: Iterable[Comparison]) -> None:
    """Store with each sample that is shown the completion it became: the way from a judgment to a policy."""
    linked = []
    for comparison in comparisons:
        for completion in (comparison.completion_a, comparison.completion_b):
            drawn = pool.texts[comparison.prompt_id].get(completion.text)
            if drawn is not None:
                drawn[0].completion = completion
                linked.append(drawn[0])
    Sample.objects.bulk_update(linked, ["completion"], batch_size=200)
