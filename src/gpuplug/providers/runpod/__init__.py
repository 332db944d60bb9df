"""RunPod: GPUs of its own data centers (Secure Cloud) and of private hosts (Community Cloud), over its REST API v2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug.errors import (
    AuthError,
    HostError,
    HostKeyError,
    LinkError,
    NoOfferError,
    NotReadyError,
    OfferGoneError,
    ProviderError,
    ReplyError,
    UnknownNameError,
    UsageError,
)
from gpuplug.providers._api import Api, listed
from gpuplug.providers._calls import Call, Pace, Reply, is_loopback
from gpuplug.providers._reading import clean, http_date, integer, mapping
from gpuplug.providers.runpod import bills, orders, refusals, rows, shelf
from gpuplug.providers.runpod.graphql import GoneError, GraphQl
from gpuplug.providers.runpod.logs import Logs, lines
from gpuplug.types import LABEL_PREFIX, Account, InstanceState, Traits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpuplug.providers import Access
    from gpuplug.providers.runpod.shelf import Stock
    from gpuplug.streams import Connection
    from gpuplug.types import Billed, Cloud, Identity, Instance, Offer, OfferList, Query, Spec

_PODS = "/v2/pods"
_POD = "/v2/pods/{id}"
_ACTION = "/v2/pods/{id}/action"
_GPUS = "/v2/catalog/gpus"
_VOLUMES = "/v2/network-volumes"
_VOLUME = "/v2/network-volumes/{id}"
# The account has some sixty calls a minute for everything; what is polled must leave room for what matters.
_PACES = {
    ("GET", _POD): Pace(1, 4.0),
    ("GET", _PODS): Pace(1, 3.0),
    ("GET", _GPUS): Pace(10, 60.0),
}
_MOST_PAGES = 100
_CONNECT_STEP_S = 7.0


class RunpodApi(Api):
    """The API with what stands in front of it."""

    def made_nothing(self, reply: Reply) -> bool:
        """Tell whether a refused create has certainly made nothing, whoever refused it."""
        return refusals.is_clean(reply)


class RunpodProvider:
    """The RunPod adapter. Thread-safe; call `close` when done.

    Raises:
        UsageError: the base URL is neither https nor on this computer.
    """

    name: str = "runpod"

    def __init__(self, access: Access) -> None:
        self._base = access.base_url.rstrip("/") or "https://api.runpod.io"
        self._simulated = is_loopback(self._base)
        self._has_key = bool(access.key)
        self._key_source = access.key_source
        paces = None if self._simulated else _PACES
        self._api = RunpodApi(access, self._base, refusals.refusal, refusals.unknown_pod, paces)
        self._graphql = GraphQl(self._api, access.key_source)
        pauses = (0.5, 0.3) if self._simulated else (10.0, 1.5)
        self._logs = Logs(self._api.http, access.clock, pause_s=pauses[0], quiet_s=pauses[1])
        self._centers: dict[str, str] = {}
        self.self_stop = orders.self_stop(self._base)
        self.traits = Traits(
            stop=True,
            account=True,
            bills=True,
            spot=True,
            keyless_prices=True,
            volumes=True,
            logs=True,
            self_destroy=True,
            notice_s=5.0,
            stop_keeps_disk=False,
            list_lag_s=1.0 if self._simulated else 60.0,
            verify_gap_s=0.5 if self._simulated else 30.0,
            ready_s=6.0 if self._simulated else 120.0,
            console_url=self._base if self._simulated else "https://console.runpod.io/pods",
            simulated=self._simulated,
            key_names=("RUNPOD_API_KEY",),
        )

    def close(self) -> None:
        """Close every connection. May be repeated."""
        self._api.close()

    def offers(self, query: Query) -> OfferList:
        """Search what can be rented now, cheapest true price first. Costs nothing, may be repeated.

        Without a key, and for spot machines, the GraphQL API is asked.

        Raises:
            UnknownNameError: a wished GPU or the network volume does not exist there.
            UsageError: volumes that no pod can have.
            NoOfferError: there are no spot machines, or no prices without a key, any more.
            ProviderError: no usable answer.
        """
        orders.check_volumes(query.volume_gb, query.network_volume)
        center = self._center(query.network_volume)
        found: list[Stock] = []
        made: list[Offer] = []
        dropped = 0
        for count in dict.fromkeys(wish.count for wish in query.gpus) or {1: None}:
            stocks, unusable = self._shelf(query, count, center)
            found += stocks
            dropped += unusable
            made += shelf.offers(stocks, query, count, center, simulated=self._simulated)
        shelf.check_names(found, query)
        if center and not made:
            raise NoOfferError(
                f"nothing of that is free in {center}, where network volume {query.network_volume} is",
                hint="name more models, or leave --network-volume out",
            )
        return shelf.rank(made, dropped)

    def launch(self, offer: Offer, spec: Spec, label: str) -> str:
        """Rent `offer` and return the pod's id. COSTS MONEY. Sent exactly once.

        Raises:
            OfferGoneError: a clean refusal, nothing was made.
            UnknownOutcomeError: it may have been made; look for `label`.
            ProviderError: any other clean refusal, nothing was made.
            UsageError: a value that cannot be sent.
        """
        orders.check_volumes(spec.volume_gb, spec.network_volume)
        center = self._center(spec.network_volume)
        if offer.spot:
            return self._graphql.rent_spot(orders.spot_input(offer, spec, label, self._base, center), label)
        call = Call("POST", _PODS, body=orders.body(offer, spec, label, self._base, center))
        return self._api.create(call, label, lambda made: rows.pod_id(made.get("id")))

    def instances(self) -> list[Instance]:
        """List every pod of the account whose label starts with `LABEL_PREFIX`, all pages. May be repeated.

        Raises:
            ProviderError: no whole list; part of one would prove nothing.
        """
        found: dict[str, Instance] = {}
        cursor = ""
        seen: set[str] = set()
        while len(seen) < _MOST_PAGES:
            call = Call("GET", _PODS, query={"cursor": cursor} if cursor else {}, safe=True)
            body = mapping(self._api.ask(call).body)
            for row in listed(body, "pods", call):
                instance = rows.instance(row, simulated=self._simulated)
                if instance is None:
                    raise ReplyError("runpod lists a pod without an id")
                if instance.label.startswith(LABEL_PREFIX) and not rows.is_terminated(row):
                    found[instance.id] = instance
            page = mapping(body.get("pagination"))
            following = page.get("nextCursor")
            if not page.get("hasNextPage") or not following:
                return list(found.values())
            if not isinstance(following, str) or following in seen:
                break
            seen.add(following)
            cursor = following
        raise ReplyError("runpod's list of pods has no end")

    def show(self, instance_id: str) -> Instance | None:
        """Read one pod; None when the provider says that it does not exist. May be repeated.

        While it boots its status is the newest line of its log: the pull of the image, the start of its SSH server.

        Raises:
            ProviderError: no usable answer.
        """
        row = self._row(instance_id)
        if row is None or rows.is_terminated(row):
            return None
        instance = rows.instance(row, simulated=self._simulated)
        if instance is None or instance.id != instance_id:
            raise ReplyError(f"runpod's answer about pod {instance_id} is about something else")
        return self._logs.with_progress(instance)

    def terminate(self, instance_id: str) -> None:
        """Ask for its end; silent when it is unknown. Does not prove that it is gone. May be repeated.

        Raises:
            ProviderError: it was not accepted.
        """
        if rows.pod_id(instance_id):
            self._api.tell(Call("DELETE", _POD, target=instance_id, safe=True))

    def stop(self, instance_id: str) -> None:
        """Ask for its rest; what is on its volume stays, and a volume of its own BILLS ON. May be repeated.

        Raises:
            UsageError: it has no volume, so nothing would be left.
            ProviderError: it was not accepted.
        """
        row = self._known_row(instance_id)
        if not rows.keeps_its_data(row):
            raise UsageError(
                f"pod {instance_id} has no volume: a stop would lose all that is on it and keep nothing",
                hint="%gpu down ends it; rent the next one with --volume 20 (GB) to be able to stop it",
            )
        self._act(instance_id, "stop", {InstanceState.STOPPED})

    def start(self, instance_id: str) -> None:
        """Ask for it to run again: COSTS MONEY. May be repeated. Its port changes.

        Raises:
            NotReadyError: no GPU is free on its host, which is the only one that can have it.
            ProviderError: it was not accepted, or it came back without its GPUs.
        """
        row = self._known_row(instance_id)
        bid = rows.bid_per_gpu(row)
        try:
            if bid is not None:
                self._graphql.resume_spot(instance_id, rows.gpu_count(row), bid)
            else:
                after = self._act(instance_id, "start", {InstanceState.BOOTING, InstanceState.RUNNING})
                _check_gpus(instance_id, row, after)
        except OfferGoneError as error:
            raise NotReadyError(f"its GPU is taken: {error.message}", retry_after=60.0) from error

    def account(self) -> Account:
        """Read the balance: None when the GraphQL API, which alone tells it, is gone. Costs nothing, may be repeated.

        Raises:
            AuthError: the key is not accepted.
            ProviderError: no usable answer.
        """
        reply = self._api.ask(Call("GET", _PODS, safe=True))  # whether the key is accepted must be said in any case
        return Account(self._graphql.balance(), told=http_date(reply.headers))

    def billed(self, since: float) -> list[Billed]:
        """Return what each pod was billed since `since` (seconds since 1970). Costs nothing, may be repeated.

        Raises:
            ProviderError: no whole bill.
        """
        return bills.billed(self._api.ask, since)

    def connect(self, instance: Instance, identity: Identity) -> Connection:
        """Prove the host, authenticate, and return the connection.

        Raises:
            NotReadyError: nothing listens yet, or the key is not accepted yet.
            HostKeyError: another host key; not one byte of authentication was sent.
            HostError: its log says that it will never listen.
        """
        from gpuplug.streams import ssh  # noqa: PLC0415 - paramiko is loaded only when something is rented

        refused: HostKeyError | None = None
        reasons: list[str] = []
        for endpoint in instance.endpoints:
            try:
                return ssh.connect(endpoint, identity, timeout=_CONNECT_STEP_S)
            except HostKeyError as error:
                refused = refused or error
            except (NotReadyError, LinkError) as error:
                reasons.append(error.message)
        if refused is not None:
            raise refused
        seen = self._logs.glance(instance.id)
        if seen.failed:
            raise HostError(f"pod {instance.id} cannot be reached: {seen.failed}", hint="use an image that has sshd")
        why = "; ".join(reasons) or "it has no public address yet; some Community hosts never have one"
        raise NotReadyError(f"{why}; its log says: {seen.line}" if seen.line else why)

    def logs(self, instance: Instance) -> str:
        """Read the container's log; "" while there is none. May be repeated; takes a few seconds.

        Raises:
            ProviderError: no usable answer.
        """
        if not rows.pod_id(instance.id):
            return ""
        reply = self._logs.container(instance.id)
        if refusals.unknown_pod(reply):
            return ""
        if reply.status >= refusals.REFUSED:
            raise refusals.refusal(reply, self._key_source)
        return "\n".join(lines(reply.body))

    def _row(self, instance_id: str) -> Mapping[str, object] | None:
        if not rows.pod_id(instance_id):
            return None
        return self._api.find(Call("GET", _POD, target=instance_id, safe=True))

    def _known_row(self, instance_id: str) -> object:
        row = self._row(instance_id)
        if row is None:
            raise ProviderError(f"{instance_id!r} is no pod of this account", hint="%gpu ls")
        return row

    def _act(self, instance_id: str, action: str, wanted: set[InstanceState]) -> Reply:
        reply = self._api.http.send(Call("POST", _ACTION, target=instance_id, body={"action": action}))
        if reply.status == refusals.CONFLICT:
            # Not valid now: perhaps because it is so already.
            instance = rows.instance(self._known_row(instance_id), simulated=self._simulated)
            if instance is not None and instance.state in wanted:
                return reply
        if self._api.refuses(reply):
            raise refusals.refusal(reply, self._key_source)
        return reply

    def _center(self, volume: str) -> str:
        """Return the data center of a network volume, which only its pods can be in; "" for no volume."""
        if volume and not self._has_key:
            raise AuthError("a network volume is an account's, and there is no key", hint="export RUNPOD_API_KEY=...")
        if volume and volume not in self._centers:
            told = self._api.find(Call("GET", _VOLUME, target=volume, safe=True))
            if told is None:
                raise self._unknown_volume(volume)
            center = clean(told.get("dataCenter"), 40)
            if not center:
                raise ReplyError(f"runpod does not say where network volume {volume} is")
            self._centers[volume] = center
        return self._centers[volume] if volume else ""

    def _unknown_volume(self, volume: str) -> UnknownNameError:
        known = self._api.rows(Call("GET", _VOLUMES, safe=True), "networkVolumes")[:10]
        names = ", ".join(f"{clean(row.get('id'), 40)} ({clean(row.get('name'), 40)})" for row in known)
        return UnknownNameError(
            f"no network volume {volume!r} on runpod" + ("" if names else "; the account has none"),
            hint=f"one of: {names}" if names else f"leave --network-volume out, or make one at {refusals.STORAGE_PAGE}",
        )

    def _shelf(self, query: Query, count: int, center: str) -> tuple[list[Stock], int]:
        """Return the GPU types with their stock for `count` GPUs, and the number of rows that make no sense."""
        clouds = shelf.clouds(query)
        if query.spot or not self._has_key:
            listed = self._gpu_types(query, count, center)
            found = [shelf.from_graphql(row, cloud, center) for cloud in clouds for row in listed]
            return [stock for stock in found if stock is not None], shelf.senseless(listed)
        found, dropped = [], 0
        for cloud in clouds:
            listed = shelf.bounded(self._catalog(count, cloud))
            found += [shelf.from_catalog(row, cloud) for row in listed]
            dropped = max(dropped, shelf.senseless(listed))
        return [stock for stock in found if stock is not None], dropped

    def _catalog(self, count: int, cloud: Cloud) -> list[object]:
        query = {"include": "AVAILABILITY", "product": "POD", "count": str(count), "cloud": cloud.name}
        return self._api.items(Call("GET", _GPUS, query=query, safe=True), "gpus")

    def _gpu_types(self, query: Query, count: int, center: str) -> Sequence[object]:
        try:
            return shelf.bounded(self._graphql.gpu_types(count, center))
        except GoneError as error:
            what = "spot machines" if query.spot else "prices without a key"
            raise NoOfferError(
                f"runpod has no {what} any more: {error.message}",
                hint="leave --spot out" if query.spot else "export RUNPOD_API_KEY=...",
            ) from error


def _check_gpus(instance_id: str, before: object, after: Reply) -> None:
    """A pod whose GPUs were given away may come back without any, and bills all the same."""
    count = integer(mapping(mapping(after.body).get("gpu")).get("count"), 0, 1 << 10)
    if count == 0 and rows.gpu_count(before):
        raise ProviderError(
            f"pod {instance_id} came back without its GPUs: its host has none free",
            billing=f"#{instance_id} runs and bills until it is stopped or ended",
            hint="%gpu down ends it",
        )
