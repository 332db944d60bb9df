"""The shared HTTP client against a real server on loopback."""

from __future__ import annotations

import contextlib
import gzip
import io
import logging
import threading
import traceback
from typing import TYPE_CHECKING

import pytest
from providers_kit import KEY, Answer, Api, calling, serving

from gpuplug.errors import GpuplugError, NotReadyError, ReplyError, UnreachableError, UsageError
from gpuplug.providers._calls import Call, Pace, is_loopback, may_be_called
from gpuplug.providers._http import HttpClient
from gpuplug.testing import FakeClock
from gpuplug.types import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler

GET = Call("GET", "/thing/", safe=True)
PUT = Call("PUT", "/thing/", body={"a": 1})


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as server:
        yield server


def everything(error: BaseException) -> str:
    """Return all that an error can show anywhere: text, repr, causes and the variables of every frame but the test's."""
    shown = []
    link: BaseException | None = error
    while link is not None:
        frames = [frame for frame, _ in traceback.walk_tb(link.__traceback__) if frame.f_code.co_filename != __file__]
        shown += [repr(frame.f_locals) for frame in frames] + [repr(link), str(link)]
        link = link.__cause__ or link.__context__
    return "".join(shown)


def test_the_body_is_json_with_exact_numbers_and_the_key_goes_only_into_the_header(api: Api) -> None:
    api.on("GET /thing/", Answer('{"price": 0.10000000000000000001}'))
    with calling(api.url) as client:
        reply = client.send(Call("GET", "/thing/", query={"limit": "2"}, safe=True))
    assert reply.status == 200
    assert str(reply.body) == "{'price': Decimal('0.10000000000000000001')}"
    seen = api.seen[0]
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["user-agent"].startswith("gpuplug/0.")
    assert seen.path == "/thing/?limit=2"


def test_an_id_cannot_leave_its_place_in_the_route(api: Api) -> None:
    with calling(api.url) as client:
        client.send(Call("GET", "/thing/{id}/", target="../../users?x=1#", safe=True))
    assert api.seen[0].path == "/thing/..%2F..%2Fusers%3Fx%3D1%23/"


