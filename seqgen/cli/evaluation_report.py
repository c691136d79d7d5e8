"""The result of an evaluation as text: metrics beside those of the baselines, and a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seqgen.cli.output import padded
from seqgen.quantities import plural
from seqgen.specs.tasks import TASKS
from seqgen.untrusted import letter_widths, one_line

_MAX_CLASSES = 60
_MAX_CONFUSED = 12  # labels whose confusion matrix fits the width of a page
_MAX_SERIES_COLUMNS = 40
_SHORT_RECORDS = 0.01  # for each character, from which on their first characters count
_OTHER_WAYS = {"adaptive": "adaptive", "context_cache": "with cache"}  # of the same model; their column by their key


def format_report(result: dict[str, Any]) -> str:
    """The result of `evaluate` as a table: a row a metric, a column a baseline."""
    metrics, baselines = result["metrics"], result["baselines"]
    ways = {shown: result[name] for name, shown in _OTHER_WAYS.items() if name in result}
    columns = {**ways, **baselines}
    counts = [f"{result[unit]:,} {unit}" for unit in ("characters", "bytes", "tokens") if unit in result]
    lines = [f"{plural(result['records'], 'record')}, {', '.join(counts)}, {result['seconds']:.1f} s", ""]
    scalars = [name for name, value in metrics.items() if isinstance(value, (int, float))]
    rows = [(name, [values.get(name) for values in (metrics, *columns.values())]) for name in scalars]
    width = max(24, *(len(name) + 1 for name in scalars))
    lines += _table("", width, {name: max(14, len(name) + 2) for name in columns}, rows)
    areas = metrics.get("overlap_area")
    if areas:
        lines += ["", f"{'generated beside reference':32}{'overlap area':>14}{'KL':>14}"]
        lines += [f"{name:32}{_number(area)}{_number(metrics['kl'][name])}" for name, area in areas.items()]
    if "form" in metrics:
        real, names = metrics["reference_form"], dict.fromkeys([*metrics["form"], *metrics["reference_form"]])
        lines += ["", f"{'form':32}{'generated':>14}{'reference':>14}"]
        lines += [f"{name:32}{_number(metrics['form'].get(name))}{_number(real.get(name))}" for name in names]
    if "adaptive" in result:
        lines += ["", "Adaptive: weights are updated along the text, each token after it is scored."]
    if "context_cache" in result:
        lines += ["", "With cache: mixed with a cache of the record's latest tokens (--context-cache)."]
    have_read = [each["read_the_training_text"] for each in baselines.values() if "read_the_training_text" in each]
    if have_read:
        lines += ["", "The baselines have read the training text first." if any(have_read) else
                  "The baselines start without the training text: it was moved or changed, is too long, or is what is "
                  "evaluated."]  # fmt: skip
        if result["records"] > _SHORT_RECORDS * result.get("characters", 0):
            lines.append("They also pay for the first character of each record: of records so short, that is much.")
    return _joined(lines + _classes(metrics) + _mistakes(result.get("errors", [])) + _verdict(result))


def format_forecast_report(result: dict[str, Any]) -> str:
    """The result of `evaluate` for a forecaster as a table: also coverage, each column by itself, and a summary."""
    metrics, baselines, columns = result["metrics"], result["baselines"], result["columns"]
    everything = (metrics, *baselines.values())
    widths = dict.fromkeys(baselines, 16)
    rows = [
        (name, [values.get(name) for values in everything])
        for name, value in metrics.items()
        if isinstance(value, float)
    ]
    rows += [
        (f"in the {level} % interval", [values.get("coverage", {}).get(level) for values in everything])
        for level in metrics.get("coverage", {})
    ]
    lines = [
        f"{plural(result['windows'], 'window')} of {plural(result['horizon'], 'step')} of "
        f"{plural(len(columns), 'column')}: {result['evaluated']}; {result['seconds']:.1f} s",
        "",
        *_table("", 24, widths, rows),
    ]
    if "per_column" in metrics:
        measured = [name for name in columns if name in metrics["per_column"]]
        shown = measured[:_MAX_SERIES_COLUMNS]
        rows = [(name, [values["per_column"][name]["scaled_mse"] for values in everything]) for name in shown]
        lines += ["", *_table("scaled_mse by column", 24, widths, rows)]
        if len(measured) > len(shown):
            lines.append(f"and {len(measured) - len(shown):,} more (--json lists all)")
        empty = [name for name in columns if name not in metrics["per_column"]]
        if empty:
            lines.append(f"Without a number in these rows: {_first_names(empty)}.")
    summary = skill_summary(result)
    return _joined([*lines, "", *summary] if summary else lines)


def skill_summary(result: dict[str, Any]) -> list[str]:
    """Sentences on how a forecaster compares with the baselines."""
    metrics, baselines = result["metrics"], result["baselines"]
    if not baselines:
        return []
    lines = []
    skill = metrics["skill"]
    if skill <= 0:
        lines.append("The model is no better than the last value (persistence): it could not forecast these numbers.")
    elif skill < 0.02:
        lines.append(f"The model is hardly better than the last value (persistence): skill {skill:.3f}.")
    lines += _verdict(result)
    worse = [name for name, values in metrics.get("per_column", {}).items() if values.get("skill", 1.0) <= 0]
    if worse and skill > 0:
        lines.append(f"No better than the last value: {_first_names(worse)}.")
    if "nlinear" not in baselines:
        lines.append("Without the training rows, baselines have no prediction intervals, and NLinear is missing.")
    return lines


def _first_names(names: list[str]) -> str:
    return one_line(", ".join(names[:8])) + " …" * (len(names) > 8)


def _verdict(result: dict[str, Any]) -> list[str]:
    """A sentence that names the baselines which are better than the model."""
    spec = TASKS.find(result["task"])
    own = result["metrics"].get(spec.deciding_metric)
    better = []
    for name, values in result["baselines"].items():
        value = values.get(spec.deciding_metric)
        if own is not None and value is not None and (value > own if spec.higher_is_better else value < own):
            better.append(name)
    return [f"The model does not beat {' and '.join(better)} here."] if better else []


def _classes(metrics: dict[str, Any]) -> list[str]:
    """Precision, recall and F1 by label, and the confusion matrix."""
    classes = metrics.get("per_class", {})
    if not classes:
        return []
    common = sorted(classes, key=lambda label: -classes[label]["support"])[:_MAX_CLASSES]
    shown = [label for label in classes if label in common]
    lines = ["", f"{'':24}{'precision':>11}{'recall':>11}{'f1':>11}{'texts':>11}"]
    for label in shown:
        row = classes[label]
        numbers = "".join(f"{row[key]:>11.3f}" for key in ("precision", "recall", "f1"))
        lines.append(f"{_cell(label, 24)}{numbers}{row['support']:>11,}")
    if len(classes) > len(shown):
        lines.append(f"and {len(classes) - len(shown):,} rarer labels (--json lists all)")
    labels, matrix = metrics["confusion"]["labels"], metrics["confusion"]["matrix"]
    if len(labels) <= _MAX_CONFUSED:
        lines += ["", _cell("true label / predicted", 24) + "".join(_cell(each, 11, right=True) for each in labels)]
        for label, row in zip(labels, matrix, strict=True):
            lines.append(_cell(label, 24) + "".join(f"{count:>11,}" for count in row))
    return lines


def _mistakes(errors: list[dict[str, Any]]) -> list[str]:
    """The most confident mistakes."""
    lines = ["", "most confident mistakes"] if errors else []
    for error in errors:
        true = ", ".join(error["label"]) or "none"
        given = error["given"] if isinstance(error["given"], str) else ", ".join(error["given"]) or "none"
        text = one_line(error["text"])
        text = text if len(text) <= 160 else text[:159] + "…"
        lines.append(f"  {error['probability']:.3f} {one_line(given)}, truly {one_line(true)}: {text}")
    return lines


def _table(
    title: str, width: int, columns: Mapping[str, int], rows: Iterable[tuple[str, Sequence[float | None]]]
) -> list[str]:
    """A header and a line a row.

    Args:
        columns: Name and width of each baseline's column.
        rows: A label, the model's value, and each baseline's.
    """
    lines = [f"{title:{width}}{'this model':>14}" + "".join(f"{name:>{wide}}" for name, wide in columns.items())]
    for label, values in rows:
        numbers = (_number(value, wide) for value, wide in zip(values, (14, *columns.values()), strict=True))
        lines.append(_cell(label, width) + "".join(numbers))
    return lines


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def _cell(text: str, width: int, right: bool = False) -> str:
    """`text` in `width` columns of a terminal, cut if it is longer."""
    text = one_line(text)
    wide = letter_widths(text)
    if sum(wide) > width - 1:
        while sum(wide) > width - 2:
            text, wide = text[:-1], wide[:-1]
        text += "…"
    return padded(text, width, right)


def _number(value: float | None, width: int = 14) -> str:
    if value is None:
        return " " * width
    if isinstance(value, int):
        return f"{value:>{width},}"
    return f"{value:>{width}.4f}" if abs(value) < 1e6 else f"{value:>{width}.4g}"
