"""Markdown and plain words for what pages, cards and lists show alike."""

from __future__ import annotations

from dataclasses import fields

from ad_hypotheses.sources import Source
from ad_hypotheses.tasks import Task
from ad_hypotheses.tasks.task import parameters


def describe(made: Task | Source) -> str:
    """Return a task or source with its parameters, except what is off: `dark-room (size 9, horizon 20)`."""
    values, shown = {}, parameters(made)
    for parameter in fields(made):  # type: ignore[arg-type]
        value, on = (
            getattr(made, parameter.name),
            getattr(made, parameter.metadata.get("only_if", parameter.name)) is not False,
        )
        if parameter.name in shown and on and not (isinstance(value, str) and value in made.name):
            values[parameter.name] = value
    rest = ", ".join(
        name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {value}"
        for name, value in values.items()
    )
    return f"{made.name} ({rest})" if rest else made.name
