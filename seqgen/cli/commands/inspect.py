"""`seqgen inspect`: what a unit, a gate or a gradient does along a sequence."""

from __future__ import annotations

import dataclasses
import itertools
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqgen.cli.options import EncodingOption, JsonOption, ModelArgument, OutputOption, QuietOption, plot_option
from seqgen.cli.output import Output, StderrLogger, to_csv, to_json
from seqgen.errors import UserError, did_you_mean
from seqgen.quantities import plural
from seqgen.specs.cells import CELLS, quantities
from seqgen.streams import stdin_is_piped, write_output

if TYPE_CHECKING:
    from seqgen.api.inspect.base import InspectedRecord
    from seqgen.api.inspect.run import Inspection, LayerValues
    from seqgen.inspection.base import Floats, Saliency
    from seqgen.inspection.meaning import UnitMeaning

_GRADIENT, _SALIENCY = "gradient", "saliency"
_WHAT = (*quantities(), _GRADIENT, _SALIENCY)
_LENGTH, _LONG = 2_000, 30_000  # steps read to be shown; for statistics
_SALIENCY_LAGS = 64
_LEFT = 0.01  # of a gradient, that the sentence is about

EXAMPLES = (
    "seqgen inspect tales tidewater --top 8",
    "seqgen inspect tales tidewater --unit 13 --html unit.html",
    "seqgen inspect tales tidewater --what gradient --plot gradient.png",
)


