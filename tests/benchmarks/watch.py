"""Ratios of speed, in about three minutes, compared with those recorded for the same processor.

    python tests/benchmarks/watch.py [--save] [--only NAME...] [--file tests/benchmarks/watch.json]

Each ratio is a rate of seqgen divided by that of something else in the same run: PyTorch's own layers, numpy, pandas,
`wc`. Both are measured in turns, so what else the machine does disturbs a ratio less than a time. Those that fell by
more than 15 % against the recorded ones are measured again, and printed if the better of both is still so low; the
status is then 1. `--save` records the ratios under this processor, instruction set and number of cores.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import itertools
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sampling
import scoring
import serve
import speed
import torch
import torch.nn.functional as F
from torch import nn

import seqgen
from seqgen.api.model import load
from seqgen.generation.engines.choose import make_engine
from seqgen.generation.engines.numpy import NumpyEngine
from seqgen.native import instruction_set
from seqgen.processors import process_core_count
from seqgen.streams import atomic_write
from seqgen.tokenizers.characters import CharCodec

MOST_LOST = 0.15
SECONDS = 4.0  # of each of two rates that are measured in turns
UNITS = 512
Measure = Callable[[Path], float]
MEASURES: dict[str, Measure] = {}


def measure(name: str) -> Callable[[Measure], Measure]:
    def add(function: Measure) -> Measure:
        MEASURES[name] = function
        return function

    return add


def ratio(ours: Callable[[], int], theirs: Callable[[], int], rounds: int = 5) -> float:
    """The best rate of `ours` over that of `theirs`; both do a piece of work and return its size."""
    ours()
    theirs()
    found = sampling.best_alternating({"ours": ours, "theirs": theirs}, SECONDS, rounds)
    return found["ours"] / found["theirs"]


# ---- Models and files, made once ----


def prepare(folder: Path) -> None:
    """Write what the measurements read."""
    sampling.make_model(folder, "lstm", UNITS, 1)
    words = ["train", "reviews", "-o", str(folder / "reviews"), "--steps", "1", "--rnn-size", "64", "--quiet"]
    subprocess.run([sys.executable, "-m", "seqgen", *words], check=True)


def text_model(folder: Path) -> Path:
    return folder / f"lstm-{UNITS}x1"


def reviews() -> list[str]:
    """Two thousand texts of the starter corpus."""
    path = subprocess.run(
        [sys.executable, "-m", "seqgen", "corpora", "reviews"], capture_output=True, text=True, check=True
    ).stdout.strip()
    lines = Path(path).read_text("utf-8").splitlines()[1:]
    return list(itertools.islice(itertools.cycle(lines), 2000))


# ---- The ratios ----


@measure("start of sample / import torch")
def start_of_sample(folder: Path) -> float:
    command = [sys.executable, "-m", "seqgen", "sample", str(text_model(folder)), "--length", "1"]
    return import_torch() / sampling.start(command)


@measure("start of classify / import torch")
def start_of_classify(folder: Path) -> float:
    line = folder / "line"
    line.write_text("What a lovely morning\n")
    return import_torch() / sampling.start([sys.executable, "-m", "seqgen", "classify", str(folder / "reviews")], line)


def import_torch() -> float:
    return sampling.start([sys.executable, "-c", "import torch; print(1)"])


def engine_rate(folder: Path, streams: int) -> Callable[[], int]:
    """Steps of the default engine: 8-bit weights."""
    opened = load(text_model(folder)).checkpoint
    return sampling.stepping(make_engine(opened.language_config, opened.weights(), "light", exact=False), streams)


@measure("sampling / numpy")
def sampling_over_numpy(folder: Path) -> float:
    opened = load(text_model(folder)).checkpoint
    return ratio(engine_rate(folder, 1), sampling.stepping(NumpyEngine(opened.language_config, opened.weights()), 1))


@measure("sampling / nn.LSTM")
def sampling_over_torch(folder: Path) -> float:
    return ratio(engine_rate(folder, 1), sampling.peer("lstm", UNITS, 1, 1))


@measure("256 streams / nn.LSTM")
def streams_over_torch(folder: Path) -> float:
    return ratio(engine_rate(folder, 256), sampling.peer("lstm", UNITS, 1, 256))


def training(units: int, batch: int, rounds: int) -> Measure:
    def over_torch(_: Path) -> float:
        torch.set_num_threads(process_core_count())
        try:
            found = speed.measure("lstm", units, 1, batch, 64, rounds, ("seqgen bf16", "torch fp32"))
        finally:
            torch.set_num_threads(1)
        return found["seqgen bf16"] / found["torch fp32"]

    return over_torch


MEASURES["training 128 / nn.LSTM"] = training(128, 64, 20)
MEASURES["training 512 / nn.LSTM"] = training(512, 64, 6)
MEASURES["training 2048 / nn.LSTM"] = training(2048, 32, 2)


@measure("encoding / wc")
def encoding_over_wc(folder: Path) -> float:
    path = folder / "long.txt"
    numbers = random.Random(0)
    words = ["".join(numbers.choices("etaoinshrdlu", k=numbers.randint(2, 9))) for _ in range(5000)]
    path.write_text(" ".join(numbers.choices(words, k=2_000_000)))
    data = path.read_bytes()
    codec = CharCodec.fit([data])

    def count() -> int:
        subprocess.run(["wc", "-w", str(path)], check=True, stdout=subprocess.DEVNULL, env={"LC_ALL": "C.UTF-8"})
        return len(data)

    def encode() -> int:
        return len(codec.encode(data))

    return ratio(encode, count)


CLASSIFIER = "fastText" if importlib.util.find_spec("fasttext") else "scikit-learn"


@measure(f"classification / {CLASSIFIER}")
def classification_over_peer(folder: Path) -> float:
    model, texts = load(folder / "reviews"), reviews()

    def classify() -> int:
        return len(model.classify(texts))

    return ratio(classify, peer_classifier(folder, texts))


def peer_classifier(folder: Path, texts: list[str]) -> Callable[[], int]:
    """FastText, or hashed words and pairs of words with a linear classifier."""
    labels = [len(text) % 2 for text in texts]
    if CLASSIFIER == "fastText":
        import fasttext

        lines = [text.replace("\n", " ") for text in texts]
        path = folder / "fasttext.txt"
        path.write_text("".join(f"__label__{label} {line}\n" for label, line in zip(labels, lines, strict=True)))
        trained = fasttext.train_supervised(str(path), epoch=1, wordNgrams=2, verbose=0)
        return lambda: len(trained.predict(lines)[0])
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(
        HashingVectorizer(ngram_range=(1, 2)), SGDClassifier(loss="log_loss", max_iter=5, tol=None)
    )
    pipeline.fit(texts, labels)
    return lambda: len(pipeline.predict_proba(texts))


@measure("reading CSV / pandas")
def csv_over_pandas(folder: Path) -> float:
    import pandas

    from seqgen.corpus.opening import identify
    from seqgen.corpus.series.read import SeriesOptions, read_series
    from seqgen.corpus.sources import Document

    path = folder / "long.csv"
    numbers = random.Random(0)
    began = datetime.datetime(2000, 1, 1)
    with open(path, "w") as table:
        table.write("time,price,volume,change\n")
        for hour in range(100_000):
            row = (numbers.gauss(100, 20), numbers.randrange(10_000), numbers.gauss(0, 1))
            table.write(f"{began + datetime.timedelta(hours=hour)},{row[0]:.4f},{row[1]},{row[2]:.6f}\n")
    document = Document(path.name, path, path.stat().st_size, form=identify(path, path.name))

    def read() -> int:
        return len(read_series([document], SeriesOptions(), lambda _: None)[0])

    def read_by_pandas() -> int:
        return len(pandas.read_csv(path, parse_dates=["time"]))

    return ratio(read, read_by_pandas)


@measure("scoring / nn.LSTM")
def scoring_over_torch(_: Path) -> float:
    vocabulary = 96
    engine, codec, records = scoring.make(f"lstm:{UNITS}x1", vocabulary, 64)
    torch.manual_seed(0)
    embedding, stack = nn.Embedding(vocabulary, UNITS), nn.LSTM(UNITS, UNITS)
    output = nn.Linear(UNITS, vocabulary)
    tokens = sum(map(len, records))

    def score() -> int:
        scoring.score(engine, codec, records)
        return tokens

    def score_by_torch() -> int:
        with torch.inference_mode():
            for record in records:
                ids = torch.from_numpy(record).long()
                logits = output(stack(embedding(ids[:-1, None]))[0][:, 0])
                F.cross_entropy(logits, ids[1:], reduction="none").sum()
        return tokens

    return ratio(score, score_by_torch, rounds=3)


@measure("serve / one batch")
def serve_over_batch(folder: Path) -> float:
    served, alone, _ = serve.measure(str(text_model(folder)), 32, 6, 300)
    return served / alone


# ---- Records ----


def processor() -> str:
    """The processor, its instruction set and the number of cores: `Xeon … (6/143), avx512bf16, 2 cores`."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text, re.MULTILINE))
    name = f"{found['model name']} ({found['cpu family']}/{found['model']})" if len(found) == 3 else "?"
    return f"{name}, {instruction_set() or 'no kernels'}, {process_core_count()} cores"


