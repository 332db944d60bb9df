"""The GPUs of a machine that nobody rents out: what `nvidia-smi` names, as offers that cost nothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gpuplug.providers._reading import clean
from gpuplug.types import ZERO, Offer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpuplug.types import GpuWish, Query

NO_GPU = "CPU"
_NAME = 60


def counted(names: Iterable[object]) -> dict[str, int]:
    """Return how many there are of each model; "CPU" when there is none."""
    return dict(Counter(name for one in names if (name := clean(one, _NAME)))) or {NO_GPU: 1}


def free_offers(provider: str, machine: str, models: Mapping[str, int], query: Query) -> tuple[Offer, ...]:
    """Return one offer for each model that is wished for, with as many of it as the first fitting wish wants.

    A machine that nobody rents out is no spot machine.
    """
    return tuple(
        Offer(provider, model, machine, model, count, ZERO, reliability=1.0)
        for model, there in models.items()
        if not query.spot and (count := _count(model, there, query.gpus))
    )


def _count(model: str, there: int, wishes: tuple[GpuWish, ...]) -> int:
    if not wishes:
        return there
    return next((wish.count for wish in wishes if wish.count <= there and wish.matches(model, wish.count)), 0)
