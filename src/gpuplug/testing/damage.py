"""Replies as no API should send them: pages, halves, bombs, and values that make no sense in otherwise good JSON."""

from __future__ import annotations

import copy
import gzip
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gpuplug.testing.wire import Told

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator

PAGE = b"<!DOCTYPE html><html><script>alert(1)</script><h1>Checking your browser</h1></html>"
_JSON = {"Content-Type": "application/json"}
_CHUNK = bytes(1 << 20)
_MORE_THAN_ANY_REPLY = 33
_DRIP_S = 0.05
_FEW = 3

# By what they are; each stands for a whole reply and is no JSON, or JSON of a shape that no API promises.
WHOLE: dict[str, Told] = {
    "a page of HTML": Told(200, PAGE, {"Content-Type": "text/html"}),
    "nothing": Told(200, b"", _JSON),
    "no text": Told(200, b"\xff\xfe\x00\x80", _JSON),
    "too deep": Told(200, b"[" * 100_000, _JSON),
    "a long number": Told(200, b"1" * 5000, _JSON),
    "null": Told(200, b"null", _JSON),
    "an empty object": Told(200, b"{}", _JSON),
    "a string": Told(200, b'"instances"', _JSON),
    "a number": Told(200, b"0", _JSON),
    "a truth value": Told(200, b"true", _JSON),
    "the same key twice": Told(200, b'{"id": 1, "id": 2}', _JSON),
    "broken gzip": Told(200, b"\x1f\x8b\x08\x00 no gzip", {**_JSON, "Content-Encoding": "gzip"}),
    "an encoding that nobody asked for": Told(200, PAGE, {**_JSON, "Content-Encoding": "br"}),
    "a page with status 400": Told(400, PAGE, {"Content-Type": "text/html"}),
    "a page with status 403": Told(403, PAGE, {"Content-Type": "text/html"}),
    "a page with status 404": Told(404, PAGE, {"Content-Type": "text/html"}),
    "a page with status 503": Told(503, PAGE, {"Content-Type": "text/html"}),
}

# Values that stand in otherwise good replies. Numbers as text, since JSON has no NaN and Python no 1e999.
HOSTILE: tuple[str, ...] = (
    "null",
    "NaN",
    "-Infinity",
    "1e999",
    "-1",
    "1e308",
    "true",
    "[]",
    '{"a": 1}',
    '""',
    json.dumps("\x1b]52;c;cGF5\x07<script>alert(1)</script>\u202e\x00\r\nX"),
    json.dumps("../../etc/passwd; $(reboot) `id`"),
    '"' + "A" * 100_000 + '"',
)
NUMBERS: tuple[str, ...] = ("-1", "0", "1e308", "1e-9", "NaN", '"999999"', '"-0.5"', "1e999")


def half(told: Told) -> Told:
    """Return the first half of the reply."""
    return replace(told, body=told.body[: len(told.body) // 2])


def endless(_stop: threading.Event) -> Iterator[bytes]:
    """Yield more bytes than any reply may have."""
    for _ in range(_MORE_THAN_ANY_REPLY):
        yield _CHUNK


def drip(stop: threading.Event) -> Iterator[bytes]:
    """Yield a byte now and then, for ever."""
    yield b'{"offers": ['
    while not stop.wait(_DRIP_S):
        yield b" "


def bomb() -> Told:
    """Return a small reply that unpacks to more than any reply may have."""
    return Told(200, gzip.compress(_CHUNK * _MORE_THAN_ANY_REPLY), {**_JSON, "Content-Encoding": "gzip"})


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value in a row of a reply: where it stands, and what stood there."""

    path: tuple[str | int, ...]
    value: object


def row(told: Told) -> tuple[tuple[str | int, ...], Any]:
    """Return place and value of the first object in the outermost list of objects; of the whole reply if it has none."""
    try:
        parsed = json.loads(told.body)
    except ValueError:
        return (), None
    level: list[tuple[tuple[str | int, ...], Any]] = [((), parsed)]
    while level:
        for path, value in level:
            if isinstance(value, list) and value and isinstance(value[0], dict):
                return (*path, 0), value[0]
        level = [inner for path, value in level for inner in _inside(path, value)]
    return (), parsed


def leaves(told: Told) -> list[Leaf]:
    """Return every value in the first row of the reply."""
    path, value = row(told)
    return list(_leaves(path, value))


def few(told: Told) -> Told:
    """Return the reply with no more than three rows: what is true of three is true of many, and quicker to see."""
    return _with_rows(told, lambda rows: rows[:_FEW])


def without_first(told: Told) -> Told:
    """Return the reply without its first row."""
    return _with_rows(told, lambda rows: rows[1:])


def planted(told: Told, places: Iterable[Leaf], text: str) -> Told:
    """Return the reply with the JSON `text` at `places`."""
    mark = "@planted@"
    parsed = copy.deepcopy(json.loads(told.body))
    for leaf in places:
        target = parsed
        for step in leaf.path[:-1]:
            target = target[step]
        target[leaf.path[-1]] = mark
    return replace(told, body=json.dumps(parsed).replace(f'"{mark}"', text).encode())


def _with_rows(told: Told, change: Callable[[list[Any]], list[Any]]) -> Told:
    path, _ = row(told)
    if not path or path[-1] != 0:
        return told
    parsed = json.loads(told.body)
    holder = parsed
    for step in path[:-1]:
        holder = holder[step]
    holder[:] = change(holder)
    return replace(told, body=json.dumps(parsed).encode())


def is_number(value: object) -> bool:
    """Tell whether `value` is a JSON number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _inside(path: tuple[str | int, ...], value: object) -> list[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict):
        return [((*path, name), inner) for name, inner in value.items()]
    if isinstance(value, list):
        return [((*path, place), inner) for place, inner in enumerate(value)]
    return []


def _leaves(path: tuple[str | int, ...], value: object) -> Iterator[Leaf]:
    inner = _inside(path, value)
    if not inner and path:
        yield Leaf(path, value)
    for place, one in inner:
        yield from _leaves(place, one)
