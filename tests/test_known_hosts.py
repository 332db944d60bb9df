"""known_hosts, line by line; `ssh-keygen -F` is the judge of what speaks of a host."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from ssh_kit import PATIENCE_S, needs_ssh

from gpuplug.errors import HostKeyError
from gpuplug.streams.keys import make_key
from gpuplug.streams.known_hosts import ALGORITHMS, KnownHosts, ShownKey, fingerprint
from gpuplug.streams.ssh_config import Hop

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_ssh
KEY = make_key().public


def hop(file: Path, host: str = "lab.example", port: int = 22, alias: str = "") -> Hop:
    return Hop("ssh lab", host, port, "me", alias, (str(file), f"{file}-absent"), (), identities_only=False, agent="")


def shown(line: str = KEY) -> ShownKey:
    import base64  # noqa: PLC0415 - only here

    kind, blob = line.split()[:2]
    return ShownKey(kind, base64.b64decode(blob))


def is_known(file: Path, host: str = "lab.example", port: int = 22, alias: str = "") -> bool:
    try:
        KnownHosts(hop(file, host, port, alias)).prove(shown())
    except HostKeyError:
        return False
    return True


def keygen_finds(file: Path, name: str) -> bool:
    done = subprocess.run(
        ["ssh-keygen", "-F", name, "-f", str(file)], capture_output=True, timeout=PATIENCE_S, check=False
    )
    return done.returncode == 0


@pytest.mark.parametrize(
    "hosts",
    [
        "lab.example",
        "LAB.Example",
        "other,lab.example",
        "*.example",
        "lab.exampl?",
        "lab?example",
        "*",
        "!lab.example,*",
        "*,!*.example",
        "!other.example,*.example",
        "lab.example.org",
        "xlab.example",
        "lab",
        "lab-example",
        "[lab.example]:22",
        "[lab.example]:2222",
        "*.*",
    ],
)
def test_a_line_speaks_of_a_host_when_ssh_says_so(tmp_path: Path, hosts: str) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"{hosts} {KEY}\n")
    assert is_known(file) == keygen_finds(file, "lab.example")


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [("lab.example", 22, "lab.example"), ("Lab.Example", 2222, "[lab.example]:2222"), ("::1", 22, "::1")],
)
def test_a_hashed_line_speaks_of_its_host_and_port_alone(tmp_path: Path, host: str, port: int, name: str) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"{name} {KEY}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, timeout=PATIENCE_S)
    assert file.read_text().startswith("|1|")
    assert keygen_finds(file, name)
    assert is_known(file, host, port)
    assert not is_known(file, "other", port)
    assert not is_known(file, host, port + 1) or port == 22


def test_an_alias_stands_alone_and_without_a_port(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"lab-one {KEY}\n")
    assert is_known(file, port=2222, alias="lab-one")
    assert not is_known(file, port=2222, alias="lab-two")
    file.write_text(f"lab.example {KEY}\n")
    assert not is_known(file, port=2222, alias="lab-one")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# lab.example {key}",
        "lab.example",
        "lab.example ssh-ed25519",
        "lab.example ssh-ed25519 !!!!",
        "@unheard-of lab.example {key}",
        "|1|bad|bad {key}",
        "|1|AAAA {key}",
        "|2|AAAA|AAAA {key}",
        "\x00 {key}",
    ],
)
def test_a_line_that_makes_no_sense_is_passed_over_and_the_next_one_counts(tmp_path: Path, line: str) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(line.format(key=KEY) + "\n")
    assert not is_known(file)
    with file.open("a") as more:
        more.write(f"lab.example {KEY}\n")
    assert is_known(file)


def test_bytes_that_are_no_text_do_not_hide_the_other_lines(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_bytes(b"\xff\xfe caf\xe9\r\nlab.example " + KEY.encode() + b"\r\n")
    assert is_known(file)


def test_several_keys_of_a_host_are_all_good_and_asked_for_first(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"lab.example ssh-rsa AAAA\nlab.example {KEY}\n@revoked lab.example ecdsa-sha2-nistp256 AAAA\n")
    known = KnownHosts(hop(file))
    known.prove(shown())
    assert known.algorithms() == (
        "ssh-ed25519",
        "rsa-sha2-512",
        "rsa-sha2-256",
        *(name for name in ALGORITHMS if name.startswith("ecdsa")),
    )


def test_the_fingerprint_is_that_of_ssh_keygen(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(KEY + "\n")
    done = subprocess.run(
        ["ssh-keygen", "-lf", str(tmp_path / "key.pub")], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert fingerprint(shown().blob) in done.stdout
