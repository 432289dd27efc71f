"""Adversarial and Gaussian bandits: known numbers, policies against slow versions of them, and their environment."""

from __future__ import annotations

from statistics import NormalDist

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import UCB1, GaussianThompson, Thompson
from ad_hypotheses.tasks import BernoulliBandit, DarkRoom, GaussianBandit, check_task, make_task
from ad_hypotheses.tasks.bandit import place_best_arm
from ad_hypotheses.tasks.bandit_policies import bayes_greedy, thompson, ucb1
from ad_hypotheses.tasks.play import play, play_expert

ENVIRONMENTS = {
    "bandit": "ad_hypotheses/BernoulliBandit-v0",
    "adversarial-bandit": "ad_hypotheses/AdversarialBandit-v0",
    "gaussian-bandit": "ad_hypotheses/GaussianBandit-v0",
}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def pulled(actions: list[int], rewards: list[float], arms: int = 3) -> History:
    """A life at a bandit; its last pull has not happened."""
    return History(
        observations=np.empty((1, len(actions), 0), dtype=np.int8),
        actions=np.array([actions], dtype=np.int8),
        rewards=np.array([rewards], dtype=np.float32),
        episode=np.zeros((1, len(actions)), dtype=np.int16),
        channels=(),
        n_actions=arms,
    )


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_bandit_is_a_task_family(name: str) -> None:
    check_task(make_task(name, horizon=20))


# --- adversarial


def test_the_adversarial_bandit_is_the_one_of_the_paper() -> None:
    bandit = make_task("adversarial-bandit")
    assert bandit == BernoulliBandit(arms=10, horizon=100, adversarial=True, bias=0.95)
    assert bandit.name == "adversarial-bandit"
    assert BernoulliBandit().name == "bandit"


def test_the_best_arm_is_odd_in_training_and_even_among_those_held_out(rng: np.random.Generator) -> None:
    train, held_out = make_task("adversarial-bandit").split(4000, seed=0, train=4000)
    trained, tested = (facts["means"].argmax(axis=1) for facts in (train, held_out))
    assert (trained % 2 == 1).mean() == pytest.approx(0.95, abs=0.015)
    assert (tested % 2 == 0).mean() == pytest.approx(0.95, abs=0.015)
    assert np.bincount(trained, minlength=10)[1::2] / 4000 == pytest.approx(np.full(5, 0.19), abs=0.025)
    assert np.bincount(tested, minlength=10)[::2] / 4000 == pytest.approx(np.full(5, 0.19), abs=0.025)


@pytest.mark.parametrize(("arms", "bias", "parities"), [(2, 1.0, {1}), (3, 1.0, {1}), (5, 0.0, {0}), (4, 0.5, {0, 1})])
def test_any_number_of_arms_has_a_place_for_the_best(arms: int, bias: float, parities: set[int]) -> None:
    facts = BernoulliBandit(arms, adversarial=True, bias=bias).sample_tasks(np.random.default_rng(0), 300)
    best = facts["means"].argmax(axis=1)
    assert set((best % 2).tolist()) == parities
    assert set(best.tolist()) == {arm for arm in range(arms) if arm % 2 in parities}


def test_only_the_places_of_two_arms_change(rng: np.random.Generator) -> None:
    means = rng.random((500, 7))
    placed = place_best_arm(means, 0.5, rng)
    assert (np.sort(placed, axis=1) == np.sort(means, axis=1)).all()
    assert set((placed != means).sum(axis=1).tolist()) == {0, 2}


def test_whoever_trains_on_more_holds_out_the_same() -> None:
    for name in ENVIRONMENTS:
        bandit = make_task(name)
        held_out = [bandit.split(7, seed=3, train=train)[1]["means"] for train in (5, 50)]
        assert (held_out[0] == held_out[1]).all()
        assert len(bandit.split(0, seed=3)[0]["means"]) == 4096


def test_what_is_known_of_the_regret_under_even_arms(rng: np.random.Generator) -> None:
    bandit = make_task("adversarial-bandit")
    _, facts = bandit.split(1000, seed=0)
    regret = {
        name: bandit.regret(play(bandit, facts, policy, 1, rng)) for name, policy in bandit.baselines(rng).items()
    }
    mean = {name: steps.sum(axis=1).mean() for name, steps in regret.items()}
    assert mean == {
        "ucb1": pytest.approx(27.5, abs=0.6),
        "thompson": pytest.approx(13.9, abs=0.6),
        "bayes-greedy": pytest.approx(11.5, abs=1.2),
    }
    # the greedy one is better on average, but stays wrong for good on some bandits
    unlucky = {name: np.percentile(steps.sum(axis=1), 95) for name, steps in regret.items()}
    assert unlucky["bayes-greedy"] > 1.3 * unlucky["thompson"]


