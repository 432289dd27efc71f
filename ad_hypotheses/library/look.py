"""Look at a model in one history: what it would do, what every part adds to a logit, and where every head looks."""

from __future__ import annotations

from pathlib import Path
from weakref import WeakKeyDictionary

from ad_hypotheses.language.history import History
from ad_hypotheses.library.model import Model, loaded
from ad_hypotheses.studies.carriers import Carriers
from ad_hypotheses.studies.carriers import carriers as carriers_of
from ad_hypotheses.studies.decisions import Decisions, LearnerDecisions, ask_learners, decide
from ad_hypotheses.studies.look import AttentionPattern, Attribution, attend, attribute

# exact copies of models in double precision, each with what tells whether the weights were changed since
_exact_copies: WeakKeyDictionary[Model, tuple[tuple[tuple[int, int], ...], Model]] = WeakKeyDictionary()


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


def attention(model: Model | str | Path, history: History, step: int = -1) -> AttentionPattern:
    """Return where every head looks at one step: its weights over the steps up to it, with their roles.

    Args:
        model: The model, or its name.
        history: One history.
        step: Number of the step that looks; negative counts from the end, and the last is usual.

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


def decisions(model: Model | str | Path, history: History) -> Decisions:
    """Return what a model would do at every step of a history, and the loss of what was done.

    Args:
        model: The model, or its name.
        history: One history.

    Raises:
        DataError: There is more than one history, or it shows what the model has no embedding for.

    Example:
        >>> import ad_hypotheses as adh
        >>> model = adh.load("bandit")
        >>> adh.decisions(model, model.histories(2)[0]).to_frame().columns.to_list()[:4]
        ['step', 'taken', 'loss', 'regime']
    """
    model = loaded(model)
    return decide(model, model.task, model.name, history)


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


def _exact(model: Model) -> Model:
    """Return the folded model in double precision, made once as long as its weights stay as they are."""
    weights = tuple((weight.data_ptr(), weight._version) for weight in model.parameters())
    if _exact_copies.get(model, ((), None))[0] != weights:
        _exact_copies[model] = weights, model.folded().double()
    return _exact_copies[model][1]
