"""Which codec a value's bytes have: raw bytes, .npy, Arrow IPC, safetensors, PNG.

A library is never imported for encoding (its values exist only where it is loaded), and for decoding only when a
value of its kind has arrived.
"""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, Optional, Tuple

from . import arrays, arrow, images, tensors
from .failure import ValueCodecError, require

Header = Dict[str, Any]
Leaf = Tuple[Header, bytes]

LONG_TEXT = 256
_FAMILIES = ("numpy", "pandas", "pyarrow", "polars", "torch", "PIL")


def family(value: object) -> str:
    """Return the library that the type of `value` comes from or derives from; empty for none that matters."""
    for base in type(value).__mro__:
        root = base.__module__.split(".", 1)[0]
        if root in _FAMILIES and root in sys.modules:
            return root
    return ""


_ENCODERS: Dict[str, Callable[[Any], Leaf]] = {
    "numpy": arrays.encode,
    "pyarrow": arrow.encode,
    "polars": arrow.refuse_polars,
    "torch": tensors.encode,
    "PIL": images.encode,
}


def encode(value: object) -> Optional[Leaf]:
    """Return header and payload of a value that is one piece of bytes; None for every other kind.

    Raises:
        ValueCodecError: it is of a library's kind that does not travel.
    """
    if type(value) is str and len(value) > LONG_TEXT:
        return {"codec": "bytes", "type": "str"}, value.encode("utf-8", "surrogatepass")
    if type(value) is bytes or type(value) is bytearray:
        return {"codec": "bytes", "type": type(value).__name__}, bytes(value)
    encoder = _ENCODERS.get(family(value))
    return encoder(value) if encoder else None


def _decode_bytes(header: Header, payload: bytes) -> object:
    kind = header.get("type")
    if kind == "str":
        return payload.decode("utf-8", "surrogatepass")
    require(kind in {"bytes", "bytearray"}, "bytes of an unknown type")
    return payload if kind == "bytes" else bytearray(payload)


_DECODERS: Dict[str, Callable[[Header, bytes], object]] = {
    "bytes": _decode_bytes,
    "npy": arrays.decode,
    "arrow": arrow.decode,
    "safetensors": tensors.decode,
    "png": images.decode,
}


def decode(header: Header, payload: bytes) -> object:
    """Undo `encode`.

    Raises:
        ValueCodecError: the codec is unknown or the library is not installed here; other malformed input raises
            whatever the library raises.
    """
    codec = header.get("codec")
    decoder = _DECODERS.get(codec) if isinstance(codec, str) else None
    if decoder is None:
        raise ValueCodecError(f"this is no value: unknown codec {str(codec)[:40]!r}")
    return decoder(header, payload)
