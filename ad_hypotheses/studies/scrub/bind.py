"""Hypotheses bound to a checkpoint, fresh histories and regimes: what a study measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.draws import Align, classes
from ad_hypotheses.causal.scrub import Options
from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence.verdict import draws_for
from ad_hypotheses.language.check import Bound, BoundGraph, bind, outline
from ad_hypotheses.language.claims import chosen
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.wrong_site import wrong_site
from ad_hypotheses.progress import Progress
from ad_hypotheses.studies.adversary.plan import AttackPlan
from ad_hypotheses.studies.data import histories
from ad_hypotheses.studies.scrub.claim import MeasuredClaim
from ad_hypotheses.studies.scrub.cost import Cost, history_bytes, predict, refuse_too_large
from ad_hypotheses.studies.scrub.record import Challenge


@dataclass(frozen=True)
class ScrubSettings:
    """How a study is made.

    Attributes:
        rows: Histories in the dataset.
        passes: How often every reference is scrubbed, in each variant.
        tasks: Which tasks the histories come from.
        others: As in :class:`Options`.
        align: As in :class:`Options`.
        shared: As in :class:`Options`.
        seed: Of the histories, all draws and the bootstrap.
        rollouts: Episodes-long lives of the explanation as a policy; 0 for none.
        memory: Bytes that the run may use; None for what is free.
        findings: How many features an adversary reports that the hypothesis leaves out; None for no adversary.
    """

    rows: int = 256
    passes: int = 5
    tasks: str = "all"
    others: str = "joint"
    align: Align = "step"
    shared: bool = False
    seed: int = 0
    rollouts: int = 64
    memory: int | None = None
    findings: int | None = None

    @property
    def options(self) -> Options:
        """What the engine needs of it."""
        return Options(others=self.others, align=self.align, shared=self.shared)  # type: ignore[arg-type]


def reference_histories(checkpoint: Checkpoint, settings: ScrubSettings) -> History:
    """Let fresh learners live: the histories whose loss is to be explained, one learner a row.

    Raises:
        DataError: Too few rows were asked for.
        CapacityError: They would not fit into memory.
    """
    lives = histories(checkpoint, settings.rows, seed=settings.seed, tasks=settings.tasks, memory=settings.memory)
    return lives.history


@dataclass
class BoundStudy:
    """A hypothesis and its controls on one checkpoint, bound to data and, later, measured.

    Attributes:
        checkpoint: The model.
        history: The dataset.
        regimes: Which steps belong to which regime, `"all"` first. {name: [row, step]}
        bound: The claims with their kinds, as in :class:`Claim`; the hypothesis first.
        clean: The model's own run, once it was made.
        tried: What was measured, claim by claim.
        attack: What an adversary will try on the hypothesis, if one was asked.
        challenge: What it found.
    """

    checkpoint: Checkpoint
    history: History
    regimes: dict[str, Bool[np.ndarray, "row step"]]
    bound: list[tuple[str, Bound]]
    clean: Clean | None = None
    tried: list[MeasuredClaim] = field(default_factory=list)
    attack: AttackPlan | None = None
    challenge: Challenge | None = None

    @property
    def hypothesis(self) -> Hypothesis:
        """The hypothesis itself."""
        return self.bound[0][1].hypothesis


def prepare(
    hypothesis: Hypothesis, controls: Sequence[Hypothesis], checkpoint: Checkpoint, settings: ScrubSettings
) -> BoundStudy:
    """Bind a hypothesis, the researcher's controls and the tool's wrong-site control to a model and to fresh data.

    Raises:
        HypothesisError: A claim does not fit the model or the data.
        DataError: The histories leave nothing to test.
        CapacityError: The study would not fit into memory; raised before there are histories.
    """
    anatomy = checkpoint.model.anatomy
    made = wrong_site(hypothesis, anatomy)
    claims = [("hypothesis", hypothesis), *(("control", control) for control in controls)]
    claims += [] if made is None else [("wrong site", made)]
    _refuse_beforehand(checkpoint, [claim for _, claim in claims], settings)
    history = reference_histories(checkpoint, settings)
    regimes = checkpoint.config.make_task().regimes(history)
    bound = [(kind, bind(claim, anatomy, history, regimes, settings.seed)) for kind, claim in claims]
    for _, claim in bound:
        refuse_untestable(claim, history, settings.align)
    return BoundStudy(checkpoint, history, {"all": np.ones_like(history.actions, dtype=bool), **regimes}, bound)


def _refuse_beforehand(checkpoint: Checkpoint, claims: Sequence[Hypothesis], settings: ScrubSettings) -> None:
    """Refuse a study that would not fit, before there are histories; what does not fit the model is refused later."""
    outlines = [graph for claim in claims if (graph := outline(claim, checkpoint.model.anatomy)) is not None]
    if outlines:
        cost = predicted(checkpoint, outlines, settings, draws_for(len(outlines)))
        refuse_too_large(cost, settings.memory, str(checkpoint.model.device))


def predicted(checkpoint: Checkpoint, claims: Sequence[BoundGraph], settings: ScrubSettings, n_boot: int) -> Cost:
    """Return what testing claims about a checkpoint, the hypothesis first, will cost with so many bootstrap draws."""
    model, steps = checkpoint.model, _steps(checkpoint)
    cost = predict(model, claims, settings.rows, steps, settings.passes, settings.options, n_boot)
    return replace(cost, work=max(cost.work, history_bytes(model, settings.rollouts, steps)))


def _steps(checkpoint: Checkpoint) -> int:
    """Steps of a history."""
    return checkpoint.config.kept_episodes * checkpoint.config.make_task().horizon


def bind_all(
    hypotheses: Sequence[Hypothesis],
    settings: ScrubSettings,
    model: str | None,
    models: Path,
    device: str,
    progress: Progress,
) -> list[BoundStudy]:
    """Load the checkpoints that hypotheses are about, and bind each hypothesis with its controls; see :func:`scrub`."""
    groups = chosen(hypotheses, model)
    names = dict.fromkeys(main.model for main, _ in groups)
    checkpoints = {name: load(name, models, device) for name in names}
    progress.begin("generating histories", len(groups), "hypotheses")
    trials = []
    for main, controls in groups:
        trials.append(prepare(main, controls, checkpoints[main.model], settings))
        progress.advance(1)
    return trials


def refuse_untestable(bound: Bound, history: History, align: Align) -> None:
    """Refuse a claim under which nothing could ever be swapped.

    Raises:
        DataError: At some node no history shares its feature value with another.
    """
    for node in bound.nodes.values():
        if node.labels is None:
            continue
        alone = classes(node.labels, node.selected, align, history.episode_step).alone
        if (alone if node.selected is None else alone[node.selected]).all():
            raise DataError(
                f"{node.name}: each of the {history.n_rows} histories is alone in its class, so there is nobody to "
                f"swap it with.\n  Use more histories (`rows`), or let {node.name}() return something coarser."
            )
