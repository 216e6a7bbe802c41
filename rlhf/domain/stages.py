"""The stages of a round: which there are for a method, and what the run of each reads.

A stage is the kind of its run, and where a round has several of a kind also what it is for: "sample:previous".
"""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError

from labeling.models import Project, Prompt
from rlhf.contract.config import CONFIGS
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.settings import RunConfig
from rlhf.domain.ancestry import find_origin, find_previous, find_sampler
from rlhf.domain.counting import last_judgment_learned
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.errors import NotReady
from rlhf.domain.evaluation import newest_pairs, plan_evaluation
from rlhf.domain.holding import hold_round
from rlhf.domain.planning import find_ptx
from rlhf.domain.ranking import freeze_best, freeze_ranked
from rlhf.domain.runs import create_run
from rlhf.domain.sampling import (
    BEST,
    N_RANKED_PROMPTS,
    N_REWARDED_PROMPTS,
    RANKED,
    draw_prompts,
    find_learned,
    find_rewarded,
    find_tested,
    freeze_prompts,
)
from rlhf.domain.selecting import SCORED, count_prompts
from rlhf.domain.terms import Terms, choose_rule, read_terms
from rlhf.models import Checkpoint, Dataset, Loop, Round, Run

# A first round makes a policy out of nothing; every later one learns from judgments.
FIRST_STAGES = ["pretrain", "sft", "sample"]
PREVIOUS = "previous"  # the samples of the policy before, for the other side of a duel
METHODS = {
    Loop.Method.DPO.value: ["reward", "dpo"],
    Loop.Method.PPO.value: ["reward", "ppo"],
    Loop.Method.BEST_OF_N.value: ["reward", f"sample:{BEST}", f"score:{BEST}", "sft"],
    Loop.Method.RANKED.value: ["reward", f"sample:{RANKED}", f"score:{RANKED}", f"dpo:{RANKED}"],
}
POLICY_STAGES = ("sft", "dpo", "ppo", "merge")
SETTLED_BY_FIGURES = (Loop.Gate.OPEN.value, Loop.Gate.FIGURES.value)

# Completions of a prompt of which the best, or the best over the worst, is learned.
BEST_OF, RANKED_OF = 8, 6
# Heads of a reward model that are to disagree, where nobody says how many: where pairs are chosen by it, or where a policy
# goes after its word, which the alarm of over-optimization holds against the most doubtful head.
N_HEADS = 4


def plan_stages(terms: Terms) -> list[str]:
    """Return the stages of a round that learns from judgments."""
    merge = ["merge"] if terms.average_weight else []
    evaluate = ["evaluate"] if terms.gate != Loop.Gate.OPEN else []
    return [*METHODS[terms.method], *merge, *evaluate, *plan_queueing(terms)]


def plan_queueing(terms: Terms) -> list[str]:
    """Return the stages that make pairs to judge."""
    has_duels = terms.previous_share > 0 or terms.strategy == Loop.Strategy.PREVIOUS
    previous = [f"sample:{PREVIOUS}"] if has_duels else []
    score = ["score"] if terms.strategy in SCORED else []
    return ["sample", *previous, *score]


def split_stage(stage: str) -> tuple[str, str]:
    """Return the kind of a stage's run and what it is for."""
    kind, _, part = stage.partition(":")
    return kind, part


def name_part(kind: str, part: str) -> str:
    """Return the stage of a kind that is for something: split_stage's inverse."""
    return f"{kind}:{part}" if part else kind


def name_stage(run: Run) -> str:
    """Return the stage that a run of a round is."""
    return name_part(run.kind, run.part)


def find_runs(round: Round) -> dict[str, Run]:
    """Return the round's runs by stage; of several runs of a stage the newest counts. Reads what was prefetched."""
    return {name_stage(run): run for run in sorted(round.runs.all(), key=lambda run: run.pk)}


