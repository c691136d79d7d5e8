"""`seqgen evaluate`: how good a model is, beside its naive rivals."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from seqgen.cli.common import AsJson, ModelFolder, Output, Quiet, Voice, pipes, sources_or_stdin, to_json


@pipes
def run(
    model: ModelFolder,
    sources: Annotated[list[str] | None, typer.Argument(metavar="SOURCE...", help="Text it has not seen.")] = None,
    as_json: AsJson = False,
    rivals: Annotated[bool, typer.Option(help="Whether to measure the rivals too.")] = True,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE|-", help="Where the result goes.")] = "-",
    quiet: Quiet = False,
) -> None:
    """Measure a model on text, every document read from end to end, beside xz and, where installed, PPMd."""
    names = sources_or_stdin(sources, "there is nothing to evaluate on")
    from seqgen.api.model import load

    voice = Voice(quiet)
    result = load(model).evaluate(names, rivals=rivals, warn=voice.warn)
    with Output(output) as out:
        out.write(to_json(result, indent=1) + "\n" if as_json else _table(result))


def _table(result: dict[str, Any]) -> str:
    """The same numbers for people: a row a measure, a column a rival."""
    names = list(result["baselines"])
    lines = [
        f"{result['records']:,} record{'s' * (result['records'] != 1)}, {result['characters']:,} characters, "
        f"{result['bytes']:,} bytes, {result['tokens']:,} tokens, {result['seconds']:.1f} s",
        "",
        f"{'':24}{'this model':>14}" + "".join(f"{name:>14}" for name in names),
    ]
    for measure, value in result["metrics"].items():
        row = f"{measure:24}{_number(value)}"
        for name in names:
            rival = result["baselines"][name].get(measure)
            row += f"{'':>14}" if rival is None else _number(rival)
        lines.append(row)
    if names:
        read = any(rival.get("read_the_training_text") for rival in result["baselines"].values())
        lines += ["", "The rivals " + ("have read the training text first." if read else "start knowing nothing: the "
                  "training text is not where it was, or is what is evaluated.")]  # fmt: skip
        better = [n for n in names if result["baselines"][n]["bits_per_byte"] < result["metrics"]["bits_per_byte"]]
        if better:
            lines.append(f"The model does not beat {' and '.join(better)} here.")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:>14.4f}" if value < 1e6 else f"{value:>14.3g}"
