"""Whether a whole file is in the encoding that its beginning has."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from seqgen.corpus.opening import encodings
from seqgen.corpus.opening.form import REPLACEMENT, FileForm, quoted
from seqgen.corpus.opening.identify import recognise
from seqgen.errors import DataError

_MAX_SAMPLE = 1 << 18  # bytes of lines that are not UTF-8
_MAX_STRAY = 0.01  # of the bytes of a file that is otherwise UTF-8


@dataclass
class EncodingCheck:
    """Is fed the chunks of a document as they are read, and counts what its encoding lacks.

    Attributes:
        damaged: bytes that are not UTF-8 or, of another encoding, characters that became U+FFFD.
        first: the offset of the first.
        nuls: NUL bytes.
        first_nul: the offset of the first.
        marks: byte order marks within the text, as between files that were put together.
        first_mark: the offset of the first.
    """

    form: FileForm
    damaged: int = 0
    first: int = -1
    nuls: int = 0
    first_nul: int = -1
    marks: int = 0
    first_mark: int = -1
    _is_mixed: bool = False  # has whole lines that are UTF-8 beside others
    _valid: int = 0  # characters beyond ASCII, in chunks with damage
    _has_valid_chunks: bool = False  # with characters beyond ASCII, and without damage
    _size: int = 0
    _rest: bytes = b""  # the beginning of a character
    _sample: list[bytes] = field(default_factory=list)
    _sample_size: int = 0

    def feed(self, chunk: bytes) -> None:
        """Check the next chunk."""
        if self.form.encoding == "utf-8" and not self.form.strict:
            if self._rest or not chunk.isascii():
                self._check_utf8(self._rest + chunk, self._size - len(self._rest))
        elif self.form.encoding:
            self._count(chunk.count(REPLACEMENT), self._size + chunk.find(REPLACEMENT))
        if self.form.encoding:
            self._count_stray(chunk)
        self._size += len(chunk)

    def _count_stray(self, chunk: bytes) -> None:
        if (first := chunk.find(0)) >= 0:  # several times as fast as counting
            self.first_nul = self.first_nul if self.nuls else self._size + first
            self.nuls += chunk.count(0)
        if codecs.BOM_UTF8[0] in chunk and (marks := chunk.count(codecs.BOM_UTF8)):
            self.first_mark = self.first_mark if self.marks else self._size + chunk.find(codecs.BOM_UTF8)
            self.marks += marks

    def finish(self) -> None:
        """Count a last character that is cut off."""
        self._count(len(self._rest), self._size - len(self._rest))

    def _check_utf8(self, data: bytes, offset: int) -> None:
        try:
            _, read = codecs.utf_8_decode(data, "strict", False)
            self._has_valid_chunks = self._has_valid_chunks or not data[:read].isascii()
        except UnicodeDecodeError as error:
            _, read = codecs.utf_8_decode(data, "surrogateescape", False)
            damaged, valid = encodings.count_invalid(data[:read])
            self._count(damaged, offset + error.start)
            self._valid += valid
            self._is_mixed = self._is_mixed or (2 * valid > damaged / 2 and encodings.is_mixed(data[:read]))
            self._keep_sample(data[:read], error.start)
        self._rest = data[read:]

    def _count(self, damaged: int, first: int) -> None:
        if damaged and not self.damaged:
            self.first = first
        self.damaged += damaged

    def _keep_sample(self, data: bytes, start: int) -> None:
        wanted = min(_MAX_SAMPLE - self._sample_size, _MAX_SAMPLE >> 2)
        if wanted > 0:
            begin = data.rfind(b"\n", 0, start) + 1
            lines = data[begin : begin + wanted]
            self._sample.append(lines[: lines.rfind(b"\n") + 1] or lines)
            self._sample_size += len(self._sample[-1])

    def corrected(self, name: str) -> FileForm | None:
        """Return the form of a file that turned out not to be UTF-8; None if it is, but for a few stray bytes.

        Raises:
            DataError: its encoding is unclear, or it has more than one.
        """
        if not self.damaged or not self.form.is_utf8 or not self.form.encoding:
            return None
        if not self._has_valid_chunks and not self._is_mixed and self._valid <= self.damaged / 2:
            if not self._sample:  # only the last character is cut off, or is another encoding's
                return None
            codec = recognise(self._sample, name)
            return None if codec == "utf-8" else replace(self.form, encoding=codec, mark=False)
        if self.damaged > _MAX_STRAY * self._size:
            raise DataError(
                f"{quoted(name)} has more than one encoding: UTF-8 and, first at byte {self.first + 1:,}, another one; "
                "convert its parts separately, name one for all by --encoding, or learn its bytes with --tokenizer byte"
            )
        return None


def line_at(chunks: Iterable[bytes], offset: int) -> int:
    """Return the number of the line with the byte at `offset`, counted from 1."""
    line, read = 1, 0
    for chunk in chunks:
        line += chunk.count(b"\n", 0, max(offset - read, 0))
        read += len(chunk)
        if read > offset:
            break
    return line
