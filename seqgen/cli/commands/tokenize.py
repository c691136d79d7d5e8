"""`seqgen tokenize`: how text and music become ids."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqgen.cli.options import Output, QuietOption, StderrLogger, handle_broken_pipe, sources_or_stdin, to_json
from seqgen.config import TOKENIZER_NAMES, TrainOptions, flag_name, make_options
from seqgen.errors import DataError, ModelError, SeqgenError, UserError
from seqgen.streams import write_bytes

if TYPE_CHECKING:
    from seqgen.corpus.sources import Document
    from seqgen.music.parts import QuantisationStats
    from seqgen.tokenizers import Codec
    from seqgen.tokenizers.midi import MidiCodec


@handle_broken_pipe
def run(
    model: Annotated[
        str, typer.Argument(metavar="MODEL|KIND", help="A model, or char, byte, subword or midi, made for the source.")
    ],
    sources: Annotated[list[str] | None, typer.Argument(metavar="[SOURCE]...", help="What to tokenize.")] = None,
    pieces: Annotated[bool, typer.Option("--pieces", help="Pieces of text or events, one a line, not ids.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Decode again, compare, and tell what was lost.")] = False,
    vocab_size: Annotated[int | None, typer.Option(min=300, help="Of subword, where it is fitted here.")] = None,
    grid: Annotated[int | None, typer.Option(help="Of midi, where it is made here: steps a quarter note.")] = None,
    velocity_bins: Annotated[int | None, typer.Option(help="Of midi: how many loudnesses.")] = None,
    tracks: Annotated[str | None, typer.Option(metavar="all|melody|piano", help="Of midi: which parts.")] = None,
    plot: Annotated[str | None, typer.Option(metavar="FILE.png", help="Draw a MIDI file's piano roll.")] = None,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE|-", help="Where the ids go.")] = "-",
    quiet: QuietOption = False,
) -> None:
    """Show the ids, a line a document, or the pieces that a source becomes; --check proves the round trip."""
    from seqgen import checkpoint, tasks
    from seqgen.corpus import sources as reading

    names = sources_or_stdin(sources, "there is nothing to tokenize")
    voice = StderrLogger(quiet)
    made_here = model in (*TOKENIZER_NAMES, "midi") and not Path(model).is_dir()
    if vocab_size is not None and not (made_here and model == "subword"):
        raise UserError("--vocab-size goes with the kind subword only")
    of_midi = {"grid": grid, "velocity_bins": velocity_bins, "tracks": tracks}
    given = {name: value for name, value in of_midi.items() if value is not None}
    if given and not (made_here and model == "midi"):
        raise UserError(f"{flag_name(next(iter(given)))} goes with the kind midi only")
    if not made_here and not Path(model).exists() and os.sep not in model:
        raise ModelError(f"there is no model {model!r}; the kinds are {', '.join((*TOKENIZER_NAMES, 'midi'))}")
    codec = None if made_here else checkpoint.load(model).codec
    music = model == "midi" if codec is None else codec.kind == "midi"
    if plot is not None and not music:
        raise UserError("--plot draws music, and this is text")
    with reading.Spool() as spool, Output(output) as out:
        accepts = tasks.accepts("music" if music else "text")
        rows = tasks.rows("music" if music else "text")
        found = reading.find(names, spool, warn=voice.warn, accepts=accepts, rows=rows)
        documents = reading.checksum_documents(found, voice.warn)
        if music:
            from seqgen.generation.music.composing import music_codec
            from seqgen.tokenizers.midi import MidiCodec

            midi = MidiCodec.of(make_options(TrainOptions, given)) if codec is None else music_codec(codec)
            _music(midi, documents, out, pieces, check, plot, voice)
        else:
            _text(codec or _fit(model, documents, vocab_size), documents, out, pieces, check)


def _fit(kind: str, documents: list[Document], vocab_size: int | None) -> Codec:
    from seqgen import tokenizers

    text = (chunk for document in documents for chunk in document.chunks())
    return tokenizers.fit(kind, text, **({"vocab_size": vocab_size} if vocab_size else {}))


def _text(codec: Codec, documents: list[Document], out: Output, pieces: bool, check: bool) -> None:
    from seqgen import tokenizers

    total_bytes, total_tokens = 0, 0
    for document in documents:
        before, after = _Digest(), hashlib.sha256()
        decoder = codec.decoder()
        begun = False
        for ids in tokenizers.encode_stream(codec, before.watch(document.chunks())):
            total_tokens += len(ids)
            if check:
                for token in ids.tolist():
                    after.update(decoder.push(token))
            elif pieces:
                spelt = (tokenizers.decode(codec, [token]).decode("utf-8", "surrogateescape") for token in ids)
                out.write("".join(to_json(piece) + "\n" for piece in spelt))
            elif len(ids):
                out.write((" " if begun else "") + " ".join(map(str, ids.tolist())))
                begun = True
        if check:
            after.update(decoder.finish())
            total_bytes += before.size
            if before.sha256.digest() != after.digest():
                raise SeqgenError(f"{document.name!r} did not come back as it was: a fault of the tokenizer")
        elif not pieces:
            out.write("\n")
    if check:
        share = total_bytes / max(total_tokens, 1)
        out.write(
            f"{_files(len(documents), 'document')}, {total_bytes:,} bytes, {total_tokens:,} "
            f"tokens of {codec.vocab_size:,} kinds, {share:.2f} bytes a token: every byte came back\n"
        )


def _music(
    codec: MidiCodec,
    documents: list[Document],
    out: Output,
    pieces: bool,
    check: bool,
    plot: str | None,
    voice: StderrLogger,
) -> None:
    """A file that holds no piece is passed over with its reason; where none does, that is the error."""
    from seqgen.music.parts import QuantisationStats
    from seqgen.tokenizers import decode

    if plot is not None and len(documents) > 1:
        raise UserError(f"--plot draws one file, and here are {len(documents):,}")
    losses, tokens, read = QuantisationStats(), 0, 0
    for document in documents:
        data = b"".join(document.limited())
        try:
            piece, lost = codec.read(data)
        except DataError as error:
            if len(documents) == 1:
                raise DataError(f"{document.name!r}: {error}") from error
            voice.warn(f"{document.name!r} is passed over: {error}")
            continue
        ids = codec.spell(piece)
        losses.add(lost)
        tokens += len(ids)
        read += 1
        if check:
            if codec.spell(codec.read(decode(codec, ids))[0]).tolist() != ids.tolist():
                raise SeqgenError(f"{document.name!r} came back as another piece: a fault of the tokenizer")
        elif pieces:
            out.write("".join(codec.vocabulary.spell(token) + "\n" for token in ids.tolist()))
        else:
            out.write(" ".join(map(str, ids.tolist())) + "\n")
        if plot is not None:
            from seqgen.plots.music import piano_roll

            write_bytes(Path(plot).expanduser(), piano_roll(piece, title=Path(document.name).stem))
    if not read:
        raise DataError(f"not one of {len(documents):,} files is a MIDI file with notes")
    if check:
        out.write(_report(codec, losses, tokens, read, len(documents)))


def _report(codec: MidiCodec, losses: QuantisationStats, tokens: int, read: int, of: int) -> str:
    """What a grid of so many steps did to the music, in numbers."""
    kept = max(losses.kept, 1)
    moved = losses.shift / max(losses.notes, 1)
    lines = [
        f"{_files(of, 'file')}, {read:,} read: {losses.notes:,} notes, {losses.kept:,} kept, {tokens:,} tokens of "
        f"{codec.vocab_size:,} kinds, {tokens / kept:.2f} a note: all come back the same",
        f"onsets moved by {moved:.3f} steps of 1/{codec.options.grid} quarter note on average, "
        f"{losses.largest_shift:.3f} at most",
    ]
    counted = (
        (losses.lengthened, "lengthened to one step"),
        (losses.shortened, "longer than 128 bars ended there"),
        (losses.struck_again, "cut where the same pitch is struck again"),
        (losses.doubled, "left out: the same pitch twice at once"),
        (losses.hanging, "never let go: ended with their track"),
        (losses.out_of_range, "left out by the pitch range or the choice of tracks"),
    )
    lines += [f"{_files(count, 'note')} {what}" for count, what in counted if count]
    others = (
        (losses.parts_merged, "part", "beyond the sixteenth, joined to others"),
        (losses.metres_changed, "change", "of metre moved, or to a metre of the nearest length"),
        (losses.bends, "pitch bend", "left out"),
        (losses.controllers, "controller", "left out"),
    )
    lines += [f"{_files(count, noun)} {what}" for count, noun, what in others if count]
    return "\n".join(lines) + "\n"


def _files(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


class _Digest:
    """The sha256 and size of a stream, taken as it passes."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0

    def watch(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.sha256.update(chunk)
            self.size += len(chunk)
            yield chunk
