"""The state of the panel, made of what is known: what is shown, what is not known, what counts as a change."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from engine_kit import Cloud
from sandbox_kit import wait_until

from gpuplug.engine import Engine
from gpuplug.engine.reconciling import Finding, Found
from gpuplug.engine.settling import RESTS_ITSELF
from gpuplug.errors import AuthError, UnreachableError
from gpuplug.frontends.panel import alerts, fields, offers, state
from gpuplug.frontends.panel.known import Failure, Known, Listing
from gpuplug.frontends.panel.looking import LOOK_S, Lookers
from gpuplug.frontends.panel.pricing import Pricing
from gpuplug.ledger import CellRow, Lease, Rate, State
from gpuplug.market import Board
from gpuplug.testing import FakeClock
from gpuplug.types import Instance, InstanceState, Money, Offer, Query, Traits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NOW = 1_795_000_000.0  # in November 2026
HOUR = 3600.0
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202egpj\x00\n" + "x" * 5000
TRAITS = Traits(stop=True, list_lag_s=60.0, console_url="https://console.example")


def lease(**changes: Any) -> Lease:  # noqa: ANN401 - fields of a lease
    made = Lease(
        label="gp-1",
        provider="vast",
        notebook="train-1",
        name="",
        state=State.READY,
        gpu="RTX 4090",
        gpu_count=1,
        machine="m1",
        price=Money.dollars("0.36"),
        stopped_price=Money.dollars("0.0036"),
        host_key="ssh-ed25519 AAAA",
        nonce="n",
        lease_s=900,
        hard_s=14400,
        created=NOW - HOUR,
        instance_id="1234",
        rotated=True,
        rates=(Rate(NOW - HOUR, Money.dollars("0.36")),),
    )
    return replace(made, **changes)


def instance(**changes: Any) -> Instance:  # noqa: ANN401 - fields of an instance
    made = Instance("vast", "1234", "gp-1", InstanceState.RUNNING, Money.dollars("0.36"), "RTX 4090", 1)
    return replace(made, **changes)


def known(*leases: Lease, listed: tuple[Instance, ...] | None = None, **more: Any) -> Known:  # noqa: ANN401 - fields of Known
    listings: Mapping[str, Listing] = {}
    if listed is not None:
        listings = {"vast": Listing(NOW - 1, {each.label: each for each in listed})}
    return Known(NOW, leases, traits={"vast": TRAITS}, keys={"vast": "VAST_API_KEY"}, listings=listings, **more)


def pod(what: Known) -> dict[str, Any]:
    (row,) = state.parts(what)["pods"]["items"]
    found: dict[str, Any] = row
    return found


def kinds(what: Known) -> list[str]:
    return [alert["kind"] for alert in state.parts(what)["alerts"]["items"]]


@pytest.mark.parametrize(
    ("of_lease", "listed", "shown"),
    [
        (State.INTENT, (), "asked"),
        (State.UNKNOWN, (), "asked"),
        (State.BOUND, None, "booting"),
        (State.BOUND, (instance(state=InstanceState.BOOTING),), "booting"),
        (State.BOUND, (instance(),), "running"),
        (State.READY, (instance(),), "running"),
        (State.READY, None, "running"),
        (State.READY, (), "unlisted"),
        (State.READY, (instance(state=InstanceState.STOPPED),), "stopped"),
        (State.READY, (instance(state=InstanceState.FAILED),), "failed"),
        (State.READY, (instance(state=InstanceState.UNKNOWN),), "unknown"),
        (State.DESTROYING, (instance(),), "destroying"),
        (State.DESTROYING, (), "destroying"),
        (State.GONE, (), "gone"),
        (State.FAILED, (), "failed"),
    ],
)
def test_a_pod_is_in_the_state_that_is_proven_and_in_no_better_one(
    of_lease: State, listed: tuple[Instance, ...] | None, shown: str
) -> None:
    row = pod(known(lease(state=of_lease), listed=listed))
    assert row["state"] == shown
    assert row["billing"] is (of_lease not in {State.GONE, State.FAILED})


def test_what_no_platform_has_confirmed_says_that_only_the_ledger_knows() -> None:
    row = pod(known(lease()))
    assert row["checked"] is None
    assert row["state_text"] == "running, as far as the ledger knows"


def test_an_instance_too_young_to_be_listed_is_not_taken_as_missing() -> None:
    assert pod(known(lease(state=State.BOUND, created=NOW - 5), listed=()))["state"] == "booting"


def test_a_list_that_nobody_needs_any_more_makes_no_other_one_old() -> None:
    gone = lease(label="gp-2", provider="local", state=State.GONE, ended=NOW - 200)
    what = known(lease(), gone, listed=(instance(),))
    what = replace(what, listings={**what.listings, "local": Listing(NOW - 200)})
    assert state.parts(what)["pods"]["at"] == fields.moment(NOW - 1)


def test_nothing_is_said_to_be_empty_before_every_platform_was_read() -> None:
    unread, read = state.parts(known())["pods"], state.parts(known(listed=()))["pods"]
    assert (unread["at"], unread["items"]) == (None, None)
    assert read["items"] == []


def test_what_is_not_known_is_null_and_not_nothing() -> None:
    row = pod(known(listed=(instance(),)))
    assert (row["state"], row["mine"]) == ("stranger", False)
    assert (row["cost_usd"], row["notebook"], row["lease_ends"], row["created"]) == (None, None, None, None)
    assert [name for name, may in row["may"].items() if may] == ["adopt"]


def test_hostile_texts_of_hosts_and_providers_come_out_as_short_plain_lines() -> None:
    hostile = (instance(gpu=HOSTILE, status=HOSTILE, id=HOSTILE, state=InstanceState.BOOTING),)
    bad = lease(gpu=HOSTILE, notebook=HOSTILE, name=HOSTILE, note=HOSTILE, instance_id=HOSTILE)
    offer = Offer(
        "vast", HOSTILE, "m", HOSTILE, 1, Money.dollars("0.3"), region=HOSTILE, cuda=HOSTILE, suspicious=HOSTILE
    )
    shown = [
        state.parts(known(bad, listed=hostile)),
        state.parts(known(listed=hostile)),
        offers.prices(Board((offer,)), Query(), (), NOW),
    ]
    for text in texts(shown):
        assert len(text) <= fields.LONG_TEXT_LIMIT
        assert not {"\x1b", "\u202e", "\x00", "\n"} & set(text)


def texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts(each)]
    if isinstance(value, list | tuple):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


def test_time_alone_is_no_change_and_a_state_a_rate_or_an_error_is() -> None:
    def prints(what: Known) -> dict[str, str]:
        return {name: state.fingerprint(part) for name, part in state.parts(what).items()}

    before = known(lease(contact=NOW - 60), listed=(instance(),))
    later = replace(
        before, now=NOW + 20, leases=(lease(contact=NOW),), listings={"vast": Listing(NOW + 19, {"gp-1": instance()})}
    )
    assert prints(before) == prints(later)
    stopped = replace(later, listings={"vast": Listing(NOW, {"gp-1": instance(state=InstanceState.STOPPED)})})
    assert {name for name in state.PARTS if prints(later)[name] != prints(stopped)[name]} == {"pods", "alerts"}
    dearer = replace(later, leases=(lease(rates=(Rate(NOW, Money.dollars("0.40")),)),))
    assert {name for name in state.PARTS if prints(later)[name] != prints(dearer)[name]} == {"pods", "spend"}


def test_spend_counts_exactly_by_day_gpu_and_notebook_and_make_believe_money_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GPUPLUG_BUDGET", "5/day")
    old = lease(
        label="gp-2", gpu="H100", notebook="other-2", state=State.GONE, created=NOW - 50 * HOUR, ended=NOW - 48 * HOUR
    )
    old = replace(old, rates=(Rate(NOW - 50 * HOUR, Money.dollars(2)),))
    figures = state.parts(known(lease(), old, lease(label="gp-3", simulated=True)))["spend"]["figures"]
    real = figures["real"]
    assert (real["usd_per_hour"], real["budget_day_usd"], real["pods"]) == ("0.360000", "5.000000", 1)
    assert real["today_usd"] == "0.360000"
    assert real["by_gpu"] == [{"gpu": "H100", "usd": "4.000000"}, {"gpu": "RTX 4090", "usd": "0.360000"}]
    assert real["by_notebook"] == [
        {"notebook": "other-2", "usd": "4.000000"},
        {"notebook": "train-1", "usd": "0.360000"},
    ]
    assert len(real["by_day"]) == 30
    assert sum(float(day["usd"]) for day in real["by_day"]) == pytest.approx(4.36)
    assert figures["simulated"]["today_usd"] == "0.360000"


def test_each_trouble_is_an_alert_that_says_what_settles_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUPLUG_BUDGET", "0.40")
    assert kinds(known(lease(), listed=(instance(),))) == ["budget"]
    monkeypatch.delenv("GPUPLUG_BUDGET")
    assert kinds(known(lease(), listed=(instance(),))) == []
    assert kinds(known(lease(), listed=())) == ["unlisted"]
    assert kinds(known(listed=(instance(),))) == ["orphan"]
    assert kinds(known(lease(state=State.STOPPED), listed=(instance(state=InstanceState.STOPPED),))) == ["stopped"]
    outbid = known(lease(bid=Money.dollars("0.3")), listed=(instance(state=InstanceState.STOPPED),))
    assert kinds(outbid) == ["preempted"]


def test_what_rests_with_results_says_so_until_when_and_warns_when_little_of_the_budget_is_left() -> None:
    rests = lease(state=State.STOPPED, note=RESTS_ITSELF)
    listed = (instance(state=InstanceState.STOPPED),)
    for why, severity in (
        ("results wait on it", "warning"),
        ("80 % of the budget of these results is spent: results wait on it", "error"),
    ):
        found = {rests.label: Finding(Found.ASKED, "vast", why, rests)}
        (alert,) = alerts.alerts(replace(known(rests, listed=listed), findings=found))
        assert alert["text"].endswith(f"#1234: {why}")
        assert (alert["kind"], alert["severity"]) == ("stopped", severity)


def test_results_that_are_lost_are_told() -> None:
    (alert,) = alerts.alerts(replace(known(), losses={"gp-1": "RESULTS LOST: #7"}))
    assert (alert["kind"], alert["severity"], alert["text"]) == ("lost", "error", "RESULTS LOST: #7")
    ending = known(lease(state=State.DESTROYING), listed=(instance(),), since={"gp-1": ("destroying", NOW - 200)})
    assert kinds(ending) == ["destroy_failed"]
    (alert,) = state.parts(ending)["alerts"]["items"]
    assert "take it as billing $0.36/h" in alert["text"]
    assert (alert["pod"], alert["actions"], alert["console_url"]) == ("gp-1", ["destroy"], "https://console.example")
    failing = Listing(NOW - 90, {"gp-1": instance()}, Failure(UnreachableError("no answer"), NOW - 80))
    assert kinds(replace(known(lease()), listings={"vast": failing})) == ["platform"]


def test_a_refused_key_is_an_alert_that_says_what_bills_and_what_still_ends_it() -> None:
    refused = Failure(AuthError("vast does not accept the key", hint="export VAST_API_KEY=..."), NOW - 80)
    resting = lease(label="gp-2", instance_id="77", state=State.STOPPED, rates=(Rate(NOW, Money.dollars("0.01")),))
    what = replace(known(lease(), resting), listings={"vast": Listing(NOW - 90, {"gp-1": instance()}, refused)})
    (alert,) = [each for each in state.parts(what)["alerts"]["items"] if each["kind"] == "platform"]
    assert alert["text"].startswith(
        "vast refuses the key: vast does not accept the key. #1234 bills $0.36/h, its own switch ends it"
    )
    assert "15 min after the last contact or cell" in alert["text"]
    assert "; #77 bills $0.01/h, and cannot be ended from here" in alert["text"]
    assert alert["settles"] == "export VAST_API_KEY=..."


def test_money_is_text_and_times_are_utc_everywhere() -> None:
    parts = state.parts(known(lease(contact=NOW), listed=(instance(),)))
    assert json.dumps(parts, allow_nan=False)
    row = parts["pods"]["items"][0]
    assert row["created"] == "2026-11-18T10:06:40.000Z"
    assert row["lease_ends"] == "2026-11-18T11:21:40.000Z"
    assert row["cost_usd"] == "0.360000"


@pytest.mark.parametrize("ended", [State.GONE, State.FAILED, State.STOPPED])
def test_nothing_is_said_to_run_on_a_pod_that_has_ended_or_rests(ended: State) -> None:
    cell = CellRow("c2", "gp-1", "train-1", NOW - 60, 0.0, Money(0), "running")
    rests = instance(state=InstanceState.STOPPED)
    assert pod(known(lease(busy=1), listed=(instance(),), cells=(cell,)))["runs"] == "c2"
    what = known(
        lease(busy=1, state=ended, ended=NOW), listed=(rests,) if ended is State.STOPPED else (), cells=(cell,)
    )
    assert pod(what)["runs"] is None


def test_a_lease_is_not_said_to_end_a_pod_on_which_a_cell_runs() -> None:
    assert pod(known(lease(contact=NOW, busy=1), listed=(instance(),)))["lease_ends"] is None


def test_nobody_looks_any_more_half_a_minute_after_the_last_word() -> None:
    clock = FakeClock()
    lookers = Lookers(clock)
    lookers.look("a", frozenset({"pods"}), ())
    lookers.look("b", frozenset({"prices"}), ("H100",))
    assert (lookers.parts(), lookers.gpus()) == (frozenset({"pods", "prices"}), ("H100",))
    lookers.look("b", frozenset(), ())
    assert (lookers.parts(), lookers.gpus()) == (frozenset({"pods"}), ())
    clock.advance(LOOK_S)
    assert lookers.parts() == frozenset()


def test_a_thousand_names_of_lookers_are_not_kept() -> None:
    lookers = Lookers(FakeClock())
    for number in range(1000):
        lookers.look(str(number), frozenset({"pods"}), ())
    assert len(lookers._looks) <= 65  # noqa: SLF001 - there is no other way to see what is kept


def test_a_body_that_is_written_row_by_row_reads_as_it_is() -> None:
    body = {
        "at": None,
        "items": [{"id": 'a"b', "spot": False}, {"id": "ü"}],
        "series": {"s": {"samples": [["t", "0.1"]]}},
    }
    assert json.loads(fields.encoded(body)) == body
    assert json.loads(fields.encoded({})) == {}


def test_prices_that_are_read_again_and_are_the_same_keep_their_rows_and_are_no_older_than_they_are(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    told: list[float] = []
    engine = Engine("notebook", tmp_path, home=tmp_path, clock=clock)
    engine.use(Cloud(clock, name="vast", traits=Traits()))
    engine.use(Cloud(clock, name="runpod", traits=Traits()))
    pricing = Pricing(engine, clock, told.append, lambda: None)
    try:
        pricing.ask_when_due((), 1.0)
        wait_until(lambda: told)
        first = pricing.prices()
        clock.advance(5.0)
        pricing.ask_when_due((), 1.0)
        wait_until(lambda: pricing.prices()["at"] != first["at"])
        second = pricing.prices()
    finally:
        pricing.close()
        engine.close()
    assert second["items"] is first["items"]
    assert first["items"]
    assert second["revision"] == first["revision"], "nobody is told of the same prices again"
