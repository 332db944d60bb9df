"""What RunPod says of pods, and what it is taken for: states, prices, addresses, logs, rest, balance."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from providers_kit import KEY, Answer
from runpod_rows_kit import (
    GRAPHQL,
    LABEL,
    LIST,
    LOGS,
    POD,
    SHOW,
    listed,
    pod_row,
    problem,
    schema,
    scripted,
)

from gpuplug.errors import (
    AuthError,
    HostError,
    NotReadyError,
    ProviderError,
    ReplyError,
    UnreachableError,
)
from gpuplug.types import Endpoint, Identity, Instance, InstanceState, Money, Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

    from providers_kit import Api, Seen

    from gpuplug.providers.runpod import RunpodProvider
    from gpuplug.testing import FakeClock

Parts = tuple["Api", "RunpodProvider", "FakeClock"]
VOLUME = {"persistent": {"size": 30, "path": "/workspace"}}
NETWORK = {"network": [{"volumeId": "agv6w2qcg7", "path": "/workspace"}]}


@pytest.fixture
def market() -> Iterator[Parts]:
    with scripted() as parts:
        yield parts


def shown(market: Parts, **changes: object) -> Instance:
    api, runpod, _ = market
    api.on(SHOW, Answer(pod_row(**changes)))
    found = runpod.show(POD)
    assert found is not None
    return found


def stream(*told: tuple[str, str], torn: str = "") -> Answer:
    """A log that is never over: the server says what there is and then waits for the reader to leave."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        handler.wfile.write(head.encode())
        for number, (source, line) in enumerate(told):
            data = json.dumps({"ts": "2026-11-20T10:00:00Z", "source": source, "line": line})
            piece = f"id: 2026-11-20T10:00:00Z/{number:012d}\ndata: {data}\n\n".encode()
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if torn:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(torn), torn.encode()))
        handler.wfile.flush()
        handler.rfile.read(1)

    return Answer(raw=send)


def test_the_rows_of_these_tests_have_every_field_that_a_pod_has() -> None:
    described = schema("Pod")["allOf"][1]
    assert set(described["required"]) <= set(pod_row())


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"status": "PROVISIONING", "runtime": None}, InstanceState.BOOTING),
        ({"status": "STARTING", "runtime": {}}, InstanceState.BOOTING),
        ({"status": "RUNNING", "runtime": None}, InstanceState.BOOTING),
        ({"status": "RUNNING", "runtime": {}}, InstanceState.BOOTING),
        ({"status": "RUNNING"}, InstanceState.RUNNING),
        ({"status": "EXITED", "runtime": None}, InstanceState.STOPPED),
        ({"status": "ERROR", "runtime": None}, InstanceState.FAILED),
        ({"status": "HIBERNATED"}, InstanceState.UNKNOWN),
        ({"status": None}, InstanceState.UNKNOWN),
    ],
)
def test_running_without_a_runtime_is_booting(market: Parts, changes: dict[str, object], state: InstanceState) -> None:
    assert shown(market, **changes).state is state


def test_a_pod_bills_its_gpus_and_its_disks(market: Parts) -> None:
    assert shown(market, mounts=VOLUME).price == Money.dollars(Decimal("0.69") + Decimal("0.10") * (20 + 30) / 730)


@pytest.mark.parametrize(("mounts", "dollars"), [(VOLUME, Decimal("0.20") * 30 / 730), ({}, 0), (NETWORK, 0)])
def test_a_stopped_pod_bills_its_volume_whatever_its_cost_says(
    market: Parts, mounts: dict[str, object], dollars: Decimal
) -> None:
    assert shown(market, status="EXITED", cost=0.69, mounts=mounts).price == Money.dollars(dollars)


def test_who_it_is(market: Parts) -> None:
    found = shown(market)
    assert (found.provider, found.id, found.label) == ("runpod", POD, LABEL)
    assert (found.gpu, found.gpu_count, found.machine) == ("RTX 4090", 1, "")
    assert found.started == dt.datetime(2026, 11, 20, 10, 0, 5, tzinfo=dt.timezone.utc)
    assert not found.spot
    assert shown(market, env={"GPUPLUG_ID": LABEL, "GPUPLUG_BID": "0.400000"}).spot


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({"name": "renamed in the console"}, LABEL),
        ({"env": {}}, LABEL),
        ({"name": LABEL, "env": {"GPUPLUG_ID": "gp-other"}}, "gp-other"),
        ({"name": "x", "env": None}, "x"),
    ],
)
def test_the_label_outlives_a_new_name(market: Parts, changes: dict[str, object], label: str) -> None:
    assert shown(market, **changes).label == label


def mapped(port: object, ip: object = "203.0.113.9", private: object = 22, kind: str = "tcp") -> dict[str, Any]:
    return {"private": private, "public": port, "type": kind, "ip": ip}


