"""Small files that ask for much memory, and a process with little to meet them in.

    python tests/bombs.py MODELS FOLDER    # models as `strange.train_each` makes them, and a free folder

A line of JSON a bomb: what it was, how it ended, by how many bytes memory grew.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import resource
import shutil
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers import model_zoo as strange

LARGEST = 200_000  # bytes of a bomb that is one file
ROOM = 1 << 30  # bytes that a bomb may add to the address space, its libraries' threads and arenas included
Bomb = Callable[[dict[str, Path], Path], list[str]]
BOMBS: dict[str, Bomb] = {}


def bomb(name: str) -> Callable[[Bomb], Bomb]:
    """Adds one to the table: it lays its files into a free folder and gives the command line that meets them."""

    def add(make: Bomb) -> Bomb:
        BOMBS[name] = make
        return make

    return add


def packed(suffix: str, line: bytes, count: int, head: bytes = b"") -> bytes:
    """`head` and so many lines, packed as the suffix says: a megabyte of them once, and that again and again."""
    import zstandard

    pack: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor().compress,
    }  # fmt: skip
    lines = (1 << 20) // len(line)
    return pack[suffix](head) + pack[suffix](line * lines) * (count // lines)


MUCH = 48 << 20  # bytes that come out


def unfolding(suffix: str, name: str, head: bytes, line: bytes, command: str) -> None:
    """A bomb in a compressed file."""

    @bomb(f"{name}{suffix} for {command.split()[0]}")
    def _(models: dict[str, Path], place: Path) -> list[str]:
        path = place / f"{name}{suffix}"
        path.write_bytes(packed(suffix, line, MUCH // len(line), head))
        assert path.stat().st_size < 10 * LARGEST
        return command.format(path=path, new=place / "new", **models).split()


TRAIN = "--steps 1 --threads 1 --rnn-size 8 -o {new}"
unfolding(".gz", "table.csv", b"a,b\n", b"1,2\n", "forecast {forecast} {path}")
unfolding(".zst", "table.csv", b"a,b\n", b"1,2\n", "train {path} --task forecast " + TRAIN)
unfolding(".bz2", "talk.jsonl", b"", b'["%s", "b"]\n' % (b"a" * 250), "train {path} --task dialogue " + TRAIN)
unfolding(".xz", "texts.csv", b"text,label\n", b"%s,b\n" % (b"a" * 250), "train {path} --task classify " + TRAIN)
unfolding(".gz", "texts.json", b"[", b'{"text": "a", "label": "b"},', "train {path} --task classify " + TRAIN)
unfolding(".bz2", "tune.mid", b"MThd\0\0\0\6\0\1\0\1\0\x60", b"\0" * 1024, "train {path} --task music " + TRAIN)
unfolding(".zst", "prompt.txt", b"", b"a" * 1024, "sample {text} --length 1 --prompt-file {path}")
unfolding(".gz", "primer.mid", b"MThd\0\0\0\6\0\1\0\1\0\x60", b"\0" * 1024, "sample {music} --length 1 --primer {path}")
unfolding(".bz2", "notes.mid", b"MThd", b"\0" * 1024, "tokenize midi {path}")


@bomb("a .xz that asks for 4 GB to be unfolded")
def _(models: dict[str, Path], place: Path) -> list[str]:
    """Its header says so; the content is a few bytes."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]
    data = bytearray(lzma.compress(b"a,b\n1,2\n", filters=filters))
    place_of_size = 12 + 4  # stream header, then of the block header: size, flags, filter, its properties' size
    assert data[place_of_size - 2 : place_of_size] == b"\x21\x01"
    data[place_of_size] = 40  # 4 GiB − 1
    import zlib

    length = (data[12] + 1) * 4
    data[12 + length - 4 : 12 + length] = struct.pack("<I", zlib.crc32(data[12 : 12 + length - 4]))
    (place / "table.csv.xz").write_bytes(bytes(data))
    return ["forecast", str(models["forecast"]), str(place / "table.csv.xz")]


@bomb("a Parquet file of a number, a hundred million times")
def _(models: dict[str, Path], place: Path) -> list[str]:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"a": pyarrow.array([1.0]).take(pyarrow.array([0] * (1 << 20)))})
    with parquet.ParquetWriter(place / "a.parquet", table.schema, compression="zstd") as writer:
        for _ in range(100):
            writer.write_table(table)
    return ["forecast", str(models["forecast"]), str(place / "a.parquet")]


def words_often(path: Path, count: int, length: int) -> None:
    """Rows of one long word."""
    import pyarrow
    from pyarrow import parquet

    words = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count, pyarrow.int32()), ["x" * length])
    parquet.write_table(pyarrow.table({"a": words, "b": [1.0] * count}), path, compression="zstd")


@bomb("a Parquet file of a long word, often")
def _(models: dict[str, Path], place: Path) -> list[str]:
    words_often(place / "a.parquet", 20_000, 100_000)
    return ["forecast", str(models["forecast"]), str(place / "a.parquet")]


def changed(kind: str, command: str, **network: Any) -> Bomb:
    """A model whose config.json was changed, and its identity made to fit."""

    def make(models: dict[str, Path], place: Path) -> list[str]:
        model = Path(shutil.copytree(models[kind], place / "model"))
        config = json.loads((model / "config.json").read_text())
        for name, value in network.items():
            table = config["network"] if name in config["network"] else config["training"]
            table[name] = value
            if name in ("batch_size", "seq_length"):
                config["training"]["options"][name] = value
        (model / "config.json").write_text(json.dumps(config))
        strange.make_consistent(model)
        return command.format(model=model, folder=models[kind].parent).split()

    return make


