"""Checkpoints: what comes back is what was written, and anything else is refused with a remedy."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save as save_tensors

import ad_hypotheses
from ad_hypotheses.distill import checkpoint as zoo
from ad_hypotheses.distill.config import check_config
from ad_hypotheses.errors import CheckpointError, ConfigError, UserError
from ad_hypotheses.storage.files import replacing, write_atomically

RECORD = {"updates": 7, "seconds": 1.5, "metrics": [{"update": 7, "loss": 0.25}]}


def config(d_model: int = 8, **model):
    return check_config(
        {
            "task": {"name": "dark-room", "size": 3, "horizon": 4},
            "source": {"name": "dyna-q"},
            "histories": {"held_out": 2, "episodes": 3, "keep_every": 2},
            "model": {"n_layers": 1, "n_heads": 2, "d_model": d_model, **model},
        },
        "a test",
    )


@pytest.fixture
def models(tmp_path) -> Path:
    """A folder with the checkpoints `room` and `other-room`, of a model that was never trained."""
    for name in ("room", "other-room"):
        zoo.save(tmp_path / name, config(), zoo.build(config()), RECORD)
    return tmp_path


def refused(models, *fragments, name="room"):
    with pytest.raises(CheckpointError) as caught:
        zoo.load(name, models)
    for fragment in fragments:
        assert fragment in str(caught.value)


# the round trip


def test_what_is_loaded_is_what_was_saved(models):
    trained = zoo.build(config())
    checkpoint = zoo.load("room", models)
    assert (checkpoint.name, checkpoint.folder, checkpoint.config) == ("room", models / "room", config())
    loaded = checkpoint.model.state_dict()
    assert list(loaded) == list(trained.state_dict())
    assert all(torch.equal(loaded[name], weight) for name, weight in trained.state_dict().items())
    assert {name: checkpoint.record[name] for name in RECORD} == RECORD
    assert checkpoint.sha256 == hashlib.sha256((models / "room" / zoo.WEIGHTS).read_bytes()).hexdigest()
    assert not checkpoint.model.training
    tokens = torch.zeros(1, 8, 4, dtype=torch.int64)
    assert torch.equal(checkpoint.model(tokens), trained.eval()(tokens))


def test_saving_twice_writes_the_same_weights(models):
    digest = zoo.save(models / "again", config(), zoo.build(config()), RECORD)
    assert digest == zoo.load("room", models).sha256


def test_a_checkpoint_is_found_by_name_and_by_folder(models, monkeypatch):
    assert zoo.load(models / "room").name == "room"
    assert zoo.load(str(models / "room")).name == "room"
    assert zoo.names(models) == ["other-room", "room"]
    monkeypatch.chdir(models.parent)
    shutil.copytree(models, models.parent / "models", dirs_exist_ok=True)
    assert zoo.load("room").folder == Path("models/room")


def test_the_model_fits_its_task_and_histories():
    model = zoo.build(config(d_mlp=12))
    assert model.shape.n_ctx == 2 * 4  # episodes 0 and 2 of three are kept, four steps each
    assert model.vocabulary.channels == ("x", "y", "action", "reward")
    assert model.vocabulary.sizes == (3, 3, 6, 2)
    assert model.blocks[0].mlp.W_in.shape == (8, 12)


def test_a_folder_holds_plain_yaml_and_json(models):
    folder = models / "room"
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "record.json", "weights.safetensors"]
    assert check_config(yaml.safe_load((folder / zoo.CONFIG).read_text()), "a test") == config()
    assert set(json.loads((folder / zoo.RECORD).read_text())) == {"weights_sha256", "config", *RECORD}


# what is refused


@pytest.mark.parametrize("place", [0.0, 0.05, 0.5, 0.999])
def test_a_flipped_bit_is_noticed(models, place):
    path = models / "room" / zoo.WEIGHTS
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    refused(
        models,
        "is not the file that was trained: it is truncated or was altered",
        "SHA-256 recorded",
        "train it again: python cli.py train",
    )


@pytest.mark.parametrize("left", [0, 5, 100, -1])
def test_a_truncated_file_is_noticed(models, left):
    path = models / "room" / zoo.WEIGHTS
    path.write_bytes(path.read_bytes()[:left])
    refused(models, "it is truncated or was altered")


def forge(models, content: bytes):
    """Put other weights there, with a record that vouches for them."""
    (models / "room" / zoo.WEIGHTS).write_bytes(content)
    record = {"weights_sha256": hashlib.sha256(content).hexdigest()}
    (models / "room" / zoo.RECORD).write_text(json.dumps(record))


def test_weights_of_another_shape_are_refused(models):
    forge(models, save_tensors(zoo.build(config(d_model=16)).state_dict()))
    refused(
        models, "does not fit the model that its config.yaml describes", "model.d_model: 8 there, 16 in the weights"
    )


@pytest.mark.parametrize(
    ("name", "n_axes"), [("blocks.0.attn.W_Q", 3), ("blocks.0.mlp.W_in", 2), ("W_pos", 2)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("stored", [0, 1])
def test_weights_with_fewer_axes_are_refused(models, name, n_axes, stored):
    weights = {**zoo.build(config()).state_dict(), name: torch.zeros((1,) * stored)}
    forge(models, save_tensors(weights))
    refused(models, "does not fit the model", f"axes of {name}: {n_axes} there, {stored} in the weights")


def test_weights_of_a_layer_without_a_number_are_refused(models):
    forge(models, save_tensors({**zoo.build(config()).state_dict(), "blocks.first.W": torch.zeros(2)}))
    refused(models, "does not fit the model", "model.n_layers")


def test_missing_and_surplus_weights_are_refused(models):
    weights = zoo.build(config()).state_dict()
    forge(models, save_tensors({name: weight for name, weight in weights.items() if name != "W_U"}))
    refused(models, "does not fit the model", "W_U is missing")
    forge(models, save_tensors({**weights, "W_E": torch.zeros(2)}))
    refused(models, "does not fit the model", "W_E is none of the model's")


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 64])
def test_what_is_no_safetensors_file_is_refused(models, content):
    forge(models, content)
    refused(models, "is no safetensors file")


def test_missing_files_are_named_with_what_to_do(models):
    (models / "room" / zoo.RECORD).unlink()
    refused(models, "cannot read", "record.json: No such file or directory", "Restore it or train again")
    (models / "other-room" / zoo.WEIGHTS).unlink()
    refused(models, "has no weights.safetensors: train it first: python cli.py train", name="other-room")
    (models / "third").mkdir()
    refused(models, "third has no weights.safetensors", name="third")


def test_a_missing_or_wrong_configuration_is_refused(models):
    (models / "room" / zoo.CONFIG).write_text("task: {name: dark-room}\nsorce: {}\n")
    with pytest.raises(ConfigError, match=r"sorce: no such key. Did you mean 'source'\?"):
        zoo.load("room", models)
    (models / "room" / zoo.CONFIG).unlink()
    refused(models, "cannot read the configuration", "Restore it")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[1]", "must hold a JSON object"),
        ("{}", "record.json is at fault: it holds no weights_sha256"),
    ],
)
def test_a_damaged_record_is_refused(models, text, message):
    (models / "room" / zoo.RECORD).write_text(text)
    refused(models, message)


def test_an_unknown_name_is_answered_with_those_that_exist(models):
    refused(
        models, "there is no model 'roon' in", "Did you mean 'room'?", "models there: other-room, room", name="roon"
    )
    with pytest.raises(CheckpointError, match="models there: none"):
        zoo.load("room", models / "nowhere")


def test_of_many_models_the_five_nearest_to_a_misspelt_name_are_listed():
    with pytest.raises(CheckpointError) as error:
        zoo.load("dark-romm", Path(__file__).parents[1] / "models")
    assert "Did you mean 'dark-room'?" in str(error.value)
    (listed,) = re.findall(r"nearest of the \d+ models there: (.*)$", str(error.value))
    assert len(listed.split(", ")) == 5
    assert listed.startswith("dark-room, dark-room-hard")


# writing


def full(*_):
    raise OSError(28, "No space left on device")


def test_the_weights_come_last_so_that_where_they_are_everything_is(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(zoo, "write_atomically", lambda path, content: written.append(path.name))
    zoo.save(tmp_path, config(), zoo.build(config()), RECORD, lambda sha256: {"card.md": sha256.encode()})
    assert written[-1] == zoo.WEIGHTS
    assert set(written) == {zoo.CONFIG, zoo.RECORD, zoo.WEIGHTS, "card.md"}


def test_a_failed_write_leaves_the_old_file_and_no_other(models, monkeypatch):
    folder = models / "room"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(zoo.os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*config.yaml: No space left on device. Free space or choose"):
        zoo.save(folder, config(d_model=16), zoo.build(config(d_model=16)), {})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert zoo.load("room", models).config == config()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_amid_writing_leaves_the_old_file(tmp_path, interruption):
    path = tmp_path / "file"
    path.write_text("old")

    def write():
        with replacing(path) as temporary:
            temporary.write_text("half of the ne")
            raise interruption

    with pytest.raises(interruption):
        write()
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_a_place_that_cannot_be_written_is_the_users_to_change(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/inner: Not a directory"):
        write_atomically(tmp_path / "file" / "inner", b"content")


# no code in data

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
FORBIDDEN_CALLS = {"torch.load", "torch.save", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "pandas.read_pickle"}


def test_nothing_that_is_read_can_run_code():
    """No pickle, neither by itself nor inside torch, numpy or YAML, anywhere in the package."""
    files = sorted(Path(ad_hypotheses.__file__).parent.rglob("*.py"))
    assert len(files) > 40
    for path in files:
        for one in ast.walk(ast.parse(path.read_text())):
            if isinstance(one, ast.Import):
                assert not FORBIDDEN_MODULES & {alias.name.partition(".")[0] for alias in one.names}, path
            if isinstance(one, ast.ImportFrom):
                assert (one.module or "").partition(".")[0] not in FORBIDDEN_MODULES, path
            if isinstance(one, ast.Call):
                assert ast.unparse(one.func) not in FORBIDDEN_CALLS, (path, one.lineno)
                allowed = [word.value for word in one.keywords if word.arg == "allow_pickle"]
                assert all(isinstance(value, ast.Constant) and value.value is False for value in allowed), path


def test_numpy_refuses_pickles_unless_asked(tmp_path):
    """The rule above counts on numpy's default, so it is held to it."""
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        np.load(tmp_path / "objects.npy")


