"""How messages of the library, which name parameters of functions, come to name options of the command line."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from typer.models import OptionInfo

# `rows`, `align='any'`, `shared=True`, `ad_hypotheses.tasks.trust('task.py')`
PARAMETER = re.compile(r"`(?:\w+\.)*(?P<name>\w+)(?:=(?P<value>[^`]+)|\((?P<argument>[^`]+)\))?`")


def options_of(verb: Callable[..., Any]) -> dict[str, str]:
    """Return the options of a verb by the name of their parameter: `{"rows": "--rows"}`."""
    options = {}
    for name, annotated in get_type_hints(verb, include_extras=True).items():
        for hint in getattr(annotated, "__metadata__", ()):
            if isinstance(hint, OptionInfo):
                declared = (
                    hint.default,
                    *hint.param_decls,
                )  # typer keeps the first of them in the place of the default
                options[name] = next(text for text in declared if isinstance(text, str) and text.startswith("--"))
    return options


def with_options(message: str, options: Mapping[str, str]) -> str:
    """Return a message that names options where it named parameters.

    Args:
        message: Parameters stand between backticks, alone or with a value: `` `rows` ``, `` `align='any'` ``.
        options: Options by the name of their parameter; what is not among them stays as it is.
    """

    def option(match: re.Match[str]) -> str:
        name, value = options.get(match["name"]), match["value"] or match["argument"]
        if name is None or value is None:
            return name or match[0]
        try:
            plain = ast.literal_eval(value)
        except (ValueError, SyntaxError):  # not a value that can be typed
            return match[0]
        return name if plain is True else f"{name} {shlex.quote(str(plain))}"

    return PARAMETER.sub(option, message)
