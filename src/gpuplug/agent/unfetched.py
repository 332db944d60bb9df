"""Cells whose results nobody has fetched: a mark for each on the disk, and what the end of the lease means for them.

The switch waits for them as long as their budget pays (`keep`); it needs nothing of this to end the instance then. Rest in
place of waiting is asked for here: it only saves money.
"""

import contextlib
import json
import os
import threading
from typing import TYPE_CHECKING, Any, Dict, List

if TYPE_CHECKING:
    from .switch import Switch

_AGAIN_S = 30.0
_CALL_S = 10.0
_LONGEST = 4000


class Unfetched:
    """The marks in `state/kernels/*/unfetched/`, each named by its cell; a mark holds the terms under which its results wait."""

    def __init__(self, state: str, switch: "Switch") -> None:
        self._kernels = os.path.join(state, "kernels")
        self._switch = switch
        self._asked = -_AGAIN_S

    def mark(self, folder: str, cell: str, terms: object) -> None:
        """Remember that `cell` of the kernel in `folder` has begun; without terms its results are not waited for.

        Raises:
            OSError: the disk is full.
            ValueError: the terms make no sense.
        """
        if not isinstance(terms, dict):
            return
        seconds = float(terms["keep_s"])
        place = os.path.join(folder, "unfetched")
        os.makedirs(place, mode=0o700, exist_ok=True)
        with open(os.path.join(place, cell), "w", encoding="utf-8") as file:
            json.dump(terms, file)
        self._switch.keep(seconds)

    def cells(self, folder: str) -> List[str]:
        """Return the cells of one kernel whose results wait, oldest first."""
        place = os.path.join(folder, "unfetched")
        with contextlib.suppress(OSError):
            return sorted(os.listdir(place), key=lambda name: os.path.getmtime(os.path.join(place, name)))
        return []

    def fetched(self, folder: str, cell: str) -> None:
        """Forget a cell: its results are where they are wanted. May be repeated."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, "unfetched", cell))
        if not self.count():
            self._switch.keep(None)

    def count(self) -> int:
        """Return how many cells of all kernels have results that wait."""
        return sum(len(self.cells(folder)) for folder in self._folders())

    def resume(self) -> None:
        """After a restart of the container, which counts all deadlines anew, wait for them as long again."""
        terms = self._terms()
        if terms and not self._switch.keeps():
            self._switch.keep(max(float(each["keep_s"]) for each in terms))

    def rest_if_due(self) -> None:
        """Ask the provider to stop this instance when its lease is over, its disk outlives that, and a day of it is paid for.

        Does not block; asks again after a while for as long as it still runs.
        """
        left, now = self._switch.kept_for(), self._switch.now()
        if not left or self._switch.lease_left() != 0 or now - self._asked < _AGAIN_S:
            return
        rests = [each.get("rest") for each in self._terms()]
        rest = rests[-1] if rests else None
        if not rest or left < float(rest["least_s"]) or (rest["volume"] and not os.path.islink(self._kernels)):
            return
        self._asked = now
        threading.Thread(target=_ask, args=(rest,), name="rest", daemon=True).start()

    def _folders(self) -> List[str]:
        with contextlib.suppress(OSError):
            return [os.path.join(self._kernels, name) for name in os.listdir(self._kernels)]
        return []

    def _terms(self) -> List[Dict[str, Any]]:
        found = []
        for folder in self._folders():
            for cell in self.cells(folder):
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    with open(os.path.join(folder, "unfetched", cell), encoding="utf-8") as file:
                        terms = json.loads(file.read(_LONGEST))
                    found.append((os.path.getmtime(file.name), {**terms, "keep_s": float(terms["keep_s"])}))
        return [terms for _, terms in sorted(found, key=lambda pair: pair[0])]


def _ask(rest: Dict[str, Any]) -> None:
    import urllib.request  # noqa: PLC0415 - a daemon's start must not pay for it

    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        environ = _first_environ()
        variable = str(rest["id_variable"])
        url = str(rest["url"]).replace("$" + variable, environ[variable])
        headers = {
            "Authorization": "Bearer " + environ[str(rest["key_variable"])],
            "Content-Type": "application/json",
            "User-Agent": "gpuplug",  # Python's own name is turned away by some
        }
        body = json.dumps(rest["body"]).encode()
        request = urllib.request.Request(url, body, headers, method=str(rest["method"]))  # noqa: S310 - the client's address
        with urllib.request.urlopen(request, timeout=_CALL_S) as reply:  # noqa: S310 - likewise
            reply.read(_LONGEST)


def _first_environ() -> Dict[str, str]:
    """Return the environment of the container's first process: it holds the key that is good for this one instance."""
    with open(os.environ.get("GP_INIT_ENVIRON", "/proc/1/environ"), encoding="utf-8", errors="replace") as file:
        pairs = (line.partition("=") for line in file.read().split("\0"))
        return {name: value for name, _, value in pairs}
