"""What the Vast.ai API says when it refuses, as the project's own errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug.errors import AuthError, NoCreditError, OfferGoneError, ProviderError
from gpuplug.providers._reading import clean, mapping
from gpuplug.providers.vast.rows import NEEDED_RIGHTS

if TYPE_CHECKING:
    from gpuplug.providers._calls import Reply

BILLING_PAGE = "https://cloud.vast.ai/billing/"
KEYS_PAGE = "https://cloud.vast.ai/manage-keys/"
OK = 200
REFUSED = 400
_UNAUTHORIZED = 401
_NOT_FOUND = 404
_GONE = 410


def succeeded(reply: Reply) -> bool:
    """Tell whether the status is a success and the body does not say otherwise."""
    return reply.status < REFUSED and mapping(reply.body).get("success") is not False


def words(reply: Reply) -> str:
    """Return slug and message of a refusal as one cleaned line."""
    if isinstance(reply.body, str):
        return clean(reply.body, 300)
    body = mapping(reply.body)
    told = [clean(body.get(name), 200) for name in ("error", "msg", "message", "detail")]
    return ": ".join(word for word in told if word)


def queued(reply: Reply) -> bool:
    """Tell whether a start was accepted but waits for a GPU that somebody else has."""
    return reply.status < REFUSED and "unavailable" in words(reply) and not succeeded(reply)


def unknown_instance(reply: Reply) -> bool:
    """Tell whether the provider says that there is no such instance: not that the key or the route is wrong."""
    return reply.status == _NOT_FOUND and mapping(reply.body).get("error") == "no_such_instance"


def refusal(reply: Reply, key_source: str) -> ProviderError:
    """Return the error that `reply` means."""
    text = words(reply)
    if reply.status == _UNAUTHORIZED or "auth_error" in text or "Session expired" in text:
        return AuthError(
            f"vast does not accept the key from {key_source}: {text}" if key_source else "there is no key for vast",
            hint=f"make a key at {KEYS_PAGE} and export VAST_API_KEY=...",
        )
    if "not_authorized" in text:
        return AuthError(
            f"the key from {key_source} is not allowed to do this: {text}",
            hint=f"make a key with the rights {', '.join(NEEDED_RIGHTS)} at {KEYS_PAGE} and export VAST_API_KEY=...",
        )
    if "insufficient_credit" in text:
        return NoCreditError("the Vast.ai account has no credit left", hint=f"add credit at {BILLING_PAGE}")
    if "no_such_ask" in text and reply.status in {REFUSED, _NOT_FOUND, _GONE}:
        return OfferGoneError(f"the offer was taken: {text}")
    return ProviderError(f"vast refused with status {reply.status}: {text or 'no reason given'}")
