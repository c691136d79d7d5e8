"""Every tokenizer in the table keeps the same promises: what goes in as bytes comes out as the same bytes."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen import tokenizers
from seqgen.config import TOKENIZER_NAMES
from seqgen.errors import DataError, ModelError
from seqgen.tokenizers import Codec, Decoder, Ids
from tests.helpers.running import prose

KINDS = list(TOKENIZER_NAMES)  # of text
EXACT = ["char", "byte"]  # these give the very same ids wherever a stream is cut
QUICK = settings(max_examples=60, deadline=None)
SLOW = settings(max_examples=8, deadline=None)

FAMILY = "👩\u200d👩\u200d👧\u200d👦"
CHINESE = "月落烏啼霜滿天，江楓漁火對愁眠。"
# Pieces of text, and bytes that are no text, at which a careless tokenizer trips.
NASTY = [
    *(
        text.encode()
        for text in (
            FAMILY, CHINESE, "\r\n", "\n", "\r", "\0", "\t", " ", "  ", "\u2581", "\u2581a", "e\u0301", "\u00e9",
            "\ufb01", "\u00a0", "\u3000", "\u2028", "\u0085", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "\x1b[31m",
            "\x7f", "<0x41>", "<0xFF>", "<unk>", "<s>", "</s>", "<pad>", "1234567890", "the quay ",
        )
    ),
    b"\xed\xa0\x80",  # a lone surrogate, written as if it were a character
    b"\xed\xa0\xbd\xed\xb8\x80",  # a pair of them (CESU-8)
    b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x82\x82\xac",  # longer than need be
    b"\xe4\xb8", b"\xf0\x9f\x98", b"\xc3",  # cut off
    b"\x80", b"\xbf\xbf\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xff", b"\xfe\xff",
]  # fmt: skip

NASTY_BYTES = st.lists(
    st.sampled_from(NASTY) | st.text(max_size=8).map(str.encode) | st.binary(max_size=5), max_size=14
).map(b"".join)
ANY_BYTES = st.binary(max_size=200) | NASTY_BYTES
ANY_TEXT = st.lists(
    st.text(max_size=8) | st.sampled_from([FAMILY, CHINESE, "\r\n", "\0", "\u2581", "<0x41>", "e\u0301"]), max_size=12
).map("".join)

FITTED_ON = f"{prose(200)}{CHINESE * 3}\n{FAMILY * 2} 1984 1985\r\n".encode() + b"\xff\xff Latin-1: caf\xe9\n"


@pytest.fixture(scope="module")
def codecs() -> dict[str, Codec]:
    """One of every kind, fitted on the same text."""
    return {kind: tokenizers.fit(kind, [FITTED_ON]) for kind in KINDS}


@pytest.fixture(params=KINDS, scope="module")
def codec(request: pytest.FixtureRequest, codecs: dict[str, Codec]) -> Codec:
    return codecs[request.param]


@pytest.fixture(params=EXACT, scope="module")
def exact(request: pytest.FixtureRequest, codecs: dict[str, Codec]) -> Codec:
    return codecs[request.param]


def spell(codec: Codec, ids: Iterable[int]) -> bytes:
    """The bytes of `ids` by way of `pieces()`: another way than the decoder's, and a fast one."""
    spelt = [
        b"" if piece is None else bytes([piece]) if isinstance(piece, int) else piece.encode()
        for piece in codec.pieces()
    ]
    return b"".join([spelt[token] for token in ids])


def check(codec: Codec, data: bytes, ids: Ids) -> None:
    """`ids` are what an encoding of `data` has to be."""
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert not len(ids) or (ids.min() >= 0 and ids.max() < codec.vocab_size)
    assert codec.end not in ids
    control = [token for token, piece in enumerate(codec.pieces()) if piece is None]
    assert not np.isin(ids, control).any()
    assert spell(codec, ids.tolist()) == data


def in_chunks(data: bytes, borders: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(border % (len(data) + 1) for border in borders), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(places)]


# ---- There and back ----


