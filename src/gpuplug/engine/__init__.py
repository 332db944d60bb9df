"""The use cases, in the order of a cell's way: plan, choose, rent, prove, ship, run, bring home, settle; and their end.

One engine per process. Blocking; every wait has a deadline; an interrupt at any point settles what was begun.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.engine import consent, refused, resting
from gpuplug.engine.acquiring import Acquiring
from gpuplug.engine.budgets import Budgets
from gpuplug.engine.guarding import Guard, told
from gpuplug.engine.inventory import Inventory
from gpuplug.engine.pausing import Pausing
from gpuplug.engine.platforms import Platforms
from gpuplug.engine.quoting import LOOKED_S, Quoting
from gpuplug.engine.renting import Renting, Wish
from gpuplug.errors import (
    BudgetError,
    DetachedError,
    GpuplugError,
    LedgerError,
    PreemptedError,
    UsageError,
)
from gpuplug.ledger import PERIODS, Caller, Lease, Ledger, Passed, State
from gpuplug.types import Money, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from gpuplug.config import Options, Terms
    from gpuplug.engine import doctor
    from gpuplug.engine.inventory import Row
    from gpuplug.engine.linking import Live
    from gpuplug.engine.planning import Plan
    from gpuplug.engine.reconciling import Finding
    from gpuplug.engine.running import Ran
    from gpuplug.engine.talk import Talk
    from gpuplug.engine.unledgered import Unledgered
    from gpuplug.market import Board, Series
    from gpuplug.providers import Provider
    from gpuplug.types import Clock, Offer

READY_DEADLINE_S = 600.0
_PROOFS = {State.GONE: "gone (verified)", State.FAILED: "never appeared"}


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
        self.caller = Caller()
        self.root = root
        self.clock = clock or SystemClock()
        self._home = home or config.home()
        self.ledger = Ledger(self._home, self.clock)
        self._renting = Renting(self.ledger, self._home / "keys", self.clock)
        self._platforms = Platforms(self._home, self.clock)
        self._live: dict[str, Live] = {}
        self._guard = Guard(self.clock, self._end)
        self._ready_s = ready_s
        self._quoting = Quoting(self._platforms, self.ledger, self.clock)
        self.budgets = Budgets(self.ledger, self.clock, self._home, root)
        self._consent = consent.Consent(self.budgets)
        self._inventory = Inventory(notebook, self.ledger, self._renting, self._platforms, self.clock)
        self._acquiring = Acquiring(self.ledger, self._renting, self.clock, self._link, self._end)
        self._pausing = Pausing(self.ledger, self._renting, self.clock)
        self.beside: Callable[[], None] = lambda: None  # called when a cell begins, and something may bill

    def close(self) -> None:
        """Close sessions and files; rented instances stay."""
        self._guard.close()
        for live in self._live.values():
            live.session.close()
        self._live.clear()
        self._platforms.close()
        self.ledger.close()

    def provider(self, name: str) -> Provider:
        """Return the adapter of a platform, made at first use."""
        return self._platforms.get(name)

    def use(self, provider: Provider) -> None:
        """Take `provider` as the adapter of its platform, in place of the one that would be made for it."""
        self._platforms.use(provider)

    def prices(self, options: Options, max_age_s: float = LOOKED_S) -> Board:
        """Search offers on every platform whose prices can be read, at most so old; costs nothing, needs no key."""
        return self._quoting.look(options, max_age_s)

    def why_no_prices(self, options: Options, board: Board) -> GpuplugError:
        """Return what to say of an empty `board`: the nearest offer and what excluded it; costs nothing."""
        return self._quoting.why_none(options, board)

    def price_history(self, options: Options) -> list[Series]:
        """Return how prices went, as this computer saw them; asks no platform."""
        return self._quoting.history(options)

    def plan(self, source: str, options: Options, namespace: Mapping[str, object]) -> Plan:
        """Read the cell; sends nothing, rents nothing."""
        from gpuplug.engine import planning  # noqa: PLC0415 - `%load_ext` must not pay for it

        return planning.plan(source, options, namespace, self.root, warm=self._inventory.warm(options) is not None)

    def dry_run(self, plan: Plan) -> str:
        """Return the ship tree, the offer that would be taken and what it would cost; rents nothing."""
        from gpuplug.engine.explaining import dry_run  # noqa: PLC0415 - `%load_ext` must not pay for it

        return dry_run(plan, self._inventory, self._quoting)

    def run_cell(self, plan: Plan, talk: Talk) -> Ran:
        """Run one cell to its end: COSTS MONEY unless the platform is free. Raises nothing that the cell raised.

        The caller raises `Ran.failure` after it has shown what came home.
        """
        from gpuplug.engine import fetching, planning  # noqa: PLC0415 - `%load_ext` must not pay for it

        planning.guard(plan, talk)
        for note in plan.notes:
            talk.note(note)
        live = self.up(plan.options, talk)
        self.beside()
        with self._guard.using(live):
            fetching.catch_up(live, self.ledger, plan.options, talk)
            return self._run_on(live, plan, talk)

    def _run_on(self, live: Live, plan: Plan, talk: Talk) -> Ran:
        from gpuplug.engine import fetching, progress, proving, recording, running  # noqa: PLC0415 - `%load_ext` must not pay for it

        ends, live.mark = plan.options.down, live.meter.passed
        try:
            plan = self.budgets.within(plan, live, talk)
            fresh = frozenset(value.name for value in plan.values if live.sent.get(value.name) != value.digest)
            with recording.follow(self.ledger, self.clock, live.lease, self.notebook, self.caller) as notes:
                talk = progress.Watched(talk, notes)
                running.ship(live, plan, talk)
                ran = running.run(live, plan, talk, fresh, self.budgets)
                if ran.status == "died" and live.lease.bid.micros:
                    proving.check_not_preempted(live.lease, live.provider, self.clock)
                running.bring_home(live, plan.options, ran, talk)
                fetching.fetched(live, self.ledger, ran.id)
                recording.Recording(self.ledger, self.budgets, self.notebook).ended(live, ran, notes.began, talk)
            ends = ends or isinstance(ran.failure, BudgetError) or self._guard.is_lost(live, talk)
        except GpuplugError as error:
            # Who leaves a cell running wants it to run on; who has spent the budget, or lost the machine, does not.
            ends = isinstance(error, BudgetError | PreemptedError) or (ends and not isinstance(error, DetachedError))
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
        for news in (*self._guard.news(), *self.losses()):
            talk.note(news)
        warm = self._inventory.warm(options)
        if warm is None:
            return told(self._acquire(options, talk), talk)
        talk.note(self._inventory.doubts(warm, options))
        return told(self._relink(warm, options, talk), talk)

    def rent(self, offer: Offer, options: Options, talk: Talk) -> Live:
        """Rent this very offer, within the cap of `options`, and reach it: COSTS MONEY.

        Raises:
            NoOfferError: it is taken, or its machine did not work; nothing else is rented in its place.
            TooDearError: it costs more than the cap by now.
        """
        talk.phase("offer")
        live = self._take(self._acquiring.sound([self._quoting.same(offer, options)], talk), options, talk)
        return told(live, talk)

    def down(self, options: Options, say: Callable[[str], None]) -> list[Lease]:
        """Destroy instances and prove each gone: the notebook's own, those named in `options.words`, or all."""
        self._inventory.sweep(say)
        return self._end(self.ledger.open_leases() if options.all else self._inventory.meant(options), say)

    def end(self, label: str, say: Callable[[str], None]) -> Lease:
        """Destroy one instance and prove it gone, before anything else is looked at."""
        return self._end([self.ledger.lease(label)], say)[0]

    def stop(self, options: Options, say: Callable[[str], None]) -> list[Lease]:
        """Let the notebook's instances rest, or those named in `options.words`: THEIR DISKS BILL ON."""
        rest: list[Lease] = []
        for lease in self._inventory.meant(options):
            if lease.state is State.STOPPED:
                rest.append(self._pausing.keep(lease))
                continue
            self._pausing.ask(self.provider(lease.provider), lease)
            self._hang_up(lease)
            say(f"#{lease.instance_id} {lease.gpu} {lease.provider}: stopping")
            rest.append(self._pausing.rest(self.provider(lease.provider), lease))
        return rest

    def start(self, options: Options, talk: Talk) -> list[Live]:
        """Start what rests and reach what runs: COSTS MONEY. What waits there, `fetching.fetch` brings home."""
        leases = self._inventory.to_start(options, talk.note)
        return [told(self._linked(self.provider(lease.provider), lease, options, talk), talk) for lease in leases]

    def extend(self, seconds: int, options: Options, talk: Talk) -> list[Lease]:
        """Put off the hard end of the notebook's instances, or of those named in `options.words`, within the budgets."""
        extended: list[Lease] = []
        for lease in self._inventory.meant(options):
            self.budgets.check_longer(lease, seconds)
            live = self._linked(self.provider(lease.provider), lease, options, talk)
            lease = self.ledger.lease(lease.label)  # noqa: PLW2901 - reaching it has said since when its hard end counts
            left = lease.hard_end + seconds - self.clock.now().timestamp()
            live.session.request("terms", {"hard_s": left})
            extended.append(self.ledger.amend(lease.label, hard_s=lease.hard_s + seconds))
        return extended

    def adopt(self, options: Options) -> list[Lease]:
        """Take what another computer, or a notebook that is not in touch any more, has rented, by ids: it is this one's now."""
        return [self._inventory.adopt(word) for word in dict.fromkeys(word.removeprefix("#") for word in options.words)]

    def reap(self, say: Callable[[str], None]) -> list[Finding]:
        """Look at everything that may bill, end what is left alone, and prove each end; rents nothing."""
        from gpuplug.engine.reconciling import Reconciler  # noqa: PLC0415 - only who asks needs it

        reconciler = Reconciler(self.ledger, self._renting, self.provider, self.clock)
        found = reconciler.reap(config.enabled(), say)
        self.ledger.keep_copy()
        return found

    def without_ledger(self, trouble: LedgerError) -> Unledgered:
        """Return what can still be done when the ledger cannot be used: list and end what the providers show."""
        from gpuplug.engine.unledgered import Unledgered  # noqa: PLC0415 - for a bad day

        return Unledgered(self.provider, self._renting, trouble)

    def rows(self) -> list[Row]:
        """Reconcile with every enabled platform and return all instances with our label, ours and others'."""
        return self._inventory.rows()

    def rows_of(self, platform: str) -> list[Row]:
        """Do the same with one platform."""
        return self._inventory.rows_of(platform)

    def sessions(self) -> list[Live]:
        """Return the instances that cells can run on now without waiting."""
        return [live for live in list(self._live.values()) if live.session.alive]

    def files(self, options: Options) -> list[tuple[str, str]]:
        """Return path and size of each file in the working folder of the notebook's instance."""
        from gpuplug.engine import running  # noqa: PLC0415 - `%load_ext` must not pay for it

        lease = self._inventory.warm(options)
        live = self._live.get(lease.label) if lease else None
        if live is None:
            raise UsageError("no session with an instance of this notebook", hint="%gpu up")
        return running.list_files(live)

    def examine(self, options: Options) -> Iterator[doctor.Finding]:
        """Look at everything that a rent needs; with `options.cross_check` ask the vendors' clients too. Rents nothing."""
        from gpuplug.engine import crosscheck, doctor  # noqa: PLC0415 - `%load_ext` must not pay for it

        yield from doctor.Doctor(self.ledger, self.clock, self.provider).examine(mend=options.mend)
        if options.cross_check:
            yield from crosscheck.cross_check_all(self.provider)

    def spent_since(self, days: int) -> Money:
        """Return the spend since the local midnight `days` days ago."""
        midnight, _ = PERIODS["day"]((self.clock.now() - dt.timedelta(days=days)).timestamp())
        return self.ledger.spent(midnight)

    def billing(self) -> list[Lease]:
        """Return the leases that cost money now, by the ledger alone; asks no provider."""
        return [lease for lease in self.ledger.open_leases() if lease.billing]

    def losses(self) -> list[str]:
        """Return what is to be said of results that nobody fetched until their budget was spent; of each loss once."""
        return resting.losses(self.ledger, self.clock.now().timestamp())

    def rest(self, lease: Lease) -> resting.Rest | None:
        """Return the rest of a lease that has stopped itself, with what its results may cost; None for any other."""
        return resting.rest_of(self.ledger, lease, self.clock.now().timestamp())

    def refused(self, lease: Lease) -> str:
        """Say, by the ledger alone, that the key of `lease` is refused, and what still ends it; "" when it is not."""
        return refused.by_ledger(lease, self.ledger)

    def cost(self, lease: Lease) -> Money:
        """Return what a lease has cost so far."""
        return lease.cost(self.clock.now().timestamp())

    def _relink(self, lease: Lease, options: Options, talk: Talk) -> Live:
        live = self._live.get(lease.label)
        if live is not None and live.session.alive:
            return live
        provider = self.provider(lease.provider)
        if (instance := provider.show(lease.instance_id)) is None:
            talk.note(f"#{lease.instance_id} has ended meanwhile; taking another")
            self._end([lease], talk.note)
            return self._acquire(options, talk)
        self._renting.observe(lease, instance)
        return self._linked(provider, self.ledger.lease(lease.label), options, talk)

    def _linked(self, provider: Provider, lease: Lease, options: Options, talk: Talk) -> Live:
        """Return the session with a lease that is there already; says what bills when it cannot be had."""
        live = self._live.get(lease.label)
        if live is not None and live.session.alive:
            return live
        try:
            if lease.state is State.STOPPED:
                return self._wake(lease, options, talk)
            # What was agreed to when it was rented holds, also when this cell names no price. Of a machine that was
            # never reached the ledger knows only what it bills, and to that nobody may have agreed.
            known = options.max_price if lease.state is State.BOUND else max(options.max_price, lease.price)
            return self._link(provider, lease, known, talk)
        except GpuplugError as error:
            ends = options.down or isinstance(error, PreemptedError)
            self._say_billing(error, lease, ends=ends)
            error.hint = error.hint or "%gpu down"
            if ends:
                self._end([lease], talk.note)
            raise

    def _wake(self, lease: Lease, options: Options, talk: Talk) -> Live:
        provider = self.provider(lease.provider)
        talk.phase("start", f"{lease.gpu} {lease.price}/h")
        self._consent.check(self.notebook, consent.Cost.of_lease(lease), options, talk, free=provider.traits)
        started = self._pausing.start(provider, lease)
        live = self._link(provider, started, max(options.max_price, lease.price), talk)
        self.budgets.shorten(live)  # its start command has set the hard end that it was rented with
        return live

    def _acquire(self, options: Options, talk: Talk) -> Live:
        talk.phase("offer")
        quote = self._quoting.offers(options)
        offers = self._acquiring.sound(quote.offers, talk)
        talk.note(self._quoting.why([offer for offer, _ in offers], quote.passed_over, options))
        return self._take(offers, options, talk)

    def _take(self, offers: list[tuple[Offer, Provider]], options: Options, talk: Talk) -> Live:
        def agree(offer: Offer, provider: Provider) -> Terms:
            return self._consent.check(self.notebook, consent.Cost.of_offer(offer), options, talk, free=provider.traits)

        wish = Wish(self.notebook, options.name, options, self.budgets.check)
        return self._acquiring.acquire(offers, wish, agree, talk)

    def _link(self, provider: Provider, lease: Lease, cap: Money, talk: Talk) -> Live:
        from gpuplug.engine.linking import Linking  # noqa: PLC0415 - `%load_ext` must not pay for it

        linking = Linking(self.ledger, self._renting, self._home, self.clock, self._ready_s)
        live = linking.open(provider, lease, cap, self.root, talk)
        self._live[lease.label] = live
        self._guard.watch(live)
        return live

    def _end(self, leases: Iterable[Lease], say: Callable[[str], None]) -> list[Lease]:
        ended: list[Lease] = []
        for lease in leases:
            refused.hand_over(self._live.get(lease.label), lease, self.ledger, say)
            self._hang_up(lease)
            say(f"#{lease.instance_id or lease.label} {lease.gpu} {lease.provider}: destroying")
            provider = self.provider(lease.provider)
            after = self._renting.destroy(provider, lease, say)
            proof = _PROOFS.get(after.state, "NOT PROVEN GONE, take it as billing")
            say(
                f"#{lease.instance_id or lease.label} {lease.gpu} {lease.provider}: {proof}; it cost {self.cost(after)}"
            )
            if after.state not in _PROOFS and (why := refused.why_unproven(after, provider, self.ledger, self.clock)):
                say(why)
            ended.append(after)
        return ended

    def _hang_up(self, lease: Lease) -> None:
        live = self._live.pop(lease.label, None)
        if live is not None:
            live.session.close()
            with contextlib.suppress(LedgerError), live.meter.noting() as passed:
                self.ledger.traffic.keep(lease.label, Passed(*passed), self.clock.now().timestamp())

    def _say_billing(self, error: GpuplugError, lease: Lease, *, ends: bool) -> None:
        """Add to what failed whether money still runs."""
        from gpuplug.engine.explaining import still_billing  # noqa: PLC0415 - `%load_ext` must not pay for it

        error.billing = error.billing or ("" if ends else still_billing(self.ledger.lease(lease.label)))
