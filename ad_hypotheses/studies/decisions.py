"""What is decided at the steps of one history: by the model, and by learners whose algorithm is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ad_hypotheses.distill.checkpoint import Checkpoint
from ad_hypotheses.distill.lens import HookedADTransformer
from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.ladder.run import predict
from ad_hypotheses.ladder.rung import Background
from ad_hypotheses.ladder.source import source_rung
from ad_hypotheses.language.history import History
from ad_hypotheses.report.result import Result
from ad_hypotheses.studies.data import facts_of
from ad_hypotheses.studies.look import chosen_step
from ad_hypotheses.studies.tables import table_of
from ad_hypotheses.tasks.edits.possible import impossible_steps
from ad_hypotheses.tasks.play import baselines, begin, resume
from ad_hypotheses.tasks.task import Task

SOURCE_LEARNERS = 8  # that the source is averaged over


@dataclass(frozen=True, repr=False)
class Decisions(Result):
    """What a model would do at every step of one history, and how that agrees with what was done.

    Attributes:
        model: Name of the model.
        actions: Names of the actions.
        log_probs: Log-probability of each action, in nats. [step][action]
        taken: Number of the action that was done. [step]
        loss: Minus the log-probability of it, in nats. [step]
        regimes: What the step is about, as the task family says. [step]
        impossible: Steps that the world does not lead to, by what stands there.
    """

    model: str
    actions: list[str]
    log_probs: list[list[float]]
    taken: list[int]
    loss: list[float]
    regimes: list[str]
    impossible: dict[str, list[int]]

    @property
    def headline(self) -> str:
        """The mean loss, and how many steps could not have been lived."""
        wrong = sorted({step for steps in self.impossible.values() for step in steps})
        note = f"; {len(wrong)} impossible, first {wrong[0]}" if wrong else ""
        return f"{self.model}: {len(self.taken)} steps, mean loss {np.mean(self.loss):.4g} nats{note}"

    def divergence(self, other: Decisions) -> list[float]:
        """Return how far the decisions of another model, or in another context, are from these at every step, in nats.

        Args:
            other: Decisions at as many steps, between the same actions.

        Returns:
            The Kullback-Leibler divergence from these to the others. [step]

        Raises:
            DataError: They have other steps or actions.
        """
        here, elsewhere = np.array(self.log_probs), np.array(other.log_probs)
        if here.shape != elsewhere.shape:
            raise DataError(f"these are decisions at {len(here)} steps, and the others at {len(elsewhere)}.")
        return np.maximum((np.exp(here) * (here - elsewhere)).sum(axis=-1), 0).tolist()

    def to_frame(self) -> Any:
        """Return a line for each step: `step`, `taken`, `loss`, `regime`, and the probability of each action."""
        return table_of(
            [
                {"step": step, "taken": self.actions[taken], "loss": self.loss[step], "regime": self.regimes[step]}
                | dict(zip(self.actions, np.exp(self.log_probs[step]).tolist(), strict=True))
                for step, taken in enumerate(self.taken)
            ]
        )


@dataclass(frozen=True, repr=False)
class LearnerDecisions(Result):
    """What learners whose algorithm is known would do at one step of a history.

    Attributes:
        step: Number of the step.
        actions: Names of the actions.
        probabilities: Probability of each action, by the name of the learner. [action]
        absent: Why a learner cannot say, by its name.
    """

    step: int
    actions: list[str]
    probabilities: dict[str, list[float]]
    absent: dict[str, str]

    @property
    def headline(self) -> str:
        """What each learner would do most likely."""
        likely = {name: self.actions[int(np.argmax(row))] for name, row in self.probabilities.items()}
        return f"step {self.step}: " + ", ".join(f"{name} {action}" for name, action in likely.items())

    def to_frame(self) -> Any:
        """Return a line for each learner: `learner`, and the probability of each action."""
        rows = self.probabilities.items()
        return table_of([{"learner": name} | dict(zip(self.actions, row, strict=True)) for name, row in rows])


@torch.no_grad()
def decide(
    model: HookedADTransformer,
    task: Task,
    name: str,
    history: History,
    logits: Float[Tensor, "step action"] | None = None,
) -> Decisions:
    """Return what a model would do at every step of one history.

    Args:
        model: The model.
        task: Its task family.
        name: Name of the model.
        history: One history.
        logits: The logits, where parts of the model were replaced; None for those of the model as it is.

    Raises:
        DataError: There is more than one history, or it shows what the model has no embedding for.
    """
    chosen_step(history, 0)
    scores = model(history)[0] if logits is None else logits
    log_probs = scores.double().log_softmax(-1).numpy()
    taken = history.actions[0].astype(np.intp)
    regimes = task.regimes(history)
    masks = np.stack([mask[0] for mask in regimes.values()])  # disjoint, and every step is in one
    wrong = impossible_steps(task, history) if history.task else {}
    return Decisions(
        name,
        list(task.action_names),
        log_probs.tolist(),
        taken.tolist(),
        (-log_probs[np.arange(len(taken)), taken]).tolist(),
        [list(regimes)[number] for number in masks.argmax(axis=0)],
        {words: np.flatnonzero(mask[0]).tolist() for words, mask in wrong.items() if mask.any()},
    )


def ask_learners(checkpoint: Checkpoint, history: History, step: int, source: bool, seed: int) -> LearnerDecisions:
    """Return what learners would do at one step, given the life up to it.

    Args:
        checkpoint: The model whose task family, and source, they know.
        history: One history.
        step: Number of the step; negative counts from the end.
        source: Whether to run the source too, which takes longer.
        seed: Of the learners' chance.

    Raises:
        DataError: There is more than one history, or no such step.
    """
    step = chosen_step(history, step)
    task, seen = checkpoint.experiment.task, history.window(stop=step + 1)
    asked: dict[str, Callable[[], np.ndarray]] = {"expert": lambda: _expert(task, seen)}
    for name, policy in baselines(task, np.random.default_rng([seed, step])).items():
        # a policy may keep memory, so it is asked at every step in order; the last answer counts
        asked[name] = lambda policy=policy: [policy(seen.window(stop=stop + 1)) for stop in range(seen.n_steps)][-1]
    if source:
        asked["source"] = lambda: _source(checkpoint, task, seen, seed)
    probabilities, absent = {}, {}
    for name, answer in asked.items():
        try:
            probabilities[name] = np.asarray(answer(), dtype=np.float64)[0].tolist()
        except UserError as error:
            absent[name] = str(error)
    return LearnerDecisions(step, list(task.action_names), probabilities, absent)


def _expert(task: Task, seen: History) -> np.ndarray:
    """Ask whoever knows the task, in the state that the actions of this episode lead to. [row, action]"""
    if not seen.task:
        raise UserError("the history has no facts of its task, which the expert knows.")
    rng, opened = np.random.default_rng(0), seen.n_steps - 1 - int(seen.episode_step[0, -1])
    if opened == seen.n_steps - 1:
        state = begin(task, seen.task, seen.observations[:, opened], rng, int(seen.episode[0, opened]))
    else:
        state = resume(task, seen.task, seen.window(opened, -1), rng)
    if (task.observe(state) != seen.observations[:, -1]).any():
        raise UserError(f"{task.name} does not show there what this step shows, so it is not known where the agent is.")
    return task.expert(state)


def _source(checkpoint: Checkpoint, task: Task, seen: History, seed: int) -> np.ndarray:
    """Run the source on what is visible, averaged over its own chance. [row, action]"""
    config, rung = checkpoint.config, source_rung(SOURCE_LEARNERS)
    numbers = config.histories
    trained = facts_of(checkpoint, "train")
    background = Background(
        task, config.experiment.source, trained, seen, numbers.episodes, numbers.keep_every, numbers.skip
    )
    if reason := rung.lacks(background):
        raise UserError(f"{reason}.")
    return predict(rung.fit(background), seen, task, seed)[:, -1]
