"""RunPod's pods over REST v2: closed bodies, states that say too much, real machines, and what bills."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from runpod_kit import GPU, Login, act, log_until, pod_order, rent_pod, runpod_client, show_pod, until_pod, until_up
from sandbox_kit import RunningMarket, market, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

HOUR = 3600
NO_CAPACITY = "There are no longer any instances available with the requested specifications."


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with market(seed=3, pull=0) as one:
        yield one


@pytest.fixture
def shop(running: RunningMarket) -> RunningMarket:
    running.reset()
    return running


@pytest.fixture
def api(shop: RunningMarket) -> Iterator[httpx.Client]:
    with runpod_client(shop) as client:
        yield client


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Login:
    return Login.make(tmp_path_factory.mktemp("key"))


def _row(shop: RunningMarket) -> dict[str, Any]:
    row: dict[str, Any] = shop.meter()["instances"][0]
    return row


# 1: one address for both APIs


def test_the_first_version_is_gone(api: httpx.Client) -> None:
    assert api.get("/v2/pods").json() == {"pods": []}
    for path in ("/v1/pods", "/v1/pods/x", "/v1/networkvolumes"):
        assert api.get(path).status_code == 410
    assert api.post("/v1/pods", json={}).status_code == 410


def test_unknown_paths_and_wrong_methods_are_problems(api: httpx.Client) -> None:
    unknown, wrong = api.get("/v2/networkvolumes"), api.put("/v2/pods", json={})
    assert (unknown.status_code, unknown.json()["status"]) == (404, 404)
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET, POST")
    assert wrong.headers["Content-Type"].startswith("application/problem+json")


# 2: closed bodies


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (pod_order(name=None), ["$: missing property 'name'"]),
        (pod_order(x=1), ["$: additional properties 'x' not allowed"]),
        (pod_order(image=None), ["$: missing property 'image'"]),
        (pod_order(disk="20"), ["$.disk: got string, want integer"]),
        (pod_order(disk=0), ["$.disk: minimum: got 0, want 1"]),
        (pod_order(gpu={"id": GPU, "count": 1, "type": "x"}), ["$.gpu: additional properties 'type' not allowed"]),
        (pod_order(cloud="ALL"), ["$.cloud: value must be one of 'SECURE', 'COMMUNITY'"]),
        (pod_order(mounts={"persistent": {"size": 20}}), ["$.mounts.persistent: missing property 'path'"]),
        (
            pod_order(mounts={"network": [{"volumeId": "a", "path": "/a"}] * 2}),
            ["$.mounts.network: maxItems: got 2, want 1"],
        ),
        ([], ["$: got array, want object"]),
    ],
)
def test_a_body_that_is_not_in_its_shape_is_a_422_that_says_where(
    api: httpx.Client, body: object, errors: list[str]
) -> None:
    reply = api.post("/v2/pods", json=body)
    assert (reply.status_code, reply.json()["errors"]) == (422, errors)


def test_an_action_that_does_not_exist_is_a_422_that_names_the_others(api: httpx.Client) -> None:
    reply = act(api, rent_pod(api), "pause")
    assert reply.json()["errors"] == ["$.action: value must be one of 'start', 'stop', 'restart', 'terminate'"]


def test_an_unknown_query_parameter_is_ignored(api: httpx.Client) -> None:
    number = rent_pod(api, name="one")
    found = api.get("/v2/pods", params={"name": "other", "desiredStatus": "EXITED"}).json()["pods"]
    assert [row["id"] for row in found] == [number]


@pytest.mark.parametrize(
    "changes",
    [
        {"cpu": {"id": "cpu3c", "vcpuCount": 2}},
        {"gpu": None},
        {"gpu": {"id": "NVIDIA RTX 9999", "count": 1}},
        {"ports": ["22"]},
        {"env": {f"A{number}": "x" for number in range(51)}},
        {"registry": "nobody"},
        {"args": "sleep 1", "cmd": ["sleep", "2"]},
        {"mounts": {"persistent": {"size": 20, "path": "workspace"}}},
        {"mounts": {"persistent": {"size": 20, "path": "/a"}, "network": [{"volumeId": "a", "path": "/a"}]}},
    ],
)
def test_a_body_that_breaks_a_rule_is_a_400(shop: RunningMarket, api: httpx.Client, changes: dict[str, Any]) -> None:
    reply = api.post("/v2/pods", json=pod_order(**changes))
    assert (reply.status_code, shop.meter()["instances"]) == (400, [])
    assert NO_CAPACITY not in reply.text


# 3: states


def test_a_new_pod_says_running_while_its_runtime_is_null(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("stuck_loading")
    made = api.post("/v2/pods", json=pod_order()).json()
    row = show_pod(api, made["id"])
    for one in (made, row):
        assert (one["status"], one["runtime"], one["ssh"]["direct"]) == ("RUNNING", None, None)
        assert one["actions"] == ["stop", "restart", "terminate"]
    assert (len(made["id"]), made["id"].isalnum(), made["id"].islower()) == (14, True, True)
    assert row["startedAt"] is None


def test_a_market_can_also_tell_every_state_on_the_way(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("provisioning")
    made = api.post("/v2/pods", json=pod_order()).json()
    assert (made["status"], made["actions"]) == ("PROVISIONING", ["stop", "terminate"])
    assert until_up(api, made["id"])["status"] == "RUNNING"


# 4: capacity


def test_without_a_count_no_machine_is_found(api: httpx.Client) -> None:
    reply = api.post("/v2/pods", json=pod_order(gpu={"id": GPU}))
    assert (reply.status_code, reply.json()["detail"].startswith(NO_CAPACITY)) == (400, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"dataCenterIds": ["XX-NO-1"]},
        {"gpu": {"id": GPU, "count": 9}},
        {"gpu": {"id": GPU, "count": 1, "allowedCudaVersions": ["11.1"]}},
        {"gpu": {"id": "NVIDIA GeForce RTX 3070", "count": 1}},
        {"gpu": None, "cpu": {"id": "cpu3c", "vcpuCount": 2}, "disk": 10},
    ],
)
def test_what_no_machine_has_is_the_same_400(api: httpx.Client, changes: dict[str, Any]) -> None:
    reply = api.post("/v2/pods", json=pod_order(**changes))
    assert (reply.status_code, reply.json()["detail"].startswith(NO_CAPACITY)) == (400, True)


def test_a_data_center_is_a_demand_and_stock_runs_out(shop: RunningMarket, api: httpx.Client) -> None:
    shop.action("set_stock", gpu=GPU, free=1)
    one = show_pod(api, rent_pod(api, dataCenterIds=["EU-RO-1"]))
    assert (one["dataCenterId"], one["cudaVersion"]) == ("EU-RO-1", "12.8")
    assert api.post("/v2/pods", json=pod_order(dataCenterIds=["EU-RO-1"])).status_code == 400
    api.delete(f"/v2/pods/{one['id']}")
    rent_pod(api, dataCenterIds=["EU-RO-1"])


# 5, 13: real machines


def test_a_pod_is_a_machine_with_its_gpu_and_its_environment_in_the_first_process(
    api: httpx.Client, login: Login
) -> None:
    row = until_up(api, rent_pod(api, env={"PUBLIC_KEY": login.public, "GREETING": "hello"}))
    login.until_in(row)
    shown = login.ask(row, "nvidia-smi")
    assert (GPU in shown, f"CUDA Version: {row['cudaVersion']}" in shown) == (True, True)
    seen = login.ask(row, "tr '\\0' '\\n' <${GP_INIT_ENVIRON:-/proc/1/environ}").splitlines()
    told = dict(line.split("=", 1) for line in seen if line.startswith(("RUNPOD_", "GREETING")))
    assert (told["RUNPOD_POD_ID"], told["GREETING"], told["RUNPOD_DC_ID"]) == (row["id"], "hello", row["dataCenterId"])
    assert told["RUNPOD_TCP_PORT_22"] == str(row["ssh"]["direct"]["port"])
    assert told["RUNPOD_API_KEY"].startswith("rpa_")
    assert login.ask(row, "echo [$RUNPOD_POD_ID]") == "[]\n"
    assert row["ssh"]["proxy"]["username"].startswith(f"{row['id']}-")


def test_the_official_image_prints_the_fingerprint_of_its_host_key_to_the_log(api: httpx.Client, login: Login) -> None:
    number = rent_pod(api, env={"PUBLIC_KEY": login.public})
    lines = [event["line"] for event in log_until(api, number, "(ED25519)", source="container")]
    assert "SSH host keys:" in lines
    port = until_up(api, number)["ssh"]["direct"]["port"]
    scan = ["ssh-keyscan", "-t", "ed25519", "-p", str(port), "127.0.0.1"]
    shown = subprocess.run(scan, capture_output=True, text=True, timeout=30, check=True).stdout
    print_it = ["ssh-keygen", "-lf", "-"]
    told = subprocess.run(print_it, input=shown, capture_output=True, text=True, timeout=30, check=True).stdout
    assert told.split()[1] == lines[-1].split()[1]


def test_start_ssh_brings_the_accounts_keys_as_they_were_at_the_create(api: httpx.Client, login: Login) -> None:
    assert api.put("/v2/account/ssh-keys", json={"keys": [login.public]}).json() == {"keys": [login.public]}
    row = until_up(api, rent_pod(api, startSsh=True))
    assert (row["env"], "startSsh" in row) == ({"PUBLIC_KEY": login.public}, False)
    login.until_in(row)


def test_a_command_replaces_the_start_script_and_with_it_the_sshd(api: httpx.Client, login: Login) -> None:
    number = rent_pod(api, env={"PUBLIC_KEY": login.public}, cmd=["sh", "-c", "echo mine $PUBLIC_KEY; sleep 1000"])
    assert log_until(api, number, "mine ssh-ed25519")
    row = until_up(api, number)
    assert (row["cmd"][:2], row["entrypoint"]) == (["sh", "-c"], [])
    assert login.ask(row, "true") == "refused"


def test_an_image_has_an_sshd_only_if_its_name_says_so(api: httpx.Client) -> None:
    command = ["sh", "-c", "[ -x $GP_SSHD ] && echo there || echo missing; sleep 1000"]
    for image, found in (("pytorch/pytorch:2.6", "there"), ("someone/openssh", "there"), ("alpine", "missing")):
        number = rent_pod(api, image=image, cmd=command)
        assert log_until(api, number, found, source="container")
        api.delete(f"/v2/pods/{number}")


def test_without_port_22_there_is_no_direct_way(api: httpx.Client) -> None:
    row = until_up(api, rent_pod(api, ports=["8888/http"]))
    assert row["ssh"]["direct"] is None
    assert [(port["private"], port["type"]) for port in row["runtime"]["ports"]] == [(8888, "http"), (19123, "http")]


def test_after_a_stop_and_start_the_port_is_another_and_the_old_one_is_told_first(
    api: httpx.Client, login: Login
) -> None:
    mounts = {"persistent": {"size": 20, "path": "/workspace"}}
    number = rent_pod(api, env={"PUBLIC_KEY": login.public}, mounts=mounts)
    row = until_up(api, number)
    login.until_in(row)
    login.ask(row, "echo kept > ${GP_HOME:-/root}/../workspace/a; echo lost > ${GP_HOME:-/root}/b")
    stopped = act(api, number, "stop").json()
    assert (stopped["status"], stopped["runtime"], stopped["ssh"]["direct"]) == ("EXITED", None, None)
    first = act(api, number, "start").json()
    old = row["ssh"]["direct"]["port"]
    assert (first["status"], first["ssh"]["direct"]["port"]) == ("RUNNING", old)
    fresh = until_pod(api, number, lambda one: one["ssh"]["direct"] and one["ssh"]["direct"]["port"] != old)
    login.until_in(fresh)
    assert login.ask(fresh, "cd ${GP_HOME:-/root}; cat ../workspace/a b 2>/dev/null") == "kept\n"


def test_an_entry_that_nobody_asked_for_is_among_the_ports(api: httpx.Client) -> None:
    row = until_up(api, rent_pod(api, ports=["22/tcp", "8888/http"]))
    ports = row["runtime"]["ports"]
    assert [port["private"] for port in ports] == [22, 8888, 19123]
    assert (ports[0]["type"], ports[0]["ip"], ports[2]["ip"].startswith("100.64.")) == ("tcp", "127.0.0.1", True)


def test_a_restart_keeps_the_disk(api: httpx.Client) -> None:
    number = rent_pod(api, cmd=["sh", "-c", "echo x >> $HOME/n; echo count $(wc -l < $HOME/n); sleep 1000"])
    log_until(api, number, "count 1")
    assert act(api, number, "restart").status_code == 200
    assert log_until(api, number, "count 2")
    api.patch(f"/v2/pods/{number}", json={"env": {"A": "b"}})
    wait_until(lambda: [e["line"] for e in log_until(api, number, "count", tail=1)] == ["count 1"])


# 6: money


def test_an_hour_costs_the_pods_price_and_its_disks(shop: RunningMarket, api: httpx.Client) -> None:
    row = until_up(api, rent_pod(api, disk=100, mounts={"persistent": {"size": 50, "path": "/workspace"}}))
    disks = round(0.10 * 150 / 730 * 1_000_000)
    assert _row(shop)["rate_micros"] == pytest.approx(row["cost"] * 1_000_000 + disks, abs=2)
    before = _row(shop)["spend_micros"]
    shop.action("advance", seconds=HOUR)
    assert _row(shop)["spend_micros"] - before == pytest.approx(row["cost"] * 1_000_000 + disks, abs=5000)


def test_a_stopped_pod_keeps_its_cost_and_bills_twice_its_volume_and_nothing_else(
    shop: RunningMarket, api: httpx.Client
) -> None:
    number = rent_pod(api, disk=100, mounts={"persistent": {"size": 30, "path": "/workspace"}})
    cost = until_up(api, number)["cost"]
    act(api, number, "stop")
    assert show_pod(api, number)["cost"] == cost > 0
    assert _row(shop)["rate_micros"] == round(0.20 * 30 / 730 * 1_000_000)
    assert shop.meter()["billing_now"] == 1


def test_a_stopped_pod_without_mounts_bills_nothing(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent_pod(api)
    until_up(api, number)
    act(api, number, "stop")
    assert (_row(shop)["state"], shop.meter()["billing_now"]) == ("exited", 0)


# 7: the end


def test_a_deleted_pod_is_gone_everywhere_and_bills_nothing(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent_pod(api)
    until_up(api, number)
    assert (api.delete(f"/v2/pods/{number}").status_code, shop.meter()["billing_now"]) == (204, 0)
    assert api.get("/v2/pods").json()["pods"] == []
    gone = [api.get(f"/v2/pods/{number}"), api.delete(f"/v2/pods/{number}"), act(api, number, "stop")]
    assert [reply.status_code for reply in gone] == [404] * 3
    assert (_row(shop)["platform"], _row(shop)["state"]) == ("runpod", "destroyed")


def test_terminating_by_action_answers_nothing(shop: RunningMarket, api: httpx.Client) -> None:
    reply = act(api, rent_pod(api), "terminate")
    assert (reply.status_code, reply.content, _row(shop)["state"]) == (204, b"", "destroyed")


def test_an_action_that_the_status_does_not_allow_is_a_409(api: httpx.Client) -> None:
    number = rent_pod(api)
    assert act(api, number, "start").status_code == 409
    act(api, number, "stop")
    assert [act(api, number, action).status_code for action in ("stop", "restart")] == [409, 409]


# 8, 14: before the key


def test_the_default_agent_of_pythons_urllib_is_turned_away_with_a_page(shop: RunningMarket) -> None:
    request = urllib.request.Request(f"{shop.runpod_api_base_url}/v2/pods")  # noqa: S310 - loopback only
    request.add_header("Authorization", f"Bearer {shop.runpod_api_key}")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)  # noqa: S310 - loopback only
    with caught.value as error:
        assert (error.code, b"1010" in error.read()) == (403, True)


def test_a_body_that_is_too_long_is_refused_before_the_key_is_looked_at(shop: RunningMarket) -> None:
    with runpod_client(shop, "") as stranger:
        long = stranger.post("/v2/pods", json=pod_order(env={"A": "x" * 102_400}))
        short = stranger.post("/v2/pods", json=pod_order())
    assert (long.status_code, short.status_code, short.json()["detail"]) == (413, 401, "missing bearer token")


def test_a_bad_key_is_a_401(shop: RunningMarket) -> None:
    with runpod_client(shop, "rpa_WRONG") as stranger:
        assert stranger.get("/v2/pods").status_code == 401


# 17: names


def test_names_are_not_unique(api: httpx.Client) -> None:
    made = {rent_pod(api, name="twin"), rent_pod(api, name="twin")}
    assert {row["id"] for row in api.get("/v2/pods").json()["pods"] if row["name"] == "twin"} == made


# keys of pods


def test_a_pods_key_shows_stops_and_deletes_itself_and_nothing_else(shop: RunningMarket, api: httpx.Client) -> None:
    tell = ["sh", "-c", "echo key=$RUNPOD_API_KEY; sleep 1000"]
    own, other = rent_pod(api, cmd=tell), rent_pod(api)
    key = log_until(api, own, "key=")[-1]["line"].removeprefix("key=")
    with runpod_client(shop, key) as scoped:
        assert scoped.get(f"/v2/pods/{own}").json()["id"] == own
        refused = [
            scoped.get("/v2/pods"),
            scoped.get(f"/v2/pods/{other}"),
            scoped.delete(f"/v2/pods/{other}"),
            scoped.post("/v2/pods", json=pod_order()),
            scoped.get("/v2/account/ssh-keys"),
        ]
        assert {reply.status_code for reply in refused} == {403}
        assert scoped.delete(f"/v2/pods/{own}").status_code == 204
        assert scoped.get(f"/v2/pods/{own}").status_code == 401
    assert [row["state"] == "destroyed" for row in shop.meter()["instances"]] == [True, False]


def test_both_dialects_are_on_one_meter(shop: RunningMarket, api: httpx.Client) -> None:
    rent_pod(api)
    with shop.client() as vast:
        offer = vast.post("/api/v0/bundles/", json={"limit": 1}).json()["offers"][0]
        vast.put(f"/api/v0/asks/{offer['id']}/", json={"image": "x"})
    meter = shop.meter()
    assert ({row["platform"] for row in meter["instances"]}, meter["billing_now"]) == ({"vast", "runpod"}, 2)
    assert meter["spend_micros"] == sum(row["spend_micros"] for row in meter["instances"])
