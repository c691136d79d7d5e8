"""Conversations: what is kept between turns, what a reply may be, how candidates are chosen, and how it is measured."""

from __future__ import annotations

import functools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import seqgen
from seqgen import tokenizers
from seqgen.api.model import Model
from seqgen.config import TOKENIZER_NAMES, ReplyOptions, SampleOptions
from seqgen.evaluation.dialogue import (
    NUM_DISTRACTORS,
    DialogueScorer,
    DialogueTally,
    TfidfRetrieval,
    _first,
    distinct_n,
    hits_at_one,
    ranking_questions,
    sample_reply_contexts,
    word_tokens,
)
from seqgen.evaluation.text import TorchScorer
from seqgen.generation.dialogue import MODEL, USER, Conversation, Reply, prime
from seqgen.generation.text import samples
from seqgen.model.language import LanguageModel
from seqgen.tokenizers.characters import ByteCodec
from seqgen.tokenizers.dialogue import DialogueCodec

# ---- A scripted engine, and talk with it ----

Read = tuple[int, ...]
BYTES = DialogueCodec(ByteCodec())
CONTROL = [0, 1, BYTES.end]
LETTERS = [byte + 2 for byte in b"abcdefgh"]
ANY = [byte + 2 for byte in range(256)]


class Scripted:
    """An engine whose logits are a function of all that was read; its state is just that."""

    batch_size = 1

    def __init__(self, vocab_size: int, logits_of: Callable[[Read], npt.ArrayLike]) -> None:
        self.vocab_size, self.logits_of = vocab_size, logits_of
        self.stepped = 0  # ids read, one way or the other

    def initial(self, batch: int) -> tuple[Read, ...]:
        return ((),) * batch

    def step(
        self, ids: npt.NDArray[np.integer], state: tuple[Read, ...]
    ) -> tuple[npt.NDArray[np.float32], tuple[Read, ...]]:
        self.stepped += len(ids)
        new = tuple((*read, int(token)) for read, token in zip(state, ids, strict=True))
        return np.array([self.logits_of(read) for read in new], dtype=np.float32), new

    def read(self, ids: npt.NDArray[np.integer], state: tuple[Read, ...]) -> tuple[Read, ...]:
        self.stepped += len(ids)
        return ((*state[0], *map(int, ids)),)

    def repeat(self, state: tuple[Read, ...], batch: int) -> tuple[Read, ...]:
        return state * batch


def noise(words: Sequence[int] = LETTERS, closing: float = 0.0) -> Scripted:
    """Random logits, the same wherever the same was read, over some words and the control tokens."""
    some = np.array([*words, *CONTROL])

    def logits_of(read: Read) -> npt.ArrayLike:
        logits = np.full(BYTES.vocab_size, -1e9)
        logits[some] = np.random.default_rng([5, *read]).normal(0, 1.5, len(some))
        logits[CONTROL] += closing
        return logits

    return Scripted(BYTES.vocab_size, logits_of)


def saying(*replies: bytes) -> Scripted:
    """Gives these replies one after another, whatever it is asked; ends by giving the word back."""

    def logits_of(read: Read) -> npt.ArrayLike:
        number = read.count(MODEL) - 1
        place = len(read) - 1 - max(place for place, token in enumerate(read) if token == MODEL)
        reply = replies[number % len(replies)]
        wanted = reply[place] + 2 if place < len(reply) else USER
        return np.where(np.arange(BYTES.vocab_size) == wanted, 30.0, 0.0)

    return Scripted(BYTES.vocab_size, logits_of)


def talk_with(engine: Any, codec: DialogueCodec = BYTES, candidates: int = 1, mutual: float = 0.5, **how: Any) -> Any:
    return Conversation(engine, codec, SampleOptions(**how), ReplyOptions(candidates, mutual))


def answer(talk: Conversation, *words: str) -> Reply:
    """The reply to the last of these lines, which are all said by the person."""
    for line in words:
        talk.hear(line)
    *pieces, reply = talk.reply()
    assert isinstance(reply, Reply)
    spoken = "".join(piece for piece in pieces if isinstance(piece, str))
    assert spoken.strip() == reply.text
    assert spoken == spoken.lstrip() or not reply.text
    return reply


