"""Test a hypothesis by causal scrubbing, as a whole or on one context."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ad_hypotheses.causal.walk import Pin
from ad_hypotheses.errors import HypothesisError, did_you_mean
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.load import chosen, places
from ad_hypotheses.language.load import load as load_hypotheses
from ad_hypotheses.library.arguments import require_whole
from ad_hypotheses.library.listening import listening
from ad_hypotheses.library.model import Model, loaded
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.studies.data import EDITED, OWN, SOURCE, data_names
from ad_hypotheses.studies.parallel.scrubbing import measure_elsewhere
from ad_hypotheses.studies.parallel.workers import workers_of
from ad_hypotheses.studies.quick_scrub import quick_look, quick_settings
from ad_hypotheses.studies.rivals.context import ContextRivals, rivals_on_context
from ad_hypotheses.studies.scrub.bind import ScrubSettings
from ad_hypotheses.studies.scrub.context import ScrubbedContext, scrub_context
from ad_hypotheses.studies.scrub.kept import Kept
from ad_hypotheses.studies.scrub.record import Study
from ad_hypotheses.studies.scrub.study import scrub as scrub_all


@cache
def kept() -> Kept:
    """Return what this process generated and measured already."""
    return Kept()


def scrub(
    hypothesis: Hypothesis | str | Path,
    model: Model | str | Path | None = None,
    *,
    controls: Sequence[Hypothesis] | None = None,
    against: Sequence[Hypothesis] | None = None,
    rows: int | None = None,
    passes: int | None = None,
    pool: int | None = None,
    data: str | Sequence[str] = (SOURCE, OWN, EDITED.rstrip(":")),
    tasks: str = "all",
    others: str = "joint",
    align: str = "step",
    shared: bool = False,
    seed: int = 0,
    rollouts: int = 64,
    rivals: bool = True,
    findings: int | None = None,
    memory: int | None = None,
    quick: bool = False,
    name: str | None = None,
    executor: Executor | None = None,
    progress: bool = False,
) -> Study:
    """Test a hypothesis and its controls by causal scrubbing, and judge them together.

    Chan et al. 2022, "Causal Scrubbing: a method for rigorously testing interpretability hypotheses".

    Histories, the model's own run and whatever of a claim did not change are kept in this process (1.5 GB at most), so
    that testing a claim again after an edit of one node is quick. Nothing stays on disk.

    Args:
        hypothesis: A claim, or the path or name of a file that holds one.
        model: What to test it on, or its name; None for the model that the hypothesis names.
        controls: Claims that should do worse; None for those of the file, or none.
        against: Claims to compare with, end to end; None for all others about the same model in the file and beside it.
        rows: References of each data set; None for 256, or 32 of a quick look.
        passes: How often every reference is scrubbed at most; None for 2, or 1 of a quick look.
        pool: Donors of each data set, which are other learners; None for four times the references, at least 1024, or
            128 of a quick look.
        data: Data sets: `"source"`, `"own"`, `"edited"` or `"edited:<name>"`, in a list or with commas between.
        tasks: `"train"`, `"held-out"` or `"all"`.
        others: `"joint"`: unimportant inputs come from one random history; `"independent"`: each from its own.
        align: Which steps may stand in for a step: `"step"`, `"episode_step"` or `"any"`.
        shared: Whether a node is drawn once for all its readers: cheaper, and less strict.
        seed: Of the histories, all draws and the bootstrap.
        rollouts: Lives of the explanation as a learner; 0 for none.
        rivals: Whether to compare with other claims at all.
        findings: How many features an adversary reports that the hypothesis leaves out; None for no adversary.
        memory: Bytes that may be used; None for what is free.
        quick: Give first figures and no verdict: few histories of the source's data alone, no controls, no rivals.
        name: Which hypothesis of a file that holds several.
        executor: Where to measure the data sets of a hypothesis in a file instead: any `concurrent.futures.Executor`
            whose workers see the working folder, in which what they measure lies until the end.
        progress: Whether to show how far it is.

    Returns:
        The study: `verdict`, `fidelity`, `to_frame()`, `worst()`, `write("reports")`.

    Raises:
        HypothesisError: The claim does not fit the model or the data, or a file does not hold it.
        CheckpointError: There is no such model.
        DataError: There are no such data, or they leave nothing to test.
        CapacityError: It would not fit into memory; raised before it starts.

    Example:
        >>> import ad_hypotheses as adh
        >>> study = adh.scrub("win_stay", quick=True)
        >>> study.verdict
        'quick look: no verdict'
        >>> list(study.to_frame("nodes")["node"])
        ['last', 'rule', 'choice']
    """
    require_whole(rows=rows, passes=passes, pool=pool, seed=seed, rollouts=rollouts, findings=findings)
    claims = claims_of(hypothesis, name, controls)
    chosen_model = model_of(claims[0], model)
    how: dict[str, Any] = {"tasks": tasks, "others": others, "align": align, "shared": shared, "seed": seed}
    how |= {"memory": memory, "findings": findings}
    if quick:
        with listening(progress) as listener:
            settings = quick_settings(rows, passes, pool, **how)
            return quick_look(claims[0], chosen_model.checkpoint, settings, kept(), listener)
    sizes: dict[str, Any] = {"rows": rows or 256, "passes": passes or 2, "pool": pool, "rollouts": rollouts}
    settings = ScrubSettings(data=data_names(data), rivals=rivals, **sizes, **how)
    with listening(progress) as listener, ExitStack() as until_the_end:
        options: dict[str, Any] = {"against": against, "progress": listener, "kept": kept()}
        if executor is not None:
            folder = Path(until_the_end.enter_context(TemporaryDirectory(prefix=".ad-hypotheses-", dir=Path.cwd())))
            lives, scratch, file = folder / "lives", Scratch(folder / "measured"), _file_of(hypothesis, controls)
            options |= {"lives": lives, "scratch": scratch}
            subject = (load_hypotheses(file), file, chosen_model.name, lambda _: chosen_model.checkpoint, settings)
            measure_elsewhere(workers_of(executor, listener), *subject, lives, scratch, listener, only=claims[0].name)
        return scrub_all(claims, settings, model=chosen_model.checkpoint, **options)[0]


def _file_of(hypothesis: Hypothesis | str | Path, controls: Sequence[Hypothesis] | None) -> Path:
    """Return the file of a hypothesis, which workers read for themselves.

    Raises:
        HypothesisError: It is not in a file.
    """
    if isinstance(hypothesis, Hypothesis) or controls is not None:
        raise HypothesisError(
            "workers read the hypothesis and its controls from a file: give its path or name, and no `controls`, with "
            "`executor`."
        )
    return places(hypothesis)[0]


def scrub_at(
    hypothesis: Hypothesis | str | Path,
    history: History,
    among: History,
    *,
    model: Model | str | Path | None = None,
    passes: int = 1,
    others: str = "joint",
    align: str = "step",
    shared: bool = False,
    seed: int = 0,
    name: str | None = None,
    pins: Sequence[Pin] = (),
    at: int | None = None,
) -> ScrubbedContext:
    """Scrub one context, whoever lived it, and say who stood in for what.

    Args:
        hypothesis: A claim, or the path or name of a file that holds one.
        history: The context, one row: of :meth:`Model.histories`, edited, or made by hand.
        among: Histories that donors come from, of as many steps; rows that show the same as the context are left out.
        model: What is scrubbed, or its name; None for the model that the hypothesis names.
        passes: How often.
        others: As for :func:`scrub`.
        align: As for :func:`scrub`.
        shared: As for :func:`scrub`.
        seed: Of all draws.
        name: Which hypothesis of a file that holds several; here a control may be named, too.
        pins: Who stands in instead of whom is drawn, in every pass: `("choice < heading", 47, 3, 47)` lets step 47 of
            row 3 of `among` stand in for `heading` at step 47 of the context. What the claim calls irrelevant,
            `"choice < everything else"`, comes from one row at all steps.
        at: Step at which `members` are to say who may stand in; None for none.

    Returns:
        Log-probabilities of every pass, and the donor (row of `among`, and step) of every arrow at every step; where
        donors are made, the number of the history that was made.

    Raises:
        HypothesisError: The claim does not fit the model or the data.
        DataError: The context is not a single row, or does not go with the others, or a pin does not agree.

    Example:
        >>> import ad_hypotheses as adh
        >>> histories = adh.load("bandit").histories(64)
        >>> adh.scrub_at("win_stay", histories[0], among=histories).to_frame().columns.to_list()
        ['pass', 'arrow', 'step', 'donor_row', 'donor_step']
    """
    claim = _claim(hypothesis, name)
    checkpoint = model_of(claim, model).checkpoint
    settings = ScrubSettings(passes=passes, others=others, align=align, shared=shared, seed=seed)  # type: ignore[arg-type]
    return scrub_context(claim, checkpoint, history, among, settings, pins, at, kept())


def rivals_at(
    hypothesis: Hypothesis | str | Path,
    rival: Hypothesis | str | Path,
    history: History,
    among: History,
    *,
    model: Model | str | Path | None = None,
    name: str | None = None,
    rival_name: str | None = None,
) -> ContextRivals:
    """Say where two claims part on one context: whom each lets stand in at a step, and what the model does there.

    End to end: a history agrees by a claim where it agrees on all that the claim's last node reads. Where one claim
    alone lets others stand in and the model does something else there, it leaves something out that matters here.

    Args:
        hypothesis: A claim, or the path or name of a file that holds one.
        rival: Another.
        history: The context, one row.
        among: Other histories, of as many steps; rows that show the same as the context are left out.
        model: The model, or its name; None for the model that the hypothesis names.
        name: Which hypothesis of a file that holds several, or a control.
        rival_name: The same of the rival's file.

    Raises:
        HypothesisError: A claim does not fit the model or the data.
        DataError: The context is not a single row, or does not go with the others.

    Example:
        >>> import ad_hypotheses as adh
        >>> histories = adh.load("bandit").histories(32)
        >>> rivals = adh.rivals_at("win_stay", "beta", histories[0], histories, rival_name="unpaired", model="bandit")
        >>> len(rivals.only_claim)
        100
    """
    claim, other = _claim(hypothesis, name), _claim(rival, rival_name)
    return rivals_on_context(claim, other, model_of(claim, model).checkpoint, history, among)


def claims_of(
    hypothesis: Hypothesis | str | Path, name: str | None = None, controls: Sequence[Hypothesis] | None = None
) -> list[Hypothesis]:
    """Return a hypothesis and its controls.

    Raises:
        HypothesisError: A file does not hold it, or several and it was not said which.
    """
    if isinstance(hypothesis, Hypothesis):
        return [hypothesis, *(controls or ())]
    if isinstance(hypothesis, Model):
        raise HypothesisError("the hypothesis comes first, and then the model: scrub(hypothesis, model).")
    if not isinstance(hypothesis, str | Path):
        raise HypothesisError(
            f"`hypothesis` is a {type(hypothesis).__name__}, but it must be a Hypothesis, or the name of a file that "
            "holds one."
        )
    groups = {str(main.name): (main, of_file) for main, of_file in chosen(load_hypotheses(hypothesis), None)}
    if name is not None and name not in groups:
        hint = did_you_mean(name, groups)
        raise HypothesisError(f"`name` is {name!r}, but {hypothesis} holds {', '.join(groups)}.{hint}")
    if name is None and len(groups) > 1:
        raise HypothesisError(f"{hypothesis} holds several hypotheses, {', '.join(groups)}: choose one (`name`).")
    main, of_file = groups[name or next(iter(groups))]
    return [main, *(of_file if controls is None else controls)]


def _claim(hypothesis: Hypothesis | str | Path, name: str | None) -> Hypothesis:
    """Return a hypothesis, or the one of a file that is named, be it a control."""
    named = None if name is None or isinstance(hypothesis, Hypothesis) else _named(hypothesis, name)
    return named or claims_of(hypothesis, name)[0]


def _named(file: str | Path, name: str) -> Hypothesis | None:
    """Return the hypothesis of a file that has a name, be it a control; None where none has."""
    return next((claim for claim in load_hypotheses(file) if claim.name == name), None)


def model_of(claim: Hypothesis, model: Model | str | Path | None) -> Model:
    """Return the model that a claim is tested on."""
    return loaded(claim.model if model is None else model)
