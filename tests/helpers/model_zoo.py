"""Files as a stranger may have made them: every reader, good examples of what it reads, and ways to spoil them.

A reader takes a free folder and bytes. It may refuse them, with a `UserError` and nothing else.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import lzma
import random
import shutil
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import seqgen
from seqgen import checkpoint, tokenizers
from seqgen.config import from_json, network_config_class
from seqgen.corpus.catalogue import download
from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.conversations import read as conversations
from seqgen.corpus.labelled import read as labelled
from seqgen.corpus.series import read as series
from seqgen.corpus.sources import Document, checksum_documents
from seqgen.errors import SeqgenError, UserError
from seqgen.music import midi
from seqgen.specs.tasks import RowLayout
from seqgen.streams import read_whole

CORPORA = Path(__file__).resolve().parents[2] / "corpora"
MOST = 4 << 20  # bytes of an input: what takes memory here takes it by its header, not by its size


# ---- One small model of each kind ----

TINY: dict[str, Any] = {"rnn_size": 8, "steps": 2, "batch_size": 4, "threads": 1, "precision": "fp32", "seed": 1}
KINDS = ("text", "subword", "dialogue", "music", "classify", "generative", "forecast")


def prompts(folder: Path) -> None:
    """What the commands are given to read, beside the models."""
    (folder / "words.txt").write_text("The ferry came home.\nIt rained.\n")
    (folder / "talk.jsonl").write_text('["Hello!", "Good morning.", "Is it far?", "A mile."]\n' * 12)
    shutil.copy(CORPORA / "tunes" / "01-the-wren-in-the-gutter.mid", folder / "tune.mid")
    (folder / "texts.csv").write_text("".join((CORPORA / "reviews.csv").read_text().splitlines(keepends=True)[:40]))
    (folder / "table.csv").write_text("".join((CORPORA / "weather.csv").read_text().splitlines(keepends=True)[:200]))


def train_each(folder: Path) -> dict[str, Path]:
    """A model of each kind below `folder`, with the sources beside them, trained for two steps."""
    prompts(folder)
    (folder / "prose.txt").write_text((CORPORA / "tidewater.txt").read_text()[:9000])
    tunes = folder / "tunes"
    tunes.mkdir()
    for path in sorted((CORPORA / "tunes").iterdir())[:3]:
        shutil.copy(path, tunes)
    sources: dict[str, tuple[Path, dict[str, Any]]] = {
        "text": (folder / "prose.txt", {"embedding_size": 4, "seq_length": 16, "keep_corpus": True}),
        "subword": (folder / "prose.txt", {"embedding_size": 4, "tokenizer": "subword", "vocab_size": 320}),
        "dialogue": (folder / "talk.jsonl", {"task": "dialogue", "tokenizer": "byte", "embedding_size": 4}),
        "music": (tunes, {"embedding_size": 4, "seq_length": 16}),
        "classify": (folder / "texts.csv", {"tokenizer": "char", "embedding_size": 4, "pretrain": 0.0}),
        "generative": (folder / "texts.csv", {"generative": True, "tokenizer": "byte", "embedding_size": 4}),
        "forecast": (folder / "table.csv", {"horizon": 3, "look_back": 14}),
    }
    for kind, (source, options) in sources.items():
        seqgen.train(str(source), folder / kind, **{**TINY, **options})
    for kind in LEFT:  # what samples of theirs leave
        with open(folder / f"{kind}.receipt", "wb") as receipt:
            receipt.write(
                command(["sample", str(folder / kind), "--length", "2", "--temperature", "0.8", "--top-k", "9",
                         "--json", "-o", "-" if kind == "text" else str(folder / "out.mid"),
                         "--state-out", str(folder / f"{kind}.state")])
            )  # fmt: skip
    return {kind: folder / kind for kind in KINDS}


LEFT = ("text", "music")  # the kinds of models whose states and receipts are read

# What each kind of model is asked to do, for a command line; FOLDER stands for where the inputs lie.
WORK: dict[str, list[str]] = {
    "text": ["sample {m} --length 3", "score {m} {f}/words.txt", "tokenize {m} {f}/words.txt", "info {m}",
             "evaluate {m} {f}/words.txt", "sample {m} --length 30 --max-copy 4 --json"],
    "subword": ["sample {m} --length 3 --prompt ab", "tokenize {m} {f}/words.txt", "info {m} --json"],
    "dialogue": ["chat {m}", "score {m} {f}/talk.jsonl", "sample {m} --length 3", "info {m}"],
    "music": ["sample {m} --length 1 -o {f}/out.mid", "score {m} {f}/tune.mid", "tokenize {m} {f}/tune.mid",
              "info {m}"],
    "classify": ["classify {m} {f}/words.txt", "info {m}", "evaluate {m} {f}/texts.csv --no-rivals",
                 "classify {m} {f}/words.txt --format jsonl"],
    "generative": ["classify {m} {f}/words.txt", "sample {m} --label positive --length 3", "info {m}"],
    "forecast": ["forecast {m} {f}/table.csv", "info {m}", "evaluate {m} {f}/table.csv",
                 "forecast {m} {f}/table.csv --backtest 2 --json"],
}  # fmt: skip


class Refused(Exception):
    """A command ended with status 2, as it should where something is wrong."""


def command(line: Sequence[str]) -> bytes:
    """What a command in this process writes. Raises `Refused` for status 2, and `AssertionError` for anything but that
    and 0."""
    from seqgen.cli.main import main

    out, err, stdin = io.TextIOWrapper(io.BytesIO()), io.StringIO(), io.TextIOWrapper(io.BytesIO(b"Hello\n"))
    before = sys.stdin
    sys.stdin = stdin
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(list(line))
    finally:
        sys.stdin = before
    said = err.getvalue()
    assert status in (0, 2), f"{' '.join(line)}: status {status}: {said[-600:]}"
    assert not any(letter < " " and letter != "\n" for letter in said), f"{' '.join(line)}: {said!r}"
    if status == 2:
        assert said.count("seqgen: error: ") >= 1 and said.splitlines()[-1].startswith("seqgen: error: "), said
        raise Refused(said)
    return out.buffer.getvalue()  # type: ignore[attr-defined]


# ---- The readers ----


@dataclass(frozen=True)
class Reader:
    """`read` takes a free folder and bytes; `seeds` are good examples; `names`, for readers that go by names."""

    read: Callable[[Path, bytes, str], Any]
    seeds: list[bytes]
    names: tuple[str, ...] = ("input",)
    is_json: bool = False


def _document(place: Path, data: bytes, name: str) -> list[Document]:
    (place / name).write_bytes(data)
    return checksum_documents([Document(str(place / name), place / name)])


def _labelled(place: Path, data: bytes, name: str) -> None:
    labelled.looks_like_labelled_texts(_put(place, data, name))
    found = labelled.read_examples(_document(place, data, name), labelled.LabelledOptions(), lambda _: None)
    labelled.collect_examples(found, lambda _: None)


def _put(place: Path, data: bytes, name: str) -> Path:
    path = place / name
    path.write_bytes(data)
    return path


def _conversations(place: Path, data: bytes, name: str) -> None:
    conversations.looks_like_dialogue(_put(place, data, name))
    conversations.read_conversations(_document(place, data, name))


def _series(place: Path, data: bytes, name: str) -> None:
    from seqgen.corpus.series.guess import looks_like_series

    looks_like_series(_put(place, data, name))
    series.read_series(_document(place, data, name), series.SeriesOptions(), lambda _: None)


def _catalogue(place: Path, data: bytes, name: str) -> None:
    try:
        entries = catalogue.load(_put(place, data, name))
    except SeqgenError as error:  # a fault of the installation, where it is ours
        raise UserError(str(error)) from error
    for entry in entries.values():
        for part in (entry.name, entry.shares or "a"):
            assert (place / part).resolve().parent == place.resolve(), "an entry that leaves the cache"
        if entry.file is not None:
            assert (place / entry.file).resolve().is_relative_to(place.resolve()), "an entry that leaves its folder"


def _archive(place: Path, data: bytes, name: str) -> None:
    path = _put(place, data, name)
    kind = "zip" if name.endswith("zip") else "tar"
    entry = catalogue.CatalogueEntry("a", "text", "t", "l", "c", "s", "text", address="https://a/b", archive=kind)
    before = {inner for inner in place.parent.rglob("*") if place not in inner.parents}
    try:
        download._unpack(entry, path, place / "out")
    except OSError as error:  # `materialise` makes a sentence of it
        raise UserError(str(error)) from error
    assert before == {inner for inner in place.parent.rglob("*") if place not in inner.parents}
    assert not [inner for inner in (place / "out").rglob("*") if inner.is_symlink()]


def _midi(place: Path, data: bytes, name: str) -> None:
    piece, _ = midi.read(data, 12)
    midi.write(piece)


def _sentencepiece(place: Path, data: bytes, name: str) -> None:
    from seqgen.tokenizers.subwords import SubwordCodec

    codec = SubwordCodec(data)
    text = "Call me Ishmael. \u2581\n\xa0ſ ß 中文\x00".encode()
    assert tokenizers.decode(codec, codec.encode(text)) == text


def of_model(kind: str, folder: Path, file: str, consistent: bool) -> Reader:
    """A reader of one file in a copy of a model, which then does all that such a model does.

    With `consistent` the identity is made to fit again, as one would who wants to do harm.
    """
    seed = (folder / file).read_bytes()

    def read(place: Path, data: bytes, name: str) -> None:
        model = place / "model"
        shutil.rmtree(model, ignore_errors=True)
        shutil.copytree(folder, model)
        (model / file).write_bytes(data)
        if consistent:
            make_consistent(model)
        with contextlib.suppress(UserError):
            checkpoint.load(model)
            checkpoint.read_metrics(model)
            checkpoint.read_resume(model)
        line = WORK[kind][zlib.crc32(data) % len(WORK[kind])]
        command(line.format(m=model, f=folder.parent).split())

    return Reader(read, [seed], is_json=file.endswith((".json", ".jsonl")))


def _left(model: Path, line: str) -> Callable[[Path, bytes, str], None]:
    """A reader of what samples leave: the command gets the file as {x}."""

    def read(place: Path, data: bytes, name: str) -> None:
        path = _put(place, data, name)
        command(line.format(m=model, f=model.parent, x=path, p=place).split())

    return read


def _rows(place: Path, data: bytes, name: str) -> None:
    from seqgen.corpus.rows import RowFormat
    from seqgen.corpus.sources import Spool, find

    with Spool() as spool:
        for rows in (RowFormat(RowLayout.TEXT, "text"), RowFormat(RowLayout.RECORDS)):
            for document in find([str(_put(place, data, name))], spool, rows=rows):
                list(document.chunks())


def make_consistent(model: Path) -> None:
    """Writes into config.json and model.safetensors the identity that config.json and tokenizer.json have now."""
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
    def read(place: Path, data: bytes, name: str) -> None:
        model = place / "model"
        shutil.rmtree(model, ignore_errors=True)
        shutil.copytree(folder, model)
        path = next((model / "resume").glob(file))
        path.write_bytes(data)
        before = {inner for inner in place.parent.rglob("*") if place not in inner.parents}
        command(["train", "-o", str(model), "--resume", "--steps", "3", "--quiet"])
        assert before == {inner for inner in place.parent.rglob("*") if place not in inner.parents}

    seeds = [path.read_bytes() for path in (folder / "resume").glob(file)]
    return Reader(read, seeds, is_json=file.endswith(".json"))


def readers(models: dict[str, Path]) -> dict[str, Reader]:
    """Every reader by name."""
    found: dict[str, Reader] = {}
    for kind, folder in models.items():
        for file in ("config.json", "tokenizer.json", "model.safetensors"):
            found[f"{kind}/{file}"] = of_model(kind, folder, file, consistent=False)
            if file != "model.safetensors":
                found[f"{kind}/{file}, made to fit"] = of_model(kind, folder, file, consistent=True)
    found["subword/tokenizer.model"] = Reader(_sentencepiece, [(models["subword"] / "tokenizer.model").read_bytes()])
    found["text/metrics.jsonl"] = of_model("text", models["text"], "metrics.jsonl", consistent=False)
    found["text/corpus.safetensors"] = of_model("text", models["text"], "corpus.safetensors", consistent=False)
    for kind in LEFT:
        model = models[kind]
        goes_on = "sample {m} --state-in {x} --length 2" + " -o {p}/a.mid" * (kind == "music")
        again = "sample --replay {x}" + " -o {p}/a.mid" * (kind == "music")
        state, receipt = (model.with_name(f"{kind}.{what}").read_bytes() for what in ("state", "receipt"))
        found[f"{kind}.state"] = Reader(_left(model, goes_on), [state])
        found[f"{kind}.receipt"] = Reader(_left(model, again), [receipt], is_json=True)
    for kind in ("text", "classify", "forecast"):
        found[f"{kind}/resume/state.json"] = _resume(models[kind], "state.json")
        found[f"{kind}/resume/tensors"] = _resume(models[kind], "step-*.safetensors")
    found |= data_readers()
    return found


def data_readers() -> dict[str, Reader]:
    """The readers that need no model."""
    tunes = [path.read_bytes() for path in sorted((CORPORA / "tunes").iterdir())[:4]]
    texts = (CORPORA / "reviews.csv").read_bytes()[:1500]
    rows = [b"text,label\nA fine book,good\n\"Bad, \"\"really\"\" bad\",bad\nA fine tram,good\n",
            b'{"text": "a fine book", "label": 1}\n{"text": "a bad tram", "label": [0, "x"]}\n',
            b'[{"text": "a fine book", "label": true}, {"text": "a bad tram", "label": null}]',
            b"__label__good a fine book\n__label__bad __label__dear a tram\n", b"DESC:manner How far is it ?\n",
            texts, "文本,标签\n很好,好\n不好,坏\n".encode("gb18030")]  # fmt: skip
    talk = [form.parse.__doc__.split("\n\n", 1)[1].replace("\n    ", "\n").encode()
            for form in conversations.FORMATS.values() if "\n\n" in (form.parse.__doc__ or "")]  # fmt: skip
    talk += [
        b"conversations:\n- - Hello\n  - Good morning.\n- - 'It''s far'\n  - \"A \\u0041 mile\\n\"\n  - |\n    block\n",
        b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"text": "Ho"}]}]}\n',
    ]
    tables = ["".join((CORPORA / name).read_text().splitlines(keepends=True)[:40]).encode()
              for name in ("weather.csv", "prices.csv")]  # fmt: skip
    tables += ["\ufeffDatum;Wert\n01.02.2023;1.234,5\n02.02.2023;12 %\n03.02.2023;\n".encode(),
               b"id,month,a,b\nx,2020-01,1,2\nx,2020-02,3,\ny,2020-01,$1.5K,4\n", b"1\n2\n3\n4\n5\n6\n"]  # fmt: skip
    toml = (CORPORA / "catalog.toml").read_bytes()
    return {
        "midi": Reader(_midi, tunes),
        "labelled": Reader(_labelled, rows, ("a.csv", "a.tsv", "a.jsonl", "a.json", "a.txt")),
        "conversations": Reader(_conversations, talk, ("a.jsonl", "a.txt", "a.yml", "a.csv", "a.tsv", "a.json")),
        "series": Reader(_series, tables, ("a.csv", "a.tsv", "a.txt")),
        "parquet": READ_PARQUET,
        "rows": Reader(_rows, [*rows_of_text(), rows[0], rows[1]], ("a.parquet", "a.arrow", "a.jsonl", "a.csv")),
        "catalogue": Reader(_catalogue, [b"[[corpus]]" + part for part in toml.split(b"[[corpus]]")[1:40:3]]),
        "zip": Reader(_archive, [zipped()], ("a.zip",)),
        "tar": Reader(_archive, [tarred(), tarred("w:gz")], ("a.tar",)),
        ".gz": Reader(lambda p, d, n: read_whole(_put(p, d, n)), [gzip.compress(b"some text " * 40)], ("a.gz",)),
        ".xz": Reader(lambda p, d, n: read_whole(_put(p, d, n)), [lzma.compress(b"some text " * 40)], ("a.xz",)),
        ".bz2": Reader(lambda p, d, n: read_whole(_put(p, d, n)), [bzipped()], ("a.bz2",)),
        ".zst": Reader(lambda p, d, n: read_whole(_put(p, d, n)), [zstandard()], ("a.zst",)),
    }


def parquets() -> list[bytes]:
    """A table in Parquet, if pyarrow is there."""
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


def rows_of_text() -> list[bytes]:
    """Rows as sets of texts have them, in Parquet and Arrow, if pyarrow is there."""
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


READ_PARQUET = Reader(_series, parquets(), ("a.parquet",))


def zipped() -> bytes:
    """An archive with a folder."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("one.txt", "a text " * 20)
        packed.writestr("inside/two.txt", "another")
    return stream.getvalue()


