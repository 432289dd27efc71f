"""Symmetries in the language: how they are written, and what they must keep, refused with node, row and step."""

# ruff: noqa: NPY002 - the generator that everybody shares must not decide

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.check import bind, outline
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis, node
from ad_hypotheses.language.sites import embed, head, logits, mlp, pos
from ad_hypotheses.language.symmetries.symmetry import Symmetry, changed_tokens
from ad_hypotheses.tasks import make_task
from ad_hypotheses.tasks.edits.possible import impossible_steps
from ad_hypotheses.tasks.play import play, uniform

ANATOMY = Anatomy(("action", "reward"), n_layers=1, n_heads=2)
ROWS, STEPS, ARMS = 12, 10, 3


def lives() -> History:
    rng = np.random.default_rng(0)
    return History(
        observations=np.zeros((ROWS, STEPS, 0), dtype=np.int8),
        actions=rng.integers(ARMS, size=(ROWS, STEPS)),
        rewards=rng.integers(2, size=(ROWS, STEPS)).astype(np.float32),
        episode=np.zeros((ROWS, STEPS), dtype=np.int16),
        channels=(),
        n_actions=ARMS,
        task={"means": rng.random((ROWS, ARMS))},
        learner=np.arange(ROWS),
    )


def shuffled(history, place, fields=("actions", "rewards")):
    order = np.argsort(place, axis=1, kind="stable")
    return replace(history, **{name: np.take_along_axis(getattr(history, name), order, axis=1) for name in fields})


def reordered(history, steps, rng):
    """The same pulls in another order."""
    clock = np.arange(history.n_steps)
    return shuffled(history, np.where(clock < steps[:, None], rng.random(history.actions.shape), 1 + clock))


def record(history):
    """How often each arm was pulled, and what it paid."""
    return np.concatenate([history.action_counts(), history.action_rewards()], axis=-1)


def claim(symmetry, feature=record, at=None) -> Hypothesis:
    """A claim with one node below the last, whose donors are made."""
    feature = node(at=head(0) if at is None else at, symmetry=symmetry)(feature)
    below = feature  # noqa: F841 - the node below finds it by its name

    @node(at=logits)
    def choice(below, history):
        return np.full(history.actions.shape, -1)

    return Hypothesis(choice)


def refused(symmetry, feature=record, at=None) -> str:
    with pytest.raises(HypothesisError) as error:
        bind(claim(symmetry, feature, at), ANATOMY, lives())
    return str(error.value)


def test_a_node_with_a_symmetry_fits_and_says_so_wherever_it_is_shown():
    hypothesis = claim(reordered)
    bound = bind(hypothesis, ANATOMY, lives())
    assert bound.made == ("record",)
    assert outline(hypothesis, ANATOMY).made == ("record",)
    assert "donors by reordered" in repr(hypothesis.nodes[0])
    assert hypothesis.graph().nodes["record"]["symmetry"] == "reordered"
    moved = hypothesis.on(record=head(0, 1))
    assert moved.nodes[0].symmetry is hypothesis.nodes[0].symmetry
    assert bound.without_features().made == ()
    assert bound.of_rows(np.arange(3)).made == ("record",)


def test_features_are_read_on_what_was_made():
    bound = bind(claim(reordered), ANATOMY, lives())
    other = lives()[::-1]
    feature, selected = bound.read(other)["record"]
    np.testing.assert_array_equal(feature.value, record(other))
    assert selected is None


# --- How it is written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symmetry", "message"),
    [
        (3, r"record\(\) has the symmetry 3, which is not a plain function"),
        (lambda history: history, r"<lambda>\(\), the symmetry of record\(\), takes \(history\)"),
        (lambda history, steps, rng, more: history, r"takes \(history, steps, rng, more\)"),
        (lambda history, *, steps, rng: history, r"takes \(history, \*, steps, rng\)"),
    ],
)
def test_what_is_no_symmetry_is_refused_with_how_one_is_written(symmetry, message):
    text = refused(symmetry)
    assert re.search(message, text)
    assert "(history, steps, rng), which returns a history" in text


def test_the_last_node_has_no_donors():
    @node(at=head(0))
    def below(history):
        return history.action_counts()

    @node(at=logits, symmetry=reordered)
    def choice(below):
        return np.full(below.shape[:2], -1)

    with pytest.raises(HypothesisError, match=r"choice\(\) is the last node, which has no donors, .* reordered\(\)"):
        bind(Hypothesis(choice), ANATOMY, lives())


def test_a_value_of_the_whole_history_has_no_symmetry_of_a_step():
    def hidden(history):
        return (history.task["means"].argmax(axis=1) > 0).astype(int)

    assert "hidden() has one value for the whole history, but a symmetry changes the past" in refused(reordered, hidden)


def test_a_regime_is_not_known_of_made_histories():
    everywhere = {"start": np.ones((ROWS, STEPS), dtype=bool)}
    with pytest.raises(HypothesisError, match=r'narrowed to "start" steps, a regime, in a claim with made donors'):
        bind(claim(reordered, at=head(0).steps("start")), ANATOMY, lives(), everywhere)
    bind(claim(reordered, at=head(0).steps("rewarded")), ANATOMY, lives(), everywhere)


