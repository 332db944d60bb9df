"""RunPod's market around the pods: catalogue, network volumes, billing, pages, templates, keys."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from runpod_kit import GPU, Login, act, log_until, pod_order, rent_pod, runpod_client, show_pod, until_up
from sandbox_kit import RunningMarket, market, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

HOUR = 3600
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGDrLkzXBNwG3Jk4iDFUfO7e2Pzb1zrKsnSAw2z5bRnD someone"
STOCK = {"include": "AVAILABILITY", "product": "POD"}


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with market(seed=4, pull=0) as one:
        yield one


@pytest.fixture
def shop(running: RunningMarket) -> RunningMarket:
    running.reset()
    return running


@pytest.fixture
def api(shop: RunningMarket) -> Iterator[httpx.Client]:
    with runpod_client(shop) as client:
        yield client


def _gpus(api: httpx.Client, **query: object) -> dict[str, dict[str, Any]]:
    reply = api.get("/v2/catalog/gpus", params={name: str(value) for name, value in query.items()})
    assert reply.status_code == 200, reply.text
    return {row["id"]: row for row in reply.json()["gpus"]}


def _volume(api: httpx.Client, **changes: object) -> dict[str, Any]:
    reply = api.post("/v2/network-volumes", json={"name": "data", "size": 100, "dataCenter": "EU-RO-1", **changes})
    assert reply.status_code == 201, reply.text
    row: dict[str, Any] = reply.json()
    return row


# catalogue


def test_without_include_there_is_only_a_price_list(api: httpx.Client) -> None:
    found = _gpus(api)
    row = found[GPU]
    assert (row["name"], row["memory"], row["manufacturer"]) == ("RTX 4090", 24, "NVIDIA")
    assert row["price"]["secure"] > row["price"]["community"] > 0
    assert not {"availability", "dataCenters", "cudaVersions"} & row.keys()
    assert found["NVIDIA GeForce RTX 3070"]["price"]["secure"] == 0
    assert found["AMD Instinct MI300X OAM"]["manufacturer"] == "AMD"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"include": "AVAILABILITY"}, 400),
        ({"product": "POD"}, 400),
        ({"include": "STOCK", "product": "POD"}, 400),
        ({"include": "AVAILABILITY", "product": "VM"}, 400),
        ({"countryCodes": "FR"}, 400),
        ({**STOCK, "countryCodes": "france"}, 422),
        ({**STOCK, "cloud": "ALL"}, 422),
        ({**STOCK, "count": "0"}, 422),
    ],
)
def test_stock_is_asked_for_with_include_and_product_or_not_at_all(
    api: httpx.Client, query: dict[str, str], status: int
) -> None:
    assert api.get("/v2/catalog/gpus", params=query).status_code == status


def test_stock_is_told_by_data_center_and_by_cuda_version(shop: RunningMarket, api: httpx.Client) -> None:
    row = _gpus(api, **STOCK, count=2, cloud="SECURE")[GPU]
    assert row["availability"] == "HIGH"
    assert {"EU-RO-1", "US-KS-2"} <= {center["id"] for center in row["dataCenters"]}
    assert {"version": "12.8", "available": True} in row["cudaVersions"]
    shop.action("set_stock", gpu=GPU, free=0)
    gone = _gpus(api, **STOCK)[GPU]
    assert (gone["availability"], "dataCenters" in gone) == ("NONE", False)


def test_countries_narrow_the_list_and_amd_tells_no_cuda(api: httpx.Client) -> None:
    found = _gpus(api, **STOCK, countryCodes="RO")
    assert GPU in found
    assert all({center["id"] for center in row["dataCenters"]} == {"EU-RO-1"} for row in found.values())
    assert "cudaVersions" not in _gpus(api, **STOCK)["AMD Instinct MI300X OAM"]


def test_one_gpu_type_is_found_by_its_name_with_spaces(api: httpx.Client) -> None:
    assert api.get(f"/v2/catalog/gpus/{quote(GPU)}").json()["id"] == GPU
    alone = api.get(f"/v2/catalog/gpus/{quote(GPU)}", params={**STOCK, "countryCodes": "AQ"}).json()
    assert (alone["availability"], "dataCenters" in alone) == ("NONE", False)
    assert api.get("/v2/catalog/gpus/none").status_code == 404


def test_data_centers_cpus_and_templates_are_listed(api: httpx.Client) -> None:
    centers = api.get("/v2/catalog/datacenters", params={"include": "GPU_AVAILABILITY,CPU_AVAILABILITY"}).json()
    first = centers["dataCenters"][0]
    assert (first["id"], first["region"]) == ("EU-RO-1", "EUROPE")
    assert GPU in {row["id"] for row in first["gpuAvailability"]}
    assert api.get("/v2/catalog/datacenters/EU-RO-1").json()["networkVolumeTypes"] == ["STANDARD", "HIGH_PERFORMANCE"]
    assert api.get("/v2/catalog/datacenters/XX").status_code == 404
    assert {row["id"] for row in api.get("/v2/catalog/cpus").json()["cpus"]} >= {"cpu3c", "cpu5c"}
    assert api.get("/v2/catalog/cpus/cpu3c", params={"include": "AVAILABILITY", "product": "POD"}).status_code == 200
    assert api.get("/v2/catalog/templates").json()["templates"][0]["image"].startswith("runpod/pytorch")


def test_a_pod_costs_its_gpus_at_the_list_price(api: httpx.Client) -> None:
    price = _gpus(api)[GPU]["price"]
    secure = show_pod(api, rent_pod(api, gpu={"id": GPU, "count": 2}))
    community = show_pod(api, rent_pod(api, cloud="COMMUNITY"))
    assert (secure["cost"], community["cost"]) == (pytest.approx(2 * price["secure"]), price["community"])
    assert (community["dataCenterId"], community["cloud"]) == (None, "COMMUNITY")


def test_a_cpu_pod_has_no_gpu_and_a_price_by_vcpu(api: httpx.Client) -> None:
    cpu = {"id": "cpu3g", "vcpuCount": 4}
    row = show_pod(api, rent_pod(api, gpu=None, cpu=cpu))
    assert (row["cpu"], "gpu" in row, row["cost"]) == ({**cpu, "memory": 16}, False, pytest.approx(0.16))
    odd = api.post("/v2/pods", json=pod_order(gpu=None, cpu={"id": "cpu3g", "vcpuCount": 3}))
    assert odd.status_code == 400


def test_the_same_seed_makes_the_same_market_and_another_another() -> None:
    seen = []
    for seed in (5, 5, 6):
        with market(seed=seed) as shop, runpod_client(shop) as api:
            seen.append((_gpus(api, **STOCK), shop.runpod_api_key))
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]


# network volumes


def test_a_volume_bills_by_the_hour_until_it_is_deleted(shop: RunningMarket, api: httpx.Client) -> None:
    number = _volume(api, size=2000)["id"]
    row = shop.meter()["instances"][0]
    rate = round(0.07 * 1000 / 730 * 1_000_000) + round(0.05 * 1000 / 730 * 1_000_000)
    assert (row["state"], row["platform"], row["rate_micros"]) == ("volume", "runpod", rate)
    shop.action("advance", seconds=HOUR)
    assert shop.meter()["spend_micros"] == pytest.approx(rate, abs=2000)
    assert api.delete(f"/v2/network-volumes/{number}").status_code == 204
    assert (shop.meter()["billing_now"], api.get("/v2/network-volumes").json()) == (0, {"networkVolumes": []})


def test_a_volume_only_grows(shop: RunningMarket, api: httpx.Client) -> None:
    path = f"/v2/network-volumes/{_volume(api)['id']}"
    assert api.patch(path, json={"size": 50}).status_code == 400
    assert api.patch(path, json={"size": 200, "name": "more"}).json()["size"] == 200
    assert api.get(path).json()["name"] == "more"
    assert shop.meter()["instances"][0]["rate_micros"] == round(0.07 * 200 / 730 * 1_000_000)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"size": 9}, 422),
        ({"size": 5000}, 422),
        ({"dataCenter": "XX"}, 400),
        ({"dataCenter": "EU-SE-1"}, 400),
        ({"dataCenter": "EU-CZ-1", "type": "HIGH_PERFORMANCE"}, 400),
        ({"dataCenter": "eu-ro-1"}, 400),
        ({"color": "red"}, 422),
    ],
)
def test_a_volume_that_does_not_fit_is_refused(
    shop: RunningMarket, api: httpx.Client, changes: dict[str, Any], status: int
) -> None:
    body = {"name": "data", "size": 100, "dataCenter": "EU-RO-1", **changes}
    assert api.post("/v2/network-volumes", json=body).status_code == status
    assert shop.meter()["instances"] == []


def test_a_volume_holds_its_pod_in_its_data_center_and_outlives_it(api: httpx.Client, login: Login) -> None:
    number = _volume(api)["id"]
    mounts = {"network": [{"volumeId": number, "path": "/data"}]}
    elsewhere = api.post("/v2/pods", json=pod_order(mounts=mounts, dataCenterIds=["US-KS-2"]))
    assert (elsewhere.status_code, "EU-RO-1" in elsewhere.text) == (400, True)
    pod = rent_pod(api, mounts=mounts, env={"PUBLIC_KEY": login.public})
    row = until_up(api, pod)
    assert (row["dataCenterId"], row["mounts"]) == ("EU-RO-1", mounts)
    login.until_in(row)
    login.ask(row, "cd ${GP_HOME:-/root}/../data && echo kept > a")
    assert api.delete(f"/v2/network-volumes/{number}").status_code == 400
    api.delete(f"/v2/pods/{pod}")
    again = until_up(api, rent_pod(api, mounts=mounts, env={"PUBLIC_KEY": login.public}))
    login.until_in(again)
    assert login.ask(again, "cat ${GP_HOME:-/root}/../data/a") == "kept\n"


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Login:
    return Login.make(tmp_path_factory.mktemp("key"))


def test_an_unknown_volume_is_a_404(api: httpx.Client) -> None:
    mounts = {"network": [{"volumeId": "nothing", "path": "/data"}]}
    assert api.post("/v2/pods", json=pod_order(mounts=mounts)).status_code == 404
    assert api.get("/v2/network-volumes/nothing").status_code == 404


@pytest.mark.parametrize(
    ("mounts", "status"),
    [
        ({"network": []}, 400),
        ({"persistent": {"size": 10, "path": "/workspace"}}, 400),
        ({"network": [{"volumeId": "a", "path": "/b"}]}, 400),
        ({}, 200),
    ],
)
def test_a_kind_of_mount_cannot_be_added_later(api: httpx.Client, mounts: dict[str, Any], status: int) -> None:
    assert api.patch(f"/v2/pods/{rent_pod(api)}", json={"mounts": mounts}).status_code == status


# money


def test_billing_is_told_by_bucket_and_adds_up_to_the_meter(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent_pod(api)
    until_up(api, number)
    _volume(api)
    shop.action("advance", seconds=30 * HOUR)
    api.delete(f"/v2/pods/{number}")
    pods = api.get("/v2/billing/pods", params={"bucketSize": "hour", "lastN": 40}).json()
    assert 30 <= len(pods["records"]) <= 32
    assert pods["metadata"]["uniquePodCount"] == 1
    spent = {row["state"]: row["spend_micros"] for row in shop.meter()["instances"]}
    assert pods["metadata"]["totals"]["totalAmount"] * 1_000_000 == pytest.approx(spent["destroyed"], abs=1)
    assert pods["records"][0]["gpuAmount"] > pods["records"][0]["diskAmount"] > 0
    everything = api.get("/v2/billing").json()["metadata"]["totals"]
    volumes = api.get("/v2/billing/network-volumes").json()["metadata"]["totals"]
    assert everything["podGpuAmount"] == pytest.approx(pods["metadata"]["totals"]["gpuAmount"])
    assert everything["storageStandardAmount"] == pytest.approx(volumes["standardAmount"], rel=0.01)
    assert api.get("/v2/billing/pods", params={"podId": "other"}).json()["records"] == []


@pytest.mark.parametrize("size", ["hour", "day", "week", "month", "year"])
def test_buckets_snap_outwards(shop: RunningMarket, api: httpx.Client, size: str) -> None:
    del shop
    rent_pod(api)
    now = dt.datetime.now(dt.timezone.utc)
    query = {"bucketSize": size, "startTime": now.isoformat(), "endTime": now.isoformat()}
    told = api.get("/v2/billing/pods", params=query).json()["metadata"]["query"]
    start, end = (dt.datetime.fromisoformat(told[name].replace("Z", "+00:00")) for name in ("startTime", "endTime"))
    assert start <= now <= end
    assert (start.minute, start.second, end.minute, end.second) == (0, 0, 0, 0)
    assert size == "hour" or start.hour == end.hour == 0


@pytest.mark.parametrize(
    "query",
    [
        {"bucketSize": "minute"},
        {"lastN": "0"},
        {"lastN": "3", "startTime": "2026-01-01T00:00:00Z"},
        {"startTime": "yesterday"},
        {"startTime": "2026-02-01T00:00:00Z", "endTime": "2026-01-01T00:00:00Z"},
    ],
)
def test_a_window_that_makes_no_sense_is_a_400(api: httpx.Client, query: dict[str, str]) -> None:
    assert api.get("/v2/billing/pods", params=query).status_code == 400


def test_with_less_than_an_hours_credit_nothing_is_rented_or_started(shop: RunningMarket, api: httpx.Client) -> None:
    number = rent_pod(api)
    cost = until_up(api, number)["cost"]
    act(api, number, "stop")
    shop.action("credit", amount=cost * 0.9)
    for reply in (api.post("/v2/pods", json=pod_order()), act(api, number, "start")):
        assert reply.status_code == 402
        assert reply.json()["detail"].startswith("Your account balance is too low to rent a pod")
    shop.action("credit", amount=cost * 1.1)
    assert act(api, number, "start").status_code == 200


def test_at_balance_zero_every_pod_gets_sigterm_and_only_what_is_on_a_network_volume_stays(
    shop: RunningMarket, api: httpx.Client
) -> None:
    mounts = {"network": [{"volumeId": _volume(api)["id"], "path": "/data"}]}
    script = "trap 'echo got the signal; exit 143' TERM; echo ready; while :; do sleep 0.05; done"
    kept = rent_pod(api, mounts=mounts, cmd=["sh", "-c", script])
    lost = rent_pod(api)
    log_until(api, kept, "ready")
    shop.action("credit", amount=0)
    wait_until(lambda: [row["id"] for row in api.get("/v2/pods").json()["pods"]] == [kept])
    row = show_pod(api, kept)
    assert (row["status"], row["runtime"]) == ("EXITED", None)
    assert log_until(api, kept, "got the signal")
    states = {one["id"]: one["state"] for one in shop.meter()["instances"]}
    assert (states[lost], states[kept]) == ("destroyed", "exited")


# pages, templates, keys


def test_lists_have_pages_only_when_the_service_has_them(shop: RunningMarket, api: httpx.Client) -> None:
    made = [rent_pod(api, gpu={"id": GPU, "count": 1}, name=f"n{index}") for index in range(3)]
    assert "pagination" not in api.get("/v2/pods").json()
    shop.action("pagination", size=2)
    first = api.get("/v2/pods").json()
    assert [row["id"] for row in first["pods"]] == made[:2]
    assert first["pagination"]["hasNextPage"] is True
    rest = api.get("/v2/pods", params={"cursor": first["pagination"]["nextCursor"]}).json()
    assert [row["id"] for row in rest["pods"]] == made[2:]
    assert rest["pagination"] == {"hasNextPage": False, "nextCursor": None}
    assert len(api.get("/v2/pods", params={"limit": 1}).json()["pods"]) == 1
    assert api.get("/v2/pods", params={"cursor": "nonsense"}).status_code == 400


def test_a_template_is_the_ground_of_a_pod_and_environments_are_merged(api: httpx.Client) -> None:
    body = {"name": "t", "image": "runpod/base:1", "env": {"A": "1", "B": "2"}, "cmd": ["sleep", "1000"], "disk": 33}
    made = api.post("/v2/templates", json=body).json()
    assert (made["args"], made["startSsh"]) == ("sleep 1000", True)
    pod = {"name": "p", "templateId": made["id"], "gpu": {"id": GPU, "count": 1}, "env": {"B": "3"}}
    row = api.post("/v2/pods", json=pod).json()
    assert (row["image"], row["disk"], len(row["env"].pop("JUPYTER_PASSWORD"))) == ("runpod/base:1", 33, 20)
    assert row["env"] == {"A": "1", "B": "3"}
    assert (row["cmd"], row["template"]) == (["sleep", "1000"], None)
    long = {**pod, "env": {"C": "x" * 102_300}}
    assert api.post("/v2/pods", json=long).status_code == 413
    changed = api.patch(f"/v2/templates/{made['id']}", json={"args": "sleep 5"}).json()
    assert changed["cmd"] == ["sleep", "5"]
    assert len(api.get("/v2/templates").json()["templates"]) == 1
    assert api.get(f"/v2/templates/{made['id']}").json() == changed
    assert api.delete(f"/v2/templates/{made['id']}").status_code == 204
    assert api.get(f"/v2/templates/{made['id']}").status_code == 404
    assert api.post("/v2/pods", json=pod).status_code == 404


def test_a_registry_login_is_kept_without_its_password(api: httpx.Client) -> None:
    made = api.post("/v2/registries", json={"name": "r", "username": "u", "password": "p"}).json()
    assert api.get("/v2/registries").json() == {"registries": [made]}
    assert api.get(f"/v2/registries/{made['id']}").json() == {"id": made["id"], "name": "r"}
    rent_pod(api, registry=made["id"])
    assert api.delete(f"/v2/registries/{made['id']}").status_code == 204
    assert api.delete(f"/v2/registries/{made['id']}").status_code == 404


def test_the_accounts_keys_are_replaced_all_at_once(api: httpx.Client) -> None:
    path = "/v2/account/ssh-keys"
    assert api.get(path).json() == {"keys": []}
    api.put(path, json={"keys": [KEY, KEY.replace("someone", "other")]})
    assert api.put(path, json={"keys": [KEY]}).json() == {"keys": [KEY]}
    assert api.put(path, json={"keys": ["garbage"]}).status_code == 422
    assert api.get(path).json() == {"keys": [KEY]}
