"""The ship tree: what would be sent and why, as text, before any money is spent."""

from __future__ import annotations

import posixpath
import shlex
from typing import TYPE_CHECKING

from gpuplug.agent.values.sizes import size_text
from gpuplug.references.ignore import RULE_FILES
from gpuplug.references.model import SECRET, References, ShipFile, Skipped, total_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SHOWN = 12
_NAMED = 3
_SENT_BY_NAME = {SECRET: "secret", **{name: f"ignored by {name}" for name in RULE_FILES}}


def ship_tree(references: References) -> str:
    """Return one line per file, skipped file, missing file and name; long folders are summed up."""
    files = references.files
    count = f"{len(files):,} file{'' if len(files) == 1 else 's'}"
    lines = [f"ship {count}, {size_text(total_size(files))}" if files else "ship no files"]
    lines += _table(_file_rows(files))
    if references.skipped:
        lines += ["skipped", *_table(_skipped_rows(references.skipped))]
    if references.missing:
        lines.append("missing")
        for missing in references.missing:
            nearest = f"; the nearest is {printable(missing.nearest)}" if missing.nearest else ""
            lines.append(f"  {printable(missing.path)}  ({missing.reason}, line {missing.line}){nearest}")
    if references.names:
        lines.append("names: " + ", ".join(f"{use.name} (line {use.line})" for use in references.names))
    if references.modules:
        lines.append("modules: " + ", ".join(references.modules))
    return "\n".join(lines)


def notes_on_skipped(skipped: Iterable[Skipped]) -> tuple[str, ...]:
    """Say of secrets and ignored files that something names that they stay here, and how to send them all the same."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in skipped:
        if each.named_by and each.reason in _SENT_BY_NAME:
            groups.setdefault((each.reason, each.named_by), []).append(each.path)
    return tuple(_note(paths, _SENT_BY_NAME[reason], named_by) for (reason, named_by), paths in groups.items())


def _note(paths: list[str], reason: str, named_by: str) -> str:
    names = ", ".join(printable(path) for path in paths[:_NAMED])
    names += f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    verb, sent = ("stays", "sends it") if len(paths) == 1 else ("stay", "sends the first of them")
    return f"{names} {verb} here: {reason} ({printable(named_by)}); -f {shlex.quote(printable(paths[0]))} {sent}"


def printable(text: str) -> str:
    """Return `text` with everything escaped that a terminal would not show as a character."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "surrogatepass").decode() for each in text
    )


def _file_rows(files: Iterable[ShipFile]) -> Iterator[tuple[str, str, str]]:
    groups: dict[tuple[str, int | None, str], list[ShipFile]] = {}
    for file in files:
        groups.setdefault((file.reason, file.line, posixpath.dirname(file.path)), []).append(file)
    for (reason, line, folder), members in groups.items():
        why = f"({printable(reason)}{'' if line is None else f', line {line}'})"
        if len(members) > _SHOWN and folder:
            yield f"{printable(folder)}/ ({len(members):,} files)", size_text(total_size(members)), why
            continue
        for file in members:
            yield printable(file.path), size_text(file.size), why


def _skipped_rows(skipped: Iterable[Skipped]) -> Iterator[tuple[str, str, str]]:
    groups: dict[tuple[str, str], list[Skipped]] = {}
    for each in skipped:
        why = "; ".join(printable(part) for part in (each.reason, each.named_by) if part)
        groups.setdefault((why, posixpath.dirname(each.path)), []).append(each)
    for (why, folder), members in groups.items():
        if len(members) > _SHOWN and folder:
            yield f"{printable(folder)}/ ({len(members):,} files)", "", f"({why})"
            continue
        for each in members:
            yield printable(each.path), "", f"({why})"


def _table(rows: Iterable[tuple[str, str, str]]) -> list[str]:
    listed = list(rows)
    width = max((len(row[0]) for row in listed), default=0)
    middle = max((len(row[1]) for row in listed), default=0)
    return [
        f"  {name:<{width}}  {size:>{middle}}  {why}" if middle else f"  {name:<{width}}  {why}"
        for name, size, why in listed
    ]
