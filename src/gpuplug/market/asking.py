"""Asking markets side by side, each under its lease; what was seen a moment ago is not asked for again."""

from __future__ import annotations

import math
import queue
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug.errors import GpuplugError, NotReadyError, UnknownNameError, UnreachableError
from gpuplug.ledger import Seen
from gpuplug.market import keeping
from gpuplug.market.history import Series, series
from gpuplug.types import OfferList, Query

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpuplug.ledger import Ledger
    from gpuplug.providers import Provider
    from gpuplug.types import Clock, GpuWish, Offer

DEADLINE_S = 45.0  # a search blocks for 30 s at most, perhaps after another process's
_PAUSE_S = 0.05
_PATIENCE_S = 1.0  # with something to show at hand
_REMEMBERED = 32


@dataclass(frozen=True, slots=True)
class Source:
    """A provider, and the name under which all processes know this market: platform and address.

    What it answers to an account (`keyed`) and to anybody are two things, though the market is one.
    """

    provider: Provider
    key: str
    keyed: bool = True


@dataclass(frozen=True, slots=True)
class Board:
    """Offers that meet the question, best first: by the order of the wishes, then by true price.

    `dropped` rows made no sense. `age_s` is the age of the oldest part, 0 when all was asked for just now.
    `troubles` says for each market that could not be asked why, or that it is shown from before. `without` names the
    platforms that answered and have nothing that meets the question.
    """

    offers: tuple[Offer, ...]
    dropped: int = 0
    age_s: float = 0.0
    troubles: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(slots=True)
class _Part:
    """What is known of one market: an answer with its moment, or why there is none."""

    source: Source
    found: OfferList | None = None
    taken: float = 0.0
    error: GpuplugError | None = None

    def question(self, query: Query) -> str:
        """Return the name of `query` as it is put to this market."""
        return keeping.question(query, keyed=self.source.keyed)


_Answer = tuple[_Part, OfferList | Exception]


