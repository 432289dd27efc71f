"""Models and contexts of the page, each made once: an edit is made on what the edits before it left."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

import ad_hypotheses as adh
from ad_hypotheses.distill.checkpoint import names
from ad_hypotheses.errors import CheckpointError, DataError, HypothesisError, UserError, did_you_mean
from ad_hypotheses.explorer.calls import (
    AMONG,
    BEFORE,
    Call,
    among_call,
    carriers_call,
    claim_call,
    edit_call,
    live_call,
    origin_call,
    rivals_call,
)
from ad_hypotheses.explorer.state import (
    ClaimReference,
    CounterfactualEdit,
    Edit,
    FromPlay,
    FromTokens,
    LivedEdit,
    State,
)
from ad_hypotheses.language.history import History
from ad_hypotheses.language.load import listing
from ad_hypotheses.language.user_code import described
from ad_hypotheses.library.model import Model
from ad_hypotheses.progress import Progress
from ad_hypotheses.storage.places import program
from ad_hypotheses.studies.carriers import Carriers
from ad_hypotheses.studies.decisions import Decisions
from ad_hypotheses.studies.rivals.context import ContextRivals
from ad_hypotheses.studies.scrub.context import ScrubbedContext
from ad_hypotheses.studies.side_by_side import ParallelLives
from ad_hypotheses.tasks.edits.possible import impossible_steps

Value = TypeVar("Value")
MOST_KEPT = 400  # contexts and results; an edit of a context of 500 steps takes some 20 kB


class Session:
    """Makes what states ask for, and keeps the latest of it.

    Not for several threads at once.

    Args:
        models: Models that were given as such, by name; others are loaded by their names.

    Attributes:
        listener: What is told how far histories are that are generated, and may stop them.
    """

    def __init__(self, models: dict[str, Model] | None = None) -> None:
        self.models = dict(models or {})
        self.listener = Progress()
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def model(self, name: str) -> Model:
        """Return a model.

        Raises:
            CheckpointError: There is no such model, or it is damaged.
        """
        if name not in self.models:
            known, (whole, _, update) = names(), name.rpartition("@")
            # a path is loaded only where the user gave it, not where a page asks for it
            if name not in known and not (whole in known and update.isdecimal()):
                raise CheckpointError(f"there is no model {name!r:.80}.{did_you_mean(name, known)}")
            self.models[name] = adh.load(name)
        return self.models[name]

    def changed(self, state: State) -> str:
        """Say how the model of a state differs from the one that it was written with, or nothing."""
        expected = state.model.sha256
        sha256 = self.kept(("sha256", state.model.name), lambda: self.model(state.model.name).sha256)
        if expected in ("", sha256):
            return ""
        return (
            f"{state.model.name} has other weights ({sha256[:12]}) than when this state was written ({expected[:12]}), "
            "so that its numbers differ."
        )

    def context(self, state: State) -> History:
        """Return the context of a state: one history.

        Raises:
            UserError: It cannot be made; the message says which edit is at fault.
        """
        model, origin = self.model(state.model.name), origin_call(state)
        key: tuple[str, ...] = (state.model.name, origin.text)
        context = self.kept(key, lambda: self._begun(state, origin, model))
        for number, edit in enumerate(state.active_edits):
            call = edit_call(edit)
            key = (*key, call.text)
            context = self.kept(key, lambda edit=edit, number=number: self._edited(edit, model, context, number))  # noqa: B023
        return context

    def step_context(self, state: State) -> History:
        """Return the context of a state whose selected step is in it.

        Raises:
            DataError: It is not.
        """
        context = self.context(state)
        if state.step >= context.n_steps:
            raise DataError(f"step is {state.step}, but the context has the steps 0 to {context.n_steps - 1}.")
        return context

    def result(self, state: State, call: Call) -> Any:
        """Return what a call says of the context of a state."""
        context = self.step_context(state)
        model = self.model(state.model.name)
        with torch.no_grad():
            key = (id(context), call.text)
            # the context itself is kept beside the result, so that no other can get its id
            return self.kept(key, lambda: (context, call.made(model, context)))[1]

    def before(self, state: State) -> State | None:
        """Return the state whose context this one is compared with: its partner, or it before the last edit that is on.

        Returns:
            None where there is neither.
        """
        if state.partner is not None:
            return state.model_copy(
                update={"origin": state.partner.origin, "edits": state.partner.edits, "partner": None, "step": 0}
            )
        active = [number for number, edit in enumerate(state.edits) if not edit.off]
        return state.model_copy(update={"edits": state.edits[: active[-1]], "step": 0}) if active else None

    def carriers(self, state: State, edges: bool) -> Carriers:
        """Return what carries the difference that the last edit makes at the selected step.

        Raises:
            UserError: There is no edit, or it makes no difference until there.
        """
        before, context, model = self.before(state), self.step_context(state), self.model(state.model.name)
        if before is None:
            raise DataError("nothing was edited, and there is no partner, so there is no difference to be carried.")
        former, call = self.context(before), carriers_call(state, edges)
        key = ("carriers", id(former), id(context), call.text)
        carriers: Carriers = self.kept(key, lambda: (former, context, call.made(model, context, {"before": former})))[2]
        return carriers

    def by_another(self, state: State, name: str) -> Decisions:
        """Return what another model does in the context of a state.

        Raises:
            UserError: There is no such model, or it cannot read the context.
        """
        context, model = self.step_context(state), self.model(name)
        _fitting(context, model)
        key = (id(context), name, "decisions")
        with torch.no_grad():
            decisions: Decisions = self.kept(key, lambda: (context, adh.decisions(model, context)))[1]
        return decisions

    def ablated(self, state: State, call: Call) -> Any:
        """Return what a call says while parts of the model are replaced.

        Raises:
            UserError: There is no such part, or no difference.
        """
        model, context = self.model(state.model.name), self.step_context(state)
        others: dict[str, History] = {}
        if BEFORE in call.values:
            before = self.before(state)
            if before is None:
                raise DataError("nothing was edited, and there is no partner, so there is no difference to be carried.")
            others["before"] = self.context(before)
        if AMONG in call.named.values():
            others["among"] = self.batch(state, among_call(state, state.replaced.rows))
        key = (call.text, id(context), *map(id, others.values()))
        return self.kept(key, lambda: (context, others, call.made(model, context, others)))[2]

    def scrubbed(self, state: State) -> tuple[History, ScrubbedContext]:
        """Return the context of a state scrubbed by its claim, and before it the histories that donors came from.

        This runs the file of the hypothesis.

        Raises:
            UserError: There is no such hypothesis among those of the folders, or it does not fit.
        """
        among, scrubbed = self._claimed(state, claim_call)
        return among, scrubbed

    def rivals(self, state: State) -> ContextRivals:
        """Return where the claim of a state and its rival part on the context.

        This runs the files of both.

        Raises:
            UserError: There is no such hypothesis among those of the folders, or it does not fit.
        """
        if state.claim is None or state.claim.rival is None:
            raise DataError("there is no other hypothesis to compare with: choose one.")
        rivals: ContextRivals = self._claimed(state, rivals_call)[1]
        return rivals

    def _claimed(self, state: State, calls: Callable[[State], Call]) -> tuple[History, Any]:
        """Return what a call about hypotheses says, and before it the histories that donors come from."""
        claim, model, context = _require_listed(state), self.model(state.model.name), self.step_context(state)
        call, about = among_call(state, claim.rows), calls(state)
        among = self.batch(state, call).window(stop=context.n_steps)
        key = (id(context), call.text, about.text, *_saved(claim))
        return among, self.kept(key, lambda: (context, about.made(model, context, {"among": among})))[1]

    def lives(self, state: State) -> ParallelLives:
        """Return what those did who live side by side in the world of the context; they live on from where they are.

        This runs the file of the hypothesis, if what it says lives too, or what it leaves of the model.

        Raises:
            UserError: Nobody lives, or somebody is unknown.
        """
        live, model, context = state.live, self.model(state.model.name), self.step_context(state)
        if live is None:
            raise DataError("nobody lives: choose who.")
        call, others, saved = live_call(state), dict[str, History](), tuple[int, ...]()
        if live.of_claim:
            claim = _require_listed(state)
            others, saved = {"among": self.batch(state, among_call(state, claim.rows))}, _saved(claim)
        key = (id(context), replace(call, part="").text, *map(id, others.values()), *saved)
        begun = self.kept(key, lambda: (context, others, call.made(model, context, others, self.listener)))[2]
        lives: ParallelLives = begun.until(live.until)
        return lives

    def batch(self, state: State, call: Call) -> History:
        """Return the histories that a call generates, whatever row it takes of them."""
        call, model = replace(call, part=""), self.model(state.model.name)
        batch: History = self.kept((model.name, call.text), lambda: call.made(model, progress=self.listener))
        return batch

    def kept(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return what was made under a key, or make it."""
        if key in self._kept:
            self._kept.move_to_end(key)
        else:
            self._kept[key] = make()
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        value: Value = self._kept[key]
        return value

    def _edited(self, edit: Edit, model: Model, context: History, number: int) -> History:
        """Return a context after one more edit.

        Raises:
            UserError: It cannot be made, as the first line says.
        """
        call = edit_call(edit)
        try:
            edited = call.made(model, context, progress=self.listener)
            if isinstance(edit, LivedEdit):
                lives = edited.until(edit.until)
                if edit.who in lives.absent:
                    raise DataError(lives.absent[edit.who])
                edited = lives.histories[edit.who]
        except UserError as error:
            raise type(error)(f"edit {number + 1}, {call.function}: {error}") from error
        if isinstance(edit, CounterfactualEdit):
            edited = edited.donor
        return replace(edited, family=model.task)

    def _begun(self, state: State, origin: Call, model: Model) -> History:
        """Return the context before any edit."""
        if isinstance(state.origin, FromTokens):
            history: History = origin.made(model)
            return _fitting(replace(history, family=model.task), model)
        if isinstance(state.origin, FromPlay):
            played: History = origin.made(model)
            return played
        return self.batch(state, origin)[state.origin.row]


