"""Replace parts of a model's run by those of another run, and measure what that does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ad_hypotheses.causal.metrics import METRICS
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.library.data import Pair
from ad_hypotheses.library.listening import listening
from ad_hypotheses.library.model import Model, loaded
from ad_hypotheses.studies.patch.bind import PatchSettings
from ad_hypotheses.studies.patch.record import PatchStudy
from ad_hypotheses.studies.patch.select import Selection
from ad_hypotheses.studies.patch.study import patch_pair


def patch(
    model: Model | str | Path,
    pair: Pair | History,
    donor: History | None = None,
    *,
    edges: str | Sequence[str] = (),
    nodes: str | Sequence[str] = (),
    paths: str | Sequence[str] = (),
    written: str | None = None,
    read: str | None = None,
    hypothesis: Hypothesis | None = None,
    metric: str | Sequence[str] = "loss",
    direction: str = "noising",
    screen: int | None = None,
    seed: int = 0,
    memory: int | None = None,
    progress: bool = False,
) -> PatchStudy:
    """Replace single edges, nodes and paths of a model by what they are in another run, and measure what that does.

    After Goldowsky-Dill et al. 2023, "Localizing Model Behavior with Path Patching".

    Args:
        model: The model, or its name.
        pair: Histories and their donors, from :func:`counterfactual`; or the histories alone.
        donor: As many histories whose parts take the place of theirs, where no pair is given: a clean and a corrupted
            one, or one before and after :func:`edit`.
        edges: `"all"` (which is meant where nothing is selected), or texts like `"head(0, 1) -> mlp(1)"`.
        nodes: Texts like `"head(0, 1)"`: replaced for all that read them.
        paths: Texts like `'embed("reward") -> head(0, 1).v -> logits'`.
        written: Role of the step at which an edge is written, e.g. `"rewarded"`.
        read: Role of the step at which it is read.
        hypothesis: A claim whose arrows are patched too.
        metric: What is measured, `"loss"`, `"kl"`, `"logit-difference"` or `"towards-new"`; of several the first ranks.
        direction: `"noising"`: the reference's run is patched; `"denoising"`: the donor's.
        screen: How many edges are picked by a gradient and measured exactly; None for all.
        seed: Of the bootstrap.
        memory: Bytes that may be used; None for what is free.
        progress: Whether to show how far it is.

    Returns:
        The effects: `to_frame()`, `top(20)`, `graph()`, `to_hypothesis("name")`.

    Raises:
        HypothesisError: A text is not a part of the model, or the claim does not fit.
        DataError: A metric does not exist, or not for this pair, or two histories do not go together.
        CapacityError: Not even one history fits into memory.

    Example:
        >>> import ad_hypotheses as adh
        >>> model = adh.load("bandit")
        >>> pair = adh.counterfactual("rewards-swapped", model.histories(8))
        >>> effects = adh.patch(model, pair, nodes=["mlp(1)", "head(0, 0)"], metric="kl")
        >>> list(effects.to_frame()["patch"].unique())
        ['mlp(1)', 'head(0, 0)']
    """
    pair = _pair(pair, donor)
    if callable(metric):
        raise DataError(
            f"`metric` is a function, but effects are measured by name: {', '.join(METRICS)}. "
            "For a measure of your own put hooks: model.run_with_hooks(history, fwd_hooks=[...])."
        )
    checkpoint = loaded(model).checkpoint
    texts = {"edges": _texts(edges), "nodes": _texts(nodes), "paths": _texts(paths)}
    if not any(texts.values()):
        texts["edges"] = ("all",)
    settings = PatchSettings(
        direction=direction,  # type: ignore[arg-type]
        metrics=_texts(metric),
        rows=pair.reference.n_rows,
        seed=seed,
        memory=memory,
        screen=screen,
    )
    selection = Selection(**texts, written=written, read=read)
    with listening(progress) as listener:
        return patch_pair(checkpoint, pair, selection, settings, hypothesis, listener)


def _pair(pair: Pair | History, donor: History | None) -> Pair:
    """Return what was given as a pair.

    Raises:
        DataError: Histories have no donors, or a pair has two.
    """
    if isinstance(pair, Pair) and donor is None:
        return pair
    if isinstance(pair, History) and isinstance(donor, History):
        return Pair.of(pair, donor)
    raise DataError(
        "give a Pair, ad_hypotheses.counterfactual(name, history), or two Histories: those that are run, and those "
        "whose parts take their place (`donor`)."
    )


def _texts(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
