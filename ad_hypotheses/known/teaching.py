"""The part of `known` that trains: networks whose circuit interchange interventions put where a claim says it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ad_hypotheses.distill.checkpoint import CARD, CURVE, build, load, save
from ad_hypotheses.distill.config import SCRATCH, Config
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.known.agreement import FRESH, ROWS, agreement, random_histories
from ad_hypotheses.known.card import hundredths, known_card_files
from ad_hypotheses.known.claims import KnownClaim, claims_of
from ad_hypotheses.known.interchange import teach
from ad_hypotheses.known.network import Known
from ad_hypotheses.known.proof import prove, require_proof
from ad_hypotheses.known.training_digest import digest, was_taught_otherwise
from ad_hypotheses.language.history import History
from ad_hypotheses.progress import Progress
from ad_hypotheses.sources.rules import RULES
from ad_hypotheses.studies.evaluate.study import evaluated
from ad_hypotheses.studies.train.card import machine, write_missing
from ad_hypotheses.studies.train.study import ROLLOUTS, is_finished

PROVED = 256  # histories behind the figures of a card


def trained_record(
    known: Known, config: Config, folder: Path, hypotheses: Path, command: str, progress: Progress
) -> dict[str, Any]:
    """Train a known network, going on where an earlier run stopped, prove what it is, keep it, and return its record.

    Args:
        known: Which.
        config: Its configuration.
        folder: Folder of its checkpoint.
        hypotheses: Folder of the hypothesis files of known networks.
        command: What makes it again, for its record.
        progress: Listens on the way.

    Raises:
        UserError: Its folder holds another network, or it did not become true.
        HypothesisError: Its hypothesis file is missing, or lacks a claim.
    """
    claims = claims_of(known, hypotheses)
    taught = _digest(known, claims)
    if is_finished(folder, config):
        record = load(folder).record
        stale = _stale(known, record, taught)
        if not stale:
            progress.say(
                f"{folder} is trained already, with this very configuration; delete its weights to train it anew."
            )
            card = partial(known_card_files, folder.name, config, record, record["weights_sha256"])
            write_missing(folder, (CURVE, CARD), card)
            progress.say(proved(known, record))
            return record
        progress.say(f"{folder} {stale}; it is trained again.")
    task, rule = config.experiment.task, RULES[known.rule]

    def policy(history: History) -> Float[np.ndarray, "batch step action"]:
        return rule.policy(history, task)

    _announce(known, config, progress)
    scratch, truth = folder / SCRATCH, claims[0].hypothesis
    if was_taught_otherwise(scratch, taught):
        progress.say(f"the state in {scratch} was taught another truth; the training starts anew.")
    model, record = teach(config, truth, policy, scratch, known.steady, progress, known.rule, known.others)
    state = f"{known.model} is trained, its state is kept in {scratch}"
    with progress.stopping(lambda: f"stopped; {state}; the same command goes on with its proof."):
        return _finish(known, config, folder, claims, model, record, command, progress)


def _digest(known: Known, claims: Sequence[KnownClaim]) -> str:
    return digest(claims[0].hypothesis, known.rule, known.steady, known.others)


def _stale(known: Known, record: Mapping[str, Any], taught: str) -> str:
    """Return why a finished network has to be trained again; empty if it does not."""
    content = record.get("known", {})
    if content.get("taught") != taught:
        return f"was taught another truth than {known.file} holds now"
    if "outside_independent" not in content.get("proof", {}):
        return "was proved before independent others counted"
    return ""


def _finish(
    known: Known,
    config: Config,
    folder: Path,
    claims: Sequence[KnownClaim],
    model: ADTransformer,
    record: dict[str, Any],
    command: str,
    progress: Progress,
) -> dict[str, Any]:
    """Prove what a trained network is, evaluate it, keep it, and return its record."""
    progress.begin(f"proving {known.name}", 0)
    task, rng = config.experiment.task, np.random.default_rng([config.histories.seed + FRESH])
    history = config.experiment.live(task.sample_tasks(rng, PROVED), rng)
    proof = prove(model, [claim.hypothesis for claim in claims], history, RULES[known.rule].policy(history, task))
    require_proof(known.model, proof)
    record |= {
        "machine": machine(record["threads"], record["device"]),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "context": model.shape.n_ctx,
        "command": command,
        "known": {
            "rule": known.rule,
            "words": known.words,
            "taught": _digest(known, claims),
            "agreement": asdict(agreement(model, known.rule, task, random_histories(config, ROWS, rng))),
            "proof": asdict(proof),
            "claims": {claim.name: claim.to_plain() for claim in claims},
        },
        "evaluation": evaluated(model, config, ROLLOUTS, 0, progress),
    }
    save(folder, config, model, record, lambda sha256: known_card_files(folder.name, config, record, sha256))
    progress.say(proved(known, record))
    return record


def _announce(known: Known, config: Config, progress: Progress) -> None:
    training = config.training
    n_parameters = sum(weight.numel() for weight in build(config).parameters())
    progress.say(
        f"training {known.model}: {n_parameters:,} parameters, {training.updates:,} updates of {training.batch} "
        "histories, each plainly and in two scrubbed runs"
    )


def proved(known: Known, record: Mapping[str, Any]) -> str:
    """Return what is proved of a trained network in a sentence, from the record of its checkpoint."""
    proof = record["known"]["proof"]
    truth = proof["claims"]["truth"]
    return (
        f"{known.model}: truth recovers {truth['recovered']:.3f}, with independent others {truth['independent']:.3f}; "
        f"what it does not name is good for {hundredths(proof['outside'])} of the gain, with independent others for "
        f"{hundredths(proof['outside_independent'])}"
    )
