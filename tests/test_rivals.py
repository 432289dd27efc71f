"""What a rival adds to a claim: hand-worked cases, laws, a count of all pairs as judge, the oracle, known networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_claims import MODELS, claims_of
from laws import law

from ad_hypotheses.causal.oracle import OracleComponent, OracleNode, OracleOptions, Site, expected_loss
from ad_hypotheses.causal.rival_classes import RivalData, end_to_end, numbered, same_classes
from ad_hypotheses.causal.rivals import Reach, needs, reaches
from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.evidence.jackknife import GROUPS, Jackknife, jackknife, learner_groups
from ad_hypotheses.known.catalogue import KNOWN
from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.check import BoundGraph, BoundNode
from ad_hypotheses.language.sites import embed, head, logits, mlp
from ad_hypotheses.studies.rivals.classes import ClaimClasses, RivalDataset
from ad_hypotheses.studies.scrub.bind import ScrubSettings, reference_histories

H, Q = np.log([1 / 2, 1 / 2]), np.log([1 / 4, 3 / 4])
MEAN_KL = (log(4 / 3) / 2 + log(1 / 2) + 3 / 4 * log(3)) / 2  # of KL(h || q) and KL(q || h): 0.137327
X, Y, COPY = (bits.ravel() for bits in np.indices((2, 2, 2)))


def uniform(rng: np.random.Generator, shape: tuple[int, ...], n_actions: int) -> np.ndarray:
    """Draw log-probabilities of actions."""
    logits = rng.normal(size=(*shape, n_actions))
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def one_step(model: np.ndarray) -> RivalData:
    """Return histories of one step, a learner each, whose model says `q` or `h`."""
    log_probs = np.where(model.astype(bool)[:, None, None], Q, H)
    return RivalData(np.zeros((len(model), 1), dtype=int), np.arange(len(model)), None, log_probs)


def everywhere(data: RivalData) -> dict[str, np.ndarray]:
    return {"all": np.ones(data.actions.shape, dtype=bool)}


@pytest.mark.parametrize(
    ("model", "left", "right", "right_adds", "left_adds"),
    [
        (X, X, Y, (2 / 3, 0.0), (2 / 3, MEAN_KL)),
        (X != Y, X, Y, (2 / 3, MEAN_KL), (2 / 3, MEAN_KL)),
        (0 * X, X, Y, (2 / 3, 0.0), (2 / 3, 0.0)),
        (Y, 2 * X + Y, X, (0.0, None), (2 / 3, MEAN_KL)),
        (X, 2 * X + Y, X, (0.0, None), (2 / 3, 0.0)),
        (X[X == Y], X[X == Y], Y[X == Y], (0.0, None), (0.0, None)),
    ],
)
def test_cases_worked_out_by_hand(model, left, right, right_adds, left_adds):
    data = one_step(model)
    answers = needs(left[:, None], right[:, None], data, everywhere(data))
    for answer, (share, need) in zip(answers, (right_adds, left_adds), strict=True):
        assert answer["all"].reach.share == pytest.approx(share)
        assert answer["all"].reach.positions == (0 if need is None else len(model))
        if need is None:
            assert np.isnan(answer["all"].kl.value)
        else:
            assert answer["all"].kl.value == pytest.approx(need, abs=1e-12)


def test_the_mean_of_the_two_divergences_is_that_of_the_cases():
    assert pytest.approx(0.137327, abs=5e-7) == MEAN_KL


@dataclass(frozen=True)
class Scene:
    """Random claims and data."""

    left: np.ndarray
    right: np.ndarray
    data: RivalData
    regimes: dict[str, np.ndarray]

    def rows(self, rows: np.ndarray) -> Scene:
        """Return the scene with other rows, or in another order."""
        data = self.data
        donors, log_probs = (None if part is None else part[rows] for part in (data.donors, data.log_probs))
        chosen = replace(
            data,
            actions=data.actions[rows],
            learner=data.learner[rows],
            donors=donors,
            log_probs=log_probs,
            episode_step=data.episode_step[rows],
        )
        return Scene(
            self.left[rows], self.right[rows], chosen, {name: mask[rows] for name, mask in self.regimes.items()}
        )

    def needs(self):
        return needs(self.left, self.right, self.data, self.regimes)


def scene(seed: int, align: str, apart: bool, n_rows: int = 14, n_steps: int = 5) -> Scene:
    rng = np.random.default_rng(seed)
    learner = np.concatenate([[0, 1], np.arange(n_rows - 2)]) + 10  # two learners have two windows each
    donors = np.isin(learner, np.arange(10, 10 + n_rows // 3), invert=True) if apart else None
    data = RivalData(
        rng.integers(0, 3, (n_rows, n_steps)).astype(np.int8),  # as histories hold them
        learner,
        donors,
        uniform(rng, (n_rows, n_steps), 3),
        align,
        np.broadcast_to(np.arange(n_steps) % 3, (n_rows, n_steps)),
    )
    left, right = rng.integers(0, 2, (n_rows, n_steps)), rng.integers(-1, 2, (n_rows, n_steps))
    regimes = {"all": np.ones((n_rows, n_steps), dtype=bool), "some": rng.random((n_rows, n_steps)) < 0.5}
    return Scene(left, right, data, regimes)


def counted(left, right, data: RivalData, mask) -> tuple[float, float, Reach]:
    """Answer a question by looking at every pair of positions, as the definition reads."""
    changes, shares, learners = [], [], set()
    for row, step in np.argwhere(mask & data.references[:, None]):
        pairs = np.argwhere((left == left[row, step]) & data.pool[:, None])
        pairs = [(r, s) for r, s in pairs if r != row and may_stand_in(data, s, step, data.episode_step, r, row)]
        agree = [pair for pair in pairs if right[pair] == right[row, step]]
        differ = [pair for pair in pairs if right[pair] != right[row, step]]
        if pairs:
            shares.append(len(differ) / len(pairs))
        if agree and differ:
            changes.append(np.subtract(cost(data, row, step, differ), cost(data, row, step, agree)))
            learners.add(data.learner[row])
    kl, loss = np.mean(changes, axis=0) if changes else (np.nan, np.nan)
    return kl, loss, Reach(np.mean(shares) if shares else np.nan, len(changes), len(learners))


def may_stand_in(data: RivalData, donor_step, step, episode_step, donor_row, row) -> bool:
    if data.align == "episode_step":
        return bool(episode_step[donor_row, donor_step] == episode_step[row, step])
    return data.align == "any" or donor_step == step


def cost(data: RivalData, row: int, step: int, donors: list[tuple[int, int]]) -> tuple[float, float]:
    """Return the mean divergence from some donors, and the mean loss of the label under them."""
    own, others = data.log_probs[row, step], np.array([data.log_probs[donor] for donor in donors])
    return (np.exp(own) * (own - others)).sum(axis=-1).mean(), -others[:, data.actions[row, step]].mean()


alignments = pytest.mark.parametrize("align", ["step", "episode_step", "any"])
roles = pytest.mark.parametrize("apart", [False, True], ids=["both roles", "pool apart"])


@alignments
@roles
def test_sums_over_classes_agree_with_a_count_of_all_pairs(align, apart):
    drawn = scene(3, align, apart)
    swapped = (drawn.left, drawn.right), (drawn.right, drawn.left)
    reach = reaches(drawn.left, drawn.right, drawn.data, drawn.regimes)
    for answer, where, (given_claim, adding) in zip(drawn.needs(), reach, swapped, strict=True):
        for name, mask in drawn.regimes.items():
            kl, loss, expected = counted(given_claim, adding, drawn.data, mask)
            assert answer[name].kl.value == pytest.approx(kl, abs=1e-12)
            assert answer[name].loss.value == pytest.approx(loss, abs=1e-12)
            assert answer[name].reach == where[name]
            assert where[name].share == pytest.approx(expected.share)
            assert (where[name].positions, where[name].learners) == (expected.positions, expected.learners)


@alignments
@roles
def test_removing_a_group_from_the_sums_is_measuring_without_it(align, apart):
    drawn = scene(4, align, apart)
    groups = drawn.data.groups()
    left_out = [drawn.rows(np.flatnonzero(groups != group)) for group in range(groups.max() + 1)]
    for question in (0, 1):
        whole = drawn.needs()[question]["some"]
        without = [rest.needs()[question]["some"] for rest in left_out]
        for figure in ("kl", "loss"):
            values = np.array([getattr(part, figure).value for part in without])
            expected = jackknife(getattr(whole, figure).value, values)
            assert getattr(whole, figure).error == pytest.approx(expected.error, rel=1e-9)
            assert expected.error > 0


def test_learners_leave_with_all_their_rows_and_from_both_roles():
    data = scene(0, "step", apart=True, n_rows=40).data
    groups = data.groups()
    for learner in np.unique(data.learner):
        assert len(set(groups[data.learner == learner])) == 1
    sizes = [np.bincount(groups[rows], minlength=groups.max() + 1) for rows in (data.references, data.pool)]
    assert all((size > 0).all() for size in sizes)


@alignments
@roles
@given(seed=st.integers(0, 10**6))
@law(4)
def test_laws_of_the_two_questions(align, apart, seed):
    drawn = scene(seed, align, apart)
    rng = np.random.default_rng(seed)
    right_adds, left_adds = drawn.needs()
    # swapping the claims swaps the answers
    assert same(needs(drawn.right, drawn.left, drawn.data, drawn.regimes), (left_adds, right_adds))
    # names of values play no part
    renamed = replace(drawn, left=7 - 3 * drawn.left, right=rng.permutation([4, 9, 2])[drawn.right + 1])
    assert same(renamed.needs(), (right_adds, left_adds))
    # nor does the order of rows, down to the interval
    assert same(drawn.rows(rng.permutation(len(drawn.left))).needs(), (right_adds, left_adds))
    # a claim adds nothing to itself, nor does a coarser one to it
    for coarser in (drawn.left, drawn.left // 2, np.zeros_like(drawn.left)):
        adds = needs(drawn.left, coarser, drawn.data, drawn.regimes)[0]
        assert all(answer.reach.share == 0 and answer.reach.positions == 0 for answer in adds.values())


def same(answers, expected) -> bool:
    for answer, other in zip(answers, expected, strict=True):
        for name in answer:
            assert answer[name].reach.positions == other[name].reach.positions
            figures = [
                (part[name].reach.share, part[name].kl.value, part[name].kl.error, part[name].loss.value)
                for part in (answer, other)
            ]
            np.testing.assert_allclose(*figures, rtol=1e-7, atol=1e-12)
    return True


def test_costs_of_both_sets_are_what_scrubbing_a_claim_at_all_of_the_input_gives():
    """One node at everything that the root reads: the loss is k of all who agree, from which k(D) and k(J) follow."""
    rng = np.random.default_rng(5)
    n_rows, n_steps = 9, 2
    left, right = rng.integers(0, 2, (n_rows, n_steps)), rng.integers(0, 2, (n_rows, n_steps))
    data = RivalData(
        np.zeros((n_rows, n_steps), dtype=int), np.arange(n_rows), None, uniform(rng, (n_rows, n_steps), 3)
    )

    def divergence(donor: tuple[int, int], row: int, step: int) -> float:
        own = data.log_probs[row, step]
        return float((np.exp(own) * (own - data.log_probs[donor])).sum())

    def scrubbed(labels: np.ndarray) -> np.ndarray:
        graph = [
            OracleComponent("tokens", {}, lambda row, step: (row, step)),
            OracleComponent("output", {"in": ("tokens",)}, lambda inputs: inputs["in"]["tokens"]),
        ]
        nodes = [
            OracleNode("feature", (Site("tokens"),), (), labels),
            OracleNode("root", (Site("output"),), ("feature",)),
        ]
        losses = expected_loss(graph, nodes, "root", n_rows, n_steps, divergence, OracleOptions())
        return np.array([float(losses[position]) for position in np.ndindex(n_rows, n_steps)]).reshape(n_rows, n_steps)

    joint = 2 * left + right
    agreeing, both = (
        np.array([[(labels[:, t] == labels[r, t]).sum() - 1 for t in range(n_steps)] for r in range(n_rows)])
        for labels in (left, joint)
    )
    crucial = (both > 0) & (agreeing > both)
    of_agreeing, of_both = scrubbed(left)[crucial], scrubbed(joint)[crucial]
    n_agreeing, n_both = agreeing[crucial], both[crucial]
    of_differing = (n_agreeing * of_agreeing - n_both * of_both) / (n_agreeing - n_both)
    answer = needs(left, right, data, everywhere(data))[0]["all"]
    assert crucial.sum() == answer.reach.positions > 5
    assert answer.kl.value == pytest.approx((of_differing - of_both).mean(), abs=1e-12)


def test_end_to_end_a_claim_is_all_that_its_root_reads():
    def node(name: str, parents: tuple[str, ...], labels, selected=None) -> BoundNode:
        return BoundNode(name, (), parents, None if labels is None else np.asarray(labels), selected, False, "")

    narrowed = np.array([[True, False], [True, False], [False, True]])
    nodes = {
        "below": node("below", (), [[0, 1], [2, 3], [4, 5]]),
        "history": node("history", (), [0, 0, 1]),
        "step": node("step", ("below",), [[5, 5], [5, 6], [5, 5]]),
        "root": node("root", ("history", "step"), None),
    }
    classes = end_to_end(BoundGraph(nodes, "root"), 3, 2)
    assert numbered([classes]).reshape(3, 2).tolist() == [[0, 0], [0, 1], [2, 2]]  # (0, 5), (0, 6), (1, 5)
    nodes["history"] = replace(nodes["history"], selected=narrowed)
    classes = end_to_end(BoundGraph(nodes, "root"), 3, 2)
    # what a node is not narrowed to is one class of it, whatever the history
    alike = classes.ravel()[:, None] == classes.ravel()
    expected = [(1, 5), (0, 5), (1, 5), (0, 6), (0, 5), (2, 5)]
    assert (alike == np.array([[a == b for b in expected] for a in expected])).all()
    nothing = end_to_end(BoundGraph({"root": node("root", (), None)}, "root"), 3, 2)
    assert nothing.tolist() == [[0, 0]] * 3


def test_a_root_that_holds_heads_reads_its_parents_at_every_step_so_far():
    anatomy = Anatomy(("x",), 1, 1)

    def graph(site) -> BoundGraph:
        token = BoundNode("token", embed("x").resolve(anatomy), (), np.array([[0, 1], [1, 1], [0, 1]]), None, False, "")
        root = BoundNode("root", site.resolve(anatomy), ("token",), None, None, False, "")
        return BoundGraph({"token": token, "root": root}, "root")

    for site in (logits, mlp(0) + logits):
        assert numbered([end_to_end(graph(site), 3, 2)]).tolist() == [0, 1, 1, 1, 0, 1]
    assert numbered([end_to_end(graph(head(0) + logits), 3, 2)]).tolist() == [0, 2, 1, 3, 0, 2]


def test_classes_are_the_same_whatever_their_values_are_called():
    drawn = scene(1, "step", apart=False)
    assert same_classes(drawn.left, 5 - 2 * drawn.left, drawn.data)
    assert not same_classes(drawn.left, drawn.right, drawn.data)
    assert not same_classes(drawn.left, np.zeros_like(drawn.left), drawn.data)
    # at each step all rows agree on the step, so it distinguishes nothing there, but among all steps it does
    steps = np.broadcast_to(np.arange(5), drawn.left.shape)
    assert same_classes(drawn.left, 5 * drawn.left + steps, drawn.data)
    assert not same_classes(drawn.left, 5 * drawn.left + steps, replace(drawn.data, align="any"))


def test_numbers_of_many_columns_do_not_run_over():
    rng = np.random.default_rng(0)
    columns = [rng.integers(-(2**40), 2**40, 4)[rng.integers(0, 4, 500)] for _ in range(5)]
    columns.append(rng.choice(np.array([-128, 127], dtype=np.int8), 500))
    code = numbered(columns)
    rows = [tuple(int(column[position]) for column in columns) for position in range(500)]
    assert len(set(code.tolist())) == len(set(zip(code.tolist(), rows, strict=True))) == len(set(rows))
    assert code.max() == len(set(rows)) - 1


@pytest.mark.parametrize("name", ["win-stay", "retrieval"])
def test_nothing_is_needed_beyond_the_truth_about_a_network_set_by_hand(name):
    known = KNOWN[name]
    checkpoint = load(known.model, MODELS)
    history = reference_histories(checkpoint, ScrubSettings(rows=48))
    source = RivalDataset.of("source", history, checkpoint.experiment.task, checkpoint=checkpoint)
    truth = ClaimClasses.bound(claims_of(known)[0].hypothesis, checkpoint, [source]).labels["source"]
    rng = np.random.default_rng(0)
    rivals = {
        "noise": rng.integers(0, 2, history.shape),
        "history": np.broadcast_to(np.arange(48)[:, None] % 2, history.shape),
        "action": history.previous_actions,
    }
    reached = 0
    for rival in rivals.values():
        adds, lacks = needs(truth, rival, source.data("step"), source.regimes)
        if adds["all"].reach.positions:
            reached += 1
            assert adds["all"].kl.value == pytest.approx(0, abs=1e-5)
        assert lacks["all"].kl.value > 0.05
    assert reached >= 2


def random_bit(rng: np.random.Generator, n_learners: int, effect: float, apart: bool):
    """Draw data in which a claim knows a bit of a learner, and a rival a second one that is worth `effect` logits."""
    n_steps = 3
    known, bit = rng.integers(0, 2, (2, n_learners))
    logits = rng.normal(size=(n_learners, 1)) + 0.5 * rng.normal(size=(n_learners, n_steps)) + known[:, None]
    logits = logits + effect * bit[:, None]
    log_probs = -np.log1p(np.exp(np.stack([-logits, logits], axis=-1)))
    donors = np.arange(n_learners) >= n_learners // 5 if apart else None
    actions = np.zeros((n_learners, n_steps), dtype=int)
    labels = (np.broadcast_to(values[:, None], (n_learners, n_steps)) for values in (known, bit))
    return (*labels, RivalData(actions, np.arange(n_learners), donors, log_probs))


def coverage(effect: float, apart: bool, n_learners: int, repetitions: int, seed: int) -> float:
    """How often the 95 % interval holds what very many learners give."""
    rng = np.random.default_rng(seed)
    truth = 0.0
    if effect:
        left, right, data = random_bit(rng, 200_000, effect, apart)
        truth = needs(left, right, data, everywhere(data))[0]["all"].kl.value
    covered = 0
    for _ in range(repetitions):
        left, right, data = random_bit(rng, n_learners, effect, apart)
        number = needs(left, right, data, everywhere(data))[0]["all"].kl.interval()
        covered += number.low <= truth <= number.high
    return covered / repetitions


@roles
def test_intervals_hold_zero_where_a_rival_adds_a_random_bit(apart):
    assert coverage(0.0, apart, 120, 20, seed=1) >= 0.9


@pytest.mark.slow
@roles
@pytest.mark.parametrize(("n_learners", "least"), [(60, 0.88), (250, 0.92)])
@pytest.mark.parametrize(("effect", "most"), [(0.0, 1.0), (1.0, 0.985)])  # about 0 they are on the safe side: 0.99
def test_intervals_hold_the_value_as_often_as_they_say(effect, most, apart, n_learners, least):
    assert least <= coverage(effect, apart, n_learners, 400, seed=2) <= most


def test_a_jackknife_of_means_is_the_standard_error_of_the_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(size=24)
    without = (values.sum() - values) / 23
    estimate = jackknife(values.mean(), without)
    assert estimate.error == pytest.approx(values.std(ddof=1) / np.sqrt(24))
    number = estimate.interval(0.95)
    assert number.high - number.value == pytest.approx(2.0687 * estimate.error, rel=1e-4)  # t of 23 degrees of freedom
    assert estimate.interval(0.999).low < number.low


@pytest.mark.parametrize("estimate", [Jackknife(np.nan, 1.0, 24), Jackknife(0.1, np.nan, 24), Jackknife(0.1, 0.01, 11)])
def test_no_interval_where_nothing_or_too_little_was_measured(estimate):
    assert not estimate.interval().estimable


def test_groups_are_even_and_know_learners_not_rows():
    learner = np.repeat(np.arange(100), 2)
    groups = learner_groups(learner)
    assert (groups[::2] == groups[1::2]).all()
    assert set(np.bincount(groups[::2]).tolist()) == {100 // GROUPS, 100 // GROUPS + 1}
    order = np.random.default_rng(0).permutation(len(learner))
    assert (learner_groups(learner[order]) == groups[order]).all()
    assert (np.diff(learner_groups(np.arange(100))) != 1).any(), "dealt out in the order of the learners' numbers"