# a configuration that was altered


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_an_altered_configuration_is_noticed(models):
    change(models / "room" / zoo.CONFIG, "keep_every: 2", "keep_every: 1")
    refused(
        models,
        "config.yaml is not what the model was trained with",
        "histories.keep_every: 1 now, 2 then",
        "another folder",
    )


def test_a_configuration_may_leave_out_what_has_its_default(models):
    path = models / "room" / zoo.CONFIG
    change(path, "  name: dyna-q\n", "  name: dyna-q\n  planning: 40\n  gamma: 9e-1\n")
    change(path, "  dropout: 0.0\n", "")
    assert zoo.load("room", models).name == "room"


def test_an_older_record_knows_no_configuration_but_the_weights_have_a_size(models):
    path = models / "room" / zoo.RECORD
    old = json.loads(path.read_text())
    del old["config"]
    path.write_text(json.dumps(old))
    assert zoo.load("room", models).name == "room"
    change(models / "room" / zoo.CONFIG, "d_model: 8", "d_model: 800000")
    refused(models, "does not fit the model", "model.d_model: 800000 there, 8 in the weights")


def test_an_empty_record_is_at_fault(models):
    (models / "room" / zoo.RECORD).write_text("{}")
    refused(models, "record.json is at fault", "weights_sha256")


