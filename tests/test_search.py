"""The greedy search where the true edges are known, and the hypothesis files that are written of what it finds."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from expand import tiny_history, tiny_model
from test_transformer_cases import dataset, network, wire

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.history_pairs import HistoryPairs
from ad_hypotheses.causal.metrics import cross_entropy, exact_baseline
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.causal.search import Losses, search
from ad_hypotheses.errors import DataError, HypothesisError
from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.check import BoundGraph, bind, check_structure
from ad_hypotheses.language.edges import all_edges, connected, find_edges
from ad_hypotheses.language.load import load
from ad_hypotheses.language.write import hypothesis_source

ANATOMY = Anatomy(("x", "y", "action", "reward"), 3, 4)
TRUE = ['embed("a") -> head(0, 0).v', "head(0, 0) -> head(1, 0).v", "head(0, 0) -> logits", "head(1, 0) -> logits"]


def known_network():
    """h = a, m = 2h, logit = h + m - 3/2; another head copies b to where nobody reads. Donors are all other rows."""
    rows = list(product(range(2), repeat=2))
    model = network(2, 2, 2, [{2: 1, 3: 1}])
    wire(model, 0, 0, {0: 1}, {2: 1})
    wire(model, 1, 0, {2: 2}, {3: 1})
    wire(model, 0, 1, {1: 1}, {4: 1})
    with torch.no_grad():
        model.b_U[1] = -1.5
    chosen = list(product(rows, repeat=2))
    reference, donor = (dataset([pair[number] for pair in chosen]) for number in (0, 1))
    return model, HistoryPairs(replace(reference, actions=reference.observations[..., 0]), donor, "any")


def test_the_true_edges_are_found_and_no_others():
    model, pairs = known_network()
    trials = []
    found = search(model, pairs, keep=0.99, progress=trials.append)
    assert set(found.edges) == set(find_edges(TRUE, model.anatomy))
    assert found.finished
    assert found.share == pytest.approx(1)
    assert found.loss == pytest.approx(found.loss_all)
    assert tuple(trials) == found.trials
    assert search(model, pairs, keep=0.99) == found


def test_fewer_edges_suffice_for_a_smaller_share():
    model, pairs = known_network()
    found = search(model, pairs, keep=0.3)
    assert set(found.edges) < set(find_edges(TRUE, model.anatomy))
    assert 0.3 <= found.share < 0.9


def test_the_budget_ends_the_search_with_a_set_that_keeps_enough():
    model, pairs = known_network()
    noise = np.random.default_rng(0).random(len(all_edges(model.anatomy)))
    some = search(model, pairs, keep=0.99, attributions=noise, budget=7)
    assert not some.finished
    assert len(some.edges) > len(TRUE)
    assert some.share >= 0.99
    assert set(search(model, pairs, keep=0.99, attributions=noise).edges) == set(find_edges(TRUE, model.anatomy))


def test_edges_that_lead_nowhere_or_come_from_nowhere_change_nothing():
    model = tiny_model(1, 5)
    pairs = HistoryPairs(tiny_history(1, 6, 5), tiny_history(2, 6, 5), "any")
    edges = [edge for edge in all_edges(model.anatomy) if len(str(edge)) % 3]
    edges = [edge for edge in edges if str(edge.writers[0]) != "head(0, 1)" or edge.reader.kind != "logits"]
    without = [edge for edge in edges if (edge.reader.layer, edge.reader.head) != (0, 1)]  # head(0, 1) reads nothing
    kept, losses = connected(without, model.anatomy), Losses(model, pairs)
    assert 0 < len(kept) < len(without)
    assert losses.of(kept) == pytest.approx(losses.of(without), abs=1e-12)
    assert losses.of(kept) != pytest.approx(losses.of([]), abs=1e-3)


def test_no_gain_is_nothing_to_keep():
    model, pairs = known_network()
    with pytest.raises(DataError, match="Nothing is to be kept: the loss is"):
        search(model, replace(pairs, donor=pairs.reference))
    with pytest.raises(DataError, match="No step counts"):
        search(model, pairs, mask=np.zeros((16, 1), dtype=bool))


# --- Written as hypothesis files ------------------------------------------------------------------------------------


def random_edges(seed, share):
    rng = np.random.default_rng(seed)
    return [edge for edge in all_edges(ANATOMY) if rng.random() < share]


def arrows(hypothesis, anatomy):
    """Every edge that a claim's arrows are made of."""
    parts = check_structure(hypothesis, anatomy)
    found = set()
    for node in hypothesis.nodes:
        for parent in node.parents:
            for part in parts[parent.name]:
                readers = [r for child in parts[node.name] for r in child.readers if part.feeds(r)]
                found |= {(part.writer, reader) for reader in readers}
    return found


@pytest.mark.parametrize(("seed", "share"), [(0, 0.2), (1, 0.5), (2, 0.9), (3, 1.0)])
def test_a_written_file_says_exactly_the_edges(tmp_path, seed, share):
    edges = connected(random_edges(seed, share), ANATOMY)
    file = tmp_path / "found.py"
    file.write_text(hypothesis_source(random_edges(seed, share), ANATOMY, "found", "dark-room", ["Found by hand."]))
    (claim,) = load(file)
    assert arrows(claim, ANATOMY) == {(edge.writers[0], edge.reader) for edge in edges}
    assert "Found by hand." in claim.doc
    assert f"{len(edges)} edges; one scrubbing pass takes" in claim.doc
    reads = {node.name for node in claim.nodes if node.parents}
    inner = sum(path[-1] in reads for path in claim.tree())
    assert f"takes {inner} partial forward" in claim.doc


