"""Weights set by hand do what the primitives promise, at every step and to float32's last digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int

from ad_hypotheses.distill.shape import Shape
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.known.wiring import SHARP, Space, Wiring

VALUES = 3


def silent(n_ctx: int, d_model: int, d_mlp: int = 1, n_layers: int = 1) -> Wiring:
    """A network that sees two numbers from 0 to 2 a step; it has an action for each step, to show where it looks."""
    vocabulary = Vocabulary((("x", VALUES), ("y", VALUES)), n_ctx)
    return Wiring.silent(vocabulary, Shape(n_ctx, n_layers, 1, d_model, d_mlp, layer_norm=False))


def numbers(net: Wiring) -> tuple[Space, Space]:
    """Embed both numbers, one-hot."""
    spaces = net.space("x", VALUES), net.space("y", VALUES)
    for channel, space in zip(("x", "y"), spaces, strict=True):
        net.embed(channel, space, np.eye(VALUES))
    return spaces


def show_where_it_looks(net: Wiring, layer: int = 0) -> None:
    """Let the logits be the attention pattern of the only head."""
    n_ctx = net.model.shape.n_ctx
    step, found = net.space("step", n_ctx), net.space("found", n_ctx)
    net.positions(step, np.eye(n_ctx))
    net.move(layer, 0, [(step, found, np.eye(n_ctx))])
    net.unembed(found, np.eye(n_ctx))


@torch.no_grad()
def run(net: Wiring, seen: Int[np.ndarray, "row step 2"]) -> Float[np.ndarray, "row step action"]:
    """Return the logits; nothing was done or paid."""
    tokens = np.concatenate([seen, np.zeros_like(seen)], axis=-1)
    return net.model(torch.from_numpy(tokens)).numpy()


def random_numbers(n_ctx: int, rows: int = 20, seed: int = 0) -> Int[np.ndarray, "row step 2"]:
    return np.random.default_rng(seed).integers(VALUES, size=(rows, n_ctx, 2))


@pytest.mark.parametrize(("n_ctx", "waves"), [(8, 2), (60, 4), (64, 4), (65, 6), (200, 6)])
def test_the_previous_step_is_found_at_every_step(n_ctx: int, waves: int) -> None:
    net = silent(n_ctx, 2 * n_ctx + 10)
    made = net.waves()
    net.look_at_previous(0, 0, made)
    show_where_it_looks(net)
    assert made.size == waves
    wanted = np.eye(n_ctx)[np.maximum(np.arange(n_ctx) - 1, 0)]
    np.testing.assert_allclose(run(net, random_numbers(n_ctx, 1))[0], wanted, atol=1e-7)


def latest(match: np.ndarray) -> np.ndarray:
    """Where the latest of the steps that match is, the first if none does, as a row of 0 and a 1. [row, step, step]"""
    steps = np.arange(match.shape[-1])
    found = np.where(match & (steps <= steps[:, None]), steps, -1).max(axis=-1)
    return np.eye(len(steps))[np.maximum(found, 0)]


@pytest.mark.parametrize("n_ctx", [7, 60, 100])
def test_the_latest_match_is_found_and_else_the_first_step(n_ctx: int) -> None:
    net = silent(n_ctx, 2 * n_ctx + 10)
    x, _ = numbers(net)
    net.look_at_latest(0, 0, net.clock(), key=[(x, np.array([[0.0], [0.0], [1.0]]))])
    show_where_it_looks(net)
    seen = random_numbers(n_ctx)
    seen[:, 0, 0], seen[: len(seen) // 2, : n_ctx // 2, 0] = 0, 1  # nothing matches for long in half of the rows
    wanted = latest(np.repeat((seen[..., 0] == 2)[:, None], n_ctx, axis=1))
    assert wanted[:, :, 0].any()
    np.testing.assert_allclose(run(net, seen), wanted, atol=1e-7)


def matching(net: Wiring, x: Space, y: Space) -> dict[str, list[tuple[Space, np.ndarray]]]:
    """Both numbers must be the query's; the first step's key is taken away."""
    keyed = net.space("key", 2 * VALUES)
    for channel, half in (("x", slice(0, VALUES)), ("y", slice(VALUES, None))):
        net.embed(channel, keyed, np.eye(2 * VALUES)[half])
    taken = np.zeros((net.model.shape.n_ctx, 2 * VALUES))
    taken[0, [0, VALUES]] = -1  # the tests let the first step show two zeros
    net.positions(keyed, taken)
    query = [(x, np.eye(2 * VALUES)[:VALUES]), (y, np.eye(2 * VALUES)[VALUES:])]
    return {"key": [(keyed, np.eye(2 * VALUES))], "query": query}


@pytest.mark.parametrize("n_ctx", [7, 60])
def test_all_parts_of_a_match_are_needed(n_ctx: int) -> None:
    seen = random_numbers(n_ctx)
    seen[:, 0] = 0
    same = (seen[:, :, None] == seen[:, None]).all(axis=-1)
    same[..., 0] = False
    net = silent(n_ctx, 2 * n_ctx + 20)
    x, y = numbers(net)
    net.look_at_latest(0, 0, net.clock(), **matching(net, x, y), needed=2)
    show_where_it_looks(net)
    np.testing.assert_allclose(run(net, seen), latest(same), atol=1e-7)


@pytest.mark.parametrize("n_ctx", [7, 60])
def test_all_matches_are_averaged_alike(n_ctx: int) -> None:
    seen = random_numbers(n_ctx, seed=1)
    seen[:, 0] = 0
    steps = np.arange(n_ctx)
    same = (seen[:, :, None] == seen[:, None]).all(axis=-1) & (steps <= steps[:, None]) & (steps > 0)
    net = silent(n_ctx, 2 * n_ctx + 20)
    x, y = numbers(net)
    net.look_at_all(0, 0, net.clock(), **matching(net, x, y), needed=2)
    show_where_it_looks(net)
    wanted = np.where(same.any(axis=-1, keepdims=True), same, steps == 0).astype(float)
    np.testing.assert_allclose(run(net, seen), wanted / wanted.sum(axis=-1, keepdims=True), atol=2e-6)


def test_scores_stay_small_enough_for_float32() -> None:
    net = silent(100, 220)
    x, y = numbers(net)
    net.look_at_latest(0, 0, net.clock(), **matching(net, x, y), needed=2)
    kept: list[torch.Tensor] = []
    attention = net.model.blocks[0].attn
    handle = attention.hook_attn_scores.register_forward_hook(lambda module, given, result: kept.append(result))
    seen = random_numbers(100)
    seen[:, 0] = 0
    run(net, seen)
    handle.remove()
    (scores,) = kept
    largest = scores[torch.isfinite(scores)].abs().max().item()
    assert 1000 < largest < 100 * 4 * SHARP
    assert np.spacing(np.float32(largest)) < 1e-3, "neighbours lie 20 apart"


def test_two_numbers_are_looked_up_in_a_table() -> None:
    n_actions = 9
    net = silent(n_actions, 20, d_mlp=6)
    x, y = numbers(net)
    table, early = net.space("table", n_actions), net.space("early")
    net.positions(early, (np.arange(n_actions) < 6).astype(float)[:, None])
    net.compare(0, x, y, lambda one, other: {table[3 * one + other]: 1.5} if one != other else {}, all_of=[early[0]])
    net.unembed(table, np.eye(n_actions))
    seen = np.stack(np.divmod(np.arange(9), 3), axis=-1)[None]
    wanted = np.diag(1.5 * np.array([0, 1, 1, 1, 0, 1, 0, 0, 0]))  # the numbers differ, and it is early
    np.testing.assert_allclose(run(net, seen)[0], wanted, atol=1e-6)


def test_neurons_fire_where_all_of_some_and_none_of_others_are_there() -> None:
    net = silent(4, 8, d_mlp=2)
    x, y = numbers(net)
    out = net.space("out", 2)
    net.when(0, [x[1]], {out[0]: 1.0}, none_of=[y[0], y[1]])
    net.neuron(0, {x[2]: 1.0, y[2]: 3.0}, -0.5, {out[1]: 2.0})
    net.unembed(out, np.eye(2, 4))
    seen = np.array([[[1, 2], [1, 0], [0, 2], [2, 2]]])
    wanted = [[1, 5, 0, 0], [0, 0, 0, 0], [0, 5, 0, 0], [0, 7, 0, 0]]
    np.testing.assert_allclose(run(net, seen)[0], wanted, atol=1e-6)


def test_a_subspace_is_used_once_and_must_fit() -> None:
    net = silent(4, 8, d_mlp=1)
    x, y = numbers(net)
    assert (x[0], y[0], y[-1]) == (0, 3, 5)
    with pytest.raises(IndexError, match="x has 3 coordinates, not one of number 3"):
        x[3]
    with pytest.raises(AssertionError, match="a subspace 'x' already"):
        net.space("x")
    with pytest.raises(AssertionError, match="'wide' needs 3 coordinates, but only 2 of 8 are left"):
        net.space("wide", 3)
    net.neuron(0, {x[0]: 1.0}, 0.0, {y[0]: 1.0})
    with pytest.raises(AssertionError, match=r"mlp\(0\) has only 1 neurons"):
        net.neuron(0, {x[0]: 1.0}, 0.0, {y[0]: 1.0})


def test_all_that_a_head_moves_is_given_at_once() -> None:
    net = silent(4, 8)
    x, y = numbers(net)
    net.move(0, 0, [(x, y, np.eye(VALUES))])
    with pytest.raises(AssertionError, match=r"head\(0, 0\) moves something already"):
        net.move(0, 0, [(y, x, np.eye(VALUES))])
    with pytest.raises(AssertionError, match="a LayerNorm would mix"):
        Wiring.silent(net.model.vocabulary, Shape(4, 1, 1, 8))


def test_a_silent_network_is_indifferent() -> None:
    assert not run(silent(5, 4), random_numbers(5)).any()
