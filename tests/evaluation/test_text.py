"""Measures of text: nats by token, what a tally counts, and the compressors beside them."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.config import NetworkConfig
from seqgen.evaluation.text import TextTally, tally_record, tally_records, text_metrics
from seqgen.generation import scoring
from seqgen.generation.engines.torch import TorchEngine
from seqgen.model.language import LanguageModel
from seqgen.tokenizers import Codec, fit
from tests.helpers.running import prose
from tests.helpers.scorers import network_scorer, token_nats
from tests.helpers.texts import PASSAGE

MIXED = PASSAGE + b"bytes that are no UTF-8: \xff\xfe \xc3 end\n" + PASSAGE[:40]

KINDS = ["char", "byte", "subword"]

every_kind = pytest.mark.parametrize("kind", KINDS)

_codecs: dict[str, Codec] = {}


def codec_of(kind: str) -> Codec:
    if kind not in _codecs:
        subword = kind == "subword"  # asks for more text before it makes words of it
        _codecs[kind] = (
            fit(kind, [PASSAGE, prose(40).encode()], vocab_size=380) if subword else fit(kind, [PASSAGE])
        )  # fmt: skip
    return _codecs[kind]


_networks: dict[int, LanguageModel] = {}


def network_for(codec: Codec) -> LanguageModel:
    """A small random network, in float64 so that the order of sums is no excuse."""
    if codec.vocab_size not in _networks:
        config = NetworkConfig(codec.vocab_size, rnn_size=8, embedding_size=6, num_layers=2)
        made = LanguageModel(config, torch.Generator().manual_seed(1)).double().eval()
        with torch.no_grad():
            made.output_bias.normal_(generator=torch.Generator().manual_seed(2))
        _networks[codec.vocab_size] = made
    return _networks[codec.vocab_size]


def stepped(network: LanguageModel, codec: Codec, data: bytes) -> npt.NDArray[np.float64]:
    """The cost of every token of `data`, by one step at a time from `end`."""
    states, last, nats = network.initial(1), codec.end, []
    with torch.no_grad():
        for token in codec.encode(data).tolist():
            hidden, states = network(torch.tensor([[last]]), states)
            nats.append(-float(network.logits(hidden[0, 0]).log_softmax(0)[token]))
            last = token
    return np.array(nats)


def scored(network: LanguageModel, codec: Codec, chunks: Sequence[bytes]) -> tuple[list[int], npt.NDArray[np.float64]]:
    runs = list(token_nats(network, codec, chunks))
    return (
        [token for run in runs for token in run.ids.tolist()],
        np.concatenate([run.nats for run in runs]) if runs else np.empty(0),
    )


def split_at(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = [0, *sorted(cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


def assert_equal(ours: TextTally, wanted: TextTally) -> None:
    """Counts exactly, nats as near as another order of sums allows."""
    assert {**vars(ours), "nats": 0} == {**vars(wanted), "nats": 0}
    assert ours.nats == pytest.approx(wanted.nats, rel=1e-10)


def tally(codec: Codec, chunks: Iterable[bytes]) -> TextTally:
    return tally_record(network_scorer(network_for(codec), codec), codec, chunks)


# --- nats by token ---------------------------------------------------------------------------------------------------


@every_kind
def test_token_nats_equal_stepping(kind: str) -> None:
    codec = codec_of(kind)
    ids, nats = scored(network_for(codec), codec, [MIXED])
    assert ids == codec.encode(MIXED).tolist()
    assert nats.dtype == np.float64
    np.testing.assert_allclose(nats, stepped(network_for(codec), codec, MIXED), rtol=1e-10)


def test_token_nats_float32_equals_float64_within_rounding() -> None:
    codec = codec_of("char")
    single = LanguageModel(network_for(codec).config).eval()
    single.load_state_dict(network_for(codec).state_dict())
    _, nats = scored(single, codec, [MIXED])
    np.testing.assert_allclose(nats, stepped(network_for(codec), codec, MIXED), rtol=1e-4)


def test_token_nats_long_record_is_independent_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = codec_of("char")
    wanted = scored(network_for(codec), codec, [MIXED])
    monkeypatch.setattr(scoring, "_longest_chunk", lambda engine: 7)
    runs = list(token_nats(network_for(codec), codec, [MIXED]))
    assert max(len(run.ids) for run in runs) == 7
    np.testing.assert_allclose(np.concatenate([run.nats for run in runs]), wanted[1], rtol=1e-10)


def test_token_nats_come_while_the_record_is_read() -> None:
    """Flat memory: the first run is there before the record's end is."""

    def endless() -> Iterator[bytes]:
        while True:
            yield PASSAGE

    codec = codec_of("char")
    runs = token_nats(network_for(codec), codec, endless())
    assert len(next(runs).ids) == len(codec.encode(PASSAGE))


