"""The world behind one adapter, as a test sees it and moves it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuplug.providers import Access
    from gpuplug.types import Clock


class Trouble(enum.Enum):
    """What only the platform itself can do to a renter; a market is asked for those that its adapter's traits allow."""

    TAKEN = "somebody else takes what is offered before the next launch"
    NO_CREDIT = "no money is left on the account; only where `free` is not claimed"
    LAG = "the next instance is absent from the list for `list_lag_s`; only where that is not zero"
    DRIFT = "the next launch is billed at twice the offer's price, or is refused; only where `market` is claimed"
    OUTBID = "somebody bids more for the named instance; only where `spot` is claimed"
    FORGED = "the machine of the next instance shows a host key of its own; only where `identity` is claimed"


class Market(Protocol):
    """One fresh account with a platform, real or made-believe, and the truth about it."""

    def access(self, clock: Clock) -> Access:
        """Return what the adapter is handed: key, where it was read, home; `base_url` "" when it speaks no HTTP."""
        ...

    def existing(self) -> Mapping[str, str]:
        """Return id and label of all that exists on the account and so may cost money, strangers' included."""
        ...

    def stranger(self) -> str:
        """Make an instance that is none of ours (its label does not start with `LABEL_PREFIX`); return its id."""
        ...

    def cause(self, trouble: Trouble, instance_id: str = "") -> None:
        """Let `trouble` happen."""
        ...

    def pass_time(self, seconds: float) -> None:
        """Let `seconds` pass there."""
        ...
