"""The fast engine against the oracle, draw by draw, and the laws that both must obey."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from expand import components, oracle_nodes, owner, random_hypothesis, tiny_history, tiny_model
from hypothesis import example, given
from hypothesis import strategies as st
from laws import law

from ad_hypotheses.causal import oracle
from ad_hypotheses.causal.clean import Clean, gather
from ad_hypotheses.causal.metrics import cross_entropy, exact_baseline
from ad_hypotheses.causal.rewire import scrub_alone
from ad_hypotheses.causal.scrub import Options, Scrubber
from ad_hypotheses.causal.twin import Twin
from ad_hypotheses.distill.lens import hooked
from ad_hypotheses.known.shares import expected_baseline, mean_loss
from ad_hypotheses.language.anatomy import plain_part
from ad_hypotheses.language.check import BoundGraph, BoundNode
from ad_hypotheses.language.sites import embed, head, logits, mlp, pos

OPTIONS = [
    Options(),
    Options(self_donors=True),
    Options(others="independent"),
    Options(align="any"),
    Options(align="episode_step", self_donors=True),
    Options(shared=True),
]


def log_softmax(x):
    return x - np.logaddexp.reduce(x)


def oracle_options(options, history, references=None):
    return oracle.OracleOptions(
        options.others, options.self_donors, options.align, options.shared, history.episode_step, references
    )


def replay(model, history, nodes, along, scrubber, number):
    """Run the oracle with the fast engine's own draws: [row, step, action]."""
    problem = oracle._Problem(
        components(model, history, along),
        oracle_nodes(nodes, along),
        "root",
        history.n_rows,
        history.n_steps,
        oracle_options(scrubber.options, history, scrubber.clean.n_references),
    )
    scrubber._pass = number
    execution = oracle._Execution(problem, choose=None)
    anatomy, n_steps = model.anatomy, history.n_steps
    for path in BoundGraph(nodes, "root").tree_paths():
        key = path[-1:] if scrubber.options.shared else path
        for parent in nodes[path[-1]].parents:
            donors = scrubber.donors(path, parent)
            for place in np.ndindex(donors.shape):
                row, step = place if len(place) == 2 else (place[0], None)
                found = divmod(int(donors[place]), n_steps) if step is not None else (int(donors[place]), 0)
                execution.donor_table[key, parent, row, step] = found
        for row, other in enumerate(scrubber.other_rows(path).tolist()):
            execution.other_table[key, row] = other
        if scrubber.options.others == "independent":
            for reader in anatomy.readers:
                component = owner(reader, along)
                for writer in anatomy.writers:
                    rows = scrubber.other_rows(path, f"other {reader} {writer}").tolist()
                    for suffix in (" along", " rest") if writer in along else ("",):
                        for row, other in enumerate(rows):
                            name = str(writer) + suffix
                            execution.other_table[key, row, (component, reader.kind), name] = other
    return np.array(
        [
            [log_softmax(execution.value(("root",), row, "logits", None, step)) for step in range(n_steps)]
            for row in range(history.n_rows)[scrubber.clean.references]
        ]
    )


@given(seed=st.integers(0, 2**32 - 1), options=st.sampled_from(OPTIONS), references=st.sampled_from([None, 1, 2]))
@example(seed=616, options=Options(), references=None)  # all heads of a layer, the second first, one key from elsewhere
def test_fast_engine_is_the_oracle_draw_by_draw(seed, options, references):
    rng = np.random.default_rng(seed)
    history = tiny_history(seed, n_rows=4, n_steps=4)
    model = tiny_model(seed % 7, n_steps=4)
    nodes, along = random_hypothesis(rng, model, history)
    scrubber = Scrubber(Clean.run(model, history, references), BoundGraph(nodes, "root"), options, seed=seed)
    fast = scrubber.run(3).log_probs
    assert np.allclose(fast, replay(model, history, nodes, along, scrubber, 3), atol=2e-6)


def bound(name, site, parents=(), labels=None, selected=None, anatomy=None):
    return BoundNode(name, site.resolve(anatomy), tuple(parents), labels, selected, False, "")


def small(seed=0, n_rows=6, n_steps=4, **shape):
    model, history = tiny_model(seed, n_steps, **shape), tiny_history(seed, n_rows, n_steps)
    return model, history, Clean.run(model, history)


def everything_declared(model, labels):
    """Every writer of a one-layer model is a node that reads every earlier one."""
    anatomy = model.anatomy
    sites = {str(writer): writer for writer in anatomy.writers}
    nodes = {}
    for name, writer in sites.items():
        parents = [other for other, earlier in sites.items() if earlier.stage < writer.stage]
        site = eval(name, {"embed": embed, "head": head, "mlp": mlp, "pos": pos})
        nodes[name] = bound(name, site, parents if writer.stage else (), labels, anatomy=anatomy)
    nodes["root"] = bound("root", logits, sites, anatomy=anatomy)
    return nodes


