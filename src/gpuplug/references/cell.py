"""IPython's syntax taken out of a cell: what remains is Python with the same line numbers."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass
from typing import cast

from gpuplug.errors import UsageError

# What the parser raises for text that is no Python: NUL bytes, lone surrogates, nesting beyond its stack.
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)

_PYTHON_MAGICS = frozenset({"time", "timeit", "prun", "capture", "memit"})
_FOREIGN_PYTHON = frozenset({"python", "python3", "pypy", "pypy3"})
_SHELLS = frozenset({"bash", "sh", "zsh", "ksh", "dash", "!", "sx", "system"})
# Words that IPython takes for magics without "%" when the cell is one line.
_AUTOMAGICS = frozenset(
    [
        "cat",
        "cd",
        "clear",
        "conda",
        "cp",
        "env",
        "less",
        "load",
        "ls",
        "ll",
        "lk",
        "man",
        "mamba",
        "mkdir",
        "more",
        "mv",
        "pip",
        "prun",
        "pwd",
        "rm",
        "rmdir",
        "run",
        "time",
        "timeit",
        "uv",
        "who",
        "whos",
        "writefile",
    ]
)

_SPECIAL = re.compile(r"^[ \t]*(?:[!%?,;/]|>>>)|=[ \t]*[!%]|\?[ \t]*$", re.MULTILINE)
_ESCAPE = re.compile(r"[ \t]*(?:(?P<shell>!!?)|(?P<magic>%%?)(?=[^\W\d]|!)|(?P<other>\?{1,2}|[,;/](?=\w)))")
_ASSIGN = re.compile(
    r"(?P<target>[ \t]*[^\W\d]\w*(?:\.\w+|\[[^\]\n]*\])*(?:[ \t]*,[ \t]*[^\W\d]\w*)*[ \t]*,?)[ \t]*"
    r"=[ \t]*(?P<escape>!!?|%(?=[^\W\d]))"
)
_HELP = re.compile(r"(?P<indent>[ \t]*)(?P<name>%{0,2}[\w*][\w.*\[\]'\"]*)\?{1,2}[ \t]*(?=\n|$)")
_MAGIC_NAME = re.compile(r"[^\W\d][\w.]*|!")
_MAGIC_OPTION = re.compile(r"-[A-Za-z]+(?:[ \t]*\d+)?(?:[ \t]+|$)")
_CODE_PIECE = re.compile(r"""\#[^\n]*|'{3}|"{3}|["'\[({\])}\n]|\\\n""")
_STRING_ENDS = {quote: re.compile(rf"(?:[^\\]|\\.)*?{quote}", re.DOTALL) for quote in ("'''", '"""')} | {
    quote: re.compile(rf"(?:[^\\\n{quote}]|\\.)*{quote}?", re.DOTALL) for quote in ("'", '"')
}
_BRACES = re.compile(r"\{([^{}\n]+)\}")
_DOLLAR = re.compile(r"\$([^\W\d]\w*)")
_NOT_IN_PLACEHOLDER = (ast.Yield, ast.YieldFrom, ast.Await, ast.NamedExpr)


@dataclass(frozen=True, slots=True)
class Command:
    """A line for IPython or the shell: `magic` is `!` for the shell, else the magic's name."""

    magic: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell as Python and commands.

    `python` has the cell's line numbers, with an expression of the same names in place of each command.
    `foreign` says that another interpreter runs it, so that it sees no name of the notebook.
    """

    python: str = ""
    commands: tuple[Command, ...] = ()
    foreign: bool = False


def check_syntax(source: str, shell: bool) -> None:  # noqa: FBT001 - the one thing to know about a cell
    """Refuse a cell that cannot run. Blocks for milliseconds, costs nothing and may be repeated.

    Args:
        source: the cell's text.
        shell: it is a shell script.

    Raises:
        UsageError: it is no Python or IPython; the message has the line, its text and a caret.
    """
    cell = split(source, shell=shell)
    parse(cell.python, source, ast_only=False)


def parse(python: str, source: str, *, ast_only: bool = True) -> ast.Module:
    """Parse `python`, which was split from `source`.

    Raises:
        UsageError: it is no Python.
    """
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | (ast.PyCF_ONLY_AST if ast_only else 0)
    try:
        with warnings.catch_warnings():
            # The instance will show them when the cell runs.
            warnings.simplefilter("ignore")
            return cast("ast.Module", compile(python, "<cell>", "exec", flags, dont_inherit=True))
    except _UNPARSABLE as error:
        raise _refusal(error, source) from None


def parse_file(content: bytes) -> ast.Module:
    """Parse a Python file in the encoding that it declares.

    Raises:
        UsageError: it is no Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(content)
    except _UNPARSABLE as error:
        raise UsageError(str(error)) from None


