"""`midi`: a MIDI file ↔ the events of `music.events`. decode(encode(x)) is a fixed point."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from seqgen.config import TrainOptions, check, from_json, parse_pitch_range
from seqgen.errors import ModelError, UserError
from seqgen.music import grammar, midi
from seqgen.music.events import EventVocabulary, VocabularyOptions
from seqgen.music.grammar import GrammarState
from seqgen.music.midi import QuantisationStats
from seqgen.music.piece import Piece
from seqgen.tokenizers.codec import Ids


class MidiCodec:
    """See `codec.Codec`. Nothing is fitted: the vocabulary follows from the options."""

    name: ClassVar[str] = "midi"

    def __init__(self, options: VocabularyOptions | None = None) -> None:
        self.options = options or VocabularyOptions()
        self.vocabulary = EventVocabulary(self.options)
        self.vocab_size = self.vocabulary.size
        self.end = self.vocabulary.id("end")

    @classmethod
    def from_options(cls, options: TrainOptions) -> MidiCodec:
        """The codec that `train` was asked for."""
        low, high = parse_pitch_range(options.pitch_range)
        rising = options.note_order == "rising"
        return cls(VocabularyOptions(options.grid, options.velocity_bins, options.tracks, low, high, rising))

    @classmethod
    def fit(cls, chunks: Iterable[bytes], **options: Any) -> MidiCodec:
        """A codec of these fields of `VocabularyOptions`; reads the stream to its end."""
        return cls(VocabularyOptions(**options)).extend(chunks)

    def extend(self, chunks: Iterable[bytes]) -> MidiCodec:
        """The same codec: it has every event there is."""
        for _ in chunks:
            pass
        return self

    def read_piece(self, data: bytes) -> tuple[Piece, QuantisationStats]:
        """The piece in a MIDI file, on the grid. Raises `DataError`: why there is none in it."""
        options = self.options
        return midi.read(data, options.grid, options.tracks, options.low, options.high)

    def encode_piece(self, piece: Piece) -> Ids:
        """The ids of a piece, without `end`."""
        return np.array(grammar.encode_piece(piece, self.vocabulary), dtype=np.int32)

    def encode(self, data: bytes) -> Ids:
        """Ids of a MIDI file. Unlike text's it can fail: raises `DataError` where there is no piece in `data`."""
        return self.encode_piece(self.read_piece(data)[0])

    def safe_prefix_length(self, data: bytes) -> int:
        """0: a MIDI file is read whole."""
        return 0

    def decoder(self) -> MidiDecoder:
        return MidiDecoder(self.vocabulary)

    def pieces(self) -> list[str | int | None]:
        return [None] * self.vocab_size

    def num_seen(self) -> int:
        return self.vocab_size

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.name, "vocab_size": self.vocab_size, **dataclasses.asdict(self.options)}

    def files(self) -> dict[str, bytes]:
        return {}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], files: Mapping[str, bytes]) -> MidiCodec:
        kept = {name: value for name, value in data.items() if name not in ("kind", "vocab_size")}
        try:
            options = from_json(VocabularyOptions, kept)
            check(
                TrainOptions(
                    grid=options.grid,
                    velocity_bins=options.velocity_bins,
                    tracks=options.tracks,
                    pitch_range=f"{options.low}-{options.high}",
                )
            )
        except UserError as error:
            raise ModelError(f"tokenizer.json is damaged: {error}") from error
        codec = cls(options)
        if data.get("vocab_size") != codec.vocab_size:
            raise ModelError("tokenizer.json is damaged: its vocabulary is not the one that its options make")
        return codec


class MidiDecoder:
    """See `codec.Decoder`. A MIDI file begins with the number of its tracks, so that all of it comes at the end."""

    def __init__(self, vocabulary: EventVocabulary) -> None:
        self._walk = GrammarState(vocabulary)

    def push(self, token: int) -> bytes:
        if not self._walk.ended:
            self._walk.push(token)
        return b""

    def finish(self) -> bytes:
        """The MIDI file; nothing where not one bar was pushed."""
        return midi.write(self._walk.piece()) if self._walk.bars else b""

    def copy(self) -> MidiDecoder:
        return copy.deepcopy(self)
