"""Learning curves: the training and validation losses of runs, over time and over tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seqgen.plots.figure import GRID_COLOUR, TEXT_COLOUR, legend_name, new_figure, palette_colour, plot_style, to_png
from seqgen.untrusted import is_number, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_MODELS = 21  # colours
_MAX_NAME = 40  # characters
_TIME_UNITS = ((2 * 3600, 3600, "hours"), (120, 60, "minutes"), (0, 1, "seconds"))  # from so many seconds on
_TOKEN_UNITS = ((2e9, 1e9, "billion tokens"), (2e6, 1e6, "million tokens"), (2e3, 1e3, "thousand tokens"),
                (0, 1, "tokens"))  # fmt: skip


@dataclass(frozen=True)
class LearningCurve:
    """A run: its name, and the records of its metrics.jsonl."""

    name: str
    records: Sequence[Mapping[str, Any]]

    def points(self, x: str, y: str) -> tuple[list[float], list[float]]:
        """The points of the records that have both numbers."""
        pairs: list[tuple[Any, Any]] = [(record.get(x), record.get(y)) for record in self.records]
        found = [(float(a), float(b)) for a, b in pairs if is_number(a) and is_number(b)]
        return [a for a, _ in found], [b for _, b in found]


def learning_curves(curves: Sequence[LearningCurve], title: str = "") -> bytes:
    """Draw a PNG of the losses of one or several runs: validation losses solid, training losses dashed.

    The first loss of a run, from before much was learnt, may lie above the figure. Only the first 21 runs are drawn;
    the title then says so.
    """
    shown = curves[:_MAX_MODELS]
    if len(shown) < len(curves):
        title = f"{title + ': ' if title else ''}the first {len(shown)} of {len(curves):,}"
    with plot_style():
        from matplotlib.lines import Line2D

        rows = math.ceil((len(shown) + 2) / 4)
        figure = new_figure(9.5, 3.9 + 0.22 * rows + 0.3 * bool(title), title)
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, x, units in ((left, "seconds", _TIME_UNITS), (right, "tokens", _TOKEN_UNITS)):
            _draw(axes, shown, x, units)
        left.set_ylabel("loss")
        if (limits := loss_limits(shown)) is not None:
            left.set_ylim(*limits)
        handles = [
            Line2D([], [], color=palette_colour(number), label=_label(curve.name)) for number, curve in enumerate(shown)
        ]
        handles += [Line2D([], [], color=TEXT_COLOUR, label="validation"),
                    Line2D([], [], color=TEXT_COLOUR, label="training", linestyle="--", linewidth=0.9)]  # fmt: skip
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), handlelength=2.2)
        return to_png(figure)


def _draw(axes: Axes, curves: Sequence[LearningCurve], x: str, units: Sequence[tuple[float, float, str]]) -> None:
    longest = max((at for curve in curves for at in curve.points(x, x)[0] if at > 0), default=0.0)
    divisor, unit = next((divisor, unit) for least, divisor, unit in units if longest >= least)
    for number, curve in enumerate(curves):
        for y, style, width in (("train_loss", "--", 0.9), ("val_loss", "-", 1.4)):
            at, losses = curve.points(x, y)
            marker = "o" if len(at) == 1 else None  # a line of one point would be invisible
            axes.plot([value / divisor for value in at], losses, linestyle=style, linewidth=width, marker=marker,
                      markersize=3, color=palette_colour(number))  # fmt: skip
    axes.set_xlabel(unit)
    axes.set_xlim(left=0)
    axes.grid(color=GRID_COLOUR, linewidth=0.4)


def loss_limits(curves: Sequence[LearningCurve]) -> tuple[float, float] | None:
    """The range of the losses, without the first of each run that has more; None if it is empty."""
    losses = []
    for curve in curves:
        for name in ("train_loss", "val_loss"):
            _, found = curve.points("step", name)
            losses += found[1:] if len(found) > 2 else found
    if not losses or min(losses) == max(losses):
        return None
    margin = 0.06 * (max(losses) - min(losses))
    return min(losses) - margin, max(losses) + margin


def _label(name: str) -> str:
    line = one_line(name)
    return legend_name(line if len(line) <= _MAX_NAME else "…" + line[1 - _MAX_NAME :])
