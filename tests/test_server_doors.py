"""The doors of the server's routes: who is let in, with what; every route that is registered is tried."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from jupyter_kit import TOKEN, JupyterServer, jupyter, log_of
from sandbox_kit import RunningMarket, market
from tornado.httpclient import HTTPClientError
from tornado.websocket import websocket_connect

from gpuplug.frontends.server.handlers import ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterator

GETS = ("state", "prices")
POSTS = (
    "looking",
    "quote",
    "ssh",
    "actions/rent",
    "actions/extend",
    "actions/stop",
    "actions/start",
    "actions/destroy",
    "actions/adopt",
    "actions/cancel",
    "actions/refresh",
)
HOSTILE: tuple[bytes, ...] = (
    b"",
    b"null",
    b"[]",
    b'"gp-1"',
    b"{",
    b"\xff\xfe",
    b"[" * 20_000,
    b'{"id": "https://example.org/"}',
    b'{"id": {"$ne": ""}, "offer": [], "quote": 7, "job": null, "client": "", "parts": "all", "gpus": [1], "seconds": 1e400}',
    b'{"id": "../../etc/passwd", "seconds": -1, "client": "c", "parts": ["everything"]}',
    json.dumps({"id": "x" * 60_000}).encode(),
    b'{"__proto__": {}}',
)


@pytest.fixture(scope="module")
def shop() -> Iterator[RunningMarket]:
    with market(seed=7) as running:
        yield running


@pytest.fixture(scope="module")
def server(shop: RunningMarket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    home = tmp_path_factory.mktemp("home")
    with jupyter(home, base_url="/user/a%40b/", **shop.env) as running:
        yield running


@pytest.fixture
def browser(server: JupyterServer) -> Iterator[httpx.Client]:
    """A browser that has logged in: it has a cookie, and a second one against forged requests."""
    with httpx.Client(follow_redirects=True, timeout=30.0) as client:
        client.get(f"{server.url}login", params={"token": TOKEN})
        client.get(f"{server.url}api/status", params={"token": TOKEN})
        client.get(f"{server.url}login")
        assert "_xsrf" in client.cookies
        yield client


def test_every_route_that_is_registered_is_tried_here() -> None:
    patterns = [pattern for pattern, _ in ROUTES]
    assert patterns == [
        r"/gpuplug/state",
        r"/gpuplug/prices",
        r"/gpuplug/actions/cancel",
        r"/gpuplug/(looking|quote|ssh|actions/[a-z]{1,20})",
    ]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "token wrong"}, {"Cookie": "username-localhost=forged"}])
def test_who_is_not_logged_in_gets_no_answer_from_any_route(server: JupyterServer, headers: dict[str, str]) -> None:
    with httpx.Client(headers=headers, timeout=30.0) as stranger:
        got = {route: stranger.get(f"{server.url}gpuplug/{route}").status_code for route in GETS}
        posted = {route: stranger.post(f"{server.url}gpuplug/{route}", json={}).status_code for route in POSTS}
    assert set(got.values()) == {403}
    assert set(posted.values()) == {403}


@pytest.mark.parametrize("route", POSTS)
def test_a_forged_request_with_the_login_cookie_is_refused(
    server: JupyterServer, browser: httpx.Client, route: str
) -> None:
    assert browser.post(f"{server.url}gpuplug/{route}", json={}).status_code == 403


@pytest.mark.parametrize("route", [*GETS, *POSTS])
def test_another_site_gets_no_answer_even_with_the_login_cookies(
    server: JupyterServer, browser: httpx.Client, route: str
) -> None:
    method = "GET" if route in GETS else "POST"
    headers = {
        "Origin": "https://example.org",
        "Referer": "https://example.org/",
        "X-XSRFToken": browser.cookies["_xsrf"],
    }
    answer = browser.request(method, f"{server.url}gpuplug/{route}", json={}, headers=headers)
    assert answer.status_code in {403, 404}
    assert "version" not in answer.text


def test_a_browser_that_has_logged_in_may_look_and_ask(server: JupyterServer, browser: httpx.Client) -> None:
    assert browser.get(f"{server.url}gpuplug/state").json()["version"] == 1
    looking = {"client": "c", "parts": ["pods"], "gpus": []}
    headers = {"X-XSRFToken": browser.cookies["_xsrf"]}
    assert browser.post(f"{server.url}gpuplug/looking", json=looking, headers=headers).status_code == 200


@pytest.mark.parametrize("route", POSTS)
def test_no_get_does_anything(server: JupyterServer, route: str) -> None:
    assert server.http.get(f"{server.url}gpuplug/{route}").status_code == 405


def test_an_action_that_does_not_exist_is_refused(server: JupyterServer) -> None:
    assert server.post("actions/explode", {})[0] == 404
    assert server.http.post(f"{server.url}gpuplug/actions/..%2Fstate", json={}).status_code == 404


@pytest.mark.parametrize("route", POSTS)
def test_a_body_that_makes_no_sense_is_refused_and_nothing_is_rented(
    server: JupyterServer, shop: RunningMarket, route: str
) -> None:
    for body in HOSTILE:
        answer = server.http.post(f"{server.url}gpuplug/{route}", content=body)
        assert answer.status_code in {400, 404, 409}, (route, body[:80], answer.text)
        assert answer.headers["content-type"].startswith("application/json")
        assert answer.json()["message"]
    assert shop.meter()["instances"] == []
    assert server.get("state")["operations"]["items"] == []


def test_a_body_that_is_too_long_is_refused(server: JupyterServer) -> None:
    answer = server.http.post(f"{server.url}gpuplug/quote", content=b'{"offer": "' + b"x" * 100_000 + b'"}')
    assert answer.status_code == 413


def test_the_routes_lie_below_the_base_url_and_nowhere_else(server: JupyterServer) -> None:
    root = server.url.removesuffix("user/a%40b/")
    assert server.http.get(f"{root}gpuplug/state").status_code == 404
    assert server.get("state")["source"] == "server"


def test_who_is_not_logged_in_hears_nothing_on_the_events_bus(server: JupyterServer) -> None:
    async def listen() -> None:
        await websocket_connect(server.url.replace("http", "ws", 1) + "api/events/subscribe")

    with pytest.raises(HTTPClientError, match=r"302|403"):
        asyncio.run(listen())


def test_no_key_and_no_place_of_a_machine_is_in_an_answer_or_in_the_log(
    server: JupyterServer, shop: RunningMarket
) -> None:
    server.look()
    server.until(lambda: server.get("prices")["items"])
    shown = json.dumps([server.get("state"), server.get("prices"), log_of(server.root)])
    for key in (shop.vast_api_key, shop.runpod_api_key):
        assert key not in shown


def test_a_user_who_may_only_read_can_look_and_not_act(shop: RunningMarket, tmp_path: Any) -> None:  # noqa: ANN401 - pytest's path
    with jupyter(tmp_path, authorizer="jupyter_kit.OnlyReaders", **shop.env) as running:
        assert running.get("state")["version"] == 1
        for route in POSTS:
            answer = running.http.post(f"{running.url}gpuplug/{route}", json={})
            assert answer.status_code == 403
            assert "not authorized" in answer.text
