"""What ships works: the checkpoints are whole, learn in context, and every hypothesis fits the model that it names."""

from __future__ import annotations

import importlib
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ad_hypotheses.distill.checkpoint import load, names
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.known.card import known_card
from ad_hypotheses.known.catalogue import KNOWN
from ad_hypotheses.known.claims import claims_in
from ad_hypotheses.language.check import bind
from ad_hypotheses.language.history import History
from ad_hypotheses.language.load import load as load_hypotheses
from ad_hypotheses.language.wrong_site import wrong_site
from ad_hypotheses.sources import episode_returns
from ad_hypotheses.sources.rules import RULES
from ad_hypotheses.studies.behave.graphs import known_ways
from ad_hypotheses.studies.behave.measure import probabilities
from ad_hypotheses.studies.evaluate.curves import spread
from ad_hypotheses.studies.scrub.bind import ScrubSettings, reference_histories
from ad_hypotheses.studies.scrub.kept import Kept
from ad_hypotheses.studies.scrub.page import write_report
from ad_hypotheses.studies.scrub.study import scrub
from ad_hypotheses.studies.train.card import card
from ad_hypotheses.tasks.play import play, uniform

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "models"
USUAL = ("mimic", "beta")  # of hypotheses that stand for all by default
FILES = sorted((ROOT / "hypotheses").glob("*.py"))


@pytest.mark.parametrize("name", names(MODELS))
@pytest.mark.default_cases(13)
def test_checkpoints_are_small_and_come_with_card_curve_and_command(name):
    checkpoint = load(name, MODELS)
    assert (checkpoint.folder / "weights.safetensors").stat().st_size <= 2e6
    make = known_card if "known" in checkpoint.record else card
    text = make(checkpoint.folder.name, checkpoint.config, checkpoint.record, checkpoint.sha256)
    assert text == (checkpoint.folder / "card.md").read_text(), "the card says what the record does"
    assert checkpoint.record["command"] in text
    assert (checkpoint.folder / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_every_known_network_is_in_the_tables():
    text = (ROOT / "docs" / "known.md").read_text()
    made = {True: 0, False: 0}  # those that were trained, and those set by hand
    for name, known in KNOWN.items():
        made[known.wire is None] += 1
        assert f"| `{name}` | {RULES[known.rule].family} |" in text
    assert made == {True: 5, False: 13}, "the text says how many there are"
    assert "Thirteen have weights that were set by hand" in text
    assert "Five were trained" in text


def test_bayes_counts_the_cells_that_are_left_on_each_side():
    claim = load_hypotheses(ROOT / "hypotheses" / "bayes.py")[0]
    names = next(node for node in claim.nodes if node.name == "belief").function.__globals__
    rng, size = np.random.default_rng(0), names["SIZE"]
    cells = rng.integers(size, size=(3, 60, 2))
    nothing = np.zeros((3, 60), dtype=int)
    history = History(cells, nothing, nothing.astype(float), nothing, ("x", "y"), 5)
    left = names["cells_left"](history)
    for row, step in np.ndindex(3, 60):
        tried = set(map(tuple, cells[row, : step + 1]))
        others = (np.subtract(cell, cells[row, step]) for cell in np.ndindex(size, size) if cell not in tried)
        sides = [tuple(np.sign(way)) for way in others]
        assert left[row, step].tolist() == [sides.count(tuple(side)) for side in names["AROUND"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["known_way", "same_view"])  # whose tasks have tables as facts, and more than numbers
def test_a_study_of_every_kind_of_world_is_written_down(name, tmp_path):
    settings = ScrubSettings(rows=16, pool=32, data=("source",), passes=1, rollouts=0, rivals=False)
    (study,) = scrub(load_hypotheses(ROOT / "hypotheses" / f"{name}.py")[:1], settings, models=MODELS)
    page = write_report(study, tmp_path)[-1]
    assert page.read_text(encoding="utf-8").startswith(f"# {name.replace('_', chr(92) + '_')} on {study.model}: ")
    assert study.claims[0].worst


@pytest.mark.slow
def test_the_dark_room_model_finds_goals_it_was_never_trained_on():
    checkpoint = load("dark-room", MODELS)
    task, (_, held_out) = checkpoint.experiment.task, checkpoint.experiment.split()
    rng = np.random.default_rng(1)
    facts = spread(held_out, 64, rng)
    lived = episode_returns(rollout(checkpoint.model, task, facts, checkpoint.config.kept_episodes, rng))
    assert lived[:, -3:].mean() / task.optimal_return(facts).mean() >= 0.85
    assert lived[:, 0].mean() < 2  # it was not born with it
    summary = checkpoint.record["evaluation"]["summary"]
    assert summary["held_out_of_optimum"] >= 0.85
    assert summary["held_out_of_train"] >= 0.95


def test_the_bandit_model_regrets_no_more_than_its_source():
    summary = load("bandit", MODELS).record["evaluation"]["summary"]
    assert summary["held_out_regret"] <= 1.1 * summary["held_out_source_regret"]


@cache
def model_and_histories(name):
    """Return a model that ships, histories of its tasks and their regimes; made once for all claims about it."""
    checkpoint = load(name, MODELS)
    history = reference_histories(checkpoint, ScrubSettings(rows=32))
    return checkpoint.model, history, checkpoint.experiment.task.regimes(history)


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, id=file.stem, marks=[pytest.mark.slow] * (file.stem not in ("mimic", "beta")))
        for file in FILES
    ],
)
@pytest.mark.default_cases(3)
def test_hypotheses_fit_their_models_and_carry_a_control(file):
    found = load_hypotheses(str(file))
    assert any(one.control_of is not None for one in found)
    for one in found:
        model, history, regimes = model_and_histories(one.model)
        assert bind(one, model.anatomy, history, regimes).warnings == ()
        sites = [part for item in one.nodes for part in item.site.resolve(model.anatomy)]
        names_everything = {part.writer for part in sites} >= {w for w in model.anatomy.writers if w.kind != "pos"}
        assert names_everything or wrong_site(one, model.anatomy) is not None


