"""What texts and paths an expression may stand for, as far as the cell itself says."""

from __future__ import annotations

import ast
import glob
import itertools
import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# A text with gaps: None is a part that only the run will know.
Text = tuple[str | None, ...]

ANY: Text = (None,)
_ALTERNATIVES = 32
_DEPTH = 40
PATH_CLASSES = frozenset({"Path", "PurePath", "PosixPath", "PurePosixPath"})
_SAME_PATH = frozenset(
    {"str", "fspath", "abspath", "realpath", "normpath", "expanduser", "resolve", "absolute", "as_posix"}
)
_HERE = frozenset({"os.getcwd", "getcwd", "Path.cwd", "pathlib.Path.cwd", "os.curdir"})
_PERCENT = re.compile(r"%(?:\([^)]*\))?[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]")
_FIELD = re.compile(r"\{\{|\}\}|\{[^{}]*\}")


@dataclass(slots=True)
class Trail:
    """What an evaluation touched: names that it read, and sub-expressions that it could not read."""

    names: list[ast.Name] = field(default_factory=list)
    rest: list[ast.expr] = field(default_factory=list)


def literal(text: Text) -> str | None:
    """Return `text` when it has no gap."""
    return None if None in text else "".join(part or "" for part in text)


def pattern(text: Text, *, is_glob: bool) -> str:
    """Return `text` as a glob with `*` in its gaps; `is_glob` says that its own `*` and `?` mean it."""
    parts = ("*" if part is None else part if is_glob else glob.escape(part) for part in text)
    return re.sub(r"\*\*+(?!/|$)|(?<!^)(?<!/)\*\*+", "*", "".join(parts))


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a name or attribute, with an empty first part when it hangs on an expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    parts.append(node.id if isinstance(node, ast.Name) else "")
    return ".".join(reversed(parts))


class Values:
    """Evaluates texts and paths of one tree; `file` is what `__file__` stands for, relative to the working folder."""

    def __init__(self, tree: ast.AST, file: str | None = None) -> None:
        self._bindings = _bindings(tree)
        if file is not None:
            self._bindings["__file__"] = [ast.Constant(file)]
        self._known: dict[str, list[Text] | None] = {}
        self._depth = 0

    def of(self, node: ast.expr, trail: Trail) -> list[Text] | None:
        """Return what `node` may stand for, or None when it is no text or nothing of it is known."""
        if self._depth > _DEPTH:
            return None
        self._depth += 1
        try:
            return self._evaluate(node, trail)
        finally:
            self._depth -= 1

    def _evaluate(self, node: ast.expr, trail: Trail) -> list[Text] | None:
        if isinstance(node, ast.Constant):
            return [(node.value,)] if isinstance(node.value, str) else None
        if isinstance(node, ast.Name):
            trail.names.append(node)
            return self._of_name(node.id)
        if isinstance(node, ast.Attribute):
            return _parents(self.of(node.value, trail)) if node.attr == "parent" else None
        if isinstance(node, ast.Call):
            return self._call(node, trail)
        return self._compound(node, trail)

    def _compound(self, node: ast.expr, trail: Trail) -> list[Text] | None:
        match node:
            case ast.JoinedStr():
                return _joined([self._part(value, trail) for value in node.values], "")
            case ast.FormattedValue(format_spec=None):
                return self.of(node.value, trail)
            case ast.BinOp():
                return self._operation(node, trail)
            case ast.IfExp():
                trail.rest.append(node.test)
                return self._either([node.body, node.orelse], trail)
            case ast.BoolOp(op=ast.Or()):
                return self._either(node.values, trail)
        return None

    def _of_name(self, name: str) -> list[Text] | None:
        if name in self._known:
            return self._known[name]
        found = self._bindings.get(name)
        if not found:
            return None
        texts: list[Text] = []
        for value in found:
            # A name that is made from itself sees what it was bound to before.
            self._known[name] = None if all(text == ANY for text in texts) else _few(texts)
            texts += (value is not None and self.of(value, Trail())) or [ANY]
        self._known[name] = None if all(text == ANY for text in texts) else _few(texts)
        return self._known[name]

    def _part(self, node: ast.expr, trail: Trail) -> list[Text]:
        inner = Trail()
        found = self.of(node, inner)
        if found is None:
            return self._gap(node, trail)
        trail.names += inner.names
        trail.rest += inner.rest
        return found

    @staticmethod
    def _gap(node: ast.expr, trail: Trail) -> list[Text]:
        if isinstance(node, ast.FormattedValue):
            node = node.value
        trail.rest.append(node)
        return [ANY]

    def _either(self, nodes: Sequence[ast.expr], trail: Trail) -> list[Text] | None:
        texts = _few(text for node in nodes for text in self._part(node, trail))
        return None if all(text == ANY for text in texts) else texts

    def _operation(self, node: ast.BinOp, trail: Trail) -> list[Text] | None:
        match node.op:
            case ast.Div():
                left = self.of(node.left, trail)
                return left and _joined([left, self._part(node.right, trail)], "/")
            case ast.Add():
                left = self._part(node.left, trail)
                right = self._part(node.right, trail)
                return None if left == right == [ANY] else _joined([left, right], "")
            case ast.Mod():
                left = self.of(node.left, trail)
                trail.rest.append(node.right)
                return left and [_with_gaps(text, _PERCENT) for text in left]
        return None

    def _call(self, node: ast.Call, trail: Trail) -> list[Text] | None:
        name = dotted(node.func)
        last = name.rpartition(".")[2]
        if name in _HERE:
            return [(".",)]
        if last in PATH_CLASSES or name.endswith("path.join"):
            parts = [self._part(argument, trail) for argument in node.args]
            known = any(part != [ANY] for part in parts[:1])
            return _joined(parts, "/") if known else None if parts else [(".",)]
        if last in {*_SAME_PATH, "dirname"} and len(node.args) == 1:
            found = self.of(node.args[0], trail)
            return _parents(found) if last == "dirname" else found
        if isinstance(node.func, ast.Attribute):
            return self._method(node, node.func, trail)
        return None

    def _method(self, node: ast.Call, function: ast.Attribute, trail: Trail) -> list[Text] | None:
        if function.attr not in {*_SAME_PATH, "joinpath", "format"}:
            return None
        base = self.of(function.value, trail)
        if base is None:
            return None
        if function.attr == "joinpath":
            return _joined([base, *(self._part(argument, trail) for argument in node.args)], "/")
        trail.rest += [*node.args, *(keyword.value for keyword in node.keywords)]
        return [_with_gaps(text, _FIELD) for text in base] if function.attr == "format" else base


