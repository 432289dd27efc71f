"""Task families from a user's own file, named `path/to/file.py:Class`."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType

from ad_hypotheses.errors import ConfigError, did_you_mean
from ad_hypotheses.tasks.task import Task

MEMBERS = tuple(name for name in vars(Task) if not name.startswith("_"))  # what a family must have
OF_A_PARAMETER = (int, float, str, bool)


def family_in_file(name: str) -> type:
    """Return the class that `name` means, `tasks/corridor.py:Corridor`, whose file is run once.

    Args:
        name: Path of the file, from the working directory, and a class in it.

    Raises:
        ConfigError: There is no such file or class, the file fails, or the class is no task family; every member and
            every default that it lacks is listed.
    """
    path, _, wanted = name.rpartition(":")
    module = _run(Path(path))
    here = {key: value for key, value in vars(module).items() if isinstance(value, type)}
    families = [key for key, value in here.items() if value.__module__ == module.__name__ and is_dataclass(value)]
    if wanted not in here:
        listed = ", ".join(families) or "none"
        raise ConfigError(
            f"there is no class {wanted!r} in {path}.{did_you_mean(wanted, families)} Dataclasses in it: {listed}."
        )
    problems = _problems(here[wanted])
    if problems:
        raise ConfigError(f"{name} is no task family:\n" + "\n".join(f"  {problem}" for problem in problems))
    return here[wanted]


def missing_members(family: object) -> list[str]:
    """Return the names of what every task family has and this one lacks."""
    return [name for name in MEMBERS if not hasattr(family, name)]


def _problems(family: type) -> list[str]:
    if not is_dataclass(family):
        return ["it is no dataclass; write @dataclass(frozen=True) above it"]
    found = []
    lacking = [name for name in missing_members(family) if name not in {one.name for one in fields(family)}]
    if lacking:
        found.append(f"it lacks {', '.join(lacking)}")
    wrong = [one.name for one in fields(family) if type(one.default) not in OF_A_PARAMETER]
    if wrong:
        found.append(f"its parameters need defaults that are int, float, str or bool: {', '.join(wrong)}")
    return found


def _run(path: Path) -> ModuleType:
    """Run a file as a module; the same content at the same place is run once, so that its classes stay the same."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the task file {path} (from {Path.cwd()}): {error.strerror}.") from error
    digest = hashlib.sha256(str(path.resolve()).encode() + content).hexdigest()
    name = f"ad_hypotheses_own_task_{digest[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "it ends in .py"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: its dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ConfigError(f"the task file {path} fails{line}: {type(error).__name__}: {error}") from error
    except BaseException:
        del sys.modules[name]
        raise
    return module
