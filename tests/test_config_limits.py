"""Standing budgets as they are written down: what is read, what is refused, and who may lower whom."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from gpuplug import config
from gpuplug.errors import BudgetError, UsageError
from gpuplug.types import Money

if TYPE_CHECKING:
    from pathlib import Path

NONSENSE = ["0", "-1", "-1/day", "nan", "inf", "1e99", "1e999999999", "5 EUR", "€5", "5€/month", "lots", "", "1000001"]


def standing(home: Path, project: Path | None = None, variable: str = "") -> dict[str, str]:
    found = config.standing_budgets(home, project, {"GPUPLUG_BUDGET": variable})
    return {limit.per: str(limit.amount) for limit in found.limits}


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", {}),
        ("5", {"day": "$5.00"}),
        ("$2.50", {"day": "$2.50"}),
        ("5/day,100/month", {"day": "$5.00", "month": "$100.00"}),
        ("3 / instance", {"instance": "$3.00"}),
    ],
)
def test_the_environment_sets_budgets(tmp_path: Path, text: str, limits: dict[str, str]) -> None:
    assert standing(tmp_path, variable=text) == limits


@pytest.mark.parametrize("text", [each for each in NONSENSE if each])
def test_a_senseless_budget_in_the_environment_is_refused_loudly(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"GPUPLUG_BUDGET: .*write 5/day, 100/month or 3/instance"):
        standing(tmp_path, variable=text)


@pytest.mark.parametrize("text", NONSENSE)
def test_no_nonsense_is_taken_as_a_budget(text: str) -> None:
    with pytest.raises(UsageError, match=r"US dollars above 0; write 5/day"):
        config.wanted([text])


@pytest.mark.parametrize("text", ["5/week", "5/hour", "5/", "5/day/month"])
def test_a_period_that_is_none_is_told_which_there_are(text: str) -> None:
    with pytest.raises(UsageError, match="a budget is per day, month or instance"):
        config.wanted([text])


def test_what_was_kept_is_read_again_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    config.keep(tmp_path, config.wanted(["5/day", "100/month"]))
    config.keep(tmp_path, config.wanted(["off/month", "3/instance"]))
    assert standing(tmp_path) == {"day": "$5.00", "instance": "$3.00"}
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_of_file_environment_and_project_the_lowest_holds(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    config.keep(tmp_path, config.wanted(["5/day", "100/month"]))
    assert standing(tmp_path, variable="4/day,200/month") == {"day": "$4.00", "month": "$100.00"}
    (project / "gpuplug.toml").write_text('budget = ["9/day", "50/month"]\n')
    (project / "pyproject.toml").write_text('[tool.gpuplug]\nbudget = "1/instance"\n')
    assert standing(tmp_path, project) == {"day": "$5.00", "month": "$50.00", "instance": "$1.00"}


def test_a_project_never_speaks_for_its_user(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "gpuplug.toml").write_text('budget = "9/day"\n')
    assert not config.standing_budgets(tmp_path, project, {}).speaks
    assert config.standing_budgets(tmp_path, project, {"GPUPLUG_BUDGET": "9/day"}).speaks
    assert not config.standing_budgets(tmp_path, project, {"GPUPLUG_BUDGET": "9/instance"}).speaks


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"version": 1}',
        '{"version": 1, "budgets": {"day": 5}}',
        '{"version": 1, "budgets": {"week": "5"}}',
        '{"version": 1, "budgets": {"day": "NaN"}}',
        '{"budgets": {"day": "5"}}',
        "\xff\x00",
    ],
)
def test_an_unreadable_file_is_an_error_and_not_no_budget(tmp_path: Path, content: str) -> None:
    path = tmp_path / "budgets.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(BudgetError, match=r"cannot be read .* nothing is rented without them"):
        standing(tmp_path)
    with pytest.raises(BudgetError, match="cannot be read"):
        config.keep(tmp_path, config.wanted(["9/day"]))
    assert path.read_bytes() == content.encode("latin-1")


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "budgets.json"
    path.write_text(json.dumps({"version": 2, "budgets": {"week": {"amount": 5}}}))
    with pytest.raises(BudgetError, match="written by a newer gpuplug") as caught:
        standing(tmp_path)
    assert "pip install -U" in caught.value.hint
    with pytest.raises(BudgetError, match="newer"):
        config.keep(tmp_path, config.wanted(["9/day"]))
    assert json.loads(path.read_text())["version"] == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_an_error(tmp_path: Path) -> None:
    config.keep(tmp_path, config.wanted(["9/day"]))
    (tmp_path / "budgets.json").chmod(0)
    with pytest.raises(BudgetError, match="Permission"):
        standing(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gpuplug.toml", "budget = "),
        ("gpuplug.toml", 'budget = "5/week"'),
        ("pyproject.toml", "[tool.gpuplug]\nbudget = [1"),
        ("pyproject.toml", "[tool.gpuplug]\nbudget = -1"),
    ],
)
def test_a_project_file_that_may_limit_and_cannot_be_read_is_an_error(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BudgetError, match=f"{name}.*nothing is rented without it"):
        standing(tmp_path, tmp_path)


def test_what_is_wrong_in_a_project_that_does_not_name_gpuplug_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project\nname = 1")
    assert standing(tmp_path, tmp_path) == {}


@pytest.mark.parametrize("text", ["1e99", "1e999999999", "1000001", "0", "-2", "nan", "inf"])
@pytest.mark.parametrize("option", ["--budget", "--max-price"])
def test_a_cell_takes_no_senseless_amount(option: str, text: str) -> None:
    with pytest.raises(UsageError, match=option):
        config.parse(f"{option} {text}", config.CELL, {})


def test_a_kept_amount_is_exact(tmp_path: Path) -> None:
    config.keep(tmp_path, {"day": Money(1_234_567)})
    assert config.standing_budgets(tmp_path, None, {}).limits[0].amount == Money(1_234_567)
