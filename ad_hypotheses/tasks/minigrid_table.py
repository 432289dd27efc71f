"""Layouts of MiniGrid as tables, read off the real environments: every state, and where each action leads.

A breadth-first search puts a real environment into each state that can be reached and takes every action there. A state
is the agent's position, direction and what it carries, what lies where, which doors are open, and how far BabyAI's
instructions have been followed.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import gymnasium
import minigrid
import numpy as np
from gymnasium.envs.registration import load_env_creator
from jaxtyping import Bool, Int
from minigrid.core.world_object import Door, Goal
from minigrid.minigrid_env import MiniGridEnv

from ad_hypotheses.errors import ConfigError, did_you_mean
from ad_hypotheses.tasks.minigrid_view import EMPTY, NO_PLACE, places_of, views
from ad_hypotheses.tasks.planning import NEVER, steps_to_reward

FOREVER = 2**31 - 1  # steps that the real environments allow: our episodes end at the horizon alone
START = 0  # number of the state that a layout begins in


@dataclass(frozen=True)
class Layout:
    """One layout as tables. State 0 is the start; whoever ends a lap is back there at once.

    Attributes:
        next_state: Where each action leads. [state, action]
        rewarded: Whether it reaches the goal. [state, action]
        view: What is seen: type, colour and state of each cell, and the direction. [state, channel]
        agent: Position and direction `(x, y, direction)`. [state, 3]
        free: Cells `(x, y)` that can be reached and were empty at the start, the agent's own left out. [cell, 2]
    """

    next_state: Int[np.ndarray, "state action"]
    rewarded: Bool[np.ndarray, "state action"]
    view: Int[np.ndarray, "state channel"]
    agent: Int[np.ndarray, "state 3"]
    free: Int[np.ndarray, "cell 2"]

    @cached_property
    def steps(self) -> Int[np.ndarray, " state"]:
        """Steps that the shortest way to the goal takes, `NEVER` where none leads there. [state]"""
        return steps_to_reward(self.next_state[None], self.rewarded[None])[0]

    def steps_to(self, goals: Int[np.ndarray, "goal 2"]) -> Int[np.ndarray, "goal state"]:
        """Return the steps of the shortest way onto each of some cells, `NEVER` where none leads there."""
        shape = (len(goals), *self.next_state.shape)
        at_goal = (self.agent[None, :, :2] == goals[:, None]).all(axis=2)
        return steps_to_reward(np.broadcast_to(self.next_state, shape), at_goal[:, self.next_state])

    def lap(self, place: int) -> int:
        """Return the steps of the shortest way from the start to a place, or to the goal for `NO_PLACE`."""
        return int(self.steps[START] if place == NO_PLACE else self._nearest.get(place, NEVER))

    @cached_property
    def _nearest(self) -> dict[int, int]:
        """Steps from the start to every place that can be reached, the start's own left out."""
        depth = np.full(len(self.agent), NEVER)
        frontier, steps = np.array([START]), 0
        while len(frontier):
            depth[frontier] = steps
            after = np.unique(self.next_state[frontier])
            frontier, steps = after[depth[after] == NEVER], steps + 1
        places = places_of(self.agent[:, :2])
        order = np.argsort(depth, kind="stable")
        unique, first = np.unique(places[order], return_index=True)
        return dict(zip(unique.tolist(), depth[order][first].tolist(), strict=True))


@dataclass
class World:
    """A real environment that can be put into any state of one layout.

    Attributes:
        env: The environment, without limit of steps; nothing is drawn for the agent.
        seed: Of the layout.
        hide_goal: Whether goal squares are taken away.
    """

    env: MiniGridEnv
    seed: int
    hide_goal: bool
    number_of: dict[Any, int] = field(default_factory=dict)
    arrangements: list[_Arrangement] = field(default_factory=list)
    now: int = -1

    def __post_init__(self) -> None:
        """Lay it out."""
        begin(self.env, self.seed, self.hide_goal)
        self.env.gen_obs = dict  # type: ignore[method-assign,assignment]  # most of a step, and nobody looks
        self.memories = list(_memories(self.env))
        self.objects = [item for item in _objects(self.env) if item.can_pickup()]

    def read(self) -> tuple[int, int, int, Any, int]:
        """Return the state: position, direction, what is carried, and the number of the arrangement of the rest."""
        x, y = self.env.agent_pos
        return int(x), int(y), int(self.env.agent_dir), self.env.carrying, self._arrangement()

    def write(self, state: tuple[int, int, int, Any, int]) -> None:
        """Put the environment into a state that was read before."""
        x, y, self.env.agent_dir, self.env.carrying, number = state
        self.env.agent_pos, self.env.step_count = (x, y), 0
        if number != self.now:
            before = self.arrangements[number]
            self.env.grid.grid = list(before.contents)
            for (owner, name), value in zip(self.memories, before.values, strict=True):
                setattr(owner, name, value)
            for item, position in zip(self.objects, before.positions, strict=True):
                item.cur_pos = position
            self.now = number

    def _arrangement(self) -> int:
        values = [getattr(owner, name) for owner, name in self.memories]
        grid = self.env.grid.grid
        if self.now >= 0:
            before = self.arrangements[self.now]
            if grid == before.contents and values == before.values:
                return self.now
        key = (tuple(grid), tuple(_hashable(value) for value in values))
        self.now = self.number_of.setdefault(key, len(self.arrangements))
        if self.now == len(self.arrangements):
            positions = [item.cur_pos for item in self.objects]
            self.arrangements.append(_Arrangement(list(grid), values, positions, encoded(self.env)))
        return self.now


