"""Cells in a real kernel on a rented make-believe machine: waiting, cost, failure and what still bills."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from frontends_kit import Kernel, command, kernel, once
from sandbox_kit import RunningMarket, market

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RENT = "-p vast -g RTX_4090 --max-price 0.60"


@pytest.fixture(scope="module")
def place() -> Iterator[RunningMarket]:
    with market(seed=7, pull=1.0) as made:
        yield made
        assert made.meter()["billing_now"] == 0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("m")


@pytest.fixture(scope="module")
def page(place: RunningMarket, home: Path) -> Iterator[Kernel]:
    with kernel(home, **place.env) as made:
        yield made


def test_the_wait_is_one_line_and_the_cost_comes_last(page: Kernel) -> None:
    page.run("steps = 3")
    shown = page.run(f"%%remote_gpu {RENT}\nprint('x' * steps)\nsteps + 1")
    assert shown.out == "xxx\n"
    head, cost = shown.page
    phases = head.splitlines()[0].split(" - ")
    assert "boot" in [phase.split()[0] for phase in phases]
    assert all(phase.endswith("s") for phase in phases)
    assert not any(phase.startswith("run") for phase in phases)
    assert "sent steps (int" in head
    assert cost.startswith("RTX 4090 vast #")
    assert cost.endswith(" - simulated")
    seen = [message.text for message in shown.of("display_data", "update_display_data")]
    assert any("boot ..." in text and "run" not in text for text in seen)
    assert any("run ..." in text for text in seen)
    last = [message.kind for message in shown.messages if message.kind in {"execute_result", "display_data"}]
    assert last == ["display_data", "execute_result", "display_data"]


def test_on_a_warm_machine_the_dry_run_says_what_an_hour_and_the_cell_cost(page: Kernel) -> None:
    page.run(f"%%remote_gpu {RENT}\npass")
    shown = page.run(f"%%remote_gpu {RENT} -n\npass").out
    assert "would run on the warm instance of this notebook, RTX 4090 vast #" in shown
    assert "/h (simulated); the cell costs that price for as long as it runs, ten minutes of it $0." in shown


def test_a_market_where_no_rent_asks_is_not_said_to_ask(page: Kernel) -> None:
    shown = page.run("%gpu").out
    assert "asks" not in shown
    assert "simulated: nothing costs real money" in shown


def test_reloading_the_extension_says_once_what_bills(page: Kernel) -> None:
    page.run(f"%%remote_gpu {RENT}\npass")
    shown = page.run("%reload_ext gpuplug").out
    assert shown.count("1 instance billing") == 1
    assert shown.splitlines()[-1] == "gpuplug: vast, runpod; loaded again"
    assert "1 instance billing" in page.run("%unload_ext gpuplug").out
    assert "1 instance billing" in page.run("%load_ext gpuplug").out


def test_the_error_of_a_cell_is_followed_by_what_still_bills(page: Kernel) -> None:
    shown = page.run(f"%%remote_gpu {RENT}\n1 / 0")
    assert "ZeroDivisionError: division by zero" in shown.error
    assert shown.error.splitlines()[-1].startswith("#")
    assert "still bills $0." in shown.error.splitlines()[-1]


def test_two_notebooks_share_one_ledger_and_keep_apart(page: Kernel, place: RunningMarket, home: Path) -> None:
    page.run(f"%%remote_gpu {RENT}\nowner = 'first'")
    with kernel(home, "other", **place.env) as other:
        assert "1 instance billing" in other.run("%gpu").out
        shown = other.run(f"%%remote_gpu {RENT}\n'owner' in globals()")
        assert shown.result == "False"
        assert len(page.run("%gpu ls").out.splitlines()) == 3
        assert "gone (verified)" in other.run("%gpu down").out
    assert page.run("%%remote_gpu\nowner").result == "'first'"


def test_an_interrupt_while_the_machine_boots_ends_it_and_says_what_bills(page: Kernel, place: RunningMarket) -> None:
    before = place.meter()["billing_now"]
    shown = page.run(f"%%remote_gpu {RENT} --new\nprint('never')", watch=once(page, "boot ..."))
    assert shown.out == ""
    assert shown.error.startswith("KeyboardInterrupt: 1 instance billing")
    assert "File " not in shown.error
    assert any("gone (verified)" in text for text in shown.page)
    assert place.meter()["billing_now"] == before


def test_a_refusal_is_one_message_with_the_price_to_type(page: Kernel, place: RunningMarket) -> None:
    before = len(place.requests("create"))
    shown = page.run("%%remote_gpu --new -p vast -g RTX_4090 --max-price 0.01\npass")
    assert shown.error.startswith("TooDearError: no RTX_4090 under $0.01/h on vast; the cheapest is $0.")
    assert "hint: --max-price 0." in shown.error
    assert len(place.requests("create")) == before


def test_the_command_sees_and_ends_what_the_notebook_rented(page: Kernel, place: RunningMarket, home: Path) -> None:
    page.run(f"%%remote_gpu {RENT}\npass")
    listed = command(home, "ls", **place.env)
    assert listed.returncode == 0
    number = listed.stdout.splitlines()[1].split()[0].removeprefix("#")
    unsaid = command(home, "down", **place.env)
    assert f"end it: gpuplug down {number}" in unsaid.stdout
    assert place.meter()["billing_now"] == 1
    ended = command(home, "down", number, **place.env)
    assert ended.returncode == 0
    assert "gone (verified)" in ended.stderr
    assert ended.stdout == "0 instances billing\n"
    spent = command(home, "spend", **place.env)
    assert f"#{number}" in spent.stdout
    assert spent.stdout.startswith("today $0.00")
    assert "\nsimulated, which costs nothing and is in no sum above:\n" in spent.stdout


def test_stop_says_what_the_disk_costs_a_day_and_start_reaches_it_again(page: Kernel, place: RunningMarket) -> None:
    page.run(f"%%remote_gpu {RENT}\npass")
    stopped = page.run("%gpu stop").out
    assert "rests; its disk still bills $0." in stopped
    assert "a day. %gpu start runs it again, %gpu down " in stopped
    assert place.meter()["billing_now"] == 1
    assert "is ready at $0." in page.run("%gpu start").out
    assert "in all at most" in page.run("%gpu extend 1h").out
    assert "hint: %gpu extend 1h" in page.run("%gpu extend soon").error
    page.run("%gpu down")
