"""A copy of the ledger, kept at quiet moments, and what is done with it when the ledger itself is damaged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

from gpuplug.errors import LedgerError

if TYPE_CHECKING:
    from pathlib import Path

COPY_S = 600.0  # a copy is as old as that before the next one is made
_PARTS = ("", "-wal", "-shm")


def copy_of(path: Path) -> Path:
    """Return where the copy of the ledger `path` lies."""
    return path.with_name("ledger.copy.sqlite3")


def keep_copy(path: Path, now: float) -> bool:
    """Copy the ledger beside itself unless that was done lately; tell whether it was done. A damaged one is not copied.

    Costs milliseconds; other processes may write meanwhile. May be repeated.
    """
    copy = copy_of(path)
    with contextlib.suppress(OSError):
        if 0 <= now - copy.stat().st_mtime < COPY_S:
            return False
    fresh = copy.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        with contextlib.closing(sqlite3.connect(path)) as here, contextlib.closing(sqlite3.connect(fresh)) as there:
            here.backup(there)
            whole: bool = there.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        if whole:
            os.utime(fresh, (now, now))
            fresh.replace(copy)
    except (sqlite3.Error, OSError):
        return False  # it is for a bad day, and nothing depends on it today
    else:
        return whole
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


def mend(path: Path, now: float) -> str:
    """Set a damaged ledger aside, take the last copy in its place if there is one, and say so; "" when it is whole.

    Raises:
        LedgerError: it cannot be moved.
    """
    if not path.exists() or _whole(path):
        return ""
    aside = path.with_name(f"ledger.damaged-{now:.0f}.sqlite3")
    copy = copy_of(path)
    try:
        for part in _PARTS:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + part).rename(aside.with_name(aside.name + part))
        if not copy.exists():
            return f"the damaged ledger was set aside as {aside}; there is no copy of it, and a new one begins"
        age_min = (now - copy.stat().st_mtime) / 60
        copy.rename(path)
    except OSError as error:
        raise LedgerError(
            f"the damaged ledger {path} cannot be set aside: {error.strerror}",
            billing="what was rented before may bill on",
            hint="%gpu ls and %gpu down ID ask the providers alone",
        ) from error
    return f"the damaged ledger was set aside as {aside}; its copy of {age_min:.0f} min ago is in use now"


def _whole(path: Path) -> bool:
    """Tell whether the file is a whole database; one that is held or cannot be opened is not damaged for that."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.OperationalError:
        return True
    except sqlite3.DatabaseError:
        return False
