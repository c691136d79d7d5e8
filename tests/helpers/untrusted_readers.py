"""Readers of untrusted input, with examples of what they read.

A reader takes an empty folder and bytes. It may refuse them with a `UserError`, and with nothing else.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import functools
import gzip
import io
import json
import lzma
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from seqgen import checkpoint, tasks, tokenizers
from seqgen.api import compare
from seqgen.automata.dfa import RegexAutomaton
from seqgen.cli import defaults
from seqgen.cli.commands import train
from seqgen.cli.options import flags_of
from seqgen.config import from_json, network_config_class
from seqgen.corpus.catalogue import download
from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.conversations import read as conversations
from seqgen.corpus.labelled import read as labelled
from seqgen.corpus.series import read as series
from seqgen.corpus.sources import Document, Spool, checksum_documents, find
from seqgen.corpus.tables.excel import open_sheet
from seqgen.errors import SeqgenError, UserError
from seqgen.music import midi, reading
from seqgen.music.notation import abc_writing, musicxml_writing
from seqgen.server import run as server_run
from seqgen.server.models import ServedModels
from seqgen.server.state import ServerState
from seqgen.specs.tasks import RowLayout
from seqgen.streams import read_whole
from seqgen.tokenizers.normalise import read_stop_words
from tests.helpers import hub_server
from tests.helpers.model_zoo import (
    COMMANDS,
    CORPORA,
    SAMPLED,
    SOURCE_COMMANDS,
    USES,
    CommandRefusedError,
    run_command,
)
from tests.helpers.rankers import make_ranker


@dataclass(frozen=True)
class Reader:
    """A reader, valid inputs of it, and the file names that it accepts."""

    read: Callable[[Path, bytes, str], Any]  # f(empty folder, bytes, file name)
    seeds: list[bytes]
    names: tuple[str, ...] = ("input",)
    is_json: bool = False


def _document(scratch: Path, data: bytes, name: str) -> list[Document]:
    (scratch / name).write_bytes(data)
    return checksum_documents([Document(str(scratch / name), scratch / name)])


def _labelled(scratch: Path, data: bytes, name: str) -> None:
    labelled.looks_like_labelled_texts(_put(scratch, data, name))
    found = labelled.read_examples(_document(scratch, data, name), labelled.LabelledOptions(), lambda _: None)
    labelled.collect_examples(found, lambda _: None)


def _put(scratch: Path, data: bytes, name: str) -> Path:
    path = scratch / name
    path.write_bytes(data)
    return path


def _conversations(scratch: Path, data: bytes, name: str) -> None:
    conversations.looks_like_dialogue(_put(scratch, data, name))
    conversations.read_conversations(_document(scratch, data, name))


def _series(scratch: Path, data: bytes, name: str) -> None:
    from seqgen.corpus.series.guess import looks_like_series

    looks_like_series(_put(scratch, data, name))
    series.read_series(_document(scratch, data, name), series.SeriesOptions(), lambda _: None)


def _catalogue(scratch: Path, data: bytes, name: str) -> None:
    try:
        entries = catalogue.load(_put(scratch, data, name))
    except SeqgenError as error:  # for our own catalogue, an internal error
        raise UserError(str(error)) from error
    for entry in entries.values():
        for part in (entry.name, entry.shares or "a"):
            assert (scratch / part).resolve().parent == scratch.resolve(), "an entry outside the cache"
        if entry.file is not None:
            assert (scratch / entry.file).resolve().is_relative_to(scratch.resolve()), "an entry outside its folder"


def _archive(scratch: Path, data: bytes, name: str) -> None:
    path = _put(scratch, data, name)
    archive = "zip" if name.endswith("zip") else "tar"
    entry = catalogue.CatalogueEntry("a", "text", "t", "l", "c", "s", "text", address="https://a/b", archive=archive)
    before = {inner for inner in scratch.parent.rglob("*") if scratch not in inner.parents}
    try:
        download._unpack(entry, path, scratch / "out")
    except OSError as error:  # as `materialise` does
        raise UserError(str(error)) from error
    assert before == {inner for inner in scratch.parent.rglob("*") if scratch not in inner.parents}
    assert not [inner for inner in (scratch / "out").rglob("*") if inner.is_symlink()]


def _midi(scratch: Path, data: bytes, name: str) -> None:
    piece, _ = reading.read(data, 12)
    midi.write(piece)


def _notated(tune: bytes) -> list[bytes]:
    """The beginning of a tune in MusicXML, compressed too, and in ABC."""
    piece = midi.read(tune, 4)[0].excerpt(0, 4)
    score = musicxml_writing.write(piece)
    compressed = io.BytesIO()
    with zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", '<container><rootfile full-path="a.xml"/></container>')
        archive.writestr("a.xml", score)
    repeats = b'X:1\nM:6/8\nQ:3/8=90\nK:Ador\n|:"Am"A>B(3cde|1 [Ac]2z-:|2 {g}A3-|A3|]\n'
    return [score, compressed.getvalue(), abc_writing.write(piece), repeats]


def _sentencepiece(scratch: Path, data: bytes, name: str) -> None:
    from seqgen.tokenizers.subwords import SubwordCodec

    codec = SubwordCodec(data)
    text = "Call me Ishmael. \u2581\n\xa0ſ ß 中文\x00".encode()
    assert tokenizers.decode(codec, codec.encode(text)) == text


def model_file_reader(
    model_name: str,
    folder: Path,
    file: str,
    consistent: bool,
    added: Mapping[str, bytes] = MappingProxyType({}),
    lines: Sequence[str] = (),
) -> Reader:
    """A reader of one file of a model, which is loaded and then used by one of its commands.

    Args:
        consistent: recompute the identity in config.json, as an attacker would.
        added: other files of the model, or other contents of its own.
        lines: of the commands, by default all that the model zoo has.
    """
    seed = added[file] if file in added else (folder / file).read_bytes()
    commands = lines or [*COMMANDS[model_name], *USES[model_name]]

    def read(scratch: Path, data: bytes, name: str) -> None:
        model = scratch / "model"
        shutil.rmtree(model, ignore_errors=True)
        shutil.copytree(folder, model)
        for other, content in added.items():
            (model / other).write_bytes(content)
        (model / file).write_bytes(data)
        if consistent:
            make_consistent(model)
        with contextlib.suppress(UserError):
            checkpoint.load(model)
            checkpoint.read_metrics(model)
            checkpoint.read_resume(model)
        line = commands[zlib.crc32(data) % len(commands)]
        run_command(line.format(m=model, f=folder.parent, p=scratch).split())

    return Reader(read, [seed], is_json=file.endswith((".json", ".jsonl")))


def averaged_files(folder: Path) -> dict[str, bytes]:
    """config.json and weights of a model that averages its network with another of the same kind."""
    config = json.loads((folder / "config.json").read_bytes())
    model = checkpoint.load(folder)
    weights = {name: values.copy() for name, values in model.weights().items()}
    config["members"] = [config["network"]]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "model.safetensors")
        checkpoint.write_weights(path, weights, config["identity"], [weights])
        return {"config.json": json.dumps(config).encode(), path.name: path.read_bytes()}


def ranker_file(folder: Path) -> bytes:
    """An untrained ranker of the replies of a dialogue model."""
    model = checkpoint.load(folder)
    return make_ranker(model.network.rnn_size).dump(model.config["identity"])


def _command_reader(model: Path, line: str) -> Callable[[Path, bytes, str], None]:
    """Read a state or a receipt by a command line, {x} in it."""

    def read(scratch: Path, data: bytes, name: str) -> None:
        path = _put(scratch, data, name)
        run_command(line.format(m=model, f=model.parent, x=path, p=scratch).split())

    return read


def _source_reader(models: dict[str, Path], name: str) -> Reader:
    """Commands of `SOURCE_COMMANDS` on a source. Where the first of several accepts it, the others must do so too."""
    model_name, (examples, own), names, lines = SOURCE_COMMANDS[name]
    model, found = models[model_name], data_readers()
    seeds = [seed for key, reader in found.items() if examples in (key, "any") for seed in reader.seeds]
    if "a.xlsx" in names:
        seeds += [*workbooks()[:1], *parquet_tables()]
    seeds += [model.with_name(own).read_bytes()[:4000]] * len(seeds)  # half of the files

    def read(scratch: Path, data: bytes, title: str) -> None:
        path = _put(scratch, data, title)
        first, *others = lines[zlib.crc32(data) % len(lines)].split(" && ")
        run_command(first.format(m=model, f=model.parent, x=path, p=scratch).split())
        for line in others:
            try:
                run_command(line.format(m=model, f=model.parent, x=path, p=scratch).split())
            except CommandRefusedError as error:
                raise AssertionError(f"{first}, and then {error}") from error

    return Reader(read, seeds, names)


def _hub_reader(folder: Path) -> Reader:
    """Use a model of a hub that says these bytes when it is asked for the model's files."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    about = {"id": "o/m", "sha": hub_server.commit_of(files), "tags": ["a"], "private": False, "gated": False,
             "lastModified": "2026-01-01T00:00:00.000Z", "cardData": {"license": "mit"},
             "siblings": [{"rfilename": name, "size": len(data)} for name, data in files.items()]}  # fmt: skip

    def read(scratch: Path, data: bytes, _: str) -> None:
        hub = hub_server.Hub({"o/m": hub_server.Repository({"main": files})}, said=data)
        before = {inner for inner in scratch.parent.rglob("*") if scratch not in inner.parents}
        with hub_server.hub_in_use(hub, f"{scratch}/cache"):
            run_command(["info", "hf:o/m"])
        assert before == {inner for inner in scratch.parent.rglob("*") if scratch not in inner.parents}

    return Reader(read, [json.dumps(about).encode()], is_json=True)


