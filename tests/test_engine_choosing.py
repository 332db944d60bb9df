"""Choosing: who meets the floors, who is first and why, and what to type when nobody is left."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from gpuplug import config
from gpuplug.engine import choosing
from gpuplug.errors import NoOfferError, TooDearError, UnknownNameError, UnreachableError
from gpuplug.market import Board
from gpuplug.types import Cloud, GpuWish, Money, Offer, Query

if TYPE_CHECKING:
    from collections.abc import Sequence

CAP = Money.dollars(1)
WISH = Query(gpus=(GpuWish("RTX_4090"),))
OFFER = Offer(
    "vast",
    "1",
    "m",
    "RTX 4090",
    1,
    Money(310_000),
    vram_mb=24564,
    reliability=0.97,
    down_mbps=150,
    cuda="12.2",
    region="Norway, NO",
    cloud=Cloud.COMMUNITY,
)


def offer(**changes: object) -> Offer:
    return dataclasses.replace(OFFER, **changes)  # type: ignore[arg-type]  # a field each


def nothing_left(query: Query, *excluded: Offer) -> NoOfferError:
    """Return what is said when the floors leave nothing of `excluded`."""
    asked: list[Query] = []

    def relaxed(wider: Query) -> Sequence[Offer]:
        asked.append(wider)
        return excluded

    with pytest.raises(NoOfferError) as caught:
        choosing.affordable(Board(()), query, CAP, "vast", relaxed)
    assert asked[0].gpus == query.gpus
    assert not any(asked[0].unmet(one) for one in excluded)
    return caught.value


def none(_: Query) -> Sequence[Offer]:
    return ()


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime", "12.4"),
        ("nvidia/cuda:12.8.1-base-ubuntu24.04", "12.8"),
        ("vastai/pytorch:2.6.0-cuda-12.6.3", "12.6"),
        ("runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404", "12.8"),
        ("my/image:cu118", "11.8"),
        ("ubuntu:24.04", ""),
        ("focus1234/thing:latest", ""),
    ],
)
def test_the_driver_must_do_the_cuda_that_the_name_of_the_image_tells(image: str, version: str) -> None:
    assert choosing.cuda_of_image(image) == version
    options = config.parse(f"--image {image}", config.CELL, {})
    assert choosing.query_of(options).cuda == version


@pytest.mark.parametrize(("typed", "version"), [("", "12.4"), ("--cuda 13.0", "13.0"), ("--cuda any", "")])
def test_the_usual_image_is_the_floor_of_cuda_unless_another_is_typed(typed: str, version: str) -> None:
    assert choosing.query_of(config.parse(typed, "prices", {})).cuda == version


def test_every_floor_of_the_line_reaches_the_question() -> None:
    line = (
        "-g A100,24GB:2 --disk 50 --spot --cloud secure --region DE --min-net 200 --min-reliability 0.98 "
        "--cuda 12.6 --hours 3 --data 1TB"
    )
    assert choosing.query_of(config.parse(line, config.CELL, {})) == Query(
        gpus=(GpuWish("A100"), GpuWish("24GB", 2)),
        disk_gb=50,
        min_reliability=0.98,
        cloud=Cloud.SECURE,
        spot=True,
        min_down_mbps=200,
        cuda="12.6",
        region=("DE",),
        hours=3,
        data_gb=1000,
    )


@pytest.mark.parametrize(
    ("floor", "excluded", "message", "hint"),
    [
        ({"min_down_mbps": 200}, offer(), ">= 200 Mbit/s on vast; the best has 150 Mbit/s", "--min-net 150"),
        (
            {"min_reliability": 0.99},
            offer(reliability=0.97349),
            "reliability >= 0.99 on vast; the best has 0.9734",
            "--min-reliability 0.9734",
        ),
        ({"cuda": "12.4"}, offer(), "CUDA >= 12.4 on vast; the best has CUDA 12.2", "--cuda 12.2"),
        ({"region": ("DE", "FR")}, offer(), "region DE or FR on vast; the best has region Norway, NO", "--region NO"),
        (
            {"cloud": Cloud.SECURE},
            offer(),
            "secure cloud on vast; the best has community cloud",
            "--cloud any",
        ),
        (
            {"cuda": "12.4", "min_down_mbps": 200},
            offer(),
            ">= 200 Mbit/s, CUDA >= 12.4 on vast; the nearest has 150 Mbit/s, CUDA 12.2",
            "--min-net 150 --cuda 12.2",
        ),
    ],
)
def test_a_floor_that_leaves_nothing_is_named_with_the_nearest_offer_and_what_to_type(
    floor: dict[str, object], excluded: Offer, message: str, hint: str
) -> None:
    query = dataclasses.replace(WISH, **floor)  # type: ignore[arg-type]  # a field each
    error = nothing_left(query, excluded)
    assert error.message == f"no RTX_4090 with {message} (RTX 4090 at $0.31/h)"
    assert error.hint == hint
    typed = config.parse(hint, config.CELL, {})
    softer = dataclasses.replace(choosing.query_of(typed), gpus=query.gpus, cuda=typed.cuda.removeprefix("image"))
    assert softer.unmet(excluded) == ()


def test_the_nearest_offer_misses_the_fewest_floors_by_the_least() -> None:
    query = dataclasses.replace(WISH, min_down_mbps=200, cuda="12.4")
    both = offer(id="both", down_mbps=199, price=Money(1))
    slow, faster = (offer(id=str(speed), down_mbps=speed, cuda="12.4") for speed in (90, 180))
    assert nothing_left(query, both, slow, faster).hint == "--min-net 180"


def test_a_suspicious_offer_or_another_gpu_is_never_the_nearest_one() -> None:
    query = dataclasses.replace(WISH, min_down_mbps=200)
    error = nothing_left(query, offer(suspicious="its price is no number"), offer(gpu="A10"))
    assert error.message == "no RTX_4090 on vast now"


def test_suspicious_offers_are_never_picked_and_counted() -> None:
    board = Board((offer(suspicious="its price is no number"), offer(suspicious="its price is outside")))
    with pytest.raises(NoOfferError, match="no RTX_4090 on vast now; 2 look wrong and are never picked"):
        choosing.affordable(board, WISH, CAP, "vast", none)
    honest = offer(id="2")
    assert choosing.affordable(Board((*board.offers, honest)), WISH, CAP, "vast", none) == [honest]


def test_a_market_that_could_not_be_asked_is_named_when_nothing_is_found() -> None:
    board = Board((), troubles=("runpod is not shown: no answer from api.runpod.io",))
    with pytest.raises(NoOfferError, match="runpod is not shown"):
        choosing.affordable(board, WISH, CAP, "vast, runpod", none)


def test_the_cap_is_the_price_per_hour_and_the_cheapest_is_named() -> None:
    board = Board((offer(id="1", price=Money(1_200_001)), offer(id="2", price=Money(1_500_000))))
    with pytest.raises(TooDearError, match=r"no RTX_4090 under \$1.00/h on vast; the cheapest is \$1.20/h") as caught:
        choosing.affordable(board, WISH, CAP, "vast", none)
    assert caught.value.hint == "--max-price 1.21"


def test_a_gpu_that_nobody_knows_names_the_nearest_of_the_catalogue() -> None:
    with pytest.raises(UnknownNameError, match="RTX 4090"):
        choosing.affordable(Board(()), Query(gpus=(GpuWish("RTX_4900"),)), CAP, "runpod", none)


def test_the_reason_names_offer_rivals_floors_and_what_was_stated() -> None:
    query = Query(gpus=(GpuWish("A100"), GpuWish("24GB")), cuda="12.2", hours=2, data_gb=20)
    offers = [offer(down_price_per_gb=Money(5000)), offer(id="2"), offer(id="3", gpu="A10", vram_mb=23028)]
    assert choosing.reason(offers, query) == (
        "RTX 4090 on vast at $0.31/h, $0.72 for 2 h and 20 GB: choice 2 of 2, the cheapest of 3 that fit with "
        "reliability >= 0.95, CUDA >= 12.2"
    )
    assert choosing.reason([offer()], dataclasses.replace(WISH, min_reliability=0)) == (
        "RTX 4090 on vast at $0.31/h: the cheapest of 1 that fit"
    )


def test_a_second_search_that_fails_adds_no_error_of_its_own() -> None:
    def failing(_: Query) -> Board:
        raise UnreachableError("no answer")

    assert choosing.search_again(failing)(WISH) == ()
    assert choosing.search_again(lambda _: Board((OFFER,)))(WISH) == (OFFER,)


def test_the_best_that_is_named_has_a_known_speed_where_any_has() -> None:
    error = nothing_left(
        Query(gpus=WISH.gpus, min_down_mbps=99_999, min_reliability=0.95),
        offer(down_mbps=0, price=Money(1)),
        offer(reliability=0.9, down_mbps=800),
        offer(reliability=0.9, down_mbps=700),
    )
    assert "the nearest has 0.9, 800 Mbit/s" in error.message
    assert error.hint == "--min-reliability 0.9 --min-net 800"


def test_where_no_speed_is_known_the_floor_is_to_be_left_out() -> None:
    error = nothing_left(Query(gpus=WISH.gpus, min_down_mbps=99_999), offer(down_mbps=0))
    assert "the best has no known speed" in error.message
    assert error.hint == "leave --min-net out"


def test_each_platform_that_was_asked_in_vain_is_told_with_the_reason() -> None:
    cheap, dear = offer(provider="vast"), offer(provider="runpod", price=Money(900_000))
    board = Board((cheap, dear), troubles=("lambda is not shown: no answer",), without=("local",))
    said = choosing.passed_over(board, [cheap], WISH, ["vast", "runpod", "lambda", "local"], Money(500_000))
    assert said == [
        "lambda is not shown: no answer",
        f"runpod was asked; its cheapest is $0.90/h ({dear.gpu}), above $0.50/h",
        "local was asked and has no RTX_4090 that fits",
    ]


def test_a_floor_of_which_the_platform_tells_nothing_is_no_part_of_the_reason() -> None:
    query = Query(min_reliability=0.95, cuda="12.4")
    assert choosing.reason([offer()], query).endswith("that fit with reliability >= 0.95, CUDA >= 12.4")
    assert choosing.reason([offer(reliability=0, cuda="")], query).endswith("the cheapest of 1 that fit")


def test_a_machine_of_ones_own_without_the_wished_gpu_is_not_asked_for_more_models() -> None:
    with pytest.raises(NoOfferError, match="ssh:lab has no RTX_4090") as caught:
        choosing.affordable(Board(()), WISH, CAP, "ssh:lab", none)
    assert caught.value.hint.startswith("leave --gpu out")
