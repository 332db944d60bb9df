"""A ledger that cannot be used: nothing is rented, and what the providers show can still be listed and ended."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from engine_kit import OFFER, Cloud, lost_reply
from test_engine_renting import WISH
from test_ledger import lease

from gpuplug import config
from gpuplug.engine import Engine
from gpuplug.engine.renting import Renting
from gpuplug.errors import LedgerError, ProviderError, UnknownNameError, UsageError
from gpuplug.frontends import verbs
from gpuplug.ledger import Lease, Ledger, State, store
from gpuplug.testing import FakeClock
from gpuplug.types import Money

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Desk:
    """An engine with one instance at a cloud that takes itself for Vast.ai."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.engine = Engine("nb", folder, self.clock, home=folder / "home")
        self.cloud = Cloud(self.clock, name="vast")
        self.engine.use(self.cloud)
        self.said: list[str] = []
        self.renting = Renting(self.engine.ledger, folder / "home" / "keys", self.clock)
        self.lease = self.renting.rent(self.cloud, OFFER, WISH)
        self.engine.ledger.close()

    @property
    def path(self) -> Path:
        return self.engine.ledger.path

    def verb(self, name: str, line: str = "") -> str:
        return verbs.VERBS[name](self.engine, config.parse(line, name, {}, command=True), self.said.append)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAST_API_KEY", "k")
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    monkeypatch.delenv("GPUPLUG_BUDGET", raising=False)
    monkeypatch.setattr(store, "_BUSY_S", 0.05)
    made = Desk(tmp_path)
    with contextlib.ExitStack() as held:
        made.held = held  # type: ignore[attr-defined]  # what lasts as long as the test
        yield made
        made.engine.close()


