"""The doctor's cross-check against the vendor's unmodified client: alike where nothing is wrong, and told where not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cell_kit import notebook
from sandbox_kit import ROOT, market
from sdk_kit import VASTAI, programs

from gpuplug import config
from gpuplug.engine.crosscheck import cross_check

if TYPE_CHECKING:
    from pathlib import Path

    from gpuplug.config import Key

pytestmark = pytest.mark.sdk
RENT = "-p vast -g RTX_4090 --max-price 0.60"


def key_of(platform: str) -> Key:
    key = config.find_key(platform)
    assert key is not None
    return key


def test_the_vastai_client_lists_the_same_instances_and_balance(tmp_path: Path) -> None:
    python = str(programs(VASTAI, ".venv-sdk") / "python")
    with market(seed=9, pull=0) as place, notebook(tmp_path, environ=place.env) as nb:
        nb.run("pass", RENT)
        found = list(cross_check(nb.engine.provider("vast"), key_of("vast"), python))
        assert all(finding.fine for finding in found), found
        assert "lists the same 1 instances of ours" in found[0].text
        assert "says a balance of $2" in found[1].text


def test_a_client_that_is_not_installed_is_told_with_what_to_type(tmp_path: Path) -> None:
    with market(seed=9, pull=0) as place, notebook(tmp_path, environ=place.env) as nb:
        (finding,) = cross_check(nb.engine.provider("vast"), key_of("vast"))
        assert not finding.fine
        assert "gpuplug[sdk]" in finding.hint


def test_a_client_that_fails_by_itself_is_not_told_to_be_installed_again(tmp_path: Path) -> None:
    python = str(programs(VASTAI, ".venv-sdk") / "python")
    with market(seed=9, pull=0) as place, notebook(tmp_path, environ=place.env) as nb:
        place.action("revoke_key")
        (finding,) = cross_check(nb.engine.provider("vast"), key_of("vast"), python)
        assert not finding.fine
        assert "this is an error of vastai itself" in finding.hint


def test_the_extra_names_the_package_that_asks_where_it_is_told_to() -> None:
    (extra,) = [line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("sdk = ")]
    assert '"vastai>=1.9"' in extra  # vastai-sdk sends the key to the vendor whatever VAST_URL says
    assert VASTAI.startswith("vastai==1.9")
