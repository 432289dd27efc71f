"""Odd command lines: each ends with exit code 0 or 2, and if it is 2 with a message; no traceback, no bug of ours."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from faults.campaign import ACCEPTED, REFUSED
from faults.mutate import pick
from faults.sound import CONFIG, sizes

from ad_hypotheses.cli.app import main

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

ARGUMENTS = {"list": 0, "histories": 1, "train": 1, "sweep": 1, "known": 1, "evaluate": 1, "new": 1, "check": 1,
             "scrub": 1, "calibrate": 0, "patch": 1}  # fmt: skip
OPTIONS = {
    "list": ["--hypotheses FOLDER", "--models FOLDER", "--json"],
    "histories": ["--out FOLDER", "--learners NUMBER", "--export-minari WORD", "--threads NUMBER", "--json"],
    "train": ["--out FOLDER", "--device WORD", "--threads NUMBER"],
    "sweep": ["--out FOLDER", "--reports FOLDER", "--workers NUMBER", "--threads NUMBER", "--device WORD", "--dry-run"],
    "known": ["--models FOLDER", "--threads NUMBER"],
    "evaluate": ["--models FOLDER", "--rollouts NUMBER", "--seed NUMBER", "--quick", "--device WORD",
                 "--out FOLDER", "--json"],
    "new": ["--folder FOLDER"],
    "check": ["--model WORD", "--models FOLDER", "--json"],
    "scrub": ["--model WORD", "--models FOLDER", "--reports FOLDER", "--samples NUMBER", "--passes NUMBER",
              "--tasks WORD", "--others WORD", "--align WORD", "--shared", "--seed NUMBER", "--rollouts NUMBER",
              "--adversary", "--findings NUMBER", "--memory WORD", "--device WORD", "--threads NUMBER", "--json"],
    "calibrate": ["--only WORD", "--models FOLDER", "--hypotheses FOLDER", "--reports FOLDER", "--seed NUMBER",
                  "--workers NUMBER", "--json"],
    "patch": ["--model WORD", "--edges WORD", "--nodes WORD", "--path WORD", "--samples NUMBER", "--memory WORD",
              "--donors WORD", "--metrics WORD", "--seed NUMBER", "--search WORD", "--screen NUMBER",
              "--reports FOLDER", "--written WORD", "--read WORD", "--json"],
}  # fmt: skip
VALUES = {"FOLDER": FOLDERS, "NUMBER": NUMBERS, "WORD": WORDS}
CHEAP = {"scrub": ["--samples", "8", "--passes", "1", "--rollouts", "0"], "patch": ["--samples", "8"],
         "evaluate": ["--rollouts", "2", "--quick"]}  # fmt: skip
REALLY = ("known", "calibrate")  # run for minutes once they are asked for something sensible


@pytest.fixture(scope="module")
def workplace(sound, tmp_path_factory) -> Path:
    """A folder with a model, a hypothesis, a configuration, a pipe, a link to itself and a file where folders go."""
    place = tmp_path_factory.mktemp("workplace")
    shutil.copytree(sound.place / "models", place / "models")
    shutil.copytree(sound.place / "hypotheses", place / "hypotheses")
    (place / "tiny.yaml").write_text(yaml.safe_dump(CONFIG))
    (place / "taken").write_text("a file, not a folder")
    for name in ("pipe", "pipe.py"):
        os.mkfifo(place / name)
    for name in ("circle", "circle.py"):
        (place / name).symlink_to(name)
    return place


def typed(rng) -> list[str]:
    """Return a command line: a verb, what it takes, and some options."""
    verb = pick(sorted(ARGUMENTS), rng)
    words = [verb]
    if verb in REALLY:
        words += ["--models", "nowhere"]
    if ARGUMENTS[verb]:
        words += [pick(FILES, rng) if rng.random() < 0.6 else {"histories": "tiny.yaml"}.get(verb, "stay")]
    words += CHEAP.get(verb, [])
    options = [one for one in OPTIONS[verb] if verb not in REALLY or "--models" not in one]
    for number in rng.permutation(len(options))[: rng.integers(0, 3)]:
        option, _, kind = options[number].partition(" ")
        words += [option, *([pick(VALUES[kind], rng)] if kind else [])]
    if rng.random() < 0.1:
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


@sizes(10, 800)
def test_each_does_its_work_or_says_why_not(campaign, workplace, n_inputs, capsys, monkeypatch):
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
