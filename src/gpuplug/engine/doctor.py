"""What `%gpu doctor` looks at: each finding is fine, or says what to do. Rents nothing."""

from __future__ import annotations

import platform
import tempfile
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.engine.choosing import query_of
from gpuplug.errors import GpuplugError
from gpuplug.providers import Access, Provider, accountable, load
from gpuplug.types import ZERO, Identity, Secret, Spec, StartParams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpuplug.ledger import Ledger
    from gpuplug.types import Account, Clock, Instance

_LIBRARIES = ("ipython", "httpx", "paramiko")
_MOST_SKEW_S = 60.0
_AGENT_S = 30.0
_PROBE_LABEL = "gp-doctor"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `hint` says what to do when it is not `fine`."""

    what: str
    fine: bool
    text: str
    hint: str = ""


class Doctor:
    """Looks at keys, reachability, clock, SSH, agent, ledger and versions. Blocks for a minute at most."""

    def __init__(self, ledger: Ledger, clock: Clock, provider: Callable[[str], Provider]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._provider = provider

    def examine(self, *, mend: bool = False) -> Iterator[Finding]:
        """Yield the findings as they are made, the cheapest first; with `mend` set a damaged ledger aside before."""
        if mend and (mended := self._ledger.mend()):
            yield Finding("mended", fine=True, text=f"{mended}; what was rented since shows in %gpu ls")
        yield self._versions()
        yield self._finding("ledger", self._look_at_ledger)
        yield self._finding("ssh", _look_at_ssh)
        yield self._finding("agent", self._look_at_agent)
        for name in config.KEY_PLACES:
            yield from self._platform(name)

    def _finding(self, what: str, look: Callable[[], str]) -> Finding:
        try:
            return Finding(what, fine=True, text=look())
        except GpuplugError as error:
            return Finding(what, fine=False, text=error.message, hint=error.hint)

    def _versions(self) -> Finding:
        found = [f"{name} {metadata.version(name)}" for name in ("gpuplug", *_LIBRARIES)]
        return Finding("versions", fine=True, text=f"{', '.join(found)}, Python {platform.python_version()}")

    def _look_at_ledger(self) -> str:
        self._ledger.check()
        return f"{self._ledger.path}, {len(self._ledger.open_leases())} open"

    def _look_at_agent(self) -> str:
        """Start the agent on this computer, ask it for its Python, and end it."""
        with tempfile.TemporaryDirectory(prefix="gpuplug-") as folder:
            local = load("local", Access(Secret(""), "", "", folder, self._clock))
            instance = _rented(local)
            try:
                return self._ask_agent(local, instance)
            finally:
                local.terminate(instance.id)

    def _ask_agent(self, local: Provider, instance: Instance) -> str:
        from gpuplug.agent import AGENT_VERSION, bundle  # noqa: PLC0415 - only who asks needs it
        from gpuplug.session import Session  # noqa: PLC0415 - likewise

        began = self._clock.monotonic()
        session = Session(
            lambda: local.connect(instance, Identity(Secret(""), "")),
            "doctor",
            clock=self._clock,
            on_link=lambda _: None,
        )
        try:
            welcome = session.open(_AGENT_S)
        finally:
            session.close()
        took = self._clock.monotonic() - began
        return f"{AGENT_VERSION}, {len(bundle()) // 1000} kB, answers on Python {welcome.python} after {took:.1f} s"

    def _platform(self, name: str) -> Iterator[Finding]:
        key = config.find_key(name)
        if key is None:
            variable, _ = config.KEY_PLACES[name]
            yield Finding(name, fine=True, text=f"no key, not used; export {variable}=... to rent there")
            return
        provider, began = self._provider(name), self._clock.monotonic()
        power = accountable(provider)
        if power is None:
            return
        try:
            account = power.account()
        except GpuplugError as error:
            yield Finding(name, fine=False, text=error.message, hint=error.hint)
            return
        took = self._clock.monotonic() - began
        yield Finding(name, fine=True, text=f"key from {key.source}, answers after {took * 1000:.0f} ms")
        yield self._balance(name, account)
        yield self._rights(name, account)
        yield from self._skew(name, account)

    def _balance(self, name: str, account: Account) -> Finding:
        what = f"{name} balance"
        if account.balance is None:
            return Finding(what, fine=True, text="not told")
        fine = account.balance > ZERO
        return Finding(what, fine, str(account.balance), "" if fine else "add credit before you rent")

    def _rights(self, name: str, account: Account) -> Finding:
        what, told = f"{name} scopes", ", ".join(account.scopes) or "scopes not told by the platform"
        if not account.lacks:
            return Finding(what, fine=True, text=told)
        variable, _ = config.KEY_PLACES[name]
        missing = " and ".join(account.lacks)
        return Finding(
            what,
            fine=False,
            text=f"{told}; the key lacks {missing}, so that it cannot rent and end instances",
            hint=f"make a key that has {missing} too in the console of {name} and export {variable}=...",
        )

    def _skew(self, name: str, account: Account) -> Iterator[Finding]:
        """Leases and spend go by this computer's clock, so that it should be right."""
        if account.told is None:
            return
        skew = (self._clock.now() - account.told).total_seconds()
        fine = abs(skew) <= _MOST_SKEW_S
        side = "ahead of" if skew > 0 else "behind"
        yield Finding(
            "clock",
            fine,
            f"{abs(skew):.0f} s {side} {name}",
            "" if fine else "set the clock: leases and spend go by it",
        )


def _look_at_ssh() -> str:
    from gpuplug.streams.ssh import make_key  # noqa: PLC0415 - paramiko is loaded only for who asks
    from gpuplug.streams.transport import CIPHERS  # noqa: PLC0415 - likewise

    key = make_key()
    return f"makes {key.public.split()[0]} keys, prefers {CIPHERS[0]}"


def _rented(local: Provider) -> Instance:
    offer = local.offers(query_of(config.parse("", "prices", {}))).offers[0]
    start = StartParams(Secret(""), "", "", 60, 60, 60)
    made = local.launch(offer, Spec("", 0, ZERO, start), _PROBE_LABEL)
    instance = local.show(made)
    if instance is None:
        raise GpuplugError(f"the folder of {made} has vanished")
    return instance
