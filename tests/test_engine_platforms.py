"""The adapters of one process: made once, and anew with a key that is found later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug.engine.platforms import Platforms
from gpuplug.testing import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_key_that_is_exported_after_a_look_without_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAST_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("VAST_API_KEY", raising=False)
    platforms = Platforms(tmp_path, FakeClock())
    keyless = platforms.get("vast")
    assert platforms.get("vast") is keyless
    monkeypatch.setenv("VAST_API_KEY", "k")
    keyed = platforms.get("vast")
    assert keyed is not keyless
    assert platforms.get("vast") is keyed
    platforms.close()
