"""Contexts in rooms that are built visit by visit: which cell pays, how often, and since when no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.ladder.novice import Novice
from ad_hypotheses.ladder.places import places_lack, walks
from ad_hypotheses.ladder.rung import Context, Span
from ad_hypotheses.language.history import NO_ACTION, History
from ad_hypotheses.studies.behave.condition import PAIRED, Condition, Subject, decided, joined_steps
from ad_hypotheses.studies.data import facts_of
from ad_hypotheses.tasks import DarkRoom
from ad_hypotheses.tasks.edits.worlds import TwoGoals, Unpaid
from ad_hypotheses.tasks.play import draw
from ad_hypotheses.tasks.room import Room, has_known_moves
from ad_hypotheses.tasks.task import Facts

MOST_EPISODES = 12  # of a built life, before the decision
WANDERINGS = 4  # episodes that go to neither of two cells, before the most visits to both, where a context holds them
NEAREST = 2  # moves from where an episode begins to a cell that pays
DOSES, FAILURES, BOTH = (0, 1, 2, 3, 4, 5, 6, 8), (0, 1, 2, 4, 6), 5
NOWHERE = -1

VALUED = 3  # visits to each of two cells that pay differently
Visit = tuple[str, float]
"""Where an episode goes, `"first"`, `"second"` or nowhere in particular, and what it is paid there."""


@dataclass(frozen=True)
class BuiltRooms:
    """Lives that are put together from episodes that are the same in every condition.

    Attributes:
        room: The family.
        start: Where the last decision is made. [row]
        cells: The two cells that may pay. {"first", "second": [row]}
        wandering: Episodes of a novice who comes to neither. [row, episode, step]
        visiting: Episodes that go to one of them, once, and on as a novice. {"first", "second": [row, episode, step]}
        arrival: Step of the visit. {"first", "second": [row, episode]}
    """

    room: Room
    start: Int[np.ndarray, " row"]
    cells: dict[str, Int[np.ndarray, " row"]]
    wandering: list[History]
    visiting: dict[str, list[History]]
    arrival: dict[str, list[Int[np.ndarray, " row"]]]

    def context(self, visits: Sequence[Visit], world: Span | None = None) -> Context:
        """Put a life together and end it where an episode begins.

        Args:
            visits: Its episodes.
            world: Where all of it takes place; None for worlds that change with what is paid.

        Episodes that are not shown take place where the cell that was paid last pays, from the first time on that it is
        shown to; before, and after a visit to that cell that was not paid, nothing does.
        """
        episodes: list[History] = []
        spans: list[Span] = []
        now: str | None = None
        counts = {"": 0, "first": 0, "second": 0}
        for number, (cell, pays) in enumerate(visits):
            pool = self.visiting[cell] if cell else self.wandering
            episode = pool[counts[cell] % len(pool)]
            if pays:
                rewards = episode.rewards.copy()
                rewards[np.arange(episode.n_rows), self.arrival[cell][counts[cell] % len(pool)]] = pays
                episode = replace(episode, rewards=rewards)
            episodes.append(episode)
            counts[cell] += 1
            paying = cell if pays else "" if cell and cell == now else now
            if paying != now or not spans:
                spans.append(self._span(number, paying or ""))
                now = paying
        return Context(joined_steps([*episodes, self._last()]), tuple(spans) if world is None else (world,))

    def world_of(self, **places: str) -> Span:
        """Return the world in which both cells pay as the family has it: facts, each one of the two cells."""
        facts = {name: self.room.square.positions(self.cells[cell]) for name, cell in places.items()}
        return Span(0, TwoGoals(self.room) if "second_goal" in facts else self.room, facts)  # type: ignore[arg-type]

    def _span(self, number: int, cell: str) -> Span:
        """Return the world in which a cell pays, or nothing does."""
        if cell:
            return Span(number, self.room, self._facts(cell))
        return Span(number, Unpaid(self.room), self._facts("second"))  # type: ignore[arg-type]

    def _facts(self, cell: str) -> Facts:
        other = "second" if cell == "first" else "first"
        pays, next_pays = (self.room.square.positions(self.cells[name]) for name in (cell, other))
        return {"goal": pays} if self.room.n_hidden == 1 else {"key": pays, "door": next_pays}

    def _last(self) -> History:
        """The first step of an episode, which is not decided."""
        first = self.wandering[0].window(stop=1)
        return replace(first, observations=self.room.square.positions(self.start)[:, None], actions=first.actions * 0)


def lacks_rooms(subject: Subject) -> str:
    """Say why no context can be built for a model, or nothing."""
    task = subject.task
    if not isinstance(task, Room):
        return "its tasks are not rooms"
    if not has_known_moves(task):
        return "what its actions do differs from task to task, so no walk can be built for all of them"
    if places_lack(subject.task) or task.n_hidden > 2:
        return places_lack(subject.task) or "more than two places are hidden in its rooms"
    return "" if subject.episodes > 4 else "a context holds too few episodes"


def build(subject: Subject, rng: np.random.Generator, n_episodes: int) -> BuiltRooms:
    """Draw the cells and the episodes of all conditions of a test, so many of each kind."""
    room = subject.task
    assert isinstance(room, Room)
    ways, rows, horizon = walks(room), subject.rows, subject.task.horizon
    start = _starts(subject, rows, rng)
    first, second = _cells(subject, ways, start, rng)
    walker = _Walker(room, ways, subject.background.novice, np.stack([first, second], axis=1), rng)
    nowhere = np.full(rows, NOWHERE)
    wandering = [walker.episode(_starts(subject, rows, rng), nowhere, horizon)[0] for _ in range(n_episodes)]
    visiting: dict[str, list[History]] = {"first": [], "second": []}
    arrival: dict[str, list[np.ndarray]] = {"first": [], "second": []}
    for name, cell in (("first", first), ("second", second)):
        for _ in range(n_episodes):
            begins = _starts(subject, rows, rng)
            begins = np.where(begins == cell, start, begins)
            episode, step = walker.episode(begins, cell, horizon)
            visiting[name].append(episode)
            arrival[name].append(step)
    return BuiltRooms(room, start, {"first": first, "second": second}, wandering, visiting, arrival)


def _starts(subject: Subject, rows: int, rng: np.random.Generator) -> Int[np.ndarray, " row"]:
    """Return where episodes begin, as the task has it."""
    task = subject.task
    assert isinstance(task, Room)
    return task.square.cells(task.observe(task.reset(task.sample_tasks(rng, rows), rng)))


def _cells(
    subject: Subject, ways: Float[np.ndarray, "cell target action"], start: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw two cells a row to which no move from the start leads alike, the first a held-out goal where one is."""
    room = subject.task
    assert isinstance(room, Room)
    position = room.square.all_positions.astype(int)
    far = np.abs(position[:, None] - position).sum(axis=2)
    reach = min(subject.task.horizon - 2, int(far.max()))
    held_out = np.ones(room.square.n_cells, dtype=bool)
    if room.n_hidden == 1 and subject.config.histories.held_out:
        facts = facts_of(subject.checkpoint, "held-out")
        goals = facts["goal"] if "goal" in facts else facts["goals"]
        held_out = np.isin(np.arange(room.square.n_cells), room.square.cells(goals))
    drawn = np.empty((len(start), 2), dtype=np.intp)
    for cell in np.unique(start):
        suitable = (far[cell] >= NEAREST) & (far[cell] <= reach)
        apart = ~((ways[cell] > 0).astype(int) @ (ways[cell] > 0).T.astype(int) > 0)
        pairs = apart & suitable[:, None] & suitable & (far >= NEAREST)
        chosen = pairs & held_out[:, None] if (pairs & held_out[:, None]).any() else pairs
        options = np.argwhere(chosen)
        rows = np.flatnonzero(start == cell)
        drawn[rows] = options[rng.integers(len(options), size=len(rows))]
    return drawn[:, 0], drawn[:, 1]


