"""A model at one step of one history: what every part adds to a logit, and where every head looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ad_hypotheses.distill.lens import Cache, HookedADTransformer
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.errors import DataError, did_you_mean
from ad_hypotheses.language.anatomy import Writer
from ad_hypotheses.language.history import History
from ad_hypotheses.language.roles import PAIR_ROLES
from ad_hypotheses.report.result import Result
from ad_hypotheses.studies.tables import table_of
from ad_hypotheses.tasks.task import Task

BIASES = "biases"  # of the attentions and of the logits: no writer's own


@dataclass(frozen=True, repr=False)
class Attribution(Result):
    """What every writer adds to a logit, or to a difference of two, at one step.

    Attributes:
        model: Name of the model.
        of: The logit or difference, `"right - down"`.
        step: Number of the step.
        logit: Its value.
        parts: What each writer adds, and the biases that belong to none. {`"head(0, 1)"`: value}
        remainder: What the parts leave of the value: rounding.
    """

    model: str
    of: str
    step: int
    logit: float
    parts: dict[str, float]
    remainder: float

    @property
    def headline(self) -> str:
        """The value, the three largest parts, and the remainder."""
        largest = sorted(self.parts, key=lambda name: -abs(self.parts[name]))[:3]
        shown = ", ".join(f"{name} {self.parts[name]:+.3g}" for name in largest)
        return (
            f"{self.model}, step {self.step}: {self.of} = {self.logit:.4g}; most: {shown}; "
            f"the {len(self.parts)} parts leave {self.remainder:.1e}"
        )

    def to_frame(self) -> Any:
        """Return a line for each part, the largest first, as a pandas.DataFrame: `writer`, `adds`."""
        ordered = sorted(self.parts, key=lambda name: -abs(self.parts[name]))
        return table_of([{"writer": name, "adds": self.parts[name]} for name in ordered])


@dataclass(frozen=True, repr=False)
class AttentionPattern(Result):
    """Where every head looks at one step, or the other way: how much every step from it on looks at it.

    Attributes:
        model: Name of the model.
        step: Number of the step that looks, or that is looked at.
        tokens: What each step shows: those up to the one that looks, or all of the history. [step]
        roles: What each step is to the one that looks; of a step that is looked at, what it is to each. [step][role]
        weights: Attention of every head; none from the steps before the one that is looked at. {`"head(0, 1)"`: [step]}
        received: Whether the step is looked at.
    """

    model: str
    step: int
    tokens: list[str]
    roles: list[list[str]]
    weights: dict[str, list[float]]
    received: bool = False

    @property
    def headline(self) -> str:
        """The step, and the heads that look at one step most."""
        peaks = {name: max(range(len(row)), key=row.__getitem__) for name, row in self.weights.items()}
        sharpest = sorted(peaks, key=lambda name: -self.weights[name][peaks[name]])[:3]
        shown = ", ".join(f"{name} at step {peaks[name]} ({self.weights[name][peaks[name]]:.2f})" for name in sharpest)
        side = "seen by" if self.received else "heads; sharpest:"
        number = "" if self.received else f"{len(self.weights)} "
        return f"{self.model}, step {self.step}: {number}{side} {shown}"

    def shares(self) -> dict[str, dict[str, float]]:
        """Return how much of its attention each head pays to the steps of each role: `{role: {head: share}}`.

        A step may have several roles, so that shares may sum to more than 1; roles that no step has are left out. Of a
        step that is looked at, how much each step pays it on average to which it has that role.
        """
        named = dict.fromkeys(role for roles in self.roles for role in roles)
        times = {role: sum(role in roles for roles in self.roles) if self.received else 1 for role in named}
        return {
            role: {
                head: sum(weight for weight, roles in zip(row, self.roles, strict=True) if role in roles) / times[role]
                for head, row in self.weights.items()
            }
            for role in PAIR_ROLES
            if role in named
        }

    def to_frame(self) -> Any:
        """Return a line for each step that is looked at, or that looks, as a pandas.DataFrame.

        Columns: `step`, `token`, `roles`, and the weights of each head.
        """
        lines = zip(self.tokens, self.roles, strict=True)
        return table_of(
            [
                {"step": step, "token": token, "roles": ", ".join(roles)}
                | {name: row[step] for name, row in self.weights.items()}
                for step, (token, roles) in enumerate(lines)
            ]
        )


@torch.no_grad()
def attribute(
    model: HookedADTransformer, task: Task, name: str, history: History, step: int, of: str | int | None
) -> Attribution:
    """Return what every writer adds to a logit at one step.

    Args:
        model: The model, its layer norms folded, in double precision.
        task: Its task family, whose actions `of` names.
        name: Name of the model.
        history: One history.
        step: Number of the step; negative counts from the end.
        of: As in :func:`ad_hypotheses.attribution`.

    Raises:
        DataError: There is more than one history, or no such step or action.
    """
    step = chosen_step(history, step)
    asked = AskedValue.of(of, task, history, step)
    logits, cache = model.run_with_cache(history.window(stop=step + 1), names_filter=_is_written)
    assert isinstance(cache, Cache)
    direction = asked(model.W_U)
    scale = cache["ln_final.hook_scale"][0, -1] if model.shape.layer_norm else 1.0
    parts = {str(writer): _wrote(cache, writer) for writer in model.anatomy.writers}
    parts[BIASES] = model.b_O.sum(0)
    values = {writer: float(_centred(model, wrote) / scale @ direction) for writer, wrote in parts.items()}
    values[BIASES] += float(asked(model.b_U))
    logit = float(asked(logits[0, -1]))
    return Attribution(name, asked.words, step, logit, values, logit - sum(values.values()))


def _is_written(hook: str) -> bool:
    """Whether a hook shows what a writer writes, or the scale of the last layer norm."""
    names = ("hook_result", "hook_mlp_out", "hook_pos_embed", "ln_final.hook_scale")
    return hook.startswith("hook_embeds.") or hook.endswith(names)


def _centred(model: ADTransformer, wrote: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
    return wrote - wrote.mean() if model.shape.layer_norm else wrote


def _wrote(cache: Cache, writer: Writer) -> Float[Tensor, " d_model"]:
    """Return what a writer wrote at the last step of the only row."""
    if writer.kind == "embed":
        return cache[f"hook_embeds.{writer.channel}"][0, -1]
    if writer.kind == "pos":
        return cache["hook_pos_embed"][0, -1]
    if writer.kind == "mlp":
        return cache["mlp_out", writer.layer][0, -1]
    return cache["result", writer.layer][0, -1, writer.head]


@dataclass(frozen=True)
class AskedValue:
    """What is asked about a decision: the logit or log-probability of an action, or the difference of two.

    Attributes:
        signs: What is added and subtracted. {action: 1 or -1}
        words: The same in words: `"right - down"`.
    """

    signs: Mapping[int, float]
    words: str

    @classmethod
    def of(cls, of: str | int | None, task: Task, history: History, step: int) -> AskedValue:
        """Read what is asked; None for the action that was taken.

        Raises:
            DataError: There is no such action.
        """
        names = list(task.action_names)
        of = int(history.actions[0, step]) if of is None else of
        texts = [str(of)] if str(of) in names else [text.strip() for text in str(of).split(" - ")]
        signs: dict[int, float] = {}
        for place, text in enumerate(texts):
            number = names.index(text) if text in names else int(text) if text.isdigit() else -1
            if not 0 <= number < len(names) or place > 1 or number in signs:
                raise DataError(
                    f"`of` is {of!r}, but it must be an action or the difference of two, 'right - down'."
                    f"{did_you_mean(text, names)} {task.name} has: {', '.join(names)}."
                )
            signs[number] = 1.0 - 2.0 * place
        return cls(signs, " - ".join(names[action] for action in signs))

    def __call__(self, values: Float[Tensor, "... action"]) -> Float[Tensor, "..."]:
        """Return it, of what there is for every action."""
        return sum((sign * values[..., action] for action, sign in self.signs.items()), torch.zeros(()))


@torch.no_grad()
def attend(
    model: HookedADTransformer, name: str, history: History, step: int, received: bool = False
) -> AttentionPattern:
    """Return where every head looks at one step, or how much every step from it on looks at it (`received`).

    Other arguments and errors are as for :func:`attribute`.
    """
    step = chosen_step(history, step)
    seen = history if received else history.window(stop=step + 1)
    asked = (slice(None), step) if received else (-1, slice(None))  # queries and keys
    cache = model.run_with_cache(seen, names_filter=lambda hook: hook.endswith("hook_pattern"))[1]
    assert isinstance(cache, Cache)
    roles = {role: holds(seen)[0][asked] for role, holds in PAIR_ROLES.items()}
    return AttentionPattern(
        name,
        step,
        [str(text) for text in model.to_str_tokens(seen)],
        [[role for role, holds in roles.items() if holds[number]] for number in range(seen.n_steps)],
        {
            f"head({layer}, {head})": cache["pattern", layer][0, head][asked].tolist()
            for layer in range(model.shape.n_layers)
            for head in range(model.shape.n_heads)
        },
        received,
    )


def chosen_step(history: History, step: int) -> int:
    """Return the number of a step of the only row; negative counts from the end.

    Raises:
        DataError: There is more than one row, or no such step.
    """
    if history.n_rows != 1:
        raise DataError(f"`history` has {history.n_rows} rows, but one is looked at: history[0].")
    if not -history.n_steps <= step < history.n_steps:
        raise DataError(f"`step` is {step}, but the history has the steps 0 to {history.n_steps - 1}.")
    return step % history.n_steps
