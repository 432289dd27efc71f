"""`known`: make the networks whose circuits are known, prove that they compute their rules, and keep them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ad_hypotheses.distill.checkpoint import save, versions
from ad_hypotheses.distill.feasible import require_feasible
from ad_hypotheses.errors import UserError, did_you_mean
from ad_hypotheses.known.agreement import FRESH, ROWS, agreement, random_histories, require_agreement
from ad_hypotheses.known.card import known_card_files
from ad_hypotheses.known.catalogue import KNOWN
from ad_hypotheses.known.circuit import circuit
from ad_hypotheses.known.network import Known, known_config, wired
from ad_hypotheses.known.teaching import make_trained, row_of
from ad_hypotheses.report.progress import Meter
from ad_hypotheses.report.screen import out, say
from ad_hypotheses.storage.lock import held
from ad_hypotheses.studies.evaluate.study import evaluated
from ad_hypotheses.studies.evaluate.summary import drawn
from ad_hypotheses.studies.interrupt import watched
from ad_hypotheses.studies.machine import require_writable
from ad_hypotheses.studies.train.card import machine
from ad_hypotheses.studies.train.study import ROLLOUTS


def make_all(names: Sequence[str], models: Path) -> None:
    """Make known networks and keep them beside their configurations.

    Args:
        names: Which; all if there are none.
        models: Folder of the checkpoints.

    Raises:
        UserError: There is no such network, its configuration is missing or wrong, or it does not compute its rule.
        Stopped: The user pressed Ctrl-C.
    """
    chosen = list({network.name: network for network in map(_find, names)}.values()) or list(KNOWN.values())
    configs = [known_config(known, models) for known in chosen]
    for known, config in zip(chosen, configs, strict=True):
        require_feasible(config, f"the configuration of {known.model}")
    require_writable(models, "models")
    rows: list[list[str]] = []
    with watched() as meter, meter.stopping(lambda: _stopped(len(rows), len(chosen), models)):
        for known in chosen:
            with held(models / known.model, "making a network", meter.say):
                rows.append(_make(known, models, meter))
    console = out()
    heads = ["network", "decisions compared", "largest difference", "of the optimum"]
    console.print(drawn(heads, rows))
    say(console, f"kept in {models}/; each has a card with its circuit", "dim")


def _stopped(made: int, wanted: int, models: Path) -> str:
    summary = f"{made} of {wanted} networks {'is' if made == 1 else 'are'} made and kept in {models}/"
    return f"stopped; {summary if made else 'no network was finished'}; the same command goes on."


def _find(name: str) -> Known:
    known = KNOWN.get(name.removeprefix("known-"))
    if known is None:
        raise UserError(f"there is no known network {name!r}.{did_you_mean(name, KNOWN)} Known: {', '.join(KNOWN)}.")
    return known


def _make(known: Known, models: Path, meter: Meter) -> list[str]:
    config, began = known_config(known, models), time.monotonic()
    if known.wire is None:
        return make_trained(known, config, models, meter)
    meter.begin(f"wiring {known.name}", 0)
    net = wired(known, config)
    meter.begin(f"comparing {known.name} with its rule", 0)
    history = random_histories(config, ROWS, np.random.default_rng([config.histories.seed + FRESH]))
    match = agreement(net.model, known.rule, config.make_task(), history)
    require_agreement(known, match)
    record: dict[str, Any] = {
        "seconds": round(time.monotonic() - began, 1),
        "versions": versions(),
        "machine": machine(torch.get_num_threads(), "cpu"),
        "parameters": sum(weight.numel() for weight in net.model.parameters()),
        "context": net.model.shape.n_ctx,
        "command": f"python cli.py known {known.name}",
        "known": {
            "rule": known.rule,
            "words": known.words,
            "agreement": asdict(match),
            "spaces": {space.name: [space.start, space.size] for space in net.spaces.values()},
            "circuit": [asdict(wire) for wire in circuit(net)],
        },
    }
    record["evaluation"] = evaluated(net.model, config, ROLLOUTS, 0, meter)
    folder = models / known.model
    save(folder, config, net.model, record, lambda sha256: known_card_files(folder.name, config, record, sha256))
    return row_of(known, record)
