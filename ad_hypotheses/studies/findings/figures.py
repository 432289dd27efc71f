"""Every figure that a page may quote, by a name with dots in it, from the records that hold it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.storage.reading import read_json
from ad_hypotheses.studies.behave.record import (
    MODEL,
    SOURCE,
    UNTRAINED,
    Behaviour,
    MixtureRecord,
    ModelBehaviour,
    TestRecord,
    read_behaviour,
)
from ad_hypotheses.studies.findings.calibrated import of_calibration, of_trained
from ad_hypotheses.studies.findings.plan import AskedModel, Plan

Figure = Number | float | int | str
SHORT = {"dose": "R", "paid": "R", "failure": "k"}  # tests whose cells are named by their place on the axis
OF_SOURCE = ("moved", "remapped")  # tests whose figure is shown as a share of what the source reaches, too
INFERENCE = ("belief", "source")  # rungs that infer, or learn, as the source does
KEPT = "likeliest-action-the-same-second-half"


@dataclass(frozen=True)
class Records:
    """What a page is made of.

    Attributes:
        plan: The plan of the study.
        asked: Records of behaviour by the name of the model, in the order of the plan.
        studies: Records of scrubbing, as JSON holds them. {name of the file: content}
        cards: Records of trained models, as JSON holds them. {model: content}
        calibration: The record of the calibration, as JSON holds it; empty where there is none.
        further: Plans of questions beside that of the study, whose models are asked too. {name: plan}
    """

    plan: Plan
    asked: Mapping[str, Behaviour]
    studies: Mapping[str, Mapping[str, Any]]
    cards: Mapping[str, Mapping[str, Any]]
    calibration: Mapping[str, Any] = field(default_factory=dict)
    further: Mapping[str, Plan] = field(default_factory=dict)

    @property
    def planned(self) -> dict[str, AskedModel]:
        """What every model is asked, by any of the plans."""
        return {name: asked for plan in (self.plan, *self.further.values()) for name, asked in plan.models.items()}

    def plan_of(self, name: str) -> Plan:
        """Return the plan that asks a model, that of the study where none does."""
        return next((plan for plan in self.further.values() if name in plan.models), self.plan)

    def subject(self, name: str) -> ModelBehaviour | None:
        """Return what was found of a model, None where it has not been asked."""
        return self.asked[name].subjects[0] if name in self.asked else None


def read_records(
    plan: Plan, folder: Path, studies: Path, models: Path, further: Mapping[str, Plan] | None = None
) -> Records:
    """Read all records that a page may quote; exploratory ones are none of them.

    Args:
        plan: The plan of the study.
        folder: With the records of behaviour.
        studies: With the records of scrubbing.
        models: With the records of trained models.
        further: Plans of questions beside that of the study. {name: plan}

    Raises:
        DataError: A record is damaged, or was made for another plan than the one that names its model.
    """
    further = further or {}
    asked: dict[str, Behaviour] = {}
    for path in sorted(folder.glob("behave-*.json")):
        record = read_behaviour(path)
        if record.exploratory:
            continue
        name = record.subjects[0].name
        if record.study not in {of.sha256 for of in (plan, *further.values()) if name in of.models}:
            raise DataError(f"{path} was made for another plan. Run its command again: {record.command}")
        asked[name] = record
    order = {name: asked[name] for of in (plan, *further.values()) for name in of.models if name in asked}
    scrubbed = {path.stem: _content(path) for path in sorted(studies.glob("*.json"))}
    paths = sorted([*models.glob("*/record.json"), *models.glob("*/*/record.json")])
    cards = {path.parent.relative_to(models).as_posix(): _content(path) for path in paths}
    studies_of = {name: study for name, study in scrubbed.items() if "curves" in study}
    return Records(plan, order, studies_of, cards, scrubbed.get("calibration", {}), further)


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the record {path}: {error}. Make it again, or remove it.") from error
    return content if isinstance(content, dict) else {}


class Figures:
    """Figures by name.

    Attributes:
        records: What they are from.
        by_name: The figures.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        self.by_name: Mapping[str, Figure] = dict(_all_figures(records))

    def get(self, name: str) -> Figure | None:
        """Return a figure, None where there is none of that name."""
        return self.by_name.get(name)


