"""Attribution against exact patches made small, against what integrated gradients must add up to, and its refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from expand import tiny_history, tiny_model

from ad_hypotheses.causal.attribute import agreement, attribute, screen
from ad_hypotheses.causal.history_pairs import HistoryPairs
from ad_hypotheses.causal.metrics import METRICS, MetricContext
from ad_hypotheses.causal.patch import patch_edges
from ad_hypotheses.causal.run_pair import Change, RunPair
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.errors import DataError
from ad_hypotheses.language.edges import all_edges
from ad_hypotheses.language.roles import PAIR_ROLES

STEPS = 5
VARIANTS = {
    "plain": {},
    "rotary": {"positions": "rotary", "d_model": 12, "n_heads": 3},
    "attention only": {"attention_only": True},
    "window": {"window": 2, "n_layers": 3, "positions": "none"},
    "no LayerNorm": {"layer_norm": False},
}


def random_task(variant, rows=4):
    model = tiny_model(3, STEPS, **variant)
    if not model.shape.layer_norm:  # nothing keeps the stream small, and a flat metric has no derivative to speak of
        for weight in model.parameters():
            weight.data *= 0.5
    rng = np.random.default_rng(4)
    towards = {name: rng.random((rows, STEPS, 3)) < 0.4 for name in ("old", "new")}
    return model, HistoryPairs(tiny_history(1, rows, STEPS), tiny_history(2, rows, STEPS), "any", towards=towards)


def exact_change(model, pairs, edges, metric, mask, share, direction="noising", roles=None):
    """How a metric's mean changes when edges carry a share of the donor's change. [edge, row]"""
    runs = [model.to_tokens(pairs.reference), model.to_tokens(pairs.donor)]
    pair = RunPair.of(Twin(model), *(runs if direction == "noising" else runs[::-1]))
    asked = question(model, pairs)
    scaled = {writer: Change(share * one.along, one.directions) for writer, one in pair.changes.items()}
    pair = replace(pair, changes=scaled)
    weights = torch.as_tensor(mask / mask.sum(1, keepdims=True))
    found = np.empty((len(edges), len(mask)))
    for numbers, logits in patch_edges(pair, edges, roles):
        for number, one in zip(numbers, logits, strict=True):
            change = METRICS[metric].measure(one.log_softmax(-1), asked) - METRICS[metric].measure(
                pair.log_probs, asked
            )
            found[number] = (change * weights).sum(1).detach().numpy()
    return found


def question(model, pairs):
    log_probs = RunPair.of(Twin(model), model.to_tokens(pairs.reference), model.to_tokens(pairs.donor)).log_probs
    towards = {name: torch.as_tensor(actions) for name, actions in pairs.towards.items()}
    return MetricContext(log_probs, torch.as_tensor(pairs.reference.actions.astype(np.int64)), towards)


def finite_difference(*task, share=1e-4, **how):
    up, down = (exact_change(*task, share=sign * share, **how) for sign in (1, -1))
    return (up - down) / (2 * share)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("metric", ["loss", "towards-new"])
@pytest.mark.default_cases(5)
def test_attribution_is_the_derivative_of_the_exact_patch(name, metric):
    model, pairs = random_task(VARIANTS[name])
    edges, mask = all_edges(model.anatomy), np.arange(STEPS) >= np.arange(4)[:, None]
    slopes = finite_difference(model, pairs, edges, metric, mask)
    found = attribute(model, pairs, edges, metric, mask=mask, memory=1)
    assert np.abs(slopes).max() > 1e-2
    np.testing.assert_allclose(found, slopes, atol=1e-6, rtol=1e-6)


def test_edges_that_speak_of_roles_are_differentiated_as_they_are_patched():
    model, pairs = random_task({}, rows=6)
    ends = [("same_state", None), (None, "rewarded"), ("current_episode", "rewarded"), ("itself", None)]
    edges = [edge.at(written, read) for edge in all_edges(model.anatomy, together=True) for written, read in ends]
    mask = np.ones((6, STEPS), dtype=bool)
    roles = {name: torch.as_tensor(np.array(role(pairs.reference))) for name, role in PAIR_ROLES.items()}
    slopes = finite_difference(model, pairs, edges, "loss", mask, roles=roles)
    found = attribute(model, pairs, edges)
    np.testing.assert_allclose(found, slopes, atol=1e-6, rtol=1e-6)
    readers = [edge.reader.kind for edge in edges]
    for number in range(len(ends)):  # each is heard by queries, keys, values, MLPs and the logits
        numbers = range(number, len(edges), len(ends))
        heard = {readers[e] for e in numbers if np.abs(found[e]).max() > 1e-6}
        assert heard >= {"k", "v"}
        assert heard == {"q", "k", "v", "mlp", "logits"} or ends[number][0] == "same_state"


@pytest.mark.parametrize("metric", METRICS)
def test_denoising_starts_from_the_donors_run(metric):
    model, pairs = random_task({})
    edges, mask = all_edges(model.anatomy), np.ones((4, STEPS), dtype=bool)
    slopes = finite_difference(model, pairs, edges, metric, mask, direction="denoising")
    found = attribute(model, pairs, edges, metric, direction="denoising")
    np.testing.assert_allclose(found, slopes, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.default_cases(2)
def test_integrated_gradients_from_all_embeddings_add_up_to_the_whole_change(metric):
    model, pairs = random_task({})
    edges = [edge for edge in all_edges(model.anatomy) if edge.writers[0].stage == 0]
    before, asked = question(model, pairs).reference, question(model, pairs)
    after = question(model, replace(pairs, reference=pairs.donor)).reference
    whole = (METRICS[metric].measure(after, asked) - METRICS[metric].measure(before, asked)).mean(1).detach().numpy()
    found = [attribute(model, pairs, edges, metric, steps=steps).sum(0) for steps in (2, 8, 64)]
    errors = [np.abs(one - whole).max() for one in found]
    assert errors[2] < 2e-3 * np.abs(whole).max() + 1e-4
    assert errors[2] < errors[1] < errors[0]


def test_a_linear_model_is_attributed_exactly_whatever_the_number_of_steps():
    # with one step every head copies its value, and nothing is normalised or bent
    model = tiny_model(5, 1, layer_norm=False, attention_only=True)
    pairs = HistoryPairs(tiny_history(1, 12, 1), tiny_history(2, 12, 1), "any")
    edges, mask = all_edges(model.anatomy), np.ones((12, 1), dtype=bool)
    exact = exact_change(model, pairs, edges, "logit-difference", mask, 1.0)
    assert np.abs(exact).max() > 0.1
    for steps in (1, 3):
        found = attribute(model, pairs, edges, "logit-difference", steps=steps)
        np.testing.assert_allclose(found, exact, atol=1e-12)


def test_rows_are_computed_apart_and_a_row_without_a_step_that_counts_has_no_number():
    model, pairs = random_task({})
    edges, mask = all_edges(model.anatomy), np.ones((4, STEPS), dtype=bool)
    mask[2], done = False, []
    found = attribute(model, pairs, edges, mask=mask, memory=1, progress=done.append)
    assert done == [1, 1, 1, 1]
    assert np.isnan(found[:, 2]).all()
    assert np.isfinite(found[:, [0, 1, 3]]).all()
    np.testing.assert_allclose(found, attribute(model, pairs, edges, mask=mask), atol=1e-12)


def test_what_says_nothing_is_refused():
    model, pairs = random_task({})
    edges = all_edges(model.anatomy)
    with pytest.raises(DataError, match=r"no metric 'los'[.] Did you mean 'loss'"):
        attribute(model, pairs, edges, "los")
    with pytest.raises(DataError, match="its gradient there is 0"):
        attribute(model, pairs, edges, "kl")
    with pytest.raises(DataError, match="goals differ, but the donors are 'any'"):
        attribute(model, replace(pairs, towards={}), edges, "towards-old")


def test_screening_takes_the_largest_either_way():
    values = np.array([[0.1, 0.1], [-3.0, -1.0], [5.0, -5.0], [np.nan, 1.0], [np.nan, np.nan]])
    assert screen(values, 3) == [2, 1, 3]
    assert screen(values, 99) == [2, 1, 3, 0, 4]


@pytest.mark.parametrize("signed", [True, False])
def test_agreement_is_spearmans_rank_correlation(signed):
    rng = np.random.default_rng(0)
    left, right = rng.integers(-6, 6, size=(40, 3)).astype(float), rng.integers(-6, 6, size=40).astype(float)

    def expected(kept):
        approximate = left.mean(1) if signed else np.abs(left).mean(1)
        exact = right if signed else np.abs(right)
        return scipy.stats.spearmanr(approximate[kept], exact[kept]).statistic

    assert agreement(left, right, signed) == pytest.approx(expected(np.arange(40)), abs=1e-12)
    right[3] = left[5] = np.nan
    assert agreement(left, right, signed) == pytest.approx(expected(np.delete(np.arange(40), [3, 5])), abs=1e-12)
    assert np.isnan(agreement(np.ones(4), np.arange(4.0)))


def by_hand(pair: RunPair, writer, stage: int, weights: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Relevance of an edge into the last MLP or the logits: a change, passed on by what the run did. [row]"""
    model, twin = pair.twin.model, pair.twin

    def scaled(change: torch.Tensor, at: int) -> torch.Tensor:
        norm, seen = twin.norm(at), pair.seen[at]
        deviation = (seen.var(-1, keepdim=True, correction=0) + norm.eps).sqrt()
        return (change - change.mean(-1, keepdim=True)) / deviation * norm.w

    change = pair.changes[writer].full()
    if stage < twin.last_stage:
        mlp = model.blocks[-1].mlp
        pre = twin.normalise(stage, pair.seen[stage]) @ mlp.W_in + mlp.b_in
        change = scaled(change, stage) @ mlp.W_in * (torch.nn.functional.gelu(pre) / pre) @ mlp.W_out
    by_logit = scaled(change, twin.last_stage) @ model.W_U
    likely = pair.log_probs.exp()  # the gradient of the loss with respect to the logits is p less the label
    return ((likely - torch.nn.functional.one_hot(labels, likely.shape[-1])) * by_logit).sum(-1).mul(weights).sum(1)


