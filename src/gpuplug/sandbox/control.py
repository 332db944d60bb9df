"""The control and meter endpoints: how a test looks behind the counter and makes things go wrong.

`GET meter_url`: `{"billing_now": 1, "spend": "0.0123", "spend_micros": 12300, "instances": [...]}`, each instance with platform (`vast`,
`runpod`), id, label, gpu, num_gpus, machine_id, state, intended, started (Unix time), billing, rate_micros (per hour), spend,
spend_micros. Destroyed instances stay in it; RunPod's network volumes are in it with the state `volume`, since they bill like the rest.

`GET control_url`: `{"faults": [waiting], "fired": [struck], "requests": [log], "now": seconds}`; each request has t, method, path,
point, agent, key (`account`, `instance N`, `bad`, `none`) and status (0: no reply).

`DELETE control_url` forgets the faults that wait.

`POST control_url` with `{"fault": name, "point": ..., "nth": 1, "times": 1, "instance": id, ...}` queues a fault (`faults.WIRE` and
`faults.MARKET` list names and parameters): it strikes at the nth passing of its point from now on, `times` times, null for ever. Points
of Vast's dialect are search, gpu_names, create, list, list_v0, filters, show, start, stop, label, update, destroy, reboot, recycle, bid,
logs, result, command, snapshot, instance_keys, account_keys, api_keys, user, charges, invoices, volumes, copy; of RunPod's pod_list,
pod_create, pod_show, pod_update, pod_start, pod_stop, pod_restart, pod_destroy, pod_logs, gpus, cpus, datacenters, templates, registries,
ssh_keys, network_volumes, billing, graphql (what GraphQL does to pods passes their points too); and `*`. A fault that both dialects know
and that is queued without a point waits at both.

`POST control_url` with `{"action": name, ...}` acts at once:
    outbid                              `instance` (Vast)
    preempt                             `instance` (RunPod): SIGTERM, SIGKILL 5 s later, EXITED
    die                                 `instance`: the container ends, and the service starts it again
    offline                             `instance` (Vast), `seconds` (for ever): the host is lost
    ssh_cut                             `instance`, `after_bytes` (now)
    ssh_black_hole, ssh_refuse          `instance`, `seconds`
    block_egress                        `instance`, `on`: calls with its own key get no answer from now on: its switch reaches nobody
    set_price                           `price` dollars per hour, `gpu` or `machine_id`
    set_stock                           `gpu`, `free` in every RunPod data center
    credit                              `amount` in dollars that are left, of each account
    revoke_key, restore_key             the accounts' keys
    rights                              `names` (all): what the accounts' keys may: user_read, instance_read, instance_write; RunPod's
                                        reads always, and changes nothing without instance_write
    pagination                          `size` of the pages of RunPod's lists (none: no pages)
    strict                              `on`: the services' limits on calls: least seconds between two (Vast), 60 a minute (RunPod)
    advance                             `seconds` of sandbox time
    reset                               end all machines; forget faults, log, spend, SSH keys, prices, volumes, jumps of time
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gpuplug.sandbox.catalogue import BY_NAME, MICROS
from gpuplug.sandbox.lifecycle import FOR_EVER_S
from gpuplug.sandbox.meter import verdict
from gpuplug.sandbox.replies import ApiError
from gpuplug.sandbox.runpod.problems import Problem
from gpuplug.sandbox.vast.door import body_of

if TYPE_CHECKING:
    from gpuplug.sandbox.instances import Instance
    from gpuplug.sandbox.machine.link import Link
    from gpuplug.sandbox.market import Market
    from gpuplug.sandbox.runpod.cloud import Cloud
    from gpuplug.sandbox.runpod.pods import Pod
    from gpuplug.sandbox.wire import Wire

CONTROL_PATH = "/sandbox/control"
METER_PATH = "/sandbox/meter"
Body = Mapping[str, Any]
Action = Callable[[Body], Awaitable["dict[str, Any] | None"]]


class ControlError(ValueError):
    """A control request that makes no sense."""


class Control:
    """Handlers of the two endpoints that are no part of any provider's API."""

    def __init__(self, market: Market, cloud: Cloud, wire: Wire) -> None:
        self._market = market
        self._cloud = cloud
        self._wire = wire
        self._actions: dict[str, Action] = {
            "outbid": self._outbid,
            "preempt": self._preempt,
            "offline": self._offline,
            "die": self._die,
            "ssh_cut": self._ssh_cut,
            "ssh_black_hole": self._ssh_black_hole,
            "ssh_refuse": self._ssh_refuse,
            "block_egress": self._block_egress,
            "set_price": self._set_price,
            "set_stock": self._set_stock,
            "pagination": self._pagination,
            "credit": self._credit,
            "revoke_key": self._revoke_key,
            "restore_key": self._restore_key,
            "rights": self._rights,
            "strict": self._strict,
            "advance": self._advance,
            "reset": self._reset,
        }

    def add_routes(self, app: web.Application) -> None:
        """Serve the control and meter endpoints on `app`."""
        app.router.add_get(METER_PATH, self._meter)
        app.router.add_get(CONTROL_PATH, self._look)
        app.router.add_post(CONTROL_PATH, self._do)
        app.router.add_delete(CONTROL_PATH, self._forget)

    async def _meter(self, _request: web.Request) -> web.Response:
        return web.json_response(verdict([*self._market.rows(), *self._cloud.rows()]))

    async def _look(self, _request: web.Request) -> web.Response:
        faults = self._market.faults
        return web.json_response(
            {
                "faults": [fault.facts() for fault in faults.waiting],
                "fired": faults.fired,
                "requests": list(self._wire.requests),
                "now": self._market.clock.now(),
            }
        )

    async def _forget(self, _request: web.Request) -> web.Response:
        self._market.faults.waiting.clear()
        return web.json_response({"ok": True})

    async def _do(self, request: web.Request) -> web.Response:
        try:
            answer = await self._handle(await body_of(request))
        except ApiError as error:
            return web.json_response(error.body, status=error.status)
        except Problem as problem:
            return web.json_response(problem.body(), status=problem.status)
        except (ValueError, KeyError, TypeError) as error:
            return web.json_response({"ok": False, "error": repr(error)}, status=400)
        return web.json_response({"ok": True, **(answer or {})})

    async def _handle(self, body: Body) -> dict[str, Any] | None:
        if "fault" in body:
            if body["fault"] == "wrong_gpu" and body.get("gpu", "Tesla T4") not in BY_NAME:
                msg = f"no GPU {body['gpu']!r}; there are {', '.join(BY_NAME)}"
                raise ControlError(msg)
            return self._market.faults.add(body).facts()
        name = str(body.get("action"))
        if name not in self._actions:
            msg = f"no action {name!r}; there are {', '.join(self._actions)}"
            raise ControlError(msg)
        return await self._actions[name](body)

    def _instance(self, body: Body) -> Instance:
        return self._market.need(int(body["instance"]))

    def _pod(self, body: Body) -> Pod | None:
        """Return the pod that is meant; Vast's instances have numbers."""
        name = body["instance"]
        return self._cloud.need(name) if isinstance(name, str) and not name.isdigit() else None

    def _link(self, body: Body) -> Link:
        pod = self._pod(body)
        if pod is None:
            return self._instance(body).machine.link
        if pod.machine is None:
            msg = f"pod {pod.id} has no machine now"
            raise ControlError(msg)
        return pod.machine.link

    async def _outbid(self, body: Body) -> None:
        self._market.lifecycle.outbid(self._instance(body))

    async def _preempt(self, body: Body) -> None:
        self._cloud.preempt(self._cloud.need(str(body["instance"])))

    async def _offline(self, body: Body) -> None:
        self._market.lifecycle.lose(self._instance(body), float(body.get("seconds", FOR_EVER_S)))

    async def _die(self, body: Body) -> None:
        pod = self._pod(body)
        if pod is None:
            self._market.lifecycle.reboot(self._instance(body))
        else:
            self._cloud.life.restart(pod)

    async def _ssh_cut(self, body: Body) -> None:
        self._link(body).cut(body.get("after_bytes"))

    async def _ssh_black_hole(self, body: Body) -> None:
        self._link(body).black_hole(float(body["seconds"]))

    async def _ssh_refuse(self, body: Body) -> None:
        self._link(body).refuse(float(body["seconds"]))

    async def _block_egress(self, body: Body) -> None:
        pod = self._pod(body)
        key = self._instance(body).key if pod is None else pod.key
        if body.get("on", True):
            self._wire.blocked.add(key)
        else:
            self._wire.blocked.discard(key)

    async def _set_price(self, body: Body) -> dict[str, Any]:
        price, gpu, machine_id = float(body["price"]), str(body.get("gpu")), body.get("machine_id")
        changed = self._market.set_price(price, gpu, machine_id)
        if machine_id is None:
            changed += self._cloud.shelf.set_price(gpu, round(price * MICROS))
        return {"changed": changed}

    async def _set_stock(self, body: Body) -> dict[str, Any]:
        return {"changed": self._cloud.shelf.set_stock(str(body["gpu"]), int(body["free"]))}

    async def _pagination(self, body: Body) -> None:
        size = body.get("size")
        self._cloud.page_size = None if size is None else int(size)

    async def _credit(self, body: Body) -> None:
        left = round(float(body["amount"]) * MICROS)
        self._market.account.credit = left + self._market.spent()
        self._cloud.account.credit = left + self._cloud.spent()

    async def _revoke_key(self, _body: Body) -> None:
        self._market.account.revoked = self._cloud.account.revoked = True

    async def _restore_key(self, _body: Body) -> None:
        self._market.account.revoked = self._cloud.account.revoked = False

    async def _rights(self, body: Body) -> None:
        names = body.get("names")
        rights = None if names is None else frozenset(str(name) for name in names)
        self._market.account.rights = rights
        self._cloud.account.may_write = rights is None or "instance_write" in rights

    async def _strict(self, body: Body) -> None:
        self._market.strict = self._cloud.strict = bool(body.get("on", True))

    async def _advance(self, body: Body) -> dict[str, Any]:
        self._market.clock.advance(float(body["seconds"]))
        return {"now": self._market.clock.now()}

    async def _reset(self, _body: Body) -> None:
        await self._cloud.reset()
        await self._market.reset()
        self._wire.requests.clear()
        self._wire.blocked.clear()
