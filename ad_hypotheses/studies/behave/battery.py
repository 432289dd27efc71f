"""The battery: tests of behaviour on contexts on which simpler learners and the source disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ad_hypotheses.studies.behave import arms, graphs, lives, living, rooms
from ad_hypotheses.studies.behave.condition import Condition, Subject
from ad_hypotheses.studies.behave.living import Living

Effect = Callable[[Sequence[str]], Mapping[str, float]]
"""Given the labels of the cells, returns the weights with which they become one figure."""


@dataclass(frozen=True)
class BehaviourTest:
    """A test of behaviour.

    Attributes:
        name: Name of the test.
        question: What it asks.
        quantity: What is measured in a cell.
        effect: What the one figure of the test is, in words.
        weights: How the cells become that figure.
        able: Rungs of which the best has to show the effect, else nothing is concluded: positive controls.
        least: How much of it they have to show, and an untrained network must not.
        lacks: Says why a model cannot be tested, or nothing.
        conditions: Returns contexts to show; None where everybody lives.
        living: Returns the worlds to live in; None where contexts are shown.
        axis: What the order of the cells is; empty where they have none.
        contrasts: Further figures, in the same way: by name, the weights of the cells.
        beyond_novice: Whether the effect counts from that of the novice on; a difference of cells counts from 0.
    """

    name: str
    question: str
    quantity: str
    effect: str
    weights: Effect
    able: tuple[str, ...]
    least: float
    lacks: Callable[[Subject], str]
    conditions: Callable[[Subject], list[Condition]] | None = None
    living: Callable[[Subject], Living] | None = None
    axis: str = ""
    contrasts: Mapping[str, Effect] = field(default_factory=dict)
    beyond_novice: bool = False


def _first_less_last(labels: Sequence[str]) -> Mapping[str, float]:
    return {labels[0]: 1.0, labels[-1]: -1.0}


def _last_less_first(labels: Sequence[str]) -> Mapping[str, float]:
    return {labels[-1]: 1.0, labels[0]: -1.0}


def _first(labels: Sequence[str]) -> Mapping[str, float]:
    return {labels[0]: 1.0}


def _last(labels: Sequence[str]) -> Mapping[str, float]:
    return {labels[-1]: 1.0}


def _first_less(number: int) -> Effect:
    return lambda labels: {labels[0]: 1.0, labels[number]: -1.0}


def _second_less_first(labels: Sequence[str]) -> Mapping[str, float]:
    return {labels[1]: 1.0, labels[0]: -1.0}


def _last_less_second(labels: Sequence[str]) -> Mapping[str, float]:
    return _last_less_first(labels[1:])


def _named(label: str) -> Effect:
    return lambda labels: {label if label in labels else labels[0]: 1.0}


def _built_lacks(subject: Subject) -> str:
    """Say why no places can be made to pay, or nothing."""
    if subject.task.channels:
        return rooms.lacks_rooms(subject)
    return arms.lacks_arms(subject)


def _built(
    of_rooms: Callable[[Subject], list[Condition]], of_arms: Callable[[Subject], list[Condition]]
) -> Callable[[Subject], list[Condition]]:
    return lambda subject: of_rooms(subject) if subject.task.channels else of_arms(subject)


def _value_lacks(subject: Subject) -> str:
    """Say why no places can be made to pay differently, or nothing."""
    return rooms.lacks_values(subject) if subject.task.channels else arms.lacks_values(subject)


def _order_lacks(subject: Subject) -> str:
    return "" if subject.episodes == 1 else lives.lacks_several(subject)


def _planted_lacks(subject: Subject) -> str:
    return "" if subject.episodes > 1 else "a context holds one episode only"


def _nothing_here(subject: Subject) -> str:
    return ""


TOWARDS = "chance of a move towards the place in the first decision after that"
BEST = "chance of an action that whoever knows the task may do, in the first decision after that"
DIVERGENCE = "Kullback-Leibler divergence from what is done in one to what is done in the other, in nats"

BATTERY: tuple[BehaviourTest, ...] = (
    BehaviourTest(
        "dose", "How does the pull of a place grow with the number of times that it paid: by a step or a slope?",
        TOWARDS, "most pay less none", _last_less_first, ("gate", "counting"), 0.1, _built_lacks,
        _built(rooms.dose, arms.dose), axis="times paid",
        contrasts={"step": _second_less_first, "rise": _last_less_second},
    ),
    BehaviourTest(
        "failure", "Do visits that were not paid lower the pull of a place that paid before?",
        TOWARDS, "no failure less most", _first_less_last, ("belief", "source"), 0.1, _built_lacks,
        _built(rooms.failure, arms.failure), axis="visits in vain",
    ),
    BehaviourTest(
        "stale", "Of the same visits to a place the last is paid, or the first: do failures since then lower its pull?",
        f"{TOWARDS} where the last visit was paid, less that where the first was", "after the most failures", _last,
        ("belief", "source"), 0.1, rooms.lacks_rooms, rooms.stale, axis="visits in vain",
    ),
    BehaviourTest(
        "which", "Two places paid: which of them pulls, the last one or the one that paid more often?",
        f"{TOWARDS}, the place being the first of the two", "only the first paid less only the second",
        _first_less_last, ("gate", "counting"), 0.1, _built_lacks, _built(rooms.which, arms.which),
    ),
    BehaviourTest(
        "paid", "Two places are gone to equally often, and one of them pays: does the pay pull, by a step or a slope?",
        f"{TOWARDS}, where it pays less where the other one does", "after the most visits", _last,
        ("gate", "counting"), 0.1, _built_lacks, _built(rooms.paid, arms.paid), axis="times paid",
        contrasts={"step": _first, "rise": _last_less_first},
    ),
    BehaviourTest(
        "moved", "From the middle of a life on something else pays: is it found, and is the old place left?",
        "what is earned, as a share of what the new place can pay", "at the end of the life", _last, ("source",), 0.1,
        living.lacks_move, living=living.moved, axis="since the change", beyond_novice=True,
    ),
    BehaviourTest(
        "dead", "From the middle of a life on nothing pays: how long is the old place visited?",
        "what the old place would still pay, as a share of what it could", "at the end of the life", _last,
        ("gate", "habit"), 0.1, living.lacks_changes, living=living.dead, axis="since the change", beyond_novice=True,
    ),
    BehaviourTest(
        "remapped", "Left is right and right is left: are the moves learned in the context, or in the weights?",
        "what the last episode earns, as a share of the optimum", "where the goal needs these moves",
        _named("needed"), ("source",), 0.1, living.lacks_remapping, living=living.remapped, beyond_novice=True,
    ),
    BehaviourTest(
        "erased", "Every reward of the past is set to 0: does anything change?", DIVERGENCE, "in the second half",
        _named("divergence, second half"), ("gate", "source", "belief"), 0.1, _nothing_here, lives.erased,
    ),
    BehaviourTest(
        "stitched", "Is a way found that no episode went whole, though all of its steps are known?",
        "chance of the first action of the shortest known way, in lives of chance", "two steps, put together",
        _named("2 steps, put together"), ("gate", "belief", "source"), 0.1, graphs.lacks_graph, graphs.stitched,
        beyond_novice=True,
    ),
    BehaviourTest(
        "detour", "The only way that was gone to the goal is a roundabout one: is the short one taken?",
        BEST, "on the way", _named("on the way"), ("gate",), 0.1, lives.lacks_detour, lives.detour, beyond_novice=True,
    ),
    BehaviourTest(
        "order", "Pulls, or episodes, come in another order: does it matter?", DIVERGENCE, "in the decision after them",
        _named("divergence"), ("habit", "reflex", "source"), 0.01, _order_lacks, lives.order,
    ),
    BehaviourTest(
        "foreign", "Somebody else earned about the same: does it matter who lived?", DIVERGENCE,
        "in the decision after them", _named("divergence"), ("habit", "way", "source"), 0.01, lives.lacks_several,
        lives.foreign,
    ),
    BehaviourTest(
        "reversed", "A life is told from its good end to its bad beginning: does it matter?", BEST,
        "as lived less reversed", _first_less_last, ("habit", "way"), 0.05, lives.lacks_several, lives.reversed_lives,
    ),
    BehaviourTest(
        "planted", "A context begins with an expert's episodes: are they followed for their pay or for their actions?",
        BEST, "expert with pay less expert without", _first_less(1), ("gate", "way", "source"), 0.1, _planted_lacks,
        lives.planted,
    ),
    BehaviourTest(
        "nothing", "Nothing ever pays: is what was not tried here likelier than by chance?",
        "chance of an untried action, less its share of all actions", "in the second half", _last,
        ("source", "belief"), 0.05, _nothing_here, lives.nothing,
    ),
    BehaviourTest(
        "value", "Two places paid equally often: does the better pay pull more?", f"{TOWARDS}, the first of the two",
        "better less worse", _first_less(2), ("belief", "source"), 0.05, _value_lacks,
        _built(rooms.value, arms.value),
    ),
)  # fmt: skip
TESTS = {test.name: test for test in BATTERY}
