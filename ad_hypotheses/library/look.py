"""Look at a model in one history: what it would do, what every part adds to a logit, and where every head looks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from ad_hypotheses.language.history import History
from ad_hypotheses.library.model import Model, loaded
from ad_hypotheses.studies.ablation import (
    ZERO,
    Ablations,
    Instead,
    ablate,
    replaced_decision_logits,
    words_of,
    written_instead,
)
from ad_hypotheses.studies.carriers import Carriers
from ad_hypotheses.studies.carriers import carriers as carriers_of
from ad_hypotheses.studies.decisions import Decisions, LearnerDecisions, ask_learners, decide
from ad_hypotheses.studies.look import AttentionPattern, Attribution, attend, attribute
from ad_hypotheses.studies.scan import Scan
from ad_hypotheses.studies.scan import scan as scan_context

# exact copies of models in double precision, each with what tells whether the weights were changed since
_exact_copies: WeakKeyDictionary[Model, tuple[tuple[tuple[int, int], ...], Model]] = WeakKeyDictionary()
# what writers write on average, of the latest histories that was asked about, with what tells whether it still holds
_means: WeakKeyDictionary[Model, tuple[History | None, Any, Instead]] = WeakKeyDictionary()


def attribution(
    model: Model | str | Path, history: History, step: int = -1, of: str | int | None = None
) -> Attribution:
    """Return what every writer adds to a logit at one step, exactly: the parts sum to it.

    The direct way alone counts: what a head writes for later parts to read shows in those.

    Args:
        model: The model, or its name.
        history: One history.
        step: Number of the step; negative counts from the end, and the last is usual.
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
    return attribute(_exact(model), model.task, model.name, history, step, of)


def attention(
    model: Model | str | Path, history: History, step: int = -1, *, received: bool = False
) -> AttentionPattern:
    """Return where every head looks at one step: its weights over the steps up to it, with their roles.

    Args:
        model: The model, or its name.
        history: One history.
        step: Number of the step that looks; negative counts from the end, and the last is usual.
        received: Whether to return the other way how much every step from this one on looks at it.

    Raises:
        DataError: There is more than one history, or no such step.

    Example:
        >>> import ad_hypotheses as adh
        >>> model = adh.load("bandit")
        >>> adh.attention(model, model.histories(2)[0], step=9).to_frame().shape
        (10, 11)
    """
    model = loaded(model)
    return attend(model, model.name, history, step, received)


def decisions(
    model: Model | str | Path, history: History, *, replaced: Sequence[str] = (), by: History | str = ZERO
) -> Decisions:
    """Return what a model would do at every step of a history, and the loss of what was done.

    Args:
        model: The model, or its name.
        history: One history.
        replaced: Parts of the model that are replaced, all at once, at every step: writers, `"head(0, 1)"`, for all who
            read them, and edges, `"mlp(0) -> logits"`; what follows from them flows on.
        by: What they are replaced by: `"zero"`, or histories at least as long: what the part writes there at that
            step, on average over them.

    Raises:
        DataError: There is more than one history, it shows what the model has no embedding for, or those that parts
            are replaced by are shorter.
        HypothesisError: There is no such part.

    Example:
        >>> import ad_hypotheses as adh
        >>> model = adh.load("bandit")
        >>> adh.decisions(model, model.histories(2)[0]).to_frame().columns.to_list()[:4]
        ['step', 'taken', 'loss', 'regime']
    """
    model = loaded(model)
    logits = None
    if replaced:
        logits = replaced_decision_logits(model, history, replaced, _instead(model, by, history.n_steps))
    return decide(model, model.task, model.name, history, logits)


def ablations(
    model: Model | str | Path,
    history: History,
    step: int = -1,
    of: str | int | None = None,
    *,
    by: History | str = ZERO,
    edges: bool = False,
) -> Ablations:
    """Return what every part of a model does at one step: what changes if it alone is replaced, at all steps.

    Args:
        model: The model, or its name.
        history: One history.
        step: Number of the step; negative counts from the end, and the last is usual.
        of: An action, `"right"`, whose log-probability is asked about, or the difference of two, `"right - down"`; None
            for the action that was taken.
        by: What a part is replaced by, as for :func:`decisions`.
        edges: Whether to ask about every edge, too, and not only about writers.

    Raises:
        DataError: There is more than one history, no such step or action, or those of `by` are shorter.

    Example:
        >>> import ad_hypotheses as adh
        >>> model = adh.load("bandit")
        >>> histories = model.histories(16)
        >>> len(adh.ablations(model, histories[0], step=50, by=histories).writers)
        13
    """
    model = loaded(model)
    instead = _instead(model, by, history.n_steps)
    return ablate(model, model.task, model.name, history, step, of, words_of(by), instead, edges)


