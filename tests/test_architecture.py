"""The picture of the house: who imports whom, where each outside library lives, and what may be called how."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import ad_hypotheses

PACKAGE = Path(ad_hypotheses.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
ORDER = (
    "errors",
    "progress",
    "storage",
    "jobs",
    "language",
    "evidence",
    "tasks",
    "sources",
    "ladder",
    "distill",
    "causal",
    "report",
    "studies",
    "known",
    "library",
    "explorer",
    "cli",
    "__main__",
)
WITHOUT_TORCH = (
    *("errors", "progress", "storage", "jobs", "language", "evidence", "tasks", "sources", "ladder", "report"),
)
PLAIN = ("record", "page", "pictures", "tables", "graph", "answer")  # files of these names see records, not tensors
HOMES = {
    "transformer_lens": {"distill/lens.py"},
    "minigrid": {"tasks/"},
    "gymnasium": {"tasks/", "sources/sb3.py", "sources/minari_data.py"},
    "stable_baselines3": {"sources/sb3.py"},
    "minari": {"sources/minari_data.py"},
    "typer": {"cli/"},
    "rich": {"cli/", "report/", "studies/", "known/"},
    "matplotlib": {"report/", "studies/", "known/calibration/"},
    "networkx": {"language/hypothesis.py", "studies/patch/record.py"},
    "scipy": {
        "evidence/effects.py",
        "evidence/jackknife.py",
        "known/calibration/error_rates.py",
    },
    "pandas": {"language/history_view.py", "studies/tables.py", "library/listings.py"},
    "jinja2": {"report/templates.py"},
    "pydantic": {
        "distill/config.py",
        "distill/sections.py",
        "distill/record.py",
        "evidence/plain_data.py",
        "studies/records.py",
        "explorer/",
    },
    "fastapi": {"explorer/"},
    "huggingface_hub": {"distill/foreign/hub.py"},
    "anywidget": {"explorer/"},
    "ray": {"jobs/"},
    "distributed": {"jobs/"},
    "starlette": {"explorer/"},
    "uvicorn": {"explorer/start.py"},
    "yaml": {"distill/", "storage/strict_yaml.py", "studies/sweep/grid.py", "studies/train/share.py"},
    "safetensors": {"distill/"},
    "torch": {
        "distill/",
        "causal/",
        "studies/",
        "known/",
        "library/",
        "explorer/session.py",
        "cli/",
        "sources/actor_critic.py",
        "language/global_state.py",
    },
}
MOST_FILES = 20
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "types", "base", "helpers", "misc", "core"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache  # many tests walk all trees, which takes longer than all else that they do
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(path)))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Every module that a file imports, at its top or inside a function."""
    found: list[str] = []
    for one in nodes(path):
        if isinstance(one, ast.Import):
            found += [alias.name for alias in one.names]
        elif isinstance(one, ast.ImportFrom):
            assert one.level == 0, f"{path}:{one.lineno} imports relatively"
            found += [f"{one.module}.{alias.name}" for alias in one.names]
    return tuple(found)


