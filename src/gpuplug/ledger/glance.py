"""One question to the ledger that costs next to nothing: is there anything to tell?"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING

from gpuplug.ledger import periods

if TYPE_CHECKING:
    from pathlib import Path

_QUESTION = """
SELECT 1 FROM leases WHERE state NOT IN ('gone', 'failed') OR coalesce(ended, 1e18) >= ?
UNION ALL SELECT 1 FROM waiting WHERE given_up = 1 LIMIT 1
"""


def nothing_today(folder: Path) -> bool:
    """Tell whether no instance is open, none has cost anything today (local time), and no lost results are still to be told.

    As far as the ledger in `folder` knows.
    False when in doubt, also when the file cannot be read: then whoever asks looks properly and says what is wrong.
    """
    path = folder / "ledger.sqlite3"
    if not path.exists():
        return True
    midnight, _ = periods.day(time.time())
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute(_QUESTION, (midnight,)).fetchone() is None
    except sqlite3.Error:
        return False
