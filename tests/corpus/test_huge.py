"""A text of one gigabyte, or of ten (`SEQGEN_HUGE=10e9`): bounded memory, an exact split, nothing encoded twice.

Runs only with `pytest -m huge -n 0 -s`. It needs three times the size of the text on the disk.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from seqgen.corpus import ids
from tests.helpers.waiting import eventually

SIZE = int(float(os.environ.get("SEQGEN_HUGE", "1e9")))
MAX_MEMORY = 1.5e9  # bytes, of the command and its workers; the model takes a few megabytes

pytestmark = [pytest.mark.huge, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


def write_text(path: Path, size: int) -> None:
    """Write random words that follow Zipf's law, with Chinese characters in every tenth line."""
    rng = np.random.Generator(np.random.Philox(key=1))
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    weights_of_letters = 1 / np.arange(1, 27)
    words = [
        "".join(rng.choice(letters, n, p=weights_of_letters / weights_of_letters.sum()))
        for n in rng.integers(2, 10, 5000)
    ]
    weights = 1 / np.arange(1, 5001) ** 0.9
    han = [chr(code) for code in range(0x4E00, 0x4E00 + 1500)]
    lines = []
    for number in range(3000):
        if number % 10:
            line = " ".join(rng.choice(words, 60, p=weights / weights.sum())).capitalize() + ".\n"
        else:
            line = "".join(rng.choice(han, 80)) + "。\n"
        lines.append(line.encode())
    with open(path, "wb") as stream:
        while stream.tell() < size:
            chosen = rng.integers(0, len(lines), 2500)
            stream.write(b"%d\n" % stream.tell() + b"".join([lines[number] for number in chosen]))


class Watched:
    """A running command, its duration in seconds, and the peak resident memory of it and its workers."""

    def __init__(self, *arguments: object) -> None:
        self.began = time.monotonic()
        command = [sys.executable, "-m", "seqgen", *map(str, arguments)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.peak = 0
        self.said = ""
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def _watch(self) -> None:
        while self.process.poll() is None:
            self.peak = max(self.peak, sum(map(_resident, _family(self.process.pid))))
            time.sleep(0.05)

    def end(self) -> Watched:
        assert self.process.stderr is not None
        with self.process:
            self.said = self.process.stderr.read()
        self._watcher.join()
        self.seconds = time.monotonic() - self.began
        return self


def _family(pid: int) -> Iterator[int]:
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:  # the process has ended
            children = []
        for child in children:
            yield from _family(int(child))


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("huge") / "text.txt"
    write_text(path, SIZE)
    yield path
    path.unlink()


@pytest.mark.parametrize("tokenizer", ["byte", "char", "subword"])
def test_train_on_a_huge_text_takes_little_memory_and_encodes_it_once(
    tokenizer: str, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("SEQGEN_CACHE", str(cache))
    options = ("--tokenizer", tokenizer, "--steps", 3, "--rnn-size", 64, "--seq-length", 64, "--batch-size", 16)
    killed = Watched("train", text, "-o", tmp_path / "m", *options)
    assert eventually(lambda: list((cache / "ids").glob(".*.part")) or killed.process.poll() is not None, seconds=600)
    killed.process.kill()
    killed.end()
    assert not list((cache / "ids").glob("*.prepared.json"))

    first = Watched("train", text, "-o", tmp_path / "m", *options).end()
    assert first.process.returncode == 0, first.said
    assert first.peak < MAX_MEMORY
    if first.seconds > 60:  # long enough to report progress
        assert re.search(r"encoding [\d,]+ bytes: [\d.]+ [MG]B of [\d.]+ [MG]B", first.said)
    second = Watched("train", text, "-o", tmp_path / "m", *options, "--overwrite").end()
    assert second.process.returncode == 0, second.said
    assert second.peak < MAX_MEMORY
    assert "encoding" not in second.said
    print(f"\n{tokenizer}: {SIZE:,} bytes, {first.seconds:.0f} s and {first.peak / 1e9:.2f} GB, "
          f"again {second.seconds:.0f} s and {second.peak / 1e9:.2f} GB")  # fmt: skip

    data = json.loads((tmp_path / "m" / "config.json").read_text())["data"]
    size = text.stat().st_size
    held_out = data["held_out_bytes"]
    assert 0.1 * size - 4 <= held_out <= 0.1 * size
    assert data["train_bytes"] + held_out == size
    assert not list((cache / "ids").glob(".*"))
    train = ids.load(cache / "ids" / f"{data['cache']}.train.ids")
    valid = ids.load(cache / "ids" / f"{data['cache']}.valid.ids")
    assert train is not None
    assert valid is not None
    assert (len(train), len(valid)) == (data["train_tokens"] + 1, data["held_out_tokens"] + 1)
    if tokenizer == "byte":  # the ids are the bytes
        with open(text, "rb") as stream:
            for part in (train, valid):
                for start in range(1, len(part), 1 << 24):
                    some = part.ids[start : start + (1 << 24)]
                    assert (np.frombuffer(stream.read(len(some)), dtype=np.uint8) == some).all()
            assert not stream.read()
    for path in (cache / "ids").iterdir():
        path.unlink()
