"""Untrusted files: any command reads them or refuses them in one line.

They run no code, lead out of no folder, fill no memory, control no terminal and reach no network.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import seqgen
from seqgen import checkpoint
from seqgen.corpus.parquet import safe_batch_size
from seqgen.errors import DataError, ModelError, UserError
from seqgen.streams import DECOMPRESSION_HEADROOM, open_decompressed
from seqgen.untrusted import as_bytes, one_line, parse_json
from tests.helpers import bombs, model_zoo, mutations, untrusted_readers
from tests.helpers.running import MadeOnce

ROOT = Path(__file__).resolve().parents[1]
READERS = untrusted_readers.data_readers()
FILES = ("config.json", "tokenizer.json", "model.safetensors")
NAMES = [f"{kind}/{file}" for kind in model_zoo.MODELS for file in FILES]
CONTROLS = {chr(code) for code in (*range(32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def steers(text: str) -> bool:
    return bool(CONTROLS & set(text) - {"\n", "\t"})


# ---- Fuzzing ----

# The same files each time; `tests/benchmarks/fuzz.py` makes any number of others.


@pytest.fixture(scope="module")
def zoo_readers(zoo: dict[str, Path]) -> dict[str, untrusted_readers.Reader]:
    """All readers, those of the files of models included."""
    return untrusted_readers.all_readers(zoo)


def try_some(reader: untrusted_readers.Reader, seed: int, path: Path) -> None:
    """Try three mutated files, which depend on the seed."""
    for _, (title, data) in zip(range(3), mutations.mutated_inputs(reader, seed), strict=False):
        untrusted_readers.attempt(reader, data, title, path / "try")


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=12, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32))
def test_readers_mutated_files_are_read_or_refused(name: str, seed: int, tmp_path: Path) -> None:
    try_some(READERS[name], seed, tmp_path)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=12, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_readers_any_bytes_are_read_or_refused(name: str, data: bytes, tmp_path: Path) -> None:
    for title in READERS[name].names[:2]:
        untrusted_readers.attempt(READERS[name], data, title, tmp_path / "try")


@pytest.mark.parametrize("name", [*NAMES, *[f"{name}, consistent" for name in NAMES if name.endswith("json")],
                                  "subword/tokenizer.model", "text/metrics.jsonl", "text/resume/state.json",
                                  "classify/resume/tensors", "forecast/resume/state.json",
                                  "classify averaged/config.json", "forecast averaged/config.json",
                                  "forecast averaged/model.safetensors", "dialogue/ranker.safetensors", "page upload",
                                  *untrusted_readers.REQUESTS])  # fmt: skip
@settings(max_examples=3, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32))
def test_model_readers_mutated_models_are_used_or_refused(
    name: str, seed: int, zoo_readers: dict[str, untrusted_readers.Reader], tmp_path: Path
) -> None:
    """Each file of each task's model, with a matching identity, as an attacker would make it."""
    try_some(zoo_readers[name], seed, tmp_path)


def test_readers_read_their_valid_examples(zoo_readers: dict[str, untrusted_readers.Reader], tmp_path: Path) -> None:
    """The tests above would also pass if the readers refused everything."""
    for name, reader in zoo_readers.items():
        if "resume" not in name:  # it would train
            assert any(untrusted_readers.attempt(reader, data, title, tmp_path / "try")
                       for data in reader.seeds for title in reader.names), name  # fmt: skip


# Faults found by fuzzing and fixed.


DAMAGED_ZIP = untrusted_readers.zip_archive().replace(b"PK\x01\x02\x14", b"PK\x01\x02\x15").replace(b"\x08", b"\x63", 3)


