"""Rules for bandits, as exact interpreters of what networks that are set by hand compute."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from ad_hypotheses.language.history import History
from ad_hypotheses.sources.rule import Rule, soft
from ad_hypotheses.tasks import Task

SHARPNESS = 3.0  # a score that is 1 higher is 20 times as likely
FLOOR = 8  # the index of an arm rises while it has less than an eighth of the pulls
LEVELS = (3, 8, 15, 24)  # sums of rewards at which confidence rises
LEAST = 1 / len(LEVELS)  # what one level adds to the sharpness, as a share of all of it


def win_stay(history: History, task: Task) -> Float[np.ndarray, "batch step action"]:
    """Pull the same arm after a win, any other after a loss, any at first (Robbins 1952)."""
    last = np.arange(task.n_actions) == history.previous_actions[..., None]
    won = history.previous_rewards[..., None] > 0
    return soft(np.where(won, 1.0, -1.0) * last, SHARPNESS)


def leader(history: History, task: Task) -> Float[np.ndarray, "batch step action"]:
    """Pull the arm that has won most often, any of them if several have."""
    wins = history.action_rewards()
    return soft(1.0 * (wins == wins.max(axis=-1, keepdims=True)), SHARPNESS)


def ucb(history: History, task: Task) -> Float[np.ndarray, "batch step action"]:
    """Pull the arm of the greatest index, sometimes the next best: wins less losses, and more for arms pulled seldom.

    Like that of UCB1 (Auer et al. 2002) the index rises while an arm is not pulled, but in straight lines.
    """
    return soft(-1.0 * _ahead(ucb_index(history)), SHARPNESS)


def ucb_index(history: History) -> Int[np.ndarray, "batch step arm"]:
    """Twice the wins less the losses, and how far the pulls are below their share, in eighths of a pull."""
    pulls, wins = history.action_counts(), history.action_rewards().astype(np.int64)
    tokens = np.arange(1, history.n_steps + 1)[:, None]
    return 2 * (2 * wins - pulls) + np.maximum(0, tokens - FLOOR * pulls)


def return_level(history: History, task: Task) -> Float[np.ndarray, "batch step action"]:
    """Prefer early arms, whatever they pay, the more so the more was paid so far."""
    level = (history.rewards_seen[..., None] >= np.array(LEVELS)).sum(axis=-1)
    return soft(level[..., None] * LEAST * preference(task.n_actions), SHARPNESS)


def preference(n_actions: int) -> Float[np.ndarray, " action"]:
    """Return a fixed score of each action, from 1 down to -1."""
    return np.linspace(1.0, -1.0, n_actions)


def _ahead(index: Int[np.ndarray, "batch step arm"]) -> Int[np.ndarray, "batch step arm"]:
    """How many arms have a greater index. [batch, step, arm]"""
    return (index[..., None, :] > index[..., None]).sum(axis=-1)


RULES = (
    Rule("win-stay", "after a win the same arm, after a loss any other", "bandit", win_stay),
    Rule("leader", "the arm that has won most often", "bandit", leader),
    Rule("ucb", "the arm of the greatest index: wins less losses, and more for arms pulled seldom", "bandit", ucb),
    Rule("return-level", "early arms, the more so the more was paid so far", "bandit", return_level),
)
