"""How much a claim leaves free: bounds, invariances, and the claims that `recovered` cannot tell apart."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from expand import tiny_history
from hypothesis import given
from hypothesis import strategies as st
from laws import law
from make_study import dark_room_study, node

from ad_hypotheses.errors import DataError
from ad_hypotheses.evidence.specificity import Specificity, of_claim, specificity
from ad_hypotheses.language.anatomy import Part, Reader
from ad_hypotheses.language.check import BoundNode
from ad_hypotheses.studies.adversary.page import at_stake
from ad_hypotheses.studies.scrub.claim import node_bits
from ad_hypotheses.studies.scrub.page import page
from ad_hypotheses.studies.scrub.record import read_study
from ad_hypotheses.studies.tables import tidy

PARTS = (Part(None, (Reader(5, "logits"),)),)


def bits(labels, history, align="step", selected=None, n_references=0):
    """Bits of a node among the donors of a ground, which are all histories but the first."""
    ground = SimpleNamespace(history=history, n_references=n_references)
    return node_bits(bound(labels, selected), ground, align)


def bound(labels, selected=None):
    return BoundNode("one", PARTS, (), np.asarray(labels), selected, False, "")


def entropy(labels):
    """In bits, of the values as they are."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return -(shares * np.log2(shares)).sum()


@pytest.mark.parametrize("align", ["step", "any"])
def test_constant_is_one_and_injective_is_nothing(align):
    history = tiny_history(0, 64, 6)
    constant = bits(np.zeros((64, 6), dtype=int), history, align)
    finest = bits(np.unique(history.so_far(), return_inverse=True)[1].reshape(64, 6), history, align)
    assert constant.share == pytest.approx(1)
    assert finest.share == pytest.approx(0)
    assert constant.carried == finest.carried > 1


@law(15)
@given(seed=st.integers(0, 2**32 - 1), n_values=st.integers(1, 6), n_rows=st.integers(2, 40))
def test_it_is_the_conditional_entropy_of_the_history_whatever_values_are_called(seed, n_values, n_rows):
    rng = np.random.default_rng(seed)
    history = tiny_history(seed, n_rows, 3)
    labels = rng.integers(n_values, size=(n_rows, 3))
    found = bits(labels, history)
    past = np.unique(history.so_far(), return_inverse=True)[1].reshape(n_rows, 3)
    pairs = labels * (past.max() + 1) + past
    free = [entropy(pairs[:, step]) - entropy(labels[:, step]) for step in range(3)]
    assert found.free == pytest.approx(np.mean(free), abs=1e-9)
    assert found.carried == pytest.approx(np.mean([entropy(past[:, step]) for step in range(3)]), abs=1e-9)
    assert found.share is None or 0 <= found.share <= 1 + 1e-9
    renamed = bits(rng.permutation(n_values)[labels], history)
    assert renamed == found
    finer = bits(2 * labels + rng.integers(2, size=labels.shape), history)
    assert finer.free <= found.free + 1e-9


def test_only_steps_of_the_role_count():
    history = tiny_history(1, 32, 4)
    selected = np.zeros((32, 4), dtype=bool)
    selected[:, 3] = True
    finest_elsewhere = np.where(selected, 0, np.arange(32)[:, None])
    found = bits(finest_elsewhere, history, selected=selected)
    assert found.share == pytest.approx(1)
    assert found.carried == pytest.approx(np.log2(32) - np.log2(np.bincount(last_values(history))).mean(), abs=0.5)


def last_values(history):
    return np.unique(history.so_far()[:, 3], return_inverse=True)[1]


def test_one_donor_for_the_whole_history():
    history = tiny_history(2, 32, 5)
    assert bits(np.zeros(32, dtype=int), history).share == pytest.approx(1)
    assert bits(np.arange(32), history).share == pytest.approx(0)
    halves = bits(np.arange(32) % 2, history)
    assert (halves.free, halves.carried) == pytest.approx((4, 5))


def test_only_the_donors_are_counted():
    history, rng = tiny_history(3, 40, 4), np.random.default_rng(3)
    labels, selected = rng.integers(3, size=(40, 4)), rng.random((40, 4)) < 0.6
    for at in (None, selected):
        rest = None if at is None else at[8:]
        assert bits(labels, history, selected=at, n_references=8) == bits(labels[8:], history[8:], selected=rest)
    assert bits(labels, history, n_references=8) != bits(labels, history)


def test_a_claim_is_as_specific_as_the_node_that_leaves_least():
    assert of_claim([Specificity(4.0, 8.0), Specificity(1.0, 8.0)]) == 0.125
    assert of_claim([Specificity(4.0, 8.0), Specificity(0.0, 8.0)]) == 0  # one injective node is enough
    assert of_claim([Specificity(4.0, 8.0), Specificity(0.0, 0.0)]) == 0.5
    assert of_claim([]) is None
    assert of_claim([Specificity(0.0, 0.0)]) is None
    assert specificity(*(np.array([size]) for size in (4, 1, 16, 1))) == Specificity(2.0, 4.0)


def test_the_report_says_what_is_left_free():
    study = dark_room_study()
    assert at_stake(study.claims[0]) == ""  # an older record
    some = [replace(one, free_bits=3.2, history_bits=7.9) for one in study.claims[0].nodes[:2]]
    some[1] = replace(some[1], free_bits=0.8)
    claim = replace(study.claims[0], specificity=0.101, nodes=some)
    assert at_stake(claim) == (
        "specificity 0.10: of the 7.9 bits that tell these histories apart at a step, gate leaves 0.8 free to be "
        "swapped, the least of all nodes"
    )
    text = page(replace(study, claims=[claim]), [])
    assert "Specificity 0.10: of the 7.9 bits" in text
    assert "| 3.2 of 7.9 bits |" in text
    table = tidy(replace(study, claims=[claim])).set_index(["scope", "of", "figure"])["value"]
    assert table["claim", "mimic", "specificity"] == 0.101
    assert table["node", "gate", "free_bits"] == 0.8


def test_records_of_versions_before_are_read_and_those_of_the_next_are_not(tmp_path):
    study = dark_room_study()
    content = json.loads(study.to_json())
    newest = content["schema"]
    file = tmp_path / "old.json"
    for claim in content["claims"]:
        del claim["independent"], claim["together"]
    file.write_text(json.dumps(content | {"schema": 2}))
    assert read_study(file).claims[0].independent is None
    for claim in content["claims"]:
        del claim["specificity"], claim["challenge"]
        for one in claim["nodes"]:
            del one["free_bits"], one["history_bits"]
    file.write_text(json.dumps(content | {"schema": 1}))
    old = read_study(file)
    assert (old.schema, old.claims[0].specificity, old.claims[0].challenge) == (1, None, None)
    file.write_text(json.dumps(content | {"schema": newest + 1}))
    with pytest.raises(DataError, match=f"not a record of version {newest}"):
        read_study(file)
    assert asdict(node("a", "b", [], ""))["free_bits"] is None