@pytest.mark.parametrize(
    ("reader", "title", "data"),
    [
        ("labelled", "a.txt", b'D../../\n"Bad, ""real"" ",a\nm,good,x\nm,good,y\nn,bad,z\n'),
        ("zip", "a.zip", DAMAGED_ZIP),
        ("tar", "a.tar", b"\x1f\x8b" + untrusted_readers.tar_archive("w:gz")[2:40] + b"\xff" * 40),
        ("conversations", "a.yml", b"conversations:\n- - a\n  - b\na" + b" " * 100_000),
        ("conversations", "a.jsonl", b"{" + b'"messages":[{' * 20_000),
        ("conversations", "a.jsonl", b"[" * 100_000),
        ("labelled", "a.jsonl", b'{"text": ' + b"[" * 900 + b"]" * 900 + b', "label": 1}\n'),
        ("series", "a.csv", b"\n".join([b",".join([b"a"] * 2000), *[b",".join([b"1"] * 2000)] * 3])),
        ("labelled", "a.jsonl", b"\x1f\xa2\x1f\n\x1f.\n;\x1f|\t\r\x94\r\xbb"),
        ("midi", "input", b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\x03\x0d\x40" + b"\xff" * 200_000),
    ],
    ids=["label", "zip", "gzip", "spaces", "lists", "deep", "deep text", "columns of one name", "a long first row",
         "an endless time"],
)  # fmt: skip
def test_readers_former_faults_are_refused_quickly(reader: str, title: str, data: bytes, tmp_path: Path) -> None:
    import time

    began = time.process_time()
    untrusted_readers.attempt(READERS[reader], data, title, tmp_path / "try")
    assert time.process_time() - began < 5


PARQUET = """
import sys; sys.path.insert(0, sys.argv[1])
from tests.helpers import untrusted_readers
from pathlib import Path
whole = untrusted_readers.parquet_tables()[1]
for position in range(len(whole) - 900, len(whole), 6):
    for value in (67, 255):
        data = bytearray(whole)
        data[position] = value
        untrusted_readers.attempt(untrusted_readers.PARQUET_READER, bytes(data), "a.parquet", Path(sys.argv[2]))
"""


def test_parquet_reader_damaged_file_never_ends_the_process(tmp_path: Path) -> None:
    """pyarrow crashes when asked for the size of a damaged column."""
    line = [sys.executable, "-c", PARQUET, str(ROOT), str(tmp_path / "try")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


def test_model_with_numbers_beyond_float_range_is_refused(zoo: dict[str, Path], tmp_path: Path) -> None:
    for number, (kind, file, change) in enumerate([
        ("forecast", "tokenizer.json", lambda data: data.update(season=float("inf"))),
        ("forecast", "tokenizer.json", lambda data: data["measures"].popitem()[1][0].append(10**400)),
        ("forecast", "config.json", lambda data: data["network"].update(levels=[10**400])),
        ("dialogue", "config.json", lambda data: data["data"]["sources"][0].update(bytes=10**400)),
        ("text", "config.json", lambda data: data["training"].update(step="\x1b")),
        ("text", "config.json", lambda data: data["training"].pop("schedule")),
        ("classify", "config.json", lambda data: data["network"].update(labels=["\ud800", "\x1b[2J"])),
    ]):  # fmt: skip
        model = Path(shutil.copytree(zoo[kind], tmp_path / str(number)))
        data = json.loads((model / file).read_text())
        change(data)
        (model / file).write_text(json.dumps(data))
        untrusted_readers.make_consistent(model)
        for line in model_zoo.COMMANDS[kind]:
            with contextlib.suppress(model_zoo.CommandRefusedError):
                model_zoo.run_command(line.format(m=model, f=zoo[kind].parent).split())


def test_nested_tokenizers_are_refused(zoo: dict[str, Path], tmp_path: Path) -> None:
    model = Path(shutil.copytree(zoo["dialogue"], tmp_path / "m"))
    inner: Any = {"kind": "byte"}
    for depth in range(31):
        inner = {"kind": ("dialogue", "labelled")[depth % 2], "labels": 2, "speakers": 2, "text": inner}
    (model / "tokenizer.json").write_text(json.dumps(inner))
    with pytest.raises(ModelError, match="no tokenizer of the text"):
        checkpoint.load(model)


@given(depth=st.integers(1, 200), table=st.booleans())
def test_parse_json_depth_is_limited(depth: int, table: bool) -> None:
    text = '{"a":' * depth + "1" + "}" * depth if table else "[" * depth + "1" + "]" * depth
    if depth <= 60:
        assert parse_json(text) == json.loads(text)
    elif depth > 70:
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [('{"a": 1,\n"a": 2}', 2), ('[{},\n{"b": "\\"}"},\n{"c": {"a": [1],\n"a": [2]}},\n{"a": 1}]', 4),
     ('{"a": {"x": 1}, "a": {"x": true}}', 1), ('{"\\u0061": 1,\n"a": 2,\n"b": 3}', 2)],
)  # fmt: skip
def test_parse_json_refuses_a_key_with_two_values_at_its_line(text: str, line: int) -> None:
    for data in (text, text.encode(), text.encode("utf-16")):
        with pytest.raises(json.JSONDecodeError, match="the key 'a' is given twice, with different values") as error:
            parse_json(data)
        assert error.value.lineno == line
        assert parse_json(data, unique_keys=False) == json.loads(data)


def test_parse_json_a_key_twice_with_one_value_is_harmless() -> None:
    assert parse_json('{"a": {"b": NaN}, "c": 1, "a": {"b": NaN}}').keys() == {"a", "c"}


@pytest.mark.parametrize("string", ["a" * 1_000_000, "\\n" * 500_000])
def test_parse_json_finds_a_repeated_key_in_memory_like_the_text(string: str) -> None:
    text = f'{{"x": "{string}", "a": 1, "a": 2}}'
    tracemalloc.start()
    try:
        with pytest.raises(json.JSONDecodeError, match="'a' is given twice"):
            parse_json(text)
        assert tracemalloc.get_traced_memory()[1] < 8 * len(text)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "values"),
    [('{"a": [1, 2, {"b": 3}]}', 5), ('[",[{", "\\",", "\\\\", 1]', 4), ('["\\",,,,,,,,', 1), ("[,[{", 4)],
)
def test_parse_json_counts_values_outside_strings_only(text: str, values: int) -> None:
    with pytest.raises(ValueError, match=f"more than {values - 1} values"):
        parse_json(text, most_values=values - 1)
    with contextlib.suppress(json.JSONDecodeError):  # for other reasons
        parse_json(text, most_values=values)


