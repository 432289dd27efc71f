"""The claims about a known network, and what a study says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.known.claims import KnownClaim, claims_of
from ad_hypotheses.known.network import Known
from ad_hypotheses.progress import Progress
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.scrub.bind import ScrubSettings, make_grounds, prepare
from ad_hypotheses.studies.scrub.record import Claim
from ad_hypotheses.studies.scrub.study import run_studies

ROOT = Path(__file__).resolve().parent.parent
MODELS, CLAIMS = ROOT / "models", ROOT / "hypotheses" / "known"


def thinned(networks: Sequence[Known], *usual: str) -> pytest.MarkDecorator:
    """Return a parametrization over networks; those that are not named here are tested with `--runslow` only."""
    marks = {known.name: () if known.name in usual else (pytest.mark.slow,) for known in networks}
    parameters = [pytest.param(known, id=known.name, marks=marks[known.name]) for known in networks]
    return pytest.mark.parametrize("known", parameters)


def claims_by_name(known: Known) -> dict[str, KnownClaim]:
    return {claim.name: claim for claim in claims_of(known, CLAIMS)}


def verdicts(known: Known, settings: ScrubSettings, scratch: Path, only: set[str] | None = None) -> Iterator[Claim]:
    """Judge the claims of a known network, or some of them, together; wrong ones are measured as any hypothesis is."""
    checkpoint = load(known.model, MODELS)
    grounds, trials = make_grounds(checkpoint, settings, Progress()), []
    for claim in claims_of(known, CLAIMS):
        if only is None or claim.name in only:
            trial = prepare(claim.hypothesis, (), checkpoint, settings, grounds)
            trial.claims = trial.claims[:1]  # without the control that the tool makes
            trials.append(trial)
    for study in run_studies(trials, settings, "", Scratch(scratch)):
        yield from study.claims
