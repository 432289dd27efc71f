"""The report of an evaluation: what it says of one model and of many, and that nothing is measured twice."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.report.words import amount, points, share
from ad_hypotheses.storage.checked import checked_json
from ad_hypotheses.storage.files import write_report_files
from ad_hypotheses.studies.evaluate.choose import choose
from ad_hypotheses.studies.evaluate.learners import learner_table
from ad_hypotheses.studies.evaluate.page import draw_pictures, draw_report, page, write_evaluation
from ad_hypotheses.studies.evaluate.record import (
    Evaluated,
    Evaluation,
    by_task,
    difference,
    figure_rows,
    headline,
    overview_rows,
    report_name,
)
from ad_hypotheses.studies.evaluate.study import results_store

ROOM, BANDIT = "dark-room (size 9, horizon 20)", "bandit (arms 5, horizon 100)"


def number(value, half=0.02):
    return {"value": value, "low": value - half, "high": value + half}


def told(last, optimum=10.0, regret=None, shares=True):
    """What a learner's figures may be that begins with nothing and ends with `last` of the optimum."""
    return {
        "first": 0.1 * optimum, "last": last * optimum, "mean": 0.6 * last * optimum,
        "share": number(last) if shares else None, "mean_share": number(0.6 * last) if shares else None,
        "regret": None if regret is None else number(regret, 0.3),
        "first_share": number(0.1) if shares else None, "improvement": number(last - 0.1) if shares else None,
        "reached": {
            "0.5": {"value": 2, "low": 2, "high": 3},
            "0.75": {"value": 4, "low": 3, "high": None} if last > 0.75 else {"value": None, "low": None, "high": None},
        } if shares else None,
    }  # fmt: skip


def evaluated(name="one", last=0.9, layers=3, train_tasks=65, full=True, once=False, shares=True, task=ROOM, **changed):
    episodes = 1 if once else 8
    regrets = {"model": 8.0, "ucb1": 16.0} if once or not shares else {}
    best = {"model": last, "model, argmax": last - 0.1, "source": 0.95, "random": 0.1, "optimal": 1.0, "ucb1": 0.7}
    curves = [
        {
            "name": learner,
            "returns": (10 * end * np.linspace(0.1, 1, 8)).round(2).tolist(),
            "rollouts": 50,
            "low": (10 * end * np.linspace(0.1, 1, 8) - 0.3).tolist(),
            "high": (10 * end * np.linspace(0.1, 1, 8) + 0.3).tolist(),
        }
        for learner, end in best.items()
    ]
    figures = {learner: told(end, regret=regrets.get(learner), shares=shares) for learner, end in best.items()}
    summary = {"held_out_of_optimum": last, **({"held_out_regret_of_ucb1": 0.5} if regrets else {})}
    results = {
        "train": curves, "held_out": curves, "figures": {"train": figures, "held_out": figures}, "summary": summary,
        "rollouts": 50, "seed": 0,
    }  # fmt: skip
    if full:
        start = {"episodes": 2, "return": number(5.0), "share": number(0.5) if shares else None}
        results |= {
            "lives": 40,
            "memory": [
                {"episodes": m, "last": number(m), "share": number(m / 8) if shares else None} for m in (1, 2, 4)
            ],
            "starts": [
                {**start, "start": "none", "says": "nothing", "change": None},
                {**start, "start": "expert", "says": "an expert's 2", "change": number(0.25)},
            ],
        }
    given = {
        "name": name,
        "sha256": "0" * 64,
        "command": f"python cli.py train models/{name}/config.yaml",
        "task": task,
        "source": "dyna-q (alpha 1.0)",
        "layers": layers,
        "heads": 4,
        "width": 64,
        "parameters": 182_789,
        "train_tasks": train_tasks,
        "held_out_tasks": 16,
        "episodes": episodes,
        "horizon": 80 if once else 20,
        "skip": 0,
        "keep_every": 1 if once else 5,
        "seeds": {"histories": 0, "training": 0},
        "unit": "10 steps" if once else "episode",
        "optimum": dict.fromkeys(("train", "held_out"), 80.0 if once else 10.0),
        "results": results,
    }
    return Evaluated(**{**given, **changed})


GRID = [
    evaluated(f"grid/l{layers}-g{goals}-s{seed}", 0.2 * layers + goals / 200 + seed / 20, layers, goals)
    for layers in (1, 2)
    for goals in (4, 16, 65)
    for seed in (0, 1)
]


@pytest.fixture(autouse=True)
def unpainted(sketches):
    """Nearly every test here is about words and figures."""


