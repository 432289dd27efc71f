"""Bandits and graph worlds as gymnasium environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.tasks.bandit import BanditState, BernoulliBandit, GaussianBandit
from ad_hypotheses.tasks.graph_world import GraphState, GraphWorld, strongly_connected
from ad_hypotheses.tasks.task import Facts, make_from

FAMILIES = {"bandit": BernoulliBandit, "gaussian-bandit": GaussianBandit}


class BanditEnv(gymnasium.Env[Any, Any]):
    """One bandit, with nothing to see.

    The observation is always 0, since gymnasium has no empty one. An episode is truncated at the horizon.

    Args:
        family: Which distribution of bandits, by the name of its task family.
        params: Parameters of the family, e.g. `arms` and `horizon`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012, the attribute is gymnasium's

    def __init__(self, family: str = "bandit", render_mode: str | None = None, **params: Any) -> None:
        self.bandit = make_from(FAMILIES, "family of bandits", family, params)
        self.render_mode = render_mode
        self.action_space = spaces.Discrete(self.bandit.arms)
        self.observation_space = spaces.Discrete(1)
        self._facts: Facts | None = None
        self._state: BanditState | None = None
        self._pulls = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Sit down at a bandit.

        Args:
            seed: Draws the arms, where `options` does not name them, and what they pay.
            options: `{"means": [...]}` gives the arms these means (of a Bernoulli bandit: probabilities of paying),
                at which they stay, also where they would drift.
                With neither, the bandit stays the same, so that a learner can live many episodes of one task.

        Raises:
            ConfigError: There are not `arms` means, or some are out of range.
        """
        super().reset(seed=seed)
        means = (options or {}).get("means")
        if means is not None:
            self._facts = {"means": self._checked(means)}
        elif seed is not None or self._facts is None:
            self._facts = self.bandit.sample_tasks(self.np_random, 1)
        self._state = self.bandit.reset(self._facts)
        self._pulls = 0
        return 0, {}

    def step(self, action: int | np.integer) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Pull an arm."""
        assert self._state is not None, "step comes after reset"
        self._pulls += 1
        _, rewards, self._state = self.bandit.step(self._state, np.array([action]), self.np_random)
        return 0, float(rewards[0]), False, self._pulls >= self.bandit.horizon, {}

    def _checked(self, given: Any) -> np.ndarray:
        try:
            means = np.array([given], dtype=float)
        except (TypeError, ValueError):
            means = np.empty(0)
        low, high = self.bandit.possible_means
        if means.shape != (1, self.bandit.arms) or not ((means >= low) & (means <= high)).all():
            kind = "probabilities" if (low, high) == (0, 1) else f"numbers from {low:g} to {high:g}"
            raise ConfigError(f"means {given!r} are not {self.bandit.arms} {kind}.")
        return means


class GraphWorldEnv(gymnasium.Env[Any, Any]):
    """One graph; the observation is the number of the agent's state. An episode is truncated at the horizon.

    Args:
        params: Parameters of :class:`GraphWorld`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012, the attribute is gymnasium's

    def __init__(self, render_mode: str | None = None, **params: Any) -> None:
        self.world = GraphWorld(**params)
        self.render_mode = render_mode
        self.action_space = spaces.Discrete(self.world.actions)
        self.observation_space = spaces.Discrete(self.world.states)
        self._facts: Facts | None = None
        self._state: GraphState | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Go to the start.

        Args:
            seed: Draws the graph, where `options` does not name it.
            options: `{"next": [state, action], "start": ..., "goal": ...}` names graph, start and goal, all three. With
                neither, they stay the same, so that a learner can live many episodes of one task.

        Raises:
            ConfigError: These are no facts of a task.
        """
        super().reset(seed=seed)
        if options:
            self._facts = self._checked(options)
        elif seed is not None or self._facts is None:
            self._facts = self.world.sample_tasks(self.np_random, 1)
        self._state = self.world.reset(self._facts)
        return int(self._state.here[0]), {}

    def step(self, action: int | np.integer) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Take one of the ways."""
        assert self._state is not None, "step comes after reset"
        _, rewards, self._state = self.world.step(self._state, np.array([action]))
        return int(self._state.here[0]), float(rewards[0]), False, bool(self._state.steps_left[0] == 0), {}

    def _checked(self, options: Mapping[str, Any]) -> Facts:
        world = self.world
        shapes = {"next": (world.states, world.actions), "start": (), "goal": ()}
        if set(options) != set(shapes):
            raise ConfigError(f"a graph needs the options next, start and goal, but there are {', '.join(options)}.")
        facts = {name: np.asarray(options[name]) for name in shapes}
        for name, fact in facts.items():
            numbers = fact.shape == shapes[name] and fact.dtype.kind in "iu"
            if not numbers or (fact < 0).any() or (fact >= world.states).any():
                raise ConfigError(
                    f"{name} is {options[name]!r}, but it must hold states, 0 to {world.states - 1}, in the shape "
                    f"{list(shapes[name])}."
                )
        if not strongly_connected(facts["next"][None])[0]:
            raise ConfigError("next: some state of this graph cannot be reached from every other.")
        return {name: fact[None].astype(np.int8) for name, fact in facts.items()}
