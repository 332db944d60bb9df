"""The narrow waist towards clouds: five verbs, two readings, and traits as data.

An adapter sees no ledger, engine, session or front end. It is handed its credentials and a clock, and maps every
foreign error once, with `raise ... from`, to a `gpuplug.errors.ProviderError`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, cast

from gpuplug.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from gpuplug.streams import Connection
    from gpuplug.types import (
        Account,
        Billed,
        Clock,
        Identity,
        Instance,
        Offer,
        OfferList,
        Query,
        Secret,
        SelfStop,
        Spec,
        Traits,
    )


@dataclass(frozen=True, slots=True)
class Access:
    """What an adapter is handed: key and base URL with the place where each was read, and a folder of its own.

    `address` is what follows the colon in a platform's name, as in `ssh:me@host`.
    """

    key: Secret
    key_source: str
    base_url: str
    home: str
    clock: Clock
    address: str = ""


class Provider(Protocol):
    """One cloud. No call blocks for longer than the HTTP deadline (30 s); none retries what is not safe."""

    name: str
    traits: Traits

    def offers(self, query: Query) -> OfferList:
        """Search what can be rented now, cheapest true price first. Costs nothing, may be repeated."""
        ...

    def launch(self, offer: Offer, spec: Spec, label: str) -> str:
        """Rent `offer` and return the instance's id. COSTS MONEY. Never repeat it blindly.

        Raises:
            OfferGoneError: a clean refusal, nothing was made.
            UnknownOutcomeError: it may have been made; look for `label`.
            ProviderError: any other clean refusal, nothing was made.
        """
        ...

    def instances(self) -> list[Instance]:
        """List every instance of the account whose label starts with `LABEL_PREFIX`. May be repeated."""
        ...

    def terminate(self, instance_id: str) -> None:
        """Ask for its end; silent when it is unknown. Does not prove that it is gone. May be repeated."""
        ...

    def connect(self, instance: Instance, identity: Identity) -> Connection:
        """Prove the host against `identity.host_key`, authenticate, and return the connection. Tries direct, then proxy.

        Raises:
            NotReadyError: nothing listens yet, or the key is not accepted yet.
            HostKeyError: another host key; not one byte of authentication was sent.
        """
        ...

    def show(self, instance_id: str) -> Instance | None:
        """Read one instance; None when the provider says that it does not exist. May be repeated."""
        ...

    def logs(self, instance: Instance) -> str:
        """Read the container's log through the provider's API; "" while there is none. May be repeated."""
        ...

    def close(self) -> None:
        """Let go of sockets; instances stay. May be repeated."""
        ...


class Pausable(Provider, Protocol):
    """The power that `traits.stop` announces: an instance can rest without losing its disk.

    `self_stop` is how an instance asks for that itself.
    """

    self_stop: SelfStop

    def stop(self, instance_id: str) -> None:
        """Ask for its rest; its disk stays and BILLS ON at `Offer.stopped_price`. May be repeated."""
        ...

    def start(self, instance_id: str) -> None:
        """Ask for it to run again: COSTS MONEY. May be repeated.

        Raises:
            NotReadyError: its GPU is taken; the provider starts it later, or never.
            ProviderError: it was not accepted.
        """
        ...


class Accountable(Provider, Protocol):
    """The power that `traits.account` announces: what the key opens can be read."""

    def account(self) -> Account:
        """Read balance and scopes. Costs nothing, may be repeated.

        Raises:
            AuthError: the key is not accepted.
        """
        ...


class Invoicing(Provider, Protocol):
    """The power that `traits.bills` announces: the platform's own books can be read."""

    def billed(self, since: float) -> list[Billed]:
        """Return what each instance was billed since `since` (seconds since 1970). Costs nothing, may be repeated.

        Whole days of UTC: ask from a midnight on. The newest minutes may be missing.

        Raises:
            ProviderError: no whole bill.
        """
        ...


def pausable(provider: Provider) -> Pausable:
    """Return `provider` with its power to stop and start.

    Raises:
        UsageError: it has none; an instance there can only be destroyed.
    """
    if not provider.traits.stop:
        raise UsageError(f"an instance on {provider.name} cannot rest", hint="%gpu down ends it")
    return cast("Pausable", provider)


def accountable(provider: Provider) -> Accountable | None:
    """Return `provider` with its power to tell of the account; None when it has none."""
    return cast("Accountable", provider) if provider.traits.account else None


def invoicing(provider: Provider) -> Invoicing | None:
    """Return `provider` with its power to tell what it has billed; None when it has none."""
    return cast("Invoicing", provider) if provider.traits.bills else None


@dataclass(frozen=True, slots=True)
class Known:
    """Where an adapter lives, and what to do when it cannot be imported."""

    target: str
    summary: str
    hint: str = ""


KNOWN: dict[str, Known] = {
    "local": Known("gpuplug.providers.local:LocalProvider", "a child process of this computer; free"),
    "vast": Known("gpuplug.providers.vast:VastProvider", "Vast.ai marketplace"),
    "runpod": Known("gpuplug.providers.runpod:RunpodProvider", "RunPod, Secure and Community Cloud"),
    # An address follows the colon.
    "ssh:": Known(
        "gpuplug.providers.ssh:SshProvider",
        "a machine that you already have: `ssh:[user@]host[:port]`, or a host of your ssh configuration; free",
    ),
}


def load(name: str, access: Access) -> Provider:
    """Import the adapter called `name` and hand it `access`.

    Raises:
        UnknownNameError: there is no such adapter.
    """
    scheme, colon, address = name.partition(":")
    known = KNOWN.get(scheme + colon)
    if known is None:
        raise UnknownNameError(f"no platform {name!r}", hint=f"one of: {', '.join(KNOWN)}")
    module, _, attribute = known.target.partition(":")
    provider: Provider = getattr(importlib.import_module(module), attribute)(replace(access, address=address))
    return provider
