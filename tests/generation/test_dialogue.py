"""Chat sessions: their state, their replies, and transcripts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen import tokenizers
from seqgen.api.model import Model
from seqgen.config import TOKENIZER_NAMES, ReplyOptions, SampleOptions
from seqgen.errors import UserError
from seqgen.evaluation.dialogue import (
    ReplyScorer,
)
from seqgen.generation.dialogue import MODEL, USER, ChatSession, Reply, prime
from seqgen.generation.engines.base import Engine
from seqgen.generation.streaming import samples
from seqgen.tokenizers.characters import ByteCodec
from seqgen.tokenizers.dialogue import DialogueCodec
from tests.helpers.dialogues import KNOWN, ReadIds, advance, codec_of, conversation_ids

# ---- A scripted engine, and talk with it ----

BYTES = DialogueCodec(ByteCodec())

CONTROL = [0, 1, BYTES.end]

LETTERS = [byte + 2 for byte in b"abcdefgh"]

ANY = [byte + 2 for byte in range(256)]


class Scripted(Engine):
    """An engine whose logits are a function of all that was read; its state is just that."""

    batch_size = 1

    def __init__(self, vocab_size: int, logits_of: Callable[[ReadIds], npt.ArrayLike]) -> None:
        self.vocab_size, self.script = vocab_size, logits_of
        self.stepped = 0  # ids read, one way or the other

    def initial(self, batch: int) -> tuple[ReadIds, ...]:
        return ((),) * batch

    def step(
        self, ids: npt.NDArray[np.integer], state: tuple[ReadIds, ...]
    ) -> tuple[npt.NDArray[np.float32], tuple[ReadIds, ...]]:
        self.stepped += len(ids)
        new = tuple((*read, int(token)) for read, token in zip(state, ids, strict=True))
        return np.array([self.script(read) for read in new], dtype=np.float32), new

    def read(self, ids: npt.NDArray[np.integer], state: tuple[ReadIds, ...]) -> tuple[ReadIds, ...]:
        self.stepped += len(ids)
        return ((*state[0], *map(int, ids)),)

    def repeat(self, state: tuple[ReadIds, ...], batch: int) -> tuple[ReadIds, ...]:
        return state * batch


def noise(words: Sequence[int] = LETTERS, closing: float = 0.0) -> Scripted:
    """Random logits, the same wherever the same was read, over some words and the control tokens."""
    some = np.array([*words, *CONTROL])

    def logits_of(read: ReadIds) -> npt.ArrayLike:
        logits = np.full(BYTES.vocab_size, -1e9)
        logits[some] = np.random.default_rng([5, *read]).normal(0, 1.5, len(some))
        logits[CONTROL] += closing
        return logits

    return Scripted(BYTES.vocab_size, logits_of)


def saying(*replies: bytes) -> Scripted:
    """Gives these replies one after another, whatever it is asked; ends by giving the word back."""

    def logits_of(read: ReadIds) -> npt.ArrayLike:
        number = read.count(MODEL) - 1
        place = len(read) - 1 - max(place for place, token in enumerate(read) if token == MODEL)
        reply = replies[number % len(replies)]
        wanted = reply[place] + 2 if place < len(reply) else USER
        return np.where(np.arange(BYTES.vocab_size) == wanted, 30.0, 0.0)

    return Scripted(BYTES.vocab_size, logits_of)


def talk_with(engine: Any, codec: DialogueCodec = BYTES, candidates: int = 1, mutual: float = 0.5, **how: Any) -> Any:
    return ChatSession(engine, codec, SampleOptions(**how), ReplyOptions(candidates, mutual))


def answer(talk: ChatSession, *words: str) -> Reply:
    """The reply to the last of these lines, which are all said by the person."""
    for line in words:
        talk.hear(line)
    *pieces, reply = talk.reply()
    assert isinstance(reply, Reply)
    spoken = "".join(piece for piece in pieces if isinstance(piece, str))
    assert spoken.strip() == reply.text
    assert spoken == spoken.lstrip() or not reply.text
    return reply


def read_so_far(talk: ChatSession) -> ReadIds:
    """All ids of the conversation so far, the last of which is still to be stepped on."""
    place: Any = talk._now
    (state,) = place.state
    return (*state, place.last)


# ---- What is kept between turns ----


def test_chat_session_state_equals_reading_the_whole_conversation() -> None:
    talk = talk_with(noise(closing=1.0))
    assert read_so_far(talk) == (BYTES.end,)
    for words in ("hello", "", "中 \udcff", "\nB: forged", "A: x\0"):
        answer(talk, words)
        assert read_so_far(talk) == conversation_ids(BYTES, talk.turns)
    assert [speaker for speaker, _ in talk.turns] == [USER, MODEL] * 5
    assert read_so_far(talk).count(MODEL) == 5, "nobody can say a speaker's token"


def test_chat_session_state_of_a_trained_model_equals_reading_it(dialogue_model: Model) -> None:
    """To the last bit: the engine reads a turn as it reads a whole conversation."""
    talk = dialogue_model.conversation(SampleOptions(seed=2))
    for words in ("where is the dog?", "who has it?", "é 中 \udcff"):
        answer(talk, words)
    engine = dialogue_model.engine
    ids = np.array(conversation_ids(codec_of(dialogue_model), talk.turns))
    whole, _ = engine.step(ids[-1:], engine.read(ids[:-1], engine.initial(1)))
    kept, _ = engine.step(np.array([talk._now.last]), talk._now.state)
    assert np.array_equal(whole, kept)


def test_chat_session_reads_nothing_twice() -> None:
    engine = noise(closing=1.0)
    talk = talk_with(engine)
    replies = [answer(talk, "hello there"), answer(talk, "and more")]
    # A reply is read when it is drawn and when it is taken; its speaker's token and the one before likewise.
    assert engine.stepped <= len(read_so_far(talk)) + sum(reply.tokens + 3 for reply in replies)


def test_chat_session_hears_other_speakers() -> None:
    talk = talk_with(noise(closing=1.0), DialogueCodec(ByteCodec(), 2))
    talk.hear("one", 0)
    talk.hear("two", 7)  # beyond the last
    talk.hear("three", 1)
    assert read_so_far(talk) == conversation_ids(BYTES, [(0, "one"), (1, "two"), (1, "three")])
    *_, reply = talk.reply(speaker=0)
    assert talk.turns[-1] == (0, reply.text)


def test_chat_session_speakers_out_of_range() -> None:
    """One beyond the last is the last, for replies too, and not the id of a letter."""
    talk, other = talk_with(noise(closing=1.0)), talk_with(noise(closing=1.0))
    *_, reply = talk.reply(speaker=2)
    *_, wanted = other.reply(speaker=1)
    assert reply == wanted and talk.turns == other.turns
    assert talk.before_last_turn().last == other.before_last_turn().last == MODEL
    with pytest.raises(UserError, match="none is -1"):
        talk.hear("one", -1)
    with pytest.raises(UserError, match="none is -1"):
        next(talk.reply(speaker=-1))
    assert talk.turns == other.turns


OPERATIONS = st.lists(st.sampled_from(["hear", "reply", "undo", "retry", "restart"]), max_size=14)


@settings(max_examples=60)
@given(operations=OPERATIONS, data=st.data())
def test_undo_restores_the_earlier_session(operations: list[str], data: st.DataObject) -> None:
    """Against the plainest thing that could work: a list of turns, read again from the beginning every time."""
    talk = talk_with(noise(closing=2.0))
    turns: list[tuple[int, str]] = []
    for operation in operations:
        if operation == "hear":
            talk.hear(words := data.draw(st.sampled_from(["x", "", "yes?", "中"])))
            turns.append((USER, words))
        elif operation == "reply":
            *_, reply = talk.reply()
            turns.append((MODEL, reply.text))
        elif operation == "undo":
            people = [place for place, (speaker, _) in enumerate(turns) if speaker == USER]
            assert talk.undo() == bool(people)
            del turns[people[-1] if people else len(turns) :]
        elif operation == "retry":
            assert talk.undo_reply() == bool(turns and turns[-1][0] == MODEL)
            if turns and turns[-1][0] == MODEL:
                turns.pop()
        else:
            talk.restart()
            turns.clear()
        assert talk.turns == turns
        assert read_so_far(talk) == conversation_ids(BYTES, turns)


@pytest.mark.parametrize("how", ["undo", "retry", "restart"])
def test_undo_leaves_the_next_reply_the_same(how: str, dialogue_model: Model) -> None:
    """Given the same random stream, to the last bit of its probability."""
    options = SampleOptions(seed=3)
    straight, roundabout = (dialogue_model.conversation(options) for _ in range(2))
    if how != "restart":
        for talk in (straight, roundabout):
            answer(talk, "where is the cup?")
            talk.hear("who has it?") if how == "retry" else None
    if how == "undo":
        answer(roundabout, "what?", "where is the key?")
        assert roundabout.undo()
        assert roundabout.undo()
    elif how == "retry":
        list(roundabout.reply())
        assert roundabout.undo_reply()
    else:
        answer(roundabout, "where is the hen?", "and the oar?")
        roundabout.restart()
    assert straight.turns == roundabout.turns
    for talk in (straight, roundabout):
        talk.start_at(9)
        if how != "retry":
            talk.hear("who has it?")
    assert list(straight.reply()) == list(roundabout.reply())


def test_undo_reply_gives_another_reply() -> None:
    talk = talk_with(noise())
    said = [answer(talk, "hello").text]
    for _ in range(4):
        assert talk.undo_reply()
        *_, reply = talk.reply()
        said.append(reply.text)
    assert len(set(said)) == 5


def test_restart_forgets_the_earlier_conversation(dialogue_model: Model) -> None:
    """Two at once, turn by turn, are each what it is alone."""
    lines = {"dog": ["where is the dog?", "who has it?"], "key": ["where is the key?", "who has it?"]}
    alone = {}
    for name, words in lines.items():
        talk = dialogue_model.conversation(SampleOptions(seed=4))
        alone[name] = [answer(talk, line) for line in words]
    talks = {name: dialogue_model.conversation(SampleOptions(seed=4)) for name in lines}
    both: dict[str, list[Reply]] = {name: [] for name in lines}
    for number in range(2):
        for name, talk in talks.items():
            both[name].append(answer(talk, lines[name][number]))
    assert both == alone
    assert talks["dog"].turns[0] == (USER, "where is the dog?")
    assert len(talks["dog"].turns) == 4


# ---- What a reply may be ----


@pytest.mark.parametrize("candidates", [1, 3])
@pytest.mark.parametrize("kind", TOKENIZER_NAMES)
def test_reply_is_visible_text_without_control_tokens(kind: str, candidates: int) -> None:
    """Even where the model wants nothing but control tokens."""
    codec = DialogueCodec(tokenizers.fit(kind, [b"the boat and the boy came home late in the rain\n" * 9]), 3)
    control = [token for token, piece in enumerate(codec.pieces()) if piece is None]
    assert {0, 1, 2, codec.end} <= set(control)
    logits = np.random.default_rng(0).normal(0, 0.1, codec.vocab_size)
    logits[control] += 20
    talk = talk_with(Scripted(codec.vocab_size, lambda read: logits), codec, candidates)
    before: ReadIds = (codec.end,)
    for _ in range(5):
        talk.hear("x")
        opening = (*before, *map(int, codec.encode_turn(USER, b"x")), MODEL)
        *_, reply = talk.reply()
        before = read_so_far(talk)
        assert before[: len(opening)] == opening
        assert len(before) - len(opening) == reply.tokens >= 1
        assert not set(before[len(opening) :]) & set(control)


def test_reply_of_any_bytes() -> None:
    """What was drawn is what is remembered, byte for byte; white space at its ends is not shown."""
    talk = talk_with(noise(ANY, closing=2.0))
    for _ in range(6):
        before = read_so_far(talk)
        reply = answer(talk, "go on")
        drawn = read_so_far(talk)[len(before) + 7 :]
        assert len(drawn) == reply.tokens
        assert tokenizers.decode(BYTES, drawn).decode("utf-8", "surrogateescape").strip() == reply.text


def test_reply_streams_whole_characters() -> None:
    talk = talk_with(saying("  né 中\n😀! ".encode()), temperature=0)
    talk.hear("hm")
    *pieces, reply = talk.reply()
    assert pieces == ["n", "é", " ", "中", "\n", "😀", "!", " "]
    assert (reply.text, reply.tokens) == ("né 中\n😀!", 16)


def test_reply_gives_invalid_utf8_at_the_end() -> None:
    talk = talk_with(saying(b"a\xe4\xb8"), temperature=0)
    talk.hear("hm")
    *pieces, reply = talk.reply()
    assert "".join(pieces) == reply.text == "a\udce4\udcb8"


@pytest.mark.parametrize("candidates", [1, 2])
def test_reply_ends_at_the_token_limit(candidates: int) -> None:
    logits = np.full(BYTES.vocab_size, -50.0)
    logits[LETTERS] = 0.0
    reply = answer(talk_with(Scripted(BYTES.vocab_size, lambda read: logits), candidates=candidates), "hello")
    assert reply.tokens == len(reply.text) == 400
    assert reply.finish_reason == "length"
    assert reply.log_probability == pytest.approx(-400 * math.log(len(LETTERS)))  # without the token that is dropped
    assert reply.alone in (None, pytest.approx(reply.log_probability))


def test_reply_stopped_counts_as_said() -> None:
    talk = talk_with(saying(b"abcdefgh"), temperature=0)
    talk.hear("hm")
    heard: list[Any] = []
    for piece in talk.reply(stopped=lambda: len(heard) == 3):
        heard.append(piece)  # noqa: PERF402 - what stops it
    assert heard[:-1] == ["a", "b", "c"]
    assert talk.turns[-1] == (MODEL, "abc")
    assert heard[-1].finish_reason == "stopped"
    assert read_so_far(talk) == conversation_ids(BYTES, talk.turns)


def test_reply_stopped_chooses_among_finished_candidates() -> None:
    talk = talk_with(noise(closing=1.0), candidates=50)
    talk.hear("hm")
    *_, reply = talk.reply(stopped=lambda: True)
    talk.restart()
    talk.start_at(0)
    talk.reply_options = ReplyOptions(1)
    assert answer(talk, "hm").text == reply.text


def test_chat_session_seed_repeats_the_conversation() -> None:
    def conversation(seed: int, **how: Any) -> list[tuple[int, str]]:
        talk = talk_with(noise(closing=1.0), seed=seed, **how)
        for words in ("one", "two", "three"):
            answer(talk, words)
        turns: list[tuple[int, str]] = talk.turns
        return turns

    for candidates in (1, 3):
        assert conversation(1, candidates=candidates) == conversation(1, candidates=candidates)
        assert conversation(1, candidates=candidates) != conversation(2, candidates=candidates)
    assert conversation(1, temperature=0) == conversation(2, temperature=0)


def test_start_at_draws_from_other_streams() -> None:
    drawn = set()
    for number in range(5):
        talk = talk_with(noise())
        talk.start_at(number)
        drawn.add(answer(talk, "hello").text)
    assert len(drawn) == 5


# ---- What a reply costs, and which is the best ----


def share(engine: Scripted, read: ReadIds) -> npt.NDArray[np.float64]:
    logits = np.asarray(engine.script(read), dtype=np.float32).astype(float)
    logs: npt.NDArray[np.float64] = logits - np.logaddexp.reduce(logits)
    return logs


def alone_by_hand(engine: Scripted, words: str, with_end: bool = True) -> float:
    """What a reply and its end cost where nothing was said."""
    read: ReadIds = (BYTES.end, MODEL)
    total = 0.0
    for token in map(int, BYTES.encode(words.encode())):
        total += share(engine, read)[token]
        read = (*read, token)
    return total + float(np.logaddexp.reduce(share(engine, read)[CONTROL])) * with_end


def repeats(words: str, said: set[str]) -> bool:
    runs = [words[place : place + 4] for place in range(len(words) - 3)]
    return len(set(runs)) < len(runs) or words in said


@pytest.mark.parametrize("mutual", [0.0, 0.5, 1.0])
def test_reply_candidate_with_the_highest_score_is_chosen(mutual: float) -> None:
    """The same six replies one at a time, scored by hand."""
    engine = noise(closing=1.0)
    for seed in range(6):
        found: dict[str, float] = {}
        for index in range(6):
            talk = talk_with(engine, seed=seed)
            talk._next_stream = index
            reply = answer(talk, "hello?")
            found[reply.text] = reply.log_probability
        best = max(
            found,
            key=lambda text: (
                not repeats(text, set()),
                found[text] - mutual * alone_by_hand(engine, text),
            ),
        )
        chosen = answer(talk_with(engine, seed=seed, candidates=6, mutual=mutual), "hello?")
        assert chosen.text == best
        assert chosen.tokens == len(best)
        assert chosen.log_probability == pytest.approx(found[best], abs=1e-6)
        assert chosen.alone is not None
        assert chosen.alone == pytest.approx(alone_by_hand(engine, best), abs=1e-4)
        assert chosen.score == pytest.approx(found[best] - mutual * chosen.alone, abs=1e-6)


def test_reply_log_probability_is_the_models() -> None:
    """Its tokens and its end; control tokens have no share in the first token, which has to be a word."""
    engine = noise(closing=1.0)
    talk = talk_with(engine, temperature=0.5, top_k=5)
    reply = answer(talk, "hello?")
    read = conversation_ids(BYTES, [(USER, "hello?"), (MODEL, "")])
    first = share(engine, read)
    total = -float(np.logaddexp.reduce(first[LETTERS]))
    for token in map(int, BYTES.encode(reply.text.encode())):
        total += share(engine, read)[token]
        read = (*read, token)
    assert any(reply.log_probability == pytest.approx(total + share(engine, read)[end], abs=1e-4) for end in CONTROL)
    assert reply.finish_reason == "end"
    assert reply.alone is None
    assert reply.score is None


def test_reply_that_completes_a_grammar_counts_no_end() -> None:
    """Neither with its history nor without one: the grammar ended it, not the model."""
    engine = noise()
    reply = answer(talk_with(engine, candidates=3, grammar="ab|ba"), "hello?")
    assert reply.text in ("ab", "ba")
    assert reply.finish_reason == "grammar"
    assert reply.alone == pytest.approx(alone_by_hand(engine, reply.text, with_end=False), abs=1e-4)


def test_reply_candidates_avoid_earlier_replies() -> None:
    """Here `a` is far likelier than `b`, and was just said."""

    def logits_of(read: ReadIds) -> npt.ArrayLike:
        logits = np.full(BYTES.vocab_size, -1e9)
        if read[-1] == MODEL:
            logits[BYTES.encode(b"ab")] = [3.0, 0.0]
        else:
            logits[USER] = 0.0
        return logits

    talk = talk_with(Scripted(BYTES.vocab_size, logits_of), candidates=100)
    assert answer(talk, "x").text == "a"
    assert answer(talk, "x").text == "b"
    assert answer(talk, "x").text in ("a", "b"), "all were said: better than silence"
    talk.restart()
    assert answer(talk, "x").text == "a", "said in another conversation"


def test_reply_candidates_differ_at_a_temperature_of_zero_that_is_dynamic() -> None:
    first, *others = [answer(talk_with(noise(closing=1.0), candidates=count, temperature=0, dynatemp_range=2), "hm")
                      for count in (1, 30, 30)]  # fmt: skip
    assert first.score is None and first != others[0] == others[1]
    assert others[0].score is not None
    assert answer(talk_with(noise(closing=1.0), candidates=30, temperature=0), "hm").score is None


def test_reply_candidates_avoid_repeated_runs() -> None:
    def logits_of(read: ReadIds) -> npt.ArrayLike:
        words = bytes(token - 2 for token in read[read.index(MODEL) + 1 :])
        wanted = {b"": b"xy"}.get(words) or b"abcdeabcdef"[len(words) - 1 : len(words)]
        if words.startswith(b"y"):
            wanted = b"abcdefghijkl"[len(words) - 1 : len(words)] if len(words) < 12 else b""
        logits = np.full(BYTES.vocab_size, -1e9)
        logits[BYTES.encode(wanted) if wanted else [USER]] = [1.0, 0.0][: len(wanted) or 1]
        return logits

    engine = Scripted(BYTES.vocab_size, logits_of)
    assert answer(talk_with(engine, temperature=0), "?").text == "xabcdeabcdef"
    assert answer(talk_with(engine, candidates=30), "?").text == "yabcdefghijk"


@pytest.mark.parametrize("candidates", [1, 5])
def test_reply_log_probability_equals_reply_scorer(candidates: int, dialogue_model: Model) -> None:
    codec, engine = codec_of(dialogue_model), dialogue_model.exact_engine
    reader = ReplyScorer(engine, codec)
    talk = Model(dialogue_model.checkpoint, exact=True).conversation(SampleOptions(seed=5), ReplyOptions(candidates))
    control = [0, 1, codec.end]
    states, last = reader.start()
    beginning = states, last
    for words in ("where is the map?", "who has it?"):
        reply = answer(talk, words)
        ids = codec.encode(reply.text.encode("utf-8", "surrogateescape"))
        assert len(ids) == reply.tokens
        states, last = advance(engine, states, last, codec.encode_turn(USER, words.encode()))
        closed = [np.append(ids, token) for token in control]
        # Control tokens have no share in the first token.
        nothing = np.logaddexp.reduce(reader.replies(states, last, MODEL, list(np.array(control)[:, None])))
        costs = reader.replies(states, last, MODEL, closed) - math.log1p(-math.exp(nothing))
        assert min(abs(costs - reply.log_probability)) < 1e-3
        if candidates > 1:
            assert reply.alone == pytest.approx(
                np.logaddexp.reduce(reader.replies(*beginning, MODEL, closed)), abs=1e-3
            )
        states, last = advance(
            engine, states, last, codec.encode_turn(MODEL, reply.text.encode("utf-8", "surrogateescape"))
        )


def test_reply_of_a_trained_model_is_the_learned_one(dialogue_model: Model) -> None:
    talk = dialogue_model.conversation(SampleOptions(temperature=0))
    right = 0
    for turns in KNOWN:
        talk.restart()
        right += answer(talk, turns[0][1]).text == turns[1][1]
    assert right >= 10


# ---- Whole conversations written at one go ----


def transcript(engine: Any, prompt: bytes, **how: Any) -> bytes:
    primed = prime(engine, BYTES, prompt)
    (sample,) = samples(engine, BYTES, primed, SampleOptions(**how))
    assert sample.prompt == primed.text
    return (primed.text + sample.text).encode("utf-8", "surrogateescape")


def test_transcript_continues_the_users_turn() -> None:
    engine = saying(b"yes", b"no")

    def logits_of(read: ReadIds) -> npt.ArrayLike:
        return engine.script(read) if read[-1] != USER else np.eye(BYTES.vocab_size)[MODEL] * 30

    written = transcript(Scripted(BYTES.vocab_size, lambda read: np.asarray(
        logits_of(read) if MODEL in read else np.eye(BYTES.vocab_size)[MODEL] * 30
    )), b"Well?", length=20, temperature=0)  # fmt: skip
    assert written == b"A: Well?\nB: yes\nA: \nB: no\nA: "[: 8 + 20]


@pytest.mark.parametrize("prompt", ["Shall we? 中".encode(), b"\xff", b"\xe4\xb8", b"A: x\nB: "])
def test_transcript_shows_the_prompt_once(prompt: bytes) -> None:
    """Whatever its bytes: an unfinished character is not said again by who comes next."""
    engine = Scripted(BYTES.vocab_size, lambda read: np.eye(BYTES.vocab_size)[MODEL if MODEL not in read else 99] * 30)
    assert transcript(engine, prompt, length=8, temperature=0) == b"A: " + prompt + b"\nB: aaaa"


def test_transcript_without_a_prompt() -> None:
    engine = Scripted(BYTES.vocab_size, lambda read: np.eye(BYTES.vocab_size)[99 if USER in read else USER] * 30)
    assert transcript(engine, b"", length=6, temperature=0) == b"A: aaa"
