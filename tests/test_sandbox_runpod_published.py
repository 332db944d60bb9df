"""The sandbox's RunPod against what RunPod publishes: shapes of requests and replies, and the GraphQL schema."""

from __future__ import annotations

import re
from typing import Any

import pytest
import runpod_spec_kit as published
import test_sandbox_runpod_graphql as queries
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLScalarType,
    parse,
    specified_scalar_types,
    validate,
)
from hypothesis import given
from hypothesis import strategies as st
from runpod_kit import pod_order, rent_pod, runpod_client, until_up
from runpod_spec_kit import needs_openapi, needs_schema
from sandbox_kit import market

from gpuplug.sandbox.runpod import shapes
from gpuplug.sandbox.runpod.graph import SCHEMA

BODIES = {
    "CreatePodRequest": shapes.CREATE_POD,
    "UpdatePodRequest": shapes.UPDATE_POD,
    "PodActionRequest": shapes.ACTION,
    "CreateNetworkVolumeRequest": shapes.CREATE_VOLUME,
    "UpdateNetworkVolumeRequest": shapes.UPDATE_VOLUME,
    "UpdateSshKeysRequest": shapes.SSH_KEYS,
    "CreateTemplateRequest": shapes.CREATE_TEMPLATE,
    "CreateRegistryRequest": shapes.CREATE_REGISTRY,
}


def _fields(schema: dict[str, Any]) -> set[str]:
    """Return the names that a published object may have."""
    if "$ref" in schema:
        return _fields(published.openapi()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    own = set(schema.get("properties", {}))
    return own.union(*(_fields(part) for part in schema.get("allOf", [])))


@needs_openapi
@pytest.mark.parametrize("name", BODIES)
def test_a_body_has_the_published_fields_and_no_others(name: str) -> None:
    later = {"entrypoint", "cmd"}  # the overlay has them in pods; templates share the container's settings
    theirs = _fields(published.openapi()["components"]["schemas"][name])
    assert set(BODIES[name]["fields"]) - later == theirs - later


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 60) | st.text("abc/", max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "count", "path"]), inner),
    max_leaves=4,
)


@needs_openapi
@given(changes=st.dictionaries(st.sampled_from([*pod_order(), "mounts", "cmd", "startSsh", "x"]), _JSON, max_size=2))
def test_a_create_body_is_refused_exactly_when_the_published_schema_refuses_it(changes: dict[str, Any]) -> None:
    body = {**pod_order(), **changes}
    theirs = published.validator("/components/schemas/CreatePodRequest").is_valid(body)
    assert (not shapes.faults(body, shapes.CREATE_POD)) == theirs, body


GETS: list[tuple[str, dict[str, str]]] = [
    ("/v2/pods", {}),
    ("/v2/account/ssh-keys", {}),
    ("/v2/catalog/gpus", {}),
    ("/v2/catalog/gpus", {"include": "AVAILABILITY", "product": "POD"}),
    ("/v2/catalog/gpus/NVIDIA%20L4", {}),
    ("/v2/catalog/cpus", {"include": "AVAILABILITY", "product": "POD"}),
    ("/v2/catalog/cpus/cpu3c", {}),
    ("/v2/catalog/datacenters", {"include": "GPU_AVAILABILITY,CPU_AVAILABILITY"}),
    ("/v2/catalog/datacenters/EU-RO-1", {}),
    ("/v2/catalog/templates", {}),
    ("/v2/templates", {}),
    ("/v2/registries", {}),
    ("/v2/network-volumes", {}),
    ("/v2/billing", {}),
    ("/v2/billing/pods", {"bucketSize": "hour", "lastN": "2"}),
    ("/v2/billing/network-volumes", {}),
]


@needs_openapi
def test_every_good_reply_is_as_published() -> None:
    with market(seed=2, pull=0) as shop, runpod_client(shop) as api:
        api.post("/v2/templates", json={"name": "t", "image": "x"})
        api.post("/v2/registries", json={"name": "r", "username": "u", "password": "p"})
        api.post("/v2/network-volumes", json={"name": "v", "size": 10, "dataCenter": "EU-RO-1"})
        number = rent_pod(api, mounts={"persistent": {"size": 10, "path": "/workspace"}})
        rent_pod(api, gpu=None, cpu={"id": "cpu3c", "vcpuCount": 2})
        until_up(api, number)
        for path, query in [*GETS, (f"/v2/pods/{number}", {})]:
            reply = api.get(path, params=query)
            assert reply.status_code == 200, path
        refused = api.post("/v2/pods", json={})
    problem = published.validator("/components/schemas/ErrorResponse")
    assert problem.is_valid(refused.json())


@needs_openapi
def test_a_reply_that_is_not_as_published_is_found() -> None:
    assert published.faults("GET", "/v2/pods", 200, {"pods": [{"id": 1}]})
    assert published.faults("GET", "/v2/pods", 202, {"pods": []})
    assert published.faults("GET", "/v2/nothing", 200, {})
    assert published.faults("GET", "/v2/pods", 200, {"pods": []}) == []


@needs_schema
def test_the_sandboxs_schema_promises_nothing_that_the_published_one_does_not() -> None:
    theirs = published.published_schema().type_map
    own = {name: one for name, one in SCHEMA.type_map.items() if not name.startswith("__")}
    for name, one in own.items():
        if isinstance(one, GraphQLScalarType):
            assert name in {*specified_scalar_types, "DateTime"}
        elif isinstance(one, GraphQLEnumType):
            assert one.values.keys() == getattr(theirs[name], "values", {}).keys(), name
        else:
            assert isinstance(one, (GraphQLObjectType, GraphQLInputObjectType))
            told = {field: str(value.type) for field, value in getattr(theirs[name], "fields", {}).items()}
            assert {field: str(value.type) for field, value in one.fields.items()}.items() <= told.items(), name


@needs_schema
def test_what_the_sandbox_takes_is_all_that_can_be_asked_for() -> None:
    theirs = published.published_schema().type_map
    for name, one in SCHEMA.type_map.items():
        if isinstance(one, GraphQLInputObjectType):
            assert one.fields.keys() == getattr(theirs[name], "fields", {}).keys(), name


_DOCUMENTS = sorted(
    name
    for name, value in vars(queries).items()
    if isinstance(value, str) and re.match(r"\s*(\{|query|mutation)", value)
)


@needs_schema
@pytest.mark.parametrize("name", _DOCUMENTS)
def test_the_documents_of_the_tests_are_valid_by_both_schemas(name: str) -> None:
    document = parse(vars(queries)[name])
    assert validate(published.published_schema(), document) == []
    assert validate(SCHEMA, document) == []


def test_there_are_documents_to_compare() -> None:
    assert len(_DOCUMENTS) >= 6
