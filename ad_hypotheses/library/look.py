"""Look inside of a model at one step: what every part adds to a logit, and where every head looks."""

from __future__ import annotations

from pathlib import Path

from ad_hypotheses.language.history import History
from ad_hypotheses.library.model import Model, loaded
from ad_hypotheses.studies.look import AttentionPattern, Attribution, attend, attribute


def attribution(model: Model | str | Path, history: History, step: int, of: str | int | None = None) -> Attribution:
    """Return what every writer adds to a logit at one step, exactly: the parts sum to it.

    The direct way alone counts: what a head writes for later parts to read shows in those.

    Args:
        model: The model, or its name.
        history: One history.
        step: Number of the step; negative counts from the end.
        of: A logit, `"right"`, or the difference of two, `"right - down"`, by names or numbers of actions; None for the
            logit of the action that was taken.

    Raises:
        DataError: There is more than one history, or no such step or action.

    Example:
        >>> import ad_hypotheses as adh
        >>> model = adh.load("bandit")
        >>> parts = adh.attribution(model, model.histories(2)[0], step=50, of="0 - 1")
        >>> abs(sum(parts.parts.values()) - parts.logit) < 1e-9
        True
    """
    model = loaded(model)
    return attribute(model.folded(), model.task, model.name, history, step, of)


def attention(model: Model | str | Path, history: History, step: int) -> AttentionPattern:
    """Return where every head looks at one step: its weights over the steps up to it, with their roles.

    Args:
        model: The model, or its name.
        history: One history.
        step: Number of the step that looks; negative counts from the end.

    Raises:
        DataError: There is more than one history, or no such step.

    Example:
        >>> import ad_hypotheses as adh
        >>> model = adh.load("bandit")
        >>> adh.attention(model, model.histories(2)[0], step=9).to_frame().shape
        (10, 11)
    """
    model = loaded(model)
    return attend(model, model.name, history, step)
