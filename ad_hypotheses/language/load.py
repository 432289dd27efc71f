"""Find hypothesis files and load them, and tell hypotheses from their controls.

A hypothesis is code that a user runs. Listing a folder reads only syntax trees and runs nothing; :func:`load` does.
"""

from __future__ import annotations

import ast
import itertools
import linecache
import sys
import types
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ad_hypotheses.errors import HypothesisError, UserError, did_you_mean
from ad_hypotheses.language.global_state import global_state_kept
from ad_hypotheses.language.hypothesis import Hypothesis, Node
from ad_hypotheses.language.problems import Problem, failure, listed, shown_path
from ad_hypotheses.language.user_code import MODULE, EndedProgram, described, frames_of, user_code
from ad_hypotheses.storage.places import HYPOTHESES, hypotheses_folders, installed, is_remote
from ad_hypotheses.storage.reading import read_file, real_path

FOLDER = HYPOTHESES
NAMES = ("History", "Hypothesis", "embed", "head", "logits", "mlp", "node", "pos")  # what a file needs of the package
_numbers = itertools.count()


@dataclass(frozen=True)
class FileListing:
    """What a hypothesis file says of itself, as far as its syntax tree shows.

    Attributes:
        file: Where it is.
        hypotheses: Names of its hypotheses, in order; empty for a file of helpers.
        title: First line of its docstring.
        n_nodes: How many nodes it defines.
        error: Why it cannot be read, `line 3: invalid syntax`; None if it can.
    """

    file: Path
    hypotheses: tuple[str, ...] = ()
    title: str = ""
    n_nodes: int = 0
    error: str | None = None


def listing(folder: str | Path = FOLDER) -> list[FileListing]:
    """Return what the Python files of a folder, and of folders in it, say of themselves, without running them.

    By name, those of the folder itself first. Files and folders whose name begins with `_` or `.` are left out; a
    broken file is an entry with an error. Where there is no `hypotheses/`, those installed with the package are listed.

    Raises:
        HypothesisError: There is no such folder.
    """
    path = next((root for root in hypotheses_folders(Path(folder)) if root.is_dir()), None)
    if path is None:
        raise HypothesisError(f"{folder} is no folder; hypotheses are plain Python files in {FOLDER}/.")
    files = [*sorted(path.glob("*.py")), *sorted(path.glob("*/*.py"))]
    return [_read(file) for file in files if not any(part[0] in "._" for part in file.relative_to(path).parts)]


def load(path: str | Path, name: str | None = None) -> list[Hypothesis]:
    """Run a hypothesis file and return its hypotheses in order, each called by its variable.

    While the file runs, its own folder is searched for modules first, so helpers may lie beside it.

    Args:
        path: A file, or the bare name of one in `hypotheses/` or, if only one is called so, in a folder of it; what is
            not in the working folder is looked for among the hypotheses installed with the package.
        name: Return only the hypothesis of this name.

    Raises:
        HypothesisError: There is no such file, it does not run, or it holds no such hypothesis.
    """
    file = _find(path)
    scope, source = _run(file)
    imported = {name for name in _imported(_parse(source, file)) if isinstance(scope.get(name), Hypothesis)}
    named = _named({key: value for key, value in scope.items() if key not in imported})
    if not named:
        nodes = [key for key, value in scope.items() if isinstance(value, Node)]
        facts = (("file", shown_path(file)), ("nodes", listed(nodes)))
        advice = f"end it with a claim, e.g. {file.stem.lower()} = Hypothesis({nodes[-1] if nodes else 'choice'})"
        raise failure([Problem(f"{shown_path(file)} holds no Hypothesis.", facts=facts, advice=advice)])
    if name is None:
        return named
    chosen = [hypothesis for hypothesis in named if hypothesis.name == name]
    if not chosen:
        names = [str(hypothesis.name) for hypothesis in named]
        message = f"{shown_path(file)} holds no hypothesis {name!r}."
        raise failure([Problem(message, facts=(("holds", listed(names)),), advice=did_you_mean(name, names).strip())])
    return chosen


