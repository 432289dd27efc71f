"""What an evaluation found, as a table for people and as Markdown."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.train import learners_per_task
from ad_hypotheses.evidence.plain_data import Curve
from ad_hypotheses.report.words import Markdown
from ad_hypotheses.studies.evaluate import learners
from ad_hypotheses.studies.evaluate.curves import TASK_SETS, spread
from ad_hypotheses.studies.evaluate.figures import BLOCK
from ad_hypotheses.tasks.task import n_tasks_of


def mean_optimum(results: dict[str, Any], config: Config, name: str) -> float:
    """Return what whoever knows the hidden facts earns in an episode of the tasks that were played."""
    number = TASK_SETS.index(name)
    facts = config.experiment.split()[number]
    played = spread(facts, results["rollouts"], np.random.default_rng([results["seed"], number]))
    return float(config.experiment.task.optimal_return(played).mean())


def curves(results: dict[str, Any]) -> list[Curve]:
    """Return the curves to draw: everyone on held-out tasks, and the model on train tasks beside them."""
    if "held_out" not in results:
        return [Curve(**content) for content in results["train"]]
    trained = [Curve(**{**content, "name": "model, train tasks"}) for content in results["train"][:1]]
    return [*(Curve(**content) for content in results["held_out"]), *trained]


def curve_unit(config: Config) -> str:
    """Return what a point of the curves is."""
    return "episode" if config.kept_episodes > 1 else f"{BLOCK} steps"


def seen(config: Config) -> int | None:
    """Return how many episodes a model sees at a time, if those are not all that it lives."""
    fewer = config.model.window is None and config.context_episodes < config.kept_episodes
    return config.context_episodes if fewer else None


def n_learners(config: Config) -> int:
    """Return how many learners live: as many on each training task, so at least as many as were asked for."""
    wanted, source = config.histories.learners, config.experiment.source
    if not getattr(source, "can_live", True):  # recorded ones are chosen, not made
        return wanted
    train_facts, _ = config.experiment.split()
    return learners_per_task(wanted, train_facts) * n_tasks_of(train_facts)


def table(results: dict[str, Any], config: Config) -> Table:
    """Return the figures for a terminal."""
    heads = [f"{group}\n{head}" for group, head in learners.heads(results, config.kept_episodes)]
    return drawn(heads, learners.rows(results, config.kept_episodes, bounds=False), bold_first=True)


def drawn(heads: list[str], rows: list[list[str]], bold_first: bool = False) -> Table:
    """Return a table for a terminal whose columns but the first are numbers."""
    made = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for place, head in enumerate(heads):
        made.add_column(head, justify="right" if place else "left", no_wrap=True)
    for number, row in enumerate(rows):
        made.add_row(*row, style="bold" if bold_first and number == 0 else "")
    return made


def markdown(results: dict[str, Any], config: Config) -> Markdown:
    """Return the figures as a Markdown table, with what they mean."""
    return learners.learner_table(results, config.kept_episodes, seen(config))


def meaning(results: dict[str, Any], config: Config) -> str:
    """Return one paragraph that says what the columns are that a terminal shows, where intervals have no room."""
    return learners.meaning(results, config.kept_episodes, seen(config), bounds=False)
