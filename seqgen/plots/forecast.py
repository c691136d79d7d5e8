"""Plots of forecasts: history, point forecast and prediction intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seqgen.plots.figure import (
    GENERATED_COLOUR,
    GRID_COLOUR,
    REFERENCE_COLOUR,
    TEXT_COLOUR,
    new_figure,
    plot_style,
    to_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = npt.NDArray[np.float64]

_WIDTH, _HEIGHT = 9.0, 2.3  # inches of one panel
_MAX_PANELS = 12
_MIN_ALPHA, _MAX_ALPHA = 0.13, 0.32  # opacity of the widest and the narrowest interval


@dataclass(frozen=True)
class ForecastCurve:
    """One forecast.

    Attributes:
        index: Times (datetime64) or row numbers, shape (horizon,).
        point: Point forecast, shape (horizon,).
        bands: Prediction intervals: level in percent, lower and upper limit, each of shape (horizon,).
    """

    index: npt.NDArray[Any]
    point: Values
    bands: tuple[tuple[float, Values, Values], ...]


@dataclass(frozen=True)
class Panel:
    """One column: its history at `index`, and its forecasts, oldest first."""

    title: str
    index: npt.NDArray[Any]
    history: Values
    curves: tuple[ForecastCurve, ...]


def forecast_plot(panels: Sequence[Panel], title: str = "") -> bytes:
    """Draw panels below each other as PNG: history, forecasts and prediction intervals.

    Only the first twelve panels are drawn; the title then says so.
    """
    shown = panels[:_MAX_PANELS]
    if len(shown) < len(panels):
        title = f"{title + ': ' if title else ''}the first {len(shown)} of {len(panels):,}"
    with plot_style():
        figure = new_figure(_WIDTH, 0.7 + _HEIGHT * len(shown) + 0.3 * bool(title), title)
        for axes, panel in zip(figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True):
            _draw(axes, panel)
        _legend(figure, shown)
        return to_png(figure)


def _draw(axes: Axes, panel: Panel) -> None:
    axes.plot(panel.index, panel.history, color=REFERENCE_COLOUR, linewidth=1.0)
    for curve in panel.curves:
        single = len(curve.index) == 1  # a line of one point would be invisible
        bands = sorted(curve.bands, reverse=True)
        for (_, low, high), shade in zip(bands, band_opacities(len(bands)), strict=True):
            if single:
                axes.vlines(curve.index, low, high, color=GENERATED_COLOUR, alpha=shade, linewidth=6)
            else:
                axes.fill_between(curve.index, low, high, color=GENERATED_COLOUR, alpha=shade, linewidth=0)
        axes.plot(curve.index, curve.point, color=GENERATED_COLOUR, linewidth=1.3, marker="o" if single else None,
                  markersize=3)  # fmt: skip
    for curve in panel.curves:
        axes.axvline(curve.index[0], color=GRID_COLOUR, linewidth=0.7, zorder=0)
    axes.set_title(panel.title, loc="left", color=TEXT_COLOUR)
    axes.margins(x=0.01)
    axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.4)
    if np.issubdtype(panel.index.dtype, np.datetime64):
        from matplotlib import dates

        dated: Any = dates
        locator = dated.AutoDateLocator(maxticks=10)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dated.ConciseDateFormatter(locator))
    else:
        axes.set_xlabel("row")


def band_opacities(count: int) -> list[float]:
    """Opacity of each interval, widest first."""
    return [float(shade) for shade in np.linspace(_MIN_ALPHA, _MAX_ALPHA, count)]


def _legend(figure: Figure, panels: Sequence[Panel]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    levels = sorted({level for panel in panels for curve in panel.curves for level, _, _ in curve.bands})
    shades = band_opacities(len(levels))[::-1]
    handles: list[Any] = [Line2D([], [], color=REFERENCE_COLOUR, label="history"),
                          Line2D([], [], color=GENERATED_COLOUR, label="forecast")]  # fmt: skip
    handles += [
        Patch(facecolor=GENERATED_COLOUR, alpha=shade, label=f"{level:g} % interval")
        for level, shade in zip(levels, shades, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1.4)
