"""Parsing of one typed line by the option table.

The magics, their help and the README's tables are made from `OPTIONS` and `VERBS`.
"""

from __future__ import annotations

import argparse
import difflib
import os
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from gpuplug.config.convert import Terms, dollars, terms
from gpuplug.config.grammar import CELL, COMMANDS, TAKES_WORDS, VERBS, Option, table
from gpuplug.errors import UnknownOptionError, UsageError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from gpuplug.types import Cloud, GpuWish, Money


@dataclass(frozen=True, slots=True)
class Options:
    """One parsed line; a field that a verb does not know keeps its default. `typed` names the options in the line itself."""

    platform: tuple[str, ...] = ()
    gpu: tuple[GpuWish, ...] = ()
    max_price: Money = field(default_factory=lambda: dollars("0.50"))
    budget: Money = field(default_factory=lambda: dollars("2.00"))
    terms: Terms = field(default_factory=lambda: terms("15m,4h"))
    unfetched: str = "stop"
    image: str = ""
    disk: int = 20
    spot: bool = False
    cloud: Cloud | None = None
    region: tuple[str, ...] = ()
    min_net: float = 0.0
    min_reliability: float = 0.95
    cuda: str = "image"
    hours: float = 1.0
    data: float = 0.0
    volume: int = 0
    network_volume: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    no_auto: bool = False
    files: tuple[str, ...] = ()
    no_files: bool = False
    out: tuple[str, ...] = ()
    name: str = ""
    new: bool = False
    down: bool = False
    shell: bool = False
    dry_run: bool = False
    yes: bool = False
    quiet: bool = False
    verbose: bool = False
    history: bool = False
    json: bool = False
    all: bool = False
    by: str = ""
    since: int | dt.date = 30
    csv: bool = False
    check: bool = False
    mend: bool = False
    install: bool = False
    uninstall: bool = False
    cross_check: bool = False
    help: bool = False
    words: tuple[str, ...] = ()
    typed: frozenset[str] = frozenset()


class _Parser(argparse.ArgumentParser):
    """argparse that raises in place of exiting."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"{self.prog} --help")


def _parser(verb: str, options: Sequence[Option]) -> _Parser:
    parser = _Parser(prog=title(verb), add_help=False, allow_abbrev=False)
    for option in options:
        if option.convert is None:
            parser.add_argument(*option.flags, dest=option.dest, action="store_true")
        else:
            parser.add_argument(*option.flags, dest=option.dest, action="append" if option.repeat else "store")
    return parser


def title(verb: str) -> str:
    """Return what a user types for `verb`."""
    return "%%remote_gpu" if verb == CELL else f"%gpu {verb}"


def parse(line: str, verb: str, environ: Mapping[str, str] = os.environ, *, command: bool = False) -> Options:
    """Parse the rest of a magic's line, or of a command's.

    Raises:
        UnknownOptionError: no such option; names the nearest one.
        UsageError: a value does not fit; says what would.
    """
    try:
        arguments = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{line!r}: {error}", hint="close the quote") from None
    options = table(verb, command=command)
    found, rest = _parser(verb, options).parse_known_args(arguments)
    for word in rest:
        if word.startswith("-") and not word[1:2].isdigit():
            raise _unknown_option(word, verb, options)
    given = {name: value for name, value in vars(found).items() if value is not None and value is not False}
    if rest and verb == "prices":
        given["gpu"] = ",".join(rest)
    elif rest and verb not in TAKES_WORDS:
        raise UsageError(f"{title(verb)} takes no {rest[0]!r}", hint=f"{title(verb)} --help")
    return Options(**_values(options, given, environ), words=tuple(rest), typed=frozenset(given))


def _values(options: Sequence[Option], given: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option in options:
        if option.convert is None:
            values[option.dest] = bool(given.get(option.dest, False))
            continue
        typed = given.get(option.dest, environ.get(option.env, option.default) if option.env else option.default)
        texts = typed if isinstance(typed, list) else [str(typed)]
        values[option.dest] = _convert(option, [text for text in texts if text])
    return values


def _convert(option: Option, texts: Sequence[str]) -> object:
    if option.convert is None or not texts:
        return "" if option.convert is str else ()
    try:
        converted = [option.convert(text) for text in texts]
    except ValueError as error:
        raise UsageError(
            f"{option.flags[-1]}: {error}", hint=f"{option.flags[-1]} {option.default or option.example}"
        ) from None
    if option.repeat:
        return tuple(part for several in converted if isinstance(several, tuple) for part in several)
    return converted[0]


def _unknown_option(word: str, verb: str, options: Sequence[Option]) -> UnknownOptionError:
    known = [flag for option in options for flag in option.flags]
    near = difflib.get_close_matches(word.partition("=")[0], known, 1, 0.6)
    guess = f"did you mean {near[0]}?" if near else f"see {title(verb)} --help"
    return UnknownOptionError(f"{title(verb)} has no option {word!r}", hint=guess)


def verb_of(line: str) -> tuple[str, str]:
    """Split a `%gpu` line into its verb and the rest; no verb means status.

    Raises:
        UsageError: no such verb; names the nearest one.
    """
    word, _, rest = line.strip().partition(" ")
    if not word or word.startswith("-"):
        return "status", line
    if word in VERBS:
        return word, rest
    near = difflib.get_close_matches(word, VERBS, 1, 0.5)
    raise UsageError(
        f"%gpu has no verb {word!r}",
        hint=f"did you mean %gpu {near[0]}?" if near else "%gpu --help",
    )


def help_text(verb: str, *, command: bool = False) -> str:
    """Return the help of `verb` as plain text."""
    told = {CELL: "run this cell on a rented GPU", **VERBS, **COMMANDS}[verb]
    summary = told[:1].upper() + told[1:] + "."
    lines = [f"{title(verb)} [options]", "", summary, ""]
    for option in table(verb, command=command):
        left = ", ".join(option.flags) + (f" {option.metavar}" if option.metavar else "")
        default = f" [{option.default}]" if option.default not in {"", "off"} else ""
        lines.append(f"  {left:<28} {option.help}{default}")
    return "\n".join(lines)
