"""One gpuplug process: the real engine on the shared ledger, with a machine that answers in place of SSH."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from engine_kit import Quiet
from sim.market import KEY, Results

from gpuplug.config import Options
from gpuplug.engine import Engine, unfetched
from gpuplug.engine.bidding import with_bid
from gpuplug.engine.contacts import Contacts
from gpuplug.engine.linking import Linking, Live
from gpuplug.engine.quoting import Quote, Quoting
from gpuplug.engine.reconciling import Reconciler
from gpuplug.errors import GpuplugError, LinkError, NotReadyError
from gpuplug.providers import Access, Provider
from gpuplug.providers.runpod import RunpodProvider
from gpuplug.providers.vast import VastProvider
from gpuplug.session import Reply
from gpuplug.types import Query, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sim.world import World

    from gpuplug.engine.talk import Talk
    from gpuplug.ledger import Lease
    from gpuplug.streams import Connection
    from gpuplug.sync import Sync
    from gpuplug.types import Identity, Instance, Money, Offer

ADAPTERS: dict[str, type[VastProvider | RunpodProvider]] = {"vast": VastProvider, "runpod": RunpodProvider}
READY_S = 60.0
HALF_DAY_S = 43_200.0
AGAIN_S = 100.0
_YEAR = dt.timedelta(days=365)


class ProcessClock:
    """A process's view of the time: every sleep is a point."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> dt.datetime:
        return self._world.clock.now()

    def monotonic(self) -> float:
        return self._world.clock.monotonic()

    def sleep(self, seconds: float) -> None:
        self._world.point("sleep")
        self._world.pass_time(seconds)


class Line:
    """What stands for the session with a machine: it says whether both ends are there, and renews the lease."""

    def __init__(self, world: World, instance_id: str, contacts: Contacts) -> None:
        self._world = world
        self._id = instance_id
        self._open = True
        self.health = {"switch": "armed"}  # what it last said of itself, true or not
        self._contacts = contacts

    @property
    def alive(self) -> bool:
        machine = self._world.market.machines.get(self._id)
        return self._open and machine is not None and machine.running(self._world.now)

    def beat(self) -> None:
        """Renew the lease, as a heartbeat does."""
        if self.alive:
            machine = self._world.market.machines[self._id]
            machine.contact = self._world.now
            self._contacts.beat({"busy": int(machine.busy_until > self._world.now)})

    def run(self, seconds: float) -> None:
        """Let a cell of so many seconds run there."""
        self._world.market.machines[self._id].busy_until = self._world.now + seconds

    def keep(self, kept: Mapping[str, Any]) -> None:
        """Let what a cell leaves there wait, as an agent does that is told so."""
        machine, now = self._world.market.machines[self._id], self._world.now
        least_s = kept["rest"]["least_s"] if kept["rest"] else math.inf
        machine.results = Results(kept["keep_s"], least_s, machine.bill(now), now + kept["keep_s"])

    def request(self, what: str, header: dict[str, float] | None = None) -> Reply:
        """Tell the switch a new hard end, as the agent does; no results wait here."""
        if not self.alive:
            raise LinkError("the connection is lost")
        if what == "unfetched":
            return Reply({"ok": True}, b"[]")
        assert what == "terms", f"nothing else is asked of a machine here: {what}"
        machine = self._world.market.machines[self._id]
        machine.terms.hard = self._world.now - machine.began + (header or {})["hard_s"]
        return Reply({"ok": True}, b"")

    def close(self) -> None:
        self._open = False


class Shelf(Quoting):
    """The offers of the platforms, asked one after the other: the search's threads would make a run irreproducible."""

    def __init__(self, engine: SimEngine) -> None:
        self._engine = engine

    def offers(self, options: Options) -> Quote:
        providers = [self._engine.provider(name) for name in options.platform]
        found = [(offer, each) for each in providers for offer in each.offers(Query()).offers]
        found.sort(key=lambda pair: (pair[0].price, pair[0].id))
        return Quote([(with_bid(offer, options.max_price), each) for offer, each in found], [])

    def why(self, offers: list[Offer], passed_over: list[str], options: Options) -> str:
        return f"{len(offers)} offers, {options.max_price} at most, {len(passed_over)} platforms without any"


class SimEngine(Engine):
    """The engine, but for SSH: a machine is reached when it runs. Until then everything is the real thing."""

    def __init__(self, world: World, name: str, home: Path) -> None:
        super().__init__(name, home, ProcessClock(world), READY_S, home)
        self._world = world
        self._quoting = Shelf(self)

    def _link(self, provider: Provider, lease: Lease, cap: Money, talk: Talk) -> Live:
        linking = Linking(self.ledger, self._renting, self._home, self.clock, self._ready_s)
        lease, _ = linking._reach(provider, lease, cap, talk)  # noqa: SLF001 - all of it but the session
        lease = linking._ready(lease)  # noqa: SLF001 - likewise
        line = Line(self._world, lease.instance_id, Contacts(self.ledger, lease.label, self.clock))
        line.beat()
        live = Live(lease, provider, cast("Any", line), cast("Sync", None), {})
        self._live[lease.label] = live
        return live

    def beat(self) -> None:
        for live in self._live.values():
            cast("Line", live.session).beat()

    def run(self, seconds: float) -> None:
        """Let a cell begin on each machine, as `run_cell` does."""
        for live in self.sessions():
            self.ledger.touch(live.lease.label, 1, durable=False)
            cast("Line", live.session).run(seconds)

    def leave_results(self, options: Options) -> None:
        """Let what the cells that begin now write wait there, as `running.run` does."""
        for live in self.sessions():
            budget_s = options.budget.micros * 3600 / live.lease.price.micros
            kept = unfetched.terms(live, options, budget_s)
            if kept is not None:
                self.budgets.expect(live, f"cell on {live.lease.label}", live.lease.price.for_seconds(budget_s))
                cast("Line", live.session).keep(kept)

    def reconciler(self) -> Reconciler:
        return Reconciler(self.ledger, self._renting, self.provider, self.clock)


