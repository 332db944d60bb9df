"""Reading what is rented at Vast.ai: lists, single rows, states, addresses, logs, and the way in."""

from __future__ import annotations

import base64
import datetime as dt
import json
import socket
from typing import TYPE_CHECKING

import pytest
from providers_kit import Answer, Api, Seen
from switch_kit import key_pair
from vast_kit import LABEL, LIST, LOGS, SHOW, instance_row, listed, scripted

from gpuplug.errors import AuthError, NotReadyError, ProviderError, ReplyError
from gpuplug.providers.vast import rows
from gpuplug.types import Endpoint, Identity, Instance, InstanceState, Money

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuplug.providers.vast import VastProvider
    from gpuplug.testing import FakeClock

Parts = tuple[Api, "VastProvider", "FakeClock"]
S = InstanceState


@pytest.fixture
def market() -> Iterator[Parts]:
    with scripted() as parts:
        yield parts


def shown(**changes: object) -> Answer:
    return Answer({"instances": instance_row(**changes)})


def test_the_list_is_read_page_by_page_from_the_second_version_of_the_route(market: Parts) -> None:
    api, vast, _ = market

    def page(seen: Seen) -> Answer:
        start = 25 if "after_token=abc" in seen.path else 0
        numbers = range(start + 1, start + 26 if not start else 31)
        return listed(*(instance_row(id=n) for n in numbers), next_token=None if start else "abc")

    api.on(LIST, page)
    assert [one.id for one in vast.instances()] == [str(number) for number in range(1, 31)]
    assert [one.path.partition("?")[0] for one in api.seen] == ["/api/v1/instances/"] * 2
    assert "limit=25" in api.seen[0].path


def test_only_instances_with_our_label_are_listed(market: Parts) -> None:
    api, vast, _ = market
    others = [instance_row(id=n, label=label) for n, label in enumerate([None, "", "mine", "xgp-1", 5, ["gp-"]], 1)]
    api.on(LIST, listed(*others, instance_row()))
    assert [one.label for one in vast.instances()] == [LABEL]


@pytest.mark.parametrize("token", ["same", "other"])
def test_a_list_without_end_is_an_error(market: Parts, token: str) -> None:
    api, vast, _ = market
    counter = iter(range(10_000))
    api.on(LIST, lambda _: listed(next_token=token if token == "same" else f"t{next(counter)}"))
    with pytest.raises(ReplyError, match="no end"):
        vast.instances()


@pytest.mark.parametrize(
    "answer",
    [
        listed(instance_row(id=None)),
        listed(None),
        listed("row"),
        Answer({"success": True}),
        Answer({"instances": {}}),
        Answer('{"instances": [], "instances": []}'),
        Answer("<html>"),
        listed(next_token=7),  # type: ignore[arg-type]
        Answer({"success": False, "error": "invalid_token"}, 400),
        Answer({"success": False, "instances": []}),
    ],
)
def test_a_list_that_is_not_whole_is_an_error_since_absence_proves_an_end(market: Parts, answer: Answer) -> None:
    api, vast, _ = market
    api.on(LIST, answer)
    with pytest.raises(ProviderError):
        vast.instances()


def test_the_second_page_failing_fails_the_list(market: Parts) -> None:
    api, vast, _ = market
    api.on(LIST, listed(instance_row(), next_token="t"), Answer("", 500))
    with pytest.raises(ReplyError):
        vast.instances()


def test_a_damaged_row_stays_in_the_list_since_it_may_bill(market: Parts) -> None:
    api, vast, _ = market
    odd = {"id": 7001, "label": LABEL, "dph_total": "a lot", "start_date": "NaN", "ports": 5, "actual_status": 3}
    api.on(LIST, listed(odd))
    (found,) = vast.instances()
    assert (found.id, found.state, found.endpoints, found.started) == ("7001", S.UNKNOWN, (), None)


def test_one_instance_is_read_with_everything_it_tells(market: Parts) -> None:
    api, vast, _ = market
    api.on(SHOW, shown())
    found = vast.show("7001")
    assert found == Instance(
        provider="vast",
        id="7001",
        label=LABEL,
        state=S.RUNNING,
        price=Money(131_259),
        gpu="RTX 4090",
        gpu_count=1,
        machine="143413",
        status="success, running pytorch/pytorch/ssh",
        endpoints=(Endpoint("203.0.113.7", 30022, via="direct"), Endpoint("ssh5.vast.ai", 17001, via="proxy")),
        started=dt.datetime.fromtimestamp(1763700000.25, dt.timezone.utc),
    )
    assert api.seen[0].path.endswith("/7001/?owner=me")


