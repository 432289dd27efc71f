"""Which claims of a file are tested, on which model, and which are controls of which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ad_hypotheses.language.hypothesis import Hypothesis
from ad_hypotheses.language.load import places
from ad_hypotheses.language.problems import shown_path


def chosen(hypotheses: Sequence[Hypothesis], model: str | None) -> list[tuple[Hypothesis, list[Hypothesis]]]:
    """Return the hypotheses of a file, each with its controls.

    Args:
        hypotheses: All of the file.
        model: Test on this model only: a claim that the file makes about it stays as it is; another one is moved to
            it, unless the file has a version of it for that model.
    """
    groups = _grouped(hypotheses)
    if model is None:
        return groups
    families: dict[int, list[tuple[Hypothesis, list[Hypothesis]]]] = {}
    for main, controls in groups:
        families.setdefault(id(_ancestor(main, hypotheses)), []).append((main, controls))
    picked = []
    for family in families.values():
        on_model = [group for group in family if group[0].model == model]
        picked += on_model or [_moved(*family[0], model)]
    return picked


def shown_file(file: str) -> str:
    """Return the path of a hypothesis file that was loaded, by its path or by its name; relative if it can be."""
    return shown_path(next(iter(places(file)), Path(file)))


def _grouped(hypotheses: Sequence[Hypothesis]) -> list[tuple[Hypothesis, list[Hypothesis]]]:
    given = {id(hypothesis) for hypothesis in hypotheses}
    groups: dict[int, tuple[Hypothesis, list[Hypothesis]]] = {}
    for hypothesis in hypotheses:
        main = hypothesis
        while main.control_of is not None and id(main.control_of) in given:
            main = main.control_of  # a control of a control
        if main is hypothesis:
            groups[id(hypothesis)] = hypothesis, []
        else:
            groups[id(main)][1].append(hypothesis)
    return list(groups.values())


def _ancestor(hypothesis: Hypothesis, hypotheses: Sequence[Hypothesis]) -> Hypothesis:
    given = {id(claim) for claim in hypotheses}
    while hypothesis.origin is not None and id(hypothesis.origin) in given:
        hypothesis = hypothesis.origin
    return hypothesis


def _moved(main: Hypothesis, controls: Sequence[Hypothesis], model: str) -> tuple[Hypothesis, list[Hypothesis]]:
    moved = replace(main.on(model=model), name=main.name)
    return moved, [replace(control.on(model=model), name=control.name, origin=moved) for control in controls]
