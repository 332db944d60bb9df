from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np
from PIL import Image
from values_kit import round_trip

from gpuplug.agent import values
from gpuplug.agent.values import ValueCodecError

_DTYPES = st.one_of(
    st_np.scalar_dtypes(),
    st_np.byte_string_dtypes(),
    st_np.unicode_string_dtypes(),
    st_np.array_dtypes(),
).filter(lambda dtype: dtype.itemsize > 0 and str(dtype).isascii())


def _same(left: Any, right: Any) -> None:  # noqa: ANN401 - two arrays
    assert (left.dtype, left.shape) == (right.dtype, right.shape)
    assert left.tobytes() == right.tobytes()


@given(st_np.arrays(_DTYPES, st_np.array_shapes(min_dims=0, min_side=0)))
@settings(deadline=None)  # the machine may be busy
def test_an_array_comes_back_bit_by_bit_with_dtype_and_shape(array: np.ndarray[Any, Any]) -> None:
    back = round_trip(array)
    _same(back, array)
    assert back.flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(12)[::-3],
        np.broadcast_to(np.float32(2), (3, 4)),
        np.array([(1, b"x", [1.0, 2.0])], [("a", ">i4"), ("b", "S3"), ("c", "<f8", (2,))]),
        np.zeros(2, np.dtype([("a", "i1"), ("b", "i8")], align=True)),
        np.array(["2020-01-01", "NaT"], "M8[D]"),
        np.array([np.nan, -0.0]),
        np.array(True),  # noqa: FBT003 - an array without dimensions
    ],
    ids=str,
)
def test_layout_byte_order_and_fields_of_an_array_are_kept(array: np.ndarray[Any, Any]) -> None:
    back = round_trip(array)
    _same(back, array)
    if array.flags.f_contiguous and array.ndim > 1:
        assert back.flags.f_contiguous


@pytest.mark.parametrize(
    "scalar",
    [
        np.float32(1.5),
        np.int64(-3),
        np.bool_(1),
        np.str_("ü"),
        np.bytes_(b"x"),
        np.datetime64("2020"),
        np.complex64(1j),
    ],
    ids=repr,
)
def test_a_numpy_scalar_keeps_its_type_also_as_a_key(scalar: Any) -> None:  # noqa: ANN401 - any scalar
    for back in (round_trip(scalar), next(iter(round_trip({scalar: 1})))):
        assert type(back) is type(scalar)
        assert back == scalar
        assert back.dtype == scalar.dtype


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (np.array([1, None]), ".tolist()"),
        (np.array([(1, None)], [("a", "i4"), ("b", "O")]), ".tolist()"),
        (np.ma.masked_array([1], [True]), "numpy.asarray(value)"),
        (np.rec.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")]), "numpy.asarray(value)"),
        (np.random.default_rng(0), "out/"),
        (np.dtype("f4"), "out/"),
        (np.str_("a\0"), "str(value)"),
        (np.empty(3, np.dtypes.StringDType()), ".astype("),
        (np.zeros(1, [("ж", "i1")]), "Latin"),
        (np.zeros(1, [(f"f{number:05}", "i1") for number in range(1000)]), "split it"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_npy_cannot_hold_without_pickle_is_refused_with_advice(value: object, advice: str) -> None:
    with pytest.raises(ValueCodecError) as refusal:
        values.encode({"a": value})
    assert advice in str(refusal.value)


def test_the_payload_of_an_array_is_the_published_npy_format() -> None:
    array = np.arange(6).reshape(2, 3)
    header, payload = values.encode(array)
    assert header == {"codec": "npy"}
    _same(np.load(io.BytesIO(payload), allow_pickle=False), array)


def test_arrays_inside_containers_come_back_in_place() -> None:
    value = {"a": [np.arange(3), (np.float64(2), "x")], 5: np.ones((2, 2), "f4")}
    back = round_trip(value)
    assert list(back) == ["a", 5]
    _same(back["a"][0], value["a"][0])  # type: ignore[index] # a list
    assert type(back["a"][1][0]) is np.float64
    _same(back[5], value[5])


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_an_arrow_table_and_batch_come_back_with_schema_and_metadata(rows: int) -> None:
    schema = pa.schema(
        [
            pa.field("i", pa.int32(), metadata={"k": "v"}),
            ("s", pa.dictionary(pa.int8(), pa.string())),
            ("l", pa.list_(pa.struct([("x", pa.decimal128(9, 2))]))),
            ("n", pa.null()),
        ],
        metadata={"about": "test"},
    )
    data = [{"i": number, "s": "ab"[number % 2], "l": [{"x": None}], "n": None} for number in range(rows)]
    table = pa.Table.from_pylist(data, schema)
    batch = pa.RecordBatch.from_pylist(data, schema)
    for value in (table, batch):
        back = round_trip(value)
        assert type(back) is type(value)
        assert back.equals(value, check_metadata=True)
    assert round_trip([table])[0].equals(table)


def test_arrow_values_of_other_kinds_are_refused() -> None:
    tensor_type = pa.fixed_shape_tensor(pa.int32(), [2])
    extended = pa.table({"t": pa.ExtensionArray.from_storage(tensor_type, pa.array([[1, 2]], pa.list_(pa.int32(), 2)))})
    for value, words in ((pa.array([1]), "pyarrow.Table"), (extended, "extension types")):
        with pytest.raises(ValueCodecError, match=words):
            values.encode(value)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_an_image_comes_back_pixel_by_pixel(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.arange(600, dtype="u2").reshape(20, 30) * 100)
    else:
        image = Image.effect_noise((30, 20), 50).convert("RGB").convert(mode)
    back = round_trip(image)
    assert (back.mode, back.size, back.tobytes()) == (mode, (30, 20), image.tobytes())
    assert back.getpalette() == image.getpalette()


def test_an_image_that_png_would_change_is_refused_with_the_conversion() -> None:
    for mode in ("CMYK", "YCbCr", "F", "I"):
        with pytest.raises(ValueCodecError, match=r'convert\("RGB"\)'):
            values.encode(Image.new(mode, (2, 2)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((3, 4), "f4"), "ndarray float32 (3, 4), 48 B"),
        (np.float64(1), "float64 float64, 8 B"),
        (pa.table({"a": [1, 2]}), "Table 2 x 1, 16 B"),
        (Image.new("RGB", (30, 20)), "Image RGB 30 x 20, 1.8 kB"),
        ([np.zeros(1000)], "list of 1, 8.0 kB"),
    ],
)
def test_a_description_names_dtype_shape_and_size(value: object, text: str) -> None:
    assert values.describe(value) == text


@pytest.mark.parametrize(
    ("library", "value", "words"),
    [
        ("numpy", np.arange(3), "NumPy is not installed at this end"),
        ("pyarrow", pa.table({"a": [1]}), "pyarrow is not installed at this end"),
        ("PIL", Image.new("L", (1, 1)), "PIL is not installed at this end"),
        ("pandas", pd.Series([1]), "pandas is not installed at this end"),
    ],
)
def test_a_value_that_comes_where_its_library_is_missing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, library: str, value: object, words: str
) -> None:
    header, payload = values.encode(value)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueCodecError, match=words):
        values.decode(header, payload)


def test_a_polars_frame_is_refused_with_the_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type("DataFrame", (), {"__module__": "polars.dataframe.frame"})
    monkeypatch.setitem(sys.modules, "polars", sys)
    with pytest.raises(ValueCodecError, match=r"to_arrow\(\)"):
        values.encode(kind())
