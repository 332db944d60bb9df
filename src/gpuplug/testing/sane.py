# ruff: noqa: S101 - asserts are the product
"""What every offer and instance must look like, whatever the API said."""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from typing import TYPE_CHECKING

from gpuplug.types import ZERO, Instance, InstanceState, Money, Offer, OfferList

if TYPE_CHECKING:
    from gpuplug.providers import Provider

LEAST_SENSIBLE = Money.dollars("0.01")
MOST_SENSIBLE = Money.dollars(200)
_LONGEST = 1000
_TRICKS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def check_offers(found: OfferList, provider: Provider) -> None:
    """Assert that the offers make sense and that the ones to prefer come first."""
    for offer in found.offers:
        check_offer(offer, provider)
    order = [(bool(offer.suspicious), offer.price) for offer in found.offers]
    assert order == sorted(order), "offers are not sorted by true price, with what looks wrong at the end"
    assert len({offer.id for offer in found.offers}) == len(found.offers), "an offer is there twice"
    assert type(found.dropped) is int
    assert found.dropped >= 0


def check_offer(offer: Offer, provider: Provider) -> None:
    """Assert that an offer makes sense."""
    _check_fields(offer)
    assert offer.provider == provider.name
    assert offer.id, "an offer without an id"
    assert offer.gpu, "an offer without a GPU"
    assert offer.gpu_count >= 1, f"{offer.gpu_count} GPUs"
    assert offer.simulated == provider.traits.simulated, "play money and real money are mixed up"
    if provider.traits.free:
        assert offer.price == ZERO, f"{offer.price} on a free platform"
    elif not offer.suspicious:
        assert LEAST_SENSIBLE <= offer.price <= MOST_SENSIBLE, f"{offer.price} is not called suspicious"
    assert not offer.spot or offer.suspicious or ZERO < offer.min_bid <= offer.price, f"bid {offer.min_bid}"


def check_instance(instance: Instance, provider: Provider) -> None:
    """Assert that an instance makes sense."""
    _check_fields(instance)
    assert instance.provider == provider.name
    assert instance.id, "an instance without an id"
    assert isinstance(instance.state, InstanceState)
    assert instance.started is None or instance.started.tzinfo is not None, "a time without a zone"
    for endpoint in instance.endpoints:
        _check_fields(endpoint)
        assert 1 <= endpoint.port <= 65535, f"port {endpoint.port}"  # noqa: PLR2004 - the ports of TCP
        assert endpoint.host
        assert not endpoint.host.startswith("-"), "a host that reads like an option"
    if provider.traits.free:
        assert instance.price == ZERO, f"{instance.price} on a free platform"


def _check_fields(thing: object) -> None:
    for field in dataclasses.fields(thing):  # type: ignore[arg-type]
        value = getattr(thing, field.name)
        if isinstance(value, str):
            _check_text(field.name, value)
        elif isinstance(value, Money):
            assert type(value.micros) is int, f"{field.name} is no exact amount: {value.micros!r}"
            assert value.micros >= 0, f"{field.name} is {value}"
        elif isinstance(value, float):
            assert math.isfinite(value), f"{field.name} is {value}"
            assert value >= 0, f"{field.name} is {value}"
        elif "Money" in str(field.type):
            assert value is None, f"{field.name} is {value!r}, not money"


def _check_text(name: str, text: str) -> None:
    assert len(text) <= _LONGEST, f"{name} has {len(text)} characters"
    tricks = [letter for letter in text if unicodedata.category(letter) in _TRICKS]
    assert not tricks, f"{name} holds {tricks[0]!r}"
