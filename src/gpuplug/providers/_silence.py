"""What is said of a server that does not answer, or answers in another's place: where it is, and what to do."""

from __future__ import annotations

from urllib.parse import urlsplit

from gpuplug.errors import UnreachableError
from gpuplug.providers._calls import is_loopback

IN_TROUBLE = "the provider has trouble: try again in a minute, or see its status page"
NOT_ITSELF = "a proxy or a login page may have answered in its place: check the network and the address of the API"
_SANDBOX = "start the market: gpuplug sandbox serve, and set what it prints"
_NETWORK = "check the network of this computer, or see the provider's status page"


def no_answer(url: str, reason: str, *, never_sent: bool) -> UnreachableError:
    """Return the error of a call to `url` that ended without a reply."""
    message = f"no answer from {urlsplit(url).netloc}: {reason.rstrip('.') or 'timed out'}"
    return UnreachableError(message, hint=_way_out(url), never_sent=never_sent)


def too_slow(url: str, seconds: float) -> UnreachableError:
    """Return the error of a call to `url` whose reply was not whole after `seconds`."""
    return UnreachableError(f"no whole answer from {urlsplit(url).netloc} in {seconds:.0f} s", hint=_way_out(url))


def _way_out(url: str) -> str:
    return _SANDBOX if is_loopback(url) else _NETWORK
