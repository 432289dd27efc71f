"""What can happen to a hypothesis file: anything that leaves it Python, a likely slip, or what changes no figure.

Every function takes a program or its syntax tree and a generator, and says in a few words what it did.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Sequence
from typing import Any

from faults.mutate import Damaged, Rng, pick

Way = Callable[[ast.AST, Rng], str]


def alter_code(source: str, rng: Rng) -> Damaged[str]:
    """Change one place of a program's syntax tree, so that it is Python still, whatever it means."""
    return _altered(source, rng, CODE)


def alter_claim(source: str, rng: Rng) -> Damaged[str]:
    """Say something else, mostly of the same form: another site, fact, number or order of a value's items."""
    return _altered(source, rng, CLAIM)


def alter_nothing(source: str, rng: Rng) -> Damaged[str]:
    """Write the same claim in another way, or change global state besides: every figure is as before."""
    return _altered(source, rng, NOTHING)


def _altered(source: str, rng: Rng, ways: Sequence[Way]) -> Damaged[str]:
    tree = ast.parse(source)
    words = pick(ways, rng)(tree, rng)
    return words, ast.unparse(ast.fix_missing_locations(tree))


def _nodes(tree: ast.AST, *kinds: type) -> list[Any]:
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def _constant(tree: ast.AST, rng: Rng) -> str:
    node = pick(_nodes(tree, ast.Constant), rng)
    old = node.value
    node.value = pick([0, 1, -1, 97, 2**70, 0.5, float("nan"), float("inf"), "", "x", "é", None, True, ..., b"x"], rng)
    return f"{old!r:.30} is {node.value!r}"


def _name(tree: ast.AST, rng: Rng) -> str:
    nodes = _nodes(tree, ast.Name)
    node, other = pick(nodes, rng), pick(nodes, rng)
    words = f"{node.id} is {other.id}"
    node.id = other.id
    return words


def _attribute(tree: ast.AST, rng: Rng) -> str:
    node = pick(_nodes(tree, ast.Attribute), rng)
    old = node.attr
    known = ["rewards", "actions", "observations", "episode", "episode_step", "task", "learner", "n_rows", "n_steps",
             "rewards_seen", "previous_actions", "action_counts", "shape", "T", "dtype", "sum", "on",
             "__class__"]  # fmt: skip
    node.attr = pick(known, rng)
    return f".{old} is .{node.attr}"


def _statement(tree: ast.AST, rng: Rng) -> str:
    bodies = [node.body for node in _nodes(tree, ast.FunctionDef, ast.Module)]
    body = pick(bodies, rng)
    del body[int(rng.integers(len(body)))]
    if not body:
        body.append(ast.Pass())
    return "a statement deleted"


def _double(tree: ast.AST, rng: Rng) -> str:
    bodies = [node.body for node in _nodes(tree, ast.FunctionDef, ast.Module)]
    body = pick(bodies, rng)
    first, second = int(rng.integers(len(body))), int(rng.integers(len(body) + 1))
    body.insert(second, copy.deepcopy(body[first]))
    return "a statement doubled"


def _parameters(tree: ast.AST, rng: Rng) -> str:
    node = pick(_nodes(tree, ast.FunctionDef), rng)
    name = pick(["history", "cell", "np", "x", node.name, "last", "score"], rng)
    if node.args.args and rng.random() < 0.5:
        words = f"{node.name}() reads {name} instead of {node.args.args[0].arg}"
        node.args.args[0].arg = name
    else:
        words = f"{node.name}() reads {name} too"
        node.args.args.append(ast.arg(name))
    return words


def _operator(tree: ast.AST, rng: Rng) -> str:
    nodes = _nodes(tree, ast.BinOp, ast.Compare)
    if not nodes:
        return _constant(tree, rng)
    node = pick(nodes, rng)
    if isinstance(node, ast.BinOp):
        node.op = pick([ast.Add(), ast.Sub(), ast.Mult(), ast.Div(), ast.FloorDiv(), ast.Mod(), ast.MatMult()], rng)
    else:
        node.ops[0] = pick([ast.Lt(), ast.Eq(), ast.NotEq(), ast.Is(), ast.In()], rng)
    return f"an operator is {type(node.op if isinstance(node, ast.BinOp) else node.ops[0]).__name__}"


def _arguments(tree: ast.AST, rng: Rng) -> str:
    calls = [node for node in _nodes(tree, ast.Call) if node.args or node.keywords]
    node = pick(calls, rng)
    if node.keywords and rng.random() < 0.5:
        keyword = pick(node.keywords, rng)
        old = keyword.arg
        keyword.arg = pick(["accept", "model", "at", "axis", "name", "keepdims", "history"], rng)
        return f"{old}= is {keyword.arg}="
    if node.args:
        words = f"an argument of {ast.unparse(node.func):.30} dropped"
        del node.args[int(rng.integers(len(node.args)))]
        return words
    del node.keywords[0]
    return f"a keyword of {ast.unparse(node.func):.30} dropped"


