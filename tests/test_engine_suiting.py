"""A warm instance takes only a cell whose typed options it meets; what it does not meet, or cannot be told, is said."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gpuplug import config
from gpuplug.engine.inventory import Inventory
from gpuplug.engine.platforms import Platforms
from gpuplug.engine.renting import Renting
from gpuplug.errors import TooDearError, UsageError
from gpuplug.ledger import Lease, Ledger, Order, Rate, State
from gpuplug.testing import FakeClock
from gpuplug.types import ZERO, Money

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOOK = "book-1"
LEASE = Lease(
    label="gp-1",
    provider="vast",
    notebook=BOOK,
    name="",
    state=State.READY,
    gpu="RTX 4090",
    gpu_count=1,
    machine="7",
    price=Money(360_000),
    stopped_price=Money(3600),
    host_key="",
    nonce="",
    lease_s=900,
    hard_s=3600,
    created=1.0,
    instance_id="1",
    cuda="12.4",
    vram_mb=24_564,
    rates=(Rate(1.0, Money(360_000)),),
)
ORDER = Order("ubuntu:24.04", 40, 0, "", "community", "Texas, US", 0.98, 800.0)


class House:
    """The inventory of one notebook over a real ledger, without any network."""

    def __init__(self, folder: Path) -> None:
        clock = FakeClock()
        self.ledger = Ledger(folder, clock)
        self.platforms = Platforms(folder, clock)
        renting = Renting(self.ledger, folder / "keys", clock)
        self._inventory = Inventory(BOOK, self.ledger, renting, self.platforms, clock)

    def put(self, lease: Lease = LEASE, order: Order | None = ORDER) -> None:
        self.ledger.intend(lease)
        if order is not None:
            self.ledger.orders.keep(lease.label, order)

    def taken(self, line: str) -> str:
        """Return the label of the instance that takes a cell with this line, and "" when another would be rented."""
        lease = self._inventory.warm(config.parse(line, config.CELL))
        return lease.label if lease else ""

    def doubts(self, line: str) -> str:
        options = config.parse(line, config.CELL)
        lease = self._inventory.warm(options)
        assert lease is not None
        return self._inventory.doubts(lease, options)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    for name in ("VAST_API_KEY", "RUNPOD_API_KEY"):
        monkeypatch.setenv(name, "k")
    for name in ("VAST_URL", "RUNPOD_API_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    made = House(tmp_path)
    yield made
    made.platforms.close()
    made.ledger.close()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "-p vast",
        "-g 4090",
        "-g A100,RTX_4090",
        "--image ubuntu:24.04",
        "--disk 40",
        "--disk 8",
        "--cloud community --region US --min-net 800 --min-reliability 0.98 --cuda 12.4",
        "--cloud any --region Texas",
        "--max-price 0.36 --hours 3 --data 5GB",
    ],
)
def test_a_cell_whose_options_are_met_runs_on_the_warm_instance_without_a_word(house: House, line: str) -> None:
    house.put()
    assert house.taken(line) == "gp-1"
    assert house.doubts(line) == ""


@pytest.mark.parametrize(
    ("line", "said", "flags"),
    [
        ("-g A100", "--gpu (it has RTX 4090)", "--gpu"),
        ("-g RTX_4090:2", "--gpu (it has RTX 4090)", "--gpu"),
        ("--image pytorch:2", "--image (it has ubuntu:24.04)", "--image"),
        ("--disk 50", "--disk (it has 40 GB)", "--disk"),
        ("--spot", "--spot (it has no spot machine)", "--spot"),
        ("--cloud secure", "--cloud (it has community cloud)", "--cloud"),
        ("--region DE", "--region (it has region Texas, US)", "--region"),
        ("--min-net 900", "--min-net (it has 800 Mbit/s)", "--min-net"),
        ("--min-reliability 0.99", "--min-reliability (it has 0.98)", "--min-reliability"),
        ("--cuda 12.8", "--cuda (it has CUDA 12.4)", "--cuda"),
        ("--volume 20", "--volume (it has no volume)", "--volume"),
        ("--network-volume x1", "--network-volume (it has no network volume)", "--network-volume"),
        ("--disk 50 --region DE", "--region (it has region Texas, US), --disk (it has 40 GB)", "--region and --disk"),
    ],
)
def test_a_typed_option_that_the_warm_instance_does_not_meet_is_refused_with_the_ways_out(
    house: House, line: str, said: str, flags: str
) -> None:
    house.put()
    with pytest.raises(UsageError) as caught:
        house.taken(line)
    assert caught.value.message == f"the instance of this notebook, RTX 4090 vast #1, does not meet {said}"
    assert caught.value.billing == "it bills $0.36/h"
    assert caught.value.hint == f"--new or --name NAME takes another one beside it; without {flags} it is used"
    assert house.taken(f"{line} --new") == ""
    assert house.taken(f"{line} --name other") == ""


def test_what_is_not_typed_is_no_reason_to_refuse(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUPLUG_IMAGE", "pytorch:2")
    house.put(order=replace(ORDER, disk_gb=8, reliability=0.5))
    assert house.taken("") == "gp-1"


@pytest.mark.parametrize(
    ("order", "line", "flags"),
    [
        (None, "--image a --disk 30", "--image and --disk"),
        (None, "--region DE --cloud secure", "--region and --cloud"),
        (replace(ORDER, down_mbps=0), "--min-net 100 --disk 40", "--min-net"),
        (replace(ORDER, region=""), "--region DE", "--region"),
    ],
)
def test_what_cannot_be_told_is_said_and_the_instance_is_used(
    house: House, order: Order | None, line: str, flags: str
) -> None:
    house.put(order=order)
    assert house.taken(line) == "gp-1"
    assert house.doubts(line) == f"whether #1 meets {flags} cannot be told, and it is used; --new rents another one"


def test_of_several_the_newest_that_meets_the_options_is_taken(house: House) -> None:
    house.put()
    house.put(replace(LEASE, label="gp-2", instance_id="2", gpu="A100 SXM4", vram_mb=81_920, created=2.0))
    assert (house.taken(""), house.taken("-g 4090"), house.taken("-g A100")) == ("gp-2", "gp-1", "gp-2")


def test_none_is_rented_on_another_platform_beside_one_that_bills(house: House) -> None:
    house.put()
    with pytest.raises(UsageError, match="RTX 4090 vast #1, is not on runpod") as caught:
        house.taken("-p runpod")
    assert caught.value.hint.startswith("--new rents one there beside it; %gpu down ends it; -p vast uses it")
    assert house.taken("-p runpod --new") == ""
    assert house.taken("-p local") == ""


def test_from_a_free_machine_one_goes_on_to_a_rented_one_without_a_question_of_ours(house: House) -> None:
    house.put(replace(LEASE, provider="local", price=ZERO, gpu="CPU"), None)
    assert house.taken("-p local --disk 50") == "gp-1"
    assert house.doubts("-p local --disk 50 --region DE --hours 2") == (
        "local is no market: --region and --disk mean nothing there"
    )
    assert house.doubts("-p local") == ""
    assert house.taken("-p vast") == ""
    with pytest.raises(UsageError, match="does not meet --gpu"):
        house.taken("-p local -g A100")


def test_a_cap_that_is_typed_is_held_against_the_one_that_would_be_taken(house: House) -> None:
    house.put()
    with pytest.raises(TooDearError, match=r"costs \$0\.36/h, above \$0\.30/h"):
        house.taken("--max-price 0.30")