def _require_listed(state: State) -> ClaimReference:
    """Return the claim of a state, whose files are in the folders of hypotheses.

    Raises:
        HypothesisError: They are not, or there is none.
    """
    known = [str(entry.file) for entry in listing()]
    for file in _files(state.claim) if state.claim else [""]:
        if file not in known:
            raise HypothesisError(f"there is no hypothesis file {file!r:.200} in the folder of hypotheses.")
    assert state.claim is not None
    return state.claim


def _saved(claim: ClaimReference) -> tuple[int, ...]:
    """Return when the files of a claim were saved: one that was saved since is another hypothesis."""
    return tuple(Path(file).stat().st_mtime_ns for file in _files(claim))


def _files(claim: ClaimReference) -> list[str]:
    return [claim.file, *([claim.rival.file] if claim.rival else [])]


def _fitting(history: History, model: Model) -> History:
    """Return a history that was written out, if the model can read it.

    Raises:
        DataError: It is of another task, or longer than the model's context.
    """
    task = model.task
    if history.n_rows != 1 or not history.n_steps:
        raise DataError("a context is one history of at least one step.")
    if history.channels != task.channels or history.n_actions != task.n_actions:
        raise DataError(
            f"this history shows {', '.join(history.channels[:6]) or 'nothing'} and has {history.n_actions} actions, "
            f"but {model.name} is about {task.name}, which shows {', '.join(task.channels[:6]) or 'nothing'} and has "
            f"{task.n_actions}. Open it with the model that it is for: {program()} explore FILE, with `model`."
        )
    longest = model.shape.n_ctx
    if model.shape.window is None and history.n_steps > longest:
        raise DataError(
            f"this history has {history.n_steps} steps, but {model.name} reads at most {longest}. "
            f"Cut it: history.window(stop={longest})."
        )
    _require_facts(history, model)
    return history


def _require_facts(history: History, model: Model) -> None:
    """Refuse facts that are not those of a task of the model's family; none at all are all right.

    Raises:
        DataError: They are not.
    """
    task, problem = model.task, ""
    if not history.task:
        return
    for name, fact in task.sample_tasks(np.random.default_rng(0), 1).items():
        shape = np.shape(history.task.get(name, ()))
        if shape != np.shape(fact):
            problem = f"{name} is of shape {shape[1:]}, and theirs of {np.shape(fact)[1:]}" if shape else f"no {name}"
    try:
        if not problem:
            task.optimal_return(history.task)
            impossible_steps(task, history)
    except Exception as error:  # whatever a world does where a fact is out of its range
        problem = described(error)
    if problem:
        raise DataError(f"the facts of this history are not those of a task of {task.name}: {problem}.")