def tarred(mode: str = "w") -> bytes:
    """The same as a tape."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tape:  # type: ignore[call-overload]
        for name in ("one.txt", "inside/two.txt"):
            item = tarfile.TarInfo(name)
            item.size = 7
            tape.addfile(item, io.BytesIO(b"a text\n"))
    return stream.getvalue()


def bzipped() -> bytes:
    import bz2

    return bz2.compress(b"some text " * 40)


def zstandard() -> bytes:
    import zstandard as zst

    return zst.ZstdCompressor().compress(b"some text " * 40)


# ---- Ways to spoil ----

NASTY: list[Any] = [
    0, -1, 1, 2**31, 2**63, 10**30, 10**400, 1 << 24, 1 << 16, 65, 0.5, -0.0, 1e308, float("inf"), float("nan"), True,
    False, None, "", "a", "\x1b[31mred\x1b]0;title\x07", "\u202e", "\ud800", "\udcff", "x" * 5000, "a\nb\r\n",
    "../../etc", "/etc/passwd", "\0", "中", [], {}, [[]], {"": 0}, [0] * 300, ["a"] * 300, list(range(256)),
    {"kind": "char"}, [None], [1e999], "hf:a/b", "lstm", "dialogue", "labelled", "series",
]  # fmt: skip


def deep(chance: random.Random) -> Any:
    """A value in many lists or tables."""
    value: Any = 0
    for _ in range(chance.choice([3, 70, 400, 900])):
        value = [value] if chance.random() < 0.5 else {"text": value, "kind": "dialogue"}
    return value


def spoil_json(value: Any, chance: random.Random) -> Any:
    """The same with one thing changed, somewhere."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting and len(places) < 20_000:
        item = waiting.pop()
        keys: Any = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        places += [(item, key) for key in keys]
        waiting += [item[key] for key in keys if isinstance(item[key], (dict, list))]
    if not places or chance.random() < 0.02:
        return chance.choice(NASTY)
    item, key = chance.choice(places[: chance.choice([8, 40, 20_000])])
    what = chance.randrange(6)
    if what == 0:
        del item[key]
    elif what == 1 and isinstance(item, dict):
        item[chance.choice([f"{key}2", "", "\x1b", "kind", "step"])] = item.pop(key)
    elif what == 2 and isinstance(item[key], (int, float)) and not isinstance(item[key], bool):
        item[key] = chance.choice([item[key] + 1, item[key] - 1, -item[key], item[key] * 2, item[key] * 1000 + 7, 0])
    elif what == 3 and isinstance(item, list):
        item.insert(chance.randrange(len(item) + 1), item[key])
    elif what == 4 and chance.random() < 0.3:
        item[key] = deep(chance)
    else:
        item[key] = chance.choice(NASTY)
    return value


