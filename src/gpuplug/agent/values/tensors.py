"""PyTorch tensors in the published safetensors format: u64 length, JSON header, raw little-endian data.

Tensors come back on the CPU and without their gradient; the header says where they were.
"""

from __future__ import annotations

import ctypes
import json
import math
import struct
from typing import Any, Dict, List, Tuple

from .failure import SAVE, ValueCodecError, refusal, require

_LENGTH = struct.Struct("<Q")
_MAX_HEADER = 1 << 16
_NAME = "value"
DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
}
SIZES = {"BOOL": 1, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "C64": 8}


def item_size(code: str) -> int:
    """Return the bytes of one element of the safetensors dtype `code`."""
    return SIZES.get(code) or int(code[1:]) // 8


def write(code: str, shape: List[int], data: bytes) -> bytes:
    """Return a safetensors file that holds one tensor."""
    fields = {_NAME: {"dtype": code, "shape": shape, "data_offsets": [0, len(data)]}}
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((_LENGTH.pack(len(text)), text, data))


def read(payload: bytes) -> Tuple[str, List[int], memoryview]:
    """Return dtype, shape and data of a file with one tensor.

    Raises:
        ValueCodecError: sizes do not agree, or it is no such file.
    """
    require(len(payload) >= _LENGTH.size, "a cut safetensors file")
    length = _LENGTH.unpack_from(payload)[0]
    require(length <= min(_MAX_HEADER, len(payload) - _LENGTH.size), "a safetensors header that is too long")
    fields = json.loads(payload[_LENGTH.size : _LENGTH.size + length])
    require(isinstance(fields, dict) and set(fields) - {"__metadata__"} == {_NAME}, "a file of other tensors")
    tensor = fields[_NAME]
    code, shape = tensor["dtype"], tensor["shape"]
    require(code in DTYPES, "an unknown dtype of a tensor")
    require(isinstance(shape, list) and all(type(extent) is int and extent >= 0 for extent in shape), "no shape")
    data = memoryview(payload)[_LENGTH.size + length :]
    require(tensor["data_offsets"] == [0, len(data)], "a tensor outside of its file")
    require(math.prod(shape) * item_size(code) == len(data), "a tensor whose bytes do not fit its shape")
    return code, shape, data


def encode(value: Any) -> Tuple[Dict[str, Any], bytes]:  # noqa: ANN401 - anything of PyTorch's
    """Return the header and the safetensors file of a dense tensor."""
    import torch  # noqa: PLC0415 - loaded already, the value is PyTorch's

    if type(value) is not torch.Tensor:
        raise refusal(value, _advice(value))
    if value.layout is not torch.strided or value.is_quantized:
        raise ValueCodecError(
            "a sparse or quantized Tensor cannot be sent; convert it with .to_dense() or .dequantize()"
        )
    header = {"codec": "safetensors", "device": str(value.device), "requires_grad": bool(value.requires_grad)}
    plain = value.detach().cpu().resolve_conj().resolve_neg()
    if plain.dtype == torch.complex128:
        header["complex"] = True
        plain = torch.view_as_real(plain)
    name = str(plain.dtype).split(".", 1)[1]
    code = next((code for code, known in DTYPES.items() if known == name), "")
    if not code:
        raise ValueCodecError(f"a Tensor of dtype {name} cannot be sent; convert it with .to(torch.float32)")
    plain = plain.contiguous()
    size = plain.numel() * plain.element_size()
    return header, write(code, list(plain.shape), ctypes.string_at(plain.data_ptr(), size) if size else b"")


def _advice(value: Any) -> str:  # noqa: ANN401 - anything of PyTorch's
    import torch  # noqa: PLC0415 - loaded already

    if isinstance(value, torch.nn.Module):
        return "send value.state_dict(), and build the module where it is needed"
    if isinstance(value, torch.Tensor):
        return "convert it with .detach()"
    return "convert it with tuple(value)" if isinstance(value, tuple) else SAVE


def decode(header: Dict[str, Any], payload: bytes) -> object:
    """Return a new tensor on the CPU."""
    code, shape, data = read(payload)
    try:
        import torch  # noqa: PLC0415 - only when such a value arrives
    except ImportError:
        raise ValueCodecError("PyTorch is not installed at this end; send .numpy() of the tensor") from None
    dtype = getattr(torch, DTYPES[code], None)
    if dtype is None:
        raise ValueCodecError(f"this end's PyTorch has no {DTYPES[code]}; convert the tensor with .to(torch.float32)")
    tensor = _tensor(torch, dtype, data).reshape(shape)
    return torch.view_as_complex(tensor) if header.get("complex") is True else tensor


def _tensor(torch: Any, dtype: Any, data: memoryview) -> Any:  # noqa: ANN401 - the module and its types
    if not len(data):
        return torch.empty(0, dtype=dtype)
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    # A bool that is neither 0 nor 1 is undefined behaviour further on.
    return raw != 0 if dtype == torch.bool else raw.view(dtype)
