"""What a value weighs and how it is called, without copying, importing or calling code of the value's own."""

from __future__ import annotations

import itertools
from typing import Any, Callable, Dict, Iterable, List

from .leaves import family

_SAMPLE = 100
_PLAIN = 32
_DEEPEST = 20
_UNITS = ("B", "kB", "MB", "GB", "TB")
_KILO = 1000


def size_text(size: int) -> str:
    """Return `size` bytes in decimal units with two or three digits: `0 B`, `1.2 kB`, `82 MB`, `1.4 GB`."""
    value = float(size)
    for unit in _UNITS:
        if round(value) < _KILO or unit == _UNITS[-1]:
            break
        value /= _KILO
    digits = 1 if unit != "B" and round(value, 1) < 10 else 0  # noqa: PLR2004 - one digit before the point
    return f"{value:.{digits}f} {unit}"


def size_hint(value: object) -> int:
    """Estimate the bytes of `value` from its metadata and a sample of its items; 0 for an unknown kind."""
    return _size(value, 0)


def _size(value: Any, depth: int) -> int:  # noqa: ANN401 - any value
    kind = type(value)
    if kind in (str, bytes, bytearray):
        return len(value)
    if kind in _ITEMS:
        return _items_size(_ITEMS[kind](value), len(value), depth)
    if kind is int:
        return int(value.bit_length() // 8 + 1)
    estimate = _ESTIMATES.get(family(value))
    if estimate is None:
        return _PLAIN if kind.__module__ == "builtins" else 0
    try:
        return int(estimate(value))
    except Exception:  # noqa: BLE001 - an estimate of a foreign object must not stop the cell
        return 0


def _items_size(items: Iterable[Any], count: int, depth: int) -> int:
    if not count or depth > _DEEPEST:
        return 0
    # Fewer are looked at the deeper they lie, so that the whole look stays short.
    seen = [_size(item, depth + 1) for item in itertools.islice(items, max(2, _SAMPLE >> (2 * depth)))]
    return sum(seen) * count // len(seen) + 8 * count


_ITEMS: Dict[type, Callable[[Any], Iterable[Any]]] = {
    list: iter,
    tuple: iter,
    set: iter,
    frozenset: iter,
    dict: lambda value: value.values(),
}


def _pandas_size(value: Any) -> int:  # noqa: ANN401 - anything of pandas
    usage = value.memory_usage(deep=False)
    return int(usage if isinstance(usage, int) else usage.sum()) + sum(map(_text_size, _columns(value)))


def _columns(value: Any) -> List[Any]:  # noqa: ANN401 - anything of pandas
    return [value.iloc[:, at] for at in range(value.shape[1])] if value.ndim > 1 else [value]


def _text_size(column: Any) -> int:  # noqa: ANN401 - a series or an index
    if column.dtype != object:
        return 0
    return _items_size(column[:_SAMPLE].tolist(), len(column), 1)


_ESTIMATES: Dict[str, Callable[[Any], int]] = {
    "numpy": lambda value: value.nbytes,
    "pandas": _pandas_size,
    "pyarrow": lambda value: value.nbytes,
    "torch": lambda value: value.numel() * value.element_size(),
    "PIL": lambda value: value.width * value.height * len(value.getbands()),
}


def describe(value: object) -> str:
    """Return one short line about `value`: `ndarray float32 (3, 4), 48 B`, `DataFrame 100 x 3, 2.4 kB`."""
    words = [type(value).__name__]
    if family(value):
        words += _words(value)
    elif type(value) in _ITEMS:
        words += ["of", str(len(value))]  # type: ignore[arg-type] # the containers named there have a length
    return f"{' '.join(words)}, {size_text(size_hint(value))}"


def _words(value: Any) -> List[str]:  # noqa: ANN401 - anything of the libraries
    words: List[str] = []
    shape = getattr(value, "shape", None)
    if hasattr(value, "dtype"):
        words.append(str(value.dtype).rsplit("torch.", 1)[-1])
    if shape is None and hasattr(value, "getbands"):
        return [*words, str(value.mode), f"{value.width} x {value.height}"]
    if shape is not None and hasattr(value, "columns"):
        words.append(f"{shape[0]} x {shape[1]}")
    elif shape:
        words.append(str(tuple(shape)))
    if str(getattr(value, "device", "cpu")) != "cpu":
        words.append(str(value.device))
    return words