def scan(
    model: Model | str | Path,
    history: History,
    step: int = -1,
    of: str | int | None = None,
    *,
    vary: str,
    since: int = 0,
) -> Scan:
    """Return what a model does at one step as one thing varies, all else as it was done.

    Args:
        model: The model, or its name.
        history: One history.
        step: Number of the step; negative counts from the end, and the last is usual.
        of: An action, `"right"`, whose log-probability is asked about, or the difference of two, `"right - down"`; None
            for the action that was taken.
        vary: A place among the facts of the task, `"goal"`: everywhere that it can be, the world answering what was
            done; `"action"` or `"reward"`: of the step `since`; `"episodes"`: how many are kept before that of `step`.
        since: The step at which that is changed, or from which on.

    Raises:
        DataError: There is more than one history, no such step or action, or nothing of that name can vary.

    Example:
        >>> import ad_hypotheses as adh
        >>> model = adh.load("known-retrieval")
        >>> len(adh.scan(model, model.histories(2)[0], step=47, of="up", vary="goal").values)
        25
    """
    model = loaded(model)
    return scan_context(model, model.task, model.name, history, step, of, vary, since)


def learners(
    model: Model | str | Path, history: History, step: int, *, source: bool = False, seed: int = 0
) -> LearnerDecisions:
    """Return what learners whose algorithm is known would do at one step: who knows the task, and baselines of it.

    Args:
        model: The model whose task family they know, or its name.
        history: One history.
        step: Number of the step; negative counts from the end.
        source: Whether to ask the source of the model too, averaged over its own chance, which takes longer.
        seed: Of the learners' chance.

    Raises:
        DataError: There is more than one history, or no such step.

    Example:
        >>> import ad_hypotheses as adh
        >>> model = adh.load("bandit")
        >>> list(adh.learners(model, model.histories(2)[0], step=50).probabilities)
        ['expert', 'random', 'ucb1', 'thompson', 'bayes-greedy']
    """
    return ask_learners(loaded(model).checkpoint_as_read, history, step, source, seed)


def carriers(
    model: Model | str | Path,
    before: History,
    history: History,
    step: int,
    of: str | int | None = None,
    *,
    edges: bool = False,
) -> Carriers:
    """Return what every part of a model carries of the difference between two contexts, at one step.

    Each part alone is taken from the second context while the model reads the first, as :func:`patch` does.

    Args:
        model: The model, or its name.
        before: The first context, one history.
        history: The second, of as many steps: the first one edited, say.
        step: Number of the step; negative counts from the end.
        of: An action, `"right"`, whose log-probability is asked about, or the difference of two, `"right - down"`; None
            for the action that was taken in the second.
        edges: Whether to ask about every edge, too, and not only about writers.

    Raises:
        DataError: There is no such step or action, or the two do not differ until there.

    Example:
        >>> import ad_hypotheses as adh
        >>> model = adh.load("bandit")
        >>> history = model.histories(2)[0]
        >>> edited = adh.edit(history, step=40, reward=1 - history.rewards[0, 40], then="nothing")
        >>> len(adh.carriers(model, history, edited, step=41).writers)
        13
    """
    model = loaded(model)
    return carriers_of(model, model.task, model.name, before, history, step, of, edges)


def _instead(model: Model, by: History | str, n_steps: int) -> Instead:
    """Return what writers are replaced by; means over many histories are made once as long as the weights stay."""
    if isinstance(by, str) or by.n_rows == 1:
        return written_instead(model, by, n_steps)
    key = (tuple((weight.data_ptr(), weight._version) for weight in model.parameters()), n_steps)
    kept_by, kept_key, means = _means.get(model, (None, None, {}))
    if kept_by is not by or kept_key != key:
        means = written_instead(model, by, n_steps)
        _means[model] = by, key, means
    return means


def _exact(model: Model) -> Model:
    """Return the folded model in double precision, made once as long as its weights stay as they are."""
    weights = tuple((weight.data_ptr(), weight._version) for weight in model.parameters())
    if _exact_copies.get(model, ((), None))[0] != weights:
        _exact_copies[model] = weights, model.folded().double()
    return _exact_copies[model][1]