def find_candidate(round: Round, runs: dict[str, Run]) -> Checkpoint | None:
    """Return the policy the round made, once every stage that makes one is through."""
    making = [stage for stage in round.stages if split_stage(stage)[0] in POLICY_STAGES]
    last = runs.get(making[-1]) if making else None
    return last.checkpoint if last is not None and last.state == Run.State.SUCCEEDED else None


def start_stage(round: Round, stage: str, runs: dict[str, Run], *, by_hand: bool = False) -> None:
    """Queue the run of one stage; a second caller at the same moment finds it there. Raises: LearningError, LostRound."""
    kind, part = split_stage(stage)
    try:
        # Frozen before the round is held: it may take long, and a dataset nobody reads does no harm.
        inputs = {} if kind == Run.Kind.EVALUATE else find_inputs(round, stage, runs)
        with hold_round(round, by_hand=by_hand):
            if kind == Run.Kind.EVALUATE:
                start_evaluation(round, runs)
            else:
                create_run(round.project, make_config(round, stage, runs), round=round, part=part, **inputs)
    except IntegrityError:
        pass  # one_run_per_stage_of_a_round: the other caller was first


def make_config(round: Round, stage: str, runs: dict[str, Run]) -> RunConfig:
    """Return the settings of a stage: the defaults, over them what the terms say of the kind, then of the stage."""
    terms, (kind, part) = read_terms(round), split_stage(stage)
    is_doubted = terms.method != Loop.Method.DPO or terms.strategy == Loop.Strategy.DISAGREEMENT
    heads = {"n_heads": N_HEADS} if kind == Run.Kind.REWARD and is_doubted else {}
    config = CONFIGS[kind](seed=42 + round.number).replace(**heads | terms.settings.get(kind, {}))
    if kind == Run.Kind.SAMPLE:
        config = config.replace(n={BEST: BEST_OF, RANKED: RANKED_OF, PREVIOUS: 1}.get(part, terms.n_samples))
    if isinstance(config, PPOConfig) and config.ptx_coef:
        config = config.replace(ptx_dataset=find_ptx(round.project, config.ptx_dataset).pk)
    if kind == Run.Kind.MERGE:
        config = config.replace(weight=1 - terms.average_weight)
    if kind == Run.Kind.SCORE:
        config = config.replace(samples_of=runs[name_part("sample", part)].pk)
    return config.replace(**terms.settings.get(stage, {})) if part else config


def find_inputs(round: Round, stage: str, runs: dict[str, Run]) -> dict[str, Any]:
    """Return the dataset and the models a stage's run reads. Raises: LearningError when they cannot be made."""
    kind, part = split_stage(stage)
    project, base = round.project, round.base
    if kind == Run.Kind.MERGE:
        return {"base": base, "other": find_trained(round, runs)}
    if kind == Run.Kind.PRETRAIN:
        return {"dataset": newest_dataset(project, Dataset.Kind.TEXT)}
    if kind == Run.Kind.SFT and base is None:
        dataset = newest_dataset(project, Dataset.Kind.DEMONSTRATION)
        return {"dataset": dataset, "base": runs["pretrain"].checkpoint}
    if kind == Run.Kind.SFT:
        name = f"{project.slug} round {round.number}, best of {BEST_OF}"
        return {"dataset": freeze_best(project, runs[f"sample:{BEST}"].pk, name=name), "base": base}
    if kind == Run.Kind.SAMPLE:
        return find_sampled(round, part, runs)
    if kind == Run.Kind.SCORE:
        return {"dataset": runs[name_part("sample", part)].dataset, "base": find_reward_model(round, runs)}
    if kind == Run.Kind.PPO:
        prompts = draw_learned(round, N_REWARDED_PROMPTS, runs)
        dataset = freeze_prompts(prompts, name=f"{project.slug} round {round.number}, prompts to learn on")
        return {"dataset": dataset, "base": base, "reward_model": find_reward_model(round, runs)}
    if kind == Run.Kind.REWARD and read_terms(round).settings.get(kind, {}).get("head") == "tokens":
        base = find_origin(base)
    dataset = freeze_judgments(round, is_new=kind != Run.Kind.REWARD)
    if kind == Run.Kind.DPO and name_part(Run.Kind.SCORE, RANKED) in runs:
        dataset = freeze_ranked(dataset, runs[name_part(Run.Kind.SAMPLE, RANKED)].pk)
    return {"dataset": dataset, "base": base}


