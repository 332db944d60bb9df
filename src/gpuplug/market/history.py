"""How prices went: the samples of the ledger as one series for each model, platform and kind of cloud."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug import gpus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpuplug.ledger import Sample
    from gpuplug.types import GpuWish

_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one model on one platform, oldest first; never empty."""

    platform: str
    gpu: str
    cloud: str
    spot: bool
    samples: tuple[Sample, ...]

    @property
    def title(self) -> str:
        """What tells it from the others: `RTX 4090 vast community spot`."""
        return " ".join(part for part in (self.gpu, self.platform, self.cloud, "spot" if self.spot else "") if part)

    def sparkline(self, width: int = 40) -> str:
        """Return the lowest prices as bars in time, `width` at most; a stretch without a sample is a blank."""
        begin, end = self.samples[0].at, self.samples[-1].at
        columns = min(width, (end - begin) // min(sample.span for sample in self.samples) + 1)
        shown: dict[int, int] = {}
        for sample in self.samples:
            column = (sample.at - begin) * (columns - 1) // max(end - begin, 1)
            shown[column] = min(sample.low.micros, shown.get(column, sample.low.micros))
        low, high = min(shown.values()), max(shown.values())
        return "".join(_bar(shown[column], low, high) if column in shown else " " for column in range(columns))


def _bar(value: int, low: int, high: int) -> str:
    return _BARS[(value - low) * (len(_BARS) - 1) // (high - low) if high > low else 0]


def series(platform: str, samples: Iterable[Sample], wishes: Sequence[GpuWish]) -> list[Series]:
    """Return the series of the wished models, or of all."""
    groups: dict[tuple[str, str, bool], list[Sample]] = {}
    for sample in samples:
        if not wishes or any(gpus.satisfies(wish.name, sample.gpu) for wish in wishes):
            groups.setdefault((sample.gpu, sample.cloud, sample.spot), []).append(sample)
    return [
        Series(platform, gpu, cloud, spot, tuple(sorted(each, key=lambda sample: sample.at)))
        for (gpu, cloud, spot), each in sorted(groups.items())
    ]
