"""Classification on public data sets, compared with fastText and with TF-IDF and logistic regression in the same run.

    python tests/benchmarks/classify.py DATA [imdb|sst2|trec|ag] [--budget 5m] [--keep MODEL] [-- flags of train]
    python tests/benchmarks/classify.py DATA speed MODEL      texts a second, compared with fastText

DATA contains `imdb/train.jsonl.gz` and `test_10k.jsonl.gz`, `sst2/{train,dev,test}.tsv`, `trec/{train,test}.txt` (as
published, ISO-8859-1), `ag_news/{train_10k,test}.csv`. The test set is read once, at the end; the validation set is
part of the training set (SST-2 has its own). fastText, if installed, is tuned by its autotune for the same time as
seqgen trains, on the same validation set.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

Rows = list[tuple[str, str]]  # (label, text)


def imdb(data: Path) -> dict[str, Rows]:
    def rows(name: str) -> Rows:
        with gzip.open(data / "imdb" / name, "rt", encoding="utf-8") as stream:
            return [(str(row["label"]), row["text"]) for row in map(json.loads, stream)]

    return {"train": rows("train.jsonl.gz"), "test": rows("test_10k.jsonl.gz")}


def sst2(data: Path) -> dict[str, Rows]:
    def rows(name: str) -> Rows:
        lines = (data / "sst2" / name).read_text(encoding="utf-8").splitlines()
        return [(label, text) for text, label in (line.split("\t") for line in lines if "\t" in line)]

    return {"train": rows("train.tsv"), "valid": rows("dev.tsv"), "test": rows("test.tsv")}


def trec(data: Path) -> dict[str, Rows]:
    def rows(name: str) -> Rows:
        lines = (data / "trec" / name).read_text(encoding="iso-8859-1").splitlines()
        return [(line.split(":")[0], line.split(" ", 1)[1]) for line in lines if line.strip()]

    return {"train": rows("train.txt"), "test": rows("test.txt")}


def ag(data: Path) -> dict[str, Rows]:
    def rows(name: str) -> Rows:
        with open(data / "ag_news" / name, encoding="utf-8", newline="") as stream:
            found = [(row[0], " . ".join(row[1:])) for row in csv.reader(stream)]
        return [row for row in found if row[0].isdigit()]

    return {"train": rows("train_10k.csv"), "test": rows("test.csv")}


SETS = {"imdb": imdb, "sst2": sst2, "trec": trec, "ag": ag}


def write(rows: Rows, path: Path) -> Path:
    with open(path, "w", encoding="utf-8") as stream:
        for label, text in rows:
            stream.write(json.dumps({"label": label, "text": text}, ensure_ascii=False) + "\n")
    return path


def seqgen(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "seqgen", *words], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def fasttext(parts: dict[str, Rows], seconds: float, folder: Path) -> str:
    """Accuracy of an autotuned fastText, or the reason why there is none."""
    try:
        import fasttext as library
    except ImportError:
        return "not installed"
    names = {}
    for part, rows in parts.items():
        names[part] = folder / f"{part}.ft"
        lines = [f"__label__{label} {_spaced(text)}\n" for label, text in rows]
        names[part].write_text("".join(lines), encoding="utf-8")
    model = library.train_supervised(
        str(names["train"]), autotuneValidationFile=str(names["valid"]), autotuneDuration=int(seconds), verbose=0
    )
    count, accuracy, _ = model.test(str(names["test"]))
    return f"{accuracy:.4f} of {count:,}"


def _spaced(text: str) -> str:
    """Lower-case text with separated punctuation, as in fastText's own examples."""
    return " ".join("".join(c if c.isalnum() or c == "'" else f" {c} " for c in text.lower()).split())


def run(name: str, data: Path, budget: str, keep: str, flags: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        parts = SETS[name](data)
        files = {part: write(rows, folder / f"{part}.jsonl") for part, rows in parts.items()}
        valid = ["--valid", str(files["valid"])] if "valid" in files else []
        model = keep or str(folder / "model")
        began = time.monotonic()
        seqgen("train", str(files["train"]), *valid, "--task", "classify", "-o", model, "--budget", budget, *flags)
        seconds = time.monotonic() - began
        result = json.loads(seqgen("evaluate", model, str(files["test"]), "--json"))
        info = json.loads(seqgen("info", model, "--json"))
        metrics, baselines = result["metrics"], result["baselines"]
        print(f"{name}: {len(parts['train']):,} → {len(parts['test']):,} texts; seqgen trained {seconds:.0f} s")
        print(f"  seqgen                 {metrics['accuracy']:.4f}  macro-F1 {metrics['macro_f1']:.4f}  log loss "
              f"{metrics['log_loss']:.4f}  calibration error {metrics['expected_calibration_error']:.4f}")  # fmt: skip
        print(f"  validation metrics     {info['metrics']}")
        network = info["network"]
        print(f"  network {network['cell']} {network['rnn_size']}, {network['features']:,} n-grams")
        for baseline, numbers in baselines.items():
            print(f"  {baseline:22} {numbers['accuracy']:.4f}")
        if "valid" not in parts:  # as seqgen does: a random tenth
            shuffled = random.Random(0).sample(parts["train"], len(parts["train"]))
            cut = len(shuffled) // 10
            parts = {"train": shuffled[cut:], "valid": shuffled[:cut], "test": parts["test"]}
        print(f"  fastText, autotuned    {fasttext(parts, seconds, folder)}", flush=True)


def speed(data: Path, model: str) -> None:
    """Texts a second through a pipe, including the start of the program, twice each."""
    with tempfile.TemporaryDirectory() as folder:
        lines = [" ".join(text.split()) for _, text in imdb(data)["test"]]
        path = Path(folder) / "lines.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        for _ in range(2):
            began = time.monotonic()
            with open(path, "rb") as stream:
                done = subprocess.run(
                    [sys.executable, "-m", "seqgen", "classify", model],
                    stdin=stream,
                    stdout=subprocess.PIPE,
                    check=True,
                )
            seconds = time.monotonic() - began
            assert done.stdout.count(b"\n") == len(lines)
            print(f"seqgen: {len(lines):,} texts in {seconds:.1f} s, {len(lines) / seconds:,.0f} a second", flush=True)
        try:
            import fasttext as library
        except ImportError:
            print("fastText: not installed")
            return
        source = Path(folder) / "train.ft"
        source.write_text("".join(f"__label__{a} {_spaced(b)}\n" for a, b in imdb(data)["train"]), encoding="utf-8")
        known = library.train_supervised(str(source), wordNgrams=2, verbose=0)
        for _ in range(2):
            began = time.monotonic()
            for line in lines:
                known.f.predict(_spaced(line), 1, 0.0, "strict")  # its own wrapper fails with NumPy 2
            seconds = time.monotonic() - began
            print(f"fastText: {len(lines) / seconds:,.0f} a second (loaded already, one thread)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("what", choices=[*SETS, "speed"], nargs="?", default="sst2")
    parser.add_argument("model", nargs="?", default="")
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--keep", default="", metavar="MODEL", help="keep the model in this folder")
    given, flags = parser.parse_known_args()
    if given.what == "speed":
        speed(given.data, given.model)
    else:
        run(given.what, given.data, given.budget, given.keep, [flag for flag in flags if flag != "--"])


if __name__ == "__main__":
    main()
