"""Decompression bombs and other small files that ask for much memory, read with little of it.

    python -m tests.helpers.bombs MODELS FOLDER    # models made by `model_zoo.train_each`, and an empty folder

Prints a JSON line for each bomb: its name, how the command ended, and by how many bytes memory grew.
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

from tests.helpers import model_zoo, untrusted_readers

LARGEST = 200_000  # bytes of a bomb that is one file
MAX_GROWTH = 1 << 30  # bytes of address space, threads and arenas of libraries included
Bomb = Callable[[dict[str, Path], Path], list[str]]
BOMBS: dict[str, Bomb] = {}


def bomb(name: str) -> Callable[[Bomb], Bomb]:
    """Register a function that writes files into an empty folder and returns the command line that reads them."""

    def add(make: Bomb) -> Bomb:
        BOMBS[name] = make
        return make

    return add


def packed(suffix: str, line: bytes, count: int, head: bytes = b"") -> bytes:
    """`head` and `count` lines, compressed as the suffix says, by a compressed megabyte that is repeated."""
    import zstandard

    pack: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor().compress,
    }  # fmt: skip
    lines = (1 << 20) // len(line)
    return pack[suffix](head) + pack[suffix](line * lines) * (count // lines)


UNPACKED = 48 << 20  # bytes of a decompression bomb when unpacked


def compressed_bomb(suffix: str, name: str, head: bytes, line: bytes, command: str) -> None:
    """Register a compressed file as a bomb."""

    @bomb(f"{name}{suffix} for {command.split()[0]}")
    def _(models: dict[str, Path], folder: Path) -> list[str]:
        path = folder / f"{name}{suffix}"
        path.write_bytes(packed(suffix, line, UNPACKED // len(line), head))
        assert path.stat().st_size < 10 * LARGEST
        return command.format(path=path, new=folder / "new", **models).split()


TRAIN = "--steps 1 --threads 1 --rnn-size 8 -o {new}"
compressed_bomb(".gz", "table.csv", b"a,b\n", b"1,2\n", "forecast {forecast} {path}")
compressed_bomb(".zst", "table.csv", b"a,b\n", b"1,2\n", "train {path} --task forecast " + TRAIN)
compressed_bomb(".bz2", "talk.jsonl", b"", b'["%s", "b"]\n' % (b"a" * 250), "train {path} --task dialogue " + TRAIN)
compressed_bomb(".xz", "texts.csv", b"text,label\n", b"%s,b\n" % (b"a" * 250), "train {path} --task classify " + TRAIN)
compressed_bomb(".gz", "texts.json", b"[", b'{"text": "a", "label": "b"},', "train {path} --task classify " + TRAIN)
compressed_bomb(".bz2", "tune.mid", b"MThd\0\0\0\6\0\1\0\1\0\x60", b"\0" * 1024, "train {path} --task music " + TRAIN)
compressed_bomb(".zst", "prompt.txt", b"", b"a" * 1024, "sample {text} --length 1 --prompt-file {path}")
compressed_bomb(
    ".gz", "primer.mid", b"MThd\0\0\0\6\0\1\0\1\0\x60", b"\0" * 1024, "sample {music} --length 1 --primer {path}"
)
compressed_bomb(".bz2", "notes.mid", b"MThd", b"\0" * 1024, "tokenize midi {path}")


@bomb("a .xz file with a dictionary of 4 GB")
def _(models: dict[str, Path], folder: Path) -> list[str]:
    """The size is in its header; the content is a few bytes."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]
    data = bytearray(lzma.compress(b"a,b\n1,2\n", filters=filters))
    size_at = 12 + 4  # stream header; size, flags, filter and size of its properties in the block header
    assert data[size_at - 2 : size_at] == b"\x21\x01"
    data[size_at] = 40  # 4 GiB − 1
    import zlib

    length = (data[12] + 1) * 4
    data[12 + length - 4 : 12 + length] = struct.pack("<I", zlib.crc32(data[12 : 12 + length - 4]))
    (folder / "table.csv.xz").write_bytes(bytes(data))
    return ["forecast", str(models["forecast"]), str(folder / "table.csv.xz")]


