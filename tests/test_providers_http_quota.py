"""What a provider says of its quota in headers, and streams without an end: on real sockets where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from providers_kit import KEY, Answer, Api, serving

from gpuplug.errors import NotReadyError, ReplyError, UnreachableError
from gpuplug.providers._calls import Call, Pacer, quota_wait
from gpuplug.providers._http import HttpClient
from gpuplug.testing import FakeClock
from gpuplug.types import Secret, SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

STREAM = Call("GET", "/stream", safe=True)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as server:
        yield server


@pytest.fixture
def client(api: Api) -> Iterator[HttpClient]:
    made = HttpClient(api.url, Secret(KEY), SystemClock())
    yield made
    made.close()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ('"minute";r=0;t=12, "hour";r=2800;t=1812, "day";r=49500;t=45012', 12),
        ('"minute";r=0;t=12, "hour";r=0;t=1812', 60),
        ('"minute"; r=0; t=7', 7),
        ('"minute";t=12;r=0', 12),
        ('"minute";r=3;t=12', 0),
        ('"minute";r=0', 0),
        ('"minute";r=-1;t=12', 0),
        ('"minute";r=0;t=99999999999', 60),
        ("minute;r=0;t=12", 0),
        ("", 0),
        ('"' * 5000, 0),
    ],
)
def test_the_window_that_is_used_up_says_how_long(header: str, seconds: float) -> None:
    assert quota_wait({"ratelimit": header}) == seconds


def test_a_short_wait_is_waited_and_a_long_one_is_told() -> None:
    clock = FakeClock()
    pacer = Pacer({}, clock, longest_s=15)
    pacer.heed({"ratelimit": '"minute";r=0;t=12'})
    begin = clock.monotonic()
    pacer.wait(STREAM)
    assert clock.monotonic() - begin == 12
    pacer.wait(STREAM)
    assert clock.monotonic() - begin == 12
    pacer.heed({"ratelimit": '"minute";r=0;t=40'})
    with pytest.raises(NotReadyError, match="40 s") as caught:
        pacer.wait(STREAM)
    assert caught.value.retry_after == 40


def test_a_reply_without_a_body_is_a_reply(api: Api, client: HttpClient) -> None:
    api.on("DELETE /x", Answer("", 204))
    reply = client.send(Call("DELETE", "/x", safe=True))
    assert (reply.status, reply.body) == (204, None)


def open_ended(*pieces: bytes) -> Answer:
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(HEAD + b"".join(pieces))
        handler.wfile.flush()
        handler.rfile.read(1)  # until the reader leaves

    return Answer(raw=send)


def test_a_stream_is_read_until_it_is_quiet(api: Api, client: HttpClient) -> None:
    api.on("GET /stream", open_ended(b"one\n", b"two\n"))
    reply = client.listen(STREAM, seconds=15, quiet_s=0.2)
    assert (reply.status, reply.body) == (200, "one\ntwo\n")


def test_a_stream_that_is_never_quiet_is_cut_at_the_deadline(api: Api, client: HttpClient) -> None:
    def talk(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(HEAD)
        try:
            while True:
                handler.wfile.write(b"word\n" * 10)
        except OSError:
            return

    api.on("GET /stream", Answer(raw=talk))
    reply = client.listen(STREAM, seconds=0.3, quiet_s=10)
    assert str(reply.body).startswith("word\nword\n")


def test_a_stream_of_any_length_is_read_up_to_its_limit(api: Api, client: HttpClient) -> None:
    api.on("GET /stream", open_ended(b"x" * 100_000))
    assert client.listen(STREAM, seconds=15, quiet_s=5, limit=1000).body == "x" * 1000


def test_a_stream_that_ends_is_whole(api: Api, client: HttpClient) -> None:
    api.on("GET /stream", Answer("all of it"))
    assert client.listen(STREAM, seconds=15, quiet_s=5).body == "all of it"


def test_the_key_that_a_stream_echoes_is_not_passed_on(api: Api, client: HttpClient) -> None:
    api.on("GET /stream", open_ended(f"echo {KEY}\n".encode()))
    assert client.listen(STREAM, seconds=15, quiet_s=0.2).body == "echo ***\n"


def test_a_stream_that_is_refused_or_never_begins_is_no_empty_stream(api: Api, client: HttpClient) -> None:
    api.on("GET /stream", Answer({"detail": "no"}, 404))
    assert client.listen(STREAM, seconds=15, quiet_s=5).status == 404
    api.on("GET /stream", Answer("down", 503))
    with pytest.raises(ReplyError):
        client.listen(STREAM, seconds=15, quiet_s=5)
    api.on("GET /stream", Answer(hang_up=True))
    with pytest.raises(UnreachableError):
        client.listen(STREAM, seconds=15, quiet_s=5)
