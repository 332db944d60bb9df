"""How prices went and what was spent, as a figure in the notebook. Called from the main thread only."""

from __future__ import annotations

import base64
import datetime as dt
import importlib.util
import io
from typing import TYPE_CHECKING

from IPython.display import publish_display_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from gpuplug.ledger import SpendLine
    from gpuplug.market import Series

_SIZE_INCHES = (7.0, 3.2)
_MOST_SERIES = 8


def draw(found: Sequence[Series], text: str) -> bool:
    """Show the lowest prices over time, with `text` for front ends that show none; False without matplotlib.

    Draws on a canvas of its own: neither the user's figures nor the chosen backend notice.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.dates import date2num  # noqa: PLC0415 - only when something is drawn
    from matplotlib.figure import Figure  # noqa: PLC0415 - likewise

    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    for each in found[:_MOST_SERIES]:
        times = [dt.datetime.fromtimestamp(sample.at, dt.timezone.utc) for sample in each.samples]
        axes.plot(date2num(times), [sample.low.micros / 1e6 for sample in each.samples], ".-", label=each.title)
    axes.xaxis_date()
    axes.set_ylabel("lowest $/h for one GPU")
    axes.set_ylim(bottom=0)
    axes.tick_params(axis="x", rotation=20)
    axes.legend(fontsize="small")
    _show(figure, text)
    return True


def draw_spend(days: Sequence[SpendLine], text: str) -> bool:
    """Show the spend of each day by its kinds, with `text` for front ends that show no figure; False without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure  # noqa: PLC0415 - only when something is drawn

    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    names = [line.what for line in days]
    below = [0.0] * len(days)
    for kind, label in (("compute", "compute"), ("disk", "disk"), ("stopped", "stopped disk"), ("bytes", "bytes")):
        amounts = [getattr(line.parts, kind).micros / 1e6 for line in days]
        axes.bar(names, amounts, bottom=below, label=label)
        below = [low + amount for low, amount in zip(below, amounts, strict=True)]
    axes.set_ylabel("$ a day")
    axes.tick_params(axis="x", rotation=45, labelsize="small")
    axes.legend(fontsize="small")
    _show(figure, text)
    return True


def _show(figure: Figure, text: str) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    publish_display_data({"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": text})
