"""Offers as bytes for the ledger, the name of a question, and the samples that the history keeps of an answer."""

from __future__ import annotations

import dataclasses
import json
import statistics
import zlib
from typing import TYPE_CHECKING, Any

from gpuplug import gpus
from gpuplug.ledger import Sample
from gpuplug.types import Cloud, Money, Offer, OfferList, Query

if TYPE_CHECKING:
    from collections.abc import Iterable

_FIELDS = tuple(field.name for field in dataclasses.fields(Offer))
_MONEY = frozenset(field.name for field in dataclasses.fields(Offer) if field.type == "Money")
_LEVEL = 1


def question(query: Query, *, keyed: bool) -> str:
    """Return what names the same question in every process: all that decides which offers come back."""
    wishes = [[gpus.key(wish.name) or wish.name, wish.count] for wish in query.gpus]
    cloud = query.cloud.value if query.cloud else ""
    floors = [query.min_reliability, query.min_down_mbps, query.cuda, list(query.region)]
    return json.dumps([wishes, query.disk_gb, cloud, query.spot, floors, query.volume_gb, query.network_volume, keyed])


def to_bytes(found: OfferList) -> bytes:
    """Pack offers."""
    rows = [[_plain(getattr(offer, name)) for name in _FIELDS] for offer in found.offers]
    return zlib.compress(json.dumps([_FIELDS, found.dropped, rows], separators=(",", ":")).encode(), _LEVEL)


def from_bytes(body: bytes) -> OfferList | None:
    """Unpack offers; None when another version of the program packed them."""
    fields, dropped, rows = json.loads(zlib.decompress(body))
    if tuple(fields) != _FIELDS:
        return None
    return OfferList(tuple(_offer(row) for row in rows), dropped)


def _plain(value: object) -> object:
    if isinstance(value, Money):
        return value.micros
    return value.value if isinstance(value, Cloud) else value


def _offer(row: list[Any]) -> Offer:
    values = dict(zip(_FIELDS, row, strict=True))
    for name in _MONEY:
        values[name] = Money(values[name])
    values["places"] = tuple(values["places"])
    values["cloud"] = Cloud(values["cloud"]) if values["cloud"] else None
    return Offer(**values)


def samples(offers: Iterable[Offer], query: Query, now: float, *, whole: bool) -> list[Sample]:
    """Return the lowest and the median price per GPU of each model.

    A question with floors of its own, or another disk, shows prices that are not the market's. A market that shows its
    cheapest offers only (not `whole`) tells about those models alone that it was asked for.
    """
    plain = Query(gpus=query.gpus, cloud=query.cloud, spot=query.spot, cuda=query.cuda)
    if dataclasses.replace(query, hours=1.0, data_gb=0.0) != plain or not (whole or query.gpus):
        return []
    groups: dict[tuple[str, str, bool], list[int]] = {}
    for offer in offers:
        if offer.suspicious:
            continue
        group = (gpus.canonical(offer.gpu, offer.vram_mb), offer.cloud.value if offer.cloud else "", offer.spot)
        groups.setdefault(group, []).append(offer.price.micros // offer.gpu_count)
    return [
        Sample(gpu, cloud, spot, int(now), Money(min(each)), Money(statistics.median_low(each)), len(each))
        for (gpu, cloud, spot), each in groups.items()
    ]
