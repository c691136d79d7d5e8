"""Codecs of text: round trip, pieces, decoder, streams, vocabularies and extension."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen import tokenizers
from seqgen.tokenizers import Codec, Decoder
from seqgen.tokenizers.codec import utf8_prefix_length
from tests.helpers.texts import CHINESE, DIFFICULT_PIECES, FAMILY, FITTED_ON, QUICK, TOKENIZERS, check_ids, join_pieces

EXACT = ["char", "byte"]  # the ids are the same wherever a stream is cut

SLOW = settings(max_examples=8, deadline=None)

NASTY_BYTES = st.lists(
    st.sampled_from(DIFFICULT_PIECES) | st.text(max_size=8).map(str.encode) | st.binary(max_size=5), max_size=14
).map(b"".join)

ANY_BYTES = st.binary(max_size=200) | NASTY_BYTES

ANY_TEXT = st.lists(
    st.text(max_size=8) | st.sampled_from([FAMILY, CHINESE, "\r\n", "\0", "\u2581", "<0x41>", "e\u0301"]), max_size=12
).map("".join)


@pytest.fixture(params=EXACT, scope="module")
def exact(request: pytest.FixtureRequest, codecs: dict[str, Codec]) -> Codec:
    return codecs[request.param]


def in_chunks(data: bytes, borders: Iterable[int]) -> list[bytes]:
    cuts = [0, *sorted(border % (len(data) + 1) for border in borders), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(cuts)]


# ---- Round trip ----


@QUICK
@given(data=ANY_BYTES)
@example(data=b"")
@example(data=bytes(range(256)))
@example(data=b"".join(DIFFICULT_PIECES))
def test_decode_of_encode_returns_any_bytes(codec: Codec, data: bytes) -> None:
    ids = codec.encode(data)
    check_ids(codec, data, ids)
    assert tokenizers.decode(codec, ids) == data


@pytest.mark.parametrize("name", EXACT)
@QUICK
@given(fitted=ANY_BYTES, data=ANY_BYTES)
def test_decode_of_encode_for_any_fitted_text_returns_any_bytes(name: str, fitted: bytes, data: bytes) -> None:
    codec = tokenizers.fit(name, [fitted])
    for text in (fitted, data):
        check_ids(codec, text, codec.encode(text))
        assert tokenizers.decode(codec, codec.encode(text)) == text


@SLOW
@given(fitted=NASTY_BYTES, data=NASTY_BYTES)
def test_decode_of_encode_for_any_subword_model_returns_any_bytes(fitted: bytes, data: bytes) -> None:
    codec = tokenizers.fit("subword", [FITTED_ON[:2000], fitted])
    for text in (fitted, data):
        check_ids(codec, text, codec.encode(text))
        assert tokenizers.decode(codec, codec.encode(text)) == text


@pytest.mark.parametrize(
    ("unit", "exact_size"),
    [(b"the quay ", 10_000_000), (b"a", 2_000_000), (CHINESE.encode(), 10_000_000), (b"\xff", 2_000_000)],
    ids=["words", "one letter", "chinese", "no UTF-8"],
)
def test_decode_of_encode_of_a_long_line_returns_it(codec: Codec, unit: bytes, exact_size: int) -> None:
    """10 MB without a line feed; 2 MB for the slow subword codec."""
    size = exact_size if codec.name in EXACT else 2_000_000
    data = unit * (size // len(unit))
    ids = codec.encode(data)
    assert join_pieces(codec, ids.tolist()) == data
    some = ids[:100_000]
    assert tokenizers.decode(codec, some) == join_pieces(codec, some.tolist())


def test_encode_of_a_difficult_character_keeps_the_other_pieces(codec: Codec) -> None:
    """SubwordCodec must not encode a whole text as bytes because of one character."""
    plain = len(codec.encode(FITTED_ON))
    for character in DIFFICULT_PIECES:
        middle = len(FITTED_ON) // 2
        mixed = FITTED_ON[:middle] + character + FITTED_ON[middle:]
        assert len(codec.encode(mixed)) <= plain + len(character) + 6


# ---- Pieces ----


def test_pieces_are_the_texts_of_the_ids(codec: Codec) -> None:
    pieces = codec.pieces()
    assert len(pieces) == codec.vocab_size
    assert 0 <= codec.end < codec.vocab_size
    assert pieces[codec.end] is None
    assert set(range(256)) <= {piece for piece in pieces if type(piece) is int}
    for token in range(codec.vocab_size):
        assert tokenizers.decode(codec, [token]) == join_pieces(codec, [token])


@QUICK
@given(data=st.data())
def test_decode_of_any_ids_returns_bytes(codec: Codec, data: st.DataObject) -> None:
    """A network may generate any sequence of ids; the decoder loses none, and control tokens write nothing."""
    ids = data.draw(st.lists(st.integers(0, codec.vocab_size - 1), max_size=40))
    assert tokenizers.decode(codec, ids) == join_pieces(codec, ids)


# ---- The decoder ----


def pushes(decoder: Decoder, ids: Iterable[int]) -> Iterator[bytes]:
    for token in ids:
        yield decoder.push(token)


@QUICK
@given(text=ANY_TEXT)
def test_decoder_push_returns_whole_characters(codec: Codec, text: str) -> None:
    decoder = codec.decoder()
    parts = [part.decode() for part in pushes(decoder, codec.encode(text.encode()).tolist())]  # strict: may raise
    assert "".join(parts) == text
    assert decoder.finish() == b""


@pytest.mark.parametrize("character", ["a", "\u0080", "\u07ff", "\u0800", "\uffff", "\U00010000", "😀"])
def test_utf8_prefix_length_leaves_out_an_incomplete_character_only(character: str) -> None:
    data = character.encode()
    for before in (b"", b"a", "中😀".encode(), b"\xffa"):
        assert utf8_prefix_length(before + data) == len(before + data)
        for cut in range(len(data)):
            assert utf8_prefix_length(before + data[:cut]) == len(before)
    assert utf8_prefix_length(b"\x80" * 5) == 5  # no beginning of a character


@QUICK
@given(data=ANY_BYTES)
def test_decoder_finish_returns_an_incomplete_character(codec: Codec, data: bytes) -> None:
    decoder = codec.decoder()
    pushed = b"".join(pushes(decoder, codec.encode(data).tolist()))
    rest = decoder.finish()
    assert pushed + rest == data
    assert len(rest) < 4
    assert decoder.finish() == b""


def test_decoder_push_of_byte_ids_returns_the_character_at_its_last_byte(codec: Codec) -> None:
    byte_ids = {piece: token for token, piece in enumerate(codec.pieces()) if isinstance(piece, int)}
    decoder = codec.decoder()
    assert list(pushes(decoder, [byte_ids[byte] for byte in "😀".encode()])) == [b"", b"", b"", "😀".encode()]
    assert list(pushes(decoder, [byte_ids[0xF0], byte_ids[0x9F], byte_ids[0x41]])) == [b"", b"", b"\xf0\x9fA"]
    assert list(pushes(decoder, [byte_ids[0xE4], byte_ids[0xB8]])) == [b"", b""]
    assert decoder.finish() == b"\xe4\xb8"


# ---- Streams ----


@QUICK
@given(data=ANY_BYTES, borders=st.lists(st.integers(0, 1000), max_size=8))
def test_encode_stream_cut_anywhere_returns_the_same_text(codec: Codec, data: bytes, borders: list[int]) -> None:
    parts = list(tokenizers.encode_stream(codec, in_chunks(data, borders)))
    ids = np.concatenate([np.empty(0, dtype=np.int32), *parts])
    check_ids(codec, data, ids)
    assert tokenizers.decode(codec, ids) == data
    if codec.name in EXACT:
        assert np.array_equal(ids, codec.encode(data))


@QUICK
@given(data=ANY_BYTES, further=ANY_BYTES)
def test_safe_prefix_length_cuts_where_encoding_may_be_separate(exact: Codec, data: bytes, further: bytes) -> None:
    cut = exact.safe_prefix_length(data)
    assert len(data) - 3 <= cut <= len(data)
    apart = np.concatenate([exact.encode(data[:cut]), exact.encode(data[cut:] + further)])
    assert np.array_equal(apart, exact.encode(data + further))


@pytest.mark.parametrize(
    "unit", [b"the quay ", CHINESE.encode(), b"\n", b"\x80"], ids=["words", "chinese", "lf", "bad"]
)
def test_encode_stream_yields_as_it_reads(codec: Codec, unit: bytes) -> None:
    """A line without end is not collected whole: memory is constant."""
    chunks = [chunk := (unit * (1 << 16))[: 1 << 16]] * 40
    sizes = [len(join_pieces(codec, ids.tolist())) for ids in tokenizers.encode_stream(codec, chunks)]
    assert sum(sizes) == 40 * len(chunk)
    assert max(sizes) <= (1 << 20) + len(chunk)


# ---- Files ----


@QUICK
@given(data=ANY_BYTES)
def test_parse_of_dump_encodes_the_same(codecs: dict[str, Codec], data: bytes) -> None:
    for codec in codecs.values():
        again = tokenizers.parse(tokenizers.dump(codec))
        assert (again.name, again.vocab_size, again.end) == (codec.name, codec.vocab_size, codec.end)
        assert np.array_equal(again.encode(data), codec.encode(data))


def test_dump_of_parse_returns_the_same_files(codec: Codec) -> None:
    files = tokenizers.dump(codec)
    again = tokenizers.parse(files)
    assert tokenizers.dump(again) == files
    assert again.pieces() == codec.pieces()
    assert again.num_seen() == codec.num_seen()
    assert json.loads(files["tokenizer.json"])["kind"] == codec.name


@pytest.mark.parametrize("name", EXACT)
@QUICK
@given(fitted=NASTY_BYTES.map(lambda data: data * 2))
def test_parse_of_dump_keeps_every_character(name: str, fitted: bytes) -> None:
    files = tokenizers.dump(tokenizers.fit(name, [fitted]))
    again = tokenizers.parse(files)
    assert tokenizers.dump(again) == files
    assert again.pieces() == tokenizers.fit(name, [fitted]).pieces()


def test_dump_of_a_small_vocabulary_is_golden() -> None:
    """Golden: every later version must read today's models alike."""
    codec = tokenizers.fit("char", ["bab中a中bé".encode()])
    unknown = ",".join(str(byte) for byte in range(256) if byte not in "é".encode())
    golden = f'{{"kind":"char","seen":6,"pieces":["b","a","中",169,195,{unknown}]}}\n'
    assert tokenizers.dump(codec) == {"tokenizer.json": golden.encode()}
    assert codec.encode("中béa".encode()).tolist() == [3, 1, 5, 4, 2]
    assert tokenizers.dump(tokenizers.fit("byte", [b"x"])) == {"tokenizer.json": b'{"kind":"byte"}\n'}


