"""Books of tunes in ABC: each tune is a document where music is read, and the book is text elsewhere."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from seqgen import tasks
from seqgen.corpus import sources
from seqgen.corpus.sources import Document, Spool
from seqgen.errors import DataError
from seqgen.tasks.guess import guess

TUNE = "X:{}\nT:Tune\nM:4/4\nK:C\nCDEF GABc|]\n\n"
BOOK = "%abc-2.1\nL:1/4\n\n" + "".join(TUNE.format(number) for number in (3, 1, 2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "book.abc").write_text(BOOK)
    (tmp_path / "one.txt").write_text(TUNE.format(7))
    return tmp_path


def found(names: list[str], task: str, spool: Spool) -> list[Document]:
    return sources.find(names, spool, accepts=tasks.accepts(task), rows=tasks.rows(task))


def test_tunes_of_a_book_are_documents_for_music_only(folder: Path) -> None:
    with Spool() as spool:
        names = [each.name.removeprefix(f"{folder}/") for each in found([str(folder)], "music", spool)]
        assert names == ["book.abc/3", "book.abc/1", "book.abc/2", "one.txt"]
        (tune,) = found([f"{folder}/book.abc/1"], "music", spool)
        # "%abc-2.1" is a comment; the unit length holds for all tunes.
        assert b"".join(tune.chunks()).decode() == "L:1/4\n" + TUNE.format(1)
        (text,) = found([f"{folder}/book.abc"], "text", spool)
        assert b"".join(text.chunks()).decode() == BOOK
        with pytest.raises(DataError, match=r"the book .* has no '9'"):
            found([f"{folder}/book.abc/9"], "music", spool)


def test_tunes_of_a_book_are_found_again_by_their_names(folder: Path) -> None:
    archive = folder / "all.zip"
    with zipfile.ZipFile(archive, "w") as target:
        target.write(folder / "book.abc", "a/book.abc")
        target.write(folder / "one.txt", "one.txt")
    for name in (str(folder / "book.abc"), str(archive)):
        with Spool() as spool:
            read = sources.checksum_documents(found([name], "music", spool))
            recorded = [each.to_json() for each in read]
        with Spool() as spool:
            again = sources.find_unchanged(recorded, spool=spool)
            assert again is not None
            assert [each.sha256 for each in again] == [each.sha256 for each in read]
    (folder / "book.abc").write_text(BOOK.replace("CDEF", "CDEG"))
    with Spool() as spool:
        assert sources.find_unchanged([{**recorded[0], "name": f"{folder}/book.abc/3"}], spool=spool) is None


def test_books_are_music_by_what_they_hold(folder: Path) -> None:
    with Spool() as spool:
        for name in ("book.abc", "book.abc/1", "one.txt", ""):
            assert guess([str(folder / name)], spool=spool).task == "music"
        (folder / "prose.txt").write_text("The field X:1 begins a tune,\nX: 1\nand the key ends its header.\nK:C\n")
        assert guess([str(folder / "prose.txt")], spool=spool).task == "text"


def test_book_whose_shared_fields_multiply_is_refused_as_a_bomb(tmp_path: Path) -> None:
    """Each tune of a book repeats the fields above the first: 38 kB would be 60 MB."""
    (tmp_path / "book.abc").write_text("%%text x\n" * 3000 + "".join(f"X:{n}\nK:C\nA|]\n" for n in range(2000)))
    with Spool() as spool, pytest.raises(DataError, match=r"book\.abc' is refused as a decompression bomb"):
        found([f"{tmp_path}/book.abc"], "music", spool)
