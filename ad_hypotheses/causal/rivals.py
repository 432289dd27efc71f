"""Does a rival claim distinguish histories that a claim does not, and does the model care? Exactly, from clean runs.

Both claims are asked end to end: what a claim says suffices for the output are the values of all parents of its root.
Its sites and what lies below play no part, so claims with different graphs can be compared, and two routes that cancel,
or wrong sites, cannot be seen. `need(B | A)` compares, at every position, donors that agree under A and differ under B
(D) with donors that agree under both (J):

    k(S) = mean over d in S of KL(p_r || p_d)        need(B | A) = mean over r of k(D) - k(J), in nats

over the positions where both sets have members. D and J differ in everything that goes with B's feature, not in it
alone. Means over D and J are sums over classes: nothing is drawn, and no partial forward pass is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from ad_hypotheses.causal.rival_classes import Labels, RivalData, numbered
from ad_hypotheses.evidence.jackknife import Jackknife, jackknife

Regimes = Mapping[str, Bool[np.ndarray, "row step"]]


@dataclass(frozen=True)
class Reach:
    """Where one question can be asked, in one regime: a matter of features alone.

    Attributes:
        share: Mean over positions with an agreeing donor of the share of agreeing donors that differ under B; 0 if A is
            at least as fine as B, NaN if no position has an agreeing donor.
        positions: Number of positions where both sets of donors have members.
        learners: Number of learners that have such a position.
    """

    share: float
    positions: int
    learners: int


@dataclass(frozen=True)
class NeedEstimate:
    """What one question gave in one regime.

    Attributes:
        reach: Where it could be asked.
        kl: `need(B | A)` in nats; NaN where it could be asked nowhere.
        loss: The same with the loss of the label instead of the divergence, in nats.
    """

    reach: Reach
    kl: Jackknife
    loss: Jackknife


def needs(
    left: Labels, right: Labels, data: RivalData, regimes: Regimes
) -> tuple[dict[str, NeedEstimate], dict[str, NeedEstimate]]:
    """Compute `need(right | left)` and `need(left | right)` in every regime.

    Args:
        left: Classes of a claim, from :func:`end_to_end`.
        right: Classes of another.
        data: The histories and the model's clean run.
        regimes: Steps of each regime. {name: [row, step]}

    Returns:
        Estimates by regime: of what the right claim adds, and of what the left one adds.
    """
    first, second = (_estimates(question, regimes) for question in _questions(left, right, data))
    return first, second


def reaches(
    left: Labels, right: Labels, data: RivalData, regimes: Regimes
) -> tuple[dict[str, Reach], dict[str, Reach]]:
    """Return where `need(right | left)` and `need(left | right)` can be asked, for which no model is run."""
    first, second = (_reach(question, regimes) for question in _questions(left, right, data))
    return first, second


def _questions(left: Labels, right: Labels, data: RivalData) -> list[_Question]:
    """Return what the right claim adds to the left one, and the reverse."""
    positions = _Positions.of(data)
    aligned = [data.aligned(labels) for labels in (left, right)]
    joint = numbered(aligned)  # the same whichever of the two is aligned
    return [_Question(given, joint, positions) for given in aligned]


@dataclass(frozen=True, eq=False)
class _Sums:
    """What a set of donors adds up to for each reference: log-probabilities, and how many donors they are.

    Attributes:
        expected: Sum over donors of their log-probabilities, in expectation over the reference's own distribution.
        label: Sum over donors of the log-probability of the reference's label.
        counts: Number of donors.
    """

    expected: Float[np.ndarray, " reference"]
    label: Float[np.ndarray, " reference"]
    counts: Float[np.ndarray, " reference"]

    def __sub__(self, other: _Sums) -> _Sums:
        return _Sums(self.expected - other.expected, self.label - other.label, self.counts - other.counts)


@dataclass(frozen=True, eq=False)
class _Positions:
    """All positions in a row, and which of them are references and donors. [position] each"""

    data: RivalData
    row: Int[np.ndarray, " position"]
    group: Int[np.ndarray, " position"]
    references: Int[np.ndarray, " reference"]
    donors: Int[np.ndarray, " donor"]

    @classmethod
    def of(cls, data: RivalData) -> _Positions:
        n_steps = data.actions.shape[1]
        row, group = (np.repeat(values, n_steps) for values in (np.arange(len(data.learner)), data.groups()))
        references, donors = (np.flatnonzero(np.repeat(rows, n_steps)) for rows in (data.references, data.pool))
        return cls(data, row, group, references, donors)

    @property
    def n_groups(self) -> int:
        """Number of groups that the jackknife removes one after the other."""
        return int(self.group.max()) + 1

    @cached_property
    def log_probs(self) -> Float[np.ndarray, "action position"]:
        """Log-probabilities, an action after the other, as sums over classes read them."""
        log_probs = self.data.log_probs
        assert log_probs is not None, "no clean run"
        flat = log_probs.reshape(-1, log_probs.shape[-1])
        return np.ascontiguousarray(flat.T, dtype=np.float64)

    @cached_property
    def labels(self) -> Int[np.ndarray, " position"]:
        """Labels, in numbers large enough to compute indices with."""
        return self.data.actions.ravel().astype(np.int64)

    def own(self, code: Int[np.ndarray, " position"]) -> Int[np.ndarray, " position"] | None:
        """Return the classes within rows, whose members must not stand in for each other; None where none could."""
        if self.data.donors is not None:
            return None
        return np.arange(len(code)) if self.data.align == "step" else numbered([self.row, code])

    def counts(self, code: Int[np.ndarray, " position"]) -> Int[np.ndarray, " reference"]:
        """Return how many donors from other rows each reference has in its class."""
        own, size = self.own(code), int(code.max()) + 1
        counts = np.bincount(code[self.donors], minlength=size)[code[self.references]]
        return counts if own is None else counts - np.bincount(own)[own]

    def sums(
        self,
        code: Int[np.ndarray, " position"],
        references: Int[np.ndarray, " reference"],
        donors: Int[np.ndarray, " donor"],
        probs: Float[np.ndarray, "action reference"],
    ) -> _Sums:
        """Add up the donors in the class of each reference."""
        of_reference, of_donor, size = code[references], code[donors], int(code.max(initial=0)) + 1
        counts = np.bincount(of_donor, minlength=size).take(of_reference).astype(np.float64)
        totals = np.empty((len(self.log_probs), size))
        for action, log_probs in enumerate(self.log_probs):
            totals[action] = np.bincount(of_donor, weights=log_probs.take(donors), minlength=size)
        expected = np.zeros(len(references))
        for prob, total in zip(probs, totals, strict=True):
            expected += prob * total.take(of_reference)
        label = totals.ravel().take(self.labels[references] * size + of_reference)
        return _Sums(expected, label, counts)


@dataclass(frozen=True, eq=False)
class _Question:
    """What one claim distinguishes beyond another.

    Attributes:
        given: Classes of the other, A, among aligned positions. [position]
        joint: Classes of both. [position]
        positions: The positions.
    """

    given: Int[np.ndarray, " position"]
    joint: Int[np.ndarray, " position"]
    positions: _Positions

    @cached_property
    def counts(self) -> tuple[Int[np.ndarray, " reference"], Int[np.ndarray, " reference"]]:
        """How many donors of each reference agree under A, and how many under both."""
        return self.positions.counts(self.given), self.positions.counts(self.joint)

    @cached_property
    def crucial(self) -> Int[np.ndarray, " crucial"]:
        """Positions of the references that have donors in D and in J."""
        agreeing, both = self.counts
        return self.positions.references[(both > 0) & (agreeing > both)]


def _reach(question: _Question, regimes: Regimes) -> dict[str, Reach]:
    (agreeing, both), positions = question.counts, question.positions
    share = 1 - both / np.maximum(agreeing, 1)
    learner, reach = positions.data.learner[positions.row[question.crucial]], {}
    for name, mask in regimes.items():
        tested = (agreeing > 0) & mask.ravel()[positions.references]
        inside = mask.ravel()[question.crucial]
        mean = float(share[tested].mean()) if tested.any() else float("nan")
        reach[name] = Reach(mean, int(inside.sum()), len(np.unique(learner[inside])))
    return reach


def _estimates(question: _Question, regimes: Regimes) -> dict[str, NeedEstimate]:
    reach, estimates = _reach(question, regimes), {}
    inside = np.stack([mask.ravel()[question.crucial] for mask in regimes.values()])
    values, without = _means(question, inside)
    for number, name in enumerate(regimes):
        kl, loss = (jackknife(values[figure, number], without[:, figure, number]) for figure in (0, 1))
        estimates[name] = NeedEstimate(reach[name], kl, loss)
    return estimates


def _means(
    question: _Question, inside: Bool[np.ndarray, "regime crucial"]
) -> tuple[Float[np.ndarray, "figure regime"], Float[np.ndarray, "group figure regime"]]:
    """Return both figures by regime, on all learners and without each group of them, from sums over classes."""
    positions, crucial = question.positions, question.crucial
    weights = inside.astype(np.float64)
    probs = np.exp(positions.log_probs[:, crucial])
    # classes without a crucial reference are left out, which makes the tables that are summed into small
    codes = [_of_references(code, crucial) for code in (question.given, question.joint)]
    donors = positions.donors[codes[0][positions.donors] > 0]

    whole = [positions.sums(code, crucial, donors, probs) for code in codes]
    for number, code in enumerate((question.given, question.joint)):
        own = positions.own(code)
        if own is not None:
            own = _of_references(own, crucial)
            whole[number] -= positions.sums(own, crucial, donors[own[donors] > 0], probs)
    group, of_donor = positions.group[crucial], positions.group[donors]
    without = []
    for removed in range(positions.n_groups):
        parts = [positions.sums(code, crucial, donors[of_donor == removed], probs) for code in codes]
        agreeing, both = (total - part for total, part in zip(whole, parts, strict=True))
        without.append(_figures(agreeing, both, weights * (group != removed)))
    return _figures(whole[0], whole[1], weights), np.stack(without)


def _figures(
    agreeing: _Sums, both: _Sums, weights: Float[np.ndarray, "regime crucial"]
) -> Float[np.ndarray, "figure regime"]:
    """Return the means of k(D) - k(J), by divergence and by loss, over references that have donors in both sets.

    The entropy of a reference is in k(D) and in k(J) alike, so the donors' log-probabilities are all that remains.
    """
    differing = agreeing - both
    counted = (differing.counts > 0) & (both.counts > 0)
    same, other = np.maximum(both.counts, 1), np.maximum(differing.counts, 1)
    changes = np.stack([both.expected / same - differing.expected / other, both.label / same - differing.label / other])
    with np.errstate(invalid="ignore"):  # 0 / 0: no reference is left
        return (changes * counted) @ weights.T / (weights @ counted)


def _of_references(
    code: Int[np.ndarray, " position"], references: Int[np.ndarray, " reference"]
) -> Int[np.ndarray, " position"]:
    """Number the classes that hold a reference from 1, and let all others be 0: what is summed by class stays small."""
    holds = np.zeros(int(code.max()) + 1, dtype=bool)
    holds[code[references]] = True
    return (np.cumsum(holds) * holds)[code]
