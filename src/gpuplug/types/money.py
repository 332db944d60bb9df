"""Exact money; what costs money has its price in it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

SECONDS_PER_HOUR = 3600
_MICROS = 1_000_000
_LEAST_SHOWN = 51
_MOST_DIGITS = 15


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An exact amount in micro-dollars; prices per hour use it too."""

    micros: int

    @classmethod
    def dollars(cls, amount: str | int | Decimal) -> Money:
        """Round `amount` US dollars to the nearest micro-dollar (half to even).

        Raises:
            ValueError: it is no finite number, or more than all the money there is.
        """
        try:
            value = Decimal(amount)
        except InvalidOperation:
            msg = f"{amount!r} is not an amount of dollars"
            raise ValueError(msg) from None
        if not value.is_finite() or value.adjusted() > _MOST_DIGITS:
            msg = f"{amount!r} is not an amount of dollars"
            raise ValueError(msg)
        return cls(int((value * _MICROS).to_integral_value(ROUND_HALF_EVEN)))

    def for_seconds(self, seconds: float) -> Money:
        """Return what `seconds` cost at this price per hour."""
        exact = Decimal(self.micros) * Decimal(str(seconds)) / SECONDS_PER_HOUR
        return Money(int(exact.to_integral_value(ROUND_HALF_EVEN)))

    def __add__(self, other: Money) -> Money:
        return Money(self.micros + other.micros)

    def __sub__(self, other: Money) -> Money:
        return Money(self.micros - other.micros)

    def __str__(self) -> str:
        """Dollars with two digits, below a dollar with up to four where they say something.

        `$1.20`, `$0.05`, `$0.255`, `$0.0046`; what rounds to nothing is `<$0.0001`.
        """
        value = Decimal(self.micros) / _MICROS
        if 0 < self.micros < _LEAST_SHOWN:
            return "<$0.0001"
        dollars, _, digits = f"{value:.{2 if abs(self.micros) >= _MICROS else 4}f}".partition(".")
        return f"${dollars}.{digits.rstrip('0'):0<2}"

    def exact(self) -> str:
        """Return all six digits without the sign `$`: `0.004600`."""
        return f"{Decimal(self.micros) / _MICROS:.6f}"


ZERO = Money(0)