def test_fit_twice_gives_the_same_files(codec: Codec) -> None:
    files = tokenizers.dump(codec)
    rng = random.Random(1)
    for _ in range(3):
        chunks = in_chunks(FITTED_ON, [rng.randrange(len(FITTED_ON)) for _ in range(30)])
        assert tokenizers.dump(tokenizers.fit(codec.name, iter(chunks))) == files


# ---- num_seen ----


@pytest.mark.parametrize("name", EXACT)
@QUICK
@given(data=ANY_BYTES)
def test_num_seen_is_above_every_id_of_the_text(name: str, data: bytes) -> None:
    codec = tokenizers.fit(name, [data])
    assert codec.end < codec.vocab_size
    assert 1 <= codec.num_seen() <= codec.vocab_size
    assert (codec.encode(data) < codec.num_seen()).all()


def test_num_seen_is_above_every_id_of_a_longer_text(codec: Codec) -> None:
    assert (codec.encode(FITTED_ON) < codec.num_seen()).all()
    assert codec.num_seen() <= codec.vocab_size


@QUICK
@given(data=ANY_BYTES)
def test_char_codec_ids_are_in_order_of_falling_frequency(data: bytes) -> None:
    """Exactly the ids below `num_seen` occur, the most frequent first."""
    codec = tokenizers.fit("char", [data])
    counts = np.bincount(codec.encode(data), minlength=codec.vocab_size)
    met = counts[1 : codec.num_seen()]
    assert (met > 0).all()
    assert (np.diff(met) <= 0).all()
    assert counts[0] == 0
    assert not counts[codec.num_seen() :].any()


