"""Contexts that are made of lives: the model's own with something changed, and those of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.ladder.rung import Context, Span
from ad_hypotheses.language.history import History
from ad_hypotheses.studies.behave.condition import (
    Condition,
    Probabilities,
    Subject,
    Sums,
    decided,
    divergence,
    episodes_of,
    joined_steps,
    over_steps,
    same_likeliest,
    tasks_of,
)
from ad_hypotheses.studies.data import ModelActor
from ad_hypotheses.tasks.edits.families import redrawn
from ad_hypotheses.tasks.edits.planted import detours
from ad_hypotheses.tasks.edits.worlds import Unpaid
from ad_hypotheses.tasks.play import begin, play_expert
from ad_hypotheses.tasks.room import Room
from ad_hypotheses.tasks.task import Facts

PLANTED = 4  # episodes of somebody else that a context begins with
TOLD = 8  # other lives of an episode, of which that of the nearest pay is taken
NOISE = np.linspace(0.1, 1.0, TOLD)  # of the experts who live them
FEWEST_ORDER = 4  # episodes that can be in another order
OFF = 3  # steps of chance that lead off a way


def lacks_several(subject: Subject) -> str:
    """Say why a life has no episodes to be changed or put into another order, or nothing."""
    return "" if subject.episodes > FEWEST_ORDER else "a context holds too few episodes"


def erased(subject: Subject) -> list[Condition]:
    """Return the model's own lives, and the same with every reward of the past set to 0, by halves of the life."""
    own = subject.own
    without = replace(own, rewards=np.zeros_like(own.rewards))
    # the world that told the life is that of the first; hidden episodes of the second are unpaid
    unpaid = Context(without, (Span(0, Unpaid(subject.task), own.task),))  # type: ignore[arg-type]
    return [
        condition
        for half, inside in _halves(own).items()
        for condition in _compared((Context(own), unpaid), inside, f", {half} half")
    ]