def test_twin_is_the_model_and_writers_sum_to_what_readers_see():
    model = tiny_model(3, n_steps=5, n_layers=3)
    tokens = model.to_tokens(tiny_history(3, 7, 5))
    twin = Twin(model)
    seen = twin.streams(tokens)
    assert torch.allclose(twin.logits(seen[-1]), model(tokens), atol=1e-12, rtol=0)
    _, cache = hooked(model).run_with_cache(tokens)
    for reader in model.anatomy.readers:
        total = sum(twin.write(writer, tokens, seen) for writer in model.anatomy.writers if writer.feeds(reader))
        total = total + sum(twin.attention_bias(layer) for layer in range(reader.stage // 2))
        assert torch.allclose(total, seen[reader.stage], atol=1e-12, rtol=0)
    assert torch.allclose(seen[3], cache["blocks.1.hook_resid_pre"], atol=1e-12, rtol=0)
    assert torch.allclose(seen[4], cache["blocks.1.hook_resid_mid"], atol=1e-12, rtol=0)


@pytest.mark.parametrize("others", ["joint", "independent"])
def test_the_order_in_which_heads_are_named_changes_nothing(others):
    model, _, clean = small(n_layers=1)
    labels, anatomy, runs = np.arange(6) % 2, model.anatomy, []
    key = bound("key", head(0, 0).k, (), labels, anatomy=anatomy)
    for site in (head(0, 0) + head(0, 1), head(0, 1) + head(0, 0)):
        heads, root = (
            bound(*node, anatomy=anatomy) for node in (("heads", site, ["key"], labels), ("root", logits, ["heads"]))
        )
        graph = BoundGraph({node.name: node for node in (key, heads, root)}, "root")
        runs.append(Scrubber(clean, graph, Options(others=others)).run(0).log_probs)
    assert np.allclose(*runs, atol=1e-12)
    assert not np.allclose(runs[0], clean.log_probs, atol=1e-3)


def test_finest_features_everywhere_change_nothing():
    model, _, clean = small(n_layers=1)
    nodes = everything_declared(model, np.arange(6))
    result = Scrubber(clean, BoundGraph(nodes, "root"), Options(self_donors=True)).run(0)
    assert np.allclose(result.log_probs, clean.log_probs, atol=1e-6)
    assert result.root_moved < 1e-9 < result.root_moved_by_baseline


@law(20)
@given(seed=st.integers(0, 2**32 - 1), options=st.sampled_from(OPTIONS[:3]))
def test_self_donors_are_the_identity_and_one_donor_row_is_its_own_run(seed, options):
    model, history, clean = small(seed % 5, n_rows=5)
    nodes, _ = random_hypothesis(np.random.default_rng(seed), model, history)
    for donor_rows in (np.arange(5), np.full(5, 2)):
        scrubber = Scrubber(clean, BoundGraph(nodes, "root"), options)
        steps = donor_rows[:, None] * 4 + np.arange(4)

        def donors_at(path, parent, at, scrubber=scrubber, donor_rows=donor_rows, steps=steps):
            return scrubber.positions_of(donor_rows if scrubber.classes[parent].size.ndim == 1 else steps, at)

        scrubber.donors_at = donors_at
        scrubber.other_rows = lambda path, what="other", donor_rows=donor_rows: torch.from_numpy(donor_rows)
        result = scrubber.run(0)
        assert np.allclose(result.log_probs, clean.log_probs[donor_rows], atol=2e-6)


@law(15)
@given(seed=st.integers(0, 2**32 - 1), options=st.sampled_from(OPTIONS))
def test_where_the_host_would_have_to_wait_more_is_visited_and_nothing_else_changes(seed, options):
    model, history, _ = small(seed % 5)
    nodes, _ = random_hypothesis(np.random.default_rng(seed), model, history)
    passes = []
    for on_host in (True, False):
        with mock.patch.object(Clean, "on_host", on_host):
            scrubber = Scrubber(Clean.run(model, history, 2), BoundGraph(nodes, "root"), options, seed=seed)
            passes.append(scrubber.run(1).log_probs)
    np.testing.assert_allclose(*passes, rtol=0, atol=1e-12)


@law(15)
@given(seed=st.integers(0, 2**32 - 1))
def test_relabelling_changes_nothing_bit_for_bit(seed):
    rng = np.random.default_rng(seed)
    model, history, clean = small(seed % 5)
    nodes, _ = random_hypothesis(rng, model, history)
    names = rng.permutation(50)
    renamed = {
        name: node if node.labels is None else replace(node, labels=names[node.labels]) for name, node in nodes.items()
    }
    first = Scrubber(clean, BoundGraph(nodes, "root"), seed=7).run(2)
    second = Scrubber(clean, BoundGraph(renamed, "root"), seed=7).run(2)
    assert np.array_equal(first.log_probs, second.log_probs)
    assert first.root_moved == second.root_moved


def test_constant_features_are_the_structure_run():
    model, history, clean = small()
    nodes, _ = random_hypothesis(np.random.default_rng(5), model, history)
    constant = {n: v if v.labels is None else replace(v, labels=np.full_like(v.labels, 9)) for n, v in nodes.items()}
    a = Scrubber(clean, BoundGraph(constant, "root"), seed=1).run(0).log_probs
    b = Scrubber(clean, BoundGraph(nodes, "root").without_features(), seed=1).run(0).log_probs
    assert np.array_equal(a, b)
    assert not np.array_equal(a, Scrubber(clean, BoundGraph(nodes, "root"), seed=1).run(0).log_probs)


@pytest.mark.parametrize(
    "options",
    [*OPTIONS[:1], *OPTIONS[2:3], *(pytest.param(o, marks=pytest.mark.slow) for o in (*OPTIONS[1:2], *OPTIONS[3:]))],
    ids=lambda o: f"{o.others}-{o.align}-self{o.self_donors:d}-{o.shared:d}",
)
@pytest.mark.default_cases(2)
def test_expected_loss_is_the_oracles(options):
    """Two chained attention layers, step- and history-level features: mean over passes against every draw.

    With independent others there are too many draws to enumerate, so the oracle samples.
    """
    model, history = tiny_model(1, n_steps=2, n_heads=1), tiny_history(4, n_rows=3, n_steps=2)
    anatomy = model.anatomy
    nodes = {
        "early": bound("early", head(0, 0), [], np.array([[0, 1], [0, 0], [1, 0]]), anatomy=anatomy),
        "late": bound("late", head(1, 0), ["early"], np.array([0, 0, 1]), anatomy=anatomy),
        "root": bound("root", logits, ["late"], anatomy=anatomy),
    }
    actions = history.actions

    def loss(value, row, step):
        return -log_softmax(value)[actions[row, step]]

    graph = components(model, history), oracle_nodes(nodes, {})
    problem = (*graph, "root", 3, 2, loss, oracle_options(options, history))
    expected, oracle_error = np.empty((3, 2)), np.zeros((3, 2))
    if options.others == "joint":
        for position, value in oracle.expected_loss(*problem).items():
            expected[position] = float(value)
    else:
        samples = oracle.sampled_loss(*problem, np.random.default_rng(5), 60)
        expected, oracle_error = samples.mean(axis=0), samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    scrubber = Scrubber(Clean.run(model, history), BoundGraph(nodes, "root"), options, seed=11)
    losses = np.array([cross_entropy(scrubber.run(n).log_probs, actions) for n in range(300)], dtype=float)
    error = np.hypot(losses.std(axis=0, ddof=1) / np.sqrt(len(losses)), oracle_error)
    assert (np.abs(losses.mean(axis=0) - expected) <= 4 * error + 1e-6).all()


def test_exact_baseline_is_the_mean_of_a_root_without_parents():
    model, history, clean = small(n_rows=5)
    nodes = {"root": bound("root", logits, anatomy=model.anatomy)}
    for self_donors in (False, True):
        scrubber = Scrubber(clean, BoundGraph(nodes, "root"), Options(self_donors=self_donors))
        losses = np.array([cross_entropy(scrubber.run(n).log_probs, history.actions) for n in range(300)], dtype=float)
        exact = exact_baseline(clean.log_probs, history.actions, self_donors)
        error = losses.std(axis=0, ddof=1) / np.sqrt(len(losses))
        assert (np.abs(losses.mean(axis=0) - exact) <= 4.5 * error + 1e-6).all()


def test_a_query_node_is_told_apart_from_the_key_and_from_another_head():
    model, _, clean = small(n_layers=1, n_rows=8)
    labels = np.zeros(8, dtype=int)

    def scrub(inner):
        nodes = {
            "input": bound("input", inner, [], labels, anatomy=model.anatomy),
            "mix": bound("mix", head(0, 0), ["input"], labels, anatomy=model.anatomy),
            "root": bound("root", logits, ["mix"], anatomy=model.anatomy),
        }
        return Scrubber(clean, BoundGraph(nodes, "root")).run(0).log_probs

    results = [scrub(head(0, 0).q), scrub(head(0, 0).k), scrub(head(0, 0).v)]
    assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(results, results[1:] + results[:1], strict=True))


@pytest.mark.parametrize("agreeing", [True, False])
def test_a_node_alone_is_the_same_however_its_last_part_names_its_readers(agreeing):
    """`mlp(1)` of a two-layer model feeds the logits alone, so `.to(logits)` says nothing; nor do all directions."""
    model, history, clean = small(n_rows=8)
    labels = np.random.default_rng(0).integers(2, size=history.actions.shape)

    def alone(last):
        nodes = {
            "in": bound("in", embed("x"), [], labels, anatomy=model.anatomy),
            "node": bound("node", head(0) + mlp(0) + last, ["in"], labels, anatomy=model.anatomy),
            "root": bound("root", logits, ["node"], anatomy=model.anatomy),
        }
        return scrub_alone(Scrubber(clean, BoundGraph(nodes, "root")), "node", agreeing)

    plain = alone(mlp(1))
    assert np.abs(plain - clean.log_probs).max() > 1e-2
    assert np.allclose(alone(mlp(1).to(logits)), plain, atol=2e-6)
    assert np.allclose(alone(mlp(1).along(np.eye(8))), plain, atol=2e-6)


def test_a_claim_that_says_nothing_recovers_nothing_with_independent_others():
    model, history, clean = small(2, n_rows=12)
    nodes = {"root": bound("root", logits, anatomy=model.anatomy)}
    options = Options(others="independent")
    baseline = expected_baseline(clean, options, 40, 0).mean()
    assert abs(mean_loss(Scrubber(clean, BoundGraph(nodes, "root"), options), 40) - baseline) < 0.03
    assert abs(exact_baseline(clean.log_probs, history.actions, False).mean() - baseline) > 0.06


def test_what_a_token_writes_takes_no_memory_where_inputs_are_drawn_apart():
    model, _, clean = small(2, n_rows=6)
    nodes = {"root": bound("root", logits, anatomy=model.anatomy)}
    Scrubber(clean, BoundGraph(nodes, "root"), Options(others="independent"))
    parts = [plain_part(writer) for writer in model.anatomy.writers if writer.kind == "embed"]
    positions = torch.tensor([[0, 5, 3]])
    for part in parts:
        with pytest.raises(KeyError):
            clean.written((part,))
        with clean.prepared(groups=[(part,)]):
            assert torch.equal(clean.wrote_at(part, positions), gather(clean.written((part,)), positions))
    assert parts


def test_how_far_an_arrow_moved_counts_inputs_of_heads_too():
    model, history, clean = small(n_layers=1, n_rows=8)
    labels = np.zeros(history.actions.shape, dtype=int)
    nodes = {
        "x": bound("x", embed("x"), [], history.observations[..., 0], anatomy=model.anatomy),
        "asks": bound("asks", head(0, 0).q, [], labels, anatomy=model.anatomy),
        "mix": bound("mix", head(0, 0), ["asks", "x"], labels, anatomy=model.anatomy),
        "root": bound("root", logits, ["mix"], anatomy=model.anatomy),
    }
    moved = Scrubber(clean, BoundGraph(nodes, "root")).run(0, movements=True).movements
    assert moved["root", "mix", "asks"].moved > 0.1
    assert moved["root", "mix", "asks"].swapped == 1
    assert moved["root", "mix", "x"].moved < 1e-6  # the site is a function of the feature
    assert moved["root", "mix"].moved > moved["root", "mix"].spread * 0.1 > 0


@pytest.mark.parametrize("stopped_at", ["layers", "prepared"])
def test_what_was_stopped_is_made_again(stopped_at, monkeypatch):
    """A notebook goes on with what a cell that was interrupted left in memory."""
    model, history, clean = small(n_layers=2)
    nodes, long_lived = everything_declared(model, np.arange(6) % 3), 10**9
    expected = Scrubber(Clean.run(model, history), BoundGraph(nodes, "root")).run(0).log_probs
    monkeypatch.setattr("ad_hypotheses.causal.clean.CHUNK_TOKENS", 2 * clean.n_steps)  # several chunks
    owner, name = (Twin, "_layer") if stopped_at == "layers" else (Clean, "_of_group")
    original, calls = getattr(owner, name), []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    def scrubbed():
        with clean.one_run(long_lived), clean.prepared(stays_below=long_lived):
            return Scrubber(clean, BoundGraph(nodes, "root")).run(0).log_probs

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            scrubbed()
    again = scrubbed()
    np.testing.assert_allclose(again, expected, rtol=0, atol=1e-12)


def test_what_a_claim_needed_of_the_clean_run_is_freed_when_its_block_ends():
    model, _, clean = small(n_layers=1)
    nodes = everything_declared(model, np.arange(6))
    with clean.prepared(stages=[1]):
        first = clean.seen(1)
        with clean.prepared():
            Scrubber(clean, BoundGraph(nodes, "root"))
            assert clean.seen(clean.twin.last_stage).shape == first.shape
            assert clean.seen(1) is first
        with pytest.raises(KeyError):
            clean.seen(clean.twin.last_stage)
        assert clean.seen(1) is first
    with pytest.raises(KeyError):
        clean.seen(1)
