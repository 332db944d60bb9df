"""Turn what a user types into values; each raises ValueError with the text and what would fit."""

from __future__ import annotations

import datetime as dt
import math
import posixpath
import re
from dataclasses import dataclass

from gpuplug.types import ZERO, Cloud, GpuWish, Money, cuda_version

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,1023}")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
CLOUDS = ("any", *(one.value for one in Cloud))
CUDAS = ("image", "any")
UNFETCHED = ("stop", "wait", "destroy")
SPEND_BY = ("instance", "day", "gpu", "notebook", "cell", "platform")
_MOST_DOLLARS = 100_000
_MOST_DAYS = 3660
_LONGEST_S = 365 * 86400


@dataclass(frozen=True, slots=True)
class Terms:
    """How long an instance may live, in seconds: `lease` without contact, `hard` in any case."""

    lease: int
    hard: int


def duration(text: str) -> int:
    """Return seconds for `90s`, `15m`, `4h`, `2d` or a plain number of seconds."""
    match = re.fullmatch(r"(\d{1,6})([smhd]?)", text.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is no duration; write 90s, 15m, 4h or 2d")
    seconds = int(match[1]) * _UNITS[match[2] or "s"]
    if seconds > _LONGEST_S:
        raise ValueError(f"{text!r} is longer than a year; write 90s, 15m, 4h or 2d")
    return seconds


def terms(text: str) -> Terms:
    """Parse `LEASE[,HARD]`; HARD is 4 h when it is not given, and never shorter than the lease."""
    lease, _, hard = text.partition(",")
    found = Terms(duration(lease), duration(hard) if hard else max(14_400, duration(lease)))
    if found.hard < found.lease:
        raise ValueError(f"{text!r}: the hard end {hard} comes before the end of the lease {lease}")
    return found


def dollars(text: str) -> Money:
    """Parse an amount of US dollars above 0 and up to a hundred thousand, with or without `$`."""
    number = text.strip().removeprefix("$").strip()
    try:
        size = float(number)
    except ValueError:
        size = math.nan
    # Compared before it is converted: 1e999999 as an exact amount would fill the memory.
    if not size <= _MOST_DOLLARS:
        raise ValueError(f"{text!r} is no amount of dollars; write a number like 0.50, at most {_MOST_DOLLARS}")
    amount = Money.dollars(number) if size > 0 else ZERO
    if amount.micros <= 0:
        raise ValueError(f"{text!r} is not an amount above $0")
    return amount


def gpus(text: str) -> tuple[GpuWish, ...]:
    """Parse `NAME[:N][,NAME[:N]...]`, in order of preference."""
    return tuple(_wish(part.strip()) for part in text.split(",") if part.strip())


def _wish(text: str) -> GpuWish:
    name, _, count = text.partition(":")
    if count and (not count.isdigit() or not 1 <= int(count) <= 16):  # noqa: PLR2004 - the largest machines
        raise ValueError(f"{text!r}: the number of GPUs is 1 to 16")
    return GpuWish(name, int(count) if count else 1)


def gigabytes(text: str) -> int:
    """Parse a disk size in GB, 8 to 2000, with or without `GB`."""
    number = text.upper().removesuffix("GB").strip()
    if not number.isdigit() or not 8 <= int(number) <= 2000:  # noqa: PLR2004 - the market's own minimum
        raise ValueError(f"{text!r} is no disk size; write a number of GB from 8 to 2000")
    return int(number)


def image(text: str) -> str:
    """Return the name of a container image, in the form that every registry takes."""
    if not _IMAGE.fullmatch(text):
        raise ValueError(f"{text!r} is no name of an image")
    return text


def folder(text: str) -> tuple[str, ...]:
    """Return the one folder that `text` names, in its plain form; it must lie in the working folder."""
    path = posixpath.normpath(text)
    if path in {".", ".."} or path.startswith(("/", "../", "~")) or "\0" in path:
        raise ValueError(f"{text!r} is no folder inside the working folder; name one that is, such as results")
    return (path,)


def cloud(text: str) -> Cloud | None:
    """Parse `secure` or `community`; None for `any`."""
    word = text.strip().casefold()
    if word not in CLOUDS:
        raise ValueError(f"{text!r} is no kind of cloud; write secure, community or any")
    return None if word == "any" else Cloud(word)


def cuda(text: str) -> str:
    """Parse a CUDA version (`12.4`), `image` (what the image's name says) or `any`."""
    word = text.strip().casefold()
    if word not in CUDAS and cuda_version(word) is None:
        raise ValueError(f"{text!r} is no CUDA version; write 12.4, image or any")
    return word


def mbps(text: str) -> float:
    """Parse a net speed in Mbit/s, 0 to 1,000,000."""
    return _between(text, 0, 1_000_000, "speed in Mbit/s; write a number like 200")


def share(text: str) -> float:
    """Parse a share of 1, 0 to 1."""
    return _between(text, 0, 1, "reliability; write a number from 0 to 1 like 0.98")


def hours(text: str) -> float:
    """Parse a number of hours, above 0 and at most a year, with or without `h`."""
    found = _between(text.strip().removesuffix("h"), 0, 8760, "number of hours; write 2 or 0.5")
    if not found:
        raise ValueError(f"{text!r} is no number of hours; write 2 or 0.5")
    return found


def data_size(text: str) -> float:
    """Parse an amount of data in GB, MB or TB, at most 1000 TB; a plain number is GB."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*(MB|GB|TB|)\s*", text, re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is no amount of data; write 500MB, 20GB or 1TB")
    gigabytes = {"MB": 0.001, "GB": 1.0, "": 1.0, "TB": 1000.0}[match[2].upper()]
    return _between(match[1], 0, 1_000_000 / gigabytes, "amount of data; write 500MB, 20GB or 1TB") * gigabytes


def _between(text: str, low: float, high: float, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise ValueError(f"{text!r} is no {what}")
    return value


def volume_gigabytes(text: str) -> int:
    """Parse the size of a volume in GB, 10 to 2000, with or without `GB`; 0 is none."""
    number = text.upper().removesuffix("GB").strip()
    if not number.isdigit() or not (int(number) == 0 or 10 <= int(number) <= 2000):  # noqa: PLR2004 - the vendor's least
        raise ValueError(f"{text!r} is no size of a volume; write a number of GB from 10 to 2000, or 0 for none")
    return int(number)


def unfetched(text: str) -> str:
    """Return what an instance does at the end of its lease with results that nobody has: stop, wait or destroy."""
    word = text.strip().casefold()
    if word not in UNFETCHED:
        raise ValueError(f"{text!r} is nothing that can be done with results; write stop, wait or destroy")
    return word


def spend_by(text: str) -> str:
    """Return what spend is summed by."""
    if text not in SPEND_BY:
        raise ValueError(f"{text!r} is nothing to sum by; write one of {', '.join(SPEND_BY)}")
    return text


def since(text: str) -> int | dt.date:
    """Parse a number of days (`7d`, `30`), up to ten years, or a date (`2026-11-01`)."""
    if (days := text.removesuffix("d")).isdecimal() and int(days) <= _MOST_DAYS:
        return int(days)
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no day; write 7d or 2026-11-01") from None


def names(text: str) -> tuple[str, ...]:
    """Split a comma-separated list of Python names."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in found:
        if not name.isidentifier():
            raise ValueError(f"{name!r} is no variable name")
    return found


def words(text: str) -> tuple[str, ...]:
    """Split a comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
