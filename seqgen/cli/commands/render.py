"""`seqgen render`: files of music as audio, scores, web pages and pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from seqgen.cli.inputs import sources_or_stdin
from seqgen.cli.options import QuietOption
from seqgen.cli.output import Output, StderrLogger
from seqgen.cli.targets import SourceFiles
from seqgen.errors import UserError

EXAMPLES = (
    "seqgen render reel.mid -o reel.wav",
    "seqgen render tunes -o pages/ --format html",
    "seqgen render tune.abc -o - --format wav | aplay",
)


def run(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...", help="Files of MIDI, ABC or MusicXML, or folders [default: standard input]."
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="FILE|FOLDER|-", help="Output file; a folder for several pieces.",
            rich_help_panel="Output",
        ),
    ] = "-",
    format: Annotated[
        str | None,
        typer.Option(
            metavar="mid|wav|musicxml|abc|html|png", help="Output format [default: by the name of the output file].",
            rich_help_panel="Output",
        ),
    ] = None,
    tempo: Annotated[
        float | None, typer.Option(min=4, max=1000, help="Quarter notes per minute [default: as written].")
    ] = None,
    instrument: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="General MIDI name or number of a melodic track (repeatable); the last applies to the rest.",
        ),
    ] = None,
    grid: Annotated[
        int | None,
        typer.Option(min=1, max=480, help="Steps per quarter note [default: exact; in notation, as needed]."),
    ] = None,
    quiet: QuietOption = False,
) -> None:  # fmt: skip
    """Make files of music to be heard and read.

    A wave file, a score in MusicXML, a tune in ABC, a web page that shows and plays, or a picture of the piano roll.
    """
    from seqgen.api import rendering
    from seqgen.corpus.documents import Spool
    from seqgen.rendering import formats
    from seqgen.streams import write_output

    names = sources_or_stdin(sources, "there is nothing to render")
    log = StderrLogger(quiet)
    path = Path(output)
    is_folder = output != "-" and (path.is_dir() or output.endswith(("/", os.sep)))
    found = formats.named(format) if format is not None else None if is_folder else formats.of_output(output)
    if found is None:
        where = "standard output" if output == "-" else f"the output {output!r}"
        raise UserError(f"{where} has no known format: give --format, one of {', '.join(formats.NAMES)}")
    is_music = f".{found.name}" in rendering.music_task().file_suffixes
    with Spool() as spool:
        count, pieces = rendering.render(names, found, spool, tempo, tuple(instrument or ()), grid, log.warn)
        if not is_folder:
            rendering.check_single(found, count)
        read = SourceFiles(names if is_folder else (), within=is_music)
        for each in pieces:
            if is_folder:
                target = path / f"{each.name}.{found.name}"
                read.check_unread(str(target), "-o")
                write_output(target, found.file(each.piece, each.title))
                continue
            with Output(output) as out:
                if out.terminal and not found.is_text:
                    raise UserError(f"cannot show a .{found.name} file on a terminal: write it with -o, or to a pipe")
                for part in found.write(each.piece, each.title):
                    out.write(part)
