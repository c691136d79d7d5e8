"""`seqgen forecast`: what comes after the last row of a table."""

from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli.options import (
    JsonOption,
    ModelArgument,
    Output,
    QuietOption,
    StderrLogger,
    add_options,
    handle_broken_pipe,
    sources_or_stdin,
    to_json,
)
from seqgen.config import ForecastOptions, make_options

if TYPE_CHECKING:
    from seqgen.api.forecasting import Forecast


@handle_broken_pipe
@add_options(ForecastOptions)
def run(
    model: ModelArgument,
    sources: Annotated[list[str] | None, typer.Argument(metavar="[SOURCE|-]", help="A table up to now.")] = None,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE|-", help="Where the forecast goes.")] = "-",
    plot: Annotated[
        str | None, typer.Option(metavar="FILE.png", help="Also draw what was, what is expected, and the bands.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
) -> None:
    """Forecast what comes after the last row of a table.

    A row a step ahead, as CSV: its time, and of each column the forecast and the limits of each band, as in close,
    close_lo80, close_hi80, close_lo95, close_hi95. With --backtest each row also has the origin, the last row that the
    forecast is made of, and what came in close_actual.
    """
    make_options(ForecastOptions, options)
    names = sources_or_stdin(sources, "there is nothing to forecast from")
    from seqgen.api.model import load

    voice = StderrLogger(quiet)
    made = load(model).forecast(names, voice.warn, **options)
    backtest = bool(options.get("backtest"))
    if plot is not None:
        from seqgen.api.forecasting import panels
        from seqgen.plots.forecast import forecast_plot
        from seqgen.streams import write_bytes

        write_bytes(Path(os.path.expanduser(plot)), forecast_plot(panels(made)))
    with Output(output) as out:
        out.write(_lines(made, backtest) if as_json else _table(made, backtest))


def _header(first: Forecast, many: bool, backtest: bool) -> list[str]:
    """Names of the columns."""
    header = ["series"] * many + ["origin"] * backtest + [_name_of_time(first)]
    for name in first.columns:
        header.append(name)
        for band in first.bands:
            header += [f"{name}_lo{band.level:g}", f"{name}_hi{band.level:g}"]
        header += [f"{name}_actual"] * backtest
    return header


def _name_of_time(first: Forecast) -> str:
    """The name of the table's column of times; `time` where several columns hold them, `row` where none does."""
    name = first.series.time_column
    return "row" if first.series.times is None else name if name and "," not in name else "time"


def _table(made: list[Forecast], backtest: bool) -> str:
    """All forecasts as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    many = any(one.series.name for one in made)
    writer.writerow(_header(made[0], many, backtest))
    for one in made:
        for step, time in enumerate(one.times):
            row: list[str] = [one.series.name] * many + [one.origin_label] * backtest + [time]
            for place in range(len(one.columns)):
                row.append(_number(one.point[place, step]))
                for band in one.bands:
                    row += [_number(band.lower[place, step]), _number(band.upper[place, step])]
                row += [_number(one.truth[place, step])] * backtest
            writer.writerow(row)
    return text.getvalue()


def _lines(made: list[Forecast], backtest: bool) -> str:
    """An object a forecast, a line each."""
    lines = []
    for one in made:
        columns = {}
        for place, name in enumerate(one.columns):
            columns[name] = {
                "forecast": [float(value) for value in one.point[place]],
                "bands": {
                    f"{band.level:g}": {"low": band.lower[place].tolist(), "high": band.upper[place].tolist()}
                    for band in one.bands
                },
            }
            if backtest:
                columns[name]["actual"] = [None if math.isnan(value) else float(value) for value in one.truth[place]]
        series = {"series": one.series.name} if one.series.name else {}
        lines.append(to_json({**series, "origin": one.origin_label, "times": one.times, "columns": columns}) + "\n")
    return "".join(lines)


def _number(value: float) -> str:
    """Seven digits, which is what the network computes with; nothing for what is not known."""
    return "" if math.isnan(value) else f"{value:.7g}"