def test_char_codec_encodes_a_character_seen_once_as_bytes() -> None:
    codec = tokenizers.fit("char", ["aaabbé中😀q中".encode()])
    pieces = codec.pieces()
    assert {piece for piece in pieces if isinstance(piece, str)} == {"a", "b", "中"}
    for text in ("é", "😀", "q", "never met: Ω"):
        written = [pieces[token] for token in codec.encode(text.encode())]
        assert bytes(piece if isinstance(piece, int) else ord(str(piece)) for piece in written) == text.encode()
    assert [pieces[token] for token in codec.encode("é😀q".encode())] == list("é😀q".encode())


# ---- extend ----


@QUICK
@given(first=ANY_BYTES, second=ANY_BYTES)
def test_extend_keeps_every_id(first: bytes, second: bytes) -> None:
    for name in EXACT:
        old = tokenizers.fit(name, [first])
        new = old.extend([second])
        assert new.pieces()[: old.vocab_size] == old.pieces()
        assert new.end == old.end
        for text in (first, second):
            check_ids(new, text, new.encode(text))
        again = tokenizers.parse(tokenizers.dump(new))
        assert np.array_equal(again.encode(second), new.encode(second))


def test_extend_keeps_every_id_for_every_tokenizer(codec: Codec) -> None:
    before = tokenizers.dump(codec)
    new = codec.extend(iter(["Привет, привет! ".encode() * 5, FITTED_ON]))
    assert new.pieces()[: codec.vocab_size] == codec.pieces()
    assert new.end == codec.end
    assert tokenizers.dump(codec) == before  # the old one is unchanged
    check_ids(new, FITTED_ON, new.encode(FITTED_ON))


