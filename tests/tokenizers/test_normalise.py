"""Lower case and stop words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seqgen.errors import DataError
from seqgen.tokenizers.normalise import TextNormaliser, read_stop_words


def test_capitals_and_words_may_go(tmp_path: Any) -> None:
    (tmp_path / "stop.txt").write_text("# words\nthe\nof\n的\n\nThe\n", encoding="utf-8")
    words = read_stop_words(tmp_path / "stop.txt")
    assert words == ("the", "of", "的", "The")
    prepare = TextNormaliser(lowercase=True, stop_words=words)
    assert prepare(b"The End of Theodora").split() == [b"end", b"theodora"]
    assert prepare("我的书".encode()).decode() == "我 书"
    assert TextNormaliser()(b"\xff As it IS") == b"\xff As it IS"


def test_stop_words_are_whole_words_in_scripts_with_marks_and_punctuation_stands_anywhere() -> None:
    assert TextNormaliser(False, ("पर",))("परी पर".encode()).decode() == "परी  "  # परी lost its stem
    assert TextNormaliser(False, ("می",))("می\u200cخواهم می".encode()).decode() == "می\u200cخواهم  "
    assert TextNormaliser(False, ("e",))("cafe\u0301 e".encode()).decode() == "cafe\u0301  "
    assert TextNormaliser(False, ("，", "的"))("好，吃的".encode()).decode() == "好 吃 "
    assert TextNormaliser(False, ("don't", "'", ","))(b"don't, I'm").decode() == "   I m"


def test_the_longest_stop_word_goes_whatever_punctuation_it_has() -> None:
    """Words that end with a letter went first, and left the rest of `u.s.`, `c++` and `etc.`."""
    for words, text, found in (
        (("u", "u.s."), b"the u.s. army", b"the   army"),
        (("c", "c++", "+"), b"like c++ a lot", b"like   a lot"),
        (("etc", "etc."), b"cats etc. and etc", b"cats   and  "),
    ):
        assert TextNormaliser(False, words)(text) == found


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("# the\n\n  \n", "has no words"),
        ("\n".join(map(str, range(20_001))), "has 20,001 words; the limit is 20,000"),
        ("a\n" * (1 << 23) + "b", "is larger than 16,777,216 bytes"),
    ],
    ids=["none", "many words", "many bytes"],
)
def test_stop_words_of_a_file_without_or_with_too_many_are_refused(words: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "stop.txt").write_text(words)
    with pytest.raises(DataError, match=problem):
        read_stop_words(tmp_path / "stop.txt")


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-16-le"])
def test_stop_words_that_are_not_utf8_are_refused(encoding: str, tmp_path: Path) -> None:
    """Words that config.json can't hold as they are made a model that no command could read."""
    (tmp_path / "stop.txt").write_text("the\n的\n", encoding=encoding)
    with pytest.raises(DataError, match="is not UTF-8; convert it"):
        read_stop_words(tmp_path / "stop.txt")


def test_stop_words_of_a_device_are_refused() -> None:
    """The words of /dev/zero filled the memory."""
    with pytest.raises(DataError, match="is a device"):
        read_stop_words("/dev/zero")
