"""How fast learners live and how well they end, on one core: `python benchmarks/histories.py`."""

from __future__ import annotations

import time

import numpy as np

from ad_hypotheses.sources import UCB1, DynaQ, EpsilonGreedyQ, Source, Thompson, episode_returns
from ad_hypotheses.tasks import BernoulliBandit, DarkRoom, Facts, Task

LIVES = 4050
EPISODES = 38
REPEATS = 3


def steps_per_second(source: Source, task: Task, facts: Facts, episodes: int) -> float:
    """Return the best of some runs, in millions: the others were disturbed."""
    rates = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        history = source.live(task, facts, episodes, np.random.default_rng(0))
        rates.append(history.actions.size / (time.perf_counter() - began) / 1e6)
    return max(rates)


def by_distance(source: Source, room: DarkRoom, facts: Facts) -> None:
    """Print the learning curve for goals near and far, and when they were found first."""
    history = source.live(room, facts, EPISODES, np.random.default_rng(0))
    returns = episode_returns(history)
    found = returns.cumsum(axis=1) > 0
    distance = np.abs(facts["goal"].astype(int) - room.start).sum(axis=1)
    shown = [0, 4, 9, 14, 19, 24, 29, 37]
    print("  moves  optimum   mean return at episode " + " ".join(f"{episode + 1:6d}" for episode in shown))
    groups = [(f"{moves}", distance == moves) for moves in range(distance.max() + 1)]
    for name, rows in [*groups, ("all", distance >= 0)]:
        optimum = room.optimal_return({"goal": facts["goal"][rows]}).mean()
        print(
            f"  {name:>5s}  {optimum:7.2f}  {'':22s} "
            + " ".join(f"{value:6.2f}" for value in returns[rows].mean(0)[shown])
        )
        print(
            f"  {'':5s}  {'':7s}  {'found by then':>22s} "
            + " ".join(f"{value:6.2f}" for value in found[rows].mean(0)[shown])
        )


def main() -> None:
    """Print both."""
    room, bandit = DarkRoom(), BernoulliBandit()
    cells = room.tasks()["goal"]
    goals = {"goal": np.tile(cells, (LIVES // len(cells), 1))}
    arms = bandit.sample_tasks(np.random.default_rng(0), LIVES)
    cases: list[tuple[Source, Task, Facts, int]] = [
        (EpsilonGreedyQ(), room, goals, EPISODES),
        (DynaQ(planning=10), room, goals, EPISODES),
        (DynaQ(), room, goals, EPISODES),
        (UCB1(), bandit, arms, 1),
        (Thompson(), bandit, arms, 1),
    ]
    for source, task, facts, episodes in cases:
        rate = steps_per_second(source, task, facts, episodes)
        print(f"{source!r} on {task.name}: {rate:.2f} million steps a second")
    print(f"\n{DynaQ()!r}")
    by_distance(DynaQ(), room, goals)


if __name__ == "__main__":
    main()
