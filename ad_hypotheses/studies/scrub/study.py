"""From a hypothesis and a checkpoint to the record that a report is drawn from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.distill.checkpoint import Checkpoint, versions
from ad_hypotheses.evidence.bootstrap import Resampling
from ad_hypotheses.evidence.estimate import require_estimable
from ad_hypotheses.evidence.plain_data import Curve
from ad_hypotheses.evidence.verdict import Judgement, draws_for, judge
from ad_hypotheses.language.check import Bound
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.progress import Progress
from ad_hypotheses.report.screen import size
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.adversary.attack import challenge
from ad_hypotheses.studies.adversary.plan import AttackPlan, plan
from ad_hypotheses.studies.evaluate.curves import explanation_curve
from ad_hypotheses.studies.evaluate.figures import BLOCK
from ad_hypotheses.studies.scrub.bind import BoundStudy, ScrubSettings, bind_all, predicted
from ad_hypotheses.studies.scrub.claim import MeasuredClaim, claim_record, weigh
from ad_hypotheses.studies.scrub.cost import Cost, refuse_too_large
from ad_hypotheses.studies.scrub.halves import clusters_of, n_splits
from ad_hypotheses.studies.scrub.measure import Measured, forwards, kept_or_measured, measure
from ad_hypotheses.studies.scrub.record import Challenge, Study

MEASURED_AS = 4  # raise it when the engine measures something else: interrupted studies then start anew


def scrub(
    hypotheses: Sequence[Hypothesis],
    settings: ScrubSettings | None = None,
    *,
    model: str | None = None,
    models: Path = Path("models"),
    device: str = "cpu",
    command: str = "",
    scratch: Scratch | None = None,
    progress: Progress | None = None,
) -> list[Study]:
    """Test hypotheses and their controls by causal scrubbing, and judge them together.

    Chan et al. 2022, "Causal Scrubbing: a method for rigorously testing interpretability hypotheses".

    Args:
        hypotheses: All claims of a file, controls among them.
        settings: How; the defaults if None.
        model: Name of the checkpoint to test on; None for those that the hypotheses name.
        models: Folder of the checkpoints.
        device: Where to compute.
        command: What makes the same study again, for its record.
        scratch: Where to keep what is measured claim by claim, so that an interrupted study goes on where it stopped;
            None to keep nothing.
        progress: Listens on the way.

    Returns:
        One record for each hypothesis that is not a control of another.

    Raises:
        HypothesisError: A claim does not fit the model or the data.
        CheckpointError: A checkpoint is missing or damaged.
        DataError: The histories leave nothing to test, or the model does no better than the baseline.
        CapacityError: A run would not fit into memory; raised before it starts.
    """
    settings, progress = settings or ScrubSettings(), progress or Progress()
    trials = bind_all(hypotheses, settings, model, models, device, progress)
    return run_studies(trials, settings, command, scratch, progress)


def run_studies(
    trials: Sequence[BoundStudy],
    settings: ScrubSettings,
    command: str = "",
    scratch: Scratch | None = None,
    progress: Progress | None = None,
) -> list[Study]:
    """Measure hypotheses that are bound to data, and judge them together.

    Args:
        trials: From :func:`prepare`.
        settings: How.
        command: What makes the same study again.
        scratch: Where to keep what is measured claim by claim; None to keep nothing.
        progress: Listens on the way.

    Raises:
        DataError: The model does no better than the baseline: there is nothing to explain.
        CapacityError: A run would not fit into memory; raised before it starts.
    """
    progress = progress or Progress()
    n_claims = sum(len(trial.bound) for trial in trials)
    for trial in trials:
        trial.attack = _attack(trial, settings)
        trial.clean = Clean.run(trial.checkpoint.model, trial.history)
    _announce(trials, settings, progress)
    begun = 0
    for trial in trials:
        _measure(trial, settings, scratch, draws_for(n_claims), (begun, n_claims), progress)
        begun += len(trial.bound)
        if trial.attack is not None:
            trial.challenge = _attacked(trial, trial.attack, settings, scratch, progress)
    judgements = iter(judge([claim.tested() for trial in trials for claim in trial.tried]))
    return [_study(trial, list(islice(judgements, len(trial.tried))), settings, command) for trial in trials]


def _announce(trials: Sequence[BoundStudy], settings: ScrubSettings, progress: Progress) -> None:
    """Predict what the trials cost, refuse what does not fit, and say the rest."""
    n_claims, n_rows = sum(len(trial.bound) for trial in trials), trials[0].history.n_rows
    cost = Cost.together([_cost(trial, settings, draws_for(n_claims)) for trial in trials])
    refuse_too_large(cost, settings.memory, str(trials[0].checkpoint.model.device))
    progress.say(
        f"{n_claims} claims over {n_rows:,} histories: {cost.forwards:,} partial forward passes, "
        f"{size(cost.bytes)} of memory"
    )
    progress.begin("scrubbing", cost.forwards, "forwards")


def _measure(
    trial: BoundStudy,
    settings: ScrubSettings,
    scratch: Scratch | None,
    n_boot: int,
    claims: tuple[int, int],
    progress: Progress,
) -> None:
    """Measure every claim of a trial; `claims` are those measured before and all that there are."""
    begun, n_claims = claims
    clean, history = trial.clean, trial.history
    assert clean is not None
    clusters = len(np.unique(clusters_of(history)))
    resampling = Resampling.draw(clusters, settings.passes, np.random.default_rng(settings.seed), n_boot)
    for number, (kind, bound) in enumerate(trial.bound, begun + 1):
        progress.note(f"{bound.hypothesis.name or bound.root} ({number} of {n_claims})")
        path = _file(scratch, f"{_key(trial.checkpoint, bound, history, settings)}.npz")
        with clean.prepared():
            measured = _measured(clean, bound, settings, kind == "hypothesis", path, progress.advance)
        evidence = weigh(measured, clean.log_probs, history, trial.regimes, resampling)
        require_estimable(evidence["all"][0])
        measured.halves = None  # large, and all in the evidence
        trial.tried.append(MeasuredClaim(bound, kind, measured, evidence, bound.hypothesis.policy(history)))


def _file(scratch: Scratch | None, name: str) -> Path | None:
    return None if scratch is None else scratch.file(name)


def _cost(trial: BoundStudy, settings: ScrubSettings, n_boot: int) -> Cost:
    claims = [bound for _, bound in trial.bound]
    cost = predicted(trial.checkpoint, claims, settings, n_boot)
    if trial.attack is None:
        return cost
    # an adversary's hungriest runs have independent inputs, on one half of the rows
    apart = predicted(trial.checkpoint, claims[:1], replace(settings, others="independent"), n_boot)
    return Cost(cost.forwards + trial.attack.forwards, cost.kept, max(cost.work, apart.work // 2))


def _attack(trial: BoundStudy, settings: ScrubSettings) -> AttackPlan | None:
    if settings.findings is None:
        return None
    how = (settings.findings, settings.passes, settings.seed, settings.options)
    return plan(trial.bound[0][1], trial.history, *how)


def _attacked(
    trial: BoundStudy, attack: AttackPlan, settings: ScrubSettings, scratch: Scratch | None, progress: Progress
) -> Challenge:
    bound, model, history = trial.bound[0][1], trial.checkpoint.model, trial.history
    progress.note(f"adversary against {bound.hypothesis.name or bound.root}")
    path = _file(scratch, f"{_key(trial.checkpoint, bound, history, settings)}-adversary-{attack.key}.npz")
    return challenge(attack, model, history, trial.regimes, trial.tried[0].measured.baseline, path, progress.advance)


def _measured(
    clean: Clean,
    bound: Bound,
    settings: ScrubSettings,
    nodes_alone: bool,
    path: Path | None,
    done: Callable[[int], None],
) -> Measured:
    splits = n_splits(clean.history)
    how = (settings.passes, settings.options, settings.seed, nodes_alone, splits)
    return kept_or_measured(
        path,
        lambda: measure(clean, bound, *how, progress=done),
        lambda: done(forwards(bound, settings.passes, nodes_alone, splits)),
    )


def _key(checkpoint: Checkpoint, bound: Bound, history: History, settings: ScrubSettings) -> str:
    """Name of what was measured: changes with the weights, the data, the claim, the settings and the engine."""
    how = (MEASURED_AS, checkpoint.sha256, replace(settings, memory=None, rollouts=0, findings=None), bound.root)
    digest = hashlib.sha256(repr(how).encode())
    for array in (history.observations, history.actions, history.rewards):
        digest.update(np.ascontiguousarray(array).tobytes())
    for node in bound.nodes.values():
        digest.update(repr((node.name, [str(part) for part in node.parts], node.parents)).encode())
        for part in node.parts:
            digest.update(b"" if part.directions is None else part.directions.tobytes())
        for values in (node.labels, node.selected):
            digest.update(b"-" if values is None else np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:24]


def _study(trial: BoundStudy, judgements: Sequence[Judgement], settings: ScrubSettings, command: str) -> Study:
    hypothesis, checkpoint, history = trial.hypothesis, trial.checkpoint, trial.history
    assert trial.clean is not None
    claims = [
        claim_record(one, judgement, trial.clean.log_probs, history, trial.regimes, settings.align)
        for one, judgement in zip(trial.tried, judgements, strict=True)
    ]
    claims[0] = replace(claims[0], challenge=trial.challenge)
    if all(kind != "wrong site" for kind, _ in trial.bound):
        claims[0].warnings.append("No wrong-site control could be made: no other place of the model fits the claim.")
    config, task, shape = checkpoint.config, checkpoint.config.make_task(), checkpoint.model.shape
    title, _, text = hypothesis.doc.partition("\n")
    size = f"{shape.n_layers} layers, {shape.n_heads} heads, width {shape.d_model}"
    kept = f", 1 in {config.histories.keep_every} kept" if config.histories.keep_every > 1 else ""
    return Study(
        title=title or hypothesis.title,
        text=text.strip(),
        file=hypothesis.root.place.rpartition(":")[0],
        model=checkpoint.name,
        model_sha256=checkpoint.sha256,
        task=task.name,
        task_facts={name: value for name, value in vars(task).items() if isinstance(value, int) and value is not False},
        action_names=list(task.action_names),
        model_text=f"{size}, context {shape.n_ctx} steps",
        data_text=(
            f"{history.n_rows} learning histories of {history.n_steps} steps, one a learner, never trained on; source "
            f"{config.source['name']}, {config.histories.episodes} episodes{kept}; tasks: {settings.tasks}"
        ),
        rows=history.n_rows,
        n_steps=history.n_steps,
        horizon=task.horizon,
        options={**asdict(settings), "device": str(checkpoint.model.device)},
        command=command,
        versions=versions(),
        claims=claims,
        curves=_curves(hypothesis, checkpoint, settings),
        curve_unit="episode" if config.kept_episodes > 1 else f"{BLOCK} steps",
    )


def _curves(hypothesis: Hypothesis, checkpoint: Checkpoint, settings: ScrubSettings) -> list[Curve]:
    known = checkpoint.record.get("evaluation", {}).get("held_out", [])
    curves = [Curve(**one) for one in known if one["name"] != "model, argmax"]
    if settings.rollouts:
        curves.insert(1, explanation_curve(hypothesis, checkpoint.config, settings.rollouts, settings.seed))
    return curves