@bomb("a Parquet file of one number a hundred million times")
def _(models: dict[str, Path], folder: Path) -> list[str]:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"a": pyarrow.array([1.0]).take(pyarrow.array([0] * (1 << 20)))})
    with parquet.ParquetWriter(folder / "a.parquet", table.schema, compression="zstd") as writer:
        for _ in range(100):
            writer.write_table(table)
    return ["forecast", str(models["forecast"]), str(folder / "a.parquet")]


def repeat_word(path: Path, count: int, length: int) -> None:
    """Write rows of one long word, which Parquet stores once."""
    import pyarrow
    from pyarrow import parquet

    words = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count, pyarrow.int32()), ["x" * length])
    parquet.write_table(pyarrow.table({"a": words, "b": [1.0] * count}), path, compression="zstd")


@bomb("a Parquet file of one long word in many rows")
def _(models: dict[str, Path], folder: Path) -> list[str]:
    repeat_word(folder / "a.parquet", 20_000, 100_000)
    return ["forecast", str(models["forecast"]), str(folder / "a.parquet")]


def changed_model(name: str, command: str, **network: Any) -> Bomb:
    """A model with a changed config.json and the identity that fits it."""

    def make(models: dict[str, Path], folder: Path) -> list[str]:
        model = Path(shutil.copytree(models[name], folder / "model"))
        config = json.loads((model / "config.json").read_text())
        for field, value in network.items():
            table = config["network"] if field in config["network"] else config["training"]
            table[field] = value
            if field in ("batch_size", "seq_length"):
                config["training"]["options"][field] = value
        (model / "config.json").write_text(json.dumps(config))
        untrusted_readers.make_consistent(model)
        return command.format(model=model, folder=models[name].parent).split()

    return make


BOMBS["a network of a million units"] = changed_model("text", "sample {model}", rnn_size=1 << 16, num_layers=64)
BOMBS["a vocabulary of 16 million"] = changed_model("text", "sample {model}", vocab_size=1 << 24)
BOMBS["a forecaster that looks back on a million rows"] = changed_model(
    "forecast", "evaluate {model} {folder}/table.csv", look_back=1 << 20
)
BOMBS["a forecast of a million rows"] = changed_model(
    "forecast", "forecast {model} {folder}/table.csv", horizon=1 << 20
)
BOMBS["a classifier with 16 million n-grams"] = changed_model("classify", "classify {model} {folder}/words.txt",
                                                        features=1 << 24)  # fmt: skip
BOMBS["a run of a million lanes, resumed"] = changed_model(
    "text", "train --resume -o {model} --steps 3 --quiet", batch_size=1 << 20, seq_length=1 << 20
)
BOMBS["a forecasting run of a million windows, resumed"] = changed_model(
    "forecast", "train --resume -o {model} --steps 3 --quiet", batch_size=1 << 20
)
BOMBS["a classification run of a million texts, resumed"] = changed_model(
    "classify", "train --resume -o {model} --steps 3 --quiet", batch_size=1 << 20
)


@bomb("an Arrow file with a row of an exabyte")
def _(models: dict[str, Path], folder: Path) -> list[str]:
    import pyarrow

    with (
        open(folder / "a.arrow", "wb") as file,
        pyarrow.ipc.new_stream(file, pyarrow.schema([("text", "string")])) as writer,
    ):
        writer.write_table(pyarrow.table({"text": ["a text"] * 1000}))
    data = (folder / "a.arrow").read_bytes()
    length = (4 * 1001 + 7) // 8 * 8 + 6000  # of the body: offsets of the texts, and the texts
    assert data.count(struct.pack("<q", length)) == 1
    (folder / "a.arrow").write_bytes(data.replace(struct.pack("<q", length), struct.pack("<q", 1 << 60)))
    return ["train", f"{folder}/a.arrow", *TRAIN.format(new=folder / "new").split()]


@bomb("a safetensors header of 9 exabytes")
def _(models: dict[str, Path], folder: Path) -> list[str]:
    model = Path(shutil.copytree(models["text"], folder / "model"))
    data = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", (1 << 63) - 1) + data[8:])
    return ["sample", str(model)]