def _refusal(error: Exception, source: str) -> UsageError:
    if not isinstance(error, SyntaxError) or error.lineno is None:
        return UsageError(f"the cell cannot be parsed: {str(error) or type(error).__name__}")
    lines = source.split("\n")
    message = f"syntax error in line {error.lineno}: {error.msg}"
    if not 0 < error.lineno <= len(lines):
        return UsageError(message)
    text = lines[error.lineno - 1].rstrip()
    shown = text.lstrip()
    column = max((error.offset or 1) - 1 - (len(text) - len(shown)), 0)
    return UsageError(f"{message}\n    {shown}\n    {' ' * min(column, len(shown))}^")


def split(source: str, *, shell: bool = False) -> Cell:
    """Take IPython's syntax out of `source`.

    Raises:
        UsageError: it holds NUL characters or lone surrogates, which no interpreter takes.
    """
    _refuse_odd_characters(source)
    text = source.replace("\r\n", "\n").replace("\r", "\n")
    if shell:
        return Cell(commands=(Command("!", text, 1),), foreign=True)
    if not _SPECIAL.search(text):
        return _plain(_dedent(text))
    return _split_body(_without_prompts(_dedent(text)), 0)


def _refuse_odd_characters(source: str) -> None:
    if "\0" in source:
        line = source.count("\n", 0, source.index("\0")) + 1
        msg = f"line {line} of the cell holds a NUL character"
        raise UsageError(msg)
    try:
        source.encode()
    except UnicodeEncodeError as error:
        line = source.count("\n", 0, error.start) + 1
        msg = f"line {line} of the cell holds half of a surrogate pair"
        raise UsageError(msg) from None


def _dedent(text: str) -> str:
    """Drop the first line's indent from all lines, as IPython does with an indented cell."""
    first = re.match(r"(?:[ \t]*\n)*(?P<indent>[ \t]+)(?=[^\s#])", text)
    if not first:
        return text
    indent = first["indent"]
    return "\n".join(line.removeprefix(indent) for line in text.split("\n"))


def _without_prompts(text: str) -> str:
    if not text.lstrip().startswith(">>>"):
        return text
    return re.sub(r"^(?:>>>|\.\.\.)(?: |$)", "", text, flags=re.MULTILINE)


def _plain(text: str) -> Cell:
    words = text.split()
    if len(words) > 1 and words[0] in _AUTOMAGICS and "\n" not in text.strip() and not _parses(text):
        return _split_body("%" + text.lstrip(), 0)
    return Cell(text)


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except _UNPARSABLE:
        return False
    return True


def _split_body(text: str, above: int) -> Cell:
    """Split `text`, which has `above` lines of the cell before it; a cell magic may be its first line."""
    head = re.match(r"(?P<blank>(?:[ \t]*\n)*)%%(?P<name>[\w.]+|!)(?P<rest>[^\n]*)\n?", text)
    if not head:
        return _split_lines(text, above)
    line = above + head["blank"].count("\n") + 1
    return _split_magic(head["name"], head["rest"].strip(), text[head.end() :], line)


def _split_magic(name: str, rest: str, body: str, line: int) -> Cell:
    words = rest.split()
    interpreter = words[0].rsplit("/", 1)[-1] if name == "script" and words else name
    if interpreter in _SHELLS:
        return Cell("", (Command("!", body, line + 1),), foreign=True)
    if name in _PYTHON_MAGICS:
        inner = _split_body(body, line)
        code = _magic_code(rest) if name != "capture" else ""
        return Cell("\n" * (line - 1) + code + "\n" + inner.python[line:], inner.commands, inner.foreign)
    if interpreter in _FOREIGN_PYTHON:
        return Cell("\n" * line + body, (), foreign=True)
    return Cell("", (Command("%" + name, rest, line),), foreign=True)