def find_sampled(round: Round, part: str, runs: dict[str, Run]) -> dict[str, Any]:
    """Return the prompts of a sampling stage and the policy that answers them."""
    project, terms = round.project, read_terms(round)
    if part == PREVIOUS:
        return {"dataset": runs["sample"].dataset, "base": find_previous(round)}
    name = f"{project.slug} round {round.number}, prompts"
    if part in (BEST, RANKED):
        prompts = draw_learned(round, N_RANKED_PROMPTS if part == RANKED else terms.n_pairs, runs)
        return {"dataset": freeze_prompts(prompts, name=f"{name} to learn on"), "base": round.base}
    learned = find_learned(find_sampler(round), round=round)
    prompts = draw_prompts(project, count_prompts(terms), seed=round.number, slice_id=terms.slice_id, last=learned)
    return {"dataset": freeze_prompts(prompts, name=name), "base": find_sampler(round)}


def draw_learned(round: Round, n: int, runs: dict[str, Run]) -> list[Prompt]:
    """Return prompts for a policy to learn on: none that its evaluation will be measured on. Raises: NotReady.

    Those no policy of the project has been rewarded on come first, until they are used up.
    """
    pairs = find_pairs(round, runs)
    tested = find_tested(pairs) if pairs is not None else None
    slice_id, used = read_terms(round).slice_id, find_rewarded(round.project)
    return draw_prompts(round.project, n, seed=round.number, slice_id=slice_id, tested=tested, last=used)


def find_pairs(round: Round, runs: dict[str, Run]) -> Dataset | None:
    """Return the held-out pairs the round's policy is evaluated on; None where there are none."""
    frozen = runs["reward"].dataset if "reward" in runs else None
    if frozen is not None and frozen.n_test:
        return frozen
    try:
        return newest_pairs(round.project)
    except NotReady:
        return None


def find_trained(round: Round, runs: dict[str, Run]) -> Checkpoint:
    """Return the policy the round has trained, before it is averaged."""
    making = [stage for stage in round.stages if split_stage(stage)[0] in POLICY_STAGES and stage != "merge"]
    return runs[making[-1]].checkpoint


def find_reward_model(round: Round, runs: dict[str, Run]) -> Checkpoint | None:
    """Return the round's reward model, or the project's newest for a round that trains none."""
    if "reward" in runs:
        return runs["reward"].checkpoint
    return Checkpoint.objects.reward_models_of(round.project).first()


def freeze_judgments(round: Round, *, is_new: bool) -> Dataset:
    """Freeze the judgments up to the round's last. is_new: only what its base has not learned yet.

    The policy learns from what was said of its own samples; pairs of earlier policies are far from what it would say.
    """
    rule = choose_rule(read_terms(round), upto=round.upto, after=last_judgment_learned(round.base) if is_new else 0)
    name = f"{round.project.slug} round {round.number}"
    return freeze_preferences(round.project, rule=rule, name=f"{name}, new judgments" if is_new else name)


def start_evaluation(round: Round, runs: dict[str, Run]) -> None:
    """Queue the evaluation of the candidate against the policy before it. Raises: NotReady."""
    candidate = find_candidate(round, runs)
    if candidate is None or round.base is None:
        raise NotReady("there is no policy before it to measure it against")
    plan_evaluation(
        candidate,
        baseline=round.base,
        reward_model=find_reward_model(round, runs),
        dataset=find_pairs(round, runs),
        round=round,
    )


def newest_dataset(project: Project, kind: str) -> Dataset:
    """Return the project's last frozen dataset of a kind. Raises: NotReady."""
    dataset = Dataset.objects.filter(project=project, kind=kind, sealed_at__isnull=False).order_by("-id").first()
    if dataset is None:
        raise NotReady(f"{project} has no {kind} dataset: freeze one at /datasets/")
    return dataset
