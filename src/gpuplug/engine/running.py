"""One cell on a live instance: ship, run, show, bring home."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gpuplug import outputs
from gpuplug.engine import unfetched
from gpuplug.engine.guarding import seconds_left, why_unguarded, worst_case
from gpuplug.engine.purse import SWITCH_GRACE_S, Purse
from gpuplug.engine.refused import KeyWatch
from gpuplug.errors import AgentError, DetachedError, HostError, RemoteError
from gpuplug.session import CellRequest, Event
from gpuplug.sync import Brought, HomeRules, RemoteFile, remote_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gpuplug.config import Options
    from gpuplug.engine.budgets import Budgets
    from gpuplug.engine.linking import Live
    from gpuplug.engine.planning import Plan, Value
    from gpuplug.engine.progress import Watched
    from gpuplug.engine.talk import Talk
    from gpuplug.types import Clock

HOME_FOLDERS = ("out", "outputs", "checkpoints")
_PIECE = 1 << 20
_NAMED = 8
_TICK_S = 1.0
_SAVE_S = 10.0  # what a cell's programs have after SIGTERM, before the cell is interrupted
_AGAIN_S = 2.0  # between two of the interrupts after that: each `!command` of a cell may take one for itself
_GRACE_S = 20.0  # for all of them; the switch comes `SWITCH_GRACE_S` after the budget
_VALUE_LIMIT = 4 << 30


@dataclass(slots=True)
class Ran:
    """How a cell ended. `status` is the agent's word; `failure` is raised after everything is settled."""

    id: str
    status: str = "unknown"
    seconds: float = 0.0
    failure: Exception | None = None
    changed: tuple[RemoteFile, ...] = ()
    results: list[tuple[str, int]] = field(default_factory=list)
    values: dict[str, object] = field(default_factory=dict)


def ship(live: Live, plan: Plan, talk: Talk) -> None:
    """Send what the instance lacks of files and variables. Nothing runs before every byte is verified there."""
    files = plan.references.files
    if files:
        talk.phase("ship")
        shipped = live.sync.ship(
            files, lambda state: talk.progress(state.done_bytes, state.total_bytes, state.rate_bytes_s)
        )
        if shipped.sent_files:
            talk.note(f"sent {shipped.sent_files} of {shipped.files} files, {outputs.size_text(shipped.sent_bytes)}")
    fresh = [value for value in plan.values if live.sent.get(value.name) != value.digest]
    if fresh:
        talk.phase("ship")
        for _ in live.session.pipeline((piece for value in fresh for piece in _pieces(value)), timeout=120.0):
            pass
        live.sent.update({value.name: value.digest for value in fresh})
        talk.note("sent " + ", ".join(f"{value.name} ({value.shown}, {value.reason})" for value in fresh))


def _pieces(value: Value) -> Iterator[tuple[str, dict[str, Any], bytes]]:
    from gpuplug.agent import wire  # noqa: PLC0415 - `%load_ext` must not pay for it

    whole = wire.pack_value(value.header, value.payload)
    for offset in range(0, len(whole), _PIECE):
        yield "value_put", {"name": value.name, "offset": offset, "total": len(whole)}, whole[offset : offset + _PIECE]


def list_files(live: Live) -> list[tuple[str, str]]:
    """Return path and size of each file in the working folder there."""
    rows = json.loads(live.session.request("list").payload)
    return [(outputs.clean_text(str(row[0])), outputs.size_text(int(row[1]))) for row in rows]


