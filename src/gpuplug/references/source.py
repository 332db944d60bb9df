"""What Python source says of files, modules and commands. Nothing is looked up here."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from gpuplug.references import calls
from gpuplug.references.calls import Use
from gpuplug.references.values import PATH_CLASSES, Text, Trail, Values, dotted, literal

_FILE_ERRORS = frozenset(
    {"FileNotFoundError", "OSError", "IOError", "EnvironmentError", "Exception", "BaseException", "EOFError"}
)
# What reads one file or only talks, so that a folder of that name is not meant.
_FILE_ONLY = frozenset(
    {"open", "read_text", "read_bytes", "print", "display", "info", "debug", "warning", "error", "title"}
)
_ROOMY = frozenset({Use.PATH, Use.READ, Use.LIST})


@dataclass(frozen=True, slots=True)
class Mention:
    """A text of the source that may name a file.

    `folder` says that a folder of that name is meant too; `deferred` that the line runs later than it stands;
    `guarded` that its absence is handled; `runs` that it is run as a script.
    """

    text: Text
    line: int
    reason: str
    use: Use
    folder: bool
    deferred: bool = False
    guarded: bool = False
    runs: bool = False


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, and the names taken from it; `level` counts the dots before it."""

    module: str
    names: tuple[str, ...]
    level: int
    line: int


@dataclass(frozen=True, slots=True)
class ShellText:
    """A command that the source runs; `words` are given when it is no text but a list."""

    text: str
    line: int
    words: tuple[str, ...] = ()


@dataclass(slots=True)
class Scan:
    """All that one source says; `makes` are the lines that make files which cannot be known."""

    mentions: list[Mention] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    shell: list[ShellText] = field(default_factory=list)
    makes: list[int] = field(default_factory=list)
    chdirs: list[str] = field(default_factory=list)
    import_folders: list[str] = field(default_factory=list)
    run_modules: list[Import] = field(default_factory=list)
    imports_unknown: bool = False


def scan(tree: ast.Module, *, file: str | None = None, imported: bool = False) -> Scan:
    """Read `tree`.

    Args:
        tree: a cell, script or module.
        file: its path when it is a file: what `__file__` stands for.
        imported: it is imported, so what only a script runs is left out.
    """
    reader = _Reader(tree, file, imported=imported)
    reader.visit(tree)
    reader.finish()
    return reader.scan