def measured(names: list[str], folder: Path) -> Iterator[tuple[str, float]]:
    for name in names:
        began = time.monotonic()
        found = MEASURES[name](folder)
        print(f"{name:36} {found:8.3f}   ({time.monotonic() - began:.0f} s)", flush=True)
        yield name, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES), metavar="NAME")
    parser.add_argument("--file", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    torch.set_num_threads(1)  # but for training: threads that wait for each other suffer most from other programs
    recorded: dict[str, Any] = json.loads(given.file.read_text("utf-8")) if given.file.exists() else {}
    here = recorded.get(processor(), {"ratios": {}})
    print(processor())
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        found = dict(measured(given.only, folder))

        def lost() -> list[str]:
            before = here["ratios"]
            return [name for name in found if name in before and found[name] < (1 - MOST_LOST) * before[name]]

        if lost() and not given.save:
            print("again, since lower than recorded:")
            found |= {name: max(found[name], second) for name, second in measured(lost(), folder)}
    if given.save:
        here = {"seqgen": seqgen.__version__, "torch": torch.__version__, "date": f"{datetime.date.today()}",
                "ratios": here["ratios"] | {name: round(value, 3) for name, value in found.items()}}  # fmt: skip
        recorded[processor()] = here
        with atomic_write(given.file) as stream:
            stream.write((json.dumps(recorded, indent=2, ensure_ascii=False) + "\n").encode())
        return 0
    missing = [name for name in found if name not in here["ratios"]]
    if missing:
        print(f"not recorded for this processor: {', '.join(missing)}")
    for name in lost():
        before = here["ratios"][name]
        print(f"slower: {name} {found[name]:.3f}, {1 - found[name] / before:.0%} below {before:.3f}")
    return 1 if lost() else 0


if __name__ == "__main__":
    sys.exit(main())
