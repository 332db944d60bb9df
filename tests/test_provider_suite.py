"""The suite itself: each planted fault is caught by the promise that names it, and a deviation is neither hidden nor stale."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from toy_cloud import ToyCloud, toy_cloud
from toy_provider import ToyProvider

from gpuplug import errors
from gpuplug.providers import KNOWN, Known, load
from gpuplug.providers._calls import Call
from gpuplug.testing import FakeClock, ProviderSuite
from gpuplug.testing.stage import standing
from gpuplug.types import Instance, InstanceState, Money, Offer, OfferList, Query, Spec, Traits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuplug.providers import Access

ROOT = Path(__file__).parent.parent


@pytest.fixture
def cloud() -> Iterator[ToyCloud]:
    with toy_cloud() as made:
        yield made


class LaunchesAgain(ToyProvider):
    def launch(self, offer: Offer, spec: Spec, label: str) -> str:
        try:
            return super().launch(offer, spec, label)
        except errors.UnknownOutcomeError:
            return super().launch(offer, spec, label)


class CallsItRefused(ToyProvider):
    def launch(self, offer: Offer, spec: Spec, label: str) -> str:
        try:
            return super().launch(offer, spec, label)
        except errors.UnknownOutcomeError as error:
            raise errors.ProviderError(error.message) from error


class EndsLoudly(ToyProvider):
    def terminate(self, instance_id: str) -> None:
        if self.show(instance_id) is None:
            raise errors.UnknownNameError(f"no instance {instance_id!r}")
        super().terminate(instance_id)


class RemembersItsEnds(ToyProvider):
    ended: ClassVar[set[str]] = set()

    def terminate(self, instance_id: str) -> None:
        super().terminate(instance_id)
        self.ended.add(instance_id)

    def instances(self) -> list[Instance]:
        return [one for one in super().instances() if one.id not in self.ended]


class ShowsStrangers(ToyProvider):
    def instances(self) -> list[Instance]:
        rows = self._api.rows(Call("GET", "/instances", safe=True), "instances")
        return [
            Instance("toy", str(row.get("id")), str(row.get("label")), InstanceState.RUNNING, Money(1)) for row in rows
        ]


class ForgetsInOtherProcesses(ToyProvider):
    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self.own: list[str] = []

    def launch(self, offer: Offer, spec: Spec, label: str) -> str:
        self.own.append(super().launch(offer, spec, label))
        return self.own[-1]

    def instances(self) -> list[Instance]:
        return [one for one in super().instances() if one.id in self.own]


class DropsWhatItCannotRead(ToyProvider):
    def instances(self) -> list[Instance]:
        try:
            return super().instances()
        except errors.ReplyError:
            return []


class TakesDamageForAnEnd(ToyProvider):
    def show(self, instance_id: str) -> Instance | None:
        try:
            return super().show(instance_id)
        except errors.ReplyError:
            return None


class TakesARefusedKeyForAnEnd(ToyProvider):
    def show(self, instance_id: str) -> Instance | None:
        try:
            return super().show(instance_id)
        except errors.AuthError:
            return None


class TellsTheKey(ToyProvider):
    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self._spoken = access.key

    def instances(self) -> list[Instance]:
        try:
            return super().instances()
        except errors.AuthError as error:
            raise errors.AuthError(f"{error.message}: {self._spoken.reveal()}") from error


class KeyInTheUrl(ToyProvider):
    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self._query = {"api_key": access.key.reveal()}

    def offers(self, query: Query) -> OfferList:
        self._api.rows(Call("GET", "/offers", query=self._query, safe=True), "offers")
        return super().offers(query)


class PricesAreFloats(ToyProvider):
    def offers(self, query: Query) -> OfferList:
        found = super().offers(query)
        offers = [replace(one, price=Money(one.price.micros * 1.0)) for one in found.offers]  # type: ignore[arg-type]
        return replace(found, offers=tuple(offers))


class BelievesEveryPrice(ToyProvider):
    def offers(self, query: Query) -> OfferList:
        found = [replace(one, suspicious="") for one in super().offers(query).offers]
        return OfferList(tuple(sorted(found, key=lambda one: one.price)))


class OneBadRowHidesAll(ToyProvider):
    def _offer(self, row: Any) -> Offer | None:  # noqa: ANN401 - whatever was sent
        offer = super()._offer(row)
        if offer is None:
            raise errors.ReplyError("a row makes no sense")
        return offer


class SwallowsInterrupts(ToyProvider):
    def launch(self, offer: Offer, spec: Spec, label: str) -> str:
        try:
            return super().launch(offer, spec, label)
        except KeyboardInterrupt:
            raise errors.ProviderError("interrupted") from None


class TakesAnyLabel(ToyProvider):
    def launch(self, offer: Offer, spec: Spec, label: str) -> str:
        try:
            return super().launch(offer, spec, label)
        except errors.UsageError:
            return super().launch(offer, spec, "gp-" + label)


class ClaimsRest(ToyProvider):
    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self.traits = replace(self.traits, stop=True)

    def stop(self, instance_id: str) -> None:
        self.terminate(instance_id)

    def start(self, instance_id: str) -> None:
        self.show(instance_id)


class ListsNothingAtFirst(ToyProvider):
    asked = 0

    def instances(self) -> list[Instance]:
        self.asked += 1
        return super().instances() if self.asked > 1 else []


MUTANTS: list[tuple[type[ToyProvider], str]] = [
    (LaunchesAgain, "a create is sent once whatever is answered"),
    (CallsItRefused, "a lost reply to a launch is unknown and what was made is found by its label"),
    (CallsItRefused, "no fault in a launch leaves an instance that nobody knows of"),
    (EndsLoudly, "ending what is unknown is silent and ends nothing"),
    (EndsLoudly, "an end is seen in list and reading and bill and may be repeated"),
    (RemembersItsEnds, "an end that was accepted and not done is still listed"),
    (ShowsStrangers, "the list shows only what is ours and strangers live on"),
    (ForgetsInOtherProcesses, "another process sees and ends the same instance"),
    (DropsWhatItCannotRead, "a damaged list of instances is an error or lacks none"),
    (DropsWhatItCannotRead, "a reply that is no reply is a typed error and never a fact"),
    (TakesDamageForAnEnd, "a damaged reading is never taken for an end"),
    (TakesARefusedKeyForAnEnd, "a refused key is named by its place and never taken for an end"),
    (TellsTheKey, "a refused key is named by its place and never taken for an end"),
    (KeyInTheUrl, "the key goes into one header and nowhere else"),
    (PricesAreFloats, "offers make sense and come by true price and cost nothing"),
    (BelievesEveryPrice, "an absurd price is suspicious and never comes first"),
    (OneBadRowHidesAll, "an offer of nonsense is dropped and counted and hides no other"),
    (SwallowsInterrupts, "an interrupt in a launch gets through and what was made is found"),
    (TakesAnyLabel, "a label that is not ours or could do harm makes nothing"),
    (ClaimsRest, "an instance rests at its lower price and comes back with its disk"),
    (ListsNothingAtFirst, "a new instance is listed at once"),
]


@pytest.mark.parametrize(("mutant", "promise"), MUTANTS, ids=[f"{one.__name__}-{name[:30]}" for one, name in MUTANTS])
def test_each_planted_fault_is_caught_by_the_promise_that_names_it(
    cloud: ToyCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: type[ToyProvider], promise: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # the toy's machines are this computer
    monkeypatch.setattr("gpuplug.testing.stage.WAIT_S", 0.2)
    suite = type("Mutant", (ProviderSuite,), {"adapter": mutant})
    assert promise in suite.promises()  # type: ignore[attr-defined]
    with (
        standing(mutant, cloud, Query()) as stage,
        pytest.raises((AssertionError, pytest.fail.Exception, errors.GpuplugError)),
    ):
        getattr(suite(), "test_" + promise.replace(" ", "_"))(stage)


DEVIANTS = """
from gpuplug.testing import FakeClock, ProviderSuite
from gpuplug.testing.stage import standing
from gpuplug.types import Query
from toy_cloud import toy_cloud
from toy_provider import ToyProvider
import pytest
class Loud(ToyProvider):
    def logs(self, instance): return "noise"
