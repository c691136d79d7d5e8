"""Lower case and stop words."""

from __future__ import annotations

from typing import Any

from seqgen.tokenizers.normalise import TextNormaliser, read_stop_words


def test_capitals_and_words_may_go(tmp_path: Any) -> None:
    (tmp_path / "stop.txt").write_text("# words\nthe\nof\n的\n\nThe\n", encoding="utf-8")
    words = read_stop_words(tmp_path / "stop.txt")
    assert words == ("the", "of", "的", "The")
    prepare = TextNormaliser(lowercase=True, stop_words=words)
    assert prepare(b"The End of Theodora").split() == [b"end", b"theodora"]
    assert prepare("我的书".encode()).decode() == "我 书"
    assert TextNormaliser()(b"\xff As it IS") == b"\xff As it IS"
