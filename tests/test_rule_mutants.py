"""The mistakes that a rule can make: each of them, put into figures, verdicts, rivals or edits, is noticed by a judge.

The judges share no code with what they judge: `plain_rule.py` for figures and verdicts, a count of all pairs for
rivals, worlds written by others for edited lives.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import plain_rule
import pytest
import test_edits
from test_evidence import RATIOS, around
from test_evidence import cell as cell_of
from test_measure import EVERYTHING, make_claim, make_small_ground, resampling
from test_rivals import counted, scene

from ad_hypotheses.causal import rivals as rivals_module
from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.draws import classes
from ad_hypotheses.causal.rival_classes import RivalData
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.evidence import Tested as JudgedClaim
from ad_hypotheses.evidence import judge
from ad_hypotheses.evidence import verdict as verdict_module
from ad_hypotheses.evidence.verdict import Cell
from ad_hypotheses.language.check import BoundGraph
from ad_hypotheses.studies.rivals import answer as answer_module
from ad_hypotheses.studies.scrub import measure as measure_module
from ad_hypotheses.studies.scrub.claim import MeasuredClaim
from ad_hypotheses.studies.scrub.ground import Ground
from ad_hypotheses.studies.scrub.measure import REPEATS, measure
from ad_hypotheses.studies.scrub.measured import weigh
from ad_hypotheses.tasks.edits import families, lives, worlds

CLOSE, FAR = 1e-5, 1e-3

# --- Figures --------------------------------------------------------------------------------------------------------


@cache
def expected(labelled: bool) -> dict[str, dict[str, float]]:
    """What the plain judge says of a small claim, from the engine's runs of it."""
    ground = grounded(labelled)
    claim = make_claim(ground)

    def runs(numbers, bound=claim, **options):
        return [Scrubber(ground.clean, bound, Options(**options), 0).run(number).log_probs for number in numbers]

    return plain_rule.figures(
        ground,
        claim,
        plain_rule.Runs(
            scrubbed=runs(range(2)),
            structure=runs(range(REPEATS, REPEATS + 2), claim.without_features()),
            with_self=runs(range(1), self_donors=True),
            independent=runs(range(1), others="independent"),
        ),
    )


def grounded(labelled: bool) -> Ground:
    ground = make_small_ground()
    random = np.random.default_rng(1).random(ground.history.actions.shape) < 0.4
    return replace(
        ground, data="source" if labelled else "own", labelled=labelled, regimes={**ground.regimes, "random": random}
    )


def errors(labelled: bool = True) -> dict[str, float]:
    """How far each figure is from the judge's, in the regime where it is furthest."""
    ground = grounded(labelled)
    claim = make_claim(ground)
    measured = measure(ground, claim, replace(EVERYTHING, nodes_alone=False), Options(), 0)
    evidence, at_stake = weigh(ground, measured, resampling())
    part = MeasuredClaim(ground, claim, measured, np.empty(0), evidence, at_stake)
    far: dict[str, float] = {}
    for regime, figures in expected(labelled).items():
        of = evidence[regime]
        values = {name: getattr(of, name).value for name in RATIOS} | {
            "tested": at_stake[regime],
            "swapped": part.swapped(regime),
            "learners": of.all_learners,
            "at_stake": of.all_kl_ignorant.value,
        }
        for name, value in values.items():
            far[name] = max(far.get(name, 0.0), float(np.nan_to_num(abs(value - figures[name]), nan=np.inf)))
    return far


@pytest.mark.parametrize("labelled", [True, False])
def test_figures_are_those_of_the_plain_judge(labelled):
    assert max(errors(labelled).values()) < CLOSE


def everything_tested(monkeypatch):
    """A position without another donor keeps itself and counts as explained."""
    monkeypatch.setattr(measure_module, "_tested", lambda donors, n_steps, n: np.ones((n, n_steps), dtype=bool))


def one_node_is_enough(monkeypatch):
    monkeypatch.setattr(
        measure_module, "_tested", lambda donors, n_steps, n: np.logical_or.reduce(list(donors.values()))
    )


