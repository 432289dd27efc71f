"""Whether a task family keeps its promises: it lives a few random lives and says everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.language.history import History
from ad_hypotheses.language.user_code import described
from ad_hypotheses.tasks.counterfactuals import counterfactuals_of
from ad_hypotheses.tasks.edits.lives import Lives
from ad_hypotheses.tasks.play import play, play_expert, uniform
from ad_hypotheses.tasks.task import Facts, Task, missing_members, n_tasks_of

N_TASKS = 6
LIFE = 4  # episodes of the lives in which counterfactual families are tried
COPIES = 24  # lives of every task where returns are compared with the optimum
BYTE = 128  # observations and actions are kept in a byte each
FAR = 6.0  # standard errors from what is promised that luck does not explain


def check_task(task: Any, seed: int = 0) -> None:
    """Refuse a task family that does not do what every :class:`Task` promises.

    Checks members, sizes, types and ranges of all that it returns, that its split does not overlap and stays, that
    a seed decides everything, that a deterministic world is one, that its counterfactual families make whole lives,
    that its regimes are disjoint and cover all steps, that its baselines are distributions, that its expert earns
    `optimal_return`, and that chance does not earn more. Where chance decides, means over 24 lives a task are
    compared; what is wrong by less than their error passes.

    Args:
        task: The family; it should be small enough for a few thousand steps.
        seed: Of the tasks and lives.

    Raises:
        ConfigError: Something is wrong; everything found is listed, each with the member that it is about.
    """
    missing = missing_members(task)
    if missing:
        problems = [f"it lacks {', '.join(missing)}"]
    else:
        checks = (_constants, _tasks, _world, _chance, _policies, _counterfactuals, _regimes, _returns)
        problems = [problem for check in checks for problem in _run(check, task, seed)]
    if problems:
        name = getattr(task, "name", type(task).__name__)
        raise ConfigError(f"the task family {name!r} cannot be used:\n" + "\n".join(f"  {one}" for one in problems))


Check = Callable[[Task, int], Iterator[str]]


def _run(check: Check, task: Task, seed: int) -> list[str]:
    """Return what a check finds, and how it fails where the family stops it."""
    reports = []
    try:
        for problem in check(task, seed):
            reports.append(problem)
    except Exception as error:  # whatever a user's code raises is a finding
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        where = "" if frame is None else f", in {frame.tb_frame.f_code.co_name}, line {frame.tb_lineno}"
        reports.append(f"{(check.__doc__ or '').rstrip('.')}: {described(error)}{where}")
    return reports


def _constants(task: Task, seed: int) -> Iterator[str]:
    """Its numbers and names."""
    if len(task.channels) != len(task.channel_sizes):
        yield f"channels: {len(task.channels)} names, but channel_sizes has {len(task.channel_sizes)}"
    if not all(1 <= size <= BYTE for size in task.channel_sizes):
        yield f"channel_sizes: {tuple(task.channel_sizes)}, but each must be 1 to {BYTE}"
    if not 2 <= task.n_actions <= BYTE:
        yield f"n_actions: {task.n_actions}, but it must be 2 to {BYTE}"
    if len(task.action_names) != task.n_actions:
        yield f"action_names: {len(task.action_names)} names of {task.n_actions} actions"
    if list(task.rewards) != sorted(set(task.rewards)) or len(task.rewards) < 2 or not np.isfinite(task.rewards).all():
        yield f"rewards: {tuple(task.rewards)}, but it must list two or more numbers, ascending, each once"
    for name in ("horizon", "n_states"):
        if getattr(task, name) < 1:
            yield f"{name}: {getattr(task, name)}, but it must be at least 1"


def _tasks(task: Task, seed: int) -> Iterator[str]:
    """Its tasks."""
    facts = task.sample_tasks(np.random.default_rng(seed), N_TASKS)
    lengths = {name: len(fact) for name, fact in facts.items()}
    if not facts or set(lengths.values()) != {N_TASKS}:
        yield f"sample_tasks: asked for {N_TASKS} tasks, but its facts have {lengths} rows"
    train, held_out = task.split(1, seed)
    fewer, same = task.split(1, seed, 1)
    if (n_tasks_of(held_out), n_tasks_of(fewer), n_tasks_of(same)) != (1, 1, 1):
        yield "split: asked to hold out 1 task and train on 1, it returns other numbers of them"
    if _rows(train) & _rows(held_out):
        yield "split: a task that is held out is also trained on"
    if _rows(same) != _rows(held_out):
        yield "split: what is held out depends on how many are trained on"
    optimum = np.asarray(task.optimal_return(facts))
    if optimum.shape != (N_TASKS,) or not np.isfinite(optimum).all():
        yield f"optimal_return: must be a finite number for each of {N_TASKS} tasks, but it is {optimum!r}"


def _world(task: Task, seed: int) -> Iterator[str]:
    """An episode, step by step."""
    rng = np.random.default_rng(seed)
    state = task.reset(task.sample_tasks(rng, N_TASKS), rng)
    breaches = dict.fromkeys(_of_a_state(task, state))
    listed = set(np.array(task.rewards, dtype=np.float32).tolist())
    for _ in range(task.horizon):
        seen, rewards, state = task.step(state, rng.integers(task.n_actions, size=N_TASKS), rng)
        breaches |= dict.fromkeys(_of_a_state(task, state))
        if not np.array_equal(seen, task.observe(state)):
            breaches["step: the observation that it returns is not the one of observe(the state that it returns)"] = (
                None
            )
        if np.shape(rewards) != (N_TASKS,):
            breaches[f"step: rewards must be of shape ({N_TASKS},), but are {np.shape(rewards)}"] = None
        elif strange := sorted(set(np.asarray(rewards, dtype=np.float32).tolist()) - listed):
            breaches[f"step: pays {strange[0]:g}, which `rewards` {tuple(task.rewards)} does not list"] = None
    yield from breaches


def _of_a_state(task: Task, state: Any) -> Iterator[str]:
    seen = np.asarray(task.observe(state))
    shape = (N_TASKS, len(task.channels))
    if seen.shape != shape or seen.dtype.kind not in "iu":
        yield f"observe: must return integers of shape {shape}, but returns {seen.dtype} {seen.shape}"
    elif (seen < 0).any() or (seen >= np.array(task.channel_sizes)).any():
        yield f"observe: an observation is not in the ranges that channel_sizes {tuple(task.channel_sizes)} gives"
    index = np.asarray(task.state_index(state))
    if index.shape != (N_TASKS,) or index.dtype.kind not in "iu":
        yield f"state_index: must return integers of shape ({N_TASKS},), but returns {index.dtype} {index.shape}"
    elif (index < 0).any() or (index >= task.n_states).any():
        yield f"state_index: {index.max() if index.max() > 0 else index.min()} is not in 0 .. {task.n_states - 1}"
    yield from _of_a_distribution("expert", task.expert(state), task)


def _of_a_distribution(subject: str, chances: Any, task: Task) -> Iterator[str]:
    chances, shape = np.asarray(chances), (N_TASKS, task.n_actions)
    if chances.shape != shape:
        yield f"{subject}: must return probabilities of shape {shape}, but returns {chances.shape}"
    elif not ((chances >= 0).all() and np.allclose(chances.sum(axis=1), 1, atol=1e-5)):
        yield f"{subject}: its probabilities must be 0 or more and sum to 1"


def _chance(task: Task, seed: int) -> Iterator[str]:
    """What chance decides."""
    once, again = (_life(task, seed) for _ in range(2))
    if not all(np.array_equal(getattr(once, name), getattr(again, name)) for name in ("observations", "rewards")):
        yield "step: the same seed gave two different lives; draw only from the generator that is passed in"
    if not task.deterministic:
        return
    ends = []
    for luck in (1, 2):
        rng = np.random.default_rng(seed)
        state, path = task.reset(task.sample_tasks(rng, N_TASKS), rng), []
        for actions in rng.integers(task.n_actions, size=(task.horizon, N_TASKS)):
            _, rewards, state = task.step(state, actions, np.random.default_rng(luck))
            path.append([task.state_index(state), rewards])
        ends.append(np.array(path))
    if not np.array_equal(ends[0], ends[1]):
        yield "deterministic: it is True, but the same actions from the same start had different outcomes"


def _policies(task: Task, seed: int) -> Iterator[str]:
    """Its baselines."""
    rng = np.random.default_rng(seed)
    for name, policy in task.baselines(rng).items():
        if name in ("random", "optimal"):
            yield f"baselines: {name!r} is there for every family; leave it out"
        breaches: dict[str, None] = {}

        def watched(history: History, name: str = name, policy: Any = policy, breaches: dict = breaches) -> np.ndarray:
            chances = policy(history)
            breaches |= dict.fromkeys(_of_a_distribution(f"baselines: {name}", chances, task))
            return uniform(task)(history) if breaches else chances

        play(task, task.sample_tasks(rng, N_TASKS), watched, 2, rng)
        yield from breaches


def _counterfactuals(task: Task, seed: int) -> Iterator[str]:
    """Its counterfactual families."""
    rng = np.random.default_rng(seed)
    facts = task.sample_tasks(rng, N_TASKS)

    def anybody(world: Any, facts: Facts, past: History | None, stop: int) -> History:
        return play(world, facts, uniform(task), LIFE, rng, past, stop)

    for name, kind in counterfactuals_of(task).items():
        if kind.live is not None:
            history = kind.live(Lives(task, facts, LIFE, rng, anybody)).history
            if history.actions.shape != (N_TASKS, LIFE * task.horizon):
                yield f"counterfactuals: the lives of {name!r} are not of {LIFE} whole episodes, but {history.shape}"


def _regimes(task: Task, seed: int) -> Iterator[str]:
    """Its regimes."""
    history = _life(task, seed)
    regimes = task.regimes(history)
    for name, steps in regimes.items():
        if np.shape(steps) != history.actions.shape or np.asarray(steps).dtype != bool:
            yield f"regimes: {name!r} must be true or false for every step, of shape {history.actions.shape}"
            return
    count = sum(np.asarray(steps).astype(int) for steps in regimes.values())
    if np.any(count != 1):
        yield f"regimes: a step is in {np.max(np.abs(count - 1)) + 1 if np.any(count > 1) else 0} of them, not in 1"
    actions, rewards = history.actions.copy(), history.rewards.copy()
    actions[:, -1], rewards[:, -1] = (actions[:, -1] + 1) % task.n_actions, task.rewards[-1]
    alike = replace(history, actions=actions, rewards=rewards)
    if any((regimes[name][:, -1] != steps[:, -1]).any() for name, steps in task.regimes(alike).items()):
        yield "regimes: the last step's depends on its own action or reward, which come after it"


def _returns(task: Task, seed: int) -> Iterator[str]:
    """What can be earned."""
    rng = np.random.default_rng(seed)
    few = task.sample_tasks(rng, N_TASKS)
    facts = {name: np.repeat(fact, COPIES, axis=0) for name, fact in few.items()}
    optimum = np.asarray(task.optimal_return(few), dtype=float)
    shape = (N_TASKS, COPIES, task.horizon)
    best = play_expert(task, facts, 1, rng).rewards.reshape(shape).sum(axis=2, dtype=float)
    anyhow = play(task, facts, uniform(task), 1, rng).rewards.reshape(shape).sum(axis=2, dtype=float)
    for player, returns, wrong in (("expert", best, np.abs), ("random actions", anyhow, lambda gap: gap)):
        gap = returns.mean() - optimum.mean()
        error = np.sqrt((returns.var(axis=1, ddof=1) / COPIES).sum()) / N_TASKS
        if wrong(gap) > FAR * error + 1e-4 * max(1.0, np.abs(optimum).mean()):
            yield f"optimal_return: its mean is {optimum.mean():.4g}, but {player} earned {returns.mean():.4g}"


def _life(task: Task, seed: int) -> History:
    rng = np.random.default_rng(seed)
    return play(task, task.sample_tasks(rng, N_TASKS), uniform(task), 2, rng)


def _rows(facts: Facts) -> set[bytes]:
    """Return each task as bytes, to be compared."""
    columns = [np.ascontiguousarray(fact).reshape(len(fact), -1) for fact in facts.values()]
    return {b"".join(column[row].tobytes() for column in columns) for row in range(n_tasks_of(facts))}
