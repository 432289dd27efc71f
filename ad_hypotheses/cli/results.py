"""What an evaluation found, as a table for people and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.evaluate import BLOCK, TASK_SETS, spread
from ad_hypotheses.distill.train import split
from ad_hypotheses.evidence.record import Curve

SETS = {"train": "train tasks", "held_out": "held-out tasks"}
LAST = 3  # episodes that a learner is judged by


@dataclass(frozen=True)
class Line:
    """One learner on one set of tasks.

    Attributes:
        first: Mean return of its first episode; None where there is only one.
        last: Mean return of its last three episodes.
        share: The same, of the optimum.
        regret: What it missed; only where there is one episode.
    """

    first: float | None
    last: float
    share: float
    regret: float | None


def lines(results: dict[str, Any], config: Config) -> dict[str, dict[str, Line]]:
    """Return what every learner earned. {learner: {set of tasks: line}}

    Args:
        results: From `evaluate`.
        config: Of the model.
    """
    found: dict[str, dict[str, Line]] = {}
    for name in _sets(results):
        optimum = mean_optimum(results, config, name)
        regrets = {
            learner: results["summary"].get(f"{name}_{key}regret")
            for learner, key in (("model", ""), ("model, argmax", "argmax_"), ("source", "source_"))
        }
        for curve in results[name]:
            returns = curve["returns"]
            if config.kept_episodes == 1:
                total = sum(returns)
                regret = regrets.get(curve["name"])
                line = Line(None, total, total / optimum, optimum - total if regret is None else regret)
            else:
                last = sum(returns[-LAST:]) / len(returns[-LAST:])
                line = Line(returns[0], last, last / optimum, None)
            found.setdefault(curve["name"], {})[name] = line
    return found


def mean_optimum(results: dict[str, Any], config: Config, name: str) -> float:
    """Return what whoever knows the hidden facts earns in an episode of the tasks that were played."""
    number = TASK_SETS.index(name)
    facts = split(config)[number]
    played = spread(facts, results["rollouts"], np.random.default_rng([results["seed"], number]))
    return float(config.make_task().optimal_return(played).mean())


def curves(results: dict[str, Any]) -> list[Curve]:
    """Return the curves to draw: everyone on held-out tasks, and the model on train tasks beside them."""
    if "held_out" not in results:
        return [Curve(**one) for one in results["train"]]
    trained = [Curve(**{**one, "name": "model, train tasks"}) for one in results["train"][:1]]
    return [*(Curve(**one) for one in results["held_out"]), *trained]


def curve_unit(config: Config) -> str:
    """Return what a point of the curves is."""
    return "episode" if config.kept_episodes > 1 else f"{BLOCK} steps"


def table(results: dict[str, Any], config: Config) -> Table:
    """Return the figures for a terminal."""
    drawn = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for place, (group, head) in enumerate(_heads(results, config)):
        drawn.add_column(f"{group}\n{head}", justify="right" if place else "left", no_wrap=True)
    for number, row in enumerate(_rows(results, config)):
        drawn.add_row(*row, style="bold" if number == 0 else "")
    return drawn


def markdown(results: dict[str, Any], config: Config) -> str:
    """Return the figures as a Markdown table, with what they mean."""
    heads = [f"{group}: {head}" if group else head for group, head in _heads(results, config)]
    rows = [heads, ["---", *("--:" for _ in heads[1:])], *_rows(results, config)]
    drawn = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{drawn}\n\n{meaning(results, config)}"


def meaning(results: dict[str, Any], config: Config) -> str:
    """Return one paragraph that says what the columns are."""
    once = config.kept_episodes == 1
    what = (
        "Return of the one episode, its share of the optimum, and the regret: what was missed of the best arm's pay, "
        "by expected pay for the model and its source, by what was paid for the others."
        if once
        else f"Mean return of the first episode, of the last {LAST}, and of the last {LAST} as a share of the optimum."
    )
    return (
        f"{what} {results['rollouts']:,} lives of {_count(config.kept_episodes, 'episode')} each; weights frozen. "
        "*model* samples its actions, *model, argmax* takes the likeliest."
    )


def _heads(results: dict[str, Any], config: Config) -> list[tuple[str, str]]:
    """Return the group, named once, and the name of every column."""
    columns = ("return", "of optimum", "regret") if config.kept_episodes == 1 else ("first", "last", "of optimum")
    sets = [
        (SETS[name] if not place else "", column) for name in _sets(results) for place, column in enumerate(columns)
    ]
    return [("", "learner"), *sets]


def _rows(results: dict[str, Any], config: Config) -> list[list[str]]:
    rows = []
    for learner, by_set in lines(results, config).items():
        row = [learner]
        for line in by_set.values():
            first = [] if line.first is None else [f"{line.first:.2f}"]
            regret = [] if line.regret is None else [f"{line.regret:.2f}"]
            row += [*first, f"{line.last:.2f}", f"{line.share:.0%}", *regret]
        rows.append(row)
    return rows


def _sets(results: dict[str, Any]) -> list[str]:
    return [name for name in SETS if name in results]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"
