"""What a call to a provider's API is, where it may go, and how closely one may follow another."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import random
import re
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
# One window of a `RateLimit` header: its name, then `r` calls that are left and `t` seconds until it begins anew.
_WINDOW = re.compile(r'"[^"]{0,64}"((?:\s*;\s*[a-z]{1,16}=[0-9]{1,9}){1,8})')
_MOST_HEADER = 1000


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


@functools.lru_cache(maxsize=256)
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


def quota_wait(headers: Mapping[str, str]) -> float:
    """Return seconds until a window of the `RateLimit` header that has no calls left begins anew; 0 when all have some.

    At most a minute: what costs money must be ended even when a day's calls are said to be used up.
    """
    waits = [0.0]
    for window in _WINDOW.finditer(headers.get("ratelimit", "")[:_MOST_HEADER]):
        pairs = (pair.partition("=") for pair in window[1].replace(" ", "").split(";") if pair)
        told = {name: int(value) for name, _, value in pairs}
        if told.get("r") == 0:
            waits.append(float(told.get("t", 0)))
    return min(max(waits), _MAX_RETRY_AFTER_S)


class Pacer:
    """Keeps calls of one (method, route) apart, so that the provider's own limit is not met. Thread-safe.

    It also waits when the provider said that the quota of all calls is used up.
    """

    def __init__(self, paces: Mapping[tuple[str, str], Pace], clock: Clock, longest_s: float) -> None:
        self._paces = paces
        self._clock = clock
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._sent: dict[tuple[str, str], deque[float]] = {
            route: deque(maxlen=pace.calls) for route, pace in paces.items()
        }
        self._closed_until = 0.0

    def heed(self, headers: Mapping[str, str]) -> None:
        """Note what the provider says of its quota."""
        wait = quota_wait(headers)
        if wait:
            with self._lock:
                self._closed_until = max(self._closed_until, self._clock.monotonic() + wait)

    def wait(self, call: Call) -> None:
        """Block until `call` may go out.

        Raises:
            NotReadyError: that would take longer than a call may block.
        """
        with self._lock:
            now = self._clock.monotonic()
            wait = self._closed_until - now
            if wait > self._longest_s:
                raise NotReadyError(
                    f"the provider's quota of calls is used up; the next one may go out in {wait:.0f} s",
                    retry_after=wait,
                )
            wait = max(0.0, wait, self._own_wait(call, now))
            if (call.method, call.route) in self._sent:
                self._sent[call.method, call.route].append(now + wait)
        if wait:
            self._clock.sleep(wait)

    def _own_wait(self, call: Call, now: float) -> float:
        pace = self._paces.get((call.method, call.route))
        if pace is None:
            return 0.0
        sent = self._sent[call.method, call.route]
        wait = sent[0] + pace.seconds - now if len(sent) == pace.calls else 0.0
        if wait > self._longest_s:
            raise NotReadyError(
                f"{pace.calls} calls of this kind are allowed in {pace.seconds:.0f} s",
                retry_after=wait,
            )
        return wait
