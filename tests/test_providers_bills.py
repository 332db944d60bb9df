"""What the platforms say they have billed: read whole, from both dialects, and laid beside the ledger."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from engine_kit import Cloud
from sandbox_kit import RunningMarket, market
from test_ledger import lease as a_lease
from test_providers_runpod_sandbox import Renting as RunpodRenting
from test_providers_runpod_sandbox import provider as runpod_provider
from test_providers_vast_sandbox import Renting as VastRenting
from test_providers_vast_sandbox import until

from gpuplug.engine import billing
from gpuplug.errors import ReplyError, UnreachableError
from gpuplug.frontends.cli import main
from gpuplug.ledger import Ledger, Rate, State
from gpuplug.providers import Access, Provider, invoicing
from gpuplug.providers._calls import Call, Reply
from gpuplug.providers.runpod import bills as runpod_bills
from gpuplug.providers.vast import VastProvider
from gpuplug.providers.vast import bills as vast_bills
from gpuplug.testing import FakeClock
from gpuplug.types import Billed, Money, Secret, SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86_400.0


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with market(seed=11) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: RunningMarket) -> Iterator[RunningMarket]:
    yield running
    running.reset()


def midnight() -> float:
    return billing.whole_days(SystemClock().now().timestamp())


def test_vast_tells_all_pages_of_its_charges(sandbox: RunningMarket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vast_bills, "_PAGE", 1)
    vast = VastProvider(Access(Secret(sandbox.vast_api_key), "VAST_API_KEY", sandbox.vast_url, "", SystemClock()))
    ids = {VastRenting(vast, f"gp-{number}").launch() for number in range(2)}
    until(lambda: all(one["spend_micros"] for one in sandbox.meter()["instances"]) or None)
    reader = invoicing(vast)
    assert reader is not None
    told = {each.instance_id: each for each in reader.billed(midnight() - DAY)}
    assert set(told) == ids
    assert {each.label for each in told.values()} == {"gp-0", "gp-1"}
    metered = {str(one["id"]): one["spend_micros"] for one in sandbox.meter()["instances"]}
    assert all(0 < told[one].amount.micros <= metered[one] for one in ids)
    vast.close()


def test_runpod_tells_what_each_pod_was_billed(sandbox: RunningMarket) -> None:
    runpod = runpod_provider(sandbox)
    pod = RunpodRenting(runpod).launch()
    until(lambda: any(one["spend_micros"] for one in sandbox.meter()["instances"]) or None)
    reader = invoicing(runpod)
    assert reader is not None
    (told,) = reader.billed(midnight() - DAY)
    (metered,) = [one["spend_micros"] for one in sandbox.meter()["instances"] if one["id"] == pod]
    assert told.instance_id == pod
    assert 0 < told.amount.micros <= metered
    runpod.close()


def answers(*bodies: object) -> Any:  # noqa: ANN401 - stands for an adapter's `_ask`
    left = list(bodies)

    def ask(call: Call) -> Reply:
        assert call.safe
        return Reply(200, left.pop(0) if len(left) > 1 else left[0], {})

    return ask


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"results": {}},
        {"results": [{"source": "instance-1", "amount": "lots"}]},
        {"results": [{"source": "volume-1", "amount": 1}]},
        {"results": [[]]},
        {"results": [], "next_token": "again"},
    ],
)
def test_a_bill_of_vast_that_makes_no_sense_is_no_bill(body: object) -> None:
    with pytest.raises(ReplyError, match="vast"):
        vast_bills.billed(answers(body), 0.0, DAY)


@pytest.mark.parametrize(
    "body", [{}, {"records": 1}, {"records": [{"podId": "p"}]}, {"records": [{"totalAmount": 1}]}, {"records": [None]}]
)
def test_a_bill_of_runpod_that_makes_no_sense_is_no_bill(body: object) -> None:
    with pytest.raises(ReplyError, match="runpod"):
        runpod_bills.billed(answers(body), 0.0)


def test_several_charges_of_one_instance_are_one_sum() -> None:
    rows = [{"source": "instance-7", "amount": amount, "metadata": {"label": "gp-1"}} for amount in (0.1, "0.2", 0)]
    told = vast_bills.billed(
        answers({"results": rows[:2], "next_token": "x"}, {"results": rows[2:], "next_token": None}), 0.0, DAY
    )
    assert told == [Billed("7", Money(300_000), "gp-1")]


@dataclass
class BilledCloud(Cloud):
    """A cloud with books of its own."""

    books: list[Billed] = field(default_factory=list)

    def billed(self, _since: float) -> list[Billed]:
        self._fail()
        return self.books


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path, FakeClock())
    rates = (Rate(1000.0, Money(360_000)),)
    for label, number in (("gp-1", "1"), ("gp-2", "2")):
        made.intend(
            a_lease(label, provider="cloud", instance_id=number, created=1000.0, rates=rates, state=State.READY)
        )
    yield made
    made.close()


def cloud(*books: Billed, bills: bool = True) -> BilledCloud:
    made = BilledCloud(FakeClock(), books=list(books))
    made.traits = replace(made.traits, bills=bills)
    return made


def checked(ledger: Ledger, provider: BilledCloud) -> list[billing.Checked]:
    return billing.check(ledger, lambda _: cast("Provider", provider), 4600.0, 0.0)


def test_the_difference_between_ledger_and_bill_is_shown(ledger: Ledger) -> None:
    first, second, others = checked(
        ledger, cloud(Billed("1", Money(400_000)), Billed("8", Money(5)), Billed("9", Money(6)))
    )
    assert (first.ours, first.theirs, first.difference) == (Money(360_000), Money(400_000), Money(40_000))
    assert (second.theirs, second.difference) == (None, None)
    assert "not yet" in second.trouble
    assert (others.ours, others.theirs, others.difference) == (None, Money(11), None)


def test_what_a_platform_does_not_tell_is_not_guessed(ledger: Ledger) -> None:
    assert {each.trouble for each in checked(ledger, cloud(bills=False))} == {billing.UNTOLD}
    away = cloud(Billed("1", Money(1)))
    away.failures.append(UnreachableError("no answer"))
    told = checked(ledger, away)
    assert {(each.theirs, each.trouble) for each in told} == {(None, f"{billing.UNTOLD}: no answer")}


def test_the_command_shows_both_books(
    sandbox: RunningMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith(("VAST_", "RUNPOD_", "GPUPLUG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GPUPLUG_HOME", str(tmp_path))
    monkeypatch.setenv("VAST_URL", sandbox.vast_url)
    monkeypatch.setenv("VAST_API_KEY", sandbox.vast_api_key)
    now = SystemClock().now().timestamp()
    book = Ledger(tmp_path, SystemClock())
    rates = (Rate(now - 60, Money(360_000)),)
    book.intend(
        a_lease("gp-1", instance_id="1", created=now - 60, rates=rates, state=State.GONE, ended=now, simulated=True)
    )
    book.close()
    assert main(["spend", "--check"]) == 0
    assert "not in the platform's bill" in capsys.readouterr().out
    assert main(["spend", "--check", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["ledger_usd"], row["platform_usd"], row["simulated"]) == ("0.006000", None, True)