def read_so_far(talk: Conversation) -> Read:
    """All ids of the conversation so far, the last of which is still to be stepped on."""
    place: Any = talk._here
    (state,) = place.state
    return (*state, place.last)


def spelt(codec: DialogueCodec, turns: Sequence[tuple[int, str]]) -> Read:
    """What a conversation is for a model that reads it in one go."""
    ids = codec.conversation((speaker, words.encode("utf-8", "surrogateescape")) for speaker, words in turns)
    return (codec.end, *map(int, ids))


# ---- A tiny model that knows a few conversations by heart ----

THINGS = "lamp boat door hat coat dog cup map key hen fox oar".split()  # noqa: SIM905
PLACES = "quay barn well loft mill yard shed pond cave hill inn lake".split()  # noqa: SIM905
PEOPLE = "Ann Bob Cy Dot Eve Flo Gus Hal Ida Jon Kit Lee".split()  # noqa: SIM905


def known(number: int) -> list[tuple[int, str]]:
    thing, place, person = THINGS[number], PLACES[number], PEOPLE[number]
    return [
        (0, f"where is the {thing}?"),
        (1, f"the {thing} is in the {place}."),
        (0, "who has it?"),
        (1, f"{person}, by the {place}."),
    ]


KNOWN = [known(number) for number in range(12)]


def as_messages(turns: Sequence[tuple[int, str]]) -> str:
    roles = ("user", "assistant")
    return json.dumps({"messages": [{"role": roles[speaker], "content": words} for speaker, words in turns]})


# Enough for it to know nearly all of them.
KNOWING = [
    "--tokenizer", "char", "--rnn-size", "64", "--embedding-size", "16", "--batch-size", "4", "--seq-length", "64",
    "--steps", "260", "--learning-rate", "0.02", "--dropout", "0", "--val-fraction", "0",
]  # fmt: skip


