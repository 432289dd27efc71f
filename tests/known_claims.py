"""The claims about a known network, and what a study says of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.known.network import Known
from ad_hypotheses.language.claims import chosen
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.load import load as load_claims
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.scrub.bind import ScrubSettings, prepare
from ad_hypotheses.studies.scrub.record import Claim
from ad_hypotheses.studies.scrub.study import run_studies

ROOT = Path(__file__).resolve().parent.parent
MODELS, CLAIMS = ROOT / "models", ROOT / "hypotheses" / "known"


def claims_of(known: Known) -> dict[str, Hypothesis]:
    return {str(one.name): one for one in load_claims(CLAIMS / known.file)}


def verdicts(known: Known, settings: ScrubSettings, scratch: Path, only: set[str] | None = None) -> Iterator[Claim]:
    """Judge the claims of a known network, or some of them, without the tool's own controls."""
    checkpoint = load(known.model, MODELS)
    picked = [one for one in claims_of(known).values() if only is None or one.name in only]
    trials = []
    for main, controls in chosen(picked, None):
        trial = prepare(main, controls, checkpoint, settings)
        trial.bound = [one for one in trial.bound if one[0] != "wrong site"]
        trials.append(trial)
    for study in run_studies(trials, settings, "", Scratch(scratch)):
        yield from study.claims