def _text(scratch: Path, data: bytes, name: str) -> None:
    """Read a file as text: its encoding recognised, the members of an archive one by one."""
    with Spool() as spool:
        for document in find([str(_put(scratch, data, name))], spool):
            for _ in document.chunks():
                pass


def _tune_book(scratch: Path, data: bytes, name: str) -> None:
    with Spool() as spool:
        for document in find([str(_put(scratch, data, name))], spool, accepts=tasks.accepts("music")):
            with contextlib.suppress(UserError):
                reading.read(b"".join(document.limited()), 4)


def _flags(scratch: Path, data: bytes, name: str) -> None:
    """Read a file of `train --config`."""
    given = {"config": str(_put(scratch, data, name))}
    defaults.read_defaults("train", flags_of(train.run), given, lambda _: None)


def _grammar(scratch: Path, data: bytes, name: str) -> None:
    """Compile a pattern of --grammar, and follow it for some bytes."""
    automaton = RegexAutomaton(data.decode("utf-8", "surrogateescape"), (b"ab", data[:8]), b"a")
    states = np.array([automaton.start])
    for _ in range(40):
        after = automaton.advance(np.repeat(states, 256), np.tile(np.arange(256, dtype=np.uint8), len(states)))
        after = np.unique(after[after >= 0])
        after = after[automaton.min_remaining(after) >= 0][:8]
        if not len(after):
            assert all(automaton.is_accepting(int(state)) for state in states), "a dead end"
            return
        states = after