def text(models):
    return page(models, "report", "python cli.py evaluate one", draw_pictures(models))


# one model


def test_one_model_is_told_in_a_sentence_and_compared_with_everyone():
    said = text([evaluated()])
    assert said.startswith("# one, evaluated\n")
    assert "earns 10% of the optimum in its first episode and 90% [88%, 92%] in its last three" in said
    assert "**It improves within its context: +80 [+78, +82] points of the optimum" in said
    assert said.count("| source | 1.00 | 9.50 | 95% [93%, 97%] |") == 2  # on train tasks, and on held-out ones
    for picture in ("report.png", "report-memory.png", "report-starts.png"):
        assert f"]({picture})" in said
    assert "report-size" not in said


def test_a_model_that_does_not_improve_is_not_said_to():
    same = evaluated(last=0.1)
    said = headline(same.results, 8, "episode")
    assert "No improvement can be told from chance within its context: +0 [-2, +2] points" in said


@pytest.mark.parametrize(
    ("value", "half", "said"),
    [
        (0.03, 0.01, "**It improves by less than 5 points, too little to count as learning, within its context: +3"),
        (0.05, 0.01, "**It improves within its context: +5 [+4, +6]"),
        (0.5, 0.6, "**No improvement can be told from chance within its context: +50"),
    ],
)
def test_it_improves_if_that_is_more_than_chance_and_five_points(value, half, said):
    results = evaluated().results
    results["figures"]["held_out"]["model"]["improvement"] = number(value, half)
    assert said in headline(results, 8, "episode")
    assert "the mean of the last three episodes minus the first.**" in headline(results, 8, "episode")
    in_blocks = "the mean of the last three blocks of 10 steps minus the first block.**"
    assert in_blocks in headline(results, 1, "10 steps")


def test_too_few_tasks_for_an_interval_get_no_verdict():
    one = evaluated()
    one.results["figures"]["held_out"]["model"]["improvement"] = {"value": 0.8, "low": None, "high": None}
    said = headline(one.results, 8, "episode")
    assert "Within its context: +80 points" in said
    assert "fewer than 5 tasks" in said
    assert "It improves" not in said
    two = text([evaluated("two"), one])
    assert "1 of 1 improve within their context by 5 points or more, with an interval above 0 (1 left out" in two


def test_what_a_model_does_not_see_is_told():
    said = text([evaluated(seen=3)])
    assert "54% [52%, 56%] over all 8, of which it sees 3 at a time." in said
    assert "The model sees 3 of 8 episodes at a time." in said
    heads, rows = overview_rows([evaluated(seen=3), evaluated("two")])
    assert [row[heads.index("sees")] for row in rows] == ["3 of 8", "-"]
    assert "over its whole context." in text([evaluated()])


def test_learned_positions_are_named_as_another_cause():
    assert "Positions are learned" in text([evaluated(positions="learned")])
    assert "Positions are learned" not in text([evaluated(positions="rotary")])
    both = text([evaluated(positions="learned"), evaluated("two", positions="rotary")])
    assert "Positions of `one` are learned" in both


def test_a_single_one_is_no_plural():
    one = evaluated(layers=1)
    one = dataclasses.replace(one, heads=1, results={**one.results, "rollouts": 1, "lives": 1})
    said = text([one])
    assert "1 layer, 1 head" in said
    assert "1 life of 8 episodes each" in said
    assert not re.search(r"\b1 (lives|rollouts|episodes|layers|heads)\b", said)


def test_episodes_of_the_source_are_its_own():
    """It reaches a half at its second kept episode, which is its sixth where one in five is kept."""
    said = text([evaluated()])
    assert "| `one` | 2 [2, 3] | 6 [6, 11] | 4 [3, never] | 16 [11, never] |" in said
    assert "of which 1 in 5 went into the histories" in said
    said = text([evaluated(skip=100, last=0.6)])
    assert "| `one` | 2 [2, 3] | 106 [106, 111] | never | 116 [111, never] |" in said


def test_memory_and_starts_have_tables():
    said = text([evaluated()])
    assert "| `one` | 12% [10%, 14%] | 25% [23%, 27%] | 50% [48%, 52%] | 90% [88%, 92%] |" in said
    assert "| nothing | 50% [48%, 52%] | - |" in said
    assert "| an expert's 2 | 50% [48%, 52%] | +25 [+23, +27] |" in said
    quick = text([evaluated(full=False)])
    assert "Unusual starts" not in quick
    assert "How much of its past" not in quick


