"""What lines for the shell and for IPython's magics say of files."""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug.references.calls import Use
from gpuplug.references.source import Import, Mention, Scan, ShellText

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpuplug.references.cell import Command
    from gpuplug.references.values import Text

_OPERATOR = re.compile(r"[();<>|&]+")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_GAP = re.compile(r"\{[^{}]*\}|\$\{\w+\}|\$\w+|\$\(.*?\)")
_PREFIXES = frozenset(
    {"sudo", "time", "nohup", "env", "exec", "command", "nice", "then", "do", "else", "if", "while", "!"}
)
_RUNNERS = re.compile(
    r"python[\d.]*|ipython3?|pypy3?|torchrun|accelerate|deepspeed|bash|sh|zsh|source|\.|uv|poetry|pytest|mpirun"
    r"|nsys|ncu|xargs|streamlit|ray|run"
)
_PYTHONS = re.compile(r"python[\d.]*|ipython3?|pypy3?|torchrun|run|-")
# Their words are no folders to send, though folders of that name may be there.
_WORDS_ONLY = frozenset(
    [
        "echo",
        "printf",
        "mkdir",
        "rm",
        "rmdir",
        "git",
        "pip",
        "pip3",
        "conda",
        "mamba",
        "apt",
        "apt-get",
        "export",
        "kill",
        "which",
        "cd",
        "man",
        "npm",
        "for",
    ]
)
_HARMLESS = frozenset(
    [
        "ls",
        "cat",
        "echo",
        "printf",
        "pip",
        "pip3",
        "conda",
        "head",
        "tail",
        "wc",
        "pwd",
        "du",
        "df",
        "which",
        "grep",
        "nvidia-smi",
        "free",
        "lscpu",
        "uname",
        "env",
        "printenv",
        "date",
        "ps",
        "top",
        "hostname",
        "sleep",
        "true",
        "export",
        "set",
        "cd",
        "whoami",
        "nproc",
        "clear",
    ]
)
_MAKING = frozenset({"mkdir", "touch", "tee", "truncate", "mktemp", "writefile", "file"})
_LAST_IS_MADE = frozenset({"cp", "mv", "ln", "rsync", "scp"})
_OUTPUT_OPTIONS = frozenset({"-O", "-o", "-P", "--output", "--output-document", "--directory-prefix", "-d", "-C"})
_SCRIPTS = (".py", ".sh", ".bash")


@dataclass(frozen=True, slots=True)
class _Line:
    """One simple command: its words without redirections."""

    words: Sequence[str]
    line: int
    mark: str

    @property
    def name(self) -> str:
        return posixpath.basename(self.words[0])


def scan_command(command: Command) -> Scan:
    """Read a magic or a shell line of a cell."""
    found = Scan()
    if command.magic == "!":
        _read_script(command.text, command.line, "!", found)
    elif command.magic in {"run", "cd", "pip", "conda", "uv", "load", "env", "%writefile", "%file", "writefile"}:
        name = command.magic.lstrip("%")
        _read_text(f"{name} {command.text}", command.line, "%", found)
    else:
        _read_words(_Line(["%" + command.magic.lstrip("%"), *_split(command.text)], command.line, ""), found)
    return found


def scan_shell(text: str) -> Scan:
    """Read a shell script."""
    found = Scan()
    _read_script(text, 1, "", found)
    return found


def scan_call(shell: ShellText) -> Scan:
    """Read a command that Python source runs, such as the argument of `os.system`."""
    found = Scan()
    if shell.words:
        words = ["python" if shell.words[0] == "?" else shell.words[0], *shell.words[1:]]
        _read_simple(_Line(words, shell.line, "!"), found)
    else:
        _read_script(shell.text, shell.line, "!", found, one_line=True)
    return found


def _read_script(text: str, line: int, mark: str, found: Scan, *, one_line: bool = False) -> None:
    pending, start = "", line
    for index, part in enumerate(text.split("\n")):
        pending += part
        if pending.endswith("\\"):
            pending = pending[:-1] + " "
            continue
        _read_text(pending, start, mark, found)
        pending, start = "", line if one_line else line + index + 1
    _read_text(pending, start, mark, found)