@every_kind
def test_token_nats_are_independent_of_chunk_borders(kind: str) -> None:
    codec = codec_of(kind)
    ids, nats = scored(network_for(codec), codec, [MIXED])
    for seed in range(8):
        cuts = random.Random(seed).sample(range(len(MIXED) + 1), 6)
        other_ids, other_nats = scored(network_for(codec), codec, split_at(MIXED, cuts))
        assert other_ids == ids
        np.testing.assert_allclose(other_nats, nats, rtol=1e-10)


def test_token_nats_empty_record_is_empty() -> None:
    codec = codec_of("char")
    for chunks in ([], [b""], [b"", b""]):
        assert list(token_nats(network_for(codec), codec, chunks)) == []
        empty = tally(codec, chunks)
        assert empty == TextTally(records=1)
        assert empty.metrics() == {}


def test_token_nats_leave_no_gradients() -> None:
    codec = codec_of("char")
    tally(codec, [PASSAGE])
    assert all(weight.grad is None for weight in network_for(codec).parameters())


# --- the tally -------------------------------------------------------------------------------------------------------


@every_kind
def test_text_tally_counts_characters_bytes_and_words(kind: str) -> None:
    codec = codec_of(kind)
    result = tally(codec, [MIXED])
    assert result.bytes == len(MIXED)
    assert result.characters == len(MIXED.decode("utf-8", "surrogateescape"))
    assert result.words == len(MIXED.split())
    assert result.tokens == len(codec.encode(MIXED))
    assert result.records == 1


@every_kind
def test_text_tally_stray_continuation_byte_begins_no_character(kind: str) -> None:
    """Characters are counted as everywhere in the program: every byte but UTF-8's continuation bytes."""
    result = tally(codec_of(kind), [b"ab\x80\x80c\n"])
    assert (result.characters, result.bytes) == (4, 6)


@pytest.mark.parametrize(
    ("kind", "data", "skipped"),
    [
        ("char", b"me too", 1),
        ("char", "世 known".encode(), 1),
        ("char", "奇 met once, so spelt".encode(), 3),
        ("char", "龍 never met".encode(), 3),
        ("char", "ü".encode() * 2, 2),
        ("char", "🐉x".encode(), 4),
        ("char", b"\xff\xff", 1),  # no UTF-8: a character a byte
        ("char", b"\r\n", 1),
        ("byte", b"me", 1),
        ("byte", "世界".encode(), 3),
        ("byte", "🐉🐉".encode(), 4),
        ("subword", "龍 never met".encode(), 3),
    ],
)
def test_text_tally_leaves_out_the_first_character(kind: str, data: bytes, skipped: int) -> None:
    codec = codec_of(kind)
    nats = stepped(network_for(codec), codec, data)
    result = tally(codec, [data])
    assert result.nats == pytest.approx(nats[skipped:].sum(), rel=1e-10)
    assert result.counted_tokens == len(nats) - skipped
    assert result.counted_characters == result.characters - 1
    rest = data.decode("utf-8", "surrogateescape")[1:]
    assert result.counted_bytes == len(rest.encode("utf-8", "surrogateescape"))
    assert result.tokens == len(nats)


def test_text_tally_leaves_out_a_whole_first_token() -> None:
    codec = codec_of("subword")
    first = next(token for token, piece in enumerate(codec.pieces()) if isinstance(piece, str) and len(piece) > 2)
    word = str(codec.pieces()[first]).encode()
    data = word + b"\nnever mind"
    assert codec.encode(data)[0] == first
    result = tally(codec, [data])
    nats = stepped(network_for(codec), codec, data)
    assert result.nats == pytest.approx(nats[1:].sum(), rel=1e-10)
    assert (result.counted_characters, result.counted_bytes) == (len(b"\nnever mind"),) * 2


