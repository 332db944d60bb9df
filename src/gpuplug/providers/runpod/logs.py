"""A pod's log, which RunPod streams as Server-Sent Events without an end."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from gpuplug.errors import ProviderError
from gpuplug.providers._calls import Call
from gpuplug.providers._reading import clean, mapping, parse_json
from gpuplug.types import InstanceState

if TYPE_CHECKING:
    from gpuplug.providers._calls import Reply
    from gpuplug.providers._http import HttpClient
    from gpuplug.types import Clock, Instance

_LOGS = "/v2/pods/{id}/logs"
# What the start command prints when the pod can never be reached; prepare.sh.
_FAILED = "gpuplug-failed "
_WHOLE_S = 9.0
_WHOLE_BYTES = 8 << 20
_GLANCE_S = 3.0
_GLANCE_BYTES = 64 << 10
_GLANCE_LINES = "20"
_MOST_LINES = "5000"
_MOST_PODS = 256


class Glance(NamedTuple):
    """The newest line of a pod's log, and the start command's last word if it gave up."""

    at: float
    line: str = ""
    failed: str = ""


class Logs:
    """Reads logs, and the newest line of one at most each `pause_s` seconds; `quiet_s` of silence ends a reading."""

    def __init__(self, http: HttpClient, clock: Clock, *, pause_s: float, quiet_s: float) -> None:
        self._http = http
        self._clock = clock
        self._pause_s = pause_s
        self._quiet_s = quiet_s
        self._lock = threading.Lock()
        self._glances: dict[str, Glance] = {}

    def container(self, pod_id: str) -> Reply:
        """Return what the container has written so far, as `lines` reads it."""
        query = {"source": "container", "tail": _MOST_LINES}
        call = Call("GET", _LOGS, target=pod_id, query=query, safe=True)
        return self._http.listen(call, seconds=_WHOLE_S, quiet_s=self._quiet_s, limit=_WHOLE_BYTES)

    def with_progress(self, instance: Instance) -> Instance:
        """Return `instance` with the newest line of its log as its status while it is not ready, or has failed."""
        if instance.state in {InstanceState.BOOTING, InstanceState.FAILED}:
            self.glance(instance.id)
        with self._lock:
            seen = self._glances.get(instance.id)
        if seen is None or not seen.line or instance.state is InstanceState.STOPPED:
            return instance
        return replace(instance, status=seen.line)

    def glance(self, pod_id: str) -> Glance:
        """Return the newest line; what was seen before when that is not long ago, or when there is no answer."""
        now = self._clock.monotonic()
        with self._lock:
            seen = self._glances.get(pod_id)
            if seen is not None and now - seen.at < self._pause_s:
                return seen
            if len(self._glances) >= _MOST_PODS:
                self._glances.clear()
            seen = self._glances[pod_id] = (seen or Glance(now))._replace(at=now)
        call = Call("GET", _LOGS, target=pod_id, query={"tail": _GLANCE_LINES}, safe=True)
        try:
            reply = self._http.listen(call, seconds=_GLANCE_S, quiet_s=self._quiet_s, limit=_GLANCE_BYTES)
        except ProviderError:
            return seen  # it only tells how far things are: what matters is asked elsewhere
        told = [line for text in lines(reply.body) if (line := clean(text, 300))]
        failed = next((line.removeprefix(_FAILED) for line in told if line.startswith(_FAILED)), "")
        with self._lock:
            seen = self._glances[pod_id] = Glance(now, told[-1] if told else seen.line, failed)
        return seen


def lines(stream: object) -> list[str]:
    """Return the lines of a stream that may be cut anywhere."""
    found: list[str] = []
    # Each event's data is one line; the last one may be torn.
    for row in stream.split("\n")[:-1] if isinstance(stream, str) else []:
        if not row.startswith("data:"):
            continue
        try:
            line = mapping(parse_json(row[5:].strip())).get("line")
        except ValueError:
            continue
        if isinstance(line, str):
            found.append(line)
    return found
