"""Shards: their outputs, joined, are the output of the whole job, byte for byte."""

from __future__ import annotations

import gzip
import random
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import seqgen
from seqgen.corpus.labelled.read import LabelledOptions, read_examples
from seqgen.corpus.opening import FileForm
from seqgen.corpus.shards import SINGLE_SHARD, Shard, lines_between
from seqgen.corpus.sources import Document
from seqgen.errors import DataError, UserError
from tests.helpers import ranks
from tests.helpers.running import Run

Parts = st.integers(1, 12)


def every(of: int) -> list[Shard]:
    return [Shard(number, of) for number in range(1, of + 1)]


@given(st.integers(0, 200), Parts)
def test_index_range_of_all_shards_covers_the_range_in_order_and_evenly(count: int, of: int) -> None:
    dealt = [shard.index_range(count) for shard in every(of)]
    assert [number for part in dealt for number in part] == list(range(count))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


@dataclass(frozen=True)
class InPieces:
    """A document whose chunks have a given size."""

    data: bytes
    size: int

    def chunks(self, start: int = 0, stop: int | None = None) -> Generator[bytes, None, None]:
        for offset in range(start, len(self.data), self.size):
            yield self.data[offset : offset + self.size]


Lines = st.lists(st.sampled_from([b"", b"a", b"bc\r", b"defghij"]), max_size=8).map(b"\n".join)


@given(st.one_of(Lines, Lines.map(lambda data: data + b"\n")), st.integers(1, 9), st.data())
def test_lines_between_yields_the_lines_that_begin_in_the_range(data: bytes, size: int, draw: st.DataObject) -> None:
    data += b"x"  # never empty
    first = draw.draw(st.integers(0, len(data) - 1))
    stop = draw.draw(st.integers(first + 1, len(data)))
    begins = [offset for offset in range(len(data)) if offset == 0 or data[offset - 1 : offset] == b"\n"]
    ends = [*begins[1:], len(data)]
    expected = b"".join(data[b:e] for b, e in zip(begins, ends, strict=True) if first <= b < stop)
    document: Any = InPieces(data, size)
    assert b"".join(lines_between(document, first, stop)) == expected


@given(st.lists(st.tuples(Lines, st.booleans()), min_size=1, max_size=4), Parts)
def test_select_lines_of_all_shards_yields_all_lines_once(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[bytes, bool]], of: int
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    documents = []
    for number, (text, compressed) in enumerate(texts):
        path = folder / (f"{number}.gz" if compressed else str(number))
        path.write_bytes(gzip.compress(text) if compressed else text)
        form = FileForm(("gz",) if compressed else ())
        documents.append(Document(path.name, path, form=form))
    joined = b"".join(chunk for shard in every(of) for chunks in shard.select_lines(documents) for chunk in chunks)
    assert joined == b"".join(text for text, _ in texts)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), Parts)
def test_select_documents_of_all_shards_returns_all_in_order(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], of: int
) -> None:
    folder = tmp_path_factory.mktemp("documents")
    documents = [Document(str(number), folder / str(number)) for number in range(len(sizes))]
    for document, size in zip(documents, sizes, strict=True):
        document.path.write_bytes(b"x" * size)
    dealt = [shard.select_documents(documents) for shard in every(of)]
    assert [document for part in dealt for document in part] == documents


def test_select_documents_of_a_missing_file_raises(tmp_path: Path) -> None:
    gone = [Document("gone", tmp_path / "gone")]
    with pytest.raises(DataError, match="cannot read 'gone': No such file"):
        Shard(1, 2).select_documents(gone)
    with pytest.raises(DataError, match="cannot read 'gone': No such file"):
        list(Shard(1, 2).select_lines(gone))


def test_shard_parse_of_valid_text_returns_the_shard() -> None:
    assert Shard.parse(None) is SINGLE_SHARD
    assert Shard.parse("3/16") == Shard(3, 16)
    assert Shard.parse("1/1").is_whole
    assert not Shard.parse("1/2").is_whole


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "3/", "/4", "-1/4", "1/0", "a/b", "1/4/2", "", "1.5/4", "９/16"])
def test_shard_parse_of_invalid_text_raises(text: str) -> None:
    with pytest.raises(UserError, match="is not a shard; of sixteen, they are 1/16 to 16/16"):
        Shard.parse(text)


