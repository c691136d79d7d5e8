"""How fast sources are read: the pass that every training begins with, beside the bare reading and hashing of the file.

    python tests/benchmarks/reading.py [FOLDER] [--megabytes 1024]

Without a folder it makes its own files: English-like and Chinese text of that size. Times are the best of five; each
file is in the page cache. A ratio of 1 means that recognising compression and encoding costs nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from seqgen.corpus.cache import store
from seqgen.corpus.documents import Document, checksum_documents
from seqgen.corpus.opening import identify

CHUNK = 1 << 20


def bare(path: Path) -> None:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)


def checked(path: Path) -> None:
    checksum_documents([Document(path.name, path, form=identify(path, path.name))], is_learnt=True)


def best(run: Callable[[Path], None], path: Path) -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        run(path)
        times.append(time.perf_counter() - began)
    return min(times)


def make_files(folder: Path, size: int) -> None:
    """Write text of random words in two scripts."""
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(5000)]
    letters = [chr(rng.randrange(0x4E00, 0x9000)) for _ in range(3000)]
    samples = {
        "english.txt": " ".join(rng.choices(words, k=200_000)),
        "chinese.txt": "".join(rng.choices([*letters, "，", "。", "\n"], k=400_000)),
    }
    for name, text in samples.items():
        data = text.encode()
        with open(folder / name, "wb") as stream:
            for _ in range(size // len(data) + 1):
                stream.write(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--megabytes", type=int, default=1024)
    arguments = parser.parse_args()
    store.load_checksum = lambda path, before: {}  # so that the file is read each time
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.folder or Path(made)
        if arguments.folder is None:
            make_files(folder, arguments.megabytes << 20)
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            size = path.stat().st_size / 1e6
            before, now = best(bare, path), best(checked, path)
            print(f"{path.name}: {size:,.0f} MB, bare {before:.2f} s, checked {now:.2f} s, ratio {now / before:.2f}")


if __name__ == "__main__":
    main()
