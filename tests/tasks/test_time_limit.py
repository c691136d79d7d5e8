"""Stages of preparation under a time limit: a stop ends each at once, and a short budget reads less."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqgen
from seqgen.api.train.watch import Watcher
from seqgen.config import TrainOptions
from seqgen.corpus import documents as reading
from seqgen.corpus.documents import Document, checksum_documents
from seqgen.errors import SeqgenError, StoppedError
from seqgen.tasks import find
from seqgen.tasks.base import Preparation
from seqgen.tasks.id_cache import load_ids
from seqgen.tasks.language import LanguageData
from seqgen.tasks.vocabulary import fit_codec, sample_bytes
from seqgen.time_limit import NO_LIMIT, TimeLimit
from seqgen.tokenizers import subwords, workers
from seqgen.tokenizers.characters import ByteCodec
from seqgen.tokenizers.midi import MidiCodec
from seqgen.tokenizers.midi_files import read_midi_files
from seqgen.tokenizers.workers import encode_batches, run_in_workers
from tests.helpers.midi_files import tune
from tests.helpers.running import prose
from tests.helpers.slow_jobs import SLEEPING_JOB

PROMPTLY = 2.0  # seconds within which a stop is answered; the fakes sleep for much longer


class Stop:
    """A question that is answered with yes from some seconds after it was first asked."""

    def __init__(self, after: float = 0.0) -> None:
        self.after = after
        self.asked = 0.0

    def __call__(self) -> bool:
        self.asked = self.asked or time.monotonic()
        return time.monotonic() - self.asked >= self.after


def documents(*paths: Path) -> list[Document]:
    return checksum_documents([Document(str(path), path) for path in paths])


def in_pieces(monkeypatch: pytest.MonkeyPatch, size: int, seconds: float = 0.0) -> None:
    """Make files be read in pieces of `size` bytes, with a pause of so many seconds after each."""
    read_chunks = reading.read_chunks

    def pieces(*arguments: Any) -> Iterator[bytes]:
        for chunk in read_chunks(*arguments):
            for start in range(0, len(chunk), size):
                yield chunk[start : start + size]
                time.sleep(seconds)

    monkeypatch.setattr(reading, "read_chunks", pieces)


def expired() -> TimeLimit:
    return TimeLimit(1.0, time.monotonic() - 10)


# ---- TimeLimit ----


def test_time_limit_without_arguments_never_ends() -> None:
    assert NO_LIMIT.left == float("inf")
    assert not NO_LIMIT.is_over
    NO_LIMIT.check()
    assert list(NO_LIMIT.until_over(range(5))) == list(range(5))


def test_time_limit_part_ends_earlier() -> None:
    whole = TimeLimit(100.0, time.monotonic() - 50)
    assert whole.left == pytest.approx(50, abs=1)
    assert whole.part(0.6).left == pytest.approx(10, abs=1)
    assert whole.part(0.4).left == 0
    assert whole.part(0.4).is_over


def test_time_limit_until_over_yields_the_first_in_any_case() -> None:
    assert list(expired().until_over("abc")) == ["a"]
    assert list(expired().until_over("")) == []


def test_time_limit_check_raises_once_stopped() -> None:
    with pytest.raises(StoppedError, match="nothing was learnt"):
        TimeLimit(stop=lambda: True).check()
    with pytest.raises(StoppedError):
        list(TimeLimit(stop=lambda: True).until_over("abc"))


# ---- A stop ----


@pytest.mark.parametrize("end", [StoppedError, KeyboardInterrupt])
def test_run_in_workers_ends_a_sleeping_worker_at_once(end: type[BaseException]) -> None:
    began = time.monotonic()

    def check() -> None:
        if time.monotonic() - began > 0.3:
            raise end

    with pytest.raises(end):
        list(run_in_workers(SLEEPING_JOB, {}, iter([[b"x"]] * 5), 2, lambda batch: "died", check))
    assert time.monotonic() - began < 0.3 + PROMPTLY


@pytest.mark.parametrize("stage", ["subwords", "encoding", "midi"])
def test_stage_with_slow_worker_stops_at_once(stage: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = TimeLimit(stop=Stop(after=0.3))
    if stage == "subwords":
        monkeypatch.setattr(subwords, "_TRAIN", SLEEPING_JOB)
        monkeypatch.setattr(subwords, "_MIN_SAMPLE", 0)
        work: Callable[[], Any] = lambda: fit_codec("subword", Texts(prose()), limit=limit)  # noqa: E731
    elif stage == "encoding":
        monkeypatch.setattr(workers, "_ENCODE", SLEEPING_JOB)
        work = lambda: list(encode_batches(ByteCodec(), [[b"x"]] * 9, 2, limit.check))  # noqa: E731
    else:
        monkeypatch.setattr("seqgen.tokenizers.midi_files._JOB", SLEEPING_JOB)
        files = [(f"{number}.mid", tmp_path / f"{number}.mid") for number in range(60)]
        work = lambda: list(read_midi_files(MidiCodec(), files, workers=2, check=limit.check))  # noqa: E731
    began = time.monotonic()
    with pytest.raises(StoppedError):
        work()
    assert time.monotonic() - began < 0.3 + PROMPTLY


class Texts:
    """See `vocabulary.TextSource`."""

    def __init__(self, text: str) -> None:
        self.text = text.encode()

    @property
    def size(self) -> int:
        return len(self.text)

    def sample(self, size: int) -> Texts:
        return Texts(self.text[:size].decode())

    def chunks(self) -> Iterator[bytes]:
        yield self.text


SOURCES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "text": ("a.txt", lambda: prose(seed=77).encode()),
    "dialogue": ("a.jsonl", lambda: b"".join(
        json.dumps({"turns": [f"how are you {n}?", f"fine, {n} times"]}).encode() + b"\n" for n in range(200)
    )),
    "classify": ("a.csv", lambda: b"text,label\n" + b"".join(b"the boat %d,%d\n" % (n, n % 3) for n in range(300))),
}  # fmt: skip


@pytest.mark.parametrize("task", SOURCES)
def test_task_prepare_of_a_slow_document_stops_at_once(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content = SOURCES[task]
    (tmp_path / name).write_bytes(content())
    found = documents(tmp_path / name)
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "cache"))  # which doesn't hold what other tests have prepared
    in_pieces(monkeypatch, 64, seconds=0.05)
    began = time.monotonic()
    with pytest.raises(StoppedError):
        find(task).prepare(Preparation(found, [], TrainOptions(), limit=TimeLimit(stop=Stop(after=0.3))))
    assert time.monotonic() - began < 0.3 + PROMPTLY


@pytest.mark.parametrize("task", ["text", "dialogue", "classify", "music", "forecast"])
def test_train_stopped_before_it_begins_writes_nothing(task: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    if task in SOURCES:
        name, content = SOURCES[task]
        (source / name).write_bytes(content())
    elif task == "music":
        (source / "a.mid").write_bytes(tune(1))
    else:
        (source / "a.csv").write_text("day,value\n" + "".join(f"{n},{n % 7}\n" for n in range(200)))
    with pytest.raises(StoppedError, match="nothing was learnt"):
        seqgen.train(str(source), tmp_path / "m", task=task, watch=Watcher(stop=lambda: True), steps=2)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


# ---- A short budget ----


def test_sample_bytes_depends_on_the_budget_not_on_the_clock() -> None:
    assert sample_bytes("subword", TimeLimit(600.0)) is None
    assert sample_bytes("char", TimeLimit(1.0)) is None
    assert sample_bytes("subword", TimeLimit(60.0)) == sample_bytes("subword", TimeLimit(60.0, 1e9)) == 6_000_000
    assert sample_bytes("subword", TimeLimit(0.1)) == 1_000_000


def prepare(path: Path, limit: TimeLimit = NO_LIMIT, **options: Any) -> tuple[LanguageData, list[str]]:
    warnings: list[str] = []
    task = "dialogue" if path.suffix == ".jsonl" else "text"
    data = find(task).prepare(
        Preparation(documents(path), [], TrainOptions(**options), warn=warnings.append, limit=limit)
    )
    assert isinstance(data, LanguageData)
    return data, warnings


def test_text_task_without_time_learns_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text(prose(20_000))
    in_pieces(monkeypatch, 1 << 16)
    short, warnings = prepare(path, expired(), tokenizer="byte")
    whole, none = prepare(path, tokenizer="byte")
    assert none == []
    (warning,) = warnings
    assert warning.startswith("the budget leaves time for 65,536 of 512,686 bytes; give a longer --budget")
    assert 0 < short.counts["train_tokens"] < whole.counts["train_tokens"]
    assert short.counts["train_bytes"] == short.counts["train_tokens"]
    data = whole.train.ids[: len(short.train)]
    np.testing.assert_array_equal(short.train.ids, data)
    assert short.train.false_ends.tolist() == [0]  # the text doesn't end where the time did


def test_prepared_ids_that_were_cut_short_serve_a_run_with_no_more_time(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(SOURCES["dialogue"][1]())
    short, warnings = prepare(path, expired())
    assert short.counts["train_conversations"] + short.counts["held_out_conversations"] < 200
    again, repeated = prepare(path, expired())
    assert (again.counts, repeated) == (short.counts, warnings)
    whole, none = prepare(path, TimeLimit(3600.0, time.monotonic()))
    assert whole.counts["train_conversations"] + whole.counts["held_out_conversations"] == 200
    assert none == []
    later, none = prepare(path, expired())  # nothing is forgotten
    assert (later.counts, none) == (whole.counts, [])


def test_load_ids_that_were_cut_short_after_a_run_with_more_time_gives_those_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(SOURCES["dialogue"][1]())
    short, _ = prepare(path, expired(), tokenizer="char")
    ids = short.train.ids.tolist()
    whole, _ = prepare(path, tokenizer="char")
    assert whole.counts != short.counts
    for data in (short, whole):
        found = load_ids(data.metadata(), data.codec)
        assert found is not None
        assert found[0].ids.tolist() == (ids if data is short else whole.train.ids.tolist())
    assert load_ids({**short.metadata(), "train_tokens": 1}, short.codec) is None  # made again, and cut elsewhere
    assert load_ids(short.metadata(), ByteCodec()) is None


def test_music_task_without_time_reads_the_first_files(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.mid").write_bytes(tune(1))
    warnings: list[str] = []
    found = documents(*sorted(tmp_path.glob("*.mid")))
    options = TrainOptions(val_fraction=0.0)
    data = find("music").prepare(Preparation(found, [], options, warn=warnings.append, limit=expired()))
    assert isinstance(data, LanguageData)
    assert data.counts["train_pieces"] == 1
    assert warnings[-1].startswith("the budget leaves time for the first 1 of 5 files; give a longer --budget")


def test_train_without_time_for_a_step_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(prose())
    warnings: list[str] = []
    watch = Watcher(warn=warnings.append, began=time.monotonic() - 100)
    model = seqgen.train(str(path), tmp_path / "m", watch=watch, budget="5s", rnn_size=8)
    assert model.checkpoint.config["training"]["step"] == 0
    assert [w for w in warnings if "without a step of training" in w]


def test_stopped_error_is_no_error_of_the_caller() -> None:
    assert issubclass(StoppedError, SeqgenError)
    assert not issubclass(StoppedError, seqgen.UserError)
