"""Names that come from a rented machine: which are refused, and which belong to files that would run here later."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

from gpuplug.agent.safepath import PART_SUFFIX, PathError, parts_of

_MAX_DEPTH = 32
_MAX_PATH = 1024
_MAX_NAME_BYTES = 200

# Control, bidirectional and invisible characters, and what Windows forbids: a project folder travels between computers.
_BAD_CHARACTERS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    '\\\\:*?"<>|\ue000-\uf8ff]'
)
_WINDOWS = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?")
_SHORT_GIT = re.compile(r"git~[0-9]+")
# What programs on this computer read by themselves, wherever it lies: nothing of a stranger's goes there.
_PRIVATE = frozenset(
    """
    .git .hg .svn .bzr .ssh .gnupg .aws .kube .docker .direnv .envrc .env .venv .netrc .ipynb_checkpoints .jupyter
    .ipython .virtual_documents .vscode .idea .config .local .gpuplug __pycache__
    """.split()  # noqa: SIM905 - a table
)
_CODE_SUFFIXES = frozenset(
    """
    .py .pyc .pyo .pyw .pyi .pyx .pxd .pyd .pyz .pth .egg .egg-link .whl .ipynb .so .dll .dylib .exe .msi .scr .bat
    .cmd .ps1 .psm1 .vbs .wsf .sh .bash .zsh .fish .csh .ksh .command .desktop .lnk .url .service .plist .reg .scpt
    .jar .js .mjs .cjs .jse .rb .pl .lua .php .tcl .jl .r .rprofile .mk .cmake
    """.split()  # noqa: SIM905 - a table
)
_CODE_NAMES = frozenset(
    """
    makefile gnumakefile bsdmakefile justfile rakefile gemfile vagrantfile dockerfile containerfile jenkinsfile procfile
    setup.cfg pyproject.toml tox.ini pytest.ini pip.conf pip.ini package.json cmakelists.txt pipfile snakefile sconstruct
    sconscript matplotlibrc docker-compose.yml docker-compose.yaml compose.yml compose.yaml gpuplug.toml desktop.ini
    autorun.inf
    """.split()  # noqa: SIM905 - a table
)
_SHARED_LIBRARY = re.compile(r".*\.so(\.[0-9]+)+")


def fold(text: str) -> str:
    """Return a form in which names are equal that some file system takes for the same file."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in unicodedata.normalize("NFKC", plain) if unicodedata.category(letter) != "Cf")


def refusal(path: str) -> str:
    """Return why no file of this name may come home, or an empty text when it may."""
    try:
        parts = parts_of(path)
    except PathError:
        return "the name is no plain relative path"
    if len(path) > _MAX_PATH or len(parts) > _MAX_DEPTH:
        return "the path is too long or too deep"
    for part in parts:
        reason = _refusal_of_part(part)
        if reason:
            return reason
    return ""


def _refusal_of_part(part: str) -> str:
    if len(part.encode()) > _MAX_NAME_BYTES:
        return "a name in it is too long"
    if _BAD_CHARACTERS.search(part):
        return "a name in it holds control, invisible or forbidden characters"
    folded = fold(part)
    if not folded or folded != folded.strip() or folded.endswith(".") or "/" in folded or _WINDOWS.fullmatch(folded):
        return "a name in it means something else on some computers"
    if folded in _PRIVATE or _SHORT_GIT.fullmatch(folded) or folded.endswith(PART_SUFFIX):
        return "programs on this computer read files of that name by themselves"
    return ""


def would_run(path: str, *, executable: bool) -> bool:
    """Tell whether the file would be run or imported here later by a program that finds it."""
    parts = PurePosixPath(fold(path)).parts
    name = PurePosixPath(parts[-1])
    if any(part.startswith(".") for part in parts) or name.name in _CODE_NAMES:
        return True
    if name.suffix in _CODE_SUFFIXES or _SHARED_LIBRARY.fullmatch(name.name):
        return True
    return executable and not name.suffix


def is_in(path: str, folders: tuple[str, ...]) -> bool:
    """Tell whether `path` lies in one of `folders`."""
    return any(path.startswith(folder.rstrip("/") + "/") for folder in folders)
