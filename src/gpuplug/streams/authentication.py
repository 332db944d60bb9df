"""Showing the user's keys to a host that is proven, one after the other, as ssh does."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import cMSG_SERVICE_REQUEST, cMSG_USERAUTH_REQUEST
from paramiko.transport import ServiceRequestingTransport

from gpuplug.errors import AuthError, UnreachableError
from gpuplug.streams.transport import STEP_S
from gpuplug.streams.user_keys import AGENT_S, UserKey, UserKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.streams.ssh_config import Hop

_MANY_KEYS = 3
_NAMED_KEYS = 6
_POLL_S = 0.05


class _Attempts(AuthOnlyHandler):
    """One attempt after the other."""

    def send_auth_request(
        self, username: str, method: str, finish_message: Callable[[paramiko.Message], None] | None = None
    ) -> list[str]:
        """As paramiko's, which makes the event only after the request went out and so may miss a quick answer."""
        self.auth_method = method
        self.username = username
        request = paramiko.Message()
        request.add_byte(cMSG_USERAUTH_REQUEST)
        for word in (username, "ssh-connection", method):
            request.add_string(word)
        if finish_message is not None:  # paramiko's own fails without one
            finish_message(request)
        self.auth_event = threading.Event()
        with self.transport.lock:
            self.transport._send_message(request)  # type: ignore[attr-defined]  # noqa: SLF001 - as paramiko; not in the stubs
        return self.wait_for_response(self.auth_event)


class UserTransport(ServiceRequestingTransport):
    """Asks for authentication once, however many keys are shown: some servers hang up when they are asked again."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - those of paramiko
        self._answered = threading.Event()
        super().__init__(*arguments, **options)

    def ensure_session(self) -> None:
        """Begin authentication if that is still to be done; paramiko's own would wait for ever for the server's answer."""
        if self._answered.is_set():
            return
        self.auth_handler = _Attempts(self)
        request = paramiko.Message()
        request.add_byte(cMSG_SERVICE_REQUEST)
        request.add_string("ssh-userauth")
        self._send_message(request)  # type: ignore[attr-defined]  # not in the stubs
        deadline = time.monotonic() + STEP_S
        while not self._answered.wait(_POLL_S):
            if not self.is_active() or time.monotonic() > deadline:
                msg = "no answer to the request for authentication"
                raise paramiko.SSHException(msg)

    def _parse_service_accept(self, message: paramiko.Message) -> None:
        if message.get_text() == "ssh-userauth":
            self._answered.set()


def authenticate(transport: paramiko.Transport, hop: Hop, keys: UserKeys) -> None:
    """Show one key after the other to a host that is proven; blocks for at most 30 s for each.

    Raises:
        AuthError: none is accepted; says what the user can do.
        UnreachableError: the host hung up.
    """
    transport.auth_timeout = AGENT_S
    # As ssh does: some servers let in whom the network has proven to them.
    if _accepted(transport, hop, lambda: transport.auth_none(hop.user)):
        return
    tried: list[UserKey] = []
    for one in keys.keys:
        if not transport.is_active():
            break
        tried.append(one)
        if _accepted(transport, hop, lambda key=one.key: transport.auth_publickey(hop.user, key)):  # type: ignore[misc]  # bound now
            return
    if not transport.is_active() and len(tried) < _MANY_KEYS:
        raise UnreachableError(f"{hop.place} hung up during authentication", hint=f"`{hop.typed}` must work")
    raise _refusal(hop, keys, tried, hung_up=not transport.is_active())


def _accepted(transport: paramiko.Transport, hop: Hop, attempt: Callable[[], list[str]]) -> bool:
    more: list[str] = []
    # paramiko's errors carry the server's words, which go nowhere.
    with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
        more = attempt()
    if more and not transport.is_authenticated():
        raise AuthError(
            f"{hop.place} wants more than a key from {hop.user!r}, which gpuplug cannot give",
            hint="let keys alone be enough there: AuthenticationMethods publickey",
        )
    return transport.is_authenticated()


def _refusal(hop: Hop, keys: UserKeys, tried: list[UserKey], *, hung_up: bool) -> AuthError:
    shown = list(dict.fromkeys(one.shown for one in tried))
    names = ", ".join(shown[:_NAMED_KEYS]) + (
        f" and {len(shown) - _NAMED_KEYS} more" if len(shown) > _NAMED_KEYS else ""
    )
    if hung_up:
        return AuthError(
            f"{hop.place} hung up after {len(tried)} keys for {hop.user!r}: {names}",
            hint="name the right one in ~/.ssh/config: IdentityFile ~/.ssh/id_..., IdentitiesOnly yes",
        )
    if keys.locked:
        tail = f"; tried {names}" if names else ""
        return AuthError(
            f"{hop.place} let {hop.user!r} in by no key{tail}; {', '.join(keys.locked)} needs its passphrase",
            hint=f"ssh-add {keys.locked[0]}",
        )
    if not tried:
        return AuthError(
            f"there is no key to show to {hop.place} for {hop.user!r}: no agent, and no key file that ssh would use",
            hint=f"ssh-keygen -t ed25519, then ssh-copy-id {_copy_words(hop)}",
        )
    return AuthError(
        f"{hop.place} accepts no key for {hop.user!r}; tried {names}", hint=f"ssh-copy-id {_copy_words(hop)}"
    )


def _copy_words(hop: Hop) -> str:
    return hop.typed.removeprefix("ssh ")
