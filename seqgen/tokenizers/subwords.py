"""`subword`: SentencePiece pieces (unigram model; Kudo, 2018), lossless on any bytes.

Nothing is normalised and white space is kept: a line feed is a piece of its own and a space belongs to the word after
it. What SentencePiece can't give back byte for byte (invalid UTF-8, U+2581, which it uses as its mark for a space) is
spelt with its byte pieces; every encoding is checked against its own decoding before it is believed.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import sentencepiece

from seqgen.errors import DataError, ModelError
from seqgen.streams import reason
from seqgen.tokenizers.codec import END_OF_DOCUMENT, Ids, Utf8Decoder, utf8_prefix_length

_SPACE = "\u2581"
# What SentencePiece would alter; the group is kept by `re.split`.
_FOREIGN = re.compile("([\u2581\udc80-\udcff]+)")
_MAX_LINE = 1000  # characters; the trainer's time grows faster than a line's length
_MAX_SAMPLE = 20_000_000  # characters the trainer sees of a larger corpus: more changes few pieces, and takes memory
_MAX_DISTINCT = 2_000_000  # characters of different words among them: the trainer's time, minutes, is in these
_MODEL = "tokenizer.model"
_RESERVED = 258  # pieces every vocabulary has: the bytes, the line feed and "unknown"


def default_vocab_size(characters: int, alphabet: int) -> int:
    """A piece for each common character, and twice the square root of the text's length for longer ones (the shape of
    Heaps' law): 2,100 for 1 MB of English, 5,000 for a Chinese novel, 16,000 at most beyond the alphabet."""
    return alphabet + int(np.clip(2 * round(characters**0.5), 500, 16000))


