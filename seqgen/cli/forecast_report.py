"""What a person reads of a forecaster that was measured."""

from __future__ import annotations

from typing import Any

from seqgen.cli.options import one_line

_MOST = 40  # columns told one by one


def format_forecast_report(result: dict[str, Any]) -> str:
    """The measures, a row each, a column a rival; bands; each column by its own; and in words how it compares."""
    metrics, rivals = result["metrics"], result["baselines"]
    columns = result["columns"]
    lines = [
        f"{result['windows']:,} windows of {result['horizon']:,} step{'s' * (result['horizon'] > 1)} of "
        f"{len(columns):,} column{'s' * (len(columns) > 1)}: {result['evaluated']}; {result['seconds']:.1f} s",
        "",
        f"{'':24}{'this model':>14}" + "".join(f"{name:>16}" for name in rivals),
    ]
    plain = [name for name, value in metrics.items() if isinstance(value, float)]
    lines += [_row(name, metrics, rivals, lambda of, key=name: of.get(key)) for name in plain]
    lines += [
        _row(f"in the {level} % band", metrics, rivals, lambda of, key=level: of.get("coverage", {}).get(key))
        for level in metrics.get("coverage", {})
    ]
    if "per_column" in metrics:
        lines += ["", f"{'scaled_mse by column':24}{'this model':>14}" + "".join(f"{n:>16}" for n in rivals)]
        lines += [
            _row(name, metrics, rivals, lambda of, key=name: of["per_column"][key]["scaled_mse"])
            for name in columns[:_MOST]
        ]
        if len(columns) > _MOST:
            lines.append(f"and {len(columns) - _MOST:,} more (--json has them all)")
    words = skill_summary(result)
    return "\n".join([*lines, *([""] if words else []), *words]) + "\n"


def skill_summary(result: dict[str, Any]) -> list[str]:
    """In words: what the model is worth."""
    metrics, rivals = result["metrics"], result["baselines"]
    if not rivals:
        return []
    words = []
    skill = metrics["skill"]
    if skill <= 0:
        words.append("It is no better than the last value (persistence): these numbers could not be forecast from it.")
    elif skill < 0.02:
        words.append(f"It is hardly better than the last value (persistence): skill {skill:.3f}.")
    better = [name for name in rivals if rivals[name]["scaled_mse"] < metrics["scaled_mse"]]
    if better:
        words.append(f"The model does not beat {' and '.join(better)} here.")
    worse = [
        name for name in metrics.get("per_column", {}) if metrics["per_column"][name].get("skill", 1.0) <= 0
    ]  # fmt: skip
    if worse and skill > 0:
        more = " …" if len(worse) > 8 else ""
        words.append(f"No better than the last value: {one_line(', '.join(worse[:8]))}{more}.")
    if "nlinear" not in rivals:
        words.append("Without the rows it learnt from, rivals have no bands, and NLinear is not among them.")
    return words


def _row(name: str, metrics: dict[str, Any], rivals: dict[str, Any], pick: Any) -> str:
    row = f"{one_line(name)[:24]:24}{_number(pick(metrics), 14)}"
    return row + "".join(_number(pick(each), 16) for each in rivals.values())


def _number(value: float | None, width: int) -> str:
    if value is None:
        return " " * width
    return f"{value:>{width}.4f}" if abs(value) < 1e6 else f"{value:>{width}.4g}"
