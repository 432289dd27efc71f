"""Features that a claim may have left out: what an adversary tries on it, from what every history shows.

None knows the task. Counts are binned by powers of 2, so that many histories share a value. Each is an expression of
`history` that can be pasted into a node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from ad_hypotheses.language.check import BoundNode, classes
from ad_hypotheses.language.feature_check import Feature
from ad_hypotheses.language.history import History


@dataclass(frozen=True)
class Idea:
    """One feature of the library.

    Attributes:
        name: What it is, in words that follow "the".
        code: An expression of `history` and `np` that returns it.
        value: The same as a function. [batch, step] or [batch, step, k]
        needs_sight: Whether it means nothing where the agent observes nothing.
    """

    name: str
    code: str
    value: Callable[[History], np.ndarray]
    needs_sight: bool = False


@dataclass(frozen=True, eq=False)
class Candidate:
    """A feature on one data set.

    Attributes:
        name: What it is, in words that follow "the".
        code: How it is written in a node; the name of another node if it is that one's value.
        labels: Equal numbers for equal values. [row, step]
        node: Whose value it is; empty if it is no node's.
    """

    name: str
    code: str
    labels: Int[np.ndarray, "row step"]
    node: str = ""


def _earlier(value: np.ndarray, nothing: int = -1) -> np.ndarray:
    """The value one step before."""
    return np.concatenate([np.full_like(value[:, :1], nothing), value[:, :-1]], axis=1)


def _last_visit(history: History, value: np.ndarray) -> np.ndarray:
    before = history.previous_visit()
    return np.where(before >= 0, np.take_along_axis(value, np.maximum(before, 0), axis=1), -1)


def _wins(history: History) -> Int[np.ndarray, "batch step"]:
    return np.cumsum(history.previous_rewards > 0, axis=1)


def _won_this_episode(history: History) -> Bool[np.ndarray, "batch step"]:
    before = np.maximum.accumulate(np.where(history.episode_start, _wins(history), 0), axis=1)
    return _wins(history) > before


def _last_action(history: History, paid: bool) -> Int[np.ndarray, "batch step"]:
    right = ((history.previous_rewards > 0) == paid) & (history.previous_actions >= 0)
    latest = np.maximum.accumulate(np.where(right, np.arange(history.n_steps), 0), axis=1)
    return np.take_along_axis(history.previous_actions, latest, axis=1)  # -1 at step 0, so also where there is none


def _means(history: History) -> np.ndarray:
    return history.action_rewards() / np.maximum(history.action_counts(), 1)


_VISIT = "(before := history.previous_visit())"
_AT_VISIT = f"np.where({_VISIT} >= 0, np.take_along_axis({{}}, np.maximum(before, 0), axis=1), -1)"
_WINS = "np.cumsum(history.previous_rewards > 0, axis=1)"
_LAST = (
    "np.take_along_axis(history.previous_actions, np.maximum.accumulate(np.where("
    "{} & (history.previous_actions >= 0), np.arange(history.n_steps), 0), axis=1), axis=1)"
)
_SHIFTED = "np.concatenate([np.full_like({0}[:, :1], {1}), {0}[:, :-1]], axis=1)"
_MEANS = "history.action_rewards() / np.maximum(history.action_counts(), 1)"

LIBRARY: tuple[Idea, ...] = (
    Idea("last action", "history.previous_actions", lambda h: h.previous_actions),
    Idea("last reward", "history.previous_rewards > 0", lambda h: h.previous_rewards > 0),
    Idea(
        "action before the last",
        _SHIFTED.format("history.previous_actions", -1),
        lambda h: _earlier(h.previous_actions),
    ),
    Idea(
        "reward before the last",
        _SHIFTED.format("(history.previous_rewards > 0)", 0),
        lambda h: _earlier(h.previous_rewards > 0, 0),
    ),
    Idea("fact that there was a reward", f"{_WINS} > 0", lambda h: _wins(h) > 0),
    Idea(
        "number of rewards so far, in powers of 2",
        f"np.log2(1 + {_WINS}).astype(int)",
        lambda h: np.log2(1 + _wins(h)).astype(int),
    ),
    Idea(
        "fact that this episode paid",
        f"(wins := {_WINS}) > np.maximum.accumulate(np.where(history.episode_start, wins, 0), axis=1)",
        _won_this_episode,
    ),
    Idea(
        "last rewarded observation", "history.last_rewarded_cell()", lambda h: h.last_rewarded_cell(), needs_sight=True
    ),
    Idea("set of actions that were tried here", "history.tried_here()", lambda h: h.tried_here()),
    Idea(
        "action that was done here last",
        _AT_VISIT.format("history.actions"),
        lambda h: _last_visit(h, h.actions),
        needs_sight=True,
    ),
    Idea(
        "reward when it was here last",
        _AT_VISIT.format("(history.rewards > 0).astype(int)"),
        lambda h: _last_visit(h, (h.rewards > 0).astype(int)),
        needs_sight=True,
    ),
    Idea(
        "fact that it was here before",
        "history.previous_visit() >= 0",
        lambda h: h.previous_visit() >= 0,
        needs_sight=True,
    ),
    Idea(
        "time since it was here, in powers of 2",
        "np.log2(np.arange(history.n_steps) - history.previous_visit()).astype(int)",
        lambda h: np.log2(np.arange(h.n_steps) - h.previous_visit()).astype(int),
        needs_sight=True,
    ),
    Idea("observation", "history.observations", lambda h: h.observations, needs_sight=True),
    Idea(
        "observation before",
        _SHIFTED.format("history.observations", -1),
        lambda h: _earlier(h.observations),
        needs_sight=True,
    ),
    Idea("last action that paid", _LAST.format("(history.previous_rewards > 0)"), lambda h: _last_action(h, True)),
    Idea(
        "last action that did not pay",
        _LAST.format("(history.previous_rewards <= 0)"),
        lambda h: _last_action(h, False),
    ),
    Idea(
        "action that was taken most",
        "history.action_counts().argmax(axis=-1)",
        lambda h: h.action_counts().argmax(axis=-1),
    ),
    Idea(
        "action that paid most",
        "history.action_rewards().argmax(axis=-1)",
        lambda h: h.action_rewards().argmax(axis=-1),
    ),
    Idea("action that paid best on average", f"({_MEANS}).argmax(axis=-1)", lambda h: _means(h).argmax(axis=-1)),
    Idea(
        "number of times each action was taken, in powers of 2",
        "np.log2(1 + history.action_counts()).astype(int)",
        lambda h: np.log2(1 + h.action_counts()).astype(int),
    ),
    Idea("episode", "history.episode", lambda h: h.episode),
    Idea("parity of the step in its episode", "history.episode_step % 2", lambda h: h.episode_step % 2),
)


def candidates(history: History, nodes: Mapping[str, BoundNode] | None = None) -> list[Candidate]:
    """Return what an adversary may try on a claim, each partition of the histories once.

    Args:
        history: The data.
        nodes: Of the claim: what one node says of a step may be what another leaves out.
    """
    seen: dict[bytes, None] = {}
    distinct = []
    for candidate in (*_of_library(history), *_of_nodes(nodes or {})):
        key = _canonical(candidate.labels).tobytes()
        if (
            key not in seen and candidate.labels.any()
        ):  # labels count from 0: without another value there is nothing to split
            seen[key] = None
            distinct.append(candidate)
    return distinct


def _of_library(history: History) -> Iterator[Candidate]:
    for idea in LIBRARY:
        if idea.needs_sight and not history.channels:
            continue
        yield Candidate(idea.name, idea.code, _labels(idea.value(history)))
    for number, channel in enumerate(history.channels if len(history.channels) > 1 else ()):
        value = history.observations[..., number]
        yield Candidate(f"observed {channel}", f"history.observations[..., {number}]", _labels(value))


def _of_nodes(nodes: Mapping[str, BoundNode]) -> Iterator[Candidate]:
    for node in nodes.values():
        if node.labels is not None and node.labels.ndim == 2 and not node.hidden:
            yield Candidate(f"value of {node.name}", node.name, node.labels, node.name)


def _labels(value: np.ndarray) -> Int[np.ndarray, "row step"]:
    return classes(Feature(value, "step", hidden=False))


def _canonical(labels: Int[np.ndarray, "row step"]) -> Int[np.ndarray, " position"]:
    """Number classes by where they first appear, so that equal partitions are equal arrays."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse.ravel()]
