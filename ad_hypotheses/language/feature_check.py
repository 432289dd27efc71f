"""Whether every feature is a function of what it may see, found out by running it on changed histories.

A feature is user code, so nothing about it is known but its values. Each is run again on fewer rows, on rows in
another order, and on histories whose future was replaced; a value that moves where it must not is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int

from ad_hypotheses.language.global_state import generators_moved
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Node
from ad_hypotheses.language.policy import policy_problem
from ad_hypotheses.language.problems import Problem, listed

ROUNDS = 8  # replaced futures a row; rows differ in their cut, so a few hundred rows cut every step
CHECKED_ROWS = 64  # enough for several cuts at every step, and far cheaper than all of a data set
EXACT = 2**53  # whole numbers above this have no exact float
VISIBLE = ("visible at step t", "observations up to t; actions and rewards before t; never the task's facts")
FIELDS = {"action": "actions", "reward": "rewards", "observation": "observations", "episode": "episode"}
INSTEAD = {
    "action": "use history.previous_actions, the action that step t shows",
    "reward": "use history.previous_rewards, the reward that step t shows",
    "observation": "look back only: cumulative sums, np.maximum.accumulate, or a shift to later steps",
    "episode": "look back only: where a later episode begins is not known yet",
}


@dataclass(frozen=True, eq=False)
class Feature:
    """What is known of one node's value.

    Attributes:
        value: As the function returned it. [batch, ...]
        level: `"step"` if every step has a value, `"row"` if one stands for the whole history.
        hidden: Whether it was made from facts of the task that the model cannot see.
    """

    value: np.ndarray
    level: Literal["row", "step"]
    hidden: bool


def examine_features(
    nodes: Sequence[Node], history: History, rng: np.random.Generator, *, again: bool = True
) -> tuple[dict[str, Feature], list[Problem]]:
    """Return the features of the nodes that could be computed, and everything wrong with them.

    Args:
        nodes: Parents before children, the root last.
        history: The data, at least one row of at least one step.
        rng: Chooses rows, cuts and donors of the checks.
        again: Whether to run them again on changed histories, where that was not done on others like these.
    """
    features: dict[str, Feature] = {}
    problems: list[Problem] = []
    if len({node.name for node in nodes}) < len(nodes):
        return features, problems  # values go by name; the structure's check says which two share one
    for node in nodes:
        if node.problems or node.unknown or any(parent.name not in features for parent in node.parents):
            continue
        feature = _first_look(node, history, features, is_root=node is nodes[-1])
        if isinstance(feature, Problem):
            problems.append(feature)
        else:
            features[node.name] = feature
            problems += _misplaced(node, feature, features, is_root=node is nodes[-1])
    if not again:
        return features, problems
    # only features without a problem so far are run again: one message about a node is enough
    blamed = {problem.place for problem in problems}
    sound = [node for node in nodes if node.name in features and node.place not in blamed]
    # a value that is not a function of its row would seem to peek, too
    loose = {node.name: problem for node in sound if (problem := _unsteady(node, history, features, rng))}
    problems += loose.values()
    sound = [node for node in sound if node.name not in loose]
    return features, problems + _seers(sound, nodes, history, features, rng)


def _first_look(node: Node, history: History, features: Mapping[str, Feature], *, is_root: bool) -> Feature | Problem:
    values = {parent.name: features[parent.name].value for parent in node.parents}
    try:
        value, facts = node.call(history, values)
    except Exception as error:  # the user's code may raise anything
        return node.raised(error)
    if type(value) is not np.ndarray:
        advice = "add a return" if value is None else "return a plain numpy array, e.g. np.asarray(...)"
        return Problem(f"{node.name}() returns {_article(value)}, not a numpy array.", node.place, advice=advice)
    problem = policy_problem(node.name, node.place, value, history) if is_root else _wrong_array(node, value, history)
    if problem is not None:
        return problem
    # with as many columns as steps a value is one of steps; [batch, k] with k = step cannot be told from it
    level: Literal["row", "step"] = "step" if value.ndim > 1 and value.shape[1] == history.n_steps else "row"
    # what is made from facts of the task is as hidden from the model as they are
    below_hidden = any(features[parent.name].hidden for parent in node.parents)
    feature = Feature(value, level, hidden=bool(facts) or below_hidden)
    if level == "step" and facts:
        return _reads_facts(node, facts)
    return feature


def _reads_facts(node: Node, facts: frozenset[str]) -> Problem:
    names = listed(f"history.task[{name!r}]" for name in sorted(facts))
    message = f"{node.name}() has a value at every step and reads {names}, which the model cannot see."
    advice = "work it out from the history, or give the fact a node of its own with one value a history, [batch]"
    return Problem(message, node.place, (VISIBLE,), advice)


def _wrong_array(node: Node, value: np.ndarray, history: History) -> Problem | None:
    batch, steps = history.n_rows, history.n_steps
    shapes = (
        ("wanted", f"[batch, step] = ({batch}, {steps}) or [batch, step, k], a value at every step"),
        ("or", f"[batch] = ({batch},) or [batch, k], one for the whole history"),
    )
    # shape, type and values, in this order: what is said of one makes sense only if those before are right
    stepwise = value.ndim > 1 and value.shape[1] == steps
    if value.ndim not in (1, 2, 3) or value.shape[0] != batch or not value.size or (value.ndim == 3 and not stepwise):
        return Problem(f"{node.name}() returns an array of shape {value.shape}.", node.place, shapes)
    if value.dtype.kind not in "biuf":
        kind = {"O": "objects", "U": "strings", "S": "bytes", "c": "complex numbers"}.get(value.dtype.kind, value.dtype)
        advice = "return whole numbers or booleans, e.g. (kind == 'left').astype(int)"
        return Problem(f"{node.name}() returns {kind}, which cannot be matched.", node.place, advice=advice)
    if value.dtype.kind != "f":
        return None
    # histories are matched by equal values, which floats have reliably only where they are whole numbers
    if not np.isfinite(value).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
        message = f"{node.name}() returns {value[where]} at {_where(where, stepwise)}."
        return Problem(message, node.place, advice="give what is undefined a number of its own, e.g. -1")
    if (np.abs(value) > EXACT).any():
        message = f"{node.name}() returns numbers beyond 2**53, where floats skip whole numbers."
        return Problem(message, node.place, advice="return integers")
    if (value != np.floor(value)).any():
        where = tuple(int(i) for i in np.argwhere(value != np.floor(value))[0])
        message = (
            f"{node.name}() returns fractions ({value[where]:.6g} at {_where(where, stepwise)}): two rarely agree."
        )
        return Problem(message, node.place, advice="bin it, e.g. np.digitize(value, [0.25, 0.5, 0.75])")
    return None


def _misplaced(node: Node, feature: Feature, features: Mapping[str, Feature], *, is_root: bool) -> Iterator[Problem]:
    secret = [parent.name for parent in node.parents if features[parent.name].hidden]
    if feature.level == "step" and secret and not is_root:
        message = f"{node.name}() has a value at every step and reads {listed(secret)}, made from facts of the task."
        advice = "only the last node may join the two; or give it one value a history, [batch]"
        yield Problem(message, node.place, (VISIBLE,), advice)


def _unsteady(
    node: Node, history: History, features: Mapping[str, Feature], rng: np.random.Generator
) -> Problem | None:
    """Return the problem if a row's value is not a function of that row."""

    def on(rows: np.ndarray) -> np.ndarray:
        return node.call(history[rows], {p.name: features[p.name].value[rows] for p in node.parents})[0]

    n = history.n_rows
    rows = rng.permutation(n)[: max(1, min(CHECKED_ROWS, n // 2))]
    value = features[node.name].value
    try:
        first = on(rows)
        with generators_moved():  # each call finds them as they were before the last, and would draw the same again
            second = on(rows)
        if not _same(first, second):
            message = f"{node.name}() is random: called twice on the same histories it returns different values."
            return Problem(message, node.place, advice="drop the randomness; a distribution over actions may stay one")
        if not _same(on(rows[::-1]), first[::-1]):
            message = f"{node.name}() depends on the order of the rows."
            return Problem(message, node.place, advice="use only the row's own history, not its number")
        lone = [rows[i : i + 1] for i in range(min(3, len(rows)))]
        if not all(_same(on(chosen), value[chosen]) for chosen in (rows, *lone)):
            message = f"{node.name}() depends on other rows: with fewer of them a row's value changes."
            advice = "use constants in place of figures taken over the batch, such as value.max() or np.unique(value)"
            return Problem(message, node.place, advice=advice)
    except Exception as error:  # as above
        problem = node.raised(error)
        return replace(problem, message=problem.message.replace(" raises", " fails on some of the rows: it raises"))
    return None


def _seers(
    sound: Sequence[Node],
    nodes: Sequence[Node],
    history: History,
    features: Mapping[str, Feature],
    rng: np.random.Generator,
) -> list[Problem]:
    """Return the problems of the `sound` nodes that see what lies after their step, or steps at all."""
    # a node is run again with its parents, be they sound or not, as long as they have a value
    names = {node.name for node in sound}
    whole = {name for name in names if features[name].level == "row"}
    ready = [n for n in nodes if n.name in features and all(p.name in features for p in n.parents)]
    rows = rng.integers(history.n_rows, size=max(CHECKED_ROWS, -(-history.n_steps // ROUNDS)))
    base = history[rows]
    original = {node.name: features[node.name].value[rows] for node in ready}
    # every step is cut at least once: a feature may peek at one step only
    cuts = rng.permutation(np.resize(np.arange(history.n_steps), ROUNDS * len(rows))).reshape(ROUNDS, -1)
    peeks: dict[str, tuple[int, Int[np.ndarray, " batch"], History]] = {}
    moved_rows: set[str] = set()
    errors: dict[str, list[Exception]] = {}
    for number, cut in enumerate(cuts):
        # real futures are plausible, random ones differ in everything: a feature may react to one kind alone
        donor = _real_future(history, rows, rng) if number % 2 == 0 else _scrambled_future(history, base, rng)
        for node, new in _rerun(ready, spliced(base, donor, cut), original, features, cut, errors):
            if node.name not in names:
                continue
            # of several rounds the earliest step is reported, with the cut and the donor that showed it
            step = _first_moved(original[node.name], new, cut) if features[node.name].level == "step" else None
            if step is not None and step < peeks.get(node.name, (history.n_steps,))[0]:
                peeks[node.name] = (step, cut, donor)
        # a value of the whole history stands at step 0 already, so that it must not move with any step
        nowhere = np.full(len(rows), -1)
        changed = _rerun(ready, spliced(base, donor, nowhere), original, features, nowhere, {}) if whole else ()
        moved_rows |= {node.name for node, new in changed if node.name in whole and not _same(original[node.name], new)}
    problems = [_reads_steps(node, history, features[node.name]) for node in sound if node.name in moved_rows]
    for node in sound:
        if node.name in peeks:
            problems.append(_peeks(node, base, original, *peeks[node.name]))
        # a feature that fails on some changed histories is excused, one that fails on all of them was never tried
        elif len(errors.get(node.name, ())) == ROUNDS and node.name not in moved_rows:
            problem = node.raised(errors[node.name][0])
            message = f"{node.name}() cannot be checked for peeking: on histories with another future it always "
            problems.append(replace(problem, message=message + problem.message.removeprefix(f"{node.name}() ")))
    return problems


def _rerun(
    ready: Sequence[Node],
    history: History,
    original: Mapping[str, np.ndarray],
    features: Mapping[str, Feature],
    cut: Int[np.ndarray, " batch"],
    errors: dict[str, list[Exception]],
) -> Iterator[tuple[Node, np.ndarray]]:
    """Yield every node's value on a changed history; its parents keep theirs up to the cut: each answers for itself."""
    values: dict[str, np.ndarray] = {}
    for node in ready:
        try:
            new, _ = node.call(history, {parent.name: values[parent.name] for parent in node.parents})
            if new.shape != original[node.name].shape:
                raise ValueError(f"its shape changes from {original[node.name].shape} to {new.shape}")
        except Exception as error:  # a feature may refuse an impossible history: that is no peek
            errors.setdefault(node.name, []).append(error)
            values[node.name] = original[node.name]
            continue
        yield node, new
        # children see the original value up to the cut, so that a parent's peek is not held against them
        before = _mask(np.arange(history.n_steps) <= cut[:, None], new) if features[node.name].level == "step" else True
        values[node.name] = np.where(before, original[node.name], new).astype(original[node.name].dtype)


def _peeks(
    node: Node,
    base: History,
    original: Mapping[str, np.ndarray],
    step: int,
    cut: Int[np.ndarray, " batch"],
    donor: History,
) -> Problem:
    parents = {parent.name: original[parent.name] for parent in node.parents}
    # which field it is: the future is replaced in one of them at a time
    seen = []
    for name, field in FIELDS.items():
        only = replace(base, **{field: getattr(spliced(base, donor, cut), field)})
        try:
            if _first_moved(original[node.name], node.call(only, parents)[0], cut) is not None:
                seen.append(name)
        except Exception:  # naming the culprit is a courtesy
            continue
    later = {
        "action": f"actions from step {step} on",
        "reward": f"rewards from step {step} on",
        "observation": f"observations after step {step}",
        "episode": f"episode numbers after step {step}",
    }
    named = " and ".join(later[name] for name in seen) or "later values of what it reads"
    message = f"{node.name}() peeks: at step {step} its value changes with {named}."
    return Problem(message, node.place, (VISIBLE,), "; ".join(INSTEAD[name] for name in seen) or INSTEAD["observation"])


def _reads_steps(node: Node, history: History, feature: Feature) -> Problem:
    message = f"{node.name}() has one value for the whole history and reads its steps: at step 0 it would see the end."
    facts = (
        ("shape", f"{feature.value.shape}, where a value at every step has {(history.n_rows, history.n_steps)}"),
        ("whole histories", f"may use only history.task: {listed(history.task)}"),
    )
    return Problem(message, node.place, facts, "return a value at every step, [batch, step]")


def _real_future(history: History, rows: np.ndarray, rng: np.random.Generator) -> History:
    # another row for each, the own one only if there is no other
    n = history.n_rows
    return history[(rows + rng.integers(1, max(n, 2), size=len(rows))) % n]


def _scrambled_future(history: History, base: History, rng: np.random.Generator) -> History:
    # rewards are rare, so that real futures seldom differ in the one that a feature peeks at
    shape, size = base.actions.shape, history.actions.size
    tokens = history.observations.reshape(size, -1)[rng.integers(size, size=shape)]
    paid = np.union1d(np.unique(history.rewards), [0, 1]).astype(history.rewards.dtype)
    actions = rng.integers(history.n_actions, size=shape).astype(history.actions.dtype)
    return replace(base, observations=tokens, actions=actions, rewards=rng.choice(paid, size=shape))


def spliced(base: History, donor: History, cut: Int[np.ndarray, " batch"]) -> History:
    """Return `base` with the donor's action and reward from each row's cut on, and all else after it; -1 cuts all."""
    # step t shows the observation of t, but the action and the reward of the step before
    steps = np.arange(base.n_steps)
    now, later = steps >= cut[:, None], steps > cut[:, None]
    at_cut = np.maximum(cut, 0)[:, None]
    # the donor's episodes are counted on from the one in which the row was cut
    own, other = (np.take_along_axis(each.episode, at_cut, axis=1) for each in (base, donor))
    shift = np.where(cut[:, None] < 0, 0, own - other)
    return replace(
        base,
        observations=np.where(later[..., None], donor.observations, base.observations),
        actions=np.where(now, donor.actions, base.actions),
        rewards=np.where(now, donor.rewards, base.rewards),
        episode=np.where(later, donor.episode + shift, base.episode).astype(base.episode.dtype),
    )


def _first_moved(old: np.ndarray, new: np.ndarray, cut: Int[np.ndarray, " batch"]) -> int | None:
    # after the cut a value may move; up to it nothing that it may see has changed
    moved = differs(old, new)
    by_step = moved.any(axis=2) if moved.ndim == 3 else moved
    steps = np.flatnonzero((by_step & (np.arange(old.shape[1]) <= cut[:, None])).any(axis=0))
    return int(steps[0]) if steps.size else None


def differs(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    if old.dtype.kind == "f" or new.dtype.kind == "f":  # sums of probabilities may differ in the last bit
        return ~np.isclose(old, new, rtol=1e-9, atol=1e-9, equal_nan=True)
    return old != new


def _same(old: Any, new: Any) -> bool:
    return old.shape == new.shape and not differs(old, new).any()


def _mask(mask: Bool[np.ndarray, "batch step"], value: np.ndarray) -> np.ndarray:
    return mask[..., None] if value.ndim == 3 else mask


def _article(value: object) -> str:
    name = "None" if value is None else type(value).__name__
    return name if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _where(where: tuple[int, ...], stepwise: bool) -> str:
    return f"row {where[0]}" + (f", step {where[1]}" if stepwise else "")
