"""What a user wrote neither ends the program without a word nor prints among its results, wherever it is called."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from ad_hypotheses import History, Hypothesis, logits, node
from ad_hypotheses.errors import HypothesisError

CLAIM = """\
import sys
import numpy as np
from ad_hypotheses import Hypothesis, embed, logits, node

class Quit(BaseException):
    pass

@node(at=embed("reward"))
def paid(history):
    PLACE
    return history.previous_rewards > 0

@node(at=logits)
def choice(paid):
    return np.where(paid, 0, -1)

claim = Hypothesis(choice, model="tiny", accept=0.5)
"""
QUICK = ("--rows", 32, "--passes", 1, "--pool", 64, "--data", "source", "--no-rivals")
CORRIDOR = next(
    block
    for block in re.findall(
        r"```python\n(.*?)```", (Path(__file__).parents[1] / "docs" / "tasks.md").read_text(), re.DOTALL
    )
    if "class " in block
)
CONFIG = """\
task: {name: "corridor.py:Corridor", length: 7, horizon: 6}
source: {name: dyna-q, planning: 5, anneal_episodes: 6}
histories: {held_out: 2, learners: 60, episodes: 10, keep_every: 2}
model: {n_layers: 1, n_heads: 2, d_model: 8}
training: {updates: 6, batch: 6, warmup: 2, evaluate_every: 6, save_every: 6}
"""


def history(n_rows: int = 4) -> History:
    zeros = np.zeros((n_rows, 3), dtype=np.int64)
    return History(zeros[..., None], zeros, zeros.astype(float), zeros, ("x",), 5)


@pytest.fixture
def claim(workplace):
    """Return what writes a hypothesis with a statement in its feature."""

    def write(statement: str) -> Path:
        path = workplace / "hypotheses" / "claim.py"
        path.write_text(CLAIM.replace("PLACE", statement))
        return path

    return write


# --- ending the program


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("sys.exit(0)", "SystemExit: 0"),
        ("raise Quit('enough')", "Quit: enough"),
        ("raise GeneratorExit", "GeneratorExit"),
    ],
)
def test_a_feature_that_ends_the_program_is_a_mistake_of_its_file(cli, claim, statement, kind):
    ran = cli("check", claim(statement))
    assert (ran.code, ran.out) == (2, "")
    for fragment in (
        f"paid() raises {kind}",
        "hypotheses/claim.py:10",
        f"code: {statement}",
        "does not end the program",
    ):
        assert fragment in ran.said


@pytest.mark.parametrize("verb", [pytest.param("scrub", marks=pytest.mark.slow), "patch"])
def test_it_ends_no_study(cli, claim, workplace, verb):
    ran = cli(verb, claim("sys.exit(0)"), "--rows", 32)
    assert (ran.code, ran.out) == (2, "")
    assert "paid() raises SystemExit: 0" in ran.said
    assert not list(workplace.glob("reports/*.md"))


def test_a_file_that_ends_the_program_while_it_is_loaded(cli, claim):
    path = claim("pass")
    path.write_text(path.read_text() + "raise Quit\n")
    ran = cli("check", path)
    assert (ran.code, ran.out) == (2, "")
    assert "hypotheses/claim.py ends the program while it is loaded." in ran.said
    assert "code: raise Quit" in ran.said


def test_a_value_that_fails_after_the_check_is_a_mistake_of_its_file():
    """Rollouts call features on histories that no check has seen."""

    @node(at=logits)
    def choice(history):
        if history.n_rows == 7:
            raise SystemExit(0)
        return np.zeros((5 // (history.n_rows - 6), 3), dtype=int)

    claim = Hypothesis(choice)
    for n_rows, fragment in ((7, r"choice\(\) raises SystemExit: 0"), (6, r"choice\(\) raises ZeroDivisionError")):
        with pytest.raises(HypothesisError, match=fragment) as error:
            claim.policy(history(n_rows))
        assert "test_user_code.py" in str(error.value)


def test_ctrl_c_in_a_feature_stays_what_it_is():
    @node(at=logits)
    def choice(history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Hypothesis(choice).policy(history())


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise SystemExit(0)", "corridor.py ends the program: SystemExit: 0"),
        ("raise ValueError('no task')", "corridor.py fails: ValueError: no task"),
        ("open('nowhere.txt')", "corridor.py fails: FileNotFoundError:"),
    ],
)
def test_a_task_of_ones_own_is_held_to_account_too(cli, workplace, statement, message):
    member = "    def reset("
    begin = CORRIDOR.index(":\n", CORRIDOR.index(member)) + 2
    (workplace / "corridor.py").write_text(f"{CORRIDOR[:begin]}        {statement}\n{CORRIDOR[begin:]}")
    (workplace / "corridor.yaml").write_text(CONFIG)
    ran = cli("histories", "corridor.yaml", "--learners", 8)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.said
    assert f"code: {statement}" in ran.said


# --- printing


@pytest.mark.parametrize("verb", ["check", "scrub"])
def test_what_a_hypothesis_prints_is_no_part_of_the_results(cli, claim, verb):
    path = claim("print('paid is asked')")
    path.write_text(f"print('loading')\n{path.read_text()}")
    ran = cli(verb, path, "--json", *((*QUICK, "--rollouts", 0) if verb == "scrub" else ()))
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)
    assert "loading\n" in ran.err
    assert "paid is asked\n" in ran.err
