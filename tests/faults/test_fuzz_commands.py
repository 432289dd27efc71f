"""Odd command lines: each ends with exit code 0 or 2, and if it is 2 with a message; no traceback, no bug of ours."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import typer
import yaml
from faults.campaign import ACCEPTED, REFUSED
from faults.mutate import pick
from faults.sound import CONFIG, sizes

from ad_hypotheses.cli.app import app, main

FILES = (
    "stay", "stay.py", "stay.PY", "hypotheses/stay.py", "hypotheses/stay.py/x", "hypotheses", "models/base/config.yaml",
    "models/base", "base", "base/", "BASE", "./base", "../models/base", "tiny.yaml", "study.json", "pipe", "pipe.py",
    "circle", "circle.py", "", " ", "/", "//", ".", "..", "~", "*", "[", "**", "**/*", "-", "--", "é", "a\nb",
    "x" * 300, "/dev/null", "/dev/zero",
)  # fmt: skip
NUMBERS = (
    "1", "2", "8", "16", "0", "-1", "", "1.5", "1e3", "nan", "inf", "0x10", "007", "1_000", "٣", "9" * 30, "1000000000",
    "9223372036854775808", "many",
)  # fmt: skip
FOLDERS = (
    "new", "models", "hypotheses", "models/base", "taken", "taken/below", "/dev/null", "/proc", "pipe", "circle", "",
    ".", "n\new", "é", "x" * 300, "a/b/c/d",
)  # fmt: skip
WORDS = (
    "", "all", "any", "base", "stay", "step", "joint", "head(0, 0) -> logits", "head(9)", "->", "0.9", "90%", "2GB",
    "1KB", "1", "loss", "é", "[red]x", "cpu", "hpu", "cuda", "meta", "vulkan", "fpga", "cpu:1", "xla", "--",
)  # fmt: skip

# what makes sense for an argument of a verb and for an option, and what a verb is always given, or it takes long
ARGUMENTS = {
    "histories": ("tiny.yaml", "models/base/config.yaml"), "train": ("tiny.yaml",), "sweep": ("sweep.yaml",),
    "known": ("win-stay",), "evaluate": ("base", "models/base", "b*"), "new": ("other", "other.py"),
    "check": ("stay", "stay.py", "hypotheses/stay.py"), "scrub": ("stay", "stay.py", "hypotheses/stay.py"),
    "patch": ("stay", "base"), "report": ("study.json",), "behave": ("base", "models/base", "b*"),
    "findings": ("findings", "new"),
}  # fmt: skip
OPTIONS = {
    "--against": ("hypotheses/stay.py",), "--data": ("source", "own", "edited"), "--pool": ("16", "20"),
    "--align": ("step", "episode_step", "any"), "--contexts": ("2", "3"), "--device": ("cpu",),
    "--direction": ("noising", "denoising"),
    "--donors": ("any", "agree:score", "agree:last"), "--edges": ("all", "mlp(0) -> logits"),
    "--engine": ("local", "local:2"), "--export-minari": (),
    "--findings": ("1", "2"), "--folder": ("hypotheses", "new"), "--hypotheses": ("hypotheses",),
    "--learners": ("2", "5"), "--memory": ("2GB", "800 MB"), "--metric": ("loss", "kl"), "--model": ("base",),
    "--models": ("models",), "--nodes": ("mlp(0)", "head(0, 0)"), "--only": ("win-stay",), "--others": ("joint",),
    "--out": ("new", "a/b/c"), "--passes": ("1", "2"), "--path": ('embed("reward") -> mlp(0) -> logits',),
    "--read": ("rewarded",), "--reports": ("reports", "new"), "--rollouts": ("0", "2", "4"),
    "--rung": ("hypotheses/stay.py",), "--rows": ("8", "9"), "--screen": ("2",), "--screen-steps": ("1", "2"),
    "--screen-rule": ("gradients", "relevance"),
    "--search": ("0.9", "1"), "--seed": ("0", "7"), "--source-seeds": ("1", "2"),
    "--study": ("study.yaml",),
    "--tasks": ("all", "train", "held-out"), "--test": ("dose", "nothing"), "--threads": ("1",), "--track": (),
    "--trust": ("hypotheses/stay.py",), "--without": ("source", "way"),
    "--workers": ("1", "2"), "--written": ("rewarded", "previous_episode"),
}  # fmt: skip
CHEAP = {
    "scrub": ["--rows", "8", "--passes", "1", "--pool", "16", "--data", "source", "--rollouts", "0"],
    "patch": ["--rows", "8"],
    "evaluate": ["--rollouts", "2", "--quick"],
    "behave": ["--contexts", "2", "--source-seeds", "1", "--data", "source"],
    "sweep": ["--dry-run"],
    "known": ["--models", "nowhere"],
    "calibrate": ["--models", "nowhere"],
}
LONG = {"known": "--models", "calibrate": "--models", "sweep": "--dry-run"}  # would run for minutes with another value


class Parameter(NamedTuple):
    """What a verb takes.

    Attributes:
        name: As it is typed; of an argument, its variable.
        is_argument: Whether it has no `--name`.
        is_flag: Whether it has no value.
    """

    name: str
    is_argument: bool
    is_flag: bool


@cache
def parameters() -> dict[str, list[Parameter]]:
    """Return what each verb takes."""
    return {
        verb: [
            Parameter(taken.opts[0], taken.param_type_name == "argument", getattr(taken, "is_flag", False))
            for taken in command.params
        ]
        for verb, command in typer.main.get_command(app).commands.items()
        if verb != "explore"  # serves until it is stopped
    }


@pytest.fixture(scope="module")
def workplace(sound, tmp_path_factory) -> Path:
    """A folder with one file of every kind, a pipe, a link to itself and a file where folders go."""
    place = tmp_path_factory.mktemp("workplace")
    shutil.copytree(sound.place / "models", place / "models")
    shutil.copytree(sound.place / "hypotheses", place / "hypotheses")
    (place / "study.json").write_text(json.dumps(sound.figures))
    (place / "tiny.yaml").write_text(yaml.safe_dump(CONFIG))
    (place / "sweep.yaml").write_text("base: tiny.yaml\ngrid: {training.seed: [0, 1]}\nname: 's{seed}'\n")
    (place / "taken").write_text("a file, not a folder")
    for name in ("pipe", "pipe.py"):
        os.mkfifo(place / name)
    for name in ("circle", "circle.py"):
        (place / name).symlink_to(name)
    return place


def typed(rng) -> list[str]:
    """Return a command line: a verb, what it takes, and up to three of its options; half of them make sense."""
    verb, oddity = pick(sorted(parameters()), rng), pick([0, 0.4], rng)

    def value(sensible: Sequence[str]) -> str:
        return pick(pick([FILES, NUMBERS, FOLDERS, WORDS], rng) if rng.random() < oddity else sensible or WORDS, rng)

    words = [verb]
    if any(taken.is_argument for taken in parameters()[verb]):
        words.append(pick(FILES, rng) if rng.random() < oddity else pick(ARGUMENTS[verb], rng))
    words += CHEAP.get(verb, [])
    options = [taken for taken in parameters()[verb] if not taken.is_argument and taken.name != LONG.get(verb)]
    for number in rng.permutation(len(options))[: rng.integers(0, 4)]:
        option = options[number]
        words += [option.name] if option.is_flag else [option.name, value(OPTIONS[option.name])]
    if rng.random() < oddity / 4:
        words.insert(int(rng.integers(len(words) + 1)), pick([*WORDS, "--help", "--nope", "-x", "--version"], rng))
    return words


def no_number(text: str) -> None:
    """Refuse what JSON has no word for.

    Raises:
        AssertionError: Always.
    """
    raise AssertionError(f"{text} in what --json prints")


def ran(words: list[str]) -> int:
    """Run a command line in this process; returns its exit code."""
    threads = torch.get_num_threads()
    try:
        main(words)
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        torch.set_num_threads(threads)
    return 0


@sizes(12, 1000)
def test_each_does_its_work_or_says_why_not(campaign, workplace, sketches, n_inputs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("AD_HYPOTHESES_TRACEBACK", raising=False)
    monkeypatch.setattr(sys, "stdin", None)

    def attempt(trial):
        place = trial.place / "workplace"
        shutil.copytree(workplace, place, symlinks=True, copy_function=copied)
        monkeypatch.chdir(place)
        words = typed(trial.rng)
        trial.note(" ".join(map(repr, words)))
        capsys.readouterr()
        try:
            code = ran(words)
        finally:
            out, err = capsys.readouterr()
            monkeypatch.chdir(trial.place.parent)
        assert "Traceback" not in out + err, err[-1000:]
        assert "bug of ours" not in err, err[-1000:]
        assert code in (0, 2), f"exit code {code}: {err[-1000:]}"
        assert code == 0 or err.strip() or out.strip(), "refused without a word"
        if code == 0 and "--json" in words and "--help" not in words and "--version" not in words:
            json.loads(out, parse_constant=no_number)
        return REFUSED if code else ACCEPTED

    counts = campaign.run("commands", n_inputs, attempt)
    assert min(counts[ACCEPTED], counts[REFUSED]) > counts.total() / 5


def test_every_option_is_tried():
    options = {taken.name for verb in parameters().values() for taken in verb if not taken.is_argument | taken.is_flag}
    assert options == set(OPTIONS)
    assert {verb for verb, names in parameters().items() if any(taken.is_argument for taken in names)} == set(ARGUMENTS)


def copied(source: str, target: str) -> str:
    """Copy a file, or make a pipe where there is one."""
    if Path(source).is_fifo():
        os.mkfifo(target)
        return target
    return str(shutil.copy2(source, target))
