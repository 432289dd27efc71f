"""Made donors by the definition: hand-derived answers for pasts that a symmetry reorders."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations
from math import log

import numpy as np
import pytest

from ad_hypotheses.causal.oracle import (
    OracleComponent,
    OracleNode,
    OracleOptions,
    OracleSymmetry,
    Site,
    expected_loss,
    sampled_loss,
)
from ad_hypotheses.errors import HypothesisError

WITHOUT, WITH = OracleOptions(), OracleOptions(self_donors=True)
LOST_THEN_WON = ((0, 1), (0, 0))  # (arm, reward), the oldest first: won, then lost
ONE_OF_THREE = ((0, 1), (0, 0), (0, 0))
TWICE_WON = ((0, 1), (0, 1))
KL = log(3) / 2  # of the two distributions (3/4, 1/4) and (1/4, 3/4) from each other


class Wins:
    """The feature: how often a past won. Asked of rows and of what was made of them."""

    def __init__(self, rows):
        self.rows = rows

    def __getitem__(self, row):
        return [sum(reward for _, reward in past(self.rows, row))]


def past(rows, row):
    return rows[row] if isinstance(row, int) else row


def reordering(rows):
    return OracleSymmetry(
        lambda row, step: list(permutations(past(rows, row))), lambda row, step: tuple(past(rows, row))
    )


def won_last(rows):
    return OracleComponent("past", {}, lambda row, step: past(rows, row)[-1][1])


def policy(rows, options, loss, symmetry=None):
    """A model that repeats arm 0 with 3/4 if the last pull won, else with 1/4; its input is one node."""
    out = OracleComponent("out", {"in": ("past",)}, lambda inputs: inputs["in"]["past"])
    root = OracleNode("root", (Site("out"),), ("wins",))
    wins = OracleNode("wins", (Site("past"),), (), Wins(rows), symmetry=symmetry or reordering(rows))
    return expected_loss([won_last(rows), out], [root, wins], "root", len(rows), 1, loss, options)[0, 0]


def label_loss(won, row, step):
    return -log(3 / 4 if won else 1 / 4)


def divergence(rows):
    return lambda won, row, step: KL if won != past(rows, row)[-1][1] else 0.0


@pytest.mark.parametrize(
    ("life", "options", "loss", "kl"),
    [
        (LOST_THEN_WON, WITHOUT, 0.287682, 0.549306),
        (LOST_THEN_WON, WITH, 0.836988, 0.274653),
        (ONE_OF_THREE, WITHOUT, 0.836988, 0.549306 / 2),
        (ONE_OF_THREE, WITH, 1.020090, 0.549306 / 3),
        (TWICE_WON, WITH, 0.287682, 0.0),
    ],
)
def test_a_reordered_past_by_hand(life, options, loss, kl):
    rows = [life]
    assert policy(rows, options, label_loss) == pytest.approx(loss, abs=1e-6)
    assert policy(rows, options, divergence(rows)) == pytest.approx(kl, abs=1e-6)


def test_the_clean_model_loses_ln_4_there():
    assert label_loss(LOST_THEN_WON[-1][1], 0, 0) == pytest.approx(1.386294, abs=1e-6)


def test_a_past_that_cannot_come_out_otherwise_is_untested():
    assert policy([TWICE_WON], WITHOUT, label_loss) is None
    with_others = [TWICE_WON, LOST_THEN_WON]  # a found row that agrees on the feature is no way out
    assert policy(with_others, WITHOUT, label_loss) is None


def nested(rows, made=("one", "two"), options=WITHOUT, labels=None):
    """Node 1 is whether the last pull won, node 2 is node 1 and reads it; the output is 2 x node 1 + node 2."""
    one = OracleComponent("a", {"in": ("past",)}, lambda inputs: inputs["in"]["past"])
    two = OracleComponent("b", {"in": ("a",)}, lambda inputs: inputs["in"]["a"])
    out = OracleComponent("out", {"in": ("a", "b")}, lambda inputs: 2 * inputs["in"]["a"] + inputs["in"]["b"])
    by = {name: reordering(rows) for name in made}
    labels = Wins(rows) if labels is None else labels
    nodes = [
        OracleNode("root", (Site("out"),), ("one", "two")),
        OracleNode("one", (Site("a"),), (), labels, symmetry=by.get("one")),
        OracleNode("two", (Site("b"),), ("one",), labels, symmetry=by.get("two")),
    ]
    graph = [won_last(rows), one, two, out]
    return expected_loss(graph, nodes, "root", len(rows), 1, lambda value, row, step: Fraction(value), options)


def test_a_nested_donor_is_made_from_the_history_that_was_drawn_for_its_consumer():
    # node 1 from the reordered past: 1; node 2's own node 1 from that past, reordered again: 0. From the reference: 3.
    assert nested([LOST_THEN_WON])[0, 0] == 2


def test_a_found_node_below_a_made_one_agrees_with_what_was_made():
    """Node 2 is made, its node 1 is found among the rows that agree with the made one, here on the last pull."""

    class LastPull(Wins):
        def __getitem__(self, row):
            return [past(self.rows, row)[-1][1]]

    rows = [LOST_THEN_WON, ((1, 0), (1, 1)), ((0, 0), (1, 1))]
    answer = nested(rows, made=("two",), labels=LastPull(rows))
    # row 0 lost last: nobody else did, so that its own node 1 is 0; reordered it won last, as rows 1 and 2 did
    assert answer[0, 0] == 2 * 0 + 1


def test_no_found_row_that_agrees_with_a_made_one_leaves_a_position_untested():
    class LastPull(Wins):
        def __getitem__(self, row):
            return [past(self.rows, row)[-1][1]]

    rows = [LOST_THEN_WON, ((0, 1), (1, 0))]
    assert nested(rows, made=("two",), labels=LastPull(rows))[0, 0] is None


def test_unimportant_inputs_of_a_made_row_come_from_found_rows():
    rows = [LOST_THEN_WON, ((1, 0), (1, 0)), ((1, 1), (1, 0))]
    arms = OracleComponent("arm", {}, lambda row, step: 10 * past(rows, row)[0][0])
    one = OracleComponent("a", {"in": ("past",)}, lambda inputs: inputs["in"]["past"])
    two = OracleComponent("b", {"in": ("a", "arm")}, lambda inputs: inputs["in"]["a"] + inputs["in"]["arm"])
    out = OracleComponent("out", {"in": ("b",)}, lambda inputs: inputs["in"]["b"])
    nodes = [
        OracleNode("root", (Site("out"),), ("two",)),
        OracleNode("one", (Site("a"),), (), Wins(rows), symmetry=reordering(rows)),
        OracleNode("two", (Site("b"),), ("one",), Wins(rows), symmetry=reordering(rows)),
    ]
    graph = [won_last(rows), arms, one, two, out]
    for options, mean in ((WITHOUT, Fraction(20, 3)), (WITH, Fraction(20, 3))):  # any of the three rows, itself never
        answer = expected_loss(graph, nodes, "root", 3, 1, lambda value, row, step: Fraction(value), options)
        won = Fraction(0) if options is WITHOUT else Fraction(1, 2)
        assert answer[0, 0] == mean + won


def test_sampling_agrees_with_the_enumeration():
    rows = [ONE_OF_THREE, TWICE_WON]
    out = OracleComponent("out", {"in": ("past",)}, lambda inputs: inputs["in"]["past"])
    root = OracleNode("root", (Site("out"),), ("wins",))
    wins = OracleNode("wins", (Site("past"),), (), Wins(rows), symmetry=reordering(rows))
    rng = np.random.default_rng(1)
    losses = sampled_loss([won_last(rows), out], [root, wins], "root", 2, 1, label_loss, WITHOUT, rng, 400)
    assert losses[:, 0].mean() == pytest.approx(0.836988, abs=4 * losses[:, 0].std() / 20)
    assert np.isnan(losses[:, 1]).all()


def test_made_donors_are_not_shared():
    with pytest.raises(HypothesisError, match=r"one has made donors, which are drawn for each of its consumers"):
        nested([LOST_THEN_WON], options=OracleOptions(shared=True))