COMPARISON: dict[str, Any] = {
    "sources": ["a.txt"], "valid": [], "task": None, "match": "units", "seeds": 1, "variants": [{"cell": "gru"}],
    "options": {"finish": False, "target": ["a", "b"]}, "task_found": "text",
    "common": {"dropout": 0.1, "budget": "9s"}, "by_variant": [{"cell": "gru"}], "finished": ["gru-1"], "former": [],
}  # fmt: skip


def _comparison(scratch: Path, data: bytes, _: str) -> None:
    """Read what `compare` keeps in its folder."""
    (scratch / compare.FILE).write_bytes(data)
    assert compare._saved(scratch, dict(list(COMPARISON.items())[:7]))


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {  # by path: the model of the zoo, and what else is asked for
    "/v1/completions": (
        "text", {"prompt": "The ", "length": 5, "n": 2, "temperature": 0.5, "stop": ["x"], "logprobs": 2,
                 "logit_bias": {"5": 1.5}, "top_k": 9, "seed": 3, "stream": False, "grammar": "[a-z ]+"},
    ),
    "/v1/chat/completions": (
        "dialogue", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, "temperature": 0.7,
                     "stream": True, "stream_options": {"include_usage": True}},
    ),
    "/v1/classify": ("classify", {"input": ["good", "bad"], "top_k": 2, "min_confidence": 0.1}),
    "/v1/score": ("text", {"input": ["The lamp"], "per_token": True}),
    "/v1/forecast": ("forecast", {"csv": "", "horizon": 2, "levels": "80,95"}),
    "/v1/compose": ("music", {"length": 1, "tempo": 120, "key": "C", "format": "json", "n": 1, "temperature": 0.9}),
}  # fmt: skip


