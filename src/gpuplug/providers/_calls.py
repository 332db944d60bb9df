"""What a call to a provider's API is, where it may go, and how closely one may follow another."""

from __future__ import annotations

import contextlib
import ipaddress
import random
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from gpuplug.errors import NotReadyError
from gpuplug.providers._reading import number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuplug.types import Clock

TOO_MANY = 429
SERVER_ERROR = 500
_MAX_RETRY_AFTER_S = 60.0


class Pace(NamedTuple):
    """At most `calls` calls in any `seconds` seconds."""

    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `{id}` in `route` is replaced by `target`; only a `safe` call is ever sent twice.

    With `fields`, nothing else is kept of the objects in the reply (see `parse_json`).
    """

    method: str
    route: str
    target: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    safe: bool = False
    fields: frozenset[str] | None = None


class Reply(NamedTuple):
    """What came back: the body is parsed JSON, or the bare text of a refusal that is no JSON."""

    status: int
    body: object
    headers: Mapping[str, str]


def is_loopback(url: str) -> bool:
    """Tell whether `url` leads to this computer and nowhere else."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def may_be_called(url: str) -> bool:
    """Tell whether `url` is https, or http on this computer, and carries no password."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None or not parts.hostname:
            return False
        return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url))
    return False


def is_temporary(status: int) -> bool:
    """Tell whether the same call may well succeed later."""
    return status == TOO_MANY or status >= SERVER_ERROR


def pause(status: int, headers: Mapping[str, str], attempt: int) -> float:
    """Return seconds to wait after try number `attempt`.

    That is what the server asks for, at most a minute; otherwise twice as long each time, with jitter.
    """
    asked = number(headers.get("retry-after"), 0, 1 << 20)
    if asked is not None:
        return min(float(asked), _MAX_RETRY_AFTER_S)
    first = 2.0 if status == TOO_MANY else 0.5
    jitter: float = 0.75 + random.random() / 2  # noqa: S311 - spreads many clients, no secret
    return first * float(1 << (attempt - 1)) * jitter


class Pacer:
    """Keeps calls of one (method, route) apart, so that the provider's own limit is not met. Thread-safe."""

    def __init__(self, paces: Mapping[tuple[str, str], Pace], clock: Clock, longest_s: float) -> None:
        self._paces = paces
        self._clock = clock
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._sent = {route: deque[float](maxlen=pace.calls) for route, pace in paces.items()}

    def wait(self, call: Call) -> None:
        """Block until `call` may go out.

        Raises:
            NotReadyError: that would take longer than a call may block.
        """
        pace = self._paces.get((call.method, call.route))
        if pace is None:
            return
        with self._lock:
            now = self._clock.monotonic()
            sent = self._sent[call.method, call.route]
            wait = max(0.0, sent[0] + pace.seconds - now) if len(sent) == pace.calls else 0.0
            if wait > self._longest_s:
                raise NotReadyError(
                    f"{pace.calls} calls of this kind are allowed in {pace.seconds:.0f} s",
                    retry_after=wait,
                )
            sent.append(now + wait)
        if wait:
            self._clock.sleep(wait)