class Market:
    """One for each engine. Keeps everything in the ledger; may be used from several threads."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._book = ledger.prices
        self._clock = clock
        self._memory: dict[tuple[str, str], tuple[float, OfferList]] = {}

    def offers(self, sources: Iterable[Source], query: Query, max_age_s: float = 0.0) -> Board:
        """Return what all `sources` offer, at most `max_age_s` old; older, with its age, where a market does not answer.

        Costs nothing. With `max_age_s` 0 everything is asked for now, and nothing older is shown.

        Raises:
            GpuplugError: what the only market, or each of several, failed with.
        """
        began = self._now()
        parts = [self._known(source, query, began - max_age_s) for source in sources]
        self._ask([part for part in parts if part.found is None], query, began)
        if max_age_s > 0:
            for part in parts:
                self._fall_back(part, query)
        return self._board(parts, query)

    def history(self, sources: Iterable[Source], wishes: Sequence[GpuWish]) -> list[Series]:
        """Return how the prices of the wished models went, or of all; asks no market."""
        return [
            each for source in sources for each in series(source.provider.name, self._book.history(source.key), wishes)
        ]

    def _known(self, source: Source, query: Query, since: float) -> _Part:
        """Return what was seen of `source` after `since`; a platform that is free is no market and always asked."""
        part = _Part(source)
        if not source.provider.traits.free:
            self._read(part, part.question(query), since)
        return part

    def _read(self, part: _Part, question: str, since: float) -> bool:
        taken = self._book.taken(part.source.key, question)
        if taken is None or not since < taken <= self._now():
            return False
        kept = self._memory.get((part.source.key, question))
        if kept is None or kept[0] != taken:
            seen = self._book.seen(part.source.key, question)
            found = keeping.from_bytes(seen.body) if seen else None
            if seen is None or found is None:
                return False
            kept = self._remember(part.source.key, question, seen.taken, found)
        part.taken, part.found = kept
        return True

    def _remember(self, key: str, question: str, taken: float, found: OfferList) -> tuple[float, OfferList]:
        while len(self._memory) >= _REMEMBERED:
            self._memory.pop(next(iter(self._memory)), None)
        self._memory[key, question] = (taken, found)
        return taken, found

    def _ask(self, parts: list[_Part], query: Query, began: float) -> None:
        """Fill `parts`: each market is asked by a thread of its own as soon as its turn comes, all at the same time."""
        done: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        end = self._clock.monotonic() + DEADLINE_S
        waiting, asked = list(parts), dict[int, tuple[_Part, str]]()
        try:
            while waiting or asked:
                for part in tuple(waiting):
                    holder = self._turn(part, query, began, end)
                    if holder is None:
                        continue
                    waiting.remove(part)
                    if holder:
                        asked[id(part)] = (part, holder)
                        threading.Thread(target=_search, args=(part, query, done), daemon=True).start()
                answer = self._answer(done, patient=not waiting) if asked else None
                if answer is not None:
                    part, holder = asked.pop(id(answer[0]))
                    self._settle(part, query, answer[1], holder)
                elif waiting:
                    self._clock.sleep(_PAUSE_S)
        finally:  # an interrupt included: nobody must wait for a lease whose holder has left
            for part, holder in asked.values():
                self._end_turn(part, holder)

    def _answer(self, done: queue.SimpleQueue[_Answer], *, patient: bool) -> _Answer | None:
        try:
            return done.get(timeout=DEADLINE_S) if patient else done.get_nowait()
        except queue.Empty:
            if patient:
                raise UnreachableError(f"no answer in {DEADLINE_S:.0f} s") from None
            return None

    def _turn(self, part: _Part, query: Query, began: float, end: float) -> str | None:
        """Try to get the lease: its holder's name, "" when nobody need or may ask, None when it is to be tried again."""
        source = part.source
        if source.provider.traits.free:
            return source.key
        holder, question = secrets.token_hex(8), part.question(query)
        pace, searches = source.provider.traits.searches, max(1, len(query.gpus))
        wait = self._book.take_turn(source.key, holder, self._now(), pace, searches)
        if self._read(part, question, math.nextafter(began, 0)):  # another process has asked the same meanwhile
            self._book.end_turn(source.key, holder)
            return ""
        if not wait:
            return holder
        older = self._book.taken(source.key, question) is not None
        if self._clock.monotonic() < end - (DEADLINE_S - _PATIENCE_S if older else 0):
            return None
        part.error = NotReadyError(f"{source.provider.name} may be asked again in {wait:.0f} s", retry_after=wait)
        return ""

    def _settle(self, part: _Part, query: Query, outcome: OfferList | Exception, holder: str) -> None:
        if isinstance(outcome, OfferList):
            part.found, part.taken = outcome, self._now()
            if not part.source.provider.traits.free:
                self._keep(part, query, outcome)
                self._end_turn(part, holder)
            return
        again = self._now() + outcome.retry_after if isinstance(outcome, NotReadyError) else 0.0
        self._end_turn(part, holder, again)
        if not isinstance(outcome, GpuplugError):
            raise outcome
        part.error = outcome

    def _keep(self, part: _Part, query: Query, found: OfferList) -> None:
        question, traits = part.question(query), part.source.provider.traits
        samples = keeping.samples(found.offers, query, part.taken, whole=not traits.market)
        self._book.store(part.source.key, question, Seen(part.taken, keeping.to_bytes(found)), samples)
        self._remember(part.source.key, question, part.taken, found)

    def _end_turn(self, part: _Part, holder: str, until: float = 0.0) -> None:
        if not part.source.provider.traits.free:
            self._book.end_turn(part.source.key, holder, until)

    def _fall_back(self, part: _Part, query: Query) -> None:
        """Show what was seen before where a market cannot be asked; a GPU that it does not know is no such case."""
        if part.error is not None and not isinstance(part.error, UnknownNameError):
            self._read(part, part.question(query), 0.0)

    def _board(self, parts: list[_Part], query: Query) -> Board:
        answered = [part for part in parts if part.found is not None]
        failed = [part.error for part in parts if part.error is not None and part.found is None]
        if failed and not answered:
            raise failed[0]
        now = self._now()
        lists = [(part.source.provider.traits.free, part.found) for part in answered if part.found is not None]
        offers = [offer for free, found in lists for offer in found.offers if free or not query.unmet(offer)]
        there = {offer.provider for offer in offers}
        silent = {part.source.provider.name for part in parts if part.found is None and _trouble(part)}
        ages = [now - part.taken for part in answered if not part.source.provider.traits.free]
        return Board(
            tuple(ranked(offers, query)),
            sum(found.dropped for _, found in lists),
            max(ages, default=0.0),
            tuple(trouble for part in parts if (trouble := _trouble(part))),
            tuple(name for part in parts if (name := part.source.provider.name) not in there | silent),
        )

    def _now(self) -> float:
        return self._clock.now().timestamp()


def ranked(offers: Iterable[Offer], query: Query) -> list[Offer]:
    """Return offers in the order of the wishes, then by true price; what looks wrong comes last."""

    def rank(offer: Offer) -> tuple[bool, int, int, float]:
        return bool(offer.suspicious), query.preference(offer), query.total(offer).micros, -offer.reliability

    return sorted(offers, key=rank)


def _trouble(part: _Part) -> str:
    """Say why a market was not asked; "" when it was: a GPU that it does not know is an answer too."""
    if part.error is None or isinstance(part.error, UnknownNameError):
        return ""
    shown = "shown from before" if part.found is not None else "not shown"
    return f"{part.source.provider.name} is {shown}: {part.error.message}"


def _search(part: _Part, query: Query, done: queue.SimpleQueue[_Answer]) -> None:
    try:
        done.put((part, part.source.provider.offers(query)))
    except Exception as error:  # noqa: BLE001 - raised again by the thread that waits for it
        done.put((part, error))
