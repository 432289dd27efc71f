"""A claim is a function with arrows; what cannot be tested is refused with a reason, a place and a remedy."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ad_hypotheses.errors import HypothesisError
from ad_hypotheses.language.anatomy import Anatomy
from ad_hypotheses.language.check import Bound, bind, check_structure, classes
from ad_hypotheses.language.feature_check import Feature
from ad_hypotheses.language.history import History
from ad_hypotheses.language.hypothesis import Hypothesis, Node, node
from ad_hypotheses.language.load import load
from ad_hypotheses.language.sites import SiteSet, embed, head, logits, mlp, pos

ANATOMY = Anatomy(("x", "y", "action", "reward"), n_layers=2, n_heads=4)
ROWS, STEPS, SIZE = 40, 24, 5


def lives(n_rows: int = ROWS, seed: int = 0) -> History:
    """Random walks whose goal pays now and then; episodes of 8 steps."""
    rng = np.random.default_rng(seed)
    return History(
        observations=rng.integers(SIZE, size=(n_rows, STEPS, 2)),
        actions=rng.integers(5, size=(n_rows, STEPS)),
        rewards=(rng.random((n_rows, STEPS)) < 0.15).astype(float),
        episode=np.broadcast_to(np.arange(STEPS) // 8, (n_rows, STEPS)),
        channels=("x", "y"),
        n_actions=5,
        task={"goal": rng.integers(SIZE, size=(n_rows, 2))},
        learner=np.arange(n_rows),
    )


HISTORY = lives()

RETRIEVAL = '''
"""Retrieval: the model looks up where it was rewarded and walks there."""
import numpy as np
from ad_hypotheses import Hypothesis, embed, head, logits, mlp, node, pos


@node(at=embed("x") + embed("y"))
def cell(history):
    """Where the agent stands."""
    return history.observations


@node(at=head(0, 2))
def goal(history):
    return history.last_rewarded_cell()


@node(at=mlp(1))
def heading(cell, goal):
    known = (goal >= 0).all(axis=-1, keepdims=True)
    return np.where(known, np.sign(goal - cell), 0)


@node(at=logits)
def choice(heading):
    return np.where((heading == 0).all(axis=-1), -1, 1 + (heading[..., 0] > 0))


claim = Hypothesis(choice)
'''


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Hypothesis]:
    """Return a function that writes a file of the retrieval claim with changes, and loads its last hypothesis."""
    monkeypatch.chdir(tmp_path)

    def write(*changes: tuple[str, str], more: str = "") -> Hypothesis:
        text = RETRIEVAL
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, textwrap.dedent(new))
        (tmp_path / "claim.py").write_text((text + textwrap.dedent(more)).lstrip())
        return load("claim.py")[-1]

    return write


def refused(claim: Hypothesis, history: History = HISTORY) -> str:
    with pytest.raises(HypothesisError) as error:
        bind(claim, ANATOMY, history)
    return str(error.value)


# ---------------------------------------------------------------------------------------------- what is accepted


def test_a_claim_runs_and_binds(write) -> None:
    claim = write()
    bound = bind(claim, ANATOMY, HISTORY)
    assert isinstance(bound, Bound)
    assert (bound.root, bound.warnings, list(bound.nodes)) == ("choice", (), ["cell", "goal", "heading", "choice"])
    assert bound.nodes["heading"].parents == ("cell", "goal")
    assert bound.nodes["choice"].labels is None
    assert [str(part) for part in bound.nodes["cell"].parts] == ['embed("x")', 'embed("y")']
    assert bound.nodes["cell"].doc == "Where the agent stands."
    cells = HISTORY.observations @ [SIZE, 1]
    assert bound.nodes["cell"].labels.dtype == np.int64
    assert same_partition(bound.nodes["cell"].labels, cells)
    assert check_structure(claim, ANATOMY)["goal"] == head(0, 2).resolve(ANATOMY)


def test_a_claim_is_a_graph_and_a_tree(write) -> None:
    claim = write(("def choice(heading)", "def choice(heading, cell)"))
    graph = claim.graph()
    assert nx.is_directed_acyclic_graph(graph)
    assert set(graph.edges) == {
        ("cell", "heading"), ("goal", "heading"), ("heading", "choice"), ("cell", "choice")
    }  # fmt: skip
    assert graph.nodes["cell"] == {"site": 'embed("x") + embed("y")', "doc": "Where the agent stands."}
    assert list(claim.tree()) == [
        ("choice",),
        ("choice", "heading"),
        ("choice", "heading", "cell"),
        ("choice", "heading", "goal"),
        ("choice", "cell"),
    ]
    assert claim.title == "Retrieval: the model looks up where it was rewarded and walks there."
    assert repr(claim).startswith('Hypothesis(claim on dark-room: cell at embed("x") + embed("y"), goal at head(0, 2)')


def test_policy_is_certain_or_says_anything(write) -> None:
    claim = write()
    policy = claim.policy(HISTORY)
    assert policy.shape == (ROWS, STEPS, 5)
    assert np.allclose(policy.sum(axis=-1), 1)
    value = claim.values(HISTORY)["choice"]
    assert np.array_equal(policy[value >= 0].argmax(axis=-1), value[value >= 0])
    assert np.all(policy[value < 0] == 1 / 5)
    soft = write(("return np.where((heading == 0)", "return np.full((*heading.shape[:2], 5), 0.2)\n    return ((0)"))
    assert np.array_equal(soft.policy(HISTORY), np.full((ROWS, STEPS, 5), 0.2))


def test_a_node_is_still_a_function_and_knows_its_line(write) -> None:
    claim = write()
    cell, goal, heading, _ = claim.nodes
    assert np.array_equal(cell(HISTORY), HISTORY.observations)
    assert (cell.place, goal.place, heading.place) == ("claim.py:7", "claim.py:13", "claim.py:18")


def test_the_same_claim_elsewhere(write) -> None:
    claim = write()
    moved = claim.on(goal=head(0, 3))
    assert moved.control_of is claim
    assert [str(one.nodes[1].site) for one in (moved, claim)] == ["head(0, 3)", "head(0, 2)"]
    assert claim.on("dark-room", goal=head(0, 3)).control_of is claim
    bigger = claim.on("dark-room-4x4")
    assert (bigger.model, bigger.control_of, bigger.origin) == ("dark-room-4x4", None, claim)
    assert bigger.on(goal=head(0, 1)).control_of is bigger
    assert np.array_equal(moved.policy(HISTORY), claim.policy(HISTORY))


WRONG_MOVES = [
    (lambda claim: claim.on(gaol=head(0, 1)),
     ".on(gaol=...): choice has no node 'gaol'.\n  nodes: cell, goal, heading, choice\n  Did you mean 'goal'?"),
    (lambda claim: claim.on(goal="head(0, 1)"), "that is not a site.\n  write for example goal=head(1, 2)"),
    (lambda claim: claim.on(goal=head(0, 2)), "changes nothing: the model and every site are the same."),
    (lambda claim: claim.on("dark-room"), "changes nothing"),
    (lambda claim: Hypothesis(claim), "that is not a node.\n  put @node(at=logits) above the last function"),
    (lambda claim: Hypothesis(lives), "Hypothesis(lives()): that is not a node."),
    (lambda claim: Hypothesis(claim.root, accept=90), "Hypothesis(accept=90): the share to recover lies above 0"),
    (lambda claim: Hypothesis(claim.root, model=3), 'a model is a name.\n  for example model="dark-room"'),
]  # fmt: skip


@pytest.mark.parametrize(("build", "fragment"), WRONG_MOVES)
def test_wrong_arguments(write, build, fragment: str) -> None:
    with pytest.raises(HypothesisError) as error:
        build(write())
    assert fragment in str(error.value)


def test_nodes_may_be_local() -> None:
    @node(at=embed())
    def token(history):
        return history.observations

    @node(at=logits)
    def act(token):
        return token[..., 0]

    assert act.parents == (token,)
    assert list(bind(Hypothesis(act), ANATOMY, HISTORY).nodes) == ["token", "act"]


LEGAL_SITES = [
    # inputs of a head beside the head, whose other parents enter the remaining inputs
    (("@node(at=mlp(1))", "@node(at=head(1, 1).q)\ndef query(cell):\n    return cell\n\n@node(at=head(1, 1))"),
     ("def heading(cell, goal)", "def heading(query, cell, goal)")),
    # orthogonal subspaces of one site
    (('embed("x") + embed("y")', "mlp(0).along([1.0, 0, 0])"), ("head(0, 2)", "mlp(0).along([0, 1.0, 1.0])")),
    # one writer, two consumers
    (('embed("x") + embed("y")', "mlp(0).to(mlp(1))"), ("head(0, 2)", "mlp(0).to(logits)"),
     ("def heading(cell, goal):", "def heading(cell):\n    goal = cell"),
     ("def choice(heading)", "def choice(heading, goal)")),
    # positions, a whole layer, and a count
    (("head(0, 2)", "head(0).expect(4)"), ('embed("x") + embed("y")', "pos")),
]  # fmt: skip


@pytest.mark.parametrize("changes", LEGAL_SITES)
def test_sites_may_be_shared_where_they_can_be_told_apart(write, changes) -> None:
    assert bind(write(*changes), ANATOMY, HISTORY).warnings == ()


LEGAL_FEATURES = [
    "history.observations[..., 0]",
    "history.previous_actions",
    "history.previous_rewards > 0",
    "history.rewards_seen",
    "history.last_rewarded_cell()",
    "history.visits(5)",
    "history.action_counts()",
    "history.action_rewards()",
    "history.episode_step",
    "np.where(history.episode_start, history.episode, 7.0)",
    "np.zeros(history.actions.shape, dtype=bool)",
    "np.digitize(history.rewards_seen / 3, [0.5, 1.5])",
    "np.maximum.accumulate(history.observations, axis=1)",
    "history.task['goal']",
    "history.task['goal'][:, 0] > 2",
    "np.zeros(history.n_rows)",
]


@pytest.mark.parametrize("value", LEGAL_FEATURES)
def test_features_of_what_is_visible_pass(write, value: str) -> None:
    claim = write(
        ("return history.last_rewarded_cell()", f"return {value}"),
        ("def heading(cell, goal):", "def heading(cell):\n    goal = cell"),
        ("def choice(heading)", "def choice(heading, goal)"),
    )
    bound = bind(claim, ANATOMY, HISTORY)
    assert bound.nodes["goal"].hidden == ("task" in value)
    assert bound.nodes["choice"].hidden == ("task" in value)
    stepwise = claim.values(HISTORY)["goal"].shape[1:2] == (STEPS,)
    assert bound.nodes["goal"].labels.shape == ((ROWS, STEPS) if stepwise else (ROWS,))


# ---------------------------------------------------------------------------------------------- what is refused

LAST = "return history.last_rewarded_cell()"

WRONG_GRAPHS = {
    "unknown node": (
        [("def choice(heading)", "def choice(headin)")],
        "choice() reads 'headin', but no node of that name is defined above it.\n"
        "  file:    claim.py:24\n"
        "  defined: history, cell, goal, heading\n"
        "  Did you mean 'heading'?",
    ),
    "channel": (
        [("def heading(cell, goal)", "def heading(cell, goal, reward)")],
        "heading() reads 'reward', but no node of that name is defined above it.\n"
        "  file:    claim.py:18\n"
        "  defined: history, cell, goal\n"
        '  did you mean to add a node at embed("reward")?',
    ),
    "undefined": (
        [("def heading(cell, goal)", "def heading(cell, goal, level)")],
        "define level above it with @node(at=...), or compute it inside from history",
    ),
    "itself": (
        [("def goal(history)", "def goal(history, goal)")],
        "goal() reads itself.\n  file:    claim.py:13",
    ),
    "below": (
        [("def goal(history)", "def goal(history, later)"),
         ("claim =", "@node(at=pos)\ndef later(history):\n    return history.episode\n\n\nclaim =")],
        "goal() reads 'later', which is defined below it, in line 29.\n  file:    claim.py:13\n"
        "  defined: history, cell\n  move later above goal",
    ),
    "circle": (
        [("def goal(history)", "def goal(history, choice)")],
        "goal() reads 'choice', which reads goal() in turn: a circle (goal -> heading -> choice -> goal).",
    ),
    "plain function": (
        [("@node(at=head(0, 2))", "")],
        "heading() reads 'goal', a function without a site.",
    ),
    "default": (
        [("def goal(history)", "def goal(history, k=3)")],
        "goal() gives its parameter k a default: a parameter is an arrow.\n  file: claim.py:13\n"
        "  write k = 3 inside the function",
    ),
    "star": ([("def goal(history)", "def goal(history, *rest)")], "goal() takes *rest: which arrows are those?"),
    "keyword only": ([("def goal(history)", "def goal(*, history)")], "goal() takes history by keyword only."),
    "no parameter": ([("def goal(history)", "def goal()")], "goal() reads nothing.\n  file: claim.py:13\n"
                     "  add the parameter history, or the nodes it is made from"),
    "maker as site": ([("at=head(0, 2)", "at=head")], "goal() sits at the function head, not at a site.\n"
                      "  file: claim.py:13\n  write at=head(1, 2)"),
    "text as site": ([("at=head(0, 2)", "at='head(0, 2)'")], "goal() sits at 'head(0, 2)', which is not a site."),
    "no site": ([("@node(at=head(0, 2))", "@node")], "goal() has no site.\n  file: claim.py:13"),
    "no such head": ([("head(0, 2)", "head(0, 9)")], "goal() sits at head(0, 9): the model has no head 9.\n"
                     "  file:  claim.py:13\n  heads: 0 to 3"),
    "too late": (
        [("head(0, 2)", "mlp(1)"), ("@node(at=mlp(1))\ndef heading", "@node(at=mlp(0))\ndef heading")],
        "heading() at mlp(0) reads goal() at mlp(1), but what is written there comes too late to be read there.\n"
        "  file:  claim.py:18\n"
        "  order: embed, pos; heads of layer 0; mlp(0); heads of layer 1; mlp(1); ...; logits\n"
        "  move goal to an earlier site or heading to a later one",
    ),
    "left out by .to": (
        [("head(0, 2)", "head(0, 2).to(logits)")],
        "heading() at mlp(1) reads goal() at head(0, 2).to(logits), but .to leaves out all that heading reads with.\n"
        "  file:       claim.py:18\n  reads with: mlp(1)\n  name one of them in .to",
    ),
    "child that reads nothing": (
        [("@node(at=mlp(1))", '@node(at=embed("action"))')],
        'heading() reads cell, goal, but embed("action") reads nothing of the model.\n  file: claim.py:18\n'
        "  compute it from history, or move it to a head, an mlp or the logits",
    ),
    "shared site": (
        [("head(0, 2)", 'embed("y")')],
        'cell() and goal() share the site embed("y").\n  file: claim.py:13\n'
        '  cell: embed("x") + embed("y"), claim.py:7\n'
        '  goal: embed("y"), claim.py:13\n'
        "  join them into one node, or tell them apart by .to(reader) or by orthogonal .along(directions)",
    ),
    "named twice": ([("head(0, 2)", "head(0) + head(0, 2)")], "goal() sits at head(0) + head(0, 2), which names "
                    "head(0, 2) twice.\n  file: claim.py:13\n  drop one of them"),
    "subspaces overlap": (
        [('embed("x") + embed("y")', "mlp(0).along([1.0, 0])"), ("head(0, 2)", "mlp(0).along([0.6, 0.8])")],
        "share the site mlp(0) along directions that are not orthogonal (largest cosine 0.6)",
    ),
    "subspaces of two widths": (
        [('embed("x") + embed("y")', "mlp(0).along([1.0, 0])"), ("head(0, 2)", "mlp(0).along([0, 0, 1.0])")],
        "share the site mlp(0) along directions of different widths, 2 and 3",
    ),
    "part and whole of a reader": (
        [('embed("x") + embed("y")', "mlp(0)"), ("head(0, 2)", "mlp(0).to(mlp(1))")],
        "cell() and goal() share the site mlp(0).",
    ),
    "input of another head": (
        [("head(0, 2)", "head(1, 1).q"), ("@node(at=mlp(1))", "@node(at=head(1, 2))")],
        "heading() at head(1, 2) reads goal() at head(1, 1).q, an input of head(1, 1).\n  file: claim.py:18\n"
        "  only a node at head(1, 1) can read it: put one between the two",
    ),
    "input and writer": (
        [("head(0, 2)", "head(1, 2).q + embed('reward')"), ("@node(at=mlp(1))", "@node(at=head(1, 2))")],
        "head(1, 2).q is an input of a head, the others are not.",
    ),
    "every input taken": (
        [("head(0, 2)", "head(1, 2).q + head(1, 2).k + head(1, 2).v"), ("@node(at=mlp(1))", "@node(at=head(1, 2))")],
        "reads cell() at embed(\"x\") + embed(\"y\"), but other parents stand for every input that it could enter.",
    ),
    "root elsewhere": ([("@node(at=logits)", "@node(at=head(1, 0))"), ("@node(at=mlp(1))", "@node(at=mlp(0))")],
                       "choice() is the last node, but it sits at head(1, 0).\n  file: claim.py:24\n"
                       "  the last node is the policy: @node(at=logits)"),
    "two at logits": ([("@node(at=mlp(1))", "@node(at=logits)")],
                      "heading() sits at logits, but choice() reads it.\n  file: claim.py:18\n"
                      "  only the last node, choice, sits there; put heading where its value is computed"),
    "root without parents": (
        [("def choice(heading):", "def choice(history):\n    heading = history.observations")],
        "choice() reads no node, which means that everything in the model is unimportant.\n  file: claim.py:24\n"
        "  that is the baseline, which every run reports; add what it reads as nodes",
    ),
    "narrowed root": ([("at=logits", "at=logits.steps('rewarded')")], 'choice() is narrowed to "rewarded" steps'),
    "unknown role": ([("head(0, 2)", "head(0, 2).steps('rewardd')")],
                     'goal() is narrowed to "rewardd" steps, but there is no such role.\n  file:  claim.py:13\n'
                     "  roles: rewarded, unrewarded, before_reward"),
    "two of one name": (
        [("@node(at=mlp(1))", "first = goal\n\n@node(at=head(0, 3))\ndef goal(history):\n    return history.episode\n\n"
          "@node(at=mlp(1))"),
         ("def heading(cell, goal)", "def heading(cell, goal, first)")],
        "Two nodes are called goal: claim.py:13 and claim.py:20.\n  file: claim.py:20\n  rename one of them",
    ),
}  # fmt: skip


def test_no_node_is_called_history(write) -> None:
    with pytest.raises(HypothesisError) as error:
        write(("def goal(", "def history("))
    assert str(error.value).startswith("A node is called history, the name of the data.\n  file: claim.py:13")


@pytest.mark.default_cases(12)
@pytest.mark.parametrize("case", WRONG_GRAPHS)
def test_a_graph_that_is_no_path_of_the_model(write, case: str) -> None:
    changes, fragment = WRONG_GRAPHS[case]
    assert fragment in refused(write(*changes))


WRONG_FEATURES = {
    "raises": ("return history.observations[:, :, 5]",
               "goal() raises IndexError: index 5 is out of bounds for axis 2 with size 2\n  file: claim.py:14\n"
               "  code: return history.observations[:, :, 5]"),
    "misspelt fact": ("return history.task['gaol']", "goal() raises KeyError: no fact 'gaol'; this task has: goal. "
                      "Did you mean 'goal'?"),
    "learner": ("return history.learner % 2", "history.learner is not shown to features"),
    "writes to history": ("history.observations[:] = 0",
                          "goal() raises ValueError: assignment destination is read-only\n"
                          "  file: claim.py:14\n  code: history.observations[:] = 0\n"
                          "  histories and parents cannot be changed in place: work on a copy"),
    "no return": ("history.last_rewarded_cell()", "goal() returns None, not a numpy array.\n  file: claim.py:13\n"
                  "  add a return"),
    "list": ("return [1, 2]", "goal() returns a list, not a numpy array.\n  file: claim.py:13\n"
             "  return a plain numpy array, e.g. np.asarray(...)"),
    "masked": ("return np.ma.masked_array(history.episode)", "goal() returns a MaskedArray, not a numpy array."),
    "scalar": ("return np.array(3)", "goal() returns an array of shape ().\n  file:   claim.py:13\n"
               "  wanted: [batch, step] = (40, 24) or [batch, step, k], a value at every step\n"
               "  or:     [batch] = (40,) or [batch, k], one for the whole history"),
    "wrong batch": ("return history.actions.T", "goal() returns an array of shape (24, 40)."),
    "too deep": ("return history.observations[..., None]", "goal() returns an array of shape (40, 24, 2, 1)."),
    "empty": ("return history.observations[..., :0]", "goal() returns an array of shape (40, 24, 0)."),
    "one step short": ("return history.actions[:, :-1]",
                       "goal() has one value for the whole history and reads its steps: at step 0 it would "
                       "see the end.\n"
                       "  file:            claim.py:13\n"
                       "  shape:           (40, 23), where a value at every step has (40, 24)\n"
                       "  whole histories: may use only history.task: goal\n"
                       "  return a value at every step, [batch, step]"),
    "strings": ("return np.where(history.episode_start, 'a', 'b')", "goal() returns strings, which cannot be matched.\n"
                "  file: claim.py:13\n  return whole numbers or booleans, e.g. (kind == 'left').astype(int)"),
    "objects": ("return history.actions.astype(object)", "goal() returns objects, which cannot be matched."),
    "complex": ("return history.actions + 0j", "goal() returns complex numbers, which cannot be matched."),
    "NaN": ("return np.where(history.episode_start, np.nan, 0)", "goal() returns nan at row 0, step 0.\n"
            "  file: claim.py:13\n  give what is undefined a number of its own, e.g. -1"),
    "infinite": ("return np.full(history.n_rows, np.inf)", "goal() returns inf at row 0.\n"),
    "fractions": ("return history.rewards_seen / 4 + 0.125", "goal() returns fractions (0.125 at row 0, step 0): "
                  "two rarely agree.\n  file: claim.py:13\n  bin it, e.g. np.digitize(value, [0.25, 0.5, 0.75])"),
    "huge": ("return history.actions * 1e300", "goal() returns numbers beyond 2**53"),
    "random": ("return np.random.default_rng().integers(9, size=history.actions.shape)",
               "goal() is random: called twice on the same histories it returns different values."),
    "random by step": ("return history.actions * 0 + (np.random.rand(history.n_steps) > 0.5)", "goal() is random"),
    "random by Python": ("import random\n    return history.actions * 0 + random.randrange(10**9)", "goal() is random"),
    "random by torch": ("import torch\n    return history.actions * 0 + torch.randint(10**9, (1,)).numpy()",
                        "goal() is random"),
    "row number": ("return np.arange(history.n_rows)[:, None] + 0 * history.actions",
                   "goal() depends on the order of the rows.\n  file: claim.py:13\n"
                   "  use only the row's own history, not its number"),
    "other rows": ("return history.actions * 0 + history.observations.sum()",
                   "goal() depends on other rows: with fewer of them a row's value changes."),
    "fails on few rows": ("assert history.n_rows > 30\n    return history.episode",
                          "goal() fails on some of the rows: it raises AssertionError"),
    "task fact at every step": (
        "return (history.observations == history.task['goal'][:, None]).all(axis=-1)",
        "goal() has a value at every step and reads history.task['goal'], which the model cannot see.\n"
        "  file:              claim.py:13\n"
        "  visible at step t: observations up to t; actions and rewards before t; never the task's facts\n"
        "  work it out from the history, or give the fact a node of its own with one value a history, [batch]"),
    "below a hidden node": (
        "return history.task['goal'][:, None][:, 0]",
        "heading() has a value at every step and reads goal, made from facts of the task.\n"
        "  file:              claim.py:18\n"
        "  visible at step t: observations up to t; actions and rewards before t; never the task's facts\n"
        "  only the last node may join the two; or give it one value a history, [batch]"),
    "whole history reads steps": ("return history.rewards.sum(axis=1)",
                                  "goal() has one value for the whole history and "
                                  "reads its steps"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_FEATURES)
def test_a_value_that_cannot_be_matched(write, case: str) -> None:
    body, fragment = WRONG_FEATURES[case]
    changes = [(LAST, body)]
    if case == "below a hidden node":
        changes.append(("np.sign(goal - cell)", "np.sign(goal[:, None] - cell)"))
        changes.append(("(goal >= 0).all(axis=-1, keepdims=True)", "True"))
    assert fragment in refused(write(*changes))


PEEKS = {
    "history.actions": ("actions from step 0 on", "use history.previous_actions, the action that step t shows"),
    "history.rewards > 0": ("rewards from step 0 on", "use history.previous_rewards, the reward that step t shows"),
    "np.roll(history.observations, -1, axis=1)": ("observations after step 0", "look back only: cumulative sums"),
    "np.cumsum(history.rewards, axis=1)": ("rewards from step 0 on", "use history.previous_rewards"),
    "history.observations - history.observations[:, -1:]": ("observations after step 0", "look back only"),
    "np.cumsum(history.rewards[:, ::-1], axis=1)[:, ::-1]": ("rewards from step 0 on", "use history.previous_rewards"),
    "np.where(np.arange(history.n_steps) == 17, history.actions, 0)": ("at step 17 its", "actions from step 17 on"),
    "np.where(np.arange(history.n_steps) == 23, history.rewards, 0)": ("at step 23 its", "rewards from step 23 on"),
    "history.actions * 10 + history.rewards": ("actions from step 0 on and rewards from step 0 on", "; use history"),
}  # fmt: skip


@pytest.mark.parametrize("value", PEEKS)
def test_a_feature_that_peeks_is_caught_and_told_at_what(write, value: str) -> None:
    message = refused(write((LAST, f"return {value}"), ("def heading(cell, goal):", "def heading(cell, goal):\n"
                            "    goal = cell")))  # fmt: skip
    assert message.startswith("goal() peeks: at step ")
    assert all(fragment in message for fragment in PEEKS[value])
    assert "  visible at step t: observations up to t; actions and rewards before t; never the task's facts" in message


@pytest.mark.parametrize(("rows", "steps"), [(1, STEPS), (1, 1), (2, 1), (3, 2)])
def test_little_data_is_checked_too(write, rows: int, steps: int) -> None:
    some = HISTORY[:rows]
    some = replace(
        some,
        observations=some.observations[:, :steps],
        actions=some.actions[:, :steps],
        rewards=some.rewards[:, :steps],
        episode=some.episode[:, :steps],
    )
    assert bind(write(), ANATOMY, some).nodes["goal"].labels.shape == (rows, steps)
    peeking = write((LAST, "return history.observations + history.rewards[..., None].astype(int)"))
    assert "goal() peeks: at step 0 its value changes with rewards from step 0 on." in refused(peeking, some)


def test_a_child_is_not_blamed_for_its_parent_but_for_itself(write) -> None:
    assert "2 problems" not in refused(write((LAST, "return history.observations * 0 + history.actions[..., None]")))
    message = refused(write(("np.sign(goal - cell)", "np.sign(goal - np.roll(cell, -1, axis=1))")))
    assert message.startswith("heading() peeks: at step ")
    assert "its value changes with later values of what it reads" in message


def test_the_policy_may_not_peek_either(write) -> None:
    message = refused(write(("def choice(heading)", "def choice(heading, history)"),
                            ("return np.where((heading == 0)", "return history.actions\n    return ((0)")))  # fmt: skip
    assert message.startswith("choice() peeks: at step 0 its value changes with actions from step 0 on.")


def test_a_feature_that_refuses_every_other_future_is_refused(write) -> None:
    body = "assert (np.abs(np.diff(history.rewards.sum(axis=1))) >= 0).all() and history.rewards[:, -1].max() < 1\n"
    quiet = replace(HISTORY, rewards=np.concatenate([HISTORY.rewards[:, :-1], np.zeros((ROWS, 1))], axis=1))
    claim = write((LAST, body + "    return history.last_rewarded_cell()"))
    assert bind(claim, ANATOMY, quiet).root == "choice"  # some futures it accepts: those that happened
    body = "assert set(map(bytes, history.observations.copy())) <= SEEN\n"
    seen = f"SEEN = {set(map(bytes, HISTORY.observations.copy()))!r}\n\n@node(at=mlp(1))"
    message = refused(write((LAST, body + "    return history.episode"), ("@node(at=mlp(1))", seen),
                            ("def heading(cell, goal):", "def heading(cell, goal):\n    goal = cell")))  # fmt: skip
    assert message.startswith("goal() cannot be checked for peeking: on histories with another future it always raises")


WRONG_POLICIES = {
    "too large": ("return heading[..., 0] * 0 + 5", "choice() returns action 5, but there are 5 actions.\n"
                  "  file:        claim.py:24\n"
                  "  a policy is: actions [batch, step] = (40, 24) in 0 to 4, negative for no opinion\n"
                  "  or:          probabilities [batch, step, action] = (40, 24, 5)"),
    "shape": ("return heading", "choice() is the last node, and its shape (40, 24, 2) is that of no policy."),
    "a history": ("return heading[:, 0, 0]", "its shape (40,) is that of no policy"),
    "fractions": ("return heading[..., 0] + 0.5", "some of its actions are no whole numbers"),
    "strings": ("return heading.astype(str)", "are no policy"),
    "sum": ("return np.full((40, 24, 5), 0.25)", "choice() returns probabilities that sum to 1.25, not 1 "
            "(row 0, step 0)"),
    "16 bits": ("return np.full((40, 24, 5), 0.2, np.float16)", "probabilities that sum to 0.999756, not 1"),
    "negative": ("return np.broadcast_to([2.0, -1, 0, 0, 0], (40, 24, 5))", "a negative or undefined probability"),
    "NaN": ("return np.full((40, 24, 5), np.nan)", "a negative or undefined probability"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_POLICIES)
def test_a_last_node_that_is_no_policy(write, case: str) -> None:
    body, fragment = WRONG_POLICIES[case]
    claim = write(("return np.where((heading == 0)", f"{body}\n    return ((0)"))
    assert fragment in refused(claim)
    with pytest.raises(HypothesisError) as error:
        claim.policy(HISTORY)
    assert fragment in str(error.value)


def test_every_problem_comes_at_once(write) -> None:
    message = refused(
        write(
            ('embed("x")', 'embed("z")'),
            ("head(0, 2)", "head(0, 9).steps('never')"),
            (LAST, "return history.observations + history.actions[..., None]"),
            ("def choice(heading)", "def choice(heading, level, k=1)"),
        )
    )
    assert message.startswith("6 problems in claim (claim.py):\n\n")
    fragments = [
        'no channel "z"',
        "no head 9",
        '"never" steps',
        "goal() peeks",
        "reads 'level'",
        "parameter k a default",
    ]
    assert all(fragment in message for fragment in fragments)


def test_what_was_hardly_meant_is_a_warning(write) -> None:
    more = "\n@node(at=pos)\ndef clock(history):\n    return history.episode_step\n"
    claim = write(("head(0, 2)", "head(0, 2) + mlp(1)"), ("@node(at=mlp(1))", "@node(at=head(1, 0))"), more=more)
    assert bind(claim, ANATOMY, HISTORY).warnings == (
        "goal() names mlp(1), but nothing that reads goal comes after it: it plays no role (claim.py:13).",
        "clock() at pos is part of no hypothesis (claim.py:31).",
    )


# ---------------------------------------------------------------------------------------------- classes


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1).shape[1]
    return pairs == len(np.unique(a)) == len(np.unique(b))


@given(st.integers(1, 6), st.sampled_from([2, 3, 1000, 2**40]), st.integers(0, 2**32 - 1), st.booleans())
def test_classes_are_the_tuples(columns: int, top: int, seed: int, stepwise: bool) -> None:
    rng = np.random.default_rng(seed)
    shape = (6, 5, columns) if stepwise else (30, columns)
    value = rng.integers(-top, top, size=shape) // rng.integers(1, top, size=columns)
    labels = classes(Feature(value, "step" if stepwise else "row", hidden=False))
    tuples = [tuple(row) for row in value.reshape(30, columns).tolist()]
    assert labels.shape == shape[:-1]
    assert same_partition(labels, np.array([tuples.index(one) for one in tuples]))
    whole = classes(Feature(value.astype(np.float64), "step" if stepwise else "row", hidden=False))
    assert same_partition(labels, whole)


def test_a_role_joins_the_feature(write) -> None:
    claim = write(("head(0, 2)", 'head(0, 2).steps("rewarded")'), (LAST, "return history.previous_actions"),
                  ("def heading(cell, goal):", "def heading(cell, goal):\n    goal = cell"))  # fmt: skip
    goal = bind(claim, ANATOMY, HISTORY).nodes["goal"]
    inside = HISTORY.previous_rewards > 0
    assert np.array_equal(goal.selected, inside)
    assert same_partition(goal.labels, np.where(inside, HISTORY.previous_actions, -5))
    with pytest.raises(HypothesisError, match="of which these histories have none"):
        bind(claim, ANATOMY, replace(HISTORY, rewards=np.zeros((ROWS, STEPS))))


def test_regimes_of_the_task_are_roles(write) -> None:
    regime = np.zeros((ROWS, STEPS), dtype=bool)
    regime[:, ::2] = True
    claim = write(("head(0, 2)", 'head(0, 2).steps("stay")'))
    assert np.array_equal(bind(claim, ANATOMY, HISTORY, {"stay": regime}).nodes["goal"].selected, regime)
    assert "Did you mean 'stay'?" in refused_with({"stay": regime}, write(("head(0, 2)", 'head(0, 2).steps("stax")')))


def refused_with(roles: dict[str, np.ndarray], claim: Hypothesis) -> str:
    with pytest.raises(HypothesisError) as error:
        bind(claim, ANATOMY, HISTORY, roles)
    return str(error.value)


# ---------------------------------------------------------------------------------------------- random claims

BODIES = {
    "x": "history.observations[..., 0]",
    "paid": "history.previous_rewards > 0",
    "clock": "history.episode_step",
    "nothing": "history.actions * 0 - 1",
}
PLACES = [[embed("x"), embed("reward"), pos], [head(0, 0), head(0, 1)], [mlp(0)], [head(1, 0), head(1, 1)], [mlp(1)]]


@pytest.mark.slow
@given(st.data())
def test_random_layered_claims_bind_and_permute(data: st.DataObject) -> None:
    made: list[Node] = []
    stages: list[int] = []
    for stage, places in enumerate(PLACES):
        for number, site in enumerate(data.draw(st.lists(st.sampled_from(range(len(places))), unique=True))):
            below = [one for one, other in zip(made, stages, strict=True) if other < stage]
            parents = data.draw(st.lists(st.sampled_from(range(len(below))), unique=True)) if below and stage else []
            chosen = [below[i] for i in parents]
            made.append(define(f"n{stage}_{number}", places[site], chosen, data.draw(st.sampled_from(sorted(BODIES)))))
            stages.append(stage)
    assume(made)
    claim = Hypothesis(define("root", logits, made, "nothing"))
    bound = bind(claim, ANATOMY, HISTORY)
    assert set(bound.nodes) == {one.name for one in made} | {"root"}
    assert len(list(claim.tree())) == sum(1 for one in claim.nodes for _ in paths(claim, one.name))
    order = np.random.default_rng(0).permutation(ROWS)
    again = bind(claim, ANATOMY, HISTORY[order])
    for name, one in bound.nodes.items():
        assert one.labels is None or same_partition(one.labels[order], again.nodes[name].labels)


def paths(claim: Hypothesis, name: str) -> list:
    graph = claim.graph()
    return [[name]] if name == claim.root.name else list(nx.all_simple_paths(graph, name, claim.root.name))


def define(name: str, site: SiteSet, parents: list[Node], body: str) -> Node:
    """Return a node made the way a file makes it, by running its text."""
    reads = [one.name for one in parents]
    value = " + ".join([BODIES[body], *(f"0 * {one}" for one in reads)])
    scope = {"node": node, "site": site} | {one.name: one for one in parents}
    exec(f"@node(at=site)\ndef {name}({', '.join(['history', *reads])}):\n    return {value}\n", scope)
    return scope[name]


def test_a_typo_in_a_node_is_reported_although_a_control_names_what_it_hides(tmp_path):
    path = tmp_path / "greedy.py"
    path.write_text(
        "from ad_hypotheses import Hypothesis, embed, head, logits, node\n"
        "@node(at=head(0))\n"
        "def best(history):\n    return history.actions * 0\n"
        "@node(at=logits)\n"
        "def choice(bset):\n    return bset\n"
        "greedy = Hypothesis(choice)\n"
        "control = greedy.on(best=head(1))\n"
    )
    claim, _ = load(str(path))
    with pytest.raises(HypothesisError, match=r"choice\(\) reads 'bset'(.|\n)*best"):
        check_structure(claim, Anatomy(("x",), 2, 4))