def references_have_donors_among_themselves(monkeypatch):
    has_donor = measure_module.has_donor

    def wrong(scrubber, n_references):
        nodes = scrubber.nodes
        both_roles = {name: classes(nodes[name].labels, nodes[name].selected) for name in scrubber.classes}
        right, scrubber.classes = scrubber.classes, both_roles
        try:
            return has_donor(scrubber, n_references)
        finally:
            scrubber.classes = right

    monkeypatch.setattr(measure_module, "has_donor", wrong)


def references_are_donors(monkeypatch):
    monkeypatch.setattr(Clean, "pool", None)


def zero_of_the_references(monkeypatch):
    def ignorant(self, regime):
        probabilities = np.exp(self.log_probs[self.masks[regime]])
        return np.log(probabilities.mean(axis=0))

    monkeypatch.setattr(Ground, "ignorant", ignorant)


def zero_of_all_regimes(monkeypatch):
    ignorant = Ground.ignorant
    monkeypatch.setattr(Ground, "ignorant", lambda self, regime: ignorant(self, "all"))


def uniform_zero(monkeypatch):
    monkeypatch.setattr(Ground, "ignorant", lambda self, regime: np.full(3, -np.log(3)))


def labels_of_the_references(monkeypatch):
    def frequencies(self, regime):
        counts = np.bincount(self.references.actions[self.masks[regime]], minlength=3) + 0.5
        return np.log(counts / counts.sum())

    monkeypatch.setattr(Ground, "label_frequencies", frequencies)


def labels_where_the_model_acts(monkeypatch):
    monkeypatch.setattr(Ground, "targets", property(lambda self: np.eye(3)[self.references.actions]))


def never_its_own_donor(monkeypatch):
    monkeypatch.setattr(Scrubber, "with_self_donors", lambda self: self)


def always_its_own_donor(monkeypatch):
    monkeypatch.setattr(measure_module, "replace", lambda options, **changes: Options(self_donors=True))


def others_from_one(monkeypatch):
    made = measure_module.make_scrubber
    monkeypatch.setattr(
        measure_module,
        "make_scrubber",
        lambda clean, bound, options, *rest, **more: made(clean, bound, Options(), *rest, **more),
    )


def structure_with_features(monkeypatch):
    monkeypatch.setattr(BoundGraph, "without_features", lambda self: self)


def swapped_on_average(monkeypatch):
    def mean(self, regime):
        mask = self.ground.masks[regime]
        return float(np.mean([donors[mask].mean() for donors in self.measured.has_donor.values()]))

    monkeypatch.setattr(MeasuredClaim, "swapped", mean)


def swapped_in_any_regime(monkeypatch):
    swapped = MeasuredClaim.swapped
    monkeypatch.setattr(MeasuredClaim, "swapped", lambda self, regime: swapped(self, "all"))


FIGURES = {
    "everything tested": (everything_tested, "fidelity"),
    "one node is enough": (one_node_is_enough, "tested"),
    "donors among references": (references_have_donors_among_themselves, "tested"),
    "references are donors": (references_are_donors, "fidelity"),
    "zero of the references": (zero_of_the_references, "fidelity"),
    "zero of all regimes": (zero_of_all_regimes, "fidelity"),
    "uniform zero": (uniform_zero, "fidelity"),
    "labels of the references": (labels_of_the_references, "explained"),
    "never its own donor": (never_its_own_donor, "fidelity_with_self"),
    "always its own donor": (always_its_own_donor, "fidelity"),
    "others from one": (others_from_one, "fidelity_independent"),
    "structure with features": (structure_with_features, "beyond_structure"),
    "swapped on average": (swapped_on_average, "swapped"),
    "swapped in any regime": (swapped_in_any_regime, "swapped"),
}


@pytest.mark.default_cases(5)
@pytest.mark.parametrize("name", FIGURES)
def test_a_mistake_in_a_figure_is_noticed(name, monkeypatch):
    mutant, figure = FIGURES[name]
    expected(True)  # by the rule as it is
    mutant(monkeypatch)
    assert errors()[figure] > FAR


def test_labels_are_not_the_models_where_it_acts_itself(monkeypatch):
    expected(False)
    labels_where_the_model_acts(monkeypatch)
    assert errors(labelled=False)["beyond_structure"] > FAR


# --- Verdicts -------------------------------------------------------------------------------------------------------

ABOVE, ACROSS, BELOW = (0.97, 0.9, 0.5)
DATA, REGIMES = ("source", "own", "edited:goal-moved"), ("explore", "stay")


