"""What can go wrong in RunPod's dialect, each by the one queue of faults; and the logs that a client reads meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from runpod_kit import (
    GPU,
    Login,
    act,
    log_events,
    log_until,
    pod_order,
    rent_pod,
    runpod_client,
    show_pod,
    until_pod,
    until_up,
)
from sandbox_kit import RunningMarket, market

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with market(seed=8, pull=0) as one:
        yield one


@pytest.fixture
def shop(running: RunningMarket) -> RunningMarket:
    running.reset()
    return running


@pytest.fixture
def api(shop: RunningMarket) -> Iterator[httpx.Client]:
    with runpod_client(shop, judged=False) as client:
        yield client


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Login:
    return Login.make(tmp_path_factory.mktemp("key"))


def _create(api: httpx.Client, **changes: object) -> httpx.Response:
    return api.post("/v2/pods", json=pod_order(**changes))


def _listed(api: httpx.Client) -> list[str]:
    return [row["id"] for row in api.get("/v2/pods").json()["pods"]]


# 9: too many requests


def test_every_answer_tells_three_windows_and_a_429_when_to_come_again(shop: RunningMarket, api: httpx.Client) -> None:
    assert "RateLimit" not in api.get("/v2/pods").headers  # who has no limit is told of none
    shop.action("strict")
    fine = api.get("/v2/pods")
    assert fine.headers["RateLimit-Policy"] == '"minute";q=60;w=60, "hour";q=3000;w=3600, "day";q=50000;w=86400'
    assert [part.split(";")[0] for part in fine.headers["RateLimit"].split(", ")] == ['"minute"', '"hour"', '"day"']
    shop.fault("rate_limit", point="pod_create", retry_after=7)
    limited = _create(api)
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "7")
    assert limited.headers["RateLimit"].startswith('"minute";r=0;t=7, "hour"')
    assert (limited.headers["Content-Type"], limited.json()["status"]) == ("application/problem+json", 429)
    assert _listed(api) == []


def test_strict_limits_refuse_the_61st_call_of_a_minute(shop: RunningMarket, api: httpx.Client) -> None:
    shop.action("strict")
    replies = [api.get("/v2/account/ssh-keys") for _ in range(61)]
    assert [reply.status_code for reply in replies] == [200] * 60 + [429]
    assert 0 < int(replies[-1].headers["Retry-After"]) <= 60
    shop.action("advance", seconds=60)
    assert api.get("/v2/pods").status_code == 200


# 10: lost replies


def test_a_create_that_loses_its_reply_has_made_a_pod(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("drop_after", point="pod_create")
    with pytest.raises(httpx.RemoteProtocolError):
        _create(api)
    assert (len(_listed(api)), shop.meter()["billing_now"]) == (1, 1)


def test_a_create_can_fail_after_it_was_done_and_be_lost_before(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("error_after", point="pod_create")
    assert _create(api).status_code == 500
    assert len(_listed(api)) == 1
    shop.fault("drop_before", point="pod_create")
    with pytest.raises(httpx.RemoteProtocolError):
        _create(api)
    assert len(_listed(api)) == 1


def test_a_delete_that_loses_its_reply_is_done(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent_pod(api)
    shop.fault("drop_after", point="pod_destroy")
    with pytest.raises(httpx.RemoteProtocolError):
        api.delete(f"/v2/pods/{number}")
    assert api.delete(f"/v2/pods/{number}").status_code == 404


def test_a_duplicate_bills_twice_and_answers_once(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("duplicate")
    made = rent_pod(api, name="one")
    rows = api.get("/v2/pods").json()["pods"]
    assert ([row["name"] for row in rows], made in {row["id"] for row in rows}) == (["one", "one"], True)
    assert shop.meter()["billing_now"] == 2


# refusals


def test_refusals_come_in_all_forms(shop: RunningMarket, api: httpx.Client) -> None:
    machine = "This machine does not have the resources to deploy your pod. Please try a different machine"
    shop.fault("capacity")
    shop.fault("capacity", nth=2, text=machine)
    first, second = _create(api), _create(api)
    assert first.json()["detail"].startswith("There are no longer any instances available")
    assert (second.status_code, second.json()["detail"]) == (400, machine)
    shop.fault("insufficient_credit")
    assert _create(api).status_code == 402
    for code in (413, 422, 503):
        shop.fault("status", point="pod_create", code=code, body="{}")
        assert _create(api).status_code == code
    assert (_listed(api), shop.meter()["instances"]) == ([], [])


def test_pages_of_html_and_broken_json_come_instead_of_an_answer(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("html", point="pod_list")
    shop.fault("cloudflare", point="pod_list", nth=2)
    page, banned = api.get("/v2/pods"), api.get("/v2/pods")
    assert (page.status_code, page.text[:9]) == (200, "<!DOCTYPE")
    assert (banned.status_code, "1010" in banned.text, banned.headers["Content-Type"][:9]) == (403, True, "text/html")
    shop.fault("truncate", point="pod_create")
    cut = _create(api)
    assert cut.status_code == 201
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        cut.json()
    assert len(_listed(api)) == 1


def test_an_answer_can_drip(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("drip", point="ssh_keys", every=0.002)
    assert api.get("/v2/account/ssh-keys").json() == {"keys": []}
    assert [row["fault"] for row in shop.control()["fired"]] == ["drip"]


# lies


def test_a_new_pod_may_be_absent_from_the_list_for_a_while(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("list_lag", seconds=100)
    number = rent_pod(api)
    assert (_listed(api), api.get(f"/v2/pods/{number}").status_code) == ([], 404)
    assert shop.meter()["billing_now"] == 1
    shop.action("advance", seconds=100)
    assert _listed(api) == [number]


def test_a_lying_delete_says_yes_and_the_pod_stays(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent_pod(api)
    shop.fault("lying_destroy", times=2)
    assert (api.delete(f"/v2/pods/{number}").status_code, act(api, number, "terminate").status_code) == (204, 204)
    assert (_listed(api), shop.meter()["billing_now"]) == ([number], 1)
    api.delete(f"/v2/pods/{number}")
    assert shop.meter()["billing_now"] == 0


def test_a_price_change_reaches_the_bill_and_not_the_catalogue(shop: RunningMarket, api: httpx.Client) -> None:
    listed = {row["id"]: row for row in api.get("/v2/catalog/gpus").json()["gpus"]}[GPU]["price"]["secure"]
    shop.fault("price_change", factor=3)
    assert show_pod(api, rent_pod(api))["cost"] == pytest.approx(3 * listed)
    shop.action("set_price", gpu=GPU, price=9.5)
    assert {row["id"]: row for row in api.get("/v2/catalog/gpus").json()["gpus"]}[GPU]["price"]["secure"] == 9.5


# machines


def test_a_pod_that_never_gets_ready_says_running_and_bills(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("stuck_loading")
    number = rent_pod(api)
    log_until(api, number, "Status: Downloaded newer image", source="system")
    row = show_pod(api, number)
    assert (row["status"], row["runtime"]) == ("RUNNING", None)
    assert shop.meter()["instances"][0]["rate_micros"] > row["cost"] * 1_000_000


def test_a_host_that_fails_is_an_error_that_ceases_to_bill_its_gpu(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("host_failure")
    number = rent_pod(api)
    row = until_pod(api, number, lambda one: one["status"] == "ERROR")
    assert row["actions"] == ["start", "terminate"]
    assert shop.meter()["billing_now"] == 0
    assert httpx.post(shop.control_url, json={"action": "preempt", "instance": number}).status_code == 409
    assert log_until(api, number, "OCI runtime create failed", source="system")


def test_a_machine_can_have_another_gpu_inside_or_none_after_a_start(
    shop: RunningMarket, api: httpx.Client, login: Login
) -> None:
    shop.fault("wrong_gpu", gpu="Tesla V100")
    wrong = until_up(api, rent_pod(api, env={"PUBLIC_KEY": login.public}))
    login.until_in(wrong)
    assert (wrong["gpu"]["id"], "V100" in login.ask(wrong, "nvidia-smi -L")) == (GPU, True)
    act(api, wrong["id"], "stop")
    shop.fault("zero_gpus")
    act(api, wrong["id"], "start")
    old = wrong["ssh"]["direct"]["port"]
    back = until_pod(api, wrong["id"], lambda row: row["ssh"]["direct"] and row["ssh"]["direct"]["port"] != old)
    login.until_in(back)
    assert login.ask(back, "nvidia-smi -L") == "No devices were found\n"


def test_a_start_may_find_the_host_full(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent_pod(api)
    act(api, number, "stop")
    shop.action("set_stock", gpu=GPU, free=0)
    full = act(api, number, "start")
    assert (full.status_code, "does not have the resources" in full.text) == (400, True)
    assert show_pod(api, number)["status"] == "EXITED"


def test_ways_in_can_be_missing_or_late(shop: RunningMarket, api: httpx.Client, login: Login) -> None:
    shop.fault("no_direct_ports")
    assert until_up(api, rent_pod(api))["ssh"]["direct"] is None
    shop.fault("no_sshd")
    deaf = until_up(api, rent_pod(api, env={"PUBLIC_KEY": login.public}))
    assert login.ask(deaf, "true") == "refused"
    shop.fault("auth_lag", seconds=600)
    late = until_up(api, rent_pod(api, env={"PUBLIC_KEY": login.public}))
    log_until(api, late["id"], "SSH host keys")
    assert login.ask(late, "true") == "refused"


def test_the_link_to_a_pod_can_be_cut_and_its_container_can_die(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent_pod(api, cmd=["sh", "-c", "echo started; sleep 1000"])
    until_up(api, number)
    log_until(api, number, "started")
    for action in ("ssh_cut", "ssh_black_hole", "ssh_refuse"):
        shop.action(action, instance=number, seconds=0.01)
    shop.action("die", instance=number)
    events = (event["line"] for event in log_events(api, number, source="container"))
    assert [next(events), next(events)] == ["started", "started"]


def test_a_revoked_account_key_leaves_a_pods_own_key_alive(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent_pod(api, cmd=["sh", "-c", "echo key=$RUNPOD_API_KEY; sleep 1000"])
    key = log_until(api, number, "key=")[-1]["line"].removeprefix("key=")
    shop.action("revoke_key")
    assert api.get("/v2/pods").status_code == 401
    with runpod_client(shop, key) as own:
        assert own.delete(f"/v2/pods/{number}").status_code == 204
    shop.action("restore_key")
    assert _listed(api) == []


def test_a_container_that_nothing_gets_out_of_is_not_heard(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent_pod(api, cmd=["sh", "-c", "echo key=$RUNPOD_API_KEY; sleep 1000"])
    key = log_until(api, number, "key=")[-1]["line"].removeprefix("key=")
    shop.action("block_egress", instance=number)
    with runpod_client(shop, key) as own, pytest.raises(httpx.RemoteProtocolError):
        own.delete(f"/v2/pods/{number}")
    assert _listed(api) == [number]


# the record


def test_the_request_log_tells_points_and_kinds_of_keys_but_no_key(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent_pod(api)
    act(api, number, "stop")
    api.post("/graphql", json={"query": "{ myself { id } }"})
    with runpod_client(shop, "rpa_WRONG") as stranger:
        stranger.get("/v2/pods")
    rows = shop.requests()
    assert [(row["point"], row["key"], row["status"]) for row in rows] == [
        ("pod_create", "account", 201),
        ("pod_stop", "account", 200),
        ("graphql", "account", 200),
        ("pod_list", "bad", 401),
    ]
    assert shop.runpod_api_key not in str(rows)


@pytest.mark.parametrize(
    "body",
    [{"action": "preempt"}, {"action": "preempt", "instance": "nothing"}, {"action": "ssh_cut", "instance": "nothing"}],
)
def test_the_control_endpoint_refuses_a_pod_that_is_not_there(shop: RunningMarket, body: dict[str, Any]) -> None:
    assert httpx.post(shop.control_url, json=body).status_code in {400, 404}


# logs


def test_a_log_is_read_by_source_from_its_end_from_a_time_and_from_where_one_was(
    shop: RunningMarket, api: httpx.Client
) -> None:
    number = rent_pod(api, cmd=["sh", "-c", "for n in 1 2 3; do echo line $n; done; sleep 1000"])
    everything = log_until(api, number, "line 3")
    assert [event["source"] for event in everything][:2] == ["system", "system"]
    own = log_until(api, number, "line 3", source="container")
    assert [event["line"] for event in own] == ["line 1", "line 2", "line 3"]
    assert [event["line"] for event in log_until(api, number, "line 3", tail=2, source="container")] == [
        "line 2",
        "line 3",
    ]
    assert log_until(api, number, "line 3", after=own[0]["id"])[0]["line"] == "line 2"
    assert log_until(api, number, "line 3", since=own[0]["ts"])[-1] == own[-1]
    assert own[0]["id"].startswith(own[0]["ts"])
    shop.action("advance", seconds=3600)
    log = api.get(f"/v2/pods/{number}/logs", params={"tail": "all"})
    assert log.status_code == 400
    assert api.get(f"/v2/pods/{number}/logs", params={"source": "both"}).status_code == 400
    assert api.get("/v2/pods/nothing/logs").status_code == 404


def test_a_log_ends_with_its_pod(api: httpx.Client) -> None:
    number = rent_pod(api, cmd=["sh", "-c", "echo here; sleep 1000"])
    seen = []
    for event in log_events(api, number, source="container"):
        seen.append(event["line"])
        api.delete(f"/v2/pods/{number}")
    assert seen == ["here"]


def test_pulling_is_seen_in_the_system_log_and_is_shorter_the_second_time() -> None:
    with market(seed=8, pull=10_000) as shop, runpod_client(shop) as api:
        number = rent_pod(api, dataCenterIds=["EU-RO-1"])
        assert log_until(api, number, "Pulling from runpod/pytorch", source="system")
        assert show_pod(api, number)["runtime"] is None
        shop.action("advance", seconds=10_000)
        first = log_until(api, number, "start container", source="system")
        assert sum("Pull complete" in event["line"] for event in first) == 4
        again = rent_pod(api, dataCenterIds=["EU-RO-1"])
        shop.action("advance", seconds=2_000)
        assert log_until(api, again, "start container", source="system")
