"""The card of a known network that is trained: its rule, its circuit, and the figures that prove both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ad_hypotheses.distill.checkpoint import CARD, CURVE
from ad_hypotheses.distill.config import Config
from ad_hypotheses.report.draw import learning_curves
from ad_hypotheses.report.screen import duration
from ad_hypotheses.report.templates import render
from ad_hypotheses.sources.rules import RULES
from ad_hypotheses.studies.evaluate.summary import curve_unit, curves
from ad_hypotheses.studies.train.card import card_values


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
    """Return the card of a network that was trained until a claim about it was true, as Markdown.

    `trained_card.md` says it word for word.
    """
    known = record["known"]
    proof, agreement = known["proof"], known["agreement"]
    values = card_values(name, config, record, sha256) | {"wall_time": duration(record["seconds"])}
    return render(
        "known/trained_card.md",
        **values,
        known=known,
        rule=RULES[known["rule"]].words,
        file=name.removeprefix("known-").replace("-", "_"),
        proof=proof,
        agreement=agreement,
        kl=f"{proof['kl']:.1e}",
        idle=f"{proof['idle']:.0%}",
        largest=f"{agreement['largest']:.1e}",
        hundredths=hundredths,
    )


def hundredths(share: float) -> str:
    """Return a share as a card writes it, in hundredths of a percent."""
    return f"{round(share, 4) + 0.0:.2%}"  # without the sign of a nothing
