"""Arrows that a claim lacks: which there are, and that the one that was taken away is named first."""

from __future__ import annotations

import ast
from types import SimpleNamespace

import numpy as np
import pytest
from known_claims import MODELS, claims_by_name

from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node
from ad_hypotheses.causal.history_pairs import make_pairs
from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.known.catalogue import KNOWN
from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.check import outline
from ad_hypotheses.language.declared import missing_arrows, with_arrows
from ad_hypotheses.studies.scrub import undeclared as ranking
from ad_hypotheses.studies.scrub.bind import ScrubSettings, prepare, reference_histories
from ad_hypotheses.studies.scrub.kept import Kept, Remembered
from ad_hypotheses.studies.scrub.study import run_studies
from ad_hypotheses.studies.scrub.undeclared import sizes_of

ANATOMY = Anatomy(("action", "reward"), n_layers=2, n_heads=1)


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last pull.  [batch, step]"""
    return history.previous_actions


@node(at=head(0))
def record(last):
    """The record.  [batch, step]"""
    return last


@node(at=mlp(0))
def best(record):
    """The best arm.  [batch, step]"""
    return record


@node(at=logits)
def choice(best):
    """It.  [batch, step]"""
    return best


BEST_ARM = Hypothesis(choice, model="bandit", name="best_arm")


def arrows_of(claim: Hypothesis, anatomy: Anatomy = ANATOMY) -> dict[tuple[str, str], list[str]]:
    graph = outline(claim, anatomy)
    assert graph is not None
    return {(item.source, item.target): [*map(str, item.edges)] for item in missing_arrows(graph, anatomy)}


def test_what_a_node_reads_and_does_not_declare_is_listed_by_where_it_comes_from():
    arrows = arrows_of(BEST_ARM)
    assert arrows["record", "choice"] == ["head(0, 0) -> logits"]
    assert arrows["last", "best"] == ['embed("action") -> mlp(0)', 'embed("reward") -> mlp(0)']
    assert arrows["last", "choice"] == ['embed("action") -> logits', 'embed("reward") -> logits']
    assert arrows["pos", "record"] == ["pos -> head(0, 0).q", "pos -> head(0, 0).k", "pos -> head(0, 0).v"]
    assert arrows["mlp(1)", "choice"] == ["mlp(1) -> logits"]
    assert ("best", "choice") not in arrows
    assert all(target != "last" for _, target in arrows), "what a node without parents reads is left open"


def test_what_a_node_at_an_input_delivers_is_not_missing():
    @node(at=head(1, 0).q)
    def question(best):
        """What is looked for.  [batch, step]"""
        return best

    @node(at=head(1, 0))
    def answer(question, last):
        """What is fetched.  [batch, step]"""
        return last

    @node(at=logits)
    def act(answer):
        """It.  [batch, step]"""
        return answer

    arrows = arrows_of(Hypothesis(act, model="bandit"))
    assert arrows["record", "question"] == ["head(0, 0) -> head(1, 0).q"]
    assert arrows["record", "answer"] == ["head(0, 0) -> head(1, 0).k", "head(0, 0) -> head(1, 0).v"]
    assert arrows["best", "answer"] == ["mlp(0) -> head(1, 0).k", "mlp(0) -> head(1, 0).v"]


def test_an_arrow_that_would_close_a_circle_is_said_to_and_is_not_added():
    @node(at=head(0) + head(1))
    def heads(last):
        """All heads.  [batch, step]"""
        return last

    @node(at=mlp(0) + mlp(1))
    def mlps(heads):
        """All MLPs.  [batch, step]"""
        return heads

    @node(at=logits)
    def act(mlps):
        """It.  [batch, step]"""
        return mlps

    graph = outline(Hypothesis(act, model="bandit"), ANATOMY)
    circular = {(item.source, item.target): item.circular for item in missing_arrows(graph, ANATOMY)}
    assert circular["mlps", "heads"]
    assert not circular["heads", "act"]
    added = with_arrows(graph, [("mlps", "heads"), ("last", "mlps"), ("heads", "act")])
    assert added.nodes["heads"].parents == ("last",)
    assert added.nodes["act"].parents == ("mlps", "heads")
    names = list(added.nodes)
    assert all(names.index(parent) < names.index(name) for name in names for parent in added.nodes[name].parents)


def test_the_bandit_claim_without_direct_arrows_gets_both_from_one_attribution():
    checkpoint = load("bandit", MODELS)
    anatomy = checkpoint.model.anatomy
    arrows = missing_arrows(outline(BEST_ARM, anatomy), anatomy)
    history = reference_histories(checkpoint, ScrubSettings(rows=16))
    pairs = make_pairs("any", checkpoint.experiment.task, history, seed=0)
    sizes = sizes_of(arrows, checkpoint.model, pairs)
    strongest = [(arrows[n].source, arrows[n].target) for n in np.argsort(-sizes)[:2]]
    assert sorted(strongest) == [("last", "best"), ("record", "choice")]


@pytest.mark.parametrize(
    ("network", "name", "arrow", "signature"),
    [
        ("unvisited", "cell_blind", ("place", "wanted_anywhere"), "def wanted_anywhere(seen, place):"),
        ("reflex", "reward_blind", ('embed("reward")', "urge"), "def urge(last, reward):"),
    ],
)
@pytest.mark.slow
def test_the_arrow_that_a_known_network_has_and_a_claim_lacks_comes_first(network, name, arrow, signature, monkeypatch):
    known = KNOWN[network]
    settings = ScrubSettings(rows=30, pool=32, data=("source",), passes=1, rollouts=0, rivals=False)
    study = prepare(claims_by_name(known)[name].hypothesis, (), load(known.model, MODELS), settings)
    study.claims = study.claims[:1]  # without the control that the tool makes
    undeclared = run_studies([study], settings)[0].claims[0].undeclared
    assert undeclared is not None
    assert (undeclared.arrows[0].source, undeclared.arrows[0].target) == arrow
    assert undeclared.arrows[0].share > 0.9
    assert undeclared.code[-1] == signature
    for line in undeclared.code:  # a signature to paste above a body that is there
        ast.parse(f"{line}\n    pass" if line.endswith(":") else line.replace("@", "", 1))
    if undeclared.added:
        assert undeclared.added == [" -> ".join(arrow)]
        assert undeclared.fidelity_before < 0.5
        assert undeclared.fidelity_after > 0.99, "with the arrow that was taken away nothing is lost"
    else:
        assert not undeclared.arrows[0].from_node
    counted, kept = [], Kept()
    monkeypatch.setattr(ranking, "sizes_of", lambda *rest: counted.append(1) or sizes_of(*rest))
    refuted, how = SimpleNamespace(verdict="refuted"), (settings.options, settings.seed)
    for _ in range(2):  # what does not change with features is worked out once in a process
        again = ranking.undeclared_arrows(study.claims[0].measured, refuted, *how, lambda ground: Remembered(kept, ""))
        assert again == undeclared
    assert counted == [1]


def test_nothing_is_looked_for_where_a_supported_claim_keeps_everything():
    known = KNOWN["reflex"]
    settings = ScrubSettings(rows=30, pool=32, data=("source",), passes=1, rollouts=0, rivals=False)
    study = prepare(claims_by_name(known)["truth"].hypothesis, (), load(known.model, MODELS), settings)
    record = run_studies([study], settings)[0].claims[0]
    assert (record.verdict, record.undeclared) == ("supported", None)