@QUICK
@given(data=ANY_BYTES)
@example(data=b"")
@example(data=bytes(range(256)))
@example(data=b"".join(NASTY))
def test_any_bytes_come_back(codec: Codec, data: bytes) -> None:
    ids = codec.encode(data)
    check(codec, data, ids)
    assert tokenizers.decode(codec, ids) == data


@pytest.mark.parametrize("kind", EXACT)
@QUICK
@given(fitted=ANY_BYTES, data=ANY_BYTES)
def test_any_bytes_come_back_whatever_was_learnt(kind: str, fitted: bytes, data: bytes) -> None:
    codec = tokenizers.fit(kind, [fitted])
    for text in (fitted, data):
        check(codec, text, codec.encode(text))
        assert tokenizers.decode(codec, codec.encode(text)) == text


@SLOW
@given(fitted=NASTY_BYTES, data=NASTY_BYTES)
def test_any_bytes_come_back_whatever_subwords_were_learnt(fitted: bytes, data: bytes) -> None:
    codec = tokenizers.fit("subword", [FITTED_ON[:2000], fitted])
    for text in (fitted, data):
        check(codec, text, codec.encode(text))
        assert tokenizers.decode(codec, codec.encode(text)) == text


@pytest.mark.parametrize(
    ("unit", "exact_size"),
    [(b"the quay ", 10_000_000), (b"a", 2_000_000), (CHINESE.encode(), 10_000_000), (b"\xff", 2_000_000)],
    ids=["words", "one letter", "chinese", "no UTF-8"],
)
def test_a_long_line_comes_back(codec: Codec, unit: bytes, exact_size: int) -> None:
    """10 MB without a line feed; 2 MB where each piece has to be looked for."""
    size = exact_size if codec.kind in EXACT else 2_000_000
    data = unit * (size // len(unit))
    ids = codec.encode(data)
    assert spell(codec, ids.tolist()) == data
    some = ids[:100_000]
    assert tokenizers.decode(codec, some) == spell(codec, some.tolist())


def test_one_character_that_is_unlike_the_others_costs_no_more_than_itself(codec: Codec) -> None:
    """That SubwordCodec checks its encoding must not mean that all of a text is spelt for the sake of one character."""
    plain = len(codec.encode(FITTED_ON))
    for stranger in NASTY:
        middle = len(FITTED_ON) // 2
        mixed = FITTED_ON[:middle] + stranger + FITTED_ON[middle:]
        assert len(codec.encode(mixed)) <= plain + len(stranger) + 6


# ---- Pieces ----


def test_pieces_say_what_each_id_stands_for(codec: Codec) -> None:
    pieces = codec.pieces()
    assert len(pieces) == codec.vocab_size
    assert 0 <= codec.end < codec.vocab_size
    assert pieces[codec.end] is None
    assert set(range(256)) <= {piece for piece in pieces if type(piece) is int}
    for token in range(codec.vocab_size):
        assert tokenizers.decode(codec, [token]) == spell(codec, [token])


@QUICK
@given(data=st.data())
def test_any_ids_can_be_decoded(codec: Codec, data: st.DataObject) -> None:
    """A network may write any id after any other; the decoder loses nothing, and control tokens are silent."""
    ids = data.draw(st.lists(st.integers(0, codec.vocab_size - 1), max_size=40))
    assert tokenizers.decode(codec, ids) == spell(codec, ids)


# ---- The decoder ----


def pushes(decoder: Decoder, ids: Iterable[int]) -> Iterator[bytes]:
    for token in ids:
        yield decoder.push(token)


@QUICK
@given(text=ANY_TEXT)
def test_every_push_is_whole_characters(codec: Codec, text: str) -> None:
    decoder = codec.decoder()
    parts = [part.decode() for part in pushes(decoder, codec.encode(text.encode()).tolist())]  # strict: may raise
    assert "".join(parts) == text
    assert decoder.finish() == b""


@QUICK
@given(data=ANY_BYTES)
def test_the_end_of_an_unfinished_character_waits_for_finish(codec: Codec, data: bytes) -> None:
    decoder = codec.decoder()
    pushed = b"".join(pushes(decoder, codec.encode(data).tolist()))
    rest = decoder.finish()
    assert pushed + rest == data
    assert len(rest) < 4
    assert decoder.finish() == b""


def test_a_character_spelt_in_bytes_comes_with_its_last_byte(codec: Codec) -> None:
    places = {piece: token for token, piece in enumerate(codec.pieces()) if isinstance(piece, int)}
    decoder = codec.decoder()
    assert list(pushes(decoder, [places[byte] for byte in "😀".encode()])) == [b"", b"", b"", "😀".encode()]
    assert list(pushes(decoder, [places[0xF0], places[0x9F], places[0x41]])) == [b"", b"", b"\xf0\x9fA"]
    assert list(pushes(decoder, [places[0xE4], places[0xB8]])) == [b"", b""]
    assert decoder.finish() == b"\xe4\xb8"


# ---- Streams ----


@QUICK
@given(data=ANY_BYTES, borders=st.lists(st.integers(0, 1000), max_size=8))
def test_a_stream_may_be_cut_anywhere(codec: Codec, data: bytes, borders: list[int]) -> None:
    parts = list(tokenizers.encode_stream(codec, in_chunks(data, borders)))
    ids = np.concatenate([np.empty(0, dtype=np.int32), *parts])
    check(codec, data, ids)
    assert tokenizers.decode(codec, ids) == data
    if codec.kind in EXACT:
        assert np.array_equal(ids, codec.encode(data))


@QUICK
@given(data=ANY_BYTES, further=ANY_BYTES)
def test_what_split_cuts_off_may_be_encoded_apart(exact: Codec, data: bytes, further: bytes) -> None:
    cut = exact.split(data)
    assert len(data) - 3 <= cut <= len(data)
    apart = np.concatenate([exact.encode(data[:cut]), exact.encode(data[cut:] + further)])
    assert np.array_equal(apart, exact.encode(data + further))


@pytest.mark.parametrize(
    "unit", [b"the quay ", CHINESE.encode(), b"\n", b"\x80"], ids=["words", "chinese", "lf", "bad"]
)
def test_a_stream_is_encoded_as_it_comes(codec: Codec, unit: bytes) -> None:
    """A line without an end is not gathered whole: memory stays flat."""
    chunks = [chunk := (unit * (1 << 16))[: 1 << 16]] * 40
    sizes = [len(spell(codec, ids.tolist())) for ids in tokenizers.encode_stream(codec, chunks)]
    assert sum(sizes) == 40 * len(chunk)
    assert max(sizes) <= (1 << 20) + len(chunk)


# ---- Files ----


@QUICK
@given(data=ANY_BYTES)
def test_a_codec_read_from_its_files_encodes_the_same(codecs: dict[str, Codec], data: bytes) -> None:
    for codec in codecs.values():
        again = tokenizers.parse(tokenizers.dump(codec))
        assert (again.kind, again.vocab_size, again.end) == (codec.kind, codec.vocab_size, codec.end)
        assert np.array_equal(again.encode(data), codec.encode(data))


def test_files_do_not_change_by_being_read(codec: Codec) -> None:
    files = tokenizers.dump(codec)
    again = tokenizers.parse(files)
    assert tokenizers.dump(again) == files
    assert again.pieces() == codec.pieces()
    assert again.seen() == codec.seen()
    assert json.loads(files["tokenizer.json"])["kind"] == codec.kind


@pytest.mark.parametrize("kind", EXACT)
@QUICK
@given(fitted=NASTY_BYTES.map(lambda data: data * 2))
def test_every_character_survives_json(kind: str, fitted: bytes) -> None:
    files = tokenizers.dump(tokenizers.fit(kind, [fitted]))
    again = tokenizers.parse(files)
    assert tokenizers.dump(again) == files
    assert again.pieces() == tokenizers.fit(kind, [fitted]).pieces()


def test_the_bytes_of_a_small_vocabulary() -> None:
    """Golden: a model of today must mean the same to every later version."""
    codec = tokenizers.fit("char", ["bab中a中bé".encode()])
    strangers = ",".join(str(byte) for byte in range(256) if byte not in "é".encode())
    golden = f'{{"kind":"char","seen":6,"pieces":["b","a","中",169,195,{strangers}]}}\n'
    assert tokenizers.dump(codec) == {"tokenizer.json": golden.encode()}
    assert codec.encode("中béa".encode()).tolist() == [3, 1, 5, 4, 2]
    assert tokenizers.dump(tokenizers.fit("byte", [b"x"])) == {"tokenizer.json": b'{"kind":"byte"}\n'}


def test_fitting_twice_gives_the_same_files(codec: Codec) -> None:
    files = tokenizers.dump(codec)
    chance = random.Random(1)
    for _ in range(3):
        chunks = in_chunks(FITTED_ON, [chance.randrange(len(FITTED_ON)) for _ in range(30)])
        assert tokenizers.dump(tokenizers.fit(codec.kind, iter(chunks))) == files


# ---- What was seen ----


@pytest.mark.parametrize("kind", EXACT)
@QUICK
@given(data=ANY_BYTES)
def test_seen_is_above_every_id_of_the_text(kind: str, data: bytes) -> None:
    codec = tokenizers.fit(kind, [data])
    assert codec.end < codec.vocab_size
    assert 1 <= codec.seen() <= codec.vocab_size
    assert (codec.encode(data) < codec.seen()).all()


def test_seen_is_above_every_id_of_a_longer_text(codec: Codec) -> None:
    assert (codec.encode(FITTED_ON) < codec.seen()).all()
    assert codec.seen() <= codec.vocab_size


@QUICK
@given(data=ANY_BYTES)
def test_characters_stand_in_order_of_falling_frequency(data: bytes) -> None:
    """Ids below `seen` are just those that occur, the commonest first."""
    codec = tokenizers.fit("char", [data])
    counts = np.bincount(codec.encode(data), minlength=codec.vocab_size)
    met = counts[1 : codec.seen()]
    assert (met > 0).all()
    assert (np.diff(met) <= 0).all()
    assert counts[0] == 0
    assert not counts[codec.seen() :].any()


def test_a_character_met_once_is_spelt_in_bytes() -> None:
    codec = tokenizers.fit("char", ["aaabbé中😀q中".encode()])
    pieces = codec.pieces()
    assert {piece for piece in pieces if isinstance(piece, str)} == {"a", "b", "中"}
    for text in ("é", "😀", "q", "never met: Ω"):
        spelt = [pieces[token] for token in codec.encode(text.encode())]
        assert bytes(piece if isinstance(piece, int) else ord(str(piece)) for piece in spelt) == text.encode()
    assert [pieces[token] for token in codec.encode("é😀q".encode())] == list("é😀q".encode())


# ---- Going on with another text ----


@QUICK
@given(first=ANY_BYTES, second=ANY_BYTES)
def test_extending_keeps_every_id(first: bytes, second: bytes) -> None:
    for kind in EXACT:
        old = tokenizers.fit(kind, [first])
        new = old.extend([second])
        assert new.pieces()[: old.vocab_size] == old.pieces()
        assert new.end == old.end
        for text in (first, second):
            check(new, text, new.encode(text))
        again = tokenizers.parse(tokenizers.dump(new))
        assert np.array_equal(again.encode(second), new.encode(second))


def test_extending_keeps_every_id_of_any_kind(codec: Codec) -> None:
    before = tokenizers.dump(codec)
    new = codec.extend(iter(["Привет, привет! ".encode() * 5, FITTED_ON]))
    assert new.pieces()[: codec.vocab_size] == codec.pieces()
    assert new.end == codec.end
    assert tokenizers.dump(codec) == before  # the old one is as it was
    check(new, FITTED_ON, new.encode(FITTED_ON))


def test_extending_adds_what_is_new_and_common() -> None:
    old = tokenizers.fit("char", [b"aabb"])
    new = old.extend([b"ccc", "中中中中".encode(), "Ωab".encode()])
    assert new.pieces()[old.vocab_size :] == ["中", "c"]  # the commoner first; Ω was met once
    assert new.seen() == new.vocab_size


@QUICK
@given(first=ANY_BYTES, second=ANY_BYTES)
@example(first=b"aabb", second="abé".encode())
def test_seen_covers_the_text_that_a_codec_was_extended_on(first: bytes, second: bytes) -> None:
    """Training goes on with the extended codec, and its loss knows the ids below `seen` only."""
    for kind in EXACT:
        new = tokenizers.fit(kind, [first]).extend([second])
        assert (new.encode(second) < new.seen()).all()
        assert (new.encode(first) < new.seen()).all()
        assert new.seen() <= new.vocab_size


def test_the_whole_stream_is_read(codec: Codec) -> None:
    stream = iter([FITTED_ON, b"more", b"and more"])
    tokenizers.fit(codec.kind, stream)
    assert next(stream, None) is None
    stream = iter([FITTED_ON, b"more", b"and more"])
    codec.extend(stream)
    assert next(stream, None) is None


# ---- Nothing can be forged ----


@pytest.mark.parametrize(
    "text", ["<0x41>", "<0x0A>", "<0xFF>", "<unk>", "<s>", "</s>", "<pad>", "<end>", "\u2581", "\u2581the", "\\n", "\0"]
)
def test_text_is_never_taken_for_a_control_token(kind_fitted_on_forgeries: Codec, codec: Codec, text: str) -> None:
    for each in (codec, kind_fitted_on_forgeries):
        for data in (text.encode(), f"the {text} quay".encode(), (text * 50).encode()):
            ids = each.encode(data)
            check(each, data, ids)
            assert tokenizers.decode(each, ids) == data


@pytest.fixture(params=KINDS, scope="module")
def kind_fitted_on_forgeries(request: pytest.FixtureRequest) -> Codec:
    """Learnt from text that is full of what looks like control tokens."""
    return tokenizers.fit(request.param, [b"<unk> <0x41> <s> </s> <pad> <end> \xe2\x96\x81the \\n\n" * 60])


# ---- Damaged files ----

PIECES: list[Any] = ["a", *range(256)]


def char_file(**changes: Any) -> bytes:
    data = {"kind": "char", "seen": 2, "pieces": PIECES, **changes}
    return json.dumps({key: value for key, value in data.items() if value is not ...}).encode()


DAMAGED = {
    "empty": b"",
    "no JSON": b"kind: char",
    "half": char_file()[:100],
    "two": char_file() * 2,
    "no UTF-8": b'{"kind":"char\xff"}',
    "deep": b"[" * 100_000,
    "a number too long": b'{"kind":"char","seen":' + b"9" * 5000 + b',"pieces":[]}',
    "a list": b"[]",
    "null": b"null",
    "a string": b'"char"',
    "a number": b"1",
    "no kind": b'{"pieces":[]}',
    "kind a number": b'{"kind":3}',
    "kind null": b'{"kind":null}',
    "kind a list": b'{"kind":["char"]}',
    "kind unknown": b'{"kind":"bpe"}',
    "kind empty": b'{"kind":""}',
    "kind a module": b'{"kind":"os:system"}',
    "no pieces": char_file(pieces=...),
    "pieces null": char_file(pieces=None),
    "pieces a string": char_file(pieces="abc"),
    "pieces an object": char_file(pieces={"a": 1}),
    "pieces a number": char_file(pieces=256),
    "pieces empty": char_file(pieces=[], seen=1),
    "piece null": char_file(pieces=[*PIECES, None]),
    "piece a bool": char_file(pieces=["a", 0, True, *range(2, 256)]),
    "piece a float": char_file(pieces=["a", 0, 1.0, *range(2, 256)]),
    "piece a fraction": char_file(pieces=[*PIECES, 0.5]),
    "piece a list": char_file(pieces=[*PIECES, ["b"]]),
    "piece an object": char_file(pieces=[*PIECES, {}]),
    "piece below a byte": char_file(pieces=[*PIECES, -1]),
    "piece above a byte": char_file(pieces=[*PIECES, 256]),
    "piece of two characters": char_file(pieces=[*PIECES, "bc"]),
    "piece of none": char_file(pieces=[*PIECES, ""]),
    "piece of a family": char_file(pieces=[*PIECES, FAMILY]),
    "piece of a lone surrogate": char_file(pieces=[*PIECES, "\ud800"]),
    "a byte missing": char_file(pieces=PIECES[:-1]),
    "a byte twice": char_file(pieces=[*PIECES, 65]),
    "a character twice": char_file(pieces=[*PIECES, "a"]),
    "no seen": char_file(seen=...),
    "seen null": char_file(seen=None),
    "seen a string": char_file(seen="2"),
    "seen a float": char_file(seen=2.0),
    "seen NaN": char_file(seen=float("nan")),
    "seen a bool": char_file(seen=True),
    "seen zero": char_file(seen=0),
    "seen below zero": char_file(seen=-1),
    "seen above all": char_file(seen=len(PIECES) + 2),
}


def one_line(error: pytest.ExceptionInfo[BaseException]) -> bool:
    message = str(error.value)
    return bool(message) and "\n" not in message and len(message) < 300


@pytest.mark.parametrize("data", DAMAGED.values(), ids=list(DAMAGED))
def test_a_damaged_file_is_a_model_error(data: bytes) -> None:
    with pytest.raises(ModelError) as error:
        tokenizers.parse({"tokenizer.json": data})
    assert one_line(error)


def test_the_undamaged_file_is_read() -> None:
    assert tokenizers.parse({"tokenizer.json": char_file()}).encode(b"ab").tolist() == [1, 2 + ord("b")]


def test_a_missing_file_is_a_model_error() -> None:
    with pytest.raises(ModelError) as error:
        tokenizers.parse({})
    assert one_line(error)


@QUICK
@given(data=st.binary(max_size=300))
def test_random_bytes_are_a_model_error(data: bytes) -> None:
    with pytest.raises(ModelError):
        tokenizers.parse({"tokenizer.json": data})


def subword_files(codecs: dict[str, Codec], **changes: Any) -> dict[str, bytes]:
    """The files of the subword codec; `model` changes tokenizer.model, the rest tokenizer.json."""
    files = tokenizers.dump(codecs["subword"])
    model = changes.pop("model", files["tokenizer.model"])
    data = {**json.loads(files["tokenizer.json"]), **changes}
    kept = {key: value for key, value in data.items() if value is not ...}
    return {"tokenizer.json": json.dumps(kept).encode(), **({} if model is ... else {"tokenizer.model": model})}


@pytest.mark.parametrize("size", [..., None, "259", 0, -1, 258, 1 << 40, 0.5, [], {}])
def test_a_subword_vocabulary_of_another_size_is_a_model_error(codecs: dict[str, Codec], size: Any) -> None:
    with pytest.raises(ModelError) as error:
        tokenizers.parse(subword_files(codecs, vocab_size=size))
    assert one_line(error)


def test_a_damaged_sentencepiece_model_is_a_model_error(codecs: dict[str, Codec]) -> None:
    model = subword_files(codecs)["tokenizer.model"]
    cuts = [*range(0, len(model), 97), len(model) - 1, len(model) - 2]
    damaged = [..., *(model[:cut] for cut in cuts), model[1:], model * 2, b"\0" * 64, b"\xff" * 64, b"{}"]
    for data in damaged:
        with pytest.raises(ModelError) as error:
            tokenizers.parse(subword_files(codecs, model=data))
        assert one_line(error)


@QUICK
@given(data=st.binary(max_size=300))
def test_random_bytes_are_no_sentencepiece_model(codecs: dict[str, Codec], data: bytes) -> None:
    with pytest.raises(ModelError):
        tokenizers.parse(subword_files(codecs, model=data))


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_changed_sentencepiece_model_is_refused_or_sound(
    codecs: dict[str, Codec], changes: list[tuple[int, int]]
) -> None:
    """A flipped bit may leave a model that is another but a model still: then it loses nothing either."""
    model = bytearray(subword_files(codecs)["tokenizer.model"])
    for place, value in changes:
        model[-1 - place % len(model)] = value
    try:
        codec = tokenizers.parse(subword_files(codecs, model=bytes(model)))
    except ModelError:
        return
    for data in (FITTED_ON, b"".join(NASTY)):
        check(codec, data, codec.encode(data))


def test_an_unknown_kind_is_a_model_error() -> None:
    for kind in ("bpe", "", "Char", "char "):
        with pytest.raises(ModelError, match="char, byte, subword") as error:
            tokenizers.fit(kind, [b"text"])
        assert one_line(error)


# ---- Subwords ----


def rich_text() -> bytes:
    """Words after Zipf's law, enough different ones to fill a vocabulary."""
    chance = random.Random(3)
    syllables = [first + second for first in "bcdfghjklmnprstvz" for second in "aeiou"]
    words = ["".join(chance.choices(syllables, k=chance.randint(1, 4))) for _ in range(2500)]
    shares = [1 / (rank + 1) for rank in range(len(words))]
    lines = [" ".join(chance.choices(words, weights=shares, k=12)) for _ in range(1200)]
    return "\n".join(lines).encode()


def test_the_size_of_a_subword_vocabulary_is_kept_where_the_text_fills_it() -> None:
    text = rich_text()
    lengths = []
    for size in (300, 500, 1000):
        codec = tokenizers.fit("subword", [text], vocab_size=size)
        assert abs(codec.vocab_size - size) <= 0.02 * size
        lengths.append(len(codec.encode(text)))
    assert lengths[0] > lengths[1] > lengths[2]  # more pieces, fewer of them to a text
    assert lengths[2] < len(text) / 2


@pytest.mark.parametrize("size", [None, 300, 8000, 1 << 20])
@pytest.mark.parametrize(
    "data",
    [
        b"ab", b"a b", b"ab\n", b"  ", b" " * 500, b"\t \r\n" * 30, b" \n \n", b"a" * 5000, b"a\r\nb\r\n" * 20,
        "中文".encode(), b"a\nb\nc\nd\n" * 10, prose(2).encode(), bytes(range(256)), b"x\xff" * 4, FAMILY.encode(),
    ],
    ids=lambda data: repr(data[:6]) if isinstance(data, bytes) else str(data),
)  # fmt: skip
def test_a_text_too_small_for_its_vocabulary_gives_a_smaller_one(data: bytes, size: int | None) -> None:
    codec = tokenizers.fit("subword", [data], **({"vocab_size": size} if size else {}))
    assert 258 <= codec.vocab_size <= 1200
    for text in (data, FITTED_ON):
        check(codec, text, codec.encode(text))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"a", b"\n" * 50, b"\r\n" * 50, b"\0" * 50, b"\xff" * 50, "\u2581".encode() * 50, b"\xed\xa0\x80" * 9,
        b"-" * 40,  # of one piece repeated, the trainer prunes everything
    ],
    ids=lambda data: repr(data[:6]),
)  # fmt: skip
def test_what_holds_no_words_is_refused_in_words(data: bytes) -> None:
    """The message is for a person: it names the way out, and no source file of SentencePiece's."""
    with pytest.raises(DataError, match="--tokenizer byte") as error:
        tokenizers.fit("subword", [data])
    assert one_line(error)
    assert ".cc" not in str(error.value)


