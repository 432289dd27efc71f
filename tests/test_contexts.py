"""Histories put together otherwise, and what is decided at their steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import ad_hypotheses as adh
from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.progress import Progress
from ad_hypotheses.sources import make_source
from ad_hypotheses.tasks import make_task
from ad_hypotheses.tasks.edits.possible import impossible_steps
from ad_hypotheses.tasks.play import play, uniform


@pytest.fixture(scope="module")
def model():
    return adh.load("known-retrieval")


@pytest.fixture(scope="module")
def histories(model):
    return model.histories(4)


def test_episodes_stand_in_another_order(histories):
    changed = adh.rearrange(histories, [2, 0, 2])
    assert changed.shape == (4, 30)
    for place, number in enumerate((2, 0, 2)):
        new, old = changed.window(10 * place, 10 * place + 10), histories.window(10 * number, 10 * number + 10)
        for name in ("observations", "actions", "rewards"):
            assert np.array_equal(getattr(new, name), getattr(old, name))
        assert (new.episode == place).all()
    same = adh.rearrange(histories, range(6))
    assert np.array_equal(same.actions, histories.actions)
    assert np.array_equal(same.episode, histories.episode)


def test_a_moved_goal_pays_from_its_step_on(model, histories):
    visited = histories.observations[0, 35]
    changed = adh.change_facts(histories, step=30, goal=visited)
    assert (changed.task["goal"] == visited).all()
    assert np.array_equal(changed.rewards[:, :30], histories.rewards[:, :30])
    assert np.array_equal(changed.observations, histories.observations)
    arrived = (histories.observations[:, 31:] == visited).all(axis=2) & ~histories.episode_start[:, 31:]
    inside = ~histories.episode_start[:, 31:]
    assert np.array_equal((changed.rewards[:, 30:-1] > 0)[inside], arrived[inside])
    assert changed.rewards[0, 34] == 1


def test_a_goal_that_moves_goes_with_its_episodes_and_can_be_put_elsewhere():
    rng, room = np.random.default_rng(0), make_task("dark-room", size=3, horizon=4, goal_moves=0.9)
    lives = replace(play(room, room.sample_tasks(rng, 8), uniform(room), 5, rng), family=room)
    changed = adh.rearrange(lives, [3, 0, 3])
    assert np.array_equal(changed.task["goals"][:, :3], lives.task["goals"][:, [3, 0, 3]])
    assert not any(mask.any() for mask in impossible_steps(room, changed).values())
    moved = adh.change_facts(lives, step=8, goal=(0, 0))
    assert np.array_equal(moved.task["goals"][:, :2], lives.task["goals"][:, :2])
    assert (moved.task["goals"][:, 2:] == 0).all()
    assert np.array_equal(moved.rewards[:, :8], lives.rewards[:, :8])
    arrived = (lives.observations[:, 9:] == 0).all(axis=2) & ~lives.episode_start[:, 9:]
    inside = ~lives.episode_start[:, 9:]
    assert arrived.any()
    assert np.array_equal((moved.rewards[:, 8:-1] > 0)[inside], arrived[inside])
    with pytest.raises(DataError, match=r"must be a place that can be seen \(0 to 2, 0 to 2\)"):
        adh.change_facts(lives, step=8, goal=(0, 3))
    with pytest.raises(DataError, match="dark-room has: goal"):
        adh.change_facts(lives, step=8, gaol=(0, 0))


def test_arms_that_pay_otherwise_pay_from_their_step_on():
    model = adh.load("bandit")
    histories = model.histories(16)
    changed = adh.change_facts(histories, step=40, means=(1, 0, 0, 0, 0))
    assert np.array_equal(changed.rewards[:, :40], histories.rewards[:, :40])
    assert np.array_equal(changed.rewards[:, 40:] > 0, histories.actions[:, 40:] == 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: adh.rearrange(h, []), "`episodes` is empty, but the histories have the episodes 0 to 5"),
        (lambda h: adh.rearrange(h, [0, -1]), "`episodes` has -1"),
        (lambda h: adh.rearrange(h.window(3), [0]), "not of whole episodes of one length"),
        (lambda h: adh.change_facts(h, 60, goal=(0, 0)), "`step` is 60"),
        (lambda h: adh.change_facts(h, 0, gaol=(0, 0)), "there is no fact 'gaol'. Did you mean 'goal'"),
        (lambda h: adh.change_facts(h, 0, goal=(0, 5)), r"must be a place that can be seen \(0 to 4, 0 to 4\)"),
        (lambda h: adh.change_facts(h, 0, goal=(0, 0, 0)), "must be of 2 numbers"),
        (lambda h: adh.change_facts(h, 0, goal="here"), "must be made of numbers"),
        (lambda h: adh.change_facts(h.window(3), 0, goal=(0, 0)), "cannot be lived again"),
    ],
)
def test_what_cannot_be_changed_is_refused(histories, change, message):
    with pytest.raises(DataError, match=message):
        change(histories)


def test_the_world_answers_to_the_end_of_the_episode_only():
    """In a world of chance, later episodes keep what chance decided in them."""
    task, rng = adh.load("graph-world").task, np.random.default_rng(0)
    lives = replace(play(task, task.sample_tasks(rng, 8), uniform(task), 3, rng), family=task)
    elsewhere = adh.change_facts(lives, step=40, goal=0)  # of the last episode alone
    changed = adh.edit(elsewhere, step=5, action=1)
    assert np.array_equal(changed.rewards[:, 20:40], lives.rewards[:, 20:40])


def test_decisions_are_those_of_the_model(model, histories):
    decisions = adh.decisions(model, histories[1])
    with torch.no_grad():
        expected = model(histories[1]).log_softmax(-1)[0].numpy()
        loss = float(model(histories[1], return_type="loss"))
    np.testing.assert_allclose(decisions.log_probs, expected, atol=1e-6)
    assert abs(np.mean(decisions.loss) - loss) < 1e-6
    regimes = model.task.regimes(histories[1])
    assert all(regimes[name][0, step] for step, name in enumerate(decisions.regimes))
    assert decisions.impossible == {}
    assert type(decisions).from_json(decisions.to_json()).to_json() == decisions.to_json()
    assert "mean loss" in repr(decisions)


def test_decisions_part_where_the_context_does(model, histories):
    former, decisions = (
        adh.decisions(model, history) for history in (histories[0], adh.edit(histories[0], step=14, action="up"))
    )
    divergence = np.array(decisions.divergence(former))
    assert (divergence[:15] < 1e-6).all()
    here, elsewhere = torch.tensor(decisions.log_probs), torch.tensor(former.log_probs)
    expected = torch.nn.functional.kl_div(elsewhere, here, log_target=True, reduction="none").sum(-1)
    np.testing.assert_allclose(divergence, expected.numpy(), atol=1e-9)
    with pytest.raises(DataError, match="decisions at 60 steps, and the others at 30"):
        decisions.divergence(adh.decisions(model, histories[0].window(stop=30)))


def test_steps_that_cannot_be_lived_are_named(model, histories):
    changed = adh.edit(histories[0], step=4, observation=(0, 0), then="nothing")
    (words,) = adh.decisions(model, changed).impossible
    assert words == "a step that does not follow from the one before"
    assert adh.decisions(model, changed).impossible[words] == [4]
    assert "1 impossible, first 4" in repr(adh.decisions(model, changed))


def test_learners_say_what_they_would_do(model, histories):
    history = histories[0]
    answers = adh.learners(model, history, step=25, source=True)
    goal, cell = history.task["goal"], history.observations[:, 25]
    assert answers.probabilities["expert"] == model.task.walk(cell, goal)[0].tolist()
    assert answers.probabilities["random"] == [0.2] * 5
    assert {"source", "gate-and-walk", "nearest-unvisited"} <= set(answers.probabilities)
    for row in answers.probabilities.values():
        assert abs(sum(row) - 1) < 1e-5
    assert type(answers).from_json(answers.to_json()).to_json() == answers.to_json()
    assert list(answers.to_frame().columns) == ["learner", "stay", "up", "down", "left", "right"]


def test_learners_of_a_context_that_their_world_does_not_show_say_so(model, histories):
    changed = adh.edit(histories[0], step=24, observation=(0, 0), then="nothing")
    answers = adh.learners(model, changed, step=24)
    assert "it is not known where the agent is" in answers.absent["expert"]
    assert "expert" not in answers.probabilities


def test_attention_by_role_adds_up(model, histories):
    attention = adh.attention(model, histories[0], step=33)
    shares = attention.shares()
    for head, weights in attention.weights.items():
        assert abs(shares["itself"][head] - weights[33]) < 1e-6
        assert abs(shares["previous_episode"][head] - sum(weights[20:30])) < 1e-6


def test_attribution_notices_weights_that_were_changed(histories):
    model = adh.load("known-retrieval")
    before = adh.attribution(model, histories[0], step=33, of="up").logit
    with torch.no_grad():
        model.b_U[1] += 2
    assert abs(adh.attribution(model, histories[0], step=33, of="up").logit - before - 2) < 1e-9


@pytest.mark.parametrize("name", ["known-retrieval", "bandit"])
def test_carriers_are_what_patching_by_hand_says(name):
    model = adh.load(name)
    history = model.histories(8)[3]
    step = history.n_steps - 3
    names, at = model.task.action_names, step // 2
    other = (int(history.actions[0, at]) + 1) % len(names)
    edited = adh.edit(history, step=at, action=other, reward=1 - history.rewards[0, at], then="nothing")
    carried = adh.carriers(model, history, edited, step=step, of=f"{names[2]} - {names[1]}", edges=True)

    def value(logits: torch.Tensor) -> float:
        return float(logits[0, step, 2] - logits[0, step, 1])

    with torch.no_grad():
        plain, _ = model.run_with_cache(history)
        changed, cache = model.run_with_cache(edited)
        assert carried.before == pytest.approx(value(plain), abs=1e-4)
        assert carried.after == pytest.approx(value(changed), abs=1e-4)

        def patched(hook_name: str, head: int | None) -> float:
            def hook(activation, hook):
                if head is None:
                    return cache[hook_name]
                activation = activation.clone()
                activation[:, :, head] = cache[hook_name][:, :, head]
                return activation

            return value(model.run_with_hooks(history, fwd_hooks=[(hook_name, hook)])) - value(plain)

        for writer, change in carried.writers.items():
            kind, _, rest = writer.partition("(")
            if kind == "mlp":
                expected = patched(f"blocks.{rest[:-1]}.hook_mlp_out", None)
            elif kind == "head":
                layer, head = rest[:-1].split(", ")
                expected = patched(f"blocks.{layer}.attn.hook_result", int(head))
            elif kind == "embed":
                expected = patched(f"hook_embeds.{rest[1:-2]}", None)
            else:
                expected = 0.0  # positions are the same in both
            assert change == pytest.approx(expected, abs=1e-4), writer
    # what all readers of a last writer read is what the only one reads
    last = f"mlp({model.shape.n_layers - 1})"
    assert carried.edges[f"{last} -> logits"] == pytest.approx(carried.writers[last], abs=1e-5)
    assert type(carried).from_json(carried.to_json()).to_json() == carried.to_json()
    assert list(carried.to_frame().columns) == ["part", "change", "share"]


def test_contexts_without_a_difference_have_no_carriers(model, histories):
    edited = adh.edit(histories[0], step=20, action="up", then="nothing")
    for arguments, message in (
        ((histories[0], edited, 20), "the two contexts show the same up to step 20"),
        ((histories[0], edited, 60), "`step` is 60"),
        ((histories[0].window(stop=30), edited, 25), r"`before` is of \(1, 30\) histories and steps"),
        ((histories[0], edited, 25, "fly"), "`of` is 'fly'"),
    ):
        with pytest.raises(DataError, match=message):
            adh.carriers(model, *arguments)


def test_of_a_network_that_is_known_the_circuit_carries_the_difference(model, histories):
    """A reward reaches the decision through the head that fetches the goal and the last MLP alone."""
    edited = adh.edit(histories[0], step=22, reward=1 - histories[0].rewards[0, 22], then="nothing")
    changed = np.array(adh.decisions(model, edited).divergence(adh.decisions(model, histories[0])))
    step = int(changed.argmax())
    carried = adh.carriers(model, histories[0], edited, step=step)
    shares = carried.to_frame().set_index("part")["share"]
    on_the_way = {'embed("reward")', "head(0, 0)", "mlp(1)"}
    assert set(shares[shares.abs() > 1e-4].index) == on_the_way
    assert np.allclose(shares[list(on_the_way)], 1, atol=1e-3)


def test_actions_written_by_hand_are_answered_by_a_task(model):
    context = adh.play(model, ["up", "left", 2] * 5, task=1)
    assert context.shape == (1, 15)
    assert context.actions[0, :3].tolist() == [1, 3, 2]
    assert context.episode[0].tolist() == [0] * 10 + [1] * 5
    assert adh.decisions(model, context).impossible == {}
    assert not np.array_equal(context.task["goal"], adh.play(model, ["up"], task=0).task["goal"])
    longer = adh.play(model, ["up", "left", 2] * 5 + ["stay"], task=1)
    assert np.array_equal(longer.window(stop=15).observations, context.observations)


@pytest.mark.parametrize(
    ("actions", "task", "message"),
    [
        (["jump"], 0, "`actions` has 'jump', but dark-room has the actions stay, up"),
        ([7], 0, "`actions` has 7"),
        ([], 0, "`actions` has 0, but a context is of 1 to 60 steps"),
        (["up"] * 61, 0, "`actions` has 61"),
        (["up"], 999, "`task` is 999, but there are the tasks 0 to"),
    ],
)
def test_what_cannot_be_played_is_refused(model, actions, task, message):
    with pytest.raises(DataError, match=message):
        adh.play(model, actions, task=task)


def test_learners_of_another_source_live_in_the_tasks_of_a_model():
    model = adh.load("known-leader")
    assert {"ucb1", "thompson"} <= set(model.sources)
    assert "recorded" not in model.sources
    pulls = [model.histories(4, source=name) for name in ("ucb1", "thompson")]
    assert not np.array_equal(pulls[0].actions, pulls[1].actions)
    assert np.array_equal(pulls[0].task["means"], model.histories(4).task["means"])
    again = make_source("ucb1").live(model.task, dict(pulls[0].task), 1, np.random.default_rng(5))
    assert again.shape == pulls[0].shape
    for source, data, message in (
        ("ucb", "source", "Did you mean 'ucb1'"),
        ("dyna-q", "source", "dyna-q"),
        ("ucb1", "own", "`source` is ucb1, but in own the model lives"),
    ):
        with pytest.raises(UserError, match=message):
            model.histories(4, data=data, source=source)


class Impatient(Progress):
    """Stops a run once it has gone so far."""

    def __init__(self, at: int) -> None:
        self.at, self.total, self.reached = at, 0, []

    def begin(self, title, total, unit="", done=0, **how):
        self.total = total

    def reach(self, done, note=""):
        self.reached.append(done)

    def may_stop(self):
        if self.reached[-1] >= self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("data", ["source", "own"])
def test_histories_say_how_far_they_are_and_can_be_stopped(model, data):
    rows = 3
    source = "epsilon-greedy-q" if data == "source" else None  # whose learners record every episode
    patient = Impatient(at=10**9)
    whole = model.histories(rows, data=data, source=source, progress=patient)
    assert patient.total == rows * (60 if data == "own" else model.config.histories.episodes)
    assert len(patient.reached) > 5
    assert patient.reached[-1] >= 0.8 * patient.total
    assert np.array_equal(whole.actions, model.histories(rows, data=data, source=source).actions)
    stopped = Impatient(at=patient.total // 2)
    with pytest.raises(KeyboardInterrupt):
        model.histories(rows, data=data, source=source, progress=stopped)
    assert stopped.reached[-1] < 0.7 * patient.total


def test_attention_that_a_step_gets_is_what_later_steps_pay_it(model, histories):
    got = adh.attention(model, histories[0], 12, received=True)
    assert len(got.tokens) == 60
    for looker in (11, 12, 30, 59):
        paid = adh.attention(model, histories[0], looker)
        for head, weights in got.weights.items():
            assert weights[looker] == pytest.approx(paid.weights[head][12] if looker >= 12 else 0, abs=1e-6)
        if looker >= 12:
            assert got.roles[looker] == paid.roles[12]
    assert got.roles[11] == []
    share = got.shares()["current_episode"]["head(0, 0)"]
    lookers = [step for step, roles in enumerate(got.roles) if "current_episode" in roles]
    assert share == pytest.approx(np.mean([got.weights["head(0, 0)"][step] for step in lookers]))
    assert "seen by head" in got.headline


@pytest.mark.parametrize("by", ["zero", "mean", "context"])
def test_one_part_that_is_replaced_does_what_ablations_say(by):
    """Two engines: all parts at once on the whole context, and each part alone by its change."""
    model = adh.load("bandit")
    histories = model.histories(8)
    context, other = histories[0], {"zero": "zero", "mean": histories, "context": histories[1]}[by]
    effects = adh.ablations(model, context, 60, of="0 - 1", by=other, edges=True)
    assert (len(effects.writers), len(effects.edges)) == (13, 164)

    def value(**how):
        log_probs = adh.decisions(model, context, **how).log_probs[60]
        return log_probs[0] - log_probs[1]

    assert effects.value == pytest.approx(value(), abs=1e-5)
    parts = [*effects.writers, *list(effects.edges)[::23]]
    changes = {part: value(replaced=[part], by=other) - value() for part in parts}
    assert changes == pytest.approx({part: (effects.writers | effects.edges)[part] for part in parts}, abs=1e-5)
    assert max(map(abs, changes.values())) > 0.01


def test_a_head_that_is_replaced_by_nothing_is_what_hooks_make_of_it():
    model = adh.load("bandit")
    context = model.histories(2)[0]

    def without(result, hook):
        result[:, :, 1] = 0
        return result

    model.set_use_attn_result(True)
    hooked = model.run_with_hooks(context, fwd_hooks=[("blocks.0.attn.hook_result", without)])
    expected = hooked[0].detach().log_softmax(-1).numpy()
    replaced = adh.decisions(model, context, replaced=["head(0, 1)"]).log_probs
    assert np.array(replaced) == pytest.approx(expected, abs=1e-5)
    assert np.abs(expected - np.array(adh.decisions(model, context).log_probs)).max() > 0.01


def test_all_that_is_replaced_by_another_context_gives_its_decisions():
    model = adh.load("bandit")
    first, second = model.histories(2)[0], model.histories(2)[1]
    writers = list(adh.ablations(model, first, 5).writers)
    assert adh.decisions(model, first, replaced=writers, by=second).log_probs == pytest.approx(
        np.array(adh.decisions(model, second).log_probs), abs=1e-5
    )


def test_means_are_made_again_once_weights_change():
    model = adh.load("bandit")
    histories = model.histories(8)
    before = adh.ablations(model, histories[0], 20, by=histories)
    assert adh.ablations(model, histories[0], 20, by=histories) == before
    with torch.no_grad():
        model.blocks[0].mlp.W_out.mul_(2)
    assert adh.ablations(model, histories[0], 20, by=histories).writers["mlp(0)"] != before.writers["mlp(0)"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"replaced": ["head(9, 0)"]}, r"head\(9, 0\)"),
        ({"replaced": ["mlp(0) -> mlp(9)"]}, r"mlp\(9\)"),
        ({"replaced": ["mlp(0)"], "by": "median"}, "`by` is 'median'"),
        ({"replaced": ["mlp(0)"], "by": "short"}, "`by` has 4 histories of 20 steps, but the context has 60"),
    ],
)
def test_what_cannot_be_replaced_is_refused(model, histories, how, message):
    if how.get("by") == "short":
        how = {**how, "by": histories.window(stop=20)}
    with pytest.raises(UserError, match=message):
        adh.decisions(model, histories[0], **how)


@pytest.mark.parametrize("vary", ["goal", "action", "reward", "episodes"])
def test_a_scan_asks_the_model_in_every_context(model, histories, vary):
    context, step = histories[2], 47
    scanned = adh.scan(model, context, step, of="up - down", vary=vary, since=0 if vary == "episodes" else 31)
    for value, asked, row in zip(scanned.values, scanned.asked, scanned.probabilities, strict=True):
        at = step
        if vary == "goal":
            changed = adh.change_facts(context, step=31, goal=tuple(value))
        elif vary == "episodes":
            changed, at = adh.rearrange(context, range(4 - value, 5)), step - 10 * (4 - value)
        elif vary == "action":
            changed = adh.edit(context, step=31, action=value)
        else:
            changed = adh.edit(context, step=31, reward=value, then="nothing")
        log_probs = adh.decisions(model, changed).log_probs[at]
        assert asked == pytest.approx(log_probs[1] - log_probs[2], abs=1e-5)
        assert row == pytest.approx(np.exp(log_probs), abs=1e-5)
    assert len(scanned.values) == {"goal": 25, "action": 5, "reward": 2, "episodes": 5}[vary]
    if vary == "goal":
        assert max(scanned.asked) - min(scanned.asked) > 1
    assert scanned.headline.startswith("known-retrieval, step 47: up - down by ")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"vary": "gaol"}, "`vary` is 'gaol'. Did you mean 'goal'"),
        ({"vary": "action", "since": 50}, "`since` is 50, but what is changed after step 47 is not seen there"),
        ({"vary": "goal", "of": "jump"}, "`of` is 'jump'"),
    ],
)
def test_what_cannot_vary_is_refused(model, histories, how, message):
    with pytest.raises(DataError, match=message):
        adh.scan(model, histories[0], 47, **how)


def test_what_arms_pay_is_no_place():
    model = adh.load("bandit")
    with pytest.raises(DataError, match="`vary` is 'means', but that is no place"):
        adh.scan(model, model.histories(2)[0], 20, vary="means")
