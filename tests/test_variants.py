"""Altered histories, by the laws they keep; and whether learners that do not learn are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import law

from ad_hypotheses.errors import ConfigError, DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import AnnealedExpert, DynaQ, Thompson, episode_returns, generate
from ad_hypotheses.sources.learning import complaint, learning_of, learning_of_histories, require_improvement
from ad_hypotheses.sources.recording import keep_episodes
from ad_hypotheses.sources.variants import early, every, expert_only, joined, lived, shuffled_rewards
from ad_hypotheses.studies.histories.pictures import source_curve
from ad_hypotheses.tasks import BernoulliBandit, DarkRoom

ARRAYS = ("observations", "actions", "rewards", "episode")
ROOM = DarkRoom(size=3, horizon=4)


# lengths of episodes, rows, seed: type checks of a History draw random numbers, which a strategy must not
RECIPES = st.tuples(st.lists(st.integers(1, 4), min_size=1, max_size=7), st.integers(1, 4), st.integers(0, 2**32 - 1))


def history_of(recipe: tuple[list[int], int, int]) -> History:
    """Random histories with episodes of different lengths that begin at the same steps in all rows."""
    lengths, n_rows, seed = recipe
    n_steps, rng = sum(lengths), np.random.default_rng(seed)
    number = np.repeat(np.arange(len(lengths), dtype=np.int16), lengths)
    return History(
        observations=rng.integers(5, size=(n_rows, n_steps, 2)).astype(np.int8),
        actions=rng.integers(3, size=(n_rows, n_steps)).astype(np.int8),
        rewards=rng.random((n_rows, n_steps), dtype=np.float32),
        episode=np.broadcast_to(number, (n_rows, n_steps)),
        channels=("x", "y"),
        n_actions=3,
        task={"goal": rng.integers(5, size=(n_rows, 2))},
        learner=np.arange(n_rows),
    )


def n_episodes(history: History) -> int:
    return int(history.episode[0, -1]) + 1


def same(one: History, other: History) -> bool:
    alike = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in (*ARRAYS, "learner"))
    return alike and all(np.array_equal(fact, other.task[name]) for name, fact in one.task.items())


# --- laws


@given(RECIPES, st.data())
def test_the_beginning_and_the_end_of_a_life_make_the_whole(
    recipe: tuple[list[int], int, int], data: st.DataObject
) -> None:
    history = history_of(recipe)
    count = n_episodes(history)
    split = data.draw(st.integers(1, count))
    first, last = early(history, split), expert_only(history, count + 1 - split)
    assert n_episodes(first) == split
    assert n_episodes(last) == count + 1 - split
    returns = episode_returns(history)
    assert episode_returns(first) == pytest.approx(returns[:, :split])
    assert episode_returns(last) == pytest.approx(returns[:, split - 1 :])
    overlap = (history.episode[0] == split - 1).sum()
    assert first.n_steps + last.n_steps == history.n_steps + overlap
    for name in ("observations", "actions", "rewards"):
        both = np.concatenate([getattr(first, name), getattr(last, name)[:, overlap:]], axis=1)
        assert (both == getattr(history, name)).all()


@given(RECIPES)
@law(30)
def test_all_episodes_are_the_history_itself(recipe: tuple[list[int], int, int]) -> None:
    history = history_of(recipe)
    count = n_episodes(history)
    for altered in (early(history, count), expert_only(history, count), every(history, 1)):
        assert same(altered, history)
    assert same(every(history, count), early(history, 1))


@given(RECIPES, st.integers(1, 4), st.integers(1, 3))
def test_thinning_twice_is_thinning_once_by_the_product(recipe: tuple[list[int], int, int], k: int, j: int) -> None:
    history = history_of(recipe)
    assert same(every(every(history, k), j), every(history, k * j))
    assert same(every(history, k), keep_episodes(history, DarkRoom(), k))
    assert episode_returns(every(history, k)) == pytest.approx(episode_returns(history)[:, ::k])


@given(RECIPES, st.integers(0, 99))
def test_shuffling_moves_rewards_within_a_history_and_nothing_else(
    recipe: tuple[list[int], int, int], seed: int
) -> None:
    history = history_of(recipe)
    shuffled = shuffled_rewards(history, np.random.default_rng(seed))
    assert (np.sort(shuffled.rewards, axis=1) == np.sort(history.rewards, axis=1)).all()
    assert same(replace(shuffled, rewards=history.rewards), history)
    assert same(shuffled, shuffled_rewards(history, np.random.default_rng(seed)))


def test_shuffled_rewards_say_nothing_about_when() -> None:
    rewards = np.tile(np.arange(10, dtype=np.float32), (4000, 1))
    blank = np.zeros((4000, 10), dtype=np.int8)
    history = History(blank[..., None][..., :0], blank, rewards, blank, (), 2)
    dealt = shuffled_rewards(history, np.random.default_rng(0)).rewards
    assert dealt.mean(axis=0) == pytest.approx(np.full(10, 4.5), abs=0.2)
    assert (dealt != rewards).mean() == pytest.approx(0.9, abs=0.02)


@given(RECIPES, st.data())
@law(30)
def test_joining_undoes_cutting(recipe: tuple[list[int], int, int], data: st.DataObject) -> None:
    history = history_of(recipe)
    cut = data.draw(st.integers(1, history.n_rows))
    parts = [part for part in (history[:cut], history[cut:]) if part.n_rows]
    assert same(joined(parts), history)


def test_what_cannot_be_altered_is_explained() -> None:
    history = DynaQ().live(ROOM, ROOM.tasks(), 3, np.random.default_rng(0))
    with pytest.raises(DataError, match="4 episodes of each history are asked for, but each has 3"):
        expert_only(history, 4)
    with pytest.raises(DataError, match="0 episodes"):
        early(history, 0)
    with pytest.raises(DataError, match="k must be at least 1"):
        every(history, 0)
    ragged = replace(history, episode=np.where(np.arange(9)[:, None] == 3, 0, history.episode))
    with pytest.raises(DataError, match="begin at different steps"):
        early(ragged, 1)
    with pytest.raises(DataError, match="different steps cannot be joined: 12 and 4"):
        joined([history, early(history, 1)])
    with pytest.raises(DataError, match="no histories to join"):
        joined([])


# --- in generate


def made(folder: Path, **changed: Any) -> History:
    settings = {"learners_per_task": 2, "episodes": 4, "keep_every": 2, "seed": 3, "shard_size": 5} | changed
    histories = generate(folder, ROOM, DynaQ(planning=1), {"goal": ROOM.tasks()["goal"][:4]}, **settings)
    return histories.rows(np.arange(histories.n_histories))


def test_skipped_episodes_are_lived_and_left_out(tmp_path: Path) -> None:
    whole, ends = made(tmp_path / "a", episodes=10), made(tmp_path / "b", skip=6)
    assert n_episodes(ends) == 2
    assert same(ends, expert_only(whole, 2))


def test_shuffled_rewards_belong_to_the_same_lives(tmp_path: Path) -> None:
    plain, dealt = made(tmp_path / "a"), made(tmp_path / "b", shuffle_rewards=True)
    assert same(replace(dealt, rewards=plain.rewards), plain)
    assert (dealt.rewards != plain.rewards).any()
    assert (np.sort(dealt.rewards) == np.sort(plain.rewards)).all()
    assert same(dealt, made(tmp_path / "c", shuffle_rewards=True))


def test_a_folder_knows_its_variant(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(DataError, match="skip was None, is 2"):
        made(tmp_path, skip=2)
    with pytest.raises(DataError, match="shuffle_rewards was None, is True"):
        made(tmp_path, shuffle_rewards=True)


def test_a_skip_keeps_the_episodes_that_are_kept_without_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="skip is 3, but it must be a multiple of keep_every = 2: 2 or 4"):
        made(tmp_path, skip=3)
    with pytest.raises(ConfigError, match="skip is -2"):
        lived(DynaQ(), ROOM, ROOM.tasks(), 2, np.random.default_rng(0), skip=-2)


# --- learning


def curve_of(*means: float, n_learners: int = 200, spread: float = 1.0) -> np.ndarray:
    return np.asarray(means) + spread * np.random.default_rng(0).standard_normal((n_learners, len(means)))


@pytest.mark.parametrize(
    ("means", "said"),
    [
        ((1, 2, 4, 6, 8, 9), None),
        ((5, 5, 5, 5, 5, 5), "of the learners earn more in the last third of the episodes than in the first"),
        ((5, 5, 4, 4, 3, 3), "and 60% should: 5.0"),
        ((1, 6, 9, 9, 7, 4), "the learners collapse: their mean return ends 5."),
        ((9.9, 9.9, 9.9, 9.9), "There is no learning to see"),
    ],
)
def test_who_does_not_learn_is_refused(means: tuple[float, ...], said: str | None) -> None:
    returns = curve_of(*means, spread=0.1 if means[0] == 9.9 else 1.0)
    learning = learning_of(returns, np.full(200, 10.0))
    problem = complaint(learning)
    assert (problem is None) == (said is None)
    if said is not None:
        assert said in str(problem)
        with pytest.raises(DataError, match=r"histories\.check: false"):
            require_improvement(learning)


def test_hardly_learning_is_not_learning() -> None:
    problem = complaint(learning_of(curve_of(0, 0.1, 0.2, 0.3, spread=0.01), np.full(200, 10.0)))
    assert problem is not None
    assert "close 3.0% of the gap" in problem


def test_few_learners_say_nothing() -> None:
    assert complaint(learning_of(curve_of(5, 5, 5, n_learners=31), np.full(31, 10.0))) is None


def test_the_record_of_learning_by_hand() -> None:
    returns = np.array([[0.0, 1, 2, 3, 4, 5], [5, 5, 5, 5, 5, 5], [2, 2, 9, 2, 1, 1]])
    learning = learning_of(returns, np.array([6.0, 5.0, 9.0]), random=0.5)
    assert (learning.unit, learning.learners, learning.random) == ("episode", 3, 0.5)
    assert learning.mean == pytest.approx([7 / 3, 8 / 3, 16 / 3, 10 / 3, 10 / 3, 11 / 3], abs=1e-4)
    assert learning.first == pytest.approx((0.5 + 5 + 2) / 3)
    assert learning.last == pytest.approx((4.5 + 5 + 1) / 3)
    assert learning.satisfied == pytest.approx(1 / 3)
    assert learning.improved == pytest.approx(1 / 2)
    assert learning.fallen == pytest.approx(5 / 3)
    assert learning.optimum == pytest.approx(20 / 3)


def test_a_life_of_one_episode_is_judged_by_its_tenths() -> None:
    bandit = BernoulliBandit(arms=3, horizon=55)
    facts = bandit.sample_tasks(np.random.default_rng(0), 300)
    history = Thompson().live(bandit, facts, 1, np.random.default_rng(0))
    learning = learning_of(history, bandit.optimal_return(facts))
    assert (learning.unit, len(learning.mean)) == ("tenth of the episode", 10)
    assert learning.mean[0] == pytest.approx(history.rewards[:, :6].mean() * 5.5, abs=1e-4)
    assert learning.optimum == pytest.approx(bandit.optimal_return(facts).mean() / 10)
    assert complaint(learning) is None
    aimless = replace(history, rewards=np.random.default_rng(1).permuted(history.rewards, axis=1))
    assert "gain no more than luck would have it" in str(complaint(learning_of(aimless, np.full(300, 55.0))))


def test_sources_that_learn_pass_and_their_variants_do_not(tmp_path: Path) -> None:
    room = DarkRoom(size=4, horizon=8)
    facts = room.split(held_out=6, seed=0)[0]
    for number, (source, changed, learns) in enumerate(
        [
            (DynaQ(planning=10), {}, True),
            (AnnealedExpert(), {}, True),
            (DynaQ(planning=10), {"skip": 30}, False),
            (DynaQ(planning=10), {"shuffle_rewards": True}, False),
            (AnnealedExpert(0.7, 0.7), {}, False),
        ]
    ):
        histories = generate(tmp_path / str(number), room, source, facts, 10, episodes=30, keep_every=2, **changed)
        learning = learning_of_histories(histories, room)
        assert (complaint(learning) is None) == learns, (source, changed, learning)
        assert learning.learners == 100
        assert learning.random is not None
        assert learning.random < learning.optimum / 4


def test_the_picture_of_a_source_is_the_same_every_time() -> None:
    learning = learning_of(curve_of(1, 2, 4, 6, 8, 9), np.full(200, 10.0), random=0.3)
    picture = source_curve(learning, "dyna-q learning dark-room")
    assert picture.startswith(b"\x89PNG")
    assert picture == source_curve(learning, "dyna-q learning dark-room")
    assert picture != source_curve(replace(learning, random=None), "dyna-q learning dark-room")