def places(path: str | Path) -> list[Path]:
    """Return the files that a path or name may mean, without running any: at most one, unless a name is ambiguous."""
    given = Path(path)
    return next(([file] for file in _candidates(given) if file.is_file()), None) or _deeper(given)


def chosen(hypotheses: Sequence[Hypothesis], model: str | None) -> list[tuple[Hypothesis, list[Hypothesis]]]:
    """Return the hypotheses of a file, each with its controls.

    Args:
        hypotheses: All of the file.
        model: Test on this model only: a claim that the file makes about it stays as it is; another one is moved to
            it, unless the file has a version of it for that model.
    """
    groups = _grouped(hypotheses)
    if model is None:
        return groups
    families: dict[int, list[tuple[Hypothesis, list[Hypothesis]]]] = {}
    for main, controls in groups:
        families.setdefault(id(_ancestor(main, hypotheses)), []).append((main, controls))
    picked = []
    for family in families.values():
        on_model = [group for group in family if group[0].model == model]
        picked += on_model or [_moved(*family[0], model)]
    return picked


def shown_file(file: str) -> str:
    """Return what to type for a hypothesis file that was named: its path, relative if it can be.

    For a file that is installed with the package, that is its name: `mimic`, `known/win_stay`.
    """
    place = next(iter(places(file)), Path(file))
    root = next((root for root in installed("hypotheses") if root in place.parents), None)
    return shown_path(place) if root is None else place.relative_to(root).with_suffix("").as_posix()


def _grouped(hypotheses: Sequence[Hypothesis]) -> list[tuple[Hypothesis, list[Hypothesis]]]:
    given = {id(hypothesis) for hypothesis in hypotheses}
    groups: dict[int, tuple[Hypothesis, list[Hypothesis]]] = {}
    for hypothesis in hypotheses:
        main = hypothesis
        while main.control_of is not None and id(main.control_of) in given:
            main = main.control_of  # a control of a control
        if main is hypothesis:
            groups[id(hypothesis)] = hypothesis, []
        else:
            groups[id(main)][1].append(hypothesis)
    return list(groups.values())


def _ancestor(hypothesis: Hypothesis, hypotheses: Sequence[Hypothesis]) -> Hypothesis:
    given = {id(claim) for claim in hypotheses}
    while hypothesis.origin is not None and id(hypothesis.origin) in given:
        hypothesis = hypothesis.origin
    return hypothesis


def _moved(main: Hypothesis, controls: Sequence[Hypothesis], model: str) -> tuple[Hypothesis, list[Hypothesis]]:
    moved = replace(main.on(model=model), name=main.name)
    return moved, [replace(control.on(model=model), name=control.name, origin=moved) for control in controls]


def _find(path: str | Path) -> Path:
    given = Path(path)
    if is_remote(path):
        raise HypothesisError(
            f"{path} is a hypothesis file on a hub: it is code, and running it would run what its owner wrote.\n"
            "  Download it, read it, and name the file that you have read."
        )
    if not given.name:
        raise HypothesisError(f"{str(path)!r} names no file; in {FOLDER}/ are {listed(_stems(*hypotheses_folders()))}.")
    files = places(path)
    if len(files) == 1:
        return real_path(files[0])
    if files:
        names = [file.relative_to(file.parents[1]).with_suffix("").as_posix() for file in files]
        message = f"There are several hypothesis files {given.name}."
        raise failure([Problem(message, facts=((f"in {FOLDER}/", listed(names)),), advice="name one with its folder")])
    bare = given.parent == Path() and given.suffix != ".py"
    if given.is_dir() and not bare:
        raise HypothesisError(f"{path} is a folder: name one of its files, {listed(_stems(given))}.")
    usual = given.parent in (Path(), FOLDER)
    folder = FOLDER if usual else given.parent
    folders = [root for root in (hypotheses_folders() if usual else [folder]) if root.is_dir()]
    facts = ((f"in {folder}/", listed(_stems(*folders))),) if folders else ((f"{folder}/", "no such folder"),)
    message = f"There is no hypothesis file {_candidates(given)[0]}."
    raise failure([Problem(message, facts=facts, advice=_nearest(given, folders))])


