"""`seqgen classify`: which label a text has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli.options import (
    ModelArgument,
    Output,
    QuietOption,
    ShardOption,
    StderrLogger,
    add_options,
    check_line_length,
    handle_broken_pipe,
    one_line,
    sources_or_stdin,
    to_json,
)
from seqgen.config import ClassifyOptions, make_options

if TYPE_CHECKING:
    from seqgen.api.classifying import Prediction
    from seqgen.corpus.rows import RowFormat
    from seqgen.corpus.shards import Shard
    from seqgen.corpus.sources import Spool


@handle_broken_pipe
@add_options(ClassifyOptions)
def run(
    model: ModelArgument,
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="[SOURCE]...", help="Files of texts, one a line.")
    ] = None,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE|-", help="Where the lines go.")] = "-",
    shard: ShardOption = None,
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
) -> None:
    """Sort texts: one line out for one line in, LABEL<TAB>PROBABILITY. Nothing is skipped, nothing added.

    Probabilities are calibrated: of the texts given a label with 0.8, about four in five have it. `--format fasttext`
    writes `__label__LABEL PROBABILITY`, `--format jsonl` an object a line. `--shard 3/16` sorts the third sixteenth of
    the lines.
    """
    settings = make_options(ClassifyOptions, options)
    names = sources_or_stdin(sources, "there is nothing to sort")
    from seqgen.api.classifying import classifier_config, make_classifier, to_prediction
    from seqgen.api.model import load
    from seqgen.corpus import sources as reading
    from seqgen.corpus.rows import RowFormat
    from seqgen.corpus.shards import Shard

    part = Shard.parse(shard)
    loaded = load(model)
    work = make_classifier(loaded)
    multi = classifier_config(loaded).multi
    voice = StderrLogger(quiet)
    spell = _FORMATS[settings.format]
    as_lines = RowFormat("lines", loaded.text_column)
    with Output(output) as out, reading.Spool() as spool:
        for chunks in _streams(names, part, spool, voice, as_lines):
            for batch in _batches(chunks):
                rows = work(batch)
                out.write("".join(spell(to_prediction(row, work.labels, multi, settings)) for row in rows))


def _streams(
    names: list[str], part: Shard, spool: Spool, voice: StderrLogger, as_lines: RowFormat
) -> Iterator[Iterator[bytes]]:
    """The bytes of each source. Of a part, a pipe's are kept first: where its lines end is known only at its end."""
    from seqgen.corpus import sources as reading
    from seqgen.streams import open_input, read_chunks

    if not part.is_whole:
        found = [d for name in names for d in reading.find([name], spool, warn=voice.warn, rows=as_lines)]
        yield from part.select_lines(found)
        return
    for name in names:
        if name == "-":
            yield read_chunks(open_input("-"), "standard input", unbuffered=True)
        else:
            for document in reading.find([name], spool, warn=voice.warn, rows=as_lines):
                yield document.chunks()


def _batches(chunks: Iterator[bytes]) -> Iterator[list[bytes]]:
    """The lines of a stream without their ends: at each turn those that have come, so that who writes a line into a
    pipe is answered at once."""
    rest: list[bytes] = []
    size = 0  # of the rest
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        rest.append(first)
        size += len(first)
        if others:
            *whole, last = others
            yield [_bare(b"".join(rest)), *map(_bare, whole)]
            rest, size = [last], len(last)
        else:
            check_line_length(size)
    if any(rest):
        yield [_bare(b"".join(rest))]


def _bare(line: bytes) -> bytes:
    return line.removesuffix(b"\r")


def _text(found: Prediction) -> str:
    return "\t".join(f"{one_line(label)}\t{probability:.4f}" for label, probability in found.labels) + "\n"


def _jsonl(found: Prediction) -> str:
    labels = [{"label": label, "probability": probability} for label, probability in found.labels]
    return to_json({"label": found.label, "probability": found.probability, "labels": labels}) + "\n"


def _fasttext(found: Prediction) -> str:
    parts = (f"__label__{'_'.join(label.split())} {probability:.6g}" for label, probability in found.labels)
    return " ".join(parts) + "\n"


_FORMATS = {"text": _text, "jsonl": _jsonl, "fasttext": _fasttext}
