"""The verbs of `%gpu` and of the `gpuplug` command as plain text; knows the engine and no framework."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.engine.guarding import why_unguarded
from gpuplug.errors import GpuplugError, LedgerError, ProviderError, UsageError
from gpuplug.frontends import asdata, budgets, findings, spending
from gpuplug.frontends.findings import named as _named
from gpuplug.frontends.prices import prices
from gpuplug.frontends.reaping import reap
from gpuplug.ledger import State
from gpuplug.outputs import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.config import Options
    from gpuplug.engine import Engine
    from gpuplug.engine.doctor import Finding
    from gpuplug.engine.inventory import Row
    from gpuplug.engine.talk import Talk
    from gpuplug.ledger import Lease

_SHOWN_DAYS = 30
_DAY_S = 86_400


class IllError(GpuplugError):
    """The doctor found something to mend. `shown` are all findings as data."""

    def __init__(self, message: str, shown: str) -> None:
        super().__init__(message, hint="do what the hints above say")
        self.shown = shown


def bill(engine: Engine) -> str:
    """Say what bills now, by the ledger alone, with the way to end each."""
    billing = engine.billing()
    line = f"{_instances(len(billing))} billing, {engine.spent_since(0)} today"
    refused = [f"  {text}" for lease in billing if (text := engine.refused(lease))]
    return "\n".join([line, *engine.losses(), *(f"  {_bill_line(engine, lease)}" for lease in billing), *refused])


def _bill_line(engine: Engine, lease: Lease) -> str:
    if lease.notebook != engine.notebook and findings.left(lease, engine.clock.now().timestamp()):
        return _question(engine, lease)
    return _age_line(engine, lease)


def _question(engine: Engine, lease: Lease) -> str:
    asked = findings.question(lease, engine.clock.now().timestamp(), engine.cost(lease))
    rest = engine.rest(lease)
    return f"{asked}; {rest.text}" if rest else asked


def ready(lease: Lease) -> str:
    """Say which instance waits for cells, and at what price."""
    price = f"at {lease.price}/h" if lease.price.micros else "(free)"
    return f"{_named(lease)} is ready {price}"


def _instances(number: int) -> str:
    return f"{number} instance{'' if number == 1 else 's'}"


def _age_line(engine: Engine, lease: Lease) -> str:
    minutes = (engine.clock.now().timestamp() - lease.created) / 60
    simulated = " simulated" if lease.simulated else ""
    rest = engine.rest(lease)
    waits = f"{rest.text}; " if rest else ""
    return (
        f"{_named(lease)} of {lease.notebook}: {lease.state.value}, {minutes:.0f} min old, "
        f"{engine.cost(lease)}{simulated} so far; {waits}end it: %gpu down {lease.instance_id or lease.label}"
    )


def status(engine: Engine, options: Options, _say: Callable[[str], None]) -> str:
    """Platforms with the place of each key, what bills, today's spend and the limits."""
    if options.json:
        return asdata.text(asdata.status(engine))
    platforms = config.enabled()
    lines = [_platform_line(name) for name in platforms]
    lines = lines or ["no key found: cells run on this computer (platform local)"]
    lines.append(bill(engine))
    costing = [traits for name in platforms if not (traits := engine.provider(name).traits).free]
    if standing := budgets.lines(engine):
        lines += standing
    elif any(not traits.simulated for traits in costing):
        lines.append(budgets.NONE)
    elif costing:
        lines.append("simulated: nothing costs real money, and nobody is asked")
    return "\n".join(lines)


def _platform_line(name: str) -> str:
    key = config.find_key(name)
    return f"{name}: key from {key.source if key else 'nowhere'}, {config.base_url(name)}"