@bomb("a tensor that ends at 1 TB")
def _(models: dict[str, Path], folder: Path) -> list[str]:
    model = Path(shutil.copytree(models["text"], folder / "model"))
    data = (model / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header["embedding"] = {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}
    text = json.dumps(header).encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    return ["sample", str(model)]


def midi(events: bytes, division: int = 96) -> Bomb:
    """A MIDI file of one track with these events."""

    def make(models: dict[str, Path], folder: Path) -> list[str]:
        track = b"MTrk" + struct.pack(">I", len(events)) + events
        (folder / "tune.mid").write_bytes(b"MThd" + struct.pack(">IHHH", 6, 0, 1, division) + track)
        return ["score", str(models["music"]), str(folder / "tune.mid")]

    return make


NOTE, OFF = b"\0\x90\x3c\x40", b"\x80\x3c\0"
BOMBS["a note for ten million bars"] = midi(NOTE + b"\xff\xff\xff\x7f" + OFF, 1)
BOMBS["a rest of ten million bars"] = midi(b"\xff\xff\xff\x7f\x90\x3c\x40\x01" + OFF, 1)
BOMBS["bars of a 64th, for hours"] = midi(b"\0\xff\x58\x04\x01\x06\x18\x08" + NOTE + b"\x83\xff\x7f" + OFF, 4)
BOMBS["a time of a hundred thousand digits"] = midi(b"\xff" * 100_000)
BOMBS["a message of 256 MB"] = midi(b"\0\xff\x01\xff\xff\xff\x7f")


@bomb("two days, nine thousand years apart")
def _(models: dict[str, Path], folder: Path) -> list[str]:
    (folder / "a.csv").write_text("date,a\n0001-01-01 00:00:00,1\n0001-01-01 00:00:01,2\n9999-01-01,3\n")
    return f"train {folder}/a.csv --task forecast --steps 1 --threads 1 -o {folder}/new --frequency second".split()


@bomb("seconds, three years after the first")
def _(models: dict[str, Path], folder: Path) -> list[str]:
    later = "".join(f"2020-01-01 00:00:{second:02},{second}\n" for second in range(60))
    (folder / "a.csv").write_text(f"date,a\n2017-01-01 00:00:00,1\n{later}")
    return f"train {folder}/a.csv --task forecast --steps 1 --threads 1 -o {folder}/new".split()


@bomb("a header of ten thousand columns over rows of two cells")
def _(models: dict[str, Path], folder: Path) -> list[str]:
    """The missing cells were a hundred million."""
    (folder / "a.csv").write_text(",".join(f"n{number}" for number in range(10_000)) + '\n1,"2"' * 10_000)
    return ["read", f"{folder}/a.csv", "--task", "forecast"]


@bomb("a tokenizer.json of many lists")
def _(models: dict[str, Path], folder: Path) -> list[str]:
    model = Path(shutil.copytree(models["text"], folder / "model"))
    (model / "tokenizer.json").write_text('{"kind": "char", "pieces": [' + "[],{}," * 30_000 + "0]}")
    return ["sample", str(model)]


def main() -> None:
    """Read every bomb in a process of its own with little memory."""
    models = {name: Path(sys.argv[1]) / name for name in model_zoo.MODELS}
    for name in models:  # loads libraries and allocates arenas before the limit is set
        model_zoo.run_command(model_zoo.COMMANDS[name][0].format(m=models[name], f=sys.argv[1]).split())
    untrusted_readers.attempt(
        untrusted_readers.data_readers()["rows"], b'{"text": "a"}', "a.jsonl", Path(sys.argv[2]) / "rows"
    )
    patterns = sys.argv[3:]
    for name, make in BOMBS.items():
        if patterns and not any(pattern in name for pattern in patterns):
            continue
        folder = Path(sys.argv[2]) / "bomb"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        line = make(models, folder)
        sys.stdout.flush()
        child = os.fork()
        if not child:
            _read_bomb(name, line)
        _, status = os.waitpid(child, 0)
        if status:
            print(json.dumps({"bomb": name, "ended": f"the process ended with status {status}"}))
        shutil.rmtree(folder, ignore_errors=True)


def _read_bomb(name: str, line: list[str]) -> None:
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MAX_GROWTH, used + MAX_GROWTH))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        model_zoo.run_command(line)
        ended = "read"
    except model_zoo.CommandRefusedError as error:
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
