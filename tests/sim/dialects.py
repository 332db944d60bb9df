"""The two APIs over the market in memory, as far as renting needs them: a request in, status and JSON out."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sim.market import Order

from gpuplug.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sim.market import Machine, Market

EPOCH = FakeClock().now().timestamp()  # when the world begins, by a right clock
PAGE = 1  # small, so that a run reads more than one
VAST_PRICE = (300_000, 4_000)
RUNPOD_PRICE = (340_000, 2_740)
DISK = 2_740  # what RunPod's 20 GB cost beside the GPU
GPU_ID = "NVIDIA GeForce RTX 4090"


class Asked(NamedTuple):
    """One request, taken apart."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def target(self) -> str:
        """The word of the path that names an instance or an offer."""
        words = self.path.strip("/").split("/")
        return words[-2] if words[-1] in {"action", "logs"} else words[-1]


class Answer(NamedTuple):
    """What is sent back."""

    status: int
    body: object


class Dialect(Protocol):
    """One API. `verb` names what a request is, in the same words for both."""

    name: str

    def verb(self, asked: Asked) -> str: ...

    def order(self, asked: Asked) -> Order: ...

    def made(self, machine: Machine) -> Answer: ...

    def confessed(self, machine: Machine) -> Answer: ...

    def taken(self) -> Answer: ...

    def done(self) -> Answer: ...

    def answer(self, asked: Asked, market: Market) -> Answer: ...


def _page(market: Market, name: str, after: str) -> tuple[list[Machine], str]:
    """Return one page of the list and where the next one begins; the market notes what it has shown."""
    machines = market.shown(name)
    first = int(after) if after else 0
    shown = machines[first : first + PAGE]
    following = str(first + PAGE) if first + PAGE < len(machines) else ""
    market.note(name, shown, whole=not following)
    return shown, following


class Vast:
    """Vast.ai's API."""

    name = "vast"

    def verb(self, asked: Asked) -> str:
        if asked.path == "/api/v0/bundles/":
            return "search"
        if asked.path.startswith("/api/v0/users/current"):
            return "account"
        if asked.path.startswith("/api/v0/asks/"):
            return "create"
        if asked.path == "/api/v1/instances/":
            return "list"
        return {"GET": "show", "DELETE": "end", "PUT": "power"}[asked.method]

    def order(self, asked: Asked) -> Order:
        return Order(str(asked.body["label"]), str(asked.body["onstart"]), VAST_PRICE, keeps=True)

    def made(self, machine: Machine) -> Answer:
        return Answer(200, {"success": True, "new_contract": int(machine.id)})

    def confessed(self, machine: Machine) -> Answer:
        """An instance may exist, and bill, even when the reply says that nothing came of it."""
        return Answer(400, {"success": False, "error": "create_failed", "new_contract": int(machine.id)})

    def taken(self) -> Answer:
        return Answer(404, {"success": False, "error": "no_such_ask", "msg": "Instance type is not available."})

    def done(self) -> Answer:
        return Answer(200, {"success": True})

    def answer(self, asked: Asked, market: Market) -> Answer:
        verb = self.verb(asked)
        if verb == "search":
            return Answer(200, {"offers": [_offer(4001), _offer(4002)]})
        if verb == "account":
            return Answer(200, {"credit": 10.0})
        if verb == "list":
            shown, following = _page(market, self.name, asked.query.get("after_token", ""))
            rows = [self._row(each, market) for each in shown]
            return Answer(200, {"success": True, "next_token": following or None, "instances": rows})
        if verb == "show":
            seen = market.read(self.name, asked.target)
            return Answer(200, {"instances": self._row(seen, market)}) if seen else self._unknown()
        return self._change(verb, asked, market)

    def _change(self, verb: str, asked: Asked, market: Market) -> Answer:
        machine = market.machines.get(asked.target)
        if machine is None or machine.ended is not None:
            return self._unknown()
        if verb == "end":
            market.end(machine)
        elif asked.body.get("state") == "stopped" and not machine.resting:
            market.rest(machine)
        elif asked.body.get("state") == "running" and machine.resting:
            market.wake(machine)
        return self.done()

    def _unknown(self) -> Answer:
        return Answer(404, {"success": False, "error": "no_such_instance", "msg": "Instance not found."})

    def _row(self, machine: Machine, market: Market) -> dict[str, Any]:
        running = machine.running(market.now)
        return {
            "id": int(machine.id),
            "label": machine.label,
            "start_date": EPOCH + machine.born,
            "machine_id": 14001,
            "actual_status": "running" if running else "exited" if machine.resting else "loading",
            "intended_status": "stopped" if machine.resting else "running",
            "status_msg": "",
            "gpu_name": "RTX 4090",
            "num_gpus": 1,
            "public_ipaddr": "203.0.113.7",
            "ports": {"22/tcp": [{"HostPort": "30022"}]},
            "dph_total": machine.rate / 1e6,
            "storage_cost": machine.rest_rate / 1e6 * 720 / 20,
            "disk_space": 20,
        }


