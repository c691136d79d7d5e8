"""Check of SentencePiece's files (`tokenizer.model`) before its C++ library reads them.

They are protobuf messages. The library reads far more than its trainer writes for seqgen: tables that normalise text,
whose offsets earlier versions trusted, other types of models, pieces of any length. All of that is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from seqgen.errors import ModelError

_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3  # fields of a model
_MODEL_TYPE, _UNIGRAM = 3, 1  # a field of _TRAINER, and its value
_RULES = 2  # a field of _NORMALIZER: the table
_MAX_PIECE_BYTES = 512  # with score and type; the trainer's longest have 16 characters
_FIXED_SIZES = {1: 8, 5: 4}  # bytes of a value, by wire type


def check(data: bytes) -> None:
    """Raise `ModelError` unless a file is a unigram model that doesn't normalise, with pieces of ordinary length."""
    found: set[int] = set()
    for field, value in _fields(data):
        if not isinstance(value, bytes) or field not in (_PIECES, _TRAINER, _NORMALIZER):
            raise ModelError(f"tokenizer.model is refused: its field {field} is none that seqgen writes")
        if field == _PIECES:
            if len(value) > _MAX_PIECE_BYTES:
                raise ModelError(f"tokenizer.model is refused: it has a piece of {len(value):,} bytes")
            continue
        if field in found:
            raise ModelError(f"tokenizer.model is damaged: it has field {field} twice")
        found.add(field)
        inner = list(_fields(value))
        if field == _TRAINER and any(number == _MODEL_TYPE and model_type != _UNIGRAM for number, model_type in inner):
            raise ModelError("tokenizer.model is refused: it is no unigram model")
        if field == _NORMALIZER and any(number == _RULES and rules for number, rules in inner):
            raise ModelError("tokenizer.model is refused: it normalises text, which can't be undone")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and value of each field of a message. Raises `ModelError` if it is truncated or malformed."""
    position, size = 0, len(data)
    while position < size:
        tag, position = _integer(data, position)
        wire = tag & 7
        if wire == 0:
            number, position = _integer(data, position)
            yield tag >> 3, number
            continue
        if wire == 2:
            length, position = _integer(data, position)
        elif wire in _FIXED_SIZES:
            length = _FIXED_SIZES[wire]
        else:
            raise ModelError("tokenizer.model is damaged: a field has an unknown type")
        if length > size - position:
            raise ModelError("tokenizer.model is damaged or truncated")
        yield tag >> 3, data[position : position + length]
        position += length


def _integer(data: bytes, position: int) -> tuple[int, int]:
    """The integer at a position, 7 bits a byte, the lowest first, and the position behind it."""
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ModelError("tokenizer.model is damaged or truncated")