def _rare_characters(lines: list[str], vocab_size: int | None) -> tuple[int, dict[int, None]]:
    """How many characters get a piece of their own, and the others, as a table for `str.translate`.

    The rarest are left for the byte pieces, so that spelling is learnt: those beyond 99.95 % of the text, or, in a
    vocabulary that is given and small, beyond half of its room. (SentencePiece's own `character_coverage` refuses to
    go below 98 %, which a large alphabet needs.)
    """
    counts = Counter(itertools.chain.from_iterable(lines)).most_common()
    sums = np.cumsum([count for _, count in counts])
    alphabet = int(np.searchsorted(sums, 0.9995 * sums[-1])) + 1
    if vocab_size is not None:
        alphabet = max(1, min(alphabet, (vocab_size - _RESERVED) // 2))
    return alphabet, dict.fromkeys(ord(character) for character, _ in counts[alphabet:])


class SubwordCodec:
    """SentencePiece pieces and, behind them, `end` (`kind = "subword"`)."""

    name: ClassVar[str] = "subword"

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
            size = self._processor.vocab_size()
            if not 0 < size <= 1 << 24:
                raise ModelError("tokenizer.model holds no pieces")
            self._pieces: list[str | int | None] = [self._piece(token) for token in range(size)]
        except (RuntimeError, OSError, UnicodeDecodeError) as error:
            raise ModelError(f"tokenizer.model is damaged ({reason(error)[:80]})") from error
        values = {piece: token for token, piece in enumerate(self._pieces) if isinstance(piece, int)}
        if len(values) != 256:
            raise ModelError("tokenizer.model has no byte pieces, so it could not spell an unknown character")
        self._bytes = np.array([values[byte] for byte in range(256)], dtype=np.int32)
        self.end = size
        self.vocab_size = size + 1
        self._table = [
            b"" if piece is None else bytes([piece]) if isinstance(piece, int) else piece.encode("utf-8")
            for piece in [*self._pieces, None]
        ]

    def _piece(self, token: int) -> str | int | None:
        piece: str = self._processor.IdToPiece(token)
        if self._processor.IsByte(token):
            return int(piece[1:-1], 16)
        if self._processor.IsControl(token) or self._processor.IsUnknown(token):
            return None
        return piece.replace(_SPACE, " ")

    @classmethod
    def fit(cls, chunks: Iterable[bytes], vocab_size: int | None = None, share: float = 1.0) -> SubwordCodec:
        """Trains SentencePiece on a stream, which may be but a `share` of the text that it is for. A vocabulary larger
        than the stream can fill comes out smaller.

        Raises `DataError` for a stream without text.
        """
        lines = _sample(_lines(chunks))
        characters = sum(map(len, lines))
        if characters < 2:
            raise DataError("there is no text to learn subwords from; --tokenizer byte takes anything")
        alphabet, rare = _rare_characters(lines, vocab_size)
        wanted = vocab_size or default_vocab_size(round(characters / share), alphabet) + _RESERVED
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.Train(
                sentence_iterator=(line.translate(rare) for line in _thin(lines)),
                model_writer=model,
                model_type="unigram",
                vocab_size=wanted,
                hard_vocab_limit=False,
                byte_fallback=True,
                character_coverage=1.0,
                normalization_rule_name="identity",
                add_dummy_prefix=False,
                remove_extra_whitespaces=False,
                user_defined_symbols=["\n"],
                split_digits=True,
                max_sentence_length=8 * _MAX_LINE,
                bos_id=-1,
                eos_id=-1,
                unk_id=0,
                num_threads=1,  # more threads, another order of sums: not the same pieces twice
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            # SentencePiece names its own source files here; what it means is always this.
            room = "" if vocab_size is None else f" (or the text needs more than --vocab-size {vocab_size})"
            raise DataError(
                f"subwords can't be learnt from this text: too little recurs{room}; --tokenizer byte takes anything"
            ) from error
        _give_back_memory()
        return cls(model.getvalue())

    def extend(self, chunks: Iterable[bytes]) -> SubwordCodec:
        """The same pieces: their byte pieces spell whatever is new."""
        for _ in chunks:
            pass
        return self

    def encode(self, data: bytes) -> Ids:
        text = data.decode("utf-8", "surrogateescape")
        parts = []
        for place, part in enumerate(_FOREIGN.split(text)):
            if not part:
                continue
            raw = part.encode("utf-8", "surrogateescape")
            ids = np.array([] if place % 2 else self._processor.EncodeAsIds(part), dtype=np.int32)
            if b"".join([self._table[token] for token in ids.tolist()]) != raw:
                ids = self._bytes[np.frombuffer(raw, dtype=np.uint8)]
            parts.append(ids)
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)

    def safe_prefix_length(self, data: bytes) -> int:
        """At the last line feed; a line longer than a mebibyte at a space, or else at any character."""
        cut = data.rfind(b"\n") + 1
        if cut or len(data) < 1 << 20:
            return cut
        return data.rfind(b" ") if b" " in data[1:] else utf8_prefix_length(data)

    def decoder(self) -> Utf8Decoder:
        return Utf8Decoder(self._table)

    def pieces(self) -> list[str | int | None]:
        return [*self._pieces, None]

    def num_seen(self) -> int:
        return self.vocab_size

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.name, "model": _MODEL, "vocab_size": self.vocab_size}

    def files(self) -> dict[str, bytes]:
        return {_MODEL: self._model}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], files: Mapping[str, bytes]) -> SubwordCodec:
        if _MODEL not in files:
            raise ModelError(f"{_MODEL} is missing: a subword model can't be read without it")
        codec = cls(files[_MODEL])
        if data.get("vocab_size") != codec.vocab_size:
            raise ModelError(f"{_MODEL} is not the one that tokenizer.json belongs to: the vocabulary sizes differ")
        return codec


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The stream's lines as SentencePiece's trainer may have them: no line feed, nothing foreign, not too long."""
    utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + utf8.decode(chunk, final=chunk == END_OF_DOCUMENT)).split("\n")
        if chunk == END_OF_DOCUMENT or len(rest) > 1 << 20:  # a line that never ends: take what is there
            whole, rest = [*whole, rest], ""
        yield from _clean(whole)
    yield from _clean([rest + utf8.decode(b"", True)])


def _clean(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        line = _FOREIGN.sub("", line).replace("\x00", "")
        for start in range(0, len(line), _MAX_LINE):
            yield line[start : start + _MAX_LINE]


def _sample(lines: Iterable[str]) -> list[str]:
    """Evenly spaced lines, at most about `_MAX_SAMPLE` characters: all, or every 2nd, 4th, 8th…"""
    kept: list[str] = []
    size, stride = 0, 1
    for number, line in enumerate(lines):
        if number % stride:
            continue
        kept.append(line)
        size += len(line)
        if size > _MAX_SAMPLE:
            kept, stride = kept[::2], stride * 2
            size = sum(map(len, kept))
    return kept


def _give_back_memory() -> None:
    """What the trainer took and freed, glibc would keep: half a gigabyte for the rest of the run."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _thin(lines: list[str]) -> list[str]:
    """All of the lines, or every 2nd, 4th, 8th… where they hold more different words than are worth waiting for, as
    much text without spaces does (a word is what stands between two spaces)."""
    while len(lines) > 1 and not _has_few_words(lines):
        lines = lines[::2]
    return lines


def _has_few_words(lines: list[str]) -> bool:
    words: set[str] = set()
    size = 0
    for line in lines:
        for word in line.split(" "):
            if word not in words:
                words.add(word)
                size += len(word)
        if size > _MAX_DISTINCT:
            return False
    return True
