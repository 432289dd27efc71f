"""Claims on one context: who may stand in, who is pinned, whom a symmetry made, and where two claims part."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ad_hypotheses as adh
from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node
from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.errors import DataError, UserError

RETRIEVAL = "hypotheses/known/retrieval.py"
STEP = 47


@pytest.fixture(scope="module")
def model():
    return adh.load("known-retrieval")


@pytest.fixture(scope="module")
def histories(model):
    return model.histories(24)


@pytest.fixture(scope="module")
def scrubbed(model, histories):
    return adh.scrub_at(RETRIEVAL, histories[0], histories, model=model, name="cell_blind", at=STEP, passes=2)


def test_who_stood_in_is_among_those_who_may(scrubbed):
    arrows = {(donor.number, donor.arrow) for donor in scrubbed.donors}
    assert {(members.number, members.arrow) for members in scrubbed.members} == arrows
    several = 0
    for donor, members in zip(scrubbed.donors, scrubbed.members, strict=True):
        pairs = set(zip(members.rows, members.steps, strict=True))
        if donor.rows[STEP] is None:
            assert not pairs
        elif donor.rows[STEP] >= 0 and pairs:
            assert (donor.rows[STEP], donor.steps[STEP]) in pairs
        several += len(pairs) > 1
    assert several > 5


def test_those_who_may_stand_in_agree_on_the_feature(scrubbed, histories):
    cells = {tuple(histories.observations[row, step]) for members in scrubbed.members
             if members.arrow.endswith("< cell") and members.arrow.count("<") == 2
             for row, step in zip(members.rows, members.steps, strict=True)}  # fmt: skip
    seen = [donor for donor in scrubbed.donors if donor.arrow.endswith("< cell") and donor.arrow.count("<") == 2]
    assert len({tuple(histories.observations[donor.rows[STEP], STEP]) for donor in seen} | cells) <= len(seen)


def test_who_is_pinned_stands_in_and_the_rest_stays(model, histories, scrubbed):
    members = max(
        (m for m in scrubbed.members if m.number == 0 and m.arrow.count("<") == 1 and "else" not in m.arrow),
        key=lambda m: len(m.rows),
    )
    drawn = next(donor for donor in scrubbed.donors if (donor.number, donor.arrow) == (0, members.arrow))
    row, step = next(pair for pair in zip(members.rows, members.steps, strict=True) if pair[0] != drawn.rows[STEP])
    how = {"model": model, "name": "cell_blind", "passes": 2}
    pins = [(members.arrow, STEP, row, step)]
    pinned = adh.scrub_at(RETRIEVAL, histories[0], histories, pins=pins, **how)
    for before, after in zip(scrubbed.donors, pinned.donors, strict=True):
        if after.arrow == members.arrow:
            assert (after.rows[STEP], after.steps[STEP]) == (row, step)
        elif not after.arrow.startswith(f"{members.arrow} <"):
            assert after == before
    steps = [number for number in range(60) if number != STEP]
    assert np.array(pinned.log_probs)[:, steps] == pytest.approx(np.array(scrubbed.log_probs)[:, steps], abs=1e-5)


def test_one_row_is_pinned_for_everything_else_at_all_steps(model, histories):
    pins = [("choice_of_quarter < everything else", STEP, 9, STEP)]
    pinned = adh.scrub_at(RETRIEVAL, histories[0], histories, model=model, name="cell_blind", pins=pins)
    (others,) = [donor for donor in pinned.donors if donor.arrow == "choice_of_quarter < everything else"]
    assert others.rows == [9] * 60


def test_another_draw_does_not_run_the_model_again(model, histories, monkeypatch):
    settings = {"among": histories[6:20], "model": model, "name": "truth"}
    first = adh.scrub_at(RETRIEVAL, histories[5], **settings)
    monkeypatch.setattr(Clean, "layers", None)
    again = adh.scrub_at(RETRIEVAL, histories[5], **settings, seed=1, at=20)
    assert adh.scrub_at(RETRIEVAL, histories[5], **settings) == first
    monkeypatch.undo()
    monkeypatch.setattr("ad_hypotheses.library.scrub.kept", lambda: None)
    assert adh.scrub_at(RETRIEVAL, histories[5], **settings, seed=1, at=20) == again
    assert again.donors != first.donors


def test_another_draw_runs_a_model_again_whose_weights_were_changed(histories):
    model = adh.load("known-retrieval")
    settings = {"among": histories[6:20], "model": model, "name": "truth"}
    before = adh.scrub_at(RETRIEVAL, histories[5], **settings)
    with torch.no_grad():
        model.W_U.mul_(0.5)
    after = adh.scrub_at(RETRIEVAL, histories[5], **settings)
    assert np.array(after.model_log_probs) == pytest.approx(
        np.array(adh.decisions(model, histories[5]).log_probs), abs=1e-5
    )
    assert after.model_log_probs != before.model_log_probs


def test_pins_that_do_not_fit_are_refused(model, histories, scrubbed):
    arrow = next(m.arrow for m in scrubbed.members if len(m.rows) < 20 and m.arrow.count("<") == 1 and m.rows)
    allowed = next(m.rows for m in scrubbed.members if m.arrow == arrow)
    other = next(row for row in range(1, 24) if row not in allowed)
    for pin, message in (
        ((arrow, STEP, other, STEP), "does not agree with what is visited there"),
        (("choice < nobody", STEP, 1, STEP), "there is no arrow 'choice < nobody'"),
        ((arrow, 99, 1, STEP), "the steps are 0 to 59"),
        ((arrow, STEP, 0, STEP), "must be one of `among` that differs from the context"),
    ):
        with pytest.raises(DataError, match=message):
            adh.scrub_at(RETRIEVAL, histories[0], histories, model=model, name="cell_blind", pins=[pin])


def reordered(history, steps, rng):
    """The same pulls in another order, before the last."""
    from dataclasses import replace

    clock = np.arange(history.n_steps)
    place = np.where(clock < steps[:, None] - 1, rng.random(history.actions.shape), 1 + clock)
    order = np.argsort(place, axis=1, kind="stable")
    return replace(history, actions=np.take_along_axis(history.actions, order, axis=1),
                   rewards=np.take_along_axis(history.rewards, order, axis=1))  # fmt: skip


@node(at=embed("action") + embed("reward"))
def last(history):
    """The last pull and its pay.  [batch, step, 2]"""
    return np.stack([history.previous_actions, np.rint(100 * history.previous_rewards)], axis=-1)


@node(at=head(0) + head(1) + mlp(0) + mlp(1), symmetry=reordered)
def record(last, history):
    """How often each arm was pulled and what it paid, and the last pull.  [batch, step, 12]"""
    return np.concatenate([history.action_counts(), np.rint(100 * history.action_rewards()), last], axis=-1)


@node(at=logits)
def choice(record, last):
    """The arm that was pulled last.  [batch, step]"""
    return last[..., 0]


def test_histories_that_are_made_are_returned_with_the_steps_they_stand_in_at():
    model = adh.load("bandit")
    histories = model.histories(12).window(stop=30)
    claim = Hypothesis(choice, model="bandit", name="made")
    scrubbed = adh.scrub_at(claim, histories[0], histories, at=20)
    made, context = scrubbed.made_histories, histories[0]
    (record_donors,) = [donor for donor in scrubbed.donors if donor.arrow == "choice < record"]
    assert record_donors.rows == [None] * 30
    different = 0
    for step, number in enumerate(record_donors.made):
        row = made[number]
        assert np.array_equal(row.action_counts()[0, step], context.action_counts()[0, step])
        assert np.array_equal(row.previous_actions[0, step], context.previous_actions[0, step])
        different += not np.array_equal(row.actions[0, :step], context.actions[0, :step])
    assert different > 15
    # what a made history reads is found among the others: pulls that agree with its own
    (below,) = [donor for donor in scrubbed.donors if donor.arrow == "choice < record < last"]
    for step in range(1, 30):
        if below.rows[step] is not None and below.rows[step] >= 0:
            row = made[record_donors.made[step]]
            found = histories[below.rows[step]]
            assert found.previous_actions[0, below.steps[step]] == row.previous_actions[0, step]
    assert [m.arrow for m in scrubbed.members if not m.rows] == ["choice < record"]
    again = adh.ScrubbedContext.from_json(scrubbed.to_json())
    assert (again.donors, again.members) == (scrubbed.donors, scrubbed.members)
    assert np.array_equal(again.made_histories.actions, made.actions)
    with pytest.raises(DataError, match="donors of choice < record are made"):
        adh.scrub_at(claim, histories[0], histories, pins=[("choice < record", 3, 1, 3)])


def test_two_claims_part_where_one_lets_others_stand_in(model, histories):
    names = {"name": "truth", "rival_name": "replay", "model": model}
    rivals = adh.rivals_at(RETRIEVAL, RETRIEVAL, histories[0], histories, **names)
    swapped = adh.rivals_at(
        RETRIEVAL, RETRIEVAL, histories[0], histories, name="replay", rival_name="truth", model=model
    )
    assert (rivals.only_claim, rivals.kl_rival) == (swapped.only_rival, swapped.kl_claim)
    assert sum(rivals.only_rival) > 0
    assert max(kl for kl in rivals.kl_rival if kl is not None) > 0.5
    assert all((kl is None) == (count == 0) for kl, count in zip(rivals.kl_rival, rivals.only_rival, strict=True))
    # who stands in by the true claim, and by it alone, decides as the context does
    assert max([kl for kl in rivals.kl_claim if kl is not None], default=0) < 0.05
    step = int(np.argmax([kl or 0 for kl in rivals.kl_rival]))
    assert f"replay at step {step}" in rivals.headline
    same = adh.rivals_at(RETRIEVAL, RETRIEVAL, histories[0], histories, name="truth", rival_name="truth", model=model)
    assert "let the same histories stand in at all 60 steps" in same.headline
    assert rivals.to_frame().loc[step, "only_rival"] == rivals.only_rival[step]
    with pytest.raises(UserError, match="holds"):
        adh.rivals_at(RETRIEVAL, RETRIEVAL, histories[0], histories, name="no_such", model=model)


def test_of_a_known_network_the_truth_breaks_nowhere_and_an_error_where_it_is_wrong(model):
    histories = model.histories(24, seed=4)
    returns = histories.returns().sum(axis=1)
    context = histories[int(returns.argmax())]
    truth = adh.scrub_at(RETRIEVAL, context, histories, model=model, name="truth")
    assert truth.divergence.max() < 1e-4
    wrong = adh.scrub_at(RETRIEVAL, context, histories, model=model, name="cell_blind").divergence[0]
    paid = np.cumsum(context.rewards[0]) - context.rewards[0] > 0  # whoever was never paid walks at random
    assert wrong[~paid].max() < 1e-4
    assert wrong[paid].max() > 1
