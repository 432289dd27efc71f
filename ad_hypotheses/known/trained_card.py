"""The card of a known network that is trained: its rule, its circuit, and the figures that prove both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ad_hypotheses.distill.checkpoint import CARD, CURVE
from ad_hypotheses.distill.config import Config
from ad_hypotheses.report.draw import learning_curves
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.report.screen import duration
from ad_hypotheses.sources.rules import RULES
from ad_hypotheses.studies.evaluate.learners import counted, markdown_table
from ad_hypotheses.studies.evaluate.record import headline
from ad_hypotheses.studies.evaluate.summary import curve_unit, curves, markdown, seen


def trained_card_files(name: str, config: Config, record: Mapping[str, Any], sha256: str) -> dict[str, bytes]:
    """Return the card of a checkpoint and its picture, by file name.

    Args:
        name: Of the checkpoint.
        config: Its configuration.
        record: Its record.
        sha256: Of its weights.
    """
    title = f"{name}: return as the context grows, held-out tasks, trained by interchange interventions"
    picture = learning_curves(curves(dict(record["evaluation"])), title, unit=curve_unit(config))
    return {CURVE: picture, CARD: trained_card(name, config, record, sha256).encode()}


def trained_card(name: str, config: Config, record: Mapping[str, Any], sha256: str) -> str:
    """Return the card of a network that was trained until a claim about it was true, as Markdown."""
    circuit, results = record["known"], record["evaluation"]
    return (
        f"# {name}\n\n"
        f"Trained by interchange interventions (Geiger et al. 2022): {circuit['words']}. It computes the rule "
        f"`{circuit['rule']}`: {RULES[circuit['rule']].words}. Its weights began at random, its layers have "
        "LayerNorms, and every update also ran it scrubbed by the claim `truth` of "
        f"[its hypothesis file](../../hypotheses/known/{name.removeprefix('known-').replace('-', '_')}.py), "
        "so that the circuit came to be where the claim says, and nothing else plays a role.\n\n"
        f"## What was measured\n\n{_measured(circuit)}\n\n"
        f"## What it earns\n\n{headline(results, config.kept_episodes, curve_unit(config), seen(config))}\n\n"
        f"{markdown(results, config)}\n\n"
        "![Mean return as the context grows](curve.png)\n\n"
        f"## How it was made\n\n```sh\n{record['command']}\n```\n\n{_made(config, record, sha256)}\n\n"
        "Every setting is in [config.yaml](config.yaml), every figure in [record.json](record.json).\n"
    )


def _measured(circuit: Mapping[str, Any]) -> str:
    proof, match = circuit["proof"], circuit["agreement"]
    rows = [
        [f"`{claim}`", expected["kind"], expected["why"], expected["verdict"], *_shares(proof["claims"][claim])]
        for claim, expected in circuit["claims"].items()
    ]
    heads = ["claim", "kind", "why", "deserves to be", "recovered", "beyond structure", "with independent others"]
    return (
        f"On {proof['histories']:,} histories that it was not trained on its decisions diverge from the rule's by "
        f"{proof['kl']:.1e} nats on average, and its likeliest action is one of the rule's in {proof['argmax']:.2%} of "
        "them. If everything that `truth` does not name is resampled, at every node anew, it loses "
        f"{percent(proof['outside'])} of its gain over the baseline, and {percent(proof['outside_independent'])} with "
        "independent others: each part from a history of its own, which finds parts that cancel each other out. Yet "
        f"what those parts write differs between histories by up to {proof['idle']:.0%} of what the named ones write. "
        f"Over {match['decisions']:,} decisions of {match['histories']:,} random histories (a third lived by the rule, "
        f"the others at random) the likeliest action is one of the rule's in {match['argmax']:.2%}; probabilities "
        f"differ by at most {match['largest']:.1e}.\n\n"
        f"{markdown_table(heads, rows, left=4)}"
    )


def percent(share: float) -> str:
    """Return a share as a card writes it."""
    return f"{round(share, 4) + 0.0:.2%}"  # without the sign of a nothing


def _shares(recovered: Mapping[str, float]) -> list[str]:
    return [f"{recovered[key]:.3f}" for key in ("recovered", "beyond_structure", "independent")]


def _made(config: Config, record: Mapping[str, Any], sha256: str) -> str:
    size, training, histories, ran = config.model, config.training, config.histories, record["machine"]
    facts = {
        "Size": f"{counted(size.n_layers, 'layer')}, {counted(size.n_heads, 'head')}, width {size.d_model}",
        "Parameters": f"{record['parameters']:,}",
        "Context": f"{counted(record['context'], 'step')}, {counted(config.context_episodes, 'episode')}",
        "Task": describe(config.make_task()),
        "Histories": f"{counted(histories.learners, 'learner')} that follow the rule",
        "Updates": f"{training.updates:,} of {training.batch:,} histories; {training.optimiser}, learning rate "
        f"{training.learning_rate:g}",
        "Seeds": f"histories {histories.seed}, training {training.seed}, evaluation {record['evaluation']['seed']}",
        "Wall time": duration(record["seconds"]),
        "Machine": f"{ran['device']}, {ran['threads']} threads, {ran['cpus']} CPUs, {ran['platform']}",
        "Versions": ", ".join(f"{package} {version}" for package, version in record["versions"].items()),
        "Weights (SHA-256)": f"`{sha256}`",
    }
    return markdown_table(["", ""], [[label, text] for label, text in facts.items()])
