"""Documents from bytes, and compressors by file suffix."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable, Mapping
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


def zipped(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive of these members."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return whole.getvalue()


def deflated(members: Mapping[str, bytes]) -> bytes:
    """The same, compressed."""
    return zipped(members, zipfile.ZIP_DEFLATED)


def contents(document: Document | DocumentSpan) -> bytes:
    return b"".join(document.chunks())


def is_one_line(error: pytest.ExceptionInfo[BaseException]) -> bool:
    message = str(error.value)
    return bool(message) and "\n" not in message and len(message) < 400


def write_file(path: Path, data: bytes = TEXT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
