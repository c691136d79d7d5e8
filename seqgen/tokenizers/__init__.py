"""Tokenizers by name: fitted, written to tokenizer.json and read from it. Their table is `seqgen.specs.tokenizers`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, cast

from seqgen.errors import ModelError
from seqgen.specs.registry import resolve
from seqgen.specs.tokenizers import TOKENIZERS, TextTokenizerNames
from seqgen.tokenizers.codec import END_OF_DOCUMENT, Codec, Decoder, Ids, decode, encode_stream
from seqgen.untrusted import parse_json

__all__ = [
    "END_OF_DOCUMENT",
    "TOKENIZERS",
    "Codec",
    "Decoder",
    "Ids",
    "Saveable",
    "decode",
    "dump",
    "encode_stream",
    "fit",
    "inner_codec",
    "saved_tokenizer_name",
    "parse",
    "read_tokenizer_json",
]


def codec_class(kind: str) -> Any:
    """The class of a kind of tokenizer. Raises `ModelError` for a kind this program doesn't know."""
    if kind not in TOKENIZERS:
        raise ModelError(f"there is no tokenizer {kind!r}; known: {', '.join(TOKENIZERS)}")
    return resolve(TOKENIZERS[kind].codec)


def inner_codec(data: Mapping[str, Any], files: Mapping[str, bytes]) -> Codec:
    """The codec of the words of a turn or a record, where control tokens were set before it. Raises `ModelError` where
    `data`, that whole codec's table, has none."""
    inner = data.get("text")
    name = inner.get("kind") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or not isinstance(name, str) or name not in TextTokenizerNames():
        raise ModelError("tokenizer.json is damaged: it does not say how words are spelt")
    return cast(Codec, codec_class(name).from_dict(inner, files))


def fit(kind: str, chunks: Iterable[bytes], **options: Any) -> Codec:
    """A tokenizer fitted on a stream of bytes; reads the stream to its end."""
    return cast(Codec, codec_class(kind).fit(chunks, **options))


class Saveable(Protocol):
    """What a model folder keeps in tokenizer.json and files beside it: a codec, or what else tells how to read."""

    def to_dict(self) -> dict[str, Any]: ...

    def files(self) -> dict[str, bytes]: ...


def dump(codec: Saveable) -> dict[str, bytes]:
    """The files of the model folder that hold `codec`, by name."""
    text = json.dumps(codec.to_dict(), ensure_ascii=False, separators=(",", ":"))
    return {"tokenizer.json": text.encode("utf-8", "surrogatepass") + b"\n", **codec.files()}


def parse(files: Mapping[str, bytes]) -> Codec:
    """The codec that `dump` made `files` of. Raises `ModelError` for anything else."""
    return cast(Codec, codec_class(saved_tokenizer_name(files)).from_dict(read_tokenizer_json(files), files))


def saved_tokenizer_name(files: Mapping[str, bytes]) -> str:
    """The kind that tokenizer.json says it is."""
    return str(read_tokenizer_json(files)["kind"])


def read_tokenizer_json(files: Mapping[str, bytes]) -> dict[str, Any]:
    """tokenizer.json as it stands. Raises `ModelError` where it is not there, no JSON, or of no kind."""
    if "tokenizer.json" not in files:
        raise ModelError("there is no tokenizer.json")
    try:
        data = parse_json(files["tokenizer.json"].decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise ModelError(f"tokenizer.json is not JSON ({error})") from error
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        raise ModelError("tokenizer.json holds no tokenizer")
    return data
