"""What a researcher types in a notebook: names of the package alone, results that show themselves, nothing on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from make_study import dark_room_study
from torch.testing import assert_close

import ad_hypotheses as adh
from ad_hypotheses.causal.effects import measure as measure_effects
from ad_hypotheses.causal.history_pairs import make_pairs
from ad_hypotheses.distill.checkpoint import load as load_checkpoint
from ad_hypotheses.errors import CheckpointError, DataError, HypothesisError, UserError
from ad_hypotheses.language.edges import all_edges
from ad_hypotheses.library import scrub as scrubbing
from ad_hypotheses.studies.data import histories
from ad_hypotheses.studies.scrub import bind, measure
from ad_hypotheses.studies.scrub.kept import Kept
from ad_hypotheses.studies.scrub.study import scrub as scrub_all

MODELS = Path("models").resolve()
SMALL = {"rows": 16, "pool": 48, "data": "source", "passes": 1, "rollouts": 0, "rivals": False}

CELL = """
import numpy as np
from ad_hypotheses import Hypothesis, head, logits, mlp, node

@node(at=head(0))
def last(history):
    return history.previous_actions

@node(at=head(1))
def paid(history):
    return history.previous_rewards

@node(at=logits)
def choice(last, paid, history):
    return np.where(paid > 0, last, -1)

