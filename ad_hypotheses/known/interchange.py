"""Networks whose circuit is trained to be where a claim says: realistic weights, and yet a known algorithm.

Plain training finds some circuit, somewhere. Here every update also runs the network *scrubbed* by the claim that is to
come true, twice: with donors that agree on every feature, after which nothing may change, and with donors that differ
in some of them, after which the network must do what the claim's own functions make of the values that were put there.
In both, all that the claim does not name comes from random histories, so that it comes to play no role: all of it from
one history, or, where updates take turns, in every other one each part from a history of its own. In the former parts
that cancel each other out play no role; in the latter each has to be idle by itself.

Geiger et al. 2022, "Inducing Causal Structure for Interpretable Neural Networks" (arXiv 2112.00826); the interventions
are those of causal scrubbing, by the very engine that later tests the claim.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.scrub import Options, Others, Scrubber
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.distill.checkpoint import build, versions
from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.finite import NonFiniteError
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.optimisers import make_optimiser
from ad_hypotheses.distill.sections import Training
from ad_hypotheses.distill.state import TrainingRun, resume, save
from ad_hypotheses.distill.train import HISTORIES, STATE, learning_rate, training_histories
from ad_hypotheses.distill.update_progress import UpdateProgress
from ad_hypotheses.distill.updates import diverged, take_step
from ad_hypotheses.known.training_digest import digest, keep_taught
from ad_hypotheses.language.check import BoundGraph, BoundNode, TreePath, bind
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis, Node
from ad_hypotheses.language.policy import as_policy
from ad_hypotheses.progress import Progress, counting
from ad_hypotheses.storage.lock import held

Policy = Callable[[History], Float[np.ndarray, "batch step action"]]


@dataclass(frozen=True)
class Lesson:
    """Histories to learn from, with all that a claim says of them.

    Attributes:
        truth: The claim that is to come true.
        history: The histories.
        tokens: Their tokens. [row, step, channel]
        nodes: The claim's nodes, bound to the histories.
        values: The value of every node. {name: [row, ...]}
        policy: What the network is to do. [row, step, action]
    """

    truth: Hypothesis
    history: History
    tokens: Int[Tensor, "row step channel"]
    nodes: Mapping[str, BoundNode]
    values: Mapping[str, np.ndarray]
    policy: Float[np.ndarray, "row step action"]

    @classmethod
    def of(cls, model: ADTransformer, truth: Hypothesis, history: History, policy: Policy) -> Lesson:
        """Work out what a claim says of some histories.

        Raises:
            HypothesisError: The claim does not fit the model or the histories.
        """
        nodes = bind(truth, model.anatomy, history).nodes
        assert all(node.selected is None for node in nodes.values()), "outside of its steps a node has no value"
        return cls(truth, history, model.to_tokens(history), nodes, truth.values(history), policy(history))

    def rows(self, rows: Int[np.ndarray, " batch"]) -> Lesson:
        """Return what is said of some of the histories."""
        nodes = {name: node.of_rows(rows) for name, node in self.nodes.items()}
        values = {name: value[rows] for name, value in self.values.items()}
        return Lesson(self.truth, self.history[rows], self.tokens[rows], nodes, values, self.policy[rows])

    def free(self, steady: Collection[str]) -> list[str]:
        """Return the nodes that may take other values: all but the root and those that are to be left alone."""
        return [name for name in self.nodes if name != self.truth.root.name and name not in steady]


def trainable(model: ADTransformer, lesson: Lesson) -> Clean:
    """Return a network's own run over a lesson, through which gradients flow."""
    return Clean(Twin(model), lesson.history, lesson.tokens, differentiable=True)


def interchanged(
    clean: Clean, lesson: Lesson, freed: Collection[str], seed: int, others: Others = "joint"
) -> tuple[Float[Tensor, "row step action"], Float[np.ndarray, "row step action"]]:
    """Scrub a network by a claim in which some features do not count, and say what it then should do.

    Args:
        clean: The network's own run over the lesson.
        lesson: The histories and the claim.
        freed: Nodes that are given to others whatever their value; for the others donors agree, as in any scrubbing.
        seed: Of the draws.
        others: Where all that the claim does not name comes from, as in `Options`.

    Returns:
        The logits, and what the claim's functions make of the values that every node was given.
    """
    nodes = {
        name: replace(node, labels=np.zeros_like(node.labels)) if name in freed else node
        for name, node in lesson.nodes.items()
    }
    root = lesson.truth.root
    scrubber = Scrubber(clean, BoundGraph(nodes, root.name), Options(others=others), seed)
    decided = _value(scrubber, lesson, root, (root.name,))
    return scrubber.logits(0), as_policy(decided, lesson.history.n_actions)


