"""Text benchmark: the loss after a given time, compared with general-purpose compressors.

    python tests/benchmarks/text.py DATA [--budget 1m --budget 3m] [--only shakespeare|chinese|subword|cells|wikitext]
                                         [--blind] [--work DIR]

DATA contains tinyshakespeare/input.txt, novels_zh/*.txt and wikitext2/{train,valid,test}.txt.gz. WikiText-2 takes 30
minutes and runs only on request; its perplexity is per word, with line ends counted as words as its authors do.

`train` gets the whole text and holds out the last tenth, which also chooses the step and is not learnt at the end;
`evaluate` then reads that tenth with the state carried through, and again with a cache of the latest 2,000 tokens.
With --blind it gets only the first nine tenths, holds out nothing, and keeps the last step. Everything runs through the
real command, one after another; nothing else should be running.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CACHE = "2000"  # tokens
TEXTS = {"shakespeare": "tinyshakespeare/input.txt", "chinese": "novels_zh/*.txt"}


def cut(path: Path, work: Path, name: str) -> tuple[Path, Path]:
    """The first nine tenths and the last, split as `train` does, as two files."""
    text = path.read_bytes()
    position = len(text) - int(0.1 * len(text))
    while 0x80 <= text[position] < 0xC0:
        position += 1
    parts = []
    for part, content in (("train", text[:position]), ("test", text[position:])):
        parts.append(work / f"{name}.{part}.txt")
        parts[-1].write_bytes(content)
    return parts[0], parts[1]


def run(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "seqgen", *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def measure(name: str, train: Path, test: Path, work: Path, budget: str, flags: list[str]) -> list[str]:
    """One row of the table: the run, its duration and its metrics."""
    model = work / f"{name}-{budget}"
    began = time.monotonic()
    run("train", str(train), "-o", str(model), "--budget", budget, "--overwrite", "--quiet", "--no-finish", *flags)
    seconds = time.monotonic() - began
    result = json.loads(run("evaluate", str(model), str(test), "--context-cache", CACHE, "--json"))
    config = json.loads((model / "config.json").read_text())
    network, metrics = config["network"], result["metrics"]
    baselines = [f"{name} {values['nats_per_character']:.3f}" for name, values in result["baselines"].items()]
    return [
        name,
        budget,
        f"{seconds:.0f} s",
        f"{network['num_layers']}×{network['cell']} {network['rnn_size']}, dropout {network['dropout']:g}",
        f"{metrics['nats_per_character']:.4f}",
        f"{result['context_cache']['nats_per_character']:.4f}",
        f"{metrics['bits_per_character']:.4f}",
        ", ".join(baselines),
    ]


def wikitext(data: Path, work: Path, budget: str) -> None:
    """WikiText-2 with its own split, in subwords."""
    parts = {part: data / "wikitext2" / f"{part}.txt.gz" for part in ("train", "valid", "test")}
    model = work / f"wikitext-{budget}"
    began = time.monotonic()
    run("train", str(parts["train"]), "--valid", str(parts["valid"]), "--tokenizer", "subword", "-o", str(model),
        "--budget", budget, "--overwrite", "--quiet")  # fmt: skip
    seconds = time.monotonic() - began
    network = json.loads((model / "config.json").read_text())["network"]
    print(f"wikitext-2, --budget {budget}: {seconds:.0f} s, {network}")
    for part in ("valid", "test"):
        words = sum(len(line.split()) + 1 for line in gzip.decompress(parts[part].read_bytes()).splitlines())
        result = json.loads(run("evaluate", str(model), str(parts[part]), "--adaptive", "--context-cache", CACHE,
                                "--json", "--no-baselines"))  # fmt: skip
        for name in ("metrics", "context_cache", "adaptive"):
            nats = result[name]["nats_per_character"] * result["characters"]
            print(f"  {part}, {name}: {math.exp(nats / words):.1f} a word of {words:,}, "
                  f"{result[name]['bits_per_character']:.4f} bits/char", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--budget", action="append", help="default: 3m for English, 5m for Chinese")
    parser.add_argument("--only", action="append", choices=("shakespeare", "chinese", "subword", "cells", "wikitext"))
    parser.add_argument("--blind", action="store_true", help="train on nine tenths, without validation on the last")
    parser.add_argument("--work", type=Path, default=None)
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="seqgen-benchmark-"))
    work.mkdir(parents=True, exist_ok=True)
    wanted = options.only or ["shakespeare", "chinese", "subword", "cells"]
    jobs: list[tuple[str, str, list[str], str]] = []
    for budget in options.budget or ["3m"]:
        jobs += [("shakespeare", "shakespeare", [], budget)] * ("shakespeare" in wanted)
    for budget in options.budget or ["5m"]:
        jobs += [("chinese", "chinese char", [], budget)] * ("chinese" in wanted)
        jobs += [("chinese", "chinese subword", ["--tokenizer", "subword"], budget)] * ("subword" in wanted)
    for cell in ("lstm", "gru", "rnn") if "cells" in wanted else ():
        jobs.append(("shakespeare", f"shakespeare {cell}", ["--cell", cell], "90s"))
    if "wikitext" in wanted:
        wikitext(options.data, work, (options.budget or ["30m"])[0])
    if not jobs:
        return
    print("| text | budget | time | network | nats/char | with cache | bits/char | baselines, nats/char |")
    print("|---" * 8 + "|")
    for text, name, flags, budget in jobs:
        (path,) = sorted(options.data.glob(TEXTS[text]))
        first, test = cut(path, work, text)
        train = first if options.blind else path
        flags = [*flags, "--val-fraction", "0"] if options.blind else flags
        row = measure(name.replace(" ", "-"), train, test, work, budget, flags)
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