def _candidates(given: Path) -> list[Path]:
    """Where a file may be, the likeliest first: as it was typed, in `hypotheses/`, and with the package."""
    if not given.name:
        return []
    name = given if given.suffix == ".py" else given.with_name(f"{given.name}.py")
    if given.is_absolute():
        return [given, name]
    within = name.relative_to(FOLDER) if FOLDER in name.parents else name
    named = [FOLDER / name, *(root / within for root in installed("hypotheses"))]
    return named if given.parent == Path() and given.suffix != ".py" else [given, name, *named]


def _deeper(given: Path) -> list[Path]:
    """The files of a bare name in the folders of `hypotheses/`, or of the hypotheses installed with the package."""
    if given.parent != Path() or not given.name or given.name[0] in "._":
        return []
    stem = given.name.removesuffix(".py")
    files = ([file for file in sorted(root.glob("*/*.py")) if file.stem == stem] for root in hypotheses_folders())
    shown = ([file for file in group if file.parent.name[0] not in "._"] for group in files)
    return next((group for group in shown if group), [])


def _nearest(given: Path, folders: Sequence[Path]) -> str:
    """Which file was meant: one of the same folders, or of any folder of `hypotheses/`."""
    beside, roots = _stems(*folders), hypotheses_folders()
    inner = [
        directory
        for root in roots
        for directory in sorted(root.glob("*"))
        if directory.is_dir() and directory.name[0] not in "._"
    ]
    elsewhere = {name: f"{directory.name}/{name}" for directory in inner for name in _stems(directory)}
    stem = given.name.removesuffix(".py")
    nearest = did_you_mean(stem, beside) or did_you_mean(stem, [*_stems(*roots), *elsewhere])
    for name, whole in elsewhere.items():
        if name not in beside:
            nearest = nearest.replace(repr(name), repr(whole))
    return nearest.strip()


def _stems(*folders: Path) -> list[str]:
    return sorted({file.stem for folder in folders for file in folder.glob("*.py") if file.name[0] not in "._"})


def _read(file: Path) -> FileListing:
    try:
        tree = _parse(read_file(file), file)
    except SyntaxError as error:
        return FileListing(file, error=f"line {error.lineno or 1}: {error.msg}")
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        return FileListing(file, error=str(error) or type(error).__name__)
    names: dict[str, None] = {}
    imported = _imported(tree)
    for statement in tree.body:
        names |= {name: None for name, value in _assigned(statement) if _is_hypothesis(value, imported | set(names))}
    nodes = [
        definition
        for definition in ast.walk(tree)
        if isinstance(definition, ast.FunctionDef)
        and any(_called(mark) == "node" for mark in definition.decorator_list)
    ]
    title = ((ast.get_docstring(tree) or "").splitlines() or [""])[0]
    return FileListing(file, tuple(names), title, len(nodes))


def _parse(source: bytes, file: Path) -> ast.Module:
    with warnings.catch_warnings():  # a doubtful escape in a user's string is no reason not to list the file
        warnings.simplefilter("ignore")
        return ast.parse(source, str(file))


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        pairs: list[tuple[ast.expr, ast.expr]] = [(statement.target, statement.value)]
    elif isinstance(statement, ast.Assign):
        pairs = [(target, statement.value) for target in statement.targets]
    else:
        return
    for target, value in pairs:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            yield from ((t.id, v) for t, v in zip(target.elts, value.elts, strict=False) if isinstance(t, ast.Name))
        elif isinstance(target, ast.Name):
            yield target.id, value


def _is_hypothesis(value: ast.expr, names: Collection[str]) -> bool:
    if _called(value) == "Hypothesis":
        return True
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "on"):
        return False
    claim = value.func.value
    return claim.id in names if isinstance(claim, ast.Name) else _is_hypothesis(claim, names)


def _called(value: ast.expr) -> str | None:
    if not isinstance(value, ast.Call):
        return None
    function = value.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)


