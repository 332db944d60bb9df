"""Who is in touch with an instance is known to every process, and costs next to nothing to know."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest
from test_ledger import lease

from gpuplug.engine.contacts import Contacts
from gpuplug.ledger import Ledger
from gpuplug.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Stand:
    """A lease, and who is in touch with it."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.ledger = Ledger(folder, self.clock)
        self.ledger.intend(lease())
        self.contacts = Contacts(self.ledger, "gp-1", self.clock)

    @property
    def known(self) -> tuple[float | None, int]:
        """How long ago the contact in the ledger was, and how many cells ran then."""
        found = self.ledger.lease("gp-1")
        return found.contact and self.clock.now().timestamp() - found.contact, found.busy


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    yield made
    made.ledger.close()


def test_heartbeats_are_noted_once_a_minute(stand: Stand) -> None:
    ages = []
    for _ in range(24):
        stand.contacts.beat({"busy": 0})
        ages.append(stand.known[0])
        stand.clock.advance(15)
    assert ages == [0, 15, 30, 45] * 6


def test_a_cell_that_begins_or_ends_is_noted_at_once(stand: Stand) -> None:
    stand.contacts.beat({"busy": 0})
    stand.clock.advance(15)
    stand.contacts.beat({"busy": 2})
    assert stand.known == (0, 2)
    stand.clock.advance(15)
    stand.contacts.beat({"busy": 0})
    assert stand.known == (0, 0)


@pytest.mark.parametrize("busy", [None, "no", -1, 1 << 40, 0.5])
def test_an_agent_that_talks_nonsense_counts_as_busy(stand: Stand, busy: object) -> None:
    stand.contacts.beat({} if busy is None else {"busy": busy})
    assert stand.known == (0, 1)


def test_who_waits_for_a_machine_to_come_up_is_in_touch_with_it(stand: Stand) -> None:
    for _ in range(20 * 60):
        stand.contacts.waited()
        stand.clock.advance(1)
    age, busy = stand.known
    assert age is not None
    assert (age <= 60, busy) == (True, 0)


def test_a_ledger_that_cannot_be_written_ends_no_heartbeat(stand: Stand) -> None:
    with contextlib.closing(sqlite3.connect(stand.ledger.path)) as connection:
        connection.execute("DROP TABLE leases")
    stand.contacts.beat({"busy": 0})
