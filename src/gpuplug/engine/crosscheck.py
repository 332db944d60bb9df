"""The vendors' own clients are asked the same as our adapters, and what differs is shown: `%gpu doctor --cross-check`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuplug import config
from gpuplug.engine.doctor import Finding
from gpuplug.errors import GpuplugError, ProviderError
from gpuplug.outputs import clean_text
from gpuplug.providers import accountable
from gpuplug.types import Money, Query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpuplug.config import Key
    from gpuplug.providers import Provider

PACKAGES = {"vast": "vastai", "runpod": "runpod"}
_SCRIPT = Path(__file__).parent / "vendors.py"
_DEADLINE_S = 90.0
_MOST_DRIFT = Money.dollars("0.05")  # balances move every few seconds


def cross_check_all(provider: Callable[[str], Provider]) -> Iterator[Finding]:
    """Do so for every platform that has a key and a client."""
    for name in config.enabled():
        if (key := config.find_key(name)) is not None and name in PACKAGES:
            yield from cross_check(provider(name), key)


def cross_check(provider: Provider, key: Key, python: str = sys.executable) -> Iterator[Finding]:
    """Yield what the vendor's client and our adapter say; `python` is where that client is installed.

    Blocks for a minute and a half at most. The key goes through a pipe.
    """
    what = f"{PACKAGES[provider.name]} client"
    try:
        theirs = _ask(provider.name, key, python)
        ours = sorted(instance.id for instance in provider.instances())
        yield _instances(what, ours, theirs)
        yield from _balance(what, provider, theirs)
        found = len(provider.offers(Query()).offers)
        yield Finding(
            what, fine=True, text=f"sees {theirs['offers']} kinds of offers, we see {found} within our limits"
        )
    except GpuplugError as error:
        yield Finding(what, fine=False, text=error.message, hint=error.hint)


def _instances(what: str, ours: list[str], theirs: dict[str, Any]) -> Finding:
    listed = {str(name) for name in theirs["instances"]}
    missing = [name for name in ours if name not in listed]
    if missing:
        return Finding(what, fine=False, text=f"does not list {', '.join(missing)}, which we list", hint="%gpu ls")
    others = len(listed) - len(ours)
    return Finding(
        what, fine=True, text=f"lists the same {len(ours)} instances of ours, and {others} without our label"
    )


def _balance(what: str, provider: Provider, theirs: dict[str, Any]) -> Iterator[Finding]:
    power = accountable(provider)
    ours = power.account().balance if power else None
    if ours is None or not theirs["balance"]:
        return
    told = Money.dollars(str(theirs["balance"]))
    fine = abs((told - ours).micros) <= _MOST_DRIFT.micros
    yield Finding(what, fine, f"says a balance of {told}, we read {ours}", "" if fine else "compare with the console")


def _ask(platform: str, key: Key, python: str) -> dict[str, Any]:
    package = PACKAGES[platform]
    try:
        done = subprocess.run(
            [python, str(_SCRIPT), platform],
            input=key.secret.reveal(),
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProviderError(f"{package} gives no answer in {_DEADLINE_S:.0f} s") from error
    if done.returncode != 0:
        last = clean_text(done.stderr.strip().rpartition("\n")[2])[:200]
        absent = last.startswith("ModuleNotFoundError")
        raise ProviderError(
            f"{package} fails: {last.replace(key.secret.reveal(), '***')}",
            hint="pip install 'gpuplug[sdk]'"
            if absent
            else f"this is an error of {package} itself; what we read is above",
        )
    try:
        answer: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError as error:
        raise ProviderError(f"{package} answers with no facts") from error
    return answer
