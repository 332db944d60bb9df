"""The keys that the user's ssh would show: those of the agent, and key files that need no passphrase."""

from __future__ import annotations

import base64
import binascii
import contextlib
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.agent import AgentSSH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpuplug.streams.ssh_config import Hop

# A key in hardware, or one whose use is to be confirmed, waits for a hand.
AGENT_S = 30.0
_KEY_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class UserKey:
    """One key to show; `shown` says to people where it is from."""

    key: paramiko.PKey
    shown: str


class Agent(AgentSSH):
    """The user's agent at the socket `path`. Keys of it work until `close`; no answer takes longer than 30 s.

    Raises:
        OSError: nobody listens there.
        paramiko.SSHException: it does not speak as an agent does.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(AGENT_S)
            self._socket.connect(path)
            self._connect(self._socket)  # type: ignore[attr-defined]  # not in the stubs
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Let go of the socket. May be repeated."""
        self._socket.close()


@dataclass(slots=True)
class UserKeys:
    """What can be shown to `hop`, in the order of ssh; `locked` are key files that only the agent could open."""

    keys: list[UserKey] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)
    agent: Agent | None = None

    def close(self) -> None:
        """Let go of the agent. May be repeated."""
        if self.agent is not None:
            self.agent.close()


def gather(hop: Hop) -> UserKeys:
    """Ask the agent and read the key files that `hop` is to be reached with; the caller closes the result."""
    found = UserKeys()
    if hop.agent:
        # As for ssh, an agent that is gone is none.
        with contextlib.suppress(OSError, paramiko.SSHException):
            found.agent = Agent(hop.agent)
    held = {key.asbytes(): key for key in (found.agent.get_keys() if found.agent else ())}
    named = [blob for path in hop.identity_files if (blob := _public_blob(path)) in held]
    others = [] if hop.identities_only else [blob for blob in held if blob not in named]
    found.keys = [
        UserKey(held[blob], f"{held[blob].comment or held[blob].get_name()} (agent)") for blob in (*named, *others)
    ]
    _add_files(found, [path for path in hop.identity_files if _public_blob(path) not in held])
    return found


def _add_files(found: UserKeys, paths: Sequence[str]) -> None:
    for path in paths:
        try:
            found.keys += [UserKey(key, path) for key in _load(path)]
        except (paramiko.PasswordRequiredException, TypeError):  # cryptography's word for a missing passphrase
            found.locked.append(path)
        except (OSError, ValueError, UnsupportedAlgorithm, paramiko.SSHException):
            continue  # absent, or of a kind that only ssh itself can use


def _load(path: str) -> Iterator[paramiko.PKey]:
    """Yield the key with the certificate beside it, if there is one, and without."""
    if Path(path).stat().st_size > _KEY_BYTES:
        return
    key = paramiko.PKey.from_path(path)
    if key.public_blob is not None:
        yield paramiko.PKey.from_path(path)
        key.public_blob = None
    yield key


def _public_blob(path: str) -> bytes | None:
    """Return the public key beside the private one, or in `path` itself; None when neither is there."""
    for name in (f"{path}.pub", path):
        with contextlib.suppress(OSError, ValueError, binascii.Error, IndexError), Path(name).open("rb") as file:
            return base64.b64decode(file.read(_KEY_BYTES).split()[1], validate=True)
    return None
