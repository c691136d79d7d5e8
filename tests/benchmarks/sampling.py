"""How soon and how fast text is written, beside stepping `nn.LSTM` in PyTorch; everything in one go.

    python tests/benchmarks/sampling.py [--shapes lstm:512x1,lstm:1024x2] [--seconds 2]

Models of untrained weights over 65 characters (a sample's cost does not depend on what it says). "steps" is the
engine alone; "written" is the whole way from model to text (`Model.stream`), at temperature 0.8. The peer steps an nn
module as such scripts do: embedding, `nn.LSTM` / `nn.GRU` / `nn.RNN`, a linear layer, softmax, multinomial. Figures
are the best of three rounds. "share" is that of the memory bandwidth of one core, as a long dot product of float32
reaches it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seqgen.api.model import load
from seqgen.generation.engine import make_engine
from seqgen.generation.light import LightEngine

VOCABULARY = 65
PEERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
FILTERS = {"top_k": 20, "top_p": 0.95, "min_p": 0.01, "typical_p": 0.95, "repetition_penalty": 1.1}


def best(work: Callable[[], int], seconds: float, rounds: int = 3) -> float:
    """The most things a second that `work`, which says how many it did, was seen to do."""
    work()
    most = 0.0
    for _ in range(rounds):
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds / rounds:
            done += work()
        most = max(most, done / (time.perf_counter() - began))
    return most


def bandwidth() -> float:
    """Bytes a second that one core reads from memory."""
    numbers = np.ones(1 << 26, dtype=np.float32)
    fastest = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        float(numbers @ numbers)
        fastest = min(fastest, time.perf_counter() - began)
    return numbers.nbytes / fastest


def make_model(folder: Path, cell: str, units: int, layers: int) -> Path:
    """A model folder of that shape, trained for one step."""
    text = folder / "text.txt"
    letters = "".join(map(chr, range(48, 48 + VOCABULARY - 1)))  # and the end of a document
    text.write_text("\n".join("".join(np.random.default_rng(n).permutation(list(letters))) for n in range(200)))
    model = folder / f"{cell}-{units}x{layers}"
    words = [
        "train",
        str(text),
        "-o",
        str(model),
        "--cell",
        cell,
        "--rnn-size",
        str(units),
        "--num-layers",
        str(layers),
    ]
    subprocess.run(
        [sys.executable, "-m", "seqgen", *words, "--steps", "1", "--batch-size", "4", "--seq-length", "16", "--quiet"],
        check=True,
    )
    return model


def peer(cell: str, units: int, layers: int, streams: int) -> Callable[[], int]:
    """Stepping the modules, a token a call."""
    torch.manual_seed(0)
    embedding, stack, output = (
        nn.Embedding(VOCABULARY, 128),
        PEERS[cell](128, units, layers),
        nn.Linear(units, VOCABULARY),
    )
    last, state = torch.zeros(1, streams, dtype=torch.long), None

    def step() -> int:
        nonlocal last, state
        with torch.inference_mode():
            hidden, state = stack(embedding(last), state)
            shares = torch.softmax(output(hidden[0]) / 0.8, dim=1)
            last = torch.multinomial(shares, 1).T
        return streams

    return step


def stepping(engine: object, streams: int) -> Callable[[], int]:
    ids, state = np.zeros(streams, dtype=np.int64), engine.initial(streams)  # type: ignore[attr-defined]

    def step() -> int:
        nonlocal state
        logits, state = engine.step(ids, state)  # type: ignore[attr-defined]
        ids[:] = logits.argmax(1)
        return streams

    return step


def writing(model: Path, n: int, length: int, exact: bool = False, **options: object) -> Callable[[], int]:
    loaded = load(model, exact)

    def write() -> int:
        if n == 1:
            return sum(len(piece) for piece in loaded.stream(length=length, temperature=0.8, **options))
        return sum(len(one.text) for one in loaded.sample(n=n, length=length, temperature=0.8, **options))

    return write


def start(command: list[str]) -> float:
    """Seconds until the first byte, the best of five."""
    fastest = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.read(1)
            fastest = min(fastest, time.perf_counter() - began)
            process.stdout.read()
    return fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="lstm:512x1,lstm:1024x2,gru:512x1,rnn:512x1")
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    speed = bandwidth()
    print(f"memory: {speed / 1e9:.1f} GB/s from one core")
    with tempfile.TemporaryDirectory() as place:
        for shape in given.shapes.split(","):
            cell, size = shape.split(":")
            units, layers = map(int, size.split("x"))
            one_shape(make_model(Path(place), cell, units, layers), cell, units, layers, given.seconds, speed)


def one_shape(model: Path, cell: str, units: int, layers: int, seconds: float, memory: float) -> None:
    loaded = load(model).checkpoint
    config, weights = loaded.language_model, loaded.weights()
    engines = {
        "compiled, 8 bits": make_engine(config, weights, "light", exact=False),
        "compiled, exact": make_engine(config, weights, "light"),
        "numpy": LightEngine(config, weights),
        "torch": make_engine(config, weights, "torch"),
    }
    print(
        f"\n{cell} {units} × {layers}, a second{'one stream':>26}{'× nn':>8}{'share':>8}{'256 streams':>14}{'× one':>8}"
    )
    nn_one, nn_many = (best(peer(cell, units, layers, streams), seconds) for streams in (1, 256))

    def row(name: str, one: float, many: float | None = None, share: float | None = None) -> None:
        shown = "" if share is None else f"{share:.2f}"
        rest = "" if many is None else f"{many:14,.0f}{many / one:8.1f}"
        print(f"  {name:36}{one:10,.0f}{one / nn_one:8.1f}{shown:>8}{rest}", flush=True)

    row("nn module, torch", nn_one, nn_many)
    read = sum(weights[name].size for name in weights if "recurrent_weight" in name or "output_w" in name)
    read += sum(weights[f"layers.{number}.input_weight"].size for number in range(1, layers))
    for name, engine in engines.items():
        one, many = (best(stepping(engine, streams), seconds) for streams in (1, 256))
        row("steps: " + name, one, many, one * read * (1 if "8 bits" in name else 4) / memory)
    one = best(writing(model, 1, 2000), seconds)
    row("written", one, best(writing(model, 256, 100), seconds))
    row("written, --exact", best(writing(model, 1, 2000, exact=True), seconds))
    filtered = best(writing(model, 1, 2000, **FILTERS), seconds)
    row(f"written, every filter on ({filtered / one:.0%})", filtered)
    ours = start([sys.executable, "-m", "seqgen", "sample", str(model), "--length", "1"])
    theirs = start([sys.executable, "-c", "import torch; print(1)"])
    print(
        f"  shell to first character {ours:.2f} s; to `import torch` {theirs:.2f} s, {theirs / ours:.1f} times as long"
    )


if __name__ == "__main__":
    main()
