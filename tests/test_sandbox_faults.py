"""Every fault that can be queued does what its description says, once, and is then gone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from sandbox_kit import RunningMarket, market, offers, order, rent, show, until_state, wait_until

from gpuplug.sandbox.faults import MARKET, WIRE, FaultError, FaultQueue

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "/api/v0/users/current/"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with market(seed=8, pull=0, speed=10) as one:
        yield one


@pytest.fixture
def shop(running: RunningMarket) -> RunningMarket:
    running.reset()
    return running


@pytest.fixture
def api(shop: RunningMarket) -> Iterator[httpx.Client]:
    with shop.client() as client:
        yield client


def _ids(shop: RunningMarket) -> list[int]:
    return [row["id"] for row in shop.meter()["instances"]]


def _create(api: httpx.Client, **changes: object) -> httpx.Response:
    return api.put(f"/api/v0/asks/{offers(api)[0]['id']}/", json=order(**changes))


def test_a_fault_strikes_at_its_nth_passing_and_no_more_than_its_times() -> None:
    queue = FaultQueue()
    queue.add({"fault": "status", "point": "list", "nth": 2, "times": 2})
    struck = [queue.take("list", "status") is not None for _ in range(5)]
    assert struck == [False, True, True, False, False]
    assert (queue.waiting, len(queue.fired)) == ([], 2)


def test_a_fault_without_end_strikes_for_ever_and_only_at_its_own_point_and_instance() -> None:
    queue = FaultQueue()
    queue.add({"fault": "status", "point": "destroy", "times": None, "instance": 5})
    assert queue.take("list", "status", 5) is None
    assert queue.take("destroy", "status", 6) is None
    assert all(queue.take("destroy", "status", 5) for _ in range(9))


@pytest.mark.parametrize(
    "body",
    [
        {"fault": "no such"},
        {"fault": "taken", "point": "list"},
        {"fault": "html", "nth": 0},
        {"fault": "html", "times": 0},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(FaultError):
        FaultQueue().add(body)


@pytest.mark.parametrize("name", [*WIRE, *MARKET])
def test_every_fault_can_be_queued_by_its_name(shop: RunningMarket, name: str) -> None:
    shop.fault(name)
    assert [row["fault"] for row in shop.control()["faults"]] == [name]


def test_taken_refuses_and_takes_the_offer_off_the_shelf(shop: RunningMarket, api: httpx.Client) -> None:
    before = offers(api)[0]["machine_id"]
    shop.fault("taken")
    reply = _create(api)
    assert (reply.status_code, "no_such_ask" in reply.text, _ids(shop)) == (400, True, [])
    assert before not in {row["machine_id"] for row in offers(api)}


def test_not_started_says_no_and_yet_makes_an_instance(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("not_started")
    reply = _create(api, cancel_unavail=False).json()
    assert (reply["success"], [reply["new_contract"]]) == (False, _ids(shop))
    assert show(api, reply["new_contract"])["cur_state"] == "stopped"
    assert shop.meter()["billing_now"] == 1


def test_no_credit_makes_nothing(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("insufficient_credit")
    assert _create(api).json()["error"] == "insufficient_credit"
    assert _ids(shop) == []


def test_a_price_change_reaches_the_bill_and_not_the_search(shop: RunningMarket, api: httpx.Client) -> None:
    price = offers(api)[0]["dph_base"]
    shop.fault("price_change", factor=3)
    assert show(api, rent(api))["dph_base"] == pytest.approx(3 * price)


def test_a_new_instance_may_be_absent_from_the_list_for_a_while(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("list_lag", seconds=100)
    number = rent(api)
    assert api.get("/api/v1/instances/").json()["instances"] == []
    assert api.get(f"/api/v0/instances/{number}/").json() == {"instances": None}
    assert shop.meter()["billing_now"] == 1
    shop.action("advance", seconds=100)
    assert show(api, number)["id"] == number


def test_a_host_that_fails_says_so_in_dockers_words(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("host_failure")
    row = until_state(api, rent(api), "created")
    assert "OCI runtime create failed" in row["status_msg"]
    assert (row["cur_state"], row["intended_status"]) == ("stopped", "stopped")


def test_a_start_race_is_cured_by_a_second_start(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("start_race")
    number = rent(api)
    wait_until(lambda: show(api, number)["cur_state"] == "stopped")
    row = show(api, number)
    assert (row["actual_status"], row["status_msg"]) == ("loading", "")
    assert api.put(f"/api/v0/instances/{number}/", json={"state": "running"}).json()["success"] is True
    until_state(api, number, "running")


def test_a_queued_start_comes_through_later(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent(api, target_state="stopped")
    shop.fault("queued", seconds=60)
    reply = api.put(f"/api/v0/instances/{number}/", json={"state": "running"}).json()
    assert "state change queued" in reply["msg"]
    assert show(api, number)["cur_state"] == "stopped"
    shop.action("advance", seconds=60)
    until_state(api, number, "running")


def test_without_sshd_or_direct_ports_the_instance_runs_all_the_same(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("no_sshd")
    shop.fault("no_direct_ports")
    row = until_state(api, rent(api), "running")
    assert (row["ports"], row["direct_port_start"]) == ({}, -1)
    assert row["ssh_port"] > 0


def test_outbid_and_offline_come_at_their_time(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("outbid_after", seconds=0.1)
    shop.fault("offline_after", nth=2, seconds=0.1)
    until_state(api, rent(api), "exited")
    until_state(api, rent(api), "offline")


def test_a_lying_destroy_says_yes_and_leaves_it_running(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent(api)
    shop.fault("lying_destroy", times=2)
    answers = [api.delete(f"/api/v0/instances/{number}/").json() for _ in range(2)]
    assert answers == [{"success": True}] * 2
    assert (show(api, number)["id"], shop.meter()["billing_now"]) == (number, 1)
    api.delete(f"/api/v0/instances/{number}/")
    assert shop.meter()["billing_now"] == 0


def test_a_create_that_loses_its_reply_has_made_an_instance_and_a_repetition_finds_the_offer_gone(
    shop: RunningMarket, api: httpx.Client
) -> None:
    ask = offers(api)[0]["id"]
    shop.fault("drop_after", point="create")
    with pytest.raises(httpx.RemoteProtocolError):
        api.put(f"/api/v0/asks/{ask}/", json=order())
    assert len(_ids(shop)) == 1
    assert "no_such_ask" in api.put(f"/api/v0/asks/{ask}/", json=order()).text


def test_a_create_that_is_lost_on_the_way_has_made_nothing(shop: RunningMarket, api: httpx.Client) -> None:
    ask = offers(api)[0]["id"]
    shop.fault("drop_before", point="create")
    with pytest.raises(httpx.RemoteProtocolError):
        api.put(f"/api/v0/asks/{ask}/", json=order())
    assert _ids(shop) == []


def test_a_create_can_fail_after_it_was_done(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("error_after", point="create", code=502)
    assert _create(api).status_code == 502
    assert shop.meter()["billing_now"] == 1


def test_a_destroy_that_loses_its_reply_is_done(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent(api)
    shop.fault("drop_after", point="destroy")
    with pytest.raises(httpx.RemoteProtocolError):
        api.delete(f"/api/v0/instances/{number}/")
    assert api.delete(f"/api/v0/instances/{number}/").status_code == 404


def test_a_cut_reply_is_done_and_is_no_json(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("truncate", point="create")
    reply = _create(api)
    assert reply.status_code == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        reply.json()
    assert len(_ids(shop)) == 1


def test_refusals_come_in_all_the_services_forms(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("rate_limit", point="user", retry_after=7)
    shop.fault("quota", point="user", nth=2)
    shop.fault("html", point="user", nth=3)
    shop.fault("status", point="user", nth=4, code=503, body="busy")
    limited, quota, page, busy, fine = (api.get(USER) for _ in range(5))
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "7")
    assert limited.text.startswith("API requests too frequent")
    assert (quota.json()["error"], "X-RateLimit-Reset" in quota.headers) == ("search_quota_exceeded", True)
    assert (page.status_code, page.text[:9]) == (200, "<!DOCTYPE")
    assert (busy.status_code, busy.text, fine.status_code) == (503, "busy", 200)
    assert len(shop.control()["fired"]) == 4


def test_a_redirect_leads_to_another_host(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("redirect", point="user")
    reply = api.get(USER)
    assert reply.status_code == 307
    assert reply.headers["Location"].startswith("http://localhost:")
    assert reply.headers["Location"].endswith(USER)


def test_delay_and_drip_make_the_client_wait(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("delay", point="user", seconds=0.2)
    shop.fault("drip", point="list_v0", every=0.002)
    before = time.monotonic()
    assert api.get(USER).status_code == 200
    assert time.monotonic() - before >= 0.2
    slow = api.get("/api/v0/instances/")
    assert slow.json()["error"] == "deprecated_endpoint"
    assert time.monotonic() - before >= 0.2 + 0.002 * len(slow.content)


def test_a_revoked_account_key_leaves_the_instances_own_key_alive(shop: RunningMarket, api: httpx.Client) -> None:
    reply = _create(api).json()
    shop.action("revoke_key")
    assert api.get(USER).json()["error"] == "auth_error"
    with shop.client(reply["instance_api_key"]) as own:
        assert own.delete(f"/api/v0/instances/{reply['new_contract']}/").json()["success"] is True
    shop.action("restore_key")
    assert api.get(USER).status_code == 200


def test_a_container_that_nothing_gets_out_of_is_not_heard_and_runs_on_until_it_is(
    shop: RunningMarket, api: httpx.Client
) -> None:
    reply = _create(api).json()
    number = reply["new_contract"]
    shop.action("block_egress", instance=number)
    with shop.client(reply["instance_api_key"]) as own:
        with pytest.raises(httpx.RemoteProtocolError):
            own.delete(f"/api/v0/instances/{number}/")
        assert show(api, number)["id"] == number
        shop.action("block_egress", instance=number, on=False)
        assert own.delete(f"/api/v0/instances/{number}/").json()["success"] is True


def test_the_request_log_tells_points_and_kinds_of_keys_but_no_key(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent(api)
    api.put(f"/api/v0/instances/{number}/", json={"state": "stopped"})
    with shop.client("wrong") as stranger:
        stranger.get(USER)
    rows = shop.requests()
    assert [(row["point"], row["key"], row["status"]) for row in rows] == [
        ("search", "none", 200),
        ("create", "account", 200),
        ("stop", "account", 200),
        ("user", "bad", 404),
    ]
    assert shop.vast_api_key not in str(rows)


def test_a_changed_price_is_seen_by_the_next_search(shop: RunningMarket, api: httpx.Client) -> None:
    machine = offers(api)[0]["machine_id"]
    assert shop.action("set_price", price=9.5, machine_id=machine)["changed"] == 1
    assert next(row for row in offers(api) if row["machine_id"] == machine)["dph_base"] == 9.5


@pytest.mark.parametrize(
    "body", [{"action": "no such"}, {"action": "outbid"}, {"fault": "wrong_gpu", "gpu": "RTX 9999"}, {}]
)
def test_the_control_endpoint_refuses_what_it_does_not_know(shop: RunningMarket, body: dict[str, Any]) -> None:
    reply = httpx.post(shop.control_url, json=body)
    assert (reply.status_code, reply.json()["ok"]) == (400, False)