def _split_lines(text: str, above: int) -> Cell:
    pieces = ["\n" * above]
    commands: list[Command] = []
    position, line = 0, above + 1
    while position < len(text):
        end, placeholder, command = _next_statement(text, position, line)
        original = text[position:end]
        breaks = original.count("\n")
        pieces.append(original if placeholder is None else placeholder + "\n" * breaks)
        if command is not None:
            commands.append(command)
        position, line = end, line + breaks
    return Cell("".join(pieces), tuple(commands))


def _next_statement(text: str, start: int, line: int) -> tuple[int, str | None, Command | None]:
    """Return where the statement at `start` ends, what stands in for it (None: itself) and its command."""
    assign = _ASSIGN.match(text, start)
    if assign:
        end = _end_of_command(text, assign.end())
        command = _command(assign["escape"], text[assign.end() : end], line)
        return end, f"{assign['target']}= {_placeholder(command) or 'None'}", command
    escape = _ESCAPE.match(text, start)
    if escape:
        end = _end_of_command(text, escape.end())
        indent = escape[0][: len(escape[0]) - len(escape[0].lstrip())]
        if escape["other"]:
            return end, indent + "pass", None
        command = _command(escape[0].strip(), text[escape.end() : end], line)
        return end, indent + (_placeholder(command, statement=True) or "pass"), command
    asked = _HELP.match(text, start)
    if asked:
        name = asked["name"] if re.fullmatch(r"[^\W\d][\w.]*", asked["name"]) else "pass"
        end = min(asked.end() + 1, len(text))
        return end, asked["indent"] + (name if _parses(name) else "pass"), None
    return _end_of_statement(text, start), None, None


def _command(escape: str, text: str, line: int) -> Command:
    text = text.removesuffix("\n")
    if escape.startswith("!"):
        return Command("!", text, line)
    name = _MAGIC_NAME.match(text)
    if not name:
        return Command("%", text, line)
    rest = text[name.end() :].strip()
    return Command("!" if name[0] in _SHELLS else name[0], rest, line)


def _placeholder(command: Command, *, statement: bool = False) -> str:
    """Return Python that loads the names that `command` loads: its code, or what `{...}` and `$...` expand."""
    if command.magic in _PYTHON_MAGICS:
        code = _magic_code(command.text)
        if statement:
            return code
        return f"({code})" if _is_expression(code) else ""
    loads = [text for text in _BRACES.findall(command.text) if _is_expression(text)]
    loads += _DOLLAR.findall(command.text)
    return f"({', '.join(f'({text})' for text in loads)},)" if loads else ""


def _magic_code(text: str) -> str:
    while option := _MAGIC_OPTION.match(text):
        text = text[option.end() :]
    code = text.replace("\\\n", " ").strip()
    return code if _parses(code) and "\n" not in code and "#" not in code else ""


def _is_expression(text: str) -> bool:
    if "#" in text:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(f"({text})", mode="eval")
    except _UNPARSABLE:
        return False
    return not any(isinstance(node, _NOT_IN_PLACEHOLDER) for node in ast.walk(tree))


def _end_of_command(text: str, start: int) -> int:
    """Return the end of a line that a backslash before the line's end continues."""
    while True:
        newline = text.find("\n", start)
        if newline < 0:
            return len(text)
        if newline == 0 or text[newline - 1] != "\\":
            return newline + 1
        start = newline + 1


def _end_of_statement(text: str, start: int) -> int:
    """Return the end of the logical line at `start`: the first line's end outside strings and brackets."""
    depth, position = 0, start
    while piece := _CODE_PIECE.search(text, position):
        mark, position = piece[0], piece.end()
        if mark == "\n" and depth <= 0:
            return position
        if mark in _STRING_ENDS:
            end = _STRING_ENDS[mark].match(text, position)
            position = end.end() if end else len(text)
        elif mark in "[({":
            depth += 1
        elif mark in "])}":
            depth -= 1
    return len(text)