@functools.lru_cache(maxsize=1)
def _server(folders: tuple[Path, ...]) -> Any:
    return server_run.make_app(ServerState(ServedModels([str(each) for each in folders]), timeout=3, page=False))


def _request_reader(models: dict[str, Path], path: str, uploads: bool = False) -> Reader:
    """Read the body of a request to a server of these models. An answer of a status below 400 is an acceptance.

    With `uploads`, the bytes are a table that the page puts into the body.
    """
    name, body = REQUESTS[path]
    table = (models[name].parent / "table.csv").read_bytes()
    if "csv" in body:
        body = {**body, "csv": table.decode()}
    body = {"model": models[name].name, **body}

    def read(scratch: Path, data: bytes, _: str) -> None:
        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")], "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80), "scheme": "http", "http_version": "1.1", "root_path": "",
            "asgi": {"version": "3.0"},
        }  # fmt: skip
        sent: list[Any] = []
        if uploads:
            data = json.dumps({**body, "csv": data.decode("utf-8", "replace")}).encode()

        async def answer() -> None:
            received: list[Any] = [{"type": "http.request", "body": data, "more_body": False}]

            async def receive() -> Any:
                if received:
                    return received.pop()
                await asyncio.sleep(60)  # the client stays until it has the answer
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                sent.append(message)

            await _server(tuple(models[each] for each in sorted(models)))(scope, receive, send)

        asyncio.run(answer())
        status, text = sent[0]["status"], b"".join(message.get("body", b"") for message in sent)
        assert status < 500 or status == 503, f"status {status}: {text[:300]!r}"  # 503: it took too long
        assert str(models[name].parent).encode() not in text, "a path of the machine"
        if status >= 400:
            raise UserError(json.loads(text)["error"]["message"])

    return Reader(read, [table if uploads else json.dumps(body).encode()], is_json=not uploads)


def _rows(scratch: Path, data: bytes, name: str) -> None:
    from seqgen.corpus.dataset_rows import RowFormat

    with Spool() as spool:
        for rows in (RowFormat(RowLayout.TEXT, "text"), RowFormat(RowLayout.RECORDS)):
            for document in find([str(_put(scratch, data, name))], spool, rows=rows):
                list(document.chunks())


