"""Odd command lines: each ends with exit code 0 or 2, and if it is 2 with a message; no traceback, no bug of ours."""

from __future__ import annotations

import json
import os
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
import yaml
from faults.campaign import ACCEPTED, REFUSED
from faults.mutate import pick
from faults.sound import CONFIG, sizes
from typer.models import OptionInfo

from ad_hypotheses.cli.app import app, main

FILES = (
    "stay", "stay.py", "stay.PY", "hypotheses/stay.py", "hypotheses/stay.py/x", "hypotheses", "models/base/config.yaml",
    "models/base", "base", "base/", "BASE", "./base", "../models/base", "tiny.yaml", "pipe", "pipe.py", "circle",
    "circle.py", "", " ", "/", "//", ".", "..", "~", "*", "[", "**", "**/*", "-", "--", "é", "a\nb", "x" * 300,
    "/dev/null", "/dev/zero",
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

# what a verb is given most of the time, and options without which it takes long
SENSIBLE = {"histories": "tiny.yaml", "train": "tiny.yaml", "evaluate": "base", "sweep": "sweep.yaml", "new": "other"}
CHEAP = {
    "scrub": ["--samples", "8", "--passes", "1", "--rollouts", "0"],
    "patch": ["--samples", "8"],
    "evaluate": ["--rollouts", "2", "--quick"],
    "sweep": ["--dry-run"],
    "known": ["--models", "nowhere"],
    "calibrate": ["--models", "nowhere"],
}
LONG = {"known": "--models", "calibrate": "--models", "sweep": "--dry-run"}  # would run for minutes with another value


@cache
def parameters() -> dict[str, list[tuple[str, Any]]]:
    """Return what each verb takes: options by name, arguments without one, each with its type."""
    verbs = {}
    for command in app.registered_commands:
        hints = get_type_hints(command.callback, include_extras=True).items()
        annotated = [(name, *get_args(hint)[:2]) for name, hint in hints if get_origin(hint) is Annotated]
        verbs[str(command.name)] = [
            (next(iter(info.param_decls), f"--{name}") if isinstance(info, OptionInfo) else "", kind)
            for name, kind, info in annotated
        ]
    return verbs


@pytest.fixture(scope="module")
def workplace(sound, tmp_path_factory) -> Path:
    """A folder with a model, a hypothesis, a configuration, a pipe, a link to itself and a file where folders go."""
    place = tmp_path_factory.mktemp("workplace")
    shutil.copytree(sound.place / "models", place / "models")
    shutil.copytree(sound.place / "hypotheses", place / "hypotheses")
    (place / "tiny.yaml").write_text(yaml.safe_dump(CONFIG))
    (place / "sweep.yaml").write_text("base: tiny.yaml\ngrid: {training.seed: [0, 1]}\nname: 's{seed}'\n")
    (place / "taken").write_text("a file, not a folder")
    for name in ("pipe", "pipe.py"):
        os.mkfifo(place / name)
    for name in ("circle", "circle.py"):
        (place / name).symlink_to(name)
    return place


def value(kind: Any, rng) -> str:
    """Return something to type for an argument or an option of a type."""
    kinds = [kind, *get_args(kind)]
    choices = [choice for inner in kinds if get_origin(inner) is Literal for choice in get_args(inner)]
    if choices and rng.random() < 0.5:
        return pick(choices, rng)
    return pick(NUMBERS if int in kinds else FOLDERS if Path in kinds else WORDS, rng)


def typed(rng) -> list[str]:
    """Return a command line: a verb, what it takes, and up to three of all the options that it has."""
    verb = pick(sorted(parameters()), rng)
    words = [verb]
    for option, _ in parameters()[verb]:
        if not option:
            words.append(pick(FILES, rng) if rng.random() < 0.4 else SENSIBLE.get(verb, "stay"))
    words += CHEAP.get(verb, [])
    options = [(option, kind) for option, kind in parameters()[verb] if option and option != LONG.get(verb)]
    for number in rng.permutation(len(options))[: rng.integers(0, 4)]:
        option, kind = options[number]
        words += [option] if kind is bool else [option, value(kind, rng)]
    if rng.random() < 0.05:
        words.insert(int(rng.integers(len(words) + 1)), pick([*WORDS, "--help", "--nope", "-x", "--version"], rng))
    return words


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


@sizes(12, 2000)
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
            json.loads(out)
        return REFUSED if code else ACCEPTED

    counts = campaign.run("commands", n_inputs, attempt)
    assert min(counts[ACCEPTED], counts[REFUSED]) > 0


def copied(source: str, target: str) -> str:
    """Copy a file, or make a pipe where there is one."""
    if Path(source).is_fifo():
        os.mkfifo(target)
        return target
    return str(shutil.copy2(source, target))
