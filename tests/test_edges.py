"""Edges of a model: which there are, and how people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import law

from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.anatomy import Anatomy, Reader, Writer, head_readers
from ad_hypotheses.language.edges import Edge, all_edges, find_edges, shown

CHANNELS = ("x", "y", "action", "reward")
MODEL = Anatomy(CHANNELS, n_layers=2, n_heads=4)

sizes = st.fixed_dictionaries(
    {
        "channels": st.sampled_from([("x",), ("action", "reward"), CHANNELS]),
        "n_layers": st.integers(1, 3),
        "n_heads": st.integers(1, 3),
        "has_positions": st.booleans(),
        "has_mlps": st.booleans(),
    }
)


def brute_force(anatomy: Anatomy, together: bool) -> list[tuple[str, str]]:
    """Walk through the model as it computes: whatever reads sees all that has been written so far."""
    first = [f'embed("{name}")' for name in anatomy.channels] + (["pos"] if anatomy.has_positions else [])
    written = [" + ".join(first)] if together else list(first)
    found = []
    for layer in range(anatomy.n_layers):
        heads = [f"head({layer}, {head})" for head in range(anatomy.n_heads)]
        found += [(writer, f"{head}.{part}") for head in heads for part in "qkv" for writer in written]
        written += heads
        if anatomy.has_mlps:
            found += [(writer, f"mlp({layer})") for writer in written]
            written.append(f"mlp({layer})")
    return found + [(writer, "logits") for writer in written]


# --- Which there are -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_layers", "n_heads", "count"),
    [
        (2, 4, 110),  # 12 + 5, 72 + 10, 11
        (1, 1, 3 + 2 + 3),
        (4, 4, 12 * (1 + 6 + 11 + 16) + (5 + 10 + 15 + 20) + 21),
    ],
)
def test_how_many(n_layers, n_heads, count):
    assert len(all_edges(Anatomy(CHANNELS, n_layers, n_heads), together=True)) == count


def test_how_many_with_an_edge_for_each_channel():
    assert len(all_edges(MODEL)) == 110 + 4 * (12 + 1 + 12 + 1 + 1)  # 5 writers in place of 1, for each of 27 readers


@given(sizes, st.booleans())
def test_all_that_can_be_seen_and_nothing_else(size, together):
    anatomy = Anatomy(**size)
    edges = all_edges(anatomy, together)
    assert [(shown(edge.writers), str(edge.reader)) for edge in edges] == brute_force(anatomy, together)
    assert len(set(edges)) == len(edges)


@given(sizes, st.booleans())
def test_edges_come_in_the_order_in_which_readers_read(size, together):
    anatomy = Anatomy(**size)
    edges = all_edges(anatomy, together)
    stages = [edge.stage for edge in edges]
    assert stages == sorted(stages)
    assert all(edge.writers == tuple(w for w in anatomy.writers if w in edge.writers) for edge in edges)
    assert all(writer.feeds(edge.reader) for edge in edges for writer in edge.writers)


# --- How they are typed --------------------------------------------------------------------------------------------


@given(sizes, st.booleans())
@law(15)
def test_an_edge_is_typed_as_it_is_shown(size, together):
    anatomy = Anatomy(**size)
    edges = all_edges(anatomy, together)
    assert find_edges(map(str, edges), anatomy) == edges


def test_an_edge_says_which_steps_it_speaks_of():
    edge = Edge((Writer(1, "head", 0, 1),), MODEL.logits)
    assert str(edge) == "head(0, 1) -> logits"
    assert str(edge.at("rewarded")) == "head(0, 1) -> logits written at rewarded"
    assert str(edge.at(read="itself")) == "head(0, 1) -> logits read at itself"
    assert str(edge.at("rewarded", "itself")) == "head(0, 1) -> logits written at rewarded read at itself"
    assert edge.at("rewarded").at() == edge


HEADS = {head: Writer(1, "head", 0, head) for head in range(4)}
POS, MLP = Writer(0, "pos"), Writer(2, "mlp", 0)
EMBEDS = tuple(Writer(0, "embed", channel=name) for name in CHANNELS)


@pytest.mark.parametrize(
    ("text", "writers", "readers"),
    [
        ("head(0, 1) -> head(1, 2).q", (HEADS[1],), head_readers(1, 2)[:1]),
        ("head(0,1)->head(1,2).k", (HEADS[1],), head_readers(1, 2)[1:2]),
        ("  head( 0 , 1 )  ->  head( 1 , 2 ) . v ", (HEADS[1],), head_readers(1, 2)[2:]),
        ("head(0, 1) -> head(1, 2)", (HEADS[1],), head_readers(1, 2)),
        ("head(0) -> logits", tuple(HEADS.values()), (MODEL.logits,)),
        ('embed("reward") -> mlp(0)', (Writer(0, "embed", channel="reward"),), (Reader(2, "mlp", 0),)),
        ("embed('reward') -> mlp(0)", (Writer(0, "embed", channel="reward"),), (Reader(2, "mlp", 0),)),
        ("pos -> mlp(1)", (POS,), (Reader(4, "mlp", 1),)),
        ("mlp(0) -> logits", (MLP,), (MODEL.logits,)),
        ("embed() -> head(0, 0).k", EMBEDS, head_readers(0, 0)[1:2]),
        ("mlp(0) + pos + head(0, 2) -> mlp(1)", (POS, HEADS[2], MLP), (Reader(4, "mlp", 1),)),
        ('embed("reward") + embed("x") -> mlp(0)', (EMBEDS[0], EMBEDS[3]), (Reader(2, "mlp", 0),)),
        ("head(0, 2) + head(0) -> mlp(0)", tuple(HEADS.values()), (Reader(2, "mlp", 0),)),
    ],
)
def test_every_form(text, writers, readers):
    assert find_edges([text], MODEL) == [Edge(writers, reader) for reader in readers]


def test_what_is_typed_twice_counts_once_and_order_is_kept():
    texts = ["pos -> logits", "head(0, 0) -> head(1, 0)", "head(0, 0) -> head(1, 0).k", "pos->logits"]
    assert list(map(str, find_edges(texts, MODEL))) == [
        "pos -> logits",
        *(f"head(0, 0) -> head(1, 0).{part}" for part in "qkv"),
    ]
    assert find_edges([], MODEL) == []


# --- What is no edge -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("head(0, 1)", ["'head(0, 1)' is no edge", "WRITER -> READER", "for example head(0, 1) -> logits"]),
        ("", ["is no edge"]),
        ("mpl(0) -> logits", ["'mpl(0)' is none of the model's", "Did you mean 'mlp(0)'?"]),
        ("head(0, 1) -> logit", ["'logit'", "Did you mean 'logits'?"]),
        ('embed("rewrd") -> logits', ['embed("rewrd")', "Did you mean 'embed(\"reward\")'?"]),
        ("head(0, 4) -> logits", ["'head(0, 4)' is none", "It has", "head(0, 3)"]),
        ("head(0, 1) -> head(2, 0).q", ["'head(2, 0).q' is none", "head(1, 3).v"]),
        ("head(0, 1).q -> logits", ["'head(0, 1).q' is none", "Did you mean 'head(0, 1)'?"]),
        ("logits -> head(0, 1)", ["'logits' is none"]),
        ("head(0, 1) -> pos", ["'pos' is none"]),
        (" -> logits", ["'' is none"]),
        ("head(0, 1) -> ", ["'' is none"]),
        ("pos + -> logits", ["'' is none"]),
        ("pos -> mlp(0) -> logits", ["'mlp(0) -> logits' is none"]),
    ],
)
def test_what_is_no_edge_is_refused(text, words):
    with pytest.raises(HypothesisError) as wrong:
        find_edges([text], MODEL)
    assert all(word in str(wrong.value) for word in [*words, repr(text)])


@pytest.mark.parametrize(
    ("text", "late"),
    [
        ("head(1, 0) -> head(0, 0).q", "head(1, 0) writes after head(0, 0).q has read"),
        ("head(0, 0) -> head(0, 1).v", "head(0, 0) writes after head(0, 1).v has read"),
        ("head(0, 0) -> head(0, 0)", "head(0, 0) writes after head(0, 0).q has read"),
        ("mlp(0) -> mlp(0)", "mlp(0) writes after mlp(0) has read"),
        ("pos + head(1, 1) + mlp(1) -> mlp(1)", "mlp(1) writes after mlp(1) has read"),
        ("embed() + mlp(0) + mlp(1) -> head(0, 3).k", "mlp(0) + mlp(1) writes after head(0, 3).k has read"),
    ],
)
def test_a_writer_that_comes_too_late_is_refused(text, late):
    with pytest.raises(HypothesisError) as wrong:
        find_edges([text], MODEL)
    assert str(wrong.value) == f"{text!r} is no edge: {late}."


@given(sizes)
@law(6)
def test_exactly_the_edges_of_the_model_are_found(size):
    anatomy = Anatomy(**size)
    exist = set(all_edges(anatomy))
    for writer in anatomy.writers:
        for reader in anatomy.readers:
            edge = Edge((writer,), reader)
            if edge in exist:
                assert find_edges([str(edge)], anatomy) == [edge]
            else:
                with pytest.raises(HypothesisError, match="has read"):
                    find_edges([str(edge)], anatomy)


def test_every_mistake_is_listed():
    texts = ["pos -> logits", "mpl(0) -> logits", "mlp(1) -> mlp(0)", "head(0, 0)", "head(9) -> logits"]
    with pytest.raises(HypothesisError) as wrong:
        find_edges(texts, MODEL)
    lines = str(wrong.value).splitlines()
    assert len(lines) == 4
    assert all(repr(text) in line for text, line in zip(texts[1:], lines, strict=True))


@pytest.mark.parametrize(
    ("anatomy", "text"),
    [
        (Anatomy(CHANNELS, 2, 4, has_positions=False), "pos -> logits"),
        (Anatomy(CHANNELS, 2, 4, has_mlps=False), "mlp(0) -> logits"),
        (Anatomy(CHANNELS, 2, 4, has_mlps=False), "pos -> mlp(0)"),
    ],
)
def test_what_a_model_lacks_is_none_of_its_sites(anatomy, text):
    with pytest.raises(HypothesisError, match="is none of the model's"):
        find_edges([text], anatomy)