@pytest.mark.parametrize(
    ("direct", "ports", "found"),
    [
        ({"host": "203.0.113.7", "port": 30022}, [], [Endpoint("203.0.113.7", 30022)]),
        (None, [mapped(30023, "8.8.8.8")], [Endpoint("8.8.8.8", 30023)]),
        ({"host": "8.8.8.8", "port": 1}, [mapped(2, "8.8.8.8")], [Endpoint("8.8.8.8", 1), Endpoint("8.8.8.8", 2)]),
        ({"host": "8.8.8.8", "port": 1}, [mapped(1, "8.8.8.8")], [Endpoint("8.8.8.8", 1)]),
        (None, [mapped(30023, "100.65.0.9")], []),
        (None, [mapped(30023, None)], []),
        (None, [mapped(None, "8.8.8.8")], []),
        (None, [mapped(60001, "8.8.8.8", 19123, "http")], []),
        (None, [mapped(60001, "8.8.8.8", 22, "http")], []),
        (None, "ports", []),
        ({"host": "a b", "port": 22}, [], []),
        ({"host": "8.8.8.8", "port": 0}, [], []),
        (None, [], []),
    ],
)
def test_only_direct_ways_in_are_addresses(market: Parts, direct: object, ports: object, found: list[Endpoint]) -> None:
    ssh = {"proxy": {"host": "ssh.runpod.io", "port": 22, "username": "x", "command": ""}, "direct": direct}
    pod = shown(market, ssh=ssh, runtime={"uptime": 5, "ports": ports})
    assert pod.endpoints == tuple(found)


def test_a_stopped_pod_has_no_address_though_old_ports_are_listed(market: Parts) -> None:
    assert shown(market, status="EXITED").endpoints == ()


def test_the_pull_of_the_image_is_the_status_while_it_boots(market: Parts) -> None:
    api, _, clock = market
    api.on(LOGS, stream(("system", "create container"), ("system", "pulling 3 of 12 \x1b[2Jlayers")))
    assert shown(market, runtime=None).status == "pulling 3 of 12 [2Jlayers"
    assert shown(market, runtime=None).status == "pulling 3 of 12 [2Jlayers"
    assert len(api.calls("GET", LOGS[4:])) == 1
    clock.advance(60)
    api.on(LOGS, stream(("container", "Setting up openssh-server")))
    assert shown(market, runtime=None).status == "Setting up openssh-server"


@pytest.mark.parametrize("answer", [problem(404, "pod not found"), problem(500, "x"), Answer(hang_up=True), stream()])
def test_without_a_log_the_status_is_what_the_provider_says(market: Parts, answer: Answer) -> None:
    api, _, _ = market
    api.on(LOGS, answer)
    assert shown(market, status="STARTING", runtime=None).status == "starting"


def test_a_pod_that_failed_says_why_in_its_log(market: Parts) -> None:
    api, _, _ = market
    api.on(LOGS, stream(("system", "error creating container: no such image")))
    failed = shown(market, status="ERROR", runtime=None)
    assert (failed.state, failed.status) == (InstanceState.FAILED, "error creating container: no such image")


def test_the_log_of_the_container_is_read_though_it_has_no_end(market: Parts) -> None:
    api, runpod, _ = market
    api.on(LOGS, stream(("container", "one"), ("container", "gpuplug-hostkey n ssh-ed25519 AAAA"), torn="data: {"))
    assert runpod.logs(shown(market)) == "one\ngpuplug-hostkey n ssh-ed25519 AAAA"
    (seen,) = api.calls("GET", LOGS[4:])
    assert seen.path.endswith("?source=container&tail=5000")
    assert seen.headers["accept"] == "text/event-stream"


def test_a_log_that_is_refused_is_told_and_one_that_is_not_there_is_empty(market: Parts) -> None:
    api, runpod, _ = market
    pod = shown(market)
    api.on(LOGS, problem(404, "pod not found"))
    assert runpod.logs(pod) == ""
    api.on(LOGS, problem(401, "bad key"))
    with pytest.raises(AuthError):
        runpod.logs(pod)


def test_a_pod_whose_log_says_that_it_will_never_listen_is_given_up(market: Parts) -> None:
    api, runpod, _ = market
    api.on(LOGS, stream(("container", "gpuplug-failed no SSH server could be installed: no network")))
    pod = shown(market, ssh={"proxy": None, "direct": {"host": "127.0.0.1", "port": 9}})
    with pytest.raises(HostError, match="no SSH server could be installed: no network") as caught:
        runpod.connect(pod, Identity(Secret("none"), "ssh-ed25519 AAAA"))
    assert caught.value.hint


