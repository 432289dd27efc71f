"""The wrong-site control: the same claim elsewhere, at places that the claim itself does not name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.check import BoundGraph, BoundNode
from ad_hypotheses.language.hypothesis import Hypothesis, node
from ad_hypotheses.language.sites import embed, head, logits, mlp, pos
from ad_hypotheses.language.structure import check_structure
from ad_hypotheses.language.wrong_site import is_finer, wrong_site, wrong_sites

MODEL = Anatomy(("x", "y", "action", "reward"), n_layers=2, n_heads=4)


def chain(*sites) -> Hypothesis:
    """Nodes that read one another in a row, the last at the logits."""
    made = [reader("n0", sites[0])]
    for number, site in enumerate(sites[1:], start=1):
        made.append(reader(f"n{number}", site, made[-1]))
    return Hypothesis(reader("choice", logits, made[-1]))


def reader(name, site, *parents):
    scope = {"node": node, "site": site} | {parent.name: parent for parent in parents}
    arguments = [parent.name for parent in parents] or ["history"]
    exec(f"@node(at=site)\ndef {name}({', '.join(arguments)}):\n    return {arguments[0]}\n", scope)
    return scope[name]


def sites_of(hypothesis) -> dict[str, str]:
    return {one.name: str(one.site) for one in hypothesis.nodes}


def places(hypothesis, anatomy=MODEL) -> set:
    """Heads, MLPs and channels that a claim sits at, the logits apart."""
    found = check_structure(hypothesis, anatomy).values()
    touched = [part.writer or part.readers[0] for parts in found for part in parts]
    return {(one.stage, one.head, getattr(one, "channel", None)) for one in touched if str(one) != "logits"}


def test_heads_move_within_their_layer_and_everything_else_stays():
    claim = chain(embed("x"), head(0, 1), head(1, 3))
    control = wrong_site(claim, MODEL)
    assert sites_of(control) == {"n0": 'embed("x")', "n1": "head(0, 2)", "n2": "head(1, 0)", "choice": "logits"}
    check_structure(control, MODEL)
    assert [one.function for one in control.nodes] == [one.function for one in claim.nodes]
    assert list(control.graph().edges) == list(claim.graph().edges)
    assert control.origin is claim
    assert (control.accept, control.model) == (claim.accept, claim.model)
    assert control.name == "choice at wrong sites"


def test_named_heads_are_avoided_where_there_are_others():
    control = wrong_site(chain(head(0, 0) + head(0, 1), head(1, 0)), MODEL)
    assert sites_of(control)["n0"] == "head(0, 2) + head(0, 3)"


def test_a_head_that_is_named_for_another_reader_is_avoided_too():
    """`head(0, 1).to(logits)` is a place that the claim names, so nothing else may move to `head(0, 1)`."""

    @node(at=head(0, 0).to(head(1, 0)))
    def early(history):
        return history.actions

    @node(at=head(0, 1).to(logits))
    def direct(history):
        return history.actions

    @node(at=head(1, 0))
    def late(early):
        return early

    @node(at=logits)
    def choice(late, direct):
        return late

    control = wrong_site(Hypothesis(choice), MODEL)
    sites = sites_of(control)
    assert sites["early"] == "head(0, 2).to(head(1, 2))"
    assert sites["direct"] == "head(0, 3).to(logits)"
    assert not places(control) & places(Hypothesis(choice))


def test_mlps_move_to_other_layers_as_far_as_the_arrows_allow():
    assert sites_of(wrong_site(chain(mlp(1)), MODEL))["n0"] == "mlp(0)"
    both = wrong_site(chain(head(0, 0), mlp(0)), MODEL)
    assert sites_of(both) == {"n0": "head(0, 1)", "n1": "mlp(1)", "choice": "logits"}
    # to another layer the second would come before the first, so it stays and the head alone moves
    late = wrong_site(chain(head(1, 2), mlp(1)), MODEL)
    assert sites_of(late) == {"n0": "head(1, 3)", "n1": "mlp(1)", "choice": "logits"}


def test_inputs_of_a_head_move_with_it():
    claim = chain(embed("x"), head(1, 2).q, head(1, 2))
    assert sites_of(wrong_site(claim, MODEL)) == {
        "n0": 'embed("x")',
        "n1": "head(1, 3).q",
        "n2": "head(1, 3)",
        "choice": "logits",
    }


def test_subspaces_roles_and_counts_move_along():
    site = (head(0, 0).along(np.eye(8)[:2]) + head(1, 1)).expect(2).steps("rewarded")
    control = wrong_site(chain(site), MODEL)
    assert sites_of(control)["n0"] == '((head(0, 1).along(directions) + head(1, 2)).expect(2)).steps("rewarded")'
    assert control.nodes[0].site.terms[0].along == site.terms[0].along


def test_channels_move_only_where_nothing_else_can():
    assert sites_of(wrong_site(chain(embed("y")), MODEL))["n0"] == 'embed("action")'
    assert sites_of(wrong_site(chain(embed("reward")), MODEL))["n0"] == 'embed("x")'


def test_a_whole_layer_moves_to_another():
    assert sites_of(wrong_site(chain(embed(), head(1)), MODEL))["n1"] == "head(0)"


def test_mlps_change_places_with_heads_only_where_nothing_else_can_move():
    swapped = wrong_site(chain(mlp(0), mlp(1)), Anatomy(("action",), 2, 4))
    assert sites_of(swapped) == {"n0": "head(0)", "n1": "head(1)", "choice": "logits"}


@pytest.mark.parametrize(
    ("sites", "anatomy"),
    [
        ([pos], MODEL),
        ([head(0), mlp(0)], Anatomy(("action",), 1, 1)),
    ],
    ids=["pos", "all there is"],
)
def test_there_is_none_where_nothing_can_move(sites, anatomy):
    check_structure(chain(*sites), anatomy)
    assert wrong_site(chain(*sites), anatomy) is None


def test_a_claim_that_does_not_fit_the_model_gets_none_and_no_error():
    assert wrong_site(chain(head(7, 0)), MODEL) is None


@pytest.mark.slow
@given(
    layers=st.integers(1, 3),
    heads=st.integers(1, 5),
    chosen=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=3, unique=True),
)
def test_controls_fit_the_model_and_keep_away_whenever_one_shift_can(layers, heads, chosen):
    anatomy = Anatomy(("x", "action", "reward"), layers, heads)
    chosen = sorted(chosen)
    assume(all(layer < layers and number < heads for layer, number in chosen))
    assume(len({layer for layer, _ in chosen}) == len(chosen))
    claim = chain(*(head(layer, number) for layer, number in chosen))
    control = wrong_site(claim, anatomy)
    if heads == 1:
        assert [str(one.site) for one in control.nodes[:-1]] == [f"mlp({layer})" for layer, _ in chosen]
        return
    assert not places(control, anatomy) & places(claim, anatomy)
    assert [len(one.site.terms) for one in control.nodes] == [len(one.site.terms) for one in claim.nodes]


def bound_at(**features) -> BoundGraph:
    """A claim whose nodes sit at heads of the first layer, by head, with these labels."""
    nodes = {
        name: BoundNode(name, head(0, place).resolve(MODEL), (), np.array(labels), None, False, "")
        for name, (place, labels) in features.items()
    }
    return BoundGraph(nodes, "root")


def test_a_control_that_knows_more_at_a_claimed_place_is_finer():
    claim = bound_at(coarse=(0, [0, 0, 1, 1]), fine=(1, [0, 1, 2, 2]))
    assert is_finer(bound_at(coarse=(1, [0, 0, 1, 1]), fine=(0, [0, 1, 2, 2])), claim)
    assert not is_finer(bound_at(coarse=(1, [0, 0, 1, 1]), fine=(2, [0, 1, 2, 2])), claim)  # it only knows less there
    assert not is_finer(bound_at(coarse=(2, [0, 0, 1, 1]), other=(0, [5, 5, 3, 3])), claim)  # as much
    assert not is_finer(bound_at(other=(0, [0, 1, 0, 1])), claim)  # something else
    assert is_finer(bound_at(other=(0, [[0, 1], [0, 0], [2, 2], [2, 2]])), claim)  # at some of the steps


def test_other_moves_follow_the_best_one():
    claim = chain(head(0, 0), head(1, 0))
    moves = wrong_sites(claim, MODEL)
    assert len({str(sites_of(move)) for move in moves}) == len(moves) == 3
    assert sites_of(moves[0]) == sites_of(wrong_site(claim, MODEL))