@functools.cache
def trained(base: Path) -> Path:
    """A small LSTM over characters that has read twelve conversations over and over. Trained once a session."""
    source, folder = base / "dialogue-known.jsonl", base / "dialogue-model"
    source.write_text("".join(as_messages(KNOWN[number % 12]) + "\n" for number in range(60)), encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable, "-m", "seqgen", "train", str(source), "-o", str(folder), *KNOWING, "--threads", "1",
            "--precision", "fp32", "--seed", "1",
        ],
        env={**os.environ, "SEQGEN_CACHE": str(base / "dialogue-cache"), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def dialogue_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return seqgen.load(trained(tmp_path_factory.getbasetemp()))


def codec_of(model: Model) -> DialogueCodec:
    assert isinstance(model.codec, DialogueCodec)
    return model.codec


# ---- What is kept between turns ----


def test_the_state_is_that_of_the_whole_conversation_read_at_once() -> None:
    talk = talk_with(noise(closing=1.0))
    assert read_so_far(talk) == (BYTES.end,)
    for words in ("hello", "", "中 \udcff", "\nB: forged", "A: x\0"):
        answer(talk, words)
        assert read_so_far(talk) == spelt(BYTES, talk.turns)
    assert [speaker for speaker, _ in talk.turns] == [USER, MODEL] * 5
    assert read_so_far(talk).count(MODEL) == 5, "nobody can say a speaker's token"


def test_the_state_of_a_real_model_too(dialogue_model: Model) -> None:
    """To the last bit: the engine reads a turn as it reads a whole conversation."""
    talk = dialogue_model.conversation(SampleOptions(seed=2))
    for words in ("where is the dog?", "who has it?", "é 中 \udcff"):
        answer(talk, words)
    engine = dialogue_model.engine
    ids = np.array(spelt(codec_of(dialogue_model), talk.turns))
    whole, _ = engine.step(ids[-1:], engine.read(ids[:-1], engine.initial(1)))
    kept, _ = engine.step(np.array([talk._here.last]), talk._here.state)
    assert np.array_equal(whole, kept)


def test_nothing_is_read_twice() -> None:
    engine = noise(closing=1.0)
    talk = talk_with(engine)
    replies = [answer(talk, "hello there"), answer(talk, "and more")]
    # A reply is read when it is drawn and when it is taken; its speaker's token and the one before likewise.
    assert engine.stepped <= len(read_so_far(talk)) + sum(reply.tokens + 3 for reply in replies)


def test_other_speakers_are_heard() -> None:
    talk = talk_with(noise(closing=1.0), DialogueCodec(ByteCodec(), 2))
    talk.hear("one", 0)
    talk.hear("two", 7)  # beyond the last
    talk.hear("three", 1)
    assert read_so_far(talk) == spelt(BYTES, [(0, "one"), (1, "two"), (1, "three")])
    *_, reply = talk.reply(speaker=0)
    assert talk.turns[-1] == (0, reply.text)


OPERATIONS = st.lists(st.sampled_from(["hear", "reply", "undo", "retry", "restart"]), max_size=14)


@settings(max_examples=60)
@given(operations=OPERATIONS, data=st.data())
def test_taking_back_is_as_if_it_was_never_said(operations: list[str], data: st.DataObject) -> None:
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
        assert read_so_far(talk) == spelt(BYTES, turns)


@pytest.mark.parametrize("how", ["undo", "retry", "restart"])
def test_the_next_reply_is_the_same_after_taking_back(how: str, dialogue_model: Model) -> None:
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


def test_another_try_is_another_reply() -> None:
    talk = talk_with(noise())
    said = [answer(talk, "hello").text]
    for _ in range(4):
        assert talk.undo_reply()
        *_, reply = talk.reply()
        said.append(reply.text)
    assert len(set(said)) == 5


def test_conversations_never_leak_into_each_other(dialogue_model: Model) -> None:
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
def test_a_reply_is_never_empty_and_holds_no_control_token(kind: str, candidates: int) -> None:
    """Even where the model wants nothing but control tokens."""
    codec = DialogueCodec(tokenizers.fit(kind, [b"the boat and the boy came home late in the rain\n" * 9]), 3)
    control = [token for token, piece in enumerate(codec.pieces()) if piece is None]
    assert {0, 1, 2, codec.end} <= set(control)
    logits = np.random.default_rng(0).normal(0, 0.1, codec.vocab_size)
    logits[control] += 20
    talk = talk_with(Scripted(codec.vocab_size, lambda read: logits), codec, candidates)
    before: Read = (codec.end,)
    for _ in range(5):
        talk.hear("x")
        opening = (*before, *map(int, codec.turn(USER, b"x")), MODEL)
        *_, reply = talk.reply()
        before = read_so_far(talk)
        assert before[: len(opening)] == opening
        assert len(before) - len(opening) == reply.tokens >= 1
        assert not set(before[len(opening) :]) & set(control)


def test_a_reply_of_any_bytes() -> None:
    """What was drawn is what is remembered, byte for byte; white space at its ends is not shown."""
    talk = talk_with(noise(ANY, closing=2.0))
    for _ in range(6):
        before = read_so_far(talk)
        reply = answer(talk, "go on")
        drawn = read_so_far(talk)[len(before) + 7 :]
        assert len(drawn) == reply.tokens
        assert tokenizers.decode(BYTES, drawn).decode("utf-8", "surrogateescape").strip() == reply.text


def test_a_reply_comes_as_it_is_drawn_in_whole_characters() -> None:
    talk = talk_with(saying("  né 中\n😀! ".encode()), temperature=0)
    talk.hear("hm")
    *pieces, reply = talk.reply()
    assert pieces == ["n", "é", " ", "中", "\n", "😀", "!", " "]
    assert (reply.text, reply.tokens) == ("né 中\n😀!", 16)


def test_bytes_that_are_no_characters_are_given_at_the_end() -> None:
    talk = talk_with(saying(b"a\xe4\xb8"), temperature=0)
    talk.hear("hm")
    *pieces, reply = talk.reply()
    assert "".join(pieces) == reply.text == "a\udce4\udcb8"


@pytest.mark.parametrize("candidates", [1, 2])
def test_a_reply_ends_even_if_the_model_never_ends_it(candidates: int) -> None:
    logits = np.full(BYTES.vocab_size, -50.0)
    logits[LETTERS] = 0.0
    reply = answer(talk_with(Scripted(BYTES.vocab_size, lambda read: logits), candidates=candidates), "hello")
    assert reply.tokens == len(reply.text) == 400


def test_a_reply_can_be_stopped_and_counts_as_said() -> None:
    talk = talk_with(saying(b"abcdefgh"), temperature=0)
    talk.hear("hm")
    heard: list[Any] = []
    for piece in talk.reply(stopped=lambda: len(heard) == 3):
        heard.append(piece)  # noqa: PERF402 - what stops it
    assert heard[:-1] == ["a", "b", "c"]
    assert talk.turns[-1] == (MODEL, "abc")
    assert read_so_far(talk) == spelt(BYTES, talk.turns)


def test_stopping_among_candidates_leaves_those_that_are_there() -> None:
    talk = talk_with(noise(closing=1.0), candidates=50)
    talk.hear("hm")
    *_, reply = talk.reply(stopped=lambda: True)
    talk.restart()
    talk.start_at(0)
    talk.reply_options = ReplyOptions(1)
    assert answer(talk, "hm").text == reply.text


def test_the_same_seed_is_the_same_conversation() -> None:
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


def test_conversations_side_by_side_draw_differently() -> None:
    drawn = set()
    for number in range(5):
        talk = talk_with(noise())
        talk.start_at(number)
        drawn.add(answer(talk, "hello").text)
    assert len(drawn) == 5


# ---- What a reply costs, and which is the best ----


def share(engine: Scripted, read: Read) -> npt.NDArray[np.float64]:
    logits = np.asarray(engine.logits_of(read), dtype=np.float32).astype(float)
    logs: npt.NDArray[np.float64] = logits - np.logaddexp.reduce(logits)
    return logs


def alone_by_hand(engine: Scripted, words: str) -> float:
    """What a reply and its end cost where nothing was said."""
    read: Read = (BYTES.end, MODEL)
    total = 0.0
    for token in map(int, BYTES.encode(words.encode())):
        total += share(engine, read)[token]
        read = (*read, token)
    return total + float(np.logaddexp.reduce(share(engine, read)[CONTROL]))


def repeats(words: str, said: set[str]) -> bool:
    runs = [words[place : place + 4] for place in range(len(words) - 3)]
    return len(set(runs)) < len(runs) or words in said


@pytest.mark.parametrize("mutual", [0.0, 0.5, 1.0])
def test_the_candidate_with_the_highest_score_is_chosen(mutual: float) -> None:
    """The same six replies one at a time, scored by hand."""
    engine = noise(closing=1.0)
    for seed in range(6):
        found: dict[str, float] = {}
        for index in range(6):
            talk = talk_with(engine, seed=seed)
            talk._drawn = index
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


def test_a_reply_costs_what_the_model_says() -> None:
    """Its tokens and its end; control tokens have no share in the first token, which has to be a word."""
    engine = noise(closing=1.0)
    talk = talk_with(engine, temperature=0.5, top_k=5)
    reply = answer(talk, "hello?")
    read = spelt(BYTES, [(USER, "hello?"), (MODEL, "")])
    first = share(engine, read)
    total = -float(np.logaddexp.reduce(first[LETTERS]))
    for token in map(int, BYTES.encode(reply.text.encode())):
        total += share(engine, read)[token]
        read = (*read, token)
    assert any(reply.log_probability == pytest.approx(total + share(engine, read)[end], abs=1e-4) for end in CONTROL)
    assert reply.alone is None
    assert reply.score is None


def test_repeating_oneself_is_avoided_where_it_can_be() -> None:
    """Here `a` is far likelier than `b`, and was just said."""

    def logits_of(read: Read) -> npt.ArrayLike:
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


def test_saying_the_same_twice_in_a_reply_is_avoided() -> None:
    def logits_of(read: Read) -> npt.ArrayLike:
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
def test_the_log_probability_is_the_scorers(candidates: int, dialogue_model: Model) -> None:
    codec, reader = codec_of(dialogue_model), DialogueScorer(dialogue_model.network, codec_of(dialogue_model))
    talk = Model(dialogue_model.checkpoint, exact=True).conversation(SampleOptions(seed=5), ReplyOptions(candidates))
    control = [0, 1, codec.end]
    states, last = reader.start()
    beginning = states, last
    for words in ("where is the map?", "who has it?"):
        reply = answer(talk, words)
        ids = codec.encode(reply.text.encode("utf-8", "surrogateescape"))
        assert len(ids) == reply.tokens
        states, last, _ = reader.score_turn(states, last, codec.turn(USER, words.encode()))
        closed = [np.append(ids, token) for token in control]
        # Control tokens have no share in the first token.
        nothing = np.logaddexp.reduce(reader.replies(states, last, MODEL, list(np.array(control)[:, None])))
        costs = reader.replies(states, last, MODEL, closed) - math.log1p(-math.exp(nothing))
        assert min(abs(costs - reply.log_probability)) < 1e-3
        if candidates > 1:
            assert reply.alone == pytest.approx(
                np.logaddexp.reduce(reader.replies(*beginning, MODEL, closed)), abs=1e-3
            )
        states, last, _ = reader.score_turn(
            states, last, codec.turn(MODEL, reply.text.encode("utf-8", "surrogateescape"))
        )


def test_a_model_that_knows_answers_well(dialogue_model: Model) -> None:
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


def test_a_transcript_goes_on_from_what_a_person_says() -> None:
    engine = saying(b"yes", b"no")

    def logits_of(read: Read) -> npt.ArrayLike:
        return engine.logits_of(read) if read[-1] != USER else np.eye(BYTES.vocab_size)[MODEL] * 30

    written = transcript(Scripted(BYTES.vocab_size, lambda read: np.asarray(
        logits_of(read) if MODEL in read else np.eye(BYTES.vocab_size)[MODEL] * 30
    )), b"Well?", length=20, temperature=0)  # fmt: skip
    assert written == b"A: Well?\nB: yes\nA: \nB: no\nA: "[: 8 + 20]


@pytest.mark.parametrize("prompt", ["Shall we? 中".encode(), b"\xff", b"\xe4\xb8", b"A: x\nB: "])
def test_the_prompt_stands_once_before_a_transcript(prompt: bytes) -> None:
    """Whatever its bytes: an unfinished character is not said again by who comes next."""
    engine = Scripted(BYTES.vocab_size, lambda read: np.eye(BYTES.vocab_size)[MODEL if MODEL not in read else 99] * 30)
    assert transcript(engine, prompt, length=8, temperature=0) == b"A: " + prompt + b"\nB: aaaa"


def test_a_transcript_from_nothing() -> None:
    engine = Scripted(BYTES.vocab_size, lambda read: np.eye(BYTES.vocab_size)[99 if USER in read else USER] * 30)
    assert transcript(engine, b"", length=6, temperature=0) == b"A: aaa"


# ---- Questions ----


def made_up(count: int, turns: int = 4) -> list[list[tuple[int, str]]]:
    """Conversations in which nearly every turn is unlike every other."""
    return [[(n % 2, f"words {n * m % 17} of {m}.{n}" if n else "hello") for n in range(turns)] for m in range(count)]


def test_questions_are_the_same_for_the_same_seed() -> None:
    conversations = made_up(12)
    assert ranking_questions(conversations, 1) == ranking_questions(conversations, 1)
    assert ranking_questions(conversations, 1) != ranking_questions(conversations, 2)


def test_every_turn_but_the_first_is_asked_for_once_and_in_order() -> None:
    conversations = made_up(12)
    asked = ranking_questions(conversations)
    assert [(question.conversation, question.place) for question in asked] == [
        (number, place) for number in range(12) for place in (1, 2, 3)
    ]
    for question in asked:
        speaker, words = conversations[question.conversation][question.place]
        assert (question.speaker, question.replies[0]) == (speaker, words)
        assert len(question.replies) == NUM_DISTRACTORS + 1 == 10


@settings(max_examples=40)
@given(
    conversations=st.lists(
        st.lists(st.sampled_from("abcdefg"), max_size=4).map(lambda all_: [(n % 2, w) for n, w in enumerate(all_)]),
        max_size=6,
    ),
    seed=st.integers(0, 5),
)
def test_others_are_other_peoples_replies_and_never_the_true_one(
    conversations: list[list[tuple[int, str]]], seed: int
) -> None:
    for question in ranking_questions(conversations, seed):
        elsewhere = {
            words for number, turns in enumerate(conversations) if number != question.conversation
            for _, words in turns[1:]
        }  # fmt: skip
        assert question.replies[0] not in question.replies[1:]
        assert set(question.replies[1:]) <= elsewhere
        assert len(question.replies) == 10


def test_where_there_are_no_others_nothing_is_asked() -> None:
    assert ranking_questions([]) == []
    assert ranking_questions(made_up(1)) == []
    assert ranking_questions([[(0, "hello")]] * 9) == []
    assert ranking_questions([[(0, "hello"), (1, "yes")]] * 9) == [], "they all say the same"


# ---- Reading ----


def test_replies_cost_what_they_cost_one_by_one(dialogue_model: Model) -> None:
    """Whatever stands beside them: shorter ones are padded."""
    codec, reader = codec_of(dialogue_model), DialogueScorer(dialogue_model.network, codec_of(dialogue_model))
    replies = ["the hen is in the pond.", "", "no", "é中\udcff", "x" * 90, "who has it?"]
    ids = [codec.encode(reply.encode("utf-8", "surrogateescape")) for reply in replies]
    states, last = reader.start()
    states, last, _ = reader.score_turn(states, last, codec.turn(0, b"where is the hen?"))
    for speaker in (0, 1, 5):
        together = reader.replies(states, last, speaker, ids)
        assert together.shape == (6,)
        opening = reader.score_turn(states, last, codec.turn(speaker, b""))[2]
        for log, each in zip(together, ids, strict=True):
            turn = np.append(codec.turn(speaker, b""), each).astype(np.int32)
            after, ends_with, nats = reader.score_turn(states, last, turn)
            assert log == pytest.approx(opening - nats, abs=1e-3)
            assert ends_with == turn[-1]
            assert reader.replies(states, last, speaker, [each])[0] == pytest.approx(log, abs=1e-4)
            assert all(one is not other for one, other in zip(after[0], states[0], strict=True))
        assert np.allclose(reader.replies(states, last, speaker, ids[::-1]), together[::-1], atol=1e-4)
    assert together[1] == 0.0


def test_a_tally_equals_one_pass_over_all_ids(dialogue_model: Model) -> None:
    codec, network = codec_of(dialogue_model), dialogue_model.network
    conversations = [*KNOWN[:3], [(0, "é中 \udcff  no"), (1, "x"), (9, "and I")], [(1, "alone")]]
    tally, reader = DialogueTally(), DialogueScorer(network, codec)
    nats, tokens = 0.0, 0
    for turns in conversations:
        tally.add(reader, codec, turns)
        ids = np.append(spelt(codec, turns)[1:], codec.end).astype(np.int32)
        nats += sum(float(scored.nats.sum()) for scored in TorchScorer(network, codec).read(ids))
        tokens += len(ids)
    texts = [words for turns in conversations for _, words in turns]
    assert tally.nats == pytest.approx(nats, abs=1e-2)
    assert (tally.records, tally.turns, tally.tokens) == (5, 16, tokens)
    assert tally.characters == sum(map(len, texts))
    assert tally.bytes == len("".join(texts).encode("utf-8", "surrogateescape"))
    assert tally.words == sum(len(text.split()) for text in texts)
    metrics = tally.metrics()
    assert metrics["nats_per_character"] == pytest.approx(tally.nats / tally.characters)
    assert metrics["bits_per_character"] == pytest.approx(tally.nats / tally.characters / math.log(2))
    assert metrics["bits_per_byte"] == pytest.approx(tally.nats / tally.bytes / math.log(2))
    assert metrics["perplexity_per_token"] == pytest.approx(math.exp(tally.nats / tokens))
    assert metrics["perplexity_per_word"] == pytest.approx(math.exp(tally.nats / tally.words))


def test_an_absurd_perplexity_stays_a_number() -> None:
    assert math.isfinite(DialogueTally(words=1, tokens=1, nats=1e9).metrics()["perplexity_per_word"])
    assert set(DialogueTally().metrics().values()) == {0.0, 1.0}


def test_the_score_of_a_conversation_is_its_tally(dialogue_model: Model, tmp_path: Path) -> None:
    from seqgen.corpus import sources

    path = tmp_path / "two.jsonl"
    path.write_text("".join(as_messages(turns) + "\n" for turns in KNOWN[:2]), encoding="utf-8")
    with sources.Spool() as spool:
        scores = list(
            dialogue_model.score_conversations(sources.checksum_documents(sources.find([str(path)], spool)), True)
        )
    assert len(scores) == 2
    for turns, score in zip(KNOWN, scores, strict=False):
        tally = DialogueTally()
        tally.add(DialogueScorer(dialogue_model.network, codec_of(dialogue_model)), codec_of(dialogue_model), turns)
        assert score.nats == pytest.approx(tally.nats, abs=1e-3)
        assert score.tokens == tally.tokens
        assert score.per_token is not None
        assert sum(nats for _, nats in score.per_token) == pytest.approx(score.nats, abs=1e-3)


# ---- The true reply among ten ----


@pytest.mark.parametrize(
    ("scores", "won"),
    [
        ([3, 2, 1], 1.0),
        ([1, 2, 3], 0.0),
        ([2, 2, 1], 0.5),
        ([2, 2, 2, 2], 0.25),
        ([1, 2, 2], 0.0),
        ([-math.inf, -math.inf], 0.5),
        ([0.0], 1.0),
    ],
)
def test_equals_share_the_first_place(scores: list[float], won: float) -> None:
    assert _first(np.array(scores, dtype=float)) == won


def test_a_model_that_knows_finds_the_true_reply(dialogue_model: Model) -> None:
    asked = ranking_questions(KNOWN)
    told: list[tuple[int, int]] = []
    found = hits_at_one(
        dialogue_model.network, codec_of(dialogue_model), KNOWN, asked, progress=lambda *done: told.append(done)
    )
    assert found.ranking_questions == len(asked) == 36
    assert min(found.by_probability, found.by_token) >= 0.9
    assert found.by_mutual_information >= 0.5
    assert told == sorted(set(told))
    assert told[-1] == (36, 36)


def test_a_model_that_knows_nothing_guesses(dialogue_model: Model) -> None:
    network = LanguageModel(dialogue_model.checkpoint.network, torch.Generator().manual_seed(0)).eval()
    chance = np.random.default_rng(0)
    conversations = [
        [(n % 2, " ".join(chance.choice(THINGS + PLACES, 4))) for n in range(6)] for _ in range(30)
    ]  # fmt: skip
    found = hits_at_one(network, codec_of(dialogue_model), conversations, ranking_questions(conversations))
    assert found.ranking_questions == 150
    for share_of in (found.by_probability, found.by_token, found.by_mutual_information):
        assert 0.03 <= share_of <= 0.3


def test_hits_are_what_the_definition_says(dialogue_model: Model) -> None:
    """Every reply of every question read alone, after its whole history."""
    codec, reader = codec_of(dialogue_model), DialogueScorer(dialogue_model.network, codec_of(dialogue_model))
    conversations = [*KNOWN[:4], [(0, "hm"), (1, "é?"), (0, "the oar")]]
    asked = ranking_questions(conversations, 3)
    wins = np.zeros(3)
    for question in asked:
        ids = [codec.encode(reply.encode()) for reply in question.replies]
        history = spelt(codec, conversations[question.conversation][: question.place])[1:]
        states, last, _ = reader.score_turn(*reader.start(), np.array(history, dtype=np.int32))
        given = np.array([reader.replies(states, last, question.speaker, [each])[0] for each in ids])
        free = np.array([reader.replies(*reader.start(), question.speaker, [each])[0] for each in ids])
        sizes = np.array([len(each) for each in ids])
        for place, scores in enumerate([given, given / sizes, given - free]):
            wins[place] += scores.argmax() == 0
    found = hits_at_one(dialogue_model.network, codec, conversations, asked)
    assert found.ranking_questions == len(asked) == 14
    assert [found.by_probability, found.by_token, found.by_mutual_information] == pytest.approx(wins / 14)


def test_no_questions_no_hits(dialogue_model: Model) -> None:
    found = hits_at_one(dialogue_model.network, codec_of(dialogue_model), KNOWN, [])
    assert (found.by_probability, found.by_token, found.by_mutual_information, found.ranking_questions) == (
        0.0,
        0.0,
        0.0,
        0,
    )


# ---- Words ----


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("It's 1984, isn't it?", ["it", "s", "1984", "isn", "t", "it"]),
        ("ÉTÉ été", ["été", "été"]),
        ("你好 world42", ["你", "好", "world", "42"]),
        ("snake_case", ["snake", "case"]),
        ("... !?", []),
        ("\udcff a", ["a"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert word_tokens(text) == words


@pytest.mark.parametrize(
    ("replies", "length", "wanted"),
    [
        ([], 1, 0.0),
        ([""], 1, 0.0),
        (["a b c"], 1, 1.0),
        (["a a a a"], 1, 1 / 4),
        (["a b", "A, B!"], 1, 2 / 4),
        (["a b", "a b"], 2, 1 / 2),
        (["a b c a b"], 2, 3 / 4),
        (["a", "b"], 2, 0.0),  # no run spans two replies
        (["a b", "b a"], 2, 1.0),
        (["我我你"], 1, 2 / 3),
    ],
)
def test_distinct_by_hand(replies: list[str], length: int, wanted: float) -> None:
    assert distinct_n(replies, length) == pytest.approx(wanted)


def test_vectors_by_hand() -> None:
    """Three texts: `the` in all, `boat` in two, `lamp` in one, and `hen` in none."""
    rival = TfidfRetrieval(["the boat", "The boat, the lamp", "the"])
    the, boat, lamp, hen = (math.log(4 / (1 + having)) + 1 for having in (3, 2, 1, 0))
    assert the == 1.0
    assert rival.vector("the") == {"the": 1.0}
    size = math.sqrt((2 * the) ** 2 + boat**2 + lamp**2 + hen**2)
    assert rival.vector("Lamp! the boat; the HEN") == pytest.approx(
        {"lamp": lamp / size, "the": 2 * the / size, "boat": boat / size, "hen": hen / size}
    )
    assert rival.vector("?!") == {}


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["the", "boat", "lamp", "hen", "中", "7"]), min_size=1, max_size=9).map(" ".join))
def test_vectors_have_length_one(text: str) -> None:
    vector = TfidfRetrieval(["the boat", "the lamp"]).vector(text)
    assert sum(weight * weight for weight in vector.values()) == pytest.approx(1.0)