def make_consistent(model: Path) -> None:
    """Recompute the identity in config.json and model.safetensors after a change to the model."""
    with contextlib.suppress(Exception):
        config = json.loads((model / "config.json").read_bytes())
        files = {name: (model / name).read_bytes() for name in ("tokenizer.json", "tokenizer.model")
                 if (model / name).exists()}  # fmt: skip
        network = from_json(network_config_class(config["task"], config["network"]), config["network"])
        reader = checkpoint.parse_preprocessor(config["task"], files)
        found = checkpoint.identity(network, tokenizers.dump(reader))
        config["identity"] = found
        (model / "config.json").write_text(json.dumps(config))
        data = (model / "model.safetensors").read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + size])
        header["__metadata__"] = {"identity": found}
        text = json.dumps(header).encode()
        (model / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def _resume(folder: Path, file: str) -> Reader:
    def read(scratch: Path, data: bytes, name: str) -> None:
        model = scratch / "model"
        shutil.rmtree(model, ignore_errors=True)
        shutil.copytree(folder, model)
        path = next(model.glob(file))
        path.write_bytes(data)
        before = {inner for inner in scratch.parent.rglob("*") if scratch not in inner.parents}
        run_command(["train", "-o", str(model), "--resume", "--steps", "3", "--quiet"])
        assert before == {inner for inner in scratch.parent.rglob("*") if scratch not in inner.parents}

    seeds = [path.read_bytes() for path in folder.glob(file)]
    return Reader(read, seeds, is_json=file.endswith(".json"))


def all_readers(models: dict[str, Path]) -> dict[str, Reader]:
    """All readers by name, those of the files of these models included."""
    found: dict[str, Reader] = {}
    for name, folder in models.items():
        for file in ("config.json", "tokenizer.json", "model.safetensors"):
            found[f"{name}/{file}"] = model_file_reader(name, folder, file, consistent=False)
            if file != "model.safetensors":
                found[f"{name}/{file}, consistent"] = model_file_reader(name, folder, file, consistent=True)
    found["subword/tokenizer.model"] = Reader(_sentencepiece, [(models["subword"] / "tokenizer.model").read_bytes()])
    found["text/metrics.jsonl"] = model_file_reader("text", models["text"], "metrics.jsonl", consistent=False)
    found["text/corpus.safetensors"] = model_file_reader("text", models["text"], "corpus.safetensors", consistent=False)
    for name in ("classify", "forecast"):
        averaged = averaged_files(models[name])
        for file in averaged:
            found[f"{name} averaged/{file}"] = model_file_reader(name, models[name], file, False, averaged)
    ranker = {"ranker.safetensors": ranker_file(models["dialogue"])}
    found["dialogue/ranker.safetensors"] = model_file_reader(
        "dialogue", models["dialogue"], "ranker.safetensors", False, ranker, ["evaluate {m} {f}/talk.jsonl", "chat {m}"]
    )
    found["hub"] = _hub_reader(models["text"])
    found["page upload"] = _request_reader(models, "/v1/forecast", uploads=True)
    for name in SAMPLED:
        model = models[name]
        continued = "sample {m} --state-in {x} --length 2" + " -o {p}/a.mid" * (name == "music")
        replayed = "sample --replay {x}" + " -o {p}/a.mid" * (name == "music")
        state, receipt = (model.with_name(f"{name}.{suffix}").read_bytes() for suffix in ("state", "receipt"))
        found[f"{name}.state"] = Reader(_command_reader(model, continued), [state])
        found[f"{name}.receipt"] = Reader(_command_reader(model, replayed), [receipt], is_json=True)
    for name in ("text", "classify", "forecast"):
        found[f"{name}/resume/state.json"] = _resume(models[name], "resume/state.json")
        found[f"{name}/resume/tensors"] = _resume(models[name], "resume/step-*.safetensors")
        found[f"{name}/config.json, resumed"] = _resume(models[name], "config.json")
    found |= {path: _request_reader(models, path) for path in REQUESTS}
    found |= {name: _source_reader(models, name) for name in SOURCE_COMMANDS}
    found |= data_readers()
    return found


@functools.cache
def data_readers() -> dict[str, Reader]:
    """The readers that need no model, by name."""
    tunes = [path.read_bytes() for path in sorted((CORPORA / "tunes").iterdir())[:4]]
    texts = (CORPORA / "reviews.csv").read_bytes()[:1500]
    labelled_rows = [b"text,label\nA fine book,good\n\"Bad, \"\"really\"\" bad\",bad\nA fine tram,good\n",
            b'{"text": "a fine book", "label": 1}\n{"text": "a bad tram", "label": [0, "x"]}\n',
            b'[{"text": "a fine book", "label": true}, {"text": "a bad tram", "label": null}]',
            b"__label__good a fine book\n__label__bad __label__dear a tram\n", b"DESC:manner How far is it ?\n",
            texts, "文本,标签\n很好,好\n不好,坏\n".encode("gb18030")]  # fmt: skip
    conversation_files = [form.parse.__doc__.split("\n\n", 1)[1].replace("\n    ", "\n").encode()
            for form in conversations.FORMATS.values() if "\n\n" in (form.parse.__doc__ or "")]  # fmt: skip
    conversation_files += [
        b"conversations:\n- - Hello\n  - Good morning.\n- - 'It''s far'\n  - \"A \\u0041 mile\\n\"\n  - |\n    block\n",
        b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"text": "Ho"}]}]}\n',
    ]
    tables = ["".join((CORPORA / name).read_text().splitlines(keepends=True)[:40]).encode()
              for name in ("weather.csv", "prices.csv")]  # fmt: skip
    tables += ["\ufeffDatum;Wert\n01.02.2023;1.234,5\n02.02.2023;12 %\n03.02.2023;\n".encode(),
               b"id,month,a,b\nx,2020-01,1,2\nx,2020-02,3,\ny,2020-01,$1.5K,4\n", b"1\n2\n3\n4\n5\n6\n"]  # fmt: skip
    catalogue_file = (CORPORA / "catalog.toml").read_bytes()
    return {
        "midi": Reader(_midi, tunes),
        "notated music": Reader(_midi, _notated(tunes[0])),
        "labelled": Reader(_labelled, labelled_rows, ("a.csv", "a.tsv", "a.jsonl", "a.json", "a.txt")),
        "conversations": Reader(
            _conversations, conversation_files, ("a.jsonl", "a.txt", "a.yml", "a.csv", "a.tsv", "a.json")
        ),
        "series": Reader(_series, tables, ("a.csv", "a.tsv", "a.txt")),
        "excel": Reader(_excel, workbooks(), ("a.xlsx",)),
        "text": Reader(_text, _texts(), ("a.txt", "a.md", "a.zip", "a.tar")),
        "tune book": Reader(
            _tune_book, [b"".join(_notated(tunes[0])[2:]), b"M:3/4\n" + _notated(tunes[0])[3] * 3], ("a.abc",)
        ),
        "flags": Reader(_flags, [_FLAGS], ("a.toml",)),
        "grammar": Reader(
            _grammar, [rb"(ab|[^\d\W]{2,5}?)+\u4e2d?", rb"(?:\{\"a\": -?(0|[1-9][0-9]*)(,|\}))*", b"x{3}|.*y"]
        ),
        "comparison": Reader(_comparison, [json.dumps(COMPARISON).encode()], is_json=True),
        "stop words": Reader(lambda p, d, n: read_stop_words(_put(p, d, n)), ["the\n# of\nund\n的\n".encode()]),
        "parquet": PARQUET_READER,
        "rows": Reader(
            _rows, [*dataset_rows(), labelled_rows[0], labelled_rows[1]], ("a.parquet", "a.arrow", "a.jsonl", "a.csv")
        ),
        "catalogue": Reader(_catalogue, [b"[[corpus]]" + part for part in catalogue_file.split(b"[[corpus]]")[1:40:3]]),
        "zip": Reader(_archive, [zip_archive()], ("a.zip",)),
        "tar": Reader(_archive, [tar_archive(), tar_archive("w:gz")], ("a.tar",)),
        ".gz": Reader(lambda p, d, n: read_whole(_put(p, d, n)), [gzip.compress(b"some text " * 40)], ("a.gz",)),
        ".xz": Reader(lambda p, d, n: read_whole(_put(p, d, n)), [lzma.compress(b"some text " * 40)], ("a.xz",)),
        ".bz2": Reader(lambda p, d, n: read_whole(_put(p, d, n)), [bz2_file(), overrunning_bzip2()], ("a.bz2",)),
        ".zst": Reader(lambda p, d, n: read_whole(_put(p, d, n)), [zst_file()], ("a.zst",)),
    }