@every_kind
def test_text_tally_single_character_has_no_metrics(kind: str) -> None:
    codec = codec_of(kind)
    for data in (b"a", "世".encode(), "🐉".encode(), b"\xff"):
        result = tally(codec, [data])
        assert result.metrics() == {}
        assert (result.characters, result.bytes, result.records) == (1, len(data), 1)


@every_kind
def test_text_metrics_are_as_named(kind: str) -> None:
    codec = codec_of(kind)
    result = tally(codec, [b"a" + PASSAGE])
    nats = stepped(network_for(codec), codec, b"a" + PASSAGE)
    skipped = len(nats) - result.counted_tokens
    total = nats[skipped:].sum()
    metrics = result.metrics()
    assert set(metrics) == {
        "nats_per_character", "bits_per_character", "bits_per_byte", "perplexity_per_token", "perplexity_per_word",
    }  # fmt: skip
    assert metrics["nats_per_character"] == pytest.approx(total / result.counted_characters)
    assert metrics["bits_per_character"] == pytest.approx(total / result.counted_characters / math.log(2))
    assert metrics["bits_per_byte"] == pytest.approx(total / result.counted_bytes / math.log(2))
    assert metrics["perplexity_per_token"] == pytest.approx(np.exp(nats[skipped:].mean()))
    assert metrics["perplexity_per_word"] == pytest.approx(np.exp(total / len((b"a" + PASSAGE).split())))


def test_text_metrics_without_words_have_no_perplexity_of_them() -> None:
    """Chinese has white space between sentences or pages only; its perplexities would be astronomic."""
    codec = codec_of("byte")
    for text in ("世界" * 100, ("世界，" * 8 + "\n") * 3, " \n \n"):
        metrics = tally(codec, [text.encode()]).metrics()
        assert "perplexity_per_token" in metrics and "perplexity_per_word" not in metrics
    assert "perplexity_per_word" in tally(codec, [b"Donaudampfschifffahrt of old "]).metrics()


def test_text_metrics_of_an_absurd_text_stay_numbers() -> None:
    assert text_metrics(1e9, 10, 10, words=2)["perplexity_per_word"] == math.exp(700)


def test_tally_records_sums_records_from_empty_states() -> None:
    codec = codec_of("char")
    first, second = PASSAGE, b"never mind the years"
    together = tally_records(TorchEngine.of(network_for(codec)), codec, [[first], [second]])
    apart = [tally(codec, [data]) for data in (first, second)]
    assert_equal(together, TextTally(**{key: sum(vars(each)[key] for each in apart) for key in vars(together)}))
    assert together.records == 2
    assert together.counted_characters == together.characters - 2
    joined = tally(codec, [first + second])
    assert joined.nats != pytest.approx(together.nats)  # a record's state does not reach the next


@given(st.sampled_from(KINDS), st.lists(st.integers(4, len(MIXED)), max_size=8, unique=True))
@settings(max_examples=30, deadline=None)
def test_tally_record_is_independent_of_chunk_borders(kind: str, cuts: list[int]) -> None:
    codec = codec_of(kind)
    assert_equal(tally(codec, split_at(MIXED, cuts)), tally(codec, [MIXED]))


@every_kind
@pytest.mark.parametrize("first", ["世", "奇", "🐉", "ü"])
def test_tally_record_chunk_border_inside_the_first_character(kind: str, first: str) -> None:
    codec, data = codec_of(kind), first.encode() + b" and more"
    wanted = tally(codec, [data])
    for cut in range(1, len(first.encode())):
        assert_equal(tally(codec, split_at(data, [cut])), wanted)
    assert_equal(tally(codec, [bytes([byte]) for byte in data]), wanted)


def test_tally_record_empty_chunk_does_not_split_a_word() -> None:
    codec = codec_of("char")
    for chunks in ([b"ye", b"", b"ars ago"], [b"", b"years", b"", b" ago", b""], [b"years ", b"", b"ago"]):
        assert tally(codec, chunks).words == 2
