"""HTML that a notebook shows for a value: facts, learning curves, forecasts, text coloured by its surprisal.

Each is a fragment with inline styles, in the colours of the page around it, light or dark. It has no script and loads
nothing. All texts of others are escaped.
"""

from __future__ import annotations

import contextlib
import html
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from seqgen.plots.curves import LearningCurve, loss_limits
from seqgen.plots.figure import GENERATED_COLOUR, REFERENCE_COLOUR
from seqgen.plots.forecast import Panel, band_opacities
from seqgen.plots.svg import SvgBand, SvgLine, chart
from seqgen.untrusted import as_bytes, one_line, printable

_MAX_TOKENS = 5_000  # coloured
_MAX_PANELS = 12
_FULL_BITS = 12.0  # bits a character that have the strongest colour
_STRONGEST = 0.6  # its opacity: black and white text can both be read on it
_SURPRISAL_COLOUR = "213,94,0"
_BYTE = re.compile(r"\\x([0-9a-f]{2})")


def facts(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """A table of names and values under a title."""
    cell = "text-align:left;vertical-align:top;padding:2px 14px 2px 0;border:0;background:none"
    lines = "".join(
        '<tr style="background:none">'
        f'<th scope="row" style="{cell};font-weight:600;white-space:nowrap">{_escaped(name)}</th>'
        f'<td style="{cell};overflow-wrap:anywhere">{_escaped(value)}</td></tr>'
        for name, value in rows
    )
    table = "border-collapse:collapse;font:13px/1.4 system-ui,sans-serif;margin:0 0 8px"
    return heading(title) + f'<table style="{table}">{lines}</table>'


def heading(title: str) -> str:
    """A title above what a notebook shows."""
    return f'<div style="font:600 15px system-ui,sans-serif;margin:4px 0">{_escaped(title)}</div>'


def learning_curve(records: Sequence[Mapping[str, Any]]) -> str:
    """The training and validation losses of a run over its steps; empty if none was recorded."""
    curve = LearningCurve("", records)
    lines = []
    for key, label, dashed in (("train_loss", "training", True), ("val_loss", "validation", False)):
        steps, losses = curve.points("step", key)
        if steps:
            colour = REFERENCE_COLOUR if dashed else GENERATED_COLOUR
            lines.append(SvgLine(np.array(steps), np.array(losses), colour, label, dashed))
    return chart("Loss", lines, x_label="steps", limits=loss_limits([curve]))


def forecast(panels: Sequence[Panel]) -> str:
    """Charts of history, forecasts and prediction intervals, below each other; of the first twelve panels."""
    charts = [_panel(panel) for panel in panels[:_MAX_PANELS]]
    if len(panels) > _MAX_PANELS:
        charts.append(f"<div>and {len(panels) - _MAX_PANELS:,} more columns</div>")
    return "".join(charts)


def _panel(panel: Panel) -> str:
    lines = [SvgLine(panel.index, panel.history, REFERENCE_COLOUR, "history")]
    bands = []
    for curve in panel.curves:
        ordered = sorted(curve.bands, key=lambda band: -band[0])
        for (level, low, high), opacity in zip(ordered, band_opacities(len(ordered)), strict=True):
            bands.append(SvgBand(curve.index, low, high, GENERATED_COLOUR, opacity, f"{level:g} % interval"))
        lines.append(SvgLine(curve.index, curve.point, GENERATED_COLOUR, "forecast"))
    return chart(panel.title, lines, bands, "" if panel.index.dtype.kind == "M" else "row")


def surprisal(tokens: Sequence[tuple[str, float]], separator: str = "") -> str:
    """Text whose background is the stronger, the less its tokens were expected; of the first 5,000 tokens.

    Args:
        tokens: pieces of text and their nats.
        separator: between pieces that are names instead of text; they are coloured by bits, whatever their length.
    """
    spans = []
    for token, nats in _whole_characters(tokens[:_MAX_TOKENS]):
        text = printable(as_bytes(token)).decode()
        bits = nats / math.log(2) if math.isfinite(nats) else math.inf
        colour = _background(bits / (1 if separator else max(len(text), 1)) / _FULL_BITS)
        shown = html.escape(text).replace("\n", "↵\n")  # a line feed alone would have no colour
        spans.append(f'<span title="{bits:.2f} bits" style="background:{colour}">{shown}</span>')
    more = f"\n… and {len(tokens) - _MAX_TOKENS:,} more tokens" if len(tokens) > _MAX_TOKENS else ""
    scale = "".join(
        f'<span style="background:{_background(bits / _FULL_BITS)};padding:1px 8px">'
        f"{bits}{'+' if bits == _FULL_BITS else ''}</span>"
        for bits in (0, 3, 6, 9, 12)
    )
    unit = "token" if separator else "character"
    return (
        '<pre style="white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.6 ui-monospace,monospace;background:none;'
        f'color:inherit;margin:0 0 6px">{separator.join(spans)}{more}</pre>'
        f'<div style="font:12px system-ui,sans-serif">bits a {unit} {scale}</div>'
    )


def _whole_characters(tokens: Sequence[tuple[str, float]]) -> Iterator[tuple[str, float]]:
    """The tokens, with those that spell a character byte by byte (`\\xe7`) as that character."""
    data, nats = b"", 0.0
    waiting: list[tuple[str, float]] = []
    for token, cost in tokens:
        byte = _BYTE.fullmatch(token)
        if byte is None:
            yield from waiting
            data, nats, waiting = b"", 0.0, []
            yield token, cost
            continue
        data, nats = data + bytes([int(byte[1], 16)]), nats + cost
        waiting.append((token, cost))
        with contextlib.suppress(UnicodeDecodeError):
            yield data.decode(), nats
            data, nats, waiting = b"", 0.0, []
    yield from waiting


def _background(share: float) -> str:
    return f"rgba({_SURPRISAL_COLOUR},{_STRONGEST * min(max(share, 0.0), 1.0):.2f})"


def _escaped(text: str) -> str:
    return html.escape(one_line(text))