def ls(engine: Engine, options: Options, say: Callable[[str], None]) -> str:
    """Every instance with our label, as the providers list it now."""
    trouble = None
    try:
        rows = engine.rows()
    except LedgerError as error:
        say(str(error))
        rows, trouble = engine.without_ledger(error).rows(), error
    if options.json:
        return asdata.text([asdata.row(each) for each in rows if each.instance or each.lease])
    if not rows and trouble is not None:
        return "the providers list no instance with our label"
    lost = [] if trouble else engine.losses()
    if not rows:
        return "\n".join(["0 instances billing", *lost])
    lines = [_row(row) for row in rows if row.instance or row.lease]
    troubles = {_trouble(row) for row in rows if row.trouble and row.instance is None}
    shown = table(("id", "GPU", "platform", "state", "$/h", "cost", "notebook"), lines)
    return "\n".join([shown, *sorted(troubles), *lost, *_questions(engine, rows)])


def _trouble(row: Row) -> str:
    return f"{row.lease.provider}: {row.trouble}" if row.lease else row.trouble


def _questions(engine: Engine, rows: list[Row]) -> list[str]:
    """Ask about what other notebooks have left behind, and tell what waits for this one."""
    now = engine.clock.now().timestamp()
    leases = [row.lease for row in rows if row.lease is not None]
    own = [_age_line(engine, lease) for lease in leases if lease.notebook == engine.notebook and engine.rest(lease)]
    theirs = [lease for lease in leases if lease.notebook != engine.notebook and findings.left(lease, now)]
    return [*own, *(_question(engine, lease) for lease in theirs)]


def _row(row: Row) -> tuple[str, ...]:
    instance, lease = row.instance, row.lease
    if lease is None and instance is not None:
        state = f"{instance.state.value}, {'not known whose' if row.trouble else 'of another computer'}"
        return (f"#{instance.id}", instance.gpu, instance.provider, state, str(instance.price), "not known", "")
    if lease is None:
        return ("",) * 7
    looked_for = lease.state in {State.INTENT, State.UNKNOWN}
    unseen = "not reached" if row.trouble else "still looked for" if looked_for else "not listed"
    state = instance.state.value if instance else f"{lease.state.value}, {unseen}"
    price = instance.price if instance else lease.price
    return (
        f"#{lease.instance_id or lease.label}",
        lease.gpu,
        lease.provider,
        state,
        str(price),
        str(row.cost),
        lease.notebook,
    )


def down(engine: Engine, options: Options, say: Callable[[str], None]) -> str:
    """Destroy, prove, and say what still bills.

    Raises:
        ProviderError: something is not proven gone.
    """
    try:
        ended, trouble = engine.down(options, say), None
    except LedgerError as error:
        say(f"{error.message}: asking the providers alone")
        ended, trouble = engine.without_ledger(error).down(options, say), error
    unproven = [lease for lease in ended if lease.state not in {State.GONE, State.FAILED}]
    if unproven:
        raise ProviderError(
            f"{_instances(len(unproven))} not proven gone: {', '.join(_named(lease) for lease in unproven)}",
            billing="take it as billing until the provider's console shows that it is gone",
            hint=f"%gpu down {unproven[0].instance_id or unproven[0].label}",
        )
    if options.json:
        return asdata.text([asdata.lease(engine, each) for each in ended])
    if trouble is not None:
        return f"{_instances(len(ended))} ended; what else bills the ledger cannot tell: %gpu ls"
    if engine.billing():
        return bill(engine)
    others = _others(engine) if options.all else ""
    return ("0 instances of this computer billing" if others else "0 instances billing") + (
        others or ("" if ended else "; nothing to end")
    )


def _others(engine: Engine) -> str:
    """Name what the platforms list with our label and this ledger does not know.

    Raises:
        ProviderError: a platform gives no whole list, so that nothing can be said of it.
    """
    found = [row.instance for row in engine.rows() if row.lease is None and row.instance is not None]
    return "".join(
        f"\n  {each.gpu} {each.provider} #{each.id} of another computer: {each.state.value} at {each.price}/h; "
        f"%gpu adopt {each.id} to end it from here"
        for each in found
    )


