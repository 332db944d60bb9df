"""What known_hosts says of a host: its keys, in plain and hashed lines, the revoked ones and the authorities."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpuplug.errors import HostKeyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gpuplug.streams.ssh_config import Hop

SSH_PORT = 22
# Host keys that are accepted, best first. SHA-1 signatures are not among them.
ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
REVOKED = "@revoked"
AUTHORITY = "@cert-authority"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a file that speaks of the host; `marker` is "" for a plain key."""

    file: str
    line: int
    marker: str
    kind: str
    blob: bytes

    @property
    def place(self) -> str:
        """File and line, for people."""
        return f"{self.file} line {self.line}"


@dataclass(frozen=True, slots=True)
class ShownKey:
    """The key that a host shows."""

    kind: str
    blob: bytes

    @property
    def line(self) -> str:
        """Kind and key as in known_hosts."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


def fingerprint(blob: bytes) -> str:
    """Return what ssh and ssh-keygen call a key's fingerprint: "SHA256:..."."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


class KnownHosts:
    """The lines that speak of `hop`; its files are read once, now.

    Raises:
        UsageError: a file is there and cannot be read.
    """

    def __init__(self, hop: Hop) -> None:
        self._hop = hop
        lines = [line for file in hop.known_hosts for line in _lines(file)]
        self._own = [entry for hosts, entry in lines if _names(hosts, _name(hop))]
        # ssh accepts a key that it knows without the port; to be known by another one there proves nothing, though.
        bare = hop.port != SSH_PORT and not hop.alias
        self._bare = [entry for hosts, entry in lines if bare and _names(hosts, hop.host.lower())]

    def algorithms(self) -> tuple[str, ...]:
        """Return `ALGORITHMS` with those first that a key of the host is known for."""
        kinds = {entry.kind for entry in _plain(self._own) or _plain(self._bare)}
        known = [name for name in ALGORITHMS if (name if name.startswith(("ssh-", "ecdsa-")) else "ssh-rsa") in kinds]
        return (*known, *(name for name in ALGORITHMS if name not in known))

    def prove(self, shown: ShownKey) -> None:
        """Return when the host is known by this very key.

        Raises:
            HostKeyError: it is not; says what the user can do.
        """
        same = [entry for entry in (*self._own, *self._bare) if hmac.compare_digest(entry.blob, shown.blob)]
        if revoked := [entry for entry in same if entry.marker == REVOKED]:
            raise self._refusal(
                shown, f"is revoked in {revoked[0].place}", f"ask who runs {self._hop.host} for the new key"
            )
        if _plain(same):
            return
        if own := _plain(self._own):
            raise self._changed(shown, own)
        raise self._unknown(shown)

    def _changed(self, shown: ShownKey, own: list[Entry]) -> HostKeyError:
        told = next((entry for entry in own if entry.kind == shown.kind), own[0])
        return self._refusal(
            shown,
            f"is ANOTHER than the one in {told.place} ({told.kind} {fingerprint(told.blob)}): "
            "the machine was set up anew, or somebody stands in between",
            f"ask who runs the machine; only when the new key is right: ssh-keygen -R '{_name(self._hop)}' -f {told.file}, "
            f"then {self._hop.typed}",
        )

    def _unknown(self, shown: ShownKey) -> HostKeyError:
        once = f"type `{self._hop.typed}` once, compare the fingerprint with the machine's own, and answer yes"
        if authorities := [entry for entry in self._own if entry.marker == AUTHORITY]:
            return self._refusal(
                shown,
                f"is vouched for by a certificate only ({authorities[0].place}), which gpuplug cannot check",
                f"ssh-keyscan -p {self._hop.port} {self._hop.host} shows its keys; compare, then add one to known_hosts",
            )
        files = ", ".join(self._hop.known_hosts) or "no known_hosts file (UserKnownHostsFile none)"
        return self._refusal(shown, f"is not known here: it is not in {files}", once)

    def _refusal(self, shown: ShownKey, what: str, hint: str) -> HostKeyError:
        return HostKeyError(
            f"the host key of {_name(self._hop)}, {shown.kind} {fingerprint(shown.blob)}, {what}; nothing was sent to it",
            seen=shown.line,
            hint=hint,
        )


def _plain(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if not entry.marker]


def _name(hop: Hop) -> str:
    """Return the name that known_hosts has the host under."""
    if hop.alias:
        return hop.alias.lower()
    return hop.host.lower() if hop.port == SSH_PORT else f"[{hop.host.lower()}]:{hop.port}"


def _lines(file: str) -> Iterator[tuple[str, Entry]]:
    """Yield the host patterns and the key of each line that is one; as ssh does, pass over the others."""
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", hint=f"chmod 644 {file}") from error
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or marker not in {"", REVOKED, AUTHORITY}:  # noqa: PLR2004 - hosts, kind, key
            continue
        with contextlib.suppress(binascii.Error, ValueError):
            yield words[0], Entry(file, number, marker, words[1], base64.b64decode(words[2], validate=True))


def _names(hosts: str, name: str) -> bool:
    """Tell whether the first field of a line speaks of `name`: a salted hash, or patterns with `*`, `?` and `!`."""
    if hosts.startswith("|"):
        return _hash_names(hosts, name)
    patterns = hosts.lower().split(",")
    if any(pattern.startswith("!") and _fits(pattern[1:], name) for pattern in patterns):
        return False
    return any(_fits(pattern, name) for pattern in patterns)


def _fits(pattern: str, name: str) -> bool:
    pieces = {"*": ".*", "?": "."}
    return re.fullmatch("".join(pieces.get(letter) or re.escape(letter) for letter in pattern), name) is not None


def _hash_names(hosts: str, name: str) -> bool:
    with contextlib.suppress(binascii.Error, ValueError):
        _, version, salt, digest = hosts.split("|")
        made = hmac.digest(base64.b64decode(salt, validate=True), name.encode(), "sha1")
        return version == "1" and hmac.compare_digest(made, base64.b64decode(digest, validate=True))
    return False
