"""Rows of the Vast.ai API as the project's own types. Whoever wrote a row may lie: hosts choose much of it."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import re
from decimal import Decimal
from typing import TYPE_CHECKING

from gpuplug import gpus
from gpuplug.providers._reading import clean, digits, integer, mapping, number, parse_json, price
from gpuplug.types import ZERO, Cloud, Endpoint, Instance, InstanceState, Money, Offer

if TYPE_CHECKING:
    from collections.abc import Collection

_DEAREST = 1_000_000
_HOURS_A_MONTH = 720
_MOST_GPUS = 1024
_LARGEST_ID = 1 << 53
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,45}")
_MOST_RIGHTS = 40
_MOST_WORD = 40
NEEDED_RIGHTS = ("user_read", "instance_read", "instance_write")
_VERIFIED = ("verified", None)  # the search asks for verified hosts only; not every row says it again
_BOOTING = frozenset({"", "loading", "scheduling", "restarting", "rebooting", "created"})
_STOPPED = frozenset({"exited", "stopped"})
_BROKEN = ("oci runtime", "error response from daemon")


# What an offer is read from; the other three quarters of each row are not kept.
_OFFER_WORDS = (
    "success error msg message detail offers id gpu_name num_gpus rentable rented verification is_bid dph_total min_bid "
    "machine_id gpu_ram reliability reliability2 inet_down inet_up inet_down_cost inet_up_cost cuda_max_good geolocation "
    "direct_port_count hosting_type instance totalHour storage_cost storage_total_cost"
)
OFFER_FIELDS = frozenset(_OFFER_WORDS.split())


def offer(row: object, disk_gb: int, *, simulated: bool, spot: bool = False) -> Offer | None:
    """Read one offer; None when it cannot be rented or makes no sense. A `spot` one is priced at its least bid."""
    fields = mapping(row)
    offer_id = integer(fields.get("id"), 1, _LARGEST_ID)
    gpu = clean(fields.get("gpu_name"), 60)
    count = integer(fields.get("num_gpus"), 1, _MOST_GPUS)
    if offer_id is None or not gpu or count is None:
        return None
    if fields.get("rentable") is False or fields.get("rented") is True:
        return None
    if fields.get("verification") not in _VERIFIED or (fields.get("is_bid") is True and not spot):
        return None
    stopped_price = _storage_price(fields, disk_gb)
    told, doubt = price(_spot_price(fields, stopped_price) if spot else fields.get("dph_total"))
    machine = integer(fields.get("machine_id"), 1, _LARGEST_ID)
    vram_mb = integer(fields.get("gpu_ram"), 0, 1 << 24) or 0
    return Offer(
        provider="vast",
        id=str(offer_id),
        machine=str(machine or ""),
        gpu=gpus.canonical(gpu, vram_mb),
        gpu_count=count,
        price=told,
        vram_mb=vram_mb,
        reliability=_float(fields.get("reliability2", fields.get("reliability")), 1),
        down_mbps=_float(fields.get("inet_down"), 10_000_000),
        up_mbps=_float(fields.get("inet_up"), 10_000_000),
        down_price_per_gb=_money(fields.get("inet_down_cost")),
        up_price_per_gb=_money(fields.get("inet_up_cost")),
        disk_price=stopped_price,
        stopped_price=stopped_price,
        cuda=clean(fields.get("cuda_max_good"), 8),
        # Where the place is not known the row has only its comma: ", KR".
        region=clean(fields.get("geolocation"), 40).strip(", "),
        direct_ports=integer(fields.get("direct_port_count"), 0, 65535) or 0,
        cloud=Cloud.SECURE if fields.get("hosting_type") == 1 else Cloud.COMMUNITY,
        spot=spot,
        min_bid=_money(fields.get("min_bid")) if spot else ZERO,
        simulated=simulated,
        suspicious=doubt,
    )


def _spot_price(fields: object, disk: Money) -> Decimal | None:
    """Return what the least bid and the disk cost an hour, in dollars; None when no bid is told."""
    bid = number(mapping(fields).get("min_bid"), 0, _DEAREST)
    return None if bid is None else bid + Decimal(disk.micros) / 1_000_000


def _storage_price(fields: object, disk_gb: int | Decimal) -> Money:
    """Return what the disk alone costs an hour: what a stopped instance bills."""
    row = mapping(fields)
    told = number(mapping(row.get("instance")).get("totalHour"), 0, _DEAREST)
    if told is not None:
        return _dollars(told)
    monthly = number(row.get("storage_cost"), 0, _DEAREST)
    if monthly is not None:
        return _dollars(monthly * disk_gb / _HOURS_A_MONTH)
    return _money(row.get("storage_total_cost"))


def _money(value: object) -> Money:
    amount = number(value, 0, _DEAREST)
    return ZERO if amount is None else _dollars(amount)


@functools.lru_cache(maxsize=4096)
def _dollars(amount: Decimal) -> Money:
    """Return an amount that many rows have in common, as one object for all: a long list is half the work to look through."""
    return Money.dollars(amount)


def _float(value: object, high: int) -> float:
    return float(number(value, 0, high) or 0)


def balance(row: object) -> Money | None:
    """Return the prepaid credit that is left, less what is owed; None when it is not told."""
    credit = number(mapping(row).get("credit"), -_DEAREST, _DEAREST)
    return None if credit is None else Money.dollars(credit)


def key_rights(key_id: object, listed: object) -> tuple[str, ...]:
    """Return the rights of the key that is `key_id` in the account's list of keys; none where they are not told.

    The service has written them as one word, as an object of words, and as the text of such an object.
    """
    own = [mapping(row) for row in listed if mapping(row).get("id") == key_id] if isinstance(listed, list) else []
    told = own[0].get("rights") if own and key_id is not None else None
    if isinstance(told, str) and told.lstrip().startswith("{"):
        with contextlib.suppress(ValueError):
            told = parse_json(told)
    if isinstance(told, str):
        return (clean(told, _MOST_WORD),) if clean(told, _MOST_WORD) else ()
    words = mapping(told).get("api", told)
    given = [
        clean(name, _MOST_WORD) for name, value in mapping(words).items() if value is not None and value is not False
    ]
    return tuple(sorted(word for word in given if word))[:_MOST_RIGHTS]


def lacking(rights: Collection[str]) -> tuple[str, ...]:
    """Return the rights that are needed here and not among `rights`; none where their words are not known to us."""
    if not set(NEEDED_RIGHTS).isdisjoint(rights):
        return tuple(right for right in NEEDED_RIGHTS if right not in rights)
    return ("write",) if set(rights) == {"read"} else ()


def label(row: object) -> str:
    """Return the row's label, "" when it has none."""
    return clean(mapping(row).get("label"), 256)


