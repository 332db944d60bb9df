"""`%gpu prices`: what can be rented now and how prices went, as text and as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug import market
from gpuplug.engine.choosing import query_of
from gpuplug.frontends import asdata

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.config import Options
    from gpuplug.engine import Engine
    from gpuplug.market import Board

_SHOWN_OFFERS = 10
_AGE_WORTH_SAYING_S = 1.0
_MINUTE_S = 60


def prices(engine: Engine, options: Options, _say: Callable[[str], None]) -> str:
    """Return the cheapest offers, or with `--history` how prices went."""
    if options.history:
        return history(engine, options)
    board, query = engine.prices(options), query_of(options)
    if options.json:
        return asdata.text(market.board_data(board, query))
    shown = board.offers if options.verbose else board.offers[:_SHOWN_OFFERS]
    text = market.offers_table(shown, query) if shown else str(engine.why_no_prices(options, board))
    return "\n".join([text, *_notes(board, len(board.offers) - len(shown))])


def _notes(board: Board, more: int) -> list[str]:
    notes = [f"{more} more: -v shows all"] if more else []
    if board.dropped:
        rows = f"{board.dropped} row{'' if board.dropped == 1 else 's'}"
        notes.append(f"{rows} made no sense and {'is' if board.dropped == 1 else 'are'} not shown")
    if board.age_s >= _AGE_WORTH_SAYING_S:
        notes.append(f"seen {_age(board.age_s)} ago")
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
