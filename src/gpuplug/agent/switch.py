"""The small files between the agent and the dead man's switch; docs/protocol.md, section 5."""

import contextlib
import os
import time
from typing import Any, Dict, Mapping, Optional

from .unfetched import Unfetched

SILENT_S = 45.0  # a look may take half a minute where the network swallows its calls
TERMS = ("lease_s", "budget_s", "hard_s")


def terms_in(header: Mapping[str, Any]) -> Dict[str, Optional[float]]:
    """Return the terms that `header` names: seconds, or None for no such deadline.

    Raises:
        ValueError: one is no number.
    """
    return {name: None if header[name] is None else float(header[name]) for name in TERMS if name in header}


def uptime() -> float:
    """Return seconds since the machine started, of a clock that never jumps."""
    try:
        with open("/proc/uptime", encoding="ascii") as file:
            return float(file.read().split()[0])
    except OSError:
        return time.monotonic()


class Switch:
    """What the switch was told and says; where there is none, nothing is written."""

    def __init__(self, state: str) -> None:
        self._folder = os.path.join(state, "switch")
        self.unfetched = Unfetched(state, self)

    def contact(self) -> None:
        """Say that somebody is in touch, or that a job runs."""
        # On a full disk cells must go on; the switch then counts from the contact before.
        with contextlib.suppress(OSError):
            self._write("contact", uptime())

    def set_terms(self, terms: Mapping[str, Optional[float]]) -> None:
        """Set those of `TERMS` that are given, in seconds: the lease, and deadlines from now (None: no such deadline)."""
        for name, seconds in terms.items():
            file = name[: -len("_s")]
            if seconds is not None:
                self._write(file, seconds if name == "lease_s" else uptime() + seconds)
            elif name == "budget_s":  # lease and hard end cannot be lifted
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._folder, file))
        self.contact()

    def keep(self, seconds: Optional[float]) -> None:
        """Have results waited for until `seconds` from now, or longer where that was said before; None: no more."""
        if seconds is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self._folder, "keep"))
        else:
            self._write("keep", max(uptime() + seconds, self._number("keep") or 0.0))

    def keeps(self) -> bool:
        """Return whether results are waited for."""
        return os.path.exists(os.path.join(self._folder, "keep"))

    def kept_for(self) -> float:
        """Return for how many seconds results are still waited for."""
        return max(0.0, (self._number("keep") or 0.0) - uptime())

    def now(self) -> float:
        """Return the switch's time."""
        return uptime()

    def lease_left(self) -> Optional[float]:
        """Return the seconds until the lease ends; None where nothing is known of one."""
        contact, lease = self._number("contact"), self._number("lease")
        # The clock has two decimals; what the sum adds to them is no time.
        return None if contact is None or lease is None else round(max(0.0, contact + lease - uptime()), 2)

    def beat_age(self) -> Optional[float]:
        """Return the seconds since the switch last looked; None where there is none or it never did."""
        beat = self._number("beat")
        return None if beat is None else round(max(0.0, uptime() - beat), 2)

    def state(self) -> str:
        """Return what the switch says of itself, `none` where there is none, `silent` when it no longer looks."""
        if not os.path.isdir(self._folder):
            return "none"
        age = self.beat_age()
        if age is None or age > SILENT_S:
            return "silent"
        return self._text("state") or "silent"

    def _text(self, name: str) -> str:
        try:
            with open(os.path.join(self._folder, name), encoding="utf-8", errors="replace") as file:
                return file.read(400).strip()
        except OSError:
            return ""

    def _number(self, name: str) -> Optional[float]:
        try:
            return float(self._text(name))
        except ValueError:
            return None

    def _write(self, name: str, number: float) -> None:
        if not os.path.isdir(self._folder):
            return
        path = os.path.join(self._folder, name)
        part = f"{path}.{os.getpid()}"
        with open(part, "w", encoding="ascii") as file:
            file.write(f"{number:.2f}\n")
        os.replace(part, path)