def parquet_tables() -> list[bytes]:
    """A table in Parquet by three compressions; none without pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return []
    found = []
    for compression in ("none", "snappy", "zstd"):
        table = pyarrow.table({"date": [f"2023-01-{day:02}" for day in range(1, 29)], "a": list(range(28)),
                               "b": [day / 7 for day in range(28)]})  # fmt: skip
        stream = io.BytesIO()
        parquet.write_table(table, stream, compression=compression)
        found.append(stream.getvalue())
    return found


_FLAGS = b"""# of train
sources = ["a.txt", 'b.txt']
output = "m"
rnn-size = 32
learning_rate = 1e-3
budget = "2m"
tie-weights = true
quiet = false
"""


def workbooks() -> list[bytes]:
    """A table of numbers and one of labelled texts in .xlsx; none without openpyxl."""
    try:
        import openpyxl
    except ImportError:
        return []
    found = []
    day = datetime.datetime(2023, 1, 1)
    series = [["date", "a", "b"], *([day + datetime.timedelta(days=n), n, n / 7] for n in range(28))]
    for rows in (series, [["text", "label"], ["a fine book", "good"], ["a bad tram", None], ["a tram", 3]]):
        book, stream = openpyxl.Workbook(), io.BytesIO()
        for row in rows:
            book.active.append(row)
        book.save(stream)
        found.append(stream.getvalue())
    return found


def _excel(scratch: Path, data: bytes, name: str) -> None:
    (document,) = _document(scratch, data, name)
    for _ in open_sheet(document, name, None, lambda _: None).blocks():
        pass


def _texts() -> list[bytes]:
    """Texts in several encodings, one marked up, and archives of them."""
    prose = "Der Fährmann sagte: „Über den Fluß?“ – niemals.\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", prose.encode("utf-16"))
        archive.writestr("b/名.txt", "渡船回来了。\n" * 9)
    encoded = [
        (prose, "utf-8"), (prose, "cp1252"), (prose, "utf-16"), ("渡船回来了，天在下雨。\n", "gb18030"),
        ("フェリーは家に帰りました。\n", "shift_jis"), ("フェリーは家に帰りました。\n", "iso2022_jp"),
        ("Паром вернулся домой.\n", "koi8-r"), ("<html><p>The ferry &amp; the tram</p></html>\n", "utf-16-le"),
    ]  # fmt: skip
    archives = [packed.getvalue(), zip_archive(), tar_archive(), tar_archive("w:gz")]
    return [*((text * 9).encode(encoding) for text, encoding in encoded), *archives]


def dataset_rows() -> list[bytes]:
    """Rows of a labelled dataset in Parquet and Arrow; none without pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return []
    table = pyarrow.table({"text": ["a fine book", "a bad tram", ""], "label": [1, 0, None]})
    streams = io.BytesIO(), io.BytesIO()
    parquet.write_table(table, streams[0])
    with pyarrow.ipc.new_stream(streams[1], table.schema) as writer:
        writer.write_table(table)
    return [stream.getvalue() for stream in streams]