@dataclass(frozen=True)
class _Walker:
    """One who wanders as a novice does, keeping away from some cells, and may go to one of them first."""

    room: Room
    ways: Float[np.ndarray, "cell target action"]
    novice: Novice
    shunned: Int[np.ndarray, "row place"]
    rng: np.random.Generator

    def episode(self, start: np.ndarray, target: np.ndarray, horizon: int) -> tuple[History, np.ndarray]:
        """Walk an episode; return it unpaid, and the step that arrived at the target."""
        square, rows = self.room.square, np.arange(len(start))
        cells = np.empty((len(rows), horizon), dtype=np.intp)
        actions = np.empty((len(rows), horizon), dtype=np.int8)
        cell, last, arrival = start, np.full(len(rows), NO_ACTION), np.full(len(rows), horizon - 1)
        going = target != NOWHERE
        for step in range(horizon):
            cells[:, step] = cell
            policy = np.where(going[:, None], self.ways[cell, target], self.novice.policy(square.positions(cell), last))
            leads = np.stack([square.move(cell, np.full(len(rows), move)) for move in range(self.room.n_actions)], 1)
            wanted = (leads == target[:, None]) & going[:, None]
            shunned = (leads[..., None] == self.shunned[:, None]).any(axis=2) & ~wanted
            allowed = np.where(shunned, 0.0, policy)
            allowed = np.where(allowed.sum(axis=1, keepdims=True) > 0, allowed, (~shunned).astype(float))
            last = draw(allowed, self.rng)
            actions[:, step], cell = last, leads[rows, last]
            arrived = going & (cell == target)
            arrival[arrived] = step
            going = going & ~arrived
        blank = np.zeros((len(rows), horizon))
        history = History(
            observations=square.positions(cells.ravel()).reshape(len(rows), horizon, 2),
            actions=actions,
            rewards=blank.astype(np.float32),
            episode=blank.astype(np.int16),
            channels=("x", "y"),
            n_actions=self.room.n_actions,
            learner=rows,
        )
        return history, arrival


