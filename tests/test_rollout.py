"""Rollouts: with a prompt, with a short memory, without end, and always the actions of the uncached model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ad_hypotheses import distill
from ad_hypotheses.distill.model import ADTransformer, Shape
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.errors import CapacityError, DataError, UserError
from ad_hypotheses.language.history import History
from ad_hypotheses.tasks import make_task
from ad_hypotheses.tasks.play import play

ROOM = make_task("dark-room", size=3, horizon=4)
ROWS = 24
FACTS = ROOM.sample_tasks(np.random.default_rng(0), ROWS)


def model_of(task=ROOM, episodes=6, seed=2, **variant) -> ADTransformer:
    """A random float64 model whose actions depend on everything that it sees."""
    vocabulary = Vocabulary(tuple(zip(task.channels, task.channel_sizes, strict=True)), task.n_actions)
    model = ADTransformer(vocabulary, Shape(episodes * task.horizon, 2, 2, 8, **variant), seed).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * (0.2 if name == "W_pos" else 0.7))
    return model


def prompt_of(episodes: int, n_rows: int = ROWS, seed: int = 7) -> History:
    facts = {name: fact[:n_rows] for name, fact in FACTS.items()}
    uniform = np.full((n_rows, ROOM.n_actions), 1 / ROOM.n_actions)
    return play(ROOM, facts, lambda history: uniform, episodes, np.random.default_rng(seed))


def joined(first: History, second: History) -> History:
    names = ("observations", "actions", "rewards", "episode")
    return replace(
        second, **{name: np.concatenate([getattr(first, name), getattr(second, name)], axis=1) for name in names}
    )


def live(model, episodes=3, seed=1, **options) -> History:
    return rollout(model, ROOM, FACTS, episodes, np.random.default_rng(seed), **options)


def uncached(model, episodes=3, seed=1, sample=True, prompt=None, memory=None, **begun) -> History:
    """The same life by a policy that reads all that it may see anew at every step."""

    @torch.no_grad()
    def policy(history):
        past = history if prompt is None else joined(prompt, history)
        if memory is not None:
            began = (past.n_steps - 1) // ROOM.horizon * ROOM.horizon
            past = past.window(max(0, began - (memory - 1) * ROOM.horizon))
        logits = model(model.to_tokens(past))[:, -1]
        return (logits.softmax(-1) if sample else torch.eye(ROOM.n_actions)[logits.argmax(-1)]).numpy()

    return play(ROOM, FACTS, policy, episodes, np.random.default_rng(seed), **begun)


def same(first: History, second: History) -> bool:
    names = ("observations", "actions", "rewards", "episode")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


@pytest.mark.default_cases(2)
@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"positions": "rotary"},
        {"positions": "none", "attention_only": True},
        {"positions": "rotary", "window": 5},
        {"positions": "rotary", "window": 100},
    ],
    ids=str,
)
def test_a_rollout_takes_the_actions_of_the_uncached_model(variant):
    model = model_of(**variant)
    for sample in (True, False):
        assert same(live(model, episodes=6, sample=sample), uncached(model, episodes=6, sample=sample))
    assert len(np.unique(live(model, sample=False).actions)) > 1


@pytest.mark.slow
def test_a_window_lets_a_life_be_of_any_length():
    model = model_of(episodes=2, positions="rotary", window=7)
    history = live(model, episodes=30)
    assert history.n_steps == 15 * model.shape.n_ctx
    assert same(history, uncached(model, episodes=30))


@pytest.mark.parametrize("variant", [{}, {"positions": "rotary", "window": 6}], ids=str)
@pytest.mark.parametrize("at_once", [1024, 5])
def test_a_prompt_is_read_as_the_models_own_past(variant, at_once, monkeypatch):
    monkeypatch.setattr(distill.rollout, "READ_STEPS", at_once)
    model, prompt = model_of(**variant), prompt_of(3)
    done: list[int] = []
    history = live(model, prompt=prompt, progress=done.append)
    assert history.n_steps == 12
    assert history.episode[0].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert done == list(range(1, 13))
    assert same(history, uncached(model, prompt=prompt))
    assert not same(history, live(model))
    assert not same(history, live(model, prompt=prompt_of(3, seed=8)))


def test_an_empty_prompt_is_none():
    assert same(live(model_of(), prompt=prompt_of(1).window(stop=0)), live(model_of()))


@pytest.mark.parametrize("variant", [{}, {"positions": "rotary", "window": 6}], ids=str)
@pytest.mark.parametrize("memory", [None, 2])
@pytest.mark.parametrize("begun", [4, 6])
def test_a_life_goes_on_from_any_past(variant, memory, begun):
    """Also from the middle of an episode, and from a past that the model did not live."""
    model, past = model_of(**variant), prompt_of(3).window(stop=begun)
    history = live(model, episodes=4, memory=memory, past=past, stop=15)
    assert history.n_steps == 15
    assert same(history.window(stop=begun), past)
    assert same(history, uncached(model, episodes=4, memory=memory, past=past, stop=15))
    world = play(
        ROOM,
        FACTS,
        lambda so_far: np.eye(5)[history.actions[:, so_far.n_steps - 1]],
        4,
        np.random.default_rng(0),
        stop=15,
    )
    assert same(history, world)


def test_a_past_of_another_world_cannot_go_on_within_an_episode():
    past = prompt_of(2).window(stop=6)
    elsewhere = replace(past, observations=(past.observations + 1) % 3)
    with pytest.raises(
        DataError, match="row 0: step 0 of the episode that is to go on shows what dark-room does not show"
    ):
        live(model_of(), past=elsewhere)


@pytest.mark.parametrize("variant", [{}, {"positions": "rotary"}, {"positions": "none", "window": 12}], ids=str)
@pytest.mark.parametrize("with_prompt", [False, True])
@pytest.mark.parametrize("memory", [1, 2, 3])
@pytest.mark.default_cases(7)
def test_memory_is_a_context_that_begins_anew_with_each_episode(variant, memory, with_prompt):
    """Every episode is what the model does at the end of a window of `memory` episodes, read as a whole history."""
    model, prompt = model_of(**variant), prompt_of(2) if with_prompt else None
    history = live(model, episodes=4, prompt=prompt, memory=memory)
    assert same(history, uncached(model, episodes=4, prompt=prompt, memory=memory))
    assert not same(history, live(model, episodes=4, prompt=prompt))


def test_a_memory_of_everything_is_the_whole_context():
    model = model_of()
    everything = live(model, episodes=6)
    assert same(live(model, episodes=6, memory=6), everything)
    assert same(live(model, episodes=6, memory=60), everything)
    assert not same(live(model, episodes=6, memory=5), everything)


def test_a_short_memory_lets_a_life_outlast_the_context():
    model = model_of(episodes=2)
    assert same(live(model, episodes=9, memory=2), uncached(model, episodes=9, memory=2))


def test_episodes_of_one_step_begin_anew_at_every_step():
    task = make_task("bandit", arms=3, horizon=1)
    facts = task.sample_tasks(np.random.default_rng(0), 3)
    model = model_of(task, episodes=2)
    history = rollout(model, task, facts, 5, np.random.default_rng(0), sample=False, memory=1)
    alone = model(torch.zeros(1, 1, 2, dtype=torch.int64)).argmax().item()
    assert (history.actions == alone).all()


def test_sampling_is_from_the_models_distribution_after_a_prompt():
    task = make_task("bandit", arms=3, horizon=2)
    model = ADTransformer(Vocabulary((), 3), Shape(4, 1, 1, 4), seed=0).eval()
    with torch.no_grad():
        model.b_U.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    facts = {"means": np.full((4000, 3), 0.5)}
    prompt = rollout(model, task, facts, 1, np.random.default_rng(4))
    history = rollout(model, task, facts, 1, np.random.default_rng(5), prompt=prompt)
    found = np.bincount(history.actions.ravel(), minlength=3) / history.actions.size
    assert_close(found, np.array([0.2, 0.3, 0.5]), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"episodes": 7},
            CapacityError,
            "7 episodes: 28 steps do not fit into the model's context of 24 steps, 6 episodes of 4.",
        ),
        ({"episodes": 3, "prompt": prompt_of(4)}, CapacityError, "4 episodes of prompt and 3 to play: 28 steps"),
        ({"episodes": 9, "memory": 7}, CapacityError, "memory = 7: 28 steps do not fit"),
        ({"memory": 0}, UserError, "memory is 0, but the model sees at least the episode it is in: give 1 or more."),
        ({"prompt": prompt_of(1, n_rows=2)}, DataError, "the prompt has 2 rows, but 24 tasks are played."),
        (
            {"prompt": prompt_of(2).window(stop=6)},
            DataError,
            "the prompt has 6 steps, which are no whole episodes of 4. Cut it: prompt.window(stop=4).",
        ),
        (
            {"prompt": replace(prompt_of(1), channels=("x", "z"))},
            DataError,
            "the histories have the observation channels ['x', 'z'], but the model reads ['x', 'y'].",
        ),
    ],
    ids=["episodes", "prompt", "memory", "no memory", "rows", "steps", "channels"],
)
def test_what_cannot_be_played_is_refused(options, error, message):
    with pytest.raises(error) as caught:
        live(model_of(), **options)
    assert message in str(caught.value)
