"""Exact cases inside a transformer with hand-set weights, no LayerNorm and one step, by the fast engine.

With one step a head attends to itself, so it applies its value map to what it reads and every model here is linear:
`f` is read from the logits as the difference to an action whose logit stays 0.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.rewire import Given, PlainRun, rewire
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.distill.model import ADTransformer, Shape
from ad_hypotheses.distill.tokens import Vocabulary
from ad_hypotheses.language.anatomy import Part
from ad_hypotheses.language.check import BoundGraph, BoundNode
from ad_hypotheses.language.history import History
from ad_hypotheses.language.sites import embed, head, logits

INCLUSIVE = Options(self_donors=True)


def network(n_values, n_layers, n_heads, readout):
    """A silent transformer: input a is written to coordinate 0, b to coordinate 1; `readout` maps to the logits."""
    vocabulary = Vocabulary((("a", n_values), ("b", n_values)), n_actions=1 + len(readout))
    model = ADTransformer(vocabulary, Shape(1, n_layers, n_heads, 8, d_mlp=1, layer_norm=False)).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.embed["a"][:, 0] = model.embed["b"][:, 1] = torch.arange(n_values, dtype=torch.float64)
        for number, coordinates in enumerate(readout):
            for coordinate, weight in coordinates.items():
                model.W_U[coordinate, number + 1] = weight
    return model.eval()


def wire(model, layer, head, reads, writes):
    """Let a head add `writes` times the weighted sum of the coordinates in `reads`."""
    with torch.no_grad():
        for coordinate, weight in reads.items():
            model.blocks[layer].attn.W_V[head, coordinate, 0] = weight
        for coordinate, weight in writes.items():
            model.blocks[layer].attn.W_O[head, 0, coordinate] = weight


def dataset(rows):
    cells = np.array(rows)[:, None, :]
    zeros = np.zeros(cells.shape[:2])
    return History(cells, zeros.astype(int), zeros.astype(np.float32), zeros.astype(int), ("a", "b"), 2)


def node(model, name, site, parents=(), labels=None):
    labels = None if labels is None else np.asarray(labels)
    return BoundNode(name, site.resolve(model.anatomy), tuple(parents), labels, None, False, "")


def scrubbed(model, history, nodes, passes=150, options=INCLUSIVE):
    """Outputs `f` of many passes. [pass, row, output]"""
    scrubber = Scrubber(Clean.run(model, history), BoundGraph({one.name: one for one in nodes}, "root"), options)
    found = np.array([scrubber.run(number).log_probs[:, 0] for number in range(passes)], dtype=float)
    return found[..., 1:] - found[..., :1]


def close_to(losses, answer):
    """Whether the mean over passes is the answer, within 4 standard errors."""
    means = losses.mean(axis=1)
    error = means.std(ddof=1) / np.sqrt(len(means))
    return abs(means.mean() - answer) <= 4 * error + 1e-4


def test_t5_one_writer_on_two_paths():
    rows = list(product(range(4), repeat=2))
    model, history = network(4, 1, 1, [{2: 1, 1: 1}]), dataset(rows)  # f = A + x2
    wire(model, 0, 0, {0: 1, 1: 1}, {2: 1})  # A = x1 + x2
    x1, x2 = np.array(rows).T
    nodes = [
        node(model, "x1", embed("a"), (), x1),
        node(model, "x2", embed("b"), (), x2),
        node(model, "A", head(0, 0), ["x1", "x2"], x1),
        node(model, "root", logits, ["A", "x2"]),
    ]
    f = scrubbed(model, history, nodes)[..., 0]
    assert close_to((f - (x1 + 2 * x2)) ** 2, 5 / 2)


@pytest.mark.parametrize(("others", "answer"), [("joint", 0.0), ("independent", 0.5)])
def test_t6_unimportant_inputs_share_one_draw(others, answer):
    rows = list(product(range(2), repeat=2))
    model, history = network(2, 1, 2, [{0: 1, 2: 1}]), dataset(rows)  # f = s + U + V
    wire(model, 0, 0, {1: 1}, {2: 1})  # U = x1
    wire(model, 0, 1, {1: -1}, {2: 1})  # V = -x1
    x0 = np.array(rows)[:, 0]
    nodes = [node(model, "s", embed("a"), (), x0), node(model, "root", logits, ["s"])]
    f = scrubbed(model, history, nodes, options=Options(others=others, self_donors=True))[..., 0]
    assert close_to((f - x0) ** 2, answer)


def test_t7_a_node_with_two_consumers_is_drawn_twice():
    rows = list(product(range(2), repeat=2))
    model, history = network(2, 2, 2, [{4: 1}, {5: 1}]), dataset(rows)  # outputs A and B
    wire(model, 0, 0, {0: 2, 1: 1}, {2: 1})  # S = the datum, as 2 x0 + x1
    wire(model, 1, 0, {2: 1}, {4: 1})  # A = S
    wire(model, 1, 1, {2: 1}, {5: 1})  # B = S
    x0 = np.array(rows)[:, 0]
    nodes = [
        node(model, "S", head(0, 0), (), x0),
        node(model, "A", head(1, 0), ["S"], x0),
        node(model, "B", head(1, 1), ["S"], x0),
        node(model, "root", logits, ["A", "B"]),
    ]
    f = scrubbed(model, history, nodes)
    assert close_to((np.abs(f[..., 0] - f[..., 1]) < 1e-4).astype(float), 1 / 2)


def test_t20_patching_an_edge_a_path_and_both():
    """h = x, m = 2h, f = h + m, y = 3x: the direct edge, the way through m, both apart and both together."""
    model, history = network(2, 2, 1, [{2: 1, 3: 1}]), dataset([(0, 0), (1, 0)])
    wire(model, 0, 0, {0: 1}, {2: 1})  # h = x
    wire(model, 1, 0, {2: 2}, {3: 1})  # m = 2 h
    clean, twin = Clean.run(model, history), Twin(model)
    plain, writer = PlainRun.of(twin, clean.tokens), head(0, 0).resolve(model.anatomy)[0].writer
    h = twin.write(writer, clean.tokens, plain.seen)
    to_logits = frozenset({model.anatomy.logits})
    to_m = frozenset(head(1, 0).resolve(model.anatomy)[0].readers)
    label = 3 * history.observations[:, 0, 0]

    def loss(direct, through):
        """Squared error when the direct edge and the one into m carry h from the rows `direct` and `through`."""
        given = [Given((Part(writer, (), to),), h[rows] - h) for to, rows in ((to_logits, direct), (to_m, through))]
        out = rewire(twin, plain, given).detach().numpy()[:, 0]
        return ((out[:, 1] - out[:, 0] - label) ** 2).mean()

    own, draws = [0, 1], [list(draw) for draw in product(range(2), repeat=2)]
    assert np.mean([loss(draw, own) for draw in draws]) == pytest.approx(1 / 2)
    assert np.mean([loss(own, draw) for draw in draws]) == pytest.approx(2)
    assert np.mean([loss(one, two) for one in draws for two in draws]) == pytest.approx(7 / 2)
    assert np.mean([loss(draw, draw) for draw in draws]) == pytest.approx(9 / 2)
