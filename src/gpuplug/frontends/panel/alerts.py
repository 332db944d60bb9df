"""The part `alerts`: what somebody must look at; each stays until it is settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuplug import config
from gpuplug.engine.reconciling import Found
from gpuplug.engine.settling import RESTS_ITSELF
from gpuplug.errors import AuthError, BudgetError, UsageError
from gpuplug.frontends.panel.fields import LONG_TEXT_LIMIT, moment, text
from gpuplug.frontends.panel.pods import pairs, state_of
from gpuplug.ledger import FINAL, PERIODS, State
from gpuplug.types import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuplug.frontends.panel.known import Known
    from gpuplug.ledger import Lease
    from gpuplug.types import Instance

_UNPROVEN_S = 180.0  # an end that is not proven by then is told
_FULL, _NEARLY = 100, 80  # per cent of the standing budget


def alerts(known: Known) -> list[dict[str, Any]]:
    """Return what is not settled, the gravest first."""
    found = [*_of_ledger(known), *_of_pods(known), *_of_platforms(known), *_of_budget(known)]
    return sorted(found, key=lambda alert: (alert["severity"] != "error", alert["since"] or "", alert["id"]))


def _alert(kind: str, about: str, what: str, since: float | None, **more: object) -> dict[str, Any]:
    alert: dict[str, Any] = {
        "id": f"{kind} {about}",
        "kind": kind,
        "severity": "error",
        "text": what,
        "since": moment(since),
    }
    return {**alert, "pod": None, "settles": "", "actions": [], "console_url": None, **more}


def _of_ledger(known: Known) -> Iterator[dict[str, Any]]:
    if (failure := known.ledger_failure) is not None:
        what = text(failure.error.message, LONG_TEXT_LIMIT)
        yield _alert("ledger", "", what, failure.since, settles=text(failure.error.hint, LONG_TEXT_LIMIT))
    for label, what in known.losses.items():
        yield _alert("lost", label, text(what, LONG_TEXT_LIMIT), None, pod=label, settles="a week has passed")


def _of_platforms(known: Known) -> Iterator[dict[str, Any]]:
    bills = {lease.provider for lease in known.leases or () if lease.billing}
    for name, listing in known.listings.items():
        if listing.failure is None or name not in bills:
            continue
        why = text(listing.failure.error.message, LONG_TEXT_LIMIT)
        what, settles = f"{name} cannot be asked what runs there: {why}", f"{name} answers again"
        if isinstance(listing.failure.error, AuthError):
            what, settles = (
                f"{name} refuses the key: {why}. {_bills_on(known, name)}",
                _key_wanted(listing.failure.error),
            )
        yield _alert("platform", name, what, listing.failure.since, settles=settles, console_url=_console(known, name))


def _bills_on(known: Known, platform: str) -> str:
    """Say what bills on a platform that refuses the key, and when each ends by itself."""
    billing = [lease for lease in known.leases or () if lease.billing and lease.provider == platform]
    parts = [
        f"#{text(lease.instance_id) or lease.label} bills {lease.rate}/h{_ends_by(lease)}, and cannot be ended from here"
        for lease in billing
    ]
    return "; ".join(parts)


def _ends_by(lease: Lease) -> str:
    if lease.state is State.STOPPED or not lease.hard_s:
        return ""
    return (
        f", its own switch ends it by a key of its own {lease.lease_s // 60} min after the last contact or cell, "
        f"{moment(lease.hard_end)} at the latest"
    )


def _key_wanted(error: AuthError) -> str:
    return text(error.hint, LONG_TEXT_LIMIT) or "a key that is accepted"


def _of_pods(known: Known) -> Iterator[dict[str, Any]]:
    for lease, instance in pairs(known):
        state = state_of(known, lease, instance)
        if lease is None:
            if instance is not None:
                yield _orphan(known, instance)
            continue
        since = known.since.get(lease.label, (state, lease.created))[1]
        more = {"pod": lease.label, "console_url": _console(known, lease.provider)}
        named = f"{text(lease.gpu)} {lease.provider} #{text(lease.instance_id) or lease.label}"
        if lease.state is State.DESTROYING and known.now - since > _UNPROVEN_S:
            what = f"{named} was told to end and is not proven gone: take it as billing {lease.rate}/h"
            yield _alert(
                "destroy_failed", lease.label, what, since, settles="it is proven gone", actions=["destroy"], **more
            )
        elif state == "unlisted":
            what = f"{named} is not listed by {lease.provider}, and not proven gone: take it as billing {lease.rate}/h"
            yield _alert(
                "unlisted",
                lease.label,
                what,
                since,
                settles="it is listed, or proven gone",
                actions=["destroy"],
                **more,
            )
        elif _needs_somebody(known, lease, state):
            what = f"{named}: {text(known.findings[lease.label].why)}; it bills {lease.rate}/h"
            yield _alert(
                "unattended",
                lease.label,
                what,
                None,
                settles=f"its notebook's next cell, or %gpu start {text(lease.instance_id)} there, to bring home what waits; or destroy it",
                actions=["destroy"],
                **more,
            )
        elif lease.state not in FINAL:
            yield from _of_rest(lease, (named, _rest_of(known, lease)), state, since, more)


def _needs_somebody(known: Known, lease: Lease, state: str) -> bool:
    """Tell whether the reconciler leaves it to a person what becomes of a pod that runs."""
    finding = known.findings.get(lease.label)
    return (
        state == "running"
        and lease.state in {State.BOUND, State.READY}
        and finding is not None
        and finding.found is Found.ASKED
    )


def _rest_of(known: Known, lease: Lease) -> str:
    """Return what the reconciler says of results that wait on a lease that rests by itself; "" of any other."""
    finding = known.findings.get(lease.label)
    waits = lease.state is State.STOPPED and lease.note == RESTS_ITSELF and finding is not None
    return text(finding.why, LONG_TEXT_LIMIT) if waits and finding is not None else ""


def _of_rest(
    lease: Lease, told: tuple[str, str], state: str, since: float, more: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Tell of what has stopped: by itself, by a higher bid, or by the user, whose disk bills on."""
    named, waits = told
    if state == "failed":
        what = f"{named} has failed at {lease.provider}; it bills {lease.rate}/h until it is destroyed"
        yield _alert("failed", lease.label, what, since, settles="destroy it", actions=["destroy"], **more)
    elif state == "stopped":
        taken = lease.bid.micros and lease.state is not State.STOPPED
        kind, why = ("preempted", "went to a higher bid") if taken else ("stopped", "rests")
        what = f"{named}: {waits}" if waits else f"{named} {why}; its disk bills {lease.rate}/h"
        severity = "error" if taken or "% of the budget" in waits else "warning"
        yield _alert(
            kind,
            lease.label,
            what,
            since,
            severity=severity,
            settles="start or destroy it",
            actions=["destroy"],
            **more,
        )


