"""What the panels show, as plain data that JSON holds: arrays as base64, and beside each result its call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.explorer.arrays import packed
from ad_hypotheses.explorer.calls import (
    BEFORE,
    ablations_call,
    attention_call,
    attribution_call,
    carriers_call,
    decisions_call,
    edit_call,
    learners_call,
    lines_of_both,
    live_lines,
    origin_call,
    other_call,
    replaced_call,
    replaced_lines,
    scan_call,
)
from ad_hypotheses.explorer.session import Session
from ad_hypotheses.explorer.snippet import regression_test, script
from ad_hypotheses.explorer.state import FromHistories, FromTokens, State
from ad_hypotheses.explorer.worlds import world_of
from ad_hypotheses.language.history import History
from ad_hypotheses.library.model import Model
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.studies.data import EDITED, OWN, SOURCE
from ad_hypotheses.tasks.counterfactuals import counterfactuals_of, families_of, fitting

FACT_NUMBERS = 400  # of a fact that is sent to the page


def model_view(session: Session, name: str) -> dict[str, Any]:
    """Return what the page needs to know of a model and its task."""
    model = session.model(name)
    task, config = model.task, model.config
    families = families_of(task, config.kept_episodes)
    return {
        "name": model.name,
        "sha256": model.sha256,
        "task": describe(task),
        "words": repr(model),
        "actions": list(task.action_names),
        "rewards": list(task.rewards),
        "channels": list(task.channels),
        "channel_sizes": list(task.channel_sizes),
        "horizon": task.horizon,
        "n_ctx": model.shape.n_ctx,
        "heads": [str(writer) for writer in model.anatomy.writers if writer.kind == "head"],
        "sources": model.sources,
        "data": [SOURCE, OWN, *(f"{EDITED}{family}" for family in families)],
        "counterfactuals": {kind: value.words for kind, value in counterfactuals_of(task).items()},
        "curves": _curves(model.record),
        "card": model.card,
        "code": f"model = adh.load({name!r})",
    }


def rows_view(session: Session, state: State) -> dict[str, Any]:
    """Return the histories that the one of a state is chosen from: their returns, and the facts of their tasks.

    Raises:
        DataError: The context of the state is not one of several histories.
    """
    if not isinstance(state.origin, FromHistories):
        raise DataError("this context is not one of several histories: choose the data of a model first.")
    call = replace(origin_call(state), part="")
    histories = session.batch(state, call)
    return {
        "returns": histories.returns().tolist(),
        "facts": [_facts(histories[row]) for row in range(histories.n_rows)],
        "code": call.text,
    }


def context_view(session: Session, state: State) -> dict[str, Any]:
    """Return a context, what the model does at each of its steps, and what it did before the last edit."""
    context, model = session.step_context(state), session.model(state.model.name)
    decisions = session.result(state, decisions_call())
    regimes = list(dict.fromkeys(decisions.regimes))
    calls = [origin_call(state), *map(edit_call, state.active_edits)]
    return {
        **_drawn(model, context),
        "log_probs": packed(np.array(decisions.log_probs), np.float32),
        "loss": packed(np.array(decisions.loss), np.float32),
        "before": _before(session, state),
        "regimes": {
            "names": regimes,
            "step": packed(np.array([regimes.index(name) for name in decisions.regimes]), np.int16),
        },
        "impossible": decisions.impossible,
        "returns": context.returns()[0].tolist(),
        "optimum": _optimum(model, context),
        "fitting": list(fitting(model.task, context)),
        "edits": [_shortened(call.text) for call in calls],
        "code": decisions_call().text,
        "headline": decisions.headline,
        "warning": session.changed(state),
    }


def look_view(session: Session, state: State) -> dict[str, Any]:
    """Return where every head looks from the selected step, and what every writer adds to what is asked."""
    attention = session.result(state, attention_call(state))
    attribution = session.result(state, attribution_call(state))
    weights = np.array(list(attention.weights.values()))
    return {
        "step": attention.step,
        "heads": list(attention.weights),
        "weights": packed(weights, np.float32),
        "tokens": attention.tokens,
        "roles": attention.roles,
        "shares": attention.shares(),
        "received": attention.received,
        "attention_code": attention_call(state).text,
        "attribution": {
            "of": attribution.of,
            "logit": attribution.logit,
            "parts": attribution.parts,
            "remainder": attribution.remainder,
        },
        "attribution_code": attribution_call(state).text,
    }


def carriers_view(session: Session, state: State, edges: bool) -> dict[str, Any]:
    """Return which parts carry the difference that the last edit makes at the selected step."""
    carried = session.carriers(state, edges)
    return {
        "step": carried.step,
        "of": carried.of,
        "before": carried.before,
        "after": carried.after,
        "writers": carried.writers,
        "edges": carried.edges,
        "code": "\n".join([*lines_of_both(state), carriers_call(state, edges).text]),
    }


def scan_view(session: Session, state: State) -> dict[str, Any]:
    """Return what the model does at the selected step as one thing varies.

    Raises:
        DataError: Nothing varies.
    """
    if state.scan is None:
        raise DataError("nothing varies: choose what.")
    call = scan_call(state)
    scanned = session.result(state, call)
    return {
        "step": scanned.step,
        "of": scanned.of,
        "vary": scanned.vary,
        "since": scanned.since,
        "values": scanned.values,
        "asked": scanned.asked,
        "code": call.text,
    }


def others_view(session: Session, state: State) -> dict[str, Any]:
    """Return what other models do in the context of a state, and why some cannot read it."""
    decisions = session.result(state, decisions_call())
    models, absent = {}, {}
    for name in state.others:
        try:
            other = session.by_another(state, name)
            models[name] = {
                "log_probs": packed(np.array(other.log_probs), np.float32),
                "divergence": packed(np.array(decisions.divergence(other)), np.float32),
            }
        except UserError as error:
            absent[name] = str(error)
    code = "\n".join(f"decisions.divergence({other_call(name).text})" for name in state.others)
    return {"models": models, "absent": absent, "code": code}


def alike_view(session: Session, name: str) -> dict[str, list[str]]:
    """Return the names of the other models of the same tasks, and of the stages of the training of this one."""
    model = session.model(name)
    return {"models": session.kept(("alike", name), lambda: model.alike), "stages": model.stages}


def ablations_view(session: Session, state: State, edges: bool) -> dict[str, Any]:
    """Return what every part does at the selected step, if it alone is replaced by nothing or by its mean."""
    call = ablations_call(state, edges)
    effects = session.ablated(state, call)
    return {
        "step": effects.step,
        "of": effects.of,
        "by": effects.by,
        "value": effects.value,
        "writers": effects.writers,
        "edges": effects.edges,
        "code": "\n".join(replaced_lines(state, call)),
    }


def replaced_view(session: Session, state: State) -> dict[str, Any]:
    """Return what the model does while the chosen parts are replaced, and how far that is from what it does else.

    Where they are replaced by what they do in this context, the model reads the one that it is compared with.
    """
    call = replaced_call(state)
    decisions = session.ablated(state, call)
    read = session.before(state) if BEFORE in call.values else state
    assert read is not None
    plain = session.result(read.model_copy(update={"step": 0}), decisions_call())
    return {
        "parts": list(state.replaced.parts),
        "by": state.replaced.by,
        "log_probs": packed(np.array(decisions.log_probs), np.float32),
        "divergence": packed(np.array(plain.divergence(decisions)), np.float32),
        "code": "\n".join(replaced_lines(state, call)),
    }


def live_view(session: Session, state: State) -> dict[str, Any]:
    """Return those who live side by side, as far as they lived, and why somebody does not."""
    lives, model = session.lives(state), session.model(state.model.name)
    return {
        "since": lives.since,
        "steps": lives.steps,
        "longest": lives.longest,
        "lives": {
            name: {**_drawn(model, life), "returns": lives.returns[name]} for name, life in lives.histories.items()
        },
        "absent": lives.absent,
        "learners": session.kept(("who lives", model.name), lambda: model.learners),
        "code": "\n".join(live_lines(state)),
    }


def taken_view(session: Session, state: State, who: str) -> dict[str, Any]:
    """Return where a context comes from that is one of the lives, written out.

    Raises:
        DataError: Nobody of that name lives.
    """
    lived = session.lives(state).lived
    if who not in lived:
        raise DataError(f"nobody lives who is called {who!r:.100}.")
    return FromTokens(history=lived[who]).model_dump(mode="json")


def learners_view(session: Session, state: State, source: bool) -> dict[str, Any]:
    """Return what learners whose algorithm is known would do at the selected step."""
    call = learners_call(state, source)
    answers = session.result(state, call)
    return {"probabilities": answers.probabilities, "absent": answers.absent, "code": call.text}


def python_view(session: Session, state: State) -> dict[str, Any]:
    """Return the state as a script and as a test."""
    decisions = session.result(state, decisions_call())
    probabilities = np.exp(decisions.log_probs[state.step]).tolist()
    return {"script": script(state), "test": regression_test(state, decisions.actions, probabilities)}


def _before(session: Session, state: State) -> dict[str, Any] | None:
    """Return what the model did before the last edit that is on, and how far that is from now, in nats; None without.

    How far is not known where the two contexts are not of the same length.
    """
    former_state = session.before(state)
    if former_state is None:
        return None
    call = decisions_call()
    former, decisions = session.result(former_state, call), session.result(state, call)
    comparable = len(former.log_probs) == len(decisions.log_probs)
    return {
        "log_probs": packed(np.array(former.log_probs), np.float32),
        "returns": session.context(former_state).returns()[0].tolist(),
        "partner": None
        if state.partner is None
        else _drawn(session.model(former_state.model.name), session.context(former_state)),
        "changed": packed(np.array(decisions.divergence(former)), np.float32) if comparable else None,
        "code": f"decisions.divergence({decisions_call(BEFORE).text})",
    }


def _drawn(model: Model, context: History) -> dict[str, Any]:
    """Return a context as it is drawn."""
    return {
        "n_steps": context.n_steps,
        "observations": packed(context.observations[0], np.int16),
        "actions": packed(context.actions[0], np.int16),
        "rewards": packed(context.rewards[0], np.float32),
        "episode": packed(context.episode[0], np.int16),
        "world": world_of(model.task, context),
        "facts": _facts(context),
    }


def _curves(record: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return how learners improved on held-out tasks, by the record of the training."""
    curves = record.get("evaluation", {}).get("held_out") or record.get("evaluation", {}).get("train") or []
    return {curve["name"]: curve["returns"] for curve in curves}


def _optimum(model: Model, context: History) -> float | None:
    if not context.task:
        return None
    return float(model.task.optimal_return(context.task)[0])


def _facts(context: History) -> dict[str, Any]:
    """Return the small facts of the task, which the model cannot see."""
    return {
        name: np.asarray(fact)[0].tolist()
        for name, fact in context.task.items()
        if np.asarray(fact)[0].size <= FACT_NUMBERS
    }


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:280]}...{text[-12:]}"