def test_extend_adds_new_characters_that_recur() -> None:
    old = tokenizers.fit("char", [b"aabb"])
    new = old.extend([b"ccc", "中中中中".encode(), "Ωab".encode()])
    assert new.pieces()[old.vocab_size :] == ["中", "c"]  # the more frequent first; Ω occurs once
    assert new.num_seen() == new.vocab_size


@QUICK
@given(first=ANY_BYTES, second=ANY_BYTES)
@example(first=b"aabb", second="abé".encode())
def test_num_seen_after_extend_covers_the_new_text(first: bytes, second: bytes) -> None:
    """Training continues with the extended codec, and its loss uses only the ids below `num_seen`."""
    for name in EXACT:
        new = tokenizers.fit(name, [first]).extend([second])
        assert (new.encode(second) < new.num_seen()).all()
        assert (new.encode(first) < new.num_seen()).all()
        assert new.num_seen() <= new.vocab_size


def test_fit_and_extend_read_the_whole_stream(codec: Codec) -> None:
    stream = iter([FITTED_ON, b"more", b"and more"])
    tokenizers.fit(codec.name, stream)
    assert next(stream, None) is None
    stream = iter([FITTED_ON, b"more", b"and more"])
    codec.extend(stream)
    assert next(stream, None) is None


# ---- Forged control tokens ----


@pytest.mark.parametrize(
    "text", ["<0x41>", "<0x0A>", "<0xFF>", "<unk>", "<s>", "</s>", "<pad>", "<end>", "\u2581", "\u2581the", "\\n", "\0"]
)
def test_encode_of_text_never_yields_a_control_token(kind_fitted_on_forgeries: Codec, codec: Codec, text: str) -> None:
    for each in (codec, kind_fitted_on_forgeries):
        for data in (text.encode(), f"the {text} quay".encode(), (text * 50).encode()):
            ids = each.encode(data)
            check_ids(each, data, ids)
            assert tokenizers.decode(each, ids) == data


@pytest.fixture(params=TOKENIZERS, scope="module")
def kind_fitted_on_forgeries(request: pytest.FixtureRequest) -> Codec:
    """Fitted on text full of the names of control tokens."""
    return tokenizers.fit(request.param, [b"<unk> <0x41> <s> </s> <pad> <end> \xe2\x96\x81the \\n\n" * 60])
