"""Speed and latency of sampling, compared with stepping `nn.LSTM` in PyTorch.

    python tests/benchmarks/sampling.py [--shapes lstm:512x1,lstm:1024x2] [--seconds 2] [--filters] [--same]

The models have random weights over 65 characters, since the cost of a sample doesn't depend on its text. "steps" is
the engine alone; "written" is the way from model to text (`Model.stream`) at temperature 0.8. The PyTorch module is
stepped as is usual: embedding, `nn.LSTM` / `nn.GRU` / `nn.RNN`, a linear layer, softmax, multinomial. Figures are the
best of three rounds. "fraction" is that of one core's memory bandwidth, measured by a long float32 dot product. "every
filter on" has all filters at once, with a grammar and banned texts. "under its grammar" is music drawn event by event
with and without masks. Measurements that are compared alternate, so that both see the same machine; `--filters` runs
only these.

"the same bytes" compares one seed's text alone, among a hundred, from its receipt, and in two parts through a state, on
every engine. Then follow best-of-n, beam search, and a limit of 20 copied characters. "starts" is the time from the
shell to the first byte of output. `--same` runs only these.
"""

from __future__ import annotations

import argparse
import itertools
import json
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
from seqgen.config import SampleOptions
from seqgen.generation.engines.choose import make_engine
from seqgen.generation.engines.numpy import NumpyEngine
from seqgen.generation.music import composing as music
from seqgen.generation.sampling.draw import sample_ids
from seqgen.generation.sampling.filters import FilterChain

VOCABULARY = 65
PEERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
FILTERS = {
    "ban": ("abc", "xyz"), "grammar": r"([^=]|=[^>])*", "logit_bias": ("a=-0.5", "b=0.5"), "repetition_penalty": 1.1,
    "dry_multiplier": 0.8, "dynatemp_range": 0.2, "top_k": 40, "top_p": 0.95, "min_p": 0.01, "typical_p": 0.95,
    "xtc_probability": 0.3, "xtc_threshold": 0.05, "mirostat_tau": 5.0,
}  # fmt: skip


def best(work: Callable[[], int], seconds: float, rounds: int = 3) -> float:
    """The highest rate of `work`, which returns a count, per second."""
    work()
    most = 0.0
    for _ in range(rounds):
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds / rounds:
            done += work()
        most = max(most, done / (time.perf_counter() - began))
    return most


def best_alternating(works: dict[str, Callable[[], int]], seconds: float, rounds: int = 9) -> dict[str, float]:
    """`best` of several, alternating in every round."""
    most = dict.fromkeys(works, 0.0)
    for _ in range(rounds):
        for name, work in works.items():
            began, done = time.perf_counter(), 0
            while time.perf_counter() - began < seconds / rounds:
                done += work()
            most[name] = max(most[name], done / (time.perf_counter() - began))
    return most


def bandwidth() -> float:
    """Bytes per second that one core reads from memory."""
    numbers = np.ones(1 << 26, dtype=np.float32)
    fastest = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        float(numbers @ numbers)
        fastest = min(fastest, time.perf_counter() - began)
    return numbers.nbytes / fastest


def make_model(folder: Path, cell: str, units: int, layers: int) -> Path:
    """A model folder of this shape, trained for one step."""
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
        [sys.executable, "-m", "seqgen", *words, "--steps", "1", "--batch-size", "4", "--seq-length", "16", "--quiet",
         "--keep-corpus"],
        check=True,
    )  # fmt: skip
    return model


def peer(cell: str, units: int, layers: int, streams: int) -> Callable[[], int]:
    """Step the torch modules, one token per call."""
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


def like_nanogpt() -> Callable[[], int]:
    """Sample as nanoGPT's sample.py does: each token recomputes its whole context.

    The shape is that of its character-level Shakespeare model (six layers of 384, context 256), reported at 1.47 nats.
    """
    from text_baselines import Transformer

    torch.manual_seed(0)
    model = Transformer(VOCABULARY, 384, 6, 6, 256).eval()
    ids = torch.zeros(1, 256, dtype=torch.long)

    def step() -> int:
        nonlocal ids
        with torch.inference_mode():
            shares = torch.softmax(model(ids)[:, -1] / 0.8, dim=1)
            ids = torch.cat([ids[:, 1:], torch.multinomial(shares, 1)], dim=1)
        return 1

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


