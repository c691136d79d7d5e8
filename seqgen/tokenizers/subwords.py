"""`subword`: SentencePiece pieces (unigram model; Kudo, 2018), lossless on any bytes.

Nothing is normalised and white space is kept: a line feed is a piece of its own and a space belongs to the next word.
Text that SentencePiece can't restore byte for byte is encoded with its byte pieces: invalid UTF-8, and U+2581, its
mark for a space. Every encoding is verified by decoding it.
"""

from __future__ import annotations

import codecs
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import sentencepiece

from seqgen.errors import DataError, ModelError
from seqgen.streams import reason
from seqgen.tokenizers import piece_file
from seqgen.tokenizers.codec import END_OF_DOCUMENT, Codec, Ids, Utf8Decoder, piece_bytes, utf8_prefix_length
from seqgen.tokenizers.workers import Job, WorkerReply, no_check, run_in_workers

_SPACE = "\u2581"
# Text that SentencePiece would alter; `re.split` keeps the group.
_ALTERED = re.compile("([\u2581\udc80-\udcff]+)")
_MAX_LINE = 1000  # characters; the trainer's time grows faster than the length of a line
_MAX_SAMPLE = 20_000_000  # characters for the trainer: more change few pieces, and take memory
_MAX_DISTINCT = 2_000_000  # characters of distinct words among them: they cost most of the trainer's time, minutes
_MIN_SAMPLE = 200_000  # characters; fewer are trained on sooner than another Python process starts
_MODEL = "tokenizer.model"
_RESERVED = 258  # pieces in every vocabulary: the bytes, the line feed and "unknown"


def default_vocab_size(characters: int, alphabet: int) -> int:
    """Return the default vocabulary size: the alphabet, and twice the square root of the text's length.

    The square root has the shape of Heaps' law. 2,100 for 1 MB of English, 5,000 for a Chinese novel; at most 16,000
    beyond the alphabet.
    """
    return alphabet + int(np.clip(2 * round(characters**0.5), 500, 16000))


def _rare_characters(lines: list[str], vocab_size: int | None) -> tuple[int, dict[int, None]]:
    """The number of characters that get a piece, and a table for `str.translate` that removes the others.

    The rarest are left to the byte pieces, so that the network learns to use these: characters beyond 99.95 % of the
    text, or beyond half of a small given vocabulary. (SentencePiece's own `character_coverage` can't go below 98 %,
    which a large alphabet needs.)
    """
    counts = Counter(itertools.chain.from_iterable(lines)).most_common()
    sums = np.cumsum([count for _, count in counts])
    alphabet = int(np.searchsorted(sums, 0.9995 * sums[-1])) + 1
    if vocab_size is not None:
        alphabet = max(1, min(alphabet, (vocab_size - _RESERVED) // 2))
    return alphabet, dict.fromkeys(ord(character) for character, _ in counts[alphabet:])


class SubwordCodec(Codec):
    """The pieces of a SentencePiece model, followed by `end`."""

    name: ClassVar[str] = "subword"

    def __init__(self, model: bytes) -> None:
        piece_file.check(model)
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
            size = self._processor.vocab_size()
            if not 0 < size <= 1 << 24:
                raise ModelError("tokenizer.model has no pieces")
            self._pieces: list[str | int | None] = [self._piece(token) for token in range(size)]
            if not np.isfinite([self._processor.GetScore(token) for token in range(size)]).all():
                raise ModelError("tokenizer.model is damaged: a piece has a score that is not finite")
        except (RuntimeError, OSError, ValueError) as error:
            raise ModelError(f"tokenizer.model is damaged ({reason(error)[:80]})") from error
        values = {piece: token for token, piece in enumerate(self._pieces) if isinstance(piece, int)}
        if len(values) != 256:
            raise ModelError("tokenizer.model has no byte pieces, so it can't encode unknown characters")
        self._bytes = np.array([values[byte] for byte in range(256)], dtype=np.int32)
        self.end = size
        self.vocab_size = size + 1
        self._table = [*map(piece_bytes, self._pieces), b""]

    def _piece(self, token: int) -> str | int | None:
        piece: str = self._processor.IdToPiece(token)
        if self._processor.IsByte(token):
            return int(piece[1:-1], 16)
        if self._processor.IsControl(token) or self._processor.IsUnknown(token):
            return None
        return piece.replace(_SPACE, " ")

    @classmethod
    def fit(
        cls,
        chunks: Iterable[bytes],
        vocab_size: int | None = None,
        fraction: float = 1.0,
        check: Callable[[], None] = no_check,
    ) -> SubwordCodec:
        """Train SentencePiece on a stream. A vocabulary too large for the text comes out smaller.

        The trainer can't be interrupted, so it runs in another process, which an exception ends.

        Args:
            fraction: the stream's part of the whole text, which the default vocabulary size is for.
            check: called several times a second; may raise an exception.

        Raises:
            DataError: the stream has no text, or too little.
        """
        lines, characters = _sample(_lines(chunks))
        if characters < 2:
            raise DataError("cannot train subwords: there is no text; --tokenizer byte takes any")
        alphabet, rare = _rare_characters(lines, vocab_size)
        wanted = vocab_size or default_vocab_size(round(characters / fraction), alphabet) + _RESERVED
        text = "\n".join(line.translate(rare) for line in _thin(lines))
        model = _train(text, wanted) if len(text) < _MIN_SAMPLE else _train_in_worker(text, wanted, check)
        if model is None:
            limit = "" if vocab_size is None else f" (or the text needs more than --vocab-size {vocab_size})"
            raise DataError(f"cannot train subwords: too little in this text recurs{limit}; --tokenizer byte takes any")
        return cls(model)

    def extend(self, chunks: Iterable[bytes]) -> SubwordCodec:
        """Return the same codec, whose byte pieces encode any new character; reads the stream to its end."""
        for _ in chunks:
            pass
        return self

    def encode(self, data: bytes) -> Ids:
        text = data.decode("utf-8", "surrogateescape")
        parts = []
        for index, part in enumerate(_ALTERED.split(text)):
            if not part:
                continue
            raw = part.encode("utf-8", "surrogateescape")
            ids = np.array([] if index % 2 else self._processor.EncodeAsIds(part), dtype=np.int32)
            if b"".join([self._table[token] for token in ids.tolist()]) != raw:
                ids = self._bytes[np.frombuffer(raw, dtype=np.uint8)]
            parts.append(ids)
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)

    def safe_prefix_length(self, data: bytes) -> int:
        """Cut after the last line feed; in a line longer than 1 MiB before a space, else after any character."""
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
            raise ModelError(f"{_MODEL} is missing: a subword model can't be loaded without it")
        codec = cls(files[_MODEL])
        if data.get("vocab_size") != codec.vocab_size:
            raise ModelError(f"{_MODEL} does not belong to tokenizer.json: the vocabulary sizes differ")
        return codec


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of a stream for SentencePiece's trainer: limited in length, without text that it would alter."""
    utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + utf8.decode(chunk, final=chunk == END_OF_DOCUMENT)).split("\n")
        if chunk == END_OF_DOCUMENT or len(rest) > 1 << 20:  # a line without end: cut it here
            whole, rest = [*whole, rest], ""
        yield from _clean(whole)
    yield from _clean([rest + utf8.decode(b"", True)])