def run(
    model: ModelArgument,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="What the network reads [default: standard input, or the held-out end of its own text].",
        ),
    ] = None,
    what: Annotated[
        str,
        typer.Option(
            metavar="|".join(_WHAT),
            help="States and gates along the sequence; gradient: how much of it is left after k steps; saliency: what "
            "the next prediction leaned on.",
        ),
    ] = "hidden",
    layer: Annotated[int | None, typer.Option(min=1, help="Layer [default: the top one, or all in tables].")] = None,
    unit: Annotated[
        int | None, typer.Option(min=0, help="Unit [default: the one whose values vary most, or all in tables].")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            metavar="N",
            help="List the N units with the most mutual information with a feature: quotation marks, beat of the bar …",
        ),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="With --what gradient, another model beside this one (repeatable)."),
    ] = None,
    lags: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Steps to look back [default: 200 for gradients, 64 for saliency]."),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(min=1, max=1 << 20, help="Steps to read [default: 2,000; 30,000 for --top and gradients]."),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.html", help="Page with all units, their numbers and a search.", rich_help_panel="Output"
        ),
    ] = None,
    plot: Annotated[str | None, plot_option("Picture.")] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV, as values are in a pipe.", rich_help_panel="Output")
    ] = False,
    as_json: JsonOption = False,
    output: OutputOption = "-",
    encoding: EncodingOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show what a network remembers: its units and gates along a text, a piece of music or a series.

    On a terminal the colour of each character is the value of the unit, after it was read. --top measures the
    mutual information of each unit with features such as quotation marks, beat of the bar or season, in bits. Its
    baseline is the best of shuffled units.
    """
    if what not in _WHAT:
        raise UserError(f"there is no {what!r} to inspect; --what takes {', '.join(_WHAT)}{did_you_mean(what, _WHAT)}")
    if as_csv and as_json:
        raise UserError("give --csv or --json, not both")
    followed = what in (_GRADIENT, _SALIENCY)
    for flag, given, allowed in (
        ("--top", top is not None, not followed), ("--unit", unit is not None, not followed and top is None),
        ("--beside", bool(beside), what == _GRADIENT), ("--lags", lags is not None, followed),
        ("--html", html is not None, what != _GRADIENT), ("--layer", layer is not None, what != _SALIENCY),
    ):  # fmt: skip
        if given and not allowed:
            raise UserError(f"{flag} can't be used with --what {what}{' --top' * (top is not None)}")
    names = sources or (["-"] if is_fed() else [])
    from seqgen.api.inspect.run import inspect
    from seqgen.api.model import load
    from seqgen.corpus.documents import Spool

    log = StderrLogger(quiet)
    steps = length or (_LONG if top is not None or what == _GRADIENT else _LENGTH)
    with Spool() as spool:  # standard input can be read only once
        inspection = inspect(load(model), names, steps, log.warn, log.info, encoding, spool)
        others = [inspect(load(each), names, steps, log.warn, lambda _: None, encoding, spool) for each in beside or ()]
    if length is None and inspection.records[-1].cut and top is None and what != _GRADIENT:
        log.info(f"the first {plural(steps, 'step')} are read; --length reads more")
    shown = _Shown(
        inspection, Path(model).name or model, output, html, plot, as_csv, as_json, length is not None, log
    )  # fmt: skip
    if what == _GRADIENT:
        shown.gradients([inspection, *others], [model, *(beside or ())], lags, layer)
    elif what == _SALIENCY:
        shown.saliency(lags or _SALIENCY_LAGS)
    elif top is not None:
        shown.meanings(what, top, layer)
    else:
        shown.units(what, layer, unit)


def is_fed() -> bool:
    """Whether standard input is a pipe or a file. A script that begins without any has the null device."""
    try:
        return stdin_is_piped() and not stat.S_ISCHR(os.fstat(sys.stdin.fileno()).st_mode)
    except (OSError, ValueError):  # it is no file of the system
        return True


class _Shown:
    """What is written: to stdout, a page, and a picture."""

    def __init__(
        self, inspection: Inspection, name: str, output: str, html: str | None, plot: str | None, as_csv: bool,
        as_json: bool, whole: bool, log: StderrLogger,
    ) -> None:  # fmt: skip
        """`whole`: whether a page shows all that was read."""
        self._whole = whole
        self._inspection, self._name, self._log = inspection, name, log
        self._record: InspectedRecord = inspection.records[0]
        self._output, self._html, self._plot = output, html, plot
        self._as_csv, self._as_json = as_csv, as_json

    def units(self, what: str, layer: int | None, unit: int | None) -> None:
        """Show a state or gate along the records; pages and pictures have the first record."""
        first = self._inspection.values(self._record, what, layer)
        shown = first[-1]
        if unit is not None and unit >= shown.values.shape[1]:
            raise UserError(f"--unit {unit}: this model has units 0 to {shown.values.shape[1] - 1}")
        chosen = int(shown.values.std(axis=0).argmax()) if unit is None else unit
        if self._pictures(what, first, [], shown.number, chosen):
            return
        if self._as_json:
            self._write(to_json(self._units_json(what, layer, unit)) + "\n")
        elif self._prefers_csv():
            with Output(self._output) as out:
                out.write(to_csv([(*self._record_column(), "position", "token", "layer", "unit", "value")]))
                for record in self._inspection.records:
                    for own in self._inspection.values(record, what, layer):
                        for step, named in enumerate(self._named(record)):
                            units = range(own.values.shape[1]) if unit is None else (unit,)
                            values = own.values[step].tolist()
                            out.write(to_csv((*named, own.number, index, f"{values[index]:.6g}") for index in units))
        else:
            if unit is None:
                self._log.info(
                    f"unit {chosen} of layer {shown.number}, whose values vary most; --unit K shows another, and "
                    "--top 8 finds those that mean something"
                )
            for record in self._inspection.records:
                (own,) = self._inspection.values(record, what, shown.number)
                self._coloured(record, own.values[:, chosen], _span(what, own.values[:, chosen]))

    def meanings(self, what: str, top: int, layer: int | None) -> None:
        """Show which units say most; a page and a picture begin with the first of them."""
        found = self._inspection.meanings(what, top, layer)
        best = found[0] if found else None
        values = self._inspection.values(self._record, what, layer)
        self._pictures(what, values, found, best.layer if best else values[-1].number, best.unit if best else 0)
        if self._as_json:
            self._write(to_json([dataclasses.asdict(meaning) for meaning in found], indent=1) + "\n")
        elif self._as_csv:
            with Output(self._output) as out:
                fields = [field.name for field in dataclasses.fields(best)] if best else ["layer", "unit", "feature"]
                out.write(to_csv([fields]))
                out.write(to_csv(map(dataclasses.astuple, found)))
        elif not found:
            self._log.info("no unit tells more about any feature than shuffled units do")
        else:
            self._write(_table(found, len(self._inspection.inspector.layers) > 1))

    def gradients(
        self, inspections: Sequence[Inspection], models: Sequence[str], lags: int | None, layer: int | None
    ) -> None:
        """Show how much of a gradient is left after k steps."""
        several = len(inspections) > 1
        names = [f"{each.inspector.spec.name.upper()} ({Path(m).name})" if several else each.inspector.spec.name.upper()
                 for each, m in zip(inspections, models, strict=True)]  # fmt: skip
        found = [each.gradients(lags, layer) for each in inspections]
        sentences = []
        for name, layers in zip(names, found, strict=True):
            steps, reach = layers[-1].steps_until(_LEFT), len(layers[-1].mean) - 1
            sentences.append(
                f"{name}: {_LEFT:.0%} left after {plural(steps, 'step')}".replace("%", " %") if steps is not None
                else f"{name}: {layers[-1].mean[-1] / max(layers[-1].mean[0], 1e-300):.1%} left after {reach} steps"
                .replace("%", " %")
            )  # fmt: skip
        if self._plot is not None:
            from seqgen.plots.inspection import GradientCurve, gradient_plot

            curves = [
                GradientCurve(name if len(layers) == 1 else f"{name}, layer {own.layer}", own.mean, own.p10, own.p90)
                for name, layers in zip(names, found, strict=True) for own in layers
            ]  # fmt: skip
            write_output(Path(self._plot), gradient_plot(curves, "What is left of a gradient after k steps"))
        if self._as_json:
            records = [
                {"model": model, "cell": each.inspector.spec.name, "layer": own.layer, "steps_until_1_percent":
                 own.steps_until(_LEFT), "mean": own.mean.tolist(), "p10": own.p10.tolist(), "p90": own.p90.tolist()}
                for model, each, layers in zip(models, inspections, found, strict=True) for own in layers
            ]  # fmt: skip
            self._write(to_json(records) + "\n")
        elif self._as_csv:
            with Output(self._output) as out:
                out.write(to_csv([(*["model"] * several, "lag", "layer", "mean", "p10", "p90")]))
                for model, layers in zip(models, found, strict=True):
                    for own in layers:
                        out.write(to_csv(
                            (*[model] * several, lag, own.layer, *(f"{value:.6g}" for value in numbers))
                            for lag, numbers in enumerate(zip(own.mean, own.p10, own.p90, strict=True))
                        ))  # fmt: skip
        else:
            self._write("".join(sentence + "\n" for sentence in sentences))

    def saliency(self, lags: int) -> None:
        """Show what the last prediction of each record leaned on; the page has every prediction of the first."""
        first = self._explained(self._record, lags)
        if self._html is not None:
            from seqgen.inspection.page import saliency_page

            title = f"{self._name}: {self._record.name}, saliency"
            page = saliency_page(self._record.view, first.saliency, first.predicted, title)
            write_output(Path(self._html), page.encode())
        if self._plot is not None:
            named = f"prediction {first.predicted[-1]!r}" if first.predicted[-1] else "forecast"
            title = f"{self._name}: what the {named} leaned on"
            picture = self._record.view.plot(first.shares, 0.0, float(first.shares.max()), title)
            write_output(Path(self._plot), picture)
        if self._is_only_drawn():
            return
        rest = (self._explained(record, lags) for record in self._inspection.records[1:])
        explained = zip(self._inspection.records, itertools.chain([first], rest), strict=True)
        if self._as_json:
            rows = [
                {
                    "name": record.name, "predicted": own.predicted[-1],
                    "probability": float(own.saliency.probability[-1]), "tokens": list(record.view.tokens),
                    "shares": own.shares.tolist(),
                }
                for record, own in explained
            ]  # fmt: skip
            self._write("".join(to_json(row) + "\n" for row in rows))
        elif self._prefers_csv():
            with Output(self._output) as out:
                out.write(to_csv([(*self._record_column(), "position", "token", "share")]))
                for record, own in explained:
                    out.write(
                        to_csv(
                            (*named, f"{share:.6g}")
                            for named, share in zip(self._named(record), own.shares.tolist(), strict=True)
                        )
                    )
        else:
            for record, own in explained:
                self._coloured(record, own.shares, (0.0, float(own.shares.max())))
                if own.predicted[-1]:
                    self._write(f"next: {own.predicted[-1]!r} ({own.saliency.probability[-1]:.2f})\n")

    # ---- Parts ----

    def _pictures(
        self, what: str, layers: Sequence[LayerValues], meanings: Sequence[UnitMeaning], layer: int, unit: int
    ) -> bool:
        """Write the page and the picture. Returns whether nothing else is asked for.

        Statistics read more than a page can show: without --length, it has as much as it would without them.
        """
        title = f"{self._name}: {self._record.name}, {what}"
        steps = _LENGTH if meanings and not self._whole else len(self._record.view.tokens)
        view = self._record.view.head(steps)
        if self._html is not None:
            from seqgen.inspection.page import PageLayer, units_page

            own = [
                PageLayer(each.number, each.name, each.values[:steps], *_spans(what, each.values[:steps]))
                for each in layers
            ]
            write_output(Path(self._html), units_page(view, own, meanings, unit, layer, title).encode())
        if self._plot is not None:
            (values,) = (each.values[:steps, unit] for each in layers if each.number == layer)
            said = next((f", {m.feature}" for m in meanings if (m.layer, m.unit) == (layer, unit)), "")
            picture = view.plot(values, *_span(what, values), f"{title}, unit {unit}{said}")
            write_output(Path(self._plot), picture)
        return self._is_only_drawn()

    def _is_only_drawn(self) -> bool:
        """Say which record a page or picture shows. Whether no values are asked for beside it."""
        if not (self._html or self._plot):
            return False
        count = len(self._inspection.records)
        if count > 1:
            self._log.info(f"the first of {plural(count, 'record')} is drawn")
        return not (self._as_csv or self._as_json or self._output != "-")

    def _explained(self, record: InspectedRecord, lags: int) -> _Explained:
        saliency, predicted = self._inspection.saliency(record, lags)
        if not len(saliency.steps):
            raise UserError("there is no prediction to explain in an empty text")
        return _Explained(saliency, predicted, _shares_of(saliency, -1, len(record.view.tokens)))

    def _record_column(self) -> tuple[str, ...]:
        """The column of CSV that tells several records apart."""
        return ("record",) * (len(self._inspection.records) > 1)

    def _named(self, record: InspectedRecord) -> list[tuple[str, ...]]:
        """The cells of CSV that name each step of a record."""
        name = (record.name,) * len(self._record_column())
        return [(*name, *step) for step in zip(record.view.positions, record.view.tokens, strict=True)]

    def _units_json(self, what: str, layer: int | None, unit: int | None) -> list[dict[str, object]]:
        return [
            {
                "name": record.name, "what": what, "positions": list(record.view.positions),
                "tokens": list(record.view.tokens),
                "layers": [
                    {"layer": own.number, "name": own.name, "units": list(range(own.values.shape[1]))
                     if unit is None else [unit],
                     "values": (own.values if unit is None else own.values[:, unit : unit + 1]).round(6).tolist()}
                    for own in self._inspection.values(record, what, layer)
                ],
            }
            for record in self._inspection.records
        ]  # fmt: skip

    def _prefers_csv(self) -> bool:
        return self._as_csv or self._output != "-" or not Output("-").use_colour

    def _coloured(self, record: InspectedRecord, values: Floats, span: tuple[float, float]) -> None:
        from seqgen.cli.highlight import coloured_values

        view = record.view
        steps = zip(view.separators, view.tokens, values.tolist(), strict=True)
        with Output("-") as out:
            if len(self._inspection.records) > 1:
                out.write(f"==> {record.name} <==\n")
            text = coloured_values(steps, *span)
            out.write_raw(text + "\n" * (not text.endswith("\n")))
            for name, scores in getattr(view, "scores", ())[:1]:
                out.write(f"{name} {scores[-1]:.2f}, from {scores[0]:.2f} after the first token\n")

    def _write(self, text: str) -> None:
        with Output(self._output) as out:
            out.write(text)


@dataclasses.dataclass(frozen=True)
class _Explained:
    """The predictions along a record, their names, and what the last leaned on, by step of the record."""

    saliency: Saliency
    predicted: Sequence[str]
    shares: Floats


def _shares_of(saliency: Saliency, row: int, steps: int) -> Floats:
    """The shares of one prediction, by step of the record."""
    import numpy as np

    shares = np.zeros(steps, dtype=np.float32)
    step = int(saliency.steps[row])
    count = min(step + 1, saliency.shares.shape[1], steps)
    shares[step + 1 - count : step + 1] = saliency.shares[row, :count][::-1]
    return shares


def _span(what: str, values: Floats) -> tuple[float, float]:
    """The range of a unit's colours: that of a gate or of tanh, or as far as its values go."""
    (low,), (high,) = _spans(what, values[:, None])
    return float(low), float(high)


def _spans(what: str, values: Floats) -> tuple[Floats, Floats]:
    """The range of each unit's colours, of values of shape (steps, units)."""
    import numpy as np

    largest = np.maximum(np.abs(values).max(axis=0, initial=0.0), 1.0)
    if any(what in spec.gate_names for spec in CELLS.values()):
        return np.zeros_like(largest), np.ones_like(largest)
    return np.where(values.min(axis=0, initial=0.0) >= 0, 0.0, -largest), largest


def _table(found: Sequence[UnitMeaning], layers: bool) -> str:
    """`unit 113: inside quotation marks (0.71 of 0.98 bits; shuffled 0.01)`"""
    heads = [f"{f'layer {m.layer} ' * layers}unit {m.unit}: {m.feature}" for m in found]
    width = max(map(len, heads))
    return "".join(
        f"{head:{width}}  ({m.bits:.2f} bits of {m.entropy:.2f}; shuffled {m.baseline:.2f})\n"
        for head, m in zip(heads, found, strict=True)
    )
