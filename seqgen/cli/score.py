"""`seqgen score`: what text costs a model."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from seqgen.cli.common import ModelFolder, Output, Quiet, ShardOf, Voice, lines_of, pipes, sources_or_stdin, to_json

if TYPE_CHECKING:
    from seqgen.corpus.rows import Rows
    from seqgen.corpus.shards import Shard
    from seqgen.corpus.sources import Accepts, Spool


@pipes
def run(
    model: ModelFolder,
    sources: Annotated[list[str] | None, typer.Argument(metavar="[SOURCE]...", help="What to score.")] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="A record a line, each read after the lines before it.")
    ] = False,
    per_token: Annotated[bool, typer.Option("--per-token", help="Also every piece with its nats.")] = False,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE|-", help="Where the lines go.")] = "-",
    shard: ShardOf = None,
    quiet: Quiet = False,
) -> None:
    """Score text: one JSON line a record (a file, or with --lines a line) with tokens, nats and bits_per_byte.

    `--shard 3/16` scores the third sixteenth of the files (with --lines too, where each line needs those before it),
    of dialogue, of the conversations.
    """
    names = sources_or_stdin(sources, "there is nothing to score")
    import contextlib

    from seqgen.api.model import load
    from seqgen.api.scoring import Score
    from seqgen.corpus import sources as reading
    from seqgen.corpus.shards import Shard
    from seqgen.errors import DataError, UserError

    if names.count("-") > 1:
        raise DataError("standard input can be read once only: '-' is given twice")
    part = Shard.parse(shard)
    loaded = load(model)
    voice = Voice(quiet)
    if lines and loaded.task != "text":
        record = {"music": "a MIDI file is a record", "dialogue": "a conversation is a record"}
        raise UserError(f"--lines is for text; {record.get(loaded.task, '')}")
    from seqgen import tasks

    accepts, rows = tasks.accepts(loaded.task), tasks.rows(loaded.task, loaded.text_column)

    def show(score: Score) -> str:
        record = {
            "name": score.name, "tokens": score.tokens, "nats": score.nats, "bits_per_byte": score.bits_per_byte,
        }  # fmt: skip
        if score.per_token is not None:
            record["per_token"] = score.per_token
        return to_json(record) + "\n"

    with Output(output) as out, reading.Spool() as spool:
        if loaded.task == "dialogue":
            documents = reading.measure(reading.find(names, spool, warn=voice.warn, rows=rows), voice.warn)
            for score in loaded.score_conversations(documents, per_token, part):
                out.write(show(score))
            return
        for title, chunks in _records(names, part, spool, voice, accepts, rows):
            with contextlib.closing(chunks):
                if lines:
                    for score in loaded.score_lines(lines_of(chunks), title, per_token):
                        out.write(show(score))
                else:
                    try:
                        score = loaded.score(chunks, title, per_token)
                    except DataError as error:
                        if loaded.task != "music":
                            raise
                        where = "standard input" if title == "-" else repr(title)
                        raise DataError(f"{where}: {error}") from error
                    if not score.tokens:
                        raise DataError(f"{'standard input' if title == '-' else repr(title)} is empty")
                    out.write(show(score))


def _records(
    names: list[str], part: Shard, spool: Spool, voice: Voice, accepts: Accepts, rows: Rows
) -> Iterator[tuple[str, Generator[bytes, None, None]]]:
    """Name and bytes of each record, standard input as it comes, however long it gets."""
    from seqgen.corpus import sources as reading
    from seqgen.streams import open_input, read_chunks

    if not part.is_whole:
        found = [d for n in names for d in reading.find([n], spool, warn=voice.warn, accepts=accepts, rows=rows)]
        for document in part.of_documents(found):
            yield document.name, document.chunks()
        return
    for name in names:
        if name == "-":
            yield "-", read_chunks(open_input("-"), "standard input", as_it_comes=True)
        else:
            for document in reading.find([name], spool, warn=voice.warn, accepts=accepts, rows=rows):
                yield document.name, document.chunks()
