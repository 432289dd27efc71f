"""Write down how a model learns in context, and test it by causal scrubbing and path patching.

The names below are loaded when they are first used, so that `import ad_hypotheses` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ad_hypotheses.language.history import History
    from ad_hypotheses.language.hypothesis import Hypothesis, node
    from ad_hypotheses.language.sites import embed, head, logits, mlp, pos

_HOMES = {
    "History": "language.history",
    "Hypothesis": "language.hypothesis",
    "embed": "language.sites",
    "head": "language.sites",
    "logits": "language.sites",
    "mlp": "language.sites",
    "node": "language.hypothesis",
    "pos": "language.sites",
}

__all__ = ["History", "Hypothesis", "embed", "head", "logits", "mlp", "node", "pos"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