def order(subject: Subject) -> list[Condition]:
    """Return the first half of own lives and a decision after it, and the same in another order."""
    own, rng, horizon = subject.own, subject.rng("order"), subject.task.horizon
    if subject.episodes == 1:
        past, unit = own.n_steps // 2, 1
    else:
        past, unit = horizon * (subject.episodes // 2), horizon
    parts = rng.permuted(np.tile(np.arange(past // unit), (own.n_rows, 1)), axis=1)
    shuffled = episodes_of(own, parts, unit)
    rest = own.window(past, past + 1)
    mixed = replace(
        own.window(stop=past + 1),
        observations=np.concatenate([shuffled.observations, rest.observations], axis=1),
        actions=np.concatenate([shuffled.actions, rest.actions], axis=1),
        rewards=np.concatenate([shuffled.rewards, rest.rewards], axis=1),
    )
    pair = (Context(own.window(stop=past + 1)), Context(mixed))
    last = np.zeros(mixed.shape, dtype=bool)
    last[:, -1] = True
    return _compared(pair, last)


def foreign(subject: Subject) -> list[Condition]:
    """Return lives of the source, and others that earned about the same in every episode, lived by noisy experts."""
    rng, task = subject.rng("foreign"), subject.task
    facts = tasks_of(subject, rng)
    episodes = min(subject.episodes - 1, 2 * PLANTED)
    own = subject.config.experiment.live(facts, rng).window(stop=episodes * task.horizon)
    others = [play_expert(task, facts, episodes, rng, np.full(episodes, noise)) for noise in NOISE]
    earned = np.stack([_returns(life, episodes) for life in others])  # [other, row, episode]
    nearest = np.abs(earned - _returns(own, episodes)).argmin(axis=0)
    alike = joined_steps(
        [_picked([life.window(e * task.horizon, (e + 1) * task.horizon) for life in others], nearest[:, e])
         for e in range(episodes)]
    )  # fmt: skip
    pair = (
        Context(_and_start(own, facts, subject), _plain(subject, facts)),
        Context(_and_start(alike, facts, subject), _plain(subject, facts)),
    )
    last = np.zeros((len(nearest), episodes * task.horizon + 1), dtype=bool)
    last[:, -1] = True
    return _compared(pair, last)


def reversed_lives(subject: Subject) -> list[Condition]:
    """Return own lives, and the same with their episodes in the opposite order, at the start of another episode."""
    own, horizon = subject.own, subject.task.horizon
    episodes = subject.episodes - 1
    plain = np.tile(np.arange(episodes), (own.n_rows, 1))
    conditions = []
    for label, parts in (("as lived", plain), ("reversed", plain[:, ::-1])):
        life = _and_start(episodes_of(own, parts, horizon), own.task, subject)
        conditions.append(decided(label, [Context(life, _plain(subject, own.task))], _best(subject, life)))
    return conditions


def planted(subject: Subject) -> list[Condition]:
    """Return beginnings that an expert or chance lived, with and without their pay."""
    rng, task = subject.rng("planted"), subject.task
    facts = tasks_of(subject, rng)
    episodes = min(PLANTED, subject.episodes - 1)
    conditions = []
    for who, noise in (("expert", 0.0), ("chance", 1.0)):
        life = _and_start(play_expert(task, facts, episodes, rng, np.full(episodes, noise)), facts, subject)
        for pay in ("paid", "unpaid"):
            world = task if pay == "paid" else Unpaid(task)  # type: ignore[arg-type]
            shown = life if pay == "paid" else replace(life, rewards=np.zeros_like(life.rewards))
            context = Context(shown, (Span(0, world, facts),))
            conditions.append(decided(f"{who}, {pay}", [context], _best(subject, life)))
    return conditions


def nothing(subject: Subject) -> list[Condition]:
    """Return own lives without any pay: how much likelier than by chance what is untried is, where something is."""
    rng, task = subject.rng("nothing"), subject.task
    facts = tasks_of(subject, rng)
    world = Unpaid(task)  # type: ignore[arg-type]
    life = ModelActor(subject.checkpoint, rng)(world, facts, None, subject.episodes * task.horizon)
    tried = life.tried_here()
    choice = tried.any(axis=2) & ~tried.all(axis=2)
    context = Context(life, (Span(0, world, facts),))
    conditions = []
    for half, inside in _halves(life).items():
        conditions.append(Condition(f"{half} half", (context,), _beyond_chance(~tried, inside & choice)))
    return conditions


def lacks_detour(subject: Subject) -> str:
    """Say why a model cannot be shown a way round, or nothing."""
    if not isinstance(subject.task, Room) or subject.task.n_hidden != 1:
        return "a shorter way is not known before it was gone" if subject.task.channels else "there are no ways"
    if "goal" not in subject.background.trained:
        return "its goal does not stay where a way was gone to"
    return lacks_several(subject)


def detour(subject: Subject) -> list[Condition]:
    """Return two walks to the goal by a roundabout way, and a decision on that way or off it."""
    rng, task = subject.rng("detour"), subject.task
    facts = tasks_of(subject, rng, 2 * subject.rows)
    walks = detours(task, facts, redrawn("goal"), 2, rng)
    best, rows = _expert_at_start(subject, facts), np.arange(walks.n_rows)
    round_about = best[rows, walks.actions[:, 0]] == 0
    use = np.flatnonzero(round_about)[: subject.rows]
    walks, facts = walks[use], {name: fact[use] for name, fact in facts.items()}
    if len(use) < 2:
        return []
    on = _and_start(walks, facts, subject)
    off = joined_steps([walks, play_expert(task, facts, 1, rng, np.ones(1), stop=OFF + 1)])
    away = ~(walks.observations[:, :, None] == off.observations[:, None, -1:]).all(axis=3).any(axis=(1, 2))
    chosen = np.flatnonzero(away)
    conditions = [decided("on the way", [Context(on, _plain(subject, facts))], _best(subject, on))]
    if len(chosen) > 1:
        part = {name: fact[chosen] for name, fact in facts.items()}
        life = replace(off[chosen], task=part)
        conditions.append(decided("off the way", [Context(life, _plain(subject, part))], _best(subject, life)))
    return conditions


def _beyond_chance(
    untried: Bool[np.ndarray, "row step action"], inside: Bool[np.ndarray, "row step"]
) -> Callable[[Sequence[Probabilities]], Sums]:
    """Return by how much untried actions are likelier than their share of all."""
    mean, share = over_steps(untried, inside), (untried.mean(axis=2) * inside).sum(axis=1)

    def measure(shown: Sequence[Probabilities]) -> Sums:
        chance, number = mean(shown)
        return chance - share, number

    return measure


def _compared(pair: tuple[Context, Context], inside: Bool[np.ndarray, "row step"], part: str = "") -> list[Condition]:
    """Return how far what is done in the second of two contexts is from what is done in the first, in two measures."""
    return [
        Condition(f"divergence{part}", pair, divergence(inside)),
        Condition(f"likeliest action the same{part}", pair, same_likeliest(inside)),
    ]


def _plain(subject: Subject, facts: Facts) -> tuple[Span, ...]:
    return (Span(0, subject.task, facts),)


def _halves(history: History) -> dict[str, Bool[np.ndarray, "row step"]]:
    first = np.broadcast_to(np.arange(history.n_steps) < history.n_steps // 2, history.shape)
    return {"first": first, "second": ~first}


def _returns(history: History, episodes: int) -> Float[np.ndarray, "row episode"]:
    return history.rewards.reshape(history.n_rows, episodes, -1).sum(axis=2)


def _picked(lives: list[History], which: Int[np.ndarray, " row"]) -> History:
    """Return in every row that of one of several lives, as one episode."""
    rows = np.arange(len(which))
    stacked = [np.stack([getattr(life, name) for life in lives])[which, rows]
               for name in ("observations", "actions", "rewards")]  # fmt: skip
    return replace(
        lives[0],
        observations=stacked[0],
        actions=stacked[1],
        rewards=stacked[2],
        episode=np.zeros_like(lives[0].episode),
    )


def _and_start(life: History, facts: Facts, subject: Subject) -> History:
    """Return a life with the first step of one more episode, undecided; it begins alike in all conditions."""
    first = play_expert(subject.task, facts, 1, subject.rng("start"), stop=1)
    first = replace(first, actions=np.zeros_like(first.actions), rewards=np.zeros_like(first.rewards))
    return replace(joined_steps([life, first]), task=dict(facts), learner=np.arange(life.n_rows))


def _best(subject: Subject, life: History) -> Bool[np.ndarray, "row action"]:
    """Return the actions that whoever knows the task may do at the last step of a life."""
    task, horizon = subject.task, subject.task.horizon
    opened = (life.n_steps - 1) // horizon * horizon
    rng = np.random.default_rng(0)
    state = begin(task, life.task, life.observations[:, opened], rng, int(life.episode[0, opened]))
    for step in range(opened, life.n_steps - 1):
        _, _, state = task.step(state, life.actions[:, step].astype(np.intp), rng)
    return np.asarray(task.expert(state) > 0)


def _expert_at_start(subject: Subject, facts: Facts) -> Float[np.ndarray, "row action"]:
    return subject.task.expert(subject.task.reset(facts, np.random.default_rng(0)))