def _hostile(tree: ast.AST, rng: Rng) -> str:
    return _begin(tree, pick(HOSTILE, rng), rng)


def _careless(tree: ast.AST, rng: Rng) -> str:
    return _begin(tree, pick(CARELESS, rng), rng)


def _begin(tree: ast.AST, statement: str, rng: Rng) -> str:
    """Put a statement at the beginning of a function or of the file, after its docstring."""
    node = pick(_nodes(tree, ast.FunctionDef, ast.Module), rng)
    first = 0 if ast.get_docstring(node) is None else 1
    node.body[first:first] = ast.parse(statement).body
    return f"begins with {statement!r}"


def _site(tree: ast.AST, rng: Rng) -> str:
    calls = [node for node in _nodes(tree, ast.Call) if isinstance(node.func, ast.Name) and node.func.id in SITES]
    if not calls:
        return _nudge(tree, rng)
    node, other = pick(calls, rng), pick([f"{name}({values})" for name in SITES for values in SITES[name]], rng)
    words, call = f"{ast.unparse(node)} is {other}", ast.parse(other, mode="eval").body
    assert isinstance(call, ast.Call)
    node.func, node.args, node.keywords = call.func, call.args, call.keywords
    return words


def _nudge(tree: ast.AST, rng: Rng) -> str:
    nodes = [node for node in _nodes(tree, ast.Constant) if type(node.value) in (int, float)]
    if not nodes:
        return _fact(tree, rng)
    node = pick(nodes, rng)
    old, node.value = node.value, pick([node.value + 1, -node.value, node.value / 2, 2 * node.value], rng)
    return f"{old} is {node.value}"


def _fact(tree: ast.AST, rng: Rng) -> str:
    nodes = [node for node in _nodes(tree, ast.Attribute) if node.attr in FACTS]
    if not nodes:
        return _shaped(tree, rng)
    node = pick(nodes, rng)
    old, node.attr = node.attr, pick(FACTS, rng)
    return f".{old} is .{node.attr}"


def _order(tree: ast.AST, rng: Rng) -> str:
    nodes = _nodes(tree, ast.Compare)
    if not nodes:
        return _shaped(tree, rng)
    pick(nodes, rng).ops[0] = other = pick([ast.Lt(), ast.LtE(), ast.Gt(), ast.GtE(), ast.Eq(), ast.NotEq()], rng)
    return f"a comparison is {type(other).__name__}"


def _shaped(tree: ast.AST, rng: Rng) -> str:
    return _returned(tree, pick(SHAPED, rng), rng)


def _same(tree: ast.AST, rng: Rng) -> str:
    return _returned(tree, pick(SAME, rng), rng)


def _returned(tree: ast.AST, form: str, rng: Rng) -> str:
    """Do something to the value that a function returns."""
    returns = [node for node in _nodes(tree, ast.Return) if node.value is not None]
    if not returns:
        return _unused(tree, rng)
    node = pick(returns, rng)
    node.value = ast.parse(form.format(f"({ast.unparse(node.value)})"), mode="eval").body
    return f"returns {form.format('...')}"


def _unused(tree: ast.AST, rng: Rng) -> str:
    assert isinstance(tree, ast.Module)
    statement = pick(UNUSED, rng)
    tree.body += ast.parse(statement).body
    return f"ends with {statement!r}"