def _read_text(text: str, line: int, mark: str, found: Scan) -> None:
    words: list[str] = []
    tokens = iter(_split(text))
    for token in tokens:
        if token.startswith("#"):
            break
        if not _OPERATOR.fullmatch(token):
            words.append(token)
        elif ">" in token or "<" in token:
            target = next(tokens, "")
            if not _OPERATOR.fullmatch(target):
                use = Use.WRITE if ">" in token else Use.PATH
                _mention(target, _Line(words or ["sh"], line, mark), use, found)
        else:
            _read_simple(_Line(words, line, mark), found)
            words = []
    _read_simple(_Line(words, line, mark), found)


def _split(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        # A quote that another line closes.
        return [word.strip("\"'") for word in text.split()]


def _read_simple(line: _Line, found: Scan) -> None:
    words = list(line.words)
    while words and (posixpath.basename(words[0]) in _PREFIXES or _ASSIGNMENT.match(words[0])):
        if _ASSIGNMENT.match(words[0]):
            _mention(words[0].partition("=")[2], _Line(["sh"], line.line, line.mark), Use.OTHER, found)
        words.pop(0)
    words = [word for word in words if word]
    if not words:
        return
    simple = _Line(words, line.line, line.mark)
    if simple.name == "cd" and len(words) > 1:
        found.chdirs.append(words[1])
        return
    if simple.name not in _HARMLESS:
        found.makes.append(line.line)
    _read_words(simple, found)


def _read_words(line: _Line, found: Scan) -> None:
    words = list(line.words)
    runner = bool(_RUNNERS.fullmatch(line.name))
    runs = runner or words[0].endswith(_SCRIPTS)
    if words[0].endswith(_SCRIPTS):
        _mention(words[0], line, Use.OTHER, found, runs=True)
    elif "/" in words[0]:
        _mention(words[0], line, Use.WRITE if words[0].startswith("/") else Use.OTHER, found)
    for index in range(1, len(words)):
        word, before = words[index], words[index - 1]
        if before in {"-m", "--module"} and _PYTHONS.fullmatch(line.name):
            found.run_modules.append(Import(word, ("__main__",), 0, line.line))
            continue
        is_script = runs and word.endswith(_SCRIPTS)
        use = _use_of_word(line, index)
        if is_script and use is Use.OTHER:
            use = Use.READ if runner and not _has_script(words[1:index]) else Use.OTHER
        for text in _variants(word):
            _mention(text, line, use, found, runs=is_script)


def _has_script(words: Sequence[str]) -> bool:
    return any(word.endswith(_SCRIPTS) for word in words)


def _use_of_word(line: _Line, index: int) -> Use:
    last = index == len(line.words) - 1
    if line.name in _MAKING or (line.name in _LAST_IS_MADE and last):
        return Use.WRITE
    if line.name in {"wget", "curl", "gdown", "unzip", "tar"} and line.words[index - 1] in _OUTPUT_OPTIONS:
        return Use.WRITE
    return Use.OTHER


def _variants(word: str) -> Iterator[str]:
    """Yield what of a word may be a path: all of it, what follows `=`, and the parts of a list."""
    if not word.startswith("-"):
        yield word
    value = word.partition("=")[2]
    if value:
        yield value
    if "," in word:
        yield from (value or word).split(",")


def _mention(word: str, line: _Line, use: Use, found: Scan, *, runs: bool = False) -> None:
    text = _with_gaps(word)
    if not word or "://" in word or all(part is None for part in text):
        return
    folder = line.name not in _WORDS_ONLY or (line.name.startswith("pip") and "/" in word)
    found.mentions.append(Mention(text, line.line, line.mark + line.name, use, folder, runs=runs))


def _with_gaps(word: str) -> Text:
    parts: list[str | None] = []
    end = 0
    for gap in _GAP.finditer(word):
        here = gap[0] in {"$PWD", "${PWD}"}
        parts += [word[end : gap.start()], "." if here else None]
        end = gap.end()
    parts.append(word[end:])
    return tuple(part for part in parts if part != "")