@pytest.mark.parametrize("target", ["http://127.0.0.2:9/", "https://example.invalid/", "/other/", "//example.invalid/"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_and_no_header_goes_elsewhere(api: Api, status: int, target: str) -> None:
    api.on("GET /thing/", Answer("", status, {"Location": target}))
    with calling(api.url) as client, pytest.raises(ReplyError, match="redirect"):
        client.send(GET)
    assert [one.path for one in api.seen] == ["/thing/"]


@pytest.mark.parametrize(
    "body", ["<html>busy</html>", '{"offers": [1, 2', "", "[" * 100_000, b"\xff\xfe\x00", "{'a': 1}", "1" * 5000]
)
def test_a_body_that_is_no_json_is_a_reply_error(api: Api, body: str | bytes) -> None:
    api.on("GET /thing/", Answer(body))
    with calling(api.url) as client, pytest.raises(ReplyError):
        client.send(GET)


def test_a_refusal_that_is_no_json_keeps_its_words(api: Api) -> None:
    api.on("GET /thing/", Answer("not\x1b[31m here\u202e", 418))
    with calling(api.url) as client:
        assert client.send(GET).body == "not[31m here"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_safe_call_is_repeated_with_growing_pauses(api: Api, status: int) -> None:
    clock = FakeClock()
    api.on("GET /thing/", Answer("busy", status), Answer("busy", status), Answer({}))
    with calling(api.url, clock) as client:
        assert client.send(GET).status == 200
    assert len(api.seen) == 3
    assert len(clock.slept) == 2
    assert clock.slept[1] > clock.slept[0]


def test_a_safe_call_is_tried_three_times_at_most(api: Api) -> None:
    api.on("GET /thing/", Answer("<html>", 503))
    with calling(api.url) as client, pytest.raises(ReplyError, match="503"):
        client.send(GET)
    assert len(api.seen) == 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_any_other_call_is_sent_once(api: Api, status: int) -> None:
    api.on("PUT /thing/", Answer("busy", status))
    with calling(api.url) as client, pytest.raises((ReplyError, NotReadyError)):
        client.send(PUT)
    assert len(api.seen) == 1


def test_a_connection_lost_during_a_call_that_is_not_safe_is_never_tried_again(api: Api) -> None:
    api.on("GET /thing/", Answer({}))
    api.on("PUT /thing/", Answer(hang_up=True))
    with calling(api.url) as client:
        client.send(GET)  # leaves a kept connection behind
        with pytest.raises(UnreachableError) as caught:
            client.send(PUT)
    assert not caught.value.never_sent
    assert len(api.calls("PUT")) == 1


def test_a_kept_connection_that_the_server_closed_is_replaced(api: Api) -> None:
    api.on("GET /thing/", Answer({}), Answer(hang_up=True), Answer({}))
    with calling(api.url) as client:
        client.send(GET)
        assert client.send(GET).status == 200
    assert len(api.seen) == 3


def test_retry_after_is_honoured_when_it_fits_the_deadline(api: Api) -> None:
    clock = FakeClock()
    api.on("GET /thing/", Answer("slow down", 429, {"Retry-After": "7"}), Answer({}))
    with calling(api.url, clock) as client:
        client.send(GET)
    assert clock.slept == [7.0]


@pytest.mark.parametrize(
    ("header", "expected"), [("45", 45.0), ("86400", 60.0), ("-5", None), ("nan", None), ("soon", None)]
)
def test_a_longer_retry_after_is_told_and_capped(api: Api, header: str, expected: float | None) -> None:
    api.on("PUT /thing/", Answer("API requests too frequent", 429, {"Retry-After": header}))
    with calling(api.url) as client, pytest.raises(NotReadyError, match="API requests too frequent") as caught:
        client.send(PUT)
    assert caught.value.retry_after == expected or (expected is None and 0 < caught.value.retry_after < 10)


def test_the_reset_of_a_quota_is_told(api: Api) -> None:
    clock = FakeClock()
    reset = str(int(clock.now().timestamp()) + 3600)
    body = {"success": False, "error": "search_quota_exceeded"}
    api.on("GET /thing/", Answer(body, 429, {"X-RateLimit-Reset": reset}))
    with (
        calling(api.url, clock) as client,
        pytest.raises(NotReadyError, match=r"search_quota_exceeded.*renewed") as caught,
    ):
        client.send(GET)
    assert 3500 < caught.value.retry_after <= 3600


def test_calls_of_one_route_keep_their_distance(api: Api) -> None:
    clock = FakeClock()
    api.on("GET /thing/", Answer({}))
    client = HttpClient(api.url, Secret(KEY), clock, paces={("GET", "/thing/"): Pace(2, 10.0)})
    for _ in range(4):
        client.send(GET)
        clock.advance(1.0)
    client.close()
    assert clock.slept == [8.0]


def test_a_wait_longer_than_a_call_may_block_is_told_instead(api: Api) -> None:
    api.on("GET /thing/", Answer({}))
    client = HttpClient(api.url, Secret(KEY), FakeClock(), paces={("GET", "/thing/"): Pace(1, 60.0)})
    client.send(GET)
    with pytest.raises(NotReadyError) as caught:
        client.send(GET)
    client.close()
    assert caught.value.retry_after == 60.0


def drip(part: Callable[[BaseHTTPRequestHandler, threading.Event], None], stop: threading.Event) -> Answer:
    return Answer(raw=lambda handler: part(handler, stop))


def slow_head(handler: BaseHTTPRequestHandler, stop: threading.Event) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    with contextlib.suppress(OSError):
        while not stop.wait(0.02):
            handler.wfile.write(b"a")


def slow_body(handler: BaseHTTPRequestHandler, stop: threading.Event) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    with contextlib.suppress(OSError):
        while not stop.wait(0.02):
            handler.wfile.write(b" ")


def endless_body_without_length(handler: BaseHTTPRequestHandler, stop: threading.Event) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}")
    with contextlib.suppress(OSError):
        while not stop.wait(0.02):
            handler.wfile.write(b" ")


def silence(_: BaseHTTPRequestHandler, stop: threading.Event) -> None:
    stop.wait()


@pytest.mark.parametrize("part", [slow_head, slow_body, endless_body_without_length, silence])
def test_a_reply_that_drips_is_cut_at_the_deadline(
    api: Api, part: Callable[[BaseHTTPRequestHandler, threading.Event], None]
) -> None:
    # The server goes on until it is told to stop, so only the deadline can end the call.
    stop = threading.Event()
    api.on("GET /thing/", drip(part, stop))
    try:
        with calling(api.url, deadline_s=0.4) as client, pytest.raises(UnreachableError, match="no whole answer"):
            client.send(GET)
    finally:
        stop.set()


def test_no_thread_is_left_behind(api: Api) -> None:
    before = set(threading.enumerate())
    api.on("GET /thing/", Answer({}))
    with calling(api.url) as client:
        client.send(GET)
    ours = [one for one in set(threading.enumerate()) - before if isinstance(one, threading.Timer)]
    assert ours == []


def test_a_truncated_body_is_no_answer(api: Api) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"offers": []')

    api.on("GET /thing/", Answer(raw=cut))
    with calling(api.url) as client, pytest.raises(UnreachableError):
        client.send(GET)


def test_a_compressed_body_is_unpacked(api: Api) -> None:
    api.on("GET /thing/", Answer(gzip.compress(b'{"a": 1}'), 200, {"Content-Encoding": "gzip"}))
    with calling(api.url) as client:
        assert client.send(GET).body == {"a": 1}


def test_a_bomb_is_refused_before_it_is_unpacked_whole(api: Api) -> None:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="w", compresslevel=9) as file:
        for _ in range(200):
            file.write(bytes(1 << 20))
    api.on("GET /thing/", Answer(packed.getvalue(), 200, {"Content-Encoding": "gzip"}))
    with calling(api.url) as client, pytest.raises(ReplyError, match="more than 32 MiB"):
        client.send(GET)


