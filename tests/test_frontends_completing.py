"""Tab on the line of a magic, as a page asks a real kernel for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from frontends_kit import Kernel, kernel

from gpuplug import config
from gpuplug.gpus import meant

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDER = (
    "%unload_ext gpuplug",
    "from gpuplug.frontends.magics import tab\ntab._MATCHERS = (99, 0)\nget_ipython().Completer.use_jedi = False",
    "%load_ext gpuplug",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with kernel(tmp_path_factory.mktemp("k")) as made:
        made.run("%%remote_gpu --name ft\npass")
        yield made


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel that completes by the way of the IPython of hosted notebooks."""
    with kernel(tmp_path_factory.mktemp("k")) as made:
        for cell in OLDER:
            made.run(cell)
        yield made


@pytest.fixture(params=["page", "older"])
def either(request: pytest.FixtureRequest) -> Kernel:
    found: Kernel = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("%%remote_gpu --ma", ["%%remote_gpu --max-price"]),
        ("%%gpu --max-p", ["%%gpu --max-price"]),
        ("%%remote_gpu -g RTX_309", ["%%remote_gpu -g RTX_3090", "%%remote_gpu -g RTX_3090_Ti"]),
        ("%%remote_gpu --gpu=rtx_509", ["%%remote_gpu --gpu=RTX_5090"]),
        ("%%remote_gpu -g A100,titan_x", ["%%remote_gpu -g A100,Titan_Xp"]),
        ("%%remote_gpu --budget 1 -p vast,ru", ["%%remote_gpu --budget 1 -p vast,runpod"]),
        ("%%remote_gpu --unfetched ", [f"%%remote_gpu --unfetched {word}" for word in ("stop", "wait", "destroy")]),
        ("%gpu up --cloud s", ["%gpu up --cloud secure"]),
        ("%gpu prices --cuda=", ["%gpu prices --cuda=image", "%gpu prices --cuda=any"]),
        ("%gpu spend --by pla", ["%gpu spend --by platform"]),
        ("%gpu do", ["%gpu down", "%gpu doctor"]),
        ("%gpu prices RTX_509", ["%gpu prices RTX_5090"]),
        ("%gpu spend --s", ["%gpu spend --since"]),
        ("x = 1\n%gpu up --gp", ["x = 1\n%gpu up --gpu"]),
    ],
)
def test_tab_offers_what_the_magics_take_and_nothing_else(either: Kernel, typed: str, offered: list[str]) -> None:
    assert either.tab(typed) == offered


def test_every_option_and_every_verb_is_offered(either: Kernel) -> None:
    assert either.tab("%gpu ") == [f"%gpu {verb}" for verb in config.VERBS]
    flags = [flag for option in config.table(config.CELL) for flag in option.flags]
    assert either.tab("%%remote_gpu -") == [f"%%remote_gpu {flag}" for flag in flags]


def test_every_word_that_is_offered_as_a_value_is_taken() -> None:
    offered = [(option, word) for option in config.OPTIONS for word in option.choices]
    assert {option.dest for option, _ in offered} == {"unfetched", "cloud", "cuda", "by"}
    for option, word in offered:
        config.parse(f"{option.flags[-1]} {word}", option.verbs[0])


def test_an_option_that_stands_there_is_offered_again_only_where_it_can_be_repeated(page: Kernel) -> None:
    assert "%%remote_gpu --max-price 1 --max-price" not in page.tab("%%remote_gpu --max-price 1 --max-p")
    assert "%%remote_gpu --out a --out" in page.tab("%%remote_gpu --out a --ou")


def test_instances_are_offered_to_the_verbs_that_take_them(page: Kernel) -> None:
    assert page.tab("%gpu down ") == ["%gpu down ft"]
    assert page.tab("%gpu stop f") == ["%gpu stop ft"]
    assert page.tab("%gpu extend 1h f") == ["%gpu extend 1h ft"]
    assert page.tab("%gpu files --name f") == ["%gpu files --name ft"]
    assert "%gpu start ft" not in page.tab("%gpu start f"), "only what rests can be started"


def test_every_gpu_that_is_offered_means_one(page: Kernel) -> None:
    start = "%%remote_gpu -g "
    names = [each.removeprefix(start) for each in page.tab(start)]
    assert len(names) > 50
    assert [name for name in names if not meant(name)] == []


def test_lines_that_are_no_magic_of_ours_are_completed_as_ever(page: Kernel) -> None:
    assert page.tab("%%remote_gpu -p local\nprin") == ["%%remote_gpu -p local\nprint"]
    assert "gpu = max" in page.tab("gpu = ma")


def test_an_unloaded_extension_offers_nothing_any_more(tmp_path_factory: pytest.TempPathFactory) -> None:
    with kernel(tmp_path_factory.mktemp("k")) as made:
        made.run("%reload_ext gpuplug")
        assert made.tab("%gpu doc") == ["%gpu doctor"]
        made.run("%unload_ext gpuplug")
        assert "%gpu doctor" not in made.tab("%gpu doc")
        for cell in OLDER:
            made.run(cell)
        assert made.tab("%gpu doc") == ["%gpu doctor"]
        made.run("%unload_ext gpuplug")
        assert "%gpu doctor" not in made.tab("%gpu doc")
