"""Does PPO learn what people prefer, and not what the reward model mistakes for it?

    PYTHONPATH=. python benchmarks/ppo_learns.py --seeds 1 2 3 --home bases

In the small world of the demo: a fine-tuned model answers, a simulated labeler compares 300 pairs of its answers, a reward
model learns from them, and PPO follows the reward model. The curve is drawn by the hidden rule that the labeler follows,
which the reward model never sees: how often the policy's answer to a fresh prompt beats the fine-tuned model's.
--home keeps base and fine-tuned models (two minutes a seed) for the next time.

With the demo's settings, --rounds 3, 500 fresh prompts, one core each of a CPU with AMX:

    seed 1   round 1  0.826 [0.797, 0.854]   2  0.881 [0.856, 0.902]   3  0.888 [0.865, 0.910]   KL of round 3 0.4 nats
    seed 2   round 1  0.722 [0.686, 0.756]   2  0.880 [0.856, 0.904]   3  0.879 [0.856, 0.904]   KL of round 3 1.2 nats
    seed 3   round 1  0.687 [0.648, 0.727]   2  0.843 [0.817, 0.870]   3  0.858 [0.832, 0.882]   KL of round 3 2.3 nats

Eight rollouts a round do for some seeds (0.861 of seed 1) and not for others (0.714 of seed 2, which stays impolite). Fifty
judgments a round may lead astray: 0.693, 0.654, 0.614 of seed 1, whose answers grow long until a third never ends.

A reward model of words that does not know how sure a token was (token_scorer's surety) can be pleased by courtesy alone: of
another fine-tuned model's answers 0.247 were true after one round's 12 rollouts (0.457 before), with surety 0.593; they beat
the fine-tuned model's in 0.696 [0.652, 0.734] and 0.826 [0.792, 0.859] of 400 prompts.

Before, with a trained trunk (head=last) and demonstrations of fewer manners, one round of 300 judgments, two busy cores:

    seed 1   rollout 4  0.626 [0.590, 0.665]   8  0.672 [0.635, 0.710]   12  0.679 [0.645, 0.715]   KL 2.1 nats
    seed 2   rollout 4  0.601 [0.563, 0.641]   8  0.610 [0.569, 0.647]   12  0.625 [0.585, 0.662]   KL 0.8 nats

    seed 1, kl_coef=100: rollout 3  0.543 [0.504, 0.581]   6  0.501 [0.462, 0.541]   KL 0.2 nats: it stays where it was

The same with 300 fresh prompts and each kind of critic, its explained variance in the last rollout beside it:

    seed 1, rollout 12   critic=trained 0.685 [0.638, 0.730]  0.60   critic=frozen 0.690 [0.643, 0.733]  below 0
    seed 2, rollout 12   critic=trained 0.615 [0.567, 0.658]  0.40   critic=frozen 0.565 [0.513, 0.613]  0.03

And once more from another fine-tuned model, one seed, 300 fresh prompts, one busy core:

    seed 1, rollout 12   critic=trained 0.593 [0.547, 0.642]   critic=shared 0.607 [0.558, 0.655]

There it rises in all, by shorter answers rather than by right ones: 300 judgments make a reward model that orders two
thirds of fresh pairs. Rewarded by the hidden rule itself, the same trainer comes to 0.755 in 16 rollouts (seed 1). A second
round of 8 rollouts added nothing (0.660 to 0.650): the first leaves answers so alike that pairs of them say little.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.first_circle import label, make_sft, run, sample, split_rows
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.records import Message, PreferenceRow
from rlhf.contract.run_dir import CHECKPOINTS, FINAL, prepare_run_dir
from rlhf.learning.lifetime import prepare_environment
from rlhf.world import recipe
from rlhf.world.labelers import SimulatedLabeler
from rlhf.world.prompts import draw_prompts
from rlhf.world.win_rate import WinRate, win_rate

N_EVALUATION_PROMPTS = 500
N_PPO_PROMPTS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=1, help="each labels answers of the policy of the round before")
    parser.add_argument("--labels", type=int, default=recipe.N_LABELS_A_ROUND, help="judgments a round")
    parser.add_argument("--home", type=Path, help="where models are kept; a temporary folder by default")
    parser.add_argument("--every", type=int, default=4, help="rollouts between two points of the curve")
    parser.add_argument("--ppo", nargs="*", default=[], help="PPO settings as key=value")
    parser.add_argument("--reward", nargs="*", default=[], help="reward model settings as key=value")
    options = parser.parse_args()
    prepare_environment()
    with tempfile.TemporaryDirectory() as temporary:
        for seed in options.seeds:
            go_round(options, (options.home or Path(temporary)) / f"seed-{seed}", seed)


def go_round(options: argparse.Namespace, home: Path, seed: int) -> None:
    """Make one seed's models, then label, learn a reward, follow it, and measure, as often as there are rounds."""
    sft = make_sft(home, seed)
    prompts = draw_prompts(seed, N_EVALUATION_PROMPTS, split="test")
    baseline = [texts[0] for texts in sample(home / "sample-sft", sft, prompts, n=1, seed=1000 + seed)]
    to_label = draw_prompts(seed, options.labels * options.rounds, split="train")
    policy, rows = sft, []
    for number in range(1, options.rounds + 1):
        started_s = time.monotonic()
        shown = to_label[(number - 1) * options.labels : number * options.labels]
        pairs = sample(home / f"pairs-{number}", policy, shown, n=2, seed=100 * number + seed)
        rows += label(shown, pairs, SimulatedLabeler(seed=100 * number + seed), rule=recipe.RULE)
        reward_model = learn_reward(options, home / f"reward-{number}", sft, rows, seed)
        config = recipe.PPO.replace(seed=seed, base_model=str(policy), reward_model=str(reward_model))
        policy = follow(options, home / f"ppo-{number}", config.with_settings(options.ppo), prompts, baseline)
        print(f"seed {seed}: round {number} took {time.monotonic() - started_s:.0f} s, the curve included", flush=True)


