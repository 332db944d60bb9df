"""SSH to a machine that the user already has: known_hosts proves it, the user's own keys open it.

Each machine on the way is proven before a byte of authentication is sent to it, however ssh is set up there:
StrictHostKeyChecking does not weaken that.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from gpuplug.errors import LinkError, UnreachableError
from gpuplug.streams.authentication import UserTransport, authenticate
from gpuplug.streams.known_hosts import KnownHosts, ShownKey
from gpuplug.streams.ssh_config import Hop, route
from gpuplug.streams.transport import (
    STEP_S,
    TCP_S,
    Held,
    SshConnection,
    dial,
    exchange_keys,
    hang_up,
    new_transport,
)
from gpuplug.streams.user_keys import gather

if TYPE_CHECKING:
    import paramiko

    from gpuplug.types import SshTarget


def connect(target: SshTarget, *, timeout: float = STEP_S) -> SshConnection:
    """Go to `target` on the way that the user's ssh would take, and authenticate with the user's keys.

    Blocks, for each machine on the way, for at most 10 s (TCP), `timeout` for the key exchange, and 30 s for each key
    (an agent may wait for a hand). Costs nothing, may be repeated.

    Raises:
        UsageError: ssh's configuration has a fault, or demands what cannot be done here.
        UnreachableError: nothing that speaks SSH answers.
        HostKeyError: a host is unknown, or known by another key; no authentication was sent to it.
        AuthError: no key is accepted.
    """
    connection: SshConnection | None = None
    try:
        for hop in route(target):
            connection = _reach(hop, connection, timeout)
    except BaseException:  # an interrupt too must not leave a connection behind
        if connection is not None:
            connection.close()
        raise
    if connection is None:
        msg = "a way has one machine at least"
        raise AssertionError(msg)
    return connection


def _reach(hop: Hop, beneath: SshConnection | None, timeout: float) -> SshConnection:
    known = KnownHosts(hop)
    held = _held(hop, beneath, timeout)
    transport = new_transport(held, known.algorithms(), timeout, UserTransport)
    try:
        _prove(transport, hop, known, timeout)
        keys = gather(hop)
        try:
            authenticate(transport, hop, keys)
        finally:
            keys.close()
    except BaseException:  # an interrupt too must not leave a socket and a thread behind
        hang_up(transport, held)
        held.release()
        raise
    return SshConnection(transport, held, timeout=timeout, beneath=beneath)


def _held(hop: Hop, beneath: SshConnection | None, timeout: float) -> Held:
    try:
        return beneath.tunnel(hop.host, hop.port) if beneath else dial(hop.host, hop.port, min(TCP_S, timeout))
    except socket.gaierror as error:
        raise UnreachableError(
            f"no host {hop.host!r}: {error.strerror}",
            hint=f"`{hop.typed}` must work; a name is a Host of ~/.ssh/config, or one that the network knows",
        ) from error
    except OSError as error:
        raise UnreachableError(f"nothing answers at {hop.place}: {error}", hint=f"`{hop.typed}` must work") from error
    except LinkError as error:
        raise UnreachableError(error.message, hint=f"`{hop.typed}` must work") from error


def _prove(transport: paramiko.Transport, hop: Hop, known: KnownHosts, timeout: float) -> None:
    if not exchange_keys(transport, timeout):
        raise UnreachableError(f"no SSH key exchange with {hop.place}", hint=f"`{hop.typed}` must work")
    shown = transport.get_remote_server_key()
    known.prove(ShownKey(shown.get_name(), shown.asbytes()))
