"""Values without parts, as small tagged JSON lists: big integers, dates, decimals, paths."""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import math
import pathlib
import re
import sys
import uuid
from typing import Any, Callable, Dict, List

from .failure import ValueCodecError, full_name, refusal, require

Node = Any
_INT64 = range(-(1 << 63), 1 << 64)
# Reducing a fraction takes time by the square of its length and cannot be interrupted.
_MAX_FRACTION_BITS = 100_000
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,3}")


def int_node(value: int) -> Node:
    """Return a JSON number, or hexadecimal text where decimal would be slow or refused."""
    return value if value in _INT64 else ["int", hex(value)]


def int_of(node: Node) -> int:
    """Undo `int_node`."""
    if isinstance(node, list):
        require(len(node) == 2 and node[0] == "int" and isinstance(node[1], str), "an integer is expected")  # noqa: PLR2004 - tag and text
        return int(node[1], 16)
    require(type(node) is int, "an integer is expected")
    return int(node)


def float_node(value: float) -> Node:
    """Return a JSON number, or the name of what JSON has no number for."""
    return value if math.isfinite(value) else ["float", repr(value)]


def _float(text: str) -> float:
    require(text in {"nan", "inf", "-inf"}, "a float of no such name")
    return float(text)


def _float_of(node: Node) -> float:
    if isinstance(node, list):
        require(len(node) == 2 and node[0] == "float", "a float is expected")  # noqa: PLR2004 - tag and text
        return _float(node[1])
    require(isinstance(node, float), "a float is expected")
    return float(node)


