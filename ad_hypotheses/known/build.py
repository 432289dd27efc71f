"""Make the networks whose circuits are known, prove that they compute their rules, and keep them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ad_hypotheses.distill.checkpoint import save, versions
from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.feasible import require_feasible
from ad_hypotheses.errors import UserError, did_you_mean
from ad_hypotheses.known.agreement import FRESH, ROWS, agreement, random_histories, require_agreement
from ad_hypotheses.known.card import known_card_files
from ad_hypotheses.known.catalogue import KNOWN
from ad_hypotheses.known.circuit import circuit
from ad_hypotheses.known.network import Known, known_config, wired
from ad_hypotheses.known.teaching import trained_record
from ad_hypotheses.language.load import FOLDER
from ad_hypotheses.progress import Progress
from ad_hypotheses.storage.lock import held
from ad_hypotheses.studies.evaluate.study import evaluated
from ad_hypotheses.studies.machine import require_writable
from ad_hypotheses.studies.train.card import machine
from ad_hypotheses.studies.train.study import ROLLOUTS


@dataclass(frozen=True)
class BuiltNetwork:
    """A known network that was made, or that was there already.

    Attributes:
        name: Its name in the catalogue.
        folder: Folder of its checkpoint.
        record: How it was made, how exactly it computes its rule, and what it earns, as kept beside the weights.
    """

    name: str
    folder: Path
    record: Mapping[str, Any] = field(repr=False)

    @property
    def agreement(self) -> Mapping[str, Any]:
        """How far it is from its rule: `histories`, `decisions`, `largest` difference of probabilities, `argmax`."""
        return dict(self.record["known"]["agreement"])

    @property
    def share_of_optimum(self) -> float:
        """What it earns on held-out tasks, as a share of the optimum."""
        return float(self.record["evaluation"]["summary"]["held_out_of_optimum"])


def build(
    names: Sequence[str] = (),
    models: Path = Path("models"),
    *,
    hypotheses: Path = FOLDER / "known",
    command: str = "",
    progress: Progress | None = None,
) -> list[BuiltNetwork]:
    """Make known networks and keep them beside their configurations.

    Weights are set by hand, or trained until a claim about them holds (Geiger et al. 2022, "Inducing Causal Structure
    for Interpretable Neural Networks", arXiv 2112.00826).

    Args:
        names: Which; none for all of them.
        models: Folder of the checkpoints, each with its configuration.
        hypotheses: Folder of the hypothesis files of known networks.
        command: What makes them again, without their names, for their records.
        progress: Listens on the way.

    Raises:
        UserError: There is no such network, its configuration is missing or wrong, it does not compute its rule, or
            its folder cannot be written.
        HypothesisError: The hypothesis file of a network that is trained is missing, or lacks a claim.
    """
    progress = progress or Progress()
    networks = list({network.name: network for network in map(_find, names)}.values()) or list(KNOWN.values())
    configs = [known_config(known, models) for known in networks]
    for known, config in zip(networks, configs, strict=True):
        require_feasible(config, f"the configuration of {known.model}")
    require_writable(models, "models")
    built: list[BuiltNetwork] = []
    with progress.stopping(lambda: _stopped(len(built), len(networks), models)):
        for known, config in zip(networks, configs, strict=True):
            folder, own = models / known.model, f"{command} {known.name}" if command else ""
            with held(folder, "making a network", progress.say):
                if known.wire is None:
                    record = trained_record(known, config, folder, hypotheses, own, progress)
                else:
                    record = _wired_record(known, config, folder, own, progress)
            built.append(BuiltNetwork(known.name, folder, record))
    return built


def _stopped(made: int, wanted: int, models: Path) -> str:
    summary = f"{made} of {wanted} networks {'is' if made == 1 else 'are'} made and kept in {models}/"
    return f"stopped; {summary if made else 'no network was finished'}; the same command goes on."


def _find(name: str) -> Known:
    known = KNOWN.get(name.removeprefix("known-"))
    if known is None:
        raise UserError(f"there is no known network {name!r}.{did_you_mean(name, KNOWN)} Known: {', '.join(KNOWN)}.")
    return known


def _wired_record(known: Known, config: Config, folder: Path, command: str, progress: Progress) -> dict[str, Any]:
    """Set the weights of a network by hand, compare it with its rule, evaluate it and keep it."""
    began = time.monotonic()
    progress.begin(f"wiring {known.name}", 0)
    net = wired(known, config)
    progress.begin(f"comparing {known.name} with its rule", 0)
    history = random_histories(config, ROWS, np.random.default_rng([config.histories.seed + FRESH]))
    match = agreement(net.model, known.rule, config.experiment.task, history)
    require_agreement(known, match)
    record: dict[str, Any] = {
        "seconds": round(time.monotonic() - began, 1),
        "versions": versions(),
        "machine": machine(torch.get_num_threads(), "cpu"),
        "parameters": sum(weight.numel() for weight in net.model.parameters()),
        "context": net.model.shape.n_ctx,
        "command": command,
        "known": {
            "rule": known.rule,
            "words": known.words,
            "agreement": asdict(match),
            "spaces": {space.name: [space.start, space.size] for space in net.spaces.values()},
            "circuit": [asdict(wire) for wire in circuit(net)],
        },
    }
    record["evaluation"] = evaluated(net.model, config, ROLLOUTS, 0, progress)
    save(folder, config, net.model, record, lambda sha256: known_card_files(folder.name, config, record, sha256))
    return record
