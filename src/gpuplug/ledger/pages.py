"""What the ledger's pages of every subject are given: how to write, and how to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from contextlib import AbstractContextManager


class Pages:
    """The pages of one subject.

    Args:
        writing: opens one transaction.
        reading: runs one query; nothing comes from an absent ledger.
    """

    def __init__(
        self,
        writing: Callable[[], AbstractContextManager[sqlite3.Connection]],
        reading: Callable[..., list[tuple[Any, ...]]],
    ) -> None:
        self._writing = writing
        self._reading = reading
