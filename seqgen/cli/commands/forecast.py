"""`seqgen forecast`: continue the time series of a table."""

from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli.inputs import sources_or_stdin
from seqgen.cli.options import DeviceOption, JsonOption, ModelArgument, OutputOption, QuietOption, add_options
from seqgen.cli.output import Output, StderrLogger, to_json
from seqgen.config import ForecastOptions, make_options

if TYPE_CHECKING:
    from seqgen.api.forecasting import Forecast


EXAMPLES = ("seqgen forecast px prices", "seqgen forecast px prices --horizon 20 --plot px.png")


@add_options(ForecastOptions)
def run(
    model: ModelArgument,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE|-]", help="Table of the series up to now [default: standard input]."),
    ] = None,
    output: OutputOption = "-",
    plot: Annotated[
        str | None, typer.Option(metavar="FILE.png", help="Plot of the history, the forecast and its intervals.")
    ] = None,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
) -> None:
    """Forecast the rows after the last row of a table.

    Writes CSV, one row per step ahead: its time, then each column's forecast and prediction intervals, as in close,
    close_lo80, close_hi80, close_lo95, close_hi95. With --backtest each row also has the origin, which is the last row
    that the forecast uses, and the actual value in close_actual.
    """
    make_options(ForecastOptions, options)
    names = sources_or_stdin(sources, "there is nothing to forecast from")
    from seqgen.api.model import load

    forecasts = load(model, device=device).forecast(names, StderrLogger(quiet).warn, **options)
    backtest = bool(options.get("backtest"))
    if plot is not None:
        from seqgen.api.forecasting import panels
        from seqgen.plots.forecast import forecast_plot
        from seqgen.streams import write_bytes

        write_bytes(Path(os.path.expanduser(plot)), forecast_plot(panels(forecasts)))
    with Output(output) as out:
        out.write(_json_lines(forecasts, backtest) if as_json else _csv(forecasts, backtest))


def _header(first: Forecast, several: bool, backtest: bool) -> list[str]:
    header = ["series"] * several + ["origin"] * backtest + [_time_column(first)]
    for name in first.columns:
        header.append(name)
        for band in first.bands:
            header += [f"{name}_lo{band.level:g}", f"{name}_hi{band.level:g}"]
        header += [f"{name}_actual"] * backtest
    return header


def _time_column(first: Forecast) -> str:
    """The name of the table's time column; `time` if times take several columns, `row` if there are none."""
    name = first.series.time_column
    return "row" if first.series.times is None else name if name and "," not in name else "time"


def _csv(forecasts: list[Forecast], backtest: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    several = any(forecast.series.name for forecast in forecasts)
    writer.writerow(_header(forecasts[0], several, backtest))
    for forecast in forecasts:
        for step, time in enumerate(forecast.times):
            row: list[str] = [forecast.series.name] * several + [forecast.origin_label] * backtest + [time]
            for column in range(len(forecast.columns)):
                row.append(_number(forecast.point[column, step]))
                for band in forecast.bands:
                    row += [_number(band.lower[column, step]), _number(band.upper[column, step])]
                row += [_number(forecast.truth[column, step])] * backtest
            writer.writerow(row)
    return text.getvalue()


def _json_lines(forecasts: list[Forecast], backtest: bool) -> str:
    """A JSON object a forecast, one a line."""
    return "".join(to_json(forecast.to_dict(backtest)) + "\n" for forecast in forecasts)


def _number(value: float) -> str:
    """Seven digits, the precision of float32; empty for a missing value."""
    return "" if math.isnan(value) else f"{value:.7g}"
