"""How fast MiniGrid's tables are made, and how fast agents move over them: `python benchmarks/minigrid_tables.py`."""

from __future__ import annotations

import time
from collections.abc import Callable

import gymnasium
import numpy as np

from ad_hypotheses.tasks.minigrid_atlas import Atlas
from ad_hypotheses.tasks.minigrid_task import MinigridTask

ENVIRONMENTS = ("MiniGrid-Empty-8x8-v0", "MiniGrid-FourRooms-v0", "MiniGrid-DoorKey-5x5-v0", "MiniGrid-DoorKey-8x8-v0")
AGENTS = (1, 100, 4000)
LAYOUTS = 8
REPEATS = 3


def fastest(run: Callable[[], int]) -> float:
    """Return the most steps a second of processor time of some runs: the others were disturbed."""
    rates = []
    for _ in range(REPEATS):
        began = time.process_time()
        steps = run()
        rates.append(steps / (time.process_time() - began))
    return max(rates)


def real(environment: str, n_actions: int, steps: int = 2000) -> int:
    """Let one agent act at random in the real environment."""
    env = gymnasium.make(environment, disable_env_checker=True)
    env.reset(seed=0)
    for action in np.random.default_rng(0).integers(n_actions, size=steps):
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset(seed=0)
    return steps


def batched(task: MinigridTask, agents: int) -> int:
    """Let many agents act at random in the batched world."""
    rng = np.random.default_rng(0)
    state, steps = task.reset(task.sample_tasks(rng, agents)), max(40, 20_000 // agents)
    for actions in rng.integers(task.n_actions, size=(steps, agents)):
        _, _, state = task.step(state, actions, rng)
    return steps * agents


def main() -> None:
    """Print seconds a layout, and steps a second beside MiniGrid's own."""
    print("processor time of one core; a layout's seconds include the comparison with the real environment")
    columns = "".join(f"{f'{agents} agents':>22s}" for agents in AGENTS)
    print(f"{'environment':26s}{'states':>8s}{'s a layout':>12s}{'MiniGrid':>12s}{columns}")
    for environment in ENVIRONMENTS:
        task = MinigridTask(environment, layouts=LAYOUTS)
        n_states = task.n_states
        took = 1 / fastest(lambda task=task: len(Atlas(task.environment, False, 7, task.n_actions, 20_000).layouts))
        own = fastest(lambda task=task: real(task.environment, task.n_actions))
        rates = [fastest(lambda task=task, agents=agents: batched(task, agents)) for agents in AGENTS]
        shown = "".join(f"{f'{rate / 1e6:.2f} M/s = {rate / own:.0f}x':>22s}" for rate in rates)
        print(f"{environment:26s}{n_states:8d}{took:12.3f}{own:10.0f}/s{shown}")


if __name__ == "__main__":
    main()
