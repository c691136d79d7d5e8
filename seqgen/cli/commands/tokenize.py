"""`seqgen tokenize`: text and music as ids."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli.inputs import sources_or_stdin
from seqgen.cli.options import EncodingOption, OutputOption, QuietOption, plot_option
from seqgen.cli.output import Output, StderrLogger, to_json
from seqgen.config import TrainOptions, flag_name, make_options
from seqgen.errors import DataError, ModelError, SeqgenError, UserError, did_you_mean
from seqgen.quantities import plural
from seqgen.specs.registry import resolve
from seqgen.specs.tokenizers import TOKENIZERS, TokenizerSpec
from seqgen.streams import write_output

if TYPE_CHECKING:
    from seqgen.corpus.sources import Document
    from seqgen.music.score import QuantisationStats
    from seqgen.tokenizers import Codec
    from seqgen.tokenizers.midi import MidiCodec


def _without_model() -> tuple[str, ...]:
    """The tokenizers that can be fitted to the sources."""
    return tuple(name for name, spec in TOKENIZERS.items() if spec.task is not None)


EXAMPLES = ("seqgen tokenize tales tidewater", "seqgen tokenize byte tidewater --check")


def run(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|TOKENIZER", help=f"Model folder, or a tokenizer to fit: {', '.join(_without_model())}."
        ),
    ],
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE...", help="Texts or music [default: standard input].")
    ] = None,
    pieces: Annotated[
        bool, typer.Option("--pieces", help="Print tokens as pieces of text or events, one per line, instead of ids.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Decode the ids again, compare, and report what was lost.")
    ] = False,
    vocab_size: Annotated[
        int | None, typer.Option(min=300, max=1 << 20, help="Vocabulary size of a subword tokenizer.")
    ] = None,
    grid: Annotated[int | None, typer.Option(help="Steps per quarter note of a midi tokenizer.")] = None,
    velocity_bins: Annotated[int | None, typer.Option(help="Velocity levels of a midi tokenizer.")] = None,
    tracks: Annotated[
        str | None, typer.Option(metavar="all|melody|piano", help="Parts that a midi tokenizer reads.")
    ] = None,
    plot: Annotated[str | None, plot_option("Piano roll of a piece.")] = None,
    encoding: EncodingOption = None,
    output: OutputOption = "-",
    quiet: QuietOption = False,
) -> None:
    """Print the token ids of a source, one line per document.

    --check proves that the ids decode to the source again.
    """
    from seqgen import tasks
    from seqgen.api.open import open_checkpoint
    from seqgen.corpus import sources as reading

    if pieces and check:
        raise UserError("give --pieces or --check, not both: --check prints a summary, not the tokens")
    names = sources_or_stdin(sources, "there is nothing to tokenize")
    log = StderrLogger(quiet)
    available = _without_model()
    fit_here = model in available and not Path(model).is_dir()
    settings = {"vocab_size": vocab_size, "grid": grid, "velocity_bins": velocity_bins, "tracks": tracks}
    settings = {name: value for name, value in settings.items() if value is not None}
    for name in settings:
        if not fit_here or name not in TOKENIZERS.find(model).fit_options:
            takers = ", ".join(other for other in available if name in TOKENIZERS.find(other).fit_options)
            raise UserError(f"{flag_name(name)} is for the tokenizer {takers} only")
    if not fit_here and not Path(model).exists() and os.sep not in model:
        beside = [path.parent.name for path in Path().glob("*/config.json")]
        hint = did_you_mean(model, [*available, *beside])
        raise ModelError(f"there is no model {model!r}; the tokenizers are {', '.join(available)}{hint}")
    codec = None if fit_here else open_checkpoint(model).codec
    spec = TOKENIZERS.find(model if codec is None else codec.name)
    if plot is not None and spec.writes_text:
        raise UserError("--plot draws music, and this is text")
    of_task: dict[str, Any] = {}
    if spec.task is not None:
        of_task = {"accepts": tasks.accepts(spec.task), "rows": tasks.rows(spec.task)}
    with reading.Spool() as spool, Output(output) as out:
        as_text = reading.ReadOptions(encoding, decode=spec.decodes_text)
        found = reading.find(names, spool, warn=log.warn, reading=as_text, report=log.info, **of_task)
        documents = reading.checksum_documents(found, log.warn, is_learnt=spec.writes_text)
        codec = codec or _fit(spec, documents, settings)
        if spec.writes_text:
            _write_text(codec, documents, out, pieces, check)
        else:
            from seqgen.generation.music.composing import music_codec

            _write_music(music_codec(codec), documents, out, pieces, check, plot, log)


def _fit(spec: TokenizerSpec, documents: list[Document], settings: dict[str, Any]) -> Codec:
    from seqgen import tokenizers

    if not spec.writes_text:
        codec: Codec = resolve(spec.codec).from_options(make_options(TrainOptions, settings))
        return codec
    text = (chunk for document in documents for chunk in document.chunks())
    return tokenizers.fit(spec.name, text, **settings)


def _write_text(codec: Codec, documents: list[Document], out: Output, pieces: bool, check: bool) -> None:
    from seqgen import tokenizers

    total_bytes, total_tokens = 0, 0
    for document in documents:
        before, after = _Digest(), hashlib.sha256()
        decoder = codec.decoder()
        at_start = True
        for ids in tokenizers.encode_stream(codec, before.watch(document.chunks())):
            total_tokens += len(ids)
            if check:
                for token in ids.tolist():
                    after.update(decoder.push(token))
            elif pieces:
                texts = (tokenizers.decode(codec, [token]).decode("utf-8", "surrogateescape") for token in ids)
                out.write("".join(to_json(text) + "\n" for text in texts))
            elif len(ids):
                out.write(("" if at_start else " ") + " ".join(map(str, ids.tolist())))
                at_start = False
        if check:
            after.update(decoder.finish())
            total_bytes += before.size
            if before.sha256.digest() != after.digest():
                raise SeqgenError(f"{document.name!r} decodes to other bytes (an internal error of the tokenizer)")
        elif not pieces:
            out.write("\n")
    if check:
        out.write(
            f"{plural(len(documents), 'document')}, {total_bytes:,} bytes, {total_tokens:,} tokens, vocabulary size "
            f"{codec.vocab_size:,}, {total_bytes / max(total_tokens, 1):.2f} bytes a token: every byte came back\n"
        )


def _write_music(
    codec: MidiCodec,
    documents: list[Document],
    out: Output,
    pieces: bool,
    check: bool,
    plot: str | None,
    log: StderrLogger,
) -> None:
    """A file without notes is skipped with a warning that gives the reason; if all are, that is an error."""
    from seqgen.corpus.opening.form import quoted
    from seqgen.music.score import QuantisationStats
    from seqgen.tokenizers import decode

    if plot is not None and len(documents) > 1:
        raise UserError(f"--plot draws one file, and there are {len(documents):,}; name one")
    stats, tokens, read = QuantisationStats(), 0, 0
    for document in documents:
        data = b"".join(document.limited())
        try:
            piece, changes = codec.read_piece(data)
        except DataError as error:
            if len(documents) == 1:
                raise DataError(f"{quoted(document.name)}: {error}") from error
            log.warn(f"{quoted(document.name)} is skipped: {error}")
            continue
        ids = codec.encode_piece(piece)
        stats.add(changes)
        tokens += len(ids)
        read += 1
        if check:
            if codec.encode_piece(codec.read_piece(decode(codec, ids))[0]).tolist() != ids.tolist():
                raise SeqgenError(f"{document.name!r} decodes to another piece (an internal error of the tokenizer)")
        elif pieces:
            out.write("".join(codec.vocabulary.token_name(token) + "\n" for token in ids.tolist()))
        else:
            out.write(" ".join(map(str, ids.tolist())) + "\n")
        if plot is not None:
            from seqgen.plots.music import piano_roll

            write_output(Path(plot), piano_roll(piece, title=Path(document.name).stem))
    if not read:
        raise DataError(f"none of {len(documents):,} files is music with notes")
    if check:
        out.write(_music_report(codec, stats, tokens, read, len(documents)))


def _music_report(codec: MidiCodec, stats: QuantisationStats, tokens: int, read: int, files: int) -> str:
    """The effects of the grid on the music, in numbers, and what was forgiven."""
    from seqgen.music.score import repairs
    from seqgen.tasks.midi_corpus import grid_warning

    lines = [
        f"{plural(files, 'file')}, {read:,} read: {stats.notes:,} notes, {stats.kept:,} kept, {tokens:,} tokens, "
        f"vocabulary size {codec.vocab_size:,}, {tokens / max(stats.kept, 1):.2f} a note: all came back the same",
        f"onsets moved by {stats.shift / max(stats.notes, 1):.3f} steps of 1/{codec.options.grid} quarter note on "
        f"average, {stats.largest_shift:.3f} at most",
    ]
    counted = (
        (stats.lengthened, "note", "lengthened to one step"),
        (stats.shortened, "note", "longer than 128 bars, cut there"),
        (stats.struck_again, "note", "cut where the same pitch starts again"),
        (stats.doubled, "note", "dropped: the same pitch twice at once"),
        (stats.hanging, "note", "without a note-off, ended with their track"),
        (stats.out_of_range, "note", "dropped by the pitch range or the choice of tracks"),
        (stats.parts_merged, "part", "beyond the sixteenth, merged into others"),
        (stats.metres_changed, "change", "of metre delayed, or replaced by a metre of the nearest length"),
        (stats.graces, "grace note", "dropped"),
        (stats.bends, "pitch bend", "dropped"),
        (stats.controllers, "controller", "dropped"),
    )
    lines += [f"{plural(count, noun)} {change}" for count, noun, change in counted if count]
    lines += repairs(stats)
    if warning := grid_warning(stats, codec.options.grid):
        lines.append(warning)
    return "\n".join(lines) + "\n"


class _Digest:
    """The sha256 and size of a stream, computed as it passes."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0

    def watch(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.sha256.update(chunk)
            self.size += len(chunk)
            yield chunk
