"""Every rung that ships, in order, and those of a file of the user's own."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from ad_hypotheses.errors import ConfigError
from ad_hypotheses.ladder import belief, habits, pull, source
from ad_hypotheses.ladder.rung import Background, Rung
from ad_hypotheses.language.global_state import global_state_kept
from ad_hypotheses.language.user_code import MODULE, described, user_code
from ad_hypotheses.storage.reading import read_file

LADDER: tuple[Rung, ...] = (*habits.RUNGS, *pull.RUNGS, *belief.RUNGS, *source.RUNGS)
NAME = "RUNGS"  # what a file of the user's own defines


def fitting(background: Background, rungs: tuple[Rung, ...] = LADDER) -> tuple[list[Rung], dict[str, str]]:
    """Return the rungs that can be run on contexts of a background, and why each of the others cannot.

    Returns:
        The rungs, and reasons by name.
    """
    reasons = {rung.name: rung.lacks(background) for rung in rungs}
    fit = [rung for rung in rungs if not reasons[rung.name]]
    return fit, {name: reason for name, reason in reasons.items() if reason}


def rungs_in_file(path: Path) -> tuple[Rung, ...]:
    """Run a Python file that the user named, and return the rungs that it defines as `RUNGS`.

    Raises:
        ConfigError: There is no such file, it fails, or `RUNGS` is missing, empty, no sequence of rungs, or has the
            name of a rung that ships.
    """
    try:
        content = read_file(path)
    except OSError as error:
        raise ConfigError(f"cannot read the file of rungs {path}: {error.strerror}.") from error
    module = ModuleType(f"{MODULE}{path.stem}")
    module.__file__ = str(path)
    try:
        with global_state_kept(), user_code():
            exec(compile(content, str(path), "exec", dont_inherit=True), module.__dict__)
    except Exception as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ConfigError(f"the file of rungs {path} fails{line}: {described(error)}") from error
    return _checked(getattr(module, NAME, None), path)


def _checked(value: Any, path: Path) -> tuple[Rung, ...]:
    example = "RUNGS = [Rung(name='mine', level=9, words='...', ignores='...', fit=fit)]"
    if not isinstance(value, list | tuple) or not value or not all(isinstance(rung, Rung) for rung in value):
        raise ConfigError(f"{path} must define {NAME}, a list of rungs, but it is {value!r:.60}.\n  E.g. {example}")
    names = [rung.name for rung in (*LADDER, *value)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{path}: a rung is called {twice[0]!r}, and so is another one; give it a name of its own.")
    return tuple(value)
