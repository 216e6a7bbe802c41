"""Whether a candidate takes the place of the policy before it: by what people prefer, or by its evaluation's figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlhf.contract.alarm import SIGNS_OF_ALARM
from rlhf.domain.evaluation import find_evaluation
from rlhf.domain.win_rate import Duel, Rating, measure_duel, rank_checkpoints
from rlhf.models import Checkpoint, Loop, Run

TERMS = ("gate", "gate_votes", "gate_win_rate", "tax_limit")
# What an evaluation says of a policy, the best witness first.
JUDGED = {
    "doubt_win_rate": "By the most doubtful of its judges, its win rate over {baseline} is",
    "model_win_rate": "By its reward model, whom no other judge doubts, its win rate over {baseline} is",
    "eval_rewards/accuracies": "Of held-out pairs it ranks as people did, beside {baseline},",
}


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a candidate.

    passes: None while it cannot be said: votes or an evaluation are missing. reasons: sentences with their figures.
    figures: what they were read from, for pages and for the record.
    """

    passes: bool | None
    reasons: list[str]
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One thing the gate looks at. holds: None while it cannot be said."""

    holds: bool | None
    words: str
    figures: dict[str, Any] = field(default_factory=dict)


def decide(candidate: Checkpoint, *, terms: dict[str, Any], baseline: Checkpoint) -> Verdict:
    """Say whether the candidate passes the project's gate against the policy it would follow. Reads, changes nothing.

    Whatever else the gate asks for, an alarm or too high a tax keeps a candidate out, unless the gate is open.

    Args: terms: gate, gate_votes, gate_win_rate and tax_limit, as Loop names them; what is missing is as Loop has it.
    """
    usual = Loop()
    wanted: dict[str, Any] = {name: terms.get(name, getattr(usual, name)) for name in TERMS}
    if wanted["gate"] == Loop.Gate.OPEN:
        return Verdict(True, ["The gate is open: every policy passes."], {"gate": wanted["gate"]})
    evaluation = find_evaluation(candidate, baseline=baseline)
    if wanted["gate"] == Loop.Gate.PEOPLE:
        preferred = weigh_people(candidate, baseline, votes=wanted["gate_votes"], least=wanted["gate_win_rate"])
    else:
        preferred = weigh_figures(evaluation, baseline, least=wanted["gate_win_rate"])
    findings = [
        preferred,
        weigh_tax(evaluation, candidate, baseline, limit=wanted["tax_limit"]),
        weigh_alarms(evaluation, candidate, baseline),
    ]
    figures = {"gate": wanted["gate"], "evaluation": evaluation.pk if evaluation else None}
    for finding in findings:
        figures |= finding.figures
    findings.sort(key=lambda finding: finding.holds is not False)  # what speaks against it comes first
    return Verdict(conclude(findings), [finding.words for finding in findings], figures)


def conclude(findings: list[Finding]) -> bool | None:
    """Return False when anything speaks against the candidate, None when something is missing, else True."""
    if any(finding.holds is False for finding in findings):
        return False
    return None if any(finding.holds is None for finding in findings) else True


def weigh_people(candidate: Checkpoint, baseline: Checkpoint, *, votes: int, least: float) -> Finding:
    """Ask for so many votes on completions of both, and that the lower bound of the win rate is over what is asked."""
    duel = measure_duel(candidate, baseline)
    if duel.n_votes < votes or duel.estimate is None:
        words = f"{duel.n_votes} of the {votes} votes on completions of {candidate} against those of {baseline}."
        return Finding(None, words, describe_duel(duel))
    rate, low, high = duel.estimate.rate, duel.estimate.low, duel.estimate.high
    passes = low > least
    words = (
        f"People prefer {candidate} to {baseline} in {rate:.0%} of {duel.n_votes} votes (95% interval {low:.0%} to "
        f"{high:.0%}): the lower bound is {'over' if passes else 'not over'} the {least:.0%} the gate asks for."
    )
    return Finding(passes, words, describe_duel(duel))


def describe_duel(duel: Duel) -> dict[str, Any]:
    """Return the votes and what they come to, as plain numbers."""
    figures: dict[str, Any] = {"votes": duel.n_votes, "wins": duel.wins, "ties": duel.ties, "losses": duel.losses}
    for name, found in (("win_rate", duel.estimate), ("win_rate_controlled", duel.controlled)):
        if found is not None:
            figures |= {name: found.rate, f"{name}_low": found.low, f"{name}_high": found.high}
    return figures


def weigh_figures(evaluation: Run | None, baseline: Checkpoint, *, least: float) -> Finding:
    """Ask that the reward model prefers it, or, without one, that it ranks held-out pairs as people do."""
    result = evaluation.result if evaluation else {}
    for name, of_what in JUDGED.items():
        if f"{name}_low" in result:
            rate, low, high = (result[name], result[f"{name}_low"], result[f"{name}_high"])
            passes = low > least
            words = (
                f"{of_what.format(baseline=baseline)} {rate:.0%} (95% interval {low:.0%} to {high:.0%}): the lower bound "
                f"is {'over' if passes else 'not over'} the {least:.0%} the gate asks for."
            )
            return Finding(passes, words, {name: rate, f"{name}_low": low, f"{name}_high": high})
    return Finding(None, f"No evaluation says yet how it compares with {baseline}.")


def weigh_tax(evaluation: Run | None, candidate: Checkpoint, baseline: Checkpoint, *, limit: float) -> Finding:
    """Ask that held-out text and demonstrations have not become more surprising, nor small tasks harder, than is allowed."""
    if evaluation is None:
        words = (
            f"{candidate} has not been evaluated against {baseline}: manage.py evaluate "
            f"--project {candidate.project.slug} --base {candidate.pk}"
        )
        return Finding(None, words)
    found = evaluation.result
    rises = {name: found[f"tax/{name}_rise"] for name in ("text", "demonstrations") if f"tax/{name}_rise" in found}
    costs = [
        (rise, f"Its perplexity on held-out {name} is {tell_change(rise)} than before") for name, rise in rises.items()
    ]
    if "tax/tasks_before" in found:
        before, after = found["tax/tasks_before"], found["tax/tasks"]
        costs.append((before - after, f"It does {after:.0%} of the small tasks right, before {before:.0%}"))
    if not costs:
        return Finding(
            True, "The project has no held-out text or demonstrations, so what it may have forgotten is not known."
        )
    highest, _ = max(costs)
    costs.sort(key=lambda each: each[0] <= limit)
    words = ". ".join(
        f"{said}: {'within' if cost <= limit else 'over'} the {limit:.0%} that is allowed" for cost, said in costs
    )
    return Finding(highest <= limit, f"{words}.", {"tax": highest})


def tell_change(rise: float) -> str:
    """Return a rise or fall as a share in words."""
    return f"{abs(rise):.1%} {'higher' if rise >= 0 else 'lower'}"


def weigh_alarms(evaluation: Run | None, candidate: Checkpoint, baseline: Checkpoint) -> Finding:
    """Ask that neither its training nor its evaluation, with what people say, shows two signs of over-optimization."""
    raised = [alarm["words"] for run in list_runs(candidate, baseline) for alarm in run.alarms]
    signs = [sign["words"] for sign in (evaluation.result.get("signs", []) if evaluation else [])]
    fallen = find_fallen(candidate, baseline)
    signs += [fallen] if fallen else []
    if not raised and len(signs) < SIGNS_OF_ALARM:
        return Finding(True, "No alarm of over-optimization." + "".join(f" One sign: {words}" for words in signs))
    words = "Alarm of over-optimization: " + " ".join(dict.fromkeys(raised or signs))
    return Finding(False, words, {"alarm": True, "signs": len(raised or signs)})


def list_runs(candidate: Checkpoint, baseline: Checkpoint) -> list[Run]:
    """Return the runs between the two policies: one mostly, and more when weights were averaged or training went on.

    A mean of weights has two ancestors, and what was trained is the one that is not its parent.
    """
    runs: list[Run] = []
    steps: list[Checkpoint | None] = [candidate]
    seen = {baseline.pk}
    while steps and len(runs) < 10:
        step = steps.pop(0)
        if step is None or step.pk in seen:
            continue
        seen.add(step.pk)
        runs += [step.run] if step.run else []
        steps += [step.run.other if step.run else None, step.parent]
    return runs


def find_fallen(candidate: Checkpoint, baseline: Checkpoint) -> str:
    """Say when people like the candidate less than the lower bound of what they thought of the policy before it."""
    standings = rank_checkpoints(candidate.project)
    if standings is None:
        return ""
    ratings: dict[int, Rating] = {rating.checkpoint.pk: rating for rating in standings.ratings}
    new, old = ratings.get(candidate.pk), ratings.get(baseline.pk)
    if new is None or old is None or new.people is None or old.people is None:
        return ""
    low = 0.5 if old.is_baseline else old.people.low
    if new.people.rate >= low:
        return ""
    return (
        f"People's win rate against {standings.baseline} is {new.people.rate:.0%}, under the lower bound of the policy "
        f"before it, {low:.0%}."
    )
