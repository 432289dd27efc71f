"""Contexts that agents live, labelled by the source's algorithm, and what a training makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from listener import Updates

from ad_hypotheses.distill.checkpoint import build
from ad_hypotheses.distill.config import Config, check_config, read_config
from ad_hypotheses.distill.course.fresh import FreshContexts
from ad_hypotheses.distill.course.next_state import NextStateHead
from ad_hypotheses.distill.feasible import infeasible
from ad_hypotheses.distill.parallel import Ranks
from ad_hypotheses.distill.sections import Training
from ad_hypotheses.distill.train import learning_rate, train
from ad_hypotheses.distill.updates import Sampler, accumulate
from ad_hypotheses.ladder.run import predict
from ad_hypotheses.ladder.rung import Background
from ad_hypotheses.ladder.source import source_rung
from ad_hypotheses.language.history import History
from ad_hypotheses.sources import DynaQ
from ad_hypotheses.sources.contexts.agents import Agents, labelled_contexts
from ad_hypotheses.sources.contexts.planner import arrivals, decisions
from ad_hypotheses.studies.train.study import train as trained_model
from ad_hypotheses.tasks import DarkRoom, GraphWorld

MODELS = Path(__file__).parents[1] / "models"
EVERYBODY = Agents(("random", "habitual", "noisy-source"))


def dyna_q(planning: int = 200) -> DynaQ:
    return DynaQ(gamma=0.8, initial_value=2.0, epsilon_first=0.0, epsilon_last=0.0, planning=planning)


def lived(task, agents: Agents, episodes: int, rows: int = 8) -> tuple[History, np.ndarray]:
    rng = np.random.default_rng(0)
    return labelled_contexts(dyna_q(), task, task.sample_tasks(rng, rows), agents, episodes, rng)


def as_learners_decide(task, history: History) -> np.ndarray:
    """What 24 learners of the source with 200 replays a step would do, on average."""
    background = Background(task, dyna_q(), history.task, history, int(history.episode.max()) + 1)
    return predict(source_rung(24).fit(background), history, task)


# labels


@pytest.mark.parametrize(
    ("horizon", "episodes", "least"),
    # learners know where the last action of an episode led, which no model sees
    [pytest.param(48, 1, 1.0, id="everything is seen"), pytest.param(8, 6, 0.98, id="ends of episodes are not seen")],
)
def test_labels_are_what_learners_with_much_replay_agree_upon(horizon: int, episodes: int, least: float):
    task = GraphWorld(states=6, actions=2, horizon=horizon)
    history, labels = lived(task, EVERYBODY, episodes)
    learners = as_learners_decide(task, history)
    unanimous = learners.max(axis=2) > 0.999
    agreed = np.take_along_axis(labels, learners.argmax(axis=2)[..., None], axis=2)[..., 0]
    assert unanimous.mean() > 0.8
    assert (agreed[unanimous] > 0).mean() >= least
    sure = labels.max(axis=2) == 1
    chance = np.take_along_axis(learners, labels.argmax(axis=2)[..., None], axis=2)[..., 0]
    assert sure.mean() > 0.5
    assert (chance[sure] > 0.5).mean() >= least


def test_labels_of_lives_are_those_made_while_they_are_lived():
    task = GraphWorld(states=5, horizon=6)
    history, labels = lived(task, EVERYBODY, 3)
    np.testing.assert_array_equal(decisions(dyna_q(), history, task), labels)
    np.testing.assert_allclose(labels.sum(axis=2), 1, rtol=1e-6)


def life(actions: list[int], seen: list[int], paid: list[float], horizon: int) -> History:
    """One life in a world of three states."""
    steps = len(actions)
    return History(
        observations=np.array(seen, dtype=np.int8)[None, :, None],
        actions=np.array(actions, dtype=np.int8)[None],
        rewards=np.array(paid, dtype=np.float32)[None],
        episode=np.arange(steps)[None] // horizon,
        channels=("state",),
        n_actions=2,
    )


def test_labels_worked_out_by_hand():
    """Initial value 2, discount .8: what pays 1 and leads nowhere known is worth 1 + .8 * 2 = 2.6."""
    task = GraphWorld(states=3, horizon=2)
    # in state 0 action 1 leads to 1, where action 0 ends the episode unpaid; then again, and it ends paid
    history = life([1, 0, 1, 1, 0, 0], [0, 1, 0, 1, 0, 2], [0, 0, 0, 1, 0, 0], 2)
    labels = decisions(dyna_q(), history, task)[0]
    assert labels[0].tolist() == [0.5, 0.5]  # nothing is known
    assert labels[1].tolist() == [0.5, 0.5]  # nothing is known of state 1
    assert labels[2].tolist() == [1, 0]  # action 1 leads to state 1, worth .8 * 2 = 1.6 < 2; action 0 is untried
    assert labels[3].tolist() == [0, 1]  # action 0 was unpaid: 0 + .8 * 2 = 1.6; action 1 is untried
    assert labels[4].tolist() == [0, 1]  # state 1 is worth 2.6 now, and so its way .8 * 2.6 = 2.08 > 2


def test_arrivals_worked_out_by_hand():
    task = GraphWorld(states=3, horizon=3)
    history = life([1, 0, 1, 1, 1, 0], [0, 1, 2, 0, 2, 0], [0] * 6, 3)
    assert arrivals(history, task)[0].tolist() == [
        [-1, -1],
        [-1, -1],
        [-1, -1],
        [-1, 1],  # a new episode begins in state 0, where action 1 led to state 1
        [-1, -1],  # action 1 of state 2 ended an episode: where it led was not seen
        [-1, 2],  # the latest outcome counts
    ]


def test_states_of_two_channels_are_numbered():
    task = DarkRoom(size=3, horizon=5)
    history, labels = lived(task, Agents(("random",)), 4)
    led = arrivals(history, task)
    cells = task.square.cells(history.observations.reshape(-1, 2)).reshape(history.shape)
    stayed = led[..., 0]
    assert set(np.unique(stayed - np.where(stayed < 0, -1, cells))) == {0}  # action 0 stays, once it was tried
    assert (stayed >= 0).any()
    assert labels.shape == (8, 20, 5)


# agents


def usual(history: History) -> np.ndarray:
    """How often an action is the one that was done last in the same state of the same episode, where there is one."""
    same = (history.observations[:, :, None] == history.observations[:, None]).all(axis=3)
    same &= history.episode[:, :, None] == history.episode[:, None]
    again = same & (np.arange(history.n_steps)[:, None] > np.arange(history.n_steps))[None]
    row, step, before = np.nonzero(again)
    return (history.actions[row, step] == history.actions[row, before]).mean()


def test_agents_do_as_they_are_called():
    task = GraphWorld(states=4, actions=3, horizon=20)
    follows = {}
    for kind in ("random", "habitual", "source", "noisy-source"):
        history, labels = lived(task, Agents((kind,), habit=0.9, noise=0.6), 4, 32)
        chosen = np.take_along_axis(labels, history.actions.astype(int)[..., None], axis=2)[..., 0]
        follows[kind] = (float((chosen > 0).mean()), float(usual(history)))
    assert follows["source"][0] == 1
    assert 0.7 < follows["noisy-source"][0] < 0.9  # at random three times in ten, and then right by luck at times
    assert follows["random"][0] < 0.7
    assert follows["habitual"][1] > 0.75
    assert abs(follows["random"][1] - 1 / 3) < 0.05


def test_another_agent_lives_each_episode():
    task = GraphWorld(states=4, actions=3, horizon=30)
    history, _ = lived(task, Agents(("random", "habitual"), habit=1.0), 6, 32)
    shares = np.array([[usual(history[row].window(30 * n, 30 * n + 30)) for n in range(6)] for row in range(32)])
    habitual = shares == 1
    assert 0.4 < habitual.mean() < 0.6
    assert (habitual.any(axis=1) & ~habitual.all(axis=1)).mean() > 0.8


# configurations

QUIET = {"name": "dyna-q", "epsilon_first": 0, "epsilon_last": 0}


def content(contexts: dict | None = None, **training) -> dict:
    plan = {"updates": 6, "batch": 4, "warmup": 2, "evaluate_every": 4, "save_every": 2, **training}
    return {
        "task": {"name": "graph-world", "states": 4, "horizon": 5},
        "source": {"name": "dyna-q", "gamma": 0.8, "initial_value": 2.0, "epsilon_first": 0, "epsilon_last": 0},
        "histories": {"held_out": 4, "train_tasks": 8, "learners": 8, "episodes": 3, "keep_every": 1, "check": False},
        "model": {"n_layers": 1, "n_heads": 2, "d_model": 8, "dropout": 0.1},
        "training": plan,
        **({} if contexts is None else {"contexts": contexts}),
    }


def tiny(contexts: dict | None = None, **training) -> Config:
    return check_config(content(contexts, **training), "a test")


FRESH = {"fresh_tasks": True}


def test_configurations_of_earlier_versions_are_written_as_they_were():
    config = read_config(MODELS / "dark-room-sizes" / "l2-g65-w0-d0" / "config.yaml")
    recorded = json.loads((MODELS / "dark-room-sizes" / "l2-g65-w0-d0" / "record.json").read_text())["config"]
    assert config.model_dump() == recorded
    assert "contexts" not in config.model_dump_json()
    later = tiny(FRESH, next_state_until=0.1, decay_from=0.6)
    assert Config.model_validate(later.model_dump()) == later
    assert later.model_dump()["training"]["next_state_until"] == 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": {"name": "epsilon-greedy-q"}}, "the source is epsilon-greedy-q"),
        ({"source": {"name": "dyna-q"}}, "take dyna-q with epsilon_first: 0"),
        ({"source": {**QUIET, "bonus": 0.1}}, "source.bonus: 0.1 does not go with contexts"),
        ({"task": {"name": "dark-room-hard", "size": 3}}, "contexts needs a world that is deterministic"),
        ({"task": {"name": "bandit"}}, "contexts needs a world that is deterministic"),
        ({"task": {"name": "dark-room", "size": 20, "horizon": 5}}, "has 400 states; at most 256"),
        ({"task": {"name": "dark-room", "size": 4, "horizon": 5}}, "fresh_tasks: true, but dark-room has 16 tasks"),
        ({"histories": {"episodes": 4, "keep_every": 2}}, "histories.keep_every: 2 means nothing where contexts"),
        ({"histories": {"episodes": 4, "keep_every": 1, "skip": 1}}, "histories.skip: 1 means nothing"),
        ({"training": {"crop": 2}}, "training.crop: 2 means nothing"),
    ],
)
def test_contexts_that_cannot_be_labelled_are_refused(changes: dict, message: str):
    config = check_config({**content(FRESH), **changes}, "a test")
    assert any(message in problem for problem in infeasible(config)), list(infeasible(config))


def test_next_states_of_a_bandit_are_refused():
    bandit = {**content(next_state_until=0.1), "task": {"name": "bandit"}, "source": {"name": "ucb1"}}
    problems = list(infeasible(check_config(bandit, "a test")))
    assert any(problem.startswith("training.next_state_until needs a world") for problem in problems), problems


# training


def test_batches_are_the_same_whenever_they_are_drawn():
    contexts = FreshContexts(tiny(FRESH, batch=4))
    contexts.batches_at_once = 2
    first = [contexts.batch(update, slice(0, 4))[0].to_json() for update in range(4)]
    assert len(set(first)) == 4
    assert [contexts.batch(update, slice(0, 4))[0].to_json() for update in (3, 0, 2)] == [first[3], first[0], first[2]]
    assert contexts.batch(1, slice(2, 4))[0].to_json() == contexts.batch(1, slice(0, 4))[0][2:].to_json()


def test_tasks_are_new_in_every_batch_or_those_to_train_on():
    drawn = FreshContexts(tiny(FRESH)).drawn(64, 0)[0].task["next"]
    assert len(np.unique(drawn.reshape(64, -1), axis=0)) > 55
    config = tiny({})
    trained = {fact.tobytes() for fact in config.experiment.split()[0]["next"]}
    known = {fact.tobytes() for fact in FreshContexts(config).drawn(64, 0)[0].task["next"]}
    assert known == trained


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("contexts", [None, FRESH], ids=["histories", "contexts"])
def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(tmp_path, contexts):
    # the target is learned between the interruption and the end, which both have to notice in the same update
    config = tiny(contexts, next_state_until=1.588, learning_rate=0.01, updates=8)
    whole, record = train(config, tmp_path / "whole")
    assert 3 < record["next_state"]["learned_at"] < 8, record["next_state"]
    for stop in (2, 6):
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "parts", progress=Updates(stop))
    again, resumed = train(config, tmp_path / "parts")
    assert resumed["next_state"] == record["next_state"]
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_labels_and_not_actions_are_predicted():
    config = tiny({"agents": ["random"], **FRESH}, next_state_until=0.1, accumulate=2)
    model, head, contexts = build(config).double(), NextStateHead(config).double(), FreshContexts(config)
    batch = Sampler(contexts, model.vocabulary, config.training, config.experiment.task, Ranks()).draw(0)
    history, labels = contexts.batch(0, slice(0, 4))
    with torch.no_grad():
        model.W_U.normal_(generator=torch.Generator().manual_seed(0))
        log_chance = model.eval()(history).log_softmax(-1).numpy()
    done = np.take_along_axis(log_chance, history.actions.astype(int)[..., None], axis=2)
    alone = accumulate(model, model, batch, config.training)
    actions, next_states = accumulate(model, model, batch, config.training, head)
    assert alone.tolist() == [float(actions)] == pytest.approx([-(labels * log_chance).sum(axis=2).mean()])
    assert float(actions) != pytest.approx(-done.mean(), abs=1e-3)
    assert float(next_states) == pytest.approx(np.log(5), abs=0.1)
    assert head.bias.grad is not None


def test_a_target_is_learned_once_a_running_mean_is_low():
    config = tiny(FRESH, next_state_until=0.1)
    head = NextStateHead(config)
    head.note(0.2, 1)
    head.note(0.0, 2)
    assert head.learned_at is None
    for update in range(3, 10):
        head.note(0.0, update)
    assert head.learned_at is not None


def test_the_rate_is_constant_before_it_decays():
    plan = Training(updates=100, warmup=10, learning_rate=2.0, decay_from=0.6)
    rates = [learning_rate(plan, update) for update in range(101)]
    assert rates[10:61] == [2.0] * 51
    assert rates[80] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0)


def test_the_card_says_what_contexts_were_like(tmp_path):
    made = trained_model(tiny(FRESH, next_state_until=1e-6), tmp_path / "control")
    card = (made.folder / "card.md").read_text()
    assert "contexts of random, habitual, noisy-source agents" in card
    assert "on new tasks" in card
    assert "in all updates, and not learned" in card
    assert not (made.folder / "source.png").exists()
    assert trained_model(tiny(FRESH, next_state_until=1e-6), tmp_path / "control").is_new is False