def _offer(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "machine_id": number + 10_000,
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "gpu_ram": 24564,
        "dph_total": VAST_PRICE[0] / 1e6,
        "instance": {"totalHour": VAST_PRICE[1] / 1e6},
        "reliability2": 0.997,
        "verification": "verified",
        "cuda_max_good": 12.8,
        "geolocation": "Sweden, SE",
        "direct_port_count": 12,
        "rentable": True,
        "rented": False,
    }


class Runpod:
    """RunPod's REST API, version 2."""

    name = "runpod"

    def verb(self, asked: Asked) -> str:
        if asked.path == "/v2/catalog/gpus":
            return "search"
        if asked.path == "/graphql":
            return "account"
        if asked.path == "/v2/pods":
            return "create" if asked.method == "POST" else "list"
        if asked.path.endswith("/logs"):
            return "log"
        return {"GET": "show", "DELETE": "end", "POST": "power"}[asked.method]

    def order(self, asked: Asked) -> Order:
        keeps = "mounts" in asked.body
        price = (RUNPOD_PRICE[0], RUNPOD_PRICE[1] if keeps else 0)
        return Order(str(asked.body["name"]), "\n".join(asked.body["cmd"]), price, keeps)

    def made(self, machine: Machine) -> Answer:
        return Answer(201, {"id": machine.id, "name": machine.label})

    def confessed(self, machine: Machine) -> Answer:
        """A pod was made, and the reply says so in a way that nobody can read."""
        return Answer(200, {"pod": {"id": machine.id}})

    def taken(self) -> Answer:
        words = "There are no longer any instances available with the requested specifications."
        return Answer(400, {"title": "Bad Request", "status": 400, "detail": words})

    def done(self) -> Answer:
        return Answer(204, None)

    def answer(self, asked: Asked, market: Market) -> Answer:
        verb = self.verb(asked)
        if verb == "search":
            return Answer(200, {"gpus": [_gpu()] if asked.query.get("cloud") == "SECURE" else []})
        if verb == "account":
            return Answer(200, {"data": {"myself": {"clientBalance": 10.0}}})
        if verb == "log":
            return Answer(200, {})
        if verb == "list":
            shown, following = _page(market, self.name, asked.query.get("cursor", ""))
            rows = [self._row(each, market) for each in shown]
            page = {"hasNextPage": bool(following), "nextCursor": following or None}
            return Answer(200, {"pods": rows, "pagination": page})
        if verb == "show":
            seen = market.read(self.name, asked.target)
            return Answer(200, self._row(seen, market)) if seen else self._unknown()
        return self._change(verb, asked, market)

    def _change(self, verb: str, asked: Asked, market: Market) -> Answer:
        machine = market.machines.get(asked.target)
        if machine is None or machine.ended is not None:
            return self._unknown()
        if verb == "end":
            market.end(machine)
            return self.done()
        if asked.body.get("action") == "stop" and not machine.resting:
            market.rest(machine)
        elif asked.body.get("action") == "start" and machine.resting:
            market.wake(machine)
        else:
            return Answer(409, {"title": "Conflict", "status": 409, "detail": "not valid in this state"})
        return Answer(200, self._row(machine, market))

    def _unknown(self) -> Answer:
        return Answer(404, {"title": "Not Found", "status": 404, "detail": "pod not found"})

    def _row(self, machine: Machine, market: Market) -> dict[str, Any]:
        return {
            "id": machine.id,
            "name": machine.label,
            "status": "EXITED" if machine.resting else "RUNNING",
            "env": {"GPUPLUG_ID": machine.label},
            "gpu": {"id": GPU_ID, "count": 1},
            "disk": 20,
            "createdAt": dt.datetime.fromtimestamp(EPOCH + machine.born, dt.timezone.utc).isoformat(),
            "mounts": {"persistent": {"size": 10}} if machine.keeps else {},
            "cost": (machine.rate - DISK) / 1e6,
            "ssh": {"direct": {"host": "203.0.113.7", "port": 30022}},
            "runtime": {"uptime": 1, "ports": []} if machine.running(market.now) else None,
        }


def _gpu() -> dict[str, Any]:
    return {
        "id": GPU_ID,
        "name": "RTX 4090",
        "manufacturer": "NVIDIA",
        "memory": 24,
        "secure": True,
        "price": {"secure": (RUNPOD_PRICE[0] - DISK) / 1e6},
        "maxCount": {"secure": 8},
        "availability": "HIGH",
        "dataCenters": [{"id": "EU-RO-1", "availability": "LOW"}],
        "cudaVersions": [{"version": "12.9", "available": True}],
    }


DIALECTS: dict[str, Dialect] = {"console.vast.ai": Vast(), "api.runpod.io": Runpod()}


def dumped(answer: Answer) -> bytes:
    return b"" if answer.body is None else json.dumps(answer.body).encode()
