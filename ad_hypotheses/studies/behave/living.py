"""Tests in which everybody lives: the model, and every rung beside it, in a world that changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from ad_hypotheses.ladder.run import living
from ad_hypotheses.ladder.rung import Begin, Span
from ad_hypotheses.language.history import History
from ad_hypotheses.studies.behave.condition import Subject, Sums, tasks_of
from ad_hypotheses.studies.data import ModelActor
from ad_hypotheses.studies.evaluate.figures import in_expectation
from ad_hypotheses.tasks.counterfactuals import counterfactuals_of
from ad_hypotheses.tasks.edits.families import redrawn
from ad_hypotheses.tasks.edits.lives import Actor, answered
from ad_hypotheses.tasks.edits.worlds import ExchangedActions, Unpaid
from ad_hypotheses.tasks.play import play
from ad_hypotheses.tasks.room import MOVES, Room, has_known_moves
from ad_hypotheses.tasks.task import Facts, from_episode

FEWEST = 4  # episodes of a life in which something changes
PARTS = 10  # of a life of one episode


@dataclass(frozen=True)
class Segment:
    """A part of a life, in one world.

    Attributes:
        stop: Steps of the life at its end.
        world: A task family, or a world changed from it.
        facts: Its tasks. [row, ...]
    """

    stop: int
    world: object
    facts: Facts


@dataclass(frozen=True)
class Living:
    """Lives in a world that changes, and what is measured of them.

    Attributes:
        segments: The worlds, in order.
        measure: Given a whole life, returns the cells of the test: label, place on the axis, and the sums of a mean.
    """

    segments: tuple[Segment, ...]
    measure: Callable[[History], list[tuple[str, float, Sums]]]

    @property
    def steps(self) -> int:
        """Steps of a life."""
        return self.segments[-1].stop

    def live(self, actor: Actor) -> History:
        """Let somebody live through all worlds."""
        life: History | None = None
        for segment in self.segments:
            life = actor(segment.world, segment.facts, life, segment.stop)
        assert life is not None
        return life

    def spans(self, horizon: int) -> tuple[Span, ...]:
        """Return the worlds by the episode in which each begins."""
        starts = [0, *(segment.stop // horizon for segment in self.segments[:-1])]
        return tuple(
            Span(first, segment.world, segment.facts) for first, segment in zip(starts, self.segments, strict=True)
        )


def model_actor(subject: Subject, rng: np.random.Generator) -> Actor:
    """Return the model as one who lives."""
    return ModelActor(subject.checkpoint, rng)


def rung_actor(begin: Begin, lives: Living, subject: Subject, rng: np.random.Generator) -> Actor:
    """Return a rung as one who lives, from the start of its life on."""
    policy = living(begin(lives.spans(subject.task.horizon), subject.rows, rng))

    def live(world: object, facts: Facts, past: History | None, stop: int) -> History:
        return play(world, facts, policy, -(-stop // subject.task.horizon), rng, past, stop)  # type: ignore[arg-type]

    return live


def lacks_changes(subject: Subject) -> str:
    """Say why nothing can change in a life, or nothing."""
    enough = subject.task.horizon >= 2 * PARTS if subject.episodes == 1 else subject.episodes >= FEWEST
    return "" if enough else "a context holds too few episodes"


def lacks_move(subject: Subject) -> str:
    """Say why what pays cannot be elsewhere, or nothing."""
    if lacks_changes(subject):
        return lacks_changes(subject)
    return "" if _move(subject) is not None else "its tasks know of no goal that could move"


def _move(subject: Subject) -> Callable[[Any, Facts, np.random.Generator], Facts] | None:
    """Return what puts what pays elsewhere: as the family declares it, else its goal anew; None where there is none."""
    declared = [kind.move for kind in counterfactuals_of(subject.task).values() if kind.move is not None]
    if declared:
        return declared[0]
    return redrawn("goal") if "goal" in subject.background.trained else None


def moved(subject: Subject) -> Living:
    """Live half a life, and on where something else pays: another goal, or the worst arm what the best one paid."""
    rng, move = subject.rng("moved"), _move(subject)
    assert move is not None
    before = tasks_of(subject, rng)
    after = move(subject.task, before, rng)
    half, whole = _middle(subject)
    segments = (Segment(half, subject.task, before), Segment(whole, subject.task, after))

    def measure(life: History) -> list[tuple[str, float, Sums]]:
        return _after(subject, _earned(subject, replace(life, task=dict(after))), after, half)

    return Living(segments, measure)


def dead(subject: Subject) -> Living:
    """Live half a life, and on where nothing pays; measured is what the dead goal, or arms, would have paid."""
    facts = tasks_of(subject, subject.rng("dead"))
    half, whole = _middle(subject)
    segments = (Segment(half, subject.task, facts), Segment(whole, Unpaid(subject.task), facts))  # type: ignore[arg-type]

    def measure(life: History) -> list[tuple[str, float, Sums]]:
        paying = answered(subject.task, facts, life, np.random.default_rng(0))
        return _after(subject, _earned(subject, paying), facts, half)

    return Living(segments, measure)


def lacks_remapping(subject: Subject) -> str:
    """Say why exchanged actions are not another world to a model, or nothing."""
    if not has_known_moves(subject.task):
        return "its actions have no meaning across tasks, so a task with two exchanged is one more task"
    return lacks_changes(subject)


def remapped(subject: Subject) -> Living:
    """Live in a room in which left is right and right is left; the goals that need them are told apart."""
    rng, task = subject.rng("remapped"), subject.task
    assert isinstance(task, Room)
    pair = [len(MOVES) - 2, len(MOVES) - 1]
    facts = {**tasks_of(subject, rng), "exchanged": np.tile(np.array(pair, dtype=np.int8), (subject.rows, 1))}
    whole = subject.episodes * subject.task.horizon
    at_last = from_episode(subject.task, facts, subject.episodes - 1)
    state = subject.task.reset(at_last, rng)
    needs = subject.task.expert(state)[:, pair].sum(axis=1) > 0

    def measure(life: History) -> list[tuple[str, float, Sums]]:
        last = _earned(subject, life)[:, -1]
        optimum = _optimum(subject, at_last)
        return [
            (label, float("nan"), (last * rows, optimum * rows))
            for label, rows in (("needed", needs), ("not needed", ~needs))
            if rows.sum() > 1
        ]

    return Living((Segment(whole, ExchangedActions(subject.task), facts),), measure)  # type: ignore[arg-type]


def _middle(subject: Subject) -> tuple[int, int]:
    horizon = subject.task.horizon
    if subject.episodes == 1:
        return horizon // PARTS * (PARTS // 2), horizon // PARTS * PARTS
    return horizon * (subject.episodes // 2), horizon * subject.episodes


def _earned(subject: Subject, life: History) -> Float[np.ndarray, "row point"]:
    """Return what each episode paid, or each tenth of a single one; in expectation, where the family knows it."""
    paid = in_expectation(subject.task, life).rewards
    points = subject.episodes if subject.episodes > 1 else PARTS
    return paid.reshape(life.n_rows, points, -1).sum(axis=2).astype(float)


def _optimum(subject: Subject, facts: Facts) -> Float[np.ndarray, " row"]:
    optimum = np.asarray(
        subject.task.optimal_return({name: fact for name, fact in facts.items() if name != "exchanged"})
    )
    if subject.episodes > 1:
        return optimum.astype(float)
    return optimum * (subject.task.horizon // PARTS) / subject.task.horizon


def _after(
    subject: Subject, earned: Float[np.ndarray, "row point"], facts: Facts, half: int
) -> list[tuple[str, float, Sums]]:
    """Return the share of the optimum at each point after the change, in episodes that of their own facts."""
    unit = subject.task.horizon if subject.episodes > 1 else subject.task.horizon // PARTS
    change = half // unit
    noun = "episode" if subject.episodes > 1 else "tenth"
    cells: list[tuple[str, float, Sums]] = []
    for number in range(1, earned.shape[1] - change + 1):
        point = change + number - 1
        optimum = _optimum(subject, from_episode(subject.task, facts, point if subject.episodes > 1 else 0))
        cells.append((f"{noun} {number}", number, (earned[:, point], optimum)))
    return cells