def run(live: Live, plan: Plan, talk: Watched, fresh: frozenset[str], budgets: Budgets) -> Ran:
    """Run the cell under the id that its notes have and show its output; returns when it has ended.

    The first interrupt is passed to the cell; the second one leaves it running.

    Raises:
        DetachedError: the user left.
        LinkError: the connection could not be restored.
    """
    ran, clock = Ran(talk.notes.cell), budgets.clock
    options = plan.options
    budget_s = options.budget.micros * 3600 / live.lease.price.micros if live.lease.price.micros else None
    if budget_s is not None and why_unguarded(live):
        budget_s = min(budget_s, seconds_left(live.lease, clock))
    if options.terms.lease > live.lease.lease_s:  # a shorter one would take back what was agreed to before
        live.session.request("terms", {"lease_s": options.terms.lease})
        live.lease = replace(live.lease, lease_s=options.terms.lease)
    inputs = tuple(value.name for value in plan.values if value.name in fresh)
    amount = None if budget_s is None else live.lease.price.for_seconds(budget_s)
    kept = unfetched.terms(live, options, budget_s)
    if kept is not None and amount is not None:
        budgets.expect(live, ran.id, amount)
    talk.notes.arrived()
    live.session.submit(
        CellRequest(
            ran.id,
            plan.source,
            options.shell,
            inputs,
            tuple(dict.fromkeys(options.outputs)),
            plan.modules,
            plan.references.import_folders,
            None if budget_s is None else budget_s + SWITCH_GRACE_S,
            kept,
        )
    )
    purse = Purse(live, budgets, clock, amount, talk.note)
    stop = _Stop(live, ran, talk, clock, purse)
    _follow(live, ran, talk, stop, KeyWatch(live, budgets.ledger, clock, talk.note))
    if stop.gave_up:
        ran.changed = _unsent(live, plan, talk)
    live.session.ack()
    return ran


def _unsent(live: Live, plan: Plan, talk: Talk) -> tuple[RemoteFile, ...]:
    """Return the files that are there and were not sent along with the cell: no event of it has named what it wrote."""
    sent = {file.path for file in plan.references.files}
    try:
        rows = json.loads(live.session.request("list").payload)
        whole = remote_files(json.dumps([[path, size, 0, False] for path, size in rows]).encode())
    except (HostError, TypeError, ValueError) as error:
        talk.note(f"what it has written cannot be brought home: {error}")
        return ()
    return tuple(file for file in whole if file.path not in sent)


class _Stop:
    """What can end a cell early: the user, and its budget."""

    def __init__(self, live: Live, ran: Ran, talk: Talk, clock: Clock, purse: Purse) -> None:
        self._live, self._ran, self._talk, self._clock = live, ran, talk, clock
        self._purse = purse
        self._began = clock.monotonic()
        self._patience = 0.0  # until when it may take to end before it is interrupted again
        self._over = 0.0  # when it is given up
        self.gave_up = False
        self._interrupted = False
        self._told_unguarded = bool(why_unguarded(live))  # then it was said before the cell

    def by_host(self) -> None:
        """Say it loudly when the instance would not end itself any more; the cell goes on within its budget."""
        if self._told_unguarded or not (why := why_unguarded(self._live)):
            return
        self._told_unguarded = True
        self._talk.note(f"KEEP THIS NOTEBOOK OPEN: {why}. {worst_case(self._live.lease)}")

    def by_user(self) -> None:
        """Pass the first interrupt on; leave at the second."""
        if self._interrupted:
            raise DetachedError("left the cell running on the instance", hint="%gpu down ends it and the instance")
        self._interrupted = True
        self._talk.note("interrupting the cell; interrupt again to leave it running")
        self._live.session.interrupt(self._ran.id)

    def by_budget(self) -> None:
        """Ask the cell to save when its budget is spent, and interrupt it until it has ended; give it up in the end."""
        now = self._clock.monotonic()
        if not self._purse.spent or now < self._patience:
            return
        if self._over:
            self._again(now)
            return
        self._ran.failure = self._purse.why
        self._patience = now + _SAVE_S + _AGAIN_S
        self._over = now + _SAVE_S + _GRACE_S
        self._talk.note(
            f"budget spent: the cell's programs may save (SIGTERM, {_SAVE_S:.0f} s), then it is interrupted"
        )
        self._live.session.interrupt(self._ran.id, _SAVE_S)

    def _again(self, now: float) -> None:
        self._patience = now + _AGAIN_S
        if now < self._over:
            self._live.session.interrupt(self._ran.id)
            return
        self.gave_up, self._ran.seconds = True, now - self._began
        self._talk.note(
            f"the cell has not ended {_SAVE_S + _GRACE_S:.0f} s after its budget was spent, whatever interrupted it: "
            "the files that are there now come home, unfinished ones too, and the instance goes"
        )


