"""What is bid for a spot machine is stated before anybody agrees, and the price that is said is the price that is billed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from engine_kit import OFFER

from gpuplug import config
from gpuplug.engine import choosing
from gpuplug.engine.bidding import BID_MARGIN, bid_of, told, with_bid
from gpuplug.engine.consent import Cost
from gpuplug.types import ZERO, Money, Query

SPOT = replace(OFFER, spot=True, min_bid=Money(200_000), disk_price=Money(10_000), price=Money(210_000))
WISH = Query(spot=True)


@pytest.mark.parametrize(("cap", "bid"), [(500_000, 240_000), (240_000, 230_000), (210_000, 200_000)])
def test_the_bid_is_a_margin_over_the_least_and_with_the_disk_within_the_cap(cap: int, bid: int) -> None:
    offer = with_bid(SPOT, Money(cap))
    assert bid_of(offer) == Money(bid)
    assert offer.price == Money(bid + 10_000)
    assert offer.price <= Money(cap)


def test_a_machine_that_cannot_be_taken_away_is_rented_without_a_bid() -> None:
    assert with_bid(OFFER, Money(1)) is OFFER
    assert bid_of(OFFER) == ZERO
    assert told(OFFER) == ""


@pytest.mark.parametrize(
    ("cap", "stated"),
    [
        ("0.50", "at $0.25/h (spot, bid $0.24/h, 1.2 x the least)"),
        ("0.24", "at $0.24/h (spot, bid $0.23/h, the least is $0.20/h)"),
    ],
)
def test_the_reason_and_the_question_state_the_bid_and_its_margin(cap: str, stated: str) -> None:
    offer = with_bid(SPOT, Money.dollars(cap))
    assert stated in choosing.reason([offer], WISH)
    assert Cost.of_offer(offer).what == f"RTX 4090 {stated.partition('/h ')[2]}"


def test_the_help_states_the_margin_that_is_bid() -> None:
    assert f"bids {BID_MARGIN:g} x the least, within --max-price" in config.help_text(config.CELL)
