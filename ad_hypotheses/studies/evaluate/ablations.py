"""What a model's learning rests on: how much of its past it may see, and whose past it is given.

Both are asked on held-out tasks, if there are any, and by fewer lives than the learning curves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import episode_returns
from ad_hypotheses.studies.evaluate.curves import EvaluationPart, Lived, memory_needed, rng_of, spread
from ad_hypotheses.studies.evaluate.figures import LAST, ReturnMeasure, in_expectation, written
from ad_hypotheses.tasks import Facts, Task
from ad_hypotheses.tasks.play import play, play_expert, uniform
from ad_hypotheses.tasks.task import n_tasks_of

MOST_LIVES = 200
LONGEST_PROMPT = 8  # episodes
KEY = 2  # 0 and 1 are the tasks of the learning curves
STARTS = {
    "none": "nothing",
    "own first": "its own first {n}",
    "own last": "its own last {n} of {all}",
    "expert": "an expert's {n}",
    "expert, no rewards": "an expert's {n}, every reward 0",
    "random": "a random agent's {n}",
}


def ablation_parts(model: ADTransformer, config: Config, rollouts: int, seed: int) -> list[EvaluationPart]:
    """Return the parts that give what a model forgets and what it makes of unusual starts.

    There are none where a context is one episode.
    """
    if config.kept_episodes < 2:
        return []
    trained, held_out = config.experiment.split()
    facts = spread(held_out if n_tasks_of(held_out) else trained, min(rollouts, MOST_LIVES), rng_of(seed, KEY))
    measure = ReturnMeasure.of(config.experiment.task, facts)
    return [*_memory_parts(model, config, facts, measure, seed), *_start_parts(model, config, facts, measure, seed)]


def ablations(results: Mapping[str, Any], config: Config, rollouts: int, seed: int) -> dict[str, Any]:
    """Put the results of the parts of `ablation_parts` together.

    Returns:
        Plain data, or nothing where no part was run. `memory`: `[{"episodes": m, "last": number, "share": number}]`,
        over the last three episodes of a life. `starts`: `[{"start": ..., "says": ..., "episodes": n, "return": number,
        "share": number, "change": number}]`, of the episode that follows; `change` is against the first episode of an
        empty context, of the optimum, in return where shares mean nothing. `lives`: of each.
    """
    memory = [result for name, result in results.items() if name.startswith("memory/")]
    lived = {
        start: np.array(returns)
        for name, result in results.items()
        if name.startswith("starts/")
        for start, returns in result.items()
    }
    if not memory and not lived:
        return {}
    trained, held_out = config.experiment.split()
    facts = spread(held_out if n_tasks_of(held_out) else trained, min(rollouts, MOST_LIVES), rng_of(seed, KEY))
    measure = ReturnMeasure.of(config.experiment.task, facts)
    results_of_ablations: dict[str, Any] = {"memory": memory, "lives": n_tasks_of(facts)}
    if "none" in lived:
        results_of_ablations["starts"] = [_start(start, lived, measure, config) for start in STARTS if start in lived]
    return results_of_ablations


def prompt_length(config: Config) -> int:
    """Return how many episodes of somebody's life a model is given."""
    return max(1, min(LONGEST_PROMPT, config.context_episodes // 2))


def _memory_parts(
    model: ADTransformer, config: Config, facts: Facts, measure: ReturnMeasure, seed: int
) -> list[EvaluationPart]:
    task, episodes = config.experiment.task, config.kept_episodes

    def part(memory: int) -> EvaluationPart:
        def run(lived: Lived) -> dict[str, Any]:
            history = rollout(model, task, facts, episodes, rng_of(seed, KEY, memory), progress=lived, memory=memory)
            last = episode_returns(in_expectation(task, history))[:, -LAST:].mean(axis=1)
            return {"episodes": memory, "last": written(measure.mean(last)), "share": written(measure.share(last))}

        says = f"seeing {memory} episode{'s' if memory > 1 else ''}"
        return EvaluationPart(f"memory/{memory}", says, episodes * task.horizon, run)

    longest = min(episodes, memory_needed(model, config) or episodes)
    return [part(2**power) for power in range((longest - 1).bit_length())]


def _start_parts(
    model: ADTransformer, config: Config, facts: Facts, measure: ReturnMeasure, seed: int
) -> list[EvaluationPart]:
    task, n = config.experiment.task, prompt_length(config)
    if config.context_episodes < 2:
        return []

    def after(prompt: History, rng: np.random.Generator) -> list[float]:
        lived = rollout(model, task, facts, 1, rng, prompt=prompt)
        return episode_returns(in_expectation(task, lived))[:, 0].tolist()

    def own(lived: Lived) -> dict[str, list[float]]:
        rng, seen = rng_of(seed, KEY, 100), memory_needed(model, config)
        life = rollout(model, task, facts, config.kept_episodes, rng, progress=lived, memory=seen)
        returns = episode_returns(in_expectation(task, life))
        last = _last_episodes(life, n * task.horizon)
        return {"none": returns[:, 0].tolist(), "own first": returns[:, n].tolist(), "own last": after(last, rng)}

    def given(start: str, number: int, lives: Callable[[np.random.Generator], History]) -> EvaluationPart:
        def run(lived: Lived) -> dict[str, list[float]]:
            rng = rng_of(seed, KEY, number)
            return {start: after(lives(rng), rng)}

        return EvaluationPart(f"starts/{start}", f"after {STARTS[start].format(n=n)}", task.horizon, run)

    return [
        EvaluationPart("starts/own", "its own episodes", config.kept_episodes * task.horizon, own),
        given("expert", 101, lambda rng: play_expert(task, facts, n, rng)),
        given("expert, no rewards", 102, lambda rng: unpaid(play_expert(task, facts, n, rng), task)),
        given("random", 103, lambda rng: play(task, facts, uniform(task), n, rng)),
    ]


def unpaid(history: History, task: Task) -> History:
    """Return a history in which nothing was ever paid: every reward is 0, or the one nearest to it that exists."""
    return replace(history, rewards=np.full_like(history.rewards, min(task.rewards, key=abs)))


def _last_episodes(history: History, n_steps: int) -> History:
    last = history.window(-n_steps)
    return replace(last, episode=last.episode - last.episode[:, :1])


def _start(
    start: str, lived: Mapping[str, Float[np.ndarray, " row"]], measure: ReturnMeasure, config: Config
) -> dict[str, Any]:
    n, returns = prompt_length(config), lived[start]
    change = returns - lived["none"]
    return {
        "start": start,
        "says": STARTS[start].format(n=n, all=config.kept_episodes),
        "episodes": n if start != "none" else 0,
        "return": written(measure.mean(returns)),
        "share": written(measure.share(returns)),
        "change": None if start == "none" else written(measure.share(change) or measure.mean(change)),
    }
