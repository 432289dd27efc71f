"""An adversary that tries to break a claim: it chooses the donors that the claim must accept, as badly as it can.

A feature that the claim leaves out is tried like this: at one node donors agree on what the claim says and *differ* in
the feature, while at every other node they *agree* on it too, so that nothing blurs the difference. And the other way
round: they agree on it at all nodes, which is the claim with the feature added. Under a right claim neither changes
anything. Both are also tried at the places that the claim does not name, which is an arrow added.

One half of the histories chooses among all candidates, a pass each; the other half measures the few that were chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.scrub import Scrubber
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.evidence.bootstrap import Resampling
from ad_hypotheses.evidence.verdict import ALPHA
from ad_hypotheses.language.check import BoundGraph
from ad_hypotheses.language.history import History
from ad_hypotheses.storage.store import Store
from ad_hypotheses.studies.adversary.attempts import Half, Restriction, ground_of
from ad_hypotheses.studies.adversary.findings import Apart, Beyond, Challenge, Finding, Refined
from ad_hypotheses.studies.adversary.outcomes import (
    MATERIAL,
    AttemptEffects,
    AttemptOutcome,
    corrected,
    divergence,
    passed,
    recovered,
    resamples_for,
    rough,
    smallest,
    stands_out,
    worse,
)
from ad_hypotheses.studies.adversary.plan import DEEPEST, AttackPlan

IDLE = 0.01  # share of a node's positions below which a feature splits hardly any class
ENOUGH = 0.8  # share of the effect of agreeing everywhere from which on agreeing at fewer nodes will do
TESTS = ("lost", "kl_lost", "gained", "kl_gained")  # of a finding, in the order of its p-values
HALVES = 50_000  # with the seed: which rows choose is no draw of the scrubbing itself
CHOOSING, MEASURING = 0, 1
CLAIM, WIDER, APART = "claim", "wider", "apart"  # as it is; with the places it does not name; with others independent


def challenge(
    plan: AttackPlan,
    model: ADTransformer,
    history: History,
    regimes: Mapping[str, Bool[np.ndarray, "row step"]],
    baseline: Float[np.ndarray, "row step"],
    store: Store,
    done: Callable[[int], None] = lambda done: None,
) -> Challenge:
    """Attack a claim, and say what was found.

    Args:
        plan: From :func:`plan`.
        model: That the claim is about.
        history: The dataset of the study.
        regimes: Which steps belong to which regime, `"all"` first. {name: [row, step]}
        baseline: Loss when nothing is important, in nats. [row, step]
        store: Where to keep what is measured on the way.
        done: Called with the number of partial forwards that were done; all of :attr:`AttackPlan.forwards` in the end.
    """
    meter = _PassMeter(plan, done)
    order = np.random.default_rng([plan.seed, HALVES]).permutation(history.n_rows)
    halves = [np.sort(order[: history.n_rows // 2]), np.sort(order[history.n_rows // 2 :])]
    made = []
    for name, rows in zip(("choosing", "measuring"), halves, strict=True):
        clean = Clean.run(model, history[rows])
        masks = {regime: mask[rows] for regime, mask in regimes.items()}
        ground = ground_of(clean, baseline[rows])
        made.append(Half(name, clean, _scrubbers(plan, clean, rows), masks, ground, store, meter.one))
    findings = _Attack(plan, made, halves).result()
    meter.all()
    return findings


def _scrubbers(plan: AttackPlan, clean: Clean, rows: Int[np.ndarray, " half"]) -> dict[str, Callable[[], Scrubber]]:
    def scrubber(widened: bool, others: Literal["joint", "independent"]) -> Scrubber:
        nodes = (plan.nodes if widened else plan.bound.nodes).values()
        nodes_of_rows = {node.name: node.of_rows(rows) for node in nodes}
        return Scrubber(clean, BoundGraph(nodes_of_rows, plan.root), replace(plan.options, others=others), plan.seed)

    others = plan.options.others
    return {
        CLAIM: partial(scrubber, False, others),
        WIDER: partial(scrubber, True, others),
        APART: partial(scrubber, False, "independent"),
    }


class _PassMeter:
    """Turns passes over half of the histories into partial forwards over all of them."""

    def __init__(self, plan: AttackPlan, done: Callable[[int], None]) -> None:
        self.total, self.runs, self.done = plan.forwards, plan.runs, done
        self.passes = self.forwards = 0

    def one(self) -> None:
        self.passes += 1
        self._reach(self.total * min(self.passes, self.runs) // self.runs)

    def all(self) -> None:
        self._reach(self.total)

    def _reach(self, forwards: int) -> None:
        if forwards > self.forwards:
            self.done(forwards - self.forwards)
            self.forwards = forwards


@dataclass(frozen=True)
class _Choice:
    """A candidate, by its number, that is worth a second look: where it comes in, and which nodes must agree on it."""

    candidate: int
    node: str
    agreeing: tuple[str, ...]


class _Attack:
    """The search on one half, and the measurement on the other."""

    def __init__(self, plan: AttackPlan, halves: Sequence[Half], rows: Sequence[np.ndarray]) -> None:
        self.plan, self.halves, self.rows = plan, halves, rows
        self.everywhere = (*plan.named, *plan.elsewhere)
        self.idle, self.largest = 0, 0.0

    def result(self) -> Challenge:
        return self._measured([self._placed(*candidate) for candidate in self._screened()])

    def _differ(self, candidate: int, at: Sequence[str], half: int, passes: int = 1) -> AttemptOutcome:
        """Scrub with donors that differ in a candidate at some nodes, and agree on it at all others."""
        variant, restriction = self._differing(candidate, at, half)
        return self.halves[half].run(variant, f"differ in {candidate} at {'+'.join(at)}", restriction, passes)

    def _agree(self, added: Mapping[str, Sequence[int]], half: int, passes: int = 1) -> AttemptOutcome:
        """Scrub with donors that agree on candidates as well, node by node."""
        description = "; ".join(f"{name} agrees on {'+'.join(map(str, numbers))}" for name, numbers in added.items())
        restriction = {name: (self._feature(numbers, half), True) for name, numbers in added.items()}
        variant = CLAIM if added.keys().isdisjoint(self.plan.elsewhere) else WIDER
        return self.halves[half].run(variant, description or "as it is", restriction, passes)

    def _differing(self, candidate: int, at: Sequence[str], half: int) -> tuple[str, Restriction]:
        wider = not set(at).isdisjoint(self.plan.elsewhere)
        feature = self._feature([candidate], half)
        nodes = self.everywhere if wider else self.plan.named
        return WIDER if wider else CLAIM, {name: (feature, name not in at) for name in self._open(candidate, nodes)}

    def _open(self, candidate: int, nodes: Sequence[str]) -> tuple[str, ...]:
        """Those of some nodes that could say a candidate besides: not what they, or nodes below them, say already."""
        return tuple(name for name in nodes if self.plan.writable({name: [candidate]}))

    def _reach(self, candidate: int, node: str, half: int) -> float:
        """At what share of a node's positions there are donors that differ, and others that do not."""
        variant, restriction = self._differing(candidate, [node], half)
        return self.halves[half].reach(variant, {node: restriction[node]})[node]

    def _feature(self, numbers: Sequence[int], half: int) -> Int[np.ndarray, "row step"]:
        # several candidates are one feature: a number for each combination that occurs, kept small for the next one
        first, *others = (self.plan.candidates[number].labels[self.rows[half]] for number in numbers)
        for column in others:
            code = first.astype(np.int64) * (int(column.max()) + 1) + column
            first = np.unique(code, return_inverse=True)[1].reshape(code.shape)
        return first

    def _entries(self, candidate: int) -> tuple[str, ...]:
        """Nodes of the claim at which a candidate is lost: it splits their classes, and none above them."""
        possible = self._open(candidate, self.plan.named)
        split = {name for name in possible if self._reach(candidate, name, CHOOSING) >= IDLE}
        return tuple(name for name in self.plan.named if name in split and split.isdisjoint(self.plan.above(name)))

    def _screened(self) -> list[tuple[int, tuple[str, ...]]]:
        """Try every candidate; return those worth a second look, the most harmful first, and where they may come in."""
        plan, ground, ranked = self.plan, self.halves[CHOOSING].ground, []
        base = self._agree({}, CHOOSING)
        # features at places that the claim does not name can only help where the claim falls short of the model
        short = base.kl.mean(axis=0).sum() > MATERIAL * ground.kl_baseline.sum()
        for candidate in range(len(plan.candidates)):
            entries = self._entries(candidate)
            named, elsewhere = self._open(candidate, plan.named), self._open(candidate, plan.elsewhere)
            together = self._agree({name: [candidate] for name in named} if entries else {}, CHOOSING)
            effects = []
            # at named nodes a candidate counts by what donors that differ in it lose, or those that agree on it gain
            if entries:
                apart = self._differ(candidate, entries, CHOOSING)
                effects.append((_stronger(rough(base, apart, ground), rough(together, base, ground)), entries))
            # elsewhere, by what agreeing there gains over agreeing at the named nodes alone
            if short and elsewhere:
                everywhere = self._agree({name: [candidate] for name in (*named, *elsewhere)}, CHOOSING)
                effects.append((rough(everywhere, together, ground), elsewhere))
            self.idle += not effects
            for (effect, cautious), places in effects:
                self.largest = max(self.largest, effect)
                if effect > MATERIAL and cautious > 0:
                    ranked.append((-cautious, candidate, places))
        # what gives the very same numbers restricts the very same donors: it is said once
        distinct = {(cautious, places): candidate for cautious, candidate, places in sorted(ranked, reverse=True)}
        best: dict[int, tuple[str, ...]] = {}
        for (_, places), candidate in sorted(distinct.items()):
            # where it does most harm: what helps there would be counted twice elsewhere
            best.setdefault(candidate, places)
        return list(best.items())[: plan.findings]

    def _placed(self, candidate: int, places: Sequence[str]) -> _Choice:
        """Find out at which place a candidate comes in, and the fewest nodes that must agree on it."""
        plan, ground, tried = self.plan, self.halves[CHOOSING].ground, []
        base = self._agree({}, CHOOSING)
        # what there is to gain at all: the candidate is agreed on wherever it may be
        most = self._open(candidate, plan.named if places[0] in plan.named else self.everywhere)
        whole = rough(self._agree({name: [candidate] for name in most}, CHOOSING), base, ground)[0]
        # each place by what differing there alone loses, and what agreeing there and below it gains
        for place in places:
            below = tuple(name for name in plan.below(place) if name in (*plan.named, place))
            harm = rough(base, self._differ(candidate, [place], CHOOSING), ground)[0]
            relief = rough(self._agree({name: [candidate] for name in below}, CHOOSING), base, ground)[0]
            tried.append((harm + relief, relief, place, below))
        # the nodes below the best place are enough if they gain nearly as much as all
        _, relief, place, below = max(tried, key=lambda candidate: candidate[0])
        return _Choice(candidate, place, below if relief >= ENOUGH * whole else most)

    def _refined(self, screened: Sequence[_Choice]) -> list[_Choice]:
        """Add feature after feature to the claim, each time the one that helps most, as long as one does."""
        ground, now, taken = self.halves[CHOOSING].ground, self._agree({}, CHOOSING), list[_Choice]()
        while len(taken) < min(DEEPEST, len(screened)):
            # features that can still be written down together with those that are taken
            rest = [
                choice for choice in screened if choice not in taken and self.plan.writable(_added([*taken, choice]))
            ]
            if not rest:
                break
            # the claim with each of them added, compared with the claim as it is now
            tried = [self._agree(_added([*taken, choice]), CHOOSING) for choice in rest]
            gains = [rough(outcome, now, ground)[0] for outcome in tried]
            best = int(np.argmax(gains))
            if gains[best] <= MATERIAL:
                break
            taken, now = [*taken, rest[best]], tried[best]
        return taken

    def _measured(self, screened: Sequence[_Choice]) -> Challenge:
        plan, half = self.plan, self.halves[MEASURING]
        rng = np.random.default_rng([plan.seed, HALVES, 1])
        resampling = Resampling.draw(half.clean.n_rows, plan.passes, rng, resamples_for(len(screened)))
        weigh = partial(worse, ground=half.ground, resampling=resampling)
        base = self._agree({}, MEASURING, plan.passes)
        # of each choice: what differing loses, and what agreeing gains, on histories that chose nothing
        pairs = [
            (
                self._differ(choice.candidate, [choice.node], MEASURING, plan.passes),
                self._agree(_added([choice]), MEASURING, plan.passes),
            )
            for choice in screened
        ]
        effects = [[weigh(base, differing), weigh(agreeing, base)] for differing, agreeing in pairs]
        # one correction for all tests of the report: two each, and the one of inputs with a history each
        single = self._pulled_apart(base, weigh)
        *p_values, p_apart = corrected([*effects, single])
        # what is shown is put together to a larger claim, and the rest is measured on top of that
        proven = [choice for choice, p in zip(screened, p_values, strict=True) if smallest(p) < ALPHA]
        refined = self._refined(proven)
        beyond = self._beyond(refined, proven, weigh)
        findings = [
            replace(self._finding(choice, (base, *outcomes), weighed, p, resampling), beyond=beyond.get(choice))
            for choice, outcomes, weighed, p in zip(screened, pairs, effects, p_values, strict=True)
        ]
        return Challenge(
            rows=half.clean.n_rows,
            tried=len(plan.candidates),
            idle=self.idle,
            largest=self.largest,
            recovered=recovered(base, half.ground, resampling),
            kl=divergence(base, half.ground, resampling),
            findings=sorted(findings, key=lambda choice: (choice.p, -max(choice.lost.value, choice.kl_lost.value))),
            refined=self._suggested(refined, resampling),
            apart=_apart(single[0], p_apart) if single else None,
        )

    def _beyond(
        self,
        refined: Sequence[_Choice],
        proven: Sequence[_Choice],
        weigh: Callable[[AttemptOutcome, AttemptOutcome], AttemptEffects],
    ) -> dict[_Choice, Beyond]:
        """Measure what each finding that the refined claim does without would add to it."""
        rest = [choice for choice in proven if choice not in refined]
        if not refined or not rest:
            return {}
        now = self._agree(_added(refined), MEASURING, self.plan.passes)
        more = [weigh(self._agree(_added([*refined, choice]), MEASURING, self.plan.passes), now) for choice in rest]
        return {
            choice: Beyond(effects.loss_nats.number(), effects.kl_nats.number(), smallest(p))
            for choice, effects, p in zip(rest, more, corrected([[effects] for effects in more]), strict=True)
        }

    def _pulled_apart(
        self, base: AttemptOutcome, weigh: Callable[[AttemptOutcome, AttemptOutcome], AttemptEffects]
    ) -> list[AttemptEffects]:
        """Let each unimportant input come from a history of its own, if that makes a difference on the first half."""
        if self.plan.options.others == "independent":
            return []
        choosing, measuring = self.halves
        tried = choosing.run(APART, "as it is", {}, 1)
        if rough(self._agree({}, CHOOSING), tried, choosing.ground)[0] <= MATERIAL:
            return []
        return [weigh(base, measuring.run(APART, "as it is", {}, self.plan.passes))]

    def _finding(
        self,
        choice: _Choice,
        outcomes: tuple[AttemptOutcome, AttemptOutcome, AttemptOutcome],
        effects: Sequence[AttemptEffects],
        p_values: Float[np.ndarray, " test"],
        resampling: Resampling,
    ) -> Finding:
        half, candidate = self.halves[MEASURING], self.plan.candidates[choice.candidate]
        (harm, relief), (base, differing, agreeing) = effects, outcomes
        passed_tests = passed(TESTS, p_values)
        regimes = {name: mask.sum(axis=1, dtype=np.float64) for name, mask in half.regimes.items()}
        return Finding(
            node=choice.node,
            feature=candidate.name,
            code=candidate.code,
            agreeing_at=list(choice.agreeing),
            reach=self._reach(choice.candidate, choice.node, MEASURING),
            lost=harm.loss_nats.number(),
            recovered_differing=recovered(differing, half.ground, resampling),
            recovered_agreeing=recovered(agreeing, half.ground, resampling),
            gained=relief.loss_nats.number(),
            kl_lost=harm.kl_nats.number(),
            kl_gained=relief.kl_nats.number(),
            p=smallest(p_values),
            passed=passed_tests,
            regime=stands_out("loss" if "lost" in passed_tests else "kl", base, differing, regimes, resampling),
        )

    def _suggested(self, chosen: Sequence[_Choice], resampling: Resampling) -> Refined | None:
        if not chosen:
            return None
        ground, added = self.halves[MEASURING].ground, _added(chosen)
        outcome = self._agree(added, MEASURING, self.plan.passes)
        codes = {name: [self.plan.candidates[item].code for item in numbers] for name, numbers in added.items()}
        names = [self.plan.candidates[item.candidate].name for item in chosen]
        return Refined(names, codes, recovered(outcome, ground, resampling), divergence(outcome, ground, resampling))


def _stronger(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    return max(first[0], second[0]), max(first[1], second[1])


def _added(chosen: Sequence[_Choice]) -> dict[str, list[int]]:
    """Return the candidates that each node must agree on besides, each once."""
    added: dict[str, dict[int, None]] = {}
    for choice in chosen:
        for name in choice.agreeing:
            added.setdefault(name, {})[choice.candidate] = None
    return {name: list(numbers) for name, numbers in added.items()}


def _apart(effects: AttemptEffects, p_values: Float[np.ndarray, " test"]) -> Apart:
    passed_tests = passed(TESTS[:2], p_values)
    return Apart(effects.loss_nats.number(), effects.kl_nats.number(), smallest(p_values), passed_tests)