def test_relevance_is_passed_on_by_what_norms_and_activations_did():
    model, pairs = random_task({})
    with torch.no_grad():
        pair = RunPair.of(Twin(model), model.to_tokens(pairs.reference), model.to_tokens(pairs.donor))
        labels = torch.as_tensor(pairs.reference.actions.astype(np.int64))
        last = pair.twin.last_stage
        edges = [edge for edge in all_edges(model.anatomy) if edge.stage >= last - 1]
        assert {edge.reader.kind for edge in edges} == {"mlp", "logits"}
        weights = torch.full((4, STEPS), 1 / STEPS, dtype=torch.float64)
        expected = [by_hand(pair, edge.writers[0], edge.stage, weights, labels).numpy() for edge in edges]
    relevance = attribute(model, pairs, edges, rule="relevance")
    np.testing.assert_allclose(relevance, expected, atol=1e-9)
    assert np.abs(relevance - attribute(model, pairs, edges)).max() > 1e-3  # which gradients do not give


def test_relevance_is_the_gradient_where_nothing_bends_but_attention():
    model, pairs = random_task({"attention_only": True, "layer_norm": False})
    edges = all_edges(model.anatomy)
    np.testing.assert_allclose(
        attribute(model, pairs, edges, rule="relevance"), attribute(model, pairs, edges), atol=1e-12
    )
