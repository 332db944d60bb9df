"""The Vast.ai adapter against the sandbox market: real HTTP, real machines, a billing meter that sees everything."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

import pytest
from providers_kit import access
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
)
from gpuplug.providers import Access
from gpuplug.providers.vast import VastProvider
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


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with market(seed=11) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: RunningMarket) -> Iterator[RunningMarket]:
    yield running
    running.reset()


@pytest.fixture
def vast(sandbox: RunningMarket) -> Iterator[VastProvider]:
    provider = VastProvider(Access(Secret(sandbox.vast_api_key), "VAST_API_KEY", sandbox.vast_url, "", SystemClock()))
    yield provider
    provider.close()


class Renting:
    """One rented instance with the keys that prove both ends."""

    def __init__(self, vast: VastProvider, label: str = "gp-sandbox") -> None:
        host, self.host_public = key_pair()
        user, user_public = key_pair()
        self.identity = Identity(user, self.host_public)
        self.spec = Spec("vastai/base-image", 20, Money.dollars(5), StartParams(host, user_public, "n0", 900, 3600, 0))
        self.vast = vast
        self.label = label

    def launch(self) -> str:
        return self.vast.launch(self.vast.offers(WISH).offers[0], self.spec, self.label)

    def running(self, instance_id: str) -> Instance:
        def check() -> Instance | None:
            found = self.vast.show(instance_id)
            return found if found is not None and found.state is InstanceState.RUNNING else None

        return until(check)

    def connect(self, instance: Instance) -> Connection:
        def check() -> Connection | None:
            try:
                return self.vast.connect(instance, self.identity)
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


def proven_gone(vast: VastProvider, instance_id: str) -> bool:
    return all(one.id != instance_id for one in vast.instances()) and vast.show(instance_id) is None


def said(connection: Connection, command: str) -> str:
    stream = connection.run(command)
    parts = iter(lambda: stream.read(4096), b"")
    text = b"".join(parts).decode()
    stream.close()
    return text


def test_offers_have_the_price_that_is_billed(vast: VastProvider, sandbox: RunningMarket) -> None:
    offers = vast.offers(WISH).offers
    assert offers == tuple(sorted(offers, key=lambda offer: offer.price))
    assert all(offer.simulated and offer.gpu == "RTX 4090" for offer in offers)
    renting = Renting(vast)
    instance_id = vast.launch(offers[0], renting.spec, renting.label)
    until(lambda: sandbox.meter()["billing_now"] or None)
    found = vast.show(instance_id)
    assert found is not None
    assert abs(found.price.micros - offers[0].price.micros) <= 1
    (metered,) = [one for one in sandbox.meter()["instances"] if str(one["id"]) == instance_id]
    assert metered["label"] == renting.label
    vast.terminate(instance_id)
    assert proven_gone(vast, instance_id)
    assert sandbox.meter()["billing_now"] == 0


def test_a_rented_machine_is_proven_entered_and_its_switch_is_armed(vast: VastProvider) -> None:
    renting = Renting(vast)
    instance = renting.running(renting.launch())
    assert [one.label for one in vast.instances()] == [renting.label]
    connection = renting.connect(instance)
    state = until(lambda: found if (found := said(connection, "cat ~/.gpuplug/switch/state")) == "armed\n" else None)
    assert state == "armed\n"
    connection.close()
    line = f"gpuplug-hostkey n0 {renting.host_public}"
    assert until(lambda: True if line in vast.logs(instance).splitlines() else None)
    vast.terminate(instance.id)
    assert proven_gone(vast, instance.id)


def test_another_host_key_than_the_pinned_one_is_refused_on_both_ways(
    vast: VastProvider, sandbox: RunningMarket
) -> None:
    sandbox.fault("fixed_host_key")
    renting = Renting(vast)
    instance = renting.running(renting.launch())

    def refused() -> HostKeyError | None:
        try:
            vast.connect(instance, renting.identity)
        except HostKeyError as error:
            return error
        except NotReadyError:
            return None
        pytest.fail("it connected")

    assert until(refused).seen.startswith("ssh-ed25519 ")
    vast.terminate(instance.id)


def test_without_direct_ports_the_proxy_is_used(vast: VastProvider, sandbox: RunningMarket) -> None:
    sandbox.fault("no_direct_ports")
    renting = Renting(vast)
    instance = renting.running(renting.launch())
    assert [endpoint.via for endpoint in instance.endpoints] == ["proxy"]
    connection = renting.connect(instance)
    assert said(connection, "echo in") == "in\n"
    connection.close()
    vast.terminate(instance.id)


@pytest.mark.parametrize("fault", ["drop_after", "error_after", "truncate"])
def test_a_create_with_a_lost_answer_is_found_by_its_label(
    vast: VastProvider, sandbox: RunningMarket, fault: str
) -> None:
    sandbox.fault(fault, point="create")
    renting = Renting(vast)
    with pytest.raises(UnknownOutcomeError):
        renting.launch()
    (found,) = vast.instances()
    assert found.label == renting.label
    assert len(sandbox.requests("create")) == 1
    vast.terminate(found.id)
    assert proven_gone(vast, found.id)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("taken", OfferGoneError),
        ("not_started", OfferGoneError),
        ("insufficient_credit", NoCreditError),
        ("quota", NotReadyError),
    ],
)
def test_a_clean_refusal_makes_nothing(
    vast: VastProvider, sandbox: RunningMarket, fault: str, kind: type[Exception]
) -> None:
    sandbox.fault(fault, **({"point": "create"} if fault == "quota" else {}))
    with pytest.raises(kind):
        Renting(vast).launch()
    assert vast.instances() == []
    assert sandbox.meter()["billing_now"] == 0


def test_a_host_that_cannot_start_it_is_failed(vast: VastProvider, sandbox: RunningMarket) -> None:
    sandbox.fault("host_failure")
    instance_id = Renting(vast).launch()

    def failed() -> Instance | None:
        found = vast.show(instance_id)
        return found if found is not None and found.state is InstanceState.FAILED else None

    assert "OCI" in until(failed).status
    vast.terminate(instance_id)


def test_an_end_that_did_nothing_is_seen_in_the_list(vast: VastProvider, sandbox: RunningMarket) -> None:
    instance_id = Renting(vast).launch()
    sandbox.fault("lying_destroy")
    vast.terminate(instance_id)
    assert not proven_gone(vast, instance_id)
    vast.terminate(instance_id)
    assert proven_gone(vast, instance_id)
    vast.terminate(instance_id)


@pytest.mark.parametrize("fault", ["drop_after", "error_after"])
def test_an_end_with_a_lost_answer_is_an_end(vast: VastProvider, sandbox: RunningMarket, fault: str) -> None:
    instance_id = Renting(vast).launch()
    sandbox.fault(fault, point="destroy")
    try:
        vast.terminate(instance_id)
    except ProviderError:
        vast.terminate(instance_id)
    assert proven_gone(vast, instance_id)


def test_more_instances_than_a_page_are_all_listed(vast: VastProvider) -> None:
    offers = vast.offers(Query()).offers
    made = [vast.launch(offers[n], Renting(vast).spec, f"gp-many-{n}") for n in range(min(27, len(offers)))]
    assert len(made) == 27
    assert sorted(one.id for one in vast.instances()) == sorted(made)
    for instance_id in made:
        vast.terminate(instance_id)


def test_a_wrong_key_is_told(sandbox: RunningMarket) -> None:
    wrong = VastProvider(access(sandbox.vast_url))
    with pytest.raises(AuthError, match="the environment variable VAST_API_KEY"):
        wrong.instances()
    wrong.close()
