"""The page of a piece: self-contained, with all notes, and no text of others that could run."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.rendering import page

PIECE = Piece(
    4, (Track(73), Track(None), Track(14)),
    (Note(0, 0, 60, 4, 90), Note(0, 1, 36, 1, 100), Note(8, 2, 72, 20, 80)), (Bar(0, 16, 4, 4), Bar(16, 16, 4, 4)),
    ((0, 120), (16, 60)),
)  # fmt: skip


def data_of(text: str) -> dict[str, object]:
    match = re.search(r'<script type="application/json" id="piece">(.*?)</script>', text, re.DOTALL)
    assert match is not None
    found: dict[str, object] = json.loads(match[1])
    return found


def test_page_has_the_notes_in_seconds() -> None:
    data = data_of(page.write(PIECE, "A tune").decode())
    assert data["notes"] == [[0, 0.5, 60, 90, 0], [0, 0.125, 36, 100, 1], [1, 2.0, 72, 80, 2]]
    assert (data["title"], data["length"], data["bars"]) == ("A tune", 6, [0, 2])
    tracks = data["tracks"]
    assert isinstance(tracks, list)
    assert [track["name"] for track in tracks] == ["flute", "drums", "tubular bells"]


def test_page_loads_nothing_and_its_title_is_only_text() -> None:
    title = '</script><script>alert("x")</script> & "y"'
    text = page.write(PIECE, title).decode()
    assert data_of(text)["title"] == title
    assert text.count("<script") == 2
    assert "&lt;/script&gt;" in text
    assert not re.search(r"https?:|src=|url\(|@import|<link|fetch\(|XMLHttpRequest", text)
    assert "default-src 'none'" in text


def test_page_as_a_frame_is_the_page_and_ends_nowhere_else() -> None:
    title = '"></iframe><script>alert("x")</script>'
    found: list[tuple[str, dict[str, str | None]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, given: found.append((tag, dict(given)))  # type: ignore[method-assign]
    parser.feed(page.frame(PIECE, title))
    parser.close()
    ((tag, given),) = found
    assert (tag, given["srcdoc"]) == ("iframe", page.write(PIECE, title).decode())
    assert (given["title"], given["sandbox"]) == (title, "allow-scripts")
