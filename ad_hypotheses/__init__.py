"""Write down how a model learns in context, and test it by causal scrubbing and path patching.

The names below are loaded when they are first used, so that `import ad_hypotheses` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ad_hypotheses.explorer.start import bundle, explore
    from ad_hypotheses.known.calibration.record import Calibration
    from ad_hypotheses.language.history import History
    from ad_hypotheses.language.hypothesis import Hypothesis, node
    from ad_hypotheses.language.sites import embed, head, logits, mlp, pos
    from ad_hypotheses.library.adopt import adopt
    from ad_hypotheses.library.data import (
        change_facts,
        counterfactual,
        edit,
        histories,
        load_histories,
        play,
        rearrange,
        rollout,
    )
    from ad_hypotheses.library.listings import hypotheses, models, read, reports
    from ad_hypotheses.library.live import live
    from ad_hypotheses.library.look import ablations, attention, attribution, carriers, decisions, learners, scan
    from ad_hypotheses.library.model import Model, load
    from ad_hypotheses.library.patch import patch
    from ad_hypotheses.library.scrub import rivals_at, scrub, scrub_at
    from ad_hypotheses.library.scrubbed import ScrubbedModel
    from ad_hypotheses.library.studies import calibrate, evaluate, sweep, train
    from ad_hypotheses.studies.ablation import Ablations
    from ad_hypotheses.studies.carriers import Carriers
    from ad_hypotheses.studies.decisions import Decisions, LearnerDecisions
    from ad_hypotheses.studies.edits import Pair
    from ad_hypotheses.studies.evaluate.record import Evaluation
    from ad_hypotheses.studies.look import AttentionPattern, Attribution
    from ad_hypotheses.studies.patch.record import PatchStudy
    from ad_hypotheses.studies.rivals.context import ContextRivals
    from ad_hypotheses.studies.scan import Scan
    from ad_hypotheses.studies.scrub.context import ScrubbedContext
    from ad_hypotheses.studies.scrub.record import Study
    from ad_hypotheses.studies.side_by_side import ParallelLives, SideBySide
    from ad_hypotheses.studies.sweep.record import Sweep

_HOMES = {
    "Ablations": "studies.ablation",
    "AttentionPattern": "studies.look",
    "Attribution": "studies.look",
    "Calibration": "known.calibration.record",
    "Carriers": "studies.carriers",
    "ContextRivals": "studies.rivals.context",
    "Decisions": "studies.decisions",
    "Evaluation": "studies.evaluate.record",
    "History": "language.history",
    "Hypothesis": "language.hypothesis",
    "LearnerDecisions": "studies.decisions",
    "Model": "library.model",
    "Pair": "studies.edits",
    "ParallelLives": "studies.side_by_side",
    "PatchStudy": "studies.patch.record",
    "Scan": "studies.scan",
    "ScrubbedContext": "studies.scrub.context",
    "ScrubbedModel": "library.scrubbed",
    "SideBySide": "studies.side_by_side",
    "Study": "studies.scrub.record",
    "Sweep": "studies.sweep.record",
    "ablations": "library.look",
    "adopt": "library.adopt",
    "attention": "library.look",
    "attribution": "library.look",
    "bundle": "explorer.start",
    "calibrate": "library.studies",
    "carriers": "library.look",
    "change_facts": "library.data",
    "counterfactual": "library.data",
    "decisions": "library.look",
    "edit": "library.data",
    "embed": "language.sites",
    "evaluate": "library.studies",
    "explore": "explorer.start",
    "head": "language.sites",
    "histories": "library.data",
    "hypotheses": "library.listings",
    "learners": "library.look",
    "live": "library.live",
    "load": "library.model",
    "load_histories": "library.data",
    "logits": "language.sites",
    "mlp": "language.sites",
    "models": "library.listings",
    "node": "language.hypothesis",
    "patch": "library.patch",
    "play": "library.data",
    "pos": "language.sites",
    "read": "library.listings",
    "rearrange": "library.data",
    "reports": "library.listings",
    "rivals_at": "library.scrub",
    "rollout": "library.data",
    "scan": "library.look",
    "scrub": "library.scrub",
    "scrub_at": "library.scrub",
    "sweep": "library.studies",
    "train": "library.studies",
}
_ELSEWHERE = {
    "HookedTransformer": 'load("dark-room")',
    "load_model": 'load("dark-room")',
    "from_pretrained": 'load("dark-room")',
    "generate": "rollout(model)",
    "scrubbed": "ScrubbedModel(hypothesis, model)",
}  # names that another library taught

__all__ = [
    "Ablations",
    "AttentionPattern",
    "Attribution",
    "Calibration",
    "Carriers",
    "ContextRivals",
    "Decisions",
    "Evaluation",
    "History",
    "Hypothesis",
    "LearnerDecisions",
    "Model",
    "Pair",
    "ParallelLives",
    "PatchStudy",
    "Scan",
    "ScrubbedContext",
    "ScrubbedModel",
    "SideBySide",
    "Study",
    "Sweep",
    "ablations",
    "adopt",
    "attention",
    "attribution",
    "bundle",
    "calibrate",
    "carriers",
    "change_facts",
    "counterfactual",
    "decisions",
    "edit",
    "embed",
    "evaluate",
    "explore",
    "head",
    "histories",
    "hypotheses",
    "learners",
    "live",
    "load",
    "load_histories",
    "logits",
    "mlp",
    "models",
    "node",
    "patch",
    "play",
    "pos",
    "read",
    "rearrange",
    "reports",
    "rivals_at",
    "rollout",
    "scan",
    "scrub",
    "scrub_at",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        from ad_hypotheses.errors import did_you_mean

        meant = f" Write ad_hypotheses.{_ELSEWHERE[name]}." if name in _ELSEWHERE else did_you_mean(name, __all__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{meant}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
