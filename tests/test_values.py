from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import math
import pathlib
import subprocess
import sys
import uuid
import zoneinfo
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from values_kit import round_trip

from gpuplug.agent import values
from gpuplug.agent.values import ValueCodecError, tree

_ZONES = st.one_of(
    st.none(),
    st.just(dt.timezone.utc),
    st.builds(dt.timezone, st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23))),
    st.just(zoneinfo.ZoneInfo("Europe/Berlin")),
)
_TEXT = st.text(st.characters(), max_size=20) | st.just("\ud83d\ude00") | st.just("x" * 500 + "\udfff")
_HASHABLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**30),
    st.floats(),
    st.complex_numbers(),
    _TEXT,
    st.binary(max_size=20),
    st.decimals(),
    st.fractions(),
    st.datetimes(timezones=_ZONES),
    st.times(),
    st.dates(),
    st.timedeltas(),
    st.uuids(),
    st.builds(range, st.integers(), st.integers(), st.integers(min_value=1)),
    st.builds(pathlib.PurePosixPath, st.text("ab/.", max_size=9)),
).filter(lambda value: not (isinstance(value, Decimal) and value.is_snan()))
_KEYS = st.recursive(_HASHABLE, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
_VALUES = st.recursive(
    _KEYS | st.binary().map(bytearray),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.tuples(inner, inner),
        st.sets(_KEYS, max_size=4),
        st.dictionaries(_KEYS | _TEXT, inner, max_size=4),
        st.dictionaries(_TEXT, inner, max_size=4).map(collections.OrderedDict),
    ),
    max_leaves=20,
)


def _shape(value: object) -> object:
    """Return what tells two values apart where `==` does not: types, NaN, the sign of zero, the order of keys."""
    if isinstance(value, dict):
        return type(value), [(_shape(key), _shape(item)) for key, item in value.items()]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(repr(_shape(item)) for item in value)
    if isinstance(value, (list, tuple)):
        return type(value), [_shape(item) for item in value]
    # Python refuses to write very large integers in decimal.
    text = hex(value) if type(value) is int else repr(value)
    return type(value), text, getattr(value, "fold", None)


@given(_VALUES)
@settings(deadline=None)  # the machine may be busy
def test_a_builtin_value_comes_back_with_its_exact_type_and_content(value: object) -> None:
    assert _shape(round_trip(value)) == _shape(value)