@pytest.mark.parametrize(
    "answer", [Answer({"instances": None}), Answer({"success": False, "error": "no_such_instance"}, 404)]
)
def test_a_missing_instance_is_none(market: Parts, answer: Answer) -> None:
    api, vast, _ = market
    api.on(SHOW, answer)
    assert vast.show("7001") is None


@pytest.mark.parametrize(
    "answer",
    [
        Answer({}),
        Answer({"instances": []}),
        Answer({"instances": 0}),
        Answer({"instances": instance_row(id=7002)}),
        Answer({"success": False, "error": "not_found"}, 404),
        Answer({"success": False, "error": "deprecated_endpoint"}, 410),
        Answer("", 404),
        Answer("null"),
        Answer('{"instances": null, "instances": null}'),
    ],
)
def test_no_other_answer_passes_for_missing(market: Parts, answer: Answer) -> None:
    api, vast, _ = market
    api.on(SHOW, answer)
    with pytest.raises(ProviderError):
        vast.show("7001")


def test_a_bad_key_is_not_taken_for_a_missing_instance(market: Parts) -> None:
    api, vast, _ = market
    api.on(SHOW, Answer({"success": False, "error": "auth_error", "msg": "Invalid user key"}, 404))
    with pytest.raises(AuthError):
        vast.show("7001")


OCI = "Error response from daemon: failed to create shim: OCI runtime create failed: nvidia-container-cli"


@pytest.mark.parametrize(
    ("actual", "current", "intended", "status", "state"),
    [
        (None, "running", "running", "", S.BOOTING),
        ("", "running", "running", "", S.BOOTING),
        ("loading", "running", "running", "a1b2c3: Pulling fs layer", S.BOOTING),
        ("loading", "stopped", "running", "", S.BOOTING),
        ("scheduling", "stopped", "running", "", S.BOOTING),
        ("created", "running", "running", "", S.BOOTING),
        ("running", "running", "running", "success", S.RUNNING),
        ("Running", "running", "stopped", "", S.RUNNING),
        ("exited", "stopped", "stopped", "", S.STOPPED),
        ("exited", "running", "running", "", S.BOOTING),
        ("exited", "stopped", "running", "", S.BOOTING),
        ("stopped", "stopped", "stopped", "", S.STOPPED),
        (None, "stopped", "stopped", "", S.STOPPED),
        ("created", "stopped", "stopped", OCI, S.FAILED),
        ("created", "stopped", "stopped", "", S.FAILED),
        ("loading", "running", "running", OCI, S.FAILED),
        ("offline", "running", "running", "", S.UNKNOWN),
        ("unknown", "running", "running", "", S.UNKNOWN),
        ("frozen", "running", "running", "", S.UNKNOWN),
        ("brand new word", "running", "running", "", S.UNKNOWN),
        ([], "running", "running", "", S.BOOTING),
    ],
)
def test_each_situation_has_its_state(
    actual: object, current: str, intended: str, status: str, state: InstanceState
) -> None:
    row = instance_row(actual_status=actual, cur_state=current, intended_status=intended, status_msg=status)
    found = rows.instance(row)
    assert found is not None
    assert found.state is state


def test_a_stopped_instance_costs_its_disk_and_any_other_the_whole_price() -> None:
    stopped = rows.instance(instance_row(actual_status="exited", intended_status="stopped"))
    booting = rows.instance(instance_row(actual_status="loading"))
    assert stopped is not None
    assert booting is not None
    assert stopped.price == Money.dollars("0.025925")
    assert booting.price == Money(131_259)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"ports": None}, ["ssh5.vast.ai:17001"]),
        ({"ports": {}}, ["ssh5.vast.ai:17001"]),
        ({"ports": {"22/tcp": []}}, ["ssh5.vast.ai:17001"]),
        ({"ports": [22]}, ["ssh5.vast.ai:17001"]),
        ({"ports": {"22/tcp": [{"HostPort": "70000"}]}}, ["ssh5.vast.ai:17001"]),
        ({"public_ipaddr": None}, ["ssh5.vast.ai:17001"]),
        ({"public_ipaddr": "-oProxyCommand=id"}, ["ssh5.vast.ai:17001"]),
        ({"public_ipaddr": "2001:db8::1\n"}, ["2001:db8::1:30022", "ssh5.vast.ai:17001"]),
        ({"ssh_host": "evil host"}, ["203.0.113.7:30022"]),
        ({"ssh_port": 0}, ["203.0.113.7:30022"]),
        ({"ssh_host": None, "ports": None}, []),
    ],
)
def test_only_addresses_that_are_addresses_are_used(changes: dict[str, object], found: list[str]) -> None:
    instance = rows.instance(instance_row(**changes))
    assert instance is not None
    assert [f"{one.host}:{one.port}" for one in instance.endpoints] == found


def instance() -> Instance:
    found = rows.instance(instance_row())
    assert found is not None
    return found


