"""The record of a study as tables, a line a regime, a node or a position, for people who go on with pandas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ad_hypotheses.errors import UserError, did_you_mean
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.studies.scrub.record import Claim, Study
from ad_hypotheses.studies.tables import table_of

Rows = Iterator[dict[str, Any]]
INTERVALS = (
    "fidelity",
    "explained",
    "recovered",
    "beyond_structure",
)  # figures of a regime that have columns for both bounds


def frame(study: Study, of: str) -> Any:
    """Return a table of all claims of a study as a pandas.DataFrame, as :meth:`Study.to_frame` says.

    Raises:
        UserError: There is no such table.
    """
    if of not in TABLES:
        raise UserError(f"`of` is {of!r}, but the tables are {', '.join(TABLES)}.{did_you_mean(of, TABLES)}")
    lines = [
        {"claim": claim.name, "kind": claim.kind, **line} for claim in study.claims for line in TABLES[of](claim, study)
    ]
    return table_of(lines)


def _regimes(claim: Claim, study: Study) -> Rows:
    for regime in claim.regimes:
        figures: dict[str, Any] = {}
        for name in INTERVALS:
            number: Number | None = getattr(regime, name)
            value, low, high = (None, None, None) if number is None else number.cells()
            figures |= {name: value, f"{name}_low": low, f"{name}_high": high}
        for name in ("divergence", "at_stake", "model", "scrubbed", "baseline"):
            number = getattr(regime, name)
            figures[name] = None if number is None else number.cells()[0]
        rest = {name: getattr(regime, name) for name in ("tested", "swapped", "same_argmax", "positions", "learners")}
        yield {"data": regime.data, "regime": regime.name, "status": regime.status, **figures, **rest}


def _nodes(claim: Claim, study: Study) -> Rows:
    for node in claim.nodes:
        figures = {name: value for name, value in vars(node).items() if name != "class_sizes"}
        yield {**figures, "parents": ", ".join(node.parents)} | {"node": figures.pop("name")}


def _positions(claim: Claim, study: Study) -> Rows:
    names = study.action_names
    for place in claim.worst:
        likeliest = [names[max(range(len(names)), key=of.__getitem__)] for of in (place.model, place.scrubbed)]
        yield {
            "row": place.row,
            "step": place.step,
            "episode": place.episode,
            "episode_step": place.episode_step,
            "regime": place.regime,
            "taken": names[place.taken],
            "likeliest_model": likeliest[0],
            "likeliest_scrubbed": likeliest[1],
            "loss_model": place.loss_model,
            "loss_scrubbed": place.loss_scrubbed,
        }


def _donors(claim: Claim, study: Study) -> Rows:
    for node in claim.nodes:
        for size, references in node.class_sizes.items():
            yield {"node": node.name, "class_size_up_to": size, "references": references}


def _undeclared(claim: Claim, study: Study) -> Rows:
    for arrow in () if claim.undeclared is None else claim.undeclared.arrows:
        yield {name: getattr(arrow, name) for name in ("source", "target", "share", "size", "strong")}


TABLES: dict[str, Callable[[Claim, Study], Rows]] = {
    "regimes": _regimes,
    "nodes": _nodes,
    "positions": _positions,
    "donors": _donors,
    "undeclared": _undeclared,
}