def _value(scrubber: Scrubber, lesson: Lesson, node: Node, path: TreePath) -> np.ndarray:
    """What a node's function makes, at every row, of the values of those who stand in for its parents there."""
    if not node.parents:
        return lesson.values[node.name]
    given = {}
    for parent in node.parents:
        parent_value = _value(scrubber, lesson, parent, (*path, parent.name))
        donors = scrubber.donors(path, parent.name)
        given[parent.name] = (
            parent_value[donors] if donors.ndim == 1 else parent_value.reshape(-1, *parent_value.shape[2:])[donors]
        )
    return np.asarray(node.value(lesson.history, given))


def surprise(
    logits: Float[Tensor, "row step action"], policy: Float[np.ndarray, "row step action"]
) -> Float[Tensor, ""]:
    """Return how far a network is from a policy: the mean KL divergence from the policy, in nats."""
    wanted = torch.as_tensor(policy, dtype=logits.dtype, device=logits.device)
    return (torch.xlogy(wanted, wanted) - wanted * logits.log_softmax(-1)).sum(-1).mean()


def loss(
    model: ADTransformer, lesson: Lesson, freed: Collection[str], seed: int, others: Others = "joint"
) -> Float[Tensor, ""]:
    """Return what an update makes smaller: the mean surprise of the plain and of the two scrubbed runs, in nats."""
    clean = trainable(model, lesson)
    agreeing = surprise(*interchanged(clean, lesson, (), seed, others))
    differing = surprise(*interchanged(clean, lesson, freed, seed + 1, others))
    plain = clean.twin.logits(clean.seen(clean.twin.last_stage))
    return (surprise(plain, lesson.policy) + agreeing + differing) / 3


def teach(
    config: Config,
    truth: Hypothesis,
    policy: Policy,
    folder: Path,
    steady: Collection[str] = (),
    progress: Progress | None = None,
    rule: str = "",
    others: Sequence[Others] = ("joint",),
) -> tuple[ADTransformer, dict[str, Any]]:
    """Train a network until a claim about it is true, going on where an interrupted run that was taught this stopped.

    An interruption keeps what was done if it comes from `progress`, between two updates.

    Args:
        config: Its size, its histories and how it is trained.
        truth: The claim that is to come true.
        policy: What the network is to do.
        folder: Where the histories and the state to resume from are kept.
        steady: Nodes that are never given to others of another value.
        progress: Listens on the way.
        rule: Name of the rule behind `policy`; with the claim it tells one training from another.
        others: Where all that the claim does not name comes from; updates take turns.

    Returns:
        The network, and the record of its training.

    Raises:
        CheckpointError: The state in `folder` is damaged, or belongs to another configuration.
        DivergedError: The loss, a gradient or a weight became NaN or infinite.
        HypothesisError: The claim does not fit the model or the histories.
        UserError: Another process trains in `folder`.
    """
    progress, training = progress or Progress(), config.training
    updates = UpdateProgress(progress, training.updates)
    run: TrainingRun | None = None

    def stopped() -> str:
        return updates.stopped(0 if run is None else run.update, f", which is kept in {folder}")

    with progress.stopping(stopped, at_once=False), held(folder, "training"):
        histories = training_histories(config, folder / HISTORIES, counting(progress, "histories"))
        model = build(config)
        lesson = Lesson.of(model, truth, histories.rows(np.arange(histories.n_histories)), policy)
        keep_taught(folder, digest(truth, rule, steady, others))
        run = resume(config, folder / STATE, model, make_optimiser(model, training))
        began = time.monotonic() - run.seconds
        try:
            while run.update < training.updates:
                run.whole = False
                _update(run, lesson, steady, training, others[run.update % len(others)])
                run.whole = True
                run.seconds = time.monotonic() - began
                updates.report(run.update, run.loss)
                progress.may_stop()
                if run.update % training.save_every == 0:
                    save(config, run, folder / STATE)
        except NonFiniteError as error:
            raise diverged(config, run.update, folder, error) from error
        finally:
            if run.whole:
                save(config, run, folder / STATE)
    facts = {"updates": run.update, "seconds": round(run.seconds, 1), "loss": run.loss, "versions": versions()}
    return model.eval(), facts | {"threads": torch.get_num_threads(), "device": "cpu"}


def _update(run: TrainingRun, lesson: Lesson, steady: Collection[str], training: Training, others: Others) -> None:
    rng = np.random.default_rng([training.seed, run.update])  # so that a resumed run draws what it would have drawn
    rows = rng.choice(lesson.history.n_rows, min(training.batch, lesson.history.n_rows), replace=False)
    names = lesson.free(steady)
    freed = rng.choice(names, rng.integers(1, len(names) + 1), replace=False).tolist()
    for group in run.optimiser.param_groups:
        group["lr"] = learning_rate(training, run.update) * group["scale"]
    run.optimiser.zero_grad()
    update_loss = loss(run.model, lesson.rows(rows), freed, int(rng.integers(2**62)), others)
    update_loss.backward()
    take_step(run.model, run.optimiser, training, update_loss.detach())
    run.loss = update_loss.item() if math.isnan(run.loss) else 0.98 * run.loss + 0.02 * update_loss.item()
    run.update += 1
