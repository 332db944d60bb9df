"""What goes wrong in one run, and when: a plan is a function of its seed, or names one single fault."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from sim.market import Traits

from gpuplug.types import Money

_BEFORE = ("refuse", "drop", "500", "429", "html", "401", "front-door", "slow", "storm")
_ANY = (*_BEFORE, "drop-after", "500-after", "html-after", "cut-after")
# What can be done to a request, by what the request is.
CALLS: dict[str, tuple[str, ...]] = {
    "account": ("refuse", "drop", "500", "401", "html"),
    "search": ("refuse", "drop", "500", "429", "html", "storm", "401"),
    "create": (*_ANY, "taken", "late", "very-late", "double", "double-late", "confess"),
    "list": (*_ANY, "replica"),
    "show": (*_ANY, "replica"),
    "end": (*_ANY, "lie", "lie-always", "replica"),
    "power": (*_ANY, "lie"),
    "log": ("drop",),
}
# What can be done to the process, at any point: a crash ends it there, whatever its handlers would like to do.
PROCESS = (
    "crash",
    "interrupt",
    "other-looks",
    "other-ends",
    "other-reaps",
    "other-rents",
    "doze",
    "jump-on",
    "jump-back",
)
LEDGER = ("full",)
# What lasts: from that request on the account's key is refused. The instances' own keys are others.
LASTING = ("revoked",)
STORIES: dict[str, tuple[str, ...]] = {
    "plain": ("look", "up", "work", "down"),
    "left": ("up", "work", "leave", "look"),
    "again": ("up", "down", "up", "work", "down"),
    "rest": ("up", "work", "rest", "look", "wake", "work", "down"),
    "rest and end": ("up", "rest", "down"),
    "forgotten": ("up", "leave"),
    "two notebooks": ("up", "rent", "work", "work", "leave"),
    "lost link": ("up", "fail", "up", "work", "down"),
    "idle": ("up", "idle", "work", "down"),
    "left running": ("up", "long", "leave"),
    "left resting": ("up", "rest", "leave"),
    "wrong clock": ("up", "long", "jump", "leave"),
    "rest with results": ("up", "results", "leave", "days"),
    "rest and start again": ("up", "results", "leave", "wake", "look", "down"),
}
OFF_S = (0.0, 5.0, 300.0, 3_600.0, 86_400.0, 172_800.0)
# The small one ends an instance before its lease does, the large one after.
_SMALL, _LARGE = Money(50_000), Money(2_000_000)
# What pays for a cell and a lease, and for two days of rest.
_SOME_DAYS = Money(300_000)
# Of a day, for all instances: enough for a quarter of an hour of one platform only, for half an hour, and for more.
_DAYS = (Money(85_000), Money(170_000), Money(400_000))
_MOST_POINTS = 140
_FEW_POINTS = 60
_FIRST_POINTS = 8
_AIMED = 0.4
_BOUNDLESS = 0.6
_ACCEPTED = 0.95
# Where the end of a process, or somebody else's doing, hurts most.
_WHERE = ("call before create", "call after create", "call after end", "ledger after")
_OFTEN = (
    *(3 * ("crash", "lie")),
    "other-reaps",
    *(
        "interrupt",
        "drop-after",
        "500-after",
        "late",
        "very-late",
        "double",
        "double-late",
        "confess",
        "replica",
        "lie-always",
    ),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """`action` at the first point from number `at` on where it makes sense, and whose name begins with `where`."""

    at: int
    action: str
    where: str = ""

    def at_point(self, number: int, name: str) -> bool:
        return self.at <= number and name.startswith(self.where) and fits(self.action, name)

    def __str__(self) -> str:
        return f"{self.action}@{self.at}" + (f" ({self.where})" if self.where else "")


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. `name` is what it is played again by."""

    name: str
    seed: int = 0
    platforms: tuple[str, ...] = ("vast",)
    story: str = "plain"
    traits: Traits = field(default_factory=Traits)
    faults: tuple[Fault, ...] = ()
    off_s: float = 300.0
    budget: Money = _SMALL
    day: Money | None = None

    @property
    def jumps(self) -> bool:
        return "jump" in STORIES[self.story] or any(fault.action.startswith("jump") for fault in self.faults)

    def without(self, fault: Fault) -> Plan:
        return replace(self, faults=tuple(each for each in self.faults if each is not fault))

    def __str__(self) -> str:
        faults = " ".join(map(str, self.faults)) or "no faults"
        where = "+".join(self.platforms)
        money = f"budget {self.budget}, a day {self.day or 'any'}"
        return f"{self.name}: {where}, story {self.story!r}, {money}, off {self.off_s:.0f} s, {self.traits}, {faults}"


def _actions() -> list[str]:
    """All of them; what the protocol is about comes more often than what only delays it."""
    process = set(PROCESS) - {"other-rents"}
    return sorted({*process, *LEDGER, *(action for several in CALLS.values() for action in several)}) + list(_OFTEN)


