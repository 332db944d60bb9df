from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from values_kit import round_trip

from gpuplug.agent import values
from gpuplug.agent.values import ValueCodecError, tensors

_NUMPY = {code: name for code, name in tensors.DTYPES.items() if "float8" not in name and name != "bfloat16"}


@pytest.mark.parametrize("code", _NUMPY)
@pytest.mark.parametrize("shape", [(), (3, 4), (0, 2)])
def test_a_tensor_file_is_what_the_safetensors_package_writes_and_reads(code: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(_NUMPY[code])
    file = tensors.write(code, list(shape), array.tobytes())
    theirs = safetensors.numpy.load(file)["value"]
    assert theirs.dtype == array.dtype
    assert np.array_equal(theirs, array)
    if code != "C64":  # their NumPy writer has no complex numbers
        read_code, read_shape, data = tensors.read(safetensors.numpy.save({"value": array}))
        assert (read_code, read_shape, bytes(data)) == (code, list(shape), array.tobytes())


@pytest.mark.parametrize(
    ("code", "size"), [("BOOL", 1), ("BF16", 2), ("F8_E4M3", 1), ("I64", 8), ("C64", 8), ("U16", 2)]
)
def test_the_size_of_an_element_follows_from_its_code(code: str, size: int) -> None:
    assert tensors.item_size(code) == size


@pytest.mark.parametrize(
    "text",
    [
        '{"value":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
        '{"value":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}',
        '{"value":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        '{"value":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}',
        '{"value":{"dtype":"F32","shape":[1e300],"data_offsets":[0,4]}}',
        '{"value":{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,4]}}',
        '{"value":{"dtype":"OBJECT","shape":[1],"data_offsets":[0,4]}}',
        '{"value":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}',
        '{"value":{"dtype":"F32","shape":[1]}}',
        '{"other":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        '{"value":3}',
        "[]",
        "{",
        "[" * 60_000,
    ],
)
def test_a_tensor_file_that_contradicts_itself_is_no_value(text: str) -> None:
    file = len(text).to_bytes(8, "little") + text.encode() + b"\0\0\x80?"
    with pytest.raises(ValueCodecError):
        values.decode({"codec": "safetensors"}, file)


@given(st.binary(max_size=64))
@settings(deadline=None)  # the machine may be busy
def test_arbitrary_bytes_are_no_tensor(payload: bytes) -> None:
    with pytest.raises(ValueCodecError):
        values.decode({"codec": "safetensors"}, payload)


def _torch() -> Any:  # noqa: ANN401 - PyTorch is no dependency of the tests
    return pytest.importorskip("torch", reason="PyTorch is large; the format itself is tested without")


_SHAPES = [(), (3, 4), (0, 2)]


@pytest.mark.parametrize("name", [*tensors.DTYPES.values(), "complex128"])
def test_a_tensor_of_each_dtype_comes_back_bit_by_bit(name: str) -> None:
    torch = _torch()
    for shape in _SHAPES:
        count = int(np.prod(shape, dtype=int))
        tensor = torch.arange(count, dtype=torch.float32).to(getattr(torch, name)).reshape(shape)
        back = round_trip(tensor)
        assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
        assert back.to(torch.complex128).equal(tensor.to(torch.complex128))


def test_a_state_dict_comes_back_and_the_header_says_what_is_lost() -> None:
    torch = _torch()
    model = torch.nn.Linear(2, 3)
    state = round_trip({"epoch": 3, "model": model.state_dict()})
    model.load_state_dict(state["model"])
    header, _ = values.encode(torch.ones(2, requires_grad=True))
    assert header == {"codec": "safetensors", "device": "cpu", "requires_grad": True}
    turned = torch.arange(6).reshape(2, 3).t()
    assert round_trip(turned).equal(turned)


def test_what_is_no_dense_tensor_is_refused_with_advice() -> None:
    torch = _torch()
    model = torch.nn.Linear(2, 3)
    for value, advice in (
        (model, "state_dict"),
        (model.weight, ".detach()"),
        (torch.zeros(2).to_sparse(), ".to_dense()"),
        (torch.Size([1]), "tuple(value)"),
        (torch.float32, "out/"),
    ):
        with pytest.raises(ValueCodecError) as refusal:
            values.encode(value)
        assert advice in str(refusal.value)


def test_a_tensor_that_comes_where_pytorch_is_missing_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(ValueCodecError, match="PyTorch is not installed at this end"):
        values.decode({"codec": "safetensors"}, tensors.write("F32", [1], b"\0\0\0\0"))