PARQUET_READER = Reader(_series, parquet_tables(), ("a.parquet",))


def zip_archive() -> bytes:
    """A zip archive of two files, one in a folder."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("one.txt", "a text " * 20)
        packed.writestr("inside/two.txt", "another")
    return stream.getvalue()


def tar_archive(mode: str = "w") -> bytes:
    """The same two files as a tar archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name in ("one.txt", "inside/two.txt"):
            item = tarfile.TarInfo(name)
            item.size = 7
            archive.addfile(item, io.BytesIO(b"a text\n"))
    return stream.getvalue()


def bz2_file() -> bytes:
    import bz2

    return bz2.compress(b"some text " * 40)


def overrunning_bzip2() -> bytes:
    """A damaged .bz2 at which libbz2 writes beyond its memory if it is called again after its error."""
    return zlib.decompress(base64.b85decode(
        b"c-nJ{%CIzaj8qGbY!y#k$iUD&vB4pcdf<uCchx-;b{|X}dH@j~3`|Tt4hjqbZ48<L83)bOS#Hb~W;tl1*79M#c#*3`zyy#|dO6EI=eq(ug"
        b"W>(|{fVQ19H2A;!DyBq&C;V;diZ5&07=B2AO"
    ))  # fmt: skip


def zst_file() -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(b"some text " * 40)


def attempt(reader: Reader, data: bytes, name: str, scratch: Path) -> bool:
    """Whether the reader accepts the bytes. Any error other than a refusal is raised: it is a fault of the reader."""
    scratch.mkdir(exist_ok=True)
    try:
        reader.read(scratch, data, name)
    except (UserError, CommandRefusedError):
        return False
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return True
