"""Columns of pandas: each kind of array in the plainest form that keeps it exactly.

Only kinds that Arrow itself stores need pyarrow, so a frame travels to an image that has pandas and nothing more.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Callable, Dict, List

from .failure import SAVE, ValueCodecError, require
from .plain import int_node, int_of

if TYPE_CHECKING:
    from .tree import Reader, Writer

Node = Any
# pandas opens files for zones called "dateutil/...".
_ZONE = re.compile(r"(?!dateutil|tzlocal)[A-Za-z][A-Za-z0-9_+:-]{0,31}(/[A-Za-z0-9_+-]{1,32}){0,3}")
_NONE, _MISSING = -1, -2


def write(writer: Writer, array: Any) -> Node:  # noqa: ANN401 - a NumPy or extension array
    """Return the node of the values of a column or an index.

    Raises:
        ValueCodecError: its dtype does not travel.
    """
    import numpy as np  # noqa: PLC0415 - loaded with pandas

    if isinstance(array, np.ndarray):
        return _objects_node(writer, array) if array.dtype.hasobject else writer.node(array)
    for kind, encoder in _WRITERS.items():
        if type(array.dtype).__name__ == kind:
            return encoder(writer, array)
    raise ValueCodecError(
        f"pandas values of dtype {array.dtype} cannot be sent; convert them with .astype(...), or {SAVE}"
    )


def _texts(items: List[Any], missing: int) -> List[int]:
    """Return the length of each UTF-8 text; negative for what is not there."""
    return [_NONE if item is None else len(item) if type(item) is bytes else missing for item in items]


def _texts_node(writer: Writer, items: List[Any]) -> Node:
    import numpy as np  # noqa: PLC0415 - loaded with pandas

    data = [item.encode("utf-8", "surrogatepass") if isinstance(item, str) else item for item in items]
    lengths = np.array(_texts(data, _MISSING), np.int32)
    whole = b"".join(item for item in data if type(item) is bytes)
    return [writer.node(lengths), writer.node(whole)]


def _texts_of(reader: Reader, lengths: Node, whole: Node, missing: Any) -> Any:  # noqa: ANN401 - an object array
    import numpy as np  # noqa: PLC0415 - loaded with pandas

    sizes, data = reader.node(lengths).tolist(), reader.node(whole)
    require(type(data) is bytes and sum(size for size in sizes if size > 0) == len(data), "text of another length")
    found = np.empty(len(sizes), object)
    start = 0
    for index, size in enumerate(sizes):
        if size < 0:
            found[index] = None if size == _NONE else missing
            continue
        found[index] = data[start : start + size].decode("utf-8", "surrogatepass")
        start += size
    return found


def _objects_node(writer: Writer, array: Any) -> Node:  # noqa: ANN401 - an object array
    items = array.tolist()
    if all(type(item) is str or item is None or (type(item) is float and item != item) for item in items):  # noqa: PLR0124 - only NaN differs from itself
        return ["texts", *_texts_node(writer, items)]
    return ["objects", *(writer.node(item) for item in items)]


def _objects(reader: Reader, *nodes: Node) -> Any:  # noqa: ANN401 - an object array
    import numpy as np  # noqa: PLC0415 - loaded with pandas

    found = np.empty(len(nodes), object)
    for index, node in enumerate(nodes):
        found[index] = reader.node(node)
    return found


def _string_node(writer: Writer, array: Any) -> Node:  # noqa: ANN401 - a string array
    import pandas as pd  # noqa: PLC0415 - loaded already

    dtype = array.dtype
    missing = "NA" if getattr(dtype, "na_value", pd.NA) is pd.NA else "nan"
    items = array.to_numpy(dtype=object).tolist()
    return ["string", dtype.storage, missing, *_texts_node(writer, items)]


def _string(reader: Reader, storage: str, missing: str, lengths: Node, whole: Node) -> Any:  # noqa: ANN401 - a string array
    import pandas as pd  # noqa: PLC0415 - only when such a value arrives

    require(storage in {"python", "pyarrow"} and missing in {"NA", "nan"}, "an unknown string dtype")
    gap = pd.NA if missing == "NA" else float("nan")
    items = _texts_of(reader, lengths, whole, gap)
    for wanted in (storage, "python"):
        with contextlib.suppress(ImportError, TypeError):
            kind: Any = pd.StringDtype
            return pd.array(items, dtype=kind(wanted) if missing == "NA" else kind(wanted, na_value=gap))
    # Before pandas 2.3 strings with NaN were object columns.
    return items


def _masked_node(writer: Writer, array: Any) -> Node:  # noqa: ANN401 - a masked array
    import numpy as np  # noqa: PLC0415 - loaded with pandas

    mask = np.asarray(array.isna(), bool)
    data = array.to_numpy(dtype=array.dtype.numpy_dtype, na_value=array.dtype.type(0))
    return ["masked", writer.node(data), writer.node(mask)]


def _masked(reader: Reader, data: Node, mask: Node) -> Any:  # noqa: ANN401 - a masked array
    import pandas as pd  # noqa: PLC0415 - only when such a value arrives

    values, missing = reader.node(data), reader.node(mask)
    kinds = {"b": pd.arrays.BooleanArray, "f": pd.arrays.FloatingArray}
    return kinds.get(values.dtype.kind, pd.arrays.IntegerArray)(values, missing)


def _categorical_node(writer: Writer, array: Any) -> Node:  # noqa: ANN401 - a Categorical
    return ["categorical", writer.node(array.codes), writer.node(array.categories), bool(array.ordered)]


def _categorical(reader: Reader, codes: Node, categories: Node, ordered: Node) -> Any:  # noqa: ANN401 - a Categorical
    import pandas as pd  # noqa: PLC0415 - only when such a value arrives

    return pd.Categorical.from_codes(reader.node(codes), categories=reader.node(categories), ordered=ordered is True)


def _moments_node(writer: Writer, array: Any) -> Node:  # noqa: ANN401 - an array of times
    import pandas as pd  # noqa: PLC0415 - loaded already

    zone = getattr(array.dtype, "tz", None)
    if zone is None:
        return writer.node(array.to_numpy())
    name = str(zone)
    unit = getattr(array.dtype, "unit", "ns")
    if not _ZONE.fullmatch(name) or pd.DatetimeTZDtype(unit, name) != array.dtype:
        raise ValueCodecError(f"times in the zone {zone!r} cannot be sent; convert them with .tz_convert('UTC')")
    moments = pd.DatetimeIndex(array).tz_convert("UTC").tz_localize(None).to_numpy()
    return ["moments", writer.node(moments), name]


def _moments(reader: Reader, moments: Node, zone: str) -> Any:  # noqa: ANN401 - an array of times
    import pandas as pd  # noqa: PLC0415 - only when such a value arrives

    require(_ZONE.fullmatch(zone), "a time zone of no such name")
    return pd.DatetimeIndex(reader.node(moments)).tz_localize("UTC").tz_convert(zone).array


def _period_node(writer: Writer, array: Any) -> Node:  # noqa: ANN401 - a PeriodArray
    return ["period", writer.node(array.asi8), array.dtype.name]


def _period(reader: Reader, ordinals: Node, name: str) -> Any:  # noqa: ANN401 - a PeriodArray
    import pandas as pd  # noqa: PLC0415 - only when such a value arrives

    return pd.arrays.PeriodArray(reader.node(ordinals), dtype=pd.PeriodDtype(name[len("period[") : -1]))


def _interval_node(writer: Writer, array: Any) -> Node:  # noqa: ANN401 - an IntervalArray
    return ["interval", writer.node(array.left), writer.node(array.right), array.closed]


def _interval(reader: Reader, left: Node, right: Node, closed: str) -> Any:  # noqa: ANN401 - an IntervalArray
    import pandas as pd  # noqa: PLC0415 - only when such a value arrives

    kind: Any = pd.arrays.IntervalArray
    return kind.from_arrays(reader.node(left), reader.node(right), closed=closed)


def _arrow_node(writer: Writer, array: Any) -> Node:  # noqa: ANN401 - an Arrow-backed array
    import pyarrow as pa  # noqa: PLC0415 - loaded already

    return ["arrow", writer.node(pa.table({"": pa.chunked_array(array.__arrow_array__())})), int_node(len(array))]


def _arrow(reader: Reader, table: Node, length: Node) -> Any:  # noqa: ANN401 - an Arrow-backed array
    import pandas as pd  # noqa: PLC0415 - only when such a value arrives

    column = reader.node(table).column(0)
    require(len(column) == int_of(length), "an Arrow column of another length")
    return pd.arrays.ArrowExtensionArray(column)


_WRITERS: Dict[str, Callable[[Writer, Any], Node]] = {
    "StringDtype": _string_node,
    "CategoricalDtype": _categorical_node,
    "DatetimeTZDtype": _moments_node,
    "PeriodDtype": _period_node,
    "IntervalDtype": _interval_node,
    "ArrowDtype": _arrow_node,
    "BooleanDtype": _masked_node,
    **{f"{sign}Int{bits}Dtype": _masked_node for sign in ("", "U") for bits in (8, 16, 32, 64)},
    **{f"Float{bits}Dtype": _masked_node for bits in (32, 64)},
}

READERS: Dict[str, Callable[..., Any]] = {
    "texts": lambda reader, lengths, whole: _texts_of(reader, lengths, whole, float("nan")),
    "objects": _objects,
    "string": _string,
    "masked": _masked,
    "categorical": _categorical,
    "moments": _moments,
    "period": _period,
    "interval": _interval,
    "arrow": _arrow,
}
