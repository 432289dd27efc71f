"""Damaged states and histories for the explorer: each is shown with finite numbers, or refused."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from faults.campaign import ACCEPTED, REFUSED, settled
from faults.mutate import alter, as_json, damage
from faults.sound import sizes

import ad_hypotheses as adh
from ad_hypotheses.explorer import views
from ad_hypotheses.explorer.session import Session
from ad_hypotheses.explorer.state import read_origin, state_of_history

EDITS = [
    {"kind": "edit", "step": 1, "action": 1, "reward": None, "observation": None, "then": "world", "off": False},
    {"kind": "edit", "step": 2, "action": "arm 0", "reward": 1.0, "then": "nothing", "seed": 1, "off": False},
    {"kind": "change_facts", "step": 1, "facts": {"means": [0.5, 0.25, 1.0]}, "seed": 3, "off": False},
    {"kind": "counterfactual", "name": "no-rewards", "seed": 2, "off": True},
]  # fmt: skip


@pytest.fixture(scope="module")
def model(sound) -> adh.Model:
    return adh.load(sound.place / "models" / "base")


@pytest.fixture(params=["provenance", "tokens", "history"])
def tree(request, model):
    """The plain data of a sound file that can be opened."""
    history = model.histories(3)[0]
    if request.param == "history":
        return history.plain()
    state = state_of_history(history, "base").plain() | {"edits": EDITS, "step": 3, "of": "0 - 1"}
    if request.param == "provenance":
        state["origin"] = {"kind": "histories", "row": 1, "rows": 4, "data": "source", "tasks": "all", "seed": 0}
    return state


@sizes(40, 1500)
def test_each_is_shown_whole_or_refused(campaign, model, tree, n_inputs):
    session = Session({"base": model})

    def show(content: bytes) -> dict:
        state = read_origin(content, "base")
        views.look_view(session, state)
        return views.context_view(session, state)

    assert settled(lambda: show(as_json(tree)))[0] == ACCEPTED

    def attempt(trial):
        if trial.rng.random() < 0.85:
            words, altered = alter(tree, trial.rng)
            content = as_json(altered)
        else:
            words, content = damage(as_json(tree), trial.rng)
        trial.note(words)
        word, shown = settled(lambda: show(content))
        if word == ACCEPTED:
            log_probs = np.frombuffer(base64.b64decode(shown["log_probs"]), dtype="<f4")
            assert np.isfinite(log_probs).all()
            assert json.dumps(shown, allow_nan=False)
        return word

    counts = campaign.run("states of the explorer", n_inputs, attempt)
    assert min(counts[ACCEPTED], counts[REFUSED]) > counts.total() / 20
