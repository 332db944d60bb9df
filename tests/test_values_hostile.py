"""The instance is not trusted: whatever it sends as a value is a value or a ValueCodecError, and nothing runs."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import pathlib
import struct
import tracemalloc
import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gpuplug.agent import values
from gpuplug.agent.values import ValueCodecError, frames, plain, tree

_FRAME = pd.DataFrame(
    {
        "i": [1, 2],
        "s": ["a", None],
        "o": [1, "x"],
        "t": pd.date_range("2020", periods=2, tz="UTC"),
        "n": pd.array([1, None], "Int8"),
        "c": pd.Categorical(["a", "b"]),
        "p": pd.period_range("2020", periods=2, freq="M"),
        "v": pd.interval_range(0, 2),
    },
    index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]),
)
_SAMPLES = [
    values.encode(value)
    for value in (
        {"a": [1, 2.5, (None, True)], "b": {1: {2, 3}}, "c": [b"x" * 9, "y" * 300]},
        [Decimal("1.5"), Fraction(1, 3), 10**40, range(3), pathlib.Path("x")],
        [dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), uuid.UUID(int=1), 1j],
        np.arange(6.0).reshape(2, 3),
        np.array([(1, b"x")], [("a", "i4"), ("b", "S3")]),
        pa.table({"a": [1, 2], "s": ["x", None], "d": pa.array(["a", "a"]).dictionary_encode()}),
        Image.effect_noise((8, 8), 9),
        _FRAME,
        _FRAME.index,
    )
]
_TAGS = sorted({*plain.DECODERS, *tree._READERS, *frames.TAGS, "part"})  # noqa: SLF001 - every tag there is
_JSON = st.none() | st.booleans() | st.integers(-9, 9) | st.integers() | st.floats() | st.text(max_size=9)
_NODES = st.recursive(
    _JSON | st.sampled_from([["part", 0], ["range_index", 0, 3, 1, None], "nan", "python", "right", "2020", *_TAGS]),
    lambda inner: st.one_of(
        st.builds(lambda tag, items: [tag, *items], st.sampled_from(_TAGS), st.lists(inner, max_size=6)),
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=3), inner, max_size=2),
    ),
    max_leaves=8,
)
_HEADERS = st.fixed_dictionaries(
    {"codec": st.sampled_from(["json", "bytes", "npy", "arrow", "safetensors", "png", "tree"]) | _JSON},
    optional={"type": _JSON, "skeleton": st.integers(0, 80) | _JSON, "scalar": _JSON, "mode": _JSON, "size": _JSON},
)


def _decode(header: Any, payload: bytes) -> None:  # noqa: ANN401 - anything
    with contextlib.suppress(ValueCodecError):
        values.decode(header, payload)


@given(_HEADERS, st.binary(max_size=200))
@settings(deadline=None)  # the machine may be busy
def test_random_bytes_under_any_header_are_a_value_or_the_one_error(header: dict[str, Any], payload: bytes) -> None:
    _decode(header, payload)


@given(_NODES)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@pytest.mark.filterwarnings("ignore")  # pandas warns of what it is about to refuse
def test_random_skeletons_are_a_value_or_the_one_error(node: object) -> None:
    _decode({"codec": "json"}, json.dumps(node).encode())
    head, body = values.encode(np.arange(3, dtype="i4"))
    text = json.dumps({"parts": [{**head, "size": len(body)}], "root": node}).encode()
    _decode({"codec": "tree", "skeleton": len(text)}, text + body)


@given(st.sampled_from(_SAMPLES), st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=400)
@pytest.mark.filterwarnings("ignore")  # NumPy and pandas warn of what they are about to refuse
def test_a_mutated_value_is_a_value_or_the_one_error(sample: tuple[dict[str, Any], bytes], data: st.DataObject) -> None:
    header, payload = sample
    changed = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(changed)))
        piece = data.draw(st.binary(max_size=5))
        changed[position : position + data.draw(st.integers(0, 5))] = piece
    _decode(header, bytes(changed))


def test_a_value_cut_at_any_byte_is_the_one_error() -> None:
    for header, payload in _SAMPLES:
        for length in range(0, len(payload), 7):
            # Cut Arrow streams and PNG files may lack no more than their end mark, a cut number may still be one.
            if header["codec"] in {"npy", "tree"}:
                with pytest.raises(ValueCodecError):
                    values.decode(header, payload[:length])
            else:
                _decode(header, payload[:length])


@pytest.mark.parametrize("header", [None, [], 3, "json", {}, {"codec": None}, {"codec": []}, {"codec": "pickle"}])
def test_a_header_that_is_none_is_the_one_error(header: Any) -> None:  # noqa: ANN401 - anything
    with pytest.raises(ValueCodecError):
        values.decode(header, b"")


def test_a_pickle_is_never_loaded_in_whatever_form_it_comes(tmp_path: pathlib.Path) -> None:
    sentinel = tmp_path / "sentinel"
    attack = f"cposix\nsystem\n(S'touch {sentinel}'\ntR.".encode()
    npy = io.BytesIO()
    np.lib.format.write_array_header_1_0(npy, {"descr": "|O", "fortran_order": False, "shape": ()})
    schema = pa.schema([pa.field("a", pa.int8(), metadata=_extension(b"arrow.py_extension_type", attack))])
    forms = [attack, npy.getvalue() + attack, _stream(pa.table({"a": pa.array([1], pa.int8())}, schema=schema))]
    for codec in ("json", "bytes", "npy", "arrow", "safetensors", "png", "tree", "pickle", "pandas"):
        for form in forms:
            _decode({"codec": codec, "type": "bytes", "skeleton": 0}, form)
    for form in forms[1:]:
        with pytest.raises(ValueCodecError):
            values.decode({"codec": "npy" if form is forms[1] else "arrow", "type": "Table"}, form)
    assert not sentinel.exists()


def _extension(name: bytes, data: bytes = b"") -> dict[bytes, bytes]:
    return {b"ARROW:extension:name": name, b"ARROW:extension:metadata": data}


def _stream(table: pa.Table, **options: Any) -> bytes:  # noqa: ANN401 - Arrow's options
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def test_an_arrow_extension_type_is_refused_wherever_it_hides() -> None:
    inner = pa.field("x", pa.int8(), metadata=_extension(b"someone.else"))
    for kind in (pa.struct([inner]), pa.list_(inner)):
        table = pa.Table.from_arrays([pa.array([None], kind)], schema=pa.schema([pa.field("a", kind)]))
        with pytest.raises(ValueCodecError, match="extension type"):
            values.decode({"codec": "arrow", "type": "Table"}, _stream(table))


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("column", [pa.array([0] * 1000), pa.array(["a" * 1000] * 9).dictionary_encode()])
def test_compressed_arrow_buffers_are_refused_before_they_grow(compression: str, column: pa.Array) -> None:
    payload = _stream(pa.table({"a": column}), compression=compression)
    with pytest.raises(ValueCodecError, match="compressed"):
        values.decode({"codec": "arrow", "type": "Table"}, payload)


def test_arrow_offsets_that_point_outside_are_refused() -> None:
    payload = _stream(pa.table({"a": ["x" * 30, "y" * 47]}))
    offsets = struct.pack("<iii", 0, 30, 77)
    assert payload.count(offsets) == 1
    with pytest.raises(ValueCodecError, match="offset"):
        values.decode(
            {"codec": "arrow", "type": "Table"}, payload.replace(offsets, struct.pack("<iii", 0, 30, 1 << 30))
        )


def _npy(shape: str, descr: str = "'<f8'", data: bytes = b"") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II5B", width, height, 8, 2, 0, 0, 0) + b"\0" * 99


def _tree(root: object, parts: object = ()) -> tuple[dict[str, Any], bytes]:
    text = json.dumps({"parts": parts, "root": root}).encode()
    return {"codec": "tree", "skeleton": len(text)}, text


_BOMBS: dict[str, tuple[dict[str, Any], bytes]] = {
    "npy of an exabyte": ({"codec": "npy"}, _npy("(1152921504606846976,)")),
    "npy whose size wraps around": ({"codec": "npy"}, _npy("(4294967296, 4294967296)")),
    "npy of nothing, very often": ({"codec": "npy"}, _npy("(1000000000000,)", "'|V0'")),
    "npy of a negative shape": ({"codec": "npy"}, _npy("(-1, -1)", data=b"x" * 8)),
    "npy with a long header": ({"codec": "npy"}, _npy("(" + "-" * 20_000 + "1,)")),
    "npy nested deep": ({"codec": "npy"}, _npy("(" * 4000 + ")" * 4000)),
    "npy of a huge element": ({"codec": "npy"}, _npy("(1,)", "'<U999999999'")),
    "png of too many pixels": ({"codec": "png", "mode": "RGB"}, _png(100_000, 100_000)),
    "png without pixels": ({"codec": "png", "mode": "RGB"}, _png(0, 5)),
    "JSON nested deep": ({"codec": "json"}, b"[" * 1_000_000),
    "JSON objects nested deep": ({"codec": "json"}, b'{"a":' * 100_000),
    "nodes nested deep": ({"codec": "json"}, b'["list",' * 400 + b"1" + b"]" * 400),
    "very many items": ({"codec": "json"}, b'["list"' + b",[]" * 5_000_000 + b"]"),
    "a very long number": ({"codec": "json"}, b"1" * 100_000),
    "NaN as JSON": ({"codec": "json"}, b"NaN"),
    "a fraction that takes for ever": (
        {"codec": "json"},
        json.dumps(["fraction", ["int", "0x" + "7" * 1_000_000], ["int", "0x" + "5" * 1_000_000]]).encode(),
    ),
    "a time zone that is a file": ({"codec": "json"}, b'["time",[1,2,3,4,0],["zone","../../etc/passwd"]]'),
    "a part of negative size": _tree(["part", 0], [{"codec": "bytes", "type": "bytes", "size": -1}]),
    "a part beyond the end": _tree(["part", 0], [{"codec": "bytes", "type": "bytes", "size": 1 << 60}]),
    "a part that is not there": _tree(["part", 7]),
    "a part of another type": _tree(["part", True]),
    "parts that are no list": _tree(None, 5),
    "no root": ({"codec": "tree", "skeleton": 12}, b'{"parts":[]}'),
    "an unhashable key": ({"codec": "json"}, b'["dict",["list"],1]'),
    "a key without a value": ({"codec": "json"}, b'["dict",1]'),
    "an unknown tag": ({"codec": "json"}, b'["os.system","true"]'),
    "a frame of nothing": ({"codec": "json"}, b'["frame"]'),
    "a huge range of rows": ({"codec": "json"}, b'["series",["list"],["range_index",0,1000000000000,1,null],null,{}]'),
}


@pytest.mark.parametrize("name", _BOMBS)
def test_a_bomb_is_refused_before_it_takes_memory(name: str) -> None:
    header, payload = _BOMBS[name]
    tracemalloc.start()
    with pytest.raises(ValueCodecError):
        values.decode(header, payload)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20


@pytest.mark.parametrize("zone", ["dateutil//dev/zero", "dateutil/../x", "tzlocal()", "/etc/localtime", "a" * 99, ""])
def test_a_column_cannot_name_a_file_as_its_time_zone(zone: str) -> None:
    head, body = values.encode(np.array(["2020"], "M8[ns]"))
    header, text = _tree(["moments", ["part", 0], zone], [{**head, "size": len(body)}])
    with pytest.raises(ValueCodecError, match="no such name"):
        values.decode(header, text + body)


def test_one_part_referred_to_a_million_times_is_decoded_once() -> None:
    parts = [{"codec": "bytes", "type": "bytearray", "size": 1 << 20}]
    header, text = _tree(["list", *[["part", 0]] * 100_000], parts)
    found = values.decode(header, text + bytes(1 << 20))
    assert isinstance(found, list)
    assert len({id(item) for item in found}) == 1


def test_an_error_stays_short_whatever_was_sent() -> None:
    for codec in ("x" * 10_000_000, {"a": "y" * 100_000}):
        with pytest.raises(ValueCodecError) as error:
            values.decode({"codec": codec}, b"")
        assert len(str(error.value)) < 300
