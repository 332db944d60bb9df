"""What is bid for a spot machine: a stated margin over the least, within the user's cap."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpuplug.types import ZERO, Money

if TYPE_CHECKING:
    from gpuplug.types import Offer

BID_MARGIN = 1.2


def with_bid(offer: Offer, cap: Money) -> Offer:
    """Return a spot offer at what is bid for it: `BID_MARGIN` times the least, within `cap` per hour with the disk.

    Any other offer stays as it is.
    """
    if not offer.spot:
        return offer
    bid = max(offer.min_bid, min(_wanted(offer), cap - offer.disk_price))
    return replace(offer, price=bid + offer.disk_price)


def bid_of(offer: Offer) -> Money:
    """Return what is bid per hour, without the disk; zero unless it is a spot offer."""
    return offer.price - offer.disk_price if offer.spot else ZERO


def told(offer: Offer) -> str:
    """Say what is bid for a spot offer that `with_bid` returned, and why so much; "" for any other offer."""
    if not offer.spot:
        return ""
    bid = bid_of(offer)
    least = f"{BID_MARGIN:g} x the least" if bid == _wanted(offer) else f"the least is {offer.min_bid}/h"
    return f"spot, bid {bid}/h, {least}"


def _wanted(offer: Offer) -> Money:
    return Money(round(offer.min_bid.micros * BID_MARGIN))
