"""The habits of the real service that a client trips over, over real HTTP."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from sandbox_kit import RunningMarket, market, offers, order, rent, show, until_state, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGDrLkzXBNwG3Jk4iDFUfO7e2Pzb1zrKsnSAw2z5bRnD someone"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with market(seed=5, pull=0, speed=10) as one:
        yield one


@pytest.fixture
def shop(running: RunningMarket) -> RunningMarket:
    running.reset()
    return running


@pytest.fixture
def api(shop: RunningMarket) -> Iterator[httpx.Client]:
    with shop.client() as client:
        yield client


def test_the_old_list_is_dead_and_names_the_new_one(api: httpx.Client) -> None:
    reply = api.get("/api/v0/instances/", params={"owner": "me"})
    assert reply.status_code == 410
    assert reply.json() == {
        "success": False,
        "error": "deprecated_endpoint",
        "msg": "/api/v0/instances/ is deprecated. Use /api/v1/instances/ instead.",
    }


def test_a_missing_instance_is_shown_as_null_and_deleted_as_404(api: httpx.Client) -> None:
    shown = api.get("/api/v0/instances/999/", params={"owner": "me"})
    assert (shown.status_code, shown.json()) == (200, {"instances": None})
    deleted = api.delete("/api/v0/instances/999/")
    assert (deleted.status_code, deleted.json()["error"]) == (404, "no_such_instance")


def test_a_taken_offer_is_a_400_with_the_services_own_words(api: httpx.Client) -> None:
    ask = offers(api)[0]["id"]
    assert api.put(f"/api/v0/asks/{ask}/", json=order()).status_code == 200
    again = api.put(f"/api/v0/asks/{ask}/", json=order())
    assert again.status_code == 400
    assert again.json() == {
        "success": False,
        "error": "invalid_args",
        "msg": f"error 404/3603: no_such_ask  Instance type by id {ask} is not available.",
        "ask_id": ask,
    }


def test_a_bid_that_is_too_low_makes_a_stopped_instance_that_bills_its_disk(
    shop: RunningMarket, api: httpx.Client
) -> None:
    offer = offers(api, type="bid")[0]
    assert offer["is_bid"] is True
    low = order(price=offer["min_bid"] / 2, cancel_unavail=False)
    reply = api.put(f"/api/v0/asks/{offer['id']}/", json=low).json()
    assert reply["success"] is False
    row = show(api, reply["new_contract"])
    assert (row["cur_state"], row["intended_status"], row["next_state"]) == ("stopped",) * 3
    assert shop.meter()["billing_now"] == 1


def test_cancel_unavail_makes_no_instance_where_it_could_not_start(shop: RunningMarket, api: httpx.Client) -> None:
    offer = offers(api, type="bid")[0]
    low = order(price=offer["min_bid"] / 2, cancel_unavail=True)
    reply = api.put(f"/api/v0/asks/{offer['id']}/", json=low)
    assert reply.status_code == 410
    assert "no_such_ask" in reply.text
    assert shop.meter()["instances"] == []


def test_without_credit_nothing_is_rented(shop: RunningMarket, api: httpx.Client) -> None:
    shop.action("credit", amount=0)
    reply = api.put(f"/api/v0/asks/{offers(api)[0]['id']}/", json=order())
    assert (reply.status_code, reply.json()["error"]) == (400, "insufficient_credit")
    assert reply.json()["msg"] == "Your account lacks credit; see the billing page."
    assert api.get("/api/v0/users/current").json()["credit"] == 0


def test_a_bad_key_is_a_404_not_a_401(shop: RunningMarket) -> None:
    with shop.client("wrong") as stranger:
        reply = stranger.get("/api/v0/users/current/")
    assert reply.status_code == 404
    assert reply.json() == {"success": False, "error": "auth_error", "msg": "Invalid user key"}


def test_a_start_is_queued_while_somebody_else_has_the_gpu_and_comes_through_later(api: httpx.Client) -> None:
    offer = offers(api)[0]
    first = api.put(f"/api/v0/asks/{offer['id']}/", json=order()).json()["new_contract"]
    until_state(api, first, "running")
    assert api.put(f"/api/v0/instances/{first}/", json={"state": "stopped"}).json() == {"success": True}
    until_state(api, first, "exited")
    again = next(row for row in offers(api) if row["machine_id"] == offer["machine_id"])
    assert again["id"] != offer["id"]
    second = api.put(f"/api/v0/asks/{again['id']}/", json=order()).json()["new_contract"]
    reply = api.put(f"/api/v0/instances/{first}/", json={"state": "running"})
    assert (reply.status_code, reply.json()["success"]) == (200, False)
    assert reply.json()["msg"] == "Required resources are currently unavailable, state change queued."
    row = show(api, first)
    assert (row["actual_status"], row["cur_state"], row["intended_status"]) == ("exited", "stopped", "running")
    api.delete(f"/api/v0/instances/{second}/")
    until_state(api, first, "running")


def test_a_search_never_gives_more_than_64_offers(api: httpx.Client) -> None:
    assert len(api.post("/api/v0/bundles/", json={"limit": 10_000}).json()["offers"]) == 64


def test_offer_ids_do_not_last_but_machine_ids_do(shop: RunningMarket, api: httpx.Client) -> None:
    before = {row["machine_id"]: row["id"] for row in offers(api)}
    shop.action("advance", seconds=300)
    after = {row["machine_id"]: row["id"] for row in offers(api)}
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


def test_an_offer_is_found_by_its_contract_id_and_never_by_its_id(api: httpx.Client) -> None:
    offer = offers(api)[0]
    assert offer["id"] == offer["ask_contract_id"]
    assert offers(api, id={"eq": offer["id"]}) == []
    found = offers(api, ask_contract_id={"eq": offer["id"]})
    assert [row["machine_id"] for row in found] == [offer["machine_id"]]


def test_some_names_can_be_filtered_on_though_no_offer_has_them(api: httpx.Client) -> None:
    found = offers(api, datacenter={"eq": True})
    assert found
    assert all(row["hosting_type"] == 1 and row["verification"] == "verified" for row in found)
    assert not {"datacenter", "verified"} & set(found[0])


def test_the_price_of_an_offer_contains_the_disk_that_was_asked_for(api: httpx.Client) -> None:
    row = offers(api, allocated_storage=100)[0]
    assert row["dph_total"] == pytest.approx(row["dph_base"] + row["storage_cost"] * 100 / 720)
    assert row["search"]["totalHour"] == row["dph_total"]


def test_a_search_needs_no_key_and_exists_in_two_forms(shop: RunningMarket, api: httpx.Client) -> None:
    with shop.client("") as stranger:
        body = {"gpu_name": {"eq": "RTX 3090"}}
        plain = stranger.post("/api/v0/bundles", json=body).json()
    other = api.put("/api/v0/search/asks/", json={"select_cols": ["*"], "q": body}).json()
    assert [row["id"] for row in plain["offers"]] == [row["id"] for row in other["offers"]]
    assert plain["offers"]


def test_json_is_announced_without_a_charset_since_the_vendors_command_refuses_any_other(api: httpx.Client) -> None:
    replies = [api.post("/api/v0/bundles/", json={"limit": 1}), api.delete("/api/v0/instances/999/")]
    assert [reply.headers["Content-Type"] for reply in replies] == ["application/json"] * 2


def test_a_search_that_is_not_in_the_language_is_a_400(api: httpx.Client) -> None:
    bodies: list[object] = [{"gpu_name": "RTX 4090"}, {"allocated_storage": "much"}, [1], {"q": {"x": {"is": 1}}}]
    replies = [api.post("/api/v0/bundles/", json=body) for body in bodies]
    replies.append(api.post("/api/v0/bundles/", content=b"{"))
    assert {reply.status_code for reply in replies} == {400}


def test_the_shelf_has_offers_that_a_careful_client_avoids(api: httpx.Client) -> None:
    cheapest = offers(api, verified={"in": [True, False]})[0]
    assert (cheapest["verification"], cheapest["reliability"] < 0.7) == ("deverified", True)
    assert offers(api, gpu_name={"eq": "RTX 3090"})[0]["direct_port_count"] == 0


def test_addresses_have_white_space_and_every_row_has_a_start_date_and_environment(api: httpx.Client) -> None:
    number = rent(api)
    row = show(api, number)
    assert row["public_ipaddr"] == "127.0.0.1 \n"
    assert abs(row["start_date"] - time.time()) < 60
    assert row["duration"] > 10**8
    assert row["extra_env"] == []
    assert row["ports"] is None or "22/tcp" in row["ports"]


def test_an_environment_object_arrives_and_a_string_silently_does_not(api: httpx.Client) -> None:
    told = rent(api, env={"GREETING": "hello", "-p 8000:8000": "1"}, onstart="echo ${GREETING:-nothing}.")
    untold = rent(api, env="-e GREETING=hello", onstart="echo ${GREETING:-nothing}.")
    assert ["GREETING", "hello"] in show(api, told)["extra_env"]
    wait_until(lambda: "hello." in _log(api, told))
    wait_until(lambda: "nothing." in _log(api, untold))


def _log(api: httpx.Client, number: int, **body: str) -> str:
    reply = api.put(f"/api/v0/instances/request_logs/{number}/", json=body).json()
    assert api.get(reply["result_url"]).status_code == 404
    text = api.get(reply["result_url"], headers={"Authorization": ""})
    assert text.status_code == 200
    return text.text


def test_logs_are_fetched_without_a_key_from_a_url_that_is_empty_at_first(api: httpx.Client) -> None:
    number = rent(api, onstart="echo one; echo two; echo three")
    wait_until(lambda: "three" in _log(api, number))
    assert _log(api, number, tail="1") == "three\n"
    assert _log(api, number, filter="two") == "two\n"


def test_the_list_pages_at_25_with_a_token_that_can_be_read(api: httpx.Client) -> None:
    made = [rent(api, target_state="stopped", label=f"n{index}") for index in range(27)]
    first = api.get("/api/v1/instances/", params={"limit": 1000}).json()
    assert [row["id"] for row in first["instances"]] == made[:25]
    assert json.loads(base64.b64decode(first["next_token"])) == {"values": {"id": made[24]}}
    rest = api.get("/api/v1/instances/", params={"after_token": first["next_token"]}).json()
    assert ([row["id"] for row in rest["instances"]], rest["next_token"]) == (made[25:], None)
    assert (rest["instances_found"], rest["total_instances"]) == (27, 27)
    assert len(api.get("/api/v1/instances/", params={"limit": 0}).json()["instances"]) == 5
    filters = {"select_filters": json.dumps({"label": {"eq": "n3"}})}
    found = api.get("/api/v1/instances/", params=filters).json()
    assert [row["id"] for row in found["instances"]] == [made[3]]


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"select_filters": '{"dph_total": {"lt": 1}}'}, "invalid_request"),
        ({"select_filters": "no json"}, "invalid_request"),
        ({"after_token": "nonsense"}, "invalid_token"),
    ],
)
def test_the_list_refuses_what_it_cannot_search(api: httpx.Client, parameters: dict[str, str], error: str) -> None:
    reply = api.get("/api/v1/instances/", params=parameters)
    assert (reply.status_code, reply.json()["error"]) == (400, error)


def test_an_instances_key_may_look_at_stop_and_destroy_itself_and_nothing_else(
    shop: RunningMarket, api: httpx.Client
) -> None:
    ask = offers(api)[0]["id"]
    reply = api.put(f"/api/v0/asks/{ask}/", json=order()).json()
    own, other = reply["new_contract"], rent(api)
    with shop.client(reply["instance_api_key"]) as scoped:
        assert scoped.get(f"/api/v0/instances/{own}/").json()["instances"]["id"] == own
        refused = [
            scoped.get("/api/v1/instances/"),
            scoped.get("/api/v0/users/current/"),
            scoped.get(f"/api/v0/instances/{other}/"),
            scoped.put(f"/api/v0/instances/{own}/", json={"label": "x"}),
            scoped.put(f"/api/v0/instances/request_logs/{own}/", json={}),
            scoped.delete(f"/api/v0/instances/{other}/"),
        ]
        assert {reply.status_code for reply in refused} == {403}
        assert scoped.put(f"/api/v0/instances/{own}/", json={"state": "stopped"}).json() == {"success": True}
        assert scoped.delete(f"/api/v0/instances/{own}/").json() == {"success": True}
        assert scoped.get(f"/api/v0/instances/{own}/").json()["error"] == "auth_error"
    assert [row["state"] == "destroyed" for row in shop.meter()["instances"]] == [True, False]


def test_account_keys_are_a_404_until_there_is_one(api: httpx.Client) -> None:
    assert api.get("/api/v0/ssh/").status_code == 404
    made = api.post("/api/v0/ssh/", json={"ssh_key": KEY}).json()["key"]
    assert [row["public_key"] for row in api.get("/api/v0/ssh/").json()] == [KEY]
    number = rent(api)
    assert json.loads(api.get(f"/api/v0/instances/{number}/ssh/").json()["ssh_keys"])[0]["public_key"] == KEY
    assert api.delete(f"/api/v0/ssh/{made['id']}/").json() == {"success": True}
    assert api.post("/api/v0/ssh/", json={"ssh_key": "garbage"}).status_code == 400


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"onstart": "x" * 4049}, "invalid_args"),
        ({"label": "x" * 257}, "label_too_long"),
        ({"disk": 7}, "invalid_args"),
        ({"price": 200}, "invalid_price"),
        ({"env": {"A": "x" * 257}}, "invalid_args"),
        ({"image": None}, "invalid_args"),
    ],
)
def test_orders_over_the_services_limits_are_refused(api: httpx.Client, changes: dict[str, Any], error: str) -> None:
    reply = api.put(f"/api/v0/asks/{offers(api)[0]['id']}/", json=order(**changes))
    assert (reply.status_code, reply.json()["error"]) == (400, error)


def test_only_ls_rm_and_du_can_be_executed_and_only_on_the_instances_disk(api: httpx.Client) -> None:
    number = rent(api, onstart="echo hi > /tmp/x")
    until_state(api, number, "running")
    reply = api.put(f"/api/v0/instances/command/{number}/", json={"command": "ls /"}).json()
    wait_until(lambda: api.get(reply["result_url"]).status_code == 200)
    assert "root" in api.get(reply["result_url"]).text.split()
    assert api.put(f"/api/v0/instances/command/{number}/", json={"command": "cat /x"}).status_code == 400
    out = api.put(f"/api/v0/instances/command/{number}/", json={"command": "ls /../.."}).json()
    wait_until(lambda: api.get(out["result_url"]).status_code == 200)
    assert "cannot access" in api.get(out["result_url"]).text
