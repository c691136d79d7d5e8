"""`seqgen read`: how a source is understood, without learning."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from seqgen.cli.inputs import sources_or_stdin
from seqgen.cli.options import JsonOption, QuietOption, add_options
from seqgen.cli.output import Output, StderrLogger, to_json
from seqgen.config import TASK_NAMES, TrainOptions
from seqgen.quantities import plural, shortened_list
from seqgen.untrusted import one_line

_FLAGS = ("text_column", "label_column", "target", "time_column", "series", "sheet", "encoding")
_MAX_NAMES = 12  # labels and speakers listed
_MAX_WIDTH = 200  # characters of a line


EXAMPLES = ("seqgen read reviews", "seqgen read prices --target close")


@add_options(TrainOptions, names=_FLAGS)
def run(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE...", help="Sources, as for `train` [default: standard input]."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="|".join(TASK_NAMES), help="Task [default: guessed from the sources].")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=0, help="Records to show.")] = 3,
    json: JsonOption = False,
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
) -> None:
    """Show how SOURCE is read: task, format, encoding, columns, labels or speakers, and the first records.

    Nothing is learnt or written. `train` reads in the same way; flags that it has for reading can be tried here.
    """
    from seqgen.api.reading.run import read

    names = sources_or_stdin(sources, "there is nothing to read")
    log = StderrLogger(quiet)
    result = read(names, task=task, count=count, warn=log.warn, report=log.info, **options)
    with Output("-") as out:
        out.write(to_json(result) + "\n" if json else _as_text(result))


def _as_text(result: dict[str, Any]) -> str:
    rows = [("task", f"{result['task']}: {result['reason']}"), ("format", result["format"])]
    rows += [(name, result[name]) for name in ("encoding", "compression") if result[name]]
    if result["delimiter"]:
        rows.append(("delimiter", {"\t": "tab", " ": "space"}.get(result["delimiter"], result["delimiter"])))
    sizes = [_sized(size, *name.partition(" ")) for name, size in result["sizes"].items()]
    rows.append(("records", ", ".join([plural(result["records"], result["unit"]), *sizes])))
    part = f"{result['held_out_part']} of " if result["held_out_part"] else ""
    rows.append(("held out", part + plural(result["held_out"], result["unit"]) if result["held_out"] else "nothing"))
    if result["columns"]:
        rows.append(("columns", ", ".join(f"{name} ({role})" for name, role in result["columns"].items())))
    for kind in ("labels", "speakers"):
        if result[kind]:
            counts = [f"{name} {number:,}" for name, number in result[kind].items()]
            rows.append((kind, shortened_list(counts, _MAX_NAMES)))
    lines = [f"{name:12} {one_line(value)}" for name, value in rows]
    for record in result["first"]:
        lines += ["", *_record(record)]
    return "\n".join(lines) + "\n"


def _sized(size: int, nouns: str, *more: str) -> str:
    return "".join([plural(size, nouns.removesuffix("s")), *more])


def _record(record: Any) -> list[str]:
    """A record, in lines for people."""
    if isinstance(record, str):
        return [_cut(line) for line in record.splitlines()[:12]]
    if isinstance(record, list):
        return [_cut(f"{turn['speaker']}: {turn['text']}") for turn in record[:12]]
    if "labels" in record:
        return [_cut(f"{', '.join(record['labels'])}: {record['text']}")]
    if "values" in record:
        values = ", ".join(f"{name} {value:g}" for name, value in record["values"].items())
        return [_cut(f"{record['time']}  {values}".lstrip())]
    return [_cut(", ".join(f"{value:,} {name}" for name, value in record.items()))]


def _cut(line: str) -> str:
    line = one_line(line)
    return line if len(line) <= _MAX_WIDTH else line[: _MAX_WIDTH - 1] + "…"
