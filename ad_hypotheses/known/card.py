"""The card of a network whose weights are set by hand: its rule, its circuit, and how exactly it computes the rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ad_hypotheses.distill.checkpoint import CARD, CURVE
from ad_hypotheses.distill.config import Config
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
    results = dict(record["evaluation"])
    title = f"{name}: return as the context grows, held-out tasks"
    picture = learning_curves(curves(results), title, unit=curve_unit(config))
    return {CURVE: picture, CARD: known_card(name, config, record, sha256).encode()}


def known_card(name: str, config: Config, record: Mapping[str, Any], sha256: str) -> str:
    """Return the card of a network that is set by hand, as Markdown, which `card.md` says word for word."""
    known = record["known"]
    return render(
        "known/card.md",
        **card_values(name, config, record, sha256),
        known=known,
        rule=RULES[known["rule"]].words,
        agreement=known["agreement"],
        largest=f"{known['agreement']['largest']:.1e}",
    )
