"""XML from untrusted input: no entities, no external files, no bombs; the score in a compressed MusicXML file."""

from __future__ import annotations

import io
import zipfile
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from seqgen.errors import DataError
from seqgen.streams import DecompressedSize

_MAX_DEPTH = 64  # of elements
_CONTAINER = "META-INF/container.xml"
_ZIP = b"PK\x03\x04"


def parse(data: bytes) -> Element:
    """Return the root of a document.

    Raises:
        DataError: it is damaged, nested too deeply, or declares entities or attributes.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise DataError("the XML is nested too deeply")
        builder.start(name.rpartition(":")[2], attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name.rpartition(":")[2])

    def refuse(*_: object) -> None:
        raise DataError("the XML declares entities or attributes, which are refused")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = parser.AttlistDeclHandler = refuse  # a default may be long, and every element has it
    try:
        parser.Parse(data, True)
        root: Element = builder.close()
    except expat.ExpatError as error:
        reason = expat.errors.messages[error.code]
        raise DataError(f"the XML is damaged: {reason}, line {error.lineno}, column {error.offset + 1}") from error
    except (ValueError, LookupError, AssertionError) as error:  # an unknown encoding; no element
        raise DataError(f"the XML is damaged: {' '.join(str(error).split())}") from error
    return root


def is_compressed_score(head: bytes) -> bool:
    """Whether bytes are those of a zip, as a compressed MusicXML file (.mxl) is."""
    return head.startswith(_ZIP)


def score_in(data: bytes) -> bytes:
    """Return the score within a compressed MusicXML file: the one that its container names, or the first.

    Raises `DataError` if it has none, is damaged or a decompression bomb.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            wanted = None
            if _CONTAINER in names:
                root = parse(_member(archive, _CONTAINER, len(data)))
                paths = [file.get("full-path", "") for file in root.iter("rootfile")]
                wanted = next((path for path in paths if path in names), None)
            scores = [name for name in names if name.endswith((".xml", ".musicxml")) and name != _CONTAINER]
            wanted = wanted or next(iter(scores), None)
            if wanted is None:
                raise DataError("the archive has no score in MusicXML")
            return _member(archive, wanted, len(data))
    except DataError:
        raise
    except Exception as error:  # zipfile raises many types for a damaged archive
        raise DataError(f"cannot read the compressed score: {' '.join(str(error).split())}") from error


def _member(archive: zipfile.ZipFile, name: str, archive_size: int) -> bytes:
    size = DecompressedSize(archive_size, "it")
    with archive.open(name) as member:
        content = member.read(size.limit + 1)
    size.count(len(content))
    return content
