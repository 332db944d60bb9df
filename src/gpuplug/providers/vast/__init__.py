"""Vast.ai: a marketplace of machines of many hosts, spoken to over its HTTP API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gpuplug.errors import (
    AuthError,
    HostKeyError,
    LinkError,
    NotReadyError,
    ProviderError,
    ReplyError,
    UsageError,
)
from gpuplug.providers._api import Api, checked_image, checked_label, listed
from gpuplug.providers._calls import Call, Pace, Reply, is_loopback
from gpuplug.providers._reading import digits, http_date, mapping
from gpuplug.providers._start import SelfDestroy, start_command
from gpuplug.providers.vast import bills, refusals, rows, search
from gpuplug.types import LABEL_PREFIX, Account, SelfStop, Traits

if TYPE_CHECKING:
    from gpuplug.providers import Access
    from gpuplug.streams import Connection
    from gpuplug.types import Billed, GpuWish, Identity, Instance, Offer, OfferList, Query, Spec

_SEARCH = "/api/v0/bundles/"
_GPU_NAMES = "/api/v0/gpu_names/unique/"
_ASK = "/api/v0/asks/{id}/"
_LIST = "/api/v1/instances/"
_INSTANCE = "/api/v0/instances/{id}/"
_LOGS = "/api/v0/instances/request_logs/{id}/"
_USER = "/api/v0/users/current"
_KEYS = "/api/v0/auth/apikeys"
# The provider's own limits: one call in so many seconds for each method and route; searches ten a minute.
_PACES = {
    ("POST", _SEARCH): Pace(10, 60.0),
    ("PUT", _ASK): Pace(1, 4.5),
    ("GET", _LIST): Pace(1, 1.0),
    ("GET", _INSTANCE): Pace(1, 2.0),
    ("PUT", _INSTANCE): Pace(1, 1.0),
    ("DELETE", _INSTANCE): Pace(1, 3.0),
    ("PUT", _LOGS): Pace(1, 1.0),
}
_PAGE = 25
_MOST_PAGES = 100
_NAMES_KEPT_S = 3600.0
_CONNECT_STEP_S = 7.0
_LOG_S = 9.0
_LOG_PAUSE_S = 0.3
_MAX_LOG = 8 << 20
_LOG_LINES = 5000
_NOT_YET = frozenset({403, 404})


class VastApi(Api):
    """The API as it refuses: now and then with a status of success."""

    def refuses(self, reply: Reply) -> bool:
        """Tell whether `reply` is a refusal."""
        return not refusals.succeeded(reply)


class VastProvider:
    """The Vast.ai adapter. Thread-safe; call `close` when done.

    Raises:
        UsageError: the base URL is neither https nor on this computer.
    """

    name: str = "vast"

    def __init__(self, access: Access) -> None:
        self._base = access.base_url.rstrip("/") or "https://console.vast.ai"
        self._simulated = is_loopback(self._base)
        self._key_source = access.key_source
        self._clock = access.clock
        paces = None if self._simulated else _PACES
        self._api = VastApi(access, self._base, refusals.refusal, refusals.unknown_instance, paces)
        self._names: tuple[float, list[str]] | None = None
        own = f"{self._base}/api/v0/instances/$CONTAINER_ID/"
        self.self_stop = SelfStop(own, "CONTAINER_ID", "CONTAINER_API_KEY", "PUT", {"state": "stopped"})
        self.traits = Traits(
            stop=True,
            account=True,
            bills=True,
            spot=True,
            market=True,
            keyless_prices=True,
            logs=True,
            self_destroy=True,
            searches=(0, 0.0) if self._simulated else _PACES["POST", _SEARCH],
            list_lag_s=1.0 if self._simulated else 60.0,
            verify_gap_s=0.5 if self._simulated else 30.0,
            ready_s=6.0 if self._simulated else 90.0,
            console_url=self._base if self._simulated else "https://cloud.vast.ai/instances/",
            simulated=self._simulated,
            key_names=("VAST_API_KEY",),
        )

    def close(self) -> None:
        """Close every connection. May be repeated."""
        self._api.close()

    def offers(self, query: Query) -> OfferList:
        """Search what can be rented now, cheapest true price first: one search for each wished GPU. Needs no key.

        Costs nothing, may be repeated.

        Raises:
            UnknownNameError: a wished GPU does not exist there.
            ProviderError: no usable answer.
        """
        wishes: list[GpuWish | None] = [*query.gpus] or [None]
        bodies = [search.body(query, wish, self._gpu_names) for wish in wishes]
        found: list[Offer] = []
        dropped = 0
        for wish, body in zip(wishes, bodies, strict=True):
            if body is None:
                continue
            call = Call("POST", _SEARCH, body=body, safe=True, fields=rows.OFFER_FIELDS)
            offers, unusable = search.read(self._api.items(call, "offers"), query, wish, simulated=self._simulated)
            found += offers
            dropped += unusable
        return search.rank(found, dropped)

    def launch(self, offer: Offer, spec: Spec, label: str) -> str:
        """Rent `offer` and return the instance's id. COSTS MONEY. Sent exactly once.

        Raises:
            OfferGoneError: a clean refusal, nothing was made.
            UnknownOutcomeError: it may have been made; look for `label`.
            ProviderError: any other clean refusal, nothing was made.
            UsageError: a value that cannot be sent.
        """
        call = Call("PUT", _ASK, target=offer.id, body=self._order(offer, spec, label))
        return self._api.create(call, label, lambda made: digits(made.get("new_contract")))

    def instances(self) -> list[Instance]:
        """List every instance of the account whose label starts with `LABEL_PREFIX`, all pages. May be repeated.

        Raises:
            ProviderError: no whole list; part of one would prove nothing.
        """
        found: dict[str, Instance] = {}
        token = ""
        seen: set[str] = set()
        while len(seen) < _MOST_PAGES:
            call = Call("GET", _LIST, query=_page(token), safe=True)
            page = self._api.ask(call)
            for row in listed(mapping(page.body), "instances", call):
                instance = rows.instance(row)
                if instance is None:
                    raise ReplyError("vast lists an instance without an id")
                if instance.label.startswith(LABEL_PREFIX):
                    found[instance.id] = instance
            following = mapping(page.body).get("next_token")
            if not following:
                return list(found.values())
            if not isinstance(following, str) or following in seen:
                break
            seen.add(following)
            token = following
        raise ReplyError("vast's list of instances has no end")

    def show(self, instance_id: str) -> Instance | None:
        """Read one instance; None when the provider says that it does not exist. May be repeated.

        Raises:
            ProviderError: no usable answer.
        """
        if not digits(instance_id):
            return None
        body = self._api.find(Call("GET", _INSTANCE, target=instance_id, query={"owner": "me"}, safe=True))
        if body is None or ("instances" in body and body["instances"] is None):
            return None
        instance = rows.instance(body.get("instances"))
        if instance is None or instance.id != instance_id:
            raise ReplyError(f"vast's answer about instance {instance_id} is about something else")
        return instance

    def terminate(self, instance_id: str) -> None:
        """Ask for its end; silent when it is unknown. Does not prove that it is gone. May be repeated.

        Raises:
            ProviderError: it was not accepted.
        """
        if digits(instance_id):
            self._api.tell(Call("DELETE", _INSTANCE, target=instance_id, body={}, safe=True))

    def stop(self, instance_id: str) -> None:
        """Ask for its rest; its disk stays and BILLS ON. May be repeated.

        Raises:
            ProviderError: it was not accepted.
        """
        self._api.ask(Call("PUT", _INSTANCE, target=instance_id, body={"state": "stopped"}, safe=True))

    def start(self, instance_id: str) -> None:
        """Ask for it to run again: COSTS MONEY. May be repeated.

        Raises:
            NotReadyError: its GPU is taken; the wish is queued there and would come true unseen: stop it.
            ProviderError: it was not accepted.
        """
        reply = self._api.http.send(Call("PUT", _INSTANCE, target=instance_id, body={"state": "running"}, safe=True))
        if refusals.queued(reply):
            raise NotReadyError(
                f"vast has queued the start of {instance_id}: {refusals.words(reply)}", retry_after=60.0
            )
        if self._api.refuses(reply):
            raise refusals.refusal(reply, self._key_source)

    def account(self) -> Account:
        """Read the prepaid credit that is left and what the key may do. Costs nothing, may be repeated.

        Raises:
            AuthError: the key is not accepted.
            ProviderError: no usable answer.
        """
        reply = self._api.ask(Call("GET", _USER, safe=True))
        rights = rows.key_rights(mapping(reply.body).get("key_id"), self._keys())
        return Account(rows.balance(reply.body), rights, rows.lacking(rights), told=http_date(reply.headers))

    def billed(self, since: float) -> list[Billed]:
        """Return what each instance was billed since `since` (seconds since 1970). Costs nothing, may be repeated.

        Raises:
            ProviderError: no whole bill.
        """
        return bills.billed(self._api.ask, since, self._clock.now().timestamp())

    def connect(self, instance: Instance, identity: Identity) -> Connection:
        """Prove the host, authenticate, and return the connection. Tries direct, then proxy.

        Raises:
            NotReadyError: nothing listens yet, or the key is not accepted yet.
            HostKeyError: another host key; not one byte of authentication was sent.
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
                reasons.append(f"{endpoint.via}: {error.message}")
        if refused is not None:
            raise refused
        raise NotReadyError("; ".join(reasons) or "it has no address yet")

    def logs(self, instance: Instance) -> str:
        """Read the container's log; "" while there is none. May be repeated.

        Raises:
            ProviderError: no usable answer.
        """
        if not digits(instance.id):
            return ""
        told = self._api.find(Call("PUT", _LOGS, target=instance.id, body={"tail": str(_LOG_LINES)}, safe=True))
        url = (told or {}).get("result_url")
        return self._fetch_log(url) if isinstance(url, str) and url else ""

    def _fetch_log(self, url: str) -> str:
        end = self._clock.monotonic() + _LOG_S
        while self._clock.monotonic() < end:
            status, data = self._api.http.download(url, limit=_MAX_LOG, seconds=_LOG_S)
            if status == refusals.OK:
                return data.decode("utf-8", "replace")
            if status not in _NOT_YET:
                raise ReplyError(f"the log of the instance is answered with status {status}")
            self._clock.sleep(_LOG_PAUSE_S)
        return ""

    def _keys(self) -> object:
        """Return the list of the account's keys; None when this key may not read it: then nothing is known of rights."""
        try:
            return mapping(self._api.ask(Call("GET", _KEYS, safe=True)).body).get("apikeys")
        except ProviderError:  # it says only what a key may do: what it is refused is told when it is refused
            return None

    def _gpu_names(self) -> list[str]:
        now = self._clock.monotonic()
        if self._names is None or now - self._names[0] > _NAMES_KEPT_S:
            try:
                told = self._api.items(Call("GET", _GPU_NAMES, safe=True), "gpu_names")
            except AuthError:
                if self._key_source:
                    raise
                return []  # offers are shown without a key, the list of names perhaps not
            names = [name for name in told if isinstance(name, str)]
            self._names = (now, names)
        return self._names[1]

    def _order(self, offer: Offer, spec: Spec, label: str) -> dict[str, object]:
        if not digits(offer.id):
            raise UsageError(f"{offer.id!r} is no offer of vast")
        if offer.spot is not (spec.bid is not None):
            raise UsageError(f"offer {offer.id} is rented with a bid if it is a spot offer, and only then")
        destroy = SelfDestroy(f"{self._base}/api/v0/instances/$CONTAINER_ID/", "CONTAINER_API_KEY")
        return {
            "client_id": "me",
            "image": checked_image(spec.image),
            "env": {},
            "price": None if spec.bid is None else float(spec.bid.exact()),
            "disk": float(search.disk_gb(spec.disk_gb)),
            "label": checked_label(label),
            "onstart": start_command(spec.start, destroy),
            "runtype": "ssh_direc ssh_proxy",
            # Without it a taken offer leaves a stopped instance that bills its disk.
            "cancel_unavail": True,
        }


def _page(token: str) -> dict[str, str]:
    query = {"limit": str(_PAGE), "order_by": json.dumps([{"col": "id", "dir": "asc"}])}
    return {**query, "after_token": token} if token else query
