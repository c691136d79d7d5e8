"""`seqgen forecast`: continue the time series of a table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli.inputs import sources_or_stdin
from seqgen.cli.options import (
    DeviceOption,
    JsonOption,
    ModelArgument,
    OutputOption,
    QuietOption,
    add_options,
    plot_option,
)
from seqgen.cli.output import Output, StderrLogger, to_csv, to_json
from seqgen.config import ForecastOptions, make_options
from seqgen.config.inference import FORECAST_STYLES
from seqgen.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from seqgen.api.forecasting import Forecast


EXAMPLES = ("seqgen forecast px prices", "seqgen forecast px prices --horizon 20 --plot px.png")


@add_options(ForecastOptions)
def run(
    model: ModelArgument,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE...", help="Table of the series up to now [default: standard input]."),
    ] = None,
    output: OutputOption = "-",
    plot: Annotated[str | None, plot_option("Plot of the history, the forecast and its intervals.")] = None,
    as_json: JsonOption = False,
    style: Annotated[
        str,
        typer.Option(
            metavar="wide|nixtla",
            help="Columns: one for each column of the table, or unique_id, ds, seqgen, …",
            rich_help_panel="Output",
        ),
    ] = "wide",
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
) -> None:
    """Forecast the rows after the last row of a table.

    Writes CSV, one row per step ahead: its time, then each column's forecast and prediction intervals, as in close,
    close_lo80, close_hi80, close_lo95, close_hi95. With --backtest each row also has the origin, which is the last row
    that the forecast uses, and the actual value in close_actual. --style nixtla has a row for each column and step,
    with the columns of Nixtla's libraries: unique_id, ds, seqgen, seqgen-lo-80, seqgen-hi-80.
    """
    make_options(ForecastOptions, options)
    if style not in FORECAST_STYLES:
        raise UserError(
            f"--style must be one of {', '.join(FORECAST_STYLES)}; not {style!r}{did_you_mean(style, FORECAST_STYLES)}"
        )
    if as_json and style != "wide":
        raise UserError("--style can't be used with --json: it sets the columns of CSV")
    names = sources_or_stdin(sources, "there is nothing to forecast from")
    from seqgen.api.model import load

    forecasts = load(model, device=device).forecast(names, StderrLogger(quiet).warn, **options)
    backtest = bool(options.get("backtest"))
    if plot is not None:
        from seqgen.api.forecasting import panels
        from seqgen.plots.forecast import forecast_plot
        from seqgen.streams import write_output

        write_output(Path(plot), forecast_plot(panels(forecasts)))
    with Output(output) as out:
        out.write(_json_lines(forecasts, backtest) if as_json else _csv(forecasts, backtest, style))


def _csv(forecasts: list[Forecast], backtest: bool, style: str) -> str:
    from seqgen.api.forecasting import table_of

    header, rows = table_of(forecasts, style, backtest)
    cells = ([cell if isinstance(cell, str) else _number(cell) for cell in row] for row in rows)
    return to_csv([header, *cells])


def _json_lines(forecasts: list[Forecast], backtest: bool) -> str:
    """A JSON object a forecast, one a line."""
    return "".join(to_json(forecast.to_dict(backtest)) + "\n" for forecast in forecasts)


def _number(value: float) -> str:
    """Seven digits, the precision of float32; empty for a missing value."""
    return "" if math.isnan(value) else f"{value:.7g}"
