"""The frame: u32 header length, u32 payload length (both big-endian), a JSON object, raw bytes.

No base64 and no JSON of payloads: 50 MB of image cost one copy. Python 3.8, standard library only.
"""

import json
import struct
from typing import Any, Dict, Iterator, Tuple, Union

Header = Dict[str, Any]
Frame = Tuple[Header, bytes]

MAX_HEADER = 1 << 20
MAX_PAYLOAD = 1 << 26
_LENGTHS = struct.Struct(">II")
_VALUE_LENGTHS = struct.Struct(">IQ")


class WireError(ValueError):
    """Bytes that are no frame: the other side is no agent, or lies."""


def pack(header: Header, payload: Union[bytes, memoryview] = b"") -> bytes:
    """Return the frame as bytes.

    Raises:
        WireError: header or payload is over the limit.
    """
    text = json.dumps(header, separators=(",", ":")).encode()
    _check(len(text), len(payload))
    return b"".join((_LENGTHS.pack(len(text), len(payload)), text, payload))


def _check(header_length: int, payload_length: int) -> None:
    if header_length > MAX_HEADER or payload_length > MAX_PAYLOAD:
        msg = f"frame of {header_length} + {payload_length} bytes is over the limit"
        raise WireError(msg)


def _parse(text: bytes) -> Header:
    try:
        header = json.loads(text)
    except ValueError as error:
        msg = "frame header is no JSON"
        raise WireError(msg) from error
    if not isinstance(header, dict):
        msg = "frame header is no object"
        raise WireError(msg)
    return header


class Decoder:
    """Turn bytes as they arrive into frames. `consumed` counts the bytes of all frames returned so far."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.consumed = 0

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield every frame that is whole now; what the caller does not take stays for the next call.

        Raises:
            WireError: the bytes are no frame. The decoder is then of no further use.
        """
        self._buffer += data
        while True:
            frame = self._next()
            if frame is None:
                return
            yield frame

    def _next(self) -> "Union[Frame, None]":
        if len(self._buffer) < _LENGTHS.size:
            return None
        header_length, payload_length = _LENGTHS.unpack_from(self._buffer)
        _check(header_length, payload_length)
        start = _LENGTHS.size + header_length
        end = start + payload_length
        if len(self._buffer) < end:
            return None
        view = memoryview(self._buffer)
        header = _parse(bytes(view[_LENGTHS.size : start]))
        payload = bytes(view[start:end])
        view.release()
        del self._buffer[:end]
        self.consumed += end
        return header, payload


def pack_value(header: Header, payload: Union[bytes, memoryview]) -> bytes:
    """Return an encoded variable as one blob: like a frame, with room for more than 4 GiB."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join((_VALUE_LENGTHS.pack(len(text), len(payload)), text, payload))


def unpack_value(blob: bytes) -> Frame:
    """Return header and payload of a blob made by `pack_value`.

    Raises:
        WireError: the blob is cut, has bytes too many, or is none.
    """
    if len(blob) < _VALUE_LENGTHS.size:
        msg = "value is cut"
        raise WireError(msg)
    header_length, payload_length = _VALUE_LENGTHS.unpack_from(blob)
    start = _VALUE_LENGTHS.size + header_length
    if header_length > MAX_HEADER or start + payload_length != len(blob):
        msg = f"value of {len(blob)} bytes declares {header_length} + {payload_length}"
        raise WireError(msg)
    return _parse(blob[_VALUE_LENGTHS.size : start]), blob[start:]
