"""`labelled`: a text codec, and a control token for each label that no text can forge.

A record is `label text end`, so a model of such records learns the texts of each label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from seqgen.errors import ModelError
from seqgen.tokenizers import inner_codec
from seqgen.tokenizers.codec import Codec, Decoder, Ids


class LabelledCodec(Codec):
    """A codec of labelled texts. Ids below `labels` are the labels, the others those of `text`, shifted up.

    `encode` encodes the text of a record, and never yields a label.
    """

    name: ClassVar[str] = "labelled"

    def __init__(self, text: Codec, labels: int) -> None:
        if not 2 <= labels <= 1 << 16:
            raise ModelError(f"texts have 2 to 65,536 labels, not {labels}")
        self.text = text
        self.labels = labels
        self.vocab_size = text.vocab_size + labels
        self.end = text.end + labels

    @property
    def label_tokens(self) -> int:
        return self.labels

    def encode(self, data: bytes) -> Ids:
        return self.text.encode(data) + np.int32(self.labels)

    def safe_prefix_length(self, data: bytes) -> int:
        return self.text.safe_prefix_length(data)

    def decoder(self) -> Decoder:
        return _TextOnly(self)

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
        labels = data.get("labels")
        if isinstance(labels, bool) or not isinstance(labels, int):
            raise ModelError("tokenizer.json is damaged: it has no number of labels")
        return cls(inner_codec(data, files), labels)


class _TextOnly:
    """A decoder that writes no labels."""

    def __init__(self, codec: LabelledCodec) -> None:
        self._labels = codec.labels
        self._text = codec.text.decoder()

    def push(self, token: int) -> bytes:
        return b"" if token < self._labels else self._text.push(token - self._labels)

    def finish(self) -> bytes:
        return self._text.finish()

    def copy(self) -> _TextOnly:
        same = object.__new__(_TextOnly)
        same._labels, same._text = self._labels, self._text.copy()
        return same