# ---- Links out of a model folder ----


OWN = ("config.json", "model.safetensors", "tokenizer.json", "metrics.jsonl", "README.md", "corpus.safetensors")


def refused(model: Path) -> str:
    with pytest.raises(ModelError) as error:
        checkpoint.load(model)
    return str(error.value)


@pytest.mark.parametrize("name", OWN)
def test_model_with_symlink_out_of_folder_is_refused(name: str, zoo: dict[str, Path], tmp_path: Path) -> None:
    model = Path(shutil.copytree(zoo["text"], tmp_path / "m"))
    (model / name).rename(tmp_path / "outside")
    for target in (str(tmp_path / "outside"), "../outside", "/dev/zero"):
        (model / name).symlink_to(target)
        assert name in refused(model) and "links to a file outside the model folder" in refused(model)
        (model / name).unlink()
    (tmp_path / "outside").rename(model / "kept")
    (model / name).symlink_to("kept")
    checkpoint.load(model).weights()  # a link within the folder is allowed
    (model / name).unlink()
    (model / name).symlink_to(name)
    assert name in refused(model)


@pytest.mark.parametrize("name", OWN)
def test_model_with_pipe_as_file_is_refused_without_waiting(name: str, zoo: dict[str, Path], tmp_path: Path) -> None:
    model = Path(shutil.copytree(zoo["text"], tmp_path / "m"))
    (model / name).unlink()
    os.mkfifo(model / name)
    assert "it is not a regular file" in refused(model)


