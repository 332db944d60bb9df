# ruff: noqa: S101 - asserts are the product
"""What one promise is tested on: a market, the wire to it, adapters that stand on both, and a clock that is moved by hand."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from gpuplug.errors import GpuplugError, HostKeyError, NotReadyError
from gpuplug.streams.ssh import make_key
from gpuplug.testing.clock import FakeClock
from gpuplug.testing.wire import Asked, Wire
from gpuplug.types import LABEL_PREFIX, Identity, InstanceState, Money, Secret, Spec, StartParams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpuplug.providers import Access, Provider
    from gpuplug.streams import Connection
    from gpuplug.testing.market import Market
    from gpuplug.types import Clock, Instance, Offer, Query

    Verb = Callable[[Provider], object]

P = ParamSpec("P")
T = TypeVar("T")
LABEL = LABEL_PREFIX + "suite-0123456789abcdef"
NONCE = "suite0123456789"
IMAGE = "pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime"
WAIT_S = 40.0
_PAUSE_S = 0.05
_NEARLY_A_DEADLINE_S = 29.75
_OWN_FOLDER = str(Path(__file__).parent)


class HurriedClock(FakeClock):
    """A clock on which nearly a whole HTTP deadline (30 s) passes between two looks at it: little is left."""

    def monotonic(self) -> float:
        """Return the seconds since the clock was made, after moving on."""
        self.advance(_NEARLY_A_DEADLINE_S)
        return super().monotonic()


class Stage:
    """One fresh account, and every adapter that was made for it. Use `standing`, which closes them."""

    def __init__(self, make: Callable[[Access], Provider], market: Market, query: Query) -> None:
        self.clock = FakeClock()
        self.market = market
        self.query = query
        self._make = make
        self._made: list[Provider] = []
        self._user = make_key()
        self._host = make_key()
        self.access = market.access(self.clock)
        self._wire = Wire(self.access.base_url) if self.access.base_url else None
        if self._wire is not None:
            self.access = replace(self.access, base_url=self._wire.url)
        self.provider = self.adapter()

    @property
    def wire(self) -> Wire:
        """The wire to the API; an adapter that has none owes no promise about it."""
        assert self._wire is not None, "its market names no address"
        return self._wire

    @property
    def identity(self) -> Identity:
        """What proves both ends of every instance that is launched here."""
        return Identity(self._user.private, self._host.public)

    @property
    def host_line(self) -> str:
        """The line by which the start command names the host key in the container's log."""
        return f"gpuplug-hostkey {NONCE} {self._host.public}"

    def adapter(self, *, key: str | None = None, base_url: str | None = None, clock: Clock | None = None) -> Provider:
        """Return another adapter for the same account, as another process would make it."""
        access = replace(
            self.access,
            key=self.access.key if key is None else Secret(key),
            base_url=self.access.base_url if base_url is None else base_url,
            clock=clock or self.clock,
        )
        self._made.append(self._make(access))
        return self._made[-1]

    def spec(self, lease_s: int = 900, bid: Money | None = None) -> Spec:
        """Return how every instance here is to be made; `bid` is for a spot offer, `lease_s` for nobody's touch."""
        start = StartParams(self._host.private, self._user.public, NONCE, lease_s, 3600, 0)
        return Spec(IMAGE, self.query.disk_gb, Money.dollars(100), start, bid, self.query.volume_gb)

    def offer(self) -> Offer:
        """Return what would be rented: the cheapest offer that does not look wrong."""
        return next(offer for offer in self.provider.offers(self.query).offers if not offer.suspicious)

    def launch(self, label: str = LABEL) -> str:
        """Rent the cheapest offer; return the id."""
        return self.provider.launch(self.offer(), self.spec(), label)

    def ours(self) -> list[str]:
        """Return the ids of all that really exists and carries our label."""
        return [number for number, label in self.market.existing().items() if label.startswith(LABEL_PREFIX)]

    def listed(self, provider: Provider | None = None) -> list[str]:
        """Return the ids that an adapter lists."""
        return [instance.id for instance in (provider or self.provider).instances()]

    def seen(self, instance_id: str) -> Instance:
        """Return an instance as it is read, once the list's lag is over."""
        instance = self.provider.show(instance_id)
        if instance is None:
            self.pass_time(self.provider.traits.list_lag_s)
            instance = self.provider.show(instance_id)
        assert instance is not None, f"{instance_id} is not shown"
        return instance

    def verbs(self, instance_id: str) -> dict[str, Verb]:
        """Return every call that may be repeated; `terminate` is the last, so that the others find the instance."""
        return {
            "offers": lambda one: one.offers(self.query),
            "instances": lambda one: one.instances(),
            "show": lambda one: one.show(instance_id),
            "terminate": lambda one: one.terminate(instance_id),
        }

    def verbs_and_launch(self, instance_id: str) -> dict[str, Verb]:
        """Return the same, and a launch of another instance on what is offered now."""
        offer = self.offer()
        return {**self.verbs(instance_id), "launch": lambda one: one.launch(offer, self.spec(), LABEL + "-2")}

    def end_all(self) -> None:
        """End what was made here."""
        for instance_id in self.ours():
            self.provider.terminate(instance_id)
        until(lambda: not self.ours(), "the end of all instances")

    def gone(self, instance_id: str) -> bool:
        """Tell whether neither list nor reading nor the market itself knows the instance."""
        listed = instance_id in self.listed()
        return not listed and self.provider.show(instance_id) is None and instance_id not in self.market.existing()

    def pass_time(self, seconds: float) -> None:
        """Let `seconds` pass here and there."""
        self.clock.advance(seconds)
        self.market.pass_time(seconds)

    def until_state(self, instance_id: str, *states: InstanceState) -> Instance:
        """Wait until the provider says one of `states`."""

        def check() -> Instance | None:
            found = self.provider.show(instance_id)
            return found if found is not None and found.state in states else None

        return until(check, " or ".join(state.value for state in states))

    def connected(self, instance_id: str) -> Connection:
        """Return a proven connection; asked again as the engine does, since an address may change until it answers."""

        def check() -> Connection | None:
            instance = self.provider.show(instance_id)
            with contextlib.suppress(NotReadyError, HostKeyError):
                if instance is not None and instance.state is InstanceState.RUNNING:
                    return self.provider.connect(instance, self.identity)
            return None

        return until(check, "a connection")

    def close(self) -> None:
        """Close adapters and wire."""
        for provider in self._made:
            provider.close()
        if self._wire is not None:
            self._wire.close()


