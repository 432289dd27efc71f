"""From a hypothesis and a checkpoint to the record that a report is drawn from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy as np

from ad_hypotheses.causal.metrics import exact_baseline
from ad_hypotheses.distill.checkpoint import Checkpoint, versions
from ad_hypotheses.evidence.bootstrap import Resampling
from ad_hypotheses.evidence.estimate import require_estimable
from ad_hypotheses.evidence.plain_data import Curve
from ad_hypotheses.evidence.verdict import TESTED_AT_LEAST, Judgement, draws_for, judge
from ad_hypotheses.language.check import Bound, bind
from ad_hypotheses.language.history import history_digest
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.progress import Progress
from ad_hypotheses.report.screen import size
from ad_hypotheses.storage.places import MODELS
from ad_hypotheses.storage.scratch import Scratch, store_in
from ad_hypotheses.storage.store import Store
from ad_hypotheses.studies.adversary.attack import challenge
from ad_hypotheses.studies.adversary.plan import plan
from ad_hypotheses.studies.evaluate.curves import explanation_curve
from ad_hypotheses.studies.evaluate.figures import BLOCK
from ad_hypotheses.studies.kept_lives import LivesOnDisk
from ad_hypotheses.studies.rivals.choose import differing, fitting
from ad_hypotheses.studies.rivals.classes import ClaimClasses
from ad_hypotheses.studies.rivals.record import Rivalry
from ad_hypotheses.studies.rivals.study import compare
from ad_hypotheses.studies.scrub.bind import QUICK, BoundClaim, BoundStudy, ScrubSettings, bind_all, predicted, untested
from ad_hypotheses.studies.scrub.claim import MeasuredClaim, claim_record, tested
from ad_hypotheses.studies.scrub.claim_parts import UndeclaredArrows
from ad_hypotheses.studies.scrub.cost import Cost, Extent, fits, refuse_too_large
from ad_hypotheses.studies.scrub.ground import Ground
from ad_hypotheses.studies.scrub.kept import Kept, Remembered, remembered
from ad_hypotheses.studies.scrub.made import claim_digest
from ad_hypotheses.studies.scrub.measure import measure
from ad_hypotheses.studies.scrub.measured import Measured, weigh
from ad_hypotheses.studies.scrub.record import Challenge, DataRecord, Study
from ad_hypotheses.studies.scrub.undeclared import undeclared_arrows

MEASURED_AS = 10  # raise it when the engine measures something else: interrupted studies then start anew


def scrub(
    hypotheses: Sequence[Hypothesis],
    settings: ScrubSettings | None = None,
    *,
    model: str | Checkpoint | None = None,
    models: Path = MODELS,
    device: str = "cpu",
    against: Sequence[Hypothesis] | None = None,
    command: str = "",
    scratch: Scratch | None = None,
    lives: Path | None = None,
    progress: Progress | None = None,
    kept: Kept | None = None,
) -> list[Study]:
    """Test hypotheses and their controls by causal scrubbing, and judge them together.

    Chan et al. 2022, "Causal Scrubbing: a method for rigorously testing interpretability hypotheses".

    Args:
        hypotheses: All claims of a file, controls among them.
        settings: How; the defaults if None.
        model: The checkpoint to test on, or its name; None for those that the hypotheses name.
        models: Folder of the checkpoints.
        device: Where to compute.
        against: Claims to compare each hypothesis with, end to end; None for all others about the same model, in the
            same file and those beside it.
        command: What makes the same study again, for its record.
        scratch: Where to keep what is measured claim by claim, so that an interrupted study goes on where it stopped;
            None to keep nothing.
        lives: Folder in which lives of the models are kept for the next study; None to keep none.
        progress: Listens on the way.
        kept: What this process made already, to which is added.

    Returns:
        One record for each hypothesis that is not a control of another.

    Raises:
        HypothesisError: A claim does not fit the model or the data.
        CheckpointError: A checkpoint is missing or damaged.
        DataError: The histories leave nothing to test, or the model does no better than the baseline.
        CapacityError: A run would not fit into memory; raised before it starts.
    """
    settings, progress = settings or ScrubSettings(), progress or Progress()
    studies = bind_all(hypotheses, settings, model, models, device, progress, against, LivesOnDisk(lives), kept)
    return run_studies(studies, settings, command, scratch, progress, kept)


def run_studies(
    studies: Sequence[BoundStudy],
    settings: ScrubSettings,
    command: str = "",
    scratch: Scratch | None = None,
    progress: Progress | None = None,
    kept: Kept | None = None,
) -> list[Study]:
    """Measure hypotheses that are bound to data, and judge them together.

    Args:
        studies: From :func:`prepare`.
        settings: How.
        command: What makes the same study again.
        scratch: Where to keep what is measured claim by claim; None to keep nothing.
        progress: Listens on the way.
        kept: What this process made already, to which is added.

    Raises:
        DataError: The model does no better than the baseline: there is nothing to explain.
        CapacityError: A run would not fit into memory; raised before it starts.
    """
    progress = progress or Progress()
    n_boot = draws_for(sum(len(study.claims) for study in studies), max(_n_cells(study) for study in studies))
    for study in studies:
        _plan_attack(study, settings)
    one_run = _announce(studies, settings, n_boot, progress)
    stays_below = 0 if kept is None else kept.limit // 2
    with ExitStack() as latest:
        # the model's run over a data set is kept until that of the next, so that the last one is there to the end
        for ground in dict.fromkeys(ground for study in studies for ground in study.grounds):
            latest.close()
            if one_run:
                latest.enter_context(ground.clean.one_run(stays_below))
            for study in (study for study in studies if ground in study.grounds):
                _measure(study, ground, settings, scratch, n_boot, progress, kept)
        for study in (study for study in studies if study.attack is not None):
            study.challenge = _attacked(study, settings, scratch, progress)
        return _judged(studies, settings, command, progress, kept)


def _judged(
    studies: Sequence[BoundStudy], settings: ScrubSettings, command: str, progress: Progress, kept: Kept | None
) -> list[Study]:
    """Judge what was measured, all claims together, and put records together."""
    family = [
        tested(claim.hypothesis.name or claim.bound.root, claim.hypothesis.accept, claim.measured)
        for study in studies
        for claim in study.claims
    ]
    judgements = iter(judge(family))
    records = []
    for study in studies:
        rivalries = _rivalries(study, settings, progress)
        of_study = list(islice(judgements, len(study.claims)))
        undeclared = None
        if study.claims[0].kind != QUICK:
            progress.begin("screening undeclared arrows", 1)
            memory_of = partial(_memory, study.checkpoint, settings=settings, kept=kept)
            how = (settings.options, settings.seed, memory_of)
            undeclared = undeclared_arrows(study.claims[0].measured, of_study[0], *how)
            progress.advance(1)
        records.append(_study(study, of_study, rivalries, undeclared, settings, command))
    return records


def _rivalries(study: BoundStudy, settings: ScrubSettings, progress: Progress) -> list[Rivalry]:
    """Compare a hypothesis end to end with other claims about the same model, as far as they fit."""
    if not study.rivals:
        return []
    progress.begin("comparing with rivals", len(study.rivals), "claims")
    datasets = [ground.for_rivals() for ground in study.grounds]
    graphs = {
        ground.data: study.claims[0].bounds[ground.data].of_rows(ground.rows_for_rivals) for ground in study.grounds
    }
    claim = ClaimClasses.of(study.hypothesis, graphs, datasets)
    rivals, unfit = fitting(study.rivals, study.checkpoint, datasets, settings.seed)
    study.unfit |= unfit
    rivalries = compare(claim, differing(claim, rivals, datasets, settings.align), datasets, settings.align)
    progress.advance(len(study.rivals))
    return rivalries


def _n_cells(study: BoundStudy) -> int:
    return sum(len(ground.judged) for ground in study.grounds)


def _announce(studies: Sequence[BoundStudy], settings: ScrubSettings, n_boot: int, progress: Progress) -> bool:
    """Predict what the studies cost, refuse what does not fit, and say the rest.

    Returns:
        Whether there is room for the model's run over a data set, so that it serves all claims.
    """
    device = str(studies[0].checkpoint.model.device)
    cost = Cost.together([_cost(study, settings, n_boot, one_run=True) for study in studies])
    one_run = fits(cost, settings.memory, device)
    if not one_run:
        cost = Cost.together([_cost(study, settings, n_boot, one_run=False) for study in studies])
    refuse_too_large(cost, settings.memory, device)
    n_claims, grounds = sum(len(study.claims) for study in studies), studies[0].grounds
    progress.say(
        f"{n_claims} claims over {settings.rows:,} histories, with {settings.donors:,} donors, of {len(grounds)} data "
        f"sets ({', '.join(ground.data for ground in grounds)}): {cost.forwards:,} partial forward passes, "
        f"{size(cost.bytes)} of memory"
    )
    progress.begin("scrubbing", cost.forwards, "forwards")
    return one_run


def _measure(
    study: BoundStudy,
    ground: Ground,
    settings: ScrubSettings,
    scratch: Scratch | None,
    n_boot: int,
    progress: Progress,
    kept: Kept | None,
) -> None:
    """Measure the claims of a study on one data set, and weigh what was measured."""
    learners, rng = len(np.unique(ground.learners)), np.random.default_rng
    # claims that got equally many passes share the weights
    resampled = cache(lambda passes: Resampling.draw(learners, passes, rng(settings.seed), n_boot))
    for claim, bound, measured in measured_claims(study, ground, settings, scratch, progress, kept):
        evidence, at_stake = weigh(ground, measured, resampled(measured.passes))
        # else the verdict says that hardly anything was tested
        if ground is study.grounds[0] and at_stake["all"] >= TESTED_AT_LEAST:
            require_estimable(evidence["all"])
        policy = bound.hypothesis.policy(ground.references)
        claim.measured.append(MeasuredClaim(ground, bound, measured, policy, evidence, at_stake))


def measured_claims(
    study: BoundStudy,
    ground: Ground,
    settings: ScrubSettings,
    scratch: Scratch | None,
    progress: Progress,
    kept: Kept | None = None,
) -> Iterator[tuple[BoundClaim, Bound, Measured]]:
    """Measure the claims of a study on one data set, or read what was measured; see :func:`run_studies`."""
    is_first = ground is study.grounds[0]
    of_data = data_key(study.checkpoint, ground, settings)
    memory = _memory(study.checkpoint, ground, settings, kept)
    store = store_in(scratch, "claims")
    for claim in study.claims:
        if ground.data not in claim.bounds:
            continue
        bound = claim.bounds[ground.data]
        progress.note(f"{bound.hypothesis.name or bound.root} on {ground.data}")
        extent = settings.extent(claim.kind == "hypothesis", is_first, bound.hypothesis.accept, claim.is_control)
        of_claim = claim_digest(bound, ground.references)
        name = _key(of_data, extent, of_claim)
        measured = remembered(
            memory,
            ("claim", extent, of_claim),
            partial(_measured, ground, bound, extent, settings, name, store, progress.advance, memory),
            lambda measured: measured.bytes,
        )
        yield claim, bound, measured


def _cost(study: BoundStudy, settings: ScrubSettings, n_boot: int, one_run: bool) -> Cost:
    claims = [claim.bound for claim in study.claims]
    cost = predicted(study.checkpoint, claims, settings, n_boot, one_run)
    if study.attack is None:
        return cost
    # an adversary's hungriest runs have independent inputs, on one half of the references
    apart = predicted(study.checkpoint, claims[:1], replace(settings, others="independent"), n_boot)
    return Cost(cost.forwards + study.attack.forwards, cost.kept, max(cost.work, apart.work // 2))


def _plan_attack(study: BoundStudy, settings: ScrubSettings) -> None:
    """Plan what an adversary tries on the references of the first data set, if one was asked."""
    if settings.findings is not None:
        ground = study.grounds[0]
        regimes = {name: mask for name, mask in ground.masks.items() if name != "all"}
        bound = bind(study.hypothesis, study.checkpoint.model.anatomy, ground.references, regimes, settings.seed)
        how = (settings.findings, settings.passes, settings.seed, settings.options)
        study.attack = plan(bound, ground.references, *how)


def _attacked(study: BoundStudy, settings: ScrubSettings, scratch: Scratch | None, progress: Progress) -> Challenge:
    attack, ground, claim = study.attack, study.grounds[0], study.claims[0]
    assert attack is not None
    progress.note(f"adversary against {claim.hypothesis.name or claim.bound.root}")
    of_data, of_claim = data_key(study.checkpoint, ground, settings), claim_digest(claim.bound, ground.references)
    store = store_in(scratch, f"attack-{_key(of_data, settings.extent(True, True), of_claim)}-{attack.key}")
    baseline = exact_baseline(ground.log_probs, ground.references.actions, self_donors=False)
    where = (study.checkpoint.model, ground.references, ground.masks, baseline)
    return challenge(attack, *where, store, progress.advance)


def _measured(
    ground: Ground,
    bound: Bound,
    extent: Extent,
    settings: ScrubSettings,
    name: str,
    store: Store,
    done: Callable[[int], None],
    memory: Remembered | None,
) -> Measured:
    arrays = store.get(
        name,
        lambda: measure(ground, bound, extent, settings.options, settings.seed, done, memory).arrays(),
        lambda: done(extent.forwards(bound, settings.options)),
    )
    return Measured.of_arrays(arrays)


def _key(of_data: str, extent: Extent, of_claim: str) -> str:
    """Name of what was measured: changes with the weights, the data, the claim, the settings and the engine."""
    return hashlib.sha256(repr((of_data, extent, of_claim)).encode()).hexdigest()[:24]


def _memory(checkpoint: Checkpoint, ground: Ground, settings: ScrubSettings, kept: Kept | None) -> Remembered | None:
    """Return what this process measured already of a model on a data set."""
    return None if kept is None else Remembered(kept, data_key(checkpoint, ground, settings))


def data_key(checkpoint: Checkpoint, ground: Ground, settings: ScrubSettings) -> str:
    """Return a digest of the weights, the data, the settings of the engine and the engine."""
    how = (MEASURED_AS, checkpoint.sha256, ground.data, ground.n_references, settings.options, settings.seed)
    return hashlib.sha256(repr((how, history_digest(ground.history))).encode()).hexdigest()


def _study(
    study: BoundStudy,
    judgements: Sequence[Judgement],
    rivalries: list[Rivalry],
    undeclared: UndeclaredArrows | None,
    settings: ScrubSettings,
    command: str,
) -> Study:
    hypothesis, checkpoint, ground = study.hypothesis, study.checkpoint, study.grounds[0]
    claims = [
        claim_record(claim.kind, claim.measured, judgement, settings.align)
        for claim, judgement in zip(study.claims, judgements, strict=True)
    ]
    claims[0] = replace(claims[0], challenge=study.challenge, rivals=rivalries, undeclared=undeclared)
    claims[0].warnings.extend(untested(study, settings))
    config, task, shape = checkpoint.config, checkpoint.experiment.task, checkpoint.model.shape
    title, _, text = hypothesis.doc.partition("\n")
    dimensions = f"{shape.n_layers} layers, {shape.n_heads} heads, width {shape.d_model}"
    kept = f", 1 in {config.histories.keep_every} kept" if config.histories.keep_every > 1 else ""
    return Study(
        title=title or hypothesis.title,
        text=text.strip(),
        file=hypothesis.root.place.rpartition(":")[0],
        model=checkpoint.name,
        model_sha256=checkpoint.sha256,
        task=task.name,
        task_facts={name: value for name, value in vars(task).items() if type(value) is int},
        action_names=list(task.action_names),
        model_text=f"{dimensions}, context {shape.n_ctx} steps",
        data_text=(
            f"{settings.rows} learning histories of {ground.history.n_steps} steps as references and {settings.donors} "
            f"as donors of each data set, one a learner, never trained on; source {config.source['name']}, "
            f"{config.histories.episodes} episodes{kept}; tasks: {settings.tasks}"
        ),
        rows=settings.rows,
        n_steps=ground.history.n_steps,
        horizon=task.horizon,
        options={**settings.recorded(), "pool": settings.donors, "device": str(checkpoint.model.device)},
        command=command,
        versions=versions(),
        claims=claims,
        curves=_curves(hypothesis, checkpoint, settings),
        curve_unit="episode" if config.kept_episodes > 1 else f"{BLOCK} steps",
        data=[
            DataRecord(item.data, item.words, item.n_references, item.history.n_rows - item.n_references, item.n_tasks)
            for item in study.grounds
        ],
    )


def _curves(hypothesis: Hypothesis, checkpoint: Checkpoint, settings: ScrubSettings) -> list[Curve]:
    known = checkpoint.record.get("evaluation", {}).get("held_out", [])
    curves = [Curve(**one) for one in known if one["name"] != "model, argmax"]
    if settings.rollouts:
        curves.insert(1, explanation_curve(hypothesis, checkpoint.config, settings.rollouts, settings.seed))
    return curves
