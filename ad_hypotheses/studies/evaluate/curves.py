"""In-context learning curves: what a frozen model earns as its context grows, beside those who could do it too.

An evaluation is a list of parts, each of which gives plain data and draws from a generator of its own: parts that are
known from an earlier run are left out without changing the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.evidence.plain_data import Curve, Number
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.studies.evaluate.figures import (
    FEWEST,
    ReturnMeasure,
    figures,
    in_expectation,
    last_by_task,
    points,
    task_numbers,
)
from ad_hypotheses.tasks import Facts
from ad_hypotheses.tasks.play import baselines, play, play_expert
from ad_hypotheses.tasks.task import n_tasks_of

TASK_SETS = ("train", "held_out")
RESAMPLES = 1000  # of the tasks, for an interval
SUMMARISED = {"model": "", "model, argmax": "argmax_", "source": "source_"}
OF_MODEL = {"first_of_optimum": "first_share", "mean_of_optimum": "mean_share", "improvement": "improvement"}

Lived = Callable[[int], None]
"""Called with the number of steps that the model has lived in a part."""


@dataclass(frozen=True)
class EvaluationPart:
    """One part of an evaluation.

    Attributes:
        name: No two of a model have the same.
        says: What it does.
        steps: Steps that the model lives in it, 0 where it does not.
        run: Does it and returns plain data.
    """

    name: str
    says: str
    steps: int
    run: Callable[[Lived], Any]


def evaluate(
    model: ADTransformer,
    config: Config,
    rollouts: int,
    seed: int,
    progress: Callable[[str], None] = lambda phase: None,
) -> dict[str, Any]:
    """Let a model live on training and on held-out tasks, and everyone else beside it.

    Args:
        model: In evaluation mode.
        config: Of its training.
        rollouts: Lives of each.
        seed: Of the tasks and of all sampling.
        progress: Called with what comes next.

    Returns:
        `{"train": [curve], "held_out": [curve], "figures": {set: {learner: {...}}}, "summary": {...}}`, as plain data.
        Learners: the model sampling and taking the likeliest action, its source (as often and as sparsely seen as in
        its histories; not where it cannot live anew), and the task's baselines.
    """
    results, announced = {}, ""
    for part in curve_parts(model, config, rollouts, seed):
        if part.says != announced:
            announced = part.says
            progress(announced)
        results[part.name] = part.run(lambda steps: None)
    return in_context(results, rollouts, seed)


def curve_parts(model: ADTransformer, config: Config, rollouts: int, seed: int) -> list[EvaluationPart]:
    """Return the parts that give the learning curves: one a learner and set of tasks."""
    return [
        part
        for number, (tasks, facts) in enumerate(zip(TASK_SETS, config.experiment.split(), strict=True))
        if n_tasks_of(facts)
        for part in _learner_parts(model, config, tasks, spread(facts, rollouts, rng_of(seed, number)), [seed, number])
    ]


def in_context(results: Mapping[str, Any], rollouts: int, seed: int) -> dict[str, Any]:
    """Put the results of the parts of `curve_parts` together."""
    curves_by_tasks: dict[str, Any] = {}
    figures_by_tasks: dict[str, dict[str, Any]] = {}
    for name, result in results.items():
        tasks, learner = name.split("/", 1)
        if tasks in TASK_SETS:
            curves_by_tasks.setdefault(tasks, []).append(result["curve"])
            figures_by_tasks.setdefault(tasks, {})[learner] = result["figures"]
    summary = {f"{tasks}_{key}": value for tasks, by in figures_by_tasks.items() for key, value in _summary(by).items()}
    if summary.get("train_of_optimum") and "held_out_of_optimum" in summary:
        summary["held_out_of_train"] = round(summary["held_out_of_optimum"] / summary["train_of_optimum"], 4)
    return {**curves_by_tasks, "figures": figures_by_tasks, "summary": summary, "rollouts": rollouts, "seed": seed}


def _learner_parts(
    model: ADTransformer, config: Config, tasks: str, facts: Facts, seed: list[int]
) -> list[EvaluationPart]:
    task, episodes, source = config.experiment.task, config.kept_episodes, config.experiment.source
    can_live = getattr(source, "can_live", True)  # a recorded history cannot be lived again
    measure, where = ReturnMeasure.of(task, facts), f"{tasks.replace('_', '-')} tasks"
    others = f"source and baselines on {where}" if can_live else f"baselines on {where}"

    def part(number: int, learner: str, live: Callable[[np.random.Generator, Lived], History]) -> EvaluationPart:
        def run(lived: Lived) -> dict[str, Any]:
            history = live(np.random.default_rng([*seed, number]), lived)
            result = {
                "curve": vars(curve(learner, in_expectation(task, history))),
                "figures": figures(history, measure),
            }
            return {**result, "by_task": last_by_task(history, measure)} if learner == "model" else result

        acts = learner.startswith("model")
        steps = episodes * task.horizon if acts else 0
        return EvaluationPart(f"{tasks}/{learner}", f"{learner} on {where}" if acts else others, steps, run)

    def modelled(sample: bool) -> Callable[[np.random.Generator, Lived], History]:
        seen = memory_needed(model, config)
        return lambda rng, lived: rollout(model, task, facts, episodes, rng, sample, lived, memory=seen)

    def played(label: str) -> Callable[[np.random.Generator, Lived], History]:
        return lambda rng, lived: play(task, facts, baselines(task, rng)[label], episodes, rng)

    learners = {"model": modelled(True), "model, argmax": modelled(False)}
    if can_live:
        learners["source"] = lambda rng, lived: config.experiment.rewarded_lives(facts, rng)
    names = list(baselines(task, rng_of(0)))
    learners |= {names[0]: played(names[0]), "optimal": lambda rng, lived: play_expert(task, facts, episodes, rng)}
    learners |= {name: played(name) for name in names[1:]}
    return [part(number, learner, live) for number, (learner, live) in enumerate(learners.items(), 1)]


def memory_needed(model: ADTransformer, config: Config) -> int | None:
    """Return how many episodes a context holds, if it is too short for all that are played; else None."""
    horizon = config.experiment.task.horizon
    fits = model.shape.window is not None or config.kept_episodes * horizon <= model.shape.n_ctx
    return None if fits else model.shape.n_ctx // horizon


def curve(name: str, history: History) -> Curve:
    """Return the mean return of each episode, or of each 10 steps where there is only one episode, with its interval.

    The interval is a bootstrap over tasks, since lives on the same task are alike.
    """
    returns = points(history)
    low, high = _interval(_by_task(returns, history.task))
    means = [round(float(value), 4) for value in returns.mean(axis=0)]
    return Curve(name, means, history.n_rows, low, high)


def _by_task(returns: Float[np.ndarray, "row episode"], facts: Facts) -> Float[np.ndarray, "task episode"]:
    if not facts:
        return returns
    numbers = task_numbers(facts)
    sums = np.zeros((numbers.max() + 1, returns.shape[1]))
    np.add.at(sums, numbers, returns)
    return sums / np.bincount(numbers)[:, None]


def _interval(means: Float[np.ndarray, "task episode"]) -> tuple[list[float], list[float]]:
    if len(means) < FEWEST:
        return [], []
    rows = np.random.default_rng(0).integers(0, len(means), size=(RESAMPLES, len(means)))
    low, high = np.percentile(means.T[:, rows].mean(axis=-1), [2.5, 97.5], axis=-1)
    return [round(float(v), 4) for v in low], [round(float(v), 4) for v in high]


def _summary(by_learner: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the figures that models are compared by; what means nothing for a task is left out."""
    numbers: dict[str, Number | None] = {}
    for learner, prefix in SUMMARISED.items():
        learner_figures = by_learner.get(learner, {})
        for key, figure in (("of_optimum", "share"), ("regret", "regret")):
            numbers[f"{prefix}{key}"] = Number.read(learner_figures.get(figure))
    numbers |= {name: Number.read(by_learner["model"][key]) for name, key in OF_MODEL.items()}
    summary = {name: number.value for name, number in numbers.items() if number and math.isfinite(number.value)}
    improvement = numbers["improvement"]
    if improvement is not None and improvement.has_interval:
        summary |= {"improvement_low": improvement.low, "improvement_high": improvement.high}
    rival = next((figures for name, figures in by_learner.items() if name.startswith("ucb")), {})
    regret, other = Number.read(by_learner["model"]["regret"]), Number.read(rival.get("regret"))
    if regret is not None and other is not None and other.value > 0:
        summary["regret_of_ucb1"] = round(regret.value / other.value, 4)
    return summary


def spread(facts: Facts, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return `n` tasks, each as often as the others as far as that goes, in random order."""
    n_tasks = n_tasks_of(facts)
    rows = rng.permutation(np.resize(rng.permutation(n_tasks), n))
    return {name: fact[rows] for name, fact in facts.items()}


def rng_of(*key: int) -> np.random.Generator:
    """Return the generator of a key."""
    return np.random.default_rng(list(key))


def explanation_curve(hypothesis: Hypothesis, config: Config, rollouts: int, seed: int) -> Curve:
    """Let an explanation live as a policy on held-out tasks: it learns in context if what it says suffices to."""
    task, (trained, held_out) = config.experiment.task, config.experiment.split()
    rng = np.random.default_rng([seed, rollouts])
    facts = held_out if n_tasks_of(held_out) else trained
    history = play(
        task,
        spread(facts, rollouts, rng),
        lambda so_far: hypothesis.policy(so_far)[:, -1],
        config.kept_episodes,
        rng,
    )
    return curve("explanation", in_expectation(task, history))
