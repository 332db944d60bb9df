"""The names that a function, lambda or comprehension takes from outside itself."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Function = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class BindingVisitor(ast.NodeVisitor):
    """Turns every way to bind or load a name into a call of `bind` or `load`."""

    def bind(self, name: str) -> None:
        """A name gets a value."""
        raise NotImplementedError

    def load(self, name: str, line: int) -> None:
        """A name's value is asked for."""
        raise NotImplementedError

    def visit_Name(self, node: ast.Name) -> None:
        """Bind or load; `del` needs a value too."""
        if not isinstance(node.ctx, ast.Store):
            self.load(node.id, node.lineno)
        if not isinstance(node.ctx, ast.Load):
            self.bind(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Visit the value before its targets: that is the order in which they run."""
        self.visit(node.value)
        self.visit_all(node.targets)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Load the target, then the value, then bind."""
        if isinstance(node.target, ast.Name):
            self.load(node.target.id, node.lineno)
        self.visit(node.value)
        self.visit(node.target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """An annotation without a value binds nothing."""
        if node.value is not None:
            self.visit(node.value)
        self.visit(node.annotation)
        if node.value is not None or not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """Visit the value before the target."""
        self.visit(node.value)
        self.visit(node.target)

    def visit_Import(self, node: ast.Import) -> None:
        """`import a.b` binds `a`."""
        for alias in node.names:
            self.bind(alias.asname or alias.name.partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from a import b` binds `b`; a star binds what cannot be known here."""
        for alias in node.names:
            self.bind(alias.asname or alias.name)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        """A capture pattern binds."""
        self.generic_visit(node)
        if node.name:
            self.bind(node.name)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        """A starred pattern binds."""
        if node.name:
            self.bind(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        """`**rest` binds."""
        self.generic_visit(node)
        if node.rest:
            self.bind(node.rest)

    def visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        """Visit those of `nodes` that are there, in order."""
        for node in nodes:
            if node is not None:
                self.visit(node)

    def visit_signature(self, node: Function | ast.Lambda) -> None:
        """Visit what is evaluated where a function is defined: decorators, defaults, annotations."""
        arguments = node.args
        if not isinstance(node, ast.Lambda):
            self.visit_all(node.decorator_list)
            self.visit_all(each.annotation for each in all_arguments(arguments))
            self.visit_all([node.returns])
        self.visit_all([*arguments.defaults, *arguments.kw_defaults])


def all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    """Return the parameters of every kind."""
    stars = [each for each in (arguments.vararg, arguments.kwarg) if each]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *stars]


class Scope(BindingVisitor):
    """One scope, in which a name bound anywhere is local everywhere."""

    def __init__(self, parent: Scope | None = None, kind: str = "function") -> None:
        self._parent = parent
        self._kind = kind
        self._bound: set[str] = set()
        self._global: set[str] = set()
        self._nonlocal: set[str] = set()
        self._loads: list[tuple[str, int]] = []
        # Loads that no name of this scope answers: those of a class's methods.
        self._past: list[tuple[str, int]] = []
        # Loads that only the module answers: `global`.
        self._module: list[tuple[str, int]] = []

    @classmethod
    def of_function(cls, node: Function | ast.Lambda, parent: Scope | None = None) -> Scope:
        """Read a function's own scope; its signature belongs to the scope around it."""
        scope = cls(parent)
        scope._bind_type_parameters(node)
        for each in all_arguments(node.args):
            scope.bind(each.arg)
        scope.visit_all([node.body] if isinstance(node, ast.Lambda) else node.body)
        return scope

    @classmethod
    def of_comprehension(cls, node: Comprehension, parent: Scope | None = None) -> Scope:
        """Read a comprehension without its first iterable, which belongs to the scope around it."""
        scope = cls(parent, "comprehension")
        for index, generator in enumerate(node.generators):
            if index:
                scope.visit(generator.iter)
            scope.visit(generator.target)
            scope.visit_all(generator.ifs)
        scope.visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        return scope

    def free(self) -> list[tuple[str, int]]:
        """Return name and line of every load that this scope does not answer, in order of reading."""
        return self._unanswered() + self._module

    def bind(self, name: str) -> None:
        """See the base class."""
        self._bound.add(name)

    def load(self, name: str, line: int) -> None:
        """See the base class."""
        target = self._module if name in self._global else self._loads
        target.append((name, line))

    def visit_Global(self, node: ast.Global) -> None:
        """These names are the module's from here to the end of the scope."""
        self._global.update(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        """These names are those of the function around."""
        self._nonlocal.update(node.names)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """A walrus in a comprehension binds in the scope around it."""
        self.visit(node.value)
        scope = self
        while scope._kind == "comprehension" and scope._parent is not None:
            scope = scope._parent
        if isinstance(node.target, ast.Name):
            scope.bind(node.target.id)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """`except ... as name` binds."""
        if node.name:
            self.bind(node.name)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Visit a nested function."""
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """Visit a nested coroutine function."""
        self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Visit a nested lambda."""
        self.visit_signature(node)
        self._take(Scope.of_function(node, self))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Visit a nested class."""
        self.visit_all([*node.decorator_list, *node.bases, *node.keywords])
        scope = Scope(self, "class")
        scope._bind_type_parameters(node)
        scope.visit_all(node.body)
        self._take(scope)
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

    def _function(self, node: Function) -> None:
        self.visit_signature(node)
        self._take(Scope.of_function(node, self))
        self.bind(node.name)

    def _comprehension(self, node: Comprehension) -> None:
        self.visit(node.generators[0].iter)
        self._take(Scope.of_comprehension(node, self))

    def _take(self, inner: Scope) -> None:
        # A class's names are not seen by the scopes inside it.
        target = self._past if self._kind == "class" else self._loads
        target.extend(inner._unanswered())
        self._module += inner._module

    def _unanswered(self) -> list[tuple[str, int]]:
        own = self._bound - self._global - self._nonlocal
        return [load for load in self._loads if load[0] not in own] + self._past

    def _bind_type_parameters(self, node: ast.AST) -> None:
        for each in getattr(node, "type_params", ()):
            self.bind(each.name)
