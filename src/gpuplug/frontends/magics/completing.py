"""What Tab offers on the line of a magic: verbs, options, platforms, GPU models and this notebook's instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.errors import GpuplugError
from gpuplug.gpus import catalogue
from gpuplug.ledger import State, nothing_today
from gpuplug.providers import KNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gpuplug.config import Option
    from gpuplug.engine import Engine
    from gpuplug.ledger import Lease

_ON_INSTANCES = frozenset({"down", "stop", "start", "extend"})


class Offering:
    """What fits in place of the last word of a line.

    Args:
        engine: returns this notebook's engine; asked only when an instance is open.
    """

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    def words(self, before: list[str], last: str) -> list[str]:
        """Return the words that begin with `last`, in any case, after the words `before`, the magic's name first."""
        if not before:
            return []
        magic, *given = before
        verb = config.CELL
        if magic == "%gpu":
            if not given and not last.startswith("-"):
                return _beginning(last, config.VERBS)
            verb = given.pop(0) if given and not given[0].startswith("-") else "status"
        return self._of_verb(verb, given, last) if verb in {config.CELL, *config.VERBS} else []

    def _of_verb(self, verb: str, given: list[str], last: str) -> list[str]:
        options = config.table(verb)
        flag, equals, value = last.partition("=")
        if equals:
            return [f"{flag}={word}" for word in self._values(_named(flag, options), value)]
        if given and (option := _named(given[-1], options)):
            return self._values(option, last)
        if not last.startswith("-"):
            found = [word for word in _beginning(last, self._subjects(verb, last)) if word not in given]
            if found or last:
                return found
        fresh = [option for option in options if option.repeat or not set(option.flags) & set(given)]
        return [flag for option in fresh for flag in option.flags if flag.startswith(last or "--")]

    def _subjects(self, verb: str, last: str) -> list[str]:
        """Return what the verb can be about; models, which are many, once one is begun."""
        if verb == "prices":
            return _gpus() if last else []
        if verb not in _ON_INSTANCES:
            return []
        return [lease.name or lease.instance_id for lease in self._leases() if _fits(verb, lease)]

    def _values(self, option: Option | None, typed: str) -> list[str]:
        """Return what fits as the last of the values, which commas part."""
        head, comma, piece = typed.rpartition(",")
        found: Iterable[str] = option.choices if option and not comma else ()
        if option and option.dest == "gpu":
            found = _gpus()
        elif option and option.dest == "platform":
            found = ("any", *KNOWN)
        elif option and option.dest == "name":
            found = [lease.name for lease in self._leases() if lease.name]
        return [f"{head}{comma}{word}" for word in _beginning(piece, found)]

    def _leases(self) -> list[Lease]:
        """Return this notebook's open instances, as the ledger knows them; asks no provider."""
        try:
            if nothing_today(config.home()):
                return []
            engine = self._engine()
            return [lease for lease in engine.ledger.open_leases() if lease.notebook == engine.notebook]
        except GpuplugError:  # Tab is not where a user looks for what is wrong with the ledger; every verb says it
            return []


def _beginning(start: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.casefold().startswith(start.casefold())]


def _named(flag: str, options: Iterable[Option]) -> Option | None:
    """Return the option that is called so and takes a value."""
    return next((option for option in options if flag in option.flags and option.convert is not None), None)


def _gpus() -> list[str]:
    """Return models and families as one word each."""
    names = {name for gpu in catalogue() for name in (gpu.name, *gpu.families)}
    return sorted(name.replace(" ", "_") for name in names)


def _fits(verb: str, lease: Lease) -> bool:
    rests = lease.state is State.STOPPED
    return bool(lease.name or lease.instance_id) and (verb not in {"stop", "start"} or rests == (verb == "start"))
