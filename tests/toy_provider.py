"""A small cloud over HTTP: the adapter that the recipe in CONTRIBUTING.md makes."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - for types only; kept short

from gpuplug import errors
from gpuplug.providers import Access  # noqa: TC001 - likewise
from gpuplug.providers._api import Api, checked_label
from gpuplug.providers._calls import Call, Reply, is_loopback
from gpuplug.providers._reading import clean, digits, integer, mapping, price
from gpuplug.streams.process import ProcessConnection
from gpuplug.types import LABEL_PREFIX, Identity, Instance, InstanceState, Offer, OfferList, Query, Spec, Traits

REFUSALS = {401: errors.AuthError, 402: errors.NoCreditError, 409: errors.OfferGoneError}
HOME = "https://toy.invalid"


class ToyProvider:
    name: str = "toy"

    def __init__(self, access: Access) -> None:
        self.traits = Traits(identity=False, simulated=is_loopback(access.base_url), key_names=("TOY_API_KEY",))
        self._api = Api(access, HOME, _refusal, lambda one: mapping(one.body).get("error") == "unknown")

    def offers(self, query: Query) -> OfferList:
        rows = self._api.rows(Call("GET", "/offers", safe=True), "offers")
        known = [offer for row in rows if (offer := self._offer(row)) is not None]
        fitting = [one for one in known if not query.gpus or query.preference(one) < len(query.gpus)]
        fitting.sort(key=lambda one: (bool(one.suspicious), one.price))
        return OfferList(() if query.spot else tuple(fitting), len(rows) - len(known))

    def launch(self, offer: Offer, spec: Spec, label: str) -> str:  # noqa: ARG002 - it has one image
        call = Call("POST", "/instances", body={"offer": offer.id, "label": checked_label(label)})
        return self._api.create(call, label, lambda made: digits(made.get("id")))

    def instances(self) -> list[Instance]:
        found = map(_instance, self._api.rows(Call("GET", "/instances", safe=True), "instances"))
        return [one for one in found if one.label.startswith(LABEL_PREFIX)]

    def show(self, instance_id: str) -> Instance | None:
        row = self._api.find(Call("GET", "/instances/{id}", target=digits(instance_id) or "0", safe=True))
        if row and digits(row.get("id")) != instance_id:
            raise errors.ReplyError(f"toy's answer about {instance_id} is about something else")
        return None if row is None else _instance(row)

    def terminate(self, instance_id: str) -> None:
        self._api.find(Call("DELETE", "/instances/{id}", target=digits(instance_id) or "0", safe=True))

    def connect(self, instance: Instance, identity: Identity) -> ProcessConnection:  # noqa: ARG002 - no keys here
        if self.show(instance.id) is None:
            raise errors.NotReadyError(f"there is no instance {instance.id}")
        return ProcessConnection()

    def logs(self, instance: Instance) -> str:  # noqa: ARG002 - it keeps none
        return ""

    def close(self) -> None:
        self._api.close()

    def _offer(self, row: Mapping[str, object]) -> Offer | None:
        known, gpu, count = digits(row.get("id")), clean(row.get("gpu"), 60), integer(row.get("count"), 1, 64)
        if not known or not gpu or count is None:
            return None
        told, doubt = price(row.get("price"))
        return Offer("toy", known, known, gpu, count, told, simulated=self.traits.simulated, suspicious=doubt)


def _instance(row: Mapping[str, object]) -> Instance:
    if not (known := digits(row.get("id"))):
        raise errors.ReplyError("toy shows an instance without an id")
    state = InstanceState.__members__.get(clean(row.get("state")).upper(), InstanceState.UNKNOWN)
    gpu, count = clean(row.get("gpu"), 60), integer(row.get("count"), 0, 64) or 0
    return Instance("toy", known, clean(row.get("label"), 256), state, price(row.get("price"))[0], gpu, count)


def _refusal(reply: Reply, key_source: str) -> errors.ProviderError:
    kind = REFUSALS.get(reply.status, errors.ProviderError)
    return kind(f"toy refused the call or the key from {key_source}: {clean(mapping(reply.body).get('error'))}")