def test_the_hypothesis_in_the_readme_fits_its_model(tmp_path):
    (source,) = re.findall(r"```python\n(\"\"\"Retrieval.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "from_readme.py").write_text(source)
    claim, control = load_hypotheses(str(tmp_path / "from_readme.py"))
    assert control.control_of is claim
    model, history, regimes = model_and_histories(claim.model)
    for one in (claim, control):
        bind(one, model.anatomy, history, regimes)


def test_the_example_of_the_table_beside_a_report_runs(monkeypatch, capsys):
    text = (ROOT / "docs" / "evidence.md").read_text()
    (code,) = re.findall(r"```python\n(import pandas.*?)```", text, re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(code)
    assert {"explore", "navigate", "stay", "source"} <= set(capsys.readouterr().out.split())


@pytest.fixture
def script(monkeypatch):
    """Loads a script of `benchmarks` by its name."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


def test_the_page_of_false_claims_says_which_passed(script):
    false_claims = script("false_claims")
    cell = {"data": "source", "regime": "stay", "fidelity": 0.97, "tested": 0.8, "swapped": 0.7, "status": "supported"}
    claims = [
        {"name": name, "kind": "omen", "says": "It does.", "why": "it does not", "shown": "it went elsewhere",
         "verdict": verdict, "reason": "so it was", "fidelity": [0.5, 0.4, 0.6], "regimes": [cell]}
        for name, verdict in (("first", "refuted"), ("second", "supported in stay"))
    ]  # fmt: skip
    text = false_claims.page({"rows": 8, "pool": 9, "command": "python it.py", "claims": claims})
    assert "**1 of 2 are supported, in whole or in a regime: `second`.**" in text
    assert "| `first` | It does. | omen | it does not; it went elsewhere | refuted |" in text
    assert "| source | stay |" in text
    assert "| `second` | 0.97, 80% tested: supported |" in text
    assert "8 references and 9 donors of each data set. Made by `python it.py`." in text


def test_no_false_claim_is_supported(script):
    false_claims = script("false_claims")
    record = json.loads(false_claims.RECORD.read_text(encoding="utf-8"))
    assert false_claims.RECORD.with_suffix(".md").read_text(encoding="utf-8") == false_claims.page(record)
    claims = {claim.name: claim for claim in claims_in(false_claims.FILE, false_claims.MODEL)}
    assert len(claims) >= 5
    assert [claim["name"] for claim in record["claims"]] == list(claims)
    for claim in record["claims"]:
        assert (claim["kind"], claim["why"]) == (claims[claim["name"]].kind, claims[claim["name"]].why)
        assert not claim["verdict"].startswith("supported")
    passed = record | {"claims": [record["claims"][0] | {"verdict": "supported in stay"}, *record["claims"][1:]]}
    assert "**1 of " in false_claims.page(passed)


def test_false_claims_fit_their_model(script):
    false_claims = script("false_claims")
    model, history, regimes = model_and_histories(false_claims.MODEL)
    for claim in claims_in(false_claims.FILE, false_claims.MODEL):
        bound = bind(claim.hypothesis, model.anatomy, history, regimes)
        assert bound.root_reads_the_past == (claim.kind in ("fold", "idle"))
        assert claim.verdict != "supported"


@pytest.mark.slow
def test_false_claims_are_not_supported_on_histories_of_the_source(script):
    """Each is judged alone, which is when it is supported most easily; in *stay* some may be, where they are right."""
    false_claims = script("false_claims")
    settings = ScrubSettings(rows=32, passes=1, pool=128, data=("source",), rollouts=0, rivals=False)
    memory = Kept()
    for claim in claims_in(false_claims.FILE, false_claims.MODEL):
        (study,) = scrub([claim.hypothesis], settings, models=MODELS, kept=memory)
        print(claim.name, study.claims[0].verdict, study.claims[0].sentence, study.claims[0].reason)
        assert study.verdict != "supported"
        assert not {"explore", "navigate"} & set(re.findall(r"\w+", study.verdict))


def test_the_control_goes_ways_that_no_episode_went_whole():
    """Trained on labels of other agents' lives, a network of the usual size puts ways together on new graphs."""
    checkpoint = load("graph-6-control", MODELS)
    task, rng = checkpoint.experiment.task, np.random.default_rng(5)
    life = play(task, task.sample_tasks(rng, 96), uniform(task), checkpoint.config.context_episodes, rng)
    length, best, whole = known_ways(life, task)
    policy = probabilities(checkpoint.model, life)
    chance = (policy * best).sum(axis=2)
    likeliest = np.take_along_axis(best, policy.argmax(axis=2)[..., None], axis=2)[..., 0]
    two, three = ((length == steps) & ~whole for steps in (2, 3))
    assert two.sum() > 100 < three.sum()
    assert chance[two].mean() > 0.95
    assert likeliest[three].mean() > 0.85
    record = checkpoint.record["next_state"]
    assert record["learned_at"] < checkpoint.config.training.updates / 2