def test_a_bandit_is_told_by_its_regret():
    said = text([evaluated(once=True, full=False, task=BANDIT)])
    assert "Its regret on held-out tasks is 8.00 [7.70, 8.30], 0.50 times that of UCB1." in said
    assert said.count("| model | 5.40 | 90% [88%, 92%] | 8.00 |") == 2  # on train tasks, and on held-out ones
    assert "| `one` | 20 [20, 30] | 20 [20, 30] | 40 [30, never] |" in said
    assert "in its first episode" not in said


def test_where_a_share_means_nothing_returns_and_regret_are_told():
    said = text([evaluated(shares=False)])
    assert "Its regret on held-out tasks is 8.00" in said
    assert "of optimum" not in said
    assert "Against its source" not in said
    assert "| `one` | 1.00 [0.98, 1.02] | 2.00 [1.98, 2.02] | 4.00 [3.98, 4.02] | 9.00 |" in said
    assert "| an expert's 2 | 5.00 [4.98, 5.02] | +0.25 [+0.23, +0.27] |" in said


def test_numbers_as_words():
    assert share(Number.read(number(0.5))) == "50% [48%, 52%]"
    assert share(Number.read({"value": 0.5, "low": None, "high": None})) == "50%"
    assert points(Number.read(number(-0.1))) == "-10 [-12, -8]"
    assert amount(Number(-0.001)) == "0.00"
    assert amount(Number(0.5), sign=True) == "+0.50"
    assert {share(None), points(None), amount(None), amount(Number(math.nan))} == {"-"}


def test_a_number_survives_the_file():
    for figure in (number(0.5), {"value": 2, "low": 1, "high": None}, {"value": None, "low": None, "high": None}):
        assert Number.read(json.loads(json.dumps(figure))).written() == figure
    assert Number.read(0.5).written() == {"value": 0.5, "low": None, "high": None}
    assert Number.read(None) is None


def test_a_learner_table_has_a_line_for_everyone():
    table = learner_table(evaluated().results, 8)
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:8]] == [
        "model", "model, argmax", "source", "random", "optimal", "ucb1",
    ]  # fmt: skip
    assert "50 lives of 8 episodes each" in table


# several


def test_many_models_come_as_a_table_first_and_as_a_plot_by_size():
    said = text(GRID)
    assert said.startswith("# 12 models compared\n\n| model | layers | width | train tasks | held-out: first |")
    assert (
        said.count("| `grid/l1-g4-s0` |") == 5
    )  # in both halves of the overview, against its source, by memory, by start
    assert "12 of 12 improve within their context" in said
    assert "](report-size.png)" in said
    heads, rows = overview_rows(GRID, brief=True)
    assert len(rows) == 12
    assert "regret" not in heads
    assert "task" not in heads


def lived(name, last, digest="same", lives=10):
    """A model that earned `last` on six tasks that differ much from each other."""
    tasks = np.array([1.0, 2.0, 4.0, 6.0, 8.0, 9.0])
    sums = {"last": (lives * last * tasks).tolist(), "optimum": [lives * 10.0] * 6, "lives": [lives] * 6}
    return evaluated(name, last, facts={"held_out": digest}, by_task={"held_out": sums})


def test_differences_are_paired_where_the_tasks_are_the_same():
    same, other = lived("two", 0.8), lived("three", 0.8, "others")
    paired, apart = difference(same, lived("one", 0.9)), difference(other, lived("one", 0.9))
    assert paired.value == apart.value == pytest.approx(-0.05, abs=1e-4)
    assert paired.high < 0 < apart.high, "tasks differ more than models do"
    assert difference(lived("one", 0.9), lived("one", 0.9)) == Number(0, 0, 0)
    assert difference(evaluated(), evaluated("two")) is None
    said = text([lived("one", 0.9), same])
    assert "| `two` | -5 [-" in said
    assert "| task by task |" in said
    assert "hold the trained models fixed" in said
    rows = {(row[0], row[4], row[5]) for row in figure_rows([lived("one", 0.9), same])}
    assert ("two", "last: difference", "one") in rows


def test_models_that_are_judged_by_other_tasks_are_flagged():
    same, other = [lived("one", 0.9), lived("two", 0.8)], lived("three", 0.8, "others")
    said = text([*same, other])
    assert "**Not all of these models are judged by the same tasks: those of `three` are others**" in said
    assert "| `three` | B | 9.50 | 1.00 | 10.00 |" in said
    assert "| other tasks |" in said
    heads, rows = overview_rows([*same, other])
    assert [row[heads.index("held-out\ntasks")] for row in rows] == ["A", "A", "B"]
    said = text(same)
    assert "judged by the same tasks" not in said
    assert "held-out\ntasks" not in overview_rows(same)[0]


