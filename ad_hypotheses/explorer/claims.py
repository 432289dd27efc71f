"""What the panel of a hypothesis shows: the context scrubbed, and who stood in for what at the selected step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ad_hypotheses.explorer.arrays import packed
from ad_hypotheses.explorer.calls import claim_lines, rivals_lines
from ad_hypotheses.explorer.session import Session
from ad_hypotheses.explorer.state import State
from ad_hypotheses.explorer.worlds import world_of
from ad_hypotheses.language.history import History
from ad_hypotheses.language.load import listing
from ad_hypotheses.library.model import Model
from ad_hypotheses.studies.scrub.context import ArrowDonors, ScrubbedContext

MOST_MEMBERS = 200  # of a class that are listed


def claims_view() -> list[dict[str, Any]]:
    """Return the hypothesis files of the folders, without running any."""
    return [
        {"file": str(entry.file), "names": list(entry.hypotheses), "title": entry.title}
        for entry in listing()
        if not entry.error
    ]


def claim_view(session: Session, state: State) -> dict[str, Any]:
    """Return what scrubbing makes of the context, and the donors of every arrow and pass at the selected step."""
    model = session.model(state.model.name)
    among, scrubbed = session.scrubbed(state)
    divergence = scrubbed.divergence
    return {
        "claim": scrubbed.claim,
        "n_among": scrubbed.n_among,
        "headline": scrubbed.headline,
        "passes": len(scrubbed.log_probs),
        "log_probs": packed(np.array(scrubbed.log_probs), np.float32),
        "divergence": packed(divergence.mean(axis=0), np.float32),
        "mean": float(divergence.mean()),
        "step": state.step,
        "donors": [_donor(model, among, scrubbed, arrow, state.step) for arrow in scrubbed.donors],
        "code": "\n".join(claim_lines(state)),
    }


def rivals_view(session: Session, state: State) -> dict[str, Any]:
    """Return where the claim and its rival part on the context."""
    rivals = session.rivals(state)
    return {
        "claim": rivals.claim,
        "rival": rivals.rival,
        "headline": rivals.headline,
        "only_claim": rivals.only_claim,
        "only_rival": rivals.only_rival,
        "both": rivals.both,
        "kl_claim": packed(np.array(rivals.kl_claim), np.float32),
        "kl_rival": packed(np.array(rivals.kl_rival), np.float32),
        "code": "\n".join(rivals_lines(state)),
    }


def _donor(model: Model, among: History, scrubbed: ScrubbedContext, arrow: ArrowDonors, step: int) -> dict[str, Any]:
    """Return who stood in for an arrow at a step: nobody, the context itself, or a step of another history."""
    row, donor_step, made = arrow.rows[step], arrow.steps[step], arrow.made[step]
    members = [m for m in scrubbed.members if (m.number, m.arrow) == (arrow.number, arrow.arrow)]
    known = {
        "pass": arrow.number,
        "arrow": arrow.arrow,
        "row": row,
        "step": donor_step,
        "made": made,
        "members": [list(member) for m in members for member in zip(m.rows, m.steps, strict=True)][:MOST_MEMBERS],
        "n_members": sum(len(m.rows) for m in members),
    }
    histories = scrubbed.made_histories
    if made is not None and histories is not None:
        return known | {"step": step} | _shown(model, replace(histories[made], family=model.task), step)
    if row is None or donor_step is None or row < 0:
        return known
    return known | _shown(model, among[row], donor_step)


def _shown(model: Model, history: History, donor_step: int) -> dict[str, Any]:
    """Return the episode of a step that stood in, and the step in words."""
    number = int(history.episode[0, donor_step])
    inside = np.flatnonzero(history.episode[0] == number)
    first, stop = int(inside[0]), int(inside[-1]) + 1
    episode = history.window(first, stop)
    seen = history.window(max(donor_step - 1, 0), donor_step + 1)  # a token shows the action and reward before it
    return {
        "episode": number,
        "first": first,
        "observations": packed(episode.observations[0], np.int16),
        "actions": packed(episode.actions[0], np.int16),
        "rewards": packed(episode.rewards[0], np.float32),
        "world": world_of(model.task, episode),
        "token": model.to_str_tokens(seen)[-1],
        "does": model.task.action_names[int(history.actions[0, donor_step])],
    }
