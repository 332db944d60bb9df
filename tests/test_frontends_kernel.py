"""Cells in a real kernel, on the platform `local`: what a page shows, in which order, and how errors look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from frontends_kit import Kernel, kernel

from gpuplug import config

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with kernel(tmp_path_factory.mktemp("k")) as made:
        made.run("%%remote_gpu\npass")
        yield made


def test_loading_says_where_cells_run_and_what_bills(tmp_path_factory: pytest.TempPathFactory) -> None:
    with kernel(tmp_path_factory.mktemp("k")) as fresh:
        shown = fresh.run("%reload_ext gpuplug")
        assert shown.out == (
            "gpuplug: no key found, cells run on this computer (platform local); 0 instances billing, $0.00 today\n"
        )
        first, second = fresh.run("%%remote_gpu\n1"), fresh.run("%%remote_gpu\n2")
        told = "no key found: cells run on this computer (platform local, free)"
        assert told in "\n".join(first.page)
        assert told not in "\n".join(second.page)


def test_prints_stream_while_the_cell_runs(page: Kernel) -> None:
    shown = page.run("%%remote_gpu\nimport time\nprint('first')\ntime.sleep(1)\nprint('second')")
    assert shown.out == "first\nsecond\n"
    assert shown.at("second") - shown.at("first") > 0.7


def test_the_last_expression_is_out_n_and_can_be_used(page: Kernel) -> None:
    shown = page.run("%%remote_gpu\n{'a': 6 * 7}")
    (message,) = shown.of("execute_result")
    assert message.content["execution_count"] == shown.reply["execution_count"]
    assert shown.result == "{'a': 42}"
    assert page.run("_").result == "{'a': 42}"
    assert page.run(f"repr(Out[{message.content['execution_count']}])").result == "\"{'a': 42}\""


def test_a_semicolon_or_none_shows_no_result(page: Kernel) -> None:
    assert page.run("%%remote_gpu\n5;").of("execute_result") == []
    assert page.run("%%remote_gpu\nNone").of("execute_result") == []


def test_a_quick_cell_on_a_warm_machine_shows_its_output_and_one_line_of_ours(page: Kernel) -> None:
    shown = page.run("%%remote_gpu\nprint('x')")
    assert shown.out == "x\n"
    (line,) = shown.page
    assert line.startswith("local - ")
    assert line.endswith("free")


def test_what_gpuplug_says_is_no_part_of_the_cells_stdout(page: Kernel) -> None:
    page.run("number = 7")
    shown = page.run("%%remote_gpu\nprint(number)")
    assert shown.out == "7\n"
    assert any("sent number (int" in text for text in shown.page)
    kinds = [message.kind for message in shown.of("stream", "display_data")]
    assert kinds == ["display_data", "stream", "display_data"]


def test_quiet_shows_no_phases_and_no_cost(page: Kernel) -> None:
    shown = page.run("%%remote_gpu -q --new --name second\nprint('only this')")
    assert shown.out == "only this\n"
    assert shown.page == []


def test_displays_updates_and_clears_arrive_as_such(page: Kernel) -> None:
    shown = page.run(
        "%%remote_gpu -q\nfrom IPython.display import clear_output, display\n"
        "handle = display('one', display_id=True)\nhandle.update('two')\nprint('gone')\nclear_output()\nprint('stays')"
    )
    order = [message.kind for message in shown.messages if message.kind not in {"status", "execute_input"}]
    assert order == ["display_data", "update_display_data", "stream", "clear_output", "stream"]
    first, second = shown.of("display_data", "update_display_data")
    assert (first.text, second.text) == ("'one'", "'two'")
    assert first.content["transient"] == second.content["transient"] != {}


def test_a_progress_bar_keeps_its_carriage_returns(page: Kernel) -> None:
    shown = page.run("%%remote_gpu\nfor i in range(3): print(f'\\r{i}', end='')\nprint()")
    assert shown.out == "\r0\r1\r2\n"


def test_stderr_stays_stderr(page: Kernel) -> None:
    shown = page.run("%%remote_gpu\nimport sys\nprint('trouble', file=sys.stderr)")
    assert shown.stream("stderr") == "trouble\n"
    assert shown.out == ""


def test_a_figure_is_a_picture(page: Kernel) -> None:
    shown = page.run("%%remote_gpu\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    assert any(message.content["data"].get("image/png") for message in shown.of("display_data"))


def test_variables_come_home_and_braces_in_the_line_are_expanded(page: Kernel) -> None:
    page.run("name = 'answer'")
    page.run("%%remote_gpu -o {name},$name\nanswer = 42")
    assert page.run("answer").result == "42"


def test_help_is_the_option_table_however_it_is_asked_for(page: Kernel) -> None:
    for asked in ("%%remote_gpu --help", "%%remote_gpu --help\npass", "%%gpu --help"):
        assert page.run(asked).out == config.help_text(config.CELL) + "\n"
    for asked in ("%%remote_gpu?", "%%gpu?"):
        (payload,) = page.run(asked).reply["payload"]
        assert "--max-price USD" in payload["data"]["text/plain"]
    (payload,) = page.run("%gpu?").reply["payload"]
    overview = page.run("%gpu --help").out
    for verb, text in config.VERBS.items():
        assert f"%gpu {verb}" in overview
        assert text in payload["data"]["text/plain"]
    assert page.run("%gpu prices --help").out == config.help_text("prices") + "\n"


def test_an_empty_cell_rents_nothing(page: Kernel) -> None:
    assert "the cell body is empty" in page.run("%%remote_gpu --new").stream("stderr")


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("%gpu lss", "UsageError: %gpu has no verb 'lss'\n\nhint: did you mean %gpu ls?"),
        ("%gpu sing", "UsageError: %gpu has no verb 'sing'\n\nhint: %gpu --help"),
        ("%%remote_gpu --gpus X\n1", "UnknownOptionError: %%remote_gpu has no option '--gpus'\n\nhint: did you mean --gpu?"),
        ("%%remote_gpu -p vastt\n1", "UnknownNameError: no platform 'vastt'\n\nhint: did you mean vast?"),
        ("%%remote_gpu --disk big\n1", "UsageError: --disk: 'big' is no disk size; write a number of GB from 8 to 2000\n\nhint: --disk 20"),
        ("%gpu ls everything", "UsageError: %gpu ls takes no 'everything'\n\nhint: %gpu ls --help"),
        ("%gpu down nobody", "UnknownNameError: no instance 'nobody' of this computer; open ones: "),
        ("%%remote_gpu -i nothing\n1", "UnknownNameError: -i nothing: the notebook defines no such name"),
        ("%%remote_gpu\nx = = 1", "UsageError: syntax error in line 1: invalid syntax\n    x = = 1"),
        ("%%remote_gpu -p vast\n1", "AuthError: no key for vast: looked at VAST_API_KEY"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message_with_a_way_out_and_no_line_of_gpuplug(page: Kernel, code: str, shown: str) -> None:
    error = page.run(code).error
    assert error.startswith(shown)
    assert "Traceback" not in error
    assert "File " not in error


def test_errors_can_be_caught_by_their_class(page: Kernel) -> None:
    shown = page.run(
        "from gpuplug.errors import RemoteError, UsageError\n"
        "try:\n    get_ipython().run_line_magic('gpu', 'sing')\nexcept UsageError as error:\n    print(error.hint)\n"
        "try:\n    get_ipython().run_cell_magic('remote_gpu', '', '1 / 0')\n"
        "except RemoteError as error:\n    print(error.ename)"
    )
    assert shown.out == "%gpu --help\nZeroDivisionError\n"


def test_an_error_there_shows_the_lines_of_the_cell_and_none_of_gpuplug(page: Kernel) -> None:
    shown = page.run("%%remote_gpu\ndef half(x):\n    return x / 0\nprint('before')\nhalf(3)")
    assert shown.out == "before\n"
    assert shown.reply["status"] == "error"
    assert shown.reply["ename"] == "RemoteError"
    assert "----> 4 half(3)" in shown.error
    assert "return x / 0" in shown.error
    assert shown.error.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "gpuplug" not in shown.error


def test_a_remote_error_shows_its_own_lines_then_what_bills_then_what_to_type(page: Kernel) -> None:
    shown = page.run(
        "from gpuplug.errors import RemoteError\nerror = RemoteError('E', 'v', ('----> 1 cell', 'E: v'))\n"
        "error.billing, error.hint = '#1 still bills $0.30/h', '%gpu down'\nraise error"
    )
    assert shown.error == "----> 1 cell\nE: v\n#1 still bills $0.30/h\nhint: %gpu down"


def test_every_verb_answers(page: Kernel) -> None:
    assert "0 instances billing" in page.run("%gpu").out
    assert page.run("%gpu status").out == page.run("%gpu").out
    assert "local CPU" in page.run("%gpu prices -p local").out
    assert "is ready (free)" in page.run("%gpu up").out
    assert "running" in page.run("%gpu ls").out
    page.run("%%remote_gpu\nopen('made.txt', 'w').write('m')")
    assert "made.txt" in page.run("%gpu files").out
    assert page.run("%gpu spend").out.startswith("today $0.00")
    ended = page.run("%gpu down").out.splitlines()
    assert "gone (verified)" in ended[-2]
    assert ended[-1] == "0 instances billing"
    assert page.run("%gpu down").out == "0 instances billing; nothing to end\n"


def test_reloading_keeps_the_machine_and_unloading_takes_the_magics_away(page: Kernel) -> None:
    page.run("%%remote_gpu\nkept = 5")
    page.run("%reload_ext gpuplug")
    assert page.run("%%remote_gpu\nkept").result == "5"
    page.run("%unload_ext gpuplug")
    assert "`%gpu` not found" in page.run("%gpu").stream("stderr")
    assert "`%%remote_gpu` not found" in page.run("%%remote_gpu\n1").stream("stderr")
    page.run("%load_ext gpuplug")
    assert page.run("%%remote_gpu\nkept").result == "5"
