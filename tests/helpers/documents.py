"""Documents from bytes, and compressors by file suffix."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import settings

from seqgen.corpus.sources import Document
from seqgen.corpus.split import DocumentSpan

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}

QUICK = settings(max_examples=60, deadline=None)

TEXT = b"a line of text\n" * 40


def contents(document: Document | DocumentSpan) -> bytes:
    return b"".join(document.chunks())


def is_one_line(error: pytest.ExceptionInfo[BaseException]) -> bool:
    message = str(error.value)
    return bool(message) and "\n" not in message and len(message) < 400


def write_file(path: Path, data: bytes = TEXT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
