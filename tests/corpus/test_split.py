"""Splitting documents into a training and a validation set."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from seqgen.corpus import split
from seqgen.corpus.sources import Document, checksum_documents
from seqgen.corpus.split import MIN_HELD_OUT_BYTES, MIN_SPLIT_BYTES, hold_out, hold_out_items
from tests.helpers.documents import COMPRESSORS, QUICK, contents, write_file

# ---- Documents ----

# Written as unit × count, so that an example says what it is; the units are of 1 to 4 bytes, and one is no UTF-8.
DOCUMENTS = st.lists(
    st.builds(
        lambda unit, size, start: (start + unit * (size // len(unit) + 1))[: max(size, 1)],
        st.sampled_from([b"a", b"the quay\n", "é".encode(), "中文，".encode(), "😀".encode(), b"\x80", b"\xff\x80"]),
        st.integers(1, 300) | st.integers(MIN_SPLIT_BYTES - 5, MIN_SPLIT_BYTES + 5) | st.integers(1, 12_000),
        st.sampled_from([b"", b"x", b"xy"]),
    ),
    min_size=1,
    max_size=6,
)

FRACTIONS = st.floats(0.001, 0.9) | st.sampled_from([0.1, 0.5, 0.9, 1e-9])


def written(scratch: Path, texts: list[bytes]) -> list[Document]:
    return [
        Document(str(number), write_file(scratch / f"{number}.txt", text), len(text), "")
        for number, text in enumerate(texts)
    ]


def whole_characters(text: bytes) -> bytes:
    return text.decode("utf-8", "ignore").encode()


@QUICK
@given(texts=DOCUMENTS, fraction=FRACTIONS)
@example(texts=[b"x" * 105], fraction=0.1)
@example(texts=[b"x" * 64], fraction=0.015)
def test_hold_out_returns_every_byte_once(scratch: Path, texts: list[bytes], fraction: float) -> None:
    """Every byte is on exactly one side, for any sizes."""
    documents = written(scratch, texts)
    train, held_out = hold_out(documents, fraction)
    for document, text in zip(documents, texts, strict=True):
        own = [part for part in [*train, *held_out] if part.document == document]
        assert b"".join(map(contents, own)) == text
        assert [part.start for part in own] == [0, *(part.stop for part in own[:-1])]
        assert own[-1].stop == document.size
        assert [part.ends_document for part in own] == [False] * (len(own) - 1) + [True]


@pytest.mark.parametrize(("size", "held"), [(10 * MIN_HELD_OUT_BYTES, [MIN_HELD_OUT_BYTES]),
                                            (10 * MIN_HELD_OUT_BYTES - 1, [])])  # fmt: skip
def test_hold_out_takes_the_least_that_it_may_or_nothing(size: int, held: list[int], tmp_path: Path) -> None:
    train, held_out = hold_out(written(tmp_path, [b"x" * size]), 0.1)
    assert [part.size for part in held_out] == held
    assert [part.size for part in train] == [size - sum(held)]


def test_hold_out_of_short_documents_takes_one_once_so_much_is_owed(tmp_path: Path) -> None:
    """Exactly: half of four that are alike are the second and the fourth."""
    train, held_out = hold_out(written(tmp_path, [b"x" * 128] * 4), 0.5)
    assert [part.document.name for part in train] == ["0", "2"]
    assert [part.document.name for part in held_out] == ["1", "3"]


@QUICK
@given(texts=DOCUMENTS, fraction=FRACTIONS)
def test_hold_out_keeps_the_order_of_documents(scratch: Path, texts: list[bytes], fraction: float) -> None:
    train, held_out = hold_out(written(scratch, texts), fraction)
    assert train
    for side in (train, held_out):
        order = [int(part.document.name) for part in side]
        assert order == sorted(set(order))
        assert all(part.size > 0 for part in side)
        assert all(part.size == len(contents(part)) for part in side)


@QUICK
@given(texts=DOCUMENTS, fraction=FRACTIONS)
@example(texts=["中".encode() * 50], fraction=0.0134)  # the cut falls inside the last character
@example(texts=["😀".encode() * 1500], fraction=0.0004)
def test_hold_out_never_cuts_a_character(scratch: Path, texts: list[bytes], fraction: float) -> None:
    texts = [whole_characters(text) or b"x" for text in texts]
    for side in hold_out(written(scratch, texts), fraction):
        for part in side:
            contents(part).decode()  # strict: may raise


@QUICK
@given(texts=DOCUMENTS, fraction=FRACTIONS)
def test_hold_out_never_cuts_small_documents(scratch: Path, texts: list[bytes], fraction: float) -> None:
    assume(len(texts) > 1)
    for side in hold_out(written(scratch, texts), fraction):
        for part in side:
            assert part.document.size >= MIN_SPLIT_BYTES or (part.start == 0 and part.ends_document)


@QUICK
@given(texts=DOCUMENTS, fraction=FRACTIONS)
def test_hold_out_returns_about_the_fraction(scratch: Path, texts: list[bytes], fraction: float) -> None:
    total = sum(map(len, texts))
    _, held_out = hold_out(written(scratch, texts), fraction)
    held_items = sum(part.size for part in held_out)
    assert held_items <= fraction * total + 1e-6 or (len(held_out) == 1 and held_items <= 4 * fraction * total)
    # Fewer only because of a character boundary, an end too short to hold out, or a short document not yet due.
    assert held_items >= fraction * total - (4 + MIN_HELD_OUT_BYTES) * len(texts) - (
        MIN_SPLIT_BYTES if len(texts) > 1 else 0
    )


@pytest.mark.parametrize("unit", ["a", "中"])
def test_hold_out_of_a_longer_lone_document_returns_no_less(unit: str, scratch: Path) -> None:
    """Whether an end is held out must not depend on rounding or on character boundaries."""
    sizes = []
    for count in range(20, 900, 7):
        (document,) = written(scratch, [unit.encode() * count])
        _, held_out = hold_out([document], 0.1)
        sizes.append(sum(part.size for part in held_out))
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_hold_out_of_a_compressed_document_cuts_at_the_decompressed_size(suffix: str, tmp_path: Path) -> None:
    text = "月落烏啼霜滿天，江楓漁火對愁眠。\n".encode() * 300
    documents = checksum_documents(
        [Document("poem", write_file(tmp_path / f"poem{suffix}", COMPRESSORS[suffix](text)))]
    )
    (train,), (held_items,) = hold_out(documents, 0.1)
    assert contents(train) + contents(held_items) == text
    assert contents(train).decode() + contents(held_items).decode() == text.decode()
    assert 0.09 * len(text) < held_items.size <= 0.1 * len(text)


def test_hold_out_of_fraction_zero_returns_no_validation_set(scratch: Path) -> None:
    documents = written(scratch, [b"x" * 10_000, b"y"])
    assert hold_out(documents, 0) == hold_out(documents, 0.0) == (split.full_spans(documents), [])
    assert [(part.start, part.stop, part.ends_document) for part in split.full_spans(documents)] == [
        (0, 10_000, True), (0, 1, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([2400] * 8, 7), ([2400] * 3, 2), ([300, 2000, 2000], 0), ([2000, 300, 290], 2), ([2400] * 2, None),
        ([20, 2000, 2000], None), ([600], None), ([700], 0),
    ],
)  # fmt: skip
def test_hold_out_of_few_small_documents_holds_out_the_one_nearest_to_the_fraction(
    sizes: list[int], expected: int | None, scratch: Path
) -> None:
    """None: each would be far more than the fraction, or too short to say anything."""
    train, held_out = hold_out(written(scratch, [b"p" * size for size in sizes]), 0.1)
    assert [int(part.document.name) for part in held_out] == ([] if expected is None else [expected])
    assert sum(part.size for part in [*train, *held_out]) == sum(sizes)


def test_hold_out_of_many_small_documents_returns_every_tenth(scratch: Path) -> None:
    train, held_out = hold_out(written(scratch, [b"p" * 100] * 40), 0.1)
    assert len(train) + len(held_out) == 40
    assert len(held_out) in (3, 4)  # the sum of tenths is rounded
    gaps = np.diff([int(part.document.name) for part in held_out])
    assert (gaps >= 9).all()  # spread over the corpus


@settings(max_examples=150, deadline=None)
@given(count=st.integers(0, 300), fraction=st.floats(0, 0.9) | st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1 / 3]))
def test_hold_out_items_is_evenly_spaced_and_stable(count: int, fraction: float) -> None:
    train, held_items = hold_out_items(range(count), fraction)
    assert sorted(train + held_items) == list(range(count))
    assert train == sorted(train)
    assert held_items == sorted(held_items)
    assert train or not count
    assert bool(held_items) == (count > 1 and fraction > 0)
    assert abs(len(held_items) - count * fraction) < 1 or len(held_items) == 1
    gaps = [later - earlier for earlier, later in itertools.pairwise(held_items)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    if fraction and len(held_items) > 1:
        assert hold_out_items(range(count), fraction) == (train, held_items)
        more = hold_out_items(range(count + 10), fraction)
        assert more[1][: len(held_items)] == held_items  # files added at the end change nothing before them


def test_hold_out_items_of_a_tenth_returns_every_tenth() -> None:
    assert hold_out_items(range(100), 0.1)[1] == list(range(9, 100, 10))
    assert hold_out_items("ab", 0.01) == (["a"], ["b"])
    assert hold_out_items("a", 0.9) == (["a"], [])