@cache
def ratio(value: float | None):
    """An interval whose p-values are so small that no correction matters; None: nothing to divide by."""
    return replace(ratio(ABOVE), estimable=False) if value is None else around(value, n_boot=1999)


WELL = cell_of()


def random_claim(rng: np.random.Generator) -> JudgedClaim:
    """A claim of which most is well."""

    def mostly(good, *bad):
        return good if rng.random() < 0.93 else bad[rng.integers(len(bad))]

    def random_cell(data: str, regime: str) -> Cell:
        ratios = {name: ratio(mostly(ABOVE, ACROSS, BELOW, None)) for name in RATIOS}
        if rng.random() < 0.2:
            ratios["fidelity_independent"] = None
        if not features_add or (regime == "stay" and rng.random() < 0.2):
            ratios["beyond_structure"] = ratio(None)
        learners, stake = mostly(100, 29, 30), ratio(mostly(0.5, 0.025))
        power = mostly(0.9, 0.6, 0.4) if made else None
        evidence = replace(
            WELL.evidence,
            **ratios,
            gain=ratio(mostly(0.5, 0.025)),
            kl_ignorant=stake,
            all_kl_ignorant=stake,
            all_learners=learners,
            power=None if power is None else ratio(power),
        )
        tested, swapped = mostly(0.9, 0.5, 0.4, 0.0), mostly(0.9, 0.2, 0.1)
        return Cell(data, regime, evidence, tested, swapped, data == "source")

    made, features_add = rng.random() < 0.3, rng.random() < 0.9
    cells = tuple(random_cell(data, regime) for data in DATA for regime in REGIMES)
    symmetries = {"record": "reordered"} if made else {}
    moved, swapped = rng.choice([0.5, 0.01]), rng.choice([0.8, 0.1], p=[0.7, 0.3])
    return JudgedClaim("claim", 0.9, cells, moved, swapped, symmetries, mostly(0.8, 0.3) if made else 1.0)


@cache
def random_claims() -> tuple[tuple[JudgedClaim, str, tuple[str, ...]], ...]:
    """Claims with what the plain judge says of each."""
    rng = np.random.default_rng(5)
    claims = [random_claim(rng) for _ in range(200)]
    return tuple((claim, plain_rule.verdict(claim), plain_rule.statuses(claim)) for claim in claims)


def disagreements() -> list[tuple[str, str]]:
    """What is said of claims where the plain judge says otherwise."""
    pairs = []
    for claim, verdict, statuses in random_claims():
        (judged,) = judge([claim])
        if (judged.verdict, judged.statuses) != (verdict, statuses):
            pairs.append((judged.verdict, verdict))
    return pairs


def test_verdicts_are_those_of_the_plain_judge():
    assert not disagreements()
    verdicts = {verdict for _, verdict, _ in random_claims()}
    partial = {f"supported in {regime}" for regime in REGIMES}
    assert verdicts == {"supported", "refuted", "inconclusive", "vacuous"} | partial
    assert {status for *_, statuses in random_claims() for status in statuses} == {
        "supported",
        "refuted",
        "open",
        "untested",
        "does not count",
    }


def without_ratio(name):
    def mutate(monkeypatch):
        ratios = Cell.ratios.fget
        monkeypatch.setattr(
            Cell, "ratios", property(lambda cell: {key: value for key, value in ratios(cell).items() if key != name})
        )

    return mutate


def explained_everywhere(monkeypatch):
    ratios = Cell.ratios.fget
    monkeypatch.setattr(Cell, "ratios", property(lambda cell: ratios(cell) | {"explained": cell.evidence.explained}))


def changed(name, value):
    return lambda monkeypatch: monkeypatch.setattr(verdict_module, name, value)


def counting_by_the_value(monkeypatch):
    def why_not(cell):
        enough = cell.evidence.all_learners >= 30 and cell.evidence.all_kl_ignorant.value > 0.02
        return "" if enough else "too little"

    monkeypatch.setattr(Cell, "why_not", property(why_not))


