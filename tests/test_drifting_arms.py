"""Arms that drift: their paths, what they pay, what is believed of them, and edits that keep them."""

from __future__ import annotations

import numpy as np
import pytest

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.explorer.worlds import world_of
from ad_hypotheses.ladder.catalogue import fitting
from ad_hypotheses.ladder.drifting import DriftingChances, DriftingMeans
from ad_hypotheses.ladder.run import predict
from ad_hypotheses.ladder.rung import Background
from ad_hypotheses.language.history import History
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.sources import UCB1, Thompson
from ad_hypotheses.sources.histories import recipe_of
from ad_hypotheses.studies.edits import edit
from ad_hypotheses.studies.evaluate.figures import in_expectation
from ad_hypotheses.tasks import BernoulliBandit, GaussianBandit, check_task, make_task
from ad_hypotheses.tasks.edits.lives import Lives, RecordedActor
from ad_hypotheses.tasks.edits.possible import impossible_steps
from ad_hypotheses.tasks.options.drift import at_pulls, drifting, folded
from ad_hypotheses.tasks.play import play, play_expert, uniform
from ad_hypotheses.tasks.task_env import BanditEnv

COINS, GAUSSIAN = BernoulliBandit(arms=2, horizon=4, drift=0.2), GaussianBandit(arms=2, horizon=4, drift=0.2)
PATH = {"means": np.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def life(actions: list[int], facts: dict[str, np.ndarray]) -> History:
    """One history of these pulls, as certain arms pay them."""
    state, rewards = COINS.reset(facts), []
    for action in actions:
        _, pay, state = COINS.step(state, np.array([action]), np.random.default_rng(0))
        rewards.append(pay[0])
    return History(
        observations=np.zeros((1, len(actions), 0), dtype=np.int8),
        actions=np.array([actions], dtype=np.int8),
        rewards=np.array([rewards], dtype=np.float32),
        episode=np.zeros((1, len(actions)), dtype=np.int16),
        channels=(),
        n_actions=2,
        task=facts,
        learner=np.arange(1),
    )


def test_a_walk_turns_back_at_its_bounds() -> None:
    walk = np.array([0.2, 0.9, 1.25, 2.0, 2.1, -0.3, -1.1])
    assert folded(walk, 0, 1) == pytest.approx([0.2, 0.9, 0.75, 0.0, 0.1, 0.3, 0.9])
    assert folded(np.array([3.5, 4.5, -5.0]), -4, 4) == pytest.approx([3.5, 3.5, -3.0])


def test_steps_are_as_large_as_they_should_be(rng: np.random.Generator) -> None:
    path = drifting(np.full((3000, 2), 0.5), 0.02, 50, (0.0, 1.0), rng)
    assert path.shape == (3000, 50, 2)
    assert (path[:, 0] == 0.5).all()
    assert np.diff(path, axis=1).std() == pytest.approx(0.02, rel=0.01)
    assert (path[:, -1] - path[:, 0]).std() == pytest.approx(0.02 * 7, rel=0.05)
    wide = COINS.sample_tasks(rng, 500)["means"]
    assert wide.shape == (500, 4, 2)
    assert ((wide >= 0) & (wide <= 1)).all()


def test_an_arm_pays_what_it_does_at_that_pull() -> None:
    told = life([0, 0, 0, 1], PATH)
    assert told.rewards[0].tolist() == [1, 1, 0, 1]
    assert COINS.regret(told).tolist() == [[0, 0, 1, 0]]
    assert COINS.optimal_return(PATH).tolist() == [4.0]
    assert in_expectation(COINS, told).rewards[0].tolist() == [1, 1, 0, 1]
    assert at_pulls(PATH["means"], told)[0, 2].tolist() == [0, 1]
    assert COINS.expert(COINS.reset(PATH)).tolist() == [[1, 0]]


def test_the_expert_follows_the_best_arm_and_every_episode_begins_again(rng: np.random.Generator) -> None:
    assert play_expert(COINS, PATH, 2, rng).rewards[0].tolist() == [1] * 8
    lazy = play(COINS, PATH, lambda history: np.array([[1.0, 0.0]]), 2, rng)
    assert lazy.rewards[0].tolist() == [1, 1, 0, 0] * 2
    assert COINS.regret(lazy)[0].tolist() == [0, 0, 1, 1] * 2


@pytest.mark.parametrize("name", ["bandit", "gaussian-bandit"])
def test_the_family_keeps_its_promises(name: str) -> None:
    task = make_task(name, arms=3, horizon=20, drift=0.05)
    check_task(task)
    train, held_out = task.split(4, seed=1, train=6)
    assert (train["means"].shape, held_out["means"].shape) == ((6, 20, 3), (4, 20, 3))
    assert describe(task).endswith("drift 0.05)")
    assert "drift" not in describe(make_task(name))
    assert "drift" not in recipe_of(make_task(name), task.sample_tasks(np.random.default_rng(0), 1))["task"]


def test_means_of_a_gaussian_bandit_by_hand() -> None:
    facts = {"means": np.array([[[1.0, 0.0], [0.0, 0.5]]])}
    bandit = GaussianBandit(arms=2, horizon=2, noise=0.1, drift=0.1)
    assert bandit.optimal_return(facts) == pytest.approx([1.5], abs=1e-3)
    told = play(bandit, facts, lambda history: np.array([[1.0, 0.0]]), 1, np.random.default_rng(0))
    assert bandit.regret(told)[0] == pytest.approx([0, 0.5], abs=1e-3)


def test_edited_lives_have_the_arms_that_they_had(rng: np.random.Generator) -> None:
    facts = {"means": np.repeat(np.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]]), 20, axis=0)}
    history = play(COINS, facts, uniform(COINS), 1, rng)
    edited = edit(history, step=2, task=COINS, action=1)
    assert (edited.rewards[:, 2] == 1).all(), "at the third pull the second arm pays"
    assert (edited.rewards[:, [0, 1, 3]] == history.rewards[:, [0, 1, 3]]).all()
    assert not any(steps.any() for steps in impossible_steps(COINS, edited).values())
    lives = Lives(COINS, facts, 1, rng, RecordedActor(COINS, history, rng))
    exchanged = COINS.counterfactuals()["arms-exchanged"].live(lives).history
    assert (exchanged.task["means"] == facts["means"][..., ::-1]).all()
    assert (exchanged.rewards[:, :2] == history.rewards[:, :2]).all()
    assert (exchanged.rewards[:, 2] == (history.actions[:, 2] == 0)).all()
    swapped = COINS.counterfactuals()["rewards-swapped"].live(lives).history
    both = ~(swapped.task["means"] == facts["means"]).all(axis=(1, 2))
    assert (swapped.task["means"][both] == facts["means"][both][..., ::-1]).all()
    assert world_of(COINS, history)["means"] == [0.75, 0.5]


