"""A quick look at a claim: first figures on few histories of the source, in seconds, and no verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ad_hypotheses.distill.checkpoint import Checkpoint, load
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.load import chosen
from ad_hypotheses.progress import Progress
from ad_hypotheses.studies.data import SOURCE
from ad_hypotheses.studies.scrub.bind import QUICK, ScrubSettings, prepare
from ad_hypotheses.studies.scrub.kept import Kept
from ad_hypotheses.studies.scrub.record import Study
from ad_hypotheses.studies.scrub.study import run_studies

ROWS, DONORS = 32, 128


def quick_settings(
    rows: int | None = None, passes: int | None = None, pool: int | None = None, **how: Any
) -> ScrubSettings:
    """Return the settings of a quick look.

    Args:
        rows: References; None for 32.
        passes: How often every reference is scrubbed at most; None for once.
        pool: Donors; None for 128.
        how: Other settings.
    """
    few = {"rows": rows or ROWS, "passes": passes or 1, "pool": pool or DONORS, "rollouts": 0, "rivals": False}
    return ScrubSettings(data=(SOURCE,), **few, **how)  # type: ignore[arg-type]


def quick_looks(
    hypotheses: Sequence[Hypothesis],
    settings: ScrubSettings,
    model: str | None = None,
    models: Path = Path("models"),
    device: str = "cpu",
    kept: Kept | None = None,
    progress: Progress | None = None,
) -> list[Study]:
    """Look at every hypothesis of a file that is no control of another.

    Args:
        hypotheses: All claims of the file.
        settings: From :func:`quick_settings`.
        model: Name of the checkpoint to look at; None for those that the hypotheses name.
        models: Folder of the checkpoints.
        device: Where to compute.
        kept: What this process made already, to which is added.
        progress: Listens on the way.

    Raises:
        HypothesisError: A claim does not fit the model or the data.
        CheckpointError: A checkpoint is missing or damaged.
        DataError: The histories leave nothing to test.
        CapacityError: It would not fit into memory.
    """
    mains = [main for main, _ in chosen(hypotheses, model)]
    kept = Kept() if kept is None else kept  # one that is empty is false
    checkpoints = {name: load(name, models, device) for name in dict.fromkeys(main.model for main in mains)}
    return [quick_look(main, checkpoints[main.model], settings, kept, progress) for main in mains]


def quick_look(
    hypothesis: Hypothesis,
    checkpoint: Checkpoint,
    settings: ScrubSettings,
    kept: Kept | None = None,
    progress: Progress | None = None,
) -> Study:
    """Scrub a hypothesis alone, without controls, guards and rivals: first figures, and no verdict.

    Args:
        hypothesis: The claim.
        checkpoint: The model.
        settings: From :func:`quick_settings`.
        kept: What this process made already, to which is added.
        progress: Listens on the way.

    Raises:
        HypothesisError: The claim does not fit the model or the data.
        DataError: The histories leave nothing to test.
        CapacityError: It would not fit into memory.
    """
    study = prepare(hypothesis, (), checkpoint, settings, progress=progress, kept=kept, kind=QUICK)
    (record,) = run_studies([study], settings, progress=progress, kept=kept)
    claim, ground = record.claims[0], study.grounds[0]
    passes = claim.spending[0].passes
    reason = f"{settings.rows} histories of {ground.data} alone, {passes} pass, no controls: a look, no test."
    look = replace(claim, verdict=f"{QUICK}: no verdict", reason=reason, p_supported=1.0, p_refuted=1.0, sentence="")
    return replace(record, claims=[look])
