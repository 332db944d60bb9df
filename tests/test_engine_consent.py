"""Who may spend: somebody agreed in this process, or a standing budget outside the notebook allows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from engine_kit import OFFER, Cloud, Quiet

from gpuplug import config
from gpuplug.engine import Engine
from gpuplug.engine.budgets import Budgets
from gpuplug.engine.consent import Consent, Cost, worst_case
from gpuplug.errors import BudgetError, ConsentError
from gpuplug.ledger import Lease, Ledger, Rate, State
from gpuplug.testing import FakeClock
from gpuplug.types import Money, OfferList, Query, Traits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAID = Traits()
COST = Cost.of_offer(OFFER)
BOOK = "training"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.delenv("GPUPLUG_BUDGET", raising=False)
    made = Ledger(tmp_path, clock)
    yield made
    made.close()


def options(line: str = "") -> config.Options:
    return config.parse(line, config.CELL, {})


def asker(ledger: Ledger, clock: FakeClock) -> Consent:
    return Consent(Budgets(ledger, clock, ledger.path.parent, ledger.path.parent))


def spend(ledger: Ledger, clock: FakeClock, price: Money) -> None:
    """Let an hour of a lease at `price` pass and end it."""
    began = clock.now().timestamp()
    clock.advance(3600)
    lease = Lease(
        label="gp-" + "0" * 32,
        provider="cloud",
        notebook=BOOK,
        name="",
        state=State.INTENT,
        gpu=OFFER.gpu,
        gpu_count=1,
        machine="m1",
        price=price,
        stopped_price=Money(0),
        host_key="",
        nonce="",
        lease_s=900,
        hard_s=14_400,
        created=began,
        rates=(Rate(began, price),),
    )
    ledger.intend(lease)
    ledger.move(lease.label, State.BOUND, instance_id="1")
    ledger.move(lease.label, State.READY)
    ledger.move(lease.label, State.GONE, ended=began + 3600)


def test_the_first_rent_of_a_notebook_asks_and_names_what_can_be_lost(ledger: Ledger, clock: FakeClock) -> None:
    talk = Quiet(answer=True)
    asker(ledger, clock).check(BOOK, COST, options("--budget 3"), talk, free=PAID)
    (question,) = talk.questions
    assert question.startswith(
        "rent RTX 4090 on cloud at $0.36/h (another for at most $0.50/h should it fail)? at worst "
    )
    assert "nobody in touch for 15 min" in question
    assert "$1.44 for a running cell" in question
    assert "$1.44 in all (4 h)" in question


def test_the_worst_case_follows_the_terms() -> None:
    text = worst_case(OFFER.price, options("--for 1h,10h"))
    assert "nobody in touch for 60 min" in text
    assert "$3.60 in all (10 h)" in text


def test_a_notebook_that_agreed_is_not_asked_again_and_another_one_is(ledger: Ledger, clock: FakeClock) -> None:
    consent, talk = asker(ledger, clock), Quiet(answer=True)
    for notebook in (BOOK, BOOK, "other", "other"):
        consent.check(notebook, COST, options(), talk, free=PAID)
    assert len(talk.questions) == 2


def test_who_agreed_to_a_price_is_asked_again_above_the_cap_that_was_named(ledger: Ledger, clock: FakeClock) -> None:
    consent, talk = asker(ledger, clock), Quiet(answer=True)
    consent.check(BOOK, COST, options("--max-price 0.40"), talk, free=PAID)
    consent.check(BOOK, replace(COST, price=Money(400_000)), options(), talk, free=PAID)
    assert len(talk.questions) == 1
    consent.check(BOOK, replace(COST, price=Money(410_000)), options(), talk, free=PAID)
    assert len(talk.questions) == 2


def test_a_new_process_asks_again(ledger: Ledger, clock: FakeClock) -> None:
    talk = Quiet(answer=True)
    for _ in range(2):
        asker(ledger, clock).check(BOOK, COST, options(), talk, free=PAID)
    assert len(talk.questions) == 2


def test_a_refusal_is_an_error_and_is_not_remembered_as_an_agreement(ledger: Ledger, clock: FakeClock) -> None:
    consent, talk = asker(ledger, clock), Quiet(answer=False)
    for _ in range(2):
        with pytest.raises(ConsentError, match="nothing was rented") as caught:
            consent.check(BOOK, COST, options(), talk, free=PAID)
        assert "%%remote_gpu -n" in caught.value.hint
    assert len(talk.questions) == 2


@pytest.mark.parametrize("line", ["", "-y"])
def test_where_nobody_can_be_asked_a_standing_budget_is_needed(ledger: Ledger, clock: FakeClock, line: str) -> None:
    with pytest.raises(ConsentError, match=r"RTX 4090 at \$0\.36/h needs somebody to agree") as caught:
        asker(ledger, clock).check(BOOK, COST, options(line), Quiet(), free=PAID)
    assert "GPUPLUG_BUDGET" in caught.value.hint


@pytest.mark.parametrize("line", ["", "-y"])
def test_a_standing_budget_speaks_where_nobody_can_be_asked(
    ledger: Ledger, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setenv("GPUPLUG_BUDGET", "5/day")
    asker(ledger, clock).check(BOOK, COST, options(line), Quiet(), free=PAID)


def test_yes_without_a_standing_budget_asks_all_the_same(ledger: Ledger, clock: FakeClock) -> None:
    talk = Quiet(answer=False)
    with pytest.raises(ConsentError):
        asker(ledger, clock).check(BOOK, COST, options("-y"), talk, free=PAID)
    assert len(talk.questions) == 1


def test_yes_with_a_standing_budget_asks_nothing_and_without_yes_a_person_is_asked(
    ledger: Ledger, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUPLUG_BUDGET", "5")
    talk = Quiet(answer=True)
    asker(ledger, clock).check(BOOK, COST, options("-y"), talk, free=PAID)
    assert talk.questions == []
    asker(ledger, clock).check(BOOK, COST, options(), talk, free=PAID)
    assert len(talk.questions) == 1


def test_a_spent_standing_budget_refuses_even_a_notebook_that_agreed(
    ledger: Ledger, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    consent, talk = asker(ledger, clock), Quiet(answer=True)
    consent.check(BOOK, COST, options(), talk, free=PAID)
    spend(ledger, clock, Money.dollars("2"))
    monkeypatch.setenv("GPUPLUG_BUDGET", "3/day")
    consent.check(BOOK, COST, options("-y"), talk, free=PAID)
    monkeypatch.setenv("GPUPLUG_BUDGET", "2/day")
    with pytest.raises(BudgetError, match=r"\$2\.00 of the standing budget of \$2\.00 a day is spent"):
        consent.check(BOOK, COST, options("-y"), talk, free=PAID)


def test_the_next_day_has_its_own_standing_budget(
    ledger: Ledger, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend(ledger, clock, Money.dollars("2"))
    monkeypatch.setenv("GPUPLUG_BUDGET", "2/day")
    clock.advance(2 * 86_400)
    asker(ledger, clock).check(BOOK, COST, options("-y"), Quiet(), free=PAID)


@pytest.mark.parametrize("traits", [Traits(free=True), Traits(simulated=True)])
def test_what_costs_nothing_never_asks(ledger: Ledger, clock: FakeClock, traits: Traits) -> None:
    talk = Quiet(answer=False)
    asker(ledger, clock).check(BOOK, COST, options(), talk, free=traits)
    asker(ledger, clock).check(BOOK, COST, options(), Quiet(), free=traits)
    assert talk.questions == []


@dataclass
class PaidCloud(Cloud):
    """A cloud that costs money and may be chosen with `-p vast`."""

    name: str = "vast"

    def offers(self, _query: Query) -> OfferList:
        return OfferList((replace(OFFER, provider=self.name),))


@pytest.mark.parametrize("talk", [Quiet(answer=False), Quiet()])
def test_without_an_agreement_nothing_is_launched(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, talk: Quiet
) -> None:
    monkeypatch.delenv("GPUPLUG_BUDGET", raising=False)
    monkeypatch.setenv("GPUPLUG_HOME", str(tmp_path))
    monkeypatch.setenv("VAST_API_KEY", "made-up")
    cloud = PaidCloud(clock)
    engine = Engine(BOOK, tmp_path, clock)
    engine.use(cloud)
    try:
        with pytest.raises(ConsentError):
            engine.up(options("-p vast"), talk)
        assert cloud.made == []
        assert engine.ledger.leases() == []
    finally:
        engine.close()
