"""What every learner of an evaluation earned, as a table: plain data in, words out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ad_hypotheses.report.words import figure

SETS = {"train": "train tasks", "held_out": "held-out tasks"}
NONE = "-"
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


def markdown_table(names: list[str], lines: list[list[str]], left: int = 1) -> str:
    """Return a Markdown table; all but the first `left` columns are numbers."""
    rule = ["---" if place < left else "--:" for place in range(len(names))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [names, rule, *lines])


def learner_table(results: Results, episodes: int, seen: int | None = None) -> str:
    """Return the table as Markdown, with what it means."""
    names = [f"{group}: {head}" if group else head for group, head in heads(results, episodes)]
    return f"{markdown_table(names, rows(results, episodes))}\n\n{meaning(results, episodes, seen)}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number of things, `"1 life"` or `"1,000 lives"`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def share(number: Mapping[str, Any] | None, bounds: bool = True) -> str:
    """Return a share as `"92% [89%, 94%]"`."""
    if number is None or number["value"] is None:
        return NONE
    between = f" [{number['low']:.0%}, {number['high']:.0%}]" if bounds and number["low"] is not None else ""
    return f"{number['value']:.0%}{between}"


def points(number: Mapping[str, Any] | None, bounds: bool = True) -> str:
    """Return a difference of shares in percentage points, `"+89 [+86, +92]"`."""
    if number is None or number["value"] is None:
        return NONE
    value, low, high = (None if number[key] is None else 100 * float(number[key] or 0) for key in number)
    between = f" [{low:+z.0f}, {high:+z.0f}]" if bounds and low is not None and high is not None else ""
    return f"{value:+z.0f}{between}"


def plain(number: Mapping[str, Any] | None, bounds: bool = True, sign: bool = False) -> str:
    """Return a number as `"3.51 [3.20, 3.82]"`."""
    if number is None or number["value"] is None:
        return NONE
    form = "+z.2f" if sign else "z.2f"
    between = (
        f" [{format(number['low'], form)}, {format(number['high'], form)}]"
        if bounds and number["low"] is not None
        else ""
    )
    return f"{format(number['value'], form)}{between}"


def _has_bounds(results: Results) -> bool:
    shares = [figures["share"] for name in sets_of(results) for figures in results["figures"][name].values()]
    return any(number is not None and number["low"] is not None for number in shares)


def _cell(figures: Mapping[str, Any] | None, key: str, bounds: bool) -> str:
    if figures is None or figures[key] is None:
        return NONE
    if key == "share":
        return share(figures[key], bounds)
    return plain(figures[key], bounds=False) if key == "regret" else figure(figures[key])