def test_the_greedy_policy_by_hand() -> None:
    # 1 of 1 is worth 2/3, nothing known 1/2, 0 of 1 is worth 1/3
    third = bayes_greedy(BernoulliBandit(arms=3))
    assert third(pulled([0], [0])).tolist() == [[pytest.approx(1 / 3)] * 3]
    assert third(pulled([1, 0, 0], [1, 0, 0])).tolist() == [[0, 1, 0]]
    assert third(pulled([1, 0], [0, 0])).tolist() == [[0.5, 0, 0.5]]


# --- Gaussian


def test_pay_lies_on_a_grid_that_holds_nothing_paid_yet() -> None:
    rewards = GaussianBandit().rewards
    assert (len(rewards), rewards[0], rewards[-1]) == (33, -4.0, 4.0)
    assert 0.0 in rewards
    assert set(np.diff(rewards).tolist()) == {0.25}


def test_pay_by_hand() -> None:
    class Shifted(np.random.Generator):
        """A generator whose Gaussians are all the same."""

        def standard_normal(self, n: int) -> np.ndarray:
            return np.full(n, 0.5)

    bandit = GaussianBandit(arms=4, noise=0.2)
    state = bandit.reset({"means": np.tile([0.3, -0.11, 3.99, -4.0], (4, 1))})
    seen, rewards, _ = bandit.step(state, np.arange(4), Shifted(np.random.PCG64(0)))
    assert seen.shape == (4, 0)
    assert rewards.tolist() == [0.5, 0.0, 4.0, -4.0]
    assert not np.signbit(rewards[1])


@pytest.mark.parametrize("noise", [0.1, 1.0, 2.0])
def test_expected_pay_is_the_sum_over_all_pay(noise: float) -> None:
    means = np.array([[-4.0, -1.03, 0.0, 0.125, 2.2, 3.95]])
    expected = []
    for mean in means[0]:
        normal = NormalDist(mean, noise)
        chance = [normal.cdf(pay + 0.125) - normal.cdf(pay - 0.125) for pay in np.arange(-3.75, 4, 0.25)]
        ends = 4 * (1 - normal.cdf(3.875)) - 4 * normal.cdf(-3.875)
        expected.append(ends + np.dot(chance, np.arange(-3.75, 4, 0.25)))
    assert GaussianBandit(noise=noise).expected_pay(means)[0] == pytest.approx(expected, abs=1e-9)


def test_the_optimum_is_what_the_best_arm_earns(rng: np.random.Generator) -> None:
    bandit = GaussianBandit(arms=3, horizon=200, spread=2.0, noise=2.0)
    facts = bandit.sample_tasks(rng, 500)
    returns = play_expert(bandit, facts, 1, rng).rewards.sum(axis=1, dtype=float)
    gap = returns - bandit.optimal_return(facts)
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(500)
    # clipping matters here, and the optimum knows
    assert bandit.optimal_return(facts).mean() < 200 * facts["means"].max(axis=1).mean() - 10


def test_gaussian_regret_by_hand() -> None:
    bandit = GaussianBandit(arms=3, horizon=3, noise=0.1)
    history = pulled([0, 2, 1], [0, 0, 0])
    history = History(**{**vars(history), "task": {"means": np.array([[0.25, 0.5, 1.0]])}})
    assert bandit.regret(history)[0] == pytest.approx([0.75, 0, 0.5], abs=1e-6)


def test_the_gaussian_posterior_by_hand() -> None:
    bandit = GaussianBandit(arms=2, spread=2.0, noise=1.0)
    pulls, paid = np.array([[3, 0]]), np.array([[3.25, 0.0]])
    # precisions 1/4 + 3 and 1/4
    assert bandit.posterior_mean(pulls, paid).tolist() == [[pytest.approx(1.0), 0.0]]
    samples = bandit.posterior_sample(np.tile(pulls, (20_000, 1)), np.tile(paid, (20_000, 1)), np.random.default_rng(0))
    assert samples.mean(axis=0) == pytest.approx([1.0, 0.0], abs=0.05)
    assert samples.var(axis=0) == pytest.approx([1 / 3.25, 4.0], rel=0.05)