# --- What it must keep ----------------------------------------------------------------------------------------------


def test_a_value_that_moves_is_refused_with_node_row_and_step():
    """The wins of two arms are exchanged, where the record says which arm won how often."""

    def exchanged(history, steps, rng):
        past = np.arange(history.n_steps) < steps[:, None]
        swapped = np.select([history.actions == 0, history.actions == 1], [1, 0], history.actions)
        return replace(history, actions=np.where(past & (history.rewards > 0), swapped, history.actions))

    text = refused(exchanged)
    found = re.search(
        r"exchanged\(\), the symmetry of record\(\), changes the value that it should keep: at row (\d+), step (\d+), "
        r"record\(\) is (\[.*\]) instead of (\[.*\])\.",
        text,
    )
    assert found, text
    row, step = int(found[1]), int(found[2])
    assert str(record(lives())[row, step].tolist()) == found[4] != found[3]
    assert "or record() return something coarser" in text


def at_every_cut(change):
    """A symmetry that reorders and then does one thing wrong."""

    def wrong(history, steps, rng):
        made = reordered(history, steps, rng)
        return replace(made, **change(made, steps, rng))

    return wrong


def set_at(values, steps, shift, value):
    """Write to the step of each row, or to one after it."""
    values, place = values.copy(), steps + shift
    rows = np.flatnonzero(place < values.shape[1])
    values[rows, place[rows]] = value(values[rows, place[rows]])
    return values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m, t, r: {"actions": set_at(m.actions, t, 0, lambda a: (a + 1) % ARMS)},
            "changes the action at a step",
        ),
        (lambda m, t, r: {"rewards": set_at(m.rewards, t, 2, lambda a: 1 - a)}, "changes the reward at a step"),
        (lambda m, t, r: {"episode": m.episode + 1}, "changes the number of the episode at a step"),
        (
            lambda m, t, r: {"actions": np.where(np.arange(STEPS) < t[:, None], 7, m.actions)},
            "action that there is not",
        ),
        (lambda m, t, r: {"rewards": m.rewards[:, :-1]}, r"returns rewards of shape \(\d+, 9\), not"),
    ],
)
def test_only_a_past_changes_to_what_there_is(change, message):
    assert re.search(message, refused(at_every_cut(change)))


def test_the_future_does_not_enter():
    def by_the_future(history, steps, rng):
        """Whether the pulls are reversed depends on what comes at the step itself."""
        clock = np.arange(history.n_steps)
        now = np.take_along_axis(history.actions, steps[:, None], axis=1)
        return shuffled(history, np.where((clock < steps[:, None]) & (now == 1), -clock, clock))

    assert re.search(
        r"makes another past when what comes later is replaced \(row \d+, step \d+\)", refused(by_the_future)
    )


@pytest.mark.parametrize("generator", ["np.random.permutation", "np.random.default_rng().permutation"])
def test_only_the_generator_that_is_given_decides(generator):
    draw = eval(generator, {"np": np})
    np.random.seed(0)  # of which a permutation is the same after one number more

    def by_chance(history, steps, rng):
        clock = np.arange(history.n_steps)
        return shuffled(history, np.where(clock < steps[:, None], draw(history.n_steps)[None] / 100, 1 + clock))

    assert "makes another past when it is called again with the same generator" in refused(by_chance)


def test_a_symmetry_that_changes_nothing_is_refused():
    assert "leaves every past as it is" in refused(lambda history, steps, rng: history)


def test_what_it_raises_or_returns_instead_is_said_with_its_place():
    def broken(history, steps, rng):
        raise KeyError("means")

    assert re.search(r"broken\(\) raises KeyError: means\n  file: .*test_symmetry.py:\d+", refused(broken))
    assert "returns NoneType, not a history" in refused(lambda history, steps, rng: None)
    text = refused(lambda history, steps, rng: history.actions.__setitem__(0, 1))
    assert "read-only" in text
    assert "cannot be changed in place" in text


def test_a_feature_that_fails_on_what_was_made_is_named():
    def fussy(history):
        if (history.actions[:, 0] != history.actions[0, 0]).all():
            raise ValueError("never")
        if history.n_rows > 100:
            raise ValueError("too many lives")
        return history.action_counts() * 0

    assert "on what reordered(), its symmetry, makes, fussy() raises ValueError: too many lives" in refused(
        reordered, fussy
    )


def test_neither_learner_nor_global_state_reaches_beyond_a_symmetry():
    seen = []

    def nosy(history, steps, rng):
        seen.append(history.learner)
        np.random.seed(3)
        np.seterr(all="raise")
        return reordered(history, steps, rng)

    before = np.geterr()
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    bind(claim(nosy), ANATOMY, lives())
    assert np.random.random() == expected
    assert np.geterr() == before
    assert set(seen) == {None}


# --- Names of actions -----------------------------------------------------------------------------------------------


