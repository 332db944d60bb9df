"""What the doctor finds: fine where it is fine, and what to do where it is not."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from cell_kit import notebook
from frontends_kit import command
from sandbox_kit import RunningMarket, market

from gpuplug import config
from gpuplug.engine import Engine
from gpuplug.errors import NoOfferError
from gpuplug.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpuplug.engine.doctor import Finding
    from gpuplug.types import Clock


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with market(seed=3) as made:
        yield made


@pytest.fixture
def place(running: RunningMarket) -> RunningMarket:
    running.reset()
    return running


def findings(folder: Path, environ: dict[str, str], clock: Clock | None = None) -> dict[str, Finding]:
    with notebook(folder, environ=environ) as nb:
        engine = Engine("doctor", nb.root, clock=clock)
        found = {finding.what: finding for finding in engine.examine(config.parse("", "doctor"))}
        engine.close()
    return found


def test_a_sound_installation_with_a_key_is_fine_in_every_point(place: RunningMarket, tmp_path: Path) -> None:
    found = findings(tmp_path, place.env)
    assert all(finding.fine for finding in found.values()), found
    assert {"versions", "ledger", "ssh", "agent", "vast", "vast balance", "clock"} <= set(found)
    assert found["vast balance"].text == "$25.00"
    assert found["vast scopes"].text == found["runpod scopes"].text == "scopes not told by the platform"
    assert "answers on Python 3" in found["agent"].text


def test_without_a_key_nothing_is_asked_and_the_variable_is_named(place: RunningMarket, tmp_path: Path) -> None:
    found = findings(tmp_path, {"VAST_URL": place.vast_url})
    assert found["vast"].fine
    assert "export VAST_API_KEY=" in found["vast"].text
    assert place.requests() == []


def test_a_wrong_key_is_named_by_its_place_and_never_shown(place: RunningMarket, tmp_path: Path) -> None:
    found = findings(tmp_path, {**place.env, "VAST_API_KEY": "wrong-key-text"})
    assert not found["vast"].fine
    assert "VAST_API_KEY" in found["vast"].text
    assert found["vast"].hint
    assert "wrong-key-text" not in str(found)


def test_an_empty_account_is_told_before_a_rent_fails(place: RunningMarket, tmp_path: Path) -> None:
    place.action("credit", amount=0)
    found = findings(tmp_path, place.env)
    assert not found["vast balance"].fine
    assert "add credit" in found["vast balance"].hint


def test_the_rights_of_a_key_are_told(place: RunningMarket, tmp_path: Path) -> None:
    place.action("rights", names=["instance_read", "instance_write", "user_read"])
    found = findings(tmp_path, place.env)
    assert found["vast scopes"].fine
    assert found["vast scopes"].text == "instance_read, instance_write, user_read"


def test_a_key_that_cannot_rent_and_end_is_named_with_what_to_do(place: RunningMarket, tmp_path: Path) -> None:
    place.action("rights", names=["instance_read", "user_read"])
    scopes = findings(tmp_path, place.env)["vast scopes"]
    assert not scopes.fine
    assert scopes.text.startswith("instance_read, user_read; the key lacks instance_write, so that it cannot rent")
    assert scopes.hint == "make a key that has instance_write too in the console of vast and export VAST_API_KEY=..."
    assert place.requests("create") == []


def test_a_key_that_may_not_even_be_asked_about_is_told_the_rights_it_needs(
    place: RunningMarket, tmp_path: Path
) -> None:
    place.action("rights", names=["instance_read"])
    found = findings(tmp_path, place.env)
    assert not found["vast"].fine
    assert "make a key with the rights user_read, instance_read, instance_write at https://" in found["vast"].hint


@pytest.mark.parametrize(("platform", "page"), [("vast", "manage-keys"), ("runpod", "user/settings")])
def test_a_key_that_may_only_read_rents_nothing_and_says_where_another_is_made(
    place: RunningMarket, tmp_path: Path, platform: str, page: str
) -> None:
    place.action("rights", names=["instance_read", "user_read"])
    with notebook(tmp_path, environ=place.env) as nb, pytest.raises(NoOfferError) as caught:
        nb.run("pass", f"-p {platform} -g RTX_4090 --max-price 1")
    assert "key from" in caught.value.message
    assert page in caught.value.hint
    assert place.meter()["billing_now"] == 0


def test_a_clock_that_is_a_year_off_is_told(place: RunningMarket, tmp_path: Path) -> None:
    clock = FakeClock(dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc))
    found = findings(tmp_path, place.env, clock)
    assert not found["clock"].fine
    assert " behind " in found["clock"].text


def test_a_damaged_ledger_is_told_and_the_rest_is_still_looked_at(place: RunningMarket, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger.sqlite3").write_bytes(b"no database" * 1000)
    command_env = {**place.env, "GPUPLUG_HOME": str(tmp_path / "home")}
    done = command(tmp_path, "doctor", **command_env)
    assert done.returncode == 1
    assert "ILL ledger: the ledger" in done.stderr
    assert "ok  vast: key from" in done.stderr
    assert "error: 1 finding to mend" in done.stderr
