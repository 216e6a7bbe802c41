import pytest
import torch

from rlhf.learning.advantages import gae, steer_kl_coef, token_rewards, whiten

LENGTHS = (5, 1, 3)


@pytest.fixture
def mask() -> torch.Tensor:
    return torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]


@pytest.fixture
def draw(mask: torch.Tensor):
    generator = torch.Generator().manual_seed(0)
    return lambda: torch.randn(mask.shape, generator=generator) * mask


def test_gae_is_the_discounted_sum_of_temporal_differences(mask, draw):
    rewards, values, gamma, lam = draw(), draw(), 0.9, 0.7
    expected = torch.zeros_like(rewards)
    for row, length in enumerate(LENGTHS):
        for start in range(length):
            for step in range(start, length):
                following = values[row, step + 1] if step + 1 < length else 0.0
                delta = rewards[row, step] + gamma * following - values[row, step]
                expected[row, start] += (gamma * lam) ** (step - start) * delta

    advantages, returns = gae(rewards, values, mask, gamma=gamma, lam=lam)

    torch.testing.assert_close(advantages, expected)
    torch.testing.assert_close(returns, expected + values)


def test_without_discount_and_bootstrap_returns_are_the_rewards_to_come(mask, draw):
    rewards = draw()

    _, returns = gae(rewards, draw(), mask, gamma=1.0, lam=1.0)

    torch.testing.assert_close(returns, rewards.flip(1).cumsum(1).flip(1) * mask)


def test_what_comes_after_a_cut_row_counts_like_a_next_value(mask, draw):
    rewards, values, end_values = draw(), draw(), torch.tensor([2.0, 0.0, -1.0])

    _, returns = gae(rewards, values, mask, gamma=0.5, lam=1.0, end_values=end_values)

    first = [
        sum(0.5**step * rewards[row, step].item() for step in range(length)) + 0.5**length * end_values[row].item()
        for row, length in enumerate(LENGTHS)
    ]
    assert returns[:, 0].tolist() == pytest.approx(first, abs=1e-5)


def test_padding_changes_nothing(mask, draw):
    rewards, values = draw(), draw()
    wider = torch.nn.functional.pad(mask, (0, 4))
    noise = torch.randn(wider.shape, generator=torch.Generator().manual_seed(1)) * ~wider

    advantages, returns = gae(rewards, values, mask, gamma=0.9, lam=0.7)
    padded = gae(
        torch.nn.functional.pad(rewards, (0, 4)),
        torch.nn.functional.pad(values, (0, 4)) + noise,
        wider,
        gamma=0.9,
        lam=0.7,
    )

    torch.testing.assert_close(padded[0], torch.nn.functional.pad(advantages, (0, 4)))
    torch.testing.assert_close(padded[1], torch.nn.functional.pad(returns, (0, 4)))


def test_the_score_lands_on_the_last_token_alone(mask, draw):
    logps, reference = draw(), draw()
    before = token_rewards(torch.zeros(3), logps, reference, mask, kl_coef=0.1)

    after = token_rewards(torch.tensor([1.0, 2.0, 3.0]), logps, reference, mask, kl_coef=0.1)

    expected = torch.zeros(mask.shape)
    expected[0, 4], expected[1, 0], expected[2, 2] = 1.0, 2.0, 3.0
    torch.testing.assert_close(after - before, expected)
    torch.testing.assert_close(before, -0.1 * (logps - reference))


def test_whitened_values_have_mean_zero_and_deviation_one_inside_the_mask(mask, draw):
    whitened = whiten(3 * draw() + 2 * mask, mask)

    assert whitened[mask].mean().item() == pytest.approx(0.0, abs=1e-6)
    assert whitened[mask].std(correction=0).item() == pytest.approx(1.0, abs=1e-6)
    assert whitened[~mask].tolist() == [0.0] * int((~mask).sum())


def test_values_that_keep_their_mean_are_only_divided_by_their_spread_around_it(mask, draw):
    values = 3 * draw() + 2 * mask

    whitened = whiten(values, mask, keeps_mean=True)

    inside = values[mask]
    expected = (inside - inside.mean()) / inside.std(correction=0) + inside.mean()
    torch.testing.assert_close(whitened[mask], expected)
    assert whitened[~mask].tolist() == [0.0] * int((~mask).sum())


@pytest.mark.parametrize(
    ("kl", "expected"),
    [(6.0, 0.1), (6.6, 0.101), (60.0, 0.102), (0.0, 0.098)],
    ids=["at its goal", "a tenth over it", "far over it", "at the reference"],
)
def test_the_penalty_follows_the_kl_by_a_fifth_at_most(kl, expected):
    assert steer_kl_coef(0.1, kl, goal=6.0, n_completions=100, horizon=1000) == pytest.approx(expected)
