"""The codec of MIDI files."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from seqgen import tokenizers
from seqgen.config import TrainOptions
from seqgen.errors import DataError, ModelError
from seqgen.music import midi
from seqgen.music.events import VocabularyOptions
from seqgen.tokenizers import decode
from seqgen.tokenizers.midi import MidiCodec
from tests.helpers.midi_files import tune

OPTIONS = [
    VocabularyOptions(grid, bins, tracks, low, high, rising, key=True)
    for (grid, bins, tracks, (low, high)), rising in zip(
        itertools.product([1, 4, 12], [1, 8, 127], ["all", "melody", "piano"], [(0, 127), (50, 70)]),
        itertools.cycle([True, False, False]), strict=False,
    )
]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    OPTIONS,
    ids=str,
)
def test_midi_encode_of_decode_returns_the_same_ids(options: VocabularyOptions) -> None:
    codec = MidiCodec(options)
    for seed in range(2):
        ids = codec.encode(tune(seed))
        assert ids.dtype == np.int32
        assert ids.min() >= 0
        assert ids.max() < codec.vocab_size
        assert codec.end not in ids
        data = decode(codec, ids)
        assert codec.encode(data).tolist() == ids.tolist()
        assert decode(codec, codec.encode(data)) == data
        assert decode(codec, [*ids, codec.end, *ids]) == data  # everything after the end is ignored


def test_midi_codec_follows_the_codec_protocol() -> None:
    codec = MidiCodec()
    assert (codec.name, codec.options) == ("midi", VocabularyOptions())
    assert codec.vocab_size == codec.num_seen() == len(codec.pieces())
    assert set(codec.pieces()) == {None}
    assert codec.safe_prefix_length(tune(0)) == 0
    assert codec.files() == {}
    assert codec.extend(iter([b"x"])) is codec
    assert decode(codec, []) == b""
    assert midi.read(decode(codec, codec.encode(tune(0))), 4)[0].length  # and each push returns nothing
    decoder = codec.decoder()
    assert {decoder.push(int(token)) for token in codec.encode(tune(0))} == {b""}


@pytest.mark.parametrize(("transpose", "key"), [(0, True), (1, False), (5, False)])
def test_midi_pieces_name_their_key_where_none_is_transposed(transpose: int, key: bool) -> None:
    assert MidiCodec.from_options(TrainOptions(transpose=transpose)).options.key is key


def test_midi_from_options_uses_the_options_of_train() -> None:
    asked = TrainOptions(grid=12, velocity_bins=3, tracks="piano", pitch_range="21-108", note_order="falling")
    assert MidiCodec.from_options(asked).options == VocabularyOptions(12, 3, "piano", 21, 108, False, key=False)
    assert MidiCodec.fit([b"", b"x"], grid=3).options == VocabularyOptions(grid=3)


def test_midi_encode_of_other_data_raises_data_error() -> None:
    with pytest.raises(DataError, match="not MIDI"):
        MidiCodec().encode(b"once upon a time")


# ---- tokenizer.json ----

WHOLE = tokenizers.dump(MidiCodec())["tokenizer.json"]


@pytest.mark.parametrize("options", OPTIONS[::5], ids=str)
def test_midi_from_dict_of_to_dict_returns_the_codec(options: VocabularyOptions) -> None:
    codec = MidiCodec(options)
    for again in (MidiCodec.from_dict(json.loads(json.dumps(codec.to_dict())), {}), _parsed(tokenizers.dump(codec))):
        assert again.options == options
        assert again.to_dict() == codec.to_dict()
        assert again.encode(tune(1)).tolist() == codec.encode(tune(1)).tolist()


def _parsed(files: dict[str, bytes]) -> MidiCodec:
    codec = tokenizers.parse(files)
    assert isinstance(codec, MidiCodec)
    return codec


@pytest.mark.parametrize(
    "change",
    [
        {"grid": 0}, {"grid": 49}, {"grid": "4"}, {"grid": 4.0}, {"grid": True}, {"grid": None}, {"grid": 12},
        {"velocity_bins": 0}, {"velocity_bins": 128}, {"velocity_bins": 9}, {"tracks": "one"}, {"tracks": 1},
        {"low": -1}, {"low": 128}, {"high": 128}, {"high": 10**400}, {"low": 61, "high": 60}, {"rising": 1},
        {"rising": "up"}, {"vocab_size": 1}, {"vocab_size": None}, {"vocab_size": "816"}, {"new": 1}, {"kind": "mid"},
        {"kind": "char"}, {"kind": None},
    ],
    ids=str,
)  # fmt: skip
def test_midi_parse_of_a_damaged_tokenizer_json_raises_model_error(change: dict[str, Any]) -> None:
    data = json.dumps({**MidiCodec().to_dict(), **change}).encode()
    with pytest.raises(ModelError) as raised:
        tokenizers.parse({"tokenizer.json": data})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b'{"kind": "midi"}', b"\xff", WHOLE[:-9]])
def test_midi_parse_of_a_truncated_tokenizer_json_raises_model_error(data: bytes) -> None:
    with pytest.raises(ModelError):
        tokenizers.parse({"tokenizer.json": data})