def test_models_on_different_tasks_are_grouped_and_named_by_task():
    both = [evaluated(), evaluated("two", 0.5), evaluated("arms", once=True, full=False, task=BANDIT)]
    assert [[one.name for one in group] for group in by_task(both)] == [["one", "two"], ["arms"]]
    said = text(both)
    assert "## dark-room (size 9, horizon 20), 8 episodes" in said
    assert "](report-curves-1.png)" in said
    heads, rows = overview_rows(both)
    assert [row[heads.index("task")] for row in rows] == ["dark-room", "dark-room", "bandit"]
    assert "## bandit (arms 5, horizon 100), 1 episode\n" in said
    assert set(draw_pictures(both)) == {"curves-0", "memory-0", "starts-0", "curves-1"}


@pytest.mark.pictures
@pytest.mark.parametrize(
    "models", [[evaluated()], [evaluated(), evaluated("two", 0.4)], pytest.param(GRID, marks=pytest.mark.slow)], ids=len
)
@pytest.mark.slow
def test_the_same_figures_give_the_same_files(models, tmp_path):
    written = []
    for run in ("a", "b"):
        files = draw_report(Evaluation("python cli.py evaluate", models), "report")
        assert write_report_files(files, tmp_path / run)[-1] == tmp_path / run / "report.md"
        written.append({path.name: path.read_bytes() for path in (tmp_path / run).iterdir()})
    assert written[0] == written[1]
    assert {name for name in written[0] if name.endswith(".png")} <= {
        line.split("](")[1].rstrip(")") for line in (tmp_path / "a/report.md").read_text().split("\n") if "![" in line
    }
    record = json.loads(written[0]["report.json"])
    assert record["models"][0]["results"]["figures"]["train"]["model"]["share"]["value"] is not None


def test_every_figure_is_in_the_table(tmp_path):
    page = write_evaluation(Evaluation("", [evaluated()]), tmp_path)[-1]
    assert page == tmp_path / "evaluate-one.md"
    table = pd.read_csv(io.StringIO(page.with_suffix(".csv").read_text()))
    assert len(table) == len(figure_rows([evaluated()]))
    chosen = table[(table.tasks == "held_out") & (table.learner == "model")]
    assert chosen[chosen.figure == "return"].value.tolist() == evaluated().results["held_out"][0]["returns"]
    assert chosen[chosen.figure == "share"].low.item() == pytest.approx(0.88)
    assert chosen[(chosen.figure == "reached") & (chosen.of == "0.5")].value.item() == 2
    assert chosen[(chosen.figure == "starts: share") & (chosen.of == "expert")].value.item() == 0.5


# the command line


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["dark-room"], "evaluate-dark-room"),
        (["grid/l1"], "evaluate-grid-l1"),
        (["dark-room", "bandit"], "evaluate-dark-room-bandit"),
        (["grid/l1", "grid/l2"], "evaluate-grid"),
        (["a" * 30, "b" * 30, "c"], f"evaluate-{'a' * 30}-and-2-more"),
    ],
)
def test_a_report_is_called_by_its_models(names, expected):
    assert report_name(names) == expected


@pytest.fixture
def grid(workplace):
    """Two checkpoints in a folder of their own, beside files that are none."""
    import shutil

    for name in ("a", "b"):
        shutil.copytree(workplace / "models" / "tiny", workplace / "models" / "grid" / name)
    (workplace / "models" / "grid" / "notes.md").write_text("not a model")
    (workplace / "models" / "grid" / "begun").mkdir()
    return workplace


QUICK = ("--rollouts", 4, "--quick")


@pytest.mark.slow
def test_patterns_and_folders_mean_all_models_in_them(cli, grid):
    by_pattern = json.loads(cli("evaluate", "grid/[ab]", *QUICK, "--json").out)
    assert [one["model"] for one in by_pattern["models"]] == ["grid/a", "grid/b"]
    by_folder = cli("evaluate", "models/grid", *QUICK, "--json")
    assert json.loads(by_folder.out) == by_pattern
    typed = [path.relative_to(grid).as_posix() for path in sorted((grid / "models" / "grid").iterdir())]
    ran = cli("evaluate", *typed, "grid/a", *QUICK, "--json")  # as a shell would put it
    assert json.loads(ran.out) == by_pattern
    assert "left out: models/grid/notes.md holds no trained model" in ran.err
    assert "left out: models/grid/begun holds no trained model" in ran.err


def test_a_pattern_without_a_model_is_refused(cli, grid):
    ran = cli("evaluate", "grid/c*", *QUICK)
    assert ran.code == 2
    assert "no trained model matches 'grid/c*'" in ran.err


