"""Rest, restart, extension, adoption and fail-over of real machines on the make-believe market."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from cell_kit import Notebook, notebook
from engine_kit import Quiet
from sandbox_kit import RunningMarket, market

from gpuplug import config
from gpuplug.engine import Engine
from gpuplug.errors import EndedError, HostError, NoOfferError, PreemptedError, TooDearError, UsageError
from gpuplug.ledger import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RENT = "-p vast -g RTX_4090 --max-price 0.60"
HOUR = 3600


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


def stop(engine: Engine, words: str = "") -> None:
    engine.stop(config.parse(words, "stop"), lambda _: None)


def rate(place: RunningMarket) -> int:
    return int(sum(instance["rate_micros"] for instance in place.meter()["instances"]))


def test_a_stopped_machine_bills_its_disk_alone_and_the_ledger_says_the_same(
    nb: Notebook, place: RunningMarket
) -> None:
    nb.run("pass", RENT)
    (lease,) = nb.engine.billing()
    assert rate(place) == pytest.approx(lease.price.micros, abs=2)
    stop(nb.engine)
    (resting,) = nb.engine.billing()
    assert resting.state is State.STOPPED
    assert 0 < resting.rate.micros == pytest.approx(rate(place), abs=2)
    assert resting.rate < lease.price


def test_a_machine_that_was_never_reached_is_not_taken_above_the_cap_though_the_ledger_knows_its_price(
    nb: Notebook, place: RunningMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    nb.run("pass", RENT)
    (lease,) = nb.engine.billing()
    nb.engine.close()
    nb.engine = Engine(nb.engine.notebook, nb.root)
    nb.engine.ledger.move(lease.label, State.BOUND)  # as a crash while it boots leaves it
    monkeypatch.setenv("GPUPLUG_MAX_PRICE", "0.01")
    with pytest.raises(TooDearError, match="above"):
        nb.run("pass")
    assert len(place.requests("create")) == 1


def test_the_next_cell_starts_what_rests_and_finds_its_files_again(nb: Notebook, place: RunningMarket) -> None:
    nb.run("open('kept.txt', 'w').write('still here')", RENT)
    stop(nb.engine)
    nb.run("print(open('kept.txt').read())", "--no-files")
    assert nb.talk.text == "still here\n"
    assert len(place.requests("create")) == 1
    (lease,) = nb.engine.billing()
    assert lease.state is State.READY
    assert lease.rate == lease.price


def test_start_reaches_a_resting_machine_and_stopping_twice_changes_nothing(nb: Notebook) -> None:
    nb.run("pass", RENT)
    stop(nb.engine)
    stop(nb.engine)
    (live,) = nb.engine.start(config.parse("", "start"), Quiet())
    assert live.session.alive
    assert nb.engine.start(config.parse("", "start"), Quiet()) == [live], "it runs already"


def test_a_start_whose_gpu_is_taken_says_so_and_leaves_no_queued_wish(nb: Notebook, place: RunningMarket) -> None:
    nb.run("pass", RENT)
    stop(nb.engine)
    place.fault("queued", seconds=1)
    with pytest.raises(NoOfferError, match="is taken") as caught:
        nb.engine.start(config.parse("", "start"), Quiet())
    assert "its disk still bills" in caught.value.billing
    (instance,) = [one for one in place.meter()["instances"] if one["billing"]]
    assert instance["intended"] == "stopped"


def test_a_stopped_machine_is_destroyed_like_any_other(nb: Notebook, place: RunningMarket) -> None:
    nb.run("pass", RENT)
    stop(nb.engine)
    assert "gone (verified)" in nb.down()[-1]
    assert place.meter()["billing_now"] == 0


def test_extend_puts_off_the_hard_end_on_the_machine_itself(nb: Notebook) -> None:
    nb.run("pass", RENT + " --for 10m,1h")
    (lease,) = nb.engine.billing()
    nb.engine.extend(2 * HOUR, config.parse("", "extend"), Quiet())
    (extended,) = nb.engine.billing()
    assert extended.hard_s == lease.hard_s + 2 * HOUR
    nb.run("import os; hard = open(os.path.expanduser('~/.gpuplug/switch/hard')).read()", "-o hard")
    (live,) = nb.engine.sessions()
    left = float(str(nb.names["hard"])) - float(live.session.request("ping").header["uptime"])
    assert 2.9 * HOUR < left <= 3 * HOUR


def test_a_free_platform_has_nothing_that_could_rest(tmp_path: Path) -> None:
    with notebook(tmp_path) as nb:
        nb.run("pass", "-p local")
        with pytest.raises(UsageError, match="cannot rest"):
            stop(nb.engine)


def test_three_offers_that_fail_in_three_ways_lead_to_the_fourth_and_each_cost_is_told(
    nb: Notebook, place: RunningMarket
) -> None:
    place.fault("taken")
    place.fault("wrong_gpu")
    place.fault("host_failure", nth=2)
    nb.run("print('fourth')", RENT)
    assert nb.talk.text == "fourth\n"
    assert len(place.requests("create")) == 4
    told = [note for note in nb.talk.notes if "/h: " in note and "the cheapest" not in note]
    reasons = ("was taken", "was rented", "has failed")
    assert all(reason in note for reason, note in zip(reasons, told, strict=True))
    assert ["it cost " in note for note in told] == [False, True, True]
    assert place.meter()["billing_now"] == 1


def test_three_failures_on_one_platform_lead_to_the_other_and_each_is_told(nb: Notebook, place: RunningMarket) -> None:
    place.fault("taken", point="create")
    place.fault("wrong_gpu", point="create")
    place.fault("insufficient_credit", point="create", nth=3)
    nb.run("print('elsewhere')", "-p vast,runpod -g RTX_4090 --max-price 1")
    assert nb.talk.text == "elsewhere\n"
    told = [note for note in nb.talk.notes if "/h: " in note and "the cheapest" not in note]
    reasons = ("was taken", "was rented", "no credit left")
    assert all(reason in note for reason, note in zip(reasons, told, strict=True))
    (lease,) = nb.engine.billing()
    assert lease.provider == "runpod"
    assert place.meter()["billing_now"] == 1


def test_a_preempted_spot_pod_is_told_as_such_and_ends(nb: Notebook, place: RunningMarket) -> None:
    nb.run("pass", "-p runpod -g RTX_4090 --spot --max-price 1")
    (lease,) = nb.engine.billing()
    assert lease.bid.micros

    class Preempting(Quiet):
        def stream(self, name: str, text: str) -> None:
            super().stream(name, text)
            place.action("preempt", instance=lease.instance_id)

    with pytest.raises(PreemptedError, match="went to somebody who bids more"):
        nb.run("import time\nprint('running', flush=True)\ntime.sleep(600)", talk=Preempting())
    assert place.meter()["billing_now"] == 0


def test_a_cell_whose_machine_is_ended_from_elsewhere_says_so_and_not_that_it_bills_on(
    nb: Notebook, place: RunningMarket
) -> None:
    nb.run("pass", RENT)
    (lease,) = nb.engine.billing()
    with contextlib.closing(Engine("the panel", nb.engine.root)) as elsewhere:

        class Ending(Quiet):
            def stream(self, name: str, text: str) -> None:
                super().stream(name, text)
                elsewhere.end(lease.label, lambda _: None)

        with pytest.raises(HostError, match="was ended meanwhile") as caught:
            nb.run("import time\nprint('running', flush=True)\ntime.sleep(600)", talk=Ending())
    assert "still bills" not in str(caught.value)
    assert place.meter()["billing_now"] == 0


def test_a_cell_whose_machine_vanishes_is_told_that_its_end_is_not_proven(nb: Notebook, place: RunningMarket) -> None:
    nb.run("pass", RENT)
    (lease,) = nb.engine.billing()

    class Vanishing(Quiet):
        def stream(self, name: str, text: str) -> None:
            super().stream(name, text)
            nb.engine.provider("vast").terminate(lease.instance_id)

    with pytest.raises(HostError, match=r"does not exist any more") as caught:
        nb.run("import time\nprint('running', flush=True)\ntime.sleep(600)", talk=Vanishing())
    assert caught.value.billing == "it counts as billing until its end is proven"
    assert place.meter()["billing_now"] == 0


def test_a_machine_that_is_ended_from_elsewhere_while_it_boots_is_not_replaced_by_another(
    nb: Notebook, place: RunningMarket
) -> None:
    class EndedInThePanel(Quiet):
        def phase(self, name: str, detail: str = "") -> None:
            super().phase(name, detail)
            for lease in nb.engine.billing():
                panel = Engine("panel", nb.root)
                panel.end(lease.label, lambda _: None)
                panel.close()

    with pytest.raises(EndedError, match="was ended by request before it was ready; no other was rented") as caught:
        nb.run("pass", RENT, talk=EndedInThePanel())
    assert caught.value.billing.startswith("it cost ")
    assert place.meter()["billing_now"] == 0
    assert len(nb.engine.ledger.leases()) == 1
    assert nb.engine.ledger.shunned(0) == {}, "the machine is not to blame"


def test_a_machine_that_was_no_good_is_avoided_the_next_time(nb: Notebook, place: RunningMarket) -> None:
    place.fault("wrong_gpu")
    nb.run("pass", RENT)
    bad = {machine for _, machine in nb.engine.ledger.shunned(0)}
    assert len(bad) == 1
    nb.down()
    nb.run("pass", RENT)
    machines = [lease.machine for lease in nb.engine.ledger.leases()]
    assert [machine in bad for machine in machines] == [True, False, False]
    assert any("left out" in note for note in nb.talk.notes)


def test_an_account_without_credit_is_said_once_and_not_asked_again(nb: Notebook, place: RunningMarket) -> None:
    place.fault("insufficient_credit")
    with pytest.raises(NoOfferError, match="no credit"):
        nb.run("pass", RENT)
    assert len(place.requests("create")) == 1


@pytest.mark.parametrize("name", ["24GB", "4090", "A100_80GB", "H100"])
def test_a_wish_finds_machines_on_both_platforms(nb: Notebook, name: str) -> None:
    found = nb.engine.prices(config.parse(f"{name} -p vast,runpod --max-price 9", "prices"))
    assert {offer.provider for offer in found.offers} == {"vast", "runpod"}
    assert found.troubles == ()


@pytest.mark.parametrize("gpu", ["L4", "H100_SXM"])
def test_a_pod_that_meets_the_floor_is_kept_whatever_the_best_host_could_do(nb: Notebook, gpu: str) -> None:
    nb.run("print('kept')", f"-p runpod -g {gpu} --max-price 9 --down")
    assert nb.talk.text == "kept\n"
    assert len(nb.engine.ledger.leases()) == 1


def test_what_is_adopted_counts_like_its_market_and_from_here_can_only_be_ended(
    nb: Notebook, place: RunningMarket, tmp_path: Path
) -> None:
    nb.run("pass", RENT)
    (lease,) = nb.engine.billing()
    other = Engine("other", tmp_path, home=tmp_path / "other")
    named = f"{lease.instance_id} '#{lease.instance_id}'"
    (adopted,) = other.adopt(config.parse(named, "adopt"))
    assert adopted.simulated
    assert other.spent_since(0).micros == 0
    with pytest.raises(UsageError, match="from here it cannot rest") as caught:
        stop(other, lease.instance_id)
    assert caught.value.hint == f"%gpu down {lease.instance_id}"
    assert place.meter()["billing_now"] == 1
    (ended,) = other.down(config.parse(lease.instance_id, "down"), lambda _: None)
    assert ended.state is State.GONE
    other.close()


def test_a_pod_that_cannot_rest_is_refused_before_anything_is_said_and_keeps_its_session(nb: Notebook) -> None:
    nb.run("kept = 5", "-p runpod -g RTX_4090 --max-price 0.80")
    said: list[str] = []
    with pytest.raises(UsageError, match="has no volume"):
        nb.engine.stop(config.parse("", "stop"), said.append)
    assert said == []
    assert len(nb.engine.sessions()) == 1
