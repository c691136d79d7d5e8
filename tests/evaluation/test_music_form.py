"""Form of pieces: repeated bars, phrase ends, endings on the tonic."""

from __future__ import annotations

import pytest

from seqgen.evaluation.music_form import ends_on_tonic, form, tonic_of
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.music.reading import read


def tune(body: str, key: str = "C") -> Piece:
    return read(f"X:1\nM:4/4\nL:1/4\nK:{key}\n{body}\n".encode(), 4)[0]


def test_repeated_bars_and_their_distances() -> None:
    piece = tune("CDEF|GABc|CDEF|CDEF|GABc|z4|z4|cBAG|]")
    found = form([piece], [piece])
    assert found["repeated_bars"] == pytest.approx(3 / 6)
    distances = [found[f"repeated_after_{n}"] for n in (1, 2, 4, 8)]
    assert distances == pytest.approx([1 / 6, 1 / 6, 0, 0])


def test_bar_of_other_lengths_or_octaves_is_no_repeat() -> None:
    assert form([tune("C2D2|c2d2|CzDz|C2D2|]")], [])["repeated_bars"] == 1 / 4


def test_phrase_ends_are_lengthened() -> None:
    piece = tune("CDEF|CDEF|CDEF|CDE2|" * 3 + "C4|]")
    found = form([piece], [piece])["phrase_end_lengthening"]
    assert found == pytest.approx(2)


@pytest.mark.parametrize(
    ("body", "key", "tonic"),
    [("CEGE|FAcA|GBdB|c4|]", "C", 0), ("DFAF|GBdB|AceA|d4|]", "D", 2), ("ACEA|DFAD|E^GBE|A4|]", "Am", 9)],
)
def test_tonic_is_that_of_the_key(body: str, key: str, tonic: int) -> None:
    assert tonic_of(tune(body, key)) == tonic
    assert ends_on_tonic(tune(body, key))
    assert not ends_on_tonic(tune(body.replace("4|]", "2 F2|]"), key))


def test_pieces_without_notes_have_no_form() -> None:
    silent = Piece(4, (), (), (Bar(0, 16, 4, 4),))
    drums = Piece(4, (Track(None),), (Note(0, 0, 36, 1, 90),), (Bar(0, 16, 4, 4),))
    assert form([silent], [silent]) == {}
    assert tonic_of(drums) is None
    assert set(form([drums], [drums])) == {"repeated_bars", *(f"repeated_after_{n}" for n in (1, 2, 4, 8, 16))}