def learn_reward(options: argparse.Namespace, run_dir: Path, sft: Path, rows: list[PreferenceRow], seed: int) -> Path:
    """Train a reward model on the judgments and return its folder."""
    config = recipe.REWARD.replace(seed=seed, base_model=str(sft)).with_settings(options.reward)
    return run(run_dir, config, split_rows(rows, seed=seed))


def follow(
    options: argparse.Namespace, run_dir: Path, config: PPOConfig, prompts: list[list[Message]], baseline: list[str]
) -> Path:
    """Train a policy, print its curve and return its folder."""
    from rlhf.learning import ppo  # noqa: PLC0415 -- torch reads the environment that main() prepares
    from rlhf.learning.checkpointing import save_final, train_sealed  # noqa: PLC0415 -- torch, as above
    from rlhf.learning.models import load_tokenizer  # noqa: PLC0415 -- torch, as above
    from rlhf.learning.ppo_trainer import ReportRollouts  # noqa: PLC0415 -- torch, as above
    from rlhf.learning.tokenization import encode_prompt  # noqa: PLC0415 -- torch, as above

    shutil.rmtree(run_dir, ignore_errors=True)  # or what was trained there with other settings would be taken up
    prepare_run_dir(run_dir, config)
    tokenizer = load_tokenizer(config.base_model)
    to_learn, fresh = (
        [encode_prompt(tokenizer, prompt, config.max_prompt_tokens) for prompt in drawn]
        for drawn in (draw_prompts(config.seed + 500, N_PPO_PROMPTS, split="train"), prompts)
    )
    trainer = ppo.build_trainer(config, run_dir, prompts=to_learn, tokenizer=tokenizer)
    seconds_measuring = 0.0

    class Curve(ReportRollouts):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            nonlocal seconds_measuring
            super().on_step_end(args, state, control, **kwargs)
            number = self.trainer.rollouts_started
            if self.may_stop() and (number % options.every == 0 or number == config.rollouts):
                started_s = time.monotonic()
                print_point(number, self.trainer, measure(self.trainer, tokenizer, fresh, prompts, baseline))
                seconds_measuring += time.monotonic() - started_s

    print("  rollout  win over SFT           KL    proxy  tokens  ended   correct  polite  brief")
    started_s = time.monotonic()
    train_sealed(trainer, Curve(run_dir, trainer))
    print(f"  {config.rollouts} rollouts in {time.monotonic() - started_s - seconds_measuring:.0f} s", flush=True)
    save_final(run_dir, trainer.model.policy, tokenizer)
    return run_dir / CHECKPOINTS / FINAL


def measure(
    trainer: Any, tokenizer: Any, fresh: list[list[int]], prompts: list[list[Message]], baseline: list[str]
) -> WinRate:
    """Return how often the policy's answers beat the baseline's now, sampled as the baseline was."""
    from rlhf.learning.generation import generate  # noqa: PLC0415 -- torch reads the environment that main() prepares

    rollouts = generate(
        trainer.model.policy,
        fresh,
        n=1,
        temperature=recipe.SAMPLE.temperature,
        top_p=recipe.SAMPLE.top_p,
        max_new_tokens=recipe.SAMPLE.max_new_tokens,
        stop_ids=trainer.source.stop_ids,
        seed=2000 + trainer.config.seed,
        batch_size=recipe.SAMPLE.batch_size,
    )
    texts = [tokenizer.decode(rollout.ids, skip_special_tokens=True).strip() for [rollout] in rollouts]
    return win_rate(prompts, texts, baseline)


def print_point(number: int, trainer: Any, result: WinRate) -> None:
    """Print one row of the curve; KL, score and lengths are those of the last rollout."""
    metrics = trainer.collect_metrics()
    print(
        f"  {number:7} {result.rate:.3f} [{result.low:.3f}, {result.high:.3f}] {metrics['objective/kl']:7.2f} "
        f"{metrics['objective/scores_norm']:7.2f} {metrics['rollout/len_mean']:6.1f} {metrics['rollout/finished_frac']:6.2f} "
        f"{result.parts['correctness']:8.3f} {result.parts['politeness']:7.3f} {result.parts['brevity']:6.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
