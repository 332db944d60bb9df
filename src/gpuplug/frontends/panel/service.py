"""What both mounts of the panel ask for, by the routes of docs/panel.md: answers are a status and a body.

Made and called off the main loop: everything here may block for a moment, nothing waits for a platform but `ssh`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuplug.errors import (
    GpuplugError,
    HostError,
    LedgerError,
    MoneyError,
    NotReadyError,
    OfferGoneError,
    UnknownNameError,
    UsageError,
)
from gpuplug.frontends.panel import actions, bodies, state
from gpuplug.frontends.panel.fields import moment, trouble
from gpuplug.frontends.panel.operations import Operations
from gpuplug.frontends.panel.pricing import options_of
from gpuplug.frontends.panel.quotes import Quotes
from gpuplug.frontends.panel.watching import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpuplug.engine import Engine
    from gpuplug.frontends.panel.operations import OperationTalk
    from gpuplug.frontends.panel.watching import Push
    from gpuplug.types import Clock

Answer = tuple[int, dict[str, Any]]
_ACCEPTED = 202
_NO_SUCH_ROUTE = 404
_CONFLICT = 409
_LOOKED_AT = frozenset({*state.PARTS, "prices"})
# The first that fits; what none fits is a provider's failure.
_REASONS: tuple[tuple[type[GpuplugError], int, str], ...] = (
    (UnknownNameError, 404, "gone"),
    (OfferGoneError, 409, "gone"),
    (UsageError, 400, "usage"),
    (MoneyError, 402, "money"),
    (NotReadyError, 429, "busy"),
    (HostError, 409, "usage"),
    (LedgerError, 503, "ledger"),
)


class PanelService:
    """State, quotes and actions of one process.

    Args:
        open_engine: makes an engine for a notebook's name; its caller closes it.
        source: `server` or `kernel`.
        clock: time.
        name_of: returns the ledger's name of the notebook with this path.
        told: is called from another thread with each change of the state.
    """

    def __init__(
        self,
        open_engine: Callable[[str], Engine],
        source: str,
        clock: Clock,
        name_of: Callable[[str], str],
        told: Callable[[Push], None],
    ) -> None:
        self._open_engine = open_engine
        self._clock = clock
        self._name_of = name_of
        self._operations = Operations(open_engine, clock, self._changed)
        self._quotes = Quotes(clock)
        self._watcher = Watcher(open_engine, source, clock, self._operations.rows, told)
        self._routes: Mapping[str, Callable[[object], dict[str, Any]]] = {
            "looking": self._looking,
            "quote": self._quote,
            "ssh": self._ssh,
            "actions/rent": self._rent,
            "actions/extend": self._extend,
            "actions/refresh": self._refresh,
            "actions/stop": lambda body: self._on_pod("stop", body, actions.stop),
            "actions/start": lambda body: self._on_pod("start", body, actions.start),
            "actions/destroy": lambda body: self._on_pod("destroy", body, actions.destroy),
            "actions/adopt": self._adopt,
        }

    def start(self) -> None:
        """Begin to keep the state up to date; once."""
        self._watcher.start()

    def hold_looks(self, held: Callable[[], bool]) -> None:
        """Let no look end while `held` is true: a kernel that is busy does not hear that somebody still looks."""
        self._watcher.lookers.held = held

    def find_notebooks(self, path_of: Callable[[str], str]) -> None:
        """Name jobs' notebooks by what `path_of` returns for their files: the path in the file browser, "" when it shows them not."""
        self._watcher.path_of = path_of

    def find_left(self, left: Callable[[str, float], bool]) -> None:
        """Say of no cell that it runs whose process `left` says is gone, by the kernel's id and when the cell began."""
        self._watcher.left = left

    def close(self) -> None:
        """End all threads; what was asked for and runs is not waited for. May be repeated."""
        self._watcher.close()

    def state(self) -> dict[str, Any]:
        """Return the state without the prices; reads the ledger, asks nobody."""
        return self._watcher.state()

    def latest(self) -> dict[str, Any]:
        """Return the state without the prices as it was made last; asks nobody, reads nothing."""
        return self._watcher.latest()

    def prices(self) -> dict[str, Any]:
        """Return the prices as they were read last; asks nobody."""
        return self._watcher.pricing.prices()

    def running(self, body: object) -> dict[str, Any]:
        """Return the job that `body` asks to cancel, as the state shows it.

        Raises:
            UsageError: it names none.
            UnknownNameError: no such job runs.
        """
        job = bodies.word(bodies.checked(body, ("job",)), "job")
        for each in self._watcher.state()["jobs"]["items"] or ():
            if each["id"] == job and each["may"]["cancel"] is not None:
                found: dict[str, Any] = each
                return found
        raise UnknownNameError("no such job runs")

    def answer(self, route: str, body: object) -> Answer:
        """Do what a POST on `route` asks for; actions are begun and not waited for."""
        do = self._routes.get(route)
        if do is None:
            return _NO_SUCH_ROUTE, {"message": "no such action", "hint": "", "billing": "", "reason": "usage"}
        try:
            found = do(body)
        except GpuplugError as error:
            return failed(error)
        return (_ACCEPTED if "operation" in found else 200), found

    def _changed(self) -> None:
        self._watcher.wake()

    def _looking(self, body: object) -> dict[str, Any]:
        found = bodies.checked(body, ("client", "parts", "gpus"))
        parts = frozenset(bodies.words(found, "parts"))
        if unknown := parts - _LOOKED_AT:
            raise UsageError(f"no part {min(unknown)!r}; parts are {', '.join(sorted(_LOOKED_AT))}")
        wanted = bodies.words(found, "gpus")
        for gpu in wanted:
            options_of((gpu,))  # no name of a GPU: nobody is asked for it
        lasts_s = self._watcher.lookers.look(bodies.word(found, "client", 64), parts, wanted)
        self._watcher.wake()
        return {"until": moment(self._clock.now().timestamp() + lasts_s)}

    def _quote(self, body: object) -> dict[str, Any]:
        found = bodies.checked(body, ("offer", "notebook"))
        path = found.get("notebook")
        notebook = self._name_of(path[: bodies.PATH_LIMIT] if isinstance(path, str) else "")
        offer = self._watcher.pricing.offer(bodies.word(found, "offer"))
        if offer is None:
            raise UnknownNameError("this offer is not shown here, or not any more", hint="choose another one")
        engine = self._open_engine(notebook)
        try:
            return self._quotes.make(engine, offer, notebook)
        finally:
            engine.close()

    def _rent(self, body: object) -> dict[str, Any]:
        quote = self._quotes.take(bodies.word(bodies.checked(body, ("quote",)), "quote"))
        words = f"renting {quote.offer.gpu} on {quote.offer.provider} at {quote.offer.price}/h"
        return self._begin(
            "rent", words, lambda engine, talk: actions.rent(engine, quote, talk), notebook=quote.notebook
        )

    def _extend(self, body: object) -> dict[str, Any]:
        found = bodies.checked(body, ("id", "seconds"))
        seconds = bodies.seconds(found, "seconds")

        def work(engine: Engine, label: str, talk: OperationTalk) -> None:
            actions.extend(engine, label, seconds, talk)

        return self._on_pod("extend", {"id": found.get("id")}, work)

    def _refresh(self, body: object) -> dict[str, Any]:
        self._watcher.refresh(bodies.words(bodies.checked(body, ("parts",)), "parts"))
        return {}

    def _adopt(self, body: object) -> dict[str, Any]:
        label = bodies.word(bodies.checked(body, ("id",)), "id")
        pod = next((each for each in self.state()["pods"]["items"] or () if each["id"] == label), None)
        if pod is None or pod["may"]["adopt"] is None:
            raise UnknownNameError("no instance of another computer has this id")
        return self._begin(
            "adopt", f"adopting #{pod['number']}", lambda engine, talk: actions.adopt(engine, label, talk), pod=label
        )

    def _on_pod(self, action: str, body: object, work: Callable[[Engine, str, OperationTalk], None]) -> dict[str, Any]:
        label = bodies.word(bodies.checked(body, ("id",)), "id")
        lease = self._watcher.open_lease(label)
        words = f"{action}: {lease.gpu} {lease.provider} #{lease.instance_id or label}"
        return self._begin(
            action, words, lambda engine, talk: work(engine, label, talk), pod=label, notebook=lease.notebook
        )

    def _begin(
        self,
        action: str,
        words: str,
        work: Callable[[Engine, OperationTalk], None],
        *,
        pod: str | None = None,
        notebook: str = "",
    ) -> dict[str, Any]:
        def watched(engine: Engine, talk: OperationTalk) -> None:
            try:
                work(engine, talk)
            finally:
                self._watcher.refresh(("pods",))

        return {"operation": self._operations.begin(action, words, watched, pod=pod, notebook=notebook)}

    def _ssh(self, body: object) -> dict[str, Any]:
        from gpuplug.engine.reaching import ssh_command  # noqa: PLC0415 - few ask for it

        lease = self._watcher.open_lease(bodies.word(bodies.checked(body, ("id",)), "id"))
        engine = self._open_engine(lease.notebook)
        try:
            command = ssh_command(engine.provider(lease.provider), lease, engine.ledger.path.parent / "keys")
        finally:
            engine.close()
        return {"command": command, "text": "holds no secret; it works on this computer only, where the key file lies"}


def elsewhere(job: Mapping[str, Any], here: str) -> Answer:
    """Return the answer to who cancels a job that `here` cannot interrupt, and where it can be done."""
    return _CONFLICT, {
        "message": f"the cell runs in the notebook {job['path'] or job['notebook']}, which {here} cannot interrupt",
        "hint": "interrupt the kernel there, or destroy the instance to end the cell",
        "billing": "",
        "reason": "usage",
    }


def failed(error: GpuplugError) -> Answer:
    """Return an error as an answer."""
    status, reason = next(
        ((status, reason) for kind, status, reason in _REASONS if isinstance(error, kind)), (502, "provider")
    )
    said = trouble(error)
    return status, {"message": said["text"], "hint": said["hint"], "billing": said["billing"], "reason": reason}
