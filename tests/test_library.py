"""Studies from Python: a function each, which returns a record, prints nothing, and writes where it is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pytest
import torch
import typer

from ad_hypotheses.cli.rerun import rerun_command
from ad_hypotheses.distill.checkpoint import load
from ad_hypotheses.distill.config import check_config
from ad_hypotheses.progress import Progress
from ad_hypotheses.studies.evaluate.choose import choose
from ad_hypotheses.studies.evaluate.study import EvaluationSettings, _asked, evaluate, results_store
from ad_hypotheses.studies.interrupt import Stopped, watched
from ad_hypotheses.studies.sweep.grid import read_sweep
from ad_hypotheses.studies.sweep.study import forecast
from ad_hypotheses.studies.train import study as training
from ad_hypotheses.studies.train.study import train

CONFIG = {
    "task": {"name": "dark-room", "size": 3, "horizon": 4},
    "source": {"name": "epsilon-greedy-q"},
    "histories": {"held_out": 2, "learners": 14, "episodes": 4, "keep_every": 2, "check": False},
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 8},
    "training": {"updates": 2, "batch": 4, "warmup": 1, "evaluate_every": 2, "save_every": 2},
}


@pytest.fixture
def quiet(sketches, tmp_path, monkeypatch, capfd) -> Iterator[Path]:
    """Return an empty working directory; nothing may be printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "ROLLOUTS", 4)
    yield tmp_path
    assert capfd.readouterr() == ("", "")


def test_a_model_is_trained_without_a_folder(quiet):
    trained = train(check_config(CONFIG, "a test"))
    assert (trained.folder, trained.is_new) == (None, True)
    assert trained.record["evaluation"]["rollouts"] == 4
    assert len(repr(trained)) < 200
    assert list(quiet.iterdir()) == []
    again = train(check_config(CONFIG, "a test"), quiet / "kept", command="as before")
    for name, weight in trained.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], weight, rtol=0, atol=0)
    assert load(quiet / "kept").record["command"] == "as before"


def test_a_model_that_is_there_is_returned_with_what_it_lacked(quiet):
    config = check_config(CONFIG, "a test")
    first = train(config, quiet / "kept")
    (quiet / "kept" / "card.md").unlink()
    second = train(config, quiet / "kept")
    assert (first.is_new, second.is_new, second.written) == (True, False, ("card.md",))
    assert second.record["metrics"] == first.record["metrics"]


def test_models_are_evaluated_in_silence(quiet, trained):
    chosen = choose(["tiny"], trained, "cpu")
    evaluation = evaluate(chosen, rollouts=4, quick=True, command="as typed")
    assert (evaluation.command, [model.name for model in evaluation.models]) == ("as typed", ["tiny"])
    assert list(quiet.iterdir()) == []


def test_what_was_measured_another_way_is_measured_again(trained, monkeypatch):
    (choice,), settings = choose(["tiny"], trained, "cpu"), EvaluationSettings(4, 0, True, "cpu")

    def key(settings: EvaluationSettings) -> str:
        return results_store(choice, _asked(settings), None).key

    keys = {key(settings), key(replace(settings, seed=1))}
    monkeypatch.setattr("ad_hypotheses.studies.evaluate.study.MEASURED_AS", -1)
    assert len(keys | {key(settings)}) == 3
    assert key(settings) == key(replace(settings, quick=False))


def test_a_sweep_is_foreseen_in_silence(quiet):
    import yaml

    (quiet / "base.yaml").write_text(yaml.safe_dump(CONFIG))
    (quiet / "sweep.yaml").write_text("base: base.yaml\ngrid: {model.n_layers: [1, 2]}\n")
    planned = forecast(read_sweep(quiet / "sweep.yaml"), quiet / "models")
    assert [model.at for model in planned.models] == [("1",), ("2",)]
    assert sum(model.share for model in planned.models) == pytest.approx(1)
    assert planned.seconds is None
    assert not (quiet / "models").exists()


# where a run may be stopped


def test_a_run_that_nobody_watches_is_stopped_by_an_exception_like_any_other():
    progress = Progress()
    with pytest.raises(KeyboardInterrupt), progress.stopping(lambda: pytest.fail("it is not asked")):
        raise KeyboardInterrupt


@pytest.mark.parametrize("at_once", [True, False])
def test_a_run_that_is_watched_stops_where_it_says(at_once, capfd):
    reached = []

    def run():
        with watched() as meter, meter.stopping(lambda: "what is kept", at_once=at_once):
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("after the signal")
            meter.may_stop()
            reached.append("after the safe place")

    with pytest.raises(Stopped, match="what is kept"):
        run()
    assert reached == ([] if at_once else ["after the signal"])


# what makes a study again


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("a b", "python cli.py study a b --seed 0"),
        ("a -r 5 --quick --json", "python cli.py study a --seed 0 --quick"),
        ("a --rows 6 --seed 2", "python cli.py study a --rows 6 --seed 2"),
        ("a --trust x.py --trust y.py --reports out", "python cli.py study a --seed 0 --trust x.py --trust y.py"),
    ],
)
def test_a_command_states_what_is_not_usual(typed, expected):
    commands = []

    def study(
        context: typer.Context,
        names: list[str],
        rows: int = typer.Option(5, "-r", "--rows"),
        seed: int = 0,
        quick: bool = typer.Option(False, "--quick"),
        trust: Annotated[list[Path] | None, typer.Option("--trust")] = None,
        reports: Path = Path("reports"),
        as_json: bool = typer.Option(False, "--json"),
    ) -> None:
        commands.append(rerun_command(context, *names, leave_out=("reports",), always=("seed",)))

    app = typer.Typer()
    app.command("study")(study)
    app.command("other")(lambda: None)
    with pytest.raises(SystemExit) as end:
        app(["study", *typed.split()])
    assert end.value.code == 0
    assert commands == [expected]
