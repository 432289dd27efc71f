"""Hypotheses bound to a checkpoint and to the data sets of a study: what is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ad_hypotheses.causal.draws import Align, classes
from ad_hypotheses.causal.scrub import Options
from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.evidence.verdict import draws_for
from ad_hypotheses.language.check import Bound, BoundGraph, bind, outline
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.load import chosen
from ad_hypotheses.language.symmetries.trial import World
from ad_hypotheses.language.wrong_site import is_finer, wrong_sites
from ad_hypotheses.progress import Progress
from ad_hypotheses.studies.adversary.plan import AttackPlan
from ad_hypotheses.studies.data import EDITED, OWN, chosen_data, histories, single_data
from ad_hypotheses.studies.kept_lives import NOT_KEPT, LivesOnDisk
from ad_hypotheses.studies.rivals.choose import default_rivals
from ad_hypotheses.studies.scrub.claim import MeasuredClaim
from ad_hypotheses.studies.scrub.cost import Cost, Extent, history_bytes, predict, refuse_too_large
from ad_hypotheses.studies.scrub.ground import Ground, make_ground
from ad_hypotheses.studies.scrub.kept import Kept
from ad_hypotheses.studies.scrub.made import MOST_TOKENS, POSITIONS, most_tokens, refuse_options, refuse_too_many
from ad_hypotheses.studies.scrub.record import Challenge
from ad_hypotheses.tasks.edits.possible import impossible_steps

DATA = ("source", "own", "edited")


@dataclass(frozen=True)
class ScrubSettings(Options):
    """How a study is made; the engine's options are among its settings.

    Attributes:
        rows: References of each data set.
        passes: How often every reference is scrubbed at most, with the claim's features and with constant ones.
        pool: Donors of each data set, which are other learners; None for four times the references, at least 1024.
        data: Data sets, as in `studies.data.chosen_data`.
        tasks: Which tasks the histories come from.
        seed: Of the histories, all draws and the bootstrap.
        rollouts: Episodes-long lives of the explanation as a policy; 0 for none.
        memory: Bytes that the run may use; None for what is free.
        findings: How many features an adversary reports that the hypothesis leaves out; None for no adversary.
        rivals: Whether the hypothesis is compared with other claims about the same model.
    """

    rows: int = 256
    passes: int = 2
    pool: int | None = None
    data: tuple[str, ...] = DATA
    tasks: str = "all"
    seed: int = 0
    rollouts: int = 64
    memory: int | None = None
    findings: int | None = None
    rivals: bool = True

    @property
    def options(self) -> Options:
        """What the engine needs of it."""
        return Options(**{option.name: getattr(self, option.name) for option in fields(Options)})

    def recorded(self) -> dict[str, Any]:
        """Return the settings in the order of records: those of the engine, apart from self-donors, before the seed."""
        named = asdict(self)
        engine = {option.name: named.pop(option.name) for option in fields(Options)}
        del engine["self_donors"]  # studies measure with and without them
        recorded: dict[str, Any] = {}
        for name, value in named.items():
            recorded |= (engine if name == "seed" else {}) | {name: value}
        return recorded

    @property
    def donors(self) -> int:
        """Number of donors of each data set."""
        return max(POOL, TIMES * self.rows) if self.pool is None else self.pool

    def extent(self, main: bool, first: bool, accept: float = Hypothesis.accept, control: bool = False) -> Extent:
        """Return how much of a claim is measured at most.

        Args:
            main: Whether it is the hypothesis, not a control.
            first: Whether it is the first data set.
            accept: The bar that it must clear.
            control: Whether it is there to be refuted.
        """
        return Extent(self.passes, guards=main, nodes_alone=main and first, accept=accept, control=control)


QUICK = "quick look"  # kind of a claim that is measured without guards, controls and rivals
FEW_DONORS = 4  # donors of each task: with fewer, a feature can be a name for a task
POOL, TIMES = 1024, 4  # donors: at least so many, and so many times the references


def reference_histories(checkpoint: Checkpoint, settings: ScrubSettings, data: str = "source") -> History:
    """Generate the references of one data set: one learner a row, never trained on.

    Raises:
        DataError: There is no such data set, or too few rows were asked for.
        CapacityError: They would not fit into memory.
    """
    name = single_data(data, checkpoint.experiment.task, checkpoint.config.kept_episodes)
    return histories(checkpoint, settings.rows, name, settings.seed, settings.tasks, memory=settings.memory).history


@dataclass
class BoundClaim:
    """A claim bound to the data sets that it is tested on.

    Attributes:
        kind: As in :class:`Claim`.
        bounds: The claim on each data set; a control is tested on the first alone. {data set: bound}
        measured: What was measured on each, in their order.
    """

    kind: str
    bounds: Mapping[str, Bound]
    measured: list[MeasuredClaim] = field(default_factory=list)

    @property
    def is_control(self) -> bool:
        """Whether it is there to be refuted."""
        return self.kind in ("control", "wrong site")

    @property
    def bound(self) -> Bound:
        """The claim on the first data set."""
        return next(iter(self.bounds.values()))

    @property
    def hypothesis(self) -> Hypothesis:
        """The claim itself."""
        return self.bound.hypothesis


@dataclass
class BoundStudy:
    """A hypothesis and its controls on one checkpoint, bound to data and, later, measured.

    Attributes:
        checkpoint: The model.
        grounds: The data sets.
        claims: The hypothesis first.
        attack: What an adversary will try on the hypothesis, if one was asked.
        challenge: What it found.
        rivals: Other claims about the same model.
        unfit: Files and claims that could not be compared, and why. {name: message}
    """

    checkpoint: Checkpoint
    grounds: list[Ground]
    claims: list[BoundClaim]
    attack: AttackPlan | None = None
    challenge: Challenge | None = None
    rivals: Sequence[Hypothesis] = ()
    unfit: dict[str, str] = field(default_factory=dict)

    @property
    def hypothesis(self) -> Hypothesis:
        """The hypothesis itself."""
        return self.claims[0].hypothesis


def prepare(
    hypothesis: Hypothesis,
    controls: Sequence[Hypothesis],
    checkpoint: Checkpoint,
    settings: ScrubSettings,
    grounds: Sequence[Ground] | None = None,
    progress: Progress | None = None,
    lives: LivesOnDisk = NOT_KEPT,
    kept: Kept | None = None,
    kind: str = "hypothesis",
) -> BoundStudy:
    """Bind a hypothesis, the researcher's controls and the tool's wrong-site control to a model and to data sets.

    Args:
        hypothesis: The claim.
        controls: Claims that should do worse.
        checkpoint: The model.
        settings: How the study is made.
        grounds: The data sets, if they were made already.
        progress: Listens while they are made.
        lives: Where the model's own lives are kept.
        kept: What this process made already.
        kind: What the claim is recorded as; only a `"hypothesis"` gets a wrong-site control.

    Raises:
        HypothesisError: A claim does not fit the model or the data.
        DataError: The histories leave nothing to test.
        CapacityError: The study would not fit into memory; raised before there are histories.
    """
    anatomy = checkpoint.model.anatomy
    world = partial(impossible_steps, checkpoint.experiment.task)
    moved = wrong_sites(hypothesis, anatomy) if kind == "hypothesis" else []
    claims = [(kind, hypothesis), *(("control", control) for control in controls)]
    _refuse_beforehand(checkpoint, [claim for _, claim in claims], moved[:1], settings)
    if grounds is None:
        grounds = make_grounds(checkpoint, settings, progress or Progress(), lives, kept)
    bound_claims = []
    for kind_of_claim, claim in claims:
        of_claim = grounds if kind_of_claim == "hypothesis" else grounds[:1]
        # features are tried on changed histories of the first data set; those of a claim that was moved were already
        tried = claim is not hypothesis and claim.control_of is hypothesis
        made = any(node.symmetry is not None for node in claim.nodes)
        bounds = {}
        for ground in of_claim:
            again = made or (ground is grounds[0] and not tried)
            bounds[ground.data] = bind(claim, anatomy, ground.history, _roles(ground), settings.seed, again, world)
        bound_claims.append(BoundClaim(kind_of_claim, bounds))
        refuse_untestable(bound_claims[-1].bound, grounds[0], settings.align)
        refuse_options(bound_claims[-1].bound, settings.shared, settings.findings is not None)
        for ground in of_claim:
            _refuse_too_many(bounds[ground.data], ground)
    control = _wrong_site_control(moved, bound_claims[0].bound, grounds[0], settings.seed, world)
    if control is not None:
        bound_claims.append(BoundClaim("wrong site", {grounds[0].data: control}))
    return BoundStudy(checkpoint, list(grounds), bound_claims)


def _wrong_site_control(
    moved: Sequence[Hypothesis], claim: Bound, ground: Ground, seed: int, world: World
) -> Bound | None:
    """Bind the first of some moved claims that is not finer than the claim itself and can be measured."""
    for control in moved:
        try:
            bound = bind(
                control, claim.anatomy, ground.history, _roles(ground), seed, again=bool(claim.made), world=world
            )
            _refuse_too_many(bound, ground)
        except UserError:
            if not claim.made:  # else heads would have to read too many made rows, or actions had two names
                raise
            continue
        if not is_finer(bound, claim):
            return bound
    return None


def _refuse_too_many(bound: Bound, ground: Ground) -> None:
    positions = sum(min(POSITIONS, int(ground.masks[name].sum())) for name in ground.judged)
    refuse_too_many(bound, positions, *ground.history.shape)


def _roles(ground: Ground) -> dict[str, np.ndarray]:
    return {name: mask for name, mask in ground.regimes.items() if name != "all"}


def make_grounds(
    checkpoint: Checkpoint,
    settings: ScrubSettings,
    progress: Progress,
    lives: LivesOnDisk = NOT_KEPT,
    kept: Kept | None = None,
) -> list[Ground]:
    """Make the data sets of a study about a model, as far as this process has not made them already.

    Raises:
        DataError: There is no such data set, or too few rows were asked for.
        CapacityError: They would not fit into memory.
    """
    steps = checkpoint.experiment.history_steps
    rows = settings.rows + settings.donors
    refuse_too_large(Cost(0, history_bytes(checkpoint.model, rows, steps), 0), settings.memory)
    names = data_sets(checkpoint, settings)
    progress.begin("generating histories", len(names) * rows * steps, "steps")
    how = (settings.rows, settings.donors, settings.tasks, settings.seed)

    grounds: list[Ground] = []

    def make(number: int) -> Ground:
        before = number * rows * steps
        progress.note(names[number])
        own = next((ground.history for ground in grounds if ground.data == OWN), None)
        return make_ground(checkpoint, names[number], *how, lambda done: progress.reach(before + done), lives, own)

    config, device = checkpoint.config, str(checkpoint.model.device)
    model = (checkpoint.sha256, config.model_dump_json(), config.experiment.code_digest, device)
    for number, name in enumerate(names):
        make_this = partial(make, number)
        key = (*model, name, *how)
        grounds.append(make_this() if kept is None else kept.get(key, make_this, lambda ground: ground.bytes))
    return grounds


def data_sets(checkpoint: Checkpoint, settings: ScrubSettings) -> tuple[str, ...]:
    """Return the names of the data sets of a study about a model, edited ones by their families."""
    config = checkpoint.config
    return chosen_data(settings.data, config.experiment.task, config.kept_episodes)


def _refuse_beforehand(
    checkpoint: Checkpoint, claims: Sequence[Hypothesis], moved: Sequence[Hypothesis], settings: ScrubSettings
) -> None:
    """Refuse a study that would not fit, before there are histories; what does not fit the model is refused later."""
    outlines = [graph for claim in claims if (graph := outline(claim, checkpoint.model.anatomy)) is not None]
    shape = (settings.rows + settings.donors, checkpoint.experiment.history_steps)
    for control in moved:  # those whose heads would read too much are no controls
        graph = outline(control, checkpoint.model.anatomy)
        if graph is not None and most_tokens(graph, POSITIONS, *shape)[0] <= MOST_TOKENS:
            outlines.append(graph)
    if outlines:
        cost = predicted(checkpoint, outlines, settings, draws_for(len(outlines)))
        refuse_too_large(cost, settings.memory, str(checkpoint.model.device))


def predicted(
    checkpoint: Checkpoint, claims: Sequence[BoundGraph], settings: ScrubSettings, n_boot: int, one_run: bool = False
) -> Cost:
    """Return what testing claims about a checkpoint, the hypothesis first, will cost with so many bootstrap draws."""
    model, steps = checkpoint.model, checkpoint.experiment.history_steps
    n_data = len(data_sets(checkpoint, settings))
    extents = [settings.extent(number == 0, first=True) for number in range(len(claims))]
    shape = (settings.rows, settings.donors, steps)
    cost = predict(model, claims, extents, shape, n_data, settings.options, n_boot, one_run)
    return replace(cost, work=max(cost.work, history_bytes(model, settings.rollouts, steps)))


def bind_all(
    hypotheses: Sequence[Hypothesis],
    settings: ScrubSettings,
    model: str | Checkpoint | None,
    models: Path,
    device: str,
    progress: Progress,
    against: Sequence[Hypothesis] | None = None,
    lives: LivesOnDisk = NOT_KEPT,
    kept: Kept | None = None,
) -> list[BoundStudy]:
    """Load the checkpoints that hypotheses are about, and bind each hypothesis with its controls; see `scrub`."""
    groups = chosen(hypotheses, model.name if isinstance(model, Checkpoint) else model)
    names = dict.fromkeys(main.model for main, _ in groups)
    checkpoints = {name: model if isinstance(model, Checkpoint) else load(name, models, device) for name in names}
    grounds: dict[str, list[Ground]] = {}
    studies = []
    for main, controls in groups:
        checkpoint = checkpoints[main.model]
        study = prepare(main, controls, checkpoint, settings, grounds.get(main.model), progress, lives, kept)
        grounds[main.model] = study.grounds
        if settings.rivals:
            study.rivals, study.unfit = (against, {}) if against is not None else default_rivals(main, hypotheses)
        studies.append(study)
    return studies


def refuse_untestable(bound: Bound, ground: Ground, align: Align) -> None:
    """Refuse a claim under which nothing could ever be swapped.

    Raises:
        DataError: At some node no reference shares its feature value with a donor.
    """
    rows = slice(ground.n_references)
    for node in bound.nodes.values():
        if node.labels is None or node.symmetry is not None:
            continue
        pools = classes(node.labels, node.selected, align, ground.history.episode_step, ground.clean.pool)
        alone = pools.alone[rows]
        if (alone if node.selected is None else alone[node.selected[rows]]).all():
            raise DataError(
                f"{node.name}: none of the {ground.n_references} histories shares its value with one of the "
                f"{ground.history.n_rows - ground.n_references} donors, so there is nothing to swap.\n"
                f"  Use more donors (`pool`), or let {node.name}() return something coarser."
            )


def untested(study: BoundStudy, settings: ScrubSettings) -> list[str]:
    """Say what the whole study could not test."""
    warnings = []
    if all(claim.kind not in ("wrong site", QUICK) for claim in study.claims):
        warnings.append(
            "No wrong-site control could be made: no other place of the model fits the claim, or a node would say more "
            "there than the claim does."
        )
    warnings += [f"{name} was not compared: {message}" for name, message in study.unfit.items()]
    for ground in study.grounds:
        if ground.data.startswith(EDITED):  # an edit gives nearly every life a task of its own
            continue
        n_tasks = ground.n_tasks
        if settings.donors < FEW_DONORS * n_tasks:
            warnings.append(
                f"On {ground.data} there are {settings.donors} donors of {n_tasks} tasks, so a feature can name a "
                "task. Use more donors (`pool`)."
            )
    return warnings