def _few(texts: Iterable[Text]) -> list[Text]:
    """Drop repeats, and give up on what has too many alternatives."""
    unique = list(dict.fromkeys(texts))
    return unique if len(unique) <= _ALTERNATIVES else [ANY]


def _joined(parts: list[list[Text]], separator: str) -> list[Text]:
    count = 1
    for part in parts:
        count *= len(part)
    if count > _ALTERNATIVES:
        parts = [part if len(part) == 1 else [ANY] for part in parts]
    return _few(_join(combination, separator) for combination in itertools.product(*parts))


def _join(texts: Sequence[Text], separator: str) -> Text:
    joined: list[str | None] = []
    for text in texts:
        if separator and text and (text[0] or "").startswith("/"):
            joined = []  # an absolute part replaces all before it, as in os.path.join
        elif separator and joined and joined[-1] != "/":
            joined.append(separator)
        joined += text
    return tuple(joined)


def _parents(texts: list[Text] | None) -> list[Text] | None:
    known = [literal(text) for text in texts or ()]
    return [(posixpath.dirname(text) or ".",) for text in known if text is not None] or None


def _with_gaps(text: Text, gap: re.Pattern[str]) -> Text:
    parts: list[str | None] = []
    for part in text:
        if part is None:
            parts.append(None)
            continue
        end = 0
        for found in gap.finditer(part):
            escaped = found[0] in {"{{", "}}"}
            parts += [part[end : found.start()], found[0][0] if escaped else None]
            end = found.end()
        parts.append(part[end:])
    return tuple(part for part in parts if part != "")


def _bindings(tree: ast.AST) -> dict[str, list[ast.expr | None]]:
    """Return for each name what it is bound to; None stands for a value that is not written in the cell."""
    found: dict[str, list[ast.expr | None]] = {}
    known: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.arguments):
            _add_parameters(node, found)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in known:
            found.setdefault(node.id, []).append(None)
        for target, value in _bound_by(node):
            if isinstance(target, ast.Name):
                known.add(id(target))
                found.setdefault(target.id, []).append(value)
    return found


def _bound_by(node: ast.AST) -> list[tuple[ast.AST, ast.expr | None]]:
    match node:
        case ast.Assign():
            return [(target, node.value) for target in node.targets]
        case ast.AnnAssign() | ast.NamedExpr():
            return [(node.target, node.value)] if node.value is not None else []
        case ast.For() | ast.comprehension():
            return [(node.target, element) for element in _elements(node.iter)]
    return []


def _elements(iterable: ast.expr) -> list[ast.expr | None]:
    if isinstance(iterable, ast.List | ast.Tuple | ast.Set):
        return list(iterable.elts) or [None]
    return [None]


def _add_parameters(arguments: ast.arguments, found: dict[str, list[ast.expr | None]]) -> None:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: dict[str, ast.expr | None] = dict(
        zip((each.arg for each in reversed(positional)), reversed(arguments.defaults), strict=False)
    )
    defaults |= {each.arg: value for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)}
    for each in [*positional, *arguments.kwonlyargs]:
        found.setdefault(each.arg, []).append(None)
        if (default := defaults.get(each.arg)) is not None:
            found[each.arg].append(default)
