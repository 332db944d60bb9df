"""The use cases, in the order of a cell's way: plan, choose, rent, prove, ship, run, bring home, settle; and their end.

One engine per process. Blocking; every wait has a deadline; an interrupt at any point settles what was begun.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.engine import choosing, consent
from gpuplug.engine.renting import Renting, Wish
from gpuplug.errors import (
    BudgetError,
    DetachedError,
    GpuplugError,
    HostError,
    NoOfferError,
    OfferGoneError,
    TooDearError,
    UnknownNameError,
    UsageError,
)
from gpuplug.ledger import CellRow, Lease, Ledger, State
from gpuplug.market import Board, Market, Series, Source, offers_table
from gpuplug.providers import KNOWN, Access, Provider, load
from gpuplug.types import Instance, Money, Offer, Secret, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from gpuplug.config import Options
    from gpuplug.engine.linking import Live
    from gpuplug.engine.planning import Plan
    from gpuplug.engine.running import Ran
    from gpuplug.engine.talk import Talk
    from gpuplug.types import Clock

MOST_ATTEMPTS = 6
READY_DEADLINE_S = 600.0
LOOKED_S = 30.0  # prices that only are looked at may be so old


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `%gpu ls`: the provider's view and the ledger's, either of which may be missing."""

    instance: Instance | None
    lease: Lease | None
    cost: Money