def renamed(history, steps, rng):
    """Other names for the arms."""
    names = np.argsort(rng.random((history.n_rows, history.n_actions)), axis=1)
    past = np.arange(history.n_steps) < steps[:, None]
    return replace(
        history, actions=np.where(past, np.take_along_axis(names, history.actions, axis=1), history.actions)
    ), names


def wins(history):
    return history.rewards_seen


def test_actions_get_other_names_only_where_one_node_supplies_everything():
    everything = embed() + pos + head(0) + mlp(0)
    bind(claim(renamed, wins, at=everything), ANATOMY, lives())
    text = refused(renamed, wins, at=head(0) + mlp(0))
    assert "renamed(), the symmetry of wins(), gives actions other names, but other inputs" in text
    assert "gives actions other names" in refused(renamed, wins, at=(embed() + pos + head(0)).to(logits) + mlp(0))


def test_names_are_a_permutation_of_the_actions():
    def doubled(history, steps, rng):
        return reordered(history, steps, rng), np.zeros((history.n_rows, ARMS), dtype=int)

    assert "returns names that are not a permutation of the 3 actions" in refused(doubled, wins)


# --- Draws ----------------------------------------------------------------------------------------------------------


def test_a_past_is_drawn_again_until_it_differs():
    history, steps = lives(), np.full(ROWS, 6)
    symmetry = Symmetry("reordered", reordered)
    seldom = Symmetry("seldom", lambda h, s, rng: reordered(h, s, rng) if rng.random() < 0.3 else h)
    drawn, changed = seldom.draw_other(history, steps, np.random.default_rng(0))
    assert changed.any(axis=1).all()
    np.testing.assert_array_equal(changed, changed_tokens(history, drawn.history, steps))
    _, stays = seldom.draw_other(history, steps, np.random.default_rng(0), may_stay=True)
    assert not stays.any()
    same = replace(history, actions=history.actions * 0, rewards=history.rewards * 0)
    assert not symmetry.draw_other(same, steps, np.random.default_rng(0))[1].any()


# --- What the task's world knows ------------------------------------------------------------------------------------


def rooms(n=6):
    task = make_task("dark-room", size=5, horizon=8)
    rng = np.random.default_rng(1)
    return task, play(task, task.sample_tasks(rng, n), uniform(task), 2, rng)


def test_what_was_lived_is_possible():
    for name in ("dark-room", "key-to-door", "graph-world", "gaussian-bandit"):
        task = make_task(name)
        rng = np.random.default_rng(1)
        history = play(task, task.sample_tasks(rng, 4), uniform(task), 2, rng)
        assert not any(mask.any() for mask in impossible_steps(task, history).values()), name


def test_what_could_not_be_lived_is_named_where_it_stands():
    task, history = rooms()
    walked, paid, seen = history.observations.copy(), history.rewards.copy(), history.observations.copy()
    walked[2, 5] = (walked[2, 4] + 2) % 5  # nobody walks two cells at once
    paid[3, 4], seen[1, 2, 0] = 0.5, 5
    for changed, words, place in (
        (replace(history, observations=walked), "a step that does not follow from the one before", (2, 5)),
        (replace(history, rewards=paid), "a reward that the task does not pay", (3, 4)),
        (replace(history, observations=seen), "an observation that the task does not show", (1, 2)),
    ):
        assert np.argwhere(impossible_steps(task, changed)[words]).tolist()[0] == list(place)


def test_a_symmetry_that_breaks_the_world_is_refused_and_one_that_keeps_it_is_not():
    """Actions are shuffled but not where they lead to; or the whole room is mirrored, and all in it."""
    task, history = rooms()
    anatomy = Anatomy(("x", "y", "action", "reward"), n_layers=1, n_heads=2)

    def actions_alone(history, steps, rng):
        clock = np.arange(history.n_steps)
        return shuffled(
            history, np.where(clock < steps[:, None], rng.random(history.actions.shape), 1 + clock), ("actions",)
        )

    def mirrored(history, steps, rng):
        clock = np.arange(history.n_steps)
        up_and_down = np.array([0, 2, 1, 3, 4])
        flipped = history.observations.copy()
        axis = 1
        flipped[..., axis] = 4 - flipped[..., axis]
        return replace(
            history,
            observations=np.where((clock <= steps[:, None])[..., None], flipped, history.observations),
            actions=np.where(clock < steps[:, None], up_and_down[history.actions], history.actions),
        )

    def anything(history):
        return history.actions * 0

    def world(lived):
        return impossible_steps(task, lived)

    with pytest.raises(HypothesisError, match=r"makes a step that does not follow from the one before \(row \d, step"):
        bind(claim(actions_alone, anything), anatomy, history, world=world)
    bind(claim(mirrored, anything), anatomy, history, world=world)
    # a life that the world does not answer is not held against a symmetry
    odd = history.observations.copy()
    odd[:, 3] = (odd[:, 3] + 2) % 5
    bind(claim(actions_alone, anything), anatomy, replace(history, observations=odd), world=world)
