"""The codec of dialogue: lossless, and no text can forge a speaker."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen import tokenizers
from seqgen.config import TOKENIZER_NAMES
from seqgen.errors import ModelError
from seqgen.tokenizers import END_OF_DOCUMENT
from seqgen.tokenizers.characters import ByteCodec, CharCodec
from seqgen.tokenizers.dialogue import MAX_SPEAKERS, DialogueCodec, count_speakers
from tests.helpers.running import prose

QUICK = settings(max_examples=40)

# What people say, and what would forge a speaker if codecs were careless.
SAID = [
    b"A: ", b"\nB: ", b"\n", b"\0", b"\1\2", b" ", b"</s>", b"<s>", b"<unk>", b"<0x00>", b"__eou__", b"\xff\xfe",
    b"\xe4\xb8", b"\xed\xa0\x80", "月落烏啼霜滿天".encode(), "👩\u200d👧".encode(), "\u2581a".encode(), b"the quay",
]  # fmt: skip
WORDS = st.binary(max_size=80) | st.lists(st.sampled_from(SAID) | st.binary(max_size=4), max_size=8).map(b"".join)
TURNS = st.lists(st.tuples(st.integers(0, 30), WORDS), max_size=6)

FITTED_ON = [prose(200).encode(), END_OF_DOCUMENT, "月落烏啼霜滿天，江楓漁火對愁眠。\n".encode() * 3, b"caf\xe9\xe9\n"]


@pytest.fixture(params=TOKENIZER_NAMES, scope="module")
def codec(request: pytest.FixtureRequest) -> DialogueCodec:
    """One with each text codec, for three speakers."""
    return DialogueCodec(tokenizers.fit(request.param, FITTED_ON), 3)


def words_in(codec: DialogueCodec, ids: Iterable[int]) -> bytes:
    """The bytes of ids of words, without a transcript."""
    return tokenizers.decode(codec.text, [int(token) - codec.speakers for token in ids])


def apart(codec: DialogueCodec, ids: Iterable[int]) -> list[tuple[int, bytes]]:
    """Split the ids of a conversation into (speaker, words)."""
    turns: list[tuple[int, list[int]]] = []
    for token in map(int, ids):
        if token < codec.speakers:
            turns.append((token, []))
        else:
            turns[-1][1].append(token)
    return [(speaker, words_in(codec, written)) for speaker, written in turns]


# ---- Round trip ----


@QUICK
@given(words=WORDS)
@example(words=b"")
@example(words=bytes(range(256)))
@example(words=b"".join(SAID))
def test_dialogue_encode_of_any_words_is_lossless_without_speakers(codec: DialogueCodec, words: bytes) -> None:
    ids = codec.encode(words)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert ((ids >= codec.speakers) & (ids < codec.vocab_size)).all()
    assert codec.end not in ids
    control = [token for token, piece in enumerate(codec.pieces()) if piece is None]
    assert not np.isin(ids, control).any()
    assert words_in(codec, ids) == words
    assert tokenizers.decode(codec, ids) == words


@QUICK
@given(turns=TURNS)
@example(turns=[])
@example(turns=[(0, b""), (1, b""), (0, b"")])
@example(turns=[(0, b"\xe4\xb8"), (1, b"\xad")])
def test_encode_conversation_yields_exactly_its_speakers_in_order(
    codec: DialogueCodec, turns: list[tuple[int, bytes]]
) -> None:
    ids = codec.encode_conversation(turns)
    assert ids.dtype == np.int32
    assert codec.end not in ids
    wanted = [(min(speaker, codec.speakers - 1), words) for speaker, words in turns]
    assert apart(codec, ids) == wanted
    assert np.array_equal(ids, np.concatenate([ids[:0], *(codec.encode_turn(*turn) for turn in turns)]))


def test_encode_turn_yields_the_speaker_and_then_the_words(codec: DialogueCodec) -> None:
    ids = codec.encode_turn(1, b"the old lamp")
    assert ids[0] == 1
    assert np.array_equal(ids[1:], codec.encode(b"the old lamp"))
    assert np.array_equal(codec.encode(b"the old lamp"), codec.text.encode(b"the old lamp") + 3)


def test_encode_turn_of_a_speaker_beyond_the_last_uses_the_last(codec: DialogueCodec) -> None:
    assert [int(codec.encode_turn(speaker, b"x")[0]) for speaker in (0, 1, 2, 3, 25, 1000)] == [0, 1, 2, 2, 2, 2]


def test_dialogue_safe_prefix_length_is_that_of_the_text_codec(codec: DialogueCodec) -> None:
    data = prose(20).encode() + b"caf\xc3"
    assert codec.safe_prefix_length(data) == codec.text.safe_prefix_length(data)
    ids = np.concatenate(list(tokenizers.encode_stream(codec, [data[:100], data[100:]])))
    assert words_in(codec, ids) == data


# ---- The layout ----


def test_dialogue_ids_begin_with_speakers_and_shift_the_text(codec: DialogueCodec) -> None:
    pieces = codec.pieces()
    assert len(pieces) == codec.vocab_size == codec.text.vocab_size + 3
    assert pieces[:3] == [None] * 3
    assert pieces[3:] == codec.text.pieces()
    assert pieces[codec.end] is None
    assert codec.end == codec.text.end + 3
    assert codec.num_seen() == codec.text.num_seen() + 3


def test_encode_conversation_ids_are_golden() -> None:
    codec = DialogueCodec(ByteCodec())
    assert (codec.speakers, codec.vocab_size, codec.end) == (2, 259, 258)
    assert codec.encode_conversation([(0, b"Hi"), (1, b"\0\xff")]).tolist() == [0, 74, 107, 1, 2, 257]
    assert codec.encode_conversation([]).tolist() == []


@pytest.mark.parametrize("speakers", [2, 3, MAX_SPEAKERS])
def test_dialogue_codec_with_26_speakers_works(speakers: int) -> None:
    assert DialogueCodec(ByteCodec(), speakers).vocab_size == 257 + speakers


@pytest.mark.parametrize("speakers", [-1, 0, 1, MAX_SPEAKERS + 1])
def test_dialogue_codec_with_an_invalid_number_of_speakers_raises(speakers: int) -> None:
    with pytest.raises(ModelError, match="2 to 26 speakers"):
        DialogueCodec(ByteCodec(), speakers)


@pytest.mark.parametrize(
    ("turns", "speakers"),
    [([], 2), ([[]], 2), ([[0]], 2), ([[0, 1, 0]], 2), ([[0, 1], [0, 2, 1]], 3), ([[0, 25]], 26), ([[0, 70]], 26)],
)
def test_count_speakers_returns_the_number_needed(turns: list[list[int]], speakers: int) -> None:
    assert count_speakers(turns) == speakers


# ---- Transcripts ----


def test_dialogue_decode_writes_a_line_per_turn(codec: DialogueCodec) -> None:
    ids = codec.encode_conversation(
        [(0, b"Good morning."), (1, b"Morning!\nSit down."), (2, "茶？".encode()), (9, b"")]
    )
    assert tokenizers.decode(codec, ids) == "A: Good morning.\nB: Morning!\nSit down.\nC: 茶？\nC: ".encode()


def test_dialogue_decode_of_a_turn_that_ends_within_a_character_keeps_its_bytes() -> None:
    """The incomplete character belongs to its turn, not to the next."""
    codec = DialogueCodec(ByteCodec())
    assert (
        tokenizers.decode(codec, codec.encode_conversation([(0, b"\xe4\xb8"), (1, b"\xad")])) == b"A: \xe4\xb8\nB: \xad"
    )
    decoder = codec.decoder()
    pushed = [
        decoder.push(token) for token in codec.encode_conversation([(0, b"\xe4\xb8"), (1, "中".encode())]).tolist()
    ]
    assert pushed == [b"A: ", b"", b"", b"\xe4\xb8\nB: ", b"", b"", "中".encode()]
    assert decoder.finish() == b""


def test_dialogue_decode_of_words_before_a_speaker_writes_their_own_line(codec: DialogueCodec) -> None:
    ids = [*codec.encode(b"so be it"), *codec.encode_turn(0, b"yes")]
    assert tokenizers.decode(codec, ids) == b"so be it\nA: yes"


def test_dialogue_decode_of_end_writes_nothing(codec: DialogueCodec) -> None:
    assert tokenizers.decode(codec, [*codec.encode_turn(0, b"bye"), codec.end]) == b"A: bye"


def test_dialogue_decode_writes_speakers_as_letters() -> None:
    codec = DialogueCodec(ByteCodec(), MAX_SPEAKERS)
    written = tokenizers.decode(codec, range(MAX_SPEAKERS)).decode()
    assert written == "\n".join(f"{letter}: " for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")


# ---- In a model folder ----


def test_dialogue_parse_of_dump_encodes_the_same(codec: DialogueCodec) -> None:
    again = tokenizers.parse(tokenizers.dump(codec))
    assert isinstance(again, DialogueCodec)
    assert type(again.text) is type(codec.text)
    assert (again.speakers, again.vocab_size, again.end, again.num_seen()) == (
        codec.speakers, codec.vocab_size, codec.end, codec.num_seen(),
    )  # fmt: skip
    assert again.pieces() == codec.pieces()
    assert tokenizers.dump(again) == tokenizers.dump(codec)
    turns = [(0, prose(5).encode()), (2, b"".join(SAID))]
    assert np.array_equal(again.encode_conversation(turns), codec.encode_conversation(turns))
    straight = DialogueCodec.from_dict(codec.to_dict(), codec.files())
    assert straight.to_dict() == codec.to_dict()


def test_dialogue_dump_is_golden() -> None:
    files = tokenizers.dump(DialogueCodec(ByteCodec(), 4))
    assert files == {"tokenizer.json": b'{"kind":"dialogue","speakers":4,"text":{"kind":"byte"}}\n'}


BYTE = {"kind": "byte"}


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"speakers": 2},
        {"text": BYTE},
        {"speakers": 2, "text": None},
        {"speakers": 2, "text": "byte"},
        {"speakers": 2, "text": [BYTE]},
        {"speakers": 2, "text": {}},
        {"speakers": 2, "text": {"kind": 7}},
        {"speakers": 2, "text": {"kind": "nothing"}},
        {"speakers": 2, "text": {"kind": "dialogue", "speakers": 2, "text": BYTE}},
        {"speakers": 2, "text": {"kind": "char"}},
        {"speakers": 2, "text": {"kind": "char", "seen": 1, "pieces": [1, 2]}},
        {"speakers": 2, "text": {"kind": "subword", "model": "tokenizer.model", "vocab_size": 300}},
        {"speakers": None, "text": BYTE},
        {"speakers": True, "text": BYTE},
        {"speakers": 2.0, "text": BYTE},
        {"speakers": "2", "text": BYTE},
        {"speakers": 1, "text": BYTE},
        {"speakers": 27, "text": BYTE},
        {"speakers": -(1 << 70), "text": BYTE},
    ],
    ids=lambda damaged: json.dumps(damaged)[:60],
)
def test_dialogue_parse_of_a_damaged_tokenizer_json_raises_model_error(damaged: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        tokenizers.parse({"tokenizer.json": json.dumps({"kind": "dialogue", **damaged}).encode()})


def test_dialogue_parse_of_a_damaged_subword_model_raises_model_error() -> None:
    codec = DialogueCodec(tokenizers.fit("subword", FITTED_ON))
    files = tokenizers.dump(codec)
    for model in (b"", files["tokenizer.model"][:100]):
        with pytest.raises(ModelError):
            tokenizers.parse({**files, "tokenizer.model": model})


# ---- extend ----


def test_dialogue_extend_keeps_every_id(codec: DialogueCodec) -> None:
    more = codec.extend([b"\xd0\xb6\xd0\xb6\xd0\xb6 ", END_OF_DOCUMENT, "щщщ".encode()])
    assert isinstance(more, DialogueCodec)
    assert (more.speakers, more.text.end) == (codec.speakers, codec.text.end)
    assert more.end == codec.end
    assert more.pieces()[: codec.vocab_size] == codec.pieces()
    turns = [(0, prose(5).encode()), (1, "月落烏啼".encode())]
    assert np.array_equal(more.encode_conversation(turns), codec.encode_conversation(turns))
    difficult = "жщ".encode()
    assert words_in(more, more.encode(difficult)) == difficult
    if isinstance(codec.text, CharCodec):
        assert more.vocab_size == codec.vocab_size + 2
        assert len(more.encode(difficult)) == 2


def test_dialogue_extend_reads_the_stream_to_its_end(codec: DialogueCodec) -> None:
    stream = iter([b"a", b"b"])
    codec.extend(stream)
    assert next(stream, None) is None
