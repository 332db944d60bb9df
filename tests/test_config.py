"""The option table: what is typed, what is refused, and what is said."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuplug import config
from gpuplug.errors import AuthError, LedgerError, UnknownNameError, UnknownOptionError, UsageError
from gpuplug.types import Cloud, GpuWish, Money, SshTarget

if TYPE_CHECKING:
    from pathlib import Path

VERBS = (config.CELL, *config.VERBS)


def test_every_option_of_the_table_is_a_field_of_the_parsed_line_and_the_other_way_round() -> None:
    fields = {field.name for field in dataclasses.fields(config.Options)} - {"words", "typed"}
    assert fields == {option.dest for option in config.OPTIONS}


@pytest.mark.parametrize("verb", VERBS)
def test_an_empty_line_gives_the_defaults_of_the_table(verb: str) -> None:
    parsed = config.parse("", verb, {})
    assert parsed.max_price == Money.dollars("0.50") or "max_price" not in {o.dest for o in config.table(verb)}
    assert not parsed.help


def test_a_full_line_is_parsed_into_typed_values() -> None:
    line = "-p vast -g RTX_4090:2,A100 --max-price 0.7 --budget $3 --for 10m,1h --disk 40GB -i a,b -o c -o d -f 'x y.csv' --out res -n"
    parsed = config.parse(line, config.CELL, {})
    assert parsed.gpu == (GpuWish("RTX_4090", 2), GpuWish("A100"))
    assert (parsed.max_price, parsed.budget) == (Money(700_000), Money(3_000_000))
    assert parsed.terms == config.Terms(600, 3600)
    assert (parsed.inputs, parsed.outputs) == (("a", "b"), ("c", "d"))
    assert (parsed.files, parsed.out, parsed.disk) == (("x y.csv",), ("res",), 40)
    assert parsed.dry_run
    assert not parsed.yes


def test_floors_and_what_prices_are_for_are_parsed_into_typed_values() -> None:
    line = "--spot --cloud secure --region DE,us --min-net 200 --min-reliability 0.98 --cuda 12.6 --hours 2h --data 500MB -v"
    parsed = config.parse(line, config.CELL, {})
    assert (parsed.spot, parsed.cloud, parsed.region) == (True, Cloud.SECURE, ("DE", "us"))
    assert (parsed.min_net, parsed.min_reliability, parsed.cuda) == (200, 0.98, "12.6")
    assert (parsed.hours, parsed.data, parsed.verbose) == (2, 0.5, True)
    assert config.parse("--cloud any", config.CELL, {}).cloud is None


def test_the_gpus_of_prices_are_typed_without_an_option() -> None:
    assert config.parse("RTX_4090:2 24GB", "prices", {}).gpu == (GpuWish("RTX_4090", 2), GpuWish("24GB"))
    with pytest.raises(UsageError, match="1 to 16"):
        config.parse("RTX_4090:99", "prices", {})


def test_json_is_an_option_of_the_command_only() -> None:
    assert config.parse("--json", "prices", {}, command=True).json
    assert "--json" in config.help_text("ls", command=True)
    with pytest.raises(UnknownOptionError):
        config.parse("--json", "prices", {})


@pytest.mark.parametrize(
    ("typed", "guess"), [("--gpux", "--gpu"), ("--maxprice 1", "--max-price"), ("--budge=1", "--budget")]
)
def test_an_unknown_option_names_the_nearest_one(typed: str, guess: str) -> None:
    with pytest.raises(UnknownOptionError) as caught:
        config.parse(typed, config.CELL, {})
    assert caught.value.hint == f"did you mean {guess}?"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--max-price abc", "abc"),
        ("--max-price -1", "-1"),
        ("--max-price nan", "nan"),
        ("--budget 0", "'0'"),
        ("--budget inf", "inf"),
        ("--budget 1e999999999", "1e999999999"),
        ("--budget 100001", "at most 100000"),
        ("--max-price 1e99", "at most 100000"),
        ("--max-price 1e-99", "above $0"),
        ("--max-price=-1e99", "above $0"),
        ("--for 999999d", "longer than a year"),
        ("--for 15m,366d", "longer than a year"),
        ("--for 1y", "1y"),
        ("--for 1h,5m", "before the end of the lease"),
        ("--disk 3", "'3'"),
        ("-g RTX_4090:99", "1 to 16"),
        ("-o 1x", "1x"),
        ("-i a,2b", "2b"),
        ("--out ../evil", "../evil"),
        ("--out a/../../evil", "evil"),
        ("--out /etc", "/etc"),
        ("--out '~/x'", "~/x"),
        ("--out .", "'.'"),
        ("-g 'open", "quot"),
        ("--cloud private", "private"),
        ("--min-net fast", "fast"),
        ("--min-net nan", "nan"),
        ("--min-reliability 98", "98"),
        ("--cuda twelve", "twelve"),
        ("--hours 0", "'0'"),
        ("--hours 1e9", "1e9"),
        ("--hours inf", "inf"),
        ("--hours nan", "nan"),
        ("--data 5PB", "5PB"),
        ("--data=-1GB", "-1GB"),
        ("--data 1.2.3", "1.2.3"),
        ("train.py", "train.py"),
    ],
)
def test_a_value_that_does_not_fit_is_named_in_the_error(typed: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.parse(typed, config.CELL, {})
    assert said in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "typed",
    ["--max-price x", "--budget 0", "--for 1y", "--disk 3", "-g T4:99", "-i 1x", "-o 1x", "--out ..", "--image -"],
)
def test_a_value_that_does_not_fit_has_a_hint_that_can_be_typed(typed: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.parse(typed, config.CELL, {})
    option, _, value = caught.value.hint.partition(" ")
    assert option.startswith("--")
    assert value
    config.parse(caught.value.hint, config.CELL, {})


def test_a_folder_for_results_is_taken_in_its_plain_form() -> None:
    assert config.parse("--out ./res/ --out a/b", config.CELL, {}).out == ("res", "a/b")


def test_the_environment_sets_defaults_and_the_line_wins_over_it() -> None:
    environ = {"GPUPLUG_GPU": "A100", "GPUPLUG_MAX_PRICE": "1.25"}
    assert config.parse("", config.CELL, environ).gpu == (GpuWish("A100"),)
    assert config.parse("-g T4", config.CELL, environ).gpu == (GpuWish("T4"),)
    assert config.parse("", config.CELL, environ).max_price == Money(1_250_000)


def test_an_unknown_verb_names_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean %gpu prices"):
        config.verb_of("price RTX_4090")
    assert config.verb_of("") == ("status", "")
    assert config.verb_of("prices T4") == ("prices", "T4")


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_names_every_option_of_the_verb(verb: str) -> None:
    text = config.help_text(verb)
    assert all(flag in text for option in config.table(verb) for flag in option.flags)


@given(st.text(max_size=80))
def test_any_line_parses_or_raises_a_usage_error(line: str) -> None:
    with contextlib.suppress(UsageError):
        config.parse(line, config.CELL, {})


def test_a_key_is_found_in_the_environment_first_and_then_in_the_vendors_file(tmp_path: Path) -> None:
    (tmp_path / ".vast_api_key").write_text("from-file\n")
    environ = {"HOME": str(tmp_path)}
    key = config.find_key("vast", environ)
    assert key is not None
    assert (key.secret.reveal(), key.source) == ("from-file", "~/.vast_api_key")
    key = config.find_key("vast", {**environ, "VAST_API_KEY": "from-env"})
    assert key is not None
    assert key.secret.reveal() == "from-env"
    assert "from-env" not in repr(key)


def test_without_any_key_the_platform_is_local(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    assert config.choose_platforms((), environ) == ("local",)
    assert config.choose_platforms(("any",), {**environ, "VAST_API_KEY": "k"}) == ("vast",)


def test_a_platform_whose_prices_need_no_key_can_be_asked_without_one(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    assert config.choose_platforms(("vast",), environ, keyless=["vast"]) == ("vast",)
    assert config.choose_platforms(("any",), environ, keyless=["vast"]) == ("vast",)
    assert config.choose_platforms(("local",), environ, keyless=["vast"]) == ("local",)


def test_an_unknown_platform_and_a_missing_key_say_what_to_do(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    with pytest.raises(UnknownNameError, match="did you mean vast"):
        config.choose_platforms(("vats",), environ)
    with pytest.raises(AuthError, match="VAST_API_KEY"):
        config.choose_platforms(("vast",), environ)


def test_the_home_folder_is_private(tmp_path: Path) -> None:
    made = config.home({"GPUPLUG_HOME": str(tmp_path / "h")})
    assert made.stat().st_mode & 0o777 == 0o700


def test_a_home_folder_that_cannot_be_made_is_a_ledger_error_that_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="Not a directory") as caught:
        config.home({"GPUPLUG_HOME": str(tmp_path / "file" / "h")})
    assert str(tmp_path / "file" / "h") in caught.value.message
    assert "GPUPLUG_HOME" in caught.value.hint


@pytest.mark.parametrize(
    "name",
    ["ssh:lab", "ssh:me@host", "ssh:me@host:2222", "ssh:10.0.0.7", "ssh:a.user@corp@gate", "ssh:me@[fe80::1]:22"],
)
def test_a_machine_of_ones_own_is_a_platform(name: str) -> None:
    assert config.choose_platforms((name, "local"), {}) == (name, "local")


@pytest.mark.parametrize(
    "name",
    [
        "ssh:",
        "ssh:me@",
        "ssh:@host",
        "ssh:-oProxyCommand=x",
        "ssh:host:",
        "ssh:host:0",
        "ssh:host:70000",
        "ssh:a/b",
        "ssh:::1",
    ],
)
def test_what_is_no_machine_is_refused_with_what_would_be_one(name: str) -> None:
    with pytest.raises(UsageError, match=r"is not \[user@\]host\[:port\]") as caught:
        config.choose_platforms((name,), {})
    assert "-p ssh:user@host[:port]" in caught.value.hint


@pytest.mark.parametrize(
    ("typed", "guess"),
    [("me@lab", "ssh:me@lab"), ("me@lab:22", "ssh:me@lab:22"), ("shh:me@lab", "ssh:me@lab"), ("vsat", "vast")],
)
def test_a_platform_that_is_none_names_the_nearest(typed: str, guess: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        config.choose_platforms((typed,), {})
    assert caught.value.hint == f"did you mean {guess}?"


def test_a_machine_keeps_host_user_and_port_apart() -> None:
    assert SshTarget.parse("me@corp@[::1]:22") == SshTarget("::1", "me@corp", 22)
    assert SshTarget.parse("lab") == SshTarget("lab")


def test_a_line_tells_what_was_typed_from_what_is_a_default() -> None:
    parsed = config.parse("--max-price 0.2 --new -i a", config.CELL, {"GPUPLUG_GPU": "H100"})
    assert parsed.typed == {"max_price", "new", "inputs"}


def test_an_image_that_no_registry_could_name_is_refused_before_anything_is_rented() -> None:
    with pytest.raises(UsageError, match="'a b' is no name of an image"):
        config.parse("--image 'a b'", config.CELL, {})
