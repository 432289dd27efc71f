"""Rungs that go where it paid: gate and walk, a library of training goals, counting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.ladder.novice import Novice
from ad_hypotheses.ladder.places import Places, RoomPlaces, Way, places_lack, places_of
from ad_hypotheses.ladder.run import sight_of
from ad_hypotheses.ladder.rung import Background, Begin, Learner, Rung, Sight
from ad_hypotheses.tasks.room import UNKNOWN, Room

NUMBERS = (1, 2, 3, 4, 5, 7, 10, 15, 25, 50)  # of rewards from which on the pull may be a stronger one
FEWEST = 50  # decisions that a strength is fitted on
ROUNDS = 100  # of the fit


@dataclass
class Pulled:
    """Go where it paid with a strength that may grow with the number of rewards, and else do as a novice does."""

    novice: Novice
    places: Places
    way: Callable[[Places], Way]
    strength: Callable[[Int[np.ndarray, " row"]], Float[np.ndarray, " row"]]

    def decide(self, sight: Sight) -> Float[np.ndarray, "row action"]:
        """Take in the last step, and lean towards what paid."""
        self.places.update(sight)
        way, number = self.way(self.places)
        pull = np.where(number > 0, self.strength(number), 0.0)[:, None]
        return pull * way + (1 - pull) * self.novice.policy(sight.observations, sight.actions)


def _certain(number: Int[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    return np.ones(len(number))


def _gate(background: Background) -> Begin:
    def begin(spans: object, n_rows: int, rng: object) -> Learner:
        places = places_of(background.task, n_rows)
        return Pulled(background.novice, places, lambda places: places.latest(), _certain)

    return begin


def _library(background: Background) -> Begin:
    room = background.task
    assert isinstance(room, Room)
    nearest = nearest_training_goal(room, np.asarray(background.trained["goal"]))

    def way(places: Places) -> Way:
        assert isinstance(places, RoomPlaces)
        target = places.last[:, 0]
        return places.towards(np.where(target == UNKNOWN, UNKNOWN, nearest[target]))

    def begin(spans: object, n_rows: int, rng: object) -> Learner:
        return Pulled(background.novice, RoomPlaces(room, n_rows), way, _certain)

    return begin


def nearest_training_goal(room: Room, goals: Int[np.ndarray, "task 2"]) -> Int[np.ndarray, " cell"]:
    """Return the training goal nearest to each cell in moves; of several, the one of the lowest number."""
    trained = np.unique(room.square.cells(goals))
    position = room.square.all_positions.astype(int)
    return trained[np.abs(position[:, None] - position[trained]).sum(axis=2).argmin(axis=1)]


def _library_lacks(background: Background) -> str:
    task, trained = background.task, background.trained
    if not isinstance(task, Room) or task.n_hidden != 1 or "goal" not in trained:
        return "its training tasks are not a list of goals"
    return places_lack(task)


def _counting(background: Background) -> Begin:
    strengths = fitted_strengths(background)

    def strength(number: Int[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
        return strengths[np.searchsorted(NUMBERS, number, side="right") - 1]

    def begin(spans: object, n_rows: int, rng: object) -> Learner:
        places = places_of(background.task, n_rows)
        return Pulled(background.novice, places, lambda places: places.counted(), strength)

    return begin


def fitted_strengths(background: Background) -> Float[np.ndarray, " number"]:
    """Return how strongly so many rewards pull, as the source's own lives have it; it never falls with the number.

    A strength is the share of the way, beside that of the novice, under which the actions of the source are likeliest
    (EM); where there were few decisions, that of one reward less.
    """
    lives, novice = background.lives, background.novice
    places = places_of(background.task, lives.n_rows)
    ratio, numbers = [], []
    rows = np.arange(lives.n_rows)
    for step in range(lives.n_steps):
        sight = sight_of(lives, step)
        places.update(sight)
        way, number = places.counted()
        done = lives.actions[:, step]
        ratio.append(way[rows, done] / novice.policy(sight.observations, sight.actions)[rows, done])
        numbers.append(number)
    likelier, number = np.concatenate(ratio), np.concatenate(numbers)
    group = np.searchsorted(NUMBERS, number, side="right") - 1
    strengths = np.zeros(len(NUMBERS))
    for place in range(len(NUMBERS)):
        inside = likelier[group == place]
        strengths[place] = _share(inside) if len(inside) >= FEWEST else strengths[max(place - 1, 0)]
    return np.maximum.accumulate(strengths)


def _share(likelier: Float[np.ndarray, " decision"]) -> float:
    """Return the share of what is so much likelier, under which all decisions are likeliest."""
    share = 0.5
    for _ in range(ROUNDS):
        share = float((share * likelier / (share * likelier + 1 - share)).mean())
    return share


def _places_lack(background: Background) -> str:
    return places_lack(background.task)


RUNGS = (
    Rung("gate", 4, "a novice until there was pay, then straight to where it was last",
         "how many rewards, failures, ways gone", _gate, _places_lack),
    Rung("library", 5, "the same, but to the nearest goal of the training tasks", "other goals", _library,
         _library_lacks),
    Rung("counting", 6, "is pulled to where there was pay, the more so the more often, and else a novice",
         "failures", _counting, _places_lack),
)  # fmt: skip
