"""Whether the symmetry of a node is one: it is applied to some histories at every step, and what it makes is looked at.

Checked is that the node's value stays what it is at the step, that nothing after the step enters or changes, that what
is made can happen in the task, and that nothing but the generator decides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from ad_hypotheses.language.feature_check import Feature, differs, spliced
from ad_hypotheses.language.global_state import generators_moved
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Node
from ad_hypotheses.language.problems import Problem
from ad_hypotheses.language.symmetries.symmetry import Drawn, Symmetry, changed_tokens

CHECKED_ROWS = 64
POSITIONS = 2**18  # that are tried at once
FUTURE = "replace values before steps[i] only: actions and rewards before it, observations up to it"

World = Callable[[History], Mapping[str, Bool[np.ndarray, "batch step"]]]
"""Says of histories at which steps they could not be of a task, by what is wrong there, in words."""


def examine_symmetries(
    nodes: Sequence[Node],
    history: History,
    features: Mapping[str, Feature],
    rng: np.random.Generator,
    world: World | None = None,
    may_rename: Collection[str] = (),
) -> list[Problem]:
    """Return what is wrong with the symmetries of nodes, one problem of each at most.

    Args:
        nodes: Parents before children, the root last.
        history: The data.
        features: Values of the nodes on it; a node without one has a problem already.
        rng: Chooses rows, futures and what the symmetries draw from.
        world: Says what cannot be of the task; None if nobody knows.
        may_rename: Names of the nodes whose symmetry may give actions other names.
    """
    problems = []
    for node in nodes:
        if node.symmetry is None or node.name not in features:
            continue
        if features[node.name].level == "row":
            message = f"{node.name}() has one value for the whole history, but a symmetry changes the past of one step."
            problems.append(Problem(message, node.place, advice="return a value at every step, or drop symmetry=..."))
            continue
        problem = _Trial(node, node.symmetry, history, features, rng, world, node.name in may_rename).problem()
        if problem is not None:
            problems.append(problem)
    return problems


class _Trial:
    """One symmetry, tried on 64 rows at every step of each."""

    def __init__(
        self,
        node: Node,
        symmetry: Symmetry,
        history: History,
        features: Mapping[str, Feature],
        rng: np.random.Generator,
        world: World | None,
        may_rename: bool,
    ) -> None:
        self.node, self.symmetry, self.history, self.features = node, symmetry, history, features
        self.rng, self.world, self.may_rename = rng, world, may_rename
        self.rows = rng.permutation(history.n_rows)[:CHECKED_ROWS]
        self.impossible_anyway = self._impossible(history[self.rows])

    def problem(self) -> Problem | None:
        """Return the first thing that is wrong."""
        at_once = max(1, POSITIONS // (len(self.rows) * self.history.n_steps))
        changes = False
        for first in range(0, self.history.n_steps, at_once):
            cuts = np.arange(first, min(first + at_once, self.history.n_steps))
            numbers, steps = np.tile(np.arange(len(self.rows)), len(cuts)), np.repeat(cuts, len(self.rows))
            base, seed = self.history[self.rows[numbers]], int(self.rng.integers(2**62))
            made = self.symmetry.draw(base, steps, np.random.default_rng(seed))
            problem = next(self._breaches(base, numbers, steps, made, seed), None)
            if problem is not None:
                return problem
            changes |= bool(changed_tokens(base, made.history, steps).any())
        if changes:
            return None
        message = f"{self._named()} leaves every past as it is, so that there is nothing to swap."
        return Problem(message, self.symmetry.place, advice=f"drop symmetry=..., or let {self.symmetry.name}() draw")

    def _breaches(
        self,
        base: History,
        numbers: Int[np.ndarray, " trial"],
        steps: Int[np.ndarray, " trial"],
        made: Drawn,
        seed: int,
    ) -> Iterator[Problem]:
        if made.names is not None and not self.may_rename:
            message = f"{self._named()} gives actions other names, but other inputs of the last node keep theirs."
            advice = "only a node at everything below the logits, which the last node reads alone, can be renamed"
            yield Problem(message, self.symmetry.place, advice=advice)
        yield from self._unsteady(base, numbers, steps, made, seed)
        for field, wrong in _changed_futures(base, made.history, steps).items():
            message = f"changes {field} at a step whose past alone it may change"
            yield from self._reported(wrong, message, numbers, steps, FUTURE)
        donor = self.history[(self.rows[numbers] + 1 + self.rng.integers(self.history.n_rows)) % self.history.n_rows]
        other = self.symmetry.draw(spliced(base, donor, steps), steps, np.random.default_rng(seed))
        peeks = changed_tokens(made.history, other.history, steps)
        advice = "use only what is visible at steps[i]: observations up to it, actions and rewards before it"
        yield from self._reported(peeks, "makes another past when what comes later is replaced", numbers, steps, advice)
        for words, mask in self._impossible(made.history).items():
            known = self.impossible_anyway.get(words)
            new = mask & (np.arange(base.n_steps) <= steps[:, None])  # what comes later follows from another past
            new = new if known is None else new & ~known[numbers].any(axis=1, keepdims=True)
            yield from self._reported(new, f"makes {words}", numbers, steps, "return what could be lived")
        yield from self._moved(base, numbers, steps, made)

    def _unsteady(
        self,
        base: History,
        numbers: Int[np.ndarray, " trial"],
        steps: Int[np.ndarray, " trial"],
        made: Drawn,
        seed: int,
    ) -> Iterator[Problem]:
        with generators_moved():  # each call finds them as they were before the last, and would draw the same again
            again = self.symmetry.draw(base, steps, np.random.default_rng(seed))
        other = changed_tokens(made.history, again.history, np.full_like(steps, base.n_steps))
        if made.names is not None and again.names is not None:
            other = np.concatenate([other, made.names != again.names], axis=1)
        message = "makes another past when it is called again with the same generator"
        yield from self._reported(other, message, numbers, steps, "draw from rng alone")

    def _moved(
        self, base: History, numbers: Int[np.ndarray, " trial"], steps: Int[np.ndarray, " trial"], made: Drawn
    ) -> Iterator[Problem]:
        """Yield where the node's value does not stay what it is."""
        try:
            value = _value(self.node, made.history)
        except Exception as error:  # the user's code may raise anything
            problem = self.node.raised(error)
            prefix = f"on what {self.symmetry.name}(), its symmetry, makes, "
            yield Problem(prefix + problem.message, problem.place, problem.facts, problem.advice)
            return
        trials = np.arange(len(steps))
        old = self.features[self.node.name].value[self.rows[numbers], steps]
        new = value[trials, steps]
        moved = differs(old, new).reshape(len(steps), -1).any(axis=1)
        for trial in np.flatnonzero(moved)[:1]:
            message = (
                f"{self._named()} changes the value that it should keep: at row {self.rows[numbers[trial]]}, step "
                f"{steps[trial]}, {self.node.name}() is {_brief(new[trial])} instead of {_brief(old[trial])}."
            )
            advice = f"let {self.symmetry.name}() keep the value, or {self.node.name}() return something coarser"
            yield Problem(message, self.symmetry.place, (("node", self.node.place),), advice)

    def _reported(
        self,
        wrong: Bool[np.ndarray, "trial place"],
        words: str,
        numbers: Int[np.ndarray, " trial"],
        steps: Int[np.ndarray, " trial"],
        advice: str,
    ) -> Iterator[Problem]:
        for trial in np.flatnonzero(wrong.any(axis=1))[:1]:
            message = f"{self._named()} {words} (row {self.rows[numbers[trial]]}, step {steps[trial]})."
            yield Problem(message, self.symmetry.place, (("node", self.node.place),), advice)

    def _impossible(self, history: History) -> Mapping[str, Bool[np.ndarray, "batch step"]]:
        strange = (history.actions < 0) | (history.actions >= history.n_actions)
        return {"an action that there is not": strange, **({} if self.world is None else self.world(history))}

    def _named(self) -> str:
        return f"{self.symmetry.name}(), the symmetry of {self.node.name}(),"


def _changed_futures(
    base: History, made: History, steps: Int[np.ndarray, " trial"]
) -> dict[str, Bool[np.ndarray, "trial step"]]:
    """Return where a field was changed that does not belong to the past of the row's step."""
    clock = np.arange(base.n_steps)
    now, later = clock >= steps[:, None], clock > steps[:, None]
    return {
        "the action": now & (base.actions != made.actions),
        "the reward": now & (base.rewards != made.rewards),
        "the observation": later & (base.observations != made.observations).any(axis=-1),
        "the number of the episode": base.episode != made.episode,
    }


def _value(node: Node, history: History) -> np.ndarray:
    """Return a node's value on histories, its parents' worked out on the same."""
    value: np.ndarray = node.value(history, {parent.name: _value(parent, history) for parent in node.parents})
    return value


def _brief(value: np.ndarray) -> str:
    return str(np.asarray(value).tolist())
