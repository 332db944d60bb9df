"""The names of the notebook's namespace that a cell needs."""

from __future__ import annotations

# ruff: noqa: N802 - ast.NodeVisitor finds its methods by these names
import ast
from typing import TYPE_CHECKING, cast

from gpuplug.references.model import NameUse
from gpuplug.references.scopes import BindingVisitor, Comprehension, Function, Scope

if TYPE_CHECKING:
    from collections.abc import Sequence


def used_names(tree: ast.Module, defined: frozenset[str]) -> tuple[NameUse, ...]:
    """Return the names in `defined` that the cell may load before it binds them, by first line.

    A function's body counts from the first load of the function's name, or from the cell's end.
    """
    flow = _Flow(defined)
    flow.visit_all(tree.body)
    flow.finish()
    return tuple(NameUse(name, line) for name, line in sorted(flow.uses.items(), key=lambda use: (use[1], use[0])))


class _Flow(BindingVisitor):
    """Walks statements in the order in which they run and knows what is bound for certain.

    `_bound` is None where no statement can be reached: after `raise`, `return`, `break` and `continue`.
    """

    def __init__(self, defined: frozenset[str]) -> None:
        self.uses: dict[str, int] = {}
        self._defined = defined
        self._bound: set[str] | None = set()
        self._around: set[str] | None = None
        self._owner = ""
        self._later: dict[str, list[tuple[str, int]]] = {}

    def finish(self) -> None:
        """Count the bodies of functions that the cell defines and does not use: a later cell will."""
        for name in list(self._later):
            self._call(name)

    def bind(self, name: str) -> None:
        """See the base class."""
        if self._bound is not None:
            self._bound.add(name)

    def load(self, name: str, line: int) -> None:
        """See the base class."""
        if self._bound is None:
            return
        if name not in self._bound and name in self._defined:
            self.uses[name] = min(line, self.uses.get(name, line))
        self._call(name)

    def _call(self, name: str) -> None:
        for inner, line in self._later.pop(name, ()):
            self.load(inner, line)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Keep the body for the time when the function's name is loaded."""
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """Keep the body for the time when the function's name is loaded."""
        self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Count the body at once: whoever gets the lambda may call it."""
        self.visit_signature(node)
        self._load_all(Scope.of_function(node).free())

    def visit_Assign(self, node: ast.Assign) -> None:
        """Treat `name = lambda: ...` as a function."""
        target = node.targets[0]
        if not isinstance(node.value, ast.Lambda) or not isinstance(target, ast.Name) or len(node.targets) > 1:
            super().visit_Assign(node)
            return
        self.visit_signature(node.value)
        self._keep(target.id, Scope.of_function(node.value))
        self.bind(target.id)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Run the body now, its methods when the class's name is loaded."""
        self.visit_all([*node.decorator_list, *node.bases, *node.keywords])
        before, around, owner = self._bound, self._around, self._owner
        outside = around if owner else before
        self._around, self._owner = outside, owner or node.name
        self._bound = None if outside is None else set(outside)
        for each in getattr(node, "type_params", ()):
            self.bind(each.name)
        self.visit_all(node.body)
        self._bound, self._around, self._owner = before, around, owner
        self.bind(node.name)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        """Visit a list comprehension."""
        self._comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        """Visit a set comprehension."""
        self._comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        """Visit a dict comprehension."""
        self._comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        """Visit a generator expression."""
        self._comprehension(node)

    def visit_If(self, node: ast.If) -> None:
        """Only what both branches bind is bound."""
        self.visit(node.test)
        self._branches([node.body, node.orelse])

    def visit_IfExp(self, node: ast.IfExp) -> None:
        """Only what both branches bind is bound."""
        self.visit(node.test)
        self._branches([[node.body], [node.orelse]])

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """Only the first operand is sure to be evaluated."""
        self.visit(node.values[0])
        self._branches([node.values[1:], []])

    def visit_For(self, node: ast.For) -> None:
        """The body may run no time at all."""
        self._for(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        """The body may run no time at all."""
        self._for(node)

    def visit_While(self, node: ast.While) -> None:
        """The body may run no time at all."""
        self.visit(node.test)
        self._branches([node.body, []])
        self.visit_all(node.orelse)

    def visit_Try(self, node: ast.Try) -> None:
        """A handler starts from what was bound before the body."""
        self._try(node)

    def visit_TryStar(self, node: ast.AST) -> None:
        """Visit `except*` as `except`: the node has the same fields."""
        self._try(cast("ast.Try", node))

    def visit_Match(self, node: ast.Match) -> None:
        """Only what every case binds is bound, and no case may fit."""
        self.visit(node.subject)
        self._branches([*([case] for case in node.cases), []])

    def visit_Raise(self, node: ast.Raise) -> None:
        """Nothing runs after it."""
        self.generic_visit(node)
        self._bound = None

    def visit_Break(self, _node: ast.Break) -> None:
        """Nothing of this block runs after it."""
        self._bound = None

    def visit_Continue(self, _node: ast.Continue) -> None:
        """Nothing of this block runs after it."""
        self._bound = None

    def visit_Return(self, node: ast.Return) -> None:
        """Nothing runs after it (legal in a cell only where IPython allows it)."""
        self.generic_visit(node)
        self._bound = None

    def visit_TypeAlias(self, node: ast.AST) -> None:
        """`type X = ...` evaluates its value only when somebody asks for it."""
        for name in ast.walk(node):
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                self.bind(name.id)

    def _function(self, node: Function) -> None:
        self.visit_signature(node)
        self._keep(self._owner or node.name, Scope.of_function(node))
        self.bind(node.name)

    def _keep(self, name: str, scope: Scope) -> None:
        if self._bound is not None:
            self._later.setdefault(name, []).extend(scope.free())

    def _load_all(self, loads: list[tuple[str, int]]) -> None:
        for name, line in loads:
            self.load(name, line)

    def _comprehension(self, node: Comprehension) -> None:
        self.visit(node.generators[0].iter)
        self._load_all(Scope.of_comprehension(node).free())

    def _for(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        before = _copy(self._bound)
        self.visit(node.target)
        self.visit_all(node.body)
        self._bound = before
        self.visit_all(node.orelse)

    def _try(self, node: ast.Try) -> None:
        before = _copy(self._bound)
        self._branches([[*node.body, *node.orelse], *([handler] for handler in node.handlers)])
        after, self._bound = self._bound, _copy(before)
        self.visit_all(node.finalbody)
        final = self._bound
        self._bound = None if after is None or final is None else after | final

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """The name is unbound again at the handler's end."""
        self.visit_all([node.type])
        if node.name:
            self.bind(node.name)
        self.visit_all(node.body)
        if node.name and self._bound is not None:
            self._bound.discard(node.name)

    def _branches(self, branches: Sequence[Sequence[ast.AST]]) -> None:
        before = self._bound
        ends: list[set[str]] = []
        for branch in branches:
            self._bound = _copy(before)
            self.visit_all(branch)
            if self._bound is not None:
                ends.append(self._bound)
        self._bound = set.intersection(*ends) if ends else None


def _copy(names: set[str] | None) -> set[str] | None:
    return None if names is None else set(names)
