"""The card of a network whose weights are set by hand: its rule, its circuit, and how exactly it computes the rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ad_hypotheses.distill.checkpoint import CARD, CURVE
from ad_hypotheses.distill.config import Config
from ad_hypotheses.report.draw import learning_curves
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.sources.rules import RULES
from ad_hypotheses.studies.evaluate.learners import counted, markdown_table
from ad_hypotheses.studies.evaluate.record import headline
from ad_hypotheses.studies.evaluate.summary import curve_unit, curves, markdown, seen


def known_card_files(name: str, config: Config, record: Mapping[str, Any], sha256: str) -> dict[str, bytes]:
    """Return the card of a checkpoint and its picture, by file name.

    Args:
        name: Of the checkpoint.
        config: Its configuration.
        record: Its record.
        sha256: Of its weights.
    """
    results = dict(record["evaluation"])
    title = f"{name}: return as the context grows, held-out tasks"
    picture = learning_curves(curves(results), title, unit=curve_unit(config))
    return {CURVE: picture, CARD: known_card(name, config, record, sha256).encode()}


def known_card(name: str, config: Config, record: Mapping[str, Any], sha256: str) -> str:
    """Return the card of a network that is set by hand, as Markdown."""
    size, network_record, results = config.model, record["known"], record["evaluation"]
    match = network_record["agreement"]
    layers, heads = counted(size.n_layers, "layer"), counted(size.n_heads, "head")
    facts = {
        "Size": f"{layers}, {heads}, width {size.d_model}, no LayerNorm",
        "Parameters": f"{record['parameters']:,}",
        "Context": f"{counted(record['context'], 'step')}, {counted(config.context_episodes, 'episode')}",
        "Task": describe(config.make_task()),
        "Versions": ", ".join(f"{package} {version}" for package, version in record["versions"].items()),
        "Weights (SHA-256)": f"`{sha256}`",
    }
    return (
        f"# {name}\n\n"
        f"Set by hand, not trained: {network_record['words']}. It computes the rule `{network_record['rule']}`: "
        f"{RULES[network_record['rule']].words}.\n\n"
        f"Over {match['decisions']:,} decisions of {match['histories']:,} random histories (a third lived by the rule, "
        f"the others at random) its probabilities differ from the rule's by at most {match['largest']:.1e}.\n\n"
        f"## The circuit\n\n{_circuit(network_record)}\n\n"
        f"## What it earns\n\n{headline(results, config.kept_episodes, curve_unit(config), seen(config))}\n\n"
        f"{markdown(results, config)}\n\n"
        "![Mean return as the context grows](curve.png)\n\n"
        f"## How it was made\n\n```sh\n{record['command']}\n```\n\n"
        f"{markdown_table(['', ''], [[label, text] for label, text in facts.items()])}\n\n"
        "Every setting is in [config.yaml](config.yaml), every figure in [record.json](record.json).\n"
    )


def _circuit(network_record: Mapping[str, Any]) -> str:
    """Return the tables of the parts that compute, and of the subspaces through which they speak."""
    parts = [
        [f"`{wire['part']}`", _listed(wire["looks_by"]), _listed(wire["reads"]), _listed(wire["writes"])]
        for wire in network_record["circuit"]
    ]
    spaces = [[name, _coordinates(start, size)] for name, (start, size) in network_record["spaces"].items()]
    return (
        f"{markdown_table(['part', 'looks by', 'reads', 'writes'], parts, left=4)}\n\n"
        "All other parts are silent: their weights are 0. A head that looks by nothing averages over all steps.\n\n"
        f"{markdown_table(['subspace', 'coordinates of the residual stream'], spaces, left=2)}"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _coordinates(start: int, size: int) -> str:
    return str(start) if size == 1 else f"{start} to {start + size - 1}"