def test_retrieval_finds_the_reply_with_the_same_words() -> None:
    conversations = [[(0, f"about {thing}"), (1, f"the {thing}, yes")] for thing in THINGS]
    asked = ranking_questions(conversations)
    rival = TfidfRetrieval(words for turns in conversations for _, words in turns)
    assert rival.hits_at_one(conversations, asked) == 1.0
    strangers = [[(0, "hm"), (1, f"the {thing}, yes")] for thing in THINGS]
    assert rival.hits_at_one(strangers, ranking_questions(strangers)) == pytest.approx(0.1, abs=1e-9), (
        "ten equals share the place"
    )
    assert rival.hits_at_one([], []) == 0.0


def test_retrieval_may_look_at_the_last_turns_only() -> None:
    conversations = [[(0, thing), (1, "hm"), (0, "well"), (1, f"the {thing}")] for thing in THINGS]
    asked = [question for question in ranking_questions(conversations) if question.place == 3]
    rival = TfidfRetrieval(words for turns in conversations for _, words in turns)
    assert rival.hits_at_one(conversations, asked) == 1.0
    assert rival.hits_at_one(conversations, asked, turns=3) == 1.0
    assert rival.hits_at_one(conversations, asked, turns=2) < 0.5


# ---- Places for a reply ----


def test_pairs_are_places_with_their_history() -> None:
    conversations = made_up(5)
    every = list(sample_reply_contexts(conversations, 100))
    assert len(every) == 15
    assert every == [(turns[:place], turns[place][1]) for turns in conversations for place in (1, 2, 3)]
    some = list(sample_reply_contexts(conversations, 6, seed=3))
    assert some == list(sample_reply_contexts(conversations, 6, seed=3))
    assert some != list(sample_reply_contexts(conversations, 6, seed=4))
    assert len(some) == 6
    assert all(pair in every for pair in some)
    assert list(sample_reply_contexts([], 3)) == list(sample_reply_contexts(conversations, 0)) == []