def slug(text: str) -> str:
    """Return a label as a part of a name: `"2 steps, put together"` as `"2-steps-put-together"`."""
    return re.sub(r"[^\w:]+", "-", text).strip("-")


def number_of(figure: Figure) -> Number:
    """Return a figure as a number with an interval, if it has one.

    Raises:
        DataError: It is a word.
    """
    if isinstance(figure, str):
        raise DataError(f"{figure!r:.40} is a word, not a number.")
    return figure if isinstance(figure, Number) else Number(float(figure))


def _all_figures(records: Records) -> Iterator[tuple[str, Figure]]:
    plan = records.plan
    yield from ((f"threshold.{name}", value) for name, value in plan.thresholds.items())
    yield from ((f"pilot.{name}", pilot.value) for name, pilot in plan.pilots.items())
    for name, planned in records.planned.items():
        yield f"plan.{name}.contexts", planned.contexts
    yield from (("plan.models", len(plan.models)), ("asked.models", len(records.asked)))
    yield from _of_known(records)
    for name, behaviour in records.asked.items():
        yield from _of_model(name, behaviour.subjects[0])
    yield from _of_tasks(records)
    for name, study in records.studies.items():
        yield from _of_study(name, study)
    yield from _of_cards(records.cards)
    yield from of_trained(records.cards)
    if records.calibration:
        yield from of_calibration(records.calibration)


def _of_cards(cards: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Figure]]:
    """Yield what trained models reach, how long they took, and means over seeds of a sweep."""
    seeds: dict[str, list[float]] = {}
    for name, card in cards.items():
        evaluation = card.get("evaluation") or {}
        for key, value in (evaluation.get("summary") or {}).items():
            if isinstance(value, int | float):
                part = slug(key.replace("_", "-"))
                yield f"zoo.{name}.{part}", float(value)
                seeds.setdefault(f"sweep.{re.sub(r'-s[0-9]+$', '', name)}.{part}", []).append(value)
        if "seconds" in card:
            yield f"zoo.{name}.minutes", card["seconds"] / 60
        held_out = (evaluation.get("figures") or {}).get("held_out") or {}
        if "ucb1" in held_out:
            yield f"zoo.{name}.ucb1-regret", held_out["optimal"]["last"] - held_out["ucb1"]["last"]
    yield from ((name, fmean(values)) for name, values in seeds.items())


def _of_known(records: Records) -> Iterator[tuple[str, Figure]]:
    """Yield how many networks whose rung is known were asked, and how many were taken for another one."""
    known = [(name, planned.expected) for name, planned in records.plan.models.items() if planned.expected]
    asked = [(name, expected) for name, expected in known if name in records.asked]
    yield "known.asked", len(asked)
    if asked:
        yield "known.wrong", sum(leading_of(records, name) != expected for name, expected in asked)


def leading_of(records: Records, name: str) -> str:
    """Return the rung with the greatest share on the source's lives; empty where that is not known."""
    return leading(whole(records.subject(name), SOURCE))


def whole(subject: ModelBehaviour | None, data: str) -> MixtureRecord | None:
    """Return what a model is a mixture of over all regimes of a data set."""
    mixtures = subject.mixtures if subject else []
    return next((mixture for mixture in mixtures if mixture.data == data and mixture.regime == "all"), None)


def leading(mixture: MixtureRecord | None) -> str:
    """Return the rung with the greatest share."""
    return max(mixture.weights, key=lambda rung: mixture.weights[rung].value) if mixture else ""


def _of_model(name: str, subject: ModelBehaviour) -> Iterator[tuple[str, Figure]]:
    for test in subject.tests:
        yield from _of_test(name, test)
    for tracking in subject.tracking:
        place = f"tracking.{name}.{tracking.rung}"
        for part in ("slope", "intercept", "r2", "within", "within_r2"):
            yield f"{place}.{slug(part).replace('_', '-')}", getattr(tracking, part)
        yield f"{place}.contexts", tracking.contexts
    for mixture in subject.mixtures:
        yield from _of_mixture(f"mixture.{name}.{mixture.data}.{slug(mixture.regime)}", mixture)
    for mixture in subject.untrained:
        yield from _of_mixture(f"mixture.{name}.{UNTRAINED}.{slug(mixture.regime)}", mixture)


