"""Studies whose parts are done by workers come out as those of one process, byte for byte."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

import ad_hypotheses as adh
from ad_hypotheses.distill.config import check_config
from ad_hypotheses.errors import CheckpointError, HypothesisError, UserError
from ad_hypotheses.library import scrub as library_scrub
from ad_hypotheses.studies.behave.study import behave
from ad_hypotheses.studies.evaluate import study as evaluation_study
from ad_hypotheses.studies.evaluate.choose import choose
from ad_hypotheses.studies.histories.study import histories
from ad_hypotheses.studies.parallel.workers import Workers
from ad_hypotheses.studies.scrub import study as scrub_study

ROOT = Path(__file__).parents[1]
MODELS = ["known-leader", "known-reflex"]
FEW = {"rows": 6, "passes": 1, "pool": 12, "rollouts": 4, "rivals": False}


@pytest.fixture
def workers():
    with ThreadPoolExecutor(1) as executor:
        yield Workers(executor=executor)


@pytest.fixture(autouse=True)
def _at_home(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_an_evaluation(workers, monkeypatch):
    alone = adh.evaluate(MODELS, rollouts=2, quick=True)
    done = []
    run_part = evaluation_study.run_part
    monkeypatch.setattr(evaluation_study, "run_part", lambda job: done.append(job) or run_part(job))
    together = adh.evaluate(MODELS, rollouts=2, quick=True, executor=workers.executor)
    assert together == alone
    assert {job.model.name for job in done} == set(MODELS)


def test_a_battery(workers):
    asked = {"contexts": 3, "seeds": 2, "tests": ["paid", "dose"], "data": ["source"]}
    choices = choose(MODELS[:1], ROOT / "models", "cpu")
    together, alone = behave(choices, workers=workers, **asked), behave(choices, **asked)
    assert together.to_json() == alone.to_json()
    assert len(alone.subjects[0].tests) == 2


def test_a_scrub(workers, monkeypatch):
    scrub = {"hypothesis": "win_stay", "data": "source,own", **FEW}
    measured = []
    measure = scrub_study.measure
    monkeypatch.setattr(scrub_study, "measure", lambda *given: measured.append(given) or measure(*given))
    library_scrub.kept.cache_clear()
    alone, n_measured = adh.scrub(**scrub), len(measured)
    library_scrub.kept.cache_clear()
    before = set(ROOT.iterdir())
    together = adh.scrub(**scrub, executor=workers.executor)
    assert together.to_json() == alone.to_json()
    assert len(measured) == 2 * n_measured > 4  # by workers, and nothing a second time
    assert set(ROOT.iterdir()) == before


def test_shards_of_histories(workers, tmp_path):
    config = check_config(
        {
            "task": {"name": "dark-room", "size": 3, "horizon": 4},
            "source": {"name": "epsilon-greedy-q"},
            "histories": {"held_out": 2, "learners": 2100, "episodes": 3, "keep_every": 1},
        },
        "test",
    )
    for name, who in (("alone", Workers()), ("together", workers)):
        histories(config, tmp_path / name, workers=who)
    files = {
        name: {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.npy")}
        for name in ("alone", "together")
    }
    assert len(files["alone"]) > 6
    assert files["alone"] == files["together"]


def test_histories_of_a_task_in_a_file_are_made_by_one_process(workers, tmp_path):
    config = SimpleNamespace(task={"name": "tasks/corridor.py:Corridor"})
    with pytest.raises(UserError, match=r"the task is in tasks/corridor.py, which is run in this process alone"):
        histories(config, tmp_path / "out", workers=workers)
    assert not (tmp_path / "out").exists()


def test_what_workers_cannot_see_is_refused(workers):
    model = adh.load("known-leader")
    nowhere = adh.library.model.Model(
        dataclasses.replace(model.checkpoint_as_read, folder=Path("nowhere"), model=model.checkpoint_as_read.model)
    )
    with pytest.raises(CheckpointError, match="Keep it first"):
        adh.evaluate(nowhere, rollouts=2, quick=True, executor=workers.executor)
    model.W_U.data += 1
    with pytest.raises(CheckpointError, match="are not those in"):
        adh.evaluate(model, rollouts=2, quick=True, executor=workers.executor)
    claim = adh.language.load.load("hypotheses/win_stay.py")[0]
    with pytest.raises(HypothesisError, match="workers read the hypothesis"):
        adh.scrub(claim, **FEW, data="source", executor=workers.executor)
