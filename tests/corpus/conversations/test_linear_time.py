"""Conversations of few lines, or of odd ones, whose reading takes a time that grows like their size."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from seqgen.corpus.conversations.formats import FORMATS
from seqgen.corpus.conversations.parsing import TextDocument
from seqgen.corpus.conversations.report import ConversationReport
from seqgen.corpus.sources import Document
from tests.helpers.growth import is_linear

STAMP = "03/02/2024, 10:15 - Ann: "
CUE = "00:00:01,000 --> 00:00:02,000\n"
FILES: dict[str, tuple[str, int, Callable[[int], str]]] = {  # format, size, text of a size
    "invisible marks": ("WhatsApp", 600, lambda n: f"{STAMP}hi\n" + "\u200e" * n),
    "spaces": ("WhatsApp", 1_000, lambda n: f"{STAMP}a{' ' * n}b"),
    "blank lines before a day": ("WhatsApp", 4_000, lambda n: f"{STAMP}hi\n" + "\n2024年2月3日\n" * n + STAMP),
    "angle brackets": ("WhatsApp", 4_000, lambda n: f"{STAMP}{'< a' * n}>"),
    "days": ("log", 600, lambda n: "[10:15] Ann: hi\n" + "1.1.11\n" * n + "a\n" * n),
    "lines of a message": ("blocks", 12_000, lambda n: "[Ann] [10:15] \U0001f600\n" + "a\n" * n),
    "lines of a subtitle": ("SubRip", 12_000, lambda n: f"{CUE}ANN: \U0001f600\n" + "a\n" * n),
    "voices": ("SubRip", 600, lambda n: f"{CUE}ANN: hi\n" + "<v a" * n),
    "classes of voices": ("SubRip", 600, lambda n: f"{CUE}ANN: hi\n" + "<v.a" * n + ">"),
    "comments": ("yaml", 4_000, lambda n: "conversations:\n- - \n" + "    # a\n" * n),
    "HTML": ("messages", 1_000, lambda n: json.dumps([
        {"from": "Ann", "body": {"contentType": "html", "content": f"a{' ' * n}b"}}])),
    "fields": ("parlai", 300, lambda n: "\ttext:" * n),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_conversation_takes_linear_time(kind: str, tmp_path: Path) -> None:
    """Each took seconds for some ten kilobytes."""
    name, size, text = FILES[kind]

    def read(count: int) -> None:
        (tmp_path / "talk").write_text(text(count), "utf-8")
        list(FORMATS[name].parse(TextDocument(Document("talk", tmp_path / "talk")), ConversationReport()))

    assert is_linear(read, size)
