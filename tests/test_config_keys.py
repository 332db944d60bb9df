"""Where RunPod's key is looked for: the environment, and the file that its command and its library share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpuplug import config
from gpuplug.errors import AuthError

if TYPE_CHECKING:
    from pathlib import Path

KEY = "rpa_FROMFILE0123456789"


def written(home: Path, text: str) -> dict[str, str]:
    (home / ".runpod").mkdir()
    (home / ".runpod" / "config.toml").write_text(text)
    return {"HOME": str(home)}


@pytest.mark.parametrize(
    "text",
    [
        f"apikey = '{KEY}'\napiurl = 'https://api.runpod.io/graphql'\n",
        f'apiKey = "{KEY}"\n',
        f'[default]\napi_key = "{KEY}"\n',
        f'apikey = ""\n[default]\napi_key = "{KEY}" # mine\n',
        f'[other]\napi_key = "no"\n[default]\napikey = "{KEY}"\n',
    ],
)
def test_the_key_is_found_in_every_form_that_the_vendor_writes(tmp_path: Path, text: str) -> None:
    key = config.find_key("runpod", written(tmp_path, text))
    assert key is not None
    assert (key.secret.reveal(), key.source) == (KEY, "~/.runpod/config.toml")


@pytest.mark.parametrize(
    "text", ["", "apikey = ''\n", "apikey = 7\n", "[default]\n", 'default = "x"\n', "[other]\nk = 1\n"]
)
def test_a_file_without_a_key_is_no_key(tmp_path: Path, text: str) -> None:
    environ = written(tmp_path, text)
    assert config.find_key("runpod", environ) is None
    assert config.enabled(environ) == []


def test_the_environment_comes_first(tmp_path: Path) -> None:
    environ = {**written(tmp_path, f"apikey = '{KEY}'\n"), "RUNPOD_API_KEY": "from-environment"}
    key = config.find_key("runpod", environ)
    assert key is not None
    assert key.secret.reveal() == "from-environment"


def test_a_file_that_is_no_toml_is_named_and_not_shown(tmp_path: Path) -> None:
    environ = written(tmp_path, f"apikey = {KEY}\n")
    with pytest.raises(AuthError, match=r"~/\.runpod/config\.toml is no TOML") as caught:
        config.find_key("runpod", environ)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_address_can_be_changed_by_the_environment_only(tmp_path: Path) -> None:
    environ = written(tmp_path, "apiurl = 'https://evil.example/graphql'\n")
    assert config.base_url("runpod", environ) == "https://api.runpod.io"
    changed = {**environ, "RUNPOD_API_BASE_URL": "http://127.0.0.1:9"}
    assert config.base_url("runpod", changed) == "http://127.0.0.1:9"


def test_a_volume_is_typed_in_gigabytes() -> None:
    parsed = config.parse("--volume 30GB --network-volume agv6w2qcg7", config.CELL, {})
    assert (parsed.volume, parsed.network_volume) == (30, "agv6w2qcg7")
    assert config.parse("", config.CELL, {}).volume == 0