claim = Hypothesis(choice, model="bandit")
"""


def cell(text: str) -> dict:
    """Run the text of a notebook cell, which is no file."""
    scope = {"__name__": "__main__", "__doc__": "Automatically created module for IPython interactive environment"}
    exec(compile(text, "/tmp/ipykernel_1/2.py", "exec"), scope)
    return scope


@pytest.fixture(scope="module")
def model():
    return adh.load(MODELS / "bandit")


@pytest.fixture(scope="module")
def history(model):
    return model.histories(40)


@pytest.fixture(scope="module")
def study(model):
    return adh.scrub(cell(CELL)["claim"], model=model, **SMALL)


@pytest.fixture(scope="module")
def results(model, history, study):
    pair = adh.counterfactual("rewards-swapped", history[:6])
    return [
        study,
        pair,
        history,
        history[0],
        adh.attribution(model, history[0], 20, "0 - 1"),
        adh.attention(model, history[0], 99),
        adh.patch(model, pair, edges=["head(0) -> mlp(1)"], metric="kl"),
        adh.scrub_at(cell(CELL)["claim"], history[0], among=history, model=model, passes=2),
        adh.evaluate(model, rollouts=6, quick=True),
        adh.read("reports/examples/mimic-dark-room.json"),
    ]


# results


def test_results_show_themselves_in_a_line_and_as_a_table(results):
    for result in results:
        assert len(repr(result)) <= 200, repr(result)
        assert "\n" not in repr(result)
        html = result._repr_html_()
        assert 100 < len(html) <= 50_000
        assert "<script" not in html
        assert "http" not in html
        assert len(result.to_frame()) > 0


def test_results_come_back_from_json(results):
    for result in results:
        again = type(result).from_json(result.to_json())
        assert again.to_json() == result.to_json()
        with pytest.raises(DataError, match="`text`"):
            type(result).from_json("{}")


def test_names_that_nothing_has_are_answered_with_what_is_meant(history, results):
    with pytest.raises(AttributeError, match=r"no 'counts'\. Did you mean 'action_counts\(\)'"):
        history.counts()
    with pytest.raises(AttributeError, match=r"no 'action'\. Did you mean 'actions'"):
        _ = history.action
    with pytest.raises(IndexError, match="no history 40: there are 40"):
        _ = history[40]
    with pytest.raises(UserError, match=r"`of` is 'node'.*regimes, nodes, positions, donors.*'nodes'"):
        results[0].to_frame("node")
    assert [row.learner[0] for row in history[:3]] == history.learner[:3].tolist()


# models


def test_a_model_knows_what_made_it(model):
    checkpoint = load_checkpoint(MODELS / "bandit")
    assert model.sha256 == checkpoint.sha256
    assert (model.config, model.record) == (checkpoint.config, checkpoint.record)
    assert model.card.startswith("# ")
    assert model.folded().name == "bandit"
    changed = adh.load(MODELS / "bandit")
    with torch.no_grad():
        changed.W_U[0, 0] += 1
    assert changed.sha256 != checkpoint.sha256
    assert changed.checkpoint.sha256 == changed.sha256  # no record calls it the model on disk


def test_histories_are_those_of_a_study(model):
    expected = histories(load_checkpoint(MODELS / "bandit"), 5, "own", seed=3, tasks="train").history
    generated = model.histories(5, "own", "train", seed=3)
    assert np.array_equal(generated.actions, expected.actions)
    assert generated[1:].window(stop=3).family is model.task
    with pytest.raises(DataError, match="there is no data set 'sourc'"):
        model.histories(4, "sourc")
    with pytest.raises(UserError, match=r"no action 'arm 9'.*arm 0"):
        model.to_single_token("arm 9")


def test_lists_are_tables():
    models, hypotheses, reports = adh.models(), adh.hypotheses(), adh.reports("reports/examples")
    assert {"bandit", "dark-room"} <= set(models["name"])
    assert hypotheses.set_index("name").loc["mimic", "nodes"] > 2
    line = reports.set_index("name").loc["win_stay-bandit"]
    assert (line["study"], "refuted" in line["says"]) == ("scrub", True)
    assert adh.read(line["file"]).verdict == "refuted"


def test_what_is_read_is_written_again(tmp_path, sketches):
    record = adh.read("reports/examples/win_stay-bandit.json")
    pages = record.write(tmp_path)
    assert adh.read(tmp_path / "win_stay-bandit.json").to_json() == record.to_json()
    assert pages[-1] == tmp_path / "win_stay-bandit.md"


# scrubbing from a cell


def test_a_claim_of_a_cell_is_scrubbed_as_that_of_a_file(study, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    again = adh.scrub(cell(CELL)["claim"], model=model, **SMALL)
    assert again.to_json() == study.to_json()
    (expected,) = scrub_all(
        [cell(CELL)["claim"]],
        bind.ScrubSettings(rows=16, pool=48, data=("source",), passes=1, rollouts=0, rivals=False),
        models=MODELS,
    )
    assert expected.to_json() == study.to_json()
    assert study.verdict == study.claims[0].verdict
    assert study.fidelity == study.claims[0].regimes[0].fidelity
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")
    assert "IPython" not in study.title


def test_after_an_edit_only_what_changed_is_measured_again(model, monkeypatch):
    """And the figures are those of a process that measures everything."""
    made, run, alone = [], [], []
    make_ground, runs, one = bind.make_ground, measure._runs, measure._alone
    monkeypatch.setattr(bind, "make_ground", lambda *rest, **options: made.append(1) or make_ground(*rest, **options))
    monkeypatch.setattr(measure, "_runs", lambda ground, scrubber, numbers: (
        run.append(numbers[0]) or runs(ground, scrubber, numbers)))  # fmt: skip
    monkeypatch.setattr(measure, "_alone", lambda ground, scrubber, name: (
        alone.append(name) or one(ground, scrubber, name)))  # fmt: skip
    kept = Kept()
    monkeypatch.setattr(scrubbing, "kept", lambda: kept)
    adh.scrub(cell(CELL)["claim"], model=model, **SMALL)
    assert made == [1]
    assert alone == ["last", "paid"]
    structures = run.count(measure.REPEATS)
    run.clear(), alone.clear()
    edited = cell(CELL.replace("return history.previous_rewards", "return history.previous_rewards * 0"))["claim"]
    second = adh.scrub(edited, model=model, **SMALL)
    assert made == [1]
    assert structures > 0
    assert run.count(measure.REPEATS) == 0
    assert alone == ["paid"]
    monkeypatch.setattr(scrubbing, "kept", Kept)
    assert second.to_json() == adh.scrub(edited, model=model, **SMALL).to_json()


def test_what_is_kept_is_bounded():
    kept = Kept(limit=100)
    for number in range(5):
        assert kept.get(number, lambda number=number: bytes(40 + number), len) == bytes(40 + number)
    assert (len(kept), kept.bytes) == (2, 87)
    assert kept.get("large", lambda: bytes(500), len) == bytes(500)
    assert len(kept) == 1  # the latest stays, however large


def test_a_quick_look_is_no_verdict(model):
    look = adh.scrub(cell(CELL)["claim"], model=model, quick=True, rows=16)
    (claim,) = look.claims
    assert (look.verdict, claim.kind) == ("quick look: no verdict", "quick look")
    assert (look.rows, look.options["passes"], [item.name for item in look.data]) == (16, 1, ["source"])
    assert "no verdict" in repr(look)
    assert "wrong-site" not in " ".join(claim.warnings)
    assert look.fidelity.low <= look.fidelity.value <= look.fidelity.high


@pytest.mark.parametrize(
    ("hypothesis", "message"),
    [
        (3, "`hypothesis` is a int"),
        ("known/leader", r"holds several hypotheses, .*: choose one \(`name`\)"),
        ("mimik", "Did you mean 'mimic'"),
    ],
)
def test_what_is_no_single_hypothesis_is_refused(hypothesis, message):
    with pytest.raises(HypothesisError, match=message):
        adh.scrub(hypothesis)


def test_a_hypothesis_of_a_file_is_chosen_by_name():
    with pytest.raises(
        HypothesisError, match=r"`name` is 'one_leadr', but known/leader holds .*Did you mean 'one_leader'"
    ):
        adh.scrub("known/leader", name="one_leadr")
    assert [claim.name for claim in scrubbing.claims_of("known/leader", "one_leader")] == ["one_leader"]
    main, control = scrubbing.claims_of("retrieval")
    assert (main.name, control.control_of) == ("retrieval", main)
    with pytest.raises(CheckpointError, match="there is no model 'bandi'"):
        adh.scrub("win_stay", model="bandi")


# one context


def test_a_context_is_scrubbed_by_the_donors_that_are_named(model, history):
    """Put together by hand from the model's own cache: each step from the rows and steps that are said to stand in."""
    scope = cell(CELL.replace("choice(last, paid, history)", "choice(last, history)").replace("paid > 0", "last >= 0"))
    context, among = history[7], history
    scrubbed = adh.scrub_at(scope["claim"], context, among, model=model, passes=2, seed=5)
    with torch.no_grad():
        logits, cache = model.run_with_cache(among)
        head_sum, before = cache["attn_out", 0] - model.blocks[0].attn.b_O, cache["resid_post", 1]
    frame = scrubbed.to_frame()
    assert set(frame["arrow"]) == {"choice < last", "choice < everything else"}
    for number in range(2):
        of_pass = frame[frame["pass"] == number].pivot(index="step", columns="arrow")
        rows, steps = of_pass["donor_row"].astype(int), of_pass["donor_step"].astype(int)
        places = {name: (torch.tensor(rows[name].tolist()), torch.tensor(steps[name].tolist())) for name in rows}
        donor, other = head_sum[places["choice < last"]], places["choice < everything else"]
        assert not ({7, -1} & {*rows["choice < everything else"]})
        by_hand = model.unembed((before[other] - head_sum[other] + donor)[None]).log_softmax(-1)[0]
        assert_close(torch.tensor(scrubbed.log_probs[number]), by_hand, atol=2e-4, rtol=0)
        agrees = among.previous_actions[rows["choice < last"], steps["choice < last"]]
        assert np.array_equal(agrees, context.previous_actions[0])
    assert_close(torch.tensor(scrubbed.model_log_probs), logits[7].log_softmax(-1), atol=1e-5, rtol=0)
    assert scrubbed.n_among == 39
    assert scrubbed.divergence.shape == (2, 100)


