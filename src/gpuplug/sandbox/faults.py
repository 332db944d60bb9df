"""Faults that wait for their moment: the nth time that their point is passed, so often, and then no more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Faults of the transport: any route of the market can have them. `point` names the route, "*" is all of them.
WIRE: Mapping[str, str] = {
    "drop_before": "close the connection, nothing done and nothing said",
    "drop_after": "do it, then close the connection without a reply",
    "error_after": "do it, then answer `code` (500)",
    "delay": "wait `seconds` (1) of real time first",
    "status": "answer `code` (500) with `body`, and `retry_after` where given; nothing done",
    "rate_limit": "answer 429 as plain text, with `retry_after` where given; nothing done",
    "quota": "answer 429 search_quota_exceeded",
    "html": "answer 200 with a page of HTML; nothing done",
    "truncate": "do it, then send half of the reply's JSON",
    "drip": "do it, then send the reply one byte every `every` (1) real seconds",
    "redirect": "answer 307 to the host `to`; nothing done",
}
# Faults of the marketplace: each belongs to one point.
MARKET: Mapping[str, tuple[str, str]] = {
    "taken": ("create", "somebody else was faster: 400 no_such_ask"),
    "insufficient_credit": ("create", "400 insufficient_credit"),
    "not_started": ("create", "success:false with new_contract: it exists, stopped, and bills its disk"),
    "price_change": ("create", "the rent is `factor` (2) times what the search said"),
    "list_lag": ("create", "the new instance is absent from list and show for `seconds` (30)"),
    "host_failure": ("create", "created, with docker's OCI text; never runs"),
    "stuck_loading": ("create", "loading for ever"),
    "start_race": ("create", "loading with an empty text and cur_state stopped; a second start cures it"),
    "no_sshd": ("create", "running, but nothing listens on its ports"),
    "wrong_gpu": ("create", "the machine has the GPU `gpu` (Tesla T4) inside"),
    "auth_lag": ("create", "sshd refuses every key for `seconds` (5) after it is up"),
    "start_delay": ("create", "the start command runs `seconds` (5) after sshd is up"),
    "fixed_host_key": ("create", "sshd shows a key from the image and never takes another"),
    "no_direct_ports": ("create", "no direct port, only the proxy"),
    "outbid_after": ("create", "outbid `seconds` (10) after it runs"),
    "offline_after": ("create", "the host is lost `seconds` (10) after it runs, `for` so many (for ever)"),
    "queued": ("start", "success:false, the state change is queued until `seconds` (5) later"),
    "lying_destroy": ("destroy", "success:true, and it stays"),
}


class FaultError(ValueError):
    """No such fault, or it makes no sense."""


@dataclass(slots=True)
class Fault:
    """One fault: from the `nth` passing of `point` on, `times` times (None: for ever)."""

    name: str
    point: str
    nth: int = 1
    times: int | None = 1
    instance: int | None = None
    more: dict[str, Any] = field(default_factory=dict)
    passed: int = 0

    def number(self, name: str, default: float) -> float:
        """Return one of its numeric parameters."""
        return float(self.more.get(name, default))

    def due(self) -> bool:
        """Count one passing; tell whether it strikes now."""
        self.passed += 1
        return self.passed >= self.nth and not self._over(self.passed - 1)

    @property
    def spent(self) -> bool:
        """Whether it will never strike again."""
        return self._over(self.passed)

    def _over(self, passed: int) -> bool:
        return self.times is not None and passed >= self.nth - 1 + self.times

    def facts(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "fault": self.name,
            "point": self.point,
            "nth": self.nth,
            "times": self.times,
            "instance": self.instance,
            "passed": self.passed,
            **self.more,
        }


class FaultQueue:
    """The faults that wait and the record of those that struck."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []
        self.fired: list[dict[str, Any]] = []

    def add(self, body: Mapping[str, Any]) -> Fault:
        """Queue what `body` describes: fault, point, nth, times, instance, and the fault's own parameters.

        Raises:
            FaultError: unknown fault, wrong point, or numbers that make no sense.
        """
        more = dict(body)
        name = str(more.pop("fault"))
        point = str(more.pop("point", "") or "")
        nth, times, instance = more.pop("nth", 1), more.pop("times", 1), more.pop("instance", None)
        if name in MARKET:
            own = MARKET[name][0]
            if point not in {"", own}:
                msg = f"{name} belongs to the point {own}, not {point}"
                raise FaultError(msg)
            point = own
        elif name not in WIRE:
            msg = f"no fault {name!r}; there are {', '.join([*WIRE, *MARKET])}"
            raise FaultError(msg)
        if not _positive(nth) or not (times is None or _positive(times)):
            msg = f"nth and times are whole numbers from 1, not {nth!r} and {times!r}"
            raise FaultError(msg)
        fault = Fault(name, point or "*", nth, times, instance, more)
        self.waiting.append(fault)
        return fault

    def take(self, point: str, name: str, instance: int | None = None) -> Fault | None:
        """Pass `point`; return the fault `name` when one strikes."""
        struck: Fault | None = None
        for fault in list(self.waiting):
            if fault.name != name or fault.point not in {"*", point}:
                continue
            if fault.instance is not None and fault.instance != instance:
                continue
            if fault.due() and struck is None:
                struck = fault
                self.fired.append({**fault.facts(), "at": point})
            if fault.spent:
                self.waiting.remove(fault)
        return struck

    def clear(self) -> None:
        """Forget the faults that wait and the record."""
        self.waiting.clear()
        self.fired.clear()


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