def _bearable(faults: list[Fault], traits: Traits) -> list[Fault]:
    """Leave out what no protocol could bear.

    A replica that has lost everything, for less than the gap between two listings, is bearable once. And nobody can
    tell what a lagging reading hides when the clock that measures the lag jumps too.
    """
    replicas = [fault for fault in faults if fault.action == "replica"]
    kept = [fault for fault in faults if fault not in replicas[1:]]
    return [fault for fault in kept if not (traits.read_lags and fault.action.startswith("jump"))]


def _fault(chance: random.Random, action: str) -> Fault:
    if action in PROCESS and chance.random() < _AIMED:
        return Fault(chance.randrange(_FEW_POINTS), action, chance.choice(_WHERE))
    return Fault(chance.randrange(_MOST_POINTS), action)


def seeded(seed: int) -> Plan:
    """Return the plan of one seed."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    traits = Traits(
        lag_s=chance.choice((0.0, 0.0, 2.0, 10.0, 45.0, 50.0)),
        read_lags=chance.random() < 0.3,
        end_lag_s=chance.choice((0.0, 0.0, 3.0, 20.0, 50.0)),
        boot_s=chance.choice((2.0, 15.0, 15.0, 40.0)) if chance.random() < 0.9 else 1e9,
        drift=chance.choice((1.0, 1.0, 1.0, 1.2, 3.0)),
        armed=chance.random() < 0.8,
        shared=chance.random() < 0.25,
    )
    actions = _actions()
    faults = [_fault(chance, chance.choice(actions)) for _ in range(chance.choice((0, 1, 2, 2, 3, 4, 6)))]
    story = chance.choice([story for story in STORIES if story != "two notebooks"])
    if "jump" in STORIES[story]:
        traits = replace(traits, read_lags=False)
    faults.sort(key=lambda fault: (fault.at, fault.action))
    plan = Plan(
        name=f"seed {seed}",
        seed=seed,
        platforms=chance.choice((("vast",), ("runpod",), ("vast", "runpod"))),
        story=story,
        traits=traits,
        faults=tuple(_bearable(faults, traits)),
        off_s=chance.choice(OFF_S),
        budget=chance.choice((_SMALL, _LARGE, *(2 * (_SOME_DAYS,) if "results" in STORIES[story] else ()))),
    )
    return _with_a_refusal(_with_a_day(plan))


def _with_a_day(plan: Plan) -> Plan:
    """Give some of the plans a budget of the day, and somebody else who rents, most of all when this process is about to."""
    chance = random.Random(f"{plan.seed}, a day")  # noqa: S311 - likewise
    if chance.random() < _BOUNDLESS:
        return plan
    rents = Fault(chance.randrange(_FIRST_POINTS), "other-rents", chance.choice(("", "ledger before", "ledger before")))
    faults = (rents, *plan.faults[: chance.choice((0, 1, 6))]) if chance.random() < _AIMED else plan.faults
    story = "two notebooks" if chance.random() < _AIMED else plan.story
    return replace(plan, day=chance.choice(_DAYS), faults=faults, story=story)


def _with_a_refusal(plan: Plan) -> Plan:
    """Let some of the plans lose their key for good."""
    chance = random.Random(f"{plan.seed}, a refusal")  # noqa: S311 - likewise
    if chance.random() < _ACCEPTED:
        return plan
    return replace(plan, faults=(*plan.faults, Fault(chance.randrange(_FEW_POINTS), "revoked")))


WEATHERS = {"calm": Traits(), "lagging": Traits(lag_s=45.0, read_lags=True, end_lag_s=20.0)}


def clean(platform: str, weather: str, story: str) -> Plan:
    """Return a run without faults, whose points the single faults are put at."""
    return Plan(f"{platform}/{weather}/{story}", 1, (platform,), story, WEATHERS[weather])


def single(platform: str, weather: str, story: str, fault: Fault) -> Plan:
    """Return the run with exactly this fault."""
    plan = clean(platform, weather, story)
    return replace(plan, name=f"{plan.name}/{fault}", faults=(fault,))


def named(name: str) -> Plan:
    """Return the plan that a failure has printed the name of.

    Raises:
        ValueError: no plan has this name.
    """
    if name.startswith("seed "):
        return seeded(int(name.removeprefix("seed ")))
    platform, weather, story, *rest = name.split("/")
    if not rest:
        return clean(platform, weather, story)
    action, _, at = rest[0].partition("@")
    return single(platform, weather, story, Fault(int(at), action))


def fits(action: str, point: str) -> bool:
    """Tell whether `action` can happen at a point called `point`."""
    place, _, verb = point.partition(" ")
    if action in PROCESS:
        return place != "wire"  # before and after each call there is a point of its own
    if action in LEDGER:
        return point == "ledger before"
    return place == "wire" and (action in LASTING or action in CALLS[verb])
