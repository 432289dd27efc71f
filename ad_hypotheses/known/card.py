"""The card of a known network: its rule, its circuit, and the figures that show both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ad_hypotheses.distill.checkpoint import CARD, CURVE
from ad_hypotheses.distill.config import Config
from ad_hypotheses.progress import duration
from ad_hypotheses.report.draw import learning_curves
from ad_hypotheses.report.templates import render
from ad_hypotheses.sources.rules import RULES
from ad_hypotheses.studies.evaluate.summary import curve_unit, curves
from ad_hypotheses.studies.train.card import card_values


def known_card_files(name: str, config: Config, record: Mapping[str, Any], sha256: str) -> dict[str, bytes]:
    """Return the card of a checkpoint and its picture, by file name.

    Args:
        name: Of the checkpoint.
        config: Its configuration.
        record: Its record.
        sha256: Of its weights.
    """
    manner = ", trained by interchange interventions" if "proof" in record["known"] else ""
    title = f"{name}: return as the context grows, held-out tasks{manner}"
    picture = learning_curves(curves(dict(record["evaluation"])), title, unit=curve_unit(config))
    return {CURVE: picture, CARD: known_card(name, config, record, sha256).encode()}


def known_card(name: str, config: Config, record: Mapping[str, Any], sha256: str) -> str:
    """Return the card of a known network as Markdown.

    `card.md` says it word for word if its weights are set by hand, `trained_card.md` if it was trained until a claim
    about it was true.
    """
    known = record["known"]
    agreement, proof = known["agreement"], known.get("proof")
    values = card_values(name, config, record, sha256) | {
        "known": known,
        "rule": RULES[known["rule"]].words,
        "agreement": agreement,
        "largest": f"{agreement['largest']:.1e}",
    }
    if proof is None:
        return render("known/card.md", **values)
    return render(
        "known/trained_card.md",
        **values | {"wall_time": duration(record["seconds"])},
        file=name.removeprefix("known-").replace("-", "_"),
        proof=proof,
        kl=f"{proof['kl']:.1e}",
        idle=f"{proof['idle']:.0%}",
        hundredths=hundredths,
    )


def hundredths(share: float) -> str:
    """Return a share as a card writes it, in hundredths of a percent."""
    return f"{round(share, 4) + 0.0:.2%}"  # without the sign of a nothing
