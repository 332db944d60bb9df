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
    "quota": "answer 429 search_quota_exceeded (RunPod: as rate_limit)",
    "html": "answer 200 with a page of HTML; nothing done",
    "cloudflare": "answer 403 with a page of HTML that says 1010; nothing done",
    "truncate": "do it, then send half of the reply's JSON",
    "drip": "do it, then send the reply one byte every `every` (1) real seconds",
    "redirect": "answer 307 to the host `to`; nothing done",
}
_BOTH_CREATE, _BOTH_DESTROY = ("create", "pod_create"), ("destroy", "pod_destroy")
_RUNPOD_CREATE = ("pod_create",)
# Faults of the markets: each belongs to one point of Vast's dialect, of RunPod's (`pod_...`, `graphql`), or of both.
MARKET: Mapping[str, tuple[tuple[str, ...], str]] = {
    "taken": (("create",), "somebody else was faster: 400 no_such_ask"),
    "insufficient_credit": (_BOTH_CREATE, "400 insufficient_credit (RunPod: 402)"),
    "not_started": (("create",), "success:false with new_contract: it exists, stopped, and bills its disk"),
    "price_change": (_BOTH_CREATE, "the rent is `factor` (2) times what the search said"),
    "list_lag": (_BOTH_CREATE, "the new instance is absent from list and show for `seconds` (30)"),
    "host_failure": (_BOTH_CREATE, "created, with docker's OCI text (RunPod: ERROR); never runs"),
    "stuck_loading": (_BOTH_CREATE, "loading for ever (RunPod: says RUNNING, `runtime` stays null)"),
    "start_race": (("create",), "loading with an empty text and cur_state stopped; a second start cures it"),
    "no_sshd": (_BOTH_CREATE, "running, but nothing listens on its ports"),
    "wrong_gpu": (_BOTH_CREATE, "the machine has the GPU `gpu` (Tesla T4) inside"),
    "auth_lag": (_BOTH_CREATE, "sshd refuses every key for `seconds` (5) after it is up"),
    "no_egress": (_BOTH_CREATE, "calls from the container go nowhere: its switch cannot reach the service"),
    "start_delay": (_BOTH_CREATE, "the start command runs `seconds` (5) after the container is up"),
    "fixed_host_key": (_BOTH_CREATE, "sshd shows a key from the image and never takes another"),
    "no_direct_ports": (_BOTH_CREATE, "no direct port, only the proxy"),
    "outbid_after": (("create",), "outbid `seconds` (10) after it runs"),
    "offline_after": (("create",), "the host is lost `seconds` (10) after it runs, `for` so many (for ever)"),
    "queued": (("start",), "success:false, the state change is queued until `seconds` (5) later"),
    "lying_destroy": (_BOTH_DESTROY, "success, and it stays"),
    "capacity": (("pod_create", "pod_start"), "400 with a text on capacity; `text` replaces it"),
    "duplicate": (_RUNPOD_CREATE, "two pods are made, one is answered"),
    "provisioning": (_RUNPOD_CREATE, "the pod says PROVISIONING and STARTING until it is up, not RUNNING at once"),
    "preempt_after": (_RUNPOD_CREATE, "interrupted `seconds` (10) after it runs"),
    "zero_gpus": (("pod_start",), "the pod comes back without a GPU inside"),
    "hide_graphql": (("graphql",), "GraphQL is gone: `code` 410 (404 as well), or 400 GRAPHQL_VALIDATION_FAILED"),
}
# Nothing listens on that port: what keeps to the variables, as curl, wget and Python do, reaches nobody.
NO_EGRESS = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


class FaultError(ValueError):
    """No such fault, or it makes no sense."""


@dataclass(slots=True)
class Fault:
    """One fault: from the `nth` passing of one of its `points` on, `times` times (None: for ever)."""

    name: str
    points: tuple[str, ...]
    nth: int = 1
    times: int | None = 1
    instance: int | str | None = None
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
            "point": "|".join(self.points),
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
            points = MARKET[name][0]
            if point and point not in points:
                msg = f"{name} belongs to the point {' or '.join(points)}, not {point}"
                raise FaultError(msg)
        elif name in WIRE:
            points = ("*",)
        else:
            msg = f"no fault {name!r}; there are {', '.join([*WIRE, *MARKET])}"
            raise FaultError(msg)
        if not _positive(nth) or not (times is None or _positive(times)):
            msg = f"nth and times are whole numbers from 1, not {nth!r} and {times!r}"
            raise FaultError(msg)
        fault = Fault(name, (point,) if point else points, nth, times, instance, more)
        self.waiting.append(fault)
        return fault

    def take(self, point: str, name: str, instance: int | str | None = None) -> Fault | None:
        """Pass `point`; return the fault `name` when one strikes."""
        struck: Fault | None = None
        for fault in list(self.waiting):
            if fault.name != name or not {"*", point} & set(fault.points):
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
