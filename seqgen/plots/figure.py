"""What all plots share: settings of our own whatever the user's are, colours, fonts, titles, and PNG at the end.

A plot is drawn inside `with plot_style():` on a figure from `new_figure`, and leaves as bytes from `to_png`.
"""

from __future__ import annotations

import io
import logging
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from seqgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Colour = tuple[float, float, float] | str
"""Red, green and blue, 0–1, or what matplotlib calls a colour."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")
"""Okabe and Ito's palette, told apart by colour-blind readers; without its yellow, too pale on white, and its black,
which is the text's."""

REFERENCE_COLOUR, GENERATED_COLOUR = PALETTE[0], PALETTE[1]
"""What was there and what the model made of it have the same colours in all plots."""

TEXT_COLOUR, GRID_COLOUR, BACKGROUND_COLOUR = "#333333", "#D0D0D0", "#F3F3F3"
"""Text and axes; lines behind the data; areas behind the data."""

HEATMAP_CMAP = "Blues"
"""The colour map of amounts from nothing (white) upwards."""

DPI = 110  # pixels an inch

_CHINESE = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "Noto Sans CJK JP"),
    *("PingFang SC", "Hiragino Sans GB", "Heiti SC", "Heiti TC", "STHeiti", "Microsoft YaHei", "SimHei", "SimSun"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Arial Unicode MS", "Unifont"),
)
"""Fonts with Chinese, the likeliest first."""


def palette_colour(index: int) -> tuple[float, float, float]:
    """Red, green and blue (0–1) of the series with this number; the palette comes back darker, then paler."""
    turn, place = divmod(index, len(PALETTE))
    code = PALETTE[place]
    share, towards = ((1.0, 0.0), (0.55, 0.0), (0.5, 1.0))[turn % 3]
    red, green, blue = (int(code[at : at + 2], 16) / 255 * share + (1 - share) * towards for at in (1, 3, 5))
    return red, green, blue


@contextmanager
def plot_style() -> Iterator[None]:
    """Matplotlib's own defaults with our settings on top, and no word from it on stderr; all as before at the end.

    Raises UserError where matplotlib is not installed.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    # Fonts not found, caches being built: nothing the reader of a plot can mend.
    logger.setLevel(logging.CRITICAL)
    try:
        try:
            import matplotlib
        except ImportError as error:
            raise UserError("--plot needs matplotlib: pip install matplotlib") from error
        # The backend is left alone: reading or setting it would look for a display.
        defaults: dict[Any, Any] = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
        with matplotlib.rc_context(defaults), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            matplotlib.rcParams.update(
                {
                    "font.family": _fonts(),
                    "font.size": 9,
                    # A title with dollars in it is not a formula.
                    "text.parse_math": False,
                    "text.color": TEXT_COLOUR,
                    "axes.labelcolor": TEXT_COLOUR,
                    "axes.edgecolor": TEXT_COLOUR,
                    "axes.linewidth": 0.6,
                    "axes.titlesize": 9,
                    "axes.axisbelow": True,
                    "axes.spines.top": False,
                    "axes.spines.right": False,
                    "xtick.color": TEXT_COLOUR,
                    "ytick.color": TEXT_COLOUR,
                    "xtick.labelsize": 8,
                    "ytick.labelsize": 8,
                    "xtick.major.width": 0.6,
                    "ytick.major.width": 0.6,
                    "legend.frameon": False,
                    "legend.fontsize": 8,
                    "lines.linewidth": 1.2,
                }
            )
            yield
    finally:
        logger.setLevel(level)


def _fonts() -> list[str]:
    """The font that comes with matplotlib, then the first one here that has Chinese: each glyph from the first font
    that has it."""
    from matplotlib import font_manager

    present = set(font_manager.fontManager.get_font_names())
    return ["DejaVu Sans", *[name for name in _CHINESE if name in present][:1]]


def new_figure(width: float, height: float, title: str = "", *, right_margin: float = 0.0) -> Figure:
    """An empty white figure of so many inches that arranges its parts itself.

    The title stands at its left, on one line, cut to leave `right_margin` inches at its right.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    whole = _one_line(title)
    if whole:
        drawn = figure.suptitle(whole, x=0.1 / width, ha="left", fontsize=12)
        room = (width - right_margin - 0.2) * DPI
        # No glyph is narrower than two pixels: what lies beyond cannot be seen, and need not be measured.
        kept = min(len(whole), int(room / 2))
        while kept and drawn.get_window_extent().width > room:
            kept = kept * 9 // 10
            drawn.set_text(whole[:kept].rstrip() + "…")
    return figure


def _one_line(text: str) -> str:
    """The text without line breaks and control characters, which fonts have no glyph for."""
    return " ".join("".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in text).split())


def legend(figure: Figure, entries: Sequence[tuple[str, Colour]], *, below: bool = False) -> None:
    """Names and their colours outside the axes: a column at the right, or a row `below`."""
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=shade, label=label) for label, shade in entries]
    if below:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1.2)
    elif handles:
        figure.legend(handles=handles, loc="outside right upper", handlelength=1.2)


def to_png(figure: Figure) -> bytes:
    """The figure as PNG: the same bytes for the same figure, neither date nor version inside."""
    with plot_style():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()
