"""From logits to text: drawing, random streams, stop strings and lengths, and whole samples from a scripted engine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen import checkpoint
from seqgen.config import SampleOptions
from seqgen.generation.engines.choose import ENGINES, make_engine
from seqgen.generation.job import GenerationJob
from seqgen.generation.prompts import prime
from seqgen.generation.streaming import samples, stream, stream_in_order
from seqgen.generation.text import Sample, StopMatcher
from seqgen.tokenizers.characters import ByteCodec, CharCodec
from tests.helpers.scripted import PieceCodec, ReadIds, ScriptedEngine, noise_engine

# --- StopMatcher ------------------------------------------------------------------------------------------------------


def truncated(text: str, length: int, stops: Sequence[str]) -> tuple[str, str]:
    """What a person would do by hand with the whole text: what is left of it, and why it ends."""
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    if found and min(found) < length:
        return text[: min(found)], "stop"
    return (text[:length], "length") if len(text) >= length else (text, "end")


def cut(pushes: Sequence[str], length: int, stops: Sequence[str]) -> tuple[list[str], str]:
    """The text that the matcher releases at each push, and why it ended."""
    matcher, shown = StopMatcher(length, stops), []
    for text in pushes:
        if matcher.finish_reason:
            break
        shown.append(matcher.push(text))
    if not matcher.finish_reason:
        shown.append(matcher.finish())
    return shown, matcher.finish_reason


@st.composite
def pushes(draw: st.DrawFn, alphabet: str = "ab") -> list[str]:
    text = draw(st.text(alphabet, max_size=24))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)) | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(cuts)]
    return pieces if draw(st.booleans()) else [piece for part in pieces for piece in (part, "")]


stop = st.text("ab", min_size=1, max_size=4)


@given(pushes(), st.integers(0, 26), st.lists(stop, max_size=1))
@settings(max_examples=400)
def test_stop_matcher_equals_truncating_the_whole_text(pieces: list[str], length: int, stops: list[str]) -> None:
    shown, why = cut(pieces, length, stops)
    assert ("".join(shown), why) == truncated("".join(pieces), length, stops)


@given(pushes("abc"), st.integers(0, 26), st.lists(st.text("abc", min_size=1, max_size=4), min_size=2, max_size=3))
@settings(max_examples=400)
@example(["abc", "d"], 9, ["abcd", "bc"])
def test_stop_matcher_takes_the_earliest_stop(pieces: list[str], length: int, stops: list[str]) -> None:
    shown, why = cut(pieces, length, stops)
    assert ("".join(shown), why) == truncated("".join(pieces), length, stops)


def test_stop_matcher_length_within_withheld_text() -> None:
    """The third character may begin the stop string, so it is held; the text goes on, and is cut after the third."""
    assert cut(["abc", "de"], 3, ["cdef"]) == (["ab", "", "c"], "length")


def test_stop_matcher_withholds_partial_stop_strings() -> None:
    shown, why = cut(list("1 1 1 2 and more"), 99, ["1 1 2"])
    assert ("".join(shown), why) == ("1 ", "stop")
    for count in range(len("1 1 1 2")):
        matcher = StopMatcher(99, ["1 1 2"])
        certain = "".join(matcher.push(character) for character in "1 1 1 2"[:count])
        assert "1 ".startswith(certain)


@pytest.mark.parametrize(
    ("pieces", "length", "stops", "shown"),
    [
        (["hel", "lo"], 9, [], ["hel", "lo", ""]),  # nothing is held without a stop string
        (["a\n", "b\n", "\n"], 9, ["\n\n"], ["a", "\nb", ""]),
        (["ab", "cab", "d"], 9, ["abc"], ["", ""]),
        (["xab", "x", "abd"], 9, ["abc"], ["x", "abx", "abd", ""]),
        (["abc"], 2, ["c"], ["ab"]),  # begins just past the end
        (["abc"], 3, ["cd"], ["ab", "c"]),  # may begin inside: waits to know
        (["abc", "d"], 3, ["cd"], ["ab", ""]),
        (["abc", "x"], 3, ["cd"], ["ab", "c"]),
        (["a😀", "中b"], 3, [], ["a😀", "中"]),
        (["a\udce4", "\udcb8b"], 3, ["b"], ["a\udce4", "\udcb8"]),
        ([], 5, ["x"], [""]),
    ],
)
def test_stop_matcher_releases_text_by_hand(pieces: list[str], length: int, stops: list[str], shown: list[str]) -> None:
    assert cut(pieces, length, stops)[0] == shown


def test_stop_matcher_length_zero_is_over_at_once() -> None:
    assert StopMatcher(0, ["a"]).finish_reason == "length"


# --- a scripted engine -----------------------------------------------------------------------------------------------


def saying(script: Sequence[int], vocab_size: int, batch_size: int = 1) -> ScriptedEngine:
    """Wants these ids one after another, then from the beginning again (for an empty prompt)."""

    def logits_of(read: ReadIds) -> npt.ArrayLike:
        return np.where(np.arange(vocab_size) == script[(len(read) - 1) % len(script)], 30.0, 0.0)

    return ScriptedEngine(vocab_size, logits_of, batch_size)


GREEDY = {"temperature": 0.0}


def write(engine: ScriptedEngine, codec: object, prompt: bytes = b"", end: bool = False, **settings: object) -> Sample:
    """One sample, checked against what was streamed on the way."""
    options = SampleOptions(**settings)  # type: ignore[arg-type]
    primed = prime(engine, codec, prompt)  # type: ignore[arg-type]
    streamed = list(stream_in_order(GenerationJob.of(engine, codec, primed, options, end), 1))  # type: ignore[arg-type]
    sample = streamed[-1][1]
    assert sample is not None and all(other is None for _, other in streamed[:-1])
    assert sample.text == "".join(text for text, _ in streamed)
    return sample


BYTES = ByteCodec()

TEXT = "a😀b中\r\nü"


@pytest.mark.parametrize("length", range(1, 9))
def test_length_counts_characters_of_any_tokens(length: int) -> None:
    sample = write(saying(list(TEXT.encode()), 257), BYTES, length=length, **GREEDY)
    assert sample.text == (TEXT * 2)[:length]
    assert sample.finish_reason == "length"
    assert sample.tokens == len(sample.text.encode())


@pytest.mark.parametrize("length", range(1, 9))
def test_length_is_exact_with_longer_tokens(length: int) -> None:
    codec = PieceCodec("ab", "cde", "f")
    sample = write(saying([0, 1, 2], 4), codec, length=length, **GREEDY)
    assert sample.text == "abcdefabcdef"[:length]


@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_length_is_exact_with_invalid_utf8(length: int) -> None:
    sample = write(noise_engine(257), BYTES, length=length, seed=3)
    assert len(sample.text) == length
    assert sample.text.encode("utf-8", "surrogateescape")  # every character stands for bytes


def test_stream_yields_whole_characters() -> None:
    engine = saying(list(TEXT.encode()), 257)
    options = SampleOptions(length=len(TEXT), **GREEDY)
    job = GenerationJob.of(engine, BYTES, prime(engine, BYTES, b""), options)
    pieces = [text for text, _ in stream_in_order(job, 1)]
    assert [piece for piece in pieces if piece] == list(TEXT)


def test_sample_joins_a_character_from_bytes() -> None:
    codec = CharCodec.fit(["aabb 中".encode()])
    script = codec.encode("a中b".encode()).tolist()
    assert len(script) == 5
    assert write(saying(script, codec.vocab_size), codec, length=3, **GREEDY).text == "a中b"


@pytest.mark.parametrize(
    ("stops", "text", "why"),
    [
        (("bc",), "a", "stop"),
        (("cdef",), "ab", "stop"),
        (("abcd",), "", "stop"),
        (("x", "fab"), "abcde", "stop"),
        (("de", "cd"), "ab", "stop"),
        (("gh",), "abcdefabcd", "length"),
        (("cdg",), "abcdefabcd", "length"),
    ],
)
def test_stop_string_across_tokens(stops: tuple[str, ...], text: str, why: str) -> None:
    sample = write(saying([0, 1, 2], 4), PieceCodec("ab", "cde", "f"), length=10, stop=stops, **GREEDY)
    assert (sample.text, sample.finish_reason) == (text, why)


def test_stop_string_in_byte_tokens() -> None:
    sample = write(saying(list(TEXT.encode()), 257), BYTES, length=50, stop=("中",), **GREEDY)
    assert (sample.text, sample.finish_reason) == ("a😀b", "stop")


def test_stop_string_in_the_prompt_is_ignored() -> None:
    sample = write(saying([1, 0], 3), PieceCodec("a", "b"), b"ab", length=1, stop=("abb", "ab"), **GREEDY)
    assert (sample.text, sample.finish_reason) == ("b", "length")


def test_end_is_only_drawn_with_stop_at_end() -> None:
    codec = PieceCodec("a", "b")
    wants_end = ScriptedEngine(3, lambda read: [0.0, 1.0, 20.0])
    sample = write(wants_end, codec, length=50, seed=1)
    assert len(sample.text) == sample.tokens == 50
    sample = write(wants_end, codec, length=50, end=True, **GREEDY)
    assert (sample.text, sample.finish_reason, sample.tokens) == ("", "end", 1)
    assert sample.log_probability == pytest.approx(-np.log1p(np.exp(-20) + np.exp(-19)))


def test_end_releases_withheld_text() -> None:
    """A stop string that was only begun, and bytes that became no character."""
    codec = PieceCodec("ab", "cd")
    sample = write(saying([0, 1, 2], 3), codec, length=50, stop=("cdab", "de"), end=True, **GREEDY)
    assert (sample.text, sample.finish_reason, sample.tokens) == ("abcd", "end", 3)
    sample = write(saying([*b"a\xe4\xb8", 256], 257), BYTES, length=50, end=True, **GREEDY)
    assert (sample.text, sample.finish_reason) == ("a\udce4\udcb8", "end")


def test_end_with_incomplete_character_keeps_the_length() -> None:
    sample = write(saying([*b"a\xe4\xb8", 256], 257), BYTES, length=2, end=True, **GREEDY)
    assert (sample.text, sample.finish_reason) == ("a\udce4", "length")


@pytest.mark.parametrize("batch_size", [1, 4])
def test_length_zero_takes_no_step(batch_size: int) -> None:
    engine = saying([0], 2, batch_size)
    primed = prime(engine, PieceCodec("a"), b"aa")  # type: ignore[arg-type]
    done = list(samples(engine, PieceCodec("a"), primed, SampleOptions(length=0), 3))  # type: ignore[arg-type]
    assert done == [Sample(index, 0, "aa", "", 0, 0.0, "length") for index in range(3)]
    assert engine.steps == 0


LETTERS = PieceCodec(*"abcdefgh")

WANTED = {"length": 12, "seed": 5, "temperature": 0.9, "top_k": 5, "repetition_penalty": 1.2, "stop": ("aa", "hg")}


def several(batch_size: int, count: int, first: int = 0, **settings: object) -> list[Sample]:
    engine = noise_engine(9, batch_size)
    options = SampleOptions(**{**WANTED, **settings})  # type: ignore[arg-type]
    primed = prime(engine, LETTERS, b"bad")  # type: ignore[arg-type]
    return list(samples(engine, LETTERS, primed, options, count, first, stop_at_end=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_sample_is_the_same_in_any_batch(batch_size: int) -> None:
    five = several(1, 5)
    assert [sample.index for sample in five] == list(range(5))
    assert len({sample.text for sample in five}) == 5
    assert several(batch_size, 5) == five
    for index in range(5):
        assert several(batch_size, 1, index) == [five[index]]
    assert several(batch_size, 3, 2) == five[2:]
    assert several(batch_size, 5, seed=6) != five


def test_sample_ending_early_leaves_the_others() -> None:
    """Of many samples some end by each reason, and all are what they are alone."""
    many = several(64, 60)
    assert {sample.finish_reason for sample in many} == {"length", "stop", "end"}
    assert many == several(1, 60)


def test_samples_of_count_zero_draw_nothing() -> None:
    assert several(4, 0) == []


def test_stream_in_order_across_batches() -> None:
    engine, options = noise_engine(9, 4), SampleOptions(**WANTED)  # type: ignore[arg-type]
    primed = prime(engine, LETTERS, b"bad")  # type: ignore[arg-type]
    texts, done = [""], []
    job = GenerationJob.of(engine, LETTERS, primed, options, stop_at_end=True)  # type: ignore[arg-type]
    for text, sample in stream_in_order(job, 6):
        texts[-1] += text
        if sample is not None:
            done.append(sample)
            texts.append("")
    assert [sample.text for sample in done] == texts[:-1]
    assert texts[-1] == ""
    assert done == several(1, 6)


def test_stream_in_order_yields_before_the_batch_ends() -> None:
    engine = saying([0], 2)
    primed = prime(engine, PieceCodec("a"), b"")  # type: ignore[arg-type]
    job = GenerationJob.of(engine, PieceCodec("a"), primed, SampleOptions(length=1 << 40))  # type: ignore[arg-type]
    pieces: Iterator[tuple[str, Sample | None]] = stream_in_order(job, 1)
    assert next(pieces) == ("a", None)
    assert engine.steps == 1


def test_stream_yields_the_index_of_each_sample() -> None:
    engine, options = noise_engine(9, 4), SampleOptions(**WANTED)  # type: ignore[arg-type]
    primed = prime(engine, LETTERS, b"bad")  # type: ignore[arg-type]
    texts = {7: "", 2: ""}
    job = GenerationJob.of(engine, LETTERS, primed, options, stop_at_end=True)  # type: ignore[arg-type]
    for index, text, sample in stream(job, [7, 2]):
        texts[index] += text
        if sample is not None:
            assert sample.index == index
            assert sample == several(1, 1, index)[0]
            assert sample.text == texts[index]


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.3, "top_k": 2}, {"repetition_penalty": 3.0, "top_p": 0.5}])
def test_sample_log_probability_is_the_models_own(settings: dict[str, object]) -> None:
    """Before temperature and filters, `end` included in what the probabilities sum over."""
    engine = noise_engine(9)
    sample = write(engine, LETTERS, b"bad", length=15, seed=2, **settings)
    read, total = [LETTERS.end, *LETTERS.encode(b"bad")], 0.0
    for token in LETTERS.encode(sample.text.encode()).tolist():
        logits = np.float32(np.random.default_rng([7, *read]).normal(0, 2.0, 9)).astype(float)
        total += logits[token] - np.log(np.exp(logits).sum())
        read.append(token)
    assert sample.log_probability == pytest.approx(total, rel=1e-12)
    assert sample.tokens == 15


def test_sample_ids_follow_the_filtered_probabilities() -> None:
    engine = ScriptedEngine(5, lambda read: np.log([0.4, 0.3, 0.2, 0.05, 0.05]), batch_size=50)
    codec = PieceCodec(*"abcd")
    primed = prime(engine, codec, b"")  # type: ignore[arg-type]
    done = samples(engine, codec, primed, SampleOptions(length=1, top_k=3), 2000)  # type: ignore[arg-type]
    counts = np.bincount([ord(sample.text) - ord("a") for sample in done], minlength=4)
    wanted = 2000 * np.array([4, 3, 2]) / 9
    assert counts[3] == 0
    assert ((counts[:3] - wanted) ** 2 / wanted).sum() < 18.4  # χ² with 2 degrees of freedom: one seed in 10⁴


def test_sample_ids_history_begins_with_the_prompt() -> None:
    """A penalty over two tokens, likelihoods in the order a, b, c: each is passed over while it is recent."""
    engine = ScriptedEngine(4, lambda read: [2.0, 1.5, 1.2, 9.0])
    codec = PieceCodec("a", "b", "c")
    settings = {"length": 6, "repetition_penalty": 2.0, "repetition_window": 2, **GREEDY}
    assert write(engine, codec, b"a", **settings).text == "bcabca"
    assert write(engine, codec, b"", **settings).text == "abcabc"


def test_prime_reads_end_and_the_prompt_once() -> None:
    engine = noise_engine(9, 4)
    primed = prime(engine, LETTERS, b"bad")  # type: ignore[arg-type]
    read = primed.primed
    assert read.history == [1, 0, 3]
    assert (primed.text, read.last, read.state) == ("bad", 3, ((LETTERS.end, 1, 0),))
    assert len(list(samples(engine, LETTERS, primed, SampleOptions(length=2), 9))) == 9  # type: ignore[arg-type]
    assert engine.reads == 1
    assert read.history == [1, 0, 3]  # shared by all samples, so not to be added to
    empty = prime(engine, LETTERS, b"").primed  # type: ignore[arg-type]
    assert (empty.history, empty.last, empty.state) == ([], LETTERS.end, ((),))


def test_prime_any_bytes() -> None:
    primed = prime(noise_engine(257), BYTES, b"\xff\xe4\xb8")
    assert primed.text.encode("utf-8", "surrogateescape") == b"\xff\xe4\xb8"
    assert primed.primed.history == [0xFF, 0xE4, 0xB8]


# --- real engines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENGINES)
def test_sample_of_a_trained_model_is_the_same_in_any_batch(name: str, model_folder: Path) -> None:
    loaded = checkpoint.load(model_folder)
    engine = make_engine(loaded.network, loaded.weights(), name)
    primed = prime(engine, loaded.codec, b"The ")
    options = SampleOptions(length=30, seed=4)
    many = list(samples(engine, loaded.codec, primed, options, 18))
    assert len({sample.text for sample in many}) == 18
    for index in (0, 3, 17):
        assert list(samples(engine, loaded.codec, primed, options, 1, index)) == [many[index]]


def test_sample_greedy_is_the_same_on_every_engine(model_folder: Path) -> None:
    loaded = checkpoint.load(model_folder)
    texts = set()
    for name in ENGINES:
        engine = make_engine(loaded.network, loaded.weights(), name)
        primed = prime(engine, loaded.codec, b"The ")
        (sample,) = samples(engine, loaded.codec, primed, SampleOptions(length=40, temperature=0.0))
        texts.add(sample.text)
    assert len(texts) == 1


@given(st.text("ab\n", max_size=12), st.integers(0, 14), st.lists(st.text("ab\n", min_size=1, max_size=3), max_size=2))
def test_stop_matcher_rest_loses_nothing(text: str, length: int, stops: list[str]) -> None:
    matcher = StopMatcher(length, stops)
    shown = matcher.push(text) if length else ""
    if length and not matcher.finish_reason:
        shown += matcher.finish()
    rest = matcher.rest()
    if matcher.finish_reason == "stop":
        assert any(shown + stop + rest == text for stop in stops)
    elif length:
        assert shown + rest == text
