"""The value of the last node as a policy: actions, or distributions over them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ad_hypotheses.language.history import History
from ad_hypotheses.language.problems import Problem

SUM_TOLERANCE = 1e-6  # how far the probabilities of one step may be from summing to 1


def as_policy(value: np.ndarray, n_actions: int) -> Float[np.ndarray, "batch step action"]:
    """Return distributions over actions; an action becomes certain, a negative one *anything*."""
    if value.ndim == 3:
        return value.astype(np.float64)
    actions = value.astype(np.int64)
    certain = np.eye(n_actions)[np.maximum(actions, 0)]
    return np.where((actions < 0)[..., None], 1 / n_actions, certain)


def policy_problem(name: str, place: str, value: np.ndarray, history: History) -> Problem | None:
    """Return why the last node's value is no policy, or None if it is one.

    Args:
        name: The node's name.
        place: Where it is defined, `file:line`.
        value: What its function returned.
        history: What it was called on.
    """
    shape, n_actions = (history.n_rows, history.n_steps), history.n_actions
    wanted = (
        ("a policy is", f"actions [batch, step] = {shape} in 0 to {n_actions - 1}, negative for no opinion"),
        ("or", f"probabilities [batch, step, action] = {(*shape, n_actions)}"),
    )
    # added up as they will be used: sums of 16 bits are rounded to 1 where the probabilities are far from it
    sums = value.sum(axis=-1, dtype=np.float64) if value.dtype.kind in "biuf" and value.ndim == 3 else np.ones(shape)
    if value.dtype.kind not in "biuf":
        message = f"{name}() is the last node, and its values of type {value.dtype} are no policy."
    elif value.shape not in (shape, (*shape, n_actions)):
        message = f"{name}() is the last node, and its shape {value.shape} is that of no policy."
    elif value.ndim == 2 and not (np.isfinite(value) & (value == np.floor(value))).all():
        message = f"{name}() is the last node, and some of its actions are no whole numbers."
    elif value.ndim == 2 and (value >= n_actions).any():
        message = f"{name}() returns action {int(value.max())}, but there are {n_actions} actions."
    elif value.ndim == 3 and not (value >= 0).all():
        message = f"{name}() returns a negative or undefined probability."
    elif (np.abs(sums - 1) > SUM_TOLERANCE).any():
        row, step = np.argwhere(np.abs(sums - 1) > SUM_TOLERANCE)[0]
        message = f"{name}() returns probabilities that sum to {sums[row, step]:.6g}, not 1 (row {row}, step {step})."
    else:
        return None
    return Problem(message, place, wanted)
