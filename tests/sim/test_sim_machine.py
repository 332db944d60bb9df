"""The same world under a rule machine: hypothesis looks for an order of deeds and faults that breaks a promise, and shrinks it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from sim.market import Traits
from sim.plan import CALLS, LEDGER, PROCESS, Plan
from sim.process import Process
from sim.run import play, settle, standing

from gpuplug.ledger import State

if TYPE_CHECKING:
    from sim.world import World

AFTER = st.integers(0, 12)
LIES = sorted({action for several in CALLS.values() for action in several} - {"replica"})


class Renter(RuleBasedStateMachine):
    """A notebook on one of the markets, with a second process on the same ledger."""

    world: World
    process: Process

    def __init__(self) -> None:
        super().__init__()
        self._open = contextlib.ExitStack()

    @initialize(
        platforms=st.sampled_from([("vast",), ("runpod",), ("vast", "runpod")]),
        lag_s=st.sampled_from([0.0, 10.0, 50.0]),
        read_lags=st.booleans(),
        drift=st.sampled_from([1.0, 3.0]),
        armed=st.booleans(),
    )
    def open_the_market(
        self,
        platforms: tuple[str, ...],
        lag_s: float,
        read_lags: bool,  # noqa: FBT001 - hypothesis names them
        drift: float,
        armed: bool,  # noqa: FBT001 - likewise
    ) -> None:
        traits = Traits(lag_s=lag_s, read_lags=read_lags, end_lag_s=lag_s / 2, drift=drift, armed=armed)
        plan = Plan("rule machine", 5, platforms, "rest", traits)
        self.world = self._open.enter_context(standing(plan))
        self.process = Process(self.world, "A1")

    @rule(action=st.sampled_from(LIES), after=AFTER)
    def let_a_call_go_wrong(self, action: str, after: int) -> None:
        self.world.strike(action, after)

    @rule(action=st.sampled_from([*(each for each in PROCESS if not each.startswith("jump")), *LEDGER]), after=AFTER)
    def let_the_process_be_disturbed(self, action: str, after: int) -> None:
        self.world.strike(action, after)

    @rule()
    def rent_or_use(self) -> None:
        self._do("up")

    @rule()
    def run_a_cell(self) -> None:
        self._do("work")

    @rule()
    def lose_the_link(self) -> None:
        self._do("fail")

    @rule()
    def reconcile(self) -> None:
        self._do("look")

    @rule()
    def destroy(self) -> None:
        self._do("down")

    @precondition(lambda self: self._states() & {State.READY, State.BOUND})
    @rule()
    def let_it_rest(self) -> None:
        self._do("rest")

    @precondition(lambda self: State.STOPPED in self._states())
    @rule()
    def start_it_again(self) -> None:
        self._do("wake")

    @rule()
    def leave(self) -> None:
        self._do("leave")

    @rule(seconds=st.sampled_from([1.0, 70.0, 1_000.0, 20_000.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    def teardown(self) -> None:
        with self._open:
            if hasattr(self, "world"):
                settle(self.world)

    def _do(self, word: str) -> None:
        self.process = play(self.world, self.process, word)

    def _states(self) -> set[State]:
        return {lease.state for lease in self.process.engine.ledger.open_leases()}


# Whatever is done in whatever order, every promise holds at each step, and nothing is left at the end.
TestRenter = Renter.TestCase
TestRenter.settings = settings(
    max_examples=60,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
