"""`%gpu prices`: what can be rented now and how prices went, as text and as data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpuplug import market
from gpuplug.engine.bidding import BID_MARGIN
from gpuplug.engine.choosing import query_of
from gpuplug.errors import NoOfferError
from gpuplug.frontends import asdata

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.config import Options
    from gpuplug.engine import Engine
    from gpuplug.errors import GpuplugError
    from gpuplug.market import Board

_SHOWN_OFFERS = 10
_AGE_WORTH_SAYING_S = 1.0
_MINUTE_S = 60


class NothingError(NoOfferError):
    """No offer meets the question. `shown` is the whole answer all the same, as text or as data."""

    def __init__(self, message: str, *, hint: str, shown: str) -> None:
        super().__init__(message, hint=hint)
        self.shown = shown


def prices(engine: Engine, options: Options, _say: Callable[[str], None]) -> str:
    """Return the cheapest offers, or with `--history` how prices went.

    Raises:
        NothingError: nothing meets the question; names the nearest offer and what to type.
        UnknownNameError: there is no such GPU.
    """
    if options.history:
        return history(engine, options)
    seen, query = engine.prices(options), query_of(options)
    board = _under_the_cap(seen, options)
    data = asdata.text(market.board_data(board, query)) if options.json else ""
    if not board.offers:
        why = _all_dearer(seen, options) if seen.offers else engine.why_no_prices(options, seen)
        raise _nothing(why, board, data)
    shown = board.offers if options.verbose else board.offers[:_SHOWN_OFFERS]
    lines = [market.offers_table(shown, query), *_notes(board, len(board.offers) - len(shown))]
    if dearer := len(seen.offers) - len(board.offers):
        lines.append(f"{dearer} above {options.max_price}/h not shown")
    return data or "\n".join(lines)


def _under_the_cap(board: Board, options: Options) -> Board:
    """Leave out what is dearer than a cap that was typed; the usual cap is for renting."""
    if "max_price" not in options.typed:
        return board
    return replace(board, offers=tuple(offer for offer in board.offers if offer.price <= options.max_price))


def _all_dearer(board: Board, options: Options) -> NoOfferError:
    cheapest = min(board.offers, key=lambda offer: offer.price)
    return NoOfferError(
        f"nothing under {options.max_price}/h; the cheapest is {cheapest.price}/h ({cheapest.gpu} on {cheapest.provider})",
        hint="raise --max-price, or leave it out",
    )


def _nothing(why: GpuplugError, board: Board, data: str) -> GpuplugError:
    if not isinstance(why, NoOfferError):
        return why
    notes = [note for note in _notes(board, 0) if note not in why.message]
    return NothingError(why.message, hint=why.hint, shown=data or "\n".join([str(why), *notes]))


def _notes(board: Board, more: int) -> list[str]:
    notes = [f"{more} more: -v shows all"] if more else []
    if board.dropped:
        rows = f"{board.dropped} row{'' if board.dropped == 1 else 's'}"
        notes.append(f"{rows} made no sense and {'is' if board.dropped == 1 else 'are'} not shown")
    if board.age_s >= _AGE_WORTH_SAYING_S:
        notes.append(f"seen {_age(board.age_s)} ago")
    if any(offer.spot for offer in board.offers):
        notes.append(f"spot prices are at the least bid; a rent bids {BID_MARGIN:g} x that, within --max-price")
    if board.offers and board.without:
        notes.append(f"asked, and nothing there that fits: {', '.join(board.without)}")
    return [*notes, *board.troubles]


def _age(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 2 * _MINUTE_S else f"{seconds / _MINUTE_S:.0f} min"


def history(engine: Engine, options: Options) -> str:
    """Return how prices went, as this computer saw them."""
    found = engine.price_history(options)
    if options.json:
        return asdata.text(market.history_data(found))
    if found:
        return market.history_text(found)
    names = " ".join(wish.name for wish in options.gpu)
    return f"no prices of {names or 'any GPU'} were seen yet; each `%gpu prices {names or 'RTX_4090'}` adds to them"