def spoil_text_of_json(data: bytes, chance: random.Random) -> bytes:
    """JSON, or lines of it, with one to three things changed."""
    lines = data.split(b"\n") if data.count(b"\n{") else [data]
    place = chance.randrange(len(lines))
    try:
        value = json.loads(lines[place])
        for _ in range(chance.choice([1, 1, 2, 3])):
            value = spoil_json(value, chance)
        lines[place] = json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError, OverflowError):
        return spoil_bytes(data, chance)
    return b"\n".join(lines)


WORDS = [
    b"\0", b"\xff", b"\x1b[31m", b"\xe2\x80\xae", b"\r\n", b"\n", b'"', b"'", b",", b";", b"\t", b"{", b"[" * 50,
    b"}", b"]", b"__label__", b"__eou__", b"- - ", b": ", b"|", b"\\", b"\\u0041", b"\\ud800", b"1e999", b"-1",
    b"9" * 400, b"nan", b"MTrk", b"MThd", b"\xff\x51\x03\0\0\0", b"\xff\x58\x04\xff\xff\x18\x08",
    b"\xff\xff\xff\xff\x7f", b"\xf0\x87\xff\xff\x7f", b"\x90\x3c\x40", b"PAR1", b"PK\x03\x04", b"../" * 8, b"/",
    b" " * 3000, b"a" * 3000, b'"' * 300, b"- " * 300, b"2023-01-01", b"1.234,5", b"%", b"\xc3\x28",
    "\u2028".encode(), "文".encode(), "文".encode("gb18030"), b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"#",
    b"sep=;\n",
]  # fmt: skip


