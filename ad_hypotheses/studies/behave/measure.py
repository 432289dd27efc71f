"""Run one test of the battery: show its contexts to a model and to every rung, or let all of them live."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.evidence.bootstrap import Estimate, Resampling, crossed_bootstrap, read
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.ladder.run import predict
from ad_hypotheses.ladder.rung import Begin, Context, Rung
from ad_hypotheses.language.history import History
from ad_hypotheses.report.words import figure
from ad_hypotheses.sources.variants import joined
from ad_hypotheses.studies.behave.battery import BehaviourTest
from ad_hypotheses.studies.behave.condition import Condition, Probabilities, Subject, Sums, at_last
from ad_hypotheses.studies.behave.living import Living, model_actor, rung_actor
from ad_hypotheses.studies.behave.record import (
    GATE,
    MODEL,
    NOVICE,
    SOURCE,
    UNTRAINED,
    BehaviourCell,
    TestRecord,
)
from ad_hypotheses.studies.data import ModelActor
from ad_hypotheses.studies.evaluate.figures import FEWEST, task_numbers

ROWS_AT_ONCE = 64  # contexts that a model reads at once
DRAWS = 1000  # of an interval
LEVEL = 0.95


@dataclass(frozen=True)
class Everybody:
    """Who is asked: a model, an untrained network of its size, and rungs.

    Attributes:
        model: The model.
        untrained: A network of the same configuration before its first update.
        rungs: The rungs, in order.
        begins: What begins a context of each.
        single: The same, where one learner lives alone: the source is then not averaged.
        advance: Called with steps of contexts that were run.
    """

    model: ADTransformer
    untrained: ADTransformer
    rungs: Sequence[Rung]
    begins: Mapping[str, Begin]
    single: Mapping[str, Begin]
    advance: Callable[[int], None]

    def shown(self, contexts: Sequence[Context], subject: Subject) -> list[dict[str, Probabilities]]:
        """Return what everybody would do at every step of some contexts, all of the same number of steps."""
        bounds = np.cumsum([context.history.n_rows for context in contexts])[:-1]
        together = joined([replace(context.history, task={}, learner=None) for context in contexts])
        policies = {
            MODEL: np.split(probabilities(self.model, together), bounds),
            UNTRAINED: np.split(probabilities(self.untrained, together), bounds),
        }
        for rung in self.rungs:
            how = (subject.task, subject.seed, rung.rows_at_once, self.advance)
            if rung.needs_worlds:
                policies[rung.name] = [predict(self.begins[rung.name], context, *how) for context in contexts]
            else:
                policies[rung.name] = np.split(predict(self.begins[rung.name], together, *how), bounds)
        return [{who: parts[number] for who, parts in policies.items()} for number in range(len(contexts))]


@torch.inference_mode()
def probabilities(model: ADTransformer, history: History) -> Float[np.ndarray, "row step action"]:
    """Return what a model would do at every step of some lives."""
    parts = [
        model(model.to_tokens(history[first : first + ROWS_AT_ONCE])).float().softmax(-1).cpu().numpy()
        for first in range(0, history.n_rows, ROWS_AT_ONCE)
    ]
    return np.concatenate(parts)


@dataclass(frozen=True)
class MeasuredCell:
    """The sums of one cell, by who; the rows that are alike; and the chances of a decision, of each context, by who."""

    label: str
    x: float
    sums: Mapping[str, Sums]
    clusters: Int[np.ndarray, " row"]
    decisions: Sequence[Mapping[str, Float[np.ndarray, " row"]]] = ()


def measure(test: BehaviourTest, subject: Subject, everybody: Everybody) -> list[MeasuredCell]:
    """Run a test, without judging it."""
    if test.living is not None:
        return _lived(test.living(subject), subject, everybody, test.name)
    assert test.conditions is not None
    conditions = test.conditions(subject)
    contexts = {id(context): context for condition in conditions for context in condition.contexts}
    policies: dict[int, dict[str, Probabilities]] = {}
    for n_steps in sorted({context.history.n_steps for context in contexts.values()}):
        alike = {key: context for key, context in contexts.items() if context.history.n_steps == n_steps}
        policies |= dict(zip(alike, everybody.shown(list(alike.values()), subject), strict=True))
    return [_cell(condition, [policies[id(context)] for context in condition.contexts]) for condition in conditions]


def _cell(condition: Condition, policies: Sequence[Mapping[str, np.ndarray]]) -> MeasuredCell:
    sums = {who: condition.measure([shown[who] for shown in policies]) for who in policies[0]}
    critical = condition.critical
    decisions = (
        [] if critical is None
        else [{who: at_last(critical)([policy])[0] for who, policy in shown.items()} for shown in policies]
    )  # fmt: skip
    return MeasuredCell(condition.label, condition.x, sums, condition.clusters, decisions)


def _lived(lives: Living, subject: Subject, everybody: Everybody, test: str) -> list[MeasuredCell]:
    rng = subject.rng(f"{test}, living")
    untrained = ModelActor(replace(subject.checkpoint, model=everybody.untrained), rng)
    actors = {MODEL: model_actor(subject, rng), UNTRAINED: untrained}
    actors |= {rung.name: rung_actor(everybody.single[rung.name], lives, subject, rng) for rung in everybody.rungs}
    measured: dict[str, list[tuple[str, float, Sums]]] = {}
    for who, actor in actors.items():
        measured[who] = lives.measure(lives.live(actor))
        everybody.advance(lives.steps * subject.rows)
    clusters = task_numbers(lives.segments[0].facts)
    return [
        MeasuredCell(label, x, {who: cells[number][2] for who, cells in measured.items()}, clusters)
        for number, (label, x, _) in enumerate(measured[MODEL])
    ]


def judged(test: BehaviourTest, cells: Sequence[MeasuredCell]) -> TestRecord:
    """Turn the sums of a test into figures with intervals, and say what they say if its controls hold."""
    estimates = {cell.label: {who: _ratio(sums, cell.clusters) for who, sums in cell.sums.items()} for cell in cells}
    weights = test.weights([cell.label for cell in cells])
    effects = {who: _combined(estimates, weights, who) for who in cells[0].sums}
    values = {who: effect.value for who, effect in effects.items()}
    contrasts = {
        name: {who: _combined(estimates, weigh([cell.label for cell in cells]), who).number() for who in effects}
        for name, weigh in test.contrasts.items()
    }
    reported, control = _control(test, values)
    records = [
        BehaviourCell(
            cell.label,
            float(cell.x),
            len(cell.clusters),
            {who: estimate.number() for who, estimate in estimates[cell.label].items()},
        )
        for cell in cells
    ]
    numbers = {who: effect.number() for who, effect in effects.items()}
    sentence = _sentence(test, records, numbers) if reported else f"Nothing is concluded: {control}."
    return TestRecord(test.name, test.question, test.quantity, test.axis, test.effect, records, numbers, control,
                      reported, sentence, contrasts)  # fmt: skip


def _ratio(sums: Sums, clusters: Int[np.ndarray, " row"]) -> Estimate:
    n_clusters = int(clusters.max()) + 1
    above, below = (np.bincount(clusters, weights=part, minlength=n_clusters)[None] for part in sums)
    resampling = Resampling.draw(n_clusters, 1, np.random.default_rng(0), DRAWS)  # alike in cells of the same rows
    estimate = crossed_bootstrap(above, below, resampling, LEVEL)
    return replace(estimate, estimable=estimate.estimable and n_clusters >= FEWEST)


def _combined(estimates: Mapping[str, Mapping[str, Estimate]], weights: Mapping[str, float], who: str) -> Estimate:
    """Return a sum of cells, with the interval of the sum."""
    parts = [(weight, estimates[label][who]) for label, weight in weights.items()]
    value = sum(weight * part.value for weight, part in parts)
    draws = np.sum([weight * part.draws for weight, part in parts], axis=0)
    combined = read(float(value), draws, LEVEL)
    return replace(combined, estimable=combined.estimable and all(part.estimable for _, part in parts))


def _control(test: BehaviourTest, values: Mapping[str, float]) -> tuple[bool, str]:
    """Say whether a rung that must show the effect does, and an untrained network does not."""
    reference = values[NOVICE] if test.beyond_novice else 0.0
    beyond = " more than the novice" if test.beyond_novice else ""
    if not math.isfinite(values[MODEL]):
        return False, "the lives hold no decision that it is about"
    able = {who: values[who] - reference for who in test.able if who in values and math.isfinite(values[who])}
    if not able:
        return False, f"none of the rungs that could show the effect ({', '.join(test.able)}) can be run"
    best = max(able, key=lambda who: able[who])
    if able[best] < test.least:
        return False, f"{best}, which should, does not show it ({figure(able[best])}{beyond}, {test.least:g} is needed)"
    untrained = values[UNTRAINED] - reference
    if not untrained < test.least:
        return False, f"an untrained network shows it too ({figure(untrained)}{beyond})"
    return True, f"{best} shows it ({figure(able[best])}{beyond}), and an untrained network does not"


def _sentence(test: BehaviourTest, cells: Sequence[BehaviourCell], effects: Mapping[str, Number]) -> str:
    distance = {
        who: math.sqrt(np.mean([(cell.values[who].value - cell.values[MODEL].value) ** 2 for cell in cells]))
        for who in effects
        if who not in (MODEL, UNTRAINED)
    }
    nearest = min(distance, key=lambda who: distance[who])
    others = [f"{who} {figure(effects[who].value)}" for who in (SOURCE, GATE, NOVICE) if who in effects]
    model = effects[MODEL]
    bounds = f" [{figure(model.low)}, {figure(model.high)}]" if model.estimable else ""
    return (
        f"{test.effect.capitalize()}: the model {figure(model.value)}{bounds}; {', '.join(others)}. Over all cells, "
        f"{nearest} is nearest ({figure(distance[nearest])} away on average)."
    )
