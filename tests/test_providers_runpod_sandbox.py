"""The RunPod adapter against the sandbox: real HTTP, real machines, a billing meter that sees everything."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from runpod_kit import runpod_client
from runpod_rows_kit import access, greets
from sandbox_kit import RunningMarket, market
from switch_kit import key_pair

from gpuplug.errors import (
    AuthError,
    HostKeyError,
    NoCreditError,
    NotReadyError,
    OfferGoneError,
    ProviderError,
    UnknownOutcomeError,
    UsageError,
)
from gpuplug.providers import Access
from gpuplug.providers.runpod import RunpodProvider
from gpuplug.streams.ssh import rotate_host_key
from gpuplug.testing import FakeClock
from gpuplug.types import (
    GpuWish,
    Identity,
    Instance,
    InstanceState,
    Money,
    Query,
    Secret,
    Spec,
    StartParams,
    SystemClock,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpuplug.streams import Connection

T = TypeVar("T")
WISH = Query(gpus=(GpuWish("RTX_4090"),))
WAIT_S = 40.0
BARE = "ubuntu:24.04"
OFFICIAL = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with market(seed=11) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: RunningMarket) -> Iterator[RunningMarket]:
    yield running
    running.reset()


def provider(sandbox: RunningMarket, key: str | None = None) -> RunpodProvider:
    secret = Secret(sandbox.runpod_api_key if key is None else key)
    return RunpodProvider(Access(secret, "RUNPOD_API_KEY", sandbox.runpod_api_base_url, "", SystemClock()))


@pytest.fixture
def runpod(sandbox: RunningMarket) -> Iterator[RunpodProvider]:
    made = provider(sandbox)
    yield made
    made.close()


class Renting:
    """One rented pod with the keys that prove both ends."""

    def __init__(self, runpod: RunpodProvider, label: str = "gp-sandbox", **terms: Any) -> None:  # noqa: ANN401 - Spec's
        host, self.host_public = key_pair()
        self.user, user_public = key_pair()
        self.identity = Identity(self.user, self.host_public)
        start = StartParams(host, user_public, "n0", terms.pop("lease_s", 900), 3600, 0)
        self.spec = Spec(**{"image": OFFICIAL, "disk_gb": 20, "max_price": Money.dollars(5), "start": start, **terms})
        self.runpod = runpod
        self.label = label

    def launch(self) -> str:
        return self.runpod.launch(self.runpod.offers(WISH).offers[0], self.spec, self.label)

    def running(self, instance_id: str) -> Instance:
        def check() -> Instance | None:
            found = self.runpod.show(instance_id)
            return found if found is not None and found.state is InstanceState.RUNNING else None

        return until(check)

    def connect(self, instance_id: str) -> Connection:
        """Read the address anew before each try, as the engine does: after a start the first one is the old one."""

        def check() -> Connection | None:
            try:
                found = self.runpod.show(instance_id)
                return None if found is None else self.runpod.connect(found, self.identity)
            except (NotReadyError, HostKeyError):
                return None

        return until(check)


def until(check: Callable[[], T | None]) -> T:
    """Ask again and again, as the engine does, until there is an answer."""
    end = time.monotonic() + WAIT_S
    pause = threading.Event()
    while (found := check()) is None:
        assert time.monotonic() < end, "not seen in time"
        pause.wait(0.1)
    return found


def proven_gone(runpod: RunpodProvider, instance_id: str) -> bool:
    return all(one.id != instance_id for one in runpod.instances()) and runpod.show(instance_id) is None


def said(connection: Connection, command: str) -> str:
    stream = connection.run(command)
    parts = iter(lambda: stream.read(4096), b"")
    text = b"".join(parts).decode()
    stream.close()
    return text


def test_offers_have_the_price_that_is_billed(runpod: RunpodProvider, sandbox: RunningMarket) -> None:
    query = Query(gpus=(GpuWish("RTX_4090"),), volume_gb=30)
    offers = runpod.offers(query).offers
    assert offers == tuple(sorted(offers, key=lambda offer: offer.price))
    assert all(offer.simulated and offer.gpu == "RTX 4090" for offer in offers)
    renting = Renting(runpod, volume_gb=30)
    instance_id = runpod.launch(offers[0], renting.spec, renting.label)
    found = renting.running(instance_id)
    assert found.price == offers[0].price
    (metered,) = [one for one in sandbox.meter()["instances"] if one["id"] == instance_id]
    assert (metered["label"], metered["billing"]) == (renting.label, True)
    runpod.terminate(instance_id)
    assert proven_gone(runpod, instance_id)
    assert sandbox.meter()["billing_now"] == 0


@pytest.mark.parametrize("image", [OFFICIAL, BARE])
def test_an_image_with_or_without_an_ssh_server_is_entered_with_no_set_up(runpod: RunpodProvider, image: str) -> None:
    renting = Renting(runpod, image=image)
    instance_id = renting.launch()
    assert [one.label for one in runpod.instances()] == [renting.label]
    connection = renting.connect(instance_id)
    state = until(lambda: found if (found := said(connection, "cat ~/.gpuplug/switch/state")) == "armed\n" else None)
    assert state == "armed\n"
    connection.close()
    instance = renting.running(instance_id)
    line = f"gpuplug-hostkey n0 {renting.host_public}"
    assert until(lambda: True if line in runpod.logs(instance).splitlines() else None)
    runpod.terminate(instance_id)
    assert proven_gone(runpod, instance_id)


def test_another_host_key_than_the_pinned_one_is_refused(runpod: RunpodProvider, sandbox: RunningMarket) -> None:
    sandbox.fault("fixed_host_key")
    renting = Renting(runpod)
    instance_id = renting.launch()

    def refused() -> HostKeyError | None:
        try:
            runpod.connect(renting.running(instance_id), renting.identity)
        except HostKeyError as error:
            return error
        except NotReadyError:
            return None
        pytest.fail("it connected")

    assert until(refused).seen.startswith("ssh-ed25519 ")
    runpod.terminate(instance_id)


def test_a_pod_without_a_public_address_says_so(runpod: RunpodProvider, sandbox: RunningMarket) -> None:
    sandbox.fault("no_direct_ports")
    renting = Renting(runpod)
    instance = renting.running(renting.launch())
    assert instance.endpoints == ()
    with pytest.raises(NotReadyError, match="no public address"):
        runpod.connect(instance, renting.identity)
    runpod.terminate(instance.id)


def test_the_switch_ends_the_bill_when_nobody_is_in_touch(runpod: RunpodProvider, sandbox: RunningMarket) -> None:
    renting = Renting(runpod, lease_s=3)
    instance_id = renting.launch()
    until(lambda: sandbox.meter()["billing_now"] or None)
    assert until(lambda: True if sandbox.meter()["billing_now"] == 0 else None)
    assert until(lambda: True if proven_gone(runpod, instance_id) else None)


@pytest.mark.parametrize("fault", ["drop_after", "error_after", "truncate"])
def test_a_create_with_a_lost_answer_is_found_by_its_label(
    runpod: RunpodProvider, sandbox: RunningMarket, fault: str
) -> None:
    sandbox.fault(fault, point="pod_create")
    renting = Renting(runpod)
    with pytest.raises(UnknownOutcomeError):
        renting.launch()
    (found,) = runpod.instances()
    assert found.label == renting.label
    assert len(sandbox.requests("pod_create")) == 1
    runpod.terminate(found.id)
    assert proven_gone(runpod, found.id)


@pytest.mark.parametrize(
    ("fault", "parameters", "kind"),
    [
        ("capacity", {}, OfferGoneError),
        ("insufficient_credit", {}, NoCreditError),
        ("rate_limit", {"point": "pod_create"}, NotReadyError),
        ("cloudflare", {"point": "pod_create"}, ProviderError),
    ],
)
def test_a_clean_refusal_makes_nothing(
    runpod: RunpodProvider, sandbox: RunningMarket, fault: str, parameters: dict[str, str], kind: type[Exception]
) -> None:
    sandbox.fault(fault, **parameters)
    with pytest.raises(kind) as caught:
        Renting(runpod).launch()
    assert not isinstance(caught.value, AuthError | UnknownOutcomeError)
    clean = provider(sandbox)
    assert clean.instances() == []
    clean.close()
    assert sandbox.meter()["billing_now"] == 0


def test_a_host_that_cannot_start_it_is_failed(runpod: RunpodProvider, sandbox: RunningMarket) -> None:
    sandbox.fault("host_failure")
    instance_id = Renting(runpod).launch()

    def failed() -> Instance | None:
        found = runpod.show(instance_id)
        return found if found is not None and found.state is InstanceState.FAILED else None

    assert until(failed).state is InstanceState.FAILED
    runpod.terminate(instance_id)


def test_an_end_that_did_nothing_is_seen_in_the_list(runpod: RunpodProvider, sandbox: RunningMarket) -> None:
    instance_id = Renting(runpod).launch()
    sandbox.fault("lying_destroy")
    runpod.terminate(instance_id)
    assert not proven_gone(runpod, instance_id)
    runpod.terminate(instance_id)
    assert proven_gone(runpod, instance_id)
    runpod.terminate(instance_id)


@pytest.mark.parametrize("fault", ["drop_after", "error_after"])
def test_an_end_with_a_lost_answer_is_an_end(runpod: RunpodProvider, sandbox: RunningMarket, fault: str) -> None:
    instance_id = Renting(runpod).launch()
    sandbox.fault(fault, point="pod_destroy")
    try:
        runpod.terminate(instance_id)
    except ProviderError:
        runpod.terminate(instance_id)
    assert proven_gone(runpod, instance_id)


def test_more_pods_than_a_page_are_all_listed(runpod: RunpodProvider, sandbox: RunningMarket) -> None:
    sandbox.action("pagination", size=2)
    offer = runpod.offers(Query()).offers[0]
    made = [runpod.launch(offer, Renting(runpod).spec, f"gp-many-{n}") for n in range(3)]
    assert sorted(one.id for one in runpod.instances()) == sorted(made)
    assert len(sandbox.requests("pod_list")) == 2
    for instance_id in made:
        runpod.terminate(instance_id)


def test_a_stop_keeps_the_volume_and_its_bill_and_a_start_proves_the_same_host_at_another_port(
    runpod: RunpodProvider, sandbox: RunningMarket
) -> None:
    renting = Renting(runpod, volume_gb=30)
    instance_id = renting.launch()
    connection = renting.connect(instance_id)
    renting.identity = Identity(renting.user, rotate_host_key(connection))
    said(connection, "mkdir -p ~/gpuplug/nb; echo kept >~/gpuplug/nb/out.txt; echo lost >~/lost.txt")
    kept = "/workspace/.gpuplug/gp-sandbox/host_key"
    key = said(connection, "cat /etc/ssh/ssh_host_ed25519_key")
    until(lambda: True if said(connection, f"cat {kept}") == key else None)
    connection.close()
    before = renting.running(instance_id)

    runpod.stop(instance_id)
    stopped = until(lambda: found if (found := runpod.show(instance_id)) and not found.endpoints else None)
    assert stopped.state is InstanceState.STOPPED
    assert stopped.price == runpod.offers(Query(volume_gb=30)).offers[0].stopped_price
    runpod.stop(instance_id)
    until(lambda: None if greets(before.endpoints[0]) else True)

    runpod.start(instance_id)
    connection = renting.connect(instance_id)
    assert said(connection, "cat ~/gpuplug/nb/out.txt; ls ~") == "kept\ngpuplug\n"
    until(lambda: True if said(connection, "cat ~/.gpuplug/switch/state") == "armed\n" else None)
    connection.close()
    assert renting.running(instance_id).endpoints != before.endpoints
    runpod.terminate(instance_id)
    assert proven_gone(runpod, instance_id)
    assert sandbox.meter()["billing_now"] == 0


def test_a_network_volume_holds_its_pods_in_its_data_center(runpod: RunpodProvider, sandbox: RunningMarket) -> None:
    with runpod_client(sandbox) as api:
        query = {"include": "AVAILABILITY", "product": "POD", "count": "1", "cloud": "SECURE"}
        (row,) = [gpu for gpu in api.get("/v2/catalog/gpus", params=query).json()["gpus"] if gpu["name"] == "RTX 4090"]
        centers = [one["id"] for one in row["dataCenters"] if one["availability"] != "NONE"]
        body = {"name": "data", "size": 50, "dataCenter": centers[0]}
        made = next(
            reply
            for one in centers
            if (reply := api.post("/v2/network-volumes", json={**body, "dataCenter": one})).is_success
        )
        volume = made.json()
        wished = Query(gpus=(GpuWish("RTX_4090"),), network_volume=volume["id"])
        (offer,) = runpod.offers(wished).offers
        assert offer.region == volume["dataCenter"]
        renting = Renting(runpod, network_volume=volume["id"])
        instance_id = runpod.launch(offer, renting.spec, renting.label)
        connection = renting.connect(instance_id)
        assert said(connection, "ls -d /workspace/.gpuplug/gp-sandbox") == "/workspace/.gpuplug/gp-sandbox\n"
        connection.close()
        assert api.get(f"/v2/pods/{instance_id}").json()["dataCenterId"] == volume["dataCenter"]
        runpod.terminate(instance_id)
        assert proven_gone(runpod, instance_id)
        assert api.delete(f"/v2/network-volumes/{volume['id']}").is_success


def test_a_pod_without_a_volume_is_not_stopped(runpod: RunpodProvider) -> None:
    instance_id = Renting(runpod).launch()
    with pytest.raises(UsageError, match="no volume"):
        runpod.stop(instance_id)
    runpod.terminate(instance_id)


def test_the_balance_is_told_and_none_when_graphql_is_gone(runpod: RunpodProvider, sandbox: RunningMarket) -> None:
    told = runpod.account().balance
    assert told is not None
    assert told > Money(0)
    for code in (404, 410, 400):
        sandbox.fault("hide_graphql", code=code)
        assert runpod.account().balance is None


def test_prices_are_read_without_a_key(runpod: RunpodProvider, sandbox: RunningMarket) -> None:
    keyless = provider(sandbox, "")
    with_key = {offer.id: offer.price for offer in runpod.offers(WISH).offers}
    assert {offer.id: offer.price for offer in keyless.offers(WISH).offers} == with_key
    keyless.close()


def test_a_spot_machine_is_rented_at_its_bid_and_its_end_is_seen(
    runpod: RunpodProvider, sandbox: RunningMarket
) -> None:
    offer = runpod.offers(Query(gpus=(GpuWish("RTX_4090"),), spot=True, volume_gb=20)).offers[0]
    renting = Renting(runpod, bid=offer.min_bid, volume_gb=20)
    instance_id = runpod.launch(offer, renting.spec, renting.label)
    found = renting.running(instance_id)
    assert (found.spot, found.label, found.price) == (True, renting.label, offer.price)
    renting.connect(instance_id).close()
    sandbox.action("preempt", instance=instance_id)
    gone = until(lambda: f if (f := runpod.show(instance_id)) and f.state is InstanceState.STOPPED else None)
    assert gone.spot
    runpod.start(instance_id)
    renting.connect(instance_id).close()
    runpod.terminate(instance_id)
    assert proven_gone(runpod, instance_id)


def test_a_wrong_key_is_told(sandbox: RunningMarket) -> None:
    wrong = RunpodProvider(access(sandbox.runpod_api_base_url, FakeClock()))
    with pytest.raises(AuthError, match="the environment variable RUNPOD_API_KEY"):
        wrong.instances()
    wrong.close()
