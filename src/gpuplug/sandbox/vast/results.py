"""Results that are fetched from a URL of their own, without a key, and are not there at the first look."""

from __future__ import annotations

import secrets
import shlex
import shutil
from typing import TYPE_CHECKING

from gpuplug.sandbox.replies import invalid

if TYPE_CHECKING:
    from pathlib import Path

MAX_COMMAND = 512


class Results:
    """Texts by token; the first fetch of each finds nothing yet."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._asked: set[str] = set()

    def put(self, text: str) -> str:
        """Store `text`; return its token."""
        token = secrets.token_hex(16)
        self._texts[token] = text
        return token

    def get(self, token: str) -> str | None:
        """Return the text, or None: unknown, or asked for the first time."""
        if token not in self._asked:
            self._asked.add(token)
            return None
        return self._texts.get(token)


def excerpt(log: str, tail: object, pattern: object) -> str:
    """Return the last `tail` lines (a number as text; all when absent) that contain `pattern`.

    Raises:
        ApiError: `tail` is no number.
    """
    lines = log.splitlines(keepends=True)
    if tail is not None:
        if not str(tail).isdigit():
            raise invalid("tail must be a number")
        lines = lines[-int(str(tail)) :] if int(str(tail)) else []
    return "".join(line for line in lines if not pattern or str(pattern) in line)


def run_command(root: Path, command: object) -> str:
    """Do what the service's command route can: ls, rm or du of paths on the instance's disk.

    Raises:
        ApiError: another command, or too long.
    """
    if not isinstance(command, str) or len(command) > MAX_COMMAND:
        raise invalid(f"command must be a string of at most {MAX_COMMAND} characters")
    try:
        name, *words = shlex.split(command) or [""]
    except ValueError as error:
        raise invalid(f"command: {error}") from None
    if name not in {"ls", "rm", "du"}:
        raise invalid("Only the commands ls, rm and du are available")
    paths = [word for word in words if not word.startswith("-")] or ["."]
    return "".join(_do(name, root, path) for path in paths)


def _do(name: str, root: Path, path: str) -> str:
    target = (root / path.lstrip("/")).resolve()
    if not target.is_relative_to(root.resolve()) or not target.exists():
        return f"{name}: cannot access '{path}': No such file or directory\n"
    if name == "ls":
        names = sorted(one.name for one in target.iterdir()) if target.is_dir() else [path]
        return "".join(f"{one}\n" for one in names)
    if name == "du":
        files = [target] if target.is_file() else [one for one in target.rglob("*") if one.is_file()]
        return f"{sum(one.stat().st_size for one in files) // 1024}\t{path}\n"
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    return ""
