"""The patching benchmark runs at a tiny shape, compares what it says it does, and refuses engines that disagree."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def patch():
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("benchmark_patch", BENCHMARKS / "patch.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
