"""A running sandbox market for tests: `with market(seed=7) as m: ... m.vast_url, m.vast_api_key, m.meter(), m.fault(...)`."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
START_S = 30.0
END_S = 20.0


def child_environment(**more: str) -> dict[str, str]:
    """Return this process's environment with the project's source importable in a child."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), **more}


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Poll `condition` until it is true; fail after `seconds`."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > end:
            msg = f"not so within {seconds} s"
            raise AssertionError(msg)
        pause.wait(0.02)


@dataclass
class RunningMarket:
    """One `gpuplug sandbox serve --json` process."""

    vast_url: str
    vast_api_key: str
    runpod_api_base_url: str
    runpod_api_key: str
    meter_url: str
    control_url: str
    process: subprocess.Popen[str] = field(repr=False)

    @property
    def env(self) -> dict[str, str]:
        """What points a client at this market."""
        return {
            "VAST_URL": self.vast_url,
            "VAST_API_KEY": self.vast_api_key,
            "RUNPOD_API_BASE_URL": self.runpod_api_base_url,
            "RUNPOD_API_KEY": self.runpod_api_key,
        }

    def client(self, key: str | None = None) -> httpx.Client:
        """Return an HTTP client with the account's key, with `key`, or with none when it is empty; the caller closes it."""
        key = self.vast_api_key if key is None else key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.vast_url, headers=headers, timeout=END_S)

    def meter(self) -> dict[str, Any]:
        """The billing oracle: billing_now, spend, spend_micros, instances."""
        return _request("GET", self.meter_url)

    def control(self) -> dict[str, Any]:
        """Return faults that wait, faults that fired, and the log of all requests."""
        return _request("GET", self.control_url)

    def fault(self, name: str, **parameters: object) -> None:
        """Queue a fault; names and parameters are listed in gpuplug.sandbox.control."""
        _request("POST", self.control_url, {"fault": name, **parameters})

    def action(self, name: str, **parameters: object) -> dict[str, Any]:
        """Do something at once: outbid, offline, ssh_cut, set_price, advance, credit, reset, ..."""
        return _request("POST", self.control_url, {"action": name, **parameters})

    def reset(self) -> None:
        """End all machines and forget faults, spend, requests and changed prices."""
        self.action("reset")

    def requests(self, point: str = "") -> list[dict[str, Any]]:
        """Return the logged requests, of one point when it is named."""
        rows: list[dict[str, Any]] = self.control()["requests"]
        return [row for row in rows if not point or row["point"] == point]


def _request(method: str, url: str, body: dict[str, object] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)  # noqa: S310 - loopback only
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=END_S) as reply:  # noqa: S310 - loopback only
            answer: dict[str, Any] = json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            msg = f"{method} {url}: {error.code} {error.read().decode()}"
        raise AssertionError(msg) from None
    return answer


def _first_line(process: subprocess.Popen[str], errors: IO[str]) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_S)
    line = process.stdout.readline() if ready else ""
    if not line:
        errors.seek(0)
        msg = f"the sandbox did not start: {errors.read()}"
        raise AssertionError(msg)
    return line


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


@contextlib.contextmanager
def market(*, seed: int = 1, pull: float = 0.1, **options: object) -> Iterator[RunningMarket]:
    """Start a market and end it, with all its machines, on leaving.

    Args:
        seed: makes offers and prices repeat.
        pull: sandbox seconds of an image pull.
        options: further command line options of `serve` (`speed=60`, `sshd="openssh"`, `strict=True`).
    """
    command = [sys.executable, "-m", "gpuplug.sandbox.cli", "serve", "--json"]
    for name, value in {"seed": seed, "pull": pull, **options}.items():
        flag = "--" + name.replace("_", "-")
        command += [flag] if value is True else [flag, str(value)]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=child_environment())
        assert process.stdout is not None
        with process.stdout:
            try:
                facts = json.loads(_first_line(process, errors))
                yield RunningMarket(process=process, **facts)
            finally:
                _end(process)


def order(**changes: object) -> dict[str, object]:
    """Return the body of a create request that the market accepts."""
    body: dict[str, object] = {
        "client_id": "me",
        "image": "vastai/base-image",
        "disk": 20,
        "runtype": "ssh_direc ssh_proxy",
        "label": "gp-test",
        "cancel_unavail": True,
        "env": {},
    }
    return {**body, **changes}


def offers(api: httpx.Client, **changes: object) -> list[dict[str, Any]]:
    """Search for what a careful client rents: verified, free, cheapest first; `changes` replace or add keys."""
    body: dict[str, object] = {
        "verified": {"eq": True},
        "rentable": {"eq": True},
        "gpu_name": {"eq": "RTX 4090"},
        "num_gpus": {"eq": 1},
        "order": [["dph_total", "asc"]],
        "allocated_storage": 20,
    }
    found: list[dict[str, Any]] = api.post("/api/v0/bundles/", json={**body, **changes}).json()["offers"]
    return found


def rent(api: httpx.Client, **changes: object) -> int:
    """Rent the cheapest careful offer; return the instance's id."""
    offer = offers(api)[0]
    reply = api.put(f"/api/v0/asks/{offer['id']}/", json=order(**changes))
    assert reply.status_code == 200, reply.text
    return int(reply.json()["new_contract"])


def show(api: httpx.Client, instance_id: int) -> dict[str, Any]:
    """Return an instance's row; it must exist."""
    row: dict[str, Any] = api.get(f"/api/v0/instances/{instance_id}/").json()["instances"]
    assert row is not None
    return row


def until_state(api: httpx.Client, instance_id: int, actual: str) -> dict[str, Any]:
    """Wait until the instance's `actual_status` is `actual`; return its row."""
    wait_until(lambda: show(api, instance_id)["actual_status"] == actual)
    return show(api, instance_id)
