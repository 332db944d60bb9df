"""What goes with a cell: files, variables and modules; decided before any money is spent."""

from __future__ import annotations

import difflib
import hashlib
import json
import types
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuplug import references
from gpuplug.errors import MissingFileError, TooLargeError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuplug.config import Options
    from gpuplug.engine.talk import Talk

AUTO_LIMIT_BYTES = 64_000_000
_OPEN_THERE = "save it to a file here and open that file in the cell"
_NOTEBOOK_ONLY = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})


@dataclass(frozen=True, slots=True)
class Value:
    """A variable in its safe form; `reason` says why it goes along."""

    name: str
    header: dict[str, Any]
    payload: bytes
    shown: str
    reason: str

    @property
    def digest(self) -> str:
        """Return the sha256 of the encoded value: equal digests mean nothing has to be sent."""
        return digest(self.header, self.payload)


@dataclass(frozen=True, slots=True)
class Plan:
    """One cell and all that belongs to it; `notes` say what stays here and how it would go along."""

    source: str
    options: Options
    references: references.References
    values: tuple[Value, ...]
    modules: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def digest(header: Mapping[str, Any], payload: bytes) -> str:
    """Return the sha256 of an encoded value."""
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode() + payload).hexdigest()


def plan(source: str, options: Options, namespace: Mapping[str, object], root: Path, *, warm: bool) -> Plan:
    """Read the cell and the notebook's variables; sends nothing.

    Raises:
        UsageError: syntax, a missing file, a name that the notebook does not define, a type that cannot be sent.
    """
    references.check_syntax(source, options.shell)
    defined = frozenset(name for name in namespace if not name.startswith("_") and name not in _NOTEBOOK_ONLY)
    local_modules = _local_modules(namespace, root)
    request = references.Request(
        root=root,
        defined=defined,
        extra=options.files,
        no_files=options.no_files,
        shell=options.shell,
        warm=warm,
    )
    found = references.find(source, request)
    if found.missing and not warm:
        raise _missing(found.missing[0])
    values, modules, notes = _automatic(found, namespace, options)
    used = [local_modules[name] for name, module in modules if name in local_modules]
    if used and not options.no_files:
        found = references.find(source, replace(request, extra=(*options.files, *used)))
    asked = tuple(_asked(name, namespace) for name in dict.fromkeys(options.inputs))
    automatic = tuple(value for value in values if value.name not in options.inputs)
    notes = (*references.notes_on_skipped(found.skipped), *notes)
    return Plan(source, options, found, (*asked, *automatic), modules, notes)


def guard(plan: Plan, talk: Talk) -> None:
    """Ask before more than 1 GB of files is sent.

    Raises:
        TooLargeError: nobody agreed.
    """
    size = references.total_size(plan.references.files)
    if size <= references.GUARD_BYTES or plan.options.yes:
        return
    largest = max(plan.references.files, key=lambda file: file.size)
    question = f"the cell refers to {size / 1e9:.1f} GB of files (the largest: {largest.path}, {largest.size / 1e9:.1f} GB); send them?"
    if not (talk.can_ask and talk.ask(question)):
        raise TooLargeError(
            f"the cell refers to {size / 1e9:.1f} GB of files; the largest is {largest.path} ({largest.size / 1e9:.1f} GB)",
            hint=f"add {largest.path} to .gpuplugignore, or agree with -y",
        )


def _missing(missing: references.Missing) -> MissingFileError:
    near = f"did you mean {missing.nearest!r}? " if missing.nearest else ""
    where = f", line {missing.line}" if missing.line else ""
    return MissingFileError(f"no file {missing.path!r} here{where}", hint=f"{near}--no-files if the instance has it")


def _local_modules(namespace: Mapping[str, object], root: Path) -> dict[str, str]:
    """Return the paths, relative to `root`, of modules that the notebook imported from its own folder."""
    found: dict[str, str] = {}
    for name, value in namespace.items():
        file = getattr(value, "__file__", None) if isinstance(value, types.ModuleType) else None
        if file and Path(file).is_relative_to(root) and "site-packages" not in file:
            path = Path(file).relative_to(root)
            found[name] = str(path.parent if path.name == "__init__.py" else path)
    return found


def _automatic(
    found: references.References,
    namespace: Mapping[str, object],
    options: Options,
) -> tuple[tuple[Value, ...], tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Sort the names that the cell uses into values, modules and notes about what stays here."""
    values: list[Value] = []
    modules: list[tuple[str, str]] = []
    notes: list[str] = []
    for use in () if options.no_auto or options.shell else found.names:
        value = namespace[use.name]
        where = f"line {use.line}"
        if target := import_of(value):
            modules.append((use.name, target))
        elif use.name in options.inputs:
            continue
        elif isinstance(outcome := _try(use.name, value, where), Value):
            values.append(outcome)
        else:
            notes.append(outcome)
    return tuple(values), tuple(modules), tuple(notes)


def import_of(value: object) -> str:
    """Return `module` or `module:name` when the instance can import `value` by itself, else ""."""
    if isinstance(value, types.ModuleType):
        return value.__name__ if value.__name__ != "__main__" else ""
    if not isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return ""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    return f"{module}:{name}" if module and module != "__main__" and name.isidentifier() else ""


def _try(name: str, value: object, where: str) -> Value | str:
    from gpuplug.agent import values as codec  # noqa: PLC0415 - `%load_ext` must not pay for it

    if codec.size_hint(value) > AUTO_LIMIT_BYTES:
        return f"{name} stays here: {codec.describe(value)} is over 64 MB; -i {name} sends it"
    try:
        header, payload = codec.encode(value)
    except codec.ValueCodecError:
        kind = type(value).__name__
        return f"{name} stays here: a {kind} cannot be sent; define it in a %%remote_gpu cell"
    if len(payload) > AUTO_LIMIT_BYTES:
        return f"{name} stays here: {codec.describe(value)} is over 64 MB; -i {name} sends it"
    return Value(name, header, payload, codec.describe(value), where)


def _asked(name: str, namespace: Mapping[str, object]) -> Value:
    from gpuplug.agent import values as codec  # noqa: PLC0415 - `%load_ext` must not pay for it

    if name not in namespace:
        near = difflib.get_close_matches(name, [known for known in namespace if not known.startswith("_")], 1)
        raise UnknownNameError(
            f"-i {name}: the notebook defines no such name",
            hint=f"did you mean {near[0]}?" if near else "define it in a cell above",
        )
    try:
        header, payload = codec.encode(namespace[name])
    except codec.ValueCodecError as error:
        reason, _, advice = str(error).replace(codec.SAVE, _OPEN_THERE).partition("; ")
        raise UsageError(f"-i {name}: {reason}", hint=advice or _OPEN_THERE) from error
    return Value(name, header, payload, codec.describe(namespace[name]), "-i")