def test_models_are_not_looked_for_in_the_depth_of_a_disk(tmp_path, monkeypatch):
    for folder in ("a/b/c", "a/b/c/d", "a/stages/e"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "weights.safetensors").touch()
    monkeypatch.setattr("ad_hypotheses.studies.evaluate.choose.load", lambda folder, models, device: folder)
    (only,) = choose([str(tmp_path)], tmp_path / "models", "cpu")
    assert only.checkpoint == tmp_path / "a" / "b" / "c"


@pytest.mark.slow
def test_a_damaged_model_does_not_stop_the_others(cli, grid):
    (grid / "models" / "grid" / "a" / "weights.safetensors").write_bytes(b"damaged")
    ran = cli("evaluate", "models/grid", *QUICK, "--json")
    assert ran.code == 2
    assert [one["model"] for one in json.loads(ran.out)["models"]] == ["grid/b"]
    assert "the others were evaluated; these are damaged" in ran.err
    assert "grid/a: models/grid/a/weights.safetensors is not the file that was trained" in ran.said
    alone = cli("evaluate", "grid/a", *QUICK)
    assert (alone.code, alone.out) == (2, "")
    assert "is not the file that was trained" in alone.said


def test_a_terminal_tells_of_no_interval_that_it_does_not_show(cli, workplace):
    out = cli("evaluate", "tiny", *QUICK).out
    assert "as a share of the optimum. 4 lives of 6 episodes each" in " ".join(out.split())
    assert "tiny, 4 rollouts" in out


def test_a_card_says_how_many_learners_lived_and_lets_the_figures_speak(workplace):
    card = (workplace / "models" / "tiny" / "card.md").read_text()
    assert "A transformer trained on the learning histories of epsilon-greedy-q in dark-room: it predicts" in card
    assert "| Histories | 260 learners (256 asked for; as many on each training task), 12 episodes each" in card


@pytest.mark.slow
def test_nothing_is_measured_twice(cli, workplace, monkeypatch):
    first = cli("evaluate", "tiny", *QUICK)
    assert first.code == 0
    page = (workplace / "reports" / "evaluate-tiny-rollouts-4-quick.md").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("ad_hypotheses.studies.evaluate.curves.rollout", None)
        again = cli("evaluate", "tiny", *QUICK)
        assert "16 more are known from an earlier run" in again.err
        assert (again.out, (workplace / "reports" / "evaluate-tiny-rollouts-4-quick.md").read_bytes()) == (
            first.out,
            page,
        )
        other = cli("evaluate", "tiny", "--rollouts", 5, "--quick")
        assert other.code == 1, "another number of lives is another evaluation"
    (file,) = (workplace / "reports" / ".evaluated").iterdir()
    file.write_text('{"name":')
    assert cli("evaluate", "tiny", *QUICK).out == first.out


def test_results_that_a_version_before_kept_in_one_object_are_read(trained, tmp_path):
    (choice,) = choose(["tiny"], trained, "cpu")
    name = results_store(choice, [1], tmp_path).key
    whole = hashlib.sha256(json.dumps([choice.checkpoint.sha256, choice.checkpoint.config.model_dump(), 1]).encode())
    whole.update(choice.checkpoint.experiment.code_digest.encode())
    earlier = tmp_path / f"{name}.json"
    results = {"held-out/model": {"mean": 0.5}, "starts/own": [0.25, 0.5]}
    for key, plain in ((whole.hexdigest(), results), ("of something else", {})):
        earlier.write_bytes(checked_json({"key": key, "results": results}))
        assert results_store(choice, [1], tmp_path).plain == plain
        (tmp_path / f"{name}.jsonl").unlink(missing_ok=True)


@pytest.mark.slow
def test_what_was_measured_before_ctrl_c_is_kept(cli, workplace, monkeypatch):
    from ad_hypotheses.studies.evaluate import ablations

    def stop(*arguments, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ablations, "rollout", stop)
        ran = cli("evaluate", "tiny", "--rollouts", 4)
        assert ran.code == 2
        assert "what was measured is kept in reports/.evaluated; the same command goes on" in ran.err
        assert not list(workplace.glob("reports/*.md"))
    ran = cli("evaluate", "tiny", "--rollouts", 4)
    assert "16 more are known" in ran.err
    said = (workplace / "reports" / "evaluate-tiny-rollouts-4.md").read_text()
    assert "## Unusual starts" in said
    assert "![What is earned by how much of the past is seen](evaluate-tiny-rollouts-4-memory.png)" in said