def tested_somewhere(monkeypatch):
    """One regime that was tested speaks for all of them."""
    lowest, was_tested = verdict_module._lowest, Cell.was_tested.fget

    def wrong(cells, accept):
        well = any(was_tested(cell) for cell in cells)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Cell, "was_tested", property(lambda cell: well))
            return lowest(cells, accept)

    monkeypatch.setattr(verdict_module, "_lowest", wrong)


def on_one_data_set(monkeypatch):
    """A regime is supported where it is on the first data set."""
    regimes = verdict_module._regimes
    monkeypatch.setattr(
        verdict_module, "_regimes", lambda tested: {name: cells[:1] for name, cells in regimes(tested).items()}
    )


def without_edited_lives(monkeypatch):
    monkeypatch.setattr(
        JudgedClaim,
        "counting",
        property(lambda self: [cell for cell in self.cells if cell.counts and not cell.data.startswith("edited")]),
    )


def the_untested_refutes(monkeypatch):
    """Positions of which none was tested say something."""
    harmed = verdict_module._harmed
    monkeypatch.setattr(
        verdict_module,
        "_harmed",
        lambda cells, accept: harmed([replace(cell, tested=max(cell.tested, 0.01)) for cell in cells], accept),
    )


def constants_may_do_as_well(monkeypatch):
    monkeypatch.setattr(verdict_module, "_worst", verdict_module._lowest)


VERDICTS = {
    **{f"without {name}": without_ratio(name) for name in RATIOS.values()},
    "explained everywhere": explained_everywhere,
    "nothing moved is vacuous": changed("VACUOUS_BELOW", 0.0),
    "few swaps are enough": changed("SWAPPED_AT_LEAST", 0.0),
    "little tested is enough": changed("TESTED_AT_LEAST", 0.0),
    "no power is enough": changed("POWER_AT_LEAST", 0.0),
    "few learners are enough": changed("ENOUGH_LEARNERS", 0),
    "counting by the value": counting_by_the_value,
    "tested somewhere": tested_somewhere,
    "on one data set": on_one_data_set,
    "without edited lives": without_edited_lives,
    "the untested refutes": the_untested_refutes,
    "constants may do as well": constants_may_do_as_well,
}


@pytest.mark.parametrize("name", VERDICTS)
@pytest.mark.default_cases(3)
def test_a_mistake_in_a_verdict_is_noticed(name, monkeypatch):
    random_claims()
    VERDICTS[name](monkeypatch)
    assert disagreements()


# --- Rivals ---------------------------------------------------------------------------------------------------------

CLAIMS = {"both roles": scene(3, "any", apart=False), "apart": scene(3, "step", apart=True)}


def rival_errors(name: str) -> float:
    """How far the answers to both questions are from a count of all pairs."""
    drawn, far = CLAIMS[name], [0.0]
    sides = (drawn.left, drawn.right), (drawn.right, drawn.left)
    for answers, (given, adding) in zip(drawn.needs(), sides, strict=True):
        for regime, mask in drawn.regimes.items():
            kl, loss, reach = counted(given, adding, drawn.data, mask)
            answer = answers[regime]
            pairs = [(answer.kl.value, kl), (answer.loss.value, loss)]
            pairs += [(getattr(answer.reach, key), getattr(reach, key)) for key in ("share", "positions", "learners")]
            far += [abs(value - other) for value, other in pairs]
    return float(np.nan_to_num(far, nan=np.inf).max())


def own_row_stands_in(monkeypatch):
    monkeypatch.setattr(rivals_module._Positions, "own", lambda self, code: None)


def all_that_agree(monkeypatch):
    """What differs under the rival is not told from what agrees under both."""
    monkeypatch.setattr(rivals_module._Sums, "__sub__", lambda self, other: self)


def rivals_among_references(monkeypatch):
    monkeypatch.setattr(RivalData, "pool", property(lambda self: np.ones(len(self.learner), bool)))


def rows_for_learners(monkeypatch):
    reach = rivals_module._reach

    def wrong(question, regimes):
        rows = question.positions.row[question.crucial]
        inside = {name: mask.ravel()[question.crucial] for name, mask in regimes.items()}
        by_regime = reach(question, regimes)
        return {name: replace(of, learners=len(np.unique(rows[inside[name]]))) for name, of in by_regime.items()}

    monkeypatch.setattr(rivals_module, "_reach", wrong)