BOMBS["a network of a million units"] = changed("text", "sample {model}", rnn_size=1 << 16, num_layers=64)
BOMBS["a vocabulary of 16 million"] = changed("text", "sample {model}", vocab_size=1 << 24)
BOMBS["a forecaster that looks back on a million rows"] = changed(
    "forecast", "evaluate {model} {folder}/table.csv", look_back=1 << 20
)
BOMBS["a forecast of a million rows"] = changed("forecast", "forecast {model} {folder}/table.csv", horizon=1 << 20)
BOMBS["a classifier with 16 million n-grams"] = changed("classify", "classify {model} {folder}/words.txt",
                                                        features=1 << 24)  # fmt: skip
BOMBS["a run of a million lanes, resumed"] = changed(
    "text", "train --resume -o {model} --steps 3 --quiet", batch_size=1 << 20, seq_length=1 << 20
)
BOMBS["a forecasting run of a million windows, resumed"] = changed(
    "forecast", "train --resume -o {model} --steps 3 --quiet", batch_size=1 << 20
)
BOMBS["a sorting run of a million texts, resumed"] = changed(
    "classify", "train --resume -o {model} --steps 3 --quiet", batch_size=1 << 20
)


@bomb("an Arrow file of a row of an exabyte")
def _(models: dict[str, Path], place: Path) -> list[str]:
    import pyarrow

    with (
        open(place / "a.arrow", "wb") as file,
        pyarrow.ipc.new_stream(file, pyarrow.schema([("text", "string")])) as writer,
    ):
        writer.write_table(pyarrow.table({"text": ["a text"] * 1000}))
    data = (place / "a.arrow").read_bytes()
    length = (4 * 1001 + 7) // 8 * 8 + 6000  # of the body: where each text begins, and the texts
    assert data.count(struct.pack("<q", length)) == 1
    (place / "a.arrow").write_bytes(data.replace(struct.pack("<q", length), struct.pack("<q", 1 << 60)))
    return ["train", f"{place}/a.arrow", *TRAIN.format(new=place / "new").split()]


@bomb("a safetensors header of 9 exabytes")
def _(models: dict[str, Path], place: Path) -> list[str]:
    model = Path(shutil.copytree(models["text"], place / "model"))
    data = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", (1 << 63) - 1) + data[8:])
    return ["sample", str(model)]


@bomb("a tensor that ends at 1 TB")
def _(models: dict[str, Path], place: Path) -> list[str]:
    model = Path(shutil.copytree(models["text"], place / "model"))
    data = (model / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header["embedding"] = {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}
    text = json.dumps(header).encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    return ["sample", str(model)]


def midi(events: bytes, division: int = 96) -> Bomb:
    """A tune of one track with these events."""

    def make(models: dict[str, Path], place: Path) -> list[str]:
        track = b"MTrk" + struct.pack(">I", len(events)) + events
        (place / "tune.mid").write_bytes(b"MThd" + struct.pack(">IHHH", 6, 0, 1, division) + track)
        return ["score", str(models["music"]), str(place / "tune.mid")]

    return make


NOTE, OFF = b"\0\x90\x3c\x40", b"\x80\x3c\0"
BOMBS["a note for ten million bars"] = midi(NOTE + b"\xff\xff\xff\x7f" + OFF, 1)
BOMBS["a rest of ten million bars"] = midi(b"\xff\xff\xff\x7f\x90\x3c\x40\x01" + OFF, 1)
BOMBS["bars of a 64th, for hours"] = midi(b"\0\xff\x58\x04\x01\x06\x18\x08" + NOTE + b"\x83\xff\x7f" + OFF, 4)
BOMBS["a time of a hundred thousand digits"] = midi(b"\xff" * 100_000)
BOMBS["a message of 256 MB"] = midi(b"\0\xff\x01\xff\xff\xff\x7f")


@bomb("two days, nine thousand years apart")
def _(models: dict[str, Path], place: Path) -> list[str]:
    (place / "a.csv").write_text("date,a\n0001-01-01 00:00:00,1\n0001-01-01 00:00:01,2\n9999-01-01,3\n")
    return f"train {place}/a.csv --task forecast --steps 1 --threads 1 -o {place}/new --frequency second".split()


@bomb("a tokenizer.json of many lists")
def _(models: dict[str, Path], place: Path) -> list[str]:
    model = Path(shutil.copytree(models["text"], place / "model"))
    (model / "tokenizer.json").write_text('{"kind": "char", "pieces": [' + "[],{}," * 30_000 + "0]}")
    return ["sample", str(model)]


def main() -> None:
    """Every bomb, one after another, each in a process of its own with little memory."""
    models = {kind: Path(sys.argv[1]) / kind for kind in strange.KINDS}
    for kind in models:  # imports, arenas
        strange.command(strange.WORK[kind][0].format(m=models[kind], f=sys.argv[1]).split())
    strange.attempt(strange.data_readers()["rows"], b'{"text": "a"}', "a.jsonl", Path(sys.argv[2]) / "rows")
    asked = sys.argv[3:]
    for name, make in BOMBS.items():
        if asked and not any(word in name for word in asked):
            continue
        place = Path(sys.argv[2]) / "bomb"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        line = make(models, place)
        sys.stdout.flush()
        child = os.fork()
        if not child:
            _meet(name, line)
        _, status = os.waitpid(child, 0)
        if status:
            print(json.dumps({"bomb": name, "ended": f"the process died: {status}"}))
        shutil.rmtree(place, ignore_errors=True)


def _meet(name: str, line: list[str]) -> None:
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        strange.command(line)
        ended = "read"
    except strange.Refused as error:
        ended = str(error).splitlines()[-1]
    except AssertionError as error:
        ended = f"wrong: {error}"
    used = time.process_time()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(json.dumps({"bomb": name, "ended": ended, "grown": grown, "seconds": round(used, 2)}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
