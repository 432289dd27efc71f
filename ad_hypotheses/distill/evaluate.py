"""In-context learning curves: what a frozen model earns as its context grows, beside those who could do it too."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.distill.train import split
from ad_hypotheses.evidence.record import Curve
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.sources import episode_returns
from ad_hypotheses.tasks import Facts
from ad_hypotheses.tasks.baselines import baselines
from ad_hypotheses.tasks.play import play
from ad_hypotheses.tasks.task import n_tasks_of

BLOCK = 10  # steps a point of the curve, where there is only one episode
TASK_SETS = ("train", "held_out")


def curve(name: str, history: History) -> Curve:
    """Return the mean return of each episode, or of each 10 steps where there is only one episode, with its interval.

    The interval is a bootstrap over tasks, since lives on the same task are alike.
    """
    returns = episode_returns(history)
    if returns.shape[1] == 1:
        n_blocks = max(1, history.n_steps // BLOCK)
        blocks = history.rewards[:, : n_blocks * BLOCK].reshape(history.n_rows, n_blocks, -1)
        returns = blocks.sum(axis=2, dtype=float)
    low, high = _interval(_by_task(returns, history))
    means = [round(float(value), 4) for value in returns.mean(axis=0)]
    return Curve(name, means, history.n_rows, low, high)


def _by_task(returns: Float[np.ndarray, "row episode"], history: History) -> Float[np.ndarray, "task episode"]:
    facts = [fact.reshape(history.n_rows, -1) for fact in history.task.values()]
    if not facts:
        return returns
    _, task = np.unique(np.concatenate(facts, axis=1), axis=0, return_inverse=True)
    sums = np.zeros((task.max() + 1, returns.shape[1]))
    np.add.at(sums, task.ravel(), returns)
    return sums / np.bincount(task.ravel())[:, None]


def _interval(means: Float[np.ndarray, "task episode"]) -> tuple[list[float], list[float]]:
    if len(means) < 2:
        return [], []
    found = bootstrap((means,), np.mean, n_resamples=1000, method="percentile", rng=np.random.default_rng(0))
    bounds = found.confidence_interval
    return [round(float(v), 4) for v in bounds.low], [round(float(v), 4) for v in bounds.high]


def evaluate(
    model: ADTransformer,
    config: Config,
    rollouts: int,
    seed: int,
    progress: Callable[[str], None] = lambda what: None,
) -> dict[str, object]:
    """Let a model live on training and on held-out tasks, and everyone else beside it.

    Args:
        model: In evaluation mode.
        config: Of its training.
        rollouts: Lives of each.
        seed: Of the tasks and of all sampling.
        progress: Called with what comes next.

    Returns:
        `{"train": [curve], "held_out": [curve], "summary": {...}}`, as plain data. Curves: the model sampling and
        taking the likeliest action, its source (as often and as sparsely seen as in its histories), and the task's
        baselines.
    """
    task, results = config.make_task(), {}
    summary: dict[str, float] = {}
    for number, (name, facts) in enumerate(zip(TASK_SETS, split(config), strict=True)):
        if not n_tasks_of(facts):
            continue
        rng = np.random.default_rng([seed, number])
        chosen = spread(facts, rollouts, rng)
        lives: dict[str, History] = {}
        for sample, label in ((True, "model"), (False, "model, argmax")):
            progress(f"{label} on {name.replace('_', '-')} tasks")
            lives[label] = rollout(model, task, chosen, config.kept_episodes, rng, sample)
        progress(f"source and baselines on {name.replace('_', '-')} tasks")
        lives["source"] = config.make_source().live(
            task, chosen, config.histories.episodes, rng, config.histories.keep_every
        )
        for label, policy in baselines(task, rng).items():
            lives[label] = play(task, chosen, policy, config.kept_episodes, rng)
        results[name] = [vars(curve(label, history)) for label, history in lives.items()]
        summary |= {f"{name}_{key}": value for key, value in _summary(lives, task.optimal_return(chosen)).items()}
    if len(results) == 2 and summary["train_of_optimum"]:
        summary["held_out_of_train"] = round(summary["held_out_of_optimum"] / summary["train_of_optimum"], 4)
    return {**results, "summary": summary, "rollouts": rollouts, "seed": seed}


def _summary(lives: Mapping[str, History], optimum: Float[np.ndarray, " row"]) -> dict[str, float]:
    """Return of the last three episodes as a share of the optimum, and regret in a bandit's only episode."""
    numbers: dict[str, float] = {}
    for label in ("model", "model, argmax", "source"):
        key = label.replace("model, ", "").replace("model", "").strip()
        prefix = f"{key}_" if key else ""
        returns = episode_returns(lives[label])
        last = returns[:, -3:].mean(axis=1)
        numbers[f"{prefix}of_optimum"] = round(float(last.mean() / optimum.mean()), 4)
        if returns.shape[1] == 1 and "means" in lives[label].task:
            numbers[f"{prefix}regret"] = round(float((optimum - _expected(lives[label])).mean()), 3)
    return numbers


def _expected(history: History) -> Float[np.ndarray, " row"]:
    """Expected pay of the arms that were pulled: regret without the luck of the draw."""
    return np.take_along_axis(history.task["means"], history.actions.astype(np.int64), axis=1).sum(axis=1)


def spread(facts: Facts, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return `n` tasks, each as often as the others as far as that goes, in random order."""
    n_tasks = n_tasks_of(facts)
    rows = rng.permutation(np.resize(rng.permutation(n_tasks), n))
    return {name: fact[rows] for name, fact in facts.items()}


def explanation_curve(hypothesis: Hypothesis, config: Config, rollouts: int, seed: int) -> Curve:
    """Let an explanation live as a policy on held-out tasks: it learns in context if what it says suffices to."""
    task, (trained, held_out) = config.make_task(), split(config)
    rng = np.random.default_rng([seed, rollouts])
    facts = held_out if n_tasks_of(held_out) else trained
    history = play(
        task,
        spread(facts, rollouts, rng),
        lambda so_far: hypothesis.policy(so_far)[:, -1],
        config.kept_episodes,
        rng,
    )
    return curve("explanation", history)
