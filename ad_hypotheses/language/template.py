"""A first hypothesis file that runs as it is, for people to change."""

from __future__ import annotations

import json
import keyword
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.problems import shown_path

_TEXT = '''"""{title}: the model stays where it was just paid, and does anything otherwise.

The first line is the title in lists and reports; say the claim here in words.
"""

import numpy as np

from ad_hypotheses import Hypothesis, embed, logits, mlp, node

STAY, ANYTHING = 0, -1  # in the dark room: 0 stay, 1 up, 2 down, 3 left, 4 right; negative is no opinion


# A function is a node. Its parameters are its arrows: nodes defined above it, or `history`, which is data.
# It returns the coarsest value that you believe matters; whatever else differs between histories is swapped.
@node(at=embed("reward"))
def paid(history):
    """Whether the agent was just paid.  [batch, step]"""
    # a feature of step t may use observations up to t, and actions and rewards before t
    return history.previous_rewards > 0


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands.  [batch, step, 2]"""
    return history.observations


# Other sites: pos, head(layer, head), head(0, 1).q (or .k, .v), mlp(layer).
@node(at=mlp(0))
def plan(paid, cell):
    """The cell to stay on, (-1, -1) for none.  [batch, step, 2]"""
    return np.where(paid[..., None], cell, -1)


# The last node sits at the logits. Its value is the policy: actions [batch, step], or probabilities
# [batch, step, action]. The whole file can then play the task as a learner of its own.
@node(at=logits)
def choice(plan):
    """Stay if there is a cell to stay on.  [batch, step]"""
    return np.where(plan[..., 0] >= 0, STAY, ANYTHING)


# `accept` is fixed before the run: the share of the model's gain over chance that the claim must recover.
{name} = Hypothesis(choice, model="dark-room", accept=0.9)

# A control: the same claim at a wrong place. If it does as well, the places mean nothing.
{name}_control = {name}.on(paid=embed("action"))
'''

_TEXT_FOR_A_MODEL = '''"""{title}: the model does again what was just paid, and does anything otherwise.

The first line is the title in lists and reports; say the claim here in words.
"""

import numpy as np

from ad_hypotheses import Hypothesis, {makers}

{facts}
ANYTHING = -1  # no opinion


# A function is a node. Its parameters are its arrows: nodes defined above it, or `history`, which is data.
# It returns the coarsest value that you believe matters; whatever else differs between histories is swapped.
@node(at=embed("action"))
def last(history):
    """The action before, -1 at the first step.  [batch, step]"""
    # a feature of step t may use observations up to t, and actions and rewards before t
    return history.previous_actions


@node(at=embed("reward"))
def paid(history):
    """Whether it was paid.  [batch, step]"""
    return history.previous_rewards > 0


# {sites}
@node(at={site})
def again(last, paid):
    """The action to repeat, -1 for none.  [batch, step]"""
    return np.where(paid, last, ANYTHING)


# The last node sits at the logits. Its value is the policy: actions [batch, step], or probabilities
# [batch, step, action]. The whole file can then play the task as a learner of its own.
@node(at=logits)
def choice(again):
    """The action that was paid, if there is one.  [batch, step]"""
    return again


# `accept` is fixed before the run: the share of what the model does that the claim must keep.
{name} = Hypothesis(choice, model={quoted}, accept=0.9)
'''

_CONTROL = """
# A control: the same claim at a wrong place. If it does as well, the places mean nothing.
{name}_control = {name}.on(again={site})
"""

_WIDTH = 118  # of a comment, without its sign
_TAKEN = ("last", "paid", "again", "choice", "np", "node", "embed", "logits", "mlp", "head")
_MAKERS = ("paid", "cell", "plan", "choice", "np", "node", "embed", "logits", "mlp")  # names the template uses itself


def template(name: str) -> str:
    """Return a commented hypothesis file that runs as it is on any dark-room model.

    Args:
        name: What to call the hypothesis; a Python name in lower case, such as `win_stay`.

    Raises:
        HypothesisError: It cannot be the name of a variable and of a file.
    """
    _require_usable(name, _MAKERS)
    return _TEXT.format(name=name, title=_title(name))


def template_for(name: str, model: str, facts: Mapping[str, str], anatomy: Anatomy) -> str:
    """Return a commented hypothesis file that runs as it is on one model, whatever its task.

    Args:
        name: What to call the hypothesis; a Python name in lower case, such as `win_stay`.
        model: Name of the checkpoint.
        facts: What to say of it in a comment, by what that is: `{"task": "bandit (arms 5)"}`.
        anatomy: Its sites.

    Raises:
        HypothesisError: The name cannot be that of a variable and of a file.
    """
    _require_usable(name, _TAKEN)
    site, other = _sites(anatomy)
    makers = ["embed", *(["head"] if "head" in site + other else []), "logits", *(["mlp"] if "mlp" in site else [])]
    text = _TEXT_FOR_A_MODEL.format(
        name=name,
        title=_title(name),
        makers=", ".join([*makers, "node"]),
        facts="\n".join(_comment(f"{key}: {fact}") for key, fact in {"model": model, **facts}.items()),
        sites=f"Other sites: {', '.join(place for place in anatomy.sites if not place.startswith('embed'))}.",
        site=site,
        quoted=json.dumps(model, ensure_ascii=False),
    )
    return text + (_CONTROL.format(name=name, site=other) if other else "")


def _sites(anatomy: Anatomy) -> tuple[str, str]:
    """Return where the template's rule sits, and another place that could hold it; empty if there is none."""
    if anatomy.has_mlps:
        return "mlp(0)", "mlp(1)" if anatomy.n_layers > 1 else "head(0, 0)"
    return "head(0, 0)", "head(0, 1)" if anatomy.n_heads > 1 else "head(1, 0)" if anatomy.n_layers > 1 else ""


def _comment(text: str) -> str:
    """Return text as a comment that is not wider than a page."""
    lines = textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"# {line}" for line in lines)


def _title(name: str) -> str:
    return name.replace("_", " ").strip().capitalize()


def _require_usable(name: str, taken: Sequence[str]) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or name in taken:
        better = re.sub(r"[^a-z0-9_]+", "_", Path(name).name.removesuffix(".py").lower()).strip("_0123456789")
        usable = better and better != name and not keyword.iskeyword(better) and better not in taken
        advice = f" Did you mean {better!r}?" if usable else " Choose another, such as 'win_stay'."
        raise HypothesisError(
            f"{name!r} cannot name a hypothesis: it becomes a variable and a file, so it has lower-case letters, "
            f"digits and _, begins with a letter, and is not taken.{advice}"
        )


def write_template(name: str, folder: str | Path = "hypotheses", text: str | None = None) -> Path:
    """Write a template to `folder/name.py` and return that path; makes the folder if need be.

    Args:
        name: What to call the hypothesis.
        folder: Where to.
        text: What to write; the template for dark-room models if None.

    Raises:
        HypothesisError: The name cannot be used, the file exists, or it cannot be written.
    """
    text = template(name) if text is None else text
    file = Path(folder) / f"{name}.py"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise HypothesisError(f"{shown_path(file)} exists and is left alone; choose another name.") from None
    except OSError as error:
        raise HypothesisError(f"{shown_path(file)} cannot be written: {error.strerror}.") from error
    return file