def test_a_context_without_agreeing_histories_stands_in_for_itself(model, history):
    alone = CELL.replace("history.previous_rewards", "history.so_far()")
    frame = adh.scrub_at(cell(alone)["claim"], history[0], among=history[:9], model=model).to_frame()
    late = frame[(frame["arrow"] == "choice < paid") & (frame["step"] == 90)]
    assert late[["donor_row", "donor_step"]].to_numpy().tolist() == [[-1, 90]]


@pytest.mark.parametrize(
    ("row", "among", "message"),
    [
        (slice(0, 2), slice(None), "`history` has 2 rows"),
        (0, slice(0, 2), "1 histories that differ"),
    ],
)
def test_contexts_that_cannot_be_scrubbed_are_refused(model, history, row, among, message):
    with pytest.raises(DataError, match=message):
        adh.scrub_at("win_stay", history[row], among=history[among], model=model)


def test_a_shorter_context_needs_shorter_donors(model, history):
    with pytest.raises(DataError, match=r"50 steps and `among` 100.*window\(stop=50\)"):
        adh.scrub_at("win_stay", history[0].window(stop=50), among=history, model=model)
    short = history.window(stop=50)
    assert adh.scrub_at("win_stay", short[0], among=short, model=model).divergence.shape == (1, 50)


