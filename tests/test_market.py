"""The market: markets asked side by side and once, what is old said to be old, liars never first, and how prices went."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from providers_kit import WAIT_S, Answer, Api, Seen, access, serving
from vast_kit import BUNDLES, NAMES, offer_row, scripted

from gpuplug.errors import NotReadyError, UnknownNameError, UnreachableError
from gpuplug.ledger import Ledger, Sample
from gpuplug.market import Board, Market, Source, keeping, offers_table
from gpuplug.market.asking import ranked
from gpuplug.market.history import series
from gpuplug.providers.local import LocalProvider
from gpuplug.providers.vast import VastProvider
from gpuplug.testing import FakeClock
from gpuplug.types import Cloud, GpuWish, Money, Offer, OfferList, Query

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WISH = Query(gpus=(GpuWish("RTX_4090"),))
LOOKED_S = 30.0


@dataclasses.dataclass
class Place:
    """Two markets on loopback and one ledger."""

    one: Api
    two: Api
    sources: list[Source]
    ledger: Ledger
    clock: FakeClock
    market: Market

    def look(self, query: Query = WISH, max_age_s: float = LOOKED_S) -> Board:
        return self.market.offers(self.sources, query, max_age_s)

    def asked(self) -> tuple[int, int]:
        return len(self.one.calls("POST")), len(self.two.calls("POST"))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        one, vast, clock = stack.enter_context(scripted())
        two = stack.enter_context(serving())
        two.on(BUNDLES, Answer({"offers": [offer_row(id=2, dph_total=0.10)]}))
        two.on(NAMES, Answer({"success": True, "gpu_names": ["RTX 4090", "RTX 9090"]}))
        other = VastProvider(access(two.url, clock))
        stack.callback(other.close)
        ledger = Ledger(tmp_path, clock)
        stack.callback(ledger.close)
        sources = [Source(vast, "vast one"), Source(other, "vast two")]
        yield Place(one, two, sources, ledger, clock, Market(ledger, clock))


def test_offers_of_all_markets_are_one_list_by_true_price(place: Place) -> None:
    board = place.look()
    assert [offer.id for offer in board.offers] == ["2", "44173797"]
    assert (board.age_s, board.dropped, board.troubles) == (0, 0, ())


def test_the_stated_data_can_turn_the_order_round(place: Place) -> None:
    place.two.on(BUNDLES, Answer({"offers": [offer_row(id=2, dph_total=0.10, inet_down_cost=0.02)]}))
    query = dataclasses.replace(WISH, hours=1, data_gb=20)
    assert [offer.id for offer in place.look(query).offers] == ["44173797", "2"]


def test_markets_are_asked_at_the_same_time(place: Place) -> None:
    both = threading.Barrier(2, timeout=WAIT_S)

    def answer(_: Seen) -> Answer:
        both.wait()  # breaks, and with it the reply, when the other market is asked only afterwards
        return Answer({"offers": [offer_row()]})

    place.one.on(BUNDLES, answer)
    place.two.on(BUNDLES, answer)
    assert len(place.look().offers) == 2


def test_what_was_seen_a_moment_ago_is_not_asked_for_again_and_its_age_is_told(place: Place) -> None:
    place.look()
    place.clock.advance(20)
    board = place.look()
    assert place.asked() == (1, 1)
    assert board.age_s == pytest.approx(20)
    place.clock.advance(11)
    assert place.look().age_s == 0
    assert place.asked() == (2, 2)


def test_hours_and_data_are_no_new_question_but_a_floor_is(place: Place) -> None:
    place.look()
    place.look(dataclasses.replace(WISH, hours=5, data_gb=100))
    assert place.asked() == (1, 1)
    place.look(dataclasses.replace(WISH, min_down_mbps=100))
    assert place.asked() == (2, 2)


def test_who_rents_gets_only_what_was_asked_for_now(place: Place) -> None:
    place.look()
    place.clock.advance(1)
    assert place.look(max_age_s=0).age_s == 0
    assert place.asked() == (2, 2)
    place.clock.advance(1)
    place.one.on(BUNDLES, Answer(status=404))
    place.two.on(BUNDLES, Answer(status=404))
    with pytest.raises(Exception, match="refused with status 404"):
        place.look(max_age_s=0)


def test_what_was_shown_without_a_key_is_asked_for_again_with_one(place: Place) -> None:
    account = place.sources
    place.sources = [dataclasses.replace(source, keyed=False) for source in account]
    place.look()
    assert place.asked() == (1, 1)
    place.sources = account
    place.look()
    assert place.asked() == (2, 2)
    place.look()
    assert place.asked() == (2, 2)


def test_another_process_reads_what_the_first_has_seen(place: Place) -> None:
    place.look()
    other = Market(place.ledger, place.clock)
    assert len(other.offers(place.sources, WISH, LOOKED_S).offers) == 2
    assert place.asked() == (1, 1)


def test_who_comes_while_another_asks_waits_for_the_answer_and_asks_nothing(place: Place) -> None:
    arrived, go = threading.Event(), threading.Event()

    def slow(_: Seen) -> Answer:
        arrived.set()
        assert go.wait(WAIT_S)
        return Answer({"offers": [offer_row()]})

    place.one.on(BUNDLES, slow)
    boards: list[Board] = []
    source = place.sources[:1]
    first = threading.Thread(target=lambda: boards.append(place.market.offers(source, WISH, LOOKED_S)))
    first.start()
    assert arrived.wait(WAIT_S)

    class Letting(FakeClock):
        """Its sleeper has seen that the lease is taken."""

        def sleep(self, seconds: float) -> None:
            go.set()
            threading.Event().wait(0.01)
            place.clock.advance(seconds / 1000)

        def now(self):  # type: ignore[no-untyped-def]  # noqa: ANN202 - the clock of the other one
            return place.clock.now()

    second = Market(place.ledger, Letting()).offers(source, WISH, LOOKED_S)
    first.join(WAIT_S)
    assert second.offers == boards[0].offers
    assert place.asked() == (1, 0)


def test_a_market_that_fails_is_shown_from_before_with_its_age_and_why(place: Place) -> None:
    place.look()
    place.clock.advance(600)
    place.one.on(BUNDLES, Answer(hang_up=True))
    board = place.look()
    assert [offer.id for offer in board.offers] == ["2", "44173797"]
    assert board.age_s == pytest.approx(600, abs=5)
    (trouble,) = board.troubles
    assert trouble.startswith("vast is shown from before: no answer from")


def test_one_failing_market_does_not_hide_the_other_and_is_named(place: Place) -> None:
    place.one.on(BUNDLES, Answer(status=400))
    board = place.look()
    assert [offer.id for offer in board.offers] == ["2"]
    assert board.troubles == ("vast is not shown: vast refused with status 400: no reason given",)


def test_when_every_market_fails_the_error_is_raised_and_no_lease_stays(place: Place) -> None:
    place.one.on(BUNDLES, Answer(hang_up=True))
    place.two.on(BUNDLES, Answer(hang_up=True))
    with pytest.raises(UnreachableError):
        place.look()
    assert place.ledger.prices.take_turn("vast one", "x", place.clock.now().timestamp(), (0, 0.0), 1) == 0


def test_a_gpu_that_only_one_market_knows_is_found_there_and_the_other_is_said_to_have_none(place: Place) -> None:
    place.sources[0].provider.name = "one"
    place.two.on(BUNDLES, Answer({"offers": [offer_row(id=9, gpu_name="RTX 9090")]}))
    board = place.look(Query(gpus=(GpuWish("RTX_9090"),)))
    assert [offer.id for offer in board.offers] == ["9"]
    assert (board.troubles, board.without) == ((), ("one",))
    with pytest.raises(UnknownNameError, match="RTX 4090"):
        place.look(Query(gpus=(GpuWish("RTX_4900"),)))


def test_a_used_up_quota_is_respected_by_all_and_the_old_offers_are_shown(place: Place) -> None:
    source = place.sources[:1]
    place.market.offers(source, WISH, LOOKED_S)
    place.clock.advance(60)
    place.one.on(BUNDLES, Answer({"error": "search_quota_exceeded"}, 429, {"Retry-After": "50"}))
    board = place.market.offers(source, WISH, LOOKED_S)
    assert "search_quota_exceeded" in board.troubles[0]
    asked = place.asked()
    again = Market(place.ledger, place.clock).offers(source, WISH, LOOKED_S)
    assert again.troubles[0].startswith("vast is shown from before: vast may be asked again in")
    assert place.asked() == asked
    with pytest.raises(NotReadyError):
        place.market.offers(source, Query(gpus=(GpuWish("A100"),)), 0)


def test_an_unexpected_fault_of_an_adapter_is_raised_and_frees_the_lease(place: Place) -> None:
    class Broken(VastProvider):
        def offers(self, _query: Query) -> OfferList:
            raise ZeroDivisionError

    broken = Broken(access(place.one.url, place.clock))
    with pytest.raises(ZeroDivisionError):
        place.market.offers([Source(broken, "vast broken")], WISH)
    broken.close()
    assert place.ledger.prices.take_turn("vast broken", "x", place.clock.now().timestamp(), (0, 0.0), 1) == 0


def test_an_interrupt_while_a_market_is_asked_frees_the_lease(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(place.market, "_answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        place.look()
    assert place.ledger.prices.take_turn("vast one", "x", place.clock.now().timestamp(), (0, 0.0), 1) == 0


def test_this_computer_is_always_asked_and_makes_no_history(tmp_path: Path) -> None:
    clock = FakeClock()
    ledger = Ledger(tmp_path, clock)
    local = Source(LocalProvider(access("", clock, str(tmp_path))), "local")
    market = Market(ledger, clock)
    assert market.offers([local], Query(min_down_mbps=500), LOOKED_S).offers
    assert not ledger.exists
    ledger.close()


def test_offers_packed_by_another_version_are_asked_for_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.look()
    monkeypatch.setattr(keeping, "_FIELDS", ("other",))
    monkeypatch.setattr(keeping, "to_bytes", lambda _: b"x")
    Market(place.ledger, place.clock).offers(place.sources, WISH, LOOKED_S)
    assert place.asked() == (2, 2)


TEXT = st.text(max_size=20)
OFFERS = st.builds(
    Offer,
    provider=TEXT,
    id=TEXT,
    machine=TEXT,
    gpu=st.sampled_from(["RTX 4090", "A100 SXM4", "odd"]),
    gpu_count=st.integers(1, 8),
    price=st.integers(0, 10**12).map(Money),
    vram_mb=st.integers(0, 200_000),
    reliability=st.floats(0, 1),
    down_price_per_gb=st.integers(0, 10**9).map(Money),
    cloud=st.sampled_from([None, *Cloud]),
    region=TEXT,
    spot=st.booleans(),
    suspicious=st.sampled_from(["", "its price is no number"]),
)


@given(st.lists(OFFERS, max_size=12), st.floats(0.1, 100), st.floats(0, 10_000))
def test_offers_are_packed_exactly_and_a_suspicious_one_is_never_first_while_another_is_there(
    offers: list[Offer], hours: float, data: float
) -> None:
    assert keeping.from_bytes(keeping.to_bytes(OfferList(tuple(offers), 3))) == OfferList(tuple(offers), 3)
    query = Query(hours=hours, data_gb=data)
    order = ranked(offers, query)
    honest = [offer for offer in order if not offer.suspicious]
    assert order[: len(honest)] == honest
    totals = [query.total(offer) for offer in honest]
    assert totals == sorted(totals)
    assert len(offers_table(order, query).splitlines()) == len(offers) + 1


def test_the_disk_is_shown_at_what_it_bills_while_it_runs_also_where_it_is_free_at_rest() -> None:
    offer = Offer("runpod", "x/SECURE", "", "RTX 4090", 1, Money(692_740), disk_price=Money(2_740))
    head, row = offers_table([offer], WISH).splitlines()
    assert row[head.index("disk $/h") :].startswith("$0.0027 ")


def test_looking_at_prices_makes_a_history_of_the_models_that_were_asked_for(place: Place) -> None:
    place.one.on(
        BUNDLES, Answer({"offers": [offer_row(id=1, dph_total=0.4), offer_row(id=2, dph_total=0.2), offer_row(id=3)]})
    )
    for _ in range(3):
        place.look()
        place.clock.advance(3600)
    found = place.market.history(place.sources, (GpuWish("4090"),))
    assert [(each.title, len(each.samples)) for each in found] == [("RTX 4090 vast community", 3)] * 2
    assert found[0].samples[0].low == Money(131_259)
    assert found[0].samples[0].median == Money(200_000)
    assert place.market.history(place.sources, (GpuWish("A100"),)) == []


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        dataclasses.replace(WISH, min_down_mbps=100),
        dataclasses.replace(WISH, region=("CN",)),
        dataclasses.replace(WISH, disk_gb=500),
    ],
)
def test_prices_that_are_not_the_markets_are_no_history(place: Place, query: Query) -> None:
    assert place.look(query).offers
    assert place.market.history(place.sources, ()) == []


def test_a_sparkline_has_its_bars_where_the_samples_are_and_its_blanks_where_none_are() -> None:
    def at(hour: int, low: int) -> Sample:
        return Sample("RTX 4090", "", False, hour * 3600, Money(low), Money(low), 1, 3600)  # noqa: FBT003 - not spot

    (each,) = series("vast", [at(4, 30), at(0, 10), at(1, 80), at(3, 45)], ())
    assert each.sparkline() == "▁█ ▄▃"
    (flat,) = series("vast", [at(0, 5), at(1, 5)], ())
    assert flat.sparkline() == "▁▁"
    assert len(series("vast", [at(hour, hour) for hour in range(1000)], ())[0].sparkline(20)) == 20


def test_the_pace_of_a_market_is_kept_over_all_questions_and_a_look_shows_what_is_at_hand(place: Place) -> None:
    provider = place.sources[0].provider
    provider.traits = dataclasses.replace(provider.traits, searches=(2, 40.0))
    source = place.sources[:1]
    place.market.offers(source, WISH)
    began = place.clock.monotonic()
    place.market.offers(source, Query(gpus=(GpuWish("A100"), GpuWish("T4"))))
    assert place.clock.monotonic() - began > 39
    place.clock.advance(35)
    board = place.market.offers(source, WISH, LOOKED_S)
    assert board.age_s > 70
    assert "may be asked again in" in board.troubles[0]
    assert place.asked() == (3, 0)


def test_the_real_market_is_asked_without_a_key_and_within_its_documented_pace() -> None:
    vast = VastProvider(access("https://console.vast.ai"))
    assert vast.traits.keyless_prices
    assert vast.traits.searches == (10, 60.0)
    vast.close()
