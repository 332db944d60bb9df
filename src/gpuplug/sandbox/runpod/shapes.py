"""The shapes of request bodies, each closed against unknown fields, and the service's words for what breaks them."""

from __future__ import annotations

import re
from typing import Any

Shape = dict[str, Any]
_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
_CUDA: Shape = {"type": "string", "pattern": r"^\d+\.\d+$"}
_TEXT: Shape = {"type": "string"}
_NAME: Shape = {"type": "string", "minLength": 1}
_WORDS: Shape = {"type": "array", "items": _TEXT}
_FLAG: Shape = {"type": "boolean"}
_ATLEAST_1: Shape = {"type": "integer", "minimum": 1}


def closed(required: tuple[str, ...] = (), /, **fields: Shape) -> Shape:
    """Return the shape of an object that has these fields and no others."""
    return {"type": "object", "required": required, "fields": fields}


_CONTAINER: dict[str, Shape] = {
    "args": _TEXT,
    "cmd": _WORDS,
    "disk": _ATLEAST_1,
    "entrypoint": _WORDS,
    "env": {"type": "object", "values": _TEXT},
    "image": _TEXT,
    "ports": _WORDS,
    "registry": {"type": ("string", "null")},
}
_PERSISTENT = closed(("size", "path"), size={"type": "integer", "minimum": 10}, path=_TEXT)
_NETWORK = closed(("volumeId", "path"), volumeId=_TEXT, path=_TEXT)
_MOUNTS = closed(persistent=_PERSISTENT, network={"type": "array", "maxItems": 1, "items": _NETWORK})
_GPU = closed(
    ("id",),
    id=_TEXT,
    count=_ATLEAST_1,
    allowedCudaVersions={"type": "array", "items": _CUDA},
    minCudaVersion=_CUDA,
    minRamPerGpu=_ATLEAST_1,
    minVcpuCountPerGpu=_ATLEAST_1,
)
_CPU = closed(("id", "vcpuCount"), id=_NAME, vcpuCount={"type": "integer", "minimum": 2})
CREATE_POD = closed(
    ("name",),
    **_CONTAINER,
    name=_NAME,
    cloud={"enum": ("SECURE", "COMMUNITY")},
    cpu=_CPU,
    dataCenterIds=_WORDS,
    globalNetworking=_FLAG,
    gpu=_GPU,
    mounts=_MOUNTS,
    startJupyter=_FLAG,
    startSsh=_FLAG,
    templateId=_NAME,
)
UPDATE_POD = closed(**_CONTAINER, globalNetworking=_FLAG, locked=_FLAG, mounts=_MOUNTS, name=_NAME, templateId=_TEXT)
ACTION = closed(("action",), action={"enum": ("start", "stop", "restart", "terminate")})
_SIZE: Shape = {"type": "integer", "minimum": 10, "maximum": 4096}
CREATE_VOLUME = closed(
    ("name", "size", "dataCenter"),
    name=_NAME,
    size=_SIZE,
    dataCenter=_NAME,
    type={"enum": ("STANDARD", "HIGH_PERFORMANCE")},
)
UPDATE_VOLUME = closed(name=_NAME, size=_SIZE)
_KEY: Shape = {"type": "string", "pattern": r"^(ssh|ecdsa|sk)-[^\s]+ [^\s]+([ \t][^\n\r]*)?$"}
SSH_KEYS = closed(("keys",), keys={"type": "array", "items": _KEY})
_TEMPLATE: dict[str, Shape] = {
    **_CONTAINER,
    "allowedCudaVersions": {"type": "array", "items": _CUDA},
    "category": {"enum": ("CPU", "NVIDIA", "AMD")},
    "mounts": closed(persistent=_PERSISTENT),
    "name": _NAME,
    "public": _FLAG,
    "serverless": _FLAG,
    "startJupyter": _FLAG,
    "startSsh": _FLAG,
}
CREATE_TEMPLATE = closed(("name", "image"), **_TEMPLATE)
UPDATE_TEMPLATE = closed(**_TEMPLATE)
CREATE_REGISTRY = closed(("name", "username", "password"), name=_NAME, username=_NAME, password=_NAME)


def faults(value: object, shape: Shape, place: str = "$") -> list[str]:
    """Return what is wrong with `value`, each with its place; empty when it has the shape."""
    if "enum" in shape:
        if value in shape["enum"]:
            return []
        return [f"{place}: value must be one of {', '.join(repr(one) for one in shape['enum'])}"]
    kinds = shape["type"] if isinstance(shape["type"], tuple) else (shape["type"],)
    if not any(_is(value, kind) for kind in kinds):
        return [f"{place}: got {_kind(value)}, want {' or '.join(kinds)}"]
    if isinstance(value, dict):
        return _object_faults(value, shape, place)
    if isinstance(value, list):
        return _array_faults(value, shape, place)
    return _scalar_faults(value, shape, place)


def _is(value: object, kind: str) -> bool:
    return isinstance(value, _KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _kind(value: object) -> str:
    return "number" if isinstance(value, float) else next(kind for kind in _KINDS if _is(value, kind))


def _object_faults(value: dict[str, Any], shape: Shape, place: str) -> list[str]:
    if "values" in shape:
        return [fault for name, one in value.items() for fault in faults(one, shape["values"], f"{place}.{name}")]
    fields = shape["fields"]
    found = [f"{place}: additional properties '{name}' not allowed" for name in value if name not in fields]
    found += [f"{place}: missing property '{name}'" for name in shape["required"] if name not in value]
    for name, one in value.items():
        if name in fields:
            found += faults(one, fields[name], f"{place}.{name}")
    return found


def _array_faults(value: list[Any], shape: Shape, place: str) -> list[str]:
    most = shape.get("maxItems")
    if most is not None and len(value) > most:
        return [f"{place}: maxItems: got {len(value)}, want {most}"]
    return [fault for index, one in enumerate(value) for fault in faults(one, shape["items"], f"{place}[{index}]")]


def _scalar_faults(value: object, shape: Shape, place: str) -> list[str]:
    if isinstance(value, int):
        if value < shape.get("minimum", value):
            return [f"{place}: minimum: got {value}, want {shape['minimum']}"]
        if value > shape.get("maximum", value):
            return [f"{place}: maximum: got {value}, want {shape['maximum']}"]
    if isinstance(value, str):
        if len(value) < shape.get("minLength", 0):
            return [f"{place}: minLength: got {len(value)}, want {shape['minLength']}"]
        if "pattern" in shape and not re.search(shape["pattern"], value):
            return [f"{place}: '{value}' does not match pattern '{shape['pattern']}'"]
    return []
