"""A claim as plain Python: a function is a node, its parameter names are its incoming arrows."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ad_hypotheses.errors import HypothesisError, did_you_mean
from ad_hypotheses.language.feature_call import HISTORY, call_feature, raised
from ad_hypotheses.language.history import History
from ad_hypotheses.language.policy import as_policy, policy_problem
from ad_hypotheses.language.problems import Problem, failure, listed, shown_path
from ad_hypotheses.language.sites import SiteSet, embed, head, mlp, site_of_hook
from ad_hypotheses.language.symmetries.symmetry import Symmetry, wrong_symmetry
from ad_hypotheses.language.user_code import calling_frame, line_of

if TYPE_CHECKING:
    import networkx as nx

ARROWS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, eq=False)
class Node:
    """One named feature of the history, and where in the model it is claimed to sit.

    Attributes:
        name: The function's name.
        function: What computes the value from the parents' values and the history; calling the node calls it.
        site: Where it sits.
        reads: The parameter names in their order, `history` among them.
        parents: The nodes among them, in the same order.
        defined: Names of the nodes that were defined above.
        doc: The function's docstring.
        file: Where it was written.
        line: Line of its `def`.
        problems: What is wrong with the definition whatever the model.
        symmetry: What its donors are made by; None where they are found among other histories.
    """

    name: str
    function: Callable[..., Any]
    site: SiteSet
    reads: tuple[str, ...]
    parents: tuple[Node, ...]
    defined: tuple[str, ...]
    doc: str
    file: str
    line: int
    problems: tuple[Problem, ...] = ()
    symmetry: Symmetry | None = None

    def __call__(self, *values: Any, **named: Any) -> Any:
        """Return the function's value."""
        return self.function(*values, **named)

    @property
    def place(self) -> str:
        """`file:line` of the definition."""
        return f"{shown_path(self.file)}:{self.line}"

    @property
    def unknown(self) -> tuple[str, ...]:
        """Parameter names that are neither `history` nor a node defined above."""
        known = {parent.name for parent in self.parents} | {HISTORY}
        return tuple(name for name in self.reads if name not in known)

    def call(self, history: History, values: Mapping[str, np.ndarray]) -> tuple[Any, frozenset[str]]:
        """Return what the function makes of a history, and which facts of the task it read.

        Args:
            history: The data.
            values: Value of every parent by name.

        Raises:
            EndedProgram: The function called `sys.exit`, or the like.
        """
        return call_feature(self.function, self.reads, history, values)

    def value(self, history: History, values: Mapping[str, np.ndarray]) -> Any:
        """Return what the function makes of a history and of its parents' values, whatever that is."""
        return self.call(history, values)[0]

    def raised(self, error: Exception) -> Problem:
        """Say what the function raised, and where."""
        return raised(self.name, self.file, self.line, error)

    def __repr__(self) -> str:
        made = "" if self.symmetry is None else f", donors by {self.symmetry.name}"
        return f"{self.name}({', '.join(self.reads)}) at {self.site}{made}"


