"""What goes from the user to a running cell: answers and interrupts, in a real kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from frontends_kit import Kernel, Message, kernel, once

if TYPE_CHECKING:
    from collections.abc import Iterator

SLEEPER = "%%remote_gpu\nkept = 1\nimport time\nprint('go', flush=True)\ntime.sleep(60)"
FLOOD = "%%remote_gpu\nimport sys\nwhile True: print('go'); print('err', file=sys.stderr)"
STUBBORN = """%%remote_gpu
import time
print('go', flush=True)
for _ in range(3):
    try:
        time.sleep(1)
    except KeyboardInterrupt:
        print('still here', flush=True)
print('not seen')"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with kernel(tmp_path_factory.mktemp("q")) as made:
        made.run("%%remote_gpu\npass")
        yield made


def test_input_is_asked_here_and_answered_there(page: Kernel) -> None:
    shown = page.run("%%remote_gpu\nprint('before')\nprint('hi', input('name? '))", answers=["Ada"])
    (asked,) = shown.of("input_request")
    assert asked.content == {"prompt": "name? ", "password": False}
    assert shown.out == "before\nhi Ada\n"


def test_getpass_asks_for_a_password(page: Kernel) -> None:
    shown = page.run("%%remote_gpu\nfrom getpass import getpass\nlen(getpass('key: '))", answers=["secret"])
    (asked,) = shown.of("input_request")
    assert asked.content == {"prompt": "key: ", "password": True}
    assert shown.result == "6"
    assert not any("secret" in message.text for message in shown.messages)


def test_without_anybody_to_ask_input_ends_with_eoferror(page: Kernel) -> None:
    shown = page.run("%%remote_gpu\ntry:\n    input('name? ')\nexcept EOFError:\n    print('nobody')")
    assert shown.of("input_request") == []
    assert shown.out == "nobody\n"


def test_an_interrupt_is_a_keyboard_interrupt_there_and_the_state_is_kept(page: Kernel) -> None:
    shown = page.run(SLEEPER, watch=once(page, "go"))
    assert shown.reply["status"] == "error"
    assert "----> 4 time.sleep(60)" in shown.error
    assert "KeyboardInterrupt" in shown.error
    assert "gpuplug" not in shown.error
    assert any("interrupt again to leave it running" in text for text in shown.page)
    assert page.run("%%remote_gpu\nkept").result == "1"


def test_an_interrupt_in_the_midst_of_a_flood_of_output_shows_the_cell_and_nothing_of_ours(page: Kernel) -> None:
    shown = page.run(FLOOD, watch=once(page, "go"))
    assert "----> 2 while True" in shown.error
    assert "KeyboardInterrupt" in shown.error
    assert "gpuplug" not in shown.error


def test_a_second_interrupt_leaves_the_cell_and_says_so(page: Kernel) -> None:
    shown = page.run(STUBBORN, watch=once(page, "go", "still here"))
    assert shown.error.startswith("DetachedError: left the cell running on the instance\n\nhint: %gpu down")
    assert "not seen" not in shown.out
    assert page.run("%%remote_gpu\nprint('next')").out == "next\n"


def test_an_interrupt_while_a_question_is_open_reaches_the_cell(page: Kernel) -> None:
    def interrupt(message: Message) -> None:
        if message.kind == "input_request":
            page.interrupt()

    shown = page.run("%%remote_gpu\ninput('name? ')", answers=[], watch=interrupt)
    assert "KeyboardInterrupt" in shown.error
    assert page.run("%%remote_gpu\nprint('next')").out == "next\n"


def test_two_interrupted_cells_do_not_disturb_the_third(page: Kernel) -> None:
    for _ in range(2):
        assert "KeyboardInterrupt" in page.run(SLEEPER, watch=once(page, "go")).error
    assert page.run("%%remote_gpu\nprint('third')").out == "third\n"


def test_a_question_of_ours_is_asked_until_it_is_answered_with_yes_or_no(page: Kernel) -> None:
    page.run("with open('big.bin', 'wb') as file:\n    _size = file.truncate(2 << 30)")
    shown = page.run("%%remote_gpu\nopen('big.bin', 'rb')", answers=["what?", "n"])
    first, second = (message.content["prompt"] for message in shown.of("input_request"))
    assert first == second
    assert first.startswith("the cell refers to 2.1 GB of files")
    assert first.endswith("send them? [y/N] ")
    assert shown.error.startswith("TooLargeError: the cell refers to 2.1 GB of files; the largest is big.bin")


def test_without_anybody_to_ask_our_question_is_answered_with_no(page: Kernel) -> None:
    page.run("with open('big.bin', 'wb') as file:\n    _size = file.truncate(2 << 30)")
    shown = page.run("%%remote_gpu\nopen('big.bin', 'rb')")
    assert shown.of("input_request") == []
    assert shown.error.startswith("TooLargeError")


def test_an_interrupt_at_our_question_says_what_bills_and_nothing_of_gpuplug(page: Kernel) -> None:
    def interrupt(message: Message) -> None:
        if message.kind == "input_request":
            page.interrupt()

    page.run("with open('big.bin', 'wb') as file:\n    _size = file.truncate(2 << 30)")
    shown = page.run("%%remote_gpu\nopen('big.bin', 'rb')", answers=[], watch=interrupt)
    assert shown.error == "KeyboardInterrupt: 0 instances billing, $0.00 today"