def events(model: Path, count: int = 1000) -> dict[str, Callable[[], int]]:
    """Music event by event, without and with the grammar, and whole pieces."""
    loaded = load(model)
    engine, codec = loaded.engine, music.music_codec(loaded.codec)
    primer, options = music.prime(engine, codec), SampleOptions()

    def drawing(guided: bool) -> Callable[[], int]:
        def draw() -> int:
            asked = music.CompositionRequest(SampleOptions(length=1 << 30))
            guides = [music.PieceGuide(codec, primer, asked)] if guided else []
            drawn = sample_ids(engine, primer.primed, FilterChain(options), 0, [0], guides)
            return sum(1 for _ in itertools.islice(drawn, count))

        return draw

    def compose() -> int:
        request = music.CompositionRequest(SampleOptions(length=32))
        return sum(piece.events for piece in music.compose(engine, codec, primer, request))

    return {"free": drawing(False), "guided": drawing(True), "composed": compose}


def start(command: list[str], source: Path | None = None) -> float:
    """Seconds until the first byte, the best of five; `source` is standard input."""
    fastest = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        with (
            open(source or "/dev/null", "rb") as given,
            subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE) as process,
        ):
            assert process.stdout is not None
            process.stdout.read(1)
            fastest = min(fastest, time.perf_counter() - began)
            process.stdout.read()
    return fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="lstm:512x1,lstm:1024x2,gru:512x1,rnn:512x1")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--filters", action="store_true", help="only what filters and music's grammar cost")
    parser.add_argument("--same", action="store_true", help="only what is the same, is chosen, and starts")
    given = parser.parse_args()
    torch.set_num_threads(1)
    speed = 0.0 if given.filters or given.same else bandwidth()
    if speed:
        print(f"memory: {speed / 1e9:.1f} GB/s from one core")
        torch.set_num_threads(2)
        print(f"like nanoGPT's sample.py, two threads: {best(like_nanogpt(), given.seconds):,.0f} characters a second")
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        for shape in given.shapes.split(","):
            cell, size = shape.split(":")
            units, layers = map(int, size.split("x"))
            model = make_model(Path(place), cell, units, layers)
            if speed:
                one_shape(model, cell, units, layers, given.seconds, speed)
            if not given.same:
                filters(model, shape, given.seconds)
            if not given.filters:
                same_bytes(model, shape)
                chosen(model, shape, given.seconds)
        if not given.same:
            under_its_grammar(Path(place), given.seconds)
        if not given.filters:
            starts(Path(place), model)


def said(*words: object, stdin: bytes = b"") -> bytes:
    """The output of the command."""
    command = [sys.executable, "-m", "seqgen", *map(str, words)]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout


def same_bytes(model: Path, shape: str) -> None:
    """Compare one seed's text, requested in different ways."""
    state = model.with_suffix(".state")
    for engine in (["--engine", "cpu"], ["--engine", "cpu", "--exact"], ["--engine", "torch"]):
        how = [model, "--seed", 7, "-t", 0.8, "--prompt", "ABC", *engine]
        alone = said("sample", *how, "-l", 500, "--first", 42, "--json")
        among = said("sample", *how, "-l", 500, "-n", 100, "--json").splitlines(keepends=True)[42]
        again = said("sample", "--replay", "-", "--json", stdin=alone)
        first = said("sample", *how, "-l", 200, "--first", 42, "--no-show-prompt", "--state-out", state)
        rest = said("sample", model, "-t", 0.8, *engine, "-l", 300, "--first", 42, "--state-in", state)
        parts = json.loads(alone)["text"].encode("utf-8", "surrogateescape") == first + rest
        answers = {"among 100": among == alone, "replayed": again == alone, "after --state-in": parts}
        shown = ", ".join(f"{name}: {'yes' if same else 'NO'}" for name, same in answers.items())
        print(f"  {shape} {' '.join(engine)}: the same bytes {shown}; a state of {state.stat().st_size:,} bytes")


def chosen(model: Path, shape: str, seconds: float) -> None:
    """Rates of best-of-n, beam search and a copy limit, in characters of one text per second."""
    works = {
        "plain": writing(model, 1, 2000),
        "--max-copy 20": writing(model, 1, 2000, max_copy=20),
        "--best-of 16": writing_best(model, 300, best_of=16),
        "--beam 8": writing_best(model, 300, beam=8),
    }
    found = best_alternating(works, 4 * seconds)
    print(f"  {shape} written: " + "; ".join(f"{name} {speed:,.0f}" for name, speed in found.items()) + " a second")


