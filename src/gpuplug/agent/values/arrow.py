"""Arrow tables and record batches in the Arrow IPC stream format.

A hostile stream may declare extension types (whose readers are arbitrary Python, once even pickle) and compressed
buffers (which allocate what they declare). Both are refused by a look at the messages before Arrow reads them.
"""

from __future__ import annotations

import struct
from typing import Any, Dict, Iterator, Tuple

from .failure import SAVE, ValueCodecError, refusal, require

_EXTENSION = b"ARROW:extension:name"
# Slots of the tables in Arrow's Message.fbs.
_MESSAGE_HEADER = 2
_DICTIONARY_DATA = 1
_BATCH_COMPRESSION = 3


def refuse_polars(value: object) -> Tuple[Dict[str, Any], bytes]:
    """Name the conversion that keeps a polars frame's types."""
    raise refusal(value, "convert it with .to_arrow() and back with polars.from_arrow()")


def encode(value: Any) -> Tuple[Dict[str, Any], bytes]:  # noqa: ANN401 - anything of Arrow's
    """Return the header and the IPC stream of a Table or RecordBatch."""
    import pyarrow as pa  # noqa: PLC0415 - loaded already, the value is Arrow's

    if type(value) not in (pa.Table, pa.RecordBatch):
        raise refusal(value, f"put it into a pyarrow.Table, or {SAVE}")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, value.schema) as writer:
        writer.write(value)
    payload = sink.getvalue().to_pybytes()
    if any(_EXTENSION in metadata for kind, metadata in _messages(payload) if kind == "schema"):
        raise refusal(value, f"it has extension types: cast them to their storage types, or {SAVE}")
    return {"codec": "arrow", "type": type(value).__name__}, payload


def decode(header: Dict[str, Any], payload: bytes) -> object:
    """Return the Table or RecordBatch; it shares the memory of `payload`."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - only when such a value arrives
    except ImportError:
        raise ValueCodecError("pyarrow is not installed at this end; pip install pyarrow") from None
    for kind, metadata in _messages(payload):
        if kind == "schema":
            require(_EXTENSION not in metadata, "an Arrow extension type")
        else:
            require(not _compressed(kind, metadata), "a compressed Arrow buffer")
    with pa.ipc.open_stream(pa.py_buffer(payload)) as reader:
        table = reader.read_all()
    table.validate(full=True)
    if header.get("type") == "Table":
        return table
    batches = table.to_batches()
    require(header.get("type") == "RecordBatch" and len(batches) <= 1, "an Arrow value of an unknown type")
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _messages(payload: bytes) -> Iterator[Tuple[str, bytes]]:
    import pyarrow as pa  # noqa: PLC0415 - loaded already

    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(payload))
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        kind = message.type
        require(kind in {"schema", "record batch", "dictionary"}, "an Arrow message of an unknown kind")
        yield kind, message.metadata.to_pybytes()


def _compressed(kind: str, metadata: bytes) -> bool:
    table = struct.unpack_from("<I", metadata)[0]
    table = _child(metadata, table, _MESSAGE_HEADER)
    if kind == "dictionary":
        table = _child(metadata, table, _DICTIONARY_DATA)
    return _slot(metadata, table, _BATCH_COMPRESSION) != 0


def _slot(metadata: bytes, table: int, index: int) -> int:
    """Return where field `index` of the flatbuffers table at `table` lies; 0 when it is absent."""
    require(table >= 0, "an Arrow message that is no flatbuffer")
    vtable = table - int(struct.unpack_from("<i", metadata, table)[0])
    require(vtable >= 0, "an Arrow message that is no flatbuffer")
    entry = 4 + 2 * index
    if entry >= struct.unpack_from("<H", metadata, vtable)[0]:
        return 0
    offset = int(struct.unpack_from("<H", metadata, vtable + entry)[0])
    return table + offset if offset else 0


def _child(metadata: bytes, table: int, index: int) -> int:
    slot = _slot(metadata, table, index)
    require(slot, "an Arrow message without a body")
    return slot + int(struct.unpack_from("<I", metadata, slot)[0])
