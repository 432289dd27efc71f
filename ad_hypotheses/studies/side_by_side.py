"""Those who live side by side in the world of one context, each as it learns: a model, learners, whoever acts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.distill.rollout import acting
from ad_hypotheses.errors import DataError, UserError, did_you_mean
from ad_hypotheses.ladder.catalogue import LADDER, fitting
from ad_hypotheses.ladder.run import living
from ad_hypotheses.ladder.rung import Background, Span
from ad_hypotheses.ladder.source import source_rung
from ad_hypotheses.language.history import History
from ad_hypotheses.progress import Progress
from ad_hypotheses.report.result import Result
from ad_hypotheses.report.words import counted
from ad_hypotheses.studies.behave.study import background_of
from ad_hypotheses.studies.data import facts_of
from ad_hypotheses.studies.decisions import SOURCE_LEARNERS
from ad_hypotheses.studies.evaluate.curves import memory_needed
from ad_hypotheses.studies.tables import table_of
from ad_hypotheses.tasks.play import Decision, baselines, step_by_step
from ad_hypotheses.tasks.task import Policy

MODEL, EXPERT, SOURCE = "model", "expert", "source"
SCRUBBED, EXPLANATION = "scrubbed", "explanation"  # what a claim makes of the model, and what it says itself

Maker = Callable[[], Decision]
"""Returns somebody at the start of a life.

Raises:
    UserError: Whoever it is cannot live here.
