"""One cell on a rented machine: the make-believe market with its real SSH machines, and everything that goes wrong there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cell_kit import Notebook, notebook
from engine_kit import Quiet
from sandbox_kit import RunningMarket, market, wait_until

from gpuplug import config
from gpuplug.engine import Engine
from gpuplug.engine.renting import Wish
from gpuplug.errors import (
    AuthError,
    ConsentError,
    GpuplugError,
    HostError,
    NoOfferError,
    PreemptedError,
    RemoteError,
    TooDearError,
    UnknownNameError,
    UnreachableError,
)
from gpuplug.frontends import verbs
from gpuplug.ledger import State
from gpuplug.types import Money

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpuplug.providers import Provider
    from gpuplug.types import Offer

RENT = "-p vast -g RTX_4090 --max-price 0.60"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with market(seed=7) as made:
        yield made


@pytest.fixture
def place(running: RunningMarket) -> Iterator[RunningMarket]:
    running.reset()
    yield running
    assert running.meter()["billing_now"] == 0


@pytest.fixture
def nb(place: RunningMarket, tmp_path: Path) -> Iterator[Notebook]:
    with notebook(tmp_path, environ=place.env) as made:
        yield made


def test_a_cell_runs_on_a_rented_machine_and_its_end_is_proven(nb: Notebook, place: RunningMarket) -> None:
    (nb.root / "train.csv").write_text("1\n2\n3\n")
    nb.run("print(sum(int(line) for line in open('train.csv')))\nopen('out.txt', 'w').write('x')\n7 * 6", RENT)
    assert nb.talk.text == "6\n"
    assert nb.shown == "42"
    assert (nb.root / "out.txt").read_text() == "x"
    assert place.meter()["billing_now"] == 1
    assert "simulated" in nb.talk.costs[0]
    said = nb.down()
    assert "gone (verified)" in said[-1]
    assert place.meter()["billing_now"] == 0
    assert [lease.state for lease in nb.engine.ledger.leases()] == [State.GONE]


def test_the_second_cell_takes_the_warm_machine_and_asks_the_provider_nothing(
    nb: Notebook, place: RunningMarket
) -> None:
    nb.run("x = 1", RENT)
    before = len(place.requests())
    nb.run("print(x)", RENT)
    assert nb.talk.text == "1\n"
    assert len(place.requests()) == before
    assert len(place.requests("create")) == 1


def test_down_after_the_cell_leaves_nothing_behind(nb: Notebook, place: RunningMarket) -> None:
    nb.run("print('once')", RENT + " --down")
    assert nb.talk.text == "once\n"
    assert place.meter()["billing_now"] == 0


def test_the_switch_of_a_rented_machine_is_armed_before_the_first_cell(nb: Notebook) -> None:
    nb.run("pass", RENT)
    (live,) = nb.engine.sessions()
    assert live.session.request("ping").header["switch"] == "armed"
    assert not any("dead man" in note for note in nb.talk.notes)


def test_the_rented_gpu_is_seen_by_the_cell(nb: Notebook) -> None:
    nb.run(
        "import subprocess; print(subprocess.run(['nvidia-smi', '-L'], capture_output=True, text=True).stdout)", RENT
    )
    assert "4090" in nb.talk.text


def test_a_taken_offer_leads_to_the_next_one(nb: Notebook, place: RunningMarket) -> None:
    place.fault("taken")
    nb.run("print('here')", RENT)
    assert nb.talk.text == "here\n"
    assert len(place.requests("create")) == 2
    assert sum(lease.state is State.FAILED for lease in nb.engine.ledger.leases()) == 1


def test_a_lost_reply_of_the_create_is_found_by_its_label_and_not_repeated(nb: Notebook, place: RunningMarket) -> None:
    place.fault("drop_after", point="create")
    nb.run("print('found')", RENT)
    assert nb.talk.text == "found\n"
    assert len(place.requests("create")) == 1


def test_the_cap_names_the_cheapest_offer_and_rents_nothing(nb: Notebook, place: RunningMarket) -> None:
    with pytest.raises(TooDearError, match=r"the cheapest is \$0\.\d+/h") as caught:
        nb.run("pass", "-p vast -g RTX_4090 --max-price 0.01")
    assert "--max-price 0." in caught.value.hint
    assert place.requests("create") == []


def test_an_unknown_gpu_names_the_nearest_and_rents_nothing(nb: Notebook, place: RunningMarket) -> None:
    with pytest.raises(UnknownNameError, match="4090"):
        nb.run("pass", "-p vast -g RTX_4091")
    assert place.requests("create") == []


def test_no_offer_says_so_and_rents_nothing(nb: Notebook, place: RunningMarket) -> None:
    with pytest.raises(NoOfferError, match="RTX_4090"):
        nb.run("pass", "-p vast -g RTX_4090:16")
    assert place.requests("create") == []


def test_a_floor_that_nobody_meets_names_the_best_and_what_to_type_which_then_works(
    nb: Notebook, place: RunningMarket
) -> None:
    with pytest.raises(
        NoOfferError, match=r"no RTX_4090 with >= 99999 Mbit/s on vast; the best has \d+ Mbit/s"
    ) as caught:
        nb.run("pass", "-p vast -g RTX_4090 --min-net 99999")
    assert place.requests("create") == []
    assert nb.engine.prices(config.parse(f"-p vast RTX_4090 {caught.value.hint}", "prices")).offers


def test_a_machine_is_picked_among_those_that_meet_the_floors_and_the_reason_is_told(
    nb: Notebook, place: RunningMarket
) -> None:
    nb.run("pass", "-p vast -g 24GB --cloud secure --min-net 1000 --cuda 12.6 --max-price 0.6 -v")
    (made,) = [one for one in place.meter()["instances"] if one["billing"]]
    offered = {offer.machine: offer for offer in nb.engine.prices(config.parse("-p vast 24GB", "prices")).offers}
    assert str(made["machine_id"]) not in offered  # taken, so no longer offered
    line, _, table = nb.talk.notes[0].partition("\n")
    assert "that fit with reliability >= 0.95, >= 1000 Mbit/s, CUDA >= 12.6, secure cloud" in line
    assert all(row.split()[-2:] == ["secure", "simulated"] for row in table.splitlines()[1:])


def test_a_spot_machine_is_rented_a_margin_above_the_least_bid_and_costs_what_was_said(
    nb: Notebook, place: RunningMarket
) -> None:
    shown = nb.engine.prices(config.parse("-p vast RTX_4090 --spot", "prices")).offers[0]
    nb.run("print('spot')", RENT + " --spot")
    assert nb.talk.text == "spot\n"
    (lease,) = nb.engine.billing()
    assert lease.bid.micros == pytest.approx(shown.min_bid.micros * 1.2, abs=1)
    (made,) = [one for one in place.meter()["instances"] if one["billing"]]
    assert made["rate_micros"] == pytest.approx(lease.price.micros, abs=2)
    assert str(made["machine_id"]) == shown.machine


def test_a_bid_never_passes_the_cap(nb: Notebook) -> None:
    shown = nb.engine.prices(config.parse("-p vast RTX_4090 --spot", "prices")).offers[0]
    cap = Money(shown.price.micros + 1000)
    nb.run("pass", f"-p vast -g RTX_4090 --spot --max-price {cap.exact()}")
    (lease,) = nb.engine.billing()
    assert shown.price < lease.price <= cap


def test_a_spot_machine_that_somebody_outbids_is_told_as_preempted_and_ends(nb: Notebook, place: RunningMarket) -> None:
    nb.run("pass", RENT + " --spot")
    (lease,) = nb.engine.billing()
    talk = Outbid(place, int(lease.instance_id))
    with pytest.raises(PreemptedError, match="went to somebody who bids more"):
        nb.run("import time\nprint('running', flush=True)\ntime.sleep(600)", talk=talk)
    assert talk.text == "running\n"
    assert place.meter()["billing_now"] == 0
    assert [row.state for row in nb.engine.ledger.leases()] == [State.GONE]


class Outbid(Quiet):
    """Has the machine outbid as soon as the cell has printed something."""

    def __init__(self, place: RunningMarket, instance: int) -> None:
        super().__init__()
        self._place, self._instance = place, instance

    def stream(self, name: str, text: str) -> None:
        super().stream(name, text)
        self._place.action("outbid", instance=self._instance)


def test_a_bad_key_names_the_place_it_was_read_from_and_never_the_key(place: RunningMarket, tmp_path: Path) -> None:
    env = {**place.env, "VAST_API_KEY": "not-the-right-key"}
    with notebook(tmp_path, environ=env) as bad:
        options = config.parse(RENT, config.CELL)
        with pytest.raises(AuthError, match="VAST_API_KEY") as caught:
            bad.engine.rows()
        assert "not-the-right-key" not in str(caught.value)
        with pytest.raises(GpuplugError) as caught_too:
            bad.engine.up(options, Quiet())
        assert "not-the-right-key" not in str(caught_too.value)
        assert bad.engine.ledger.open_leases() == []


def test_a_sandbox_that_does_not_run_is_said_plainly(tmp_path: Path) -> None:
    with (
        notebook(tmp_path, environ={"VAST_URL": "http://127.0.0.1:9", "VAST_API_KEY": "k"}) as alone,
        pytest.raises(UnreachableError, match=r"127\.0\.0\.1"),
    ):
        alone.run("pass", RENT)


def test_a_machine_that_never_gets_ready_is_destroyed_and_the_next_one_taken(
    place: RunningMarket, tmp_path: Path
) -> None:
    place.fault("stuck_loading")
    with notebook(tmp_path, ready_s=6, environ=place.env) as nb:
        nb.run("print('second')", RENT)
        assert nb.talk.text == "second\n"
        assert any("was not ready after 6 s" in note for note in nb.talk.notes)
        assert any("it cost " in note for note in nb.talk.notes)
        assert place.meter()["billing_now"] == 1


def test_a_machine_with_another_gpu_is_destroyed_and_the_next_one_taken(nb: Notebook, place: RunningMarket) -> None:
    place.fault("wrong_gpu")
    nb.run("print('right one')", RENT)
    assert nb.talk.text == "right one\n"
    assert any("was rented" in note for note in nb.talk.notes)
    assert place.meter()["billing_now"] == 1


def test_a_host_whose_key_cannot_be_replaced_is_proven_by_the_log(nb: Notebook, place: RunningMarket) -> None:
    place.fault("fixed_host_key")
    nb.run("print('proven')", RENT)
    assert nb.talk.text == "proven\n"
    assert len(place.requests("create")) == 1
    assert [lease.note for lease in nb.engine.ledger.open_leases()] == ["host key from the container log"]


def test_a_cut_in_the_middle_of_a_cell_loses_and_doubles_nothing(nb: Notebook, place: RunningMarket) -> None:
    nb.run("pass", RENT)
    instance = nb.engine.billing() or nb.engine.ledger.open_leases()
    place.action("ssh_cut", instance=int(instance[0].instance_id), after_bytes=40_000)
    nb.run("for i in range(20000): print(i, flush=True)")
    assert nb.talk.text == "".join(f"{i}\n" for i in range(20000))


@pytest.mark.parametrize("phase", ["offer", "rent", "boot", "ssh", "agent", "ship"])
def test_an_interrupt_in_any_phase_leaves_nothing_that_bills_unseen(
    place: RunningMarket, tmp_path: Path, phase: str
) -> None:
    class Impatient(Quiet):
        def phase(self, name: str, detail: str = "") -> None:
            super().phase(name, detail)
            if name == phase:
                raise KeyboardInterrupt

    with notebook(tmp_path, environ=place.env) as nb:
        (nb.root / "a.txt").write_text("a")
        with pytest.raises(KeyboardInterrupt):
            nb.run("open('a.txt')", RENT, talk=Impatient())
        usable = 1 if phase == "ship" else 0
        assert place.meter()["billing_now"] == usable
        assert len(nb.engine.ledger.open_leases()) == usable


def test_a_cell_stops_at_its_budget_and_the_machine_goes(nb: Notebook, place: RunningMarket) -> None:
    with pytest.raises(GpuplugError, match="budget"):
        nb.run("import time\nprint('start', flush=True)\ntime.sleep(120)", RENT + " --budget 0.0003")
    assert place.meter()["billing_now"] == 0


def test_what_is_listed_agrees_with_the_meter_and_strangers_are_shown_and_left_alone(
    nb: Notebook, place: RunningMarket
) -> None:
    nb.run("pass", RENT)
    (row,) = nb.engine.rows()
    assert row.lease is not None
    assert row.instance is not None
    assert [str(instance["id"]) for instance in place.meter()["instances"] if instance["billing"]] == [row.instance.id]


def test_what_another_computer_rented_is_shown_and_left_alone_until_it_is_adopted(
    place: RunningMarket, tmp_path: Path
) -> None:
    with notebook(tmp_path, environ=place.env) as mine:
        mine.run("pass", RENT)
        (row,) = mine.engine.rows()
        assert row.instance is not None
        named = f"'#{row.instance.id}'"
        stranger = Engine("other", tmp_path, home=tmp_path / "stranger")
        (seen,) = stranger.rows()
        assert seen.lease is None
        assert stranger.down(config.parse("--all", "down"), lambda _: None) == []
        told = verbs.down(stranger, config.parse("--all", "down"), lambda _: None)
        assert told.startswith("0 instances of this computer billing\n")
        assert f"#{row.instance.id} of another computer: running at $0." in told
        with pytest.raises(UnknownNameError, match="adopt"):
            stranger.down(config.parse(named, "down"), lambda _: None)
        assert place.meter()["billing_now"] == 1
        (adopted,) = stranger.adopt(config.parse(named, "adopt"))
        assert adopted.billing
        with pytest.raises(HostError, match="lie on the computer that rented it"):
            stranger.extend(3600, config.parse(named, "extend"), Quiet())
        (ended,) = stranger.down(config.parse(named, "down"), lambda _: None)
        assert ended.state is State.GONE
        stranger.close()
        assert place.meter()["billing_now"] == 0


def test_a_new_process_finds_the_notebooks_warm_machine_with_its_state(nb: Notebook, place: RunningMarket) -> None:
    nb.run("kept = 5", RENT)
    nb.engine.close()
    nb.engine = Engine(nb.engine.notebook, nb.root)
    nb.run("print(kept)")
    assert nb.talk.text == "5\n"
    assert len(place.requests("create")) == 1


def test_a_lower_cap_typed_for_one_cell_refuses_the_dearer_warm_machine(nb: Notebook, place: RunningMarket) -> None:
    nb.run("pass", RENT)
    with pytest.raises(TooDearError, match="the instance of this notebook, #") as caught:
        nb.run("pass", "--max-price 0.01")
    assert "--new" in caught.value.hint
    assert len(place.requests("create")) == 1


def test_a_warm_machine_that_cannot_be_reached_says_what_it_bills_and_goes_when_it_should(
    place: RunningMarket, tmp_path: Path
) -> None:
    with notebook(tmp_path, environ=place.env) as nb:
        nb.run("pass", RENT)
        (lease,) = nb.engine.billing()
        for line, left in (("", 1), ("--down", 0)):
            nb.engine.close()
            nb.engine = Engine(nb.engine.notebook, nb.root, ready_s=2)
            place.action("ssh_refuse", instance=int(lease.instance_id), seconds=60)
            with pytest.raises(HostError, match="was not ready") as caught:
                nb.run("pass", line)
            assert ("still bills $0." in caught.value.billing) is bool(left)
            assert caught.value.hint == "%gpu down"
            assert place.meter()["billing_now"] == left


def test_what_comes_up_long_after_it_was_given_up_is_ended_by_the_next_down(nb: Notebook, place: RunningMarket) -> None:
    place.fault("list_lag", seconds=6)
    place.fault("drop_after", point="create")
    with pytest.raises(GpuplugError, match="not known"):
        nb.run("pass", RENT)
    assert "never appeared" in nb.down()[-1]
    assert place.meter()["billing_now"] == 1
    wait_until(lambda: nb.engine.rows() != [])
    said = nb.down()
    assert "gone (verified)" in said[-1]
    assert place.meter()["billing_now"] == 0


def test_a_dearer_offer_after_one_that_failed_needs_consent_of_its_own(place: RunningMarket, tmp_path: Path) -> None:
    with notebook(tmp_path, environ=place.env) as nb:
        asked: list[str] = []

        options = config.parse(RENT, config.CELL)

        def refuse(offer: Offer, _provider: Provider) -> config.Terms:
            asked.append(offer.id)
            if len(asked) == 2:
                raise ConsentError("no")
            return options.terms

        place.fault("taken")
        offers = nb.engine._quoting.offers(options).offers  # noqa: SLF001 - the list as the engine makes it
        with pytest.raises(ConsentError):
            nb.engine._acquiring.acquire(offers, Wish("nb", "", options), refuse, Quiet())  # noqa: SLF001 - likewise
        assert len(place.requests("create")) == 1


def test_an_error_of_the_cell_leaves_the_machine_warm(nb: Notebook, place: RunningMarket) -> None:
    with pytest.raises(RemoteError, match="ValueError"):
        nb.run("raise ValueError('no')", RENT)
    assert place.meter()["billing_now"] == 1