def spoil_bytes(data: bytes, chance: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """The same with some bytes changed, cut, doubled, or of another file."""
    found = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        place = chance.randrange(len(found) + 1)
        length = chance.choice([1, 2, 4, 8, 64, 1000])
        what = chance.randrange(9)
        if what == 0:
            found[place : place + length] = chance.randbytes(length)
        elif what == 1:
            del found[place : place + length]
        elif what == 2:
            found[place:place] = chance.choice(WORDS)
        elif what == 3:
            found[place:place] = found[place : place + length] * chance.choice([1, 3, 200])
        elif what == 4 and found:
            found[place % len(found)] ^= 1 << chance.randrange(8)
        elif what == 5:
            found[place : place + 4] = chance.choice(
                [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\1", b"\1\0\0\0"]
            )
        elif what == 6:
            del found[place:]
        elif what == 7 and others:
            other = chance.choice(others)
            begin = chance.randrange(len(other) + 1)
            found[place : place + length] = other[begin : begin + length]
        else:
            found[place : place + length] = chance.choice(WORDS)
    return bytes(found[:MOST])


def spoil_safetensors(data: bytes, chance: random.Random) -> bytes:
    """The header of a safetensors file changed as JSON is, or its length."""
    try:
        (size,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + size])
    except (struct.error, ValueError):
        return spoil_bytes(data, chance)
    text = spoil_text_of_json(json.dumps(header).encode(), chance)
    length = len(text) if chance.random() < 0.9 else chance.choice([0, 1, len(text) + 1, 1 << 31, (1 << 63) - 1])
    return struct.pack("<Q", length) + text + data[8 + size :]


def spoil(reader: Reader, chance: random.Random) -> bytes:
    """One of the reader's good examples, spoilt."""
    data = chance.choice(reader.seeds) if reader.seeds else b""
    if reader.is_json and chance.random() < 0.85:
        return spoil_text_of_json(data, chance)
    if data[8:10] == b'{"' and chance.random() < 0.8:
        return spoil_safetensors(data, chance)
    return spoil_bytes(data, chance, reader.seeds)


def attempt(reader: Reader, data: bytes, name: str, place: Path) -> bool:
    """Whether the bytes are read; False where they are refused. Any other error is the reader's fault."""
    place.mkdir(exist_ok=True)
    try:
        reader.read(place, data, name)
    except (UserError, Refused):
        return False
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return True


def inputs(reader: Reader, seed: int) -> Iterator[tuple[str, bytes]]:
    """Names and spoilt bytes, without end."""
    chance = random.Random(seed)
    while True:
        yield chance.choice(reader.names), spoil(reader, chance)
