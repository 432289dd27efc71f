"""No code comes from data: a checkpoint's Python file runs only if the user named it, and no string anywhere runs."""

from __future__ import annotations

import itertools
import json
import py_compile
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import pytest
import yaml

from ad_hypotheses.cli.options import load_named
from ad_hypotheses.distill.checkpoint import CONFIG, RECORD, build, load, save
from ad_hypotheses.distill.config import check_config, read_config
from ad_hypotheses.errors import ConfigError, UserError
from ad_hypotheses.known.calibration.record import Calibration, Network, read_calibration
from ad_hypotheses.sources import generate, make_source, open_histories
from ad_hypotheses.studies.listing import checkpoints
from ad_hypotheses.studies.scrub.record import read_study
from ad_hypotheses.studies.train.study import is_finished
from ad_hypotheses.tasks import make_task, task_file, trust

DOCS = (Path(__file__).parents[1] / "docs" / "tasks.md").read_text(encoding="utf-8")
CORRIDOR = next(block for block in DOCS.split("```python\n")[1:] if "class Corridor" in block).split("```")[0]
CLAIM = """
from ad_hypotheses import Hypothesis, embed, logits, node

@node(at=embed("reward"))
def paid(history):
    return history.previous_rewards > 0

@node(at=logits)
def choice(paid):
    return paid.astype(int)

stay = Hypothesis(choice, model="nice")
"""
RAN = "RAN"  # what code that must not run would write
EVIL = f"""
import pathlib
pathlib.Path(__file__).with_name({RAN!r}).touch()
"""


