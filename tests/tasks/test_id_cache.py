"""Prepared corpora: the same ids with any number of processes, complete or not there, and found again in the cache."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen import tokenizers
from seqgen.config import TrainOptions
from seqgen.corpus import ids, split
from seqgen.corpus.ids import IdStream
from seqgen.corpus.opening import FileForm
from seqgen.corpus.sources import Document, checksum_documents, fingerprint
from seqgen.corpus.split import BLOCK, DocumentSpan, sample_spans
from seqgen.errors import DataError, UserError
from seqgen.music import midi
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.specs.tokenizers import TOKENIZERS
from seqgen.tasks import find
from seqgen.tasks import id_cache as prepared
from seqgen.tasks.base import Preparation
from seqgen.tasks.language import LanguageData
from seqgen.tokenizers import workers as parallel
from seqgen.tokenizers.characters import ByteCodec
from tests.helpers.running import prose


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def documents(*paths: Path) -> list[Document]:
    return checksum_documents([Document(str(path), path) for path in paths])


def prepare(path: Path, task: str = "text", messages: list[str] | None = None, **options: Any) -> LanguageData:
    report = (messages if messages is not None else []).append
    data = find(task).prepare(Preparation(documents(path), [], TrainOptions(**options), None, None, report, report))
    assert isinstance(data, LanguageData)
    return data


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "ids").iterdir())}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    foreign = ("月落烏啼霜滿天 \U0001f600\n" * 30).encode() + b"\xff\xfe no UTF-8\n"
    path.write_bytes(prose(300).encode() + foreign + prose(90, 2).encode())
    return path


@pytest.mark.parametrize("task", ["text", "dialogue"])
def test_prepare_ids_writes_the_same_bytes_with_any_number_of_processes(
    task: str, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "BATCH", 3000)
    path = text
    if task == "dialogue":
        path = tmp_path / "talk.jsonl"
        lines = prose(300).splitlines()
        talks = [lines[at : at + 2 + at % 5] for at in range(0, 280, 5)]
        path.write_text("".join(json.dumps(talk) + "\n" for talk in talks), encoding="utf-8")
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / f"cache{threads}"))
        data = prepare(path, task, tokenizer="char", threads=threads)
        found.append((files(tmp_path / f"cache{threads}"), dict(data.counts)))
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]) == 5


# ---- Found in the cache ----


def never(*_: object, **__: object) -> None:
    pytest.fail("the ids were made again")


@pytest.mark.parametrize("options", [{}, {"tokenizer": "subword", "vocab_size": 300}, {"val_fraction": 0.0}])
def test_prepare_ids_a_second_time_encodes_nothing(
    options: dict[str, Any], text: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(text, **options)
    before = files(own_cache)
    with monkeypatch.context() as patch:
        patch.setattr(tokenizers, "fit", never)
        patch.setattr(ids, "build", never)
        second = prepare(text, **options)
    assert second.key == first.key
    assert second.metadata() == first.metadata()
    assert tokenizers.dump(second.codec) == tokenizers.dump(first.codec)
    assert second.train.ids.tolist() == first.train.ids.tolist()
    assert (second.held_out is None) == (first.held_out is None) == (options.get("val_fraction") == 0.0)
    assert files(own_cache) == before


def test_prepare_ids_of_dialogue_a_second_time_repeats_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_text('["Hello!", "Good morning."]\n' * 40 + "damaged\n")
    first: list[str] = []
    prepare(path, "dialogue", first, tokenizer="char")
    assert "1 damaged line skipped" in first[0]
    second: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(ids, "build", never)
        prepare(path, "dialogue", second, tokenizer="char")
    assert second == first[:1]
    with pytest.raises(DataError, match="without --strict"):
        prepare(path, "dialogue", tokenizer="char", strict=True)


def test_cache_key_differs_by_source_fraction_and_tokenizer(text: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_bytes(text.read_bytes() + b".")
    made = [
        prepare(text), prepare(other), prepare(text, val_fraction=0.2), prepare(text, tokenizer="byte"),
        prepare(text, vocab_size=300), prepare(text, vocab_size=320),
    ]  # fmt: skip
    assert len({data.key for data in made}) == len(made)


def test_prepare_ids_resumed_run_finds_its_ids(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(text)
    other = tokenizers.fit("char", [b"another vocabulary"])

    def again(codec: tokenizers.Codec) -> LanguageData:
        data = find("text").prepare(Preparation(documents(text), [], TrainOptions(), codec))
        assert isinstance(data, LanguageData)
        return data

    with monkeypatch.context() as patch:
        patch.setattr(ids, "build", never)
        assert again(first.codec).key == first.key
    assert again(other).key != first.key
    assert again(other).codec.pieces() == other.pieces()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"[]"), lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"counts": {', b'"counts": {"x": "y", ')),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"tokenizer.json": "', b'"t": "')),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"version": 3', b'"version": 0')),
        lambda path: path.with_name(path.name.replace("prepared.json", "train.json")).unlink(),
        lambda path: path.with_name(path.name.replace("prepared.json", "valid.ids")).write_bytes(b"half"),
    ],
    ids=["empty", "no object", "gone", "counts", "tokenizer", "version", "no index", "half the ids"],
)  # fmt: skip
def test_prepare_ids_damaged_cache_is_rebuilt(damage: Callable[[Path], Any], text: Path, own_cache: Path) -> None:
    prepare(text)
    before = files(own_cache)
    damage(next((own_cache / "ids").glob("*.prepared.json")))
    assert files(own_cache) != before
    prepare(text)
    assert files(own_cache) == before


# ---- Complete or not there ----


def test_prepare_ids_source_changed_meanwhile_leaves_no_ids(
    text: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = ids.build

    def meddling(path: Path, *rest: Any) -> IdStream:
        stream = build(path, *rest)
        text.write_bytes(text.read_bytes().replace(b"boat", b"BOAT"))  # as long as before
        return stream

    with monkeypatch.context() as patch:
        patch.setattr(ids, "build", meddling)
        with pytest.raises(DataError, match="changed while it was being read"):
            prepare(text)
    assert files(own_cache) == {}


def test_prepare_ids_source_became_shorter_raises_data_error(text: Path, own_cache: Path) -> None:
    found = documents(text)
    text.write_bytes(text.read_bytes()[:-100])
    with pytest.raises(DataError, match="changed while it was being read"):
        find("text").prepare(Preparation(found, [], TrainOptions()))
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


def in_child(work: Callable[[], object]) -> multiprocessing.Process:
    """Run `work` in a fork of this process; its exit status is 0 if all went well, 3 after a `UserError`."""

    def run() -> None:
        status = 1
        try:
            work()
            status = 0
        except UserError as error:
            status = 3 if "\n" not in str(error) else 4
        finally:
            os._exit(status)

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    return child


def test_prepare_ids_killed_at_any_moment_leaves_no_partial_ids(text: Path, own_cache: Path) -> None:
    text.write_bytes(text.read_bytes() * 20)
    began = time.monotonic()
    first = in_child(lambda: prepare(text))
    first.join()
    spent = time.monotonic() - began
    assert first.exitcode == 0
    whole = files(own_cache)
    rng = random.Random(1)
    killed = 0
    for _ in range(25):
        for path in (own_cache / "ids").iterdir():
            path.unlink()
        child = in_child(lambda: prepare(text))
        time.sleep(rng.random() * spent)
        child.kill()
        child.join()
        killed += child.exitcode == -signal.SIGKILL
        records = [name for name in files(own_cache) if name.endswith("prepared.json")]
        if records:  # then all is there
            assert {name: data for name, data in files(own_cache).items() if not name.startswith(".")} == whole
        after = in_child(lambda: prepare(text))
        after.join()
        assert after.exitcode == 0
        assert files(own_cache) == whole  # no lock, no part, and the same bytes
    assert killed > 5


def test_prepare_ids_two_processes_at_once_make_them_once(text: Path, own_cache: Path) -> None:
    text.write_bytes(text.read_bytes() * 20)
    built = own_cache.parent / "built"
    build = ids.build

    def counting(path: Path, *rest: Any) -> IdStream:
        with open(built, "a") as log:
            log.write(f"{path.name}\n")
        return build(path, *rest)

    def work() -> None:
        ids.build = counting  # type: ignore[assignment]
        prepare(text)

    children = [in_child(work) for _ in range(4)]
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert len(built.read_text().splitlines()) == 2  # to train on, and held out
    assert sorted(name.partition(".")[2] for name in files(own_cache)) == [
        "prepared.json", "train.ids", "train.json", "valid.ids", "valid.json",
    ]  # fmt: skip


@pytest.mark.parametrize("most", [0, 1, 4096, 20_000])
def test_prepare_ids_full_disk_raises_one_line_and_leaves_no_ids(most: int, text: Path, own_cache: Path) -> None:
    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        prepare(text)

    child = in_child(work)
    child.join()
    assert child.exitcode == 3
    assert files(own_cache) == {}
    prepare(text)
    assert len(files(own_cache)) == 5


@given(st.lists(st.integers(0, 5 * BLOCK // 2), min_size=1, max_size=6), st.integers(1, BLOCK), st.integers(0, 99))
@settings(max_examples=80)
def test_sample_spans_are_spread_evenly(sizes: list[int], size: int, start: int) -> None:
    parts = [
        DocumentSpan(
            Document(str(number), Path("x"), size + start, form=FileForm(("gz",) if number == 5 else ())),
            start,
            size + start,
        )
        for number, size in enumerate(sizes)
    ]
    total = sum(sizes)
    taken = sample_spans(parts, size)
    if total < 2 * size:
        assert taken == parts
        return
    every = total // size
    wanted = []
    place = 0
    for part in parts:
        if part.document.form.compressions:
            wanted += [part] * (part.size > 0)  # of the parts taken, too, those that hold nothing are left out
            continue
        for at in range(0, place + part.size, every * BLOCK):
            first, last = max(at, place), min(at + BLOCK, place + part.size)
            if first < last:
                wanted.append(DocumentSpan(part.document, part.start + first - place, part.start + last - place))
        place += part.size
    assert [part for part in taken if part.size] == wanted


def test_fit_codec_of_subwords_reads_a_sample_of_a_large_corpus(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text.write_bytes(text.read_bytes() * 30)
    asked: list[int] = []
    fractions: list[float] = []
    fit = tokenizers.fit

    def watched(kind: str, chunks: Any, **options: Any) -> Any:
        read = list(chunks)
        asked.append(sum(map(len, read)))
        fractions.append(options.get("fraction", 1.0))
        return fit(kind, read, **options)

    monkeypatch.setattr(tokenizers, "fit", watched)
    monkeypatch.setattr(split, "BLOCK", 5000)
    row = dataclasses.replace(TOKENIZERS["subword"], fit_bytes=100_000)
    monkeypatch.setitem(TOKENIZERS._rows, "subword", row)
    data = prepare(text, tokenizer="subword", vocab_size=300)
    size = text.stat().st_size
    assert 50_000 < asked[0] < 130_000 < size // 2
    assert fractions[0] == pytest.approx(asked[0] / data.counts["train_bytes"], rel=0.01), "for the vocabulary's size"
    assert data.counts["train_bytes"] + data.counts["held_out_bytes"] == size
    found = np.concatenate([data.train.ids, data.held_out.ids if data.held_out else []])
    assert tokenizers.decode(data.codec, found.astype(int).tolist()) == text.read_bytes()
    prepare(text, tokenizer="byte")
    assert asked[1] == 0


def test_is_false_end_finds_positions() -> None:
    stream = IdStream(np.arange(10, dtype=np.uint8), np.array([0, 4, 9]))
    places = np.arange(10).reshape(5, 2)
    assert stream.is_false_end(places).tolist() == np.isin(places, [0, 4, 9]).tolist()
    assert not IdStream(np.arange(3), np.array([], dtype=np.int64)).is_false_end(places).any()
    assert stream.take(places).tolist() == places.tolist()


def test_remove_ids_removes_all_files_of_the_key(text: Path, own_cache: Path) -> None:
    data = prepare(text)
    prepared.remove_ids(data.key)
    assert files(own_cache) == {}


# ---- The cache key ----


def midi_file(path: Path, seed: int) -> Path:
    """A bar of random quarter notes."""
    pitches = random.Random(seed).choices(range(60, 72), k=4)
    notes = tuple(Note(4 * i, 0, pitch, 4 * i + 4, 64) for i, pitch in enumerate(pitches))
    path.write_bytes(midi.write(Piece(4, (Track(),), notes, (Bar(0, 16, 4, 4),), ((0, 120),))))
    return path


def key_of(task: str, train: Path, valid: Path | None, **options: Any) -> str:
    held_out = [] if valid is None else documents(valid)
    data = find(task).prepare(Preparation(documents(train), held_out, TrainOptions(**options)))
    assert isinstance(data, LanguageData)
    assert data.metadata()["cache"] == data.key
    return data.key


@pytest.fixture(params=["text", "music", "classify"])
def sources_of_task(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Path, dict[str, Any]]:
    """A task whose ids are cached, with its sources, a validation set and options."""
    if request.param == "music":
        return "music", midi_file(tmp_path / "a.mid", 1), midi_file(tmp_path / "b.mid", 2), {}
    if request.param == "text":
        names = [tmp_path / "a.txt", tmp_path / "b.txt"]
        for seed, path in enumerate(names):
            path.write_text(prose(30, seed=seed))
        return "text", names[0], names[1], {}
    names = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for seed, path in enumerate(names):
        lines = prose(30, seed=seed + 5).splitlines()
        path.write_text("text,label,other\n" + "".join(f"{line},{i % 2},{i % 3}\n" for i, line in enumerate(lines)))
    return "classify", names[0], names[1], {"generative": True, "tokenizer": "byte"}


def test_cache_key_with_own_validation_set_ignores_val_fraction(
    sources_of_task: tuple[str, Path, Path, dict[str, Any]],
) -> None:
    task, train, valid, options = sources_of_task
    keys = {key_of(task, train, valid, val_fraction=fraction, **options) for fraction in (0.1, 0.3)}
    assert len(keys) == 1


def test_cache_key_changes_with_the_version(
    sources_of_task: tuple[str, Path, Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, train, valid, options = sources_of_task
    before = key_of(task, train, valid, **options)
    monkeypatch.setattr(prepared, "_VERSION", prepared._VERSION + 1)
    assert key_of(task, train, valid, **options) != before


def test_cache_key_of_text_is_that_of_its_version(tmp_path: Path) -> None:
    """Caches stay valid until sources are read or held out in another way: then the version is increased."""
    path = tmp_path / "a.txt"
    path.write_text("The boy came home in the rain.\n" * 200)
    found = documents(path)
    options = TrainOptions()
    parts = [3, "text", fingerprint(found), fingerprint([]), 0.1, [None, None]]
    expected = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    assert prepared.cache_key(Preparation(found, [], options), "text", [None, None]) == expected
    assert prepare(path).key == expected


def test_cache_key_of_generative_classifier_depends_on_what_chooses_its_texts(tmp_path: Path) -> None:
    lines = prose(40).splitlines()
    path = tmp_path / "a.csv"
    path.write_text("text,label,kind\n" + "".join(f"{line},{i % 2},{i % 2}\n" for i, line in enumerate(lines)))
    options: dict[str, Any] = {"generative": True, "tokenizer": "byte"}
    settings: list[dict[str, Any]] = [{}, {"lowercase": True}, {"seed": 1}, {"label_column": "kind"}]
    keys = [key_of("classify", path, None, **options, **each) for each in settings]
    assert len(set(keys)) == len(keys)
    assert all(key.isalnum() for key in keys)


def test_cache_key_of_dialogue_depends_on_names_that_group_files(tmp_path: Path) -> None:
    def counts(*names: str) -> tuple[int, str]:
        found = []
        for number, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            people = [{"sender_name": who, "timestamp_ms": number, "content": f"Hello {number}!"} for who in "AB"]
            path.write_text(json.dumps({"messages": people}))
            found.append(path)
        options = TrainOptions(val_fraction=0.0, tokenizer="char")
        data = find("dialogue").prepare(Preparation(documents(*found), [], options))
        assert isinstance(data, LanguageData)
        return data.counts["train_conversations"], data.key

    apart, key = counts("1/a.json", "1/b.json")
    together, other = counts("2/message_2.json", "2/message_1.json")
    assert (apart, together) == (2, 1)
    assert counts("3/c.json", "4/d.json") == (apart, key)
    assert counts("5/message_1.json", "5/message_2.json") == (together, other)
    assert counts("6/message_1.json", "7/message_1.json")[0] == 2
    assert len({key, other, counts("users.json", "2024-01-02.json")[1], counts("u.json", "2024-01-02.json")[1]}) == 4


def test_load_ids_of_generative_classifier_finds_its_records(tmp_path: Path) -> None:
    lines = prose(40).splitlines()
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"{line},{i % 2}\n" for i, line in enumerate(lines)))
    data = find("classify").prepare(Preparation(documents(path), [], TrainOptions(generative=True, tokenizer="byte")))
    assert isinstance(data, LanguageData)
    found = prepared.load_ids(data.metadata(), data.codec)
    assert found is not None
    assert found[0].ids.tolist() == data.train.ids.tolist()


@pytest.mark.parametrize("key", [None, 3, "", "../ids", "a-b", "0" * 32])
def test_load_ids_unsafe_or_unknown_key_finds_nothing(key: object) -> None:
    assert prepared.load_ids({"cache": key}, ByteCodec()) is None


def test_prepare_ids_of_music_a_second_time_reports_skipped_files_again(tmp_path: Path) -> None:
    folder = tmp_path / "pieces"
    folder.mkdir()
    midi_file(folder / "a.mid", 1), midi_file(folder / "b.mid", 2)
    (folder / "0.mid").write_bytes(b"MThd\0\0")
    found = documents(*sorted(folder.iterdir()))
    messages: list[list[str]] = []
    for _ in range(2):
        messages.append([])
        find("music").prepare(Preparation(found, [], TrainOptions(), warn=messages[-1].append))
    assert messages[0] == messages[1]
    assert any("1 damaged" in message for message in messages[0])
