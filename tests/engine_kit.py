"""A cloud in memory with a clock that is moved by hand, for the money protocol; and a silent front end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gpuplug.errors import NotReadyError, UnknownOutcomeError
from gpuplug.types import (
    Identity,
    Instance,
    InstanceState,
    Money,
    Offer,
    OfferList,
    Query,
    Spec,
    Traits,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.ledger import Lease
    from gpuplug.outputs import SafeBundle
    from gpuplug.streams import Connection
    from gpuplug.testing import FakeClock

OFFER = Offer("cloud", "o1", "m1", "RTX 4090", 1, Money(360_000), stopped_price=Money(3600), reliability=0.99)


@dataclass
class Made:
    """One instance as it really is, whatever the cloud says of it."""

    instance: Instance
    since: float
    alive: bool = True


@dataclass
class Cloud:
    """A provider whose faults are fields; `made` is the truth that a test compares with."""

    clock: FakeClock
    look: Callable[[], list[Lease]] = list
    looked: list[list[Lease]] = field(default_factory=list)
    name: str = "cloud"
    traits: Traits = field(default_factory=lambda: Traits(identity=False, list_lag_s=60, verify_gap_s=30))
    made: list[Made] = field(default_factory=list)
    lag_s: float = 0.0
    reading_lags: bool = False
    lies: int = 0
    loses_all_at: set[float] = field(default_factory=set)
    failures: list[Exception] = field(default_factory=list)
    launch_error: Exception | None = None
    launch_works_anyway: bool = False

    @property
    def alive(self) -> list[str]:
        """The ids that really bill."""
        return [made.instance.id for made in self.made if made.alive]

    def offers(self, _query: Query) -> OfferList:
        return OfferList((OFFER,))

    def launch(self, offer: Offer, _spec: Spec, label: str) -> str:
        self.looked.append(self.look())
        if self.launch_error is None or self.launch_works_anyway:
            made = Instance(self.name, str(len(self.made) + 1), label, InstanceState.RUNNING, offer.price, offer.gpu, 1)
            self.made.append(Made(made, self.clock.monotonic()))
        if self.launch_error is not None:
            raise self.launch_error
        return self.made[-1].instance.id

    def instances(self) -> list[Instance]:
        self._fail()
        if self.clock.monotonic() in self.loses_all_at:
            return []
        return [made.instance for made in self.made if made.alive and self._listed(made)]

    def terminate(self, instance_id: str) -> None:
        self._fail()
        if self.lies:
            self.lies -= 1
            return
        for made in self.made:
            if made.instance.id == instance_id:
                made.alive = False

    def connect(self, instance: Instance, _identity: Identity) -> Connection:
        raise NotReadyError(f"{instance.id} has no machine behind it")

    def show(self, instance_id: str) -> Instance | None:
        self._fail()
        there = [made for made in self.made if made.alive and made.instance.id == instance_id]
        return next((made.instance for made in there if not self.reading_lags or self._listed(made)), None)

    def logs(self, _instance: Instance) -> str:
        return ""

    def close(self) -> None:
        self.clock.advance(0)

    def change(self, **changes: object) -> None:
        """Change what the cloud says of its newest instance."""
        self.made[-1].instance = replace(self.made[-1].instance, **changes)  # type: ignore[arg-type]

    def _listed(self, made: Made) -> bool:
        return self.clock.monotonic() - made.since >= self.lag_s

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


def lost_reply() -> UnknownOutcomeError:
    """Return what an adapter raises when a create's reply never came."""
    return UnknownOutcomeError("the reply to the create was lost")


class Quiet:
    """A front end that nobody watches; keeps what it was told."""

    def __init__(self, *, answer: bool | None = None) -> None:
        self._answer = answer
        self.questions: list[str] = []
        self.notes: list[str] = []
        self.phases: list[str] = []
        self.out: list[tuple[str, str]] = []
        self.shown: list[SafeBundle] = []
        self.results: list[SafeBundle] = []
        self.costs: list[str] = []
        self.inputs: list[str] = []

    @property
    def can_ask(self) -> bool:
        return self._answer is not None

    @property
    def text(self) -> str:
        """All text of the cell's stdout."""
        return "".join(text for name, text in self.out if name == "stdout")

    def phase(self, name: str, detail: str = "") -> None:  # noqa: ARG002 - the protocol's name
        self.phases.append(name)

    def progress(self, done: int, total: int, rate: float) -> None:
        assert 0 <= done <= total
        assert rate >= 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def ask(self, question: str) -> bool:
        self.questions.append(question)
        return bool(self._answer)

    def read_input(self, prompt: str, *, password: bool) -> str | None:  # noqa: ARG002 - the protocol's name
        self.out.append(("prompt", prompt))
        return self.inputs.pop(0) if self.inputs else None

    def stream(self, name: str, text: str) -> None:
        self.out.append((name, text))

    def display(self, bundle: SafeBundle, display_id: str | None, *, update: bool) -> None:  # noqa: ARG002 - the protocol's names
        self.shown.append(bundle)

    def result(self, bundle: SafeBundle) -> None:
        self.results.append(bundle)

    def clear(self, *, wait: bool) -> None:  # noqa: ARG002 - the protocol's name
        self.out.clear()

    def cost(self, line: str) -> None:
        self.costs.append(line)