def _clean(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        line = _ALTERED.sub("", line).replace("\x00", "")
        for start in range(0, len(line), _MAX_LINE):
            yield line[start : start + _MAX_LINE]


def _sample(lines: Iterable[str]) -> tuple[list[str], int]:
    """Evenly spaced lines of at most about `_MAX_SAMPLE` characters: all, or every 2nd, 4th, 8th…

    With them comes the number of characters of all lines.
    """
    sample: list[str] = []
    size, stride, characters = 0, 1, 0
    for number, line in enumerate(lines):
        characters += len(line)
        if number % stride:
            continue
        sample.append(line)
        size += len(line)
        if size > _MAX_SAMPLE:
            sample, stride = sample[::2], stride * 2
            size = sum(map(len, sample))
    return sample, characters


def _thin(lines: list[str]) -> list[str]:
    """All lines, or every 2nd, 4th, 8th… if they have too many distinct words, as text without spaces has.

    A word is the text between two spaces.
    """
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


def _train(text: str, vocab_size: int) -> bytes | None:
    """The model of SentencePiece's trainer for lines of text; None if it can't make one: too little recurs."""
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(text.split("\n")),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
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
            num_threads=1,  # more threads change the order of sums, and so the pieces
            minloglevel=2,
        )
    except (RuntimeError, OSError):
        return None
    return model.getvalue()


_TRAIN = "seqgen.tokenizers.subwords:train_job"


def _train_in_worker(text: str, vocab_size: int, check: Callable[[], None]) -> bytes | None:
    batch = [json.dumps(vocab_size).encode(), text.encode()]
    died = "the process that trained the subwords died; was there enough memory?"
    (reply,) = run_in_workers(_TRAIN, {}, iter([batch]), 1, lambda batch: died, check)
    return bytes(reply.parts[0]) if reply.parts else None


def train_job(files: Mapping[str, bytes]) -> Job:
    """Make the job that trains: a batch of vocabulary size and text to a model, or nothing if there can't be one."""

    def train(batch: Sequence[memoryview]) -> WorkerReply:
        model = _train(bytes(batch[1]).decode(), json.loads(bytes(batch[0])))
        return WorkerReply(None, [] if model is None else [model])

    return train
