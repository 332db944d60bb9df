"""What is known at one moment, from the ledger and from what the platforms said last; the state is made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpuplug.errors import GpuplugError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuplug.engine.reconciling import Finding
    from gpuplug.ledger import Caller, CellRow, Lease, Progress
    from gpuplug.types import Instance, Traits


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something could not be read, since when it could not."""

    error: GpuplugError
    since: float

    @classmethod
    def of(cls, error: Exception, before: Failure | None, now: float) -> Failure:
        """Return what failed now, since when it has: `before` is how the try before it failed."""
        known = error if isinstance(error, GpuplugError) else GpuplugError(f"{type(error).__name__}: {error}")
        return cls(known, before.since if before else now)


@dataclass(frozen=True, slots=True)
class Listing:
    """What one platform listed with our label, and when. `at` None: it has not been read yet."""

    at: float | None = None
    instances: Mapping[str, Instance] = field(default_factory=dict)
    failure: Failure | None = None
    asking: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that a state is made of. Times are seconds since 1970.

    `leases` are those that lived in the shown days, None when the ledger cannot be read (`ledger_failure`). `keys` names
    the place of each platform's key.
    `since` is when each label came into the state that it is in now; `gauges` what the agents said last,
    `findings` what the reconciler did, `losses` what is to be said of results that went with their instance, by its label.
    `callers` and `progress` go by the cell's id; a caller's path is one of the file browser.
    `left` are the cells that are said to run and whose process is gone: it has crashed, or was started anew.
    """

    now: float
    leases: tuple[Lease, ...] | None
    cells: tuple[CellRow, ...] = ()
    ledger_failure: Failure | None = None
    listings: Mapping[str, Listing] = field(default_factory=dict)
    traits: Mapping[str, Traits] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    since: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    gauges: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    operations: tuple[Mapping[str, Any], ...] = ()
    findings: Mapping[str, Finding] = field(default_factory=dict)
    losses: Mapping[str, str] = field(default_factory=dict)
    callers: Mapping[str, Caller] = field(default_factory=dict)
    progress: Mapping[str, Progress] = field(default_factory=dict)
    left: frozenset[str] = frozenset()