@dataclass(frozen=True)
class _Arrangement:
    contents: list[Any]
    values: list[Any]
    positions: list[Any]
    encoded: np.ndarray


def registered() -> list[str]:
    """Return the ids of MiniGrid's environments."""
    if "MiniGrid-Empty-5x5-v0" not in gymnasium.registry:
        minigrid.register_minigrid_envs()
    return [name for name, spec in gymnasium.registry.items() if str(spec.entry_point).startswith("minigrid.")]


def open_environment(environment: str) -> MiniGridEnv:
    """Make the real environment, without wrappers.

    Raises:
        ConfigError: There is none of that name, or it is not MiniGrid's.
    """
    known = registered()
    if environment not in gymnasium.registry:
        raise ConfigError(
            f"minigrid has no environment {environment!r}.{did_you_mean(environment, known)}"
            f" It has {len(known)}, e.g. MiniGrid-Empty-8x8-v0, MiniGrid-FourRooms-v0, MiniGrid-DoorKey-5x5-v0."
        )
    spec = gymnasium.registry[environment]
    make = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    try:
        env = make(**spec.kwargs)
    except ImportError as error:
        raise ConfigError(f"{environment} needs a package that is not installed: {error}.") from error
    if not isinstance(env, MiniGridEnv):
        raise ConfigError(f"{environment} is no environment of MiniGrid, and tables are made of those only.")
    return env


