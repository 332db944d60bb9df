"""The `gpuplug` command: exit status, what goes to stdout, what to stderr, and how it speaks of itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from frontends_kit import CELL_S, command, environment
from providers_kit import Answer
from vast_kit import BUNDLES, offer_row, scripted

from gpuplug import __version__
from gpuplug.frontends.cli import main
from gpuplug.frontends.wording import as_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def market() -> Iterator[str]:
    """Serve one offer to whoever asks, and return the address."""
    with scripted() as (api, _, _):
        api.on(BUNDLES, Answer({"offers": [offer_row(cuda_max_good=12.4)]}))
        yield api.url


@pytest.fixture
def home(tmp_path: Path, market: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make this process a computer without keys, so that `main` can be called without a new process each time."""
    for name in [name for name in os.environ if name.startswith(("VAST_API_KEY", "RUNPOD_API_KEY", "GPUPLUG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GPUPLUG_HOME", str(tmp_path / "gp"))
    monkeypatch.setenv("VAST_URL", market)
    return tmp_path


@pytest.mark.parametrize("verb", ["status", "prices", "ls", "down", "spend", "reap"])
@pytest.mark.usefixtures("home")
def test_every_command_succeeds_with_data_on_stdout_and_nothing_on_stderr(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb]) == 0
    said = capsys.readouterr()
    assert said.out.strip()
    assert said.err == ""


def test_a_home_that_cannot_be_made_is_one_line_and_a_hint(home: Path) -> None:
    (home / "file").touch()
    failed = command(home, "status", GPUPLUG_HOME=str(home / "file" / "gp"))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: the folder ")
    assert "hint: set GPUPLUG_HOME" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("verb", ["status", "prices", "ls", "down", "spend", "reap"])
@pytest.mark.usefixtures("home")
def test_every_command_answers_with_one_line_of_json_when_asked_to(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--json"]) == 0
    said = capsys.readouterr()
    (line,) = said.out.splitlines()
    json.loads(line)
    assert said.err == ""


@pytest.mark.usefixtures("home")
def test_prices_as_json_carry_exact_dollars_and_units(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", "-p", "vast", "RTX_4090", "--hours", "2", "--data", "20GB", "--cuda", "any", "--json"]) == 0
    board = json.loads(capsys.readouterr().out)
    (offer,) = board["offers"]
    assert (offer["platform"], offer["gpu"], offer["vram_gb"], offer["architecture"]) == ("vast", "RTX 4090", 24, "Ada")
    assert (offer["usd_per_hour"], offer["sent_usd_per_gb"]) == ("0.131259", "0.005000")
    assert offer["total_usd"] == "0.362518"
    assert (offer["disk_usd_per_hour"], offer["stopped_usd_per_hour"]) == ("0.025926", "0.025926")
    assert (board["hours"], board["data_gb"], board["dropped"], board["troubles"]) == (2, 20, 0, [])


NOTHING = ["prices", "-p", "vast", "RTX_4090", "--min-net", "99999"]


@pytest.mark.usefixtures("home")
def test_prices_of_nothing_are_a_failure_that_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(NOTHING) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: no RTX_4090 with >= 99999 Mbit/s")
    assert "the best has 1602 Mbit/s" in said.err


@pytest.mark.usefixtures("home")
def test_prices_of_nothing_as_json_are_an_empty_list_and_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*NOTHING, "--json"]) == 1
    said = capsys.readouterr()
    board = json.loads(said.out)
    assert (board["offers"], board["without"]) == ([], ["vast"])
    assert said.err.startswith("error: no RTX_4090 with >= 99999 Mbit/s")


@pytest.mark.usefixtures("home")
def test_prices_above_a_typed_cap_are_counted_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", "-p", "vast", "--max-price", "0.14"]) == 0
    assert "not shown" not in capsys.readouterr().out
    assert main(["prices", "-p", "vast", "--max-price", "0.13"]) == 1
    assert capsys.readouterr().err.startswith(
        "error: nothing under $0.13/h; the cheapest is $0.1313/h (RTX 4090 on vast)"
    )


@pytest.mark.usefixtures("home")
def test_the_doctor_answers_with_one_line_of_json_also_when_something_is_ill(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["doctor", "--json"]) == 0
    assert all(each["fine"] for each in json.loads(capsys.readouterr().out))
    monkeypatch.setenv("VAST_API_KEY", "k")
    monkeypatch.setenv("VAST_URL", "http://127.0.0.1:9")
    assert main(["doctor", "--json"]) == 1
    said = capsys.readouterr()
    (ill,) = [each for each in json.loads(said.out) if not each["fine"]]
    assert (ill["what"], bool(ill["hint"])) == ("vast", True)
    assert said.err.endswith("error: 1 finding to mend\n\nhint: do what the hints above say\n")


@pytest.mark.parametrize(("verb", "words"), [("stop", []), ("stop", ["x"]), ("adopt", ["x"])])
@pytest.mark.usefixtures("home")
def test_stop_and_adopt_take_json_too(verb: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status = main([verb, *words, "--json"])
    said = capsys.readouterr()
    assert (status, said.out) == ((2, "") if words else (0, "[]\n"))


def test_what_needs_a_notebook_is_not_named_as_a_command() -> None:
    assert as_command("%gpu start runs it again, %gpu down 7 ends it") == (
        "%gpu start runs it again, gpuplug down 7 ends it"
    )


def test_help_is_data_and_names_every_command(home: Path) -> None:
    shown = command(home, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    for verb in ("status", "prices", "ls", "down", "spend", "sandbox"):
        assert f"  gpuplug {verb}" in shown.stdout
    assert "%" not in shown.stdout
    one = command(home, "down", "--help")
    assert one.returncode == 0
    assert one.stdout.startswith("gpuplug down [options]\n")
    assert "--all" in one.stdout


def test_the_version_is_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == __version__ + "\n"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "gpuplug COMMAND --help tells the options of one."),
        (["lss"], 2, "error: gpuplug has no verb 'lss'\n\nhint: did you mean gpuplug ls?\n"),
        (["--foo"], 2, "error: no command '--foo'\n\nhint: gpuplug --help\n"),
        (["up"], 2, "error: up needs a notebook\n\nhint: gpuplug --help\n"),
        (["ls", "--jsn"], 2, "error: gpuplug ls has no option '--jsn'\n\nhint: did you mean --json?\n"),
        (["prices", "--disk", "x"], 2, "error: --disk: 'x' is no disk size"),
        (
            ["down", "123"],
            2,
            "error: no instance '123' of this computer; open ones: none\n\nhint: gpuplug ls, and gpuplug adopt ID",
        ),
        (["prices", "-p", "vats"], 2, "error: no platform 'vats'\n\nhint: did you mean vast?\n"),
        (["prices", "RTX_4091"], 2, "error: no GPU 'RTX_4091' on vast\n\nhint: did you mean RTX 4090"),
        (["prices", "--hours", "-1"], 2, "error: --hours: '-1' is no number of hours; write 2 or 0.5"),
    ],
)
def test_a_failure_has_a_status_and_speaks_of_the_command_on_stderr(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert "%gpu" not in said.err


def test_ctrl_c_ends_it_with_one_word(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        waiting = subprocess.Popen(
            [sys.executable, "-m", "gpuplug.frontends.cli", "prices"],
            env=environment(home, VAST_URL=url, VAST_API_KEY="k"),
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.settimeout(CELL_S)
        asked, _ = silent.accept()
        with asked:
            waiting.send_signal(signal.SIGINT)
            out, err = waiting.communicate(timeout=CELL_S)
    assert (waiting.returncode, out, err) == (130, "", "interrupted\n")


def test_a_reader_that_has_had_enough_is_no_traceback(home: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "gpuplug.frontends.cli", "status"],
        env=environment(home),
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=CELL_S,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_unreachable_market_is_said_plainly(home: Path) -> None:
    failed = command(home, "prices", VAST_URL="http://127.0.0.1:9", VAST_API_KEY="k")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "127.0.0.1" in failed.stderr
    assert "Traceback" not in failed.stderr