class Suite(ProviderSuite):
    @pytest.fixture
    def market(self):
        with toy_cloud() as cloud: yield cloud
class TestHonest(Suite):
    adapter = Loud
    deviations = {"a log that does not exist is empty": "it is noisy"}
class TestStale(Suite):
    adapter = ToyProvider
    deviations = {"a log that does not exist is empty": "it was noisy once"}
class TestSilent(Suite):
    adapter = Loud
"""


def test_a_deviation_still_runs_and_fails_when_it_is_stale_or_not_declared(tmp_path: Path) -> None:
    (tmp_path / "test_deviants.py").write_text(DEVIANTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "-k", "log_that", "test_deviants.py"]
    environ = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", "PATH": ""}
    done = subprocess.run(command, check=False, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120)
    verdicts = {
        name: verdict
        for verdict, name in re.findall(r"^(XFAIL|FAILED|PASSED) \S+::Test(\w+)::", done.stdout, re.MULTILINE)
    }
    assert verdicts == {"Honest": "XFAIL", "Stale": "FAILED", "Silent": "FAILED"}, done.stdout
    assert "it is noisy" in done.stdout


def test_a_deviation_from_what_is_not_owed_is_refused() -> None:
    with pytest.raises(TypeError, match="a promise that nobody made"):
        type("Wrong", (ProviderSuite,), {"adapter": ToyProvider, "deviations": {"a promise that nobody made": "?"}})


def test_what_is_owed_follows_from_the_traits() -> None:
    class Able(ToyProvider):
        def __init__(self, access: Access) -> None:
            super().__init__(access)
            self.traits = Traits(
                free=True, stop=True, spot=True, account=True, logs=True, self_destroy=True, market=True
            )

    toy = type("Toy", (ProviderSuite,), {"adapter": ToyProvider}).promises()  # type: ignore[attr-defined]
    able = type("Most", (ProviderSuite,), {"adapter": Able}).promises()  # type: ignore[attr-defined]
    assert {"rest is refused where it would lose the disk", "a log that does not exist is empty"} <= set(toy) - set(
        able
    )
    assert {"an instance that rests can be ended", "the account can be read"} <= set(able) - set(toy)
    assert "a redirect is not followed and takes no key along" in set(toy) - set(able)


def test_the_recipe_in_contributing_is_the_toy_provider_and_its_steps_work(
    cloud: ToyCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Adding a provider\n")[2]
    blocks = re.findall(r"```python\n(.*?)```", recipe, re.DOTALL)
    written = [(ROOT / "tests" / name).read_text(encoding="utf-8") for name in ("toy_provider.py", "test_providers.py")]
    (line,) = [block for block in blocks if not any(block in text for text in written)]
    for name, known in eval("{" + line + "}", {"Known": Known}).items():  # noqa: S307 - our own recipe
        monkeypatch.setitem(KNOWN, name, known)
    provider = load("toy", cloud.access(FakeClock()))
    assert isinstance(provider, ToyProvider)
    assert [offer.gpu for offer in provider.offers(Query()).offers] == ["T1000"] * 3
    provider.close()


def test_the_toy_provider_is_short() -> None:
    assert len((ROOT / "tests" / "toy_provider.py").read_text(encoding="utf-8").splitlines()) < 80
