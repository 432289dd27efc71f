"""The patching benchmarks run when they are small, compare what they say they do, and refuse what disagrees."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def loaded(name):
    """A benchmark as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def patch():
    return loaded("patch")


@pytest.fixture(scope="module")
def matched():
    return loaded("matched")


@pytest.mark.slow
def test_the_patching_benchmark_prints_every_engine_beside_the_floor(patch, capsys):
    patch.main(["--quick"])
    out = capsys.readouterr().out
    everywhere, between_heads = out.split(": 12 edges between heads")
    for name in (patch.OURS, "hooks, a whole forward (naive)", "hooks, from the reader's layer on", patch.FORWARD):
        for table in (everywhere, between_heads):
            (row,) = re.findall(rf"^{re.escape(name)} +4 +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$", table, re.MULTILINE)
            assert min(map(float, row)) > 0
    assert "46 of 46 edges" in everywhere
    assert "TransformerLens bridge, direct paths" in between_heads
    assert "nnsight is not installed" in out or out.count("nnsight, from the reader's layer on") == 2
    assert len(re.findall(r"^floor .* 1\.00$", out, re.MULTILINE)) == 2


def test_the_patching_benchmark_refuses_an_engine_that_disagrees(patch, monkeypatch):
    right = patch.patch_edges

    def wrong(*arguments):
        return ((numbers, logits + 1e-3 * torch.arange(logits.shape[-1])) for numbers, logits in right(*arguments))

    monkeypatch.setattr(patch, "patch_edges", wrong)
    with pytest.raises(SystemExit, match="disagree: their losses differ by up to"):
        patch.main(["--quick"])


def test_an_edge_cannot_need_more_than_a_forward(patch):
    for case in (*patch.CASES, *patch.QUICK):
        model = patch.model_of(case)
        needs = [patch.floor_flops(case, edge) for edge in patch.all_edges(model.anatomy, together=True)]
        assert 0 < min(needs) < max(needs) < patch.forward_flops(case)


@pytest.mark.slow
def test_matched_counterfactuals_are_timed_with_and_without_what_they_share(matched, capsys):
    matched.main(["--rows", "8", "--every", "150", "--rounds", "1"])
    first, heads, *lines = capsys.readouterr().out.splitlines()
    assert first == "dark-room: 3 edges, 480 steps, best of 1 rounds"
    assert heads.split()[0] == "donors"
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert set(rows) == {
        "no-rewards", "rewards-swapped", "episode-replaced", "actions-exchanged", "goal-moved", "any",
    }  # fmt: skip
    for _, _, skipping, computing, ratio in rows.values():
        assert float(ratio) == pytest.approx(float(skipping) / float(computing), rel=0.05)
    assert rows["any"][1] == "0%"
    assert int(rows["episode-replaced"][1].rstrip("%")) > 30


def test_the_two_ways_differ_in_nothing_but_the_steps_they_share(matched, monkeypatch):
    right, asked = matched.measure, []

    def wrong(model, pairs, *rest):
        found = right(model, pairs, *rest)
        asked.append(pairs)
        found.changes["loss"] += 1e-3 * (pairs.first_step is None)
        return found

    monkeypatch.setattr(matched, "measure", wrong)
    with pytest.raises(SystemExit, match="no-rewards: effects differ by up to"):
        matched.main(["--rows", "4", "--every", "400", "--rounds", "1"])
    skipping, computing = asked
    assert skipping.since > 0
    assert computing.since == 0
    assert skipping.reference is computing.reference
    assert skipping.donor is computing.donor


def test_the_page_about_costs_says_what_was_measured():
    before_after = loaded("before_after")
    docs = BENCHMARKS.parent / "docs"
    record, redwood = before_after.kept(docs / "speed.json")
    assert before_after.page(record, redwood) == (docs / "speed.md").read_text(encoding="utf-8")
    assert set(record["before"]) == set(record["after"]) <= set(before_after.STAGES)
    slower = {**record, "after": {stage: 2 * seconds for stage, seconds in record["after"].items()}}
    assert before_after.page(slower, redwood) != before_after.page(record, redwood)


def test_the_page_about_clusters_says_what_jobs_cost():
    jobs, docs = loaded("jobs"), BENCHMARKS.parent / "docs"
    record = json.loads((docs / "jobs.json").read_text(encoding="utf-8"))
    assert jobs.rendered(record) in (docs / "clusters.md").read_text(encoding="utf-8")
    assert jobs.rendered({**record, "ray": {**record["local"], "jobs": 1}}) != jobs.rendered(record)


def test_ways_to_screen_edges_are_compared_with_exact_effects(trained, capsys):
    loaded("screen").main(["tiny", "--folder", str(trained), "--rows", "3", "--edges", "40"])
    heading, _, *lines = capsys.readouterr().out.strip().splitlines()
    assert heading.startswith("tiny: 40 edges on 3 histories, exactly in ")
    assert [line[:22].strip() for line in lines] == ["gradients", "relevance", "integrated gradients"]
    for line in lines:
        by_size, signed, _ = map(float, line[22:].split())
        assert 0.2 < by_size <= 1
        assert -1 <= signed <= 1