SITES = {
    "mlp": ("0", "1", "step=0"),
    "head": ("0, 0", "1, 0", "0", "0, 1"),
    "embed": ("'action'", "'reward'", "'arm'", ""),
    "resid": ("1", "0"),
}  # the last of some is wrong
FACTS = ("previous_actions", "previous_rewards", "actions", "rewards", "episode_step", "rewards_seen", "episode")
SHAPED = (
    "-{0}", "{0} * 0", "{0} / 2", "{0} % 2", "{0} > 0", "{0}[..., ::-1]", "{0}[:, ::-1]", "{0}[::-1]",
    "np.cumsum({0}, axis=1)", "np.roll({0}, 1, axis=1)", "np.roll({0}, 1, axis=0)", "np.sort({0}, axis=1)",
    "np.maximum.accumulate({0}, axis=1)", "np.minimum({0}, 1)", "np.asarray({0}).astype(np.int8)",
    "np.asarray({0}).astype(np.float16)", "{0} + np.arange(8)",
    "{0} * (1 - 1e-9)", "{0} + 1e-9 * np.random.rand()", "np.asarray({0}) - np.mean({0})", "{0}.tolist()",
)  # fmt: skip
SAME = (
    "{0}.copy()", "{0} + 0", "np.asfortranarray({0})", "{0}[::-1][::-1]", "np.repeat({0}, 2, axis=0)[::2]",
    "np.where(True, {0}, 7)", "np.concatenate([{0}])", "np.broadcast_to({0}, np.shape({0}))",
    "{0}.astype({0}.dtype)",
    "np.stack([{0}, {0}], axis=-1)[..., 0]", "np.swapaxes(np.swapaxes({0}, 0, 1).copy(), 0, 1)",
)  # fmt: skip
UNUSED = (
    "spare = 3",
    "import math",
    "def helper(x): return x.no_such_attribute",
    "def spare(history): return history.actions * 0",
    "pairs = [(i, j) for i in range(3) for j in range(3)]",
    "class Spare: pass",
)
CARELESS = (
    "print('hello')",
    "import sys; sys.stdout.write('hello')",
    "import os; os.write(1, b'hello')",
    "import os, sys; sys.stdout = open(os.devnull, 'w')",
    "import sys; sys.stderr = None",
    "import torch; torch.set_default_dtype(torch.float64)",
    "import torch; torch.set_default_device('meta')",
    "import torch; torch.set_grad_enabled(True)",
    "import torch; torch.manual_seed(1)",
    "import torch; torch.set_num_threads(2)",
    "import torch; torch.set_float32_matmul_precision('medium')",
    "import torch; torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
    "import torch; torch.set_flush_denormal(True)",
    "import torch; torch.use_deterministic_algorithms(True)",
    "import numpy as np; np.random.seed(1)",
    "import numpy as np; np.random.set_bit_generator(np.random.PCG64(1))",
    "import numpy as np; np.seterr(all='raise')",
    "import numpy as np; np.set_printoptions(precision=1)",
    "import random; random.seed(1)",
    "import decimal; decimal.getcontext().prec = 1",
    "import sys; sys.path.clear()",
    "import os; os.chdir('/')",
    "import os; os.environ['COLUMNS'] = '3'",
    "import os; os.environ.clear()",
    "import warnings; warnings.warn('look')",
    "import warnings; warnings.simplefilter('error')",
    "import gc; gc.disable()",
    "import locale; locale.setlocale(locale.LC_ALL, 'C')",
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "import threading; threading.Thread(target=int).start()",
    "import logging; logging.disable()",
)
HOSTILE = (
    "import sys; sys.exit(0)",
    "import sys; sys.exit('bye')",
    "raise SystemExit",
    "raise GeneratorExit",
    "raise BaseException('odd')",
    "raise StopIteration",
    "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
    "class Odd(Exception):\n    def __repr__(self): raise ValueError\nraise Odd('x')",
    "class Odd(BaseException): pass\nraise Odd",
    "raise ExceptionGroup('several', [ValueError('a'), KeyError('b')])",
    "raise UnicodeDecodeError('utf-8', b'x', 0, 1, 'odd')",
    "raise MemoryError",
    "raise OSError(2, 'odd', 'file')",
    "raise ValueError('a\\nb\\n' * 1000)",
    "raise KeyError",
    "assert False",
    "import sys; sys.setrecursionlimit(200)",
    "history.actions[...] = 0",
    "history.rewards.flags.writeable = True",
    "history.episode_step[...] = 0",
    "history.rewards_seen[...] = 0",
    "object.__setattr__(history, 'actions', history.actions * 0)",
    "history.task.clear()",
    "history.__dict__.clear()",
    "return None",
    "return history",
    "return np.zeros(3)",
    "return np.zeros((10**7, 10**7))",
    "return np.full(history.actions.shape, np.nan)",
    "return np.ma.masked_array(history.actions, True)",
    "return np.asmatrix(history.actions)",
    "return history.actions.astype(object)",
    "return history.actions.astype('datetime64[s]')",
    "return np.full(history.actions.shape, np.longdouble(1) / 3)",
    "return np.full(history.actions.shape, 2**64 - 1, dtype=np.uint64)",
    "return np.full(history.actions.shape, -2**63, dtype=np.int64)",
    "return np.random.rand(*history.actions.shape)",
    "return np.zeros((*history.actions.shape, 0))",
    "return np.zeros((*history.actions.shape, 5), dtype=[('a', 'i4')])",
    "return np.array([None] * history.n_rows)",
    "return np.broadcast_to(0, history.actions.shape)",
    "return history.actions",
    "return history.rewards",
    "return history.rewards.mean(axis=1)",
    "return np.arange(history.n_rows)",
    "return (lambda: (yield))()",
    "yield 1",
    "def f(): return f()\nf()",
    "del np",
    "global history\nhistory = 1",
    "return choice(history)",
)

CODE: tuple[Way, ...] = (
    _constant, _name, _attribute, _statement, _double, _parameters, _operator, _arguments, _hostile, _hostile,
)  # fmt: skip
CLAIM: tuple[Way, ...] = (_site, _nudge, _fact, _order, _shaped, _shaped)
NOTHING: tuple[Way, ...] = (_careless, _careless, _careless, _same, _same, _unused)