def test_what_the_pod_does_is_part_of_why_it_is_not_ready(market: Parts) -> None:
    api, runpod, _ = market
    api.on(LOGS, stream(("container", "gpuplug: the image has no SSH server, installing one")))
    pod = shown(market, ssh={"proxy": None, "direct": None})
    with pytest.raises(NotReadyError, match=r"no public address yet.*installing one"):
        runpod.connect(pod, Identity(Secret("none"), "ssh-ed25519 AAAA"))


def test_a_pod_that_is_gone_is_proven_by_the_services_own_words(market: Parts) -> None:
    api, runpod, _ = market
    api.on(SHOW, problem(404, "pod not found"))
    assert runpod.show(POD) is None
    api.on(SHOW, Answer(pod_row(status="TERMINATED")))
    assert runpod.show(POD) is None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer("404 page not found", 404), ProviderError),
        (Answer("<html>who are you</html>", 403), ProviderError),
        (problem(401, "bad key"), AuthError),
        (Answer(pod_row(id="another")), ReplyError),
        (Answer({}), ReplyError),
        (Answer([]), ReplyError),
        (Answer("null"), ReplyError),
        (Answer("", 204), ReplyError),
        (Answer("<html>Welcome</html>"), ReplyError),
        (problem(503, "down"), ReplyError),
        (Answer(hang_up=True), UnreachableError),
    ],
)
def test_no_other_answer_proves_that_a_pod_is_gone(market: Parts, answer: Answer, kind: type[Exception]) -> None:
    api, runpod, _ = market
    api.on(SHOW, answer)
    with pytest.raises(kind):
        runpod.show(POD)


def test_all_pages_are_listed_and_strangers_are_left_out(market: Parts) -> None:
    api, runpod, _ = market
    pages = [
        listed(pod_row(), pod_row(id="other", name="mine", env={}), cursor="c 2"),
        listed(pod_row(id="second"), pod_row(id="dead", status="TERMINATED")),
    ]
    api.on(LIST, *pages)
    assert [pod.id for pod in runpod.instances()] == [POD, "second"]
    assert [seen.path for seen in api.seen] == ["/v2/pods", "/v2/pods?cursor=c+2"]


def test_a_list_without_pages_is_a_list(market: Parts) -> None:
    api, runpod, _ = market
    api.on(LIST, Answer({"pods": [pod_row()]}))
    assert [pod.id for pod in runpod.instances()] == [POD]


@pytest.mark.parametrize(
    "answer",
    [
        Answer({}),
        Answer({"pods": None}),
        listed(pod_row(id=None)),
        listed("row"),
        listed(pod_row(), cursor="c1"),
        Answer({"pods": [], "pagination": {"hasNextPage": True, "nextCursor": 7}}),
    ],
)
def test_part_of_a_list_is_no_list(market: Parts, answer: Answer) -> None:
    api, runpod, _ = market
    api.on(LIST, answer)
    with pytest.raises(ReplyError):
        runpod.instances()


def test_a_row_with_damage_stays_because_it_may_bill(market: Parts) -> None:
    api, runpod, _ = market
    damaged = {"id": POD, "name": LABEL, "status": 7, "cost": "x", "gpu": [], "ssh": 1, "mounts": "m", "runtime": "r"}
    api.on(LIST, listed({**damaged, "createdAt": "2026-99-99T00:00:00Z", "env": [], "disk": "many"}))
    (pod,) = runpod.instances()
    assert (pod.id, pod.state, pod.started) == (POD, InstanceState.UNKNOWN, None)


def test_a_used_up_quota_is_waited_for_and_a_long_one_is_told(market: Parts) -> None:
    api, runpod, clock = market
    spent = listed()
    spent.headers["RateLimit"] = '"minute";r=0;t=12, "hour";r=2800;t=1812'
    api.on(LIST, spent)
    runpod.instances()
    before = clock.monotonic()
    spent.headers["RateLimit"] = '"minute";r=50;t=12, "hour";r=0;t=1812'
    runpod.instances()
    assert clock.monotonic() - before == pytest.approx(12)
    with pytest.raises(NotReadyError, match="60 s"):
        runpod.instances()
    assert len(api.seen) == 2


def authorized(seen: Seen) -> bool:
    return seen.headers.get("authorization") == f"Bearer {KEY}"


def test_the_key_goes_into_the_header_and_nowhere_else(market: Parts) -> None:
    api, runpod, _ = market
    api.on(LIST, listed())
    api.on(GRAPHQL, Answer({"data": {"myself": {"clientBalance": 1}}}))
    api.on(LOGS, stream(("container", f"echo {KEY}")))
    runpod.instances()
    runpod.account()
    assert runpod.logs(shown(market)) == "echo ***"
    assert all(authorized(seen) for seen in api.seen)
    assert all(KEY not in seen.path and KEY not in seen.body.decode() for seen in api.seen)