# inside of a model


def test_attributions_sum_to_the_logits_of_the_model_as_it_is(model, history):
    with torch.no_grad():
        logits = model(history[:1])[0]
        cache = model.folded().run_with_cache(history[:1])[1]
        shares = cache.logit_attrs(cache.stack_head_results(), 2)[:, 0, 30]
    for step, of, expected in ((30, "2", logits[30, 2]), (-1, "arm 0 - arm 3", logits[-1, 0] - logits[-1, 3])):
        parts = adh.attribution(model, history[0], step, of)
        assert parts.logit == pytest.approx(expected.item(), abs=1e-4)
        assert sum(parts.parts.values()) == pytest.approx(parts.logit, abs=1e-9)
        assert abs(parts.remainder) < 1e-9
    parts = adh.attribution(model, history[0], 30, 2).parts
    heads = [parts[f"head({layer}, {head})"] for layer in range(2) for head in range(4)]
    assert_close(torch.tensor(heads), shares, atol=1e-4, rtol=0, check_dtype=False)
    taken = model.task.action_names[history.actions[0, 30]]
    assert adh.attribution(model, history[0], 30).of == taken


def test_attention_is_the_pattern_of_the_step(model, history):
    pattern = adh.attention(model, history[2], -40)
    with torch.no_grad():
        whole = model.run_with_cache(history[2])[1]["pattern", 1][0, 3, 60, :61]
    assert_close(torch.tensor(pattern.weights["head(1, 3)"]), whole, atol=1e-5, rtol=0)
    frame = pattern.to_frame()
    assert frame["roles"].iloc[60].endswith("itself")
    assert ["rewarded" in roles for roles in pattern.roles] == (history.previous_rewards[2, :61] > 0).tolist()