def node(at: Any = None, symmetry: Any = None) -> Callable[[Callable[..., Any]], Node]:
    """Return the decorator that turns a function into a node at a site.

    The function's parameter names say what it reads: nodes defined above it, or `history`. What cannot be resolved is
    reported when the hypothesis is checked, with everything else.

    Args:
        at: A site: `embed(...)`, `pos`, `head(...)`, `mlp(...)`, `logits`, or several joined by `+`.
        symmetry: A function `(history, steps, rng) -> history` that makes the donors of this node, where none could be
            found: row `i` with another past before `steps[i]`, at which the value stays what it is.

    Example:
        >>> from ad_hypotheses import Hypothesis, head, logits, node
        >>> @node(at=head(0))
        ... def paid(history):
        ...     return history.previous_rewards
        >>> @node(at=logits)
        ... def choice(paid, history):
        ...     return history.previous_actions
        >>> Hypothesis(choice, model="bandit")
        Hypothesis(choice on bandit: paid at head(0), choice at logits)
    """
    if inspect.isfunction(at) and not _is_maker(at):
        return _define(at, None, symmetry, calling_frame())  # type: ignore[return-value]  # `@node` without parentheses

    def decorate(function: Callable[..., Any]) -> Node:
        return _define(function, at, symmetry, calling_frame())

    return decorate


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A claim about which features of the history matter, and where in the model they are.

    Attributes:
        root: The last node, at `logits`; its value is a policy.
        model: Name of the checkpoint that the claim is about.
        accept: Share of the model's gain over the baseline that the claim must recover, in (0, 1].
        name: What reports call it; a file's hypotheses get their variable names.
        doc: What it says; the docstring of the file when empty.
        origin: The hypothesis that this one was made from by :meth:`on`.
    """

    root: Node
    model: str = "dark-room"
    accept: float = 0.9
    name: str | None = None
    doc: str = ""
    origin: Hypothesis | None = None

    def __init__(
        self,
        root: Any,
        model: Any = "dark-room",
        accept: Any = 0.9,
        name: str | None = None,
        doc: str = "",
        origin: Hypothesis | None = None,
    ) -> None:
        problems = list(_wrong_arguments(root, model, accept))
        if problems:
            raise failure(problems)
        scope = getattr(root.function, "__globals__", {})  # of a notebook, which is no file, the text is not about it
        doc = doc or inspect.cleandoc((scope.get("__doc__") if "__file__" in scope else "") or "")
        fields = {"root": root, "model": model, "accept": float(accept), "name": name, "doc": doc, "origin": origin}
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    @property
    def title(self) -> str:
        """First line of what it says."""
        return (self.doc or self.root.doc or self.name or self.root.name).splitlines()[0]

    @property
    def control_of(self) -> Hypothesis | None:
        """The hypothesis of which this is a control: the same claim at other sites of the same model."""
        return self.origin if self.origin is not None and self.origin.model == self.model else None

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node once, parents before children, the root last."""
        nodes: dict[int, Node] = {}

        def visit(node: Node) -> None:
            if id(node) not in nodes:
                for parent in node.parents:
                    visit(parent)
                nodes[id(node)] = node

        visit(self.root)
        return tuple(nodes.values())

    def tree(self) -> Iterator[tuple[str, ...]]:
        """Yield the treeified nodes as paths of names from the root, parents after children.

        A node with several consumers comes once for each path to it. Their number is the number of partial forwards
        that one scrubbing pass costs.
        """

        def below(node: Node, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
            yield path
            for parent in node.parents:
                yield from below(parent, (*path, parent.name))

        return below(self.root, (self.root.name,))

    def graph(self) -> nx.DiGraph:
        """Return the claim as a graph, arrows from parent to child.

        Every node has `site` and `doc`, and `symmetry` where its donors are made.
        """
        import networkx as nx  # loads slowly, and nothing else here needs it

        graph = nx.DiGraph()
        for node in self.nodes:
            made = {} if node.symmetry is None else {"symmetry": node.symmetry.name}
            graph.add_node(node.name, site=str(node.site), doc=node.doc, **made)
            graph.add_edges_from((parent.name, node.name) for parent in node.parents)
        return graph

    def on(self, model: str | None = None, **sites: Any) -> Hypothesis:
        """Return the same claim on another model or with nodes at other sites.

        Args:
            model: Name of another checkpoint; None for the same.
            **sites: New sites by node name, e.g. `goal=head(1, 3)`.

        Raises:
            HypothesisError: No such node, not a site, or nothing changed.
        """
        problems = list(_wrong_moves(self, sites))
        moved = {node.name for node in self.nodes if node.name in sites and sites[node.name] != node.site}
        incomplete = any(node.unknown for node in self.nodes)
        if not problems and not moved and not incomplete and model in (None, self.model):
            advice = "name another model, or another site of a node: .on(goal=head(1, 3))"
            problems.append(Problem(".on(...) changes nothing: the model and every site are the same.", advice=advice))
        if problems:
            raise failure(problems)
        copies: dict[int, Node] = {}
        for node in self.nodes:
            parents = tuple(copies[id(parent)] for parent in node.parents)
            copies[id(node)] = replace(node, site=sites.get(node.name, node.site), parents=parents)
        return Hypothesis(copies[id(self.root)], model or self.model, self.accept, doc=self.doc, origin=self)

    def values(self, history: History) -> dict[str, np.ndarray]:
        """Return the value of every node, computed from its parents' values and the history, never from the model.

        Raises:
            HypothesisError: A feature raised, or did not return an array.
        """
        values: dict[str, np.ndarray] = {}
        for node in self.nodes:
            if node.unknown:
                raise failure(
                    [Problem(f"{node.name}() reads {listed(node.unknown)}, which is not defined.", node.place)]
                )
            try:
                value = node.value(history, values)
            except Exception as error:  # the user's code may raise anything
                raise failure([node.raised(error)]) from error
            if not isinstance(value, np.ndarray):
                message = f"{node.name}() returns {type(value).__name__}, not a numpy array."
                raise failure([Problem(message, node.place)])
            values[node.name] = value
        return values

    def policy(self, history: History) -> Float[np.ndarray, "batch step action"]:
        """Return the distribution over actions that the claim predicts at every step. [batch, step, action]

        Raises:
            HypothesisError: The last node's value is neither actions nor distributions.
        """
        value = self.values(history)[self.root.name]
        problem = policy_problem(self.root.name, self.root.place, value, history)
        if problem is not None:
            raise failure([problem])
        return as_policy(value, history.n_actions)

    def scrubbed(self, model: Any = None, **options: Any) -> Any:
        """Return a model with all swapped that the claim calls irrelevant, an :class:`ad_hypotheses.ScrubbedModel`."""
        import ad_hypotheses  # the public names, which lie above

        return ad_hypotheses.ScrubbedModel(self, model, **options)

    def __repr__(self) -> str:
        sites = ", ".join(f"{node.name} at {node.site}" for node in self.nodes)
        return f"Hypothesis({self.name or self.root.name} on {self.model}: {sites})"


def _define(function: Callable[..., Any], at: Any, symmetry: Any, caller: types.FrameType) -> Node:
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        raise HypothesisError(f"node(at={at}) stands above {function!r}, which is not a function written with def.")
    scope = {**caller.f_globals, **caller.f_locals}
    defined = {name: value for name, value in scope.items() if isinstance(value, Node)}
    parameters = inspect.signature(function).parameters
    reads = tuple(
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind in ARROWS
    )
    place = f"{shown_path(code.co_filename)}:{line_of(code)}"
    if function.__name__ == HISTORY:  # nobody could ever read it
        raise failure(
            [Problem("A node is called history, the name of the data.", place, advice="give it another name")]
        )
    return Node(
        name=function.__name__,
        function=function,
        site=at if isinstance(at, SiteSet) else SiteSet(()),
        reads=tuple(HISTORY if name == HISTORY else defined[name].name if name in defined else name for name in reads),
        parents=tuple(defined[name] for name in reads if name in defined and name != HISTORY),
        defined=tuple(dict.fromkeys(value.name for value in defined.values())),
        doc=inspect.getdoc(function) or "",
        file=code.co_filename,
        line=line_of(code),
        problems=(
            *_wrong_site(function.__name__, at, place),
            *_wrong_def(function.__name__, parameters, place),
            *wrong_symmetry(function.__name__, symmetry, place),
        ),
        symmetry=Symmetry.of(symmetry) if inspect.isfunction(symmetry) else None,
    )


def _wrong_site(name: str, at: Any, place: str) -> Iterator[Problem]:
    advice = "write for example @node(at=head(1, 2)) above it"
    if at is None:
        yield Problem(f"{name}() has no site.", place, advice=advice)
    elif _is_maker(at):
        example = {"embed": 'embed("x")', "head": "head(1, 2)", "mlp": "mlp(0)"}[at.__name__]
        yield Problem(
            f"{name}() sits at the function {at.__name__}, not at a site.", place, advice=f"write at={example}"
        )
    elif not isinstance(at, SiteSet):
        meant = site_of_hook(at) if isinstance(at, str) else ""
        advice = f"that is the name of a hook: {meant}" if meant else advice
        yield Problem(f"{name}() sits at {at!r}, which is not a site.", place, advice=advice)


def _is_maker(at: Any) -> bool:
    return any(at is maker for maker in (embed, head, mlp))


def _wrong_def(name: str, parameters: Mapping[str, inspect.Parameter], place: str) -> Iterator[Problem]:
    if not name.isidentifier():
        yield Problem("A node has no name.", place, advice="write it with def, so that others can read it by name")
    if not parameters:
        yield Problem(
            f"{name}() reads nothing.", place, advice="add the parameter history, or the nodes it is made from"
        )
    for parameter in parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            advice = "name each node that it reads"
            yield Problem(
                f"{name}() takes {str(parameter).partition(':')[0]}: which arrows are those?", place, advice=advice
            )
        elif parameter.kind is parameter.KEYWORD_ONLY:
            yield Problem(f"{name}() takes {parameter.name} by keyword only.", place, advice="drop the * before it")
        elif parameter.default is not parameter.empty:
            advice = f"write {parameter.name} = {parameter.default!r} inside the function"
            yield Problem(
                f"{name}() gives its parameter {parameter.name} a default: a parameter is an arrow.",
                place,
                advice=advice,
            )


def _wrong_arguments(root: Any, model: Any, accept: Any) -> Iterator[Problem]:
    if not isinstance(root, Node):
        shown = f"{root.__name__}()" if inspect.isfunction(root) else repr(root)
        yield Problem(
            f"Hypothesis({shown}): that is not a node.", advice="put @node(at=logits) above the last function"
        )
    if not isinstance(model, str) or not model:
        yield Problem(f"Hypothesis(model={model!r}): a model is a name.", advice='for example model="dark-room"')
    if isinstance(accept, bool) or not isinstance(accept, int | float) or not 0 < accept <= 1:
        message = f"Hypothesis(accept={accept!r}): the share to recover lies above 0 and is at most 1."
        yield Problem(message, advice="for example accept=0.9")


def _wrong_moves(hypothesis: Hypothesis, sites: Mapping[str, Any]) -> Iterator[Problem]:
    names = [node.name for node in hypothesis.nodes]
    incomplete = any(
        node.unknown for node in hypothesis.nodes
    )  # the check will say so, and this name may be what is missing
    for name, site in sites.items():
        if name not in names and not incomplete:
            message = f".on({name}=...): {hypothesis.root.name} has no node {name!r}."
            yield Problem(message, facts=(("nodes", listed(names)),), advice=did_you_mean(name, names).strip())
        if not isinstance(site, SiteSet):
            message = f".on({name}={getattr(site, '__name__', repr(site))}): that is not a site."
            yield Problem(message, advice=f"write for example {name}=head(1, 2)")
