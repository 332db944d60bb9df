"""The published descriptions of RunPod's APIs, where they lie beside the repository: every good reply is held against them."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from graphql import GraphQLSchema, build_schema
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

if TYPE_CHECKING:
    import httpx

APIS = Path(__file__).resolve().parent.parent.parent / "shared" / "apis"
OPENAPI, OVERLAY = APIS / "runpod-openapi-v2.json", APIS / "runpod-openapi-v2-overlay.json"
GRAPHQL = APIS / "runpod-schema.graphql"
here = OPENAPI.exists() and OVERLAY.exists()
needs_openapi = pytest.mark.skipif(not here, reason=f"needs the published OpenAPI in {APIS}")
needs_schema = pytest.mark.skipif(not GRAPHQL.exists(), reason=f"needs the published GraphQL schema in {APIS}")
_URI = "urn:runpod"


@functools.cache
def openapi() -> dict[str, Any]:
    """Return the description with what was seen since it was published."""
    document: dict[str, Any] = json.loads(OPENAPI.read_text(encoding="utf-8"))
    later = json.loads(OVERLAY.read_text(encoding="utf-8"))
    schemas = document["components"]["schemas"]
    words = {"type": "array", "items": {"type": "string"}}
    own = schemas["Pod"]["allOf"][1]
    assert "entrypoint, cmd" in later["response.Pod"]
    own["properties"] |= {"entrypoint": words, "cmd": words}
    own["required"] += ["entrypoint", "cmd"]
    number = {"type": "number"}
    assert {"gpu.vcpuCount", "gpu.memory"} <= later["response.Pod"].keys()
    own["properties"]["gpu"]["allOf"].append(
        {"required": ["vcpuCount", "memory"], "properties": {"vcpuCount": number, "memory": number}}
    )
    text = {"type": "string"}
    schemas["CreatePodRequest"]["allOf"][1]["properties"] |= {"entrypoint": words, "cmd": words, "args": text}
    least = {"type": "integer", "minimum": 1}
    schemas["CreateGpuConfig"]["allOf"][1]["properties"] |= {"minRamPerGpu": least, "minVcpuCountPerGpu": least}
    return document


@functools.cache
def published_schema() -> GraphQLSchema:
    """Return the published GraphQL schema."""
    return build_schema(GRAPHQL.read_text(encoding="utf-8"))


@functools.cache
def _registry() -> Registry[Any]:
    filled: Registry[Any] = Registry().with_resource(_URI, DRAFT202012.create_resource(openapi()))
    return filled


def validator(pointer: str) -> Draft202012Validator:
    """Return what judges a value by the part of the description at `pointer`."""
    return Draft202012Validator({"$ref": f"{_URI}#{pointer}"}, registry=_registry())


@functools.cache
def _paths() -> list[tuple[re.Pattern[str], str]]:
    plain = sorted(openapi()["paths"], key=lambda path: path.count("{"))
    return [(re.compile(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(path))), path) for path in plain]


def faults(method: str, path: str, status: int, body: object) -> list[str]:
    """Return where a reply is not what the description says; also when it knows no such reply."""
    template = next((template for pattern, template in _paths() if pattern.fullmatch(path)), None)
    if template is None:
        return [f"no path {path}"]
    operation = openapi()["paths"][template].get(method.lower(), {})
    if str(status) not in operation.get("responses", {}):
        return [f"no {status} of {method} {template}"]
    if "application/json" not in operation["responses"][str(status)].get("content", {}):
        return [] if body is None else [f"a body where {method} {template} has none"]
    escaped = template.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")
    pointer = f"/paths/{escaped}/{method.lower()}/responses/{status}/content/application~1json/schema"
    return [f"{error.json_path}: {error.message}" for error in validator(pointer).iter_errors(body)]


def judge(reply: httpx.Response) -> None:
    """Fail the test when a good reply of REST v2 is not as published; does nothing where the description is absent."""
    path = reply.request.url.path
    kind = reply.headers.get("Content-Type", "")
    if not here or not reply.is_success or not path.startswith("/v2/") or "event-stream" in kind:
        return
    body = json.loads(reply.read()) if reply.read() else None
    found = faults(reply.request.method, path, reply.status_code, body)
    assert not found, f"{reply.request.method} {path} -> {reply.status_code}: {found}"
