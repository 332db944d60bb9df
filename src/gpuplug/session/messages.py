"""What a session takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_BEATS = 4  # within a lease


@dataclass(frozen=True, slots=True)
class CellRequest:
    """A cell to run. `cell` is unique for ever: the agent runs an id at most once.

    `inputs` and `outputs` are names of variables; `modules` are pairs of a name and the module it stands for;
    `folders`, relative to the working folder, are where local modules are found besides it. `budget_s` is for how
    long the cell may run until the instance ends itself for money; None means for ever.
    """

    cell: str
    source: str
    shell: bool = False
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    modules: tuple[tuple[str, str], ...] = ()
    folders: tuple[str, ...] = ()
    budget_s: float | None = None
    unfetched: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the kernel's journal; `kind` and the rest of `header` as in docs/protocol.md, section 3."""

    cell: str
    kind: str
    header: Mapping[str, Any]
    payload: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the agent. A refusal is an answer too: `header["ok"]` is false then."""

    header: Mapping[str, Any]
    payload: bytes


@dataclass(frozen=True, slots=True)
class Welcome:
    """How the agent introduced itself. `journal` names the journal that offsets count in; `offset` is where it begins."""

    version: str
    python: str
    work: str
    journal: str = ""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """The patience of a session, in seconds.

    A link on which nothing moves for `silence_s` after a question, asked every `heartbeat_s`, is given up and made anew, after
    pauses of `pause_s` growing to `longest_pause_s`, for `give_up_s` in all. `handshake_s` bounds each start of the agent.
    """

    heartbeat_s: float = 20.0
    silence_s: float = 15.0
    pause_s: float = 0.2
    longest_pause_s: float = 10.0
    give_up_s: float = 600.0
    handshake_s: float = 60.0

    def renewing(self, lease_s: float) -> Timing:
        """Return it with heartbeats that renew a lease of `lease_s` in time, however short that is."""
        return replace(self, heartbeat_s=min(self.heartbeat_s, lease_s / _BEATS))
