"""`dialogue`: a text codec, and a control token for each speaker that no text can forge.

A conversation is `speaker text speaker text … end`: a speaker's token begins a turn and so ends the one before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from seqgen.errors import ModelError
from seqgen.tokenizers import inner_codec
from seqgen.tokenizers.codec import Codec, Decoder, Ids

MAX_SPEAKERS = 26  # each is shown as a letter


class DialogueCodec(Codec):
    """A codec of conversations. Ids below `speakers` are the speakers, the others those of `text`, shifted up.

    `encode` encodes the text of a turn, and never yields a speaker.
    """

    name: ClassVar[str] = "dialogue"

    def __init__(self, text: Codec, speakers: int = 2) -> None:
        if not 2 <= speakers <= MAX_SPEAKERS:
            raise ModelError(f"a conversation has 2 to {MAX_SPEAKERS} speakers, not {speakers}")
        self.text = text
        self.speakers = speakers
        self.vocab_size = text.vocab_size + speakers
        self.end = text.end + speakers

    def encode(self, data: bytes) -> Ids:
        return self.text.encode(data) + np.int32(self.speakers)

    def encode_turn(self, speaker: int, words: bytes) -> Ids:
        """Return the ids of one turn. A speaker beyond the last becomes the last."""
        return self.turn_from_ids(speaker, self.text.encode(words))

    def turn_from_ids(self, speaker: int, words: npt.NDArray[np.integer]) -> Ids:
        """Return the ids of one turn whose words are ids of `text`."""
        shifted = words.astype(np.int32) + np.int32(self.speakers)
        return np.concatenate([np.array([min(speaker, self.speakers - 1)], dtype=np.int32), shifted])

    def encode_conversation(self, turns: Iterable[tuple[int, bytes]]) -> Ids:
        """Return the ids of a conversation of (speaker, words), without `end`."""
        return np.concatenate([np.empty(0, dtype=np.int32), *(self.encode_turn(*turn) for turn in turns)])

    def safe_prefix_length(self, data: bytes) -> int:
        return self.text.safe_prefix_length(data)

    def decoder(self) -> Decoder:
        return _Transcript(self)

    def pieces(self) -> list[str | int | None]:
        return [*[None] * self.speakers, *self.text.pieces()]

    def num_seen(self) -> int:
        return self.text.num_seen() + self.speakers

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.name, "speakers": self.speakers, "text": self.text.to_dict()}

    def files(self) -> dict[str, bytes]:
        return self.text.files()

    def extend(self, chunks: Iterable[bytes]) -> DialogueCodec:
        return DialogueCodec(self.text.extend(chunks), self.speakers)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], files: Mapping[str, bytes]) -> DialogueCodec:
        speakers = data.get("speakers")
        text = inner_codec(data, files)
        if isinstance(speakers, bool) or not isinstance(speakers, int):
            raise ModelError("tokenizer.json is damaged: it has no number of speakers")
        return cls(text, speakers)


class _Transcript:
    """A decoder that writes each turn as a line beginning with the speaker's letter: `A: Good morning.`"""

    def __init__(self, codec: DialogueCodec) -> None:
        self._codec = codec
        self._words = codec.text.decoder()
        self._begun = False

    def push(self, token: int) -> bytes:
        if token >= self._codec.speakers:
            self._begun = True
            return self._words.push(token - self._codec.speakers)
        opening = self._words.finish() + (b"\n" if self._begun else b"")
        self._words, self._begun = self._codec.text.decoder(), True
        return opening + f"{chr(ord('A') + token)}: ".encode()

    def finish(self) -> bytes:
        return self._words.finish()

    def copy(self) -> _Transcript:
        same = _Transcript(self._codec)
        same._words, same._begun = self._words.copy(), self._begun
        return same


def count_speakers(conversations: Iterable[Sequence[int]]) -> int:
    """Return how many speaker tokens conversations need, given the speakers of their turns."""
    most = max((speaker for turns in conversations for speaker in turns), default=1)
    return min(MAX_SPEAKERS, max(2, most + 1))