def test_what_is_believed_of_a_drifting_chance_by_hand() -> None:
    still = DriftingChances(BernoulliBandit(arms=2, drift=1e-6), 1)
    still.pull(np.array([0]), np.array([1.0]))
    # a uniform prior and a win: a mean of 2/3; the other arm stays uniform
    assert still.density[0] @ still.points == pytest.approx([2 / 3, 1 / 2], abs=1e-3)
    wide = DriftingChances(BernoulliBandit(arms=2, drift=1.0), 1)
    wide.pull(np.array([0]), np.array([1.0]))
    assert wide.density[0] @ wide.points == pytest.approx([1 / 2, 1 / 2], abs=0.01), "what drifts so far is forgotten"
    assert wide.density.sum(axis=2) == pytest.approx(np.ones((1, 2)))
    near = DriftingChances(BernoulliBandit(arms=2, drift=0.1), 1)
    near.density[0, 0] = np.eye(256)[128]
    near.pull(np.array([1]), np.array([0.0]))
    spread = np.sqrt(near.density[0, 0] @ (near.points - near.points[128]) ** 2)
    assert spread == pytest.approx(0.1, rel=0.01)


def test_what_is_believed_of_a_drifting_mean_by_hand() -> None:
    means = DriftingMeans(GaussianBandit(arms=2, spread=1.0, noise=1.0, drift=0.5), 1)
    means.pull(np.array([0]), np.array([2.0]))
    assert means.mean.tolist() == [[1.0, 0.0]]
    assert means.variance.tolist() == [[0.5 + 0.25, 1.25]]
    means.pull(np.array([0]), np.array([0.0]))
    assert means.mean[0, 0] == pytest.approx(1 - 0.75 / 1.75)


def test_the_belief_forgets_and_its_source_does_not(rng: np.random.Generator) -> None:
    bandit = BernoulliBandit(arms=2, horizon=60, drift=0.1)
    facts = {"means": np.repeat(np.array([[1.0, 0.0]] * 30 + [[0.0, 1.0]] * 30)[None], 4, axis=0)}
    told = play(bandit, facts, lambda history: np.array([[0.9, 0.1]] * 4), 1, rng)
    background = Background(bandit, Thompson(), facts, told, episodes=1)
    rungs, absent = fitting(background)
    assert "belief" not in absent
    begins = {rung.name: rung.fit(background) for rung in rungs if rung.name in ("belief", "source")}
    first = {name: predict(begin, told, bandit)[:, -1, 0].mean() for name, begin in begins.items()}
    assert first["belief"] < 0.1
    assert first["source"] > 0.5, "Thompson sampling counts pulls of long ago as those of today"
    several = Background(bandit, UCB1(), facts, told, episodes=2)
    assert fitting(several)[1]["belief"] == "in a second episode arms drift as in the first, which is not written down"


def test_an_environment_begins_each_episode_with_the_same_arms() -> None:
    env = BanditEnv(arms=2, horizon=5, drift=0.3)
    env.reset(seed=1)
    begun = env._state.means.copy()
    for _ in range(5):
        env.step(0)
    assert (env._state.means != begun).any()
    env.reset()
    assert (env._state.means == begun).all()
    env.reset(options={"means": [1.0, 0.0]})
    assert [env.step(arm)[1] for arm in (0, 0, 1, 0, 0)] == [1, 1, 0, 1, 1]


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("bandit", {"drift": 1.5}, "bandit: drift is 1.5, but it must be 0 to 1"),
        ("gaussian-bandit", {"drift": -0.1}, "gaussian-bandit: drift is -0.1"),
        ("adversarial-bandit", {"drift": 0.1}, "adversarial and drift do not go together"),
    ],
)
def test_options_that_cannot_be(name: str, params: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_task(name, **params)
