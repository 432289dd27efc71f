"""Damaged checkpoints: weights, configuration and record, each broken, altered, or not a file at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from faults.campaign import ACCEPTED, REFUSED, settled
from faults.mutate import alter, alter_array, as_json, as_yaml, damage, misplace, pick, scribble
from faults.sound import answer, require_finite, require_same, scrubbed, sizes
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors

from ad_hypotheses.cli.list import list_all
from ad_hypotheses.distill.checkpoint import CONFIG, RECORD, WEIGHTS, load

FILES = (WEIGHTS, CONFIG, RECORD)


def broken(trial, folder: Path) -> None:
    """Damage the bytes of a file."""
    path = folder / pick(FILES, trial.rng)
    words, content = damage(path.read_bytes(), trial.rng)
    trial.note(f"{path.name}: {words}")
    path.write_bytes(content)


def misplaced(trial, folder: Path) -> None:
    """Put something else in the place of a file."""
    path = folder / pick(FILES, trial.rng)
    trial.note(f"{path.name}: {misplace(path, trial.rng)}")


def altered(trial, folder: Path) -> None:
    """Change a value of the configuration or of the record, in a file that is well formed."""
    path = folder / pick(FILES[1:], trial.rng)
    if path.name == RECORD:
        words, tree = alter(json.loads(path.read_bytes()), trial.rng)
        path.write_bytes(as_json(tree))
    elif trial.rng.random() < 0.5:
        words, tree = alter(yaml.safe_load(path.read_bytes()), trial.rng)
        path.write_bytes(as_yaml(tree))
    else:
        words, content = scribble(path.read_bytes(), trial.rng)
        path.write_bytes(content)
    trial.note(f"{path.name}: {words}")


def consistent(trial, folder: Path) -> None:
    """Change a value of the configuration, in the record's copy of it too: only the weights can tell."""
    record = json.loads((folder / RECORD).read_bytes())
    words, tree = alter(record["config"], trial.rng)
    trial.note(f"both configurations: {words}")
    (folder / CONFIG).write_bytes(as_yaml(tree))
    (folder / RECORD).write_bytes(as_json({**record, "config": tree}))


def forged(trial, folder: Path) -> None:
    """Write other weights, with the checksum that they have: what an unsound training would leave."""
    tensors = load_file(folder / WEIGHTS)
    name = pick(sorted(tensors), trial.rng)
    words, array = alter_array(tensors[name].numpy(), trial.rng)
    if array.dtype.kind in "US":
        words = "deleted"
        del tensors[name]
    else:
        kind = np.dtype(np.complex64) if array.dtype.kind == "c" else array.dtype  # safetensors has no other
        tensors[name] = torch.from_numpy(array.astype(kind.newbyteorder("="), order="C"))
    content = save_tensors(tensors)
    (folder / WEIGHTS).write_bytes(content)
    record = json.loads((folder / RECORD).read_bytes())
    record["weights_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / RECORD).write_bytes(as_json(record))
    trial.note(f"{name}: {words}")


WAYS = (broken, broken, misplaced, altered, altered, consistent, forged, forged)


def damaged(trial, sound) -> Path:
    """Return a damaged copy of the checkpoint, beside a sound one."""
    models = trial.place / "models"
    shutil.copytree(sound.checkpoint, models / "base")
    shutil.copytree(sound.checkpoint, models / "sound")
    pick(WAYS, trial.rng)(trial, models / "base")
    return models


def is_as_before(folder: Path, sound) -> bool:
    return all((folder / name).read_bytes() == (sound.checkpoint / name).read_bytes() for name in FILES[:2])


@sizes(30, 1500)
def test_each_is_loaded_as_it_was_or_refused(campaign, sound, n_inputs):
    def attempt(trial):
        models = damaged(trial, sound)
        word, logits = settled(lambda: answer(load("base", models)))  # a source may refuse settings when it lives
        if word == REFUSED:
            return REFUSED
        assert torch.isfinite(logits).all(), "logits that are no numbers"
        if is_as_before(models / "base", sound):
            torch.testing.assert_close(logits, sound.logits, rtol=0, atol=0)
        return ACCEPTED

    counts = campaign.run("checkpoints", n_inputs, attempt)
    assert min(counts[ACCEPTED], counts[REFUSED]) > counts.total() / 40


@sizes(3, 100)
def test_a_study_of_each_is_that_of_the_sound_one_or_refused(campaign, sound, n_inputs):
    def attempt(trial):
        models = damaged(trial, sound)

        def studied() -> dict[str, Any]:
            return scrubbed(load("base", models), sound.claims, trial.place / "scratch")

        word, figures = settled(studied)
        if word == ACCEPTED:
            require_finite(figures)
            if is_as_before(models / "base", sound):
                require_same(figures, sound.figures)
        return word

    campaign.run("studied checkpoints", n_inputs, attempt)


@sizes(8, 600)
def test_none_hides_the_others_from_a_listing(campaign, sound, n_inputs, capsys):
    n_parameters = sum(tensor.numel() for tensor in load_file(sound.checkpoint / WEIGHTS).values())

    def attempt(trial):
        models = damaged(trial, sound)
        list_all(sound.place / "hypotheses", models, as_json=True)
        listed = json.loads(capsys.readouterr().out)
        rows = {row["name"]: row for row in listed["models"]}
        assert rows["sound"]["error"] is None
        assert rows["sound"]["parameters"] == n_parameters
        assert (models / "base" / WEIGHTS).is_file() <= ("base" in rows)
        list_all(sound.place / "hypotheses", models, as_json=False)
        assert "sound" in capsys.readouterr().out
        return REFUSED if "base" in rows and rows["base"]["error"] else ACCEPTED

    campaign.run("listed checkpoints", n_inputs, attempt)
