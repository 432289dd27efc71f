"""`patch MODEL --search SHARE`: what it writes, what it says of other histories, and every way in which it can fail."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
from expand import tiny_history, tiny_model

from ad_hypotheses.causal.history_pairs import HistoryPairs
from ad_hypotheses.causal.search import Circuit, Losses, search
from ad_hypotheses.language.edges import all_edges
from ad_hypotheses.language.load import load
from ad_hypotheses.language.write import hypothesis_source
from ad_hypotheses.storage.scratch import Scratch
from ad_hypotheses.storage.store import Store
from ad_hypotheses.studies.patch import search as search_study
from ad_hypotheses.studies.patch.search import SearchSettings, share_kept

QUICK = ("--rows", "12", "--threads", "1")
FILE = "hypotheses/found_tiny.py"


def refused(ran, *fragments):
    assert (ran.code, ran.out) == (2, "")
    for fragment in fragments:
        assert fragment in ran.said, ran.err


# --- What is found -------------------------------------------------------------------------------------------------


def test_the_found_edges_are_a_hypothesis_that_scrub_runs(cli, workplace):
    ran = cli("patch", "tiny", "--search", "0.8", *QUICK)
    assert ran.code == 0, ran.err
    said = " ".join(ran.out.split())
    assert "of 106 edges keep 0.8" in said
    assert "of the loss that the model saves" in said
    assert "on fresh histories: 0." in said
    assert f"wrote {FILE}" in said
    assert "searching in 12 histories of 48 steps: attribution takes 8 runs of each forwards and back" in ran.said
    (claim,) = load(FILE)
    assert (claim.name, claim.model, claim.accept) == ("found_tiny", "tiny", 0.8)
    assert "Found by: python cli.py patch tiny --search 0.8 --rows 12 --threads 1" in claim.doc
    assert "on the histories of the search and 0." in claim.doc
    assert not (workplace / "reports" / ".partial").exists()
    typed = shlex.split(ran.out.rpartition("test it: ")[2])
    assert typed[:4] == ["python", "cli.py", "scrub", FILE]
    scrubbed = cli(
        *typed[2:],
        "--rows",
        "32",
        "--passes",
        "1",
        "--pool",
        "48",
        "--data",
        "source",
        "--rollouts",
        "0",
        "--no-rivals",
    )
    assert scrubbed.code == 0, scrubbed.err
    assert "found_tiny on tiny: inconclusive" in scrubbed.out
    name = "found_tiny-tiny-rows-32-passes-1-pool-48-data-source-rollouts-0-no-rivals"
    assert (workplace / "reports" / f"{name}.md").is_file()


def test_the_record_says_the_same_and_the_file_goes_where_it_is_told(cli, workplace):
    (workplace / "elsewhere").mkdir()
    (workplace / "models").rename(workplace / "elsewhere" / "models")
    folders = ("--models", "elsewhere/models", "--out", "mine/few.py")
    ran = cli("patch", "tiny", "--search", "0.5", *folders, *QUICK, "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["file"] == "mine/few.py"
    assert found["scrub"] == "python cli.py scrub mine/few.py --models elsewhere/models"
    assert 0.5 <= found["share"] <= 1.1
    assert found["loss"]["model"] < found["loss"]["kept"] < found["loss"]["donors"]
    fresh = found["share_on_fresh_histories"]
    assert fresh["low"] < fresh["value"] < fresh["high"]
    assert fresh["value"] != pytest.approx(found["share"], abs=1e-6), "other histories"
    assert cli("check", "mine/few.py", "--models", "elsewhere/models").code == 0
    (claim,) = load("mine/few.py")
    assert f"{len(found['edges'])} edges; one scrubbing pass takes" in claim.doc


def test_a_model_that_has_no_name_is_found_again_by_its_folder(cli, workplace):
    (workplace / "models" / "tiny").rename(workplace / "My Tiny-2")
    ran = cli("patch", "My Tiny-2", "--search", "0.5", *QUICK)
    assert ran.code == 0, ran.err
    (claim,) = load("hypotheses/found_my_tiny_2.py")
    assert claim.model == "My Tiny-2"
    assert cli("check", "hypotheses/found_my_tiny_2.py").code == 0


def test_what_is_kept_is_a_ratio_of_mean_losses():
    model = tiny_model(0, 6)
    history = tiny_history(1, 9, 6)
    pairs = HistoryPairs(history, history[np.roll(np.arange(9), 1)], "any")
    losses, edges = Losses(model, pairs), all_edges(model.anatomy)
    for kept in (edges[::2], edges, []):
        circuit = Circuit(tuple(kept), 0.0, 0.9, 0.0, 0.0, 0.0, (), True)
        expected = (losses.of([]) - losses.of(kept)) / (losses.of([]) - losses.of(edges))
        assert share_kept(model, pairs, circuit, SearchSettings()).value == pytest.approx(expected, abs=1e-9)


# --- Going on ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_interrupted_search_goes_on_and_finds_the_same(tmp_path, monkeypatch):
    model = tiny_model(0, 6)
    history = tiny_history(1, 9, 6)
    pairs = HistoryPairs(history, history[np.roll(np.arange(9), 1)], "any")
    gain = Losses(model, pairs)
    if gain.of([]) < gain.of(all_edges(model.anatomy)):  # it predicts the donors' actions better: ask about those
        pairs = HistoryPairs(pairs.donor, pairs.reference, "any")
    whole = search(model, pairs, 0.7)
    really, worked = Losses._work_out, []

    def stopped(self, outside):
        worked.append(outside)
        if len(worked) == 6:
            raise KeyboardInterrupt
        return really(self, outside)

    monkeypatch.setattr(Losses, "_work_out", stopped)
    with pytest.raises(KeyboardInterrupt):
        search(model, pairs, 0.7, scratch=Scratch(tmp_path))
    assert search(model, pairs, 0.7, scratch=Scratch(tmp_path)) == whole
    assert len(worked) == len(set(worked)) + 1, "only the one that was cut off is done twice"


def test_numbers_on_disk_survive_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "some" / "numbers.jsonl"

    def numbers() -> Store:
        return Store(path.parent, "numbers")

    assert numbers().get("a", lambda: 0.1) == 0.1
    path.write_text(path.read_text() + "nonsense\n" + path.read_text().replace('"a"', '"b"')[:-3])
    cut_off = numbers()
    assert cut_off.get("a", lambda: pytest.fail("it was there")) == 0.1
    assert cut_off.get("b", lambda: 0.2578) == 0.2578
    assert numbers().get("b", lambda: pytest.fail("it was there")) == 0.2578
    assert Store(None).get("a", lambda: 3.0) == 3.0


@pytest.mark.parametrize(("calls", "words"), [(1, "nothing was kept"), (4, "the same command goes on")])
def test_ctrl_c_says_what_is_kept(cli, workplace, monkeypatch, calls, words):
    really, tried = Losses.of, []

    def stopped(self, kept):
        tried.append(kept)
        if len(tried) == calls:
            raise KeyboardInterrupt
        return really(self, kept)

    if calls == 1:
        monkeypatch.setattr(SearchSettings, "pairs", lambda *given: stopped(None, None))
    else:
        monkeypatch.setattr(Losses, "of", stopped)
    ran = cli("patch", "tiny", "--search", "0.5", *QUICK)
    assert ran.code == 2
    assert words in ran.said
    assert not (workplace / FILE).exists()


# --- What is refused -----------------------------------------------------------------------------------------------


@pytest.mark.default_cases(6)
@pytest.mark.parametrize(
    ("typed", "fragments"),
    [
        (("--search", "1.5"), ("1.5 is no share",)),
        (("--search", "0"), ("0 is no share",)),
        (("--search", "-0.5"), ("-0.5 is no share",)),
        (("--search", "nan"), ("nan is no share",)),
        (("--search", "90%"), ("'90%' is no share: write 0.9, not 90%.",)),
        (("--search", "most"), ("--search", "'most' is no share: write a number such as 0.9.")),
        (("--search", "0.5", "--edges", "all", "--screen", "3"), ("does not go with --edges, --screen:",)),
        (("--search", "0.5", "--metric", "kl"), ("does not go with --metric",)),
        (("--search", "0.5", "--direction", "denoising"), ("does not go with --direction denoising",)),
        (("--search", "0.5", "--model", "tiny"), ("does not go with --model",)),
        (("--search", "0.5", "--donors", "nobody"), ("no donors 'nobody'",)),
        (("--search", "0.5", "--donors", "agree:goal"), ("a model alone has none",)),
        (("--search", "0.5", "--memory", "1kB"), ("the run needs", "--rows", "--memory")),
        (("--search", "0.5", "--out", "found"), ("is not a Python file", "--out found.py")),
        (("--search", "0.5", "--out", "Found.py"), ("--out Found.py", "cannot name a hypothesis")),
        (("--search", "0.5", "--out", "tiny.yaml/found.py"), ("cannot be written", "--out")),
        (("--search", "0.5", "--reports", "tiny.yaml"), ("tiny.yaml cannot be written", "--reports")),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else None,
)
def test_what_cannot_be_searched_is_refused_before_the_work(cli, workplace, monkeypatch, typed, fragments):
    monkeypatch.setattr(search_study, "search_circuit", lambda *given, **named: pytest.fail("it began"))
    refused(cli("patch", "tiny", *typed, *QUICK), *fragments)
    assert not (workplace / FILE).exists()


def test_a_hypothesis_has_no_edges_to_search(cli, workplace):
    (workplace / "hypotheses" / "stay.py").write_text("raise SystemExit('it must not even be run')\n")
    for what in ("stay", "hypotheses/stay.py"):
        refused(cli("patch", what, "--search", "0.5"), "stay", "is a hypothesis", "python cli.py patch MODEL")


def test_a_file_of_yours_is_never_written_over(cli, workplace, monkeypatch):
    (workplace / FILE).write_text("mine\n")
    monkeypatch.setattr(search_study, "search_pairs", lambda *given: pytest.fail("it began"))
    refused(cli("patch", "tiny", "--search", "0.5", *QUICK), FILE, "exists and is left alone", "--out")
    assert (workplace / FILE).read_text() == "mine\n"


def test_nor_is_one_that_appeared_meanwhile(cli, workplace, monkeypatch):
    really = search_study.search_pairs

    def beside(*given):
        (workplace / FILE).write_text("mine\n")
        return really(*given)

    monkeypatch.setattr(search_study, "search_pairs", beside)
    refused(cli("patch", "tiny", "--search", "0.5", *QUICK), "exists and is left alone")
    assert (workplace / FILE).read_text() == "mine\n"


@pytest.mark.slow
def test_a_model_that_gains_nothing_has_nothing_to_keep(cli, workplace):
    text = (workplace / "tiny.yaml").read_text().replace("updates: 60", "updates: 1")
    (workplace / "ignorant.yaml").write_text(text.replace("learning_rate: 0.01", "learning_rate: 1e-9"))
    assert cli("train", "ignorant.yaml").code == 0
    refused(cli("patch", "ignorant", "--search", "0.9", *QUICK), "Nothing is to be kept", "donors")


def test_a_name_with_quotes_and_backslashes_is_still_a_file_that_loads(tmp_path):
    anatomy = tiny_model(0, 4).anatomy
    odd = 'a"b\\n"""c'
    file = tmp_path / "found.py"
    file.write_text(hypothesis_source(all_edges(anatomy), anatomy, "found", odd, ['By: "x" \\d """']))
    (claim,) = load(file)
    assert claim.model == odd
    assert 'By: "x" \\d' in claim.doc