def slow_gaussian_thompson(means: np.ndarray, horizon: int, rng: np.random.Generator) -> float:
    """Regret of one life, one number at a time."""
    total, count, regret = [0.0] * len(means), [0] * len(means), 0.0
    for _ in range(horizon):
        drawn = [rng.normal(total[arm] / (count[arm] + 1), 1 / np.sqrt(count[arm] + 1)) for arm in range(len(means))]
        arm = int(np.argmax(drawn))
        pay = round(rng.normal(means[arm], 1.0) * 4) / 4
        total[arm] += min(max(pay, -4.0), 4.0)
        count[arm] += 1
        regret += max(means) - means[arm]
    return regret


def test_gaussian_thompson_is_what_a_slow_version_is() -> None:
    bandit = GaussianBandit(arms=4, horizon=40)
    facts = bandit.sample_tasks(np.random.default_rng(1), 500)
    slow = [
        slow_gaussian_thompson(means, 40, np.random.default_rng([2, row])) for row, means in enumerate(facts["means"])
    ]
    fast = bandit.regret(GaussianThompson().live(bandit, facts, 1, np.random.default_rng(3))).sum(axis=1)
    gap = fast - slow
    assert np.mean(slow) > 8
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(500)


def test_what_is_known_of_the_regret_of_gaussian_bandits(rng: np.random.Generator) -> None:
    bandit = GaussianBandit()
    facts = bandit.sample_tasks(rng, 600)
    mean = {
        name: bandit.regret(play(bandit, facts, policy, 1, rng)).sum(axis=1).mean()
        for name, policy in bandit.baselines(rng).items()
    }
    assert mean["ucb1"] == pytest.approx(40.0, abs=1.5)
    assert mean["thompson"] == pytest.approx(20.0, abs=1.5)
    assert mean["thompson"] < mean["bayes-greedy"] < 40


def test_the_bonus_of_ucb1_grows_with_the_noise() -> None:
    # 3 pulls of arm 0 paid 1.5, 1 of arm 1 paid 0: 0.5 + b / sqrt 3 against b, with b = 2 noise sqrt(2 ln 4)
    history = pulled([0, 0, 1, 0, 0], [0.5, 0.5, 0, 0.5, 0], arms=2)
    bonus = 2 * np.sqrt(2 * np.log(4))
    turn = 0.5 / (bonus * (1 - 1 / np.sqrt(3)))
    assert ucb1(GaussianBandit(arms=2, noise=1.01 * turn))(history).tolist() == [[0, 1]]
    assert ucb1(GaussianBandit(arms=2, noise=0.99 * turn))(history).tolist() == [[1, 0]]


def test_thompson_never_forgets_across_episodes() -> None:
    bandit = GaussianBandit(arms=3, horizon=4, noise=0.1)
    history = GaussianThompson().live(
        bandit, {"means": np.tile([-1.0, 1.0, 0.0], (20, 1))}, 10, np.random.default_rng(0)
    )
    assert (history.actions[:, 20:] == 1).mean() > 0.98
    assert history.n_steps == 40


# --- who learns what


@pytest.mark.parametrize(
    ("source", "task", "fragment"),
    [
        (Thompson(), GaussianBandit(), "another kind of bandit than gaussian-bandit; use gaussian-thompson or ucb1"),
        (GaussianThompson(), BernoulliBandit(), "another kind of bandit than bandit; use thompson or ucb1"),
        (GaussianThompson(), DarkRoom(), "gaussian-thompson learns bandits, not dark-room"),
    ],
)
def test_a_source_says_which_bandits_it_learns(source: Thompson, task: BernoulliBandit, fragment: str) -> None:
    facts = task.sample_tasks(np.random.default_rng(0), 2)
    with pytest.raises(ConfigError, match=fragment):
        source.live(task, facts, 1, np.random.default_rng(0))


def test_ucb1_learns_every_bandit() -> None:
    for name in ENVIRONMENTS:
        bandit = make_task(name, arms=4)
        history = UCB1().live(bandit, bandit.sample_tasks(np.random.default_rng(0), 200), 1, np.random.default_rng(0))
        assert (np.sort(history.actions[:, :4], axis=1) == np.arange(4)).all()
        regret = bandit.regret(history)
        assert regret[:, 80:].mean() < 0.7 * regret[:, :20].mean()


