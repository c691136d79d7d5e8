"""The better ones of many texts: the best of several samples, and beam search."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgen.config import SampleOptions, SearchOptions
from seqgen.errors import UserError
from seqgen.generation.copies.text import TextCopyGuard, TextCopyIndex
from seqgen.generation.job import GenerationJob
from seqgen.generation.prompts import prime
from seqgen.generation.sampling.beam import beam_search, best_of_n
from seqgen.generation.sampling.constraints import SamplingRules
from seqgen.generation.sampling.filters import log_softmax
from seqgen.generation.streaming import generate_rows
from seqgen.generation.text import FinishedSample
from tests.helpers.random_models import CODECS, Models, load_model
from tests.helpers.running import Run
from tests.helpers.scripted import PieceCodec, ScriptedEngine, noise_engine


class Branched(ScriptedEngine):
    """A scripted engine whose streams can be chosen among."""

    def select(self, state: tuple[Any, ...], rows: list[int]) -> tuple[Any, ...]:
        return tuple(state[row] for row in rows)


def branched(vocab_size: int, logits_of: Callable[..., Any]) -> Branched:
    return Branched(vocab_size, logits_of)


def job(engine: Any, codec: Any, options: dict[str, Any], end: bool = False, **search: Any) -> GenerationJob:
    asked, prompt = SampleOptions(**options), prime(engine, codec, b"")
    return GenerationJob(
        engine, codec, prompt, asked, SearchOptions(**search), SamplingRules.of(codec, prompt, asked, end)
    )


def chances(seed: int, size: int) -> Callable[..., Any]:
    return lambda read: np.random.default_rng([seed, *read]).normal(0, 2, size).astype(np.float32)


def likeliest(seed: int, spellings: list[str], length: int, stops: tuple[str, ...] = ()) -> list[tuple[float, str]]:
    """Every text, by trying all: its log-probability a character and itself, the likeliest spelling of each."""
    found: dict[str, float] = {}

    def go(read: tuple[int, ...], cost: float, text: str) -> None:
        stop = min((text.find(one) for one in stops if one in text), default=-1)
        begun = any(one.startswith(text[at:]) for one in stops for at in range(min(len(text), length)))
        if stop >= 0 or (len(text) >= length and not begun):  # a stop string may begin within the length
            shown = text[:stop] if stop >= 0 else text[:length]
            found[shown] = max(found.get(shown, -np.inf), cost / len(text))
            return
        logits = chances(seed, len(spellings) + 1)(read).astype(float)[: len(spellings)]
        for token, log in enumerate(log_softmax(logits[None])[0]):
            go((*read, token), cost + float(log), text + spellings[token])

    go((len(spellings),), 0.0, "")
    return sorted(((cost, text) for text, cost in found.items()), reverse=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("spellings", "length", "stops"),
    [(["a", "b", "c"], 4, ()), (["ab", "cde", "a", "b"], 4, ()), (["a", "b", "c"], 5, ("bc",))],
    ids=["characters", "pieces", "stop"],
)
def test_beam_search_widest_finds_the_likeliest(
    spellings: list[str], length: int, stops: tuple[str, ...], seed: int
) -> None:
    engine = branched(len(spellings) + 1, chances(seed, len(spellings) + 1))
    found = list(beam_search(job(engine, PieceCodec(*spellings), {"length": length, "stop": stops}, beam=1024), 4))
    wanted = likeliest(seed, spellings, length, stops)[:4]
    assert [written.sample.text for written in found] == [text for _, text in wanted]
    assert [written.sample.index for written in found] == [0, 1, 2, 3]
    if len(spellings) == 3 and not stops:  # `end` has its share of the model's own
        assert all(written.log_prob_per_character < cost for written, (cost, _) in zip(found, wanted, strict=True))


def test_beam_search_of_width_one_is_greedy() -> None:
    for seed in range(5):
        engine = branched(5, chances(seed, 5))
        (found,) = beam_search(job(engine, PieceCodec(*"abcd"), {"length": 20}, beam=1), 1)
        greedy = job(engine, PieceCodec(*"abcd"), {"length": 20, "temperature": 0.0})
        *_, (_, _, wanted) = generate_rows(greedy, [0])
        assert wanted is not None
        assert found.sample.text == wanted.sample.text
        assert found.sample.log_probability == pytest.approx(wanted.sample.log_probability)


def test_beam_search_wider_is_usually_better() -> None:
    better = worse = 0
    for seed in range(30):
        engine = branched(5, lambda read, seed=seed: [*chances(seed, 4)(read), -40.0])  # the model never ends
        one, many = (next(beam_search(job(engine, PieceCodec(*"abcd"), {"length": 9}, beam=n), 1)) for n in (1, 8))
        better += many.log_prob_per_character > one.log_prob_per_character + 1e-9
        worse += many.log_prob_per_character < one.log_prob_per_character - 1e-9
    assert better > 15
    assert worse < 2


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("length", [0, 1, 37])
def test_beam_search_keeps_the_length_with_every_codec(models: Models, kind: str, length: int) -> None:
    model = load_model(models(kind))
    found = model.sample("The 灯", n=3, length=length, beam=4)
    assert [len(sample.text) for sample in found] == [length] * len(found)
    assert len({sample.text for sample in found}) == len(found) == (3 if length else 1)
    costs = [sample.log_probability / max(sample.tokens, 1) for sample in found]
    assert model.sample("The 灯", n=3, length=length, beam=4, seed=9)[0].text == found[0].text, "nothing is drawn"
    if kind != "subword" and length:
        assert costs == sorted(costs, reverse=True)
        assert model.sample("The 灯", first=1, length=length, beam=4) == [found[1]]


def test_beam_search_engines_find_the_same(models: Models) -> None:
    texts = {load_model(models("char"), name).sample(length=30, beam=5)[0].text for name in ("light", "torch")}
    assert len(texts) == 1


def test_beam_search_model_may_end_the_text() -> None:
    def ends(read: tuple[int, ...]) -> list[float]:
        return [0.0, 1.0, 6.0 if len(read) == 4 else -9.0]

    engine = branched(3, ends)
    (found,) = beam_search(job(engine, PieceCodec("a", "b"), {"length": 50}, end=True, beam=3), 1)
    assert (found.sample.text, found.sample.finish_reason) == ("bbb", "end")


def test_beam_search_goes_on_until_the_last_requested_text_is_out_of_reach() -> None:
    """The first is soon found, and the second is a long text that is better than an early one."""

    def mostly_ends(read: tuple[int, ...]) -> list[float]:
        chances = {1: [0.0199, 0.0001, 0.98], 2: [0.5, 1e-9, 0.5]}.get(len(read), [1.0, 1e-9, 1e-9])
        return [math.log(chance) for chance in chances]

    engine = branched(3, mostly_ends)
    found = beam_search(job(engine, PieceCodec("a", "b"), {"length": 20}, end=True, beam=2), 2)
    assert [written.sample.text for written in found] == ["", "a" * 20]


def test_beam_search_applies_filters() -> None:
    engine = branched(4, lambda read: [3.0, 2.9, 2.8, 0.0])
    plain, varied = (
        next(beam_search(job(engine, PieceCodec(*"abc"), {"length": 6, **options}, beam=2), 1)).sample.text
        for options in ({}, {"repetition_penalty": 9.0, "repetition_window": 2})
    )
    assert plain == "aaaaaa"
    assert max(map(varied.count, "abc")) <= 3


def test_beam_search_applies_constraints(models: Models) -> None:
    model = load_model(models("char"))
    found = model.sample("The ", n=4, length=40, beam=6, ban=("e", "a"))
    assert not any(letter in sample.text for sample in found for letter in "ea")
    matching = model.sample("The ", n=3, length=40, beam=6, grammar="[a-z]{4} [a-z]{4}[.!]")
    assert all(re.fullmatch("[a-z]{4} [a-z]{4}[.!]", sample.text) for sample in matching)
    assert {sample.finish_reason for sample in matching} == {"grammar"}


def test_beam_search_goes_on_with_other_hypotheses_where_a_copy_guard_ends_one() -> None:
    """After a nothing may follow, being the beginning of a copy; after b anything may."""
    codec, engine = PieceCodec("a", "b"), branched(3, lambda read: [1.0, 0.9, -9.0])

    def found(corpus: bytes, length: int) -> list[str]:
        asked = job(engine, codec, {"length": length}, beam=2)
        guard = TextCopyGuard(TextCopyIndex.build([corpus]), codec, 1).after(b"")
        asked = dataclasses.replace(asked, rules=dataclasses.replace(asked.rules, guard=guard))
        return [each.sample.text for each in beam_search(asked, 2)]

    assert found(b"aab", 1) == ["a", "b"]
    assert found(b"aab", 4) == ["bbba", "bbbb"]
    with pytest.raises(UserError, match="--max-copy 1 excludes every token"):
        found(b"aabba", 4)


# ---- the best of several ----


def drawn(options: dict[str, Any], index: int, vocab_size: int = 9) -> FinishedSample:
    engine = noise_engine(vocab_size, 1)
    one = job(engine, LETTERS, options, end=True)
    *_, (_, _, written) = generate_rows(one, [index])
    assert written is not None
    return written


LETTERS = PieceCodec(*"abcdefgh")


@pytest.mark.parametrize("wave", [1, 4, 64])
def test_best_of_n_is_the_likeliest(wave: int) -> None:
    options = {"length": 12, "seed": 5, "stop": ("aa", "hg")}
    found = [written.sample for written in best_of_n(job(noise_engine(9, wave), LETTERS, options, True, best_of=6), 4)]
    for number, sample in enumerate(found):
        tries = [drawn(options, index) for index in range(6 * number, 6 * number + 6)]
        chosen = max(tries, key=lambda one: one.log_prob_per_character).sample
        assert (sample.index, sample.text, sample.log_probability) == (number, chosen.text, chosen.log_probability)
    alone = next(best_of_n(job(noise_engine(9, wave), LETTERS, options, True, best_of=6), 1, first=2))
    assert alone.sample == found[2]


def test_best_of_n_does_not_favour_short_texts() -> None:
    """Of a text that stops at once and one that goes on, the one whose characters are likelier."""
    options = {"length": 12, "seed": 1}
    tries = [drawn(options, index) for index in range(30)]
    shortest = min(tries, key=lambda one: len(one.sample.text))
    likeliest_whole = max(tries, key=lambda one: one.sample.log_probability)
    chosen = max(tries, key=lambda one: one.log_prob_per_character)
    assert likeliest_whole.sample == shortest.sample != chosen.sample


def test_best_of_one_is_the_sample_itself(models: Models) -> None:
    model = load_model(models("char"))
    assert model.sample(n=3, length=9, best_of=1) == model.sample(n=3, length=9)


def test_compose_best_of_is_the_likeliest_per_event(models: Models) -> None:
    model = load_model(models("midi", "music"))
    tries = model.compose(length=2, n=8)
    (chosen,) = model.compose(length=2, best_of=8)
    wanted = max(tries, key=lambda piece: piece.log_probability / piece.events)
    assert (chosen.index, chosen.piece) == (0, wanted.piece)
    assert model.compose(length=2, best_of=4, first=1)[0].piece in [piece.piece for piece in tries[4:]]


# ---- the command ----


def test_sample_command_best_of_and_beam(models: Models, run: Run) -> None:
    model = models("char")
    plain = run("sample", model, "-l", 40, "--json", "-n", 8).records
    (chosen,) = run("sample", model, "-l", 40, "--json", "--best-of", 8).records
    assert chosen["text"] == max(plain, key=lambda record: record["log_probability"])["text"]
    (found, second) = run("sample", model, "-l", 40, "--beam", 6, "-n", 2, "--json").records
    assert found["log_probability"] > chosen["log_probability"]
    assert run("sample", model, "-l", 40, "--beam", 6, "-n", 2).text == f"{found['text']}\n\n{second['text']}\n"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--beam", 3, "--best-of", 2], "--beam or --best-of, not both"),
        (["--beam", 3, "-n", 4], "finds at most that many texts, not 4"),
        (["--beam", 3, "-n", 2, "--first", 2], "not 4"),
        (["--beam", 2000], "--beam must be at most"),
        (["--beam", 3, "--xtc-probability", 0.5], "beam search draws nothing at random"),
        (["--beam", 3, "--mirostat-tau", 3], "beam search draws nothing at random"),
        (["--best-of", 0], "--best-of must be at least 1"),
        (["--max-copy", 0], "--max-copy must be at least 1"),
    ],
    ids=str,
)
def test_sample_command_invalid_search_is_one_error_line(
    models: Models, run: Run, flags: list[Any], words: str
) -> None:
    assert words in run("sample", models("char"), *flags, status=2).err


def test_beam_for_music_raises(models: Models, run: Run, tmp_path: Path) -> None:
    said = run("sample", models("midi", "music"), "--beam", 3, "-o", tmp_path / "a.mid", status=2).err
    assert "--beam is for" in said
    with pytest.raises(UserError, match="--beam is for"):
        load_model(models("midi", "music")).compose(beam=3)


def test_largest_returns_indices_in_order() -> None:
    from seqgen.generation.sampling.beam import _largest

    for seed in range(20):
        table = np.random.default_rng(seed).integers(0, 4, (3, 5)).astype(float)
        table[1, 2] = -np.inf
        wanted = sorted(range(15), key=lambda place: (-table.ravel()[place], place))
        for most in (1, 4, 14, 15, 99):
            assert _largest(table, most) == [place for place in wanted[:most] if place != 7]
    assert list(itertools.islice(_largest(np.full((2, 2), -np.inf), 3), 1)) == []
