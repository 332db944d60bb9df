"""What bills when, what a state looks like from outside, and that machines really answer SSH."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest
from sandbox_kit import RunningMarket, market, offers, order, rent, show, until_state, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

HOUR = 3600


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with market(seed=6, pull=0) as one:
        yield one


@pytest.fixture
def shop(running: RunningMarket) -> RunningMarket:
    running.reset()
    return running


@pytest.fixture
def api(shop: RunningMarket) -> Iterator[httpx.Client]:
    with shop.client() as client:
        yield client


def _row(shop: RunningMarket) -> dict[str, Any]:
    row: dict[str, Any] = shop.meter()["instances"][0]
    return row


def test_an_hour_of_running_costs_what_the_offer_said(shop: RunningMarket, api: httpx.Client) -> None:
    price = offers(api)[0]["dph_total"]
    number = rent(api)
    assert until_state(api, number, "running")["dph_total"] == pytest.approx(price)
    before = _row(shop)["spend_micros"]
    shop.action("advance", seconds=HOUR)
    assert _row(shop)["spend_micros"] - before == pytest.approx(price * 1_000_000, abs=500)
    assert api.get("/api/v0/users/current/").json()["credit"] == pytest.approx(25 - price, abs=0.001)


def test_a_stopped_instance_bills_its_disk_and_only_that(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent(api, disk=100)
    row = until_state(api, number, "running")
    api.put(f"/api/v0/instances/{number}/", json={"state": "stopped"})
    stopped = until_state(api, number, "exited")
    assert (stopped["cur_state"], stopped["ports"], stopped["instance"]["gpuCostPerHour"]) == ("stopped", None, 0)
    disk = row["storage_cost"] * 100 / 720
    assert stopped["instance"]["totalHour"] == pytest.approx(disk)
    before = _row(shop)["spend_micros"]
    shop.action("advance", seconds=HOUR)
    assert _row(shop)["spend_micros"] - before == pytest.approx(disk * 1_000_000, abs=5)
    assert shop.meter()["billing_now"] == 1


def test_an_instance_that_never_leaves_loading_bills_its_disk_and_no_gpu(
    shop: RunningMarket, api: httpx.Client
) -> None:
    shop.fault("stuck_loading")
    number = rent(api)
    row = until_state(api, number, "loading")
    wait_until(lambda: show(api, number)["status_msg"])
    disk = round(row["storage_cost"] * 20 / 720 * 1_000_000)
    assert _row(shop)["rate_micros"] == disk
    assert row["ssh_port"] is None


def test_a_lost_host_bills_nothing_and_may_come_back(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent(api)
    port = int(until_state(api, number, "running")["ports"]["22/tcp"][0]["HostPort"])
    shop.action("offline", instance=number, seconds=1)
    assert show(api, number)["actual_status"] == "offline"
    assert shop.meter()["billing_now"] == 0
    until_state(api, number, "running")
    assert shop.meter()["billing_now"] == 1
    assert _banner(port).startswith("SSH-2.0")


def test_destroying_ends_the_bill_at_once_and_the_row_is_gone(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent(api)
    until_state(api, number, "running")
    assert api.delete(f"/api/v0/instances/{number}/").json()["success"] is True
    assert shop.meter()["billing_now"] == 0
    assert api.get("/api/v1/instances/").json()["instances"] == []
    spend = shop.meter()["spend_micros"]
    shop.action("advance", seconds=HOUR)
    assert shop.meter()["spend_micros"] == spend


def test_an_interruptible_instance_that_is_outbid_stops_until_it_bids_more(
    shop: RunningMarket, api: httpx.Client
) -> None:
    offer = offers(api, type="bid")[0]
    body = order(price=offer["min_bid"])
    number = api.put(f"/api/v0/asks/{offer['id']}/", json=body).json()["new_contract"]
    assert until_state(api, number, "running")["dph_base"] == pytest.approx(offer["min_bid"])
    shop.action("outbid", instance=number)
    row = until_state(api, number, "exited")
    assert (row["cur_state"], row["intended_status"], row["next_state"]) == ("stopped",) * 3
    assert row["min_bid"] > offer["min_bid"]
    assert api.put(f"/api/v0/instances/{number}/", json={"state": "running"}).json()["success"] is False
    api.put(f"/api/v0/instances/bid_price/{number}/", json={"client_id": "me", "price": row["min_bid"]})
    until_state(api, number, "running")
    assert _row(shop)["rate_micros"] > row["min_bid"] * 1_000_000


def test_a_restart_runs_the_start_command_again_on_the_same_disk(api: httpx.Client) -> None:
    number = rent(api, onstart="echo x >> /root/count; wc -l < /root/count")
    until_state(api, number, "running")
    wait_until(lambda: "1" in _log(api, number))
    api.put(f"/api/v0/instances/reboot/{number}/", json={})
    wait_until(lambda: "2" in _log(api, number))
    api.put(f"/api/v0/instances/recycle/{number}/", json={})
    wait_until(lambda: _log(api, number).split() == ["1"])


def _log(api: httpx.Client, number: int) -> str:
    url = api.put(f"/api/v0/instances/request_logs/{number}/", json={}).json()["result_url"]
    api.get(url)
    return api.get(url).text


def _banner(port: int) -> str:
    async def read() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await asyncio.wait_for(reader.readline(), 5)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return asyncio.run(read()).decode()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def test_direct_and_proxy_lead_to_a_machine_with_the_gpu_that_was_rented(api: httpx.Client, key: Path) -> None:
    api.post("/api/v0/ssh/", json={"ssh_key": key.with_suffix(".pub").read_text()})
    number = rent(api)
    row = until_state(api, number, "running")
    direct, proxy = int(row["ports"]["22/tcp"][0]["HostPort"]), row["ssh_port"]
    assert direct != proxy

    seen = [_ask(port, key) for port in (direct, proxy)]
    assert all("RTX 4090" in text for text in seen)
    assert all("[]" in text for text in seen)


def test_a_machine_can_have_another_gpu_inside_than_its_offer_said(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("wrong_gpu", gpu="Tesla V100")
    number = rent(api, onstart="nvidia-smi -L")
    assert show(api, number)["gpu_name"] == "RTX 4090"
    wait_until(lambda: "V100" in _log(api, number))


def test_a_machine_may_refuse_good_keys_for_a_while(shop: RunningMarket, api: httpx.Client, key: Path) -> None:
    shop.fault("auth_lag", seconds=600)
    api.post("/api/v0/ssh/", json={"ssh_key": key.with_suffix(".pub").read_text()})
    row = until_state(api, rent(api), "running")
    assert _ask(row["ssh_port"], key) == "refused"


def test_an_attached_key_is_let_in_though_the_account_has_none(api: httpx.Client, key: Path) -> None:
    number = rent(api)
    row = until_state(api, number, "running")
    assert _ask(row["ssh_port"], key) == "refused"
    api.post(f"/api/v0/instances/{number}/ssh/", json={"ssh_key": key.with_suffix(".pub").read_text()})
    assert "RTX 4090" in _ask(row["ssh_port"], key)


def _ask(port: int, key: Path) -> str:
    async def ask() -> str:
        options = {"username": "root", "client_keys": [str(key)], "known_hosts": None}
        async with asyncssh.connect("127.0.0.1", port, **options) as connection:
            reply = await connection.run("nvidia-smi -L; echo [$CONTAINER_API_KEY]", check=True)
            return str(reply.stdout)

    try:
        return asyncio.run(ask())
    except asyncssh.PermissionDenied:
        return "refused"


def test_the_first_process_has_the_instances_own_key_and_id(api: httpx.Client) -> None:
    ask = offers(api)[0]["id"]
    command = "echo $CONTAINER_ID $VAST_CONTAINERLABEL $CONTAINER_API_KEY"
    reply = api.put(f"/api/v0/asks/{ask}/", json=order(onstart=command)).json()
    number = reply["new_contract"]
    until_state(api, number, "running")
    wait_until(lambda: reply["instance_api_key"] in _log(api, number))
    assert f"{number} C.{number} " in _log(api, number)


def test_strict_pacing_refuses_a_second_call_within_its_threshold(shop: RunningMarket, api: httpx.Client) -> None:
    shop.action("strict")
    body = {"limit": 1}
    assert api.post("/api/v0/bundles/", json=body).status_code == 200
    again = api.post("/api/v0/bundles/", json=body)
    assert (again.status_code, again.text) == (429, "API requests too frequent: endpoint threshold=6.0")
    assert "Retry-After" not in again.headers
    shop.action("advance", seconds=6)
    assert api.post("/api/v0/bundles/", json=body).status_code == 200