"""


@dataclass(frozen=True, repr=False)
class ParallelLives(Result):
    """How those who live side by side have lived so far, all in one world.

    Attributes:
        model: Name of the model in whose tasks they live.
        since: Steps that they have in common, before the first that each lives for itself.
        steps: Steps that were lived, the common ones among them.
        longest: Steps of whole lives.
        returns: Return of every episode so far, the last perhaps unfinished, by name. [episode]
        absent: Why somebody does not live, or lives no further, by name.
        lived: The lives, by name, as :meth:`History.plain` writes them.
    """

    model: str
    since: int
    steps: int
    longest: int
    returns: dict[str, list[float]]
    absent: dict[str, str]
    lived: dict[str, dict[str, Any]]

    @property
    def histories(self) -> dict[str, History]:
        """The lives, one row each, by the name of who lived them."""
        return {name: History.of_plain(content) for name, content in self.lived.items()}

    @property
    def headline(self) -> str:
        """Who has earned how much since the lives part."""
        whole = ", ".join(f"{name} {sum(returns):.4g}" for name, returns in self.returns.items())
        return f"{self.model}, {counted(self.steps, 'step')}, {self.since} in common; returns: {whole or 'none'}"

    def to_frame(self) -> Any:
        """Return a line for each episode of each life, as a pandas.DataFrame: `learner`, `episode`, `return`."""
        return table_of(
            [
                {"learner": name, "episode": episode, "return": earned}
                for name, returns in self.returns.items()
                for episode, earned in enumerate(returns)
            ]
        )


def known_learners(checkpoint: Checkpoint) -> dict[str, str]:
    """Return who can live in the tasks of a model, in words: the model, who knows the task, baselines, the ladder."""
    task = checkpoint.experiment.task
    words = {MODEL: "the model itself, with frozen weights", EXPERT: "knows the task and does what is best"}
    words |= dict.fromkeys(baselines(task, np.random.default_rng(0)), "is a baseline of these tasks")
    rungs, _ = fitting(_background(checkpoint, None))
    return words | {rung.name: rung.words for rung in rungs}


class SideBySide:
    """Those who live side by side from a step of a context on, in its world; :func:`ad_hypotheses.live` returns it.

    Nobody sees what the others do. Each draws actions and chance by the same seed; a life that was begun goes on, so
    that :meth:`until` asked twice costs once.

    Args:
        checkpoint: The model in whose tasks they live.
        history: One history, with the facts of its task.
        of: Who lives, by names of :func:`known_learners` and of `others`.
        since: Steps of the history that they have in common; 0 for none.
        seed: Of what chance decides.
        others: Who else can live.
        progress: Hears how far they are, and may stop them.

    Raises:
        DataError: There is more than one history, it has no facts of its task, there is no such step, nobody lives, or
            nobody of that name can.

    Attributes:
        longest: Steps of a whole life.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        history: History,
        of: Sequence[str],
        since: int,
        seed: int = 0,
        others: Mapping[str, Maker] | None = None,
        progress: Progress | None = None,
    ) -> None:
        task, config = checkpoint.experiment.task, checkpoint.config
        if history.n_rows != 1 or not history.task:
            problem = f"it has {history.n_rows} rows" if history.n_rows != 1 else "it does not say what its task is"
            raise DataError(f"`history` must be one history that says what its task is, but {problem}.")
        self.longest = max(config.kept_episodes * task.horizon, -(-history.n_steps // task.horizon) * task.horizon)
        if not 0 <= since <= min(history.n_steps, self.longest - 1):
            raise DataError(f"`since` is {since}, but lives begin at the steps 0 to {self.longest - 1} of `history`.")
        self.checkpoint, self.since, self.seed, self.progress = checkpoint, since, seed, progress or Progress()
        self.history = replace(history, learner=None)
        self._absent: dict[str, str] = {}
        self._lives: dict[str, Iterator[History]] = {}
        self._whole: dict[str, History] = {}
        self._lived: dict[str, int] = {}
        past = self.history.window(stop=since) if since else None
        for name, make in self._makers(of, dict(others or {})).items():
            rng, episodes = np.random.default_rng([seed, since]), self.longest // task.horizon
            self._lived[name] = since
            try:
                life = step_by_step(task, self.history.task, make(), episodes, rng, past, self.longest)
                self._whole[name], self._lives[name] = next(life), life
            except UserError as error:
                self._absent[name] = str(error)

    def until(self, steps: int) -> ParallelLives:
        """Let everybody live on, until so many steps are lived, and return what they did.

        Args:
            steps: Steps of the lives, the common ones among them; -1 for whole lives.

        Raises:
            DataError: Lives are shorter, or begin later.
        """
        stop = self.longest if steps == -1 else steps
        if not self.since <= stop <= self.longest:
            raise DataError(f"`steps` is {steps}, but lives have {self.since} to {self.longest} steps.")
        left = {name: stop - self._lived[name] for name in self._lives if name not in self._absent}
        self.progress.begin("living", sum(max(0, missing) for missing in left.values()), "steps")
        done = 0
        for name, missing in left.items():
            for _ in range(missing):
                self.progress.may_stop()  # what was lived stays lived: asked again, it goes on from there
                if not self._go_on(name):
                    break
                done += 1
                self.progress.reach(done)
        lives = {name: whole.window(stop=stop) for name, whole in self._whole.items() if self._lived[name] >= stop}
        return ParallelLives(
            self.checkpoint.name,
            self.since,
            stop,
            self.longest,
            {name: life.returns()[0].tolist() if stop else [] for name, life in lives.items()},
            dict(self._absent),
            {name: life.plain() for name, life in lives.items()},
        )

    def _go_on(self, name: str) -> bool:
        """Let somebody live one step; whoever cannot is absent from here on."""
        try:
            next(self._lives[name])
        except UserError as error:
            self._absent[name] = str(error)
            return False
        self._lived[name] += 1
        return True

    @cached_property
    def _fresh(self) -> Background:
        """What rungs may know that take numbers of their own from fresh lives of the source."""
        return background_of(self.checkpoint, seed=self.seed)

    def _makers(self, of: Sequence[str], others: dict[str, Maker]) -> dict[str, Maker]:
        """Return who lives, by name.

        Raises:
            DataError: Nobody does, or nobody of that name can.
        """
        if isinstance(of, str) or not of:
            raise DataError(f"`of` is {of!r}, but it must be a list of those who live: ['model', 'source'].")
        known = known_learners(self.checkpoint) | dict.fromkeys(others, "")
        _, reasons = fitting(_background(self.checkpoint, None))
        self._absent |= {name: f"{reason}." for name, reason in reasons.items() if name in of}
        unknown = [name for name in of if name not in known and name not in reasons]
        if unknown:
            hint = did_you_mean(unknown[0], known)
            raise DataError(
                f"`of` has {unknown[0]!r}, who cannot live in these tasks.{hint} Known: {', '.join(known)}."
            )
        return {name: others.get(name) or partial(self._decision, name) for name in of if name not in reasons}

    def _decision(self, name: str) -> Decision:
        checkpoint, task = self.checkpoint, self.checkpoint.experiment.task
        if name == EXPERT:
            return lambda so_far, state: task.expert(state)
        policies = baselines(task, np.random.default_rng([self.seed, 1]))
        if name == MODEL:
            policy = acting(checkpoint.model, task.horizon, memory=memory_needed(checkpoint.model, checkpoint.config))
        elif name in policies:
            policy = _asked_in_order(policies[name])
        else:
            # the source asks for nothing but its tasks; rungs with numbers of their own take them from fresh lives
            of_source = name == SOURCE
            rung = source_rung(SOURCE_LEARNERS) if of_source else next(rung for rung in LADDER if rung.name == name)
            background = _background(checkpoint, self.history) if of_source else self._fresh
            spans = (Span(0, task, self.history.task),)
            policy = living(rung.fit(background)(spans, 1, np.random.default_rng([self.seed, 2])))
        return lambda so_far, state: policy(so_far)


def _asked_in_order(policy: Policy) -> Policy:
    """Return a policy that may keep memory and is asked once a step, also at the steps of a past."""
    seen = 0

    def decide(so_far: History) -> np.ndarray:
        nonlocal seen
        for stop in range(seen + 1, so_far.n_steps + 1):
            decision = policy(so_far.window(stop=stop))
        seen = so_far.n_steps
        return decision

    return decide


def _background(checkpoint: Checkpoint, lives: History | None) -> Background:
    """Return what rungs may know, without fresh lives of the source."""
    settings, experiment = checkpoint.config.histories, checkpoint.experiment
    trained = facts_of(checkpoint, "train")
    return Background(
        experiment.task,
        experiment.source,
        trained,
        lives,  # type: ignore[arg-type]  # none, where no rung is fitted
        settings.episodes,
        settings.keep_every,
        settings.skip,
    )
