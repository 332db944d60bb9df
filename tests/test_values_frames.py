from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_index_equal, assert_series_equal
from values_kit import round_trip

from gpuplug.agent import values
from gpuplug.agent.values import ValueCodecError

_COLUMNS: dict[str, Any] = {
    "integers": np.arange(3, dtype="i2"),
    "floats": [1.0, np.nan, -0.0],
    "strings": ["a", None, "ü" * 300],
    "objects": pd.Series([1, "x", None], dtype=object),
    "texts": pd.Series(["a", None, np.nan], dtype=object),
    "lists": [[1, 2], None, {"a": (1,)}],
    "decimals": [Decimal("1.10"), None, Decimal(2)],
    "dates": [dt.date(2020, 1, 1)] * 3,
    "times": pd.DatetimeIndex(["2020-01-01", "NaT", "2021-01-01"]).astype("M8[s]"),
    "zoned": pd.date_range("2020-03-29", periods=3, freq="h", tz="Europe/Berlin"),
    "offset": pd.date_range("2020", periods=3, tz=dt.timezone(dt.timedelta(hours=2))),
    "spans": pd.to_timedelta([1, None, 3], unit="s"),
    "maybe integers": pd.array([1, None, 3], "UInt8"),
    "maybe floats": pd.array([1.5, None, 3], "Float32"),
    "maybe booleans": pd.array([True, None, False], "boolean"),
    "categories": pd.Categorical(["b", None, "a"], ["b", "a", "unused"], ordered=True),
    "cut": pd.cut([1, 2, 3], 2),
    "periods": pd.period_range("2020-01", periods=3, freq="M"),
    "intervals": pd.interval_range(0.0, 3.0, closed="left"),
    "python strings": pd.array(["a", None, ""], pd.StringDtype("python")),
    "arrow strings": pd.array(["a", None, ""], pd.StringDtype("pyarrow")),
    "arrow integers": pd.array([1, None, 3], "int32[pyarrow]"),
}


@pytest.mark.parametrize("name", _COLUMNS)
def test_a_column_comes_back_exactly(name: str) -> None:
    series = pd.Series(_COLUMNS[name], name=name)
    back = round_trip(series)
    assert_series_equal(back, series, check_freq=True)
    assert back.dtype == series.dtype
    kinds = [type(item) for item in series.tolist()]
    assert [type(item) for item in back.tolist()] == kinds, "None and NaN stay what they were"
    assert_series_equal(round_trip(series[:0]), series[:0])


def test_a_frame_of_all_columns_comes_back_exactly() -> None:
    frame = pd.DataFrame(_COLUMNS)
    frame.attrs = {"source": ["test", 1]}
    back = round_trip({"frame": [frame]})["frame"][0]
    assert_frame_equal(back, frame, check_freq=True)
    assert back.attrs == frame.attrs


_INDEXES: list[Any] = [
    pd.RangeIndex(5, 11, 2, name="r"),
    pd.Index([3, 1, 2], dtype="i1"),
    pd.Index(["a", "b", "a"]),
    pd.Index(["a", "b", "a"], dtype=object),
    pd.Index([("a", 1), ("b", 2), None], tupleize_cols=False),
    pd.Index([1, "a", None], name=("x", 1)),
    pd.date_range("2020", periods=3, freq="D", tz="UTC"),
    pd.timedelta_range("1D", periods=3, freq="2h"),
    pd.period_range("2020", periods=3, freq="Q"),
    pd.interval_range(0, 3),
    pd.CategoricalIndex(["a", "b", "a"]),
    pd.MultiIndex.from_product([["a", None, "b"], pd.date_range("2020", periods=1, freq="D")], names=["x", None]),
]


@pytest.mark.parametrize("index", _INDEXES, ids=lambda index: type(index).__name__)
def test_an_index_comes_back_exactly_alone_and_as_rows_and_columns(index: Any) -> None:  # noqa: ANN401 - any index
    back = round_trip(index)
    assert type(back) is type(index)
    assert_index_equal(back, index, exact=True)
    assert getattr(back, "freq", None) == getattr(index, "freq", None)
    rows = pd.DataFrame({"v": range(len(index))}, index=index)
    assert_frame_equal(round_trip(rows), rows, check_freq=True)
    assert_frame_equal(round_trip(rows.T), rows.T)


def test_columns_of_one_name_and_frames_without_columns_or_rows_come_back() -> None:
    for frame in (
        pd.DataFrame(np.arange(6).reshape(2, 3), columns=["a", "a", 3]),
        pd.DataFrame(index=pd.RangeIndex(4)),
        pd.DataFrame({"a": pd.Series([], dtype="M8[ms]")}),
        pd.DataFrame(),
    ):
        assert_frame_equal(round_trip(frame), frame)


@pytest.mark.parametrize(
    "value",
    [pd.Timestamp(7, unit="ns"), pd.Timestamp("2020", tz="Europe/Berlin"), pd.Timedelta("3ms"), pd.NA, pd.NaT],
    ids=repr,
)
def test_a_scalar_of_pandas_comes_back(value: Any) -> None:  # noqa: ANN401 - any scalar
    back = round_trip([value])[0]
    assert type(back) is type(value)
    assert back is value or (back == value and back.unit == value.unit)


def test_a_frame_needs_no_arrow_unless_its_columns_do() -> None:
    without = frozenset({"json", "tree", "bytes", "npy", "pandas"})
    plain = pd.DataFrame({name: column for name, column in _COLUMNS.items() if name != "arrow integers"})
    header, payload = values.encode(plain, without)
    assert_frame_equal(values.decode(header, payload), plain)  # type: ignore[arg-type] # a frame
    with pytest.raises(ValueCodecError, match="arrow"):
        values.encode(pd.DataFrame(_COLUMNS), without)


class _Frame(pd.DataFrame):
    pass


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (_Frame({"a": [1]}), "pandas.DataFrame(value)"),
        (pd.Series(pd.arrays.SparseArray([0, 1])), ".astype("),
        (pd.DataFrame({"a": [object()]}), "object"),
        (pd.DataFrame({"a": [1]}).groupby("a"), "out/"),
        (pd.array([1, 2]), "pandas.Series(value)"),
        (pd.Interval(0, 1), "out/"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_pandas_cannot_give_exactly_is_refused_with_advice(value: object, advice: str) -> None:
    with pytest.raises(ValueCodecError) as refusal:
        values.encode(value)
    assert advice in str(refusal.value)


def test_a_description_of_a_frame_names_rows_columns_and_size() -> None:
    frame = pd.DataFrame({"a": np.zeros(100), "b": np.zeros(100), "c": np.zeros(100)})
    assert values.describe(frame) == "DataFrame 100 x 3, 2.5 kB"
    texts = pd.Series(["x" * 1000] * 5000, dtype=object)
    assert 5e6 < values.size_hint(texts) < 6e6
    assert 5e6 < values.size_hint(texts.astype("str")) < 6e6


def test_a_wide_and_a_long_frame_travel_in_reasonable_size() -> None:
    frame = pd.DataFrame(np.zeros((10, 2000)))
    assert len(values.encode(frame)[1]) < 2000 * 320
    long = pd.DataFrame({"s": ["some text"] * 100_000})
    assert len(values.encode(long)[1]) < 100_000 * 14
    assert_frame_equal(round_trip(long), long)
