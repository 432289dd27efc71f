"""A model with or of numbers that are not finite is refused, by its name, before anything is measured on it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors

import ad_hypotheses
from ad_hypotheses.causal.attribute import attribute
from ad_hypotheses.causal.clean import Clean
from ad_hypotheses.causal.effects import Nodes, measure
from ad_hypotheses.causal.history_pairs import HistoryPairs
from ad_hypotheses.distill import checkpoint as zoo
from ad_hypotheses.distill import train as training
from ad_hypotheses.distill.config import check_config
from ad_hypotheses.distill.finite import NonFiniteError, require_finite
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.distill.train import HISTORIES, STATE, train
from ad_hypotheses.distill.updates import take_step
from ad_hypotheses.errors import CheckpointError, DivergedError
from ad_hypotheses.language.edges import all_edges
from ad_hypotheses.language.history import History

ROOM = {
    "task": {"name": "dark-room", "size": 3, "horizon": 4},
    "source": {"name": "epsilon-greedy-q"},
    "histories": {"held_out": 2, "learners": 14, "episodes": 4, "keep_every": 2, "check": False},
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 8},
    "training": {"updates": 6, "batch": 4, "warmup": 1, "evaluate_every": 6, "save_every": 1},
}


def config(**plan):
    return check_config(ROOM | {"training": ROOM["training"] | plan}, "a test")


def lives(rows: int = 6) -> History:
    return config().experiment.live(
        config().experiment.task.sample_tasks(np.random.default_rng(0), rows), np.random.default_rng(1)
    )


def overflowing() -> zoo.ADTransformer:
    """A model all of whose weights are finite, and whose logits are not."""
    model = zoo.build(config()).eval()
    model.name = "overflowing"
    with torch.no_grad():
        model.W_U.div_(model.W_U.abs().max()).mul_(1e38)
        model.ln_final.w.fill_(100.0)
    return model


def forge(folder: Path, name: str, value: float) -> None:
    """Put a number into a tensor of a checkpoint, with a record that vouches for it."""
    tensors = load_file(folder / zoo.WEIGHTS)
    tensors[name].view(-1)[3] = value
    content = save_tensors(tensors)
    (folder / zoo.WEIGHTS).write_bytes(content)
    record = json.loads((folder / zoo.RECORD).read_text())
    record["weights_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / zoo.RECORD).write_text(json.dumps(record))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["W_U", "blocks.0.mlp.W_in", "embed.reward", "ln_final.b"])
def test_a_checkpoint_with_weights_that_are_not_finite_is_refused(tmp_path, name, value):
    zoo.save(tmp_path / "room", config(), zoo.build(config()), {})
    forge(tmp_path / "room", name, value)
    with pytest.raises(CheckpointError) as caught:
        zoo.load("room", tmp_path)
    message = str(caught.value)
    assert message.startswith(f"the model room ({tmp_path / 'room' / zoo.WEIGHTS}) holds weights that are not finite")
    assert f"{name}: 1 of " in message
    assert "train again with a smaller training.learning_rate" in message


def test_weights_that_are_not_finite_are_never_written(tmp_path):
    model = zoo.build(config())
    with torch.no_grad():
        model.b_U[1] = np.nan
    with pytest.raises(CheckpointError, match=r"b_U: 1 of 5 are NaN"):
        zoo.save(tmp_path / "room", config(), model, {})
    assert not (tmp_path / "room").exists()


def pairs() -> HistoryPairs:
    return HistoryPairs(lives(), lives()[np.arange(6)[::-1]], "any")


def whole_run(model):
    return Clean.run(model, lives()).log_probs


def patched(model):
    writer = model.anatomy.writers[0]
    return measure(model, pairs(), [Nodes((writer,))])


def attributed(model):
    return attribute(model, pairs(), all_edges(model.anatomy)[:1])


def lived(model):
    facts = config().experiment.task.sample_tasks(np.random.default_rng(0), 3)
    return rollout(model, config().experiment.task, facts, 2, np.random.default_rng(0))


@pytest.mark.parametrize("ask", [whole_run, patched, attributed, lived])
def test_logits_that_are_not_finite_are_refused(ask):
    with pytest.raises(NonFiniteError) as caught:
        ask(overflowing())
    assert "the logits of the model overflowing are not finite numbers" in str(caught.value)
    assert "the largest, 1e+38, is in W_U" in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_finite_passes_and_all_else_does_not(bad):
    model = zoo.build(config())
    values = torch.tensor([-1e37, 0.0, 1e37])
    assert require_finite(values, model, "the values") is values
    values[1] = bad
    with pytest.raises(NonFiniteError, match="the values of the model are not finite"):
        require_finite(values, model, "the values")


def test_nothing_that_was_measured_is_replaced_by_zero():
    package = Path(ad_hypotheses.__file__).parent
    assert [path.name for path in package.rglob("*.py") if "nan_to_num" in path.read_text()] == []


# training


@pytest.mark.parametrize(
    ("plan", "update", "reason"),
    [
        ({"weight_decay": "1e308"}, 1, "the largest weight after the update is"),
        ({"learning_rate": "1e37"}, 2, "the "),
    ],
)
def test_training_that_diverges_stops_at_once(tmp_path, plan, update, reason):
    with pytest.raises(DivergedError) as caught:
        train(config(**plan), tmp_path)
    message = str(caught.value)
    assert f"training diverged in update {update} of 6: {reason}" in message
    assert "Make training.learning_rate smaller" in message
    key, value = next(iter(plan.items()))
    assert f"{key}: {float(value)}" in message
    assert (tmp_path / STATE).exists() == (update > 1)
    if update > 1:
        assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / STATE).values())


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_weights_do_not_move_along_what_is_not_finite(what):
    model = zoo.build(config())
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.parameters())
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    if what == "gradient":
        model.W_U.grad[0, 0] = np.nan
    with pytest.raises(NonFiniteError):
        take_step(model, optimiser, config().training, torch.tensor(np.inf if what == "loss" else 1.0))
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_a_state_that_was_good_is_kept_when_the_model_cannot_live(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "rollout", lambda model, *_: lived(overflowing()))
    with pytest.raises(DivergedError, match=r"diverged in update 7 of 6: the logits of the model overflowing"):
        train(config(save_every=4), tmp_path)
    assert (tmp_path / STATE).exists()
    assert (tmp_path / HISTORIES).exists()


def test_the_command_line_ends_with_1_and_writes_no_checkpoint(cli, workplace):
    plan = "training: {updates: 60, batch: 16, learning_rate: 1e37, warmup: 1, evaluate_every: 30, save_every: 20}"
    text = "\n".join([*(workplace / "tiny.yaml").read_text().splitlines()[:-1], plan])
    (workplace / "wild.yaml").write_text(text.replace("learners: 256", "learners: 16, check: false"))
    ran = cli("train", "wild.yaml", "--out", "models/wild")
    assert ran.code == 1
    assert "error: training diverged in update" in ran.said
    assert "learning_rate: 1e+37" in ran.said
    assert sorted(path.name for path in (workplace / "models" / "wild").iterdir()) == ["training"]
