"""Banned texts and grammars, through the tokens of every vocabulary: nothing banned appears, what is asked for matches,
and nothing hangs; alone, among others, after a prompt, with every other filter, in a conversation and on the command
line."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen import checkpoint, tokenizers
from seqgen.automata import dfa
from seqgen.config import ReplyOptions, SampleOptions
from seqgen.errors import UserError
from seqgen.generation.dialogue import ChatSession, Reply
from seqgen.generation.dialogue import prime as prime_dialogue
from seqgen.generation.engines.base import Engine
from seqgen.generation.prompts import prime
from seqgen.generation.sampling import constraints, draw
from seqgen.generation.sampling.constraints import SamplingRules
from seqgen.generation.sampling.token_names import resolve_names, token_bytes
from seqgen.generation.streaming import samples
from seqgen.generation.text import Sample
from seqgen.tokenizers import Codec
from seqgen.tokenizers.characters import ByteCodec
from seqgen.tokenizers.dialogue import DialogueCodec
from seqgen.tokenizers.midi import MidiCodec
from tests.helpers.running import Run, prose

Read = tuple[int, ...]
KINDS = ("char", "byte", "subword")


@functools.cache
def codec_of(kind: str) -> Codec:
    text = (prose(80) + "中文的字。中文的书。" * 20).encode()
    return tokenizers.fit(kind, [text], **({"vocab_size": 330} if kind == "subword" else {}))


class Noise(Engine):
    """Random logits, the same wherever as much was read and the end is the same; what writes only `letters` is
    likelier."""

    def __init__(self, codec: Codec, letters: str = "", seed: int = 7, batch_size: int = 3) -> None:
        self.vocab_size, self.batch_size, self._seed = codec.vocab_size, batch_size, seed
        liked = [token for token, data in enumerate(token_bytes(codec)) if data and set(data) <= set(letters.encode())]
        self._more = np.zeros(self.vocab_size)
        self._more[liked] = 6.0

    def initial(self, batch: int) -> tuple[Read, ...]:
        return ((),) * batch

    def step(
        self, ids: npt.NDArray[np.integer], state: tuple[Read, ...]
    ) -> tuple[npt.NDArray[np.float32], tuple[Read, ...]]:
        new = tuple((*read, int(token)) for read, token in zip(state, ids, strict=True))
        seeds = [[self._seed, len(read), *read[-4:]] for read in new]
        rows = [np.random.default_rng(seed).normal(0, 1.5, self.vocab_size) + self._more for seed in seeds]
        return np.array(rows, dtype=np.float32), new

    def read(self, ids: npt.NDArray[np.integer], state: tuple[Read, ...]) -> tuple[Read, ...]:
        return ((*state[0], *map(int, ids)),)

    def repeat(self, state: tuple[Read, ...], batch: int) -> tuple[Read, ...]:
        return state * batch


def write(
    codec: Codec, letters: str, n: int = 4, first: int = 0, prompt: bytes = b"", batch_size: int = 3, **how: Any
) -> list[Sample]:
    engine = Noise(codec, letters, batch_size=batch_size)
    return list(samples(engine, codec, prime(engine, codec, prompt), SampleOptions(**how), n, first))


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# ---- banned texts ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ban", [("the",), ("e",), ("中",), ("th", "he", " a"), ("\n", "o l")], ids=repr)
def test_ban_text_never_appears(kind: str, ban: tuple[str, ...]) -> None:
    codec, letters = codec_of(kind), "".join(ban) + "h"
    free = "".join(sample.text for sample in write(codec, letters, length=120))
    assert any(text in free for text in ban), "nothing would have been banned"
    for sample in write(codec, letters, length=120, ban=ban):
        assert len(sample.text) == 120
        assert not any(raw(text) in raw(sample.text) for text in ban)


@pytest.mark.parametrize("kind", KINDS)
def test_ban_text_beginning_in_the_prompt_never_appears(kind: str) -> None:
    """And what stands in the prompt as a whole is there already."""
    codec = codec_of(kind)
    for prompt, ban in ((b"the th", ("the", "tho")), ("the 中".encode()[:-1], ("中",)), (b"the", ("the", "eh"))):
        for sample in write(codec, "the old", n=8, prompt=prompt, length=30, ban=ban):
            new = raw(sample.text)
            for text in map(raw, ban):
                assert all(
                    not (prompt + new[: place + 1]).endswith(text) for place in range(len(new))
                ), (prompt, sample.text)  # fmt: skip


@settings(max_examples=25)
@given(st.sampled_from(KINDS), st.lists(st.text("ab 中", min_size=1, max_size=3), min_size=1, max_size=4),
       st.text("ab 中", max_size=4))  # fmt: skip
def test_ban_any_texts_after_any_prompt(kind: str, ban: list[str], prompt: str) -> None:
    for sample in write(codec_of(kind), "ab 中", n=2, prompt=prompt.encode(), length=20, ban=tuple(ban)):
        assert len(sample.text) == 20
        whole = raw(prompt + sample.text)
        for text in map(raw, ban):
            assert text not in whole[max(0, len(raw(prompt)) - len(text) + 1) :]


def test_ban_invalid_utf8_never_appears() -> None:
    (sample,) = write(ByteCodec(), "", n=1, length=2000, ban=("\udcff", "\udcc3", "\x00a"))
    assert b"\xff" not in raw(sample.text) and b"\xc3" not in raw(sample.text) and b"\x00a" not in raw(sample.text)
    assert any(byte >= 0x80 for byte in raw(sample.text)), "what is no UTF-8 may still be written"


def test_ban_dead_end_is_refused_or_avoided() -> None:
    codec = codec_of("char")
    everything = tuple(chr(byte) if byte < 128 else chr(0xDC00 + byte) for byte in range(256))
    with pytest.raises(UserError, match="--ban leaves nothing"):
        write(codec, "", ban=everything)
    after_x = tuple("x" + text for text in everything)
    with pytest.raises(UserError, match="--ban leaves nothing"):
        write(codec, "", prompt=b"x", ban=after_x)
    assert all("x" not in sample.text for sample in write(codec, "xy", length=50, ban=after_x))


# ---- grammars ----

GRAMMARS = [
    r"(yes|no)\.",
    r"[a-z]+( [a-z]+){3}\.",
    r"\d{3}-\d{4}",
    r"[中文的书字]{2,5}。",
    r"\w+, \w+[.!?]",
    r"the (old|new) .{4,9}",
    r"(a|bc)*d",
    r"",
    r"😀|ß",
    r"\n{2}x\t?",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", GRAMMARS)
def test_grammar_matches_the_whole_text(kind: str, pattern: str) -> None:
    for sample in write(codec_of(kind), "the old ab", n=4, length=40, grammar=pattern):
        assert re.fullmatch(pattern, sample.text), sample.text
        assert len(sample.text) <= 40
        assert sample.finish_reason in ("length", "end", "grammar")


@pytest.mark.parametrize("kind", KINDS)
def test_grammar_ends_the_text_when_nothing_may_follow(kind: str) -> None:
    for sample in write(codec_of(kind), "", grammar="(yes|no)!"):
        assert (sample.text in ("yes!", "no!"), sample.finish_reason) == (True, "grammar")
    (empty,) = write(codec_of(kind), "", n=1, grammar="")
    assert (empty.text, empty.tokens, empty.finish_reason) == ("", 0, "grammar")


@pytest.mark.parametrize("length", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_grammar_match_is_complete_within_the_length(kind: str, length: int) -> None:
    """Of a pattern whose matches are three, six, … characters long, and one more."""
    pattern = "(abc|中é😀)*!"
    done = write(codec_of(kind), "abc", n=6, length=length, grammar=pattern)
    assert all(re.fullmatch(pattern, sample.text) for sample in done)
    assert max(len(sample.text) for sample in done) == 1 + 3 * ((length - 1) // 3)


def test_grammar_model_may_end_a_complete_match() -> None:
    codec = codec_of("char")

    class Ending(Noise):
        def step(self, ids: Any, state: Any) -> Any:
            logits, new = super().step(ids, state)
            logits[:, codec.end] += 30
            return logits, new

    engine = Ending(codec, "ab")
    done = list(samples(engine, codec, prime(engine, codec, b""), SampleOptions(grammar="(ab)+a?"), 5))
    assert {(sample.text, sample.finish_reason) for sample in done} == {("ab", "end")}


def test_grammar_too_short_length_raises() -> None:
    with pytest.raises(UserError, match="needs at least 5 characters, and the limit is 4"):
        write(codec_of("byte"), "", length=4, grammar="a{5}")
    with pytest.raises(UserError, match="needs at least 1 characters"):
        write(codec_of("byte"), "", length=0, grammar="a")
    assert write(codec_of("byte"), "", n=1, length=0, grammar="a*")[0].text == ""


@settings(max_examples=25)
@given(st.sampled_from(KINDS), st.sampled_from(["[ab]*中?", "(ab|ba)+", ".{3,8}", "(a|b|中)*b"]),
       st.lists(st.text("ab中", min_size=1, max_size=3), min_size=1, max_size=3),
       st.text("ab", max_size=2))  # fmt: skip
def test_grammar_and_ban_hold_together(kind: str, pattern: str, ban: list[str], prompt: str) -> None:
    how = {"length": 12, "grammar": pattern, "ban": tuple(ban)}
    try:
        done = write(codec_of(kind), "ab", n=3, prompt=prompt.encode(), **how)
    except UserError as error:
        assert "nothing matches it without the --ban strings" in str(error) or "needs" in str(error)
        return
    for sample in done:
        assert re.fullmatch(pattern, sample.text)
        whole = prompt + sample.text
        assert not any(text in whole[max(0, len(prompt) - len(text) + 1) :] for text in ban)


def test_grammar_stop_string_ends_the_text() -> None:
    for sample in write(codec_of("char"), "abc", grammar="[abc]{30}", stop=("c",)):
        assert sample.finish_reason in ("stop", "grammar")
        assert "c" not in sample.text


# ---- what holds for all samples ----

EVERYTHING = {
    "ban": ("the", "old"), "grammar": "[a-z ]*[.]", "logit_bias": ("e=-2", "a=1"), "repetition_penalty": 1.2,
    "dry_multiplier": 0.8, "dry_allowed_length": 2, "temperature": 0.9, "dynatemp_range": 0.3, "top_k": 30,
    "top_p": 0.97, "min_p": 0.001, "typical_p": 0.98, "xtc_probability": 0.5, "xtc_threshold": 0.05,
    "mirostat_tau": 4.0, "length": 40, "seed": 3,
}  # fmt: skip


@pytest.mark.parametrize("kind", ["char", "subword"])
@pytest.mark.parametrize("compiled", [True, False])
def test_sample_with_all_filters_is_the_same_in_any_batch(
    kind: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {name: value for name, value in EVERYTHING.items() if kind == "char" or name != "logit_bias"}
    wanted = write(codec_of(kind), "the old ab", n=5, prompt=b"the ", batch_size=1, **how)
    assert len({sample.text for sample in wanted}) > 1
    if not compiled:  # the same ids, and probabilities but for their last digits
        monkeypatch.setattr(draw, "library", lambda: None)
        plain = write(codec_of(kind), "the old ab", n=5, prompt=b"the ", batch_size=1, **how)
        assert [(one.text, one.tokens, one.finish_reason) for one in plain] == [
            (one.text, one.tokens, one.finish_reason) for one in wanted
        ]
        wanted = plain
    assert write(codec_of(kind), "the old ab", n=5, prompt=b"the ", batch_size=4, **how) == wanted
    for index in range(5):
        assert write(codec_of(kind), "the old ab", n=1, first=index, prompt=b"the ", **how) == [wanted[index]]


@pytest.mark.parametrize("filters", [{}, {"xtc_probability": 0.5}, {"mirostat_tau": 3.0}, {"dry_multiplier": 1.0}])
def test_sampler_streams_have_own_uniforms_and_history(filters: dict[str, float]) -> None:
    how = {"length": 60, "top_k": 12, **filters}
    five = write(codec_of("byte"), "abcd", n=5, batch_size=5, **how)
    assert five == write(codec_of("byte"), "abcd", n=5, batch_size=1, **how)
    if filters:
        assert five != write(codec_of("byte"), "abcd", n=5, batch_size=5, length=60, top_k=12)


def test_log_probability_ignores_constraints() -> None:
    """They are the model's own: of a text that could be nothing else too."""
    codec = ByteCodec()
    (sample,) = write(codec, "", n=1, grammar="abcd")
    read, total = [codec.end], 0.0
    for token in b"abcd":
        logits = np.float32(np.random.default_rng([7, len(read), *read[-4:]]).normal(0, 1.5, 257)).astype(float)
        total += logits[token] - np.log(np.exp(logits).sum())
        read.append(token)
    assert sample.log_probability == pytest.approx(total, rel=1e-9)


