"""The explorer's server: what it answers, whom it refuses, and that what it shows is what the library says."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
import threading
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from in_process import run_main

import ad_hypotheses as adh
from ad_hypotheses.errors import UserError
from ad_hypotheses.explorer.session import Session
from ad_hypotheses.explorer.sessions import Sessions
from ad_hypotheses.explorer.start import explore, subject_state
from ad_hypotheses.explorer.state import MOST_EDITS, ModelReference, State, read_origin, read_state, state_of_history

pytest.importorskip("fastapi", reason="needs the extra app")
from starlette.testclient import TestClient

from ad_hypotheses.explorer.guard import MOST_BYTES, cookie_name
from ad_hypotheses.explorer.server import make_app

TOKEN, BASE = "the-token", "http://127.0.0.1:8765"
COOKIE = cookie_name(TOKEN)
NAME = "known-retrieval"


@pytest.fixture(scope="module")
def session() -> Session:
    return Session()


@pytest.fixture(scope="module")
def app(session, tmp_path_factory):
    return make_app(session, State(model=ModelReference(name=NAME)), TOKEN, kept=tmp_path_factory.mktemp("sessions"))


@pytest.fixture
def client(app) -> TestClient:
    client = TestClient(app, base_url=BASE, raise_server_exceptions=False)
    client.cookies.set(COOKIE, TOKEN)
    return client


def state(**parts) -> dict:
    return {"schema": 1, "model": {"name": NAME}, **parts}


def ask(client: TestClient, panel: str, status: int = 200, **parts) -> dict:
    answer = client.post(f"/api/{panel}", json={"state": state(**parts)})
    assert answer.status_code == status, answer.text
    return answer.json()


def array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


EDITS = [
    {"kind": "edit", "step": 3, "action": "up"},
    {"kind": "edit", "step": 12, "action": 2, "then": "model", "seed": 5},
    {"kind": "edit", "step": 4, "reward": 1.0, "observation": [0, 4], "then": "nothing"},
    {"kind": "rearrange", "episodes": [1, 0, 2, 3, 4, 4]},
    {"kind": "change_facts", "step": 30, "facts": {"goal": [1, 3]}},
    {"kind": "counterfactual", "name": "no-rewards", "seed": 1, "off": True},
]


def test_a_context_is_what_the_library_makes(client):
    model = adh.load(NAME)
    context = model.histories(8)[2]
    context = adh.edit(context, step=3, action="up")
    context = adh.edit(context, step=12, action=2, then="model", model=model, seed=5)
    context = adh.edit(context, step=4, reward=1.0, observation=(0, 4), then="nothing")
    context = adh.rearrange(context, [1, 0, 2, 3, 4, 4])
    context = adh.change_facts(context, step=30, goal=(1, 3))
    decisions = adh.decisions(model, context)
    shown = ask(client, "context", origin={"kind": "histories", "row": 2}, edits=EDITS)
    assert array(shown["observations"], "<i2").tolist() == context.observations[0].ravel().tolist()
    assert array(shown["actions"], "<i2").tolist() == context.actions[0].tolist()
    assert array(shown["rewards"], "<f4").tolist() == context.rewards[0].tolist()
    assert array(shown["log_probs"], "<f4").tolist() == np.float32(decisions.log_probs).ravel().tolist()
    assert array(shown["loss"], "<f4").tolist() == np.float32(decisions.loss).tolist()
    assert shown["returns"] == context.returns()[0].tolist()
    assert shown["facts"] == {"goal": [1, 3]}
    assert shown["world"] == {"kind": "room", "width": 5, "height": 5, "places": {"goal": [[1, 3]]}}
    assert "step that does not follow" in " ".join(shown["impossible"])
    assert [text.split("(")[0] for text in shown["edits"]] == [
        "model.histories", "adh.edit", "adh.edit", "adh.edit", "adh.rearrange", "adh.change_facts",
    ]  # fmt: skip


def test_a_context_is_compared_with_the_one_before_its_last_edit(client):
    origin = {"kind": "histories", "row": 2}
    answer = ask(client, "context", origin=origin, edits=[EDITS[0], EDITS[1], EDITS[5]])["before"]
    model = adh.load(NAME)
    before = adh.edit(model.histories(8)[2], step=3, action="up")
    context = adh.edit(before, step=12, action=2, then="model", model=model, seed=5)
    former, decisions = (adh.decisions(model, history) for history in (before, context))
    assert array(answer["changed"], "<f4").tolist() == np.float32(decisions.divergence(former)).tolist()
    assert array(answer["log_probs"], "<f4").tolist() == np.float32(former.log_probs).ravel().tolist()
    assert answer["returns"] == before.returns()[0].tolist()
    shorter = ask(client, "context", origin=origin, edits=[{"kind": "rearrange", "episodes": [0]}])
    assert shorter["before"]["changed"] is None
    assert ask(client, "context", origin=origin)["before"] is None


def test_what_is_looked_at_is_what_the_library_says(client):
    model = adh.load(NAME)
    context = model.histories(8)[2]
    shown = ask(client, "look", origin={"kind": "histories", "row": 2}, step=47, of="up - down")
    attention, parts = adh.attention(model, context, 47), adh.attribution(model, context, 47, of="up - down")
    weights = array(shown["weights"], "<f4").reshape(len(shown["heads"]), 48)
    assert weights.tolist() == np.float32(list(attention.weights.values())).tolist()
    assert shown["roles"] == attention.roles
    assert shown["shares"] == attention.shares()
    assert shown["attribution"]["parts"] == parts.parts
    assert abs(shown["attribution"]["remainder"]) < 1e-9
    answers = ask(client, "learners", origin={"kind": "histories", "row": 2}, step=47)
    assert answers["probabilities"] == adh.learners(model, context, 47).probabilities
    assert answers["code"] == "adh.learners(model, context, step=47)"


def test_the_python_of_a_state_prints_what_the_page_shows(client, capsys):
    shown = ask(client, "context", origin={"kind": "histories", "row": 2}, edits=EDITS, step=33)
    texts = ask(client, "python", origin={"kind": "histories", "row": 2}, edits=EDITS, step=33)
    scope: dict = {}
    exec(texts["script"], scope)
    assert np.float32(scope["decisions"].log_probs).ravel().tolist() == array(shown["log_probs"], "<f4").tolist()
    assert "regime" in capsys.readouterr().out
    exec(texts["test"], scope)
    scope["test_decision_at_step_33"]()
    exec(texts["test"].replace("'stay': 0", "'stay': 9"), scope)
    with pytest.raises(AssertionError):
        scope["test_decision_at_step_33"]()


def test_a_state_is_read_as_it_was_written():
    written = read_state(state(edits=EDITS, step=7, notes="why?"))
    assert read_state(json.dumps(written.plain())) == written
    assert read_origin(json.dumps(written.plain()), "other") == written


def test_a_history_that_is_written_out_is_shown(client):
    history = adh.load(NAME).histories(2)
    opened = client.post("/api/open", json={"text": history.to_json(), "model": NAME}).json()
    shown = client.post("/api/context", json={"state": opened}).json()
    assert array(shown["actions"], "<i2").tolist() == history.actions[0].tolist()
    assert read_state(opened) == state_of_history(history, NAME)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"model": {"name": "known-retrival"}}, "there is no model 'known-retrival'. Did you mean 'known-retrieval'"),
        ({"model": {"name": "../models/known-retrieval"}}, "there is no model"),
        ({"model": {"name": "models/known-retrieval"}}, "there is no model"),
        ({"step": 60}, "step is 60, but the context has the steps 0 to 59"),
        ({"schema": 2}, "schema: Input should be 1"),
        ({"origin": {"kind": "histories", "row": 8}}, "row is 8, but the rows are 0 to 7"),
        ({"origin": {"kind": "histories", "data": "sauce"}}, "there is no data set 'sauce'"),
        ({"origin": {"kind": "histories", "rows": 10**9}}, "less than or equal to 1024"),
        ({"origin": {"kind": "pickle"}}, "origin"),
        ({"origin": {"kind": "tokens", "history": {}}}, "does not hold what a History holds"),
        ({"edits": [{"kind": "edit", "step": 3, "action": "jump"}]}, "edit 1, edit: `action` is 'jump'"),
        ({"edits": [{"kind": "edit", "step": 3, "reward": 0.5}]}, "`reward` is 0.5, but dark-room pays 0, 1"),
        ({"edits": [{"kind": "edit", "step": 99, "action": 1}]}, "`step` is 99"),
        ({"edits": [{"kind": "edit", "step": 3, "observation": [9, 9], "then": "nothing"}]}, "`observation` is"),
        ({"edits": [{"kind": "edit", "step": 3, "color": 1}]}, "Extra inputs are not permitted"),
        ({"edits": [{"kind": "rearrange", "episodes": [0, 6]}]}, "`episodes` has 6, but the histories have the"),
        ({"edits": [{"kind": "rearrange", "episodes": []}]}, "`episodes` is empty"),
        ({"edits": [{"kind": "change_facts", "step": 0, "facts": {"goal": [5, 0]}}]}, "must be a place that can be"),
        ({"edits": [{"kind": "change_facts", "step": 0, "facts": {"gaol": [1, 0]}}]}, "Did you mean 'goal'"),
        ({"edits": [{"kind": "change_facts", "step": 0, "facts": {"model": 3}}]}, "'model' is not a fact"),
        ({"edits": [{"kind": "counterfactual", "name": "episode-replaced"}]}, "there is no other history"),
        ({"edits": [EDITS[0]] * (MOST_EDITS + 1)}, "at most 1000 items"),
        ({"of": "up - fly"}, "`of` is 'up - fly'"),
        ({"notes": "n" * 30_000}, "at most 20000"),
        ({"extra": 1}, "Extra inputs are not permitted"),
    ],
)
def test_bad_states_are_refused_with_a_message(client, parts, message):
    answer = ask(client, "look" if "of" in parts else "context", 400, **parts)
    assert message in answer["error"]
    assert "Traceback" not in answer["error"]


def test_a_history_of_another_task_or_too_long_is_refused(client):
    for history, message in (
        (adh.load("known-leader").histories(2), "is about dark-room, which shows x, y and has 5"),
        (adh.rearrange(adh.load(NAME).histories(2), [0] * 7), "has 70 steps, but known-retrieval reads at most 60"),
    ):
        origin = state_of_history(history, NAME).plain()["origin"]
        assert message in ask(client, "context", 400, origin=origin)["error"]


def test_a_model_that_was_changed_since_is_said(client):
    expected = adh.load(NAME).sha256
    assert ask(client, "context", model={"name": NAME, "sha256": expected})["warning"] == ""
    warning = ask(client, "context", model={"name": NAME, "sha256": "0" * 64})["warning"]
    assert f"has other weights ({expected[:12]}) than when this state was written (000000000000)" in warning


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[]", 422),
        (b'{"state": 3}', 422),
        (b'{"state": {}}', 400),
        (b'{"state": {"schema": 1, "model": {"name": "bandit"}, "step": NaN}}', 400),
        (b'{"state": ' + b"[" * 100_000, 400),
        (b" " * (MOST_BYTES + 1), 413),
    ],
)
def test_bad_bodies_are_refused(client, body, status):
    answer = client.post("/api/context", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert "error" in answer.json()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example:8765"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "[::1"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"cookie": f"{COOKIE}=another"}, 403),
        ({"cookie": ""}, 403),
        ({"host": "localhost:9000", "origin": "http://localhost:9000"}, 200),
        ({}, 200),
    ],
)
def test_who_may_ask(app, headers, status):
    client = TestClient(app, base_url=BASE)
    usual = {"cookie": f"{COOKIE}={TOKEN}", "content-type": "application/json", "origin": BASE}
    answer = client.post("/api/model", content=json.dumps({"name": NAME}), headers=usual | headers)
    assert answer.status_code == status
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")


def test_the_link_gives_the_cookie_and_nothing_else_does(app):
    client = TestClient(app, base_url=BASE)
    assert client.get("/").status_code == client.get("/?token=wrong").status_code == 403
    assert client.get("/api/start?token=the-token").status_code == 403
    assert "set-cookie" not in client.get("/?token=wrong").headers
    opened = client.get("/?token=the-token")
    assert opened.headers["set-cookie"] == f"{COOKIE}={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    start = client.get("/api/start").json()
    assert start["state"]["model"]["name"] == NAME
    assert {NAME, "dark-room-grid/l1-g4-s0"} <= set(start["models"])


def test_two_servers_of_one_machine_do_not_share_a_cookie():
    assert cookie_name("first") != cookie_name("second")
    assert "first" not in cookie_name("first")


@pytest.mark.parametrize("path", ["/../pyproject.toml", "/%2e%2e/server.py", "/..%2fserver.py", "/server.py", "/api/x"])
def test_only_the_page_is_sent(client, path):
    assert client.get(path).status_code == 404


def test_what_can_be_opened(tmp_path):
    history = adh.load(NAME).histories(2)
    (tmp_path / "history.json").write_text(history.to_json())
    (tmp_path / "state.json").write_text(json.dumps(state(step=4)))
    (tmp_path / "damaged.json").write_text("{")
    (tmp_path / "other.json").write_text("{}")
    assert subject_state(NAME)[1].model.name == NAME
    assert subject_state(history, NAME)[1] == subject_state(tmp_path / "history.json", NAME)[1]
    assert subject_state(tmp_path / "state.json")[1].step == 4
    for subject, message in (
        ("damaged.json", "this is not JSON"),
        ("other.json", "this is not a state of the explorer: model: Field required"),
        ("missing.json", "No such file or directory"),
        ("no-such-model", "there is no model"),
    ):
        with pytest.raises(UserError, match=message):
            subject_state(tmp_path / subject if subject.endswith("json") else subject)


def test_a_running_explorer_answers_and_stops():
    httpx = pytest.importorskip("httpx")
    with explore(NAME, browser=False) as explorer:
        with httpx.Client() as browser:
            assert browser.get(explorer.url).status_code == 200
            start = browser.get(f"http://127.0.0.1:{explorer.port}/api/start").json()
        assert start["state"]["model"] == {"name": NAME, "sha256": ""}
        assert httpx.get(f"http://127.0.0.1:{explorer.port}/").status_code == 403
        with pytest.raises(UserError, match=f"port {explorer.port} cannot be used"):
            explore(NAME, port=explorer.port, browser=False)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{explorer.port}/")


def test_the_command_line_says_what_to_open(workplace, capsys, monkeypatch):
    monkeypatch.setattr("ad_hypotheses.explorer.start.Explorer.wait", lambda explorer: None)
    ran = run_main(("explore", "tiny", "--no-browser", "--threads", "1"), capsys)
    assert ran.code == 0
    assert "open http://127.0.0.1:" in ran.out
    assert "ssh -L" in ran.out
    ran = run_main(("explore", "tinny", "--no-browser"), capsys)
    assert ran.code == 2
    assert "there is no model 'tinny'" in ran.err


def test_what_serves_the_page_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UserError, match=r"the explorer needs uvicorn.*pip install 'ad-hypotheses\[app\]'"):
        explore(NAME, browser=False)


def test_what_carries_the_last_edit_is_what_the_library_says(client):
    origin, edits = {"kind": "histories", "row": 2}, [EDITS[0], EDITS[5], EDITS[2], {**EDITS[4], "off": True}]
    answer = client.post(
        "/api/carriers", json={"state": state(origin=origin, edits=edits, step=9, of="up"), "edges": True}
    )
    shown, model = answer.json(), adh.load(NAME)
    before = adh.edit(model.histories(8)[2], step=3, action="up")
    context = adh.edit(before, step=4, reward=1.0, observation=(0, 4), then="nothing")
    expected = adh.carriers(model, before, context, 9, of="up", edges=True)
    assert (shown["before"], shown["after"]) == (expected.before, expected.after)
    assert (shown["writers"], shown["edges"]) == (expected.writers, expected.edges)
    scope = {"adh": adh, "model": model}
    lines = shown["code"].split("\n")
    exec("\n".join([*lines[:-1], f"carriers = {lines[-1]}"]), scope)
    assert scope["carriers"] == expected
    assert "nothing was edited" in ask(client, "carriers", 400, origin=origin, step=9)["error"]
    assert "show the same up to step 2" in ask(client, "carriers", 400, origin=origin, edits=EDITS[:1], step=2)["error"]


def claim(**parts) -> dict:
    return {"file": "hypotheses/known/retrieval.py", "name": "truth", "rows": 16, **parts}


def test_a_context_is_scrubbed_as_the_library_does(client):
    origin = {"kind": "histories", "row": 2}
    shown = ask(client, "claim", origin=origin, step=33, claim=claim(name="cell_blind"))
    model = adh.load(NAME)
    among = model.histories(16, seed=1)
    file = "hypotheses/known/retrieval.py"
    expected = adh.scrub_at(file, model.histories(8)[2], among, model=model, passes=2, name="cell_blind")
    assert shown["claim"] == "cell_blind"
    texts = ask(client, "python", origin=origin, step=33, claim=claim(name="cell_blind"))
    scope: dict = {}
    exec(texts["script"], scope)
    assert scope["scrubbed"].log_probs == expected.log_probs
    assert shown["code"] in texts["script"]
    assert array(shown["log_probs"], "<f4").tolist() == np.float32(expected.log_probs).ravel().tolist()
    assert array(shown["divergence"], "<f4").tolist() == np.float32(expected.divergence.mean(axis=0)).tolist()
    assert [(donor["arrow"], donor["row"], donor["step"]) for donor in shown["donors"]] == [
        (donor.arrow, donor.rows[33], donor.steps[33]) for donor in expected.donors
    ]
    drawn = [donor for donor in shown["donors"] if "actions" in donor]
    assert drawn
    for donor in drawn:
        history = among[donor["row"]]
        steps = slice(donor["first"], donor["first"] + 10)
        assert array(donor["actions"], "<i2").tolist() == history.actions[0, steps].tolist()
        assert donor["does"] == model.task.action_names[history.actions[0, donor["step"]]]
        assert donor["token"] == model.to_str_tokens(history)[donor["step"]]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"claim": claim(file="tests/conftest.py")}, "there is no hypothesis file 'tests/conftest.py'"),
        ({"claim": claim(file="hypotheses/../cli.py")}, "there is no hypothesis file"),
        ({}, "there is no hypothesis file ''"),
        ({"claim": claim(name="trueth")}, "holds"),
        (
            {"claim": claim(file="hypotheses/untried.py", name="untried")},
            "move() sits at mlp(2): the model has no layer 2",
        ),
        ({"claim": claim(rows=1)}, "greater than or equal to 2"),
    ],
)
def test_claims_that_cannot_be_scrubbed_are_refused(client, parts, message):
    assert message in ask(client, "claim", 400, **parts)["error"]


@pytest.mark.slow
def test_a_record_opens_where_its_claim_breaks(tmp_path):
    small = {"rows": 16, "pool": 64, "passes": 1, "data": "source", "rollouts": 0, "rivals": False}
    study = adh.scrub("hypotheses/known/retrieval.py", name="truth", **small)
    (page, *_) = [path for path in study.write(tmp_path) if path.suffix == ".json"]
    for number, position in enumerate(study.claims[0].worst[:2], 1):
        session, opened = subject_state(page, worst=number)
        context = session.context(opened)
        assert (opened.origin.row, opened.step) == (position.row, position.step)
        assert context.actions[0, position.step] == position.taken
        assert opened.claim.file == "hypotheses/known/retrieval.py"
        assert opened == subject_state(study, worst=number)[1]
    with pytest.raises(UserError, match="`worst` is 99, but the report of truth has"):
        subject_state(study, worst=99)
    other = replace(study, options={**study.options, "seed": 9})
    with pytest.raises(UserError, match="of the histories of this report is another one today"):
        subject_state(other)


@pytest.mark.slow
def test_records_are_listed_and_only_those_are_opened(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("models", "hypotheses"):
        (tmp_path / name).symlink_to(Path(__file__).parents[1] / name)
    assert client.get("/api/reports").json() == []
    small = {"rows": 16, "pool": 64, "passes": 1, "data": "source", "rollouts": 0, "rivals": False}
    study = adh.scrub("hypotheses/known/retrieval.py", name="cell_blind", **small)
    study.write("reports")
    (tmp_path / "reports" / "damaged.json").write_text('{"claims": 1, "curves": 2}')
    (tmp_path / "elsewhere.json").write_text(study.to_json())
    (line,) = client.get("/api/reports").json()
    assert line["headline"] == study.headline
    assert [place["row"] for place in line["worst"]] == [position.row for position in study.claims[0].worst]
    opened = client.post("/api/report", json={"file": line["file"], "worst": 1}).json()
    assert read_state(opened) == subject_state(study)[1]
    for question, message in (
        ({"file": "elsewhere.json", "worst": 1}, "there is no record 'elsewhere.json' in reports"),
        ({"file": "reports/../elsewhere.json", "worst": 1}, "there is no record"),
        ({"file": line["file"], "worst": 99}, "`worst` is 99"),
    ):
        assert message in client.post("/api/report", json=question).json()["error"]
    assert client.post("/api/report", json={"file": line["file"], "worst": 0}).status_code == 422


def test_histories_are_listed_to_choose_from(client):
    shown = ask(client, "rows", origin={"kind": "histories", "rows": 12, "seed": 3, "row": 11})
    histories = adh.load(NAME).histories(12, seed=3)
    assert shown["returns"] == histories.returns().tolist()
    assert [facts["goal"] for facts in shown["facts"]] == histories.task["goal"].tolist()
    assert shown["code"] == "model.histories(12, data='source', tasks='held-out', seed=3)"
    played = {"kind": "play", "actions": ["up"]}
    assert "is not one of several histories" in ask(client, "rows", 400, origin=played)["error"]


def test_a_context_is_of_any_source_or_by_hand(client):
    model = adh.load(NAME)
    assert client.post("/api/model", json={"name": NAME}).json()["sources"] == model.sources
    for origin, expected in (
        (
            {"kind": "histories", "row": 1, "rows": 3, "source": "epsilon-greedy-q"},
            model.histories(3, source="epsilon-greedy-q")[1],
        ),
        ({"kind": "play", "actions": ["up", 3, "left"], "task": 1}, adh.play(model, ["up", 3, "left"], task=1)),
    ):
        shown = ask(client, "context", origin=origin)
        assert array(shown["actions"], "<i2").tolist() == expected.actions[0].tolist()
        assert array(shown["observations"], "<i2").tolist() == expected.observations[0].ravel().tolist()
        scope: dict = {"adh": adh, "model": model}
        exec(f"context = {shown['edits'][0]}", scope)
        assert np.array_equal(scope["context"].actions, expected.actions)
    for origin, message in (
        ({"kind": "histories", "source": "dyna"}, "Did you mean 'dyna-q'"),
        ({"kind": "play", "actions": []}, "at least 1 item"),
        ({"kind": "play", "actions": ["jump"]}, "`actions` has 'jump'"),
    ):
        assert message in ask(client, "context", 400, origin=origin)["error"]


def test_sessions_are_kept_and_found_again(client, tmp_path):
    kept = state(edits=EDITS[:2], step=4, notes="why?\nbecause")
    assert client.get("/api/sessions").json() == []
    for number in range(22):
        assert client.post("/api/keep", json={"page": f"page{number:03}", "state": kept}).status_code == 200
    lines = client.get("/api/sessions").json()
    assert len(lines) == 20
    assert lines[0]["words"] == f"{NAME} · row 0 of source · 2 edits · step 4 · why?"
    opened = client.post("/api/session", json={"name": lines[0]["name"]}).json()
    assert read_state(opened) == read_state(kept)
    for name in ("../../etc/passwd", "none", "", "page000", "Page001"):
        answer = client.post("/api/session", json={"name": name})
        assert answer.status_code == 400, answer.text
    assert client.post("/api/keep", json={"page": "../x", "state": kept}).status_code == 400
    assert client.post("/api/keep", json={"page": "page001", "state": {}}).status_code == 400
    (tmp_path / "damaged1.json").write_text("{")
    assert Sessions(tmp_path).view() == []


def test_a_long_run_says_how_far_it_is_and_is_cancelled(app, session, monkeypatch):
    """What generates histories waits until somebody has seen how far it is and cancelled it."""
    told, seen = threading.Event(), threading.Event()
    model = session.model(NAME)

    def histories(rows, progress, **how):
        progress.begin("generating histories", 60, "steps")
        progress.reach(15)
        told.set()
        assert seen.wait(60)
        progress.may_stop()
        raise AssertionError("it went on")

    monkeypatch.setattr(model, "histories", histories, raising=False)
    first, second = (TestClient(app, base_url=BASE, cookies={COOKIE: TOKEN}) for _ in range(2))
    question = {"page": "waiting1", "state": state(origin={"kind": "histories", "seed": 77})}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(first.post, "/api/context", json=question)
        assert told.wait(60)
        assert second.get("/api/progress").json() == {"title": "generating histories", "done": 15, "total": 60}
        second.post("/api/cancel", json={"page": "another1"})
        second.post("/api/cancel", json={"page": "waiting1"})
        seen.set()
    assert (answer.result().status_code, answer.result().json()) == (202, {"unanswered": "cancelled"})
    assert second.get("/api/progress").json() == {}
    monkeypatch.undo()
    assert first.post("/api/context", json=question).status_code == 200


def test_what_parts_do_is_what_the_library_says(client):
    origin = {"kind": "histories", "row": 2}
    model = adh.load(NAME)
    context, among = model.histories(8)[2], model.histories(8, seed=1)
    for by, given in (("zero", "zero"), ("mean", among)):
        replaced = {"by": by, "rows": 8, "parts": ["head(0, 0)", "mlp(0) -> mlp(1)"]}
        effects = ask(client, "ablations", origin=origin, step=9, of="up", replaced=replaced)
        expected = adh.ablations(model, context, 9, of="up", by=given)
        assert (effects["value"], effects["writers"]) == (expected.value, expected.writers)
        shown = ask(client, "replaced", origin=origin, step=9, replaced=replaced)
        decisions = adh.decisions(model, context, replaced=replaced["parts"], by=given)
        assert array(shown["log_probs"], "<f4").tolist() == np.float32(decisions.log_probs).ravel().tolist()
        away = adh.decisions(model, context).divergence(decisions)
        assert array(shown["divergence"], "<f4").tolist() == np.float32(away).tolist()
        scope = {"adh": adh, "model": model, "context": context}
        *lines, last = shown["code"].split("\n")
        exec("\n".join([*lines, f"decisions = {last}"]), scope)
        assert scope["decisions"] == decisions
    assert "head(9, 9)" in ask(client, "replaced", 400, origin=origin, replaced={"parts": ["head(9, 9)"]})["error"]


def test_a_context_is_compared_with_its_partner(client):
    origin = {"kind": "histories", "row": 2}
    partner = {"origin": {"kind": "histories", "row": 5}, "edits": EDITS[:1]}
    model = adh.load(NAME)
    context, other = model.histories(8)[2], adh.edit(model.histories(8)[5], step=3, action="up")
    shown = ask(client, "context", origin=origin, partner=partner)["before"]
    former, now = adh.decisions(model, other), adh.decisions(model, context)
    assert array(shown["log_probs"], "<f4").tolist() == np.float32(former.log_probs).ravel().tolist()
    assert array(shown["changed"], "<f4").tolist() == np.float32(now.divergence(former)).tolist()
    assert array(shown["partner"]["actions"], "<i2").tolist() == other.actions[0].tolist()
    carried = ask(client, "carriers", origin=origin, partner=partner, step=30)
    expected = adh.carriers(model, other, context, 30)
    assert carried["writers"] == expected.writers
    scope = {"adh": adh, "model": model}
    *lines, last = carried["code"].split("\n")
    exec("\n".join([*lines, f"carriers = {last}"]), scope)
    assert scope["carriers"] == expected
    replaced = {"by": "difference", "parts": ["head(0, 0)"]}
    shown = ask(client, "replaced", origin=origin, partner=partner, step=30, replaced=replaced)
    patched = adh.decisions(model, other, replaced=["head(0, 0)"], by=context)
    assert array(shown["log_probs"], "<f4").tolist() == np.float32(patched.log_probs).ravel().tolist()
    alone = {"by": "difference", "parts": ["head(0, 0)"]}
    assert "there is no partner" in ask(client, "replaced", 400, origin=origin, replaced=alone)["error"]


@pytest.mark.slow
def test_pinned_donors_and_rivals_are_those_of_the_library(client):
    origin, file = {"kind": "histories", "row": 2}, "hypotheses/known/retrieval.py"
    model = adh.load(NAME)
    context, among = model.histories(8)[2], model.histories(16, seed=1)
    shown = ask(client, "claim", origin=origin, step=33, claim=claim(passes=1))
    donor = max(shown["donors"], key=lambda donor: len(donor["members"]) * ("else" not in donor["arrow"]))
    row, step = next(member for member in donor["members"] if member[0] != donor["row"])
    pin = {"arrow": donor["arrow"], "step": 33, "row": row, "donor_step": step}
    rival = {"file": file, "name": "replay"}
    chosen = claim(passes=1, pins=[pin], rival=rival)
    pinned = ask(client, "claim", origin=origin, step=33, claim=chosen)
    (now,) = [other for other in pinned["donors"] if other["arrow"] == donor["arrow"]]
    assert (now["row"], now["step"]) == (row, step)
    pins = [(donor["arrow"], 33, row, step)]
    expected = adh.scrub_at(file, context, among, model=model, name="truth", pins=pins)
    assert array(pinned["log_probs"], "<f4").tolist() == np.float32(expected.log_probs).ravel().tolist()
    rivals = adh.rivals_at(file, file, context, among, model=model, name="truth", rival_name="replay")
    answer = ask(client, "rivals", origin=origin, step=33, claim=chosen)
    assert (answer["both"], answer["only_rival"]) == (rivals.both, rivals.only_rival)
    costs = [float("nan") if kl is None else kl for kl in rivals.kl_rival]
    assert array(answer["kl_rival"], "<f4") == pytest.approx(np.float32(costs), nan_ok=True)
    scope = {"adh": adh, "model": model, "context": context}
    exec(answer["code"], scope)
    assert scope["rivals"] == rivals
    assert "choose one" in ask(client, "rivals", 400, origin=origin, claim=claim())["error"]
    foreign = claim(rival={"file": "tests/conftest.py"})
    assert "there is no hypothesis file" in ask(client, "rivals", 400, origin=origin, claim=foreign)["error"]


def test_those_who_live_are_those_of_the_library(client):
    origin, model, file = {"kind": "histories", "row": 5}, adh.load(NAME), "hypotheses/known/retrieval.py"
    context = model.histories(8)[5]
    live = {"of": ["model", "source"], "since": 10, "until": 15, "seed": 2}
    shown = ask(client, "live", origin=origin, live=live)
    lives = adh.live(model, context, of=["model", "source"], since=10, seed=2).until(15)
    for name, life in shown["lives"].items():
        assert array(life["actions"], "<i2").tolist() == lives.histories[name].actions[0].tolist()
        assert life["returns"] == lives.returns[name]
    assert (list(shown["lives"]), shown["steps"], shown["longest"]) == (["model", "source"], 15, 60)
    scope = {"adh": adh, "model": model, "context": context}
    exec(shown["code"], scope)
    assert scope["lives"] == lives
    further = ask(client, "live", origin=origin, live={**live, "until": 20})
    assert (
        array(further["lives"]["model"]["actions"], "<i2")[:15].tolist() == lives.histories["model"].actions[0].tolist()
    )
    # one of the lives as the context, by an edit
    edit = {"kind": "live", "who": "source", "since": 10, "until": 15, "seed": 2}
    taken = ask(client, "context", origin=origin, edits=[edit])
    assert taken["n_steps"] == 15
    assert array(taken["actions"], "<i2").tolist() == lives.histories["source"].actions[0].tolist()
    script = ask(client, "python", origin=origin, edits=[edit], step=14, live=live)["script"]
    assert "until(15).histories['source']" in script
    assert "print(lives)" in script
    # what a claim makes of the model runs its file; as a context it is written out
    chosen = claim(rows=16)
    live = {"of": ["scrubbed"], "until": 5}
    shown = ask(client, "live", origin=origin, live=live, claim=chosen)
    among = model.histories(16, seed=1)
    scrubbed = adh.live(model, context, of=["scrubbed"], hypothesis=file, name="truth", among=among).until(5)
    assert (
        array(shown["lives"]["scrubbed"]["actions"], "<i2").tolist()
        == scrubbed.histories["scrubbed"].actions[0].tolist()
    )
    answer = client.post("/api/taken", json={"state": state(origin=origin, live=live, claim=chosen), "who": "scrubbed"})
    assert ask(client, "context", origin=answer.json())["n_steps"] == 5


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "nobody lives"),
        ({"live": {"of": ["modle"]}}, "Did you mean 'model'"),
        ({"live": {"of": []}}, "live.of"),
        ({"live": {"of": ["model"], "since": 9, "until": 3}}, "until is 3, but lives begin at step 9"),
        ({"live": {"of": ["model"], "until": 99}}, "lives have 0 to 60 steps"),
        ({"live": {"of": ["scrubbed"]}}, "there is no hypothesis file"),
        ({"edits": [{"kind": "live", "who": "scrubbed", "since": 0, "until": 5}]}, "edit 1, live: `of` has"),
    ],
)
def test_who_cannot_live_is_said(client, parts, message):
    panel = "context" if "edits" in parts else "live"
    assert message in ask(client, panel, 400, **parts)["error"]


def test_what_varies_and_what_other_models_do_is_what_the_library_says(client):
    origin, model = {"kind": "histories", "row": 2}, adh.load(NAME)
    context = model.histories(8)[2]
    shown = ask(client, "scan", origin=origin, step=33, of="up - down", scan={"vary": "goal", "since": 20})
    expected = adh.scan(model, context, 33, of="up - down", vary="goal", since=20)
    assert (shown["values"], shown["asked"]) == (expected.values, expected.asked)
    assert shown["code"] == "adh.scan(model, context, step=33, of='up - down', vary='goal', since=20)"
    assert "nothing varies" in ask(client, "scan", 400, origin=origin)["error"]
    alike = client.post("/api/alike", json={"name": NAME}).json()
    assert "known-retrieval-trained" in alike["models"]
    assert not {NAME, "dark-room", "bandit"} & set(alike["models"])
    assert alike["stages"] == []
    other = "known-retrieval-trained"
    shown = ask(client, "others", origin=origin, others=[other, "bandit", "bandot"])
    decisions = adh.decisions(other, context)
    assert (
        array(shown["models"][other]["log_probs"], "<f4").tolist() == np.float32(decisions.log_probs).ravel().tolist()
    )
    away = adh.decisions(model, context).divergence(decisions)
    assert array(shown["models"][other]["divergence"], "<f4").tolist() == np.float32(away).tolist()
    assert "is about bandit" in shown["absent"]["bandit"]
    assert "Did you mean 'bandit'" in shown["absent"]["bandot"]


def copied(page: str) -> dict:
    """What a page holds that needs no server."""
    packed = page.partition('id="answers">')[2].partition("<")[0]
    return json.loads(zlib.decompress(base64.b64decode(packed), wbits=-15))


BUNDLED = {"origin": {"kind": "histories", "row": 2}, "edits": EDITS[:1], "step": 33, "of": "up - down"}


def test_a_bundle_holds_what_the_server_answers(client):
    parts = {**BUNDLED, "claim": claim()}
    content = copied(client.post("/api/bundle", json={"state": state(**parts)}).json())
    assert content["steps"] == [30, 39]
    answers = content["answers"]
    assert answers["context"] == ask(client, "context", **parts)
    look = ask(client, "look", **{**parts, "step": 36})
    length = answers["look 36"].pop("tokens")
    assert content["tokens"][:length] == look.pop("tokens")
    assert answers["look 36"] == look
    assert not [name for name in answers if name.startswith("claim")]  # whose file was not let run


@pytest.mark.slow
def test_a_bundle_is_written_by_the_library_and_by_the_command(client, tmp_path, capsys):
    parts = {**BUNDLED, "claim": claim(passes=1)}
    (tmp_path / "state.json").write_text(json.dumps(state(**parts)))
    path = adh.bundle(tmp_path / "state.json", tmp_path / "pages" / "page.html", claim=True)
    page = path.read_text(encoding="utf-8")
    answer = client.post("/api/bundle", json={"state": state(**parts), "claim": True}).json()
    assert copied(page) == copied(answer)
    assert copied(page)["answers"]["claim 33"] == ask(client, "claim", **parts)
    assert "http-equiv" in page
    with pytest.raises(UserError, match="no hypothesis is chosen"):
        adh.bundle(NAME, tmp_path / "page.html", claim=True)
    with pytest.raises(UserError, match="cannot write"):
        adh.bundle(NAME, tmp_path)
    ran = run_main(("explore", NAME, "--bundle", str(tmp_path / "page.html")), capsys)
    assert ran.code == 0, ran.err
    assert copied((tmp_path / "page.html").read_text(encoding="utf-8"))["state"]["model"]["name"] == NAME


def test_a_hypothesis_is_run_unasked_for_a_bundle_alone(capsys):
    ran = run_main(("explore", NAME, "--claim"), capsys)
    assert ran.code == 2
    assert "--claim goes with --bundle" in ran.err


def test_a_cell_of_a_notebook_is_answered_without_a_port(session):
    widgets = pytest.importorskip("ad_hypotheses.explorer.widget", reason="needs the extra notebook")
    app = make_app(session, State(model=ModelReference(name=NAME)), TOKEN).app

    def asked(path, content=None):
        return asyncio.run(widgets.asked(app, path, content))

    status, start = asked("start")
    assert (status, start["state"]["model"]["name"]) == (200, NAME)
    status, shown = asked("context", {"page": "a", "state": state(step=99)})
    assert (status, "step is 99" in shown["error"]) == (400, True)
    assert asked("nothing")[0] == 404
    assert asked("model", {"name": NAME})[1]["name"] == NAME


@pytest.mark.slow
def test_a_wheel_holds_the_page_and_every_file_that_it_names(tmp_path):
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(root)]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        page = files.read("ad_hypotheses/explorer/static/index.html").decode()
        named = re.findall(r'(?:src|href)="\./([^"]+)"', page)
        assert sorted(named) == ["explorer.css", "explorer.js"]
        for name in named:
            shipped = (root / "ad_hypotheses" / "explorer" / "static" / name).read_bytes()
            assert files.read(f"ad_hypotheses/explorer/static/{name}") == shipped
