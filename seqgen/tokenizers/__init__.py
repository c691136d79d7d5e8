"""Tokenizers by name: fitted, written to tokenizer.json and read from it. Their table is `seqgen.specs.tokenizers`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

from seqgen.errors import ModelError
from seqgen.specs.registry import resolve
from seqgen.specs.tokenizers import TOKENIZERS, TextTokenizerNames
from seqgen.tokenizers.codec import END_OF_DOCUMENT, Codec, Decoder, Ids, Tokenizer, decode, encode_stream
from seqgen.untrusted import parse_json

__all__ = [
    "END_OF_DOCUMENT",
    "TOKENIZERS",
    "Codec",
    "Decoder",
    "Ids",
    "Tokenizer",
    "decode",
    "dump",
    "encode_stream",
    "fit",
    "inner_codec",
    "parse",
    "read_tokenizer_json",
    "saved_tokenizer_name",
]


def codec_class(name: str) -> Any:
    """Return the class of a tokenizer. Raises `ModelError` for an unknown name."""
    if name not in TOKENIZERS:
        raise ModelError(f"there is no tokenizer {name!r}; known: {', '.join(TOKENIZERS)}")
    return resolve(TOKENIZERS[name].codec)


def inner_codec(data: Mapping[str, Any], files: Mapping[str, bytes]) -> Codec:
    """Return the text codec inside a codec that adds control tokens.

    `data` is the outer codec's table. Raises `ModelError` if it describes no text codec.
    """
    inner = data.get("text")
    name = inner.get("kind") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or not isinstance(name, str) or name not in TextTokenizerNames():
        raise ModelError("tokenizer.json is damaged: it has no tokenizer of the text")
    return cast(Codec, codec_class(name).from_dict(inner, files))


def fit(name: str, chunks: Iterable[bytes], **options: Any) -> Codec:
    """Fit a tokenizer on a stream of bytes, which is read to its end."""
    return cast(Codec, codec_class(name).fit(chunks, **options))


def dump(tokenizer: Tokenizer) -> dict[str, bytes]:
    """Return the files of the model folder that describe a tokenizer, by name."""
    text = json.dumps(tokenizer.to_dict(), ensure_ascii=False, separators=(",", ":"))
    return {"tokenizer.json": text.encode("utf-8", "surrogatepass") + b"\n", **tokenizer.files()}


def parse(files: Mapping[str, bytes]) -> Codec:
    """Make the tokenizer that `dump` wrote. Raises `ModelError` for any other files."""
    return cast(Codec, codec_class(saved_tokenizer_name(files)).from_dict(read_tokenizer_json(files), files))


def saved_tokenizer_name(files: Mapping[str, bytes]) -> str:
    """Return the name of the tokenizer in tokenizer.json. Raises `ModelError` if there is none."""
    return str(read_tokenizer_json(files)["kind"])


def read_tokenizer_json(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the object in tokenizer.json. Raises `ModelError` if it is missing, not JSON, or not a tokenizer."""
    if "tokenizer.json" not in files:
        raise ModelError("there is no tokenizer.json")
    try:
        data = parse_json(files["tokenizer.json"].decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise ModelError(f"tokenizer.json is not JSON ({error})") from error
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        raise ModelError("tokenizer.json describes no tokenizer")
    return data
