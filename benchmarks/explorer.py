"""What a click on the page of the explorer costs, without the browser: `python benchmarks/explorer.py`.

Prints seconds of processor time beside the budget of each kind of click, which is what a person waits for on an idle
machine. What the browser draws comes on top: 10 to 50 ms, as tests/test_explorer_page.py prints.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ad_hypotheses.explorer import claims, views
from ad_hypotheses.explorer.calls import among_call
from ad_hypotheses.explorer.session import Session
from ad_hypotheses.explorer.state import State, read_state

BUDGETS = {
    "edit a step: every later decision": 0.1,
    "select a step: attention and attribution": 0.1,
    "two contexts: what every writer carries": 0.25,
    "two contexts: what every edge carries": 2.0,
    "a hypothesis here, 64 histories, the first time": 1.5,
    "a hypothesis here, 64 histories, later": 0.3,
    "a goal scanned over all cells": 1.0,
    "the model lives its whole life": 2.0,
}  # seconds, by what is clicked
ROUNDS = 3


def measured(model: str, claim: str) -> dict[str, float]:
    """Return the seconds of processor time of every kind of click, the least of some rounds."""
    session, numbers = Session(), iter(range(1000))
    first = read_state({"model": {"name": model}, "origin": {"kind": "histories", "row": 3}, "step": 150})
    views.model_view(session, model)
    views.context_view(session, first)
    views.look_view(session, first)
    least: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, work in _clicks(session, first, claim, numbers):
            began = time.process_time()
            work()
            least[name] = min(least.get(name, float("inf")), time.process_time() - began)
    return least


def _clicks(
    session: Session, first: State, claim: str, numbers: Iterator[int]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield every kind of click as what the server does then, on a state that it has not seen."""
    names = iter(BUDGETS)
    task = session.model(first.model.name).task
    taken = int(session.context(first).actions[0, 100])
    # another seed each time, so that nothing is known from a round before
    seed, other = next(numbers), task.action_names[(taken + 1) % task.n_actions]
    edit = {"kind": "edit", "step": 100, "action": other, "then": "model", "seed": seed}
    edited = read_state({**first.plain(), "edits": [edit]})
    session.context(edited)  # who lives on is not part of it
    yield next(names), lambda: views.context_view(session, edited)
    yield next(names), lambda: views.look_view(session, edited.model_copy(update={"step": 300}))
    yield next(names), lambda: views.carriers_view(session, edited, edges=False)
    yield next(names), lambda: views.carriers_view(session, edited, edges=True)
    chosen = {"file": claim, "rows": 64, "passes": 1, "seed": seed}
    scrubbed = read_state({**edited.plain(), "claim": chosen})
    session.batch(scrubbed, among_call(scrubbed, 64))  # histories are generated once
    yield next(names), lambda: claims.claim_view(session, scrubbed)
    again = read_state({**edited.plain(), "claim": {**chosen, "seed": seed + 1}})
    yield next(names), lambda: claims.claim_view(session, again)
    scanned = read_state({**edited.plain(), "scan": {"vary": "goal", "since": 0}})
    yield next(names), lambda: views.scan_view(session, scanned)
    longest = session.context(first).n_steps
    living = read_state({**first.plain(), "live": {"of": ["model"], "until": longest, "seed": seed}})
    yield next(names), lambda: views.live_view(session, living)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="dark-room")
    parser.add_argument("--claim", default="hypotheses/mimic.py", help="file of a hypothesis")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, seconds in measured(options.model, options.claim).items():
        print(f"{name:<52} {1000 * seconds:7.0f} ms, budget {1000 * BUDGETS[name]:.0f} ms")


if __name__ == "__main__":
    main()
