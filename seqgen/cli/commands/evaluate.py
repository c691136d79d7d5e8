"""`seqgen evaluate`: how good a model is, beside its naive rivals."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any

import typer

from seqgen.cli.options import (
    JsonOption,
    ModelArgument,
    Output,
    QuietOption,
    StderrLogger,
    add_options,
    handle_broken_pipe,
    one_line,
    sources_or_stdin,
    to_json,
)
from seqgen.config import EvaluateOptions, make_options


@handle_broken_pipe
@add_options(EvaluateOptions)
def run(
    model: ModelArgument,
    sources: Annotated[list[str] | None, typer.Argument(metavar="SOURCE...", help="What it has not seen.")] = None,
    as_json: JsonOption = False,
    rivals: Annotated[bool, typer.Option(help="Whether to measure the rivals too.")] = True,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE|-", help="Where the result goes.")] = "-",
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
) -> None:
    """Measure a model on what it has not seen, every record from end to end, beside naive rivals.

    Text stands beside xz and, where installed, PPMd; music beside models that count, and pieces of the model's own are
    compared with the real ones; a classifier beside the commonest label and, with scikit-learn, a linear model;
    forecasts beside the last value, the last season and a linear model (NLinear).
    """
    make_options(EvaluateOptions, options)
    names = sources_or_stdin(sources, "there is nothing to evaluate on")
    from seqgen.api.model import load

    voice = StderrLogger(quiet)
    result = load(model, exact=True).evaluate(names, rivals=rivals, warn=voice.warn, **options)
    with Output(output) as out:
        out.write(to_json(result, indent=1) + "\n" if as_json else _table(result))


def _table(result: dict[str, Any]) -> str:
    """The same numbers for people: a row a measure, a column a rival."""
    if result["task"] == "forecast":
        from seqgen.cli.forecast_report import format_forecast_report

        return format_forecast_report(result)
    beside = {**({"adaptive": result["adaptive"]} if "adaptive" in result else {}), **result["baselines"]}
    names = list(beside)
    counts = [f"{result[unit]:,} {unit}" for unit in ("characters", "bytes", "tokens") if unit in result]
    lines = [
        f"{result['records']:,} record{'s' * (result['records'] != 1)}, {', '.join(counts)}, {result['seconds']:.1f} s",
        "",
    ]
    plain = {key: value for key, value in result["metrics"].items() if isinstance(value, (int, float))}
    wide = max(24, *(len(measure) + 1 for measure in plain))
    columns = [max(14, len(name) + 2) for name in names]
    lines.append(f"{'':{wide}}{'this model':>14}" + "".join(f"{n:>{w}}" for n, w in zip(names, columns, strict=True)))
    for measure, value in plain.items():
        row = f"{measure:{wide}}{_number(value)}"
        for name, width in zip(names, columns, strict=True):
            rival = beside[name].get(measure)
            row += f"{'' if rival is None else _number(rival):>{width}}"
        lines.append(row)
    features = result["metrics"].get("overlap_area", {})
    if features:
        lines += ["", f"{'pieces beside real ones':32}{'overlap area':>14}{'KL':>14}"]
        lines += [
            f"{name:32}{_number(area)}{_number(result['metrics']['kl'][name])}" for name, area in features.items()
        ]
    if "adaptive" in result:
        lines += ["", "Adaptive: the weights followed the text as it was read, each token scored before it was learnt."]
    if result["baselines"] and result["task"] == "text":
        read = any(rival.get("read_the_training_text") for rival in result["baselines"].values())
        lines += ["", "The rivals " + ("have read the training text first." if read else "start knowing nothing: the "
                  "training text is not where it was, or is what is evaluated.")]  # fmt: skip
    lines += _classes(result["metrics"]) + _mistakes(result.get("errors", []))
    measure = _DECIDES.get(result["task"])
    rivals = result["baselines"].items() if measure else ()
    better = [name for name, rival in rivals if rival[measure] < result["metrics"][measure]]
    if better:
        lines.append(f"The model does not beat {' and '.join(better)} here.")
    return "\n".join(lines) + "\n"


# The measure, lower is better, by which a rival wins.
_DECIDES = {"text": "bits_per_byte", "music": "nats_per_step", "classify": "log_loss"}
_MOST_CLASSES = 60  # told one by one
_MOST_CONFUSED = 12  # labels whose confusion fits into the width of a page


def _classes(metrics: dict[str, Any]) -> list[str]:
    """A row a label, and who was taken for whom."""
    classes = metrics.get("per_class", {})
    if not classes:
        return []
    shown = sorted(classes, key=lambda label: -classes[label]["support"])[:_MOST_CLASSES]
    shown = [label for label in classes if label in shown]
    lines = ["", f"{'':24}{'precision':>11}{'recall':>11}{'f1':>11}{'texts':>11}"]
    for label in shown:
        row = classes[label]
        numbers = "".join(f"{row[key]:>11.3f}" for key in ("precision", "recall", "f1"))
        lines.append(f"{_cell(label, 24)}{numbers}{row['support']:>11,}")
    if len(classes) > len(shown):
        lines.append(f"and {len(classes) - len(shown):,} rarer labels (--json has them all)")
    labels, matrix = metrics["confusion"]["labels"], metrics["confusion"]["matrix"]
    if len(labels) <= _MOST_CONFUSED:
        lines += ["", _cell("true label: given as", 24) + "".join(_cell(label, 11, right=True) for label in labels)]
        for label, row in zip(labels, matrix, strict=True):
            lines.append(_cell(label, 24) + "".join(f"{count:>11,}" for count in row))
    return lines


def _mistakes(errors: list[dict[str, Any]]) -> list[str]:
    """The mistakes that the model was surest of."""
    lines = ["", "most confident mistakes"] if errors else []
    for error in errors:
        true = ", ".join(error["label"]) or "none"
        text = one_line(error["text"])
        text = text if len(text) <= 160 else text[:159] + "…"
        lines.append(f"  {error['probability']:.3f} {one_line(error['given'])}, truly {one_line(true)}: {text}")
    return lines


def _cell(text: str, width: int, right: bool = False) -> str:
    """`text` in so many columns of a terminal, where a Chinese character takes two, cut where it is longer."""
    text = one_line(text)
    wide = [2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text]
    if sum(wide) > width - 1:
        while sum(wide) > width - 2:
            text, wide = text[:-1], wide[:-1]
        text, wide = text + "…", [*wide, 1]
    space = " " * (width - sum(wide))
    return space + text if right else text + space


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:>14,}"
    return f"{value:>14.4f}" if value < 1e6 else f"{value:>14.3g}"
