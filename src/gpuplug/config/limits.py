"""Standing budgets: what may be spent in a day, in a month and by one instance; kept outside the notebook.

They stand in a file of the user's own and in GPUPLUG_BUDGET. A project file can only lower them.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpuplug.config.convert import dollars
from gpuplug.errors import BudgetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gpuplug.types import Money

PERIODS = ("day", "month", "instance")
EXAMPLES = "5/day, 100/month or 3/instance"
VARIABLE = "GPUPLUG_BUDGET"
_FILE = "budgets.json"
_VERSION = 1
_OFF = "off"
_NAME = b"gpuplug"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` for each day, each month or each instance, and the place that says so."""

    amount: Money
    per: str
    source: str

    def __str__(self) -> str:
        return f"{self.amount} {'an' if self.per == 'instance' else 'a'} {self.per}"


@dataclass(frozen=True, slots=True)
class Standing:
    """The lowest limit of each period. `speaks`: it allows spending where nobody can be asked, within these limits.

    Only the user's own limit of a day or a month does; one of an instance says nothing of how many, and a project's
    file comes with the notebook.
    """

    limits: tuple[Limit, ...] = ()
    speaks: bool = False

    def of(self, per: str) -> Limit | None:
        """Return the limit of this period, if there is one."""
        return next((limit for limit in self.limits if limit.per == per), None)


def limit(text: str, source: str) -> Limit:
    """Parse `AMOUNT[/day]`, `AMOUNT/month` or `AMOUNT/instance`.

    Raises:
        ValueError: it is no amount above $0, or no such period.
    """
    amount, per = _taken_apart(text)
    try:
        return Limit(dollars(amount), per, source)
    except ValueError:
        raise ValueError(f"{text!r} is no budget in US dollars above 0; write {EXAMPLES}") from None


def _taken_apart(text: str) -> tuple[str, str]:
    amount, slash, per = (part.strip() for part in text.partition("/"))
    if slash and per not in PERIODS:
        raise ValueError(f"{text!r}: a budget is per day, month or instance; write {EXAMPLES}")
    return amount, per or "day"


def standing_budgets(home: Path, project: Path | None = None, environ: Mapping[str, str] = os.environ) -> Standing:
    """Return what stands now: of the file in `home`, the environment and the files in `project` the lowest of each period.

    Raises:
        UsageError: GPUPLUG_BUDGET makes no sense.
        BudgetError: a file cannot be read, so that nobody knows what it forbids.
    """
    own = [*kept(home), *_of_environment(environ)]
    limits = _lowest([*own, *(_of_project(project) if project else ())])
    return Standing(limits, any(each.per != "instance" for each in own))


def _of_environment(environ: Mapping[str, str]) -> list[Limit]:
    text = environ.get(VARIABLE, "").strip()
    try:
        return [limit(part.strip(), VARIABLE) for part in text.split(",")] if text else []
    except ValueError as error:
        raise UsageError(f"{VARIABLE}: {error}", hint=f"export {VARIABLE}=5/day") from None


def _lowest(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    least: dict[str, Limit] = {}
    for each in limits:
        known = least.setdefault(each.per, each)
        if each.amount < known.amount:
            least[each.per] = each
    return tuple(least[per] for per in PERIODS if per in least)


def kept(home: Path) -> list[Limit]:
    """Return the limits of the user's own file; none when there is no file.

    Raises:
        BudgetError: it cannot be read, or a newer gpuplug wrote it.
    """
    path = home / _FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    version = found.get("version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > _VERSION:
        raise BudgetError(
            f"the budgets in {path} were written by a newer gpuplug (version {version}); nothing is rented without them",
            hint="pip install -U gpuplug",
        )
    try:
        return [limit(f"{amount}/{per}", str(path)) for per, amount in _budgets(found).items()]
    except ValueError as error:
        raise _unreadable(path, error) from error


def _budgets(found: Any) -> dict[str, str]:  # noqa: ANN401 - JSON
    budgets = found.get("budgets") if isinstance(found, dict) and found.get("version") == _VERSION else None
    if not isinstance(budgets, dict) or not all(isinstance(amount, str) for amount in budgets.values()):
        raise ValueError('no {"version": 1, "budgets": {"day": "5"}}')
    return budgets


def _unreadable(path: Path, error: Exception) -> BudgetError:
    return BudgetError(
        f"the budgets in {path} cannot be read ({error}); nothing is rented without them",
        hint=f"mend the file, or remove it and set them anew: gpuplug budget {EXAMPLES.partition(',')[0]}",
    )


def keep(home: Path, changes: Mapping[str, Money | None]) -> None:
    """Write the user's own file with these limits set, or lifted where None. Durable when this returns.

    Raises:
        BudgetError: the file cannot be read or written; then it is as it was.
    """
    path = home / _FILE
    amounts = {each.per: each.amount for each in kept(home)} | dict(changes)
    budgets = {per: amount.exact() for per, amount in amounts.items() if amount is not None}
    part = path.with_suffix(f".{os.getpid()}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump({"version": _VERSION, "budgets": budgets}, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise BudgetError(f"the budgets cannot be written to {path}: {error.strerror}", hint=f"ls -l {home}") from error


def wanted(words: Iterable[str]) -> dict[str, Money | None]:
    """Parse what somebody wants to set: limits, and `off/PERIOD` for one to be lifted.

    Raises:
        UsageError: it makes no sense; nothing is changed then.
    """
    changes: dict[str, Money | None] = {}
    for word in words:
        try:
            amount, per = _taken_apart(word)
            changes[per] = None if amount == _OFF else limit(word, "").amount
        except ValueError as error:
            raise UsageError(str(error), hint=f"%gpu budget {word if word == _OFF else '5/day'}") from None
    return changes


def _of_project(folder: Path) -> list[Limit]:
    """Return the limits of the project that the notebook lies in: `budget = ["1/day"]`, for gpuplug."""
    own = _table(folder / "gpuplug.toml")
    shared = _table(folder / "pyproject.toml").get("tool", {}).get("gpuplug", {})
    return [*_listed(own, "gpuplug.toml"), *_listed(shared, "pyproject.toml")]


def _table(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - most folders have no such file
    else:
        import tomli as tomllib  # noqa: PLC0415 - likewise

    try:
        content = path.read_bytes()
        # What does not name gpuplug limits nothing, whatever else is wrong with it.
        return tomllib.loads(content.decode()) if _NAME in content or path.stem == _NAME.decode() else {}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise BudgetError(
            f"{path.name} cannot be read ({error}), and it may lower a budget; nothing is rented without it",
            hint=f"mend {path}",
        ) from error


def _listed(table: Any, name: str) -> list[Limit]:  # noqa: ANN401 - TOML
    found = table.get("budget", []) if isinstance(table, dict) else []
    texts = found if isinstance(found, list) else [found]
    try:
        return [limit(str(text), name) for text in texts]
    except ValueError as error:
        raise BudgetError(f"{name}: {error}; nothing is rented without it", hint='budget = ["5/day"]') from None
