"""Files are listed without being run, load from anywhere, and a broken one says where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ad_hypotheses
from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.check import bind
from ad_hypotheses.language.history import History
from ad_hypotheses.language.load import FOLDER, listing, load
from ad_hypotheses.language.template import template, template_for, write_template

GOOD = '''"""Mimic: act as the learner did.

More words.
"""
from ad_hypotheses import Hypothesis, embed, head, logits, node


@node(at=embed("action"))
def last(history):
    return history.previous_actions


@node(at=logits)
def choice(last):
    return last


mimic = Hypothesis(choice)
control = mimic.on(last=embed("x"))
'''
BROKEN = "from ad_hypotheses import node\n\n@node(at=3\ndef f(history): ...\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty `hypotheses` folder below the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / FOLDER).mkdir()
    return tmp_path / FOLDER


def refused(path: str | Path, name: str | None = None) -> str:
    with pytest.raises(HypothesisError) as error:
        load(path, name)
    return str(error.value)


def test_a_name_is_looked_up_in_the_folders_too(folder: Path) -> None:
    for place in ("known", "mine", "_old"):
        (folder / place).mkdir()
        (folder / place / "mimic.py").write_text(GOOD)
    (folder / "known" / "leader.py").write_text(GOOD)
    for name in ("leader", "leader.py", "known/leader", "known/leader.py", "hypotheses/known/leader"):
        assert load(name)[0].name == "mimic", name
    assert refused("mimic") == (
        "There are several hypothesis files mimic.\n"
        "  in hypotheses/: known/mimic, mine/mimic\n"
        "  name one with its folder"
    )
    assert load("mine/mimic")[0].name == "mimic"
    (folder / "mimic.py").write_text(GOOD.replace("mimic = ", "nearest = ").replace("mimic.on", "nearest.on"))
    assert load("mimic")[0].name == "nearest"
    for typed in ("leadr", "hypotheses/leader.py", "known/leadr"):
        assert "Did you mean 'known/leader'?" in refused(typed), typed


def test_listing_runs_nothing_and_survives_broken_files(folder: Path) -> None:
    (folder / "mimic.py").write_text(GOOD)
    (folder / "broken.py").write_text(BROKEN)
    (folder / "bomb.py").write_text('"""Boom."""\nraise SystemExit(3)\na, b = Hypothesis(x), Hypothesis(y).on("z")\n')
    (folder / "nulls.py").write_bytes(b"x = 1\0")
    (folder / "latin.py").write_bytes(b"x = '\xe9'\n")
    (folder / "escape.py").write_text('x = "\\d"\nstate = lamp.on("now")\n')
    (folder / "_private.py").write_text("1 +")
    (folder / "notes.txt").write_text("1 +")
    found = {one.file.stem: one for one in listing()}
    assert list(found) == ["bomb", "broken", "escape", "latin", "mimic", "nulls"]
    mimic = found["mimic"]
    assert (mimic.hypotheses, mimic.title, mimic.n_nodes, mimic.error) == (
        ("mimic", "control"), "Mimic: act as the learner did.", 2, None,
    )  # fmt: skip
    assert (found["bomb"].hypotheses, found["bomb"].title, found["bomb"].error) == (("a", "b"), "Boom.", None)
    assert found["broken"].error == "line 3: '(' was never closed"
    assert "null bytes" in str(found["nulls"].error)
    assert "line 1" in str(found["latin"].error)
    assert (found["escape"].hypotheses, found["escape"].error) == ((), None)


def test_no_folder_to_list(folder: Path) -> None:
    with pytest.raises(HypothesisError, match="nowhere is no folder"):
        listing("nowhere")


def test_names_are_those_of_the_variables(folder: Path) -> None:
    (folder / "mimic.py").write_text(GOOD + "others = [mimic.on(last=head(0, i)) for i in range(2)]\nagain = mimic\n")
    loaded = load("mimic")
    assert [one.name for one in loaded] == ["mimic", "control", "others[0]", "others[1]"]
    assert all(one.control_of is loaded[0] for one in loaded[1:])
    assert loaded[0].title == "Mimic: act as the learner did."
    assert [one.name for one in load("hypotheses/mimic.py", "control")] == ["control"]
    assert load(folder / "mimic")[0].name == load("mimic.py")[0].name == "mimic"
    assert refused("mimic", "controll") == (
        "hypotheses/mimic.py holds no hypothesis 'controll'.\n"
        "  holds: mimic, control, others[0], others[1]\n  Did you mean 'control'?"
    )


def test_loading_from_anywhere_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("a", 1), ("b", 2)):
        place = folder / name
        place.mkdir()
        (place / "helpers_of_mine.py").write_text(f"VALUE = {value}\n")
        (place / "mimic.py").write_text(GOOD.replace("return last\n", "return last * 0 + VALUE\n").replace(
            "from ad_", "from helpers_of_mine import VALUE\nfrom ad_"))  # fmt: skip
    monkeypatch.chdir("/")
    modules, path = set(sys.modules), list(sys.path)
    history = lives()
    for name, value in (("a", 1), ("b", 2)):
        assert load(folder / name / "mimic.py")[0].values(history)["choice"].max() == value
    assert sys.path == path
    assert "helpers_of_mine" not in set(sys.modules) - modules
    assert not list(folder.rglob("__pycache__"))


def test_claims_may_be_built_on_those_of_another_file(folder: Path) -> None:
    (folder / "mimic.py").write_text(GOOD)
    (folder / "more.py").write_text("from ad_hypotheses import head\nfrom mimic import mimic\n"
                                    "here = mimic.on(last=head(0, 1))\n")  # fmt: skip
    assert [one.name for one in load("more")] == ["here"]
    assert {one.file.stem: one.hypotheses for one in listing()}["more"] == ("here",)


def test_an_edited_file_is_read_again(folder: Path) -> None:
    (folder / "mimic.py").write_text(GOOD)
    assert load("mimic")[0].accept == 0.9
    (folder / "mimic.py").write_text(GOOD.replace("Hypothesis(choice)", "Hypothesis(choice, accept=0.5)"))
    assert load("mimic")[0].accept == 0.5


BROKEN_FILES = {
    "syntax": (BROKEN, "hypotheses/bad.py is not valid Python: '(' was never closed.\n  file: hypotheses/bad.py:3\n"
               "  code: @node(at=3"),
    "raises": ("x = 1\ny = 1 / 0\n",
               "hypotheses/bad.py fails while it is loaded: ZeroDivisionError: division by zero\n"
               "  file: hypotheses/bad.py:2\n  code: y = 1 / 0"),
    "exits": ("import sys\nsys.exit()\n", "hypotheses/bad.py ends the program while it is loaded.\n"
              "  file: hypotheses/bad.py:2\n  code: sys.exit()\n"),
    "no module": ("import no_such_thing\n", "install no_such_thing, or put no_such_thing.py beside the file"),
    "no such name of ours": ("from ad_hypotheses import heads\n",
                             "  from ad_hypotheses come: History, Hypothesis, embed"),
    "forgot the import": ("x = embed('x')\n", "NameError: name 'embed' is not defined\n  file: hypotheses/bad.py:1\n"
                          "  code: x = embed('x')\n  add at the top: from ad_hypotheses import embed"),
    "our own error": (GOOD.replace("last=embed", "lats=embed"), ".on(lats=...): choice has no node 'lats'.\n"
                      "  nodes: last, choice\n  Did you mean 'last'?\n  file: hypotheses/bad.py:19"),
    "helper is broken": ("import crooked\n", "hypotheses/bad.py is not valid Python: invalid syntax.\n"
                         "  file: hypotheses/crooked.py:2"),
    "no hypothesis": (GOOD.partition("mimic =")[0], "hypotheses/bad.py holds no Hypothesis.\n"
                      "  file:  hypotheses/bad.py\n"
                      "  nodes: last, choice\n  end it with a claim, e.g. bad = Hypothesis(choice)"),
    "empty": ("", "hypotheses/bad.py holds no Hypothesis."),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_FILES)
def test_a_broken_file_says_where(folder: Path, case: str) -> None:
    text, fragment = BROKEN_FILES[case]
    (folder / "crooked.py").write_text("x = 1\ny = = 2\n")
    (folder / "bad.py").write_text(text)
    before = list(sys.path), set(sys.modules)
    assert fragment in refused("bad")
    assert (list(sys.path), {m for m in set(sys.modules) - before[1] if "hypothesis_file" in m}) == (before[0], set())


def test_an_interrupt_passes_through(folder: Path) -> None:
    (folder / "slow.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load("slow")


def test_no_such_file(folder: Path) -> None:
    (folder / "mimic.py").write_text(GOOD)
    expected = "There is no hypothesis file {}.\n  in hypotheses/: mimic\n  Did you mean 'mimic'?"
    assert refused("mimick") == expected.format("hypotheses/mimick.py")
    assert refused("hypotheses/mimick.py") == expected.format("hypotheses/mimick.py")
    assert refused("elsewhere/mimic.py") == (
        "There is no hypothesis file elsewhere/mimic.py.\n  elsewhere/: no such folder\n  Did you mean 'mimic'?"
    )
    assert refused(folder) == f"{folder} is a folder: name one of its files, mimic."


# ---------------------------------------------------------------------------------------------- the template


def lives() -> History:
    rng = np.random.default_rng(0)
    return History(
        observations=rng.integers(9, size=(30, 12, 2)), actions=rng.integers(5, size=(30, 12)),
        rewards=(rng.random((30, 12)) < 0.3).astype(float), episode=np.zeros((30, 12), dtype=np.int64),
        channels=("x", "y"), n_actions=5, task={"goal": rng.integers(9, size=(30, 2))},
    )  # fmt: skip


@pytest.mark.parametrize("n_layers", [1, 4])
def test_the_template_runs_as_it_is(folder: Path, n_layers: int) -> None:
    assert write_template("win_stay") == FOLDER / "win_stay.py"
    claim, control = load("win_stay")
    assert (claim.name, control.name, control.control_of is claim) == ("win_stay", "win_stay_control", True)
    assert claim.title.startswith("Win stay: ")
    for one in (claim, control):
        assert bind(one, Anatomy(("x", "y", "action", "reward"), n_layers, 1), lives()).warnings == ()
    history = lives()
    stays = claim.policy(history)[..., 0] == 1
    assert np.array_equal(stays, history.previous_rewards > 0)


@pytest.mark.parametrize(
    "anatomy",
    [
        Anatomy(("x", "y", "action", "reward"), 3, 4),
        Anatomy(("x", "y", "action", "reward"), 1, 1),
        Anatomy(("x", "y", "action", "reward"), 2, 1, has_positions=False, has_mlps=False),
        Anatomy(("x", "y", "action", "reward"), 1, 2, has_mlps=False),
        Anatomy(("x", "y", "action", "reward"), 1, 1, has_mlps=False),
    ],
    ids=lambda anatomy: f"{anatomy.n_layers} layers, {anatomy.n_heads} heads, MLPs: {anatomy.has_mlps}",
)
def test_the_template_for_a_model_runs_as_it_is(folder: Path, anatomy: Anatomy) -> None:
    text = template_for("idea", 'grid/"odd"', {"task": "a task " * 30, "actions": "0 stay"}, anatomy)
    assert max(map(len, text.splitlines())) <= 120
    write_template("idea", text=text)
    claim, *controls = load("idea")
    assert claim.model == 'grid/"odd"'
    assert bool(controls) is (anatomy.n_layers > 1 or anatomy.n_heads > 1 or anatomy.has_mlps)
    for one in (claim, *controls):
        assert bind(one, anatomy, lives(), roles={}).warnings == ()
    history = lives()
    paid = history.previous_rewards > 0
    assert np.array_equal(claim.policy(history).argmax(-1)[paid], history.previous_actions[paid])


def test_the_template_never_overwrites(folder: Path) -> None:
    write_template("mine", folder / "new")
    (folder / "new" / "mine.py").write_text("precious")
    with pytest.raises(HypothesisError, match=r"new/mine\.py exists and is left alone; choose another name\."):
        write_template("mine", folder / "new")
    assert (folder / "new" / "mine.py").read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("my-idea", "'my_idea'"), ("../Up", "'up'"), ("class", "'win_stay'"), ("", "'win_stay'"), ("1st", "'st'"),
     ("cell", "'win_stay'"), ("mimic.py", "'mimic'"), ("é", "'win_stay'")],
)  # fmt: skip
def test_names_that_cannot_be(folder: Path, name: str, hint: str) -> None:
    with pytest.raises(HypothesisError, match="cannot name a hypothesis") as error:
        write_template(name)
    assert hint in str(error.value)
    assert not list(folder.iterdir())


def test_the_template_is_plain_python_of_a_readable_width() -> None:
    compile(template("mine"), "mine.py", "exec")
    assert max(map(len, template("mine").splitlines())) <= 120


# ---------------------------------------------------------------------------------------------- the package


def test_public_names_come_without_torch() -> None:
    code = (
        "import sys, ad_hypotheses\n"
        "assert 'numpy' not in sys.modules\n"
        "from ad_hypotheses import History, Hypothesis, embed, head, logits, mlp, node, pos\n"
        "import ad_hypotheses.language.check, ad_hypotheses.language.load, ad_hypotheses.language.template\n"
        "assert 'torch' not in sys.modules\n"
        "assert set(ad_hypotheses.__all__) <= set(dir(ad_hypotheses))\n"
    )
    root = Path(ad_hypotheses.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ad_hypotheses.nothing