def str_node(value: str) -> Node:
    """Return JSON text, or hexadecimal where surrogates would not survive JSON."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return ["str", value.encode("utf-8", "surrogatepass").hex()]
    return value


def _str(text: str) -> str:
    return bytes.fromhex(text).decode("utf-8", "surrogatepass")


def _fraction_node(value: fractions.Fraction) -> Node:
    _check_fraction(value.numerator, value.denominator)
    return ["fraction", int_node(value.numerator), int_node(value.denominator)]


def _fraction(numerator: Node, denominator: Node) -> fractions.Fraction:
    above, below = int_of(numerator), int_of(denominator)
    _check_fraction(above, below)
    return fractions.Fraction(above, below)


def _check_fraction(*parts: int) -> None:
    if any(part.bit_length() > _MAX_FRACTION_BITS for part in parts):
        raise ValueCodecError("a Fraction of more than 100,000 bits cannot be sent; send its numerator and denominator")


def _span(value: dt.timedelta) -> List[int]:
    return [value.days, value.seconds, value.microseconds]


def _zone_node(zone: Any) -> Node:  # noqa: ANN401 - tzinfo or one of the types below
    if zone is None:
        return None
    if type(zone) is dt.timezone:
        offset, name = zone.utcoffset(None), zone.tzname(None)
        return ["timezone", *_span(offset), None if name == dt.timezone(offset).tzname(None) else str_node(name)]
    key = getattr(zone, "key", None)
    if type(zone).__module__.split(".")[0] == "zoneinfo" and isinstance(key, str):
        return ["zone", key]
    raise ValueCodecError(f"the time zone {full_name(zone)} cannot be sent; use zoneinfo or datetime.timezone")


def _timezone(days: int, seconds: int, micros: int, name: Node = None) -> dt.timezone:
    offset = dt.timedelta(days, seconds, micros)
    return dt.timezone(offset) if name is None else dt.timezone(offset, _text_of(name))


def _text_of(node: Node) -> str:
    if isinstance(node, list):
        require(len(node) == 2 and node[0] == "str", "text is expected")  # noqa: PLR2004 - tag and text
        return _str(node[1])
    require(isinstance(node, str), "text is expected")
    return str(node)


def _zone(key: str) -> dt.tzinfo:
    require(_ZONE.fullmatch(key), "a time zone of no such name")
    if sys.version_info < (3, 9):
        raise ValueCodecError(f"the time zone {key} needs Python 3.9 at this end; use datetime.timezone")
    import zoneinfo  # noqa: PLC0415 - absent on Python 3.8

    return zoneinfo.ZoneInfo(key)


def _zone_of(node: Node) -> Any:  # noqa: ANN401 - a tzinfo or None
    if node is None:
        return None
    require(isinstance(node, list) and node and node[0] in {"zone", "timezone"}, "a time zone is expected")
    return DECODERS[node[0]](*node[1:])


def _clock_face(value: Any) -> List[int]:  # noqa: ANN401 - a time or a datetime
    return [value.hour, value.minute, value.second, value.microsecond, value.fold]


def _datetime(fields: List[int], zone: Node) -> dt.datetime:
    *parts, fold = fields
    return dt.datetime(*parts, tzinfo=_zone_of(zone), fold=fold)  # type: ignore[arg-type,misc] # seven integers, else TypeError


def _time(fields: List[int], zone: Node) -> dt.time:
    *parts, fold = fields
    return dt.time(*parts, tzinfo=_zone_of(zone), fold=fold)  # type: ignore[arg-type,misc] # four integers, else TypeError


def _path_node(value: pathlib.PurePath) -> Node:
    return ["path" if isinstance(value, pathlib.Path) else "purepath", str_node(str(value))]


ENCODERS: Dict[type, Callable[[Any], Node]] = {
    type(None): lambda value: value,
    bool: lambda value: value,
    int: int_node,
    float: float_node,
    str: str_node,
    complex: lambda value: ["complex", float_node(value.real), float_node(value.imag)],
    range: lambda value: ["range", int_node(value.start), int_node(value.stop), int_node(value.step)],
    decimal.Decimal: lambda value: ["decimal", str(value)],
    fractions.Fraction: _fraction_node,
    dt.timedelta: lambda value: ["timedelta", *_span(value)],
    dt.date: lambda value: ["date", value.year, value.month, value.day],
    dt.time: lambda value: ["time", _clock_face(value), _zone_node(value.tzinfo)],
    dt.datetime: lambda value: [
        "datetime",
        [value.year, value.month, value.day, *_clock_face(value)],
        _zone_node(value.tzinfo),
    ],
    dt.timezone: _zone_node,
    uuid.UUID: lambda value: ["uuid", value.hex],
    pathlib.PosixPath: _path_node,
    pathlib.WindowsPath: _path_node,
    pathlib.PurePosixPath: _path_node,
}

DECODERS: Dict[str, Callable[..., Any]] = {
    "int": lambda text: int_of(["int", text]),
    "float": _float,
    "str": _str,
    "complex": lambda real, imag: complex(_float_of(real), _float_of(imag)),
    "range": lambda start, stop, step: range(int_of(start), int_of(stop), int_of(step)),
    "decimal": lambda text: decimal.Decimal(_text_of(text)),
    "fraction": _fraction,
    "timedelta": dt.timedelta,
    "date": dt.date,
    "time": _time,
    "datetime": _datetime,
    "timezone": _timezone,
    "zone": _zone,
    "uuid": lambda text: uuid.UUID(_text_of(text)),
    "path": lambda text: pathlib.Path(_text_of(text)),
    "purepath": lambda text: pathlib.PurePosixPath(_text_of(text)),
}

_SUBCLASS_ADVICE = (
    ("_fields", "convert it with tuple(value) or value._asdict()"),
    ("__dataclass_fields__", "convert it with dataclasses.asdict(value)"),
)
_BUILTINS = (bool, int, float, complex, str, bytes, bytearray, dict, list, tuple, set, frozenset)


def unknown(value: object) -> ValueCodecError:
    """Return the error for a type that no part of the codec knows, with the nearest conversion."""
    kind = type(value)
    for attribute, advice in _SUBCLASS_ADVICE:
        if hasattr(kind, attribute):
            return refusal(value, advice)
    if any(base.__module__ == "enum" for base in kind.__mro__):
        return refusal(value, "send its .value")
    if isinstance(value, dt.datetime):
        return refusal(value, "convert it with .to_pydatetime() or datetime.fromisoformat(value.isoformat())")
    for base in _BUILTINS:
        if isinstance(value, base):
            return refusal(value, f"convert it with {base.__name__}(value)")
    return refusal(value)