@pytest.mark.parametrize(
    ("step", "of", "message"),
    [
        (100, 0, "`step` is 100, but the history has the steps 0 to 99"),
        (3, "arm 7", "`of` is 'arm 7'.*arm 0"),
        (3, "0 - 1 - 2", "difference of two"),
        (3, "1 - 1", "difference of two"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(model, history, step, of, message):
    with pytest.raises(DataError, match=message):
        adh.attribution(model, history[0], step, of)
    with pytest.raises(DataError, match="`history` has 40 rows"):
        adh.attention(model, history, 3)


# changing one thing


@pytest.mark.slow
def test_a_pair_is_patched_as_donors_of_that_name_are(model, history):
    pair = adh.counterfactual("rewards-swapped", history[:12], seed=0)
    effects = adh.patch(model, pair, edges="all", metric="kl")
    edges = all_edges(model.anatomy)
    given = replace(make_pairs("rewards-swapped", model.task, history[:12], 0), reference=pair.reference)
    given = replace(given, donor=pair.donor, first_step=pair.first_step)
    expected = measure_effects(model, given, edges, ("kl",)).changes["kl"][:, :, 0].mean(1).tolist()
    values = {edge.name: edge.value("kl") for edge in effects.of_kind("edge")}
    assert_close(torch.tensor([values[str(edge)] for edge in edges]), torch.tensor(expected), atol=1e-6, rtol=1e-4)
    top = effects.top(5)
    assert top["value"].abs().is_monotonic_decreasing
    assert top["value"].iloc[0] == max(values.values(), key=abs)
    graph = effects.graph(30)
    assert nx.is_directed_acyclic_graph(graph)
    assert graph.edges[top["writer"].iloc[0], "logits"]["weight"] == top["value"].iloc[0]
    written = cell(effects.to_hypothesis("found", 30))["found"]
    assert (written.model, written.root.name) == ("bandit", "choice")
    assert "12 histories" in repr(effects)


def test_an_edit_says_of_which_tasks_histories_are(model, history):
    changed = adh.edit(history[:2], step=9, action="arm 4", then="model", model=model)
    assert (changed.actions[:, 9] == 4).all()
    assert np.array_equal(changed.actions[:, :9], history.actions[:2, :9])
    assert not np.array_equal(changed.actions[:, 10:], history.actions[:2, 10:])
    assert changed.family is model.task
    unknown = replace(history, family=None)
    with pytest.raises(DataError, match=r"give the model \(`model`\)"):
        adh.edit(unknown, 9, reward=1, then="nothing")
    assert adh.edit(unknown, 9, reward=1, then="nothing", model=model).rewards[0, 9] == 1


def test_lives_of_models_and_of_claims(model):
    lived = adh.rollout(model, tasks=3, seed=2)
    assert np.array_equal(lived.actions, adh.rollout(model, tasks=3, seed=2).actions)
    claimed = adh.rollout(cell(CELL)["claim"], tasks=4, model=model)
    paid = claimed.previous_rewards > 0
    assert (claimed.actions == claimed.previous_actions)[paid].all()  # win, stay
    with pytest.raises(UserError, match="`tasks` is 0"):
        adh.rollout(model, tasks=0)


def test_training_without_a_folder_writes_nothing(tmp_path, monkeypatch, sketches):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ad_hypotheses.studies.train.study.ROLLOUTS", 4)
    config = {
        "task": {"name": "dark-room", "size": 3, "horizon": 4},
        "source": {"name": "epsilon-greedy-q"},
        "histories": {"held_out": 2, "learners": 14, "episodes": 4, "keep_every": 2, "check": False},
        "model": {"n_layers": 1, "n_heads": 2, "d_model": 8},
        "training": {"updates": 2, "batch": 4, "warmup": 1, "evaluate_every": 2, "save_every": 2},
    }
    trained = adh.train(config)
    assert (trained.name, trained.card) == ("unsaved", "")
    assert list(tmp_path.iterdir()) == []
    kept = adh.train(config, "kept")
    assert kept.sha256 == trained.sha256 == adh.load("kept").sha256
    assert json.loads((tmp_path / "kept" / "record.json").read_text())["weights_sha256"] == kept.sha256


def test_a_study_says_why_and_what_its_hypothesis_lacks():
    study = dark_room_study()
    claim = study.claims[0]
    assert (study.reason, study.warnings, study.undeclared) == (claim.reason, claim.warnings, claim.undeclared)
    frame = study.to_frame("undeclared")
    arrows = claim.undeclared.arrows
    assert frame[["source", "target", "share"]].to_dict("list") == {
        name: [getattr(arrow, name) for arrow in arrows] for name in ("source", "target", "share")
    }
    assert set(frame["claim"]) == {claim.name}