def instance(row: object) -> Instance | None:
    """Read one instance; None when it has no id. A row with other damage stays: whatever exists may bill."""
    fields = mapping(row)
    known = digits(fields.get("id"))
    if not known:
        return None
    state = _state(fields)
    started = number(fields.get("start_date"), 1, 4_000_000_000)
    return Instance(
        provider="vast",
        id=known,
        label=label(fields),
        state=state,
        price=_price_now(fields, state),
        gpu=clean(fields.get("gpu_name"), 60),
        gpu_count=integer(fields.get("num_gpus"), 0, _MOST_GPUS) or 0,
        machine=digits(fields.get("machine_id")),
        status=clean(fields.get("status_msg"), 300),
        endpoints=_endpoints(fields),
        started=dt.datetime.fromtimestamp(float(started), dt.timezone.utc) if started else None,
        spot=fields.get("is_bid") is True,
    )


def _state(fields: object) -> InstanceState:
    row = mapping(fields)
    actual = clean(row.get("actual_status")).lower()
    stopped = row.get("intended_status") == "stopped"
    status = clean(row.get("status_msg"), 1000).lower()
    if actual == "running":
        return InstanceState.RUNNING
    if actual in _STOPPED:
        # Asked to run, an ended container is started again by the provider.
        return InstanceState.STOPPED if stopped or actual == "stopped" else InstanceState.BOOTING
    if actual not in _BOOTING:
        return InstanceState.UNKNOWN
    if any(words in status for words in _BROKEN) or (actual == "created" and stopped):
        return InstanceState.FAILED
    if actual == "" and stopped:
        return InstanceState.STOPPED
    return InstanceState.BOOTING


def _price_now(fields: object, state: InstanceState) -> Money:
    row = mapping(fields)
    if state is InstanceState.STOPPED:
        disk = number(row.get("disk_space"), 0, 1_000_000) or Decimal(0)
        return _storage_price(row, disk)
    told = number(row.get("dph_total"), 0, _DEAREST)
    return _money(row.get("dph_base")) if told is None else Money.dollars(told)


def _endpoints(fields: object) -> tuple[Endpoint, ...]:
    """Direct first. The API pads addresses with spaces and newlines."""
    row = mapping(fields)
    bound = mapping(row.get("ports")).get("22/tcp")
    first = bound[0] if isinstance(bound, list) and bound else None
    found = (
        _endpoint(row.get("public_ipaddr"), mapping(first).get("HostPort"), "direct"),
        _endpoint(row.get("ssh_host"), row.get("ssh_port"), "proxy"),
    )
    return tuple(endpoint for endpoint in found if endpoint is not None)


def _endpoint(host: object, port: object, via: str) -> Endpoint | None:
    name = clean(host, 255)
    reached = integer(port, 1, 65535)
    if reached is None or not _HOST.fullmatch(name):
        return None
    return Endpoint(name, reached, via=via)
