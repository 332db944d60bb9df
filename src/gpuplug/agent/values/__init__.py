"""Variables of a cell in typed, safe forms: one codec for both ends.

Nothing here runs code that came with a value: no pickle, no eval, no extension types. Exact types come back or the
value is refused with what to do instead. What the other side sends is checked before it is allocated, and malformed
input raises `ValueCodecError` and nothing else. Python 3.8, standard library only at import.
"""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, Optional, Tuple

from . import tree
from .failure import SAVE, ValueCodecError, full_name
from .sizes import describe, size_hint, size_text

__all__ = ["SAVE", "ValueCodecError", "decode", "describe", "encode", "size_hint", "size_text"]


def encode(value: object, accept: Optional[FrozenSet[str]] = None) -> Tuple[Dict[str, Any], bytes]:
    """Return a small JSON-able header, whose `codec` names the form, and the payload.

    Args:
        value: what to send; it is not changed.
        accept: the forms that the other end reads, of json, bytes, npy, arrow, safetensors, png, tree and pandas;
            None means all.

    Raises:
        ValueCodecError: the value, or something in it, does not travel exactly; the text says what to do instead.
    """
    try:
        return tree.encode(value, accept)
    except ValueCodecError:
        raise
    except Exception as error:
        # Any object may stand in a notebook, and looking at a foreign one may raise anything.
        raise ValueCodecError(f"a {full_name(value)} cannot be sent: {_short(error)}") from error


def decode(header: Dict[str, Any], payload: bytes) -> object:
    """Return the value that `encode` was given. Tensors are on the CPU and need no gradient.

    Raises:
        ValueCodecError: the bytes are no value, or the library of the value is not installed here.
    """
    try:
        return tree.decode(header, payload)
    except ValueCodecError:
        raise
    except Exception as error:
        # Hostile bytes go through JSON, NumPy, Arrow, PIL and pandas, each with errors of its own.
        raise ValueCodecError(f"this is no value: {_short(error)}") from error


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
