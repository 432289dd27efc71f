"""The card of a checkpoint: what it does, how it was made, on what."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ad_hypotheses.distill.checkpoint import CARD, CURVE
from ad_hypotheses.distill.config import Config
from ad_hypotheses.progress import duration
from ad_hypotheses.report.draw import learning_curves
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.report.templates import render
from ad_hypotheses.report.words import Markdown, figure, percent
from ad_hypotheses.sources.learning import Learning
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.studies.evaluate.record import headline
from ad_hypotheses.studies.evaluate.summary import curve_unit, curves, markdown, n_learners, seen
from ad_hypotheses.studies.histories.study import SOURCE_CURVE, draw_source_curve, sentence
from ad_hypotheses.studies.machine import n_cpus


def machine(threads: int, device: str) -> dict[str, Any]:
    """Return what a training ran on."""
    return {"cpus": n_cpus(), "threads": threads, "device": device, "platform": platform.machine()}


def card_files(name: str, config: Config, record: dict[str, Any], sha256: str) -> dict[str, bytes]:
    """Return the card of a checkpoint and its pictures, by file name.

    Args:
        name: Of the checkpoint.
        config: Its configuration.
        record: Its record.
        sha256: Of its weights.
    """
    results = record["evaluation"]
    where = "held-out" if "held_out" in results else "train"
    title = f"{name}: return as the context grows, {where} tasks, weights frozen"
    files = {CURVE: learning_curves(curves(results), title, unit=curve_unit(config))}
    if "source" in record:
        files[SOURCE_CURVE] = draw_source_curve(record["source"], config)
    return {**files, CARD: card(name, config, record, sha256).encode()}


def write_missing(folder: Path, names: Collection[str], make: Callable[[], Mapping[str, bytes]]) -> list[str]:
    """Write what a finished checkpoint lacks beside its weights, and leave alone what is there.

    Args:
        folder: Of the checkpoint.
        names: Of the files that belong there.
        make: Returns their content by name; called only if one is missing.

    Returns:
        The names of those that were missing.

    Raises:
        UserError: They cannot be written.
    """
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        files = make()
        for name in missing:
            write_atomically(folder / name, files[name])
    return missing


def card(name: str, config: Config, record: Mapping[str, Any], sha256: str) -> str:
    """Return a checkpoint's card as Markdown, which `card.md` says word for word."""
    return render(
        "studies/train/card.md",
        **card_values(name, config, record, sha256),
        source=describe(config.experiment.source),
        learned_from=sentence(Learning(**record["source"])) if "source" in record else "",
        n_learners=n_learners(config),
    )


def card_values(name: str, config: Config, record: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    """Return what the cards of all kinds of checkpoints show.

    Args:
        name: Of the checkpoint.
        config: Its configuration.
        record: Its record.
        sha256: Of its weights.
    """
    results, seconds = dict(record["evaluation"]), record.get("seconds", 0)
    return {
        "name": name,
        "config": config,
        "size": config.model,
        "histories": config.histories,
        "contexts": config.contexts,
        "ended": _ended(record, config),
        "agents": [] if config.contexts is None else config.contexts.agents,
        "training": config.training,
        "record": record,
        "sha256": sha256,
        "headline": Markdown(headline(results, config.kept_episodes, curve_unit(config), seen(config))),
        "earned": markdown(results, config),
        "seen": seen(config),
        "task": describe(config.experiment.task),
        "learning_rate": f"{config.training.learning_rate:g}",
        "wall_time": f"{seconds:,.0f} s" + (f" ({duration(seconds)})" if seconds >= 90 else ""),
        "versions": ", ".join(f"{package} {version}" for package, version in record["versions"].items()),
        "command": Markdown(record["command"]),
    }


def _ended(record: Mapping[str, Any], config: Config) -> str:
    """Say what ended a training that ends when it has converged."""
    if "course" not in record:
        return ""
    training, course = config.training, record["course"]
    rule = f"the loss of fresh histories falls by less than {percent(training.converged_below)}"
    rule += f" in {training.converged_within:,} updates"
    measured = ", ".join(f"{figure(loss, 4)} after {update:,}" for update, loss in course["losses"][-2:])
    words = {
        "convergence": f"convergence: {rule}",
        "floor": f"its floor of {training.least_updates:,} updates, having converged before: {rule}",
        "ceiling": f"its ceiling of {training.updates:,} updates, not having converged: so it would, once {rule}",
    }
    return f"{words[course['reason']]} ({measured or 'it was not measured'})"
