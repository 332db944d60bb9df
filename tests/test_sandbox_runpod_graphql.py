"""RunPod's GraphQL: prices without a key, balance, spot pods that are taken away, and its ways to say no."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from runpod_kit import GPU, IMAGE, act, graphql, log_until, rent_pod, runpod_client, show_pod, until_pod, until_up
from sandbox_kit import RunningMarket, market, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

PRICES = """
query Prices($lowest: GpuLowestPriceInput) {
  gpuTypes { id displayName memoryInGb securePrice communityPrice secureSpotPrice
    lowestPrice(input: $lowest) { uninterruptablePrice minimumBidPrice stockStatus availableGpuCounts } }
}"""
MONEY = "{ myself { id clientBalance currentSpendPerHr spendLimit pubKey spendDetails { localStoragePerHour } pods { id } } }"
SPOT = (
    "mutation Spot($input: PodRentInterruptableInput!) { podRentInterruptable(input: $input) { id costPerHr podType } }"
)
DEPLOY = (
    "mutation Deploy($input: PodFindAndDeployOnDemandInput) { podFindAndDeployOnDemand(input: $input)"
    " { id costPerHr podType imageName env machine { podHostId } } }"
)
POD = """
query Pod($id: String) { pod(input: {podId: $id}) {
  id desiredStatus podType costPerHr lowestBidPriceToResume uptimeSeconds ports env dockerArgs
  runtime { uptimeInSeconds ports { ip privatePort publicPort type isIpPublic } gpus { id } container { cpuPercent } }
  machine { podHostId gpuDisplayName dataCenterId }
} }"""
STOP = "mutation Stop($id: String!) { podStop(input: {podId: $id}) { id desiredStatus } }"
RESUME = "mutation Resume($id: String!) { podResume(input: {podId: $id, gpuCount: 1}) { id desiredStatus } }"
TERMINATE = "mutation End($id: String!) { podTerminate(input: {podId: $id}) }"
BID_RESUME = "mutation Bid($input: PodBidResumeInput!) { podBidResume(input: $input) { id desiredStatus costPerHr } }"


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


@pytest.fixture
def stranger(shop: RunningMarket) -> Iterator[httpx.Client]:
    with runpod_client(shop, "") as client:
        yield client


def _order(**changes: object) -> dict[str, Any]:
    order = {
        "name": "gql",
        "imageName": IMAGE,
        "gpuTypeId": GPU,
        "gpuCount": 1,
        "cloudType": "SECURE",
        "ports": "22/tcp,8888/http",
        "containerDiskInGb": 20,
        "env": [{"key": "A", "value": "b"}],
    }
    return {**order, **changes}


def _lowest_bid(api: httpx.Client) -> float:
    rows = graphql(api, PRICES, lowest={"gpuCount": 1, "secureCloud": True})["data"]["gpuTypes"]
    return float(next(row for row in rows if row["id"] == GPU)["lowestPrice"]["minimumBidPrice"])


def _rent_spot(api: httpx.Client, **changes: object) -> str:
    answer = graphql(api, SPOT, input=_order(bidPerGpu=_lowest_bid(api), **changes))
    return str(answer["data"]["podRentInterruptable"]["id"])


def _pod(api: httpx.Client, number: str) -> dict[str, Any]:
    row: dict[str, Any] = graphql(api, POD, id=number)["data"]["pod"]
    return row


def test_one_address_serves_both_apis(api: httpx.Client) -> None:
    number = rent_pod(api)
    assert [pod["id"] for pod in graphql(api, MONEY)["data"]["myself"]["pods"]] == [number]
    assert [pod["id"] for pod in api.get("/v2/pods").json()["pods"]] == [number]


def test_prices_need_no_key_and_are_those_of_the_other_api(stranger: httpx.Client, api: httpx.Client) -> None:
    rows = {row["id"]: row for row in graphql(stranger, PRICES, lowest={"gpuCount": 1})["data"]["gpuTypes"]}
    listed = {row["id"]: row for row in api.get("/v2/catalog/gpus").json()["gpus"]}
    assert rows.keys() == listed.keys()
    assert rows[GPU]["securePrice"] == listed[GPU]["price"]["secure"]
    assert rows["NVIDIA GeForce RTX 3070"]["securePrice"] is None
    assert rows[GPU]["lowestPrice"]["stockStatus"] in {"High", "Medium", "Low"}
    assert rows[GPU]["lowestPrice"]["minimumBidPrice"] < rows[GPU]["lowestPrice"]["uninterruptablePrice"]


def test_out_of_stock_has_no_price_and_no_status(shop: RunningMarket, stranger: httpx.Client) -> None:
    shop.action("set_stock", gpu=GPU, free=0)
    rows = graphql(stranger, PRICES, lowest={"gpuCount": 1})["data"]["gpuTypes"]
    lowest = next(row for row in rows if row["id"] == GPU)["lowestPrice"]
    assert (lowest["uninterruptablePrice"], lowest["minimumBidPrice"], lowest["stockStatus"]) == (None, None, None)


def test_data_centers_countries_and_cpus_need_no_key_either(stranger: httpx.Client) -> None:
    query = (
        "{ countryCodes dataCenters { id listed gpuAvailability(input: {gpuCount: 1}) { gpuTypeId available stockStatus } }"
        ' cpuFlavors { id minVcpu specifics(input: {dataCenterId: "EU-RO-1"}) { stockStatus securePrice } } }'
    )
    data = graphql(stranger, query)["data"]
    assert None in data["countryCodes"]
    home = next(center for center in data["dataCenters"] if center["id"] == "EU-RO-1")
    assert {"gpuTypeId": GPU, "available": True, "stockStatus": "High"} in home["gpuAvailability"]
    assert data["cpuFlavors"][0]["specifics"]["securePrice"] > 0


def test_the_account_needs_a_key(stranger: httpx.Client, shop: RunningMarket) -> None:
    assert stranger.post("/graphql", json={"query": MONEY}).status_code == 401
    with runpod_client(shop, "rpa_WRONG") as wrong:
        assert wrong.post("/graphql", json={"query": PRICES}).status_code == 401
    legacy = stranger.post("/graphql", params={"api_key": shop.runpod_api_key}, json={"query": MONEY})
    assert legacy.json()["data"]["myself"]["id"]


def test_the_balance_falls_by_what_the_meter_says(shop: RunningMarket, api: httpx.Client) -> None:
    until_up(api, rent_pod(api))
    shop.action("advance", seconds=3600)
    before = shop.meter()["spend_micros"]
    me = graphql(api, MONEY)["data"]["myself"]
    assert 25 - me["clientBalance"] == pytest.approx(before / 1_000_000, abs=0.01)
    assert me["currentSpendPerHr"] == pytest.approx(shop.meter()["instances"][0]["rate_micros"] / 1_000_000)
    assert (me["spendLimit"], me["spendDetails"]["localStoragePerHour"] > 0) == (80, True)


def test_a_pod_is_deployed_shown_stopped_resumed_and_terminated(shop: RunningMarket, api: httpx.Client) -> None:
    made = graphql(api, DEPLOY, input=_order())["data"]["podFindAndDeployOnDemand"]
    number = made["id"]
    assert (made["podType"], made["env"], made["machine"]["podHostId"][:14]) == ("RESERVED", ["A=b"], number)
    until_up(api, number)
    row = _pod(api, number)
    direct = next(port for port in row["runtime"]["ports"] if port["privatePort"] == 22)
    assert (direct["type"], direct["isIpPublic"], direct["ip"]) == ("tcp", True, "127.0.0.1")
    assert direct["publicPort"] == show_pod(api, number)["ssh"]["direct"]["port"]
    assert (row["uptimeSeconds"], row["ports"], row["desiredStatus"]) == (0, "22/tcp,8888/http", "RUNNING")
    graphql(api, STOP, id=number)
    assert (_pod(api, number)["desiredStatus"], _pod(api, number)["runtime"]) == ("EXITED", None)
    graphql(api, RESUME, id=number)
    until_up(api, number)
    assert graphql(api, TERMINATE, id=number) == {"data": {"podTerminate": None}}
    again = graphql(api, TERMINATE, id=number)
    assert (again["data"], again["errors"][0]["message"]) == ({"podTerminate": None}, "pod not found to terminate")
    assert (graphql(api, POD, id=number)["data"], shop.meter()["billing_now"]) == ({"pod": None}, 0)


def test_a_shown_pod_that_is_not_up_has_no_runtime_though_it_should_run(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("stuck_loading")
    row = _pod(api, rent_pod(api))
    assert (row["desiredStatus"], row["runtime"]) == ("RUNNING", None)


def test_the_start_command_may_be_a_shell_string_or_json(api: httpx.Client) -> None:
    for told in ("sh -c 'echo told; sleep 1000'", '{"entrypoint": ["sh", "-c"], "cmd": ["echo told; sleep 1000"]}'):
        number = graphql(api, DEPLOY, input=_order(dockerArgs=told))["data"]["podFindAndDeployOnDemand"]["id"]
        assert log_until(api, number, "told", source="container")


def test_what_the_service_cannot_do_is_an_error_with_status_200(shop: RunningMarket, api: httpx.Client) -> None:
    shop.action("set_stock", gpu=GPU, free=0)
    answer = graphql(api, DEPLOY, input=_order())
    assert answer["data"] == {"podFindAndDeployOnDemand": None}
    assert answer["errors"][0]["message"].startswith("There are no longer any instances available")


def test_the_service_itself_can_end_a_pod_at_its_time(shop: RunningMarket, api: httpx.Client) -> None:
    soon = dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=2)
    ends = graphql(api, DEPLOY, input=_order(terminateAfter=soon.isoformat()))["data"]["podFindAndDeployOnDemand"]["id"]
    stops = graphql(api, DEPLOY, input=_order(stopAfter=soon.isoformat()))["data"]["podFindAndDeployOnDemand"]["id"]
    shop.action("advance", seconds=3 * 3600)
    wait_until(lambda: [pod["id"] for pod in api.get("/v2/pods").json()["pods"]] == [stops])
    until_pod(api, stops, lambda row: row["status"] == "EXITED")
    assert graphql(api, POD, id=ends)["data"] == {"pod": None}


# 12: spot


def test_a_spot_pod_costs_its_bid_and_is_taken_away_with_a_warning(shop: RunningMarket, api: httpx.Client) -> None:
    script = "trap 'echo got the signal; exit 143' TERM; echo ready; while :; do sleep 0.05; done"
    bid = _lowest_bid(api)
    number = _rent_spot(api, dockerArgs=f'sh -c "{script}"')
    log_until(api, number, "ready")
    row = _pod(api, number)
    assert (row["podType"], row["costPerHr"]) == ("INTERRUPTABLE", pytest.approx(bid))
    shop.action("preempt", instance=number)
    log_until(api, number, "got the signal")
    until_pod(api, number, lambda one: one["status"] == "EXITED")
    gone = _pod(api, number)
    assert (gone["desiredStatus"], gone["runtime"], gone["lowestBidPriceToResume"]) == ("EXITED", None, bid)
    assert shop.meter()["billing_now"] == 0


def test_a_pod_that_does_not_heed_the_signal_is_killed(shop: RunningMarket, api: httpx.Client) -> None:
    number = _rent_spot(api, dockerArgs="sh -c \"trap '' TERM; echo ready; while :; do sleep 0.05; done\"")
    log_until(api, number, "ready")
    shop.action("preempt", instance=number)
    until_pod(api, number, lambda one: one["status"] == "EXITED")


def test_a_pod_can_be_preempted_by_itself_and_comes_back_for_a_bid(shop: RunningMarket, api: httpx.Client) -> None:
    shop.fault("preempt_after", seconds=0.1)
    number = _rent_spot(api)
    until_pod(api, number, lambda one: one["status"] == "EXITED")
    bid = {"podId": number, "gpuCount": 1, "bidPerGpu": _lowest_bid(api) / 2}
    low = graphql(api, BID_RESUME, input=bid)
    assert "lower than the minimum bid" in low["errors"][0]["message"]
    back = graphql(api, BID_RESUME, input={**bid, "bidPerGpu": 0.9})["data"]["podBidResume"]
    assert (back["desiredStatus"], back["costPerHr"]) == ("RUNNING", 0.9)
    until_up(api, number)


def test_a_bid_below_the_lowest_rents_nothing(shop: RunningMarket, api: httpx.Client) -> None:
    answer = graphql(api, SPOT, input=_order(bidPerGpu=0.01))
    assert (answer["data"]["podRentInterruptable"], shop.meter()["instances"]) == (None, [])


# 16: no


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ gpuTypes { id nonsense } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ __schema { types { name } } }", "GRAPHQL_VALIDATION_FAILED"),
        ('mutation { podTerminate(input: {podId: "a", x: 1}) }', "GRAPHQL_VALIDATION_FAILED"),
        ('mutation { podEditJob(input: {podId: "a", dockerArgs: "bash -c "x""}) { id } }', "GRAPHQL_PARSE_FAILED"),
    ],
)
def test_a_document_that_the_schema_does_not_know_is_a_400(api: httpx.Client, query: str, code: str) -> None:
    reply = api.post("/graphql", json={"query": query})
    assert (reply.status_code, reply.json()["errors"][0]["extensions"]["code"]) == (400, code)


def test_variables_of_another_type_are_a_400(api: httpx.Client) -> None:
    reply = api.post("/graphql", json={"query": SPOT, "variables": {"input": {"bidPerGpu": "much"}}})
    assert (reply.status_code, reply.json()["errors"][0]["extensions"]["code"]) == (400, "BAD_USER_INPUT")
    assert api.post("/graphql", content=b"nonsense").status_code == 400


@pytest.mark.parametrize(("code", "status"), [(410, 410), (404, 404), (400, 400)])
def test_graphql_can_be_gone_while_the_other_api_works(
    shop: RunningMarket, api: httpx.Client, code: int, status: int
) -> None:
    shop.fault("hide_graphql", code=code, times=None)
    replies = [api.post("/graphql", json={"query": MONEY}) for _ in range(2)]
    assert {reply.status_code for reply in replies} == {status}
    if code == 400:
        assert replies[0].json()["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    assert api.get("/v2/pods").status_code == 200


def test_a_pods_key_ends_itself_and_nothing_else(shop: RunningMarket, api: httpx.Client) -> None:
    own = rent_pod(api, cmd=["sh", "-c", "echo key=$RUNPOD_API_KEY; sleep 1000"])
    other = rent_pod(api)
    key = log_until(api, own, "key=")[-1]["line"].removeprefix("key=")
    with runpod_client(shop, key) as scoped:
        assert _pod(scoped, own)["id"] == own
        assert graphql(scoped, MONEY)["errors"]
        assert graphql(scoped, TERMINATE, id=other)["errors"]
        assert graphql(scoped, POD, id=other)["errors"]
        assert "errors" not in graphql(scoped, TERMINATE, id=own)
    assert act(api, own, "stop").status_code == 404
    assert show_pod(api, other)["id"] == other


def test_volumes_keys_and_registry_logins_are_the_same_ones(api: httpx.Client) -> None:
    made = graphql(
        api, 'mutation { createNetworkVolume(input: {name: "v", size: 20, dataCenterId: "EU-RO-1"}) { id size } }'
    )["data"]["createNetworkVolume"]
    assert [row["id"] for row in api.get("/v2/network-volumes").json()["networkVolumes"]] == [made["id"]]
    graphql(api, "mutation Gone($id: String!) { deleteNetworkVolume(input: {id: $id}) }", id=made["id"])
    assert api.get("/v2/network-volumes").json() == {"networkVolumes": []}
    graphql(api, 'mutation { updateUserSettings(input: {pubKey: "ssh-ed25519 AAAA me"}) { pubKey } }')
    assert api.get("/v2/account/ssh-keys").json() == {"keys": ["ssh-ed25519 AAAA me"]}
    login = graphql(api, 'mutation { saveRegistryAuth(input: {name: "r", username: "u", password: "p"}) { id name } }')[
        "data"
    ]["saveRegistryAuth"]
    assert graphql(api, "mutation Gone($id: String!) { deleteRegistryAuth(registryAuthId: $id) }", id=login["id"])[
        "data"
    ]
    assert api.get("/v2/registries").json() == {"registries": []}


def test_a_job_can_be_edited_and_a_cpu_pod_deployed(api: httpx.Client) -> None:
    cpu = graphql(
        api,
        "mutation Cpu($input: deployCpuPodInput!) { deployCpuPod(input: $input) { id gpuCount cpuFlavorId } }",
        input={"name": "c", "instanceId": "cpu3c-2-4", "templateId": "runpod-ubuntu", "imageName": "x"},
    )["data"]["deployCpuPod"]
    assert (cpu["gpuCount"], cpu["cpuFlavorId"]) == (0, "cpu3c")
    edit = 'mutation Edit($id: String!) { podEditJob(input: {podId: $id, dockerArgs: "sleep 7"}) { id dockerArgs } }'
    assert graphql(api, edit, id=cpu["id"])["data"]["podEditJob"]["dockerArgs"] == "sleep 7"
    assert show_pod(api, cpu["id"])["cmd"] == ["sleep", "7"]