def writing_best(model: Path, length: int, **search: int) -> Callable[[], int]:
    loaded = load(model)
    return lambda: len(loaded.sample(length=length, temperature=0.8 if "beam" not in search else 1.0, **search)[0].text)


def starts(folder: Path, model: Path) -> None:
    """Start-up times of commands that need no PyTorch, and the time to import it."""
    for corpus in ("dialogues", "reviews"):
        words = ["train", corpus, "-o", folder / corpus, "--steps", 1, "--rnn-size", 64, "--quiet"]
        subprocess.run([sys.executable, "-m", "seqgen", *map(str, words)], check=True)
    line = folder / "line"
    line.write_text("What a lovely morning\n")
    seqgen = [sys.executable, "-m", "seqgen"]
    found = {
        "import torch": start([sys.executable, "-c", "import torch; print(1)"]),
        "sample": start([*seqgen, "sample", str(model), "--length", "1"]),
        "score": start([*seqgen, "score", str(model)], line),
        "chat": start([*seqgen, "chat", str(folder / "dialogues")], line),
        "classify": start([*seqgen, "classify", str(folder / "reviews")], line),
    }
    print("starts: " + "; ".join(f"{name} {seconds:.2f} s" for name, seconds in found.items()))


def filters(model: Path, shape: str, seconds: float) -> None:
    """The cost of all filters at once for one stream."""
    works = {"plain": writing(model, 1, 10_000), "filtered": writing(model, 1, 10_000, **FILTERS)}
    found = best_alternating(works, 3 * seconds)
    share = found["filtered"] / found["plain"]
    print(f"  {shape} written {found['plain']:,.0f} a second, every filter on {found['filtered']:,.0f} ({share:.0%})")


def under_its_grammar(folder: Path, seconds: float) -> None:
    """The cost of the music grammar's masks for one stream: LSTM 512 × 1."""
    model = folder / "music"
    words = ["train", "tunes", "-o", str(model), "--rnn-size", "512", "--num-layers", "1", "--steps", "20", "--quiet"]
    subprocess.run([sys.executable, "-m", "seqgen", *words], check=True)
    found = best_alternating(events(model), 3 * seconds)
    shares = [found[name] / found["free"] for name in ("guided", "composed")]
    print(
        f"music, events a second: {found['free']:,.0f}; under its grammar {found['guided']:,.0f} ({shares[0]:.0%}); "
        f"whole pieces {found['composed']:,.0f} ({shares[1]:.0%})"
    )


def one_shape(model: Path, cell: str, units: int, layers: int, seconds: float, memory: float) -> None:
    loaded = load(model).checkpoint
    config, weights = loaded.language_config, loaded.weights()
    engines = {
        "compiled, 8 bits": make_engine(config, weights, "light", exact=False),
        "compiled, exact": make_engine(config, weights, "light"),
        "numpy": NumpyEngine(config, weights),
        "torch": make_engine(config, weights, "torch"),
    }
    head = f"{'one stream':>26}{'× nn':>8}{'fraction':>9}{'256 streams':>14}{'× one':>8}"
    print(f"\n{cell} {units} × {layers}, a second{head}")
    nn_one, nn_many = (best(peer(cell, units, layers, streams), seconds) for streams in (1, 256))

    def row(name: str, one: float, many: float | None = None, share: float | None = None) -> None:
        shown = "" if share is None else f"{share:.2f}"
        rest = "" if many is None else f"{many:14,.0f}{many / one:8.1f}"
        print(f"  {name:36}{one:10,.0f}{one / nn_one:8.1f}{shown:>9}{rest}", flush=True)

    row("nn module, torch", nn_one, nn_many)
    read = sum(weights[name].size for name in weights if "recurrent_weight" in name or "output_w" in name)
    read += sum(weights[f"layers.{number}.input_weight"].size for number in range(1, layers))
    for name, engine in engines.items():
        one, many = (best(stepping(engine, streams), seconds) for streams in (1, 256))
        row("steps: " + name, one, many, one * read * (1 if "8 bits" in name else 4) / memory)
    one = best(writing(model, 1, 2000), seconds)
    row("written", one, best(writing(model, 256, 100), seconds))
    row("written, --exact", best(writing(model, 1, 2000, exact=True), seconds))
    ours = start([sys.executable, "-m", "seqgen", "sample", str(model), "--length", "1"])
    theirs = start([sys.executable, "-c", "import torch; print(1)"])
    print(
        f"  shell to first character {ours:.2f} s; to `import torch` {theirs:.2f} s, {theirs / ours:.1f} times as long"
    )


if __name__ == "__main__":
    main()