def test_a_body_over_the_cap_is_refused(api: Api) -> None:
    api.on("GET /thing/", Answer(b" " * ((32 << 20) + 1)))
    with calling(api.url) as client, pytest.raises(ReplyError, match="more than 32 MiB"):
        client.send(GET)


@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_an_encoding_that_cannot_be_read_is_a_reply_error(api: Api, encoding: str) -> None:
    api.on("GET /thing/", Answer(b"no such thing", 200, {"Content-Encoding": encoding}))
    with calling(api.url) as client, pytest.raises(ReplyError):
        client.send(GET)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "ftp://127.0.0.1",
        "http://127.0.0.1.example.com",
        "https://me:pw@example.com",
        "",
        "https://",
    ],
)
def test_an_address_without_tls_is_called_on_this_computer_only(url: str) -> None:
    assert not may_be_called(url)
    with pytest.raises(UsageError):
        HttpClient(url, Secret(KEY), FakeClock())


def test_what_counts_as_this_computer() -> None:
    assert all(map(is_loopback, ("http://127.0.0.1:1", "http://localhost", "http://[::1]:2", "http://127.9.9.9")))
    assert not any(
        map(is_loopback, ("http://10.0.0.1", "https://localhost.example.com", "http://0.0.0.0", "http://[x"))
    )


def test_an_environment_proxy_is_not_used_for_this_computer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    api.on("GET /thing/", Answer({}))
    with calling(api.url) as client:
        assert client.send(GET).status == 200


@pytest.mark.parametrize(
    "answer",
    [
        Answer({"error": f"bad key {KEY}", "msg": KEY}, 400),
        Answer(f"<html>{KEY}</html>"),
        Answer(f"<html>{KEY}</html>", 429),
        Answer(f"<html>{KEY}</html>", 500),
        Answer("", 302, {"Location": f"https://example.invalid/?key={KEY}"}),
        Answer("", 200, {"Content-Encoding": KEY}),
        Answer(hang_up=True),
    ],
)
def test_the_key_is_in_no_error_no_log_and_no_reply(api: Api, answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    api.on("PUT /thing/", answer)
    with calling(api.url) as client:
        try:
            shown = repr(client.send(PUT).body)
        except GpuplugError as error:
            shown = everything(error)
        shown += repr(client) + repr(vars(client))
    assert KEY not in shown
    assert KEY not in caplog.text


def test_the_key_is_in_no_variable_of_a_failed_connection() -> None:
    with calling("http://127.0.0.1:1") as client:
        with pytest.raises(UnreachableError) as caught:
            client.send(PUT)
        assert caught.value.__cause__ is not None
        assert KEY not in everything(caught.value)


def test_a_download_carries_no_credentials(api: Api) -> None:
    api.on("GET /log", Answer(b"\xffline"))
    with calling(api.url) as client:
        assert client.download(f"{api.url}/log") == (200, b"\xffline")
    assert "authorization" not in api.seen[0].headers


@pytest.mark.parametrize(
    "url", ["http://example.com/x", "file:///etc/passwd", "https://a:b@example.com/", "http://[::1", ""]
)
def test_a_download_from_elsewhere_without_tls_is_refused(api: Api, url: str) -> None:
    with calling(api.url) as client, pytest.raises(ReplyError, match="not called"):
        client.download(url)


def test_a_provider_elsewhere_cannot_make_us_call_this_computer(api: Api) -> None:
    with calling("https://example.invalid") as client, pytest.raises(ReplyError, match="not called"):
        client.download(f"{api.url}/log")
    assert api.seen == []