class _Reader(ast.NodeVisitor):
    def __init__(self, tree: ast.Module, file: str | None, *, imported: bool) -> None:
        self.scan = Scan()
        self._values = Values(tree, file)
        self._imported = imported
        self._functions = 0
        self._guards = 0
        self._resolved: set[int] = set()
        self._names: dict[str, list[int]] = {}
        self._assigned: list[tuple[str, list[Text], ast.expr]] = []

    def finish(self) -> None:
        """Mention the constants that are used for more than the paths made from them."""
        for name, texts, node in self._assigned:
            uses = self._names.get(name, [])
            if uses and all(use in self._resolved for use in uses):
                continue
            use = calls.use_of_name(name)
            self._mention(texts, node, _bare_label(node), Use.PATH if use is Use.OTHER and _makes_path(node) else use)

    def visit(self, node: ast.AST) -> None:
        """Take a text or path as a whole; go into everything else."""
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp | ast.IfExp | ast.Attribute) and self._take(
            node, _bare_label(node), Use.PATH if _makes_path(node) else Use.OTHER
        ):
            return
        super().visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        """Remember where a constant is used."""
        if isinstance(node.ctx, ast.Load):
            self._names.setdefault(node.id, []).append(id(node))

    def visit_Expr(self, node: ast.Expr) -> None:
        """A text alone is documentation."""
        if not isinstance(node.value, ast.Constant):
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Decide about a constant when all its uses are known."""
        if len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            self._assign(node.targets[0].id, node.value)
            return
        for target in node.targets:
            self.visit(target)
        attribute = next((each.attr for each in node.targets if isinstance(each, ast.Attribute)), "")
        self._hinted(node.value, attribute)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Decide about a constant when all its uses are known."""
        if node.value is not None and isinstance(node.target, ast.Name):
            self._assign(node.target.id, node.value)
        elif node.value is not None:
            self.visit(node.value)

    def visit_Dict(self, node: ast.Dict) -> None:
        """A key such as "data_dir" says what its value is."""
        for key, value in zip(node.keys, node.values, strict=True):
            if key is not None:
                self.visit(key)
            self._hinted(value, str(key.value) if isinstance(key, ast.Constant) else "")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """What a function does is done when it is called."""
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """What a function does is done when it is called."""
        self._function(node)

    def visit_If(self, node: ast.If) -> None:
        """Leave out what only type checkers, or only scripts, run."""
        test = dotted(node.test)
        main = isinstance(node.test, ast.Compare) and dotted(node.test.left) == "__name__"
        if test in {"TYPE_CHECKING", "typing.TYPE_CHECKING"} or (main and self._imported):
            for each in node.orelse:
                self.visit(each)
            return
        self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        """A file whose absence is handled need not be there."""
        guard = any(_catches_missing(handler) for handler in node.handlers)
        self._guards += guard
        for each in node.body:
            self.visit(each)
        self._guards -= guard
        for part in (node.handlers, node.orelse, node.finalbody):
            for item in part:
                self.visit(item)

    def visit_Import(self, node: ast.Import) -> None:
        """Note each module."""
        self.scan.imports += [Import(alias.name, (), 0, node.lineno) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Note the module and what may be its submodules."""
        names = tuple(alias.name for alias in node.names)
        self.scan.imports.append(Import(node.module or "", names, node.level, node.lineno))

    def visit_Call(self, node: ast.Call) -> None:
        """Judge the arguments by what the call does."""
        use = calls.use_of(node)
        if calls.makes_files(node):
            self.scan.makes.append(node.lineno)
        if self._import_call(node) or self._on_path(node):
            return
        if use is Use.OTHER and self._take(node, _bare_label(node), Use.PATH if _makes_path(node) else Use.OTHER):
            return
        if use is Use.PATH and dotted(node.func).rpartition(".")[2] in PATH_CLASSES and self._take(node, "Path", use):
            return
        if use is Use.COMMAND and self._command(node):
            return
        self.visit(node.func)
        self._arguments(node, use)

    def _arguments(self, node: ast.Call, use: Use) -> None:
        label, written = calls.label(node), calls.written_argument(node)
        for index, argument in enumerate(node.args):
            self._argument(argument, label, Use.WRITE if index == written else use, first=index == 0)
        for keyword in node.keywords:
            self._argument(keyword.value, label, calls.use_of_keyword(node, keyword.arg, use), first=False)

    def _hinted(self, node: ast.expr, name: str) -> None:
        """Read a value whose place has a name that may say what it is for."""
        use = calls.use_of_name(name)
        if use is Use.OTHER or not self._take(node, _bare_label(node), use):
            self.visit(node)

    def _argument(self, node: ast.expr, label: str, use: Use, *, first: bool) -> None:
        if use in {Use.CHDIR, Use.IMPORT_PATH} and self._folder_argument(node, use):
            return
        if use in {Use.READ, Use.GLOB, Use.LIST} and not first:
            use = Use.PATH
        if use is Use.OTHER and isinstance(node, ast.Name):
            use = calls.use_of_name(node.id)
        if not self._take(node, label, use):
            self.visit(node)

    def _folder_argument(self, node: ast.expr, use: Use) -> bool:
        texts = self._evaluate(node)
        known = [text for text in map(literal, texts or ()) if text is not None]
        (self.scan.chdirs if use is Use.CHDIR else self.scan.import_folders).extend(known)
        return bool(known)

    def _on_path(self, node: ast.Call) -> bool:
        """Read `Path("x").read_text()` and the like."""
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in calls.PATH_METHODS:
            return False
        texts = None if dotted(node.func.value) in {"os", "glob", "io"} else self._evaluate(node.func.value)
        if texts is None:
            return False
        use = calls.PATH_METHODS[node.func.attr]
        if node.func.attr == "open":
            use = calls.mode_use(node, 0)
        if use is Use.GLOB:
            texts = self._below(texts, node, "**/" if node.func.attr == "rglob" else "")
        elif node.func.attr not in {"write_text", "write_bytes"}:
            self._rest(node)
        else:
            for argument in node.args:
                self.visit(argument)
        self._mention(texts, node, node.func.attr, use)
        return True

    def _below(self, folders: list[Text], node: ast.Call, between: str) -> list[Text]:
        patterns = self._evaluate(node.args[0]) if node.args else None
        return [(*folder, "/" + between, *found) for folder in folders for found in patterns or [("*",)]]

    def _rest(self, node: ast.Call) -> None:
        for each in [*node.args, *(keyword.value for keyword in node.keywords)]:
            if not isinstance(each, ast.Constant):
                self.visit(each)

    def _import_call(self, node: ast.Call) -> bool:
        name = dotted(node.func)
        if name.rpartition(".")[2] in {"iter_modules", "walk_packages"}:
            self.scan.imports_unknown = True
            return False
        if name not in {"importlib.import_module", "import_module", "__import__"} or not node.args:
            return False
        given = node.args[0]
        if isinstance(given, ast.Constant) and isinstance(given.value, str):
            module = given.value.lstrip(".")
            self.scan.imports.append(Import(module, (), len(given.value) - len(module), node.lineno))
            return True
        self.scan.imports_unknown = True
        return False

    def _command(self, node: ast.Call) -> bool:
        given = node.args[0] if node.args else None
        self.scan.makes.append(node.lineno)
        if isinstance(given, ast.List | ast.Tuple):
            found = [self._evaluate(each) for each in given.elts]
            words = tuple((texts and literal(texts[0])) or "?" for texts in found)
            self.scan.shell.append(ShellText("", node.lineno, words))
            return True
        texts = self._evaluate(given) if given is not None else None
        self.scan.shell += [
            ShellText("".join("?" if part is None else part for part in text), node.lineno) for text in texts or ()
        ]
        return bool(texts)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for each in [*node.decorator_list, node.args]:
            self.visit(each)
        self._functions += 1
        for statement in node.body:
            self.visit(statement)
        self._functions -= 1

    def _assign(self, name: str, value: ast.expr) -> None:
        texts = None if isinstance(value, ast.Name) else self._evaluate(value)
        if texts is None:
            self.visit(value)
        else:
            self._assigned.append((name, texts, value))

    def _take(self, node: ast.AST, label: str, use: Use) -> bool:
        texts = self._evaluate(node) if isinstance(node, ast.expr) else None
        if texts is None:
            return False
        self._mention(texts, node, label, use)
        return True

    def _evaluate(self, node: ast.expr) -> list[Text] | None:
        trail = Trail()
        texts = self._values.of(node, trail)
        if texts is None:
            return None
        self._resolved.update(id(name) for name in trail.names)
        for name in trail.names:
            self.visit_Name(name)
        for each in trail.rest:
            self.visit(each)
        return texts

    def _mention(self, texts: list[Text], node: ast.AST, label: str, use: Use) -> None:
        line: int = getattr(node, "lineno", 1)
        if use is Use.READ and len(texts) > 1:
            use = Use.PATH  # one of them is read, and which one is not known
        for text in texts:
            slash = any("/" in (part or "") for part in text)
            folder = use in _ROOMY or use is Use.GLOB or (slash and use is Use.OTHER and not self._imported)
            folder = folder and label.rpartition(".")[2] not in _FILE_ONLY
            self.scan.mentions.append(Mention(text, line, label, use, folder, self._functions > 0, self._guards > 0))


def _bare_label(node: ast.AST) -> str:
    if not _makes_path(node):
        return "string"
    return calls.label(node) if isinstance(node, ast.Call) else "Path"


def _makes_path(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Div)
    if isinstance(node, ast.Attribute):
        return node.attr == "parent"
    return isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in {*PATH_CLASSES, "join", "joinpath"}


def _catches_missing(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(dotted(each) in _FILE_ERRORS for each in types)