def begin(env: MiniGridEnv, seed: int, hide_goal: bool) -> None:
    """Lay `env` out anew, with its goal squares taken away if they are to be hidden.

    Raises:
        ConfigError: Laying it out needs a package that is not installed.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # BabyAI tells of the layouts that it rejected
            env.reset(seed=seed)
    except gymnasium.error.DependencyNotInstalled as error:
        raise ConfigError(f"{type(env).__name__} cannot be laid out: {error}") from error
    env.max_steps = FOREVER
    if hide_goal:
        env.grid.grid = [None if isinstance(content, Goal) else content for content in env.grid.grid]


def start_of(env: MiniGridEnv) -> Any:
    """Return what tells the layout of a fresh environment from others: all that is in it, and its mission."""
    inside = tuple(_encoding(item) for item in _objects(env))  # what boxes contain is not in the grid
    return encoded(env).tobytes(), inside, *(int(value) for value in env.agent_pos), int(env.agent_dir), env.mission


def explore(env: MiniGridEnv, name: str, seed: int, n_actions: int, view: int, most: int, hide_goal: bool) -> Layout:
    """Explore one layout.

    Args:
        env: A real environment, whose steps will no longer draw anything.
        name: Its id.
        seed: Of the layout.
        n_actions: How many of MiniGrid's actions exist, of left, right, forward, pickup, drop, toggle, done.
        view: Cells a side that the agent sees.
        most: States a layout may have.
        hide_goal: Whether goal squares are taken away.

    Raises:
        ConfigError: There are more states, chance decides what actions do, or a reward does not end a lap.
    """
    world = World(env, seed, hide_goal)
    luck = env.np_random.bit_generator.state
    states = [world.read()]
    numbers = {states[0]: START}
    next_state, rewarded = [], []
    for state in states:  # grows as we go
        for action in range(n_actions):
            world.write(state)
            _, reward, terminated, _, _ = env.step(action)
            paid, after = float(reward) > 0, world.read()
            number = START if terminated else numbers.setdefault(after, len(states))
            if number == len(states):
                states.append(after)
            next_state.append(number)
            rewarded.append(paid)
            if paid and not terminated:
                raise ConfigError(f"{name} pays before a lap ends, but only worlds that end a lap when they pay fit.")
        if len(states) > most or env.np_random.bit_generator.state != luck:
            break
    _check(name, seed, len(states) > most, env.np_random.bit_generator.state != luck, n_actions, most)
    shape = (len(states), n_actions)
    return _layout(world, states, np.reshape(next_state, shape), np.reshape(rewarded, shape), view)


def _check(name: str, seed: int, too_many: bool, chance: bool, n_actions: int, most: int) -> None:
    if chance:
        raise ConfigError(
            f"{name} draws random numbers at its steps, so its layouts are no tables. Take one where chance decides "
            "nothing after the start, e.g. MiniGrid-FourRooms-v0."
        )
    if too_many:
        raise ConfigError(
            f"{name}: the layout of seed {seed} has more than max_states = {most} states with {n_actions} actions. "
            "Raise max_states, allow fewer actions (actions: 3 keeps left, right and forward), or take a smaller one."
        )


def rehearse(env: MiniGridEnv, name: str, seed: int, layout: Layout, view: int, hide_goal: bool, steps: int) -> None:
    """Compare a table to the real environment at random actions.

    Args:
        env: A real environment, which nothing was done to but resets and steps.
        name: Its id.
        seed: Of the layout.
        layout: Its tables.
        view: Cells a side that the agent sees.
        hide_goal: Whether goal squares are taken away.
        steps: How many actions.

    Raises:
        ConfigError: They differ: the environment remembers something that no table of its states has.
    """
    env.agent_view_size = view
    begin(env, seed, hide_goal)
    state, seen = START, env.gen_obs()
    for action in [None, *np.random.default_rng(seed).integers(layout.next_state.shape[1], size=steps)]:
        paid = ended = False
        if action is not None:
            seen, reward, ended, _, _ = env.step(action)
            paid = float(reward) > 0
        expected = paid if action is None else layout.rewarded[state, action]
        state = START if action is None else int(layout.next_state[state, action])
        if ended:
            begin(env, seed, hide_goal)
            seen = env.gen_obs()
        if expected != paid or (layout.view[state] != [*seen["image"].reshape(-1), seen["direction"]]).any():
            raise ConfigError(
                f"{name} cannot be made a table: it remembers more than its grid, its agent and its instructions, or "
                f"shows something else than they look like (layout of seed {seed})."
            )


def _layout(world: World, states: list[Any], next_state: np.ndarray, rewarded: np.ndarray, view: int) -> Layout:
    agent = np.array([state[:3] for state in states])
    carried = np.array([_encoding(state[3]) for state in states])
    grids = np.stack([arrangement.encoded for arrangement in world.arrangements])
    image = views(grids, np.array([state[4] for state in states]), agent, carried, view, world.env.see_through_walls)
    empty = (grids[states[START][4]] == EMPTY).all(axis=-1)
    cells = np.unique(agent[:, :2], axis=0)
    free = cells[empty[cells[:, 0], cells[:, 1]] & (cells != agent[START, :2]).any(axis=1)]
    seen = np.concatenate([image.reshape(len(states), -1), agent[:, 2:].astype(np.int8)], axis=1)
    return Layout(next_state.astype(np.int32), rewarded, seen, agent.astype(np.int16), free.astype(np.int16))


def _encoding(item: Any) -> tuple[int, int, int]:
    return EMPTY if item is None else item.encode()


def encoded(env: MiniGridEnv) -> Int[np.ndarray, "x y 3"]:
    """Return type, colour and state of every cell of an environment. [x, y, 3]"""
    rows = np.array([_encoding(content) for content in env.grid.grid], dtype=np.int8)
    return rows.reshape(env.grid.height, env.grid.width, 3).transpose(1, 0, 2)


def _objects(env: MiniGridEnv) -> Iterator[Any]:
    for item in env.grid.grid:
        while item is not None:
            yield item
            item = item.contains


def _memories(env: MiniGridEnv) -> Iterator[tuple[Any, str]]:
    """Attributes, other than the grid and the agent's, that a step may change."""
    for source in _objects(env):
        if isinstance(source, Door):
            yield from ((source, "is_open"), (source, "is_locked"))
    instructions = [getattr(env, "instrs", None)]
    for source in instructions:  # grows as we go: BabyAI's instructions contain others
        described = [getattr(source, name, None) for name in ("desc", "desc_move", "desc_fixed")]
        instructions += [part for name in ("instr_a", "instr_b") if (part := getattr(source, name, None)) is not None]
        yield from (
            (source, name) for name in ("a_done", "b_done", "preCarrying", "lastStepMatch") if hasattr(source, name)
        )
        yield from ((source, "obj_poss") for source in described if source is not None)


def _hashable(value: Any) -> Any:
    return tuple((int(x), int(y)) for x, y in value) if isinstance(value, list) else value