@pytest.mark.parametrize(
    "value",
    [
        10**5000,
        -(1 << 63),
        -(1 << 63) - 1,
        -0.0,
        math.inf,
        5e-324,
        "\ud83d\ude00",
        "\0",
        "x" * 10_000,
        {"\ud800": 1},
        {"a": 1, 2: 3, (1, (2,)): {4}},
        {"list": ["list", "part", 0]},
        ["part", 0],
        slice(1, None, Decimal(2)),
        range(10**30, 0, -7),
        Decimal("1.10"),
        Decimal("-0E+5"),
        Decimal("sNaN12"),
        Fraction(-1, 3),
        complex(-0.0, math.nan),
        dt.time(1, 2, 3, 4, fold=1),
        dt.datetime(2025, 10, 26, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
        dt.timezone(dt.timedelta(hours=-3, microseconds=1), "here"),
        pathlib.Path("a b/\udcff"),
        uuid.UUID(int=5),
        bytearray(b"\0\xff"),
        [[], (), {}, set(), frozenset(), b"", ""],
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_awkward_builtin_value_comes_back_exactly(value: object) -> None:
    assert _shape(round_trip(value)) == _shape(value)


class _Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class _Data:
    x: int = 1


class _Pair(tuple[int, int]):
    __slots__ = ()


class _Text(str):
    __slots__ = ()


class _Dict(dict[str, int]):
    pass


_Named = collections.namedtuple("_Named", "x y")  # noqa: PYI024 - the plain form is what users write


@pytest.mark.parametrize(
    ("value", "name", "advice"),
    [
        (_Colour.RED, "_Colour", ".value"),
        (_Data(), "_Data", "dataclasses.asdict(value)"),
        (_Named(1, 2), "_Named", "value._asdict()"),
        (_Pair((1, 2)), "_Pair", "tuple(value)"),
        (_Text("x"), "_Text", "str(value)"),
        (_Dict(), "_Dict", "dict(value)"),
        (collections.Counter("aab"), "collections.Counter", "dict(value)"),
        (collections.defaultdict(list), "collections.defaultdict", "dict(value)"),
        (collections.deque(), "collections.deque", "out/"),
        (object(), "object", "out/"),
        (lambda: 1, "function", "out/"),
        (math, "module", "out/"),
        (int, "type", "out/"),
        (iter([]), "list_iterator", "out/"),
        (ValueError("x"), "ValueError", "out/"),
        (memoryview(b""), "memoryview", "out/"),
        (Fraction(1, 1 << 200_000), "Fraction", "numerator"),
    ],
)
def test_a_type_that_cannot_travel_exactly_is_refused_by_name_with_advice(
    value: object, name: str, advice: str
) -> None:
    for holder in (value, [value], {"a": (value,)}):
        with pytest.raises(ValueCodecError) as refusal:
            values.encode(holder)
        assert name in str(refusal.value)
        assert advice in str(refusal.value)


def test_an_object_whose_inspection_raises_is_refused_and_nothing_else() -> None:
    class Meta(type):
        def __hash__(cls) -> int:
            raise RuntimeError("no hash")

    class Rude(metaclass=Meta):
        pass

    with pytest.raises(ValueCodecError, match="Rude"):
        values.encode(Rude())


def test_a_value_that_holds_itself_is_refused() -> None:
    items: list[object] = []
    items.append({"again": items})
    with pytest.raises(ValueCodecError, match="holds itself"):
        values.encode(items)


def test_nesting_is_allowed_up_to_a_hundred_and_refused_beyond() -> None:
    value: list[object] = []
    for _ in range(99):
        value = [value]
    assert round_trip(value) == value
    with pytest.raises(ValueCodecError, match="100 deep"):
        values.encode([value])


def test_a_list_shared_in_many_places_cannot_grow_without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_ITEMS", 10_000)
    value: object = 0
    for _ in range(60):
        value = [value, value]
    with pytest.raises(ValueCodecError, match="4 million items"):
        values.encode(value)


def test_a_part_that_is_referred_to_twice_travels_once_and_stays_one_object() -> None:
    data = bytearray(100_000)
    header, payload = values.encode([data, {"again": data}])
    assert len(payload) < 101_000
    back = values.decode(header, payload)
    assert isinstance(back, list)
    assert back[0] is back[1]["again"]


def test_encoding_does_not_depend_on_anything_but_the_value() -> None:
    value = {"a": [1, b"x" * 500], "b": {"c": 2.5}}
    assert values.encode(value) == values.encode(value)


def test_a_codec_that_the_other_end_lacks_is_refused_before_anything_is_sent() -> None:
    assert values.encode([1], frozenset({"json"}))[0] == {"codec": "json"}
    with pytest.raises(ValueCodecError, match="tree"):
        values.encode([b"x"], frozenset({"json", "bytes"}))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, 2, 3], "list of 3, 27 B"),
        ({}, "dict of 0, 0 B"),
        ("x" * 2400, "str, 2.4 kB"),
        (None, "NoneType, 32 B"),
        (object(), "object, 32 B"),
    ],
)
def test_a_description_names_type_and_size(value: object, text: str) -> None:
    assert values.describe(value) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (82_000_000, "82 MB"),
        (999_499, "999 kB"),
        (999_949, "1.0 MB"),
        (2**40, "1.1 TB"),
    ],
)
def test_a_size_reads_in_decimal_units(size: int, text: str) -> None:
    assert values.size_text(size) == text


def test_the_size_hint_is_near_the_encoded_size_and_looks_at_a_sample_only() -> None:
    value = [b"x" * 1000] * 100_000
    assert 0.9e8 < values.size_hint(value) < 1.2e8
    deep: object = 1
    for _ in range(10_000):
        deep = [deep]
    assert values.size_hint(deep) > 0


def test_importing_the_codec_loads_no_library() -> None:
    code = (
        "import sys; from gpuplug.agent import values; values.decode(*values.encode({'a': [b'x', (1, 2.5)]}));"
        "values.describe([1]); print([name for name in ('numpy', 'pandas', 'pyarrow', 'torch', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