def _orphan(known: Known, instance: Instance) -> dict[str, Any]:
    what = (
        f"{text(instance.gpu)} {instance.provider} #{text(instance.id)} of another computer is {instance.state.value} at "
        f"{instance.price}/h"
    )
    return _alert(
        "orphan",
        text(instance.label),
        what,
        instance.started.timestamp() if instance.started else None,
        severity="warning",
        settles="that computer ends it, or adopt it and destroy it from here",
        pod=text(instance.label),
        actions=["adopt"],
        console_url=_console(known, instance.provider),
    )


def _of_budget(known: Known) -> Iterator[dict[str, Any]]:
    try:
        limits = config.standing_budgets(config.home()).limits
    except (UsageError, BudgetError) as error:
        what = text(error.message, LONG_TEXT_LIMIT)
        yield _alert("budget", "unreadable", what, None, settles=text(error.hint, LONG_TEXT_LIMIT))
        return
    for limit in limits:
        if limit.per not in PERIODS:
            continue
        since, _ = PERIODS[limit.per](known.now)
        spent = sum((lease.cost(known.now, since) for lease in known.leases or () if not lease.simulated), ZERO)
        share = 100 * spent.micros // limit.amount.micros
        if share >= _NEARLY:
            severity = "error" if share >= _FULL else "warning"
            level = _FULL if share >= _FULL else _NEARLY
            what = f"{level} % of the standing budget of {limit} is spent"
            settles = f"the next {limit.per}, or a larger budget: gpuplug budget"
            yield _alert("budget", limit.per, what, None, severity=severity, settles=settles)


def _console(known: Known, platform: str) -> str | None:
    traits = known.traits.get(platform)
    return traits.console_url or None if traits else None