def _of_test(name: str, test: TestRecord) -> Iterator[tuple[str, Figure]]:
    place, values = f"{test.name}.{name}", {}
    for cell in test.cells:
        short = SHORT.get(test.name)
        key = f"{short}{cell.x:g}" if short and math.isfinite(cell.x) else slug(cell.label)
        values[key] = cell.values
    for key, numbers in [*values.items(), ("effect", test.effects), *test.contrasts.items()]:
        yield f"{place}.{key}", numbers[MODEL]
        yield from ((f"{place}.{key}.{who}", number) for who, number in numbers.items())
    yield f"{place}.sentence", test.sentence
    yield f"{place}.reported", "yes" if test.reported else "no"
    if test.name == "stitched" and (together := values.get("2-steps-put-together")):
        yield f"{place}.beyond-chance", less(together[MODEL], together[UNTRAINED])
    if test.name == "erased":
        yield f"{place}.same", values[KEPT][MODEL]
    if test.name in OF_SOURCE and (source := test.effects.get(SOURCE)) and source.value:
        model = test.effects[MODEL]
        value, low, high = (part / source.value for part in (model.value, model.low, model.high))
        yield f"{place}.ratio", Number(value, low, high, model.estimable)


def less(number: Number, other: Number) -> Number:
    """Return a difference; its interval is that of independent figures, so too wide for those of the same contexts."""
    half = [(part.high - part.low) / 2 for part in (number, other)]
    value, wide = number.value - other.value, math.hypot(*half)
    return Number(value, value - wide, value + wide, number.estimable and other.estimable)


def _of_mixture(place: str, mixture: MixtureRecord) -> Iterator[tuple[str, Figure]]:
    yield from ((f"{place}.{rung}", number) for rung, number in mixture.weights.items())
    yield from ((f"{place}.alone-{rung}", number) for rung, number in mixture.alone.items())
    yield from ((f"{place}.unexplained", mixture.unexplained), (f"{place}.entropy", mixture.entropy))
    yield from ((f"{place}.positions", mixture.positions), (f"{place}.leading", leading(mixture)))
    if mixture.of_reward is not None:
        yield f"{place}.of-reward", mixture.of_reward
    yield f"{place}.inference", together(mixture, INFERENCE)


def together(mixture: MixtureRecord, rungs: Sequence[str]) -> Number:
    """Return what rungs share together; its interval is the widest that those of the parts allow."""
    parts = [mixture.weights[rung] for rung in rungs if rung in mixture.weights]
    low, value, high = (sum(getattr(part, end) for part in parts) for end in ("low", "value", "high"))
    return Number(float(value), float(low), float(min(high, 1.0)))


def _of_tasks(records: Records) -> Iterator[tuple[str, Figure]]:
    """Yield how much the most pay pulls, and more than the least, by the number of training tasks, over a grid.

    A number is the mean of the models, with the least and the greatest of them.
    """
    pulls: dict[int, list[tuple[float, float]]] = {}
    for name, planned in records.plan.models.items():
        subject = records.subject(name)
        for test in subject.tests if subject and planned.role == "grid" else ():
            if test.name == "paid":
                pull = (test.effects[MODEL].value, test.contrasts["rise"][MODEL].value)
                pulls.setdefault(subject.train_tasks if subject else 0, []).append(pull)
    for tasks, values in pulls.items():
        for part, numbers in zip(("pull", "rise"), zip(*values, strict=True), strict=True):
            yield f"tasks.g{tasks}.{part}", Number(fmean(numbers), min(numbers), max(numbers))
        yield f"tasks.g{tasks}.models", len(values)


def _of_study(name: str, study: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    """Yield the verdict on the hypothesis of a study, and fidelities; `edited` is the first family of edited lives."""
    for claim in study["claims"]:
        if claim["kind"] != "hypothesis":
            continue
        yield f"scrub.{name}.verdict", str(claim["verdict"])
        edited = next((regime["data"] for regime in claim["regimes"] if regime["data"].startswith("edited")), "")
        for regime in claim["regimes"]:
            if not isinstance(parts := regime.get("fidelity"), Mapping):
                continue
            value, low, high = (math.nan if parts[end] is None else parts[end] for end in ("value", "low", "high"))
            for data in {regime["data"], "edited"} if regime["data"] == edited else {regime["data"]}:
                yield f"scrub.{name}.{data}.{slug(regime['name'])}.fidelity", Number(value, low, high)