class Engine:
    """All use cases over one ledger and one notebook folder.

    `home` holds the ledger and the keys of instances; the user's own when not given. `ready_s` is how long a rented
    machine may take until it is usable, before the next offer is tried.
    """

    def __init__(
        self,
        notebook: str,
        root: Path,
        clock: Clock | None = None,
        ready_s: float = READY_DEADLINE_S,
        home: Path | None = None,
    ) -> None:
        self.notebook = notebook
        self.root = root
        self.clock = clock or SystemClock()
        self._home = home or config.home()
        self.ledger = Ledger(self._home, self.clock)
        self._market = Market(self.ledger, self.clock)
        self._renting = Renting(self.ledger, self._home / "keys", self.clock)
        self._providers: dict[str, Provider] = {}
        self._live: dict[str, Live] = {}
        self._ready_s = ready_s
        self._consent = consent.Consent(self.ledger, self.clock)

    def close(self) -> None:
        """Close sessions and files; rented instances stay."""
        for live in self._live.values():
            live.session.close()
        self._live.clear()
        for provider in self._providers.values():
            provider.close()
        self._providers.clear()
        self.ledger.close()

    def provider(self, name: str) -> Provider:
        """Return the adapter of a platform, made at first use."""
        if name not in self._providers:
            key = config.find_key(name)
            secret, source = (key.secret, key.source) if key else (Secret(""), "")
            folder = str(self._home / name)
            self._providers[name] = load(name, Access(secret, source, config.base_url(name), folder, self.clock))
        return self._providers[name]

    def prices(self, options: Options) -> Board:
        """Search offers on every platform whose prices can be read, at most `LOOKED_S` old; costs nothing, needs no key."""
        return self._market.offers(self._readable(options), choosing.query_of(options), LOOKED_S)

    def why_no_prices(self, options: Options, board: Board) -> GpuplugError:
        """Return what to say of an empty `board`: the nearest offer and what excluded it; costs nothing."""
        sources = self._readable(options)
        where = ", ".join(source.provider.name for source in sources)
        again = choosing.search_again(lambda wider: self._market.offers(sources, wider, LOOKED_S))
        return choosing.nothing(board, choosing.query_of(options), where, again)

    def price_history(self, options: Options) -> list[Series]:
        """Return how prices went, as this computer saw them; asks no platform."""
        return self._market.history(self._readable(options), options.gpu)

    def plan(self, source: str, options: Options, namespace: Mapping[str, object]) -> Plan:
        """Read the cell; sends nothing, rents nothing."""
        from gpuplug.engine import planning  # noqa: PLC0415 - `%load_ext` must not pay for it

        return planning.plan(source, options, namespace, self.root, warm=self._warm(options) is not None)

    def dry_run(self, plan: Plan) -> str:
        """Return the ship tree, the offer that would be taken and what it would cost; rents nothing."""
        from gpuplug.engine.explaining import explain  # noqa: PLC0415 - `%load_ext` must not pay for it

        if self._warm(plan.options) is not None:
            return explain(plan, None, "the warm instance of this notebook")
        try:
            offer, provider = self._offers(plan.options)[0]
        except (NoOfferError, TooDearError) as error:
            return explain(plan, None, error.message)
        return explain(plan, offer, f"ready in about {provider.traits.ready_s:.0f} s")

    def run_cell(self, plan: Plan, talk: Talk) -> Ran:
        """Run one cell to its end: COSTS MONEY unless the platform is free. Raises nothing that the cell raised.

        The caller raises `Ran.failure` after it has shown what came home.
        """
        from gpuplug.engine import planning, running  # noqa: PLC0415 - `%load_ext` must not pay for it

        planning.guard(plan, talk)
        live = self.up(plan.options, talk)
        for note in plan.notes:
            talk.note(note)
        ends = plan.options.down
        try:
            fresh = frozenset(value.name for value in plan.values if live.sent.get(value.name) != value.digest)
            running.ship(live, plan, talk)
            started = self.clock.now().timestamp()
            ran = running.run(live, plan, talk, self.clock, fresh)
            running.bring_home(live, plan, ran, talk)
            self._record(live, ran, started, talk)
            ends = ends or isinstance(ran.failure, BudgetError)
        except GpuplugError as error:
            # Who leaves a cell running wants it to run on; who has spent the budget does not.
            ends = isinstance(error, BudgetError) or (ends and not isinstance(error, DetachedError))
            self._say_billing(error, live.lease, ends=ends)
            raise
        finally:
            if ends:
                self._end([live.lease], talk.note)
        if isinstance(ran.failure, GpuplugError):
            self._say_billing(ran.failure, live.lease, ends=ends)
        return ran

    def up(self, options: Options, talk: Talk) -> Live:
        """Return a live instance: the warm one, or a newly rented one. COSTS MONEY unless the platform is free."""
        warm = self._warm(options)
        if warm is not None:
            return self._relink(warm, options, talk)
        return self._acquire(options, talk)

    def down(self, options: Options, say: Callable[[str], None]) -> list[Lease]:
        """Destroy instances and prove each gone: the notebook's own, those named in `options.words`, or all."""
        leases = self.ledger.open_leases()
        if options.words:
            leases = [self._named(word.removeprefix("#"), leases) for word in options.words]
        elif not options.all:
            leases = [lease for lease in leases if lease.notebook == self.notebook]
        return self._end(leases, say)

    def rows(self) -> list[Row]:
        """Reconcile with every enabled platform and return all instances with our label, ours and others'."""
        found: list[Row] = []
        names = {*config.enabled(), *(lease.provider for lease in self.ledger.open_leases())}
        for name in sorted(names):
            provider = self.provider(name)
            seen = provider.instances()
            leases = {lease.label: lease for lease in self._renting.reconcile(provider, seen)}
            found += [self._row(instance, leases.pop(instance.label, None)) for instance in seen]
            found += [self._row(None, lease) for lease in leases.values()]
        return found

    def sessions(self) -> list[Live]:
        """Return the instances that cells can run on now without waiting."""
        return [live for live in self._live.values() if live.session.alive]

    def files(self, options: Options) -> list[tuple[str, str]]:
        """Return path and size of each file in the working folder of the notebook's instance."""
        from gpuplug import outputs  # noqa: PLC0415 - `%load_ext` must not pay for it

        lease = self._warm(options)
        live = self._live.get(lease.label) if lease else None
        if live is None:
            raise UsageError("no session with an instance of this notebook", hint="%gpu up")
        rows = json.loads(live.session.request("list").payload)
        return [(outputs.clean_text(str(row[0])), outputs.size_text(int(row[1]))) for row in rows]

    def spent_since(self, days: int) -> Money:
        """Return the spend since midnight UTC `days` days ago."""
        today = self.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        return self.ledger.spent((today - dt.timedelta(days=days)).timestamp())

    def billing(self) -> list[Lease]:
        """Return the leases that cost money now, by the ledger alone; asks no provider."""
        return [lease for lease in self.ledger.open_leases() if lease.billing]

    def cost(self, lease: Lease) -> Money:
        """Return what a lease has cost so far."""
        return lease.cost(self.clock.now().timestamp())

    def _row(self, instance: Instance | None, lease: Lease | None) -> Row:
        return Row(instance, lease, self.cost(lease) if lease else Money(0))

    def _warm(self, options: Options) -> Lease | None:
        """Return the newest lease of this notebook that may still be used, if the options allow it."""
        if options.new:
            return None
        platforms = config.choose_platforms(options.platform)
        usable = [
            lease
            for lease in self.ledger.open_leases()
            if lease.notebook == self.notebook
            and lease.name == options.name
            and lease.provider in platforms
            and lease.state in {State.BOUND, State.READY}
            and (
                not options.gpu
                or any(wish.matches(lease.gpu, lease.gpu_count) for wish in options.gpu)
                or not lease.price.micros
            )
        ]
        return usable[-1] if usable else None

    def _relink(self, lease: Lease, options: Options, talk: Talk) -> Live:
        live = self._live.get(lease.label)
        if live is not None and live.session.alive:
            return live
        provider = self.provider(lease.provider)
        if provider.show(lease.instance_id) is None:
            talk.note(f"#{lease.instance_id} has ended meanwhile; taking another")
            self._end([lease], talk.note)
            return self._acquire(options, talk)
        # What was agreed to when it was rented holds, also when this cell names no price.
        return self._link(provider, lease, max(options.max_price, lease.price), talk)

    def _offers(self, options: Options) -> list[tuple[Offer, Provider]]:
        names = config.choose_platforms(options.platform)
        query, sources = choosing.query_of(options), self._sources(names)
        again = choosing.search_again(lambda wider: self._market.offers(sources, wider, LOOKED_S))
        board = self._market.offers(sources, query)
        fitting = choosing.affordable(board, query, options.max_price, ", ".join(names), again)
        return [(offer, self.provider(offer.provider)) for offer in fitting]

    def _sources(self, names: Iterable[str]) -> list[Source]:
        unique = dict.fromkeys(names)
        return [Source(self.provider(name), f"{name} {config.base_url(name)}") for name in unique]

    def _readable(self, options: Options) -> list[Source]:
        named = [name for name in options.platform if name in KNOWN]
        keyless = [name for name in named or KNOWN if self.provider(name).traits.keyless_prices]
        return self._sources(config.choose_platforms(options.platform, keyless=keyless))

    def _acquire(self, options: Options, talk: Talk) -> Live:
        talk.phase("offer")
        offers = self._offers(options)
        self._say_choice([offer for offer, _ in offers], options, talk)
        self._consent.check(self.notebook, offers[0][0], options, talk, free=offers[0][1].traits)
        tried: list[str] = []
        for offer, provider in offers[:MOST_ATTEMPTS]:
            try:
                return self._attempt(provider, offer, options, talk)
            except (OfferGoneError, HostError, TooDearError) as error:
                tried.append(f"{offer.gpu} {offer.id} at {offer.price}/h: {error.message}")
                talk.note(tried[-1])
        raise NoOfferError(
            "no machine could be had:\n" + "\n".join(tried), hint="%gpu prices, then try again or name more models"
        )

    def _say_choice(self, offers: list[Offer], options: Options, talk: Talk) -> None:
        """Say why the first offer is taken, where there was a choice; with `-v` show the others too."""
        query = choosing.query_of(options)
        if not options.quiet and offers[0].price.micros:
            talk.note(choosing.reason(offers, query))
        if options.verbose:
            talk.note(offers_table(offers, query))

    def _attempt(self, provider: Provider, offer: Offer, options: Options, talk: Talk) -> Live:
        talk.phase("rent", f"{offer.gpu} {offer.price}/h")
        lease = self._renting.rent(provider, offer, Wish(self.notebook, options.name, options))
        try:
            return self._link(provider, lease, options.max_price, talk)
        except BaseException as error:  # an interrupt included: what was rented and is not usable ends here
            ended = self._end([self.ledger.lease(lease.label)], talk.note)
            if isinstance(error, GpuplugError):
                error.billing = f"it cost {self.cost(ended[0])}" + (
                    "" if ended[0].state is State.GONE else "; NOT PROVEN GONE"
                )
            raise

    def _link(self, provider: Provider, lease: Lease, cap: Money, talk: Talk) -> Live:
        from gpuplug.engine.linking import Linking  # noqa: PLC0415 - `%load_ext` must not pay for it

        linking = Linking(self.ledger, self._renting, self._home, self.clock, self._ready_s)
        live = linking.open(provider, lease, cap, self.root, talk)
        self._live[lease.label] = live
        return live

    def _end(self, leases: Iterable[Lease], say: Callable[[str], None]) -> list[Lease]:
        ended: list[Lease] = []
        for lease in leases:
            live = self._live.pop(lease.label, None)
            if live is not None:
                live.session.close()
            say(f"#{lease.instance_id or lease.label} {lease.gpu} {lease.provider}: destroying")
            after = self._renting.destroy(self.provider(lease.provider), lease, say)
            proof = (
                "gone (verified)"
                if after.state in {State.GONE, State.FAILED}
                else "NOT PROVEN GONE, take it as billing"
            )
            say(
                f"#{lease.instance_id or lease.label} {lease.gpu} {lease.provider}: {proof}; it cost {self.cost(after)}"
            )
            ended.append(after)
        return ended

    def _named(self, word: str, leases: list[Lease]) -> Lease:
        """Return the lease that a user names; an instance that only the provider knows is taken into the ledger first."""
        for lease in leases:
            if word in {lease.instance_id, lease.label, lease.name}:
                return lease
        for name in config.enabled():
            for instance in self.provider(name).instances():
                if word in {instance.id, instance.label}:
                    return self._renting.take_over(instance, self.notebook)
        known = ", ".join(lease.name or f"#{lease.instance_id}" for lease in leases) or "none"
        raise UnknownNameError(f"no instance {word!r}; open ones: {known}", hint="%gpu ls")

    def _record(self, live: Live, ran: Ran, started: float, talk: Talk) -> None:
        lease = self.ledger.lease(live.lease.label)
        cost = lease.price.for_seconds(round(ran.seconds, 3))
        self.ledger.record_cell(CellRow(ran.id, lease.label, self.notebook, started, ran.seconds, cost, ran.status))
        talk.cost(self._cost_line(lease, ran.seconds, cost))

    def _cost_line(self, lease: Lease, seconds: float, cost: Money) -> str:
        if not lease.price.micros:
            return f"{lease.provider} - {seconds:.1f} s - free"
        parts = [f"{lease.gpu} {lease.provider} #{lease.instance_id}", f"{seconds:.1f} s", str(cost)]
        if lease.simulated:
            return " - ".join([*parts, "simulated"])
        limit = config.standing_budget()
        return " - ".join([*parts, f"today {self.spent_since(0)}" + (f" of {limit}" if limit else "")])

    def _say_billing(self, error: GpuplugError, lease: Lease, *, ends: bool) -> None:
        """Add to what failed whether money still runs."""
        error.billing = error.billing or ("" if ends else self._still_billing(lease))

    def _still_billing(self, lease: Lease) -> str:
        if not lease.price.micros or self.ledger.lease(lease.label).state in {State.GONE, State.FAILED}:
            return ""
        minutes = lease.lease_s // 60
        return f"#{lease.instance_id} still bills {lease.price}/h; it ends {minutes} min after the last contact, or by `%gpu down` now"
