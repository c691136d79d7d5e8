"""Figures: style independent of the user's settings, colours, fonts, titles, legends, and PNG output.

A plot is drawn inside `with plot_style():` on a figure from `new_figure`; `to_png` returns its bytes.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from seqgen.errors import PlotWarning, UserError
from seqgen.untrusted import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Colour = tuple[float, float, float] | str
"""Red, green and blue (0–1), or a colour name of matplotlib."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")
"""Okabe and Ito's palette for colour-blind readers, without its yellow, too pale on white, and its black, the colour of
text."""

REFERENCE_COLOUR, GENERATED_COLOUR = PALETTE[0], PALETTE[1]
"""The colours of reference data and of model output in all plots."""

TEXT_COLOUR, GRID_COLOUR, BACKGROUND_COLOUR = "#333333", "#D0D0D0", "#F3F3F3"
"""Colours of text and axes, of lines behind the data, and of areas behind the data."""

HEATMAP_CMAP = "Blues"
"""Colour map of amounts, from zero (white) upwards."""

DPI = 110  # pixels per inch
_SHOWN = 5  # characters without a glyph that a message names

_CHINESE = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "Noto Sans CJK JP"),
    *("PingFang SC", "Hiragino Sans GB", "Heiti SC", "Heiti TC", "STHeiti", "Microsoft YaHei", "SimHei", "SimSun"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Arial Unicode MS", "Unifont"),
)
"""Fonts with Chinese characters, in order of preference."""


def palette_colour(index: int) -> tuple[float, float, float]:
    """Red, green and blue (0–1) of series `index`. After the palette's end it repeats darker, then paler."""
    repeat, position = divmod(index, len(PALETTE))
    code = PALETTE[position]
    weight, other = ((1.0, 0.0), (0.55, 0.0), (0.5, 1.0))[repeat % 3]
    red, green, blue = (int(code[i : i + 2], 16) / 255 * weight + (1 - weight) * other for i in (1, 3, 5))
    return red, green, blue


@contextmanager
def plot_style() -> Iterator[None]:
    """Use matplotlib's defaults with our settings on top, and keep it from printing on stderr, within a `with` block.

    Raises `UserError` if matplotlib is not installed.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    # Messages about missing fonts and caches are of no use to the user.
    logger.setLevel(logging.CRITICAL)
    try:
        try:
            import matplotlib
        except ImportError as error:
            raise UserError("--plot needs matplotlib: pip install matplotlib") from error
        # Reading or setting the backend would look for a display.
        defaults: dict[Any, Any] = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
        with matplotlib.rc_context(defaults), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            matplotlib.rcParams.update(
                {
                    "font.family": _fonts(),
                    "font.size": 9,
                    # Dollar signs in a title don't start a formula.
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
    """Matplotlib's own font, then an installed one with Chinese: a glyph comes from the first that has it."""
    chinese = _chinese_font() or (_add_new_fonts() and _chinese_font())
    return ["DejaVu Sans", *([chinese] if chinese else [])]


def _chinese_font() -> str | None:
    """The first of the `_CHINESE` fonts that matplotlib knows."""
    from matplotlib import font_manager

    present = set(font_manager.fontManager.get_font_names())
    return next((name for name in _CHINESE if name in present), None)


def _add_new_fonts() -> int:
    """Add fonts that were installed after matplotlib made its list, which it keeps in a cache; return their number."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    added = 0
    for path in set(font_manager.findSystemFonts()) - {font.fname for font in manager.ttflist}:
        # Whatever a damaged or unsupported font raises, it is of no use here.
        with suppress(Exception):
            manager.addfont(path)
            added += 1
    return added


def new_figure(width: float, height: float, title: str = "", *, right_margin: float = 0.0) -> Figure:
    """Make an empty white figure with constrained layout.

    Args:
        width: In inches.
        height: In inches.
        title: At the left, on one line, cut if it is too long.
        right_margin: Inches to leave free at the right of the title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    text = one_line(title)
    if text:
        drawn = figure.suptitle(text, x=0.1 / width, ha="left", fontsize=12)
        available = (width - right_margin - 0.2) * DPI
        # No glyph is narrower than two pixels: measuring a longer text would only take time.
        length = min(len(text), int(available / 2))
        while length and drawn.get_window_extent().width > available:
            length = length * 9 // 10
            drawn.set_text(text[:length].rstrip() + "…")
    return figure


def legend(figure: Figure, entries: Sequence[tuple[str, Colour]], *, below: bool = False) -> None:
    """Add a legend of names and colours outside the axes: a column at the right, or a row `below`."""
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=shade, label=label) for label, shade in entries]
    if below:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1.2)
    elif handles:
        figure.legend(handles=handles, loc="outside right upper", handlelength=1.2)


def legend_name(name: str) -> str:
    """A name as a legend has it: on one line. Matplotlib leaves out what begins with an underscore."""
    line = one_line(name)
    return f" {line}" if line.startswith("_") else line


def to_png(figure: Figure) -> bytes:
    """The figure as PNG, without date or version, so that equal figures give equal bytes.

    A `PlotWarning` names characters that no font has, in whose place boxes are drawn.
    """
    with plot_style():
        missing = _missing_characters(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    if missing:
        some = ", ".join(missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
        advice = "; Noto Sans CJK has those of Chinese" if any(map(_is_chinese, missing)) else ""
        warnings.warn(PlotWarning(f"no font has {some}: boxes stand for them in the picture{advice}"), stacklevel=2)
    return buffer.getvalue()


def _missing_characters(figure: Figure) -> str:
    """The characters of a figure's text that no font of the style has, sorted."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.text import Text

    fonts = [get_font(findfont(FontProperties(family=name))) for name in rcParams["font.family"]]
    texts = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text) and text.get_visible()]
    shown = sorted({character for text in texts for character in text if character.isprintable()})
    return "".join(each for each in shown if not any(font.get_char_index(ord(each)) for font in fonts))


def _is_chinese(character: str) -> bool:
    return "\u2e80" <= character <= "\u9fff" or character >= "\U00020000"
