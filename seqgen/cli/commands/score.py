"""`seqgen score`: what text costs a model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from seqgen.cli.options import (
    ModelArgument,
    Output,
    QuietOption,
    ShardOption,
    StderrLogger,
    handle_broken_pipe,
    iter_lines,
    sources_or_stdin,
    to_json,
    write_state,
)
from seqgen.errors import DataError, UserError
from seqgen.streams import is_terminal

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.api.scoring import Score
    from seqgen.corpus.rows import RowFormat
    from seqgen.corpus.shards import Shard
    from seqgen.corpus.sources import Accepts, Spool
    from seqgen.generation.state import SavedState

_COLOURS = ("never", "auto", "always")


@handle_broken_pipe
def run(
    model: ModelArgument,
    sources: Annotated[list[str] | None, typer.Argument(metavar="[SOURCE]...", help="What to score.")] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="A record a line, each read after the lines before it.")
    ] = False,
    per_token: Annotated[bool, typer.Option("--per-token", help="Also every piece with its nats.")] = False,
    colour: Annotated[
        str,
        typer.Option(
            "--colour",
            "--color",
            metavar="|".join(_COLOURS),
            help="Show the text itself, coloured by surprise: on a terminal, or always.",
        ),
    ] = "never",
    state_in: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Every record goes on from where --state-out left one.")
    ] = None,
    state_out: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Keep where the record, or its last line, has got to.")
    ] = None,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE|-", help="Where the lines go.")] = "-",
    shard: ShardOption = None,
    quiet: QuietOption = False,
) -> None:
    """Score text: one JSON line a record (a file, or with --lines a line) with tokens, nats and bits_per_byte.

    `--shard 3/16` scores the third sixteenth of the files (with --lines too, where each line needs those before it),
    of dialogue, of the conversations.
    """
    if colour not in _COLOURS:
        raise UserError(f"--colour must be one of {', '.join(_COLOURS)}; not {colour!r}")
    names = sources_or_stdin(sources, "there is nothing to score")
    from seqgen.api import states
    from seqgen.api.model import load
    from seqgen.corpus.shards import Shard

    if [*names, state_in].count("-") > 1:
        raise DataError("standard input can be read once only: '-' is given twice")
    part = Shard.parse(shard)
    loaded = load(model)
    if lines and loaded.task != "text":
        record = {"music": "a MIDI file is a record", "dialogue": "a conversation is a record"}
        raise UserError(f"--lines is for text; {record.get(loaded.task, '')}")
    for flag, asked in (("--state-in", state_in), ("--state-out", state_out), ("--colour", colour != "never")):
        if asked and loaded.task != "text":
            raise UserError(f"{flag} is for text; this is a model for {loaded.task}")
    state = None if state_in is None else states.load(loaded, state_in)
    if state_out is not None:
        states.check_target(state_out, output, is_terminal(sys.stdout))
    voice = StderrLogger(quiet)
    from seqgen import tasks
    from seqgen.corpus import sources as reading

    accepts, rows = tasks.accepts(loaded.task), tasks.rows(loaded.task, loaded.text_column)
    with Output(output) as out, reading.Spool() as spool:
        if loaded.task == "dialogue":
            documents = reading.checksum_documents(reading.find(names, spool, warn=voice.warn, rows=rows), voice.warn)
            for score in loaded.score_conversations(documents, per_token, part):
                out.write(_json(score))
            return
        painted = colour == "always" or (colour == "auto" and out.use_colour)
        streams = _records(names, part, spool, voice, accepts, rows, one=state_out is not None)
        saved = None
        for title, chunks in streams:
            with contextlib.closing(chunks):
                if painted:
                    saved = _paint(out, loaded, chunks, title if len(names) > 1 else "", state)
                else:
                    saved = _score(out, loaded, chunks, title, lines, per_token, state)
    if state_out is not None and saved is not None:
        write_state(loaded, saved, state_out)


def _records(
    names: list[str], part: Shard, spool: Spool, voice: StderrLogger, accepts: Accepts, rows: RowFormat, one: bool
) -> Iterator[tuple[str, Generator[bytes, None, None]]]:
    """Name and bytes of each record, standard input as it comes, however long it gets. `one`: there may be no more."""
    from seqgen.corpus import sources as reading
    from seqgen.streams import open_input, read_chunks

    if not part.is_whole:
        every = [d for n in names for d in reading.find([n], spool, warn=voice.warn, accepts=accepts, rows=rows)]
        _only_one(part.select_documents(every), one)
        for document in part.select_documents(every):
            yield document.name, document.chunks()
        return
    _only_one(names, one)
    for name in names:
        if name == "-":
            yield "-", read_chunks(open_input("-"), "standard input", unbuffered=True)
        else:
            found = reading.find([name], spool, warn=voice.warn, accepts=accepts, rows=rows)
            _only_one(found, one)
            for document in found:
                yield document.name, document.chunks()


def _only_one(records: Sequence[object], one: bool) -> None:
    if one and len(records) > 1:
        raise UserError("--state-out keeps where one record has got to, and there are more")


def _score(
    out: Output,
    model: Model,
    chunks: Iterable[bytes],
    title: str,
    lines: bool,
    per_token: bool,
    state: SavedState | None,
) -> SavedState | None:
    """One record, or one a line, as JSON; where it has got to."""
    from seqgen.api.scoring import RecordScorer, score_lines

    record = RecordScorer(model, state)
    if lines:
        for score in score_lines(model, iter_lines(iter(chunks)), title, per_token, record):
            out.write(_json(score))
        return record.saved()
    try:
        pieces = record.read(chunks)
        first = next(pieces, None)
        if first is None:
            raise DataError(f"{'standard input' if title == '-' else repr(title)} is empty")
        if not per_token:
            for _ in pieces:
                pass
            out.write(_json(record.score(title)))
        else:  # a record of any length: what is known is written, and forgotten
            out.write(f'{{"name": {to_json(title)}, "per_token": [')
            out.write(to_json(record.pieces(first))[1:-1])
            for scored in pieces:
                out.write(", " + to_json(record.pieces(scored))[1:-1])
            score = record.score(title)
            rest = to_json({"tokens": score.tokens, "nats": score.nats, "bits_per_byte": score.bits_per_byte})
            out.write("], " + rest[1:] + "\n")
    except DataError as error:
        if model.task != "music":
            raise
        raise DataError(f"{'standard input' if title == '-' else repr(title)}: {error}") from error
    return record.saved()


def _paint(
    out: Output, model: Model, chunks: Iterable[bytes], title: str, state: SavedState | None
) -> SavedState | None:
    """The text of one record, coloured, as it comes."""
    from seqgen.api.scoring import RecordScorer
    from seqgen.cli.highlight import SurprisalHighlighter

    record, painter = RecordScorer(model, state), SurprisalHighlighter(model.codec)
    if title:
        out.write(f"==> {title} <==\n")
    for scored in record.read(chunks):
        out.write_raw(painter.highlight(scored))
    out.write_raw(painter.finish())
    return record.saved()


def _json(score: Score) -> str:
    record = {
        "name": score.name, "tokens": score.tokens, "nats": score.nats, "bits_per_byte": score.bits_per_byte,
    }  # fmt: skip
    if score.per_token is not None:
        record["per_token"] = score.per_token
    return to_json(record) + "\n"