def test_automaton_masks_survive_renumbered_states(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = "(a|b)*a(a|b){7}( |c)*"
    wanted = write(codec_of("char"), "abc", n=6, batch_size=6, length=40, grammar=pattern)
    monkeypatch.setattr(dfa, "_MAX_CACHED", 200)
    assert write(codec_of("char"), "abc", n=6, batch_size=6, length=40, grammar=pattern) == wanted
    monkeypatch.setattr(constraints, "_MAX_CACHED", 3000)
    assert write(codec_of("char"), "abc", n=6, batch_size=6, length=40, grammar=pattern) == wanted


def test_automaton_masks_are_computed_once_per_state() -> None:
    codec, engine = codec_of("subword"), Noise(codec_of("subword"), "ab")
    made = SamplingRules.of(codec, prime(engine, codec, b""), SampleOptions(ban=("abab",)))
    assert made.masks is not None
    streams = [made.masks.stream(1 << 30) for _ in range(3)]
    chance = np.random.default_rng(0)
    for _ in range(200):
        for stream in streams:
            stream.push(int(chance.choice(np.flatnonzero(stream.mask()))))
    assert 1 < len(made.masks.table) <= 5  # as many as there are beginnings of what is banned, and the opening


def test_constraints_of_a_call_read_a_table_that_has_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernels get are addresses. A table that was forgotten grows again, and moves, while they are set."""
    codec = codec_of("byte")
    letters = [bytes([letter]) for letter in range(ord("a"), ord("z") + 1)]
    pattern = "|".join(f"{letter.decode()}[0-9]{{9}}" for letter in letters)
    made = SamplingRules.of(codec, prime(Noise(codec), codec, b""), SampleOptions(grammar=pattern))
    assert made.masks is not None
    streams = [made.masks.stream(20) for _ in letters]
    for stream, letter in zip(streams, letters, strict=True):
        stream.push(token_bytes(codec).index(letter))
    monkeypatch.setattr(constraints, "_MAX_CACHED", 0)
    constraints.AutomatonConstraint.begin_call(streams)
    assert {stream.kernel.row for stream in streams} == set(range(len(letters)))
    assert len({stream.kernel.rows for stream in streams}) == 1


# ---- conversations ----

TALK = DialogueCodec(ByteCodec())


def talk(**how: Any) -> ChatSession:
    reply_options = ReplyOptions(how.pop("candidates", 1))
    return ChatSession(Noise(TALK, "the old ab"), TALK, SampleOptions(**how), reply_options)


def answers(conversation: ChatSession, count: int = 4) -> list[str]:
    said = []
    for number in range(count):
        conversation.hear(f"hello {number}")
        *_, reply = conversation.reply()
        assert isinstance(reply, Reply)
        said.append(reply.text)
    return said


@pytest.mark.parametrize("candidates", [1, 3])
def test_reply_keeps_grammar_and_ban(candidates: int) -> None:
    for text in answers(talk(grammar="(Yes|No), (the )?old[.!]", candidates=candidates)):
        assert re.fullmatch("(Yes|No), (the )?old[.!]", text)
    for text in answers(talk(ban=("the", "o"), candidates=candidates)):
        assert "the" not in text and "o" not in text
    assert answers(talk(grammar=" ?", candidates=candidates), 2) == ["", ""]  # nothing to see, and still an answer
    for text in answers(talk(grammar="a{380,}", candidates=candidates), 1):
        assert 380 <= len(text) <= 400


def test_chat_session_impossible_grammar_raises_at_once() -> None:
    for how, words in (
        ({"grammar": "("}, "never closed"), ({"grammar": "a{401}"}, "the limit is 400"),
        ({"logit_bias": ("#999=1",)}, "there is no such id"),
        ({"temperature_of": ("note=1",)}, "--temperature-of is for music; this is dialogue"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            talk(**how)


def test_reply_filters_read_earlier_turns() -> None:
    """A greedy model that would say the same for ever, were it not for what both have said."""

    class Same(Noise):
        def step(self, ids: Any, state: Any) -> Any:
            new = tuple((*read, int(token)) for read, token in zip(state, ids, strict=True))
            logits = np.full((len(ids), TALK.vocab_size), -20.0, dtype=np.float32)
            for row, read in enumerate(new):
                logits[row, [TALK.encode(letter)[0] for letter in (b"a", b"b", b"c")]] = [3.0, 2.0, 1.0]
                logits[row, 0] = 30.0 if read[-1] >= 2 and read[-2] == 1 else -20.0  # one letter a reply
            return logits, new

    def said(heard: str, **how: Any) -> list[str]:
        conversation = ChatSession(Same(TALK), TALK, SampleOptions(temperature=0.0, **how))
        replies = []
        for _ in range(3):
            conversation.hear(heard)
            *_, reply = conversation.reply()
            replies.append(reply.text)
        return replies

    assert said("x") == ["a", "a", "a"]
    assert said("x", repetition_penalty=4.0) == ["a", "b", "c"]
    assert said("a", repetition_penalty=4.0) == ["b", "c", "a"]
    assert said("a", repetition_penalty=4.0, repetition_window=1) == ["b", "b", "b"]


def test_transcript_keeps_grammar_and_ban() -> None:
    """Its lines and speakers are part of what is written, with a prompt and without."""
    for prompt in (b"", b"hello"):
        engine = Noise(TALK, "the old ab")
        engine._more[:2] = 8.0
        primed = prime_dialogue(engine, TALK, prompt)
        line = "[a-z ]+\n"
        pattern = rf"\nB: {line[:-1]}\nA: {line[:-1]}" if prompt else rf"A: {line}B: {line[:-1]}"
        for sample in samples(engine, TALK, primed, SampleOptions(length=60, grammar=pattern), 3):
            assert re.fullmatch(pattern, sample.text)
        for sample in samples(engine, TALK, primed, SampleOptions(length=200, ban=("A: ", "the", "\nB: o")), 3):
            assert "A: " not in sample.text and "the" not in sample.text and "\nB: o" not in sample.text
            assert "B: " in sample.text


# ---- names ----


def test_resolve_logit_bias_finds_every_token_of_a_text() -> None:
    codec = codec_of("char")
    names = resolve_names(SampleOptions(logit_bias=("e=-2", "#7=0.5", "==1")), codec)
    writes = token_bytes(codec)
    assert names["logit_bias"] == (
        *((token, -2.0) for token, data in enumerate(writes) if data == b"e"), (7, 0.5),
        *((token, 1.0) for token, data in enumerate(writes) if data == b"="),
    )  # fmt: skip
    assert sum(data == b"e" for data in writes) == 2  # the character, and the byte
    assert "e" not in write(codec, "the", n=1, length=100, logit_bias=("e=-100",))[0].text


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"logit_bias": ("the old=1",)}, "'the old' is not one token"),
        ({"logit_bias": ("#99999=1",)}, "there is no such id"),
        ({"logit_bias": ("#" + "9" * 99 + "=1",)}, "there is no such id"), ({"logit_bias": ("犭=1",)}, "not one token"),
        ({"dry_multiplier": 1.0, "dry_breaker": ("x" * 300,)}, "--dry-breaker takes at most 256 bytes"),
        ({"temperature_of": ("note=1",)}, "--temperature-of is for music; this is text"),
    ],
)  # fmt: skip
def test_resolve_names_unknown_name_raises(how: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        resolve_names(SampleOptions(**how), codec_of("char"))
    assert words in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.text("ab :中", min_size=1, max_size=3), max_size=3), st.text("ab :中é", max_size=20))
@settings(max_examples=30)
def test_sequence_breakers_end_where_their_text_ends(kind: str, breakers: list[str], text: str) -> None:
    codec = codec_of(kind)
    names = resolve_names(SampleOptions(dry_multiplier=1.0, dry_breaker=tuple(breakers) or ("",)), codec)
    ids, table = codec.encode(text.encode()).tolist(), token_bytes(codec)
    if not breakers:
        assert names["dry_multiplier"] is None
        return
    assert names["dry_multiplier"] is not None
    written, wanted = b"", []
    for token in ids:
        before, written = written, written + (table[token] or b"")
        ends = range(len(before) + 1, len(written) + 1)
        wanted.append(any(written[:end].endswith(raw(breaker)) for end in ends for breaker in breakers))
    assert names["dry_multiplier"].read(ids)[0] == wanted
    assert names["dry_multiplier"].read([codec.end])[0] == [True]


def test_resolve_event_temperatures_by_name() -> None:
    codec = MidiCodec()
    names = resolve_names(
        SampleOptions(temperature_of=("pitch=1.2", "bar=0", "note=0.5"), logit_bias=("note 60=3",)), codec
    )
    first = codec.vocabulary.offsets
    assert [(kind.first, kind.last, kind.temperature) for kind in names["temperature"]] == [
        (first["note"], first["note"] + 128, 0.5), (first["bar"], first["bar"] + codec.vocabulary.sizes["bar"], 0.0)
    ]  # fmt: skip
    assert names["logit_bias"] == ((first["note"] + 60, 3.0),)
    for how, words in (
        ({"temperature_of": ("loudness=1",)}, "use one of key, bar, metre, again, position"),
        ({"logit_bias": ("note 200=1",)}, "no event"),
        ({"ban": ("a",)}, "--ban is for text, dialogue and classify; this is music"),
        ({"grammar": "a"}, "--grammar is for text, dialogue and classify; this is music"),
        ({"dry_breaker": ("a",)}, "--dry-breaker is for"),
    ):
        with pytest.raises(UserError, match=re.escape(words)):
            resolve_names(SampleOptions(**how), codec)  # type: ignore[arg-type]


# ---- through the real thing ----


@pytest.mark.parametrize("engine", ["light", "torch"])
def test_sample_command_constraints_and_filters(engine: str, model_folder: Path, run: Run) -> None:
    for _ in range(2):
        out = run("sample", model_folder, "--grammar", "[A-Z][a-z]+( [a-z]+){2}[.]", "--engine", engine).text
        assert re.fullmatch("[A-Z][a-z]+( [a-z]+){2}[.]", out)
    out = run("sample", model_folder, "--ban", "the", "--ban", "The", "-l", 300, "--engine", engine, "-p", "t").text
    assert "the" not in out and "The" not in out and len(out) == 301


def test_sample_with_constraints_command_equals_python(model_folder: Path, run: Run) -> None:
    words = ("sample", model_folder, "--json", "--length", 60, "--ban", "the", "--xtc-probability", 0.5,
             "--mirostat-tau", 3, "--dry-multiplier", 1, "--dynatemp-range", 0.5, "--logit-bias", "e=-1")  # fmt: skip
    many = run(*words, "-n", 7).records
    assert run(*words, "-n", 7).records == many
    assert run(*words, "--first", 5).records == many[5:6]
    assert run(*words, "-n", 7, "--seed", 1).records != many


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--grammar", "a("], "--grammar 'a(': '(' is never closed"),
        (["--grammar", "((a{1000}){1000}){1000}"], "too large"),
        (["--grammar", "a{9}", "--length", "8"], "needs at least 9 characters"),
        (["--grammar", "a", "--ban", "a"], "nothing matches it without"),
        (["--ban", ""], "--ban must not be empty"),
        (["--logit-bias", "x"], "--logit-bias must be a name and a number"),
        (["--logit-bias", "xyzzy=1"], "not one token"),
        (["--temperature-of", "pitch=1"], "--temperature-of is for music"),
    ],
)
def test_sample_command_invalid_constraint_is_one_error_line(
    words: list[str], said: str, model_folder: Path, tmp_path: Path, run: Run
) -> None:
    result = run("sample", model_folder, "-o", tmp_path / "out.txt", *words, status=2)
    assert said in result.err
    assert result.err.count("\n") == 1 and not result.out
    assert not list(tmp_path.iterdir())


def test_check_options_reads_no_weights(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is told before anything is read that takes time."""
    from seqgen.api.model import Model

    loaded = Model(checkpoint.load(model_folder))
    never: Callable[..., Any] = lambda *_: pytest.fail("weights were read")  # noqa: E731
    monkeypatch.setattr(Model, "engine", property(never))
    with pytest.raises(UserError):
        loaded.check(SampleOptions(logit_bias=("xyzzy=1",)))
