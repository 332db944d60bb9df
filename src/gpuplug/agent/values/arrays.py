"""NumPy arrays and scalars in the .npy format; object arrays do not travel."""

from __future__ import annotations

import io
from typing import Any, Dict, Literal, Tuple

from .failure import SAVE, ValueCodecError, refusal, require

# NumPy's own limit for headers that it does not trust.
_MAX_HEADER = 10_000
_KINDS = "biufcmMSUV"


def encode(value: Any) -> Tuple[Dict[str, Any], bytes]:  # noqa: ANN401 - anything of NumPy's
    """Return the header and the .npy file of an array, or of a scalar as an array without dimensions."""
    import numpy as np  # noqa: PLC0415 - loaded already, the value is NumPy's

    if isinstance(value, np.generic):
        array = np.asarray(value)
        if isinstance(value, (np.str_, np.bytes_)) and array[()] != value:
            raise refusal(value, "NumPy drops its trailing NUL; convert it with str(value) or bytes(value)")
        return {"codec": "npy", "scalar": True}, _npy(array)
    if type(value) is not np.ndarray:
        raise refusal(value, "convert it with numpy.asarray(value)" if isinstance(value, np.ndarray) else SAVE)
    return {"codec": "npy"}, _npy(value)


def _npy(array: Any) -> bytes:  # noqa: ANN401 - an array
    import numpy as np  # noqa: PLC0415 - loaded already

    _check_dtype(array.dtype)
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    fields = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": fortran,
        "shape": array.shape,
    }
    start = io.BytesIO()
    try:
        np.lib.format.write_array_header_1_0(start, fields)
    except UnicodeEncodeError:
        raise ValueCodecError(
            f"an ndarray of dtype {array.dtype} cannot be sent; give its fields Latin names"
        ) from None
    if start.tell() > _MAX_HEADER:
        raise ValueCodecError(f"an ndarray with {len(array.dtype.names or ())} fields cannot be sent; split it")
    return b"".join((start.getvalue(), array.tobytes(order="F" if fortran else "C")))


def _check_dtype(dtype: Any) -> None:  # noqa: ANN401 - a dtype
    import numpy as np  # noqa: PLC0415 - loaded already

    if dtype.hasobject:
        raise ValueCodecError(
            f"an ndarray of dtype {dtype} cannot be sent; convert it with .tolist() or .astype(str), or {SAVE}"
        )
    known = dtype.kind in _KINDS and dtype.itemsize > 0 and dtype.metadata is None
    if not known or np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype)) != dtype:
        raise ValueCodecError(f"an ndarray of dtype {dtype} cannot be sent; convert it with .astype(...), or {SAVE}")


def decode(header: Dict[str, Any], payload: bytes) -> object:
    """Return a new array or scalar; the size that the file declares is checked before anything is allocated."""
    try:
        import numpy as np  # noqa: PLC0415 - only when such a value arrives
    except ImportError:
        raise ValueCodecError("NumPy is not installed at this end; pip install numpy") from None
    file = io.BytesIO(payload)
    version = np.lib.format.read_magic(file)
    require(version in {(1, 0), (2, 0)}, "an unknown .npy version")
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(payload[file.tell() : file.tell() + width], "little")
    require(length <= _MAX_HEADER, "a .npy header that is too long")
    read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0  # noqa: PLR2004 - see above
    shape, fortran, dtype = read(file)
    require(not dtype.hasobject and dtype.itemsize > 0, "an array of objects")
    size = dtype.itemsize
    for extent in shape:
        require(extent >= 0, "a negative shape")
        size *= extent
    require(size == len(payload) - file.tell(), "an array whose bytes do not fit its shape")
    order: Literal["C", "F"] = "F" if fortran else "C"
    flat: Any = np.frombuffer(payload, dtype, offset=file.tell())
    array = flat.reshape(shape, order=order).copy(order=order)
    return array[()] if header.get("scalar") is True else array
