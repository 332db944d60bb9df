"""What the RunPod API says when it refuses, as the project's own errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug.errors import AuthError, NoCreditError, OfferGoneError, ProviderError
from gpuplug.providers._reading import clean, mapping

if TYPE_CHECKING:
    from gpuplug.providers._calls import Reply

BILLING_PAGE = "https://console.runpod.io/user/billing"
STORAGE_PAGE = "https://console.runpod.io/user/storage"
KEYS_PAGE = "https://console.runpod.io/user/settings"
REFUSED = 400
CONFLICT = 409
_UNAUTHORIZED = 401
_NO_CREDIT = 402
_FORBIDDEN = 403
_NOT_FOUND = 404
_TOO_LARGE = 413
_UNPROCESSABLE = 422
# The service has no code for "nothing free": the same status stands for a rule that is broken.
_NO_CAPACITY = ("no longer any instances available", "does not have the resources")
# These come before anything is made, also when what stands in front of the service says so in its own words.
_CLEAN = frozenset({_UNAUTHORIZED, _NO_CREDIT, _FORBIDDEN, _TOO_LARGE})


def words(reply: Reply) -> str:
    """Return what a refusal says as one cleaned line."""
    if isinstance(reply.body, str):
        return clean(reply.body, 300)
    body = mapping(reply.body)
    errors = body.get("errors")
    more = [clean(error, 200) for error in errors[:5]] if isinstance(errors, list) else []
    return ": ".join(word for word in (clean(body.get("detail"), 300) or clean(body.get("title")), *more) if word)


def is_clean(reply: Reply) -> bool:
    """Tell whether a refused create has certainly made nothing."""
    return reply.status >= REFUSED and (reply.status in _CLEAN or bool(mapping(reply.body)))


def unknown_pod(reply: Reply) -> bool:
    """Tell whether the service itself, and not something in front of it, says that there is no such thing."""
    body = mapping(reply.body)
    return reply.status == _NOT_FOUND and bool(body.get("detail") or body.get("title"))


def no_capacity(text: str) -> bool:
    """Tell whether a refusal means that nothing is free, and not that a rule is broken."""
    return any(words in text for words in _NO_CAPACITY)


def refusal(reply: Reply, key_source: str) -> ProviderError:
    """Return the error that `reply` means."""
    text = words(reply)
    if reply.status == _UNAUTHORIZED:
        return bad_key(text, key_source)
    if reply.status == _NO_CREDIT:
        return no_credit(text)
    if reply.status == _FORBIDDEN:
        return _forbidden(reply, text, key_source)
    if reply.status in {_TOO_LARGE, _UNPROCESSABLE}:
        return ProviderError(
            f"runpod does not take what gpuplug sent, a fault of gpuplug's: status {reply.status}: {text}",
            hint="please report it with this message",
        )
    if reply.status == REFUSED and no_capacity(text):
        return OfferGoneError(f"nothing is free any more: {text}")
    return ProviderError(f"runpod refused with status {reply.status}: {text or 'no reason given'}")


def bad_key(text: str, key_source: str) -> AuthError:
    """Return the error for a key that is not accepted."""
    return AuthError(
        f"runpod does not accept the key from {key_source}: {text}" if key_source else "there is no key for runpod",
        hint=f"make a key at {KEYS_PAGE} and export RUNPOD_API_KEY=...",
    )


def no_credit(text: str) -> NoCreditError:
    """Return the error for an empty account."""
    return NoCreditError(f"the RunPod account cannot pay an hour of this: {text}", hint=f"add credit at {BILLING_PAGE}")


def _forbidden(reply: Reply, text: str, key_source: str) -> ProviderError:
    """A page of HTML comes from what protects the service, and says nothing of the key."""
    if isinstance(reply.body, str):
        return ProviderError(
            "runpod's front door (Cloudflare) turned the request away; this says nothing about the key",
            hint="try again later, or from another network",
        )
    return ProviderError(
        f"runpod does not allow this to the key from {key_source}: {text}",
        hint=f"give the key read and write access at {KEYS_PAGE}",
    )
