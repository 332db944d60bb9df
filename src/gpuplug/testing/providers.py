"""Promises that every adapter must keep: subclass `ProviderSuite` in a test module and pytest runs those that it owes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from gpuplug.testing.answers import Answers
from gpuplug.testing.nonsense import Nonsense
from gpuplug.testing.powers import Powers
from gpuplug.testing.renting import Renting
from gpuplug.testing.secrecy import Secrecy
from gpuplug.testing.stage import Stage, standing
from gpuplug.types import Query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuplug.testing.market import Market


class ProviderSuite(Nonsense, Secrecy, Answers, Powers, Renting):
    """What a `Provider` promises, seen from outside.

    A subclass names its `adapter` and gives the fixture `market`: a fresh account with the platform, or with something
    that behaves like it. Which promises are owed is read from the adapter's traits: a power that is claimed must be
    there, one that is not must be refused, and one with a key must bear every damage that an API's reply can have.
    `query` finds the machine that is rented again and again.
    """

    query: ClassVar[Query] = Query()

    @pytest.fixture
    def market(self) -> Market:
        """Return a fresh account; the subclass closes it afterwards."""
        raise NotImplementedError

    @pytest.fixture
    def stage(self, market: Market) -> Iterator[Stage]:
        """Return what a promise is tested on."""
        with standing(type(self).adapter, market, self.query) as stage:
            yield stage
