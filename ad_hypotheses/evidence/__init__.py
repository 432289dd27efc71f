"""From losses to verdicts: estimates with intervals, and one rule for all that is tested together."""

from __future__ import annotations

from ad_hypotheses.evidence.bootstrap import Estimate, Resampling, crossed_bootstrap
from ad_hypotheses.evidence.estimate import Evidence, Sums, estimate, require_estimable
from ad_hypotheses.evidence.p_values import holm, p_above, p_below
from ad_hypotheses.evidence.verdict import Cell, Judgement, Tested, Verdict, draws_for, judge

__all__ = [
    "Cell",
    "Estimate",
    "Evidence",
    "Judgement",
    "Resampling",
    "Sums",
    "Tested",
    "Verdict",
    "crossed_bootstrap",
    "draws_for",
    "estimate",
    "holm",
    "judge",
    "p_above",
    "p_below",
    "require_estimable",
]
