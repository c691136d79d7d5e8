"""The table of `evaluate`, made from results."""

from __future__ import annotations

from typing import Any

import pytest

from seqgen.cli.evaluation_report import format_forecast_report, format_report
from seqgen.untrusted import letter_widths


def result(task: str, metrics: dict[str, Any], baselines: dict[str, Any]) -> dict[str, Any]:
    return {"task": task, "records": 1, "tokens": 10, "seconds": 0.5, "metrics": metrics, "baselines": baselines}


def test_format_report_baseline_without_the_deciding_metric_is_not_better() -> None:
    baselines = {"xz": {"bits_per_byte": 1.0}, "other": {"nats_per_character": 0.1}}
    report = format_report(result("text", {"bits_per_byte": 2.0}, baselines))
    assert "The model does not beat xz here." in report


@pytest.mark.parametrize(("characters", "said"), [(99, True), (100, False)])
def test_format_report_compressors_of_tiny_records_are_at_a_disadvantage(characters: int, said: bool) -> None:
    baselines = {"xz": {"bits_per_byte": 1.0, "read_the_training_text": 1.0}}
    report = format_report({**result("text", {"bits_per_byte": 2.0}, baselines), "characters": characters})
    assert ("pay for the first character of each record" in report) == said


@pytest.mark.parametrize(("hits", "beaten"), [(0.3, ["tfidf"]), (0.05, ["random", "tfidf"]), (0.6, [])])
def test_format_report_dialogue_is_decided_by_hits_where_higher_is_better(hits: float, beaten: list[str]) -> None:
    metrics = {"bits_per_byte": 1.0, "hits_at_1_of_10": hits}
    baselines = {"random": {"hits_at_1_of_10": 0.1}, "tfidf": {"hits_at_1_of_10": 0.5}}
    report = format_report(result("dialogue", metrics, baselines))
    expected = f"The model does not beat {' and '.join(beaten)} here."
    assert (expected in report) if beaten else ("does not beat" not in report)


def test_format_report_dialogue_without_ranking_names_no_winner() -> None:
    assert "does not beat" not in format_report(result("dialogue", {"bits_per_byte": 1.0}, {}))


@pytest.mark.parametrize(("value", "text"), [(2_000_000.0, "2e+06"), (1.5, "1.5000"), (12_345, "12,345")])
def test_format_report_numbers_fit_their_columns(value: float, text: str) -> None:
    report = format_report(result("text", {"events": value}, {}))
    (line,) = [line for line in report.splitlines() if line.startswith("events")]
    assert line == f"{'events':24}{text:>14}"


def test_format_forecast_report_names_columns_without_a_true_value() -> None:
    metrics = {"scaled_mse": 0.5, "per_column": {"close": {"scaled_mse": 0.5}}}
    forecasts = {"windows": 1, "horizon": 2, "columns": ["open", "close"], "evaluated": "all rows"}
    report = format_forecast_report({**result("forecast", metrics, {}), **forecasts})
    assert f"{'close':24}{'0.5000':>14}\nWithout a number in these rows: open.\n" in report


def test_format_forecast_report_columns_of_wide_letters_are_aligned() -> None:
    names = ["收盘", "成交量", "x", "a name of more than twenty-four letters"]
    metrics = {"scaled_mse": 0.5, "per_column": {name: {"scaled_mse": 0.5} for name in names}}
    forecasts = {"windows": 1, "horizon": 2, "columns": names, "evaluated": "all rows"}
    report = format_forecast_report({**result("forecast", metrics, {}), **forecasts})
    rows = report.splitlines()[-len(names) :]
    assert {sum(letter_widths(row)) for row in rows} == {24 + 14}
    assert rows[-1].startswith("a name of more than tw… ")


def test_format_forecast_report_baseline_without_the_deciding_metric_is_not_better() -> None:
    metrics = {"scaled_mse": 0.5, "skill": 0.1}
    baselines = {"persistence": {"scaled_mse": 0.4}, "nlinear": {"mae": 0.1}}
    forecasts = {"windows": 1, "horizon": 2, "columns": ["close"], "evaluated": "all rows"}
    report = format_forecast_report({**result("forecast", metrics, baselines), **forecasts})
    assert report.startswith("1 window of 2 steps of 1 column: all rows; 0.5 s\n")
    assert report.endswith("\nThe model does not beat persistence here.\n")
