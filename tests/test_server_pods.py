"""What the server's routes do, on a market with real machines: rent, rest, extend, destroy, also without a kernel."""

from __future__ import annotations

import json
import shlex
import subprocess
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from frontends_kit import kernel
from jupyter_kit import JupyterServer, jupyter, log_of
from place_kit import Place, at
from sandbox_kit import market, order, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 60.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with at(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_left(place: Place) -> Iterator[None]:
    yield
    place.destroy_all()


def test_an_offer_is_rented_for_a_notebook_at_the_price_that_was_agreed_to_and_destroyed_until_it_is_proven(
    place: Place,
) -> None:
    place.server.look()
    place.server.until(lambda: place.server.get("prices")["items"])
    offer = place.server.get("prices")["items"][0]
    status, quote = place.server.post("quote", {"offer": offer["id"], "notebook": "work/train.ipynb"})
    assert status == 200
    assert quote["usd_per_hour"] == offer["usd_per_hour"]
    assert "at worst $" in quote["text"]
    assert "rest on the disk at $" in quote["text"], "what becomes of results that nobody fetches"
    assert place.shop.meter()["billing_now"] == 0
    assert place.act("rent", quote=quote["quote"])["error"] is None
    (pod,) = [each for each in place.server.pods() if each["billing"]]
    assert (pod["state"], pod["platform"], pod["usd_per_hour"]) == ("running", "vast", offer["usd_per_hour"])
    assert pod["notebook"].startswith("train-")
    assert place.shop.meter()["billing_now"] == 1
    ended = place.act("destroy", id=pod["id"])
    assert "gone (verified)" in " ".join(ended["notes"])
    assert place.pod(pod["id"])["state_text"] == "gone (verified)"
    assert place.pod(pod["id"])["billing"] is False
    assert place.shop.meter()["billing_now"] == 0


def test_a_quote_is_good_for_one_rent(place: Place) -> None:
    place.rent()
    offer = place.server.get("prices")["items"][0]
    quote = place.server.post("quote", {"offer": offer["id"], "notebook": "b.ipynb"})[1]["quote"]
    assert place.act("rent", quote=quote)["state"] == "done"
    status, refusal = place.server.post("actions/rent", {"quote": quote})
    assert (status, refusal["reason"]) == (404, "gone")
    assert place.shop.meter()["billing_now"] == 2


def test_what_got_dearer_after_the_quote_is_not_rented(place: Place) -> None:
    place.server.look()
    place.server.until(lambda: place.server.get("prices")["items"])
    # GeForce cards have the same name on the market as here.
    offer = next(
        each
        for each in place.server.get("prices")["items"]
        if each["platform"] == "vast" and each["gpu"].startswith("RTX 30")
    )
    quote = place.server.post("quote", {"offer": offer["id"], "notebook": "a.ipynb"})[1]["quote"]
    price = float(offer["usd_per_hour"])
    assert place.shop.action("set_price", gpu=offer["gpu"], price=price + 1)["changed"]
    try:
        ended = place.act("rent", quote=quote)
    finally:
        place.shop.reset()
    assert ended["state"] == "failed"
    assert ended["error"]["text"]
    assert place.shop.meter()["billing_now"] == 0


@pytest.mark.parametrize("notebook", ["", "../other.ipynb", None, 7])
def test_an_offer_is_quoted_only_for_a_notebook_of_the_file_browser(place: Place, notebook: object) -> None:
    place.server.look()
    place.server.until(lambda: place.server.get("prices")["items"])
    offer = place.server.get("prices")["items"][0]
    status, refusal = place.server.post("quote", {"offer": offer["id"], "notebook": notebook})
    assert (status, refusal["reason"]) == (400, "usage")


def test_a_pod_rests_starts_again_and_lives_longer_and_each_button_says_what_bills(place: Place) -> None:
    pod = place.rent()
    assert "its disk stays and bills" in pod["may"]["stop"]["text"]
    assert place.act("extend", id=pod["id"], seconds=3600)["state"] == "done"
    assert place.pod(pod["id"])["hard_s"] == pod["hard_s"] + 3600
    assert place.act("stop", id=pod["id"])["state"] == "done"
    rests = place.pod(pod["id"])
    assert rests["state"] == "stopped"
    assert Decimal(0) < Decimal(rests["usd_per_hour"]) < Decimal(pod["usd_per_hour"])
    assert rests["may"]["start"]["usd_per_hour"] == pod["usd_per_hour"]
    assert [each["kind"] for each in place.server.state()["alerts"]["items"]] == ["stopped"]
    assert place.act("start", id=pod["id"])["state"] == "done"
    place.server.until(lambda: place.pod(pod["id"])["state"] == "running")
    place.server.until(lambda: place.server.state()["alerts"]["items"] == [])


def test_the_ssh_command_reaches_the_pod_and_accepts_no_other_host_key(place: Place) -> None:
    pod = place.rent()
    status, answer = place.server.post("ssh", {"id": pod["id"]})
    assert status == 200
    words = shlex.split(answer["command"])
    assert "StrictHostKeyChecking=yes" in words
    assert "PRIVATE KEY" not in answer["command"]
    reached = subprocess.run([*words, "echo reached"], capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert reached.stdout.strip() == "reached", reached.stderr
    (known,) = (place.home / "gp" / "keys").glob("*.known_hosts")
    known.write_text(known.read_text(encoding="ascii").replace("AAAAC3", "AAAAC4"), encoding="ascii")
    refused = subprocess.run([*words, "echo reached"], capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert refused.stdout == ""
    assert place.act("destroy", id=pod["id"])["state"] == "done"
    assert not known.exists()


def test_a_pod_is_destroyed_while_its_kernel_is_busy_and_when_the_kernel_is_dead(place: Place) -> None:
    with kernel(place.home, "busy", **place.shop.env) as notebook:
        (shown,) = notebook.run("%gpu up -p vast --max-price 2 -q").of("stream")[-1:]
        assert "is ready" in shown.text
        notebook.begin("import time\nprint('busy', flush=True)\nwhile True: time.sleep(0.1)")
        (pod,) = [each for each in place.server.pods() if each["billing"]]
        assert place.act("destroy", id=pod["id"])["state"] == "done"
        assert place.shop.meter()["billing_now"] == 0
        notebook.interrupt()
        notebook.settle()
        notebook.run("%gpu up -p vast --max-price 2 -q")
        notebook.kill()
        (pod,) = [each for each in place.server.pods() if each["billing"]]
        assert pod["state"] == "running"
        assert place.act("destroy", id=pod["id"])["state"] == "done"
        assert place.shop.meter()["billing_now"] == 0


def test_what_another_computer_rented_is_shown_and_left_alone_until_it_is_adopted(place: Place) -> None:
    with place.shop.client() as api:
        offer = api.post("/api/v0/bundles/", json={"order": [["dph_total", "asc"]], "rentable": {"eq": True}}).json()
        label = "gp-" + "5" * 32
        reply = api.put(f"/api/v0/asks/{offer['offers'][0]['id']}/", json=order(label=label))
        assert reply.status_code == 200
    place.server.until(lambda: any(each["state"] == "stranger" for each in place.server.pods()))
    stranger = place.pod(label)
    assert (stranger["mine"], stranger["may"]["destroy"]) == (False, None)
    assert place.server.post("actions/destroy", {"id": label})[0] == 404
    assert [each["kind"] for each in place.server.state()["alerts"]["items"]] == ["orphan"]
    assert place.act("adopt", id=label)["state"] == "done"
    place.server.until(lambda: place.pod(label)["mine"])
    assert place.act("destroy", id=label)["state"] == "done"
    assert place.shop.meter()["billing_now"] == 0


def test_a_destroy_is_done_only_when_it_is_true_also_when_the_platform_lies_at_first(place: Place) -> None:
    pod = place.rent()
    place.shop.fault("lying_destroy", times=3)
    ended = place.act("destroy", id=pod["id"])
    assert ended["state"] == "done"
    assert place.shop.meter()["billing_now"] == 0


def test_a_change_is_pushed_and_a_price_change_at_the_source_too(place: Place) -> None:
    before = place.server.get("prices")["revision"]
    place.server.look()
    place.server.until(lambda: place.server.get("prices")["items"])
    offer = next(each for each in place.server.get("prices")["items"] if each["platform"] == "vast")
    before = place.server.get("prices")["revision"]
    place.shop.action("set_price", gpu=offer["gpu"], price=0.4321)
    try:
        heard = place.server.events(lambda emission: emission["prices_revision"] > before)
        numbers = [emission["revision"] for emission in heard]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        place.server.until(lambda: _price(place.server, offer["id"]) != offer["usd_per_hour"])
    finally:
        place.shop.reset()
    pod = place.rent()

    def is_gone(emission: dict[str, Any]) -> bool:
        pods = json.loads(emission["parts"]).get("pods", {"items": []})["items"]
        return any(each["id"] == pod["id"] and each["state"] == "gone" for each in pods)

    place.server.post("actions/destroy", {"id": pod["id"]})
    assert place.server.events(is_gone)


def _price(server: JupyterServer, offer_id: str) -> str:
    server.look()
    return next((each["usd_per_hour"] for each in server.get("prices")["items"] if each["id"] == offer_id), "gone")


def test_nobody_is_asked_anything_when_nobody_looks_and_nothing_is_open(tmp_path: Path) -> None:
    with market(seed=7) as shop, jupyter(tmp_path, **shop.env) as server:
        state = server.get("state")
        assert (state["pods"]["at"], state["pods"]["items"]) == (None, None)
        assert server.get("prices")["items"] is None
        assert shop.requests() == []
        server.look("pods")
        wait_until(shop.requests, WAIT_S)


def test_a_platform_that_fails_is_an_error_with_its_age_and_what_was_known_stays(place: Place) -> None:
    pod = place.rent()
    place.shop.fault("status", status=500, times=None, point="list")
    try:
        place.server.until(lambda: place.server.state()["pods"]["error"])
        state = place.server.state()
        assert [each["id"] for each in state["pods"]["items"] if each["billing"]] == [pod["id"]]
        assert "platform" in {each["kind"] for each in state["alerts"]["items"]}
    finally:
        httpx.delete(place.shop.control_url).raise_for_status()
    place.server.until(lambda: place.server.state()["pods"]["error"] is None)


def test_a_server_ends_soon_and_cleanly_while_it_watches(tmp_path: Path) -> None:
    with market(seed=7) as shop, jupyter(tmp_path, **shop.env) as server:
        server.look()
        server.until(lambda: server.get("prices")["items"])
        log = server.stop()
    assert "Traceback" not in log
    assert "pending" not in log


def test_a_server_without_a_usable_ledger_says_so_in_the_state(tmp_path: Path) -> None:
    (tmp_path / "gp").mkdir()
    (tmp_path / "gp" / "ledger.sqlite3").write_bytes(b"no ledger at all" * 100)
    with jupyter(tmp_path) as server:
        state = server.get("state")
        assert state["pods"]["items"] is None
        assert "ledger" in state["spend"]["error"]["text"]
        assert [each["kind"] for each in state["alerts"]["items"]] == ["ledger"]
        assert server.post("actions/destroy", {"id": "gp-1"})[0] == 503
        assert "Traceback" not in log_of(server.root)


def test_a_server_still_serves_when_the_folder_of_the_ledger_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "gp").touch()
    with jupyter(tmp_path) as server:
        answer = httpx.get(f"{server.url}gpuplug/state", headers=server.http.headers, timeout=WAIT_S)
        assert answer.status_code == 503
        assert "GPUPLUG_HOME" in answer.json()["hint"]
