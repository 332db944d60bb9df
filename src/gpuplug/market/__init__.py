"""Offers of all platforms in one list, by true price: what can be rented now, how old that is, and how prices went.

All processes of this computer share what they have seen and one lease for each market to ask it: whoever holds the
lease asks, within the provider's pace, and the others read. Blocking; no thread outlives a call by more than one search.
"""

from __future__ import annotations

from gpuplug.market.asking import Board, Market, Source
from gpuplug.market.history import Series
from gpuplug.market.showing import board_data, history_data, history_text, offers_table

__all__ = [
    "Board",
    "Market",
    "Series",
    "Source",
    "board_data",
    "history_data",
    "history_text",
    "offers_table",
]