@pytest.mark.parametrize(
    ("name", "params", "fragment"),
    [
        ("adversarial-bandit", {"bias": 1.2}, "adversarial-bandit: bias is 1.2, but it must be 0 to 1"),
        ("adversarial-bandit", {"odd": 0.9}, "adversarial-bandit has no parameter 'odd'"),
        ("gaussian-bandit", {"noise": 0}, "gaussian-bandit: noise is 0.0, but it must be 0.1 to 2"),
        ("gaussian-bandit", {"spread": 5.0}, "gaussian-bandit: spread is 5.0, but it must be 0.1 to 2"),
        ("gaussian-bandit", {"arms": 2.5}, "arms is 2.5, but it must be of type int"),
        ("gaussian-bandit", {"horizon": 0}, "horizon is 0, but it must be at least 1"),
    ],
)
def test_wrong_bandits_are_explained(name: str, params: dict[str, float], fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        make_task(name, **params)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_split_that_cannot_be_is_refused(name: str) -> None:
    for held_out, train in ((-1, None), (3, 0)):
        with pytest.raises(ConfigError, match=f"{name}: cannot hold out {held_out}"):
            make_task(name).split(held_out, seed=0, train=train)


# --- gymnasium


@pytest.mark.parametrize("name", ENVIRONMENTS.values())
def test_gymnasiums_checker_finds_nothing(name: str) -> None:
    check_env(gymnasium.make(name).unwrapped)


@given(st.sampled_from(sorted(ENVIRONMENTS)), st.integers(2, 12), st.integers(0, 2**16), st.data())
def test_the_environment_and_the_batched_world_agree(name: str, arms: int, seed: int, data: st.DataObject) -> None:
    bandit = make_task(name, arms=arms, horizon=8)
    env = gymnasium.make(ENVIRONMENTS[name], arms=arms, horizon=8)
    rng = gymnasium.utils.seeding.np_random(seed)[0]
    env.reset(seed=seed)
    state = bandit.reset(bandit.sample_tasks(rng, 1))
    for step, arm in enumerate(data.draw(st.lists(st.integers(0, arms - 1), min_size=8, max_size=8))):
        seen, reward, terminated, truncated, _ = env.step(arm)
        _, rewards, state = bandit.step(state, np.array([arm]), rng)
        assert (seen, reward, terminated, truncated) == (0, rewards[0], False, step == 7)


def test_a_gaussian_environment_takes_means_and_keeps_them() -> None:
    env = gymnasium.make(ENVIRONMENTS["gaussian-bandit"], arms=2, noise=0.1)
    env.reset(seed=0, options={"means": [3.0, -3.0]})
    assert env.step(0)[1] == pytest.approx(3.0, abs=0.5)
    env.reset()
    assert env.step(1)[1] == pytest.approx(-3.0, abs=0.5)


@pytest.mark.parametrize("means", [[0.1], [0.1, 5.0], [0.1, float("nan")], "ab", [[1.0], 2.0]])
def test_means_that_cannot_be_are_refused(means: object) -> None:
    env = gymnasium.make(ENVIRONMENTS["gaussian-bandit"], arms=2)
    with pytest.raises(ConfigError, match="are not 2 numbers from -4 to 4"):
        env.reset(options={"means": means})


def test_an_unknown_family_or_parameter_of_the_environment_is_explained() -> None:
    with pytest.raises(ConfigError, match="there is no family of bandits 'gausian-bandit'"):
        gymnasium.make(ENVIRONMENTS["gaussian-bandit"], family="gausian-bandit")
    with pytest.raises(ConfigError, match="gaussian-bandit has no parameter 'arm'"):
        gymnasium.make(ENVIRONMENTS["gaussian-bandit"], arm=3)


def test_thompson_is_one_function_for_both_beliefs() -> None:
    history = pulled([0, 1, 0, 0], [1, 0, 1, 0])
    for bandit, seed in ((BernoulliBandit(arms=3), 5), (GaussianBandit(arms=3), 6)):
        drawn = bandit.posterior_sample(np.array([[2, 1, 0]]), np.array([[2.0, 0.0, 0.0]]), np.random.default_rng(seed))
        assert thompson(bandit, np.random.default_rng(seed))(history)[0, drawn.argmax()] == 1
