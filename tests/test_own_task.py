"""A task family in a file of the user's own: the one in the docs, the checks that it passes, and mistakes in it."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

from ad_hypotheses.distill.config import check_config
from ad_hypotheses.distill.rollout import rollout
from ad_hypotheses.distill.train import train
from ad_hypotheses.errors import ConfigError
from ad_hypotheses.tasks import TASKS, check_task, make_task, trust
from ad_hypotheses.tasks.counterfactuals import families_of
from ad_hypotheses.tasks.edits.kinds import Kind
from ad_hypotheses.tasks.edits.lives import Lives
from ad_hypotheses.tasks.play import play
from ad_hypotheses.tasks.task import MEMBERS

DOCS = (Path(__file__).parents[1] / "docs" / "tasks.md").read_text()
CODE = next(block for block in re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL) if "class " in block)


@pytest.fixture
def corridor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of the docs, in the folder that they name, below the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks").mkdir()
    path = Path("tasks/corridor.py")
    path.write_text(CODE)
    trust(path)
    return path


def said(name: str, **params: object) -> str:
    with pytest.raises(ConfigError) as error:
        make_task(name, **params)
    return str(error.value)


# --- the example


def test_the_example_is_short() -> None:
    assert len(CODE.splitlines()) < 90


def test_the_example_passes_every_check(corridor: Path) -> None:
    for params in ({}, {"length": 4, "horizon": 1}, {"length": 30, "horizon": 8}):
        check_task(make_task("tasks/corridor.py:Corridor", **params))


def test_the_example_trains_and_is_rolled_out(corridor: Path, tmp_path: Path) -> None:
    config = check_config(
        {
            "task": {"name": "tasks/corridor.py:Corridor", "length": 7, "horizon": 6},
            "source": {"name": "dyna-q", "planning": 5, "anneal_episodes": 6},
            "histories": {"held_out": 2, "learners": 60, "episodes": 10, "keep_every": 2},
            "model": {"n_layers": 1, "n_heads": 2, "d_model": 8},
            "training": {"updates": 6, "batch": 6, "warmup": 2, "evaluate_every": 6, "save_every": 6},
        },
        "a test",
    )
    model, record = train(config, tmp_path / "work")
    task, (trained_on, held_out) = config.experiment.task, config.experiment.split()
    assert (len(trained_on["goal"]), len(held_out["goal"])) == (5, 2)
    assert 0 <= record["metrics"][-1]["held_out_of_optimum"] <= 1
    history = rollout(model, task, held_out, config.kept_episodes, np.random.default_rng(0))
    assert history.observations.shape == (2, 30, 1)
    assert (np.abs(np.diff(history.observations[:, :6, 0], axis=1)) <= 1).all()


def test_a_baseline_of_the_example_returns_to_the_goal(corridor: Path) -> None:
    task, rng = make_task("tasks/corridor.py:Corridor", length=7), np.random.default_rng(0)
    facts = {"goal": np.arange(7).repeat(20)}
    returns = play(task, facts, task.baselines(rng)["remember"], 6, rng).rewards.reshape(140, 6, 15).sum(axis=2)
    assert returns[:, 0].mean() < 8 < 0.9 * task.optimal_return(facts).mean() < returns[:, -1].mean()


def test_the_docs_name_every_member() -> None:
    table = DOCS[DOCS.index("| member | says |") :]
    assert [member for member in MEMBERS if not re.search(rf"`{member}[`(]", table)] == []


def test_the_docs_name_every_family_with_its_parameters() -> None:
    for name in TASKS:
        untold = {"adversarial", *(["bias"] if name == "bandit" else [])}  # what only the other bandit has
        fields = dataclasses.fields(make_task(name))
        options = [field.name for field in fields if "off" in field.metadata]  # which have rows of their own
        told = [row for row in DOCS.splitlines() if row.startswith("| `")]
        assert [option for option in options if not any(f"`{option}: " in row for row in told)] == []
        shown = [field.name for field in fields if field.name not in {*untold, *options}]
        first = next(row for row in DOCS.splitlines() if row.startswith(f"| `{name}` | `"))
        assert [one for one in shown if f"`{one}`" not in first] == [], name


def test_a_family_of_tasks_declares_counterfactuals_of_its_own(corridor: Path) -> None:
    snippet = textwrap.indent(DOCS[DOCS.index("def counterfactuals(self):") :].partition("```")[0], "    ")
    imports = "from ad_hypotheses.tasks.edits.catalogue import goal_moved\n"
    imports += "from ad_hypotheses.tasks.edits.families import redrawn\n"
    imports += "from ad_hypotheses.tasks.edits.kinds import Kind\n"
    corridor.write_text(CODE.replace("import numpy as np\n", f"import numpy as np\n{imports}") + "\n" + snippet)
    task = make_task("tasks/corridor.py:Corridor", length=7, horizon=6)
    check_task(task)
    names = list(families_of(task, 8))
    assert names[:2] == ["goal-moved", "mirrored"]
    assert set(names[2:]) == {"dead", "life-before", "actions-exchanged", "episodes-shuffled"}
    rng = np.random.default_rng(0)
    facts = {"goal": np.arange(7)}
    lives = Lives(
        task, facts, 4, rng, lambda *world: play(*world[:2], task.baselines(rng)["remember"], 4, rng, *world[2:])
    )
    history = families_of(task, 8)["mirrored"].live(lives).history
    assert history.task["goal"].tolist() == [6, 5, 4, 3, 2, 1, 0]
    arrived = history.observations[:, 1:, 0] == np.where(
        np.arange(23) < 12, facts["goal"][:, None], 6 - facts["goal"][:, None]
    )
    within = np.arange(1, 24) % 6 != 0
    assert (arrived[:, within] == (history.rewards[:, :-1] > 0)[:, within]).all()
    corridor.write_text(CODE + '\n    def counterfactuals(self):\n        return {"nothing": 3}\n')
    with pytest.raises(ConfigError, match=r"counterfactuals\(\) must return kinds by name, but 'nothing' is not one"):
        check_task(make_task("tasks/corridor.py:Corridor"))
    corridor.write_text(CODE + "\n    def counterfactuals(self):\n        return self.goals\n")
    with pytest.raises(ConfigError, match=r"corridor: counterfactuals\(\) fails: AttributeError"):
        families_of(make_task("tasks/corridor.py:Corridor"), 8)
    short = """
    def counterfactuals(self):
        from ad_hypotheses.tasks.edits.kinds import Kind

        return {"short": Kind("a life that ends early", live=lambda lives: lives.live(2))}
