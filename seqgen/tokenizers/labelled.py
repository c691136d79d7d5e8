"""`labelled`: any tokenizer of text, and a token for each label that no text can forge.

A record reads `label text end`: a model of such records has learnt what texts of each label are like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from seqgen.errors import ModelError
from seqgen.tokenizers.codec import Codec, Decoder, Ids


class LabelledCodec:
    """See `codec.Codec`. Ids below `labels` are the labels, the others are those of `text`, moved up.

    `encode` is for the text of a record alone: whatever it says, no label comes of it.
    """

    name: ClassVar[str] = "labelled"

    def __init__(self, text: Codec, labels: int) -> None:
        if not 2 <= labels <= 1 << 16:
            raise ModelError(f"texts have 2 to 65,536 labels, not {labels}")
        self.text = text
        self.labels = labels
        self.vocab_size = text.vocab_size + labels
        self.end = text.end + labels

    def encode(self, data: bytes) -> Ids:
        return self.text.encode(data) + np.int32(self.labels)

    def encode_record(self, label: int, data: bytes) -> Ids:
        """Ids of a text that has a label, without `end`."""
        return np.concatenate([np.array([label], dtype=np.int32), self.encode(data)])

    def safe_prefix_length(self, data: bytes) -> int:
        return self.text.safe_prefix_length(data)

    def decoder(self) -> Decoder:
        return _Bare(self)

    def pieces(self) -> list[str | int | None]:
        return [*[None] * self.labels, *self.text.pieces()]

    def num_seen(self) -> int:
        return self.text.num_seen() + self.labels

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.name, "labels": self.labels, "text": self.text.to_dict()}

    def files(self) -> dict[str, bytes]:
        return self.text.files()

    def extend(self, chunks: Iterable[bytes]) -> LabelledCodec:
        return LabelledCodec(self.text.extend(chunks), self.labels)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], files: Mapping[str, bytes]) -> LabelledCodec:
        from seqgen.tokenizers import inner_codec

        labels = data.get("labels")
        if isinstance(labels, bool) or not isinstance(labels, int):
            raise ModelError("tokenizer.json is damaged: it does not say how many labels there are")
        return cls(inner_codec(data, files), labels)


class _Bare:
    """See `codec.Decoder`. Labels are not written."""

    def __init__(self, codec: LabelledCodec) -> None:
        self._labels = codec.labels
        self._text = codec.text.decoder()

    def push(self, token: int) -> bytes:
        return b"" if token < self._labels else self._text.push(token - self._labels)

    def finish(self) -> bytes:
        return self._text.finish()

    def copy(self) -> _Bare:
        same = object.__new__(_Bare)
        same._labels, same._text = self._labels, self._text.copy()
        return same
