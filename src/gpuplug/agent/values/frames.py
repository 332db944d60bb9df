"""pandas frames, series and indexes: labels, names and attributes around the columns of `columns.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List

from . import columns
from .failure import SAVE, ValueCodecError, refusal, require
from .plain import int_node, int_of

if TYPE_CHECKING:
    from .tree import Reader, Writer

Node = Any
_SCALARS = ("NAType", "NaTType")


def write(writer: Writer, value: Any) -> Node:  # noqa: ANN401 - anything of pandas
    """Return the node of a frame, series, index, timestamp, timedelta or missing value.

    Raises:
        ValueCodecError: it, or something in it, does not travel.
    """
    import pandas as pd  # noqa: PLC0415 - loaded already, the value is of pandas

    kind = type(value)
    if kind is pd.DataFrame:
        return _frame_node(writer, value)
    if kind is pd.Series:
        values = columns.write(writer, _values(value))
        return ["series", values, *_labels(writer, value)]
    if isinstance(value, pd.Index):
        return _index_node(writer, value)
    if kind is pd.Timestamp:
        return ["timestamp", columns.write(writer, _values(pd.DatetimeIndex([value])))]
    if kind is pd.Timedelta:
        return ["span", writer.node(pd.TimedeltaIndex([value]).to_numpy())]
    if kind.__name__ in _SCALARS:
        return [kind.__name__]
    if isinstance(value, pd.api.extensions.ExtensionArray):
        raise refusal(value, "convert it with pandas.Series(value)")
    raise refusal(value, _advice(value))


def _advice(value: Any) -> str:  # noqa: ANN401 - anything of pandas
    import pandas as pd  # noqa: PLC0415 - loaded already

    for base in (pd.DataFrame, pd.Series):
        if isinstance(value, base):
            return f"convert it with pandas.{base.__name__}(value)"
    return SAVE


def _values(value: Any) -> Any:  # noqa: ANN401 - a series or index and its array
    """Return an extension array, or a NumPy array for what NumPy stores."""
    return value.to_numpy() if _is_numpy(value.dtype) else value.array


def _is_numpy(dtype: Any) -> bool:  # noqa: ANN401 - a dtype
    import numpy as np  # noqa: PLC0415 - loaded with pandas

    return isinstance(dtype, np.dtype)


def _labels(writer: Writer, value: Any) -> List[Node]:  # noqa: ANN401 - a series
    return [_index_node(writer, value.index), writer.node(value.name), writer.node(value.attrs)]


def _frame_node(writer: Writer, frame: Any) -> Node:  # noqa: ANN401 - a frame
    series = (frame.iloc[:, position] for position in range(frame.shape[1]))
    nodes = [columns.write(writer, _values(column)) for column in series]
    labels = [_index_node(writer, axis) for axis in (frame.columns, frame.index)]
    return ["frame", *labels, writer.node(frame.attrs), *nodes]


def _index_node(writer: Writer, index: Any) -> Node:  # noqa: ANN401 - an index
    import pandas as pd  # noqa: PLC0415 - loaded already

    if isinstance(index, pd.RangeIndex):
        parts = [int_node(part) for part in (index.start, index.stop, index.step)]
        return ["range_index", *parts, writer.node(index.name)]
    if isinstance(index, pd.MultiIndex):
        levels = ["list", *(_index_node(writer, level) for level in index.levels)]
        codes = ["list", *(writer.node(_values(pd.Index(code))) for code in index.codes)]
        return ["multi_index", levels, codes, writer.node(list(index.names))]
    frequency = getattr(index, "freqstr", None) if isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex)) else None
    values = columns.write(writer, _values(index))
    return ["index", values, writer.node(index.name), frequency]


def _index(reader: Reader, values: Node, name: Node, frequency: Node) -> Any:  # noqa: ANN401 - an index
    import pandas as pd  # noqa: PLC0415 - only when such a value arrives

    array = reader.node(values)
    # Without the dtype an object column of strings would become something else.
    index = pd.Index(array, dtype=array.dtype, name=reader.node(name), tupleize_cols=False)
    if frequency is not None:
        require(isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex)), "a frequency of no times")
        index.freq = frequency
    return index


def _multi_index(reader: Reader, levels: Node, codes: Node, names: Node) -> Any:  # noqa: ANN401 - an index
    import pandas as pd  # noqa: PLC0415 - only when such a value arrives

    return pd.MultiIndex(levels=reader.node(levels), codes=reader.node(codes), names=reader.node(names))


def _range_index(reader: Reader, start: Node, stop: Node, step: Node, name: Node) -> Any:  # noqa: ANN401 - an index
    import pandas as pd  # noqa: PLC0415 - only when such a value arrives

    return pd.RangeIndex(int_of(start), int_of(stop), int_of(step), name=reader.node(name))


def _series(reader: Reader, values: Node, index: Node, name: Node, attributes: Node) -> Any:  # noqa: ANN401 - a series
    import pandas as pd  # noqa: PLC0415 - only when such a value arrives

    array = reader.node(values)
    found = pd.Series(array, index=reader.node(index), dtype=array.dtype, name=reader.node(name))
    found.attrs = reader.node(attributes)
    return found


def _frame(reader: Reader, labels: Node, index: Node, attributes: Node, *nodes: Node) -> Any:  # noqa: ANN401 - a frame
    import pandas as pd  # noqa: PLC0415 - only when such a value arrives

    rows, names = reader.node(index), reader.node(labels)
    require(isinstance(rows, pd.Index) and isinstance(names, pd.Index), "a frame without labels")
    require(len(names) == len(nodes), "a frame with more labels than columns")
    arrays = (reader.node(node) for node in nodes)
    series = {position: pd.Series(array, index=rows, dtype=array.dtype) for position, array in enumerate(arrays)}
    found = pd.DataFrame(series, index=rows)
    found.columns = names
    found.attrs = reader.node(attributes)
    return found


def _timestamp(reader: Reader, values: Node) -> Any:  # noqa: ANN401 - a timestamp
    import pandas as pd  # noqa: PLC0415 - only when such a value arrives

    moments = pd.DatetimeIndex(reader.node(values))
    require(len(moments) == 1, "not one moment")
    return moments[0]


def _span(reader: Reader, values: Node) -> Any:  # noqa: ANN401 - a timedelta
    import pandas as pd  # noqa: PLC0415 - only when such a value arrives

    spans = pd.TimedeltaIndex(reader.node(values))
    require(len(spans) == 1, "not one span of time")
    return spans[0]


def _missing(name: str) -> Callable[..., Any]:
    def read(_: Reader) -> Any:  # noqa: ANN401 - pandas' own missing value
        import pandas as pd  # noqa: PLC0415 - only when such a value arrives

        return getattr(pd, name)

    return read


_READERS: Dict[str, Callable[..., Any]] = {
    **columns.READERS,
    "frame": _frame,
    "series": _series,
    "index": _index,
    "multi_index": _multi_index,
    "range_index": _range_index,
    "timestamp": _timestamp,
    "span": _span,
    "NAType": _missing("NA"),
    "NaTType": _missing("NaT"),
}
TAGS = frozenset(_READERS)


def read(reader: Reader, tag: str, nodes: List[Node]) -> Any:  # noqa: ANN401 - anything of pandas
    """Undo `write`.

    Raises:
        ValueCodecError: pandas is not installed here; other malformed input raises whatever pandas raises.
    """
    try:
        import pandas as pd  # noqa: F401, PLC0415 - only when such a value arrives
    except ImportError:
        raise ValueCodecError("pandas is not installed at this end; pip install pandas") from None
    return _READERS[tag](reader, *nodes)
