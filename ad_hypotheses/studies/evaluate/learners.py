"""What every learner of an evaluation earned, as a table: plain data in, words out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.report.words import NONE, Markdown, amount, counted, share, table

SETS = {"train": "train tasks", "held_out": "held-out tasks"}
Results = Mapping[str, Any]


def sets_of(results: Results) -> list[str]:
    """Return the sets of tasks that were played."""
    return [name for name in SETS if name in results]


def judged_on(results: Results) -> str:
    """Return the set of tasks that a model is judged by: those held out, if there are any."""
    return sets_of(results)[-1]


def columns(results: Results, episodes: int) -> list[tuple[str, str]]:
    """Return the heads and keys of the figures that mean something here."""
    all_figures = [figures for name in sets_of(results) for figures in results["figures"][name].values()]
    wanted = [("return", "mean")] if episodes == 1 else [("first", "first"), ("last", "last")]
    wanted += [("of optimum", "share"), ("regret", "regret")]
    return [(head, key) for head, key in wanted if any(figures[key] is not None for figures in all_figures)]


def heads(results: Results, episodes: int) -> list[tuple[str, str]]:
    """Return the group, named once, and the name of every column of the table."""
    return [
        ("", "learner"),
        *(
            (SETS[name] if not place else "", head)
            for name in sets_of(results)
            for place, (head, _) in enumerate(columns(results, episodes))
        ),
    ]


def rows(results: Results, episodes: int, bounds: bool = True) -> list[list[str]]:
    """Return a row for every learner.

    Args:
        results: Of an evaluation.
        episodes: Of a context.
        bounds: Whether shares come with their intervals.
    """
    sets, keys = sets_of(results), [key for _, key in columns(results, episodes)]
    learners = dict.fromkeys(learner for name in sets for learner in results["figures"][name])
    return [
        [learner, *(_cell(results["figures"][name].get(learner), key, bounds) for name in sets for key in keys)]
        for learner in learners
    ]


def meaning(results: Results, episodes: int, seen: int | None = None, bounds: bool = True) -> str:
    """Return one paragraph that says what the columns are.

    Args:
        results: Of an evaluation.
        episodes: Of a context.
        seen: Episodes that the model sees at a time; None for all of them.
        bounds: Whether the table tells the intervals of shares.
    """
    between = ", with its 95 % interval" if bounds and _has_bounds(results) else ""
    keys = [key for _, key in columns(results, episodes)]
    parts = [
        "Return of the one episode" if episodes == 1 else "Mean return of the first episode and of the last 3",
        *([f"as a share of the optimum{between}"] if "share" in keys else []),
    ]
    regret = (
        " Regret: what was missed over the whole context. Where the world is a bandit, all of it is what the "
        "pulled arms pay in expectation, so that no luck of the draw enters."
        if "regret" in keys
        else ""
    )
    lives, of = counted(results["rollouts"], "life", "lives"), counted(episodes, "episode")
    sight = "" if seen is None else f"The model sees {seen:,} of {of} at a time. "
    return (
        f"{', and '.join(parts)}.{regret} {lives} of {of} each; weights frozen. {sight}"
        "*model* samples its actions, *model, argmax* takes the likeliest."
    )


def learner_table(results: Results, episodes: int, seen: int | None = None) -> Markdown:
    """Return the table as Markdown, with what it means."""
    names = [f"{group}: {head}" if group else head for group, head in heads(results, episodes)]
    return Markdown(f"{table(names, rows(results, episodes), left=1)}\n\n{meaning(results, episodes, seen)}")


def _has_bounds(results: Results) -> bool:
    shares = [figures["share"] for name in sets_of(results) for figures in results["figures"][name].values()]
    return any(number is not None and number.has_interval for number in map(Number.read, shares))


def _cell(figures: Mapping[str, Any] | None, key: str, bounds: bool) -> Markdown:
    if figures is None or figures[key] is None:
        return NONE
    if key == "share":
        return share(Number.read(figures[key]), bounds)
    return amount(Number.read(figures[key]), bounds=False)