@contextlib.contextmanager
def standing(make: Callable[[Access], Provider], market: Market, query: Query) -> Iterator[Stage]:
    """Make a stage, and close it afterwards."""
    stage = Stage(make, market, query)
    try:
        yield stage
    finally:
        stage.close()


def until(check: Callable[[], T | None], what: str) -> T:
    """Ask again and again until the answer is true.

    Raises:
        AssertionError: it was not within 40 s.
    """
    end = time.monotonic() + WAIT_S
    pause = threading.Event()
    while not (found := check()):
        assert time.monotonic() < end, f"no {what} within {WAIT_S:.0f} s"
        pause.wait(_PAUSE_S)
    return found


def outcome(work: Callable[P, T], *args: P.args, **names: P.kwargs) -> T | GpuplugError:
    """Return what `work` returns, or the typed error that it raises; every other error is a crash."""
    try:
        return work(*args, **names)
    except GpuplugError as error:
        return error


def shown(error: BaseException) -> str:
    """Return all that an error can show anywhere: texts, causes, and the variables of every frame but the suite's own."""
    parts = []
    link: BaseException | None = error
    while link is not None:
        frames = (frame for frame, _ in traceback.walk_tb(link.__traceback__))
        strangers = (frame for frame in frames if not frame.f_code.co_filename.startswith(_OWN_FOLDER))
        parts += [str(link), repr(link), repr(vars(link)), *(repr(frame.f_locals) for frame in strangers)]
        link = link.__cause__ or link.__context__
    return "\n".join(parts)


def everywhere(asked: Asked) -> str:
    """Return all of a request but the header that may hold the key."""
    headers = {name: value for name, value in asked.headers.items() if name != "authorization"}
    return f"{asked.path} {headers} {asked.body.decode('utf-8', 'replace')}"


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """Keep every line that anything logs from level INFO on; the HTTP library's own DEBUG lines hold whole headers."""
    root, kept = logging.getLogger(), _Kept()
    before = root.level
    root.addHandler(kept)
    root.setLevel(logging.INFO)
    try:
        yield kept.lines
    finally:
        root.setLevel(before)
        root.removeHandler(kept)