def _follow(live: Live, ran: Ran, talk: Watched, stop: _Stop, key: KeyWatch) -> None:
    show = Show(live, ran, talk)
    while ran.status == "unknown" and not stop.gave_up:
        try:
            event = live.session.next_event(_TICK_S)
            stop.by_budget()
            stop.by_host()
            key.look()
            if event is not None and event.cell == ran.id:
                show.event(event)
            talk.notes.keep()
        except KeyboardInterrupt:
            stop.by_user()
    show.finish()


class Show:
    """Turns events of the journal into calls of the front end, made safe on the way."""

    def __init__(self, live: Live, ran: Ran, talk: Talk) -> None:
        self._live, self._ran, self._talk = live, ran, talk
        self._filters = {"stdout": outputs.TextFilter(), "stderr": outputs.TextFilter()}
        self._handlers: dict[str, Callable[[Event], None]] = {
            "started": lambda _: talk.phase("run"),
            "stream": self._stream,
            "display": self._display,
            "result": self._result,
            "clear": lambda event: talk.clear(wait=bool(event.header.get("wait"))),
            "error": self._error,
            "input_request": self._input,
            "output": self._output,
            "truncated": self._truncated,
            "files": self._files,
            "done": self._done,
        }

    def event(self, event: Event) -> None:
        """Handle one event; an unknown kind comes from a newer agent and is passed over."""
        handler = self._handlers.get(event.kind)
        if handler is None:
            return
        try:
            handler(event)
        except (KeyError, TypeError, ValueError) as error:
            raise AgentError(f"the agent sent a {event.kind!r} event that makes no sense: {error}") from error

    def finish(self) -> None:
        """Show what the filters still held back."""
        for name, text_filter in self._filters.items():
            if rest := text_filter.flush():
                self._talk.stream(name, rest)

    def _stream(self, event: Event) -> None:
        name = event.header["name"]
        if text := self._filters[name].feed(event.payload):
            self._talk.stream(name, text)

    def _bundle(self, event: Event) -> outputs.SafeBundle:
        parts: dict[str, bytes] = {}
        start = 0
        for mime, length in event.header["mimes"]:
            parts[str(mime)] = event.payload[start : start + int(length)]
            start += int(length)
        bundle = outputs.clean_bundle(parts, event.header.get("metadata") or {})
        for note in bundle.notes:
            self._talk.note(note)
        return bundle

    def _display(self, event: Event) -> None:
        display_id = event.header.get("display_id")
        self._talk.display(self._bundle(event), display_id and str(display_id), update=bool(event.header.get("update")))

    def _result(self, event: Event) -> None:
        self._talk.result(self._bundle(event))

    def _error(self, event: Event) -> None:
        lines = outputs.clean_traceback([str(line) for line in json.loads(event.payload or b"[]")])
        ename, evalue = (outputs.clean_text(str(event.header.get(part, ""))) for part in ("ename", "evalue"))
        if self._ran.failure is None:
            self._ran.failure = RemoteError(ename, evalue, lines)

    def _input(self, event: Event) -> None:
        prompt = outputs.clean_text(str(event.header.get("prompt", "")))
        answer = self._talk.read_input(prompt, password=bool(event.header.get("password")))
        self._live.session.answer(self._ran.id, answer)

    def _output(self, event: Event) -> None:
        name = outputs.clean_text(str(event.header["name"]))
        if "error" in event.header:
            self._ran.failure = self._ran.failure or RemoteError(
                "OutputError", f"-o {name}: {outputs.clean_text(str(event.header['error']))}"
            )
            return
        self._ran.results.append((name, int(event.header["size"])))

    def _truncated(self, event: Event) -> None:
        size = outputs.size_text(int(event.header["bytes"]))
        self._talk.note(
            f"{size} more of {outputs.clean_text(str(event.header['name']))} were not kept; write to a file under out/ to keep all"
        )

    def _files(self, event: Event) -> None:
        self._ran.changed = remote_files(event.payload or b"[]")

    def _done(self, event: Event) -> None:
        self._ran.status = str(event.header["status"])
        self._ran.seconds = float(event.header.get("seconds") or 0.0)
        if event.header.get("restarted"):
            self._live.sent.clear()
        if self._ran.status == "died" and self._ran.failure is None:
            self._ran.failure = RemoteError("KernelDied", _death(event.header))
        if self._ran.status == "interrupted" and self._ran.failure is None:
            # It had not begun, and so has told no error; "Run all" must not take it for done.
            self._ran.failure = RemoteError("KeyboardInterrupt", "the cell was interrupted")
        if self._ran.status == "exited":
            self._talk.note(f"the cell called exit ({event.header.get('code')}); the state on the instance is kept")