def test_subwords_are_learnt_from_one_long_line() -> None:
    text = rich_text().replace(b"\n", b" ")
    codec = tokenizers.fit("subword", [text], vocab_size=500)
    check(codec, text, codec.encode(text))
    assert len(codec.encode(text)) < 0.6 * len(text)


def test_a_large_alphabet_fits_a_small_vocabulary() -> None:
    """3,000 different characters, 300 pieces: most are spelt, the commonest have a piece."""
    chance = random.Random(5)
    alphabet = [chr(code) for code in range(0x4E00, 0x4E00 + 3000)]
    text = "".join(chance.choices(alphabet, weights=[1 / (rank + 1) for rank in range(3000)], k=8000)).encode()
    codec = tokenizers.fit("subword", [text], vocab_size=300)
    assert codec.vocab_size <= 306
    assert len(codec.encode(alphabet[0].encode())) == 1
    check(codec, text, codec.encode(text))


def test_a_subword_never_reaches_over_a_line() -> None:
    codec = tokenizers.fit("subword", [prose(200).encode()])
    assert all("\n" not in piece or piece == "\n" for piece in codec.pieces() if isinstance(piece, str))
    first, second = b"the old lamp", b"on the quay"
    ids = codec.encode(first + b"\n" + second)
    apart = [codec.encode(first + b"\n"), codec.encode(second)]
    assert np.array_equal(ids, np.concatenate(apart))
