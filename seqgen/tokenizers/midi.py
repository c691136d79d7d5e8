"""`midi`: a file of music ↔ the events of `music.events`. `decode(encode(x))`, a MIDI file, is a fixed point."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from seqgen.config import TrainOptions, check, from_json, parse_pitch_range
from seqgen.errors import ModelError, UserError
from seqgen.music import grammar, midi, reading
from seqgen.music.events import EventVocabulary, VocabularyOptions, repeated_events
from seqgen.music.grammar import GrammarState
from seqgen.music.piece import Piece
from seqgen.music.score import QuantisationStats
from seqgen.tokenizers.codec import Codec, Ids

_ADDED = ("form", "key")  # options of the vocabulary that older models don't have


class MidiCodec(Codec):
    """A codec of MIDI files. Nothing is fitted: the vocabulary follows from the options."""

    name: ClassVar[str] = "midi"

    def __init__(self, options: VocabularyOptions | None = None) -> None:
        self.options = options or VocabularyOptions()
        self.vocabulary = EventVocabulary(self.options)
        self.vocab_size = self.vocabulary.size
        self.end = self.vocabulary.id("end")

    @classmethod
    def from_options(cls, options: TrainOptions) -> MidiCodec:
        """Make the codec for the options of a training run. Pieces name their key where none is transposed."""
        low, high = parse_pitch_range(options.pitch_range)
        rising = options.note_order == "rising"
        grid = VocabularyOptions.grid if options.grid is None else options.grid
        return cls(
            VocabularyOptions(grid, options.velocity_bins, options.tracks, low, high, rising, key=not options.transpose)
        )

    @classmethod
    def fit(cls, chunks: Iterable[bytes], **options: Any) -> MidiCodec:
        """Make a codec from fields of `VocabularyOptions`; reads the stream to its end."""
        return cls(VocabularyOptions(**options)).extend(chunks)

    def extend(self, chunks: Iterable[bytes]) -> MidiCodec:
        """Return the same codec, which has every event; reads the stream to its end."""
        for _ in chunks:
            pass
        return self

    def read_piece(self, data: bytes) -> tuple[Piece, QuantisationStats]:
        """Read the piece in a file of music, quantised to the grid. Raises `DataError` if it has none."""
        options = self.options
        return reading.read(data, options.grid, options.tracks, options.low, options.high)

    def encode_piece(self, piece: Piece, to_come: int | None = 0) -> Ids:
        """Return the ids of a piece, int32, shape (tokens,), without `end`.

        Args:
            to_come: bars that will follow the piece; None if their number is unknown.
        """
        return np.array(grammar.encode_piece(piece, self.vocabulary, to_come), dtype=np.int32)

    def encode(self, data: bytes) -> Ids:
        """Return the ids of a file of music. Raises `DataError`, unlike for text, if it has no piece."""
        return self.encode_piece(self.read_piece(data)[0])

    def safe_prefix_length(self, data: bytes) -> int:
        """Return 0: a MIDI file can only be encoded whole."""
        return 0

    def decoder(self) -> MidiDecoder:
        return MidiDecoder(self.vocabulary)

    def unpredicted(self, ids: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Return which ids of a stream of pieces follow from others, and are neither learnt nor counted."""
        return repeated_events(ids, self.vocabulary)

    def pieces(self) -> list[str | int | None]:
        return [None] * self.vocab_size

    def num_seen(self) -> int:
        return self.vocab_size

    def token_name(self, token: int) -> str:
        """Return the name of an event: `note 60`, `metre 6/8`, `bar`."""
        return self.vocabulary.token_name(token)

    def tokens_named(self, name: str) -> list[int]:
        return [token for token in range(self.vocab_size) if self.token_name(token) == name]

    def to_dict(self) -> dict[str, Any]:
        options = dataclasses.asdict(self.options)
        for name in _ADDED:
            if not options[name]:
                del options[name]  # an older model keeps its tokenizer.json, byte for byte
        return {"kind": self.name, "vocab_size": self.vocab_size, **options}

    def files(self) -> dict[str, bytes]:
        return {}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], files: Mapping[str, bytes]) -> MidiCodec:
        fields = {name: value for name, value in data.items() if name not in ("kind", "vocab_size")}
        fields = dict.fromkeys(_ADDED, False) | fields
        try:
            options = from_json(VocabularyOptions, fields)
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
            raise ModelError("tokenizer.json is damaged: its vocabulary size is not that of its options")
        return codec


class MidiDecoder:
    """A decoder that returns the whole MIDI file at the end, because the file begins with the number of tracks."""

    def __init__(self, vocabulary: EventVocabulary) -> None:
        self._state = GrammarState(vocabulary)

    def push(self, token: int) -> bytes:
        if not self._state.ended:
            self._state.push(token)
        return b""

    def finish(self) -> bytes:
        """Return the MIDI file; no bytes if not even one bar was pushed."""
        return midi.write(self._state.piece()) if self._state.bars else b""

    def copy(self) -> MidiDecoder:
        return copy.deepcopy(self)
