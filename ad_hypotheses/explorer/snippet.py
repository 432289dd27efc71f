"""The state as Python: a script that prints the numbers on the screen, and a test that fails once they change."""

from __future__ import annotations

from collections.abc import Sequence

from ad_hypotheses.explorer.calls import (
    attention_call,
    attribution_call,
    claim_lines,
    decisions_call,
    edit_call,
    live_lines,
    origin_call,
)
from ad_hypotheses.explorer.state import State

TOLERANCE = 1e-4  # of a probability: single precision differs between machines


def script(state: State) -> str:
    """Return Python that makes the context and prints what the panels show of the selected step."""
    lines = [
        *_context(state),
        "",
        f"decisions = {decisions_call().text}",
        f"print(decisions.to_frame().loc[{state.step}])",
        f"print({attention_call(state).text})",
        f"print({attribution_call(state).text}.to_frame())",
    ]
    if state.claim is not None:
        lines += [*claim_lines(state), "print(scrubbed)"]
    if state.live is not None and state.live.until:
        lines += [*live_lines(state), "print(lives)"]
    return "\n".join(lines) + "\n"


def regression_test(state: State, actions: Sequence[str], probabilities: Sequence[float]) -> str:
    """Return a test for pytest that the model decides at the selected step as it does now.

    Args:
        state: The state.
        actions: Names of the actions.
        probabilities: What the model does at the selected step. [action]
    """
    expected = ", ".join(
        f"{name!r}: {probability:.6f}" for name, probability in zip(actions, probabilities, strict=True)
    )
    head, *body = _context(state)
    lines = [
        head,
        "import pytest",
        "",
        "",
        f"def test_decision_at_step_{state.step}():",
        *(f"    {line}" if line else "" for line in body[1:]),
        f"    decision = {decisions_call().text}.to_frame().loc[{state.step}]",
        f"    expected = {{{expected}}}",
        f"    assert {{name: decision[name] for name in expected}} == pytest.approx(expected, abs={TOLERANCE})",
    ]
    return "\n".join(lines) + "\n"


def _context(state: State) -> list[str]:
    """Return the lines that load the model and make the context."""
    note = f"  # weights {state.model.sha256[:12]}" if state.model.sha256 else ""
    return [
        "import ad_hypotheses as adh",
        "",
        f"model = adh.load({state.model.name!r}){note}",
        f"context = {origin_call(state).text}",
        *(f"context = {edit_call(edit).text}" for edit in state.active_edits),
    ]