def _death(header: Mapping[str, Any]) -> str:
    signal, code = header.get("signal"), header.get("code")
    if signal == 9:  # noqa: PLR2004 - SIGKILL is 9 everywhere
        return "the process was killed (signal 9; out of memory?); its variables are lost, the next cell starts afresh"
    how = f"by signal {signal}" if signal else f"with exit code {code}"
    return f"the process ended {how}; its variables are lost, the next cell starts afresh"


def bring_home(live: Live, options: Options, ran: Ran, talk: Talk) -> list[Brought]:
    """Fetch the files that the cell wrote and the variables that were asked for; never overwrites an edit."""
    brought: list[Brought] = []
    if ran.changed:
        talk.phase("home")
        rules = HomeRules(out=(*HOME_FOLDERS, *options.out))
        home = live.sync.bring_home(
            ran.changed, rules, lambda state: talk.progress(state.done_bytes, state.total_bytes, state.rate_bytes_s)
        )
        brought = list(home.brought)
        if brought:
            more = f" and {len(brought) - _NAMED}" if len(brought) > _NAMED else ""
            talk.note("home: " + ", ".join(_brought_text(file) for file in brought[:_NAMED]) + more)
        for left in (*home.kept, *home.refused):
            talk.note(f"left on the instance: {outputs.clean_text(left.path)} ({left.reason})")
    for name, size in ran.results:
        ran.values[name] = _fetch_value(live, ran.id, name, size)
    return brought


def _brought_text(file: Brought) -> str:
    return f"{file.path} {outputs.size_text(file.size)}" + (f" ({file.note})" if file.note else "")


def _fetch_value(live: Live, cell: str, name: str, size: int) -> object:
    from gpuplug.agent import values, wire  # noqa: PLC0415 - `%load_ext` must not pay for it
    from gpuplug.engine.planning import digest  # noqa: PLC0415 - one direction only

    if not 0 <= size <= _VALUE_LIMIT:
        raise AgentError(f"-o {name}: the agent declares {size} bytes", hint="save it to a file under out/")
    wanted = [
        ("value_get", {"cell": cell, "name": name, "offset": offset, "length": min(_PIECE, size - offset)}, b"")
        for offset in range(0, size, _PIECE)
    ]
    whole = b"".join(reply.payload for reply in live.session.pipeline(wanted, timeout=600.0))
    try:
        header, payload = wire.unpack_value(whole)
        value = values.decode(header, payload)
    except (wire.WireError, values.ValueCodecError) as error:
        raise AgentError(f"-o {name}: {error}") from error
    live.sent[name] = digest(header, payload)
    return value
