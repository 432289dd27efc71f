"""Let a model, what a claim leaves of it, its source and learners live side by side in the world of one context."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ad_hypotheses.errors import DataError
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.library.arguments import require_whole
from ad_hypotheses.library.model import Model, loaded
from ad_hypotheses.library.scrub import claims_of
from ad_hypotheses.progress import Progress
from ad_hypotheses.studies.scrub.bind import ScrubSettings
from ad_hypotheses.studies.scrubbed_lives import ScrubbedActor
from ad_hypotheses.studies.side_by_side import EXPLANATION, MODEL, SCRUBBED, Maker, SideBySide
from ad_hypotheses.tasks.play import Decision

DONORS = 64  # histories that donors come from, where none are given


def live(
    model: Model | str | Path,
    history: History,
    *,
    of: Sequence[str] = (MODEL,),
    since: int = 0,
    hypothesis: Hypothesis | str | Path | None = None,
    name: str | None = None,
    among: History | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SideBySide:
    """Let several live side by side in the world of a history, from one of its steps on.

    Args:
        model: The model in whose tasks they live, or its name.
        history: One history, whose task it is and whose first steps they have in common.
        of: Who lives: names of :attr:`Model.learners` (the model, who knows the task, baselines, rungs of the ladder
            and the source), and with a hypothesis `"scrubbed"`, the model scrubbed anew at every step, and
            `"explanation"`, what the last node of the claim says.
        since: Steps of the history that they have in common; 0 to begin with nothing.
        hypothesis: A claim, or the path or name of a file that holds one.
        name: Which hypothesis of a file that holds several.
        among: Histories that donors come from, as long as the lives; None for fresh ones of the source, on all tasks.
        seed: Of what chance decides, the same for everybody.
        progress: Hears how far they are.

    Returns:
        Those who live; `.until(120)` lets them live 120 steps and returns what they did, `.until(-1)` whole lives. Who
        cannot live here is said there.

    Raises:
        DataError: There is more than one history, it does not say what its task is, there is no such step, or nobody
            of that name can live.
        HypothesisError: There is no such hypothesis.

    Example:
        >>> import ad_hypotheses as adh
        >>> model = adh.load("bandit")
        >>> adh.live(model, model.histories(2)[0], of=["model", "ucb1"]).until(10).histories["ucb1"].shape
        (1, 10)
    """
    model = loaded(model)
    require_whole(since=since, seed=seed)
    others: dict[str, Maker] = {}
    if hypothesis is not None:
        claim = claims_of(hypothesis, name)[0]
        donors = model.histories(DONORS, tasks="all", seed=seed) if among is None and SCRUBBED in of else among
        others = {EXPLANATION: lambda: _explained(claim), SCRUBBED: lambda: _scrubbed(claim, model, donors, seed)}
    elif {SCRUBBED, EXPLANATION} & {*of}:
        raise DataError("`of` has what a claim makes of the model, or says itself: give the `hypothesis`.")
    return SideBySide(model.checkpoint, history, of, since, seed, others, progress)


def _explained(claim: Hypothesis) -> Decision:
    """Return a claim as somebody who does what its last node says."""
    return lambda so_far, state: claim.policy(so_far)[:, -1]


def _scrubbed(claim: Hypothesis, model: Model, among: History | None, seed: int) -> Decision:
    """Return a model as somebody who is scrubbed by a claim before every decision."""
    assert among is not None
    actor = ScrubbedActor.of(claim, model.checkpoint, among, ScrubSettings(seed=seed))
    return lambda so_far, state: actor.policy(so_far)
