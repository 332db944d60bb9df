"""Bytes that pass between this computer and a host that bills them, against the sandbox's own meter."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from cell_kit import Notebook, notebook
from engine_kit import Quiet
from sandbox_kit import RunningMarket, market

from gpuplug import config
from gpuplug.frontends import spending
from gpuplug.ledger import State
from gpuplug.types import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SENT, FETCHED = 12 << 20, 6 << 20
CELL = f"""
import os
data = open('data.bin', 'rb').read()
os.makedirs('out', exist_ok=True)
with open('out/back.bin', 'wb') as file:
    written = file.write(os.urandom({FETCHED}))
"""


@pytest.fixture(scope="module")
def place() -> Iterator[RunningMarket]:
    with market(seed=7) as made:
        yield made


@pytest.fixture
def nb(place: RunningMarket, tmp_path: Path) -> Iterator[Notebook]:
    with notebook(tmp_path, environ=place.env) as made:
        yield made


def test_what_is_sent_and_fetched_is_counted_as_the_host_bills_it(nb: Notebook, place: RunningMarket) -> None:
    (nb.root / "data.bin").write_bytes(os.urandom(SENT))
    options = config.parse("-p vast --max-price 5", "up")
    billing = [offer for offer in nb.engine.prices(options).offers if offer.down_price_per_gb > ZERO]
    nb.engine.rent(max(billing, key=lambda offer: offer.down_price_per_gb), options, Quiet())
    nb.run(CELL, "-p vast --max-price 5")
    assert (nb.root / "out" / "back.bin").stat().st_size == FETCHED
    nb.down()
    (lease,) = nb.engine.ledger.leases()
    assert lease.state is State.GONE
    (row,) = place.meter()["instances"]
    counted = lease.bytes_cost(2e12).micros
    # What SSH adds to the bytes is billed and not seen here.
    assert 0.95 * row["bytes_micros"] < counted <= row["bytes_micros"]
    prices = nb.engine.budgets.byte_prices(lease)
    assert counted >= (prices.sent.micros * SENT + prices.fetched.micros * FETCHED) // 10**9
    (line,) = [
        line for line in nb.engine.budgets.spend(0, "cell") if line.what.endswith(nb.engine.ledger.cells()[0].id)
    ]
    (cell,) = nb.engine.ledger.cells()
    assert cell.cost > lease.price.for_seconds(round(cell.seconds, 3))
    assert line.parts.bytes > ZERO
    assert " of it for 1" in nb.talk.costs[0]
    text = spending.spend(nb.engine, config.parse("", "spend"), lambda _: None)
    assert "bytes" in text
    assert "cannot be counted from here" in text