def dose(subject: Subject) -> list[Condition]:
    """Return lives in which a cell pays so often, in as many of the last episodes."""
    built, n_episodes = _built(subject, "dose")
    doses = [number for number in DOSES if number < n_episodes]
    return [
        _condition(built, f"{number} paid visits", number,
                   [("", False)] * (n_episodes - number) + [("first", True)] * number)
        for number in doses
    ]  # fmt: skip


def failure(subject: Subject) -> list[Condition]:
    """Return lives in which a cell paid once and then so often did not."""
    built, n_episodes = _built(subject, "failure")
    numbers = [number for number in FAILURES if number < n_episodes - 1]
    return [
        _condition(built, f"{number} unpaid visits", number,
                   [("", False)] * (n_episodes - 1 - number) + [("first", True)] + [("first", False)] * number)
        for number in numbers
    ]  # fmt: skip


def stale(subject: Subject) -> list[Condition]:
    """Return the same visits to a cell twice: first the last of them is paid, then the first, and the others fail."""
    built, n_episodes = _built(subject, "stale")

    def life(visits: Sequence[Visit]) -> Context:
        return built.context([*[("", 0)] * (n_episodes - len(visits)), *visits])

    conditions = []
    for number in [number for number in FAILURES if 0 < number < n_episodes]:
        lives = (life([("first", False)] * number + [("first", True)]),
                 life([("first", True)] + [("first", False)] * number))  # fmt: skip
        conditions.append(decided(f"{number} unpaid visits", lives, _towards(built), number, built.cells["first"]))
    return conditions


def which(subject: Subject) -> list[Condition]:
    """Return lives in which one cell paid so often, and then another one so often."""
    built, n_episodes = _built(subject, "which")
    often = min(BOTH, (n_episodes - 1) // 2)
    equally = max(1, (often + 1) // 2)
    pairs = dict.fromkeys([(often, 0), (often, 1), (equally, equally), (1, often), (0, often)])
    return [
        _condition(built, f"first {first} times, then second {second}", number,
                   [("", False)] * (n_episodes - first - second) + [("first", True)] * first
                   + [("second", True)] * second)
        for number, (first, second) in enumerate(pairs)
    ]  # fmt: skip


def paid(subject: Subject) -> list[Condition]:
    """Return the same life twice, which goes to two cells in turn, so often each: first one pays, then the other."""
    n_episodes = subject.episodes - 1
    doses = [number for number in PAIRED if 2 * number <= n_episodes]
    n_episodes = min(n_episodes, 2 * max(doses) + WANDERINGS)
    built = build(subject, subject.rng("paid"), n_episodes)

    def life(paying: str, number: int) -> Context:
        turns = [("first", paying == "first"), ("second", paying == "second")] * number
        return built.context([("", False)] * (n_episodes - len(turns)) + turns)

    return [
        decided(f"{number} visits to each", [life("first", number), life("second", number)], _towards(built), number,
                built.cells["first"])
        for number in doses
    ]  # fmt: skip


def lacks_values(subject: Subject) -> str:
    """Say why values cannot be told apart, or nothing."""
    if lacks_rooms(subject):
        return lacks_rooms(subject)
    return "" if getattr(subject.task, "amounts", None) else "its tasks pay 0 and 1 only"


def value(subject: Subject) -> list[Condition]:
    """Return lives in which two cells paid equally often, but not equally well."""
    built, n_episodes = _built(subject, "value")
    room = built.room
    assert isinstance(room, DarkRoom)
    (name, amount), often = next(iter(room.amounts.items())), min(VALUED, n_episodes // 2)
    worlds = (
        (1.0, amount, built.world_of(goal="first", **{name: "second"})),
        (1.0, 1.0, built.world_of(goal="first", second_goal="second")),
        (amount, 1.0, built.world_of(goal="second", **{name: "first"})),
    )
    conditions = []
    for number, (first, second, world) in enumerate(worlds):
        visits: list[Visit] = [("", 0)] * (n_episodes - 2 * often) + [("first", first), ("second", second)] * often
        conditions.append(_condition(built, f"{first:g} against {second:g}", number, visits, world))
    return conditions


def _built(subject: Subject, test: str) -> tuple[BuiltRooms, int]:
    n_episodes = min(subject.episodes - 1, MOST_EPISODES)
    return build(subject, subject.rng(test), n_episodes), n_episodes


def _condition(
    built: BuiltRooms, label: str, x: float, visits: Sequence[Visit], world: Span | None = None
) -> Condition:
    return decided(label, [built.context(visits, world)], _towards(built), x, built.cells["first"])


def _towards(built: BuiltRooms) -> Bool[np.ndarray, "row action"]:
    """Return which moves of the decision lead towards the first cell."""
    return walks(built.room)[built.start, built.cells["first"]] > 0
