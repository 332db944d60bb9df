"""One cell on a pod: the whole way through the engine, with images that have an SSH server and images that have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cell_kit import Notebook, notebook
from runpod_kit import runpod_client
from runpod_rows_kit import access, greets
from sandbox_kit import RunningMarket, market, wait_until

from gpuplug import config
from gpuplug.errors import AuthError, NoOfferError, UnknownNameError, UsageError
from gpuplug.ledger import State
from gpuplug.providers import pausable
from gpuplug.providers.runpod import RunpodProvider
from gpuplug.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BARE = "--image ubuntu:24.04"
OFFICIAL = "--image runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
RENT = f"-p runpod -g RTX_4090 --max-price 0.80 {OFFICIAL}"


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


@pytest.mark.parametrize("image", [OFFICIAL, BARE])
def test_a_cell_runs_on_a_pod_with_no_set_up_and_its_end_is_proven(
    nb: Notebook, place: RunningMarket, image: str
) -> None:
    (nb.root / "train.csv").write_text("1\n2\n3\n")
    source = "print(sum(int(line) for line in open('train.csv')))\nopen('out.txt', 'w').write('x')\n7 * 6"
    nb.run(source, f"-p runpod -g RTX_4090 --max-price 0.80 {image}")
    assert nb.talk.text == "6\n"
    assert nb.shown == "42"
    assert (nb.root / "out.txt").read_text() == "x"
    assert place.meter()["billing_now"] == 1
    assert "runpod" in nb.talk.costs[0]
    (live,) = nb.engine.sessions()
    assert live.session.request("ping").header["switch"] == "armed"
    assert not any("dead man" in note for note in nb.talk.notes)
    said = nb.down()
    assert "gone (verified)" in said[-1]
    assert place.meter()["billing_now"] == 0
    assert [lease.state for lease in nb.engine.ledger.leases()] == [State.GONE]


def test_what_is_taken_leads_to_the_next_offer(nb: Notebook, place: RunningMarket) -> None:
    place.fault("capacity")
    nb.run("print('here')", RENT)
    assert nb.talk.text == "here\n"
    assert len(place.requests("pod_create")) == 2
    assert sum(lease.state is State.FAILED for lease in nb.engine.ledger.leases()) == 1


def test_a_lost_reply_of_the_create_is_found_by_its_label_and_not_repeated(nb: Notebook, place: RunningMarket) -> None:
    place.fault("drop_after", point="pod_create")
    nb.run("print('found')", RENT)
    assert nb.talk.text == "found\n"
    assert len(place.requests("pod_create")) == 1


def test_a_host_whose_key_cannot_be_replaced_is_proven_by_the_log(nb: Notebook, place: RunningMarket) -> None:
    place.fault("fixed_host_key")
    nb.run("print('proven')", RENT)
    assert nb.talk.text == "proven\n"
    assert [lease.note for lease in nb.engine.ledger.open_leases()] == ["host key from the container log"]


def test_a_host_that_fails_is_ended_and_the_next_one_taken(nb: Notebook, place: RunningMarket) -> None:
    place.fault("host_failure")
    nb.run("print('second')", RENT)
    assert nb.talk.text == "second\n"
    assert place.meter()["billing_now"] == 1


def test_a_cell_finds_its_results_on_the_volume_of_a_pod_that_rested(nb: Notebook, place: RunningMarket) -> None:
    nb.run("x = 1\nopen('kept.txt', 'w').write('kept')", f"{RENT} --volume 20")
    (lease,) = nb.engine.ledger.open_leases()
    nb.run(
        "import time\n"
        "from pathlib import Path\n"
        "while not list(Path('/workspace/.gpuplug').glob('gp-*/host_key')): time.sleep(0.05)"
    )
    nb.engine.close()
    provider = pausable(RunpodProvider(access(place.runpod_api_base_url, FakeClock(), place.runpod_api_key)))
    before = provider.show(lease.instance_id)
    assert before is not None
    provider.stop(lease.instance_id)
    wait_until(lambda: not greets(before.endpoints[0]), 30)
    assert place.meter()["billing_now"] == 1  # the volume
    provider.start(lease.instance_id)
    provider.close()
    nb.engine = type(nb.engine)(nb.engine.notebook, nb.root)
    nb.run("print(open('kept.txt').read())", RENT)
    assert nb.talk.text == "kept\n"
    assert len(place.requests("pod_create")) == 1


def test_a_bad_key_names_the_place_it_was_read_from_and_never_the_key(place: RunningMarket, tmp_path: Path) -> None:
    env = {**place.env, "RUNPOD_API_KEY": "not-the-right-key"}
    with notebook(tmp_path, environ=env) as bad:
        with pytest.raises(AuthError, match="RUNPOD_API_KEY") as caught:
            bad.run("pass", RENT)
        assert "not-the-right-key" not in str(caught.value)
        assert bad.engine.ledger.open_leases() == []


def test_a_volume_is_refused_where_there_are_none_and_a_network_volume_must_exist(
    nb: Notebook, place: RunningMarket
) -> None:
    with pytest.raises(UsageError, match="vast has no volumes"):
        nb.run("pass", "-p vast --volume 20")
    with pytest.raises(UnknownNameError, match="no network volume 'nothere'"):
        nb.run("pass", f"{RENT} --network-volume nothere")
    assert place.requests("create") == place.requests("pod_create") == []


def test_platforms_are_compared_by_true_price(nb: Notebook) -> None:
    offers = nb.engine.prices(config.parse("-p vast,runpod -g RTX_4090", "prices")).offers
    assert {offer.provider for offer in offers} == {"vast", "runpod"}
    assert list(offers) == sorted(offers, key=lambda offer: offer.price)


def test_no_offer_says_so_and_rents_nothing(nb: Notebook, place: RunningMarket) -> None:
    with pytest.raises(NoOfferError, match="RTX_4090"):
        nb.run("pass", "-p runpod -g RTX_4090:16")
    assert place.requests("pod_create") == []


def test_a_spot_pod_bills_what_its_reason_said_with_the_disk(nb: Notebook, place: RunningMarket) -> None:
    nb.run("pass", f"-p runpod -g RTX_4090 --max-price 0.80 --disk 100 --spot {OFFICIAL}")
    (lease,) = nb.engine.billing()
    (made,) = [one for one in place.meter()["instances"] if one["billing"]]
    assert f"at {lease.price}/h (spot, bid {lease.bid}/h, 1.2 x the least)" in nb.talk.notes[0]
    assert made["rate_micros"] == pytest.approx(lease.price.micros, abs=2)
    assert lease.price > lease.bid
    assert lease.rate == lease.price


@pytest.mark.parametrize("region", ["EU", "US"])
def test_a_pod_is_made_in_the_region_that_was_asked_for(nb: Notebook, place: RunningMarket, region: str) -> None:
    nb.run("pass", f"-p runpod -g RTX_4090 --cloud secure --region {region} --max-price 2")
    (lease,) = nb.engine.billing()
    with runpod_client(place) as api:
        assert api.get(f"/v2/pods/{lease.instance_id}").json()["dataCenterId"].startswith(region)


def test_a_region_without_a_data_center_rents_nothing(nb: Notebook, place: RunningMarket) -> None:
    with pytest.raises(NoOfferError, match="region"):
        nb.run("pass", "-p runpod -g RTX_4090 --region Atlantis --max-price 2")
    assert not place.requests("create")
