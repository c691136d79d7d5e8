"""`seqgen tokenize`: how text becomes ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from seqgen.cli.common import Output, Quiet, Voice, pipes, sources_or_stdin, to_json
from seqgen.config import TOKENIZER_NAMES
from seqgen.errors import SeqgenError, UserError


@pipes
def run(
    model: Annotated[
        str, typer.Argument(metavar="MODEL|KIND", help="A model, or char, byte or subword fitted on the source.")
    ],
    sources: Annotated[list[str] | None, typer.Argument(metavar="[SOURCE]...", help="What to tokenize.")] = None,
    pieces: Annotated[bool, typer.Option("--pieces", help="JSON strings, a piece a line, instead of ids.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Decode again, and compare every byte.")] = False,
    vocab_size: Annotated[int | None, typer.Option(min=300, help="Of subword, where it is fitted here.")] = None,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE|-", help="Where the ids go.")] = "-",
    quiet: Quiet = False,
) -> None:
    """Show the ids, a line a document, or the pieces that text becomes; --check proves the round trip."""
    from pathlib import Path

    from seqgen import checkpoint, tokenizers
    from seqgen.corpus import sources as reading

    names = sources_or_stdin(sources, "there is nothing to tokenize")
    voice = Voice(quiet)
    fitted = model in TOKENIZER_NAMES and not Path(model).is_dir()
    if vocab_size is not None and not (fitted and model == "subword"):
        raise UserError("--vocab-size goes with the kind subword only")
    codec = None if fitted else checkpoint.load(model).codec
    with reading.Spool() as spool, Output(output) as out:
        documents = reading.measure(reading.find(names, spool, warn=voice.warn), voice.warn)
        if codec is None:
            text = (chunk for document in documents for chunk in document.chunks())
            codec = tokenizers.fit(model, text, **({"vocab_size": vocab_size} if vocab_size else {}))
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
                f"{len(documents):,} document{'s' * (len(documents) != 1)}, {total_bytes:,} bytes, {total_tokens:,} "
                f"tokens of {codec.vocab_size:,} kinds, {share:.2f} bytes a token: every byte came back\n"
            )


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