def test_resume_folder_with_symlink_out_is_refused(zoo: dict[str, Path], tmp_path: Path) -> None:
    model = Path(shutil.copytree(zoo["text"], tmp_path / "m"))
    (model / "resume").rename(tmp_path / "precious")
    (model / "resume").symlink_to(tmp_path / "precious")
    before = {path.name: path.read_bytes() for path in (tmp_path / "precious").iterdir()}
    with pytest.raises(ModelError, match="links to a file outside the model folder"):
        seqgen.train([], model, resume=True, steps=5)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "precious").iterdir()}
    (model / "resume").unlink()
    (model / "resume").mkdir()
    shutil.copy(tmp_path / "precious" / "state.json", model / "resume")
    (tensors,) = (tmp_path / "precious").glob("*.safetensors")
    (model / "resume" / tensors.name).symlink_to(tensors)
    with pytest.raises(ModelError, match="links to a file outside the model folder"):
        seqgen.train([], model, resume=True, steps=5)


def test_model_folder_may_be_symlink(zoo: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(zoo["text"])
    assert len(seqgen.load(tmp_path / "link").sample(length=3)[0].text) == 3


def test_find_unchanged_never_reads_files_of_other_sizes(
    zoo: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`evaluate` looks for the sources named in config.json, but reads only a file of the recorded size."""
    model = Path(shutil.copytree(zoo["text"], tmp_path / "m"))
    (tmp_path / "secret.txt").write_text("nobody's business")
    config = json.loads((model / "config.json").read_text())
    config["data"]["sources"] = [{"name": str(tmp_path / "secret.txt"), "bytes": 5, "sha256": "0"}]
    (model / "config.json").write_text(json.dumps(config))
    opened: list[str] = []

    def watched(path: str | Path) -> Any:
        opened.append(str(path))
        return open_decompressed(path)

    for module in ("documents", "opening.identify"):
        monkeypatch.setattr(importlib.import_module(f"seqgen.corpus.{module}"), "open_decompressed", watched)
    seqgen.load(model).evaluate(str(zoo["text"].parent / "words.txt"))
    assert opened
    assert str(tmp_path / "secret.txt") not in opened


# ---- Decompression bombs ----


@pytest.fixture(scope="module")
def met(zoo: dict[str, Path], made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result for each bomb, in a process limited to a gigabyte."""

    def meet(folder: Path) -> None:
        line = [sys.executable, "-m", bombs.__name__, str(zoo["text"].parent), str(tmp_path_factory.mktemp("bombs"))]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(line, capture_output=True, text=True, timeout=600, env=env, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        (folder / "met.jsonl").write_text(done.stdout)

    lines = (made_once("bombs", meet) / "met.jsonl").read_text().splitlines()
    return {found["bomb"]: found for found in map(json.loads, lines)}


@pytest.mark.slow
@pytest.mark.parametrize("name", bombs.BOMBS)
def test_readers_small_file_needs_little_memory(name: str, met: dict[str, dict[str, Any]]) -> None:
    found = met[name]
    assert found["ended"] == "read" or found["ended"].startswith("seqgen: error: "), found
    assert found["grown"] < 600 << 20


@pytest.mark.parametrize(("length", "rows"), [(10, 1000), (100_000, 167), (20 << 20, 1)])
def test_parquet_reader_long_values_are_read_in_small_batches(length: int, rows: int, tmp_path: Path) -> None:
    bombs.repeat_word(tmp_path / "a.parquet", 2_000, length)
    assert (tmp_path / "a.parquet").stat().st_size < bombs.LARGEST
    if length > bombs.LARGEST * 10:
        with pytest.raises(DataError, match="decompression bomb"):
            safe_batch_size(tmp_path / "a.parquet")
    else:
        assert safe_batch_size(tmp_path / "a.parquet") == rows


def test_limited_accepts_well_compressed_file(tmp_path: Path) -> None:
    import gzip

    rows = b"".join(b"2023-01-%02d,%d\n" % (day, day) for day in range(1, 29)) * 3000
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(rows))
    from seqgen.streams import read_whole

    assert read_whole(path) == rows
    path.write_bytes(gzip.compress(bytes(DECOMPRESSION_HEADROOM * 2)))
    with pytest.raises(DataError, match="decompression bomb"):
        read_whole(path)


def test_readers_endless_line_is_refused(zoo: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqgen.cli.inputs.MAX_LINE_BYTES", 3 << 20)
    (tmp_path / "a.txt").write_bytes(b"a short line\n" + b"a" * (5 << 20))
    for line in ("score {text} --lines", "classify {classify}"):
        with pytest.raises(model_zoo.CommandRefusedError, match="put line feeds between records"):
            model_zoo.run_command([*line.format(**zoo).split(), str(tmp_path / "a.txt"), "-o", str(tmp_path / "out")])
        assert not (tmp_path / "out").exists()
    (tmp_path / "a.txt").write_bytes(b"a short line\n" + b"a" * (2 << 20))
    model_zoo.run_command(["classify", str(zoo["classify"]), str(tmp_path / "a.txt")])


# ---- Control characters ----


EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\ud800"


@given(text=st.text(st.characters()))
def test_one_line_has_no_line_breaks_or_controls(text: str) -> None:
    line = one_line(text)
    assert not steers(line) and "\n" not in line
    assert one_line(line) == line


def test_as_bytes_encodes_surrogates() -> None:
    assert as_bytes("a\udcff") == b"a\xff"
    assert as_bytes("\ud83d\ude00") == "😀".encode()
    assert as_bytes("\ud800 a") == "\ufffd a".encode()


class OnATerminal:
    """Runs commands in this process as on a terminal, and returns their output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.status = 0
        self._patch = monkeypatch

    def __call__(self, *line: object) -> str:
        from seqgen.cli.main import main

        shown = [Screen(), Screen()]
        self._patch.setattr(sys, "stdout", shown[0])
        self._patch.setattr(sys, "stderr", shown[1])
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Hello\n")))
        try:
            self.status = main([str(word) for word in line])
        finally:
            self._patch.undo()
        return "".join(screen.buffer.getvalue().decode() for screen in shown)


class Screen(io.TextIOWrapper):
    """A text stream whose `isatty` is true."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True, newline="\n")

    def isatty(self) -> bool:
        return True

    @property
    def buffer(self) -> Any:  # type: ignore[override]
        return super().buffer


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> OnATerminal:
    return OnATerminal(monkeypatch)


def changed(model: Path, path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Copy a model with another config.json and a matching identity."""
    copy = Path(shutil.copytree(model, path))
    config = json.loads((copy / "config.json").read_text())
    change(config)
    (copy / "config.json").write_text(json.dumps(config))
    untrusted_readers.make_consistent(copy)
    return copy


def tidy(printed: str) -> str:
    """Remove the escape sequences that rich writes to draw a progress bar."""
    import re

    return re.sub(r"\x1b\[(\?25[lh]|2K|\d*A|[\d;]*m)|\r", "", printed)


def test_model_names_never_reach_terminal_raw(zoo: dict[str, Path], tmp_path: Path, terminal: OnATerminal) -> None:
    for kind, model in zoo.items():

        def mutate(config: dict[str, Any], kind: str = kind) -> None:
            config["data"]["sources"][0]["name"] = EVIL
            config["seqgen"] = EVIL
            config["metrics"][EVIL] = 1.0
            if "labels" in config["network"]:
                config["network"]["labels"][0] = EVIL

        mutated = changed(model, tmp_path / kind, mutate)
        if kind == "forecast":
            reader = json.loads((mutated / "tokenizer.json").read_text())
            reader["targets"][0] = EVIL
            (mutated / "tokenizer.json").write_text(json.dumps(reader))
            untrusted_readers.make_consistent(mutated)
        others = ("info {m} --json", "sample {m} --label nothing", "classify {m} --top-k 5")
        for line in (*model_zoo.COMMANDS[kind], *others):
            printed = terminal(*line.format(m=mutated, f=model.parent).split())
            assert terminal.status in (0, 2), printed
            assert not steers(printed), (kind, line, printed)
        assert checkpoint.load(mutated)
        assert not steers(checkpoint.card(checkpoint.load(mutated).config, "m"))


def test_corpus_names_never_reach_terminal_raw(tmp_path: Path, terminal: OnATerminal) -> None:
    """In progress bars, reports about a source, errors, tables and the model card."""
    evil = EVIL.replace("\ud800", "")
    rows = "".join(f"2023-01-{day:02},{day % 7}\n" for day in range(1, 29))
    files = {
        f"{evil}.txt": "some words " * 900,
        "table.csv": f"date,{evil}\n{rows}{rows.replace('2023', '2024')}",
        "texts.csv": "text,label\n" + f"fine,good\n\"bad\n{evil}\",\"{evil}\"\n" * 30,
        "talk.jsonl": json.dumps({"messages": [{"role": evil, "content": evil}, {"role": "b", "content": "c"}]}) + "\n",
        "odd.csv": f"{evil};b\n1;{evil}\n",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / f"{evil}.mid").write_bytes(b"MThd")
    tiny = ["--steps", "1", "--rnn-size", "4", "--threads", "1", "--precision", "fp32"]
    for name, task in [(f"{evil}.txt", "text"), ("table.csv", "forecast"), ("texts.csv", "classify"),
                       ("talk.jsonl", "dialogue"), ("odd.csv", "classify"), ("odd.csv", "forecast"),
                       ("music", "music"), (f"{evil}.txt", "dialogue")]:  # fmt: skip
        new = tmp_path / "new"
        printed = tidy(terminal("train", tmp_path / name, "-o", new, "--task", task, *tiny))
        assert not steers(printed), (name, task, printed)
        assert terminal.status in (0, 2), printed
        if terminal.status == 0:
            for line in ("info", "sample", "evaluate", "forecast", "classify", "score", "tokenize"):
                printed = terminal(line, new, *[tmp_path / name] * (line not in ("info", "sample")))
                assert not steers(printed), (name, line, printed)
            assert not steers((new / "README.md").read_text())
            shutil.rmtree(new)


# ---- Network ----


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Record and refuse every connection."""
    tried: list[Any] = []

    def turn_away(*what: Any, **_: Any) -> None:
        tried.append(what)
        raise OSError("there is no network here")

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, turn_away)
    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, name, turn_away)
    yield tried


def test_commands_never_use_network_unasked(zoo: dict[str, Path], tmp_path: Path, no_network: list[Any]) -> None:
    model_zoo.write_inputs(tmp_path)
    tiny = "--steps 1 --rnn-size 4 --threads 1 --precision fp32"
    lines = [line.format(m=zoo[kind], f=tmp_path) for kind in model_zoo.MODELS for line in model_zoo.COMMANDS[kind]]
    lines += [f"train {tmp_path / name} -o {tmp_path / task} --task {task} {tiny}" for name, task in (
        ("words.txt", "text"), ("talk.jsonl", "dialogue"), ("tune.mid", "music"), ("texts.csv", "classify"),
        ("table.csv", "forecast"))]  # fmt: skip
    lines += [f"train --resume -o {tmp_path}/forecast --steps 2 --quiet", "corpora", "corpora tidewater",
              "corpora imdb --about", "corpora --cache", "corpora python-topics",
              "tokenize char tidewater -o /dev/null",
              f"evaluate {zoo['text']} {tmp_path}/words.txt --adaptive", "--help", "--version",
              f"forecast {zoo['forecast']} {tmp_path}/table.csv --plot {tmp_path}/a.png"]  # fmt: skip
    for line in lines:
        with contextlib.suppress(model_zoo.CommandRefusedError):  # the text is too short for a validation set
            model_zoo.run_command(line.split())
        assert no_network == [], line
    with pytest.raises(model_zoo.CommandRefusedError, match="cannot fetch"):  # a source that needs the network
        model_zoo.run_command(["corpora", "sst-2"])
    assert no_network


# ---- Code ----


def test_global_random_state_is_never_used() -> None:
    """The mutations draw from the generators passed to them."""
    state = random.getstate()
    next(mutations.mutated_inputs(READERS["series"], 1))
    assert random.getstate() == state


def test_errors_derive_from_seqgen_error() -> None:
    assert issubclass(ModelError, UserError) and issubclass(DataError, UserError)