class Process:
    """A notebook's kernel, a command, or a reaper: what it does is one of the words of a story."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.dead = False
        self.doing = ""
        self._world = world
        world.processes.append(self)
        self.engine = SimEngine(world, "notebook", world.home)
        for platform in world.plan.platforms:
            access = Access(Secret(KEY), "the environment", "", str(world.home / platform), self.engine.clock)
            provider = ADAPTERS[platform](access)
            provider.connect = self._connect  # type: ignore[method-assign]  # there is no SSH here
            self.engine.use(provider)
        self._reconciler = self.engine.reconciler()

    def act(self, word: str) -> bool:
        """Do `word`; tell whether it went as it was meant. A crash goes on to the caller."""
        world = self._world
        world.current, began = self, world.now - world.dozed
        self.doing = word
        world.tell(f"> {word}")
        try:
            getattr(self, f"_{word}")()
        except (GpuplugError, KeyboardInterrupt) as error:
            world.tell(f"< {word}: {type(error).__name__}")
            return False
        finally:
            if not self.dead:
                world.judge.took(word, world.now - world.dozed - began)
        return True

    def close(self) -> None:
        """Let go of files and sockets, as a process that ends does."""
        self.engine.ledger.close()

    def _look(self) -> None:
        world, began, struck = self._world, self._world.now, self._world.struck
        world.market.watch()
        rows = self.engine.rows()
        if world.struck == struck:
            world.judge.looked({row.instance.id for row in rows if row.instance}, began)

    def _reap(self) -> None:
        """The look of a kernel's own thread, of a server, or of a timer."""
        self._world.judge.reaps()
        self._reconciler.look(self._world.plan.platforms)

    def _up(self) -> None:
        live = self.engine.up(self._world.options, Quiet(answer=True))
        self._world.judge.usable(live.lease)

    def _rent(self) -> None:
        """Rent one more, as another notebook does."""
        self.engine.up(replace(self._world.options, name=self.name, new=True), Quiet(answer=True))

    def _down(self) -> None:
        self.engine.down(Options(all=True), self._world.tell)

    def _work(self) -> None:
        """A cell runs for four minutes; the panel looks now and then, and so does the kernel's own thread."""
        self.engine.run(240.0)
        for _ in range(2):
            self._world.pass_time(120.0)
            self.engine.beat()
            self._look()
            self._world.beside("reap")

    def _idle(self) -> None:
        """Nothing runs for half an hour; the kernel is there, and keeps in touch."""
        for minute in range(30):
            self._world.pass_time(60.0)
            self.engine.beat()
            if minute % 5 == 0:
                self._world.beside("reap")

    def _long(self) -> None:
        """A cell of three hours begins; nobody waits for it."""
        self.engine.run(10_800.0)
        self._world.pass_time(60.0)
        self.engine.beat()

    def _results(self) -> None:
        """A cell of four minutes begins; whoever waits for it will be gone by its end."""
        self.engine.leave_results(self._world.options)
        self.engine.run(240.0)
        self._world.pass_time(60.0)
        self.engine.beat()

    def _days(self) -> None:
        """Three days go by; a timer looks twice, morning and evening."""
        for _ in range(6):
            self._world.pass_time(HALF_DAY_S)
            self._world.dozed += HALF_DAY_S  # nothing was asked meanwhile
            self._world.beside("reap")
            self._world.pass_time(AGAIN_S)
            self._world.beside("reap")

    def _jump(self) -> None:
        """The wall clock is a year off, ahead or behind."""
        self._world.jump(_YEAR if self._world.plan.seed % 2 else -_YEAR)

    def _rest(self) -> None:
        self.engine.stop(self._world.options, self._world.tell)

    def _wake(self) -> None:
        self.engine.start(self._world.options, Quiet(answer=True))

    def _fail(self) -> None:
        """The machine breaks: the provider still bills it, and the next cell finds no session."""
        for live in self.engine.sessions():
            live.session.close()

    def _leave(self) -> None:
        """Close the notebook without a word about what runs; the lid with it."""
        self.engine.close()

    def _connect(self, instance: Instance, identity: Identity) -> Connection:
        machine = self._world.market.machines.get(instance.id)
        if machine is None or not machine.running(self._world.now):
            raise NotReadyError("nothing listens yet")
        assert identity.host_key, "there is no key to prove the host by"
        return cast("Connection", None)  # nothing is ever said on it
