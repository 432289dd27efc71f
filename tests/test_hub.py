"""Models are shared by a model hub: what comes back is what was sent, and nothing of it is run."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from huggingface_hub import constants

import ad_hypotheses as adh
from ad_hypotheses.errors import CheckpointError, HypothesisError, UserError
from ad_hypotheses.tasks import trust

ROOT_MODEL = Path(__file__).parents[1] / "models" / "known-leader"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """What a hub answers when files of a repository are asked for, of one folder as `user/bandit`."""

    def __init__(self, folder: Path, asked: list[str], *arguments):
        self.folder, self.asked = folder, asked
        super().__init__(*arguments)

    def answer(self, with_content: bool) -> None:
        self.asked.append(f"{self.command} {self.path}")
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        path = self.folder / name
        there = repository == "user/bandit" and revision in ("main", COMMIT) and path.is_file()
        content = path.read_bytes() if there else b""
        self.send_response(200 if there else 404)
        self.send_header("Content-Length", str(len(content)))
        if there:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        else:
            self.send_header("X-Error-Code", "EntryNotFound" if repository == "user/bandit" else "RepoNotFound")
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return a folder that a hub serves, and what it was asked for."""
    asked: list[str] = []
    folder = tmp_path / "repository"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder, asked)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE",
            f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        )  # fmt: skip
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield folder, asked
        server.shutdown()


@contextmanager
def changed(path: Path):
    content = json.loads(path.read_text())
    yield content
    path.write_text(json.dumps(content))


def test_what_is_shared_comes_back_as_it_was(hub):
    folder, asked = hub
    model = adh.load("bandit")
    assert model.save(folder, format="hub") == folder
    shared = adh.load("hf://user/bandit")
    assert shared.sha256 == model.sha256
    assert shared.config == model.config
    assert shared.record == {**model.record, "config": model.config.model_dump()}
    downloaded = [line.split("/")[-1] for line in asked if line.startswith("GET /user/")]
    assert downloaded == ["config.json", "model.safetensors"]
    n_asked = len(asked)
    assert adh.load(f"hf://user/bandit@{COMMIT}").sha256 == model.sha256
    assert len(asked) == n_asked  # a commit that is in the cache needs no hub


def test_a_page_of_a_model_begins_with_what_the_hub_reads(tmp_path):
    adh.load("bandit").save(tmp_path / "bandit", format="hub")
    assert {path.name for path in (tmp_path / "bandit").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    _, front, page = (tmp_path / "bandit" / "README.md").read_text().split("---\n", 2)
    matter = yaml.safe_load(front)
    (result,) = matter["model-index"][0]["results"]
    metrics = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert result["dataset"]["type"] == "bandit"
    assert metrics == adh.load("bandit").record["evaluation"]["summary"]
    assert huggingface_hub.ModelCard(f"---\n{front}---\n{page}").data.eval_results[0].metric_value in metrics.values()
    assert "# bandit" in page
    assert 'adh.load("hf://USER/bandit")' in page


def test_a_folder_in_the_layout_of_a_hub_is_a_model(tmp_path):
    model = adh.load("known-leader")
    assert adh.load(model.save(tmp_path / "leader", format="hub")).sha256 == model.sha256
    with pytest.raises(CheckpointError, match="holds another model"):
        adh.load("known-retrieval").save(tmp_path / "leader", format="hub")


def test_a_saved_model_is_one_like_any_other(tmp_path):
    model = adh.load("bandit")
    again = adh.load(model.save(tmp_path / "mine"))
    assert again.sha256 == model.sha256
    assert "# mine" in again.card
    with pytest.raises(CheckpointError, match="holds another model"):
        adh.load("known-leader").save(tmp_path / "mine")


def alter_weights(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def name_a_file(folder):
    with changed(folder / "config.json") as content:
        content["config"]["task"]["name"] = "evil.py:Task"


def of_another_library(folder):
    (folder / "config.json").write_text('{"model_type": "gpt2"}')


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (alter_weights, "are not those that were shared"),
        (name_a_file, "Python file of its owner, evil.py, which is not run"),
        (of_another_library, "no model of this library.*\n.*adopt"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot get the model user/bandit from its hub"),
    ],
)
def test_what_was_altered_or_would_run_code_is_refused(hub, change, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text("raise SystemExit('it ran')")
    adh.load(ROOT_MODEL).save(hub[0], format="hub")
    change(hub[0])
    trust("evil.py")
    with pytest.raises(UserError, match=words):
        adh.load("hf://user/bandit")


@pytest.mark.parametrize(
    ("name", "words"),
    [("hf://user/nobody", "cannot get the model user/nobody"), ("hf://bandit", "names no model of a hub")],
)
def test_a_model_that_no_hub_has_is_named(hub, name, words):
    with pytest.raises(CheckpointError, match=words):
        adh.load(name)


def test_a_hypothesis_of_a_hub_is_not_run():
    with pytest.raises(HypothesisError, match="Download it, read it"):
        adh.scrub("hf://user/claims/claim.py")