def _imported(tree: ast.Module) -> set[str]:
    names = (a for statement in tree.body if isinstance(statement, ast.ImportFrom) for a in statement.names)
    return {alias.asname or alias.name for alias in names}


def _named(scope: dict[str, object]) -> list[Hypothesis]:
    """Return the hypotheses of a module under their names, with origins that bear theirs."""
    named_values: dict[int, tuple[str, Hypothesis]] = {}
    for key, value in scope.items():
        members = [(f"{key}[{i}]", member) for i, member in enumerate(value)] if isinstance(value, list | tuple) else []
        for name, member in (*members, (key, value)):
            if isinstance(member, Hypothesis):
                named_values.setdefault(id(member), (name, member))
    named: dict[int, Hypothesis] = {}
    for name, member in named_values.values():
        origin = member.origin if member.origin is None else named.get(id(member.origin), member.origin)
        named[id(member)] = replace(member, name=member.name or name, origin=origin)
    return list(named.values())


def _run(file: Path) -> tuple[dict[str, object], bytes]:
    linecache.checkcache(str(file))  # messages quote lines, which the user may have edited meanwhile
    module = types.ModuleType(f"{MODULE}{next(_numbers)}_{file.stem}")
    module.__file__ = str(file)
    with global_state_kept(), _beside(file):
        sys.modules[module.__name__] = module  # dataclasses and pickle look their module up
        try:
            source = read_file(file)
            with user_code():
                exec(compile(source, str(file), "exec", dont_inherit=True), module.__dict__)
        except (SyntaxError, OSError) as error:
            raise _unreadable(error, file) from error
        except Exception as error:
            raise _broken(error, file) from error
    return module.__dict__, source


@contextmanager
def _beside(file: Path) -> Iterator[None]:
    """Let modules beside the file be imported, and forget them afterwards: another folder may use the same names."""
    folder, before, wrote = str(file.parent), set(sys.modules), sys.dont_write_bytecode
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = wrote
        with suppress(ValueError):  # the file has taken it out itself
            sys.path.remove(folder)
        for name in set(sys.modules) - before:
            origin = getattr(sys.modules[name], "__file__", None)
            if origin and file.parent in Path(origin).parents and "site-packages" not in origin:
                del sys.modules[name]


def _unreadable(error: SyntaxError | OSError, file: Path) -> HypothesisError:
    if not isinstance(error, SyntaxError):
        return failure([Problem(f"{shown_path(file)} cannot be read: {error}.")])
    place = f"{shown_path(error.filename or file)}:{error.lineno or 1}"
    code = (error.text or "").strip()
    facts = (("code", code),) if code else ()
    return failure([Problem(f"{shown_path(file)} is not valid Python: {error.msg}.", place, facts)])


def _broken(error: Exception, file: Path) -> HypothesisError:
    frames = [frame for frame in frames_of(error) if Path(frame.filename).parent == file.parent]
    place = f"{shown_path(frames[-1].filename)}:{frames[-1].lineno}" if frames else shown_path(file)
    facts = (("code", frames[-1].line),) if frames and frames[-1].line else ()
    if isinstance(error, UserError):
        return HypothesisError(f"{error}\n  file: {place}")
    if isinstance(error, EndedProgram):
        advice = "a hypothesis file defines nodes and claims; drop the call of exit"
        return failure([Problem(f"{shown_path(file)} ends the program while it is loaded.", place, facts, advice)])
    advice = ""
    if isinstance(error, ModuleNotFoundError):
        advice = f"install {error.name}, or put {error.name}.py beside the file"
    elif isinstance(error, ImportError) and (error.name or "").startswith("ad_hypotheses"):
        advice = "from ad_hypotheses come: " + listed(NAMES)
    elif isinstance(error, NameError) and error.name in sys.modules["ad_hypotheses"].__all__:
        advice = f"add at the top: from ad_hypotheses import {error.name}"
    message = f"{shown_path(file)} fails while it is loaded: {described(error)}"
    return failure([Problem(message, place, facts, advice)])