def shown(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def home(path: Path) -> str:
    """The part of the house that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def inside(path: Path, homes: set[str]) -> bool:
    return any(shown(path) == one or (one.endswith("/") and shown(path).startswith(one)) for one in homes)


def test_every_folder_has_a_place_in_the_order():
    assert {home(path) for path in FILES} - {"__init__"} == set(ORDER)


def test_the_map_in_contributing_names_every_folder():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The map")[2]
    named = {row.split("`")[1].strip("/") for row in text.splitlines() if row.startswith("| `")}
    folders = {path.parent.relative_to(PACKAGE).as_posix() for path in FILES} - {"."}
    assert named == folders


def test_no_folder_holds_more_files_than_one_can_survey():
    sizes = Counter(path.parent.relative_to(PACKAGE).as_posix() for path in FILES if path.stem != "__init__")
    assert {folder: size for folder, size in sizes.items() if size > MOST_FILES} == {}


def test_no_public_class_shares_its_name_with_another():
    names = Counter(
        node.name
        for path in FILES
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_the_known_networks_are_a_wing_that_can_be_closed():
    using = [shown(path) for path in FILES if any(name.startswith("ad_hypotheses.known") for name in imports(path))]
    assert [name for name in using if not name.startswith("known/")] == [
        "__init__.py",
        "cli/calibrate.py",
        "cli/known.py",
        "library/studies.py",
    ]


@pytest.mark.parametrize("part", ORDER)
def test_imports_go_one_way(part):
    allowed = ORDER[: ORDER.index(part) + 1]
    wrong = [
        f"{shown(path)} imports {module}"
        for path in FILES
        if home(path) == part
        for module in imports(path)
        if module.startswith("ad_hypotheses.") and module.split(".")[1] not in allowed
    ]
    assert not wrong


def imports_at_load(path: Path) -> set[str]:
    """Modules of the package that a file imports when it is loaded: outside functions, and not for types alone."""
    modules, waiting = set(), [*tree(path).body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom):
            modules |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.FunctionDef)]
    return modules


def test_no_files_import_each_other():
    name_of = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES if path.stem[0] != "_"}
    left = {name: imports_at_load(path) & set(name_of.values()) for path, name in name_of.items()}
    while loaded := {name for name, needed in left.items() if not needed & set(left)}:
        left = {name: needed for name, needed in left.items() if name not in loaded}
    assert sorted(left) == [], "these import each other, or what does"


def test_the_package_itself_loads_nothing_before_it_is_asked():
    script = "import sys, ad_hypotheses; print(*sorted(m for m in sys.modules if m.startswith('ad_hypotheses') or m in "
    script += "('numpy', 'torch', 'networkx')))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.split() == ["ad_hypotheses"]


def test_what_needs_no_torch_does_not_load_it():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in FILES
        if home(path) in WITHOUT_TORCH or (home(path) in ("studies", "known") and path.stem in PLAIN)
    ]
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    script += "print('torch' in sys.modules, 'transformer_lens' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script, *modules], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("library", HOMES)
def test_every_outside_library_has_its_home(library):
    using = [path for path in FILES if library in {module.partition(".")[0] for module in imports(path)}]
    assert [shown(path) for path in using if not inside(path, HOMES[library])] == []


def opens_text_without_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text in whatever encoding the machine has."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name not in ("read_text", "write_text", "open", "fdopen") or any(one.arg == "encoding" for one in call.keywords):
        return False
    if name.endswith("_text"):  # those of storage.reading and importlib.metadata know their encoding
        return isinstance(call.func, ast.Attribute)
    modes = [
        one.value for one in (*call.args, *(word.value for word in call.keywords)) if isinstance(one, ast.Constant)
    ]
    return not call.args or any(isinstance(mode, str) and set(mode) <= set("rwxat+") for mode in modes)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("path.read_text()", True),
        ("path.write_text(text)", True),
        ('path.open("w")', True),
        ("path.open()", True),
        ('open(path, "a+")', True),
        ('path.open("w", encoding="utf-8")', False),
        ('path.open("rb")', False),
        ("path.read_text(encoding='utf-8')", False),
        ("source.open(task)", False),
    ],
)
def test_text_without_an_encoding_is_noticed(code, expected):
    (call,) = (one for one in ast.walk(ast.parse(code)) if isinstance(one, ast.Call))
    assert opens_text_without_encoding(call) == expected


def test_text_is_read_and_written_in_an_encoding_that_is_named():
    paths = [*FILES, ROOT / "cli.py", *ROOT.glob("benchmarks/*.py"), *ROOT.glob("hypotheses/**/*.py")]
    calls = [(path, one) for path in paths for one in nodes(path) if isinstance(one, ast.Call)]
    assert [f"{path}:{call.lineno}" for path, call in calls if opens_text_without_encoding(call)] == []


def test_paths_are_made_real_by_the_function_that_no_circle_of_links_breaks():
    calls = [(path, call) for path in FILES for call in nodes(path) if isinstance(call, ast.Call)]
    resolved = [(path, call) for path, call in calls if getattr(call.func, "attr", "") == "resolve" and not call.args]
    assert [f"{shown(path)}:{call.lineno}" for path, call in resolved] == []


def test_no_file_is_called_something_that_says_nothing():
    assert [
        shown(path) for path in FILES if {path.stem, *path.relative_to(PACKAGE).parts} & NAMES_THAT_SAY_NOTHING
    ] == []


def test_every_file_says_what_it_is_for():
    assert [shown(path) for path in FILES if not ast.get_docstring(tree(path))] == []


@pytest.mark.parametrize("name", ad_hypotheses.__all__)
def test_public_names_exist_and_say_what_they_are(name):
    value = getattr(ad_hypotheses, name)
    assert name in dir(ad_hypotheses)
    assert len(inspect.getdoc(value) or "") > 20
    assert getattr(value, "__module__", "").startswith("ad_hypotheses.")


def test_public_names_are_what_type_checkers_see():
    checked = next(one for one in tree(PACKAGE / "__init__.py").body if isinstance(one, ast.If))
    seen = {alias.name for one in checked.body if isinstance(one, ast.ImportFrom) for alias in one.names}
    assert seen == set(ad_hypotheses.__all__)
    with pytest.raises(AttributeError, match=r"has no attribute 'heads'\. Did you mean 'head'"):
        _ = ad_hypotheses.heads


def test_only_the_command_line_prints():
    printing = [
        f"{shown(path)}:{one.lineno}"
        for path in FILES
        if home(path) != "cli" and shown(path) != "report/screen.py"
        for one in nodes(path)
        if isinstance(one, ast.Call) and ast.unparse(one.func) in ("print", "pprint", "sys.stdout.write")
    ]
    assert printing == []


def options_in(path: Path) -> list[str]:
    """Every option of a command line in the texts of a file, torchrun's apart."""
    texts = [node.value for node in nodes(path) if isinstance(node, ast.Constant) and type(node.value) is str]
    return [option for text in texts for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", text)]


def test_an_option_in_a_text_is_noticed(tmp_path):
    file = tmp_path / "file.py"
    file.write_text('"""Use --rows."""\nprint(f"{1} (--memory), or git checkout -- file", "a--b")\n')
    assert options_in(file) == ["--rows", "--memory"]


def test_only_the_command_line_names_its_options():
    """Others name parameters, which `cli/messages.py` makes options."""
    naming = {shown(path): set(options_in(path)) for path in FILES if home(path) != "cli"}
    assert {name: options for name, options in naming.items() if options} == {
        "distill/parallel.py": {"--nproc-per-node"},  # of torchrun
        "jobs/engines.py": {"--head", "--nthreads"},  # of ray and dask
        "studies/sweep/workers.py": {"--out", "--device", "--threads"},  # of the processes that it starts
    }


def test_randomness_comes_from_generators_with_a_seed():
    wrong = []
    for path in FILES:
        if shown(path) == "language/global_state.py":
            continue  # puts back what a user's code drew from the shared generators, and draws nothing itself
        wrong += [f"{shown(path)} imports random" for module in imports(path) if module == "random"]
        calls = [one for one in nodes(path) if isinstance(one, ast.Call)]
        for name, one in [(ast.unparse(one.func), one) for one in calls]:
            unseeded = name.endswith("default_rng") and not one.args
            # np.random.Generator is a class; np.random.shuffle and its like draw from a state that everybody shares
            shared = name.startswith("np.random.") and name.count(".") == 2 and name.islower()
            if unseeded or (shared and not name.endswith("default_rng")):
                wrong.append(f"{shown(path)}:{one.lineno} calls {name}()")
    assert wrong == []


def test_no_file_is_longer_than_one_can_read():
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in (*FILES, *sorted((ROOT / "hypotheses").glob("*.py")), ROOT / "cli.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}