def test_a_folder_without_a_configuration(models):
    (models / "room" / zoo.CONFIG).unlink()
    refused(models, "cannot read the configuration", "Restore it (git checkout")
    (models / "room" / zoo.WEIGHTS).unlink()
    refused(models, "it is no checkpoint", "other-room")


# where names are looked up


def test_a_name_is_looked_up_beside_then_where_the_environment_says(models, tmp_path, monkeypatch):
    """Only where no other folder was named."""
    monkeypatch.chdir(tmp_path / "room")
    monkeypatch.setenv("AD_HYPOTHESES_MODELS", str(models))
    assert zoo.load("other-room").name == "other-room"
    assert "room" in zoo.names()
    shutil.copytree(models / "room", "models/other-room")
    assert zoo.find("other-room") == Path("models/other-room")
    with pytest.raises(CheckpointError, match=r"no model 'other-room' in \S+elsewhere\."):
        zoo.load("other-room", Path("elsewhere"))
    with pytest.raises(CheckpointError, match=r"no model 'rom' in \S+models, \S+\. Did you mean 'room'"):
        zoo.load("rom")


def test_a_folder_without_weights_does_not_hide_a_model_elsewhere(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "room")
    monkeypatch.setenv("AD_HYPOTHESES_MODELS", str(models))
    Path("models/room").mkdir(parents=True)
    assert zoo.find("room") == models / "room"
