"""SSH to a rented host: its pinned key is proven before a byte of authentication, then one key of ours is shown."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import io
from typing import TYPE_CHECKING

import paramiko

from gpuplug.errors import HostError, HostKeyError, NotReadyError
from gpuplug.streams.keys import KeyPair, make_key, public_line
from gpuplug.streams.rotation import rotate_host_key
from gpuplug.streams.transport import (
    STEP_S,
    TCP_S,
    HeldSocket,
    SshConnection,
    dial,
    exchange_keys,
    hang_up,
    new_transport,
)

if TYPE_CHECKING:
    from gpuplug.types import Endpoint, Identity, Secret

__all__ = ["KeyPair", "SshConnection", "connect", "make_key", "public_line", "rotate_host_key"]

KEY_TYPE = "ssh-ed25519"


def connect(endpoint: Endpoint, identity: Identity, *, timeout: float = STEP_S) -> SshConnection:
    """Prove the host against `identity.host_key`, then authenticate with `identity.user_key`.

    Nothing else is read or offered: no agent, no key files, no password, no configuration of the user's.
    Blocks for at most 10 s (TCP), then `timeout` for the key exchange and again for authentication.
    May be repeated.

    Args:
        endpoint: where SSH should answer.
        identity: our key and the pinned host key.
        timeout: seconds that one step may take; TCP never gets more than 10.

    Raises:
        NotReadyError: nothing that speaks SSH answers yet, or the key is not accepted yet.
        HostKeyError: the host has another key; no authentication was sent.
    """
    pinned = _blob(identity.host_key)
    place = f"{endpoint.host}:{endpoint.port}"
    held = _dial(endpoint, min(TCP_S, timeout))
    transport = new_transport(held, (KEY_TYPE,), timeout)
    try:
        _exchange_keys(transport, place, timeout)
        _prove(transport.get_remote_server_key(), pinned, place)
        _authenticate(transport, endpoint.user, identity.user_key, place)
    except BaseException:  # KeyboardInterrupt too must not leave a socket and a thread behind
        hang_up(transport, held)
        held.release()
        raise
    return SshConnection(transport, held, timeout=timeout)


def _blob(line: str) -> bytes:
    words = line.split()
    with contextlib.suppress(binascii.Error, ValueError):
        if len(words) > 1 and words[0] == KEY_TYPE:
            return base64.b64decode(words[1], validate=True)
    msg = f"the pinned host key {line[:40]!r} is no line {KEY_TYPE!r} + base64"
    raise HostError(msg)


def _dial(endpoint: Endpoint, seconds: float) -> HeldSocket:
    try:
        return dial(endpoint.host, endpoint.port, seconds)
    except OSError as error:
        msg = f"nothing answers at {endpoint.host}:{endpoint.port} yet ({error})"
        raise NotReadyError(msg, retry_after=1.0) from error


def _exchange_keys(transport: paramiko.Transport, place: str, seconds: float) -> None:
    if not exchange_keys(transport, seconds):
        msg = f"no SSH key exchange with {place} yet"
        raise NotReadyError(msg, retry_after=1.0)


def _prove(shown: paramiko.PKey, pinned: bytes, place: str) -> None:
    if hmac.compare_digest(shown.asbytes(), pinned):
        return
    msg = f"{place} shows another host key than the pinned one; nothing was sent to it"
    raise HostKeyError(msg, seen=f"{shown.get_name()} {shown.get_base64()}")


def _authenticate(transport: paramiko.Transport, user: str, key: Secret, place: str) -> None:
    ours = paramiko.Ed25519Key.from_private_key(io.StringIO(key.reveal()))
    with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
        transport.auth_publickey(user, ours)
        if transport.is_authenticated():
            return
    msg = f"{place} has not accepted the key for {user!r} yet"
    raise NotReadyError(msg, retry_after=2.0)