"""
    corridor.write_text(CODE + short)
    with pytest.raises(ConfigError, match="Its counterfactual families: AttributeError"):
        check_task(make_task("tasks/corridor.py:Corridor"))


def test_a_kind_that_changes_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="the kind of counterfactual 'nothing' needs `edit`, `live` or both"):
        Kind("nothing")


def test_the_docs_name_every_counterfactual_family_with_its_tasks() -> None:
    table = DOCS[DOCS.index("## Counterfactual families") : DOCS.index("## A task of your own")]
    options = [{"goal_moves": 0.1}, {"action_order": "drawn"}, {"pays": 0.5}, {"second_goal": 0.3}, {"trap": -1}]
    tasks = [*map(make_task, TASKS), *(make_task("dark-room", **option) for option in options)]
    names = {name for task in tasks for name in families_of(task, 8)}
    assert {row.split("`")[1] for row in table.splitlines() if row.startswith("| `")} == names | {"layout-changed"}


# --- loading


def test_a_file_is_run_once_as_long_as_it_stays_the_same(corridor: Path) -> None:
    first, again = (make_task("tasks/corridor.py:Corridor") for _ in range(2))
    absolute = make_task(f"{corridor.resolve()}:Corridor")
    assert first == again == absolute
    corridor.write_text(CODE.replace("length: int = 21", "length: int = 5"))
    assert make_task("tasks/corridor.py:Corridor").length == 5


def test_what_cannot_be_loaded_is_explained(corridor: Path) -> None:
    trust("tasks/nowhere.py")
    assert "cannot read the task file tasks/nowhere.py" in said("tasks/nowhere.py:Corridor")
    assert "no class 'Corider' in tasks/corridor.py. Did you mean 'Corridor'?" in said("tasks/corridor.py:Corider")
    assert "no parameter 'lenght'. Did you mean 'length'?" in said("tasks/corridor.py:Corridor", lenght=3)
    assert "length is 'a', but it must be of type int" in said("tasks/corridor.py:Corridor", length="a")
    assert "is no dataclass" in said("tasks/corridor.py:State")
    corridor.write_text("import numpy\nnumpy.nothing\n")
    assert "fails: AttributeError: module 'numpy' has no attribute 'nothing'" in said("tasks/corridor.py:Corridor")
    corridor.write_text("x = 1\nclass Corridor(\n")
    assert "tasks/corridor.py fails in line 2: SyntaxError" in said("tasks/corridor.py:Corridor")


def test_what_a_family_lacks_is_listed(corridor: Path) -> None:
    corridor.write_text(CODE.replace("def regimes(", "def kinds(").replace("    rewards: ", "    pays: "))
    assert "it lacks rewards, regimes" in said("tasks/corridor.py:Corridor")
    corridor.write_text(CODE.replace("length: int = 21", "length: int").replace("horizon: int = 15", "horizon: int"))
    assert "need defaults that are int, float, str or bool: length, horizon" in said("tasks/corridor.py:Corridor")


def test_a_configuration_with_a_broken_task_file_is_refused_before_anything_runs(corridor: Path) -> None:
    content = {"task": {"name": "tasks/corridor.py:Corider"}, "source": {"name": "dyna-q"}}
    with pytest.raises(ConfigError, match="task: there is no class 'Corider'"):
        check_config(content, "a test")


class Unspeakable(ValueError):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError


def test_an_exception_that_cannot_be_shown_is_named(corridor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise Unspeakable

    task = make_task("tasks/corridor.py:Corridor")
    monkeypatch.setattr(type(task), "reset", fail)
    with pytest.raises(ConfigError, match=r"Unspeakable, in fail, line \d+"):
        check_task(task)
    monkeypatch.setattr(type(task), "__init__", fail)
    assert said("tasks/corridor.py:Corridor") == "tasks/corridor.py:Corridor cannot be made: Unspeakable"


# --- the checker


SMALLER = {name: {"horizon": 20} for name in TASKS if "bandit" in name}


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("name", TASKS)
def test_every_family_that_ships_passes(name: str) -> None:
    check_task(make_task(name, **SMALLER.get(name, {})))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("dark-room", {"size": 2, "horizon": 1}),
        ("dark-room-hard", {"size": 7, "horizon": 4}),
        ("key-to-door", {"start": "centre"}),
        ("key-to-door", {"size": 5, "horizon": 6}),
        ("bandit", {"arms": 2, "horizon": 5}),
    ],
)
def test_families_pass_with_other_parameters(name: str, params: dict) -> None:
    check_task(make_task(name, **params))


MISTAKES = {
    'action_names: ClassVar[tuple[str, ...]] = ("stay", "left", "right")': (
        'action_names: ClassVar[tuple[str, ...]] = ("stay",)',
        "action_names: 1 names of 3 actions",
    ),
    "= (0.0, 1.0)": ("= (0.0, 2.0)", "step: pays 1, which `rewards` (0.0, 2.0) does not list"),
    "goals[held_out : held_out + train]": ("goals[:train]", "split: a task that is held out is also trained on"),
    "permutation(self.length)": ("permutation(self.length)[-train - held_out :]", "split: what is held out depends on"),
    "return state.cell[:, None].astype(np.int8)": (
        "return state.cell[:, None] + 0.0",
        "observe: must return integers of shape (6, 1), but returns float64 (6, 1)",
    ),
    "return (self.length,)": ("return (self.length // 2,)", "observe: an observation is not in the ranges"),
    "return self.observe(after), (": ("return self.observe(state), (", "step: the observation that it returns is not"),
    "return state.cell\n": ("return state.cell + 9\n", "is not in 0 .. 20"),
    "return self._towards(state.goal, state.cell)": (
        "return self._towards(state.goal, state.cell) / 2",
        "expert: its probabilities must be 0 or more and sum to 1",
    ),
    "state.cell + MOVES[actions], 0": (
        "state.cell + MOVES[(actions + rng.integers(2)) % 3], 0",
        "deterministic: it is True, but the same actions",
    ),
    "np.maximum(distance - 1, 0)": ("distance", "optimal_return: its mean is"),
    "distance = np.abs(": ("distance = 1 + np.abs(", "but expert earned"),
    "1 / 3)": ("1 / 2)", "baselines: remember: its probabilities must be"),
    '{"remember": remember}': ('{"random": remember}', "baselines: 'random' is there for every family"),
    '"search": ~known': ('"search": known', "regimes: a step is in 2 of them, not in 1"),
    "known = history.last_rewarded_cell()[..., 0] >= 0": (
        "known = history.rewards > 0",
        "regimes: the last step's depends on its own action or reward",
    ),
    "goal.astype(int) - cell": ("gaol - cell", "NameError: name 'gaol' is not defined, in _towards, line"),
}


@pytest.mark.parametrize("right", MISTAKES)
def test_a_mistake_is_found(right: str, corridor: Path) -> None:
    wrong, problem = MISTAKES[right]
    assert CODE.count(right) == 1, "the docs have changed"
    corridor.write_text(CODE.replace(right, wrong))
    with pytest.raises(ConfigError) as error:
        check_task(make_task("tasks/corridor.py:Corridor"))
    assert problem in str(error.value)


def test_all_mistakes_are_listed_at_once(corridor: Path) -> None:
    code = CODE
    together = ('{"remember": remember}', '"search": ~known', "= (0.0, 1.0)", "goals[held_out : held_out + train]")
    for right in together:
        code = code.replace(right, MISTAKES[right][0])
    corridor.write_text(code)
    with pytest.raises(ConfigError) as error:
        check_task(make_task("tasks/corridor.py:Corridor"))
    assert "the task family 'corridor' cannot be used:\n" in str(error.value)
    assert [right for right in together if MISTAKES[right][1] not in str(error.value)] == []


def test_what_is_no_family_at_all_is_told_what_it_lacks() -> None:
    with pytest.raises(ConfigError, match="'object' cannot be used:\n  it lacks name, channels"):
        check_task(object())


def test_what_a_file_changes_of_global_state_is_put_back(corridor: Path) -> None:
    errors = np.geterr()
    corridor.write_text(CODE + "\nnp.seterr(all='raise')\n")
    assert make_task("tasks/corridor.py:Corridor").length == 21
    assert np.geterr() == errors