@pytest.fixture
def nobody_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget which files other tests have named."""
    monkeypatch.setattr(task_file, "_trusted", set())


@pytest.fixture
def planted(workplace: Path, nobody_is_trusted: None) -> Path:
    """Return the mark that a task file would leave which a checkpoint names, `models/nice`."""
    shutil.copytree(workplace / "models" / "tiny", workplace / "models" / "nice")
    (workplace / "models" / "nice" / "helper.py").write_text(EVIL, encoding="utf-8")
    config = yaml.safe_load((workplace / "models" / "nice" / CONFIG).read_text(encoding="utf-8"))
    config["task"] = {"name": "models/nice/helper.py:Task", "cells": 9}
    (workplace / "models" / "nice" / CONFIG).write_text(yaml.safe_dump(config), encoding="utf-8")
    (workplace / "hypotheses" / "stay.py").write_text(CLAIM, encoding="utf-8")
    return workplace / "models" / "nice" / RAN


@pytest.fixture
def corridor(workplace: Path, nobody_is_trusted: None) -> Path:
    """Return the file of a task family with which the checkpoint `models/nice` was made; it is not trusted."""
    file = Path("tasks/corridor.py")
    file.parent.mkdir()
    file.write_text(CORRIDOR, encoding="utf-8")
    content = {
        "task": {"name": "tasks/corridor.py:Corridor", "length": 7, "horizon": 6},
        "source": {"name": "epsilon-greedy-q", "anneal_episodes": 4},
        "histories": {"held_out": 2, "learners": 32, "episodes": 4, "keep_every": 1},
        "model": {"n_layers": 1, "n_heads": 2, "d_model": 8},
    }
    config = check_config(content, "a test", "named")
    save(Path("models/nice"), config, build(config), {"seconds": 1.0})
    task_file._trusted.clear()
    return file


# --- a file that a checkpoint names


def test_list_shows_what_the_configuration_says_and_runs_nothing(cli, planted):
    trust("models/nice/helper.py")  # even so
    ran = cli("list", "--json")
    rows = {row["name"]: row for row in json.loads(ran.out)["models"]}
    assert (rows["nice"]["task"], rows["nice"]["error"]) == ("models/nice/helper.py:Task (cells 9)", None)
    assert rows["tiny"]["task"].startswith("dark-room")
    assert "which was not run" in cli("list").out
    assert not planted.exists()


@pytest.mark.parametrize("typed", ["evaluate nice", "check stay", "scrub stay", "patch stay", "patch nice --edges all"])
def test_every_verb_refuses_a_file_that_nobody_named_and_says_which(cli, planted, typed):
    ran = cli(*typed.split())
    assert (ran.code, ran.out) == (2, "")
    assert "it is the class 'Task' of models/nice/helper.py; making it would run that file" in ran.said
    assert "let it run: --trust models/nice/helper.py" in ran.said
    assert not planted.exists()


def test_only_the_file_that_is_named_runs(cli, planted):
    other = planted.with_name("other.py")
    other.write_text("", encoding="utf-8")
    assert "not run" in cli("evaluate", "nice", "--trust", other).said
    assert not planted.exists()
    ran = cli("evaluate", "nice", "--trust", "models/nice/helper.py")
    assert "there is no class 'Task' in models/nice/helper.py" in ran.said
    assert planted.exists()


@pytest.mark.parametrize("named", ["models/nice/nothing.py", "models/nice", "models/nice/config.yaml"])
def test_only_python_files_can_be_trusted(cli, planted, named):
    ran = cli("evaluate", "nice", "--trust", named)
    assert ran.code == 2
    assert f"{named} is not a Python file" in ran.said


def test_a_checkpoint_loads_once_its_file_is_trusted(corridor):
    with pytest.raises(ConfigError, match="which you did not name"):
        load("nice")
    trust(corridor)
    assert load("nice").experiment.task.length == 7


def test_trusting_a_file_on_the_command_line_is_enough(cli, corridor, workplace):
    (workplace / "hypotheses" / "stay.py").write_text(CLAIM, encoding="utf-8")
    assert cli("check", "stay").code == 2
    ran = cli("check", "stay", "--trust", corridor)
    assert ran.code == 0, ran.err
    assert "stay fits nice" in ran.out


@pytest.mark.parametrize(
    ("typed", "function", "command", "result"),
    [
        ("scrub stay", "ad_hypotheses.studies.scrub.study.scrub", lambda *more, command, **settings: command, []),
        ("patch stay", "ad_hypotheses.studies.patch.study.patch", lambda *more, command, **settings: command, []),
        (
            "evaluate nice --rollouts 4 --quick",
            "ad_hypotheses.studies.evaluate.page.write_evaluation",
            lambda evaluation, folder: evaluation.command,
            [Path("page.md")],
        ),
    ],
)
def test_trusted_files_are_part_of_what_makes_a_report_again(
    cli, corridor, monkeypatch, typed, function, command, result
):
    Path("hypotheses/stay.py").write_text(CLAIM, encoding="utf-8")
    commands = []
    monkeypatch.setattr(function, lambda *arguments, **named: commands.append(command(*arguments, **named)) or result)
    assert cli(*typed.split(), "--trust", corridor, "--trust", "hypotheses/stay.py").code == 0
    assert cli(*typed.split()).code == 0
    assert "--trust tasks/corridor.py --trust hypotheses/stay.py" in commands[0]
    assert "trust" not in commands[1]


def test_naming_a_configuration_names_its_file(corridor):
    with pytest.raises(ConfigError, match="not run"):
        read_config(Path("models/nice") / CONFIG)
    config = read_config(Path("models/nice") / CONFIG, task_file="named")
    assert config.experiment.task.length == 7


def test_naming_a_hypothesis_file_names_the_task_in_it(corridor):
    Path("hypotheses/both.py").write_text(CORRIDOR + CLAIM, encoding="utf-8")
    with pytest.raises(ConfigError, match="not run"):
        make_task("hypotheses/both.py:Corridor")
    load_named("both")
    assert make_task("hypotheses/both.py:Corridor").n_actions == 3


def test_what_was_read_is_run_and_not_what_lies_in_the_cache(corridor):
    evil = Path("tasks/evil.py")
    evil.write_text(EVIL.replace("__file__", repr(str(evil.resolve()))) + CORRIDOR, encoding="utf-8")
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(evil), cfile=cache_from_source(str(corridor)), invalidation_mode=unchecked)
    trust(corridor)
    assert make_task("tasks/corridor.py:Corridor").n_actions == 3
    assert not evil.with_name(RAN).exists()


@pytest.mark.parametrize("name", ["a\0b.py:Task", "loop.py:Task", f"{'x' * 5000}.py:Task", ".py:", ":.py:"])
def test_what_can_be_no_file_is_refused(name, tmp_path, monkeypatch, nobody_is_trusted):
    monkeypatch.chdir(tmp_path)
    Path("loop.py").symlink_to("loop.py")
    with pytest.raises(ConfigError, match="did not name"):
        make_task(name)
    trust(name.rpartition(":")[0])
    with pytest.raises(ConfigError):
        make_task(name)


# --- payloads in every string of every kind of file


def payloads(place: Path) -> list[str]:
    """Return texts that would leave the mark if any of the usual ways to run a text were open."""
    touch = f"touch {place / RAN}"
    return [
        "evil.py:Task",
        f"{place}/evil.py:Task",
        "evil:Task",
        "evil",
        "minigrid:evil:Task-v0",
        f'!!python/object/apply:os.system ["{touch}"]',
        "!!python/name:evil.Task",
        "!!python/module:evil",
        '__import__("evil")',
        f"$({touch})",
        f"`{touch}`",
        f"; {touch} #",
        "{0.__class__.__init__.__globals__}",
        f"cos\nsystem\n(S'{touch}'\ntR.",
    ]


def with_payloads(content: Any, payloads: list[str]) -> list[tuple[Any, str]]:
    """Return a structure with each of its strings replaced by each payload, one at a time, and the payload."""

    def places(value: Any) -> Iterator[Callable[[str], Any]]:
        """Yield, for each string of a value, what returns the value with that string replaced."""
        if isinstance(value, str):
            yield lambda text: text
        elif isinstance(value, dict):
            for key, item in value.items():
                yield lambda text, key=key: {(text if name == key else name): each for name, each in value.items()}
                for place in places(item):
                    yield lambda text, key=key, place=place: {**value, key: place(text)}
        elif isinstance(value, list):
            for number, item in enumerate(value):
                for place in places(item):
                    yield lambda text, number=number, place=place: [
                        *value[:number], place(text), *value[number + 1 :]
                    ]  # fmt: skip

    return [(place(text), text) for place, text in itertools.product(places(content), payloads)]


def shortened(content: Any) -> Any:
    """Return a structure with lists of two entries at most, since the others are read like those."""
    if isinstance(content, dict):
        return {key: shortened(item) for key, item in content.items()}
    return [shortened(item) for item in content[:2]] if isinstance(content, list) else content


def unquoted(content: Any, payload: str) -> str:
    """Return YAML in which a payload stands as it is, tags and all, not as a quoted string."""
    text = yaml.safe_dump(content, sort_keys=False, width=10_000)
    for quoted in (yaml.safe_dump(payload, width=10_000).removesuffix("...\n").strip(), repr(payload)):
        text = text.replace(quoted, payload)
    return text


def runs(
    most: int, place: Path, content: Any, read: Callable[[], object], write: Callable[[Any, str], str], file: Path
) -> None:
    """Read a file with payloads at its places; nothing may run, and nothing but a message may come of it."""
    before, every = file.read_bytes(), with_payloads(content, payloads(place))
    chosen = random.Random(0).sample(every, min(len(every), most))
    assert chosen
    for changed, payload in chosen:
        file.write_text(write(changed, payload), encoding="utf-8")
        with suppress(UserError):
            read()
        assert not (place / RAN).exists(), (file, payload)
    file.write_bytes(before)


@pytest.fixture(params=[6, pytest.param(2000, marks=(pytest.mark.slow, pytest.mark.campaign))])
def attack(request, workplace, monkeypatch, nobody_is_trusted) -> Callable[..., None]:
    """Return what plants payloads; the file that most of them mean can be imported."""
    (workplace / "evil.py").write_text(EVIL, encoding="utf-8")
    monkeypatch.syspath_prepend(workplace)

    def plant(file: Path, read: Callable[[], object], as_yaml: bool = False) -> None:
        text = file.read_text(encoding="utf-8")
        content = yaml.safe_load(text) if as_yaml else json.loads(text)
        write = unquoted if as_yaml else lambda changed, _: json.dumps(changed)
        runs(request.param, workplace, shortened(content), read, write, file)

    return plant


def test_the_mark_is_left_where_something_runs(workplace, monkeypatch, attack):
    __import__("evil")
    assert (workplace / RAN).exists()
    monkeypatch.delitem(__import__("sys").modules, "evil")


def test_nothing_in_a_checkpoint_runs(workplace, attack):
    folder = workplace / "models" / "tiny"
    config = read_config(folder / CONFIG)

    def read() -> None:
        assert [row.name for row in checkpoints(workplace / "models")] == ["tiny"]
        for step in (lambda: is_finished(folder, config), lambda: load(folder)):
            with suppress(UserError):
                step()

    attack(folder / CONFIG, read, as_yaml=True)
    attack(folder / RECORD, read)
    for payload in payloads(workplace):
        (folder / "card.md").write_text(payload, encoding="utf-8")
        read()
    assert not (workplace / RAN).exists()


def test_nothing_in_histories_runs(workplace, attack):
    task = make_task("dark-room", size=3, horizon=4)
    facts = task.split(0, 0)[0]
    folder = workplace / "histories"
    generate(folder, task, make_source("epsilon-greedy-q"), facts, 1, 2)
    attack(folder / "manifest.json", lambda: open_histories(folder))
    attack(folder / "shard-00000" / "shard.json", lambda: open_histories(folder))


def test_nothing_in_the_record_of_a_report_runs(workplace, attack):
    examples = Path(__file__).parents[1] / "reports" / "examples"
    study, calibration = workplace / "study.json", workplace / "calibration.json"
    shutil.copy(examples / "mimic-dark-room.json", study)
    attack(study, lambda: read_study(study))
    network, versions = Network("win-stay", "0" * 64, "a bandit"), {"numpy": "2"}
    record = Calibration([network], [], [], [], [256, 5], 0.9, {"seed": "0"}, "python cli.py", versions, 1.0)
    calibration.write_text(record.to_json(), encoding="utf-8")
    attack(calibration, lambda: read_calibration(calibration))
