"""A state of the page as one HTML file, which needs no server and asks nobody: it holds the answers."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.explorer import claims, views
from ad_hypotheses.explorer.session import Session
from ad_hypotheses.explorer.state import State

STATIC = Path(__file__).parent / "static"
MOST_BYTES = 8_000_000  # of a file
MOST_STEPS = 64  # that can be asked about
# nothing is loaded and nobody is asked, whatever stands in the file
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def whole_page(answers: str = "", wire: str = "") -> str:
    """Return the page as one HTML text: its script and its style stand in it.

    Args:
        answers: What it shows in place of a server's answers, packed; empty for none.
        wire: How else it asks than over HTTP: `"frame"`, by messages to the page that it is a frame of.
    """
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    script = (STATIC / "explorer.js").read_text(encoding="utf-8").replace("</script", "<\\/script")
    style = (STATIC / "explorer.css").read_text(encoding="utf-8")
    parts = {
        '<script type="module" crossorigin src="./explorer.js"></script>': f'<script type="module">{script}</script>',
        '<link rel="stylesheet" crossorigin href="./explorer.css">': f"<style>{style}</style>",
        '<html lang="en">': f'<html lang="en" data-wire="{wire}">' if wire else '<html lang="en">',
        '<meta charset="utf-8" />': (
            f'<meta charset="utf-8" /><meta http-equiv="content-security-policy" content="{POLICY}" />'
        ),
        "</body>": f'<script type="application/json" id="answers">{answers}</script></body>' if answers else "</body>",
    }
    for part, whole in parts.items():
        assert page.count(part) == 1, part
        page = page.replace(part, whole)
    return page


def bundle_page(session: Session, state: State, claim: bool = False) -> str:
    """Return a state as one HTML text that needs no server.

    Args:
        session: Makes what it shows.
        state: The state.
        claim: Whether its hypothesis is run, and shown.

    Raises:
        UserError: The state cannot be shown, or the file would be too large.
    """
    steps = _steps(session, state)
    answers = dict(_answers(session, state, steps, claim))
    tokens = _shared_tokens(answers)
    content = {"state": state.plain(), "steps": [steps[0], steps[-1]], "tokens": tokens, "answers": answers}
    page = whole_page(_packed(json.dumps(content, separators=(",", ":"))))
    if len(page) > MOST_BYTES:
        size = f"{len(page) / 1e6:.0f} MB, more than {MOST_BYTES / 1e6:.0f}"
        raise DataError(f"the page would take {size}: take a shorter context, or fewer other models.")
    return page


def _steps(session: Session, state: State) -> list[int]:
    """Return the steps that can be asked about: those of the episode of the selected one, or of it the nearest."""
    context = session.step_context(state)
    steps = np.flatnonzero(context.episode[0] == context.episode[0, state.step])
    first = max(0, min(state.step - int(steps[0]) - MOST_STEPS // 2, len(steps) - MOST_STEPS))
    return [int(step) for step in steps[first : first + MOST_STEPS]]


def _answers(session: Session, state: State, steps: list[int], claim: bool) -> Iterator[tuple[str, Any]]:
    """Yield what the page will ask, by the panel, and the step where it depends on that."""
    yield "start", {"models": [state.model.name], "claims": claims.claims_view(), "state": state.plain()}
    yield "model", views.model_view(session, state.model.name)
    yield "context", views.context_view(session, state)
    yield "python", views.python_view(session, state)
    changed = session.before(state) is not None
    for step in steps:
        there = state.model_copy(update={"step": step})
        yield f"look {step}", views.look_view(session, there)
        yield f"learners {step}", views.learners_view(session, there, source=False)
        if changed:
            with suppress(UserError):  # where nothing differs the page does not ask
                yield f"carriers {step}", views.carriers_view(session, there, edges=False)
        if claim and state.claim is not None:
            yield f"claim {step}", claims.claim_view(session, there)
    if state.replaced.parts:
        yield "replaced", views.replaced_view(session, state)
    if state.scan is not None:
        yield f"scan {state.step}", views.scan_view(session, state)
    for name in state.others:
        yield f"others {name}", views.others_view(session, state.model_copy(update={"others": (name,)}))
    if state.live is not None and (claim or not state.live.of_claim):
        yield "live", views.live_view(session, state)
    if claim and state.claim is not None and state.claim.rival is not None:
        yield "rivals", claims.rivals_view(session, state)


def _shared_tokens(answers: dict[str, Any]) -> list[str]:
    """Return the steps in words, once: every look begins with them, and they are taken out there."""
    looks = [answer for name, answer in answers.items() if name.startswith("look ")]
    tokens: list[str] = max((look["tokens"] for look in looks), key=len)
    for look in looks:
        if look["tokens"] == tokens[: len(look["tokens"])]:
            look["tokens"] = len(look["tokens"])
    return tokens


def _packed(text: str) -> str:
    """Return text deflated, as base64."""
    packer = zlib.compressobj(9, wbits=-15)
    return base64.b64encode(packer.compress(text.encode()) + packer.flush()).decode()