@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="the formatter is not installed")
@pytest.mark.parametrize(("seed", "share"), [(0, 0.2), (1, 0.5), (2, 0.9), (3, 1.0)])
def test_a_written_file_is_as_the_formatter_would_have_it(tmp_path, seed, share):
    file = tmp_path / "found.py"
    file.write_text(hypothesis_source(random_edges(seed, share), ANATOMY, "found", "dark-room", ["Found by hand."]))
    for how in (["format", "--check"], ["check", "--select", "E,F,B,UP,SIM,C4,PIE,RUF,NPY"]):
        subprocess.run(
            [sys.executable, "-m", "ruff", *how, "--isolated", "--line-length", "120", file],
            check=True,
            capture_output=True,
        )


def test_names_that_python_or_the_file_needs_are_changed(tmp_path):
    anatomy = Anatomy(("head", "class", "2nd room", "previous", "reward"), 1, 1)
    file = tmp_path / "found.py"
    file.write_text(hypothesis_source(all_edges(anatomy), anatomy, "reward", "dark-room"))
    (claim,) = load(file)
    assert [node.name for node in claim.nodes][:6] == [
        "head_",
        "class_",
        "the_2nd_room",
        "previous",
        "reward_",
        "position",
    ]
    assert claim.name == "reward"
    assert len(arrows(claim, anatomy)) == len(all_edges(anatomy))


def test_the_finest_feature_tells_pasts_apart_and_nothing_else():
    history = tiny_history(3, 200, 4)
    numbers = history.so_far()
    parts = (history.observations[..., 0], history.previous_actions, history.previous_rewards)
    pasts = [
        [tuple(tuple(part[row, : step + 1]) for part in parts) for step in range(4)] for row in range(history.n_rows)
    ]
    for step in range(4):
        number_of = {pasts[row][step]: numbers[row, step] for row in range(history.n_rows)}
        assert all(number_of[pasts[row][step]] == numbers[row, step] for row in range(history.n_rows))
        assert len(set(number_of.values())) == len(number_of) > step
    np.testing.assert_array_equal(history[50:60].window(0, 3).so_far(), numbers[50:60, :3])


@pytest.mark.parametrize("name", ["Found", "2nd", "class", "np", "choice", "a b"])
def test_what_cannot_name_a_hypothesis_is_refused(name):
    with pytest.raises(HypothesisError, match="cannot name a hypothesis"):
        hypothesis_source(all_edges(ANATOMY), ANATOMY, name, "dark-room")


def test_no_way_to_the_logits_is_no_hypothesis():
    with pytest.raises(HypothesisError, match="no edges"):
        hypothesis_source(find_edges(['embed("x") -> mlp(0)'], ANATOMY), ANATOMY, "found", "dark-room")


@pytest.mark.parametrize(("keep", "n_edges"), [(0.3, 3), pytest.param(0.99, 4, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_scrubbing_the_written_file_recovers_what_the_search_kept(tmp_path, keep, n_edges):
    # with one unimportant visit and every pair of histories as donors, treeified draws and one donor are the same
    model, pairs = known_network()
    found = search(model, pairs, keep=keep)
    assert len(found.edges) == n_edges
    file = tmp_path / "found.py"
    file.write_text(hypothesis_source(found.edges, model.anatomy, "found", "dark-room"))
    (claim,) = load(file)
    reference = pairs.reference[::4]  # every history once
    bound = bind(claim, model.anatomy, reference)
    assert not bound.warnings
    clean = Clean.run(model, reference)
    scrubber = Scrubber(clean, bound, Options(self_donors=True))
    losses = [cross_entropy(scrubber.run(number).log_probs, reference.actions).mean() for number in range(400)]
    nothing = exact_baseline(clean.log_probs, reference.actions, self_donors=True).mean()
    assert nothing == pytest.approx(found.loss_none)
    recovered = (nothing - np.mean(losses)) / (nothing - found.loss_all)
    error = np.std(losses) / 20 / (nothing - found.loss_all)
    assert recovered == pytest.approx(found.share, abs=4 * error + 1e-6)


def test_a_file_of_a_deep_circuit_is_scrubbed_step_by_step(tmp_path):
    model, history = tiny_model(2, 4, d_model=12), tiny_history(1, 60, 4)
    edges = [edge for edge in all_edges(model.anatomy) if edge.reader.kind != "k" or edge.writers[0].stage == 0]
    file = tmp_path / "found.py"
    file.write_text(hypothesis_source(edges, model.anatomy, "found", "dark-room"))
    bound = bind(load(file)[0], model.anatomy, history)
    clean = Clean.run(model, history)
    run = Scrubber(clean, bound).run(0)
    assert 0.01 * run.root_moved_by_baseline < run.root_moved < 0.5 * run.root_moved_by_baseline
    everything = hypothesis_source(all_edges(model.anatomy), model.anatomy, "found", "dark-room")
    file.write_text(everything)
    bound = bind(load(file)[0], model.anatomy, history)
    own = np.arange(240).reshape(60, 4)
    alone = {n: one if one.labels is None else replace(one, labels=own) for n, one in bound.nodes.items()}
    run = Scrubber(clean, BoundGraph(alone, bound.root)).run(0)  # every step its own donor: nothing changes
    np.testing.assert_allclose(run.log_probs, clean.log_probs, atol=1e-6)
