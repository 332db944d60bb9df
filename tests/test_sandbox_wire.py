"""Every request that the vendor's unmodified client was seen to send gets a sane answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sandbox_kit import market, offers, order, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

WIRE = Path(__file__).parent / "data" / "vast-sdk-1.9.1-wire.jsonl"
REQUESTS = [json.loads(line) for line in WIRE.read_text().splitlines()]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGDrLkzXBNwG3Jk4iDFUfO7e2Pzb1zrKsnSAw2z5bRnD someone"


@pytest.fixture(scope="module")
def api() -> Iterator[httpx.Client]:
    with market(seed=2, pull=0) as shop, shop.client() as client:
        client.post("/api/v0/ssh/", json={"ssh_key": KEY})
        yield client


def _create(api: httpx.Client) -> dict[str, Any]:
    reply = api.put(f"/api/v0/asks/{offers(api)[0]['id']}/", json=order())
    assert reply.status_code == 200
    answer: dict[str, Any] = reply.json()
    return answer


def _path(api: httpx.Client, recorded: dict[str, Any]) -> str:
    """Put an offer, instance or result of this market in place of the recorded one."""
    path: str = recorded["path"]
    if "/asks/" in path:
        price = json.loads(recorded["body"])["price"]
        cheap = {} if price is None else {"gpu_name": {"neq": ""}, "min_bid": {"lte": price}}
        free = offers(api, **cheap)
        return f"/api/v0/asks/{free[0]['id']}/"
    if path.startswith("/res/"):
        number = _create(api)["new_contract"]
        reply = api.put(f"/api/v0/instances/request_logs/{number}/", json={})
        wait_until(lambda: api.get(reply.json()["result_url"]).status_code == 200)
        return str(reply.json()["result_url"]).removeprefix(str(api.base_url).rstrip("/"))
    return path


def _bid_instance(api: httpx.Client) -> int:
    offer = offers(api, type="bid")[0]
    reply = api.put(f"/api/v0/asks/{offer['id']}/", json=order(price=offer["min_bid"]))
    return int(reply.json()["new_contract"])


@pytest.mark.parametrize("recorded", REQUESTS, ids=lambda row: f"{row['m']} {row['path']}")
def test_the_recorded_request_is_understood(api: httpx.Client, recorded: dict[str, Any]) -> None:
    path = _path(api, recorded)
    if "/7001/" in path:
        number = _bid_instance(api) if "bid_price" in path else _create(api)["new_contract"]
        path = path.replace("7001", str(number))
    body = recorded["body"].replace("ssh-ed25519 AAA", KEY)
    headers = {"User-Agent": recorded["ua"], "Content-Type": "application/json"}
    reply = api.request(recorded["m"], path, params=recorded["q"], content=body, headers=headers)
    assert reply.status_code == 200, reply.text
    if not path.startswith("/res/"):
        _judge(recorded, reply.json())
    if "/7001/" in recorded["path"] and recorded["m"] != "DELETE":
        api.delete(f"/api/v0/instances/{path.rstrip('/').split('/')[-1]}/")


def _judge(recorded: dict[str, Any], answer: Any) -> None:  # noqa: ANN401 - JSON
    method, path = recorded["m"], recorded["path"]
    if "bundles" in path or "volumes/search" in path:
        assert isinstance(answer["offers"], list)
        assert len(answer["offers"]) <= min(64, json.loads(recorded["body"]).get("limit", 64))
    elif "/asks/" in path:
        assert answer["success"] is True
        assert answer["new_contract"] > 0
        assert len(answer["instance_api_key"]) == 64
    elif method == "GET" and "/api/v0/instances/" in path:
        assert (answer["instances"] is None) == ("999" in path)
    elif method in {"PUT", "DELETE", "POST"}:
        assert answer["success"] is True


def test_the_recording_is_what_it_says_it_is() -> None:
    agents = {row["ua"].split("/")[0] for row in REQUESTS}
    assert agents == {"vastai-cli", "vastai-sdk", "python-requests", "python-httpx"}
    assert len(REQUESTS) == 78
