"""The small part that only RunPod's GraphQL API can do: prices without a key, the balance, spot machines.

The API is deprecated and may be gone any day: then each of these is "not available", never a number that looks real.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug.errors import OfferGoneError, ProviderError, ReplyError, UnknownOutcomeError
from gpuplug.providers._calls import Call
from gpuplug.providers._reading import clean, mapping, number
from gpuplug.providers.runpod import refusals, rows
from gpuplug.types import Money

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from gpuplug.providers._api import Api
    from gpuplug.providers._calls import Reply

_ROUTE = "/graphql"
_GONE = frozenset({404, 405, 410})
_INVALID = "GRAPHQL_VALIDATION_FAILED"
_UNAUTHORIZED = 401
_MOST = 10_000_000
_GPU_TYPES = """
query Prices($secure: GpuLowestPriceInput, $community: GpuLowestPriceInput) {
  gpuTypes {
    id displayName manufacturer memoryInGb secureCloud communityCloud maxGpuCountSecureCloud maxGpuCountCommunityCloud
    secure: lowestPrice(input: $secure) { uninterruptablePrice minimumBidPrice stockStatus }
    community: lowestPrice(input: $community) { uninterruptablePrice minimumBidPrice stockStatus }
  }
}
"""
_BALANCE = "query Balance { myself { clientBalance } }"
_RENT = """
mutation Rent($input: PodRentInterruptableInput!) { podRentInterruptable(input: $input) { id } }
"""
_RESUME = """
mutation Resume($input: PodBidResumeInput!) { podBidResume(input: $input) { id gpuCount } }
"""


class GoneError(ProviderError):
    """The GraphQL API is not there any more, or no longer has what is asked for."""


class GraphQl:
    """The GraphQL API behind the same door as the rest."""

    def __init__(self, api: Api, key_source: str) -> None:
        self._api = api
        self._key_source = key_source

    def gpu_types(self, count: int, center: str) -> list[object]:
        """Return all GPU types with price and stock for `count` GPUs in each cloud. Needs no key; may be repeated.

        Raises:
            GoneError: the API is gone.
            ProviderError: no usable answer.
        """
        where = {"gpuCount": count, **({"dataCenterId": center} if center else {})}
        both = {"secure": {**where, "secureCloud": True}, "community": {**where, "secureCloud": False}}
        found = self._read(_GPU_TYPES, both).get("gpuTypes")
        if not isinstance(found, list):
            raise ReplyError("runpod's answer holds no list of gpuTypes")
        return found

    def balance(self) -> Money | None:
        """Return the account's prepaid money; None when the API does not tell. May be repeated.

        Raises:
            AuthError: the key is not accepted.
            UnreachableError: no answer.
        """
        try:
            found = self._read(_BALANCE, {}).get("myself")
        except (GoneError, ReplyError):
            return None
        amount = number(mapping(found).get("clientBalance"), -_MOST, _MOST)
        return None if amount is None else Money.dollars(amount)

    def rent_spot(self, order: Mapping[str, object], label: str) -> str:
        """Rent a spot machine and return the pod's id. COSTS MONEY. Sent exactly once.

        Raises:
            OfferGoneError: nothing is free at that bid; nothing was made.
            UnknownOutcomeError: it may have been made; look for `label`.
            ProviderError: any other clean refusal, nothing was made.
        """
        call = Call("POST", _ROUTE, body={"query": _RENT, "variables": {"input": order}})
        reply = self._api.send_once(call, label)
        made = rows.pod_id(mapping(mapping(mapping(reply.body).get("data")).get("podRentInterruptable")).get("id"))
        if made:
            return made
        refused = self._refusal(reply)
        clean_one = isinstance(refused, GoneError) or reply.status < refusals.REFUSED or refusals.is_clean(reply)
        if refused is None or not clean_one:
            raise UnknownOutcomeError(f"it is not known whether {label} was made: {refusals.words(reply)}")
        raise refused

    def resume_spot(self, pod_id: str, gpu_count: int, bid_per_gpu: Decimal) -> None:
        """Bid again for a spot machine that was taken away. COSTS MONEY.

        Raises:
            OfferGoneError: it is not to be had at that bid.
            ProviderError: it was not accepted.
        """
        order = {"podId": pod_id, "gpuCount": gpu_count, "bidPerGpu": float(bid_per_gpu)}
        reply = self._api.http.send(Call("POST", _ROUTE, body={"query": _RESUME, "variables": {"input": order}}))
        refused = self._refusal(reply)
        if refused is not None:
            raise refused

    def _read(self, query: str, variables: Mapping[str, object]) -> Mapping[str, object]:
        body = {"query": query, "variables": variables}
        reply = self._api.http.send(Call("POST", _ROUTE, body=body, safe=True))
        refused = self._refusal(reply)
        if refused is not None:
            raise refused
        data = mapping(reply.body).get("data")
        if not isinstance(data, dict):
            raise ReplyError("runpod's answer holds no data")
        return data

    def _refusal(self, reply: Reply) -> ProviderError | None:
        """Return the error that `reply` means; None for a success. A business error comes with status 200."""
        errors = mapping(reply.body).get("errors")
        listed = [mapping(error) for error in errors[:5]] if isinstance(errors, list) else []
        text = "; ".join(clean(error.get("message"), 200) for error in listed)
        codes = {mapping(error.get("extensions")).get("code") for error in listed}
        if reply.status in _GONE or (reply.status == refusals.REFUSED and _INVALID in codes):
            return GoneError(f"runpod's GraphQL API is gone (status {reply.status})")
        if reply.status == _UNAUTHORIZED:
            return refusals.bad_key(text or refusals.words(reply), self._key_source)
        if reply.status >= refusals.REFUSED:
            return refusals.refusal(reply, self._key_source)
        return _business_error(text) if listed else None


def _business_error(text: str) -> ProviderError:
    if refusals.no_capacity(text):
        return OfferGoneError(f"nothing is free any more: {text}")
    if "balance is too low" in text:
        return refusals.no_credit(text)
    return ProviderError(f"runpod refused: {text}")
