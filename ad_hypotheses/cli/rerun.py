"""The command line that makes the same study again."""

from __future__ import annotations

import shlex
from collections.abc import Collection

import typer

from ad_hypotheses.storage.places import program

NEVER = ("as_json", "parquet")  # options that change only what is shown


def rerun_command(
    context: typer.Context,
    *arguments: str,
    leave_out: Collection[str] = (),
    always: Collection[str] = (),
    ranks: int = 1,
) -> str:
    """Return what makes the same study again: the options that do not have their default, in the order of the help.

    Args:
        context: Parameters of the verb that runs.
        arguments: Arguments that are no options, as they are to be typed.
        leave_out: Names of parameters that change no number.
        always: Names of parameters that are stated even where they have their default.
        ranks: Processes that torchrun starts; it is left out for a single one.
    """
    words = [*(program().split() if ranks == 1 else _torchrun(ranks)), str(context.info_name), *arguments]
    for parameter in context.command.params:
        name = parameter.name
        if parameter.param_type_name != "option" or name is None or name in (*leave_out, *NEVER):
            continue
        option, value = max(parameter.opts, key=len), context.params.get(name)
        usual = str(value) == str(parameter.get_default(context))  # a default may not be parsed yet
        if value in (None, [], ()) or (usual and name not in always):
            continue
        if value is True:
            words.append(option)
        else:
            for text in value if isinstance(value, list | tuple) else [value]:
                words += [option, str(text)]
    return shlex.join(words)


def is_typed(context: typer.Context, name: str) -> bool:
    """Return whether an option was typed, and does not have its default for want of it."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _torchrun(ranks: int) -> list[str]:
    script = ["cli.py"] if program() == "python cli.py" else ["-m", "ad_hypotheses"]
    return ["torchrun", "--nproc-per-node", str(ranks), *script]
