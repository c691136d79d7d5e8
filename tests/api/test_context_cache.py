"""--context-cache: from training to sample, score, evaluate and chat, and through saved states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqgen
from seqgen.errors import ModelError, UserError
from seqgen.generation.engines import context_cache
from seqgen.generation.engines.base import CacheEntries
from seqgen.generation.state import SavedState, from_bytes
from seqgen.tensors import dump, parse
from seqgen.untrusted import as_bytes
from tests.helpers.random_models import Models, load_model
from tests.helpers.running import Run
from tests.helpers.untrained import TEXT

CACHE = ["--context-cache", 50]


@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_sample_with_context_cache_continues_a_saved_state(
    models: Models, run: Run, tmp_path: Path, engine: str
) -> None:
    model, state = models("char"), tmp_path / "s"
    how = [*CACHE, "--seed", 4, "--engine", engine, "-t", 0.7]
    whole = run("sample", model, "-p", "The old ", "-l", 200, *how).out
    assert whole != run("sample", model, "-p", "The old ", "-l", 200, "--seed", 4, "--engine", engine, "-t", 0.7).out
    first = run("sample", model, "-p", "The old ", "-l", 120, *how, "--state-out", state).out
    parts = [run("sample", model, "--state-in", state, "--state-out", state, "-l", 40, *how).out for _ in range(2)]
    assert b"".join([first, *parts]) == whole
    run("sample", model, "--state-in", state, "-l", 40)  # without a cache


def test_samples_with_context_cache_depend_on_nothing_beside_them(models: Models, run: Run) -> None:
    model = models("char")
    several = run("sample", model, *CACHE, "-n", 40, "-l", 30, "--json").records
    (alone,) = run("sample", model, *CACHE, "--first", 37, "-l", 30, "--json").records
    assert alone["text"] == several[37]["text"]


def test_score_with_context_cache_is_the_same_in_lines_and_from_states(
    models: Models, run: Run, tmp_path: Path
) -> None:
    model, book, state = models("char"), tmp_path / "book", tmp_path / "s"
    book.write_bytes(TEXT[:1500])
    (whole,) = run("score", model, book, *CACHE).records
    (plain,) = run("score", model, book).records
    assert whole["nats"] < plain["nats"], "the text repeats itself"
    lines = run("score", model, book, *CACHE, "--lines").records
    assert sum(line["nats"] for line in lines) == pytest.approx(whole["nats"], rel=1e-5)
    (tokens,) = run("score", model, book, *CACHE, "--per-token").records
    assert sum(nats for _, nats in tokens["per_token"]) == pytest.approx(whole["nats"], rel=1e-5)
    (tmp_path / "a").write_bytes(TEXT[:700])
    (tmp_path / "b").write_bytes(TEXT[700:1500])
    (first,) = run("score", model, tmp_path / "a", *CACHE, "--state-out", state).records
    (second,) = run("score", model, tmp_path / "b", *CACHE, "--state-in", state).records
    assert first["nats"] + second["nats"] == pytest.approx(whole["nats"], rel=1e-5)
    both = run("score", model, tmp_path / "a", tmp_path / "b", *CACHE).records
    assert both[0]["nats"] == pytest.approx(first["nats"], rel=1e-6)
    assert load_model(model).score(TEXT[:1500], context_cache=50).nats == pytest.approx(whole["nats"], rel=1e-6)


def test_evaluate_with_context_cache_has_both_figures_of_one_reading(
    models: Models, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "book").write_bytes(TEXT[:1500])
    (tmp_path / "page").write_bytes("¡".encode() + TEXT[-300:])
    sources = [tmp_path / "book", tmp_path / "page"]
    plain = json.loads(run("evaluate", models("char"), *sources, "--json", "--no-baselines").out)
    read: list[int] = []
    recall = context_cache.ContextCacheEngine.recall

    def counted(engine: Any, ids: Any, *more: Any) -> Any:
        read.append(len(ids))
        return recall(engine, ids, *more)

    monkeypatch.setattr(context_cache.ContextCacheEngine, "recall", counted)
    found = json.loads(run("evaluate", models("char"), *sources, *CACHE, "--json", "--no-baselines").out)
    assert sum(read) == found["tokens"]
    assert {name: found[name] for name in ("records", "tokens", "characters", "bytes")} == {
        name: plain[name] for name in ("records", "tokens", "characters", "bytes")
    }
    assert found["metrics"] == pytest.approx(plain["metrics"], rel=1e-6)
    assert set(found["context_cache"]) == set(found["metrics"])
    (scored,) = run("score", models("char"), tmp_path / "book", *CACHE).records
    (first,) = run("score", models("char"), "-", *CACHE, stdin=TEXT[:1]).records
    alone = json.loads(run("evaluate", models("char"), tmp_path / "book", *CACHE, "--json", "--no-baselines").out)
    nats = alone["context_cache"]["nats_per_character"] * (alone["characters"] - 1)
    assert nats == pytest.approx(scored["nats"] - first["nats"], rel=1e-6)
    assert found["context_cache"]["bits_per_byte"] < found["metrics"]["bits_per_byte"]
    table = run("evaluate", models("char"), tmp_path / "book", *CACHE, "--no-baselines").out.decode()
    assert "with cache" in table.splitlines()[2]


def test_dialogue_takes_a_context_cache(models: Models, run: Run, tmp_path: Path) -> None:
    model, chats = models("dialogue", "dialogue"), tmp_path / "chats.txt"
    chats.write_text("A: The old lamp was lit.\nB: The old lamp on the quay?\nA: The old lamp on the quay.\n\n" * 4)
    found = json.loads(run("evaluate", model, chats, *CACHE, "--replies", 2, "--json", "--no-baselines").out)
    assert found["context_cache"]["bits_per_byte"] != found["metrics"]["bits_per_byte"]
    replies = run("chat", model, *CACHE, stdin=b"The old lamp\nThe quay\n").out
    assert len(replies.splitlines()) == 2
    assert run("chat", model, *CACHE, stdin=b"The old lamp\nThe quay\n").out == replies
    assert len(run("score", model, chats, *CACHE).records) == 4


@pytest.mark.parametrize("words", [["sample", "-l", 1], ["score", "FILE"], ["evaluate", "FILE"]])
def test_context_cache_of_music_is_one_error_line(models: Models, run: Run, tmp_path: Path, words: list[Any]) -> None:
    (tmp_path / "a.mid").write_bytes(b"MThd")
    given = [words[0], models("midi", "music"), *(tmp_path / "a.mid" if word == "FILE" else word for word in words[1:])]
    error = run(*given, *CACHE, status=2).err
    assert "--context-cache is for text and dialogue; this is music" in error
    for value in (-1, 1 << 20):
        assert "context-cache" in run(*given, "--context-cache", value, status=2).err


def test_context_cache_of_an_option_is_checked_in_python(models: Models) -> None:
    with pytest.raises(UserError, match="context-cache"):
        load_model(models("midi", "music")).compose(length=1, context_cache=9)
    with pytest.raises(UserError, match="context-cache"):
        load_model(models("char")).sample(context_cache=-1)


@pytest.mark.parametrize(
    ("tensors", "about", "why"),
    [
        ({"cache_keys": np.full((3, 24), np.nan, np.float32)}, {}, "not finite"),
        ({"cache_keys": np.zeros((2, 24), np.float32)}, {}, "does not fit"),
        ({"cache_keys": np.zeros((3, 25), np.float32)}, {}, "does not fit"),
        ({"cache_keys": np.zeros((3, 24), np.int32)}, {}, "tensors"),
        ({"cache_ids": np.array([1, 2, 1 << 20], np.int32)}, {}, "vocabulary"),
        ({"cache_ids": np.array([1, -2, 3], np.int32)}, {}, "vocabulary"),
        ({"cache_ids": np.zeros((3, 1), np.int32)}, {}, "does not fit"),
        ({}, {"cache_phase": 64}, "range"),
        ({}, {"cache_phase": "1"}, "range"),
        ({}, {"cache_phase": None}, "range"),
    ],
)  # fmt: skip
def test_damaged_cache_of_a_state_is_refused(
    models: Models, tensors: dict[str, Any], about: dict[str, Any], why: str
) -> None:
    model = load_model(models("char"))
    entries = CacheEntries(np.zeros((3, 24), dtype=np.float32), np.array([1, 2, 3], dtype=np.int32), 5)
    saved = SavedState(model.read("The old").cells, 1, [1, 2], cache=entries)
    data = saved.to_bytes("m")
    network = model.checkpoint.language_config
    assert from_bytes(data, "s", "m", network).to_bytes("m") == data
    arrays, metadata = parse(data, "s")
    words = {**json.loads(metadata["about"]), **about}
    with pytest.raises(ModelError, match=why):
        from_bytes(dump({**arrays, **tensors}, {**metadata, "about": json.dumps(words)}), "s", "m", network)


def test_fit_mixture_is_for_what_recurs(models: Models) -> None:
    model = load_model(models("char"))
    engine, end = model.exact_engine, model.codec.end
    assert context_cache.fit_mixture(engine, model.codec.encode(TEXT)[:1999], end) is None
    repeating = context_cache.fit_mixture(engine, np.tile(model.codec.encode(TEXT[:300]), 12)[:3000], end)
    (own,) = model.sample(length=3000)  # of which nothing can be predicted better
    random = context_cache.fit_mixture(engine, model.codec.encode(as_bytes(own.text)), end)
    assert repeating is not None and random is not None
    assert repeating.weight > 0.5 > 0.2 > random.weight
    records = np.insert(np.tile(model.codec.encode(TEXT[:300]), 12)[:3000], np.arange(0, 3000, 50), end)
    short = context_cache.fit_mixture(engine, records, end)  # a record knows nothing of those before it
    assert short is not None and short.weight < repeating.weight - 0.1


def test_train_records_the_mixture(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes(TEXT * 8)
    options: dict[str, Any] = {"steps": 4, "rnn_size": 16, "batch_size": 4, "seq_length": 16}
    seqgen.train(str(tmp_path / "book.txt"), tmp_path / "m", val_fraction=0.2, **options)
    model = load_model(tmp_path / "m")
    saved = model.checkpoint.config[context_cache.CONTEXT_CACHE]
    assert context_cache.cache_mixture(saved).weight > 0.1
    model.checkpoint.config[context_cache.CONTEXT_CACHE] = {"theta": "1"}
    with pytest.raises(ModelError, match="damaged"):
        model.sample(context_cache=9)
    seqgen.train(str(tmp_path / "book.txt"), tmp_path / "none", val_fraction=0, **options)
    assert context_cache.CONTEXT_CACHE not in load_model(tmp_path / "none").checkpoint.config
