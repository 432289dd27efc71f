"""Training: the configuration it reads, an interruption that leaves no trace, and states that it refuses."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from listener import Updates
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ad_hypotheses.distill import train as training
from ad_hypotheses.distill.checkpoint import build
from ad_hypotheses.distill.config import Config, check_config, read_config
from ad_hypotheses.distill.feasible import infeasible
from ad_hypotheses.distill.optimisers import make_optimiser
from ad_hypotheses.distill.sections import Training
from ad_hypotheses.distill.train import METRICS, STATE, learning_rate, train
from ad_hypotheses.errors import CheckpointError, ConfigError, UserError
from ad_hypotheses.storage.checked import CHECKSUM

BANDIT = {"task": {"name": "bandit", "arms": 2, "horizon": 6}, "source": {"name": "ucb1"}}
TRAINING = {"updates": 6, "batch": 4, "warmup": 2, "evaluate_every": 4, "save_every": 2}


def content(**training) -> dict:
    return {
        "task": {"name": "dark-room", "size": 3, "horizon": 4},
        "source": {"name": "epsilon-greedy-q"},
        "histories": {"held_out": 2, "learners": 14, "episodes": 4, "keep_every": 2},
        "model": {"n_layers": 1, "n_heads": 2, "d_model": 8, "dropout": 0.1},
        "training": {**TRAINING, **training},
    }


def tiny(**training) -> Config:
    return check_config(content(**training), "a test")


def weights(model) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def same(one, other) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def without_times(metrics) -> list[dict]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in metrics]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    model, record = train(tiny(), tmp_path_factory.mktemp("uninterrupted"))
    return weights(model), record


# resuming


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("number", [1, 2, 4, 5, 6])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path, uninterrupted, number):
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), tmp_path, progress=Updates(number))
    updates = Updates()
    model, record = train(tiny(), tmp_path, progress=updates)
    assert updates.seen == list(range(number + 1, 7))
    assert same(weights(model), uninterrupted[0])
    assert without_times(record["metrics"]) == without_times(uninterrupted[1]["metrics"])
    assert not model.training


def test_an_interruption_amid_an_update_loses_that_update_and_nothing_else(tmp_path, uninterrupted, monkeypatch):
    """Control-C between the new weights and their count must not leave a state that counts one too few."""
    step, calls = torch.optim.AdamW.step, []

    def interrupted(self, *args, **kwargs):
        step(self, *args, **kwargs)
        calls.append(0)
        if len(calls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), tmp_path)
    monkeypatch.undo()
    model, record = train(tiny(), tmp_path)
    assert same(weights(model), uninterrupted[0])
    assert without_times(record["metrics"]) == without_times(uninterrupted[1]["metrics"])


def test_interrupted_again_and_again(tmp_path, uninterrupted):
    for number in (1, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            train(tiny(), tmp_path, progress=Updates(number))
    assert same(weights(train(tiny(), tmp_path)[0]), uninterrupted[0])


def test_a_finished_run_is_only_loaded(tmp_path, uninterrupted):
    train(tiny(), tmp_path)
    model, record = train(tiny(), tmp_path, progress=Updates(6))
    assert same(weights(model), uninterrupted[0])
    assert record["updates"] == 6


def test_seeds_decide(tmp_path, uninterrupted):
    again = weights(train(tiny(), tmp_path / "again")[0])
    other = weights(train(tiny(seed=1), tmp_path / "other")[0])
    assert same(again, uninterrupted[0])
    assert not any(torch.equal(again[name], other[name]) for name in again)


def test_training_leaves_torchs_threads_and_no_gradient_mode_as_they_were(tmp_path):
    threads = torch.get_num_threads()
    train(tiny(updates=1), tmp_path)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_a_state_of_another_configuration_is_refused(tmp_path):
    train(tiny(updates=1), tmp_path)
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(CheckpointError, match=r"belongs to another configuration.*`out`"):
        train(tiny(updates=2), tmp_path)
    assert (tmp_path / STATE).read_bytes() == before


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def cut_the_head(path):
    path.write_bytes(path.read_bytes()[:20])


def empty(path):
    path.write_bytes(b"")


def scribble(path):
    path.write_bytes(b"not a state at all" * 10)


def forget_metadata(path):
    save_file(load_file(path), path)


def rewrite(path, change):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata)


def lose_a_weight(path):
    rewrite(path, lambda tensors, metadata: tensors.pop("model.W_U"))


def other_shape(path):
    rewrite(path, lambda tensors, metadata: tensors.update({"model.W_U": torch.zeros(3, 3)}))


def lose_the_update(path):
    def change(tensors, metadata):
        run = json.loads(metadata["run"])
        del run["update"]
        metadata["run"] = json.dumps(run)

    rewrite(path, change)


def test_a_state_from_before_there_were_checksums_is_gone_on_from(tmp_path):
    model, _ = train(tiny(updates=1), tmp_path)
    rewrite(tmp_path / STATE, lambda tensors, metadata: metadata.pop(CHECKSUM))
    again, _ = train(tiny(updates=1), tmp_path)
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, again.state_dict()[name]), name


def change_a_weight(path):
    rewrite(path, lambda tensors, metadata: tensors["model.W_U"].view(-1)[0].neg_())


def rename_a_moment(path):
    rewrite(path, lambda tensors, metadata: tensors.update({"optimiser.0.exp_": tensors.pop("optimiser.0.exp_avg")}))


def change_a_metric(path):
    rewrite(path, lambda tensors, metadata: metadata.update(metrics=metadata["metrics"].replace("1", "2")))


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        cut_the_head,
        empty,
        scribble,
        forget_metadata,
        lose_a_weight,
        other_shape,
        lose_the_update,
        change_a_weight,
        rename_a_moment,
        change_a_metric,
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_state_is_refused_and_left_for_inspection(tmp_path, damage):
    train(tiny(updates=1), tmp_path)
    damage(tmp_path / STATE)
    content = (tmp_path / STATE).read_bytes()
    with pytest.raises(CheckpointError, match=r"(?s)state.safetensors is damaged \(.*Delete it to train"):
        train(tiny(updates=1), tmp_path)
    assert (tmp_path / STATE).read_bytes() == content


def test_a_full_disk_is_said_so_and_leaves_the_old_state(tmp_path, monkeypatch, uninterrupted):
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), tmp_path, progress=Updates(3))
    before = (tmp_path / STATE).read_bytes()

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ad_hypotheses.storage.files.os", SimpleNamespace(**{**vars(os), "fsync": full}))
    with pytest.raises(UserError, match=r"No space left on device\. Free space or choose another place"):
        train(tiny(), tmp_path)
    assert (tmp_path / STATE).read_bytes() == before
    monkeypatch.undo()
    assert same(weights(train(tiny(), tmp_path)[0]), uninterrupted[0])


# what is learned and written down


def test_metrics_are_json_lines_of_losses_and_returns(tmp_path):
    updates = Updates()
    _, record = train(tiny(), tmp_path, progress=updates)
    written = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert written == updates.evaluations == record["metrics"]
    assert [line["update"] for line in written] == [4, 6]
    returns = {f"{tasks}_{what}" for tasks in ("train", "held_out") for what in ("return", "of_optimum")}
    assert set(written[0]) == {"update", "loss", "seconds"} | returns
    assert all(0 <= line["train_return"] <= 4 for line in written)
    assert abs(written[0]["loss"] - np.log(5)) < 0.1
    assert written[0]["seconds"] <= written[1]["seconds"] <= record["seconds"] + 0.1
    assert record["versions"]["torch build"] == torch.__version__


def test_no_task_needs_to_be_held_out(tmp_path):
    config = content()
    config["histories"]["held_out"] = 0
    _, record = train(check_config(config, "a test"), tmp_path)
    assert {key for line in record["metrics"] for key in line if "held_out" in key} == set()
    assert all("train_return" in line for line in record["metrics"])


@pytest.mark.slow
def test_the_loss_falls_on_a_source_that_repeats_itself(tmp_path):
    """UCB1 tries each of its arms once, so the second pull of a two-armed bandit is certain."""
    config = check_config(
        BANDIT
        | {
            "histories": {"held_out": 2, "learners": 4096, "episodes": 1, "keep_every": 1},
            "model": {"n_layers": 1, "n_heads": 2, "d_model": 16},
            "training": TRAINING | {"updates": 150, "batch": 64, "learning_rate": 0.02, "evaluate_every": 150},
        },
        "a test",
    )
    updates = Updates()
    model, record = train(config, tmp_path, progress=updates)
    assert updates.losses[0] == pytest.approx(np.log(2), abs=0.02)
    assert record["metrics"][-1]["loss"] < 0.9 * updates.losses[0]
    # token: previous action + 1, reward; nothing was seen at the first step
    second = model(torch.tensor([[[0, 0], [1, 1]], [[0, 0], [2, 0]]])).softmax(-1)[:, 1]
    assert second[0, 1] > 0.8
    assert second[1, 0] > 0.8


def test_batches_are_keyed_by_the_update_and_the_seed(tmp_path, monkeypatch):
    asked = {}
    rows = training.HistoryFolder.rows

    def spy(self, chosen):
        asked.setdefault(len(asked), chosen.tolist())
        return rows(self, chosen)

    monkeypatch.setattr(training.HistoryFolder, "rows", spy)
    train(tiny(updates=2), tmp_path / "one")
    train(tiny(updates=2, seed=5), tmp_path / "two")
    assert len({tuple(chosen) for chosen in asked.values()}) == 4
    assert all(0 <= row < 14 for chosen in asked.values() for row in chosen)


def test_the_learning_rate_warms_up_and_decays_to_zero():
    plan = Training(updates=100, warmup=10, learning_rate=2.0)
    rates = [learning_rate(plan, update) for update in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[4] == pytest.approx(2.0 * 0.5 * 0.5 * (1 + np.cos(np.pi * 0.04)))
    assert rates[50] == pytest.approx(1.0)
    assert rates[75] == pytest.approx(1 + np.cos(np.pi * 0.75))
    assert np.argmax(rates) == 9
    assert (np.diff(rates[9:]) < 0).all()
    assert 0 < rates[-1] < 0.001
    assert learning_rate(plan, 100) == pytest.approx(0)
    assert learning_rate(Training(updates=100, warmup=0, learning_rate=2.0), 0) == 2.0


def test_weight_decay_spares_biases_gains_and_embeddings():
    config = tiny(weight_decay=0.3)
    model = build(config)
    decayed, kept = make_optimiser(model, config.training).param_groups
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.3, 0.0)
    maps = {f"blocks.0.attn.W_{letter}" for letter in "QKVO"} | {"blocks.0.mlp.W_in", "blocks.0.mlp.W_out", "W_U"}
    assert {names[id(weight)] for weight in decayed["params"]} == maps
    assert {names[id(weight)] for weight in kept["params"]} == set(names.values()) - maps


def test_training_and_held_out_tasks_do_not_overlap():
    trained, held_out = tiny().experiment.split()
    goals = [{tuple(goal) for goal in facts["goal"].tolist()} for facts in (trained, held_out)]
    assert [len(one) for one in goals] == [7, 2]
    assert not goals[0] & goals[1]


# the configuration


def test_a_configuration_lists_everything_that_is_wrong_with_it():
    wrong = content()
    wrong["trainin"] = {}
    wrong["task"] = {"name": "dark-rom"}
    wrong["source"] = {"name": "dyna-q", "planing": 3}
    wrong["histories"] = {"held_out": -1, "learner": 5}
    wrong["model"] = {"n_heads": "many"}
    wrong["training"]["seed"] = -1
    with pytest.raises(ConfigError) as caught:
        check_config(wrong, "here.yaml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "here.yaml cannot be used:"
    for expected in (
        "  histories.held_out: input should be greater than or equal to 0, but it is -1",
        "  histories.learner: no such key. Did you mean 'learners'? Known: held_out, train_tasks, learners,",
        "  model.n_heads: input should be a valid integer, but it is 'many'",
        "  training.seed: input should be greater than or equal to 0, but it is -1",
        "  trainin: no such key. Did you mean 'training'? Known: task, source, histories, model, training, contexts.",
        "  task: there is no task 'dark-rom'. Did you mean 'dark-room'?",
        "  source: dyna-q has no parameter 'planing'. Did you mean 'planning'?",
    ):
        assert any(line.startswith(expected) for line in lines), expected
    assert len(lines) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": None}, "task: input should be a valid dictionary, but it is None"),
        ({"task": {}}, "task: needs 'name'"),
        ({"task": {"name": "dark-room", "size": "9"}}, "task: dark-room: size is '9', but it must be of type int."),
        ({"task": {"name": "dark-room", "size": 1}}, "task: dark-room: size is 1, but it must be 2 to 100."),
        ({"model": {"d_model": 30}}, "model.d_model: 30 is not a multiple of model.n_heads = 4"),
        ({"model": {"dropout": 1.0}}, "model.dropout: input should be less than 1, but it is 1.0"),
        ({"training": {"seed": 2**63}}, "training.seed: input should be less than or equal to 9223372036854775807"),
        ({"training": None}, "training: must be a section of keys, but it is None"),
        ({"task": {"name": ["dark-room"]}}, "task: name is ['dark-room'], but it must be text. Known: dark-room,"),
        (
            {"task": {"name": "rom"}},
            "task: there is no task 'rom'. Known: dark-room, dark-room-hard, key-to-door, bandit, "
            "adversarial-bandit, gaussian-bandit, graph-world, minigrid:<ENV-ID>, file.py:Class.",
        ),
        ({"task": {"name": "minigrid:A", "environment": "B"}}, "task: minigrid:A: environment stands in the name"),
        ({"task": {"name": "bandit", "bias": 0.9}}, "task: bandit: bias means nothing without adversarial"),
        ({"source": {"name": "dyna-q", "gamma": "high"}}, "source: dyna-q: gamma is 'high', but it must be of type"),
        ({"source": {"name": "dyna-q", "gamma": float("nan")}}, "source: dyna-q: gamma is nan, but it must be a fin"),
        ({"training": {"updates": 0}}, "training.updates: input should be greater than or equal to 1, but it is 0"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate: input should be"),
    ],
    ids=lambda one: "" if isinstance(one, dict) else one[:20],
)
def test_a_wrong_value_is_explained(changes, message):
    with pytest.raises(ConfigError) as caught:
        check_config(content() | changes, "here.yaml")
    assert f"  {message}" in str(caught.value)


def test_missing_sections_are_named():
    with pytest.raises(ConfigError) as caught:
        check_config({}, "here.yaml")
    assert str(caught.value).splitlines()[1:] == ["  task: is missing", "  source: is missing"]


def test_a_configuration_survives_being_written(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(tiny().model_dump()))  # JSON is YAML
    assert read_config(path) == tiny()
    path.write_text("task: {name: bandit}\nsource: {name: ucb1}\ntraining: {learning_rate: 2e-3}\n")
    assert read_config(path).training.learning_rate == 0.002
    assert read_config(path).kept_episodes == 19


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"task: [", "is not valid YAML"),
        (b"\xff\xfe\xff", "is not valid YAML"),
        (b"- 1", "must hold the sections"),
    ],
    ids=["syntax", "bytes", "list"],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*config.yaml: No such file"):
        read_config(path)
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=message):
        read_config(path)


def test_numbers_are_read_alike_everywhere():
    config = check_config(
        content(weight_decay="1e-2")
        | {"source": {"name": "dyna-q", "gamma": "9e-1"}, "model": {"dropout": "1e-1", "d_model": 8}},
        "a test",
    )
    assert (config.experiment.source.gamma, config.model.dropout, config.training.weight_decay) == (0.9, 0.1, 0.01)


def test_a_configuration_makes_its_task_and_source_once_and_a_copy_its_own():
    config = check_config(content(), "a test")
    experiment = config.experiment
    assert config.experiment is experiment
    assert experiment.task is config.experiment.task
    assert experiment.source is config.experiment.source
    larger = config.model_copy(update={"task": {**config.task, "horizon": 99}})
    assert (larger.experiment.task.horizon, config.experiment.task.horizon) == (99, experiment.task.horizon)
    again = check_config(content(), "a test")
    assert again == config
    assert config.model_dump() == again.model_dump()


BAD = {
    "histories.held_out: 9, histories.train_tasks: all others: dark-room: cannot hold": {"histories": {"held_out": 9}},
    "histories.held_out: 2, histories.train_tasks: 8: ": {"histories": {"held_out": 2, "train_tasks": 8}},
    "histories.skip: 3 is no multiple of histories.keep_every = 2: 2 or 4": {"histories": {"held_out": 2, "skip": 3}},
    "histories.keep_every: 4 leaves 1 of histories.episodes = 4": {
        "histories": {"held_out": 2, "episodes": 4, "keep_every": 4}
    },
    "source: ucb1 learns bandits, not dark-room": {"source": {"name": "ucb1"}},
    "source: gaussian-thompson learns bandits": {"source": {"name": "gaussian-thompson"}},
    "source: dyna-q remembers one outcome": {"task": {"name": "bandit"}, "source": {"name": "dyna-q"}},
    "source: actor-critic: device is 'gpu'": {"source": {"name": "actor-critic", "device": "gpu"}},
    "source.folder: there is no folder 'gone'": {"source": {"name": "recorded", "folder": "gone"}},
    "model.d_model: 40000000": {"model": {"d_model": 40_000_000, "n_heads": 1}},
    "training.batch: 4, task.horizon 1000000000 x 2 episodes: a batch of 4": {
        "task": {"name": "dark-room", "size": 3, "horizon": 10**9}
    },
    "histories.held_out: 10000000000000, histories.train_tasks": {
        "task": {"name": "bandit"},
        "source": {"name": "ucb1"},
        "histories": {"held_out": 10**13},
    },
}


@pytest.mark.parametrize("problem", BAD, ids=lambda one: one[:24])
def test_what_cannot_be_trained_is_refused_with_its_key(problem):
    config = check_config(content() | BAD[problem], "here.yaml")
    assert any(line.startswith(problem) for line in infeasible(config)), list(infeasible(config))


def test_what_can_be_trained_is_not_refused():
    assert list(infeasible(tiny())) == []
