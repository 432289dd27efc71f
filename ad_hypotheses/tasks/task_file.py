"""Task families in a Python file of the user's own, named `path/to/file.py:Class`.

Such a name stands in configurations, and those come with checkpoints of other people. So no file is run that the user
of this process did not name; this module is the only place where one is.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType

from ad_hypotheses.errors import ConfigError, did_you_mean
from ad_hypotheses.language.global_state import global_state_kept
from ad_hypotheses.language.user_code import MODULE, EndedProgram, described, user_code
from ad_hypotheses.storage.reading import read_file, real_path
from ad_hypotheses.tasks.task import missing_members

OF_A_PARAMETER = (int, float, str, bool)
SUFFIX = ".py:"  # what tells the name of a family in a file from other names

_trusted: set[Path] = set()


def trust(file: str | Path) -> None:
    """Let the families of a Python file be made in this process, which runs the file: the user has named it.

    Args:
        file: Path of the file, from the working directory.
    """
    place = _place(Path(file))
    if place is not None:
        _trusted.add(place)


def file_of(name: object) -> Path | None:
    """Return the file that the name of a family means; None for one that ships."""
    return Path(name.rpartition(":")[0]) if isinstance(name, str) and SUFFIX in name else None


def family_in_file(name: str) -> type:
    """Return the class that `name` means, `tasks/corridor.py:Corridor`, whose file is run once.

    Args:
        name: Path of the file, from the working directory, and a class in it.

    Raises:
        ConfigError: The user has not named the file, so that it was not run; there is no such file or class, the file
            fails, or the class is no task family; every member and every default that it lacks is listed.
    """
    path, _, wanted = name.rpartition(":")
    _require_trust(Path(path), wanted)
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


def _require_trust(path: Path, wanted: str) -> None:
    if _place(path) not in _trusted:
        raise ConfigError(
            f"it is the class {wanted!r} of {path}; making it would run that file, which you did not name, so it was "
            f"not run.\n    If you wrote it or have read it, let it run: "
            f"`ad_hypotheses.tasks.trust({str(path)!r})`."
        )


def _place(path: Path) -> Path | None:
    """Return where a file really is; None for a circle of links, and for what cannot be a path."""
    try:
        return real_path(path)
    except (OSError, ValueError, RuntimeError):
        return None


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
        content = read_file(path)
    except OSError as error:
        raise ConfigError(f"cannot read the task file {path} (from {Path.cwd()}): {error.strerror}.") from error
    digest = hashlib.sha256(str(real_path(path)).encode() + content).hexdigest()
    name = f"{MODULE}{digest[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # before it runs: its dataclasses look their module up
    try:
        # what was read above, not what may lie there by now or in __pycache__
        with global_state_kept(), user_code():
            exec(compile(content, str(path), "exec", dont_inherit=True), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        verb = "ends the program" if isinstance(error, EndedProgram) else "fails"
        raise ConfigError(f"the task file {path} {verb}{line}: {described(error)}") from error
    except BaseException:
        del sys.modules[name]
        raise
    return module