def whoever_agrees_on_the_rival(monkeypatch):
    """The classes of one claim are taken for those of both."""
    questions = rivals_module._questions

    def wrong(left, right, data):
        return [replace(question, joint=question.given) for question in questions(left, right, data)]

    monkeypatch.setattr(rivals_module, "_questions", wrong)


RIVALS = {
    "own row stands in": (own_row_stands_in, "both roles"),
    "all that agree": (all_that_agree, "apart"),
    "donors among references": (rivals_among_references, "apart"),
    "rows for learners": (rows_for_learners, "apart"),
    "one claim for both": (whoever_agrees_on_the_rival, "apart"),
}


@pytest.mark.parametrize("name", RIVALS)
def test_a_mistake_between_rivals_is_noticed(name, monkeypatch):
    mutant, of = RIVALS[name]
    assert rival_errors(of) < 1e-9
    mutant(monkeypatch)
    assert rival_errors(of) > 1e-3


SIX = {
    ("needed", "not needed"): "rival's",
    ("needed", "empty"): "rival's",
    ("not needed", "needed"): "claim's",
    ("empty", "needed"): "claim's",
    ("needed", "needed"): "both",
    ("not needed", "not needed"): "neither",
    ("not needed", "empty"): "neither",
    ("empty", "not needed"): "neither",
    ("empty", "empty"): "same",
}
ONE = ("needed", "not needed", "empty", "untested", "open")


@pytest.mark.parametrize("taken_for_nothing", [("untested",), ("open",), ()])
def test_what_is_unsettled_is_not_taken_for_unneeded(taken_for_nothing, monkeypatch):
    def wrong() -> list[tuple[str, str]]:
        pairs = [(rival, claim) for rival in ONE for claim in ONE]
        return [pair for pair in pairs if answer_module.answer_to_pair(*pair) != SIX.get(pair, "cannot tell")]

    assert not wrong()
    nothing = ("not needed", "empty", *taken_for_nothing) if taken_for_nothing else ("not needed",)
    monkeypatch.setattr(answer_module, "NOTHING", nothing)
    assert wrong()


# --- Edited lives ---------------------------------------------------------------------------------------------------


def impossible_steps(family: str, name: str = "dark-room") -> int:
    """How many of some edited lives, lived anew, are not what a world written by others shows and pays."""
    history = test_edits.lived.__wrapped__(name, family, rows=6).history
    wrong = 0
    for row in range(history.n_rows):
        seen, paid = history.observations[row].tolist(), history.rewards[row].tolist()
        life = [(tuple(cell), reward) for cell, reward in zip(seen, paid, strict=True)]
        world = test_edits.expected(name, family, history, row)
        wrong += life != [(tuple(cell), reward) for cell, reward in world]
    return wrong


def past_as_it_was_paid(monkeypatch):
    """A past that was changed keeps what it was paid before."""
    monkeypatch.setattr(families, "answered", lambda task, facts, history, rng: history)


def dead_places_pay(monkeypatch):
    monkeypatch.setattr(worlds.Unpaid, "step", lambda self, *arguments: self.task.step(*arguments))


def one_goal_of_two(monkeypatch):
    step = worlds.TwoGoals.step

    def first_alone(self, state, actions, rng):
        seen, _, after = step(self, state, actions, rng)
        return seen, self.task.step(state[0], actions, rng)[1], after

    monkeypatch.setattr(worlds.TwoGoals, "step", first_alone)


def actions_as_ever(monkeypatch):
    monkeypatch.setattr(worlds, "exchange", lambda actions, pairs: actions)


def moved_too_early(monkeypatch):
    boundary = lives.Lives.boundary
    monkeypatch.setattr(lives.Lives, "boundary", lambda self, share: boundary(self, share / 2))


EDITS = {
    "past as it was paid": (past_as_it_was_paid, "rewards-swapped"),
    "dead places pay": (dead_places_pay, "dead"),
    "one goal of two": (one_goal_of_two, "two-goals"),
    "actions as ever": (actions_as_ever, "actions-exchanged"),
    "moved too early": (moved_too_early, "goal-moved"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_mistake_in_an_edit_is_an_impossible_step(name, monkeypatch):
    mutant, family = EDITS[name]
    assert impossible_steps(family) == 0
    mutant(monkeypatch)
    assert impossible_steps(family) > 0