def only_the_file(desk: Desk) -> None:
    """Put everything into the one file, as after a clean end."""
    with contextlib.closing(sqlite3.connect(desk.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")


def corrupt(desk: Desk) -> None:
    only_the_file(desk)
    desk.path.write_bytes(b"not a database" * 1000)


def newer(desk: Desk) -> None:
    with contextlib.closing(sqlite3.connect(desk.path)) as connection:
        connection.execute("PRAGMA user_version=99")


def folder_is_a_file(desk: Desk) -> None:
    shutil.rmtree(desk.path.parent)
    desk.path.parent.write_text("a file")


def foreign_row(desk: Desk) -> None:
    with contextlib.closing(sqlite3.connect(desk.path)) as connection:
        connection.execute("UPDATE leases SET state='frozen'")
        connection.commit()


def half_a_file(desk: Desk) -> None:
    only_the_file(desk)
    desk.path.write_bytes(desk.path.read_bytes()[:9000])


UNREADABLE = [corrupt, newer, foreign_row, half_a_file]


@pytest.mark.parametrize("breaks", [*UNREADABLE, folder_is_a_file])
def test_without_the_ledger_nothing_is_rented_and_it_is_said_that_money_may_run(
    desk: Desk, breaks: Callable[[Desk], None]
) -> None:
    breaks(desk)
    with pytest.raises(LedgerError) as caught:
        desk.engine.up(config.parse("-p vast", "up", {}), mock.Mock())
    assert len(desk.cloud.made) == 1
    assert caught.value.hint
    if breaks is not folder_is_a_file:
        assert caught.value.billing == "what was rented before may bill on"


@pytest.mark.parametrize("breaks", UNREADABLE)
def test_without_the_ledger_the_list_comes_from_the_providers_and_says_so(
    desk: Desk, breaks: Callable[[Desk], None]
) -> None:
    breaks(desk)
    shown = desk.verb("ls")
    assert "#1" in shown
    assert "running, not known whose" in shown
    assert any(str(desk.path) in line for line in desk.said)
    desk.cloud.made.clear()
    assert desk.verb("ls") == "the providers list no instance with our label"


@pytest.mark.parametrize("breaks", UNREADABLE)
def test_without_the_ledger_an_instance_is_ended_by_its_id_and_proven_gone(
    desk: Desk, breaks: Callable[[Desk], None]
) -> None:
    breaks(desk)
    with pytest.raises(UnknownNameError, match=r"listed: #1 RTX 4090 vast"):
        desk.verb("down", "99")
    assert desk.verb("down", "1").startswith("1 instance ended")
    assert desk.cloud.alive == []
    assert any("gone (verified)" in line for line in desk.said)


@pytest.mark.parametrize("breaks", UNREADABLE)
def test_without_the_ledger_all_are_ended_only_when_that_is_confirmed(
    desk: Desk, breaks: Callable[[Desk], None]
) -> None:
    breaks(desk)
    for line in ("", "--all"):
        with pytest.raises(UsageError, match="#1 RTX 4090 vast"):
            desk.verb("down", line)
    assert desk.cloud.alive == ["1"]
    desk.cloud.lies = 1000
    with pytest.raises(ProviderError, match="1 instance not proven gone"):
        desk.verb("down", "--all -y")
    assert not any("gone (verified)" in line for line in desk.said)
    desk.cloud.lies = 0
    assert desk.verb("down", "--all -y").startswith("1 instance ended")
    assert desk.cloud.alive == []


def held_by_another(desk: Desk) -> None:
    """Let another process hold the file for ever."""
    other = sqlite3.connect(desk.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    desk.held.callback(other.close)  # type: ignore[attr-defined]


def read_only(desk: Desk) -> None:
    """Let SQLite open the file for reading alone, as on a file system that takes no writes."""
    connect = sqlite3.connect

    def reading(path: Path, **more: object) -> sqlite3.Connection:
        return connect(f"file:{path}?mode=ro", uri=True, **more)  # type: ignore[call-overload, no-any-return]

    desk.held.enter_context(mock.patch.object(store.sqlite3, "connect", reading))  # type: ignore[attr-defined]


@pytest.mark.parametrize("breaks", [held_by_another, read_only])
def test_a_ledger_that_takes_no_writes_refuses_to_rent_and_keeps_no_end_from_being_asked_for(
    desk: Desk, breaks: Callable[[Desk], None]
) -> None:
    breaks(desk)
    assert "#1" in desk.verb("ls")
    with pytest.raises(LedgerError):
        desk.renting.rent(desk.cloud, OFFER, WISH)
    assert desk.cloud.alive == ["1"]
    (ended,) = desk.engine.down(config.parse("1", "down", {}), desk.said.append)
    assert ended.state is State.GONE
    assert desk.cloud.alive == []
    assert any("#1 is ended all the same" in line for line in desk.said)
    assert any("could not be written down, and will be proven again" in line for line in desk.said)
    assert any("gone (verified)" in line for line in desk.said)


def test_a_ledger_that_another_process_holds_says_how_to_find_it(desk: Desk) -> None:
    held_by_another(desk)
    with pytest.raises(LedgerError) as caught:
        desk.engine.ledger.touch("gp-1", 0)
    assert "fuser" in caught.value.hint


def test_a_key_that_cannot_be_kept_refuses_the_rent_and_says_where(desk: Desk) -> None:
    keys = desk.folder / "home" / "keys"
    shutil.rmtree(keys, ignore_errors=True)
    keys.write_text("a file")
    with pytest.raises(LedgerError, match="cannot be kept in") as caught:
        desk.renting._make_keys("gp-x")  # noqa: SLF001 - only a platform with SSH needs keys
    assert "nothing was rented" in caught.value.hint


def test_a_lost_create_that_cannot_be_written_down_is_said_to_be_uncertain(desk: Desk) -> None:
    desk.cloud.launch_error = lost_reply()

    def look() -> list[Lease]:
        held_by_another(desk)
        return []

    desk.cloud.look = look
    with pytest.raises(LedgerError) as caught:
        desk.renting.rent(desk.cloud, OFFER, WISH)
    assert "it is not certain that nothing bills" in caught.value.billing


FULL = """
import resource, signal, sys
from pathlib import Path
from test_ledger_broken import Desk, OFFER, WISH
from gpuplug import config
from gpuplug.errors import LedgerError

desk = Desk(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    desk.renting.rent(desk.cloud, OFFER, WISH)
except LedgerError as error:
    print("refused", len(desk.cloud.made), bool(error.billing))
print("ls", "#1" in desk.verb("ls"))
print(desk.verb("down", "1").split(";")[0], desk.cloud.alive)
"""


def test_on_a_full_disk_nothing_is_rented_and_what_runs_can_be_listed_and_ended(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environ = {**os.environ, "PYTHONPATH": path, "HOME": str(tmp_path), "VAST_API_KEY": "k", "RUNPOD_API_KEY": ""}
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    refused, listed, ended = done.stdout.splitlines()
    assert (refused, listed) == ("refused 1 True", "ls True")
    assert ended.endswith(" []")


def test_a_flipped_byte_anywhere_is_an_error_that_says_so_or_harmless_and_the_file_stays(tmp_path: Path) -> None:
    whole = Ledger(tmp_path / "whole", FakeClock())
    for number in range(20):
        whole.intend(lease(f"gp-{number}", instance_id=str(number)))
    whole.close()
    with contextlib.closing(sqlite3.connect(whole.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
    content = whole.path.read_bytes()
    chance = random.Random(7)  # noqa: S311 - to be repeated
    outcomes = set()
    for at in [*range(0, 120, 2), *(chance.randrange(len(content)) for _ in range(240))]:
        folder = tmp_path / "flipped"
        folder.mkdir()
        broken = content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]
        (folder / "ledger.sqlite3").write_bytes(broken)
        outcomes.add(used(folder))
        assert (folder / "ledger.sqlite3").exists()
        shutil.rmtree(folder)
    assert outcomes == {"used", "refused"}


def used(folder: Path) -> str:
    ledger = Ledger(folder, FakeClock())
    try:
        for found in ledger.open_leases():
            found.cost(2e9)
        ledger.spent(0)
        ledger.intend(lease("gp-new", price=Money(5)))
        ledger.move("gp-new", State.GONE, ended=5.0)
    except LedgerError:
        return "refused"
    finally:
        ledger.close()
    return "used"


def test_a_copy_is_kept_now_and_then_and_a_damaged_ledger_never_takes_its_place(desk: Desk) -> None:
    ledger, copy = desk.engine.ledger, desk.path.with_name("ledger.copy.sqlite3")
    ledger.keep_copy()
    first = copy.read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o600
    ledger.intend(lease("gp-2"))
    ledger.keep_copy()
    assert copy.read_bytes() == first, "it is fresh enough"
    desk.clock.advance(601)
    ledger.keep_copy()
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        assert len(connection.execute("SELECT label FROM leases").fetchall()) == 2
    kept = copy.read_bytes()
    ledger.close()
    corrupt(desk)
    desk.clock.advance(601)
    ledger.keep_copy()
    assert copy.read_bytes() == kept
    assert not copy.with_suffix(".new").exists()


@pytest.mark.parametrize("breaks", [corrupt, half_a_file])
def test_a_damaged_ledger_is_set_aside_and_its_copy_is_used(desk: Desk, breaks: Callable[[Desk], None]) -> None:
    ledger = desk.engine.ledger
    ledger.keep_copy()
    ledger.close()
    breaks(desk)
    damaged = desk.path.read_bytes()
    found = list(desk.engine.examine(config.parse("--mend", "doctor", {})))
    assert found[0].what == "mended"
    assert "its copy of 0 min ago is in use now" in found[0].text
    (aside,) = desk.path.parent.glob("ledger.damaged-*.sqlite3")
    assert aside.read_bytes() == damaged
    assert [each.label for each in ledger.open_leases()] == [desk.lease.label]
    assert ledger.mend() == "", "it is whole now"


def test_without_a_copy_a_new_ledger_begins_and_what_runs_is_listed_as_a_strangers(desk: Desk) -> None:
    corrupt(desk)
    assert "there is no copy of it, and a new one begins" in desk.engine.ledger.mend()
    assert "running, of another computer" in desk.verb("ls")
    assert len(list(desk.path.parent.glob("ledger.damaged-*"))) == 1


@pytest.mark.parametrize("breaks", [newer, held_by_another])
def test_what_is_not_damaged_is_not_set_aside(desk: Desk, breaks: Callable[[Desk], None]) -> None:
    breaks(desk)
    assert desk.engine.ledger.mend() == ""
    assert desk.path.exists()