# The commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of each task, and input files for them."""
    folder = tmp_path_factory.mktemp("shards")
    ranks.write_sources(folder / "sources")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGEN_CACHE", str(folder / "cache"))
        for name in ("text", "dialogue", "music", "classify", "generative"):
            source, settings = ranks.RUNS[name]
            shorter = {"steps": 2} | ({"epochs": None, "pretrain": 0.0} if name == "classify" else {})
            seqgen.train(str(folder / "sources" / source), folder / name, **{**ranks.SMALL, **settings, **shorter})
    rng = random.Random(1)
    table = Document("reviews", folder / "sources" / "reviews.csv")
    texts = [" ".join(one.text.split()) for one in read_examples([table], LabelledOptions(), lambda _: None)]
    lines = [rng.choice(texts)[: rng.choice([0, 5, 30, 300])] for _ in range(60)]
    (folder / "one.txt").write_text("\n".join([*lines[:40], "and no line feed"]), "utf-8")
    (folder / "two.txt.gz").write_bytes(gzip.compress("\r\n".join([*lines[41:], ""]).encode()))
    (folder / "none.txt").write_text("")
    for number in range(5):
        (folder / f"record{number}.txt").write_text("\n".join(texts[8 * number : 9 * number + 1]), "utf-8")
    return folder


def joined(run: Run, of: int, *arguments: object, stdin: bytes = b"") -> tuple[bytes, list[int]]:
    """The joined outputs of all shards, and the size of each."""
    parts = [run(*arguments, "--shard", f"{number}/{of}", stdin=stdin).out for number in range(1, of + 1)]
    return b"".join(parts), [len(part) for part in parts]


@pytest.mark.parametrize("model", ["classify", "generative"])
@pytest.mark.parametrize("of", [1, 3, 16])
def test_classify_with_shards_writes_the_same_lines(run: Run, folder: Path, model: str, of: int) -> None:
    """The probabilities are equal to the last bit."""
    files = [folder / name for name in ("one.txt", "none.txt", "two.txt.gz")]
    arguments = ("classify", folder / model, *files, "--format", "jsonl", "--top-k", 2)
    whole = run(*arguments).out
    parts, sizes = joined(run, of, *arguments)
    assert parts == whole
    assert whole.count(b"\n") == 60
    assert max(sizes) < 3 * len(whole) / of + 1


def test_classify_with_shards_of_a_pipe_writes_the_same_lines(run: Run, folder: Path) -> None:
    data = (folder / "one.txt").read_bytes()
    whole = run("classify", folder / "classify", stdin=data).out
    assert joined(run, 4, "classify", folder / "classify", stdin=data)[0] == whole


def test_classify_with_more_shards_than_lines_writes_the_same_lines(run: Run, folder: Path) -> None:
    parts, sizes = joined(run, 9, "classify", folder / "classify", stdin=b"good\nbad\n")
    assert parts == run("classify", folder / "classify", stdin=b"good\nbad\n").out
    assert sizes.count(0) == 7


@pytest.mark.parametrize("more", [(), ("--per-token",), ("--lines",)])
def test_score_with_shards_of_files_writes_the_same_lines(run: Run, folder: Path, more: tuple[str, ...]) -> None:
    arguments = ("score", folder / "text", *(folder / f"record{number}.txt" for number in range(5)), *more)
    whole = run(*arguments).out
    parts, sizes = joined(run, 3, *arguments)
    assert parts == whole
    assert sizes.count(0) == 0


def test_score_with_shards_of_conversations_writes_the_same_lines(run: Run, folder: Path) -> None:
    source = folder / "sources" / "dialogues.jsonl"
    arguments = ("score", folder / "dialogue", source, source)
    whole = run(*arguments).out
    assert whole.count(b"\n") == 40
    parts, sizes = joined(run, 7, *arguments)
    assert parts == whole
    assert min(sizes) > 0


@pytest.mark.parametrize("more", [(), ("--json",), ("--prompt", "the", "--first", 3), ("--engine", "torch", "--json")])
@pytest.mark.parametrize("n", [1, 5])
def test_sample_with_shards_writes_the_same_samples(run: Run, folder: Path, n: int, more: tuple[object, ...]) -> None:
    arguments = ("sample", folder / "text", "-n", n, "--length", 30, "--seed", 4, *more)
    parts, sizes = joined(run, 3, *arguments)
    assert parts == run(*arguments).out
    assert sizes.count(0) == max(0, 3 - n)


def test_sample_with_shards_writes_the_same_pieces(run: Run, folder: Path, tmp_path: Path) -> None:
    arguments = ("sample", folder / "music", "-n", 4, "--length", 1)
    run(*arguments, "-o", tmp_path / "whole")
    for number in (1, 2, 3):
        run(*arguments, "-o", tmp_path / "parts", "--shard", f"{number}/3")
    pieces = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert pieces == {path.name: path.read_bytes() for path in (tmp_path / "parts").iterdir()}
    assert len(pieces) == 4


@pytest.mark.parametrize("command", ["classify", "score", "sample"])
def test_sample_with_an_invalid_shard_fails_in_one_line(run: Run, folder: Path, command: str) -> None:
    result = run(command, folder / "text", "--shard", "17/16", stdin=b"x", status=2)
    assert result.err == ("seqgen: error: --shard '17/16' is not a shard; of sixteen, they are 1/16 to 16/16\n")
    assert result.out == b""