def stop(engine: Engine, options: Options, say: Callable[[str], None]) -> str:
    """Let instances rest, and say what that still costs."""
    resting = [lease for lease in engine.stop(options, say) if lease.price.micros]
    if options.json:
        return asdata.text([asdata.lease(engine, each) for each in resting])
    lines = [
        f"{_named(lease)} rests; its disk still bills {lease.rate.for_seconds(_DAY_S)} a day. "
        f"%gpu start runs it again, %gpu down {lease.instance_id} ends it"
        for lease in resting
    ]
    return "\n".join(lines) or "nothing to stop"


def adopt(engine: Engine, options: Options, _say: Callable[[str], None]) -> str:
    """Take over what another computer or another notebook rented: from now on it counts here and `down` ends it.

    Raises:
        UsageError: no id was given, or it is this notebook's own, or in use.
    """
    if not options.words:
        raise UsageError("adopt needs the id of an instance", hint="%gpu ls")
    adopted = engine.adopt(options)
    if options.json:
        return asdata.text([asdata.lease(engine, each) for each in adopted])
    return "\n".join(_age_line(engine, lease) for lease in adopted)


def up(engine: Engine, options: Options, talk: Talk) -> str:
    """Rent an instance, or take the warm one."""
    live = engine.up(options, talk)
    return ready(live.lease) + (
        ", without a dead man's switch: %gpu down before you leave" if why_unguarded(live) else ""
    )


def start(engine: Engine, options: Options, talk: Talk) -> str:
    """Start what rests, reach it or what runs already, and bring home what waits there."""
    from gpuplug.engine import fetching  # noqa: PLC0415 - `%load_ext` must not pay for it

    reached = engine.start(options, talk)
    lines = [f"{ready(live.lease)}; {fetching.fetch(live, engine.ledger, options, talk)}" for live in reached]
    return "\n".join(lines) or "nothing rests, and nothing runs"


def extend(engine: Engine, options: Options, talk: Talk) -> str:
    """Put off the hard end, and say what can be lost now.

    Raises:
        UsageError: the first word is no duration.
    """
    try:
        seconds = config.duration(options.words[0] if options.words else "")
    except ValueError as error:
        raise UsageError(f"%gpu extend: {error}", hint="%gpu extend 1h") from None
    lines = [
        f"{_named(lease)} ends by itself {lease.hard_s / 3600:.1f} h after it was rented; "
        f"{lease.price.for_seconds(lease.hard_s)} in all at most"
        for lease in engine.extend(seconds, replace(options, words=options.words[1:]), talk)
    ]
    return "\n".join(lines) or "no instance of this notebook"


def doctor(engine: Engine, options: Options, say: Callable[[str], None]) -> str:
    """Say each finding as it is made.

    Raises:
        IllError: something is not as it should be.
    """
    found: list[Finding] = []
    for finding in engine.examine(options):
        found.append(finding)
        say(f"{'ok ' if finding.fine else 'ILL'} {finding.what}: {finding.text}")
        if not finding.fine and finding.hint:
            say(f"    hint: {finding.hint}")
    data = asdata.text([asdata.finding(each) for each in found])
    if ill := sum(not each.fine for each in found):
        raise IllError(f"{ill} finding{'s' if ill > 1 else ''} to mend", data)
    return data if options.json else "all is well"


def files(engine: Engine, options: Options, _say: Callable[[str], None]) -> str:
    """List the files in the working folder on the instance."""
    rows = [(path, size) for path, size in engine.files(options)]
    return table(("file", "size"), rows) if rows else "no files there"


VERBS: dict[str, Callable[[Engine, Options, Callable[[str], None]], str]] = {
    "status": status,
    "prices": prices,
    "ls": ls,
    "down": down,
    "stop": stop,
    "adopt": adopt,
    "doctor": doctor,
    "reap": reap,
    "spend": spending.spend,
    "budget": budgets.in_a_shell,
    "files": files,
}
TALKING_VERBS: dict[str, Callable[[Engine, Options, Talk], str]] = {
    "up": up,
    "start": start,
    "extend": extend,
    "budget": budgets.in_a_notebook,
}
