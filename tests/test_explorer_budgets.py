"""What clicks on the page cost, in processor time, stays within five times its budget."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra app")


@pytest.mark.slow
def test_clicks_cost_at_most_five_times_their_budgets(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import explorer as benchmark

    monkeypatch.setattr(benchmark, "ROUNDS", 1)
    seconds = benchmark.measured("dark-room", "hypotheses/mimic.py")
    assert list(seconds) == list(benchmark.BUDGETS)
    beyond = {name: cost for name, cost in seconds.items() if cost > 5 * benchmark.BUDGETS[name]}
    assert beyond == {}
