"""The card of a checkpoint: what it does, how it was made, on what."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ad_hypotheses.distill.checkpoint import CARD, CURVE
from ad_hypotheses.distill.config import Config
from ad_hypotheses.report.draw import learning_curves
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.report.screen import duration
from ad_hypotheses.sources.learning import Learning
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.studies.evaluate.learners import counted
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


def card(name: str, config: Config, record: dict[str, Any], sha256: str) -> str:
    """Return a checkpoint's card as Markdown."""
    size, training, histories, ran = config.model, config.training, config.histories, record["machine"]
    subsampling = f", 1 in {histories.keep_every} kept" if histories.keep_every > 1 else ""
    subsampling += f", after {histories.skip:,} that are not" if histories.skip else ""
    subsampling += ", rewards shuffled" if histories.shuffle_rewards else ""
    seconds = record["seconds"]
    took = f"{seconds:,.0f} s" + (f" ({duration(seconds)})" if seconds >= 90 else "")
    facts = {
        "Size": f"{counted(size.n_layers, 'layer')}, {counted(size.n_heads, 'head')}, width {size.d_model}",
        "Parameters": f"{record['parameters']:,}",
        "Context": f"{counted(record['context'], 'step')}, {_sees(config)}",
        "Task": describe(config.make_task()),
        "Source": describe(config.make_source()),
        "Histories": f"{_learners(config)}, {counted(histories.episodes, 'episode')} each{subsampling}",
        "Held-out tasks": f"{histories.held_out:,}",
        "Updates": f"{training.updates:,} of {training.batch:,} histories; learning rate {training.learning_rate:g}",
        "Seeds": f"histories {histories.seed}, training {training.seed}, evaluation {record['evaluation']['seed']}",
        "Wall time": took,
        "Machine": f"{ran['device']}, {ran['threads']} threads, {ran['cpus']} CPUs, {ran['platform']}",
        "Versions": ", ".join(f"{package} {version}" for package, version in record["versions"].items()),
        "Weights (SHA-256)": f"`{sha256}`",
    }
    rows = "\n".join(f"| {label} | {text} |" for label, text in facts.items())
    return (
        f"# {name}\n\n"
        f"{_opening(config)}\n\n"
        f"## What it earns\n\n{_headline(config, record)}\n\n"
        f"{markdown(record['evaluation'], config)}\n\n"
        "![Mean return as the context grows](curve.png)\n\n"
        f"{_learned_from(record)}"
        f"## How it was made\n\n```sh\n{record['command']}\n```\n\n"
        f"| | |\n| --- | --- |\n{rows}\n\n"
        "Every setting is in [config.yaml](config.yaml), every figure in [record.json](record.json).\n"
    )


def _opening(config: Config) -> str:
    """Say what a model was trained on; whether it learns in its context is for its figures to say."""
    histories = config.histories
    changed = [f"only episodes after the first {histories.skip:,}"] if histories.skip else []
    changed += ["with shuffled rewards"] if histories.shuffle_rewards else []
    return (
        f"A transformer trained on the learning histories of {config.source['name']} in {config.task['name']}"
        f"{''.join(f', {change}' for change in changed)}: it predicts a learner's next action."
    )


def _headline(config: Config, record: dict[str, Any]) -> str:
    return headline(record["evaluation"], config.kept_episodes, curve_unit(config), seen(config))


def _sees(config: Config) -> str:
    length = counted(config.context_episodes, "episode")
    return (
        length if seen(config) is None else f"{length}: it sees {seen(config):,} of {config.kept_episodes:,} at a time"
    )


def _learners(config: Config) -> str:
    lived, asked = n_learners(config), config.histories.learners
    why = "" if lived == asked else f" ({asked:,} asked for; as many on each training task)"
    return f"{counted(lived, 'learner')}{why}"


def _learned_from(record: dict[str, Any]) -> str:
    """Return the section on the learners it was distilled from; nothing for a record that does not tell."""
    if "source" not in record:
        return ""
    picture = f"![Mean return over the lives of its learners]({SOURCE_CURVE})"
    return f"## What it learned from\n\n{sentence(Learning(**record['source']))}\n\n{picture}\n\n"
