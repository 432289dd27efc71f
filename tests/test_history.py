"""What features can ask of a history, against plain loops."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ad_hypotheses.errors import DataError
from ad_hypotheses.language.history import History


def histories(seed: int, channels: int) -> History:
    rng = np.random.default_rng(seed)
    return History(
        observations=rng.integers(3, size=(4, 15, channels)).astype(np.int8),
        actions=rng.integers(3, size=(4, 15)).astype(np.int8),
        rewards=rng.integers(2, size=(4, 15)).astype(np.float32),
        episode=np.broadcast_to(np.arange(15) // 5, (4, 15)),
        channels=("x", "y", "z")[:channels],
        n_actions=3,
        task={"goal": np.arange(4)},
        learner=np.arange(4),
    )


@pytest.mark.parametrize("channels", [0, 1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_earlier_visits_and_what_was_tried_there(seed, channels):
    history = histories(seed, channels)
    previous, tried = history.previous_visit(), history.tried_here()
    for row, step in np.ndindex(4, 15):
        here = history.observations[row, step]
        before = [s for s in range(step) if (history.observations[row, s] == here).all()]
        assert previous[row, step] == max(before, default=-1)
        assert set(np.flatnonzero(tried[row, step])) == set(history.actions[row, before].tolist())


def test_observations_of_more_channels_than_a_number_holds_are_told_apart():
    rng = np.random.default_rng(0)
    views = np.repeat(rng.integers(2, size=(4, 1, 76)), 8, axis=1).astype(np.int8)
    views[:, ::2, 0] ^= 1  # only the first channel differs between odd and even steps
    actions = rng.integers(3, size=(4, 8))
    history = History(views, actions, np.zeros((4, 8)), np.zeros((4, 8), int), tuple(map(str, range(76))), 3)
    assert history.previous_visit().tolist() == [[-1, -1, 0, 1, 2, 3, 4, 5]] * 4
    assert history.tried_here()[:, 2].tolist() == np.eye(3, dtype=bool)[actions[:, 0]].tolist()


def test_tokens_show_the_step_before_and_rewards_add_up():
    history = histories(0, 2)
    assert (history.previous_actions[:, 0] == -1).all()
    assert (history.previous_actions[:, 1:] == history.actions[:, :-1]).all()
    assert (history.rewards_seen[:, 1:] == history.rewards.cumsum(axis=1)[:, :-1]).all()
    assert (history.action_counts().sum(-1) == np.arange(15)).all()
    assert np.array_equal(history.action_rewards().sum(-1), history.rewards_seen)


def test_the_last_rewarded_cell_is_the_one_that_shows_the_reward_within_an_episode():
    history = histories(1, 2)
    found = history.last_rewarded_cell()
    for row, step in np.ndindex(4, 15):
        paid = [s for s in range(1, step + 1) if history.rewards[row, s - 1] > 0 and s % 5]
        expected = history.observations[row, paid[-1]] if paid else [-1, -1]
        assert found[row, step].tolist() == list(expected)


def test_visits_count_cells_up_to_now():
    history = histories(2, 2)
    visits = history.visits(3)
    for row, step in np.ndindex(4, 15):
        x, y = history.observations[row, step]
        seen = (history.observations[row, : step + 1] == [x, y]).all(axis=1).sum()
        assert visits[row, step, 3 * x + y] == seen
    assert (visits.sum(-1) == np.arange(1, 16)).all()


def test_windows_and_rows_keep_everything_together():
    history = histories(3, 1)
    part = history[np.array([2, 0])].window(-4)
    assert np.array_equal(part.actions, history.actions[[2, 0], -4:])
    assert part.task["goal"].tolist() == [2, 0]
    assert part.learner.tolist() == [2, 0]
    assert part.n_steps == 4


def members() -> list[str]:
    makers = ("from_json", "of_plain")  # which hand out nothing of a history
    return [name for name in dir(History) if not name.startswith("_") and name not in makers]


@pytest.mark.parametrize("name", members())
def test_nothing_that_a_history_hands_out_twice_can_be_written_to(name):
    history, arguments = histories(4, 2), {"visits": (3,)}.get(name, ())
    first, second = ((value(*arguments) if callable(value := getattr(history, name)) else value) for _ in range(2))
    for handed in (first, *(vars(first).values() if isinstance(first, History) else ())):
        for array in handed.values() if isinstance(handed, dict) else [handed]:
            if isinstance(array, np.ndarray) and array.flags.writeable:
                assert not np.shares_memory(array, second), f"{name} hands out the same array twice"


def test_the_arrays_that_a_history_was_made_from_still_belong_to_their_maker():
    rewards = np.zeros((2, 3), dtype=np.float32)
    zeros = np.zeros((2, 3), dtype=np.int8)
    history = History(np.zeros((2, 3, 1), np.int8), zeros, rewards, zeros, ("x",), 2, {"goal": np.zeros(2)})
    with pytest.raises(ValueError, match="read-only"):
        history.rewards[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        history.task["goal"][0] = 1
    rewards[0, 0] = 1
    assert history.rewards[0, 0] == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("actions", 5, "an action is none of 0 to 2"),
        ("actions", -1, "an action is none of 0 to 2"),
        ("rewards", None, "rewards has a number that is not finite"),
        ("rewards", 1e308, "beyond 1e[+]30"),
        ("episode", 10**18, "the number of an episode is none of 0 to 99999"),
        ("episode", -1, "the number of an episode is none of"),
        ("episode", 7, "episodes are not numbered one after the other"),
    ],
)
def test_a_history_that_nobody_can_have_lived_is_refused(name, value, message):
    content = json.loads(histories(2, 1).to_json())
    assert History.from_json(json.dumps(content)).actions.tolist() == content["actions"]
    content[name][1][2] = value
    with pytest.raises(DataError, match=message):
        History.from_json(json.dumps(content))


def test_facts_that_are_not_finite_are_refused():
    content = json.loads(histories(2, 1).to_json())
    content["task"]["goal"][1] = 1e31
    with pytest.raises(DataError, match="goal has a number that is not finite, or beyond"):
        History.from_json(json.dumps(content))