def test_the_log_is_polled_until_it_is_there_and_fetched_without_the_key(market: Parts) -> None:
    api, vast, clock = market
    api.on(LOGS, Answer({"success": True, "result_url": f"{api.url}/logs/x.log", "msg": ""}))
    api.on("GET /logs/x.log", Answer("", 403), Answer("", 404), Answer("gpuplug-hostkey n ssh-ed25519 A\n\u00e9"))
    assert vast.logs(instance()).splitlines() == ["gpuplug-hostkey n ssh-ed25519 A", "\u00e9"]
    assert clock.slept == [0.3, 0.3]
    assert isinstance(api.calls("PUT")[0].json["tail"], str)
    assert not [one for one in api.calls("GET", "/logs") if "authorization" in one.headers]


def test_a_log_that_never_appears_is_empty_after_nine_seconds(market: Parts) -> None:
    api, vast, clock = market
    api.on(LOGS, Answer({"success": True, "result_url": f"{api.url}/logs/x.log"}))
    assert vast.logs(instance()) == ""
    assert 9 <= clock.monotonic() < 10


@pytest.mark.parametrize("answer", [Answer({"success": True}), Answer({"error": "no_such_instance"}, 404)])
def test_no_log_is_empty_text(market: Parts, answer: Answer) -> None:
    api, vast, _ = market
    api.on(LOGS, answer)
    assert vast.logs(instance()) == ""


@pytest.mark.parametrize("url", ["http://example.com/x.log", "file:///etc/passwd", "https://u:p@example.com/"])
def test_a_log_elsewhere_without_tls_is_not_fetched(market: Parts, url: str) -> None:
    api, vast, _ = market
    api.on(LOGS, Answer({"success": True, "result_url": url}))
    with pytest.raises(ReplyError):
        vast.logs(instance())


@pytest.mark.parametrize(
    "answer", [Answer("", 500), Answer("", 302, {"Location": "/x"}), Answer("x" * ((8 << 20) + 1))]
)
def test_a_log_that_cannot_be_read_is_an_error(market: Parts, answer: Answer) -> None:
    api, vast, _ = market
    api.on(LOGS, Answer({"success": True, "result_url": f"{api.url}/logs/x.log"}))
    api.on("GET /logs/x.log", answer)
    with pytest.raises(ReplyError):
        vast.logs(instance())


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_without_anything_that_listens_it_is_not_ready_and_both_ways_are_named(market: Parts) -> None:
    _, vast, _ = market
    private, public = key_pair()
    row = instance_row(
        public_ipaddr="127.0.0.1",
        ports={"22/tcp": [{"HostPort": str(closed_port())}]},
        ssh_host="127.0.0.1",
        ssh_port=closed_port(),
    )
    found = rows.instance(row)
    assert found is not None
    with pytest.raises(NotReadyError, match=r"direct: .*; proxy: "):
        vast.connect(found, Identity(private, public))


def test_without_an_address_it_is_not_ready(market: Parts) -> None:
    _, vast, _ = market
    private, public = key_pair()
    found = rows.instance(instance_row(ssh_host=None, ports=None))
    assert found is not None
    with pytest.raises(NotReadyError, match="no address"):
        vast.connect(found, Identity(private, public))


def test_a_token_of_the_provider_is_passed_back_unread(market: Parts) -> None:
    api, vast, _ = market
    token = base64.b64encode(json.dumps({"values": {"id": 123}}).encode()).decode()
    api.on(LIST, listed(instance_row(id=123), next_token=token), listed(instance_row(id=124)))
    assert len(vast.instances()) == 2
    assert "after_token=eyJ2YWx1ZXMi" in api.seen[1].path


@pytest.mark.parametrize(
    ("told", "rights", "lacking"),
    [
        (
            {"api": {"user_read": {}, "instance_write": {}, "instance_read": {}}},
            ("instance_read", "instance_write", "user_read"),
            (),
        ),
        ('{"api": {"instance_read": {}}}', ("instance_read",), ("user_read", "instance_write")),
        ({"read": True, "write": False}, ("read",), ("write",)),
        ("read", ("read",), ("write",)),
        ("admin", ("admin",), ()),
        ({"api": ["user_read"]}, (), ()),
        ("{torn", ("{torn",), ()),
        (None, (), ()),
        (7, (), ()),
    ],
)
def test_the_rights_of_the_key_are_read_in_every_form_and_never_guessed(
    told: object, rights: tuple[str, ...], lacking: tuple[str, ...]
) -> None:
    listed = [{"id": 1, "rights": "other"}, {"id": 2, "rights": told}, "nonsense"]
    assert rows.key_rights(2, listed) == rights
    assert rows.lacking(rights) == lacking
    assert rows.key_rights(3, listed) == rows.key_rights(None, listed) == rows.key_rights(2, None) == ()
