"""`%gpu spend` and `%gpu budget` as a person or a program sees them."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from typing import TYPE_CHECKING

import pytest
from frontends_kit import kernel
from test_ledger import lease as a_lease

from gpuplug.frontends.cli import main
from gpuplug.ledger import CellRow, Ledger, Rate, State
from gpuplug.types import ZERO, Money, SystemClock

if TYPE_CHECKING:
    from pathlib import Path

DOLLAR = Money.dollars(1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A computer that has spent $2 on two machines, and a make-believe $5."""
    for name in [name for name in os.environ if name.startswith(("VAST_", "RUNPOD_", "GPUPLUG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GPUPLUG_HOME", str(tmp_path / "gp"))
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(tmp_path / "gp", SystemClock())
    now = SystemClock().now().timestamp()
    for label, gpu, price, simulated in (
        ("gp-1", "RTX 4090", DOLLAR, False),
        ("gp-2", "=cmd()", DOLLAR, False),
        ("gp-3", "RTX 4090", Money.dollars(5), True),
    ):
        rates = (Rate(now - 7200, price),)
        lease = a_lease(label, gpu=gpu, rates=rates, created=now - 7200, ended=now - 3600, state=State.GONE)
        ledger.intend(lease.__class__(**{**{n: getattr(lease, n) for n in lease.__slots__}, "simulated": simulated}))
    ledger.record_cell(CellRow("c1", "gp-1", "nb", now - 7200, 1800.0, ZERO, "ok"))
    ledger.close()
    return tmp_path


@pytest.mark.parametrize("by", ["instance", "day", "gpu", "notebook", "cell", "platform"])
def test_spend_by_anything_is_two_real_dollars(by: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spend", "--by", by, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    real = [line for line in told["lines"] if not line["simulated"]]
    assert sum(float(line["usd"]) for line in real) == 2
    assert sum(float(line["usd"]) for line in told["lines"] if line["simulated"]) == 5
    assert main(["spend", "--by", by]) == 0
    shown = capsys.readouterr().out
    assert "$2.00 in the last 30 days, by this computer's ledger" in shown
    above, _, below = shown.partition("simulated, which costs nothing and is in no sum above:")
    assert "$5.00" not in above
    assert "$5.00" in below


def test_csv_has_exact_dollars_and_no_formula(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spend", "--by", "gpu", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {(row["gpu"], row["usd"], row["simulated"]) for row in rows} == {
        ("RTX 4090", "1.000000", ""),
        ("'=cmd()", "1.000000", ""),
        ("RTX 4090", "5.000000", "simulated"),
    }


def test_spend_since_a_day_to_come_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spend", "--since", "2999-01-01"]) == 0
    assert "$0.00 since 2999-01-01" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--by", "week"], "one of instance, day, gpu"),
        (["--since", "yesterday"], "write 7d or 2026-11-01"),
        (["--since", "99999d"], "write 7d"),
    ],
)
def test_what_cannot_be_summed_is_told(words: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spend", *words]) == 2
    assert what in capsys.readouterr().err


def test_a_budget_is_set_shown_and_lifted_in_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget"]) == 0
    assert "no standing budget" in capsys.readouterr().out
    assert main(["config", "budget", "5/day", "3/instance"]) == 0
    shown = capsys.readouterr().out
    assert "$5.00 a day" in shown
    assert "$3.00 an instance" in shown
    assert main(["budget", "off/instance", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["per"], told["limit_usd"], told["promised_usd"]) == ("day", "5.000000", "0.000000")
    assert main(["status"]) == 0
    assert "standing budget: $5.00 a day" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["0/day", "-1/day", "-1", "nan", "inf/month", "1e99", "5 EUR", "€5", "5/week"])
def test_a_senseless_budget_is_refused_and_the_one_that_stands_holds_on(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["budget", "5/day"]) == 0
    assert main(["budget", text]) == 2
    assert "write 5/day, 100/month or 3/instance" in capsys.readouterr().err
    assert main(["budget", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["limit_usd"] == "5.000000"


def test_an_unreadable_budget_file_is_told_and_status_still_says_what_bills(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "gp" / "budgets.json").write_text("{")
    assert main(["status"]) == 0
    shown = capsys.readouterr().out
    assert "0 instances billing" in shown
    assert "nothing is rented without them" in shown
    assert main(["status", "--json"]) == 0
    assert "cannot be read" in json.loads(capsys.readouterr().out)["budgets_trouble"]
    assert main(["spend"]) == 0
    assert main(["budget"]) == 1


def test_the_days_are_drawn_as_bars_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpuplug.frontends.magics import charts  # noqa: PLC0415 - IPython is needed here only
    from gpuplug.ledger import Parts, SpendLine  # noqa: PLC0415 - likewise

    shown: list[dict[str, str]] = []
    monkeypatch.setattr(charts, "publish_display_data", shown.append)
    days = [SpendLine(f"2026-11-0{day}", simulated=False, parts=Parts(DOLLAR, Money(5), Money(7))) for day in (1, 2)]
    assert charts.draw_spend(days, "in words")
    (data,) = shown
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["text/plain"] == "in words"


def test_in_a_notebook_a_budget_is_lowered_freely_and_raised_by_a_person_only(tmp_path: Path) -> None:
    with kernel(tmp_path) as page:
        first = page.run("%gpu budget 5/day")
        assert "only a person may raise it" in str(first.reply)
        assert "gpuplug budget 5/day" in str(first.reply)
        asked = page.run("%gpu budget 5/day", answers=["y"])
        assert "$5.00 a day" in asked.out
        assert "$3.00 a day" in page.run("%gpu budget 3/day").out
        assert "only a person may raise it" in str(page.run("%gpu budget off/day").reply)
        assert "ConsentError" in str(page.run("%gpu budget 4/day", answers=["n"]).reply)
        assert "standing budget: $3.00 a day, " in page.run("%gpu").out
