"""The dead man's switch where the host, the network, the clock or the provider are against it."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from providers_kit import Answer, Api, serving
from switch_kit import INSTANCE, INSTANCE_KEY, OWN, SHELLS, Machine, eventually, machines
from test_deadman import tools

from gpuplug.session.messages import Timing

if TYPE_CHECKING:
    from pathlib import Path

Make = Callable[..., Machine]
KNOWN = Answer({"instances": {"id": int(INSTANCE)}})


def certificate(folder: Path, shift_days: int = 0) -> Path:
    """Write a key and a certificate of 127.0.0.1 that nobody has signed, good for a month around now, or around another day."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=shift_days)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=15))
        .not_valid_after(now + dt.timedelta(days=15))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, None)
    )
    path = folder / "certificate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as server:
        server.on(f"GET {OWN}", KNOWN)
        server.on(f"DELETE {OWN}", Answer({"success": True}))
        yield server


@pytest.fixture
def make(api: Api, tmp_path: Path) -> Iterator[Make]:
    with machines(tmp_path, api.url) as make:
        yield make


@contextlib.contextmanager
def guarded(folder: Path, path: Path) -> Iterator[tuple[Api, Make]]:
    """Yield an API behind TLS, and a maker of machines that have no reason to believe its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with serving(context) as server, machines(folder, server.url) as make:
        server.on(f"GET {OWN}", KNOWN)
        server.on(f"DELETE {OWN}", Answer({"success": True}))
        yield server, make


@pytest.mark.parametrize("shell", SHELLS)
def test_after_a_restart_the_switch_starts_although_its_number_is_that_of_the_one_before(
    api: Api, make: Make, shell: str
) -> None:
    machine = make(shell=shell, lease_s=60)
    machine.armed()
    os.kill(machine.pid(), signal.SIGKILL)
    machine.uptime(5000)
    # A container counts its processes from 1 at each start, so the switch gets the same number again.
    again = f'echo $$ >"{machine.switch}/pid"; exec sh "{machine.state}/deadman.sh" "{machine.state}"'
    path = f"{machine.root / 'shell'}:{machine.path}"
    with subprocess.Popen(["sh", "-c", again], env={"PATH": path}, stderr=subprocess.DEVNULL) as switch:
        try:
            eventually(lambda: machine.read("contact") == "5000", "terms of this boot")
            machine.uptime(5060)
            api.wait("DELETE", OWN)
            assert switch.poll() is None
        finally:
            switch.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_asking_the_switch_to_end_does_not_end_it(make: Make, number: signal.Signals) -> None:
    machine = make()
    machine.armed()
    os.kill(machine.pid(), number)
    machine.uptime(1001)
    machine.beats()


def test_a_network_that_is_closed_later_is_told_and_so_is_its_return(api: Api, make: Make) -> None:
    machine = make(period="0.01")
    machine.armed()
    api.on(f"GET {OWN}", Answer({"success": False, "error": "auth_error"}, 401))
    eventually(lambda: "401" in machine.read("state"), "the key was withdrawn")
    assert machine.read("state").startswith("unarmed ")
    api.on(f"GET {OWN}", KNOWN)
    eventually(lambda: machine.read("state") == "armed", "armed again")


def test_a_closed_network_is_told_so_soon_that_a_client_knows_within_90_s_and_one_failed_call_is_soon_forgotten(
    api: Api, make: Make
) -> None:
    api.on(f"GET {OWN}", KNOWN, Answer({"success": False, "error": "auth_error"}, 401), KNOWN)
    machine = make()
    machine.path = tools(machine.root / "bin", "wget", "python3")
    seen, sleep = machine.root / "seen", machine.root / "bin" / "sleep"
    real = sleep.readlink()
    sleep.unlink()
    note = f'[ "$1" != {machine.period} ] || sed "s/ .*//" "{machine.switch}/state" >>"{seen}"'
    sleep.write_text(f'#!/bin/sh\n{note}\nexec {real} "$@"\n')
    sleep.chmod(0o755)
    machine.armed()
    eventually(lambda: len(seen.read_text().split()) > 10, "looks")
    told = seen.read_text().split()
    looks = told.index("unarmed")
    swallowed_s = 3 * 10  # by curl, wget and Python, one after the other
    assert looks * 5 + swallowed_s + Timing().heartbeat_s <= 90
    assert told[looks + 1] == "armed"


@pytest.mark.parametrize("tool", ["curl", "wget", "python3"])
def test_without_trust_in_the_certificate_it_is_not_armed_and_still_ends_the_instance(
    tmp_path: Path, tool: str
) -> None:
    with guarded(tmp_path, certificate(tmp_path)) as (api, make):
        machine = make(lease_s=10)
        machine.path = tools(machine.root / "bin", *{"curl", "wget", "python3"} - {tool})
        machine.boot()
        eventually(lambda: "not tried" not in machine.read("state"), "a first self-test")
        assert machine.read("state").startswith("unarmed ")
        assert not api.calls("GET")
        machine.uptime(1010)
        seen = api.wait("DELETE", OWN, count=2)[0]
        assert seen.headers["authorization"] == f"Bearer {INSTANCE_KEY}"


@pytest.mark.parametrize("days", [-370, 370])
def test_a_wall_clock_that_is_wrong_by_a_year_changes_no_deadline(tmp_path: Path, days: int) -> None:
    # A clock that is a year fast sees the certificates of a year ago.
    trusted = certificate(tmp_path, days)
    with guarded(tmp_path, trusted) as (api, make):
        machine = make(lease_s=60)
        machine.path = tools(machine.root / "bin", "wget", "python3")
        curl = machine.root / "bin" / "curl"
        real = curl.readlink()
        curl.unlink()
        curl.write_text(f'#!/bin/sh\nexec {real} "$@" --cacert {trusted}\n')
        curl.chmod(0o755)
        machine.boot()
        eventually(lambda: "certificate" in machine.read("state"), "why it is not armed")
        machine.uptime(1059)
        machine.beats()
        assert not api.calls("DELETE")
        machine.uptime(1060)
        api.wait("DELETE", OWN)


def test_results_that_nobody_has_are_waited_for_as_long_as_they_are_paid_for(api: Api, make: Make) -> None:
    machine = make(lease_s=60)
    machine.armed()
    machine.write("keep", "1500\n")
    machine.uptime(1499)
    machine.beats()
    assert not api.calls("DELETE")
    machine.uptime(1500)
    api.wait("DELETE", OWN)
    assert machine.read("state") == "ending lease"


def test_results_that_nobody_has_do_not_put_off_the_hard_end(api: Api, make: Make) -> None:
    machine = make(lease_s=60, hard_s=100)
    machine.armed()
    machine.write("keep", "999999\n")
    machine.uptime(1100)
    api.wait("DELETE", OWN)
    assert machine.read("state") == "ending hard"


def test_after_a_restart_results_are_waited_for_by_the_clock_of_this_boot(api: Api, make: Make) -> None:
    machine = make(lease_s=60, hard_s=9000, budget_s=300)
    machine.armed()
    machine.write("keep", "1500\n")
    os.kill(machine.pid(), signal.SIGKILL)
    machine.uptime(50_000)
    machine.armed()
    (machine.switch / "budget").unlink()
    machine.uptime(50_299)
    machine.beats()
    assert not api.calls("DELETE")
    machine.uptime(50_300)
    api.wait("DELETE", OWN)
