"""All that a GPU has to show, in less than eight minutes: a table, and exit status 1 where a check fails.

    python tests/benchmarks/gpu.py [--data DATA] [--device cuda] [--quick] [--only speed,equality,...]

Parts: `equality` with the CPU (weights after 20 steps, logits, samples, labels, forecasts), `speed` of training beside
`nn.LSTM` and the plain loop at 512, 1,024 and 2,048 units with 64, 256 and 512 lanes, `memory`, utilisation and
synchronisation, `sampling` of many streams, `resume` on the other device, `processes` (torchrun with NCCL), and
`learning`: three runs of the real command on DATA, which contains tinyshakespeare/input.txt,
wikitext2/{train,valid,test}.txt.gz and dailydialog/dialogues_{train,validation,test}*; without --data they are left
out.

`--device cpu --quick` rehearses the same on a CPU, in small. Speed has no limits there, and nothing else may be learnt
from its figures.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.config import ClassifierConfig, ForecasterConfig, NetworkConfig, SampleOptions
from seqgen.corpus.ids import IdStream
from seqgen.generation.engines.native import NativeEngine
from seqgen.generation.engines.numpy import NumpyEngine
from seqgen.generation.engines.torch import TorchEngine
from seqgen.generation.sampling.draw import PrimedState, sample_ids
from seqgen.generation.sampling.filters import FilterChain
from seqgen.model.chunks import chunk_texts
from seqgen.model.classifier import Classifier
from seqgen.model.forecaster import Forecaster
from seqgen.model.language import LanguageModel, detach
from seqgen.model.recurrent import stack
from seqgen.model.recurrent.cudnn import allow_tf32, fused_on_cpu
from seqgen.native import library
from seqgen.specs.cells import CELLS
from seqgen.training.cross_entropy import language_loss
from seqgen.training.device import Compute
from seqgen.training.loop import Run
from seqgen.training.objectives.language import NextTokenObjective
from seqgen.training.schedule import Schedule

VOCABULARY = 65
LENGTH = 64
TORCH_LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
LOGIT_TOLERANCE = 2e-4  # of logits and of log-probabilities in float32, as the documentation says
WEIGHT_TOLERANCE = 2e-3  # of weights after 20 steps, relative to the change that they made
OF_TORCH, OF_LOOP, OF_LIMIT = 0.9, 8.0, 0.5  # least speed, relative to nn.LSTM, the plain loop, and the products


@dataclass
class Report:
    """The rows of the table, and whether all checks passed."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(self, part: str, what: str, value: str, ok: bool | None = None, wanted: str = "") -> None:
        """Print a row. `ok`: None for a figure without a limit."""
        verdict = "" if ok is None else ("ok" if ok else "FAILED") + (f" ({wanted})" if wanted else "")
        self.rows.append((part, what, value, verdict))
        print(f"| {part} | {what} | {value} | {verdict} |", flush=True)
        if ok is False:
            self.failed.append(f"{part}: {what}: {value}, wanted {wanted}")


@dataclass(frozen=True)
class Machine:
    """The device, and whether this is only a rehearsal in small."""

    device: torch.device
    quick: bool

    @property
    def is_gpu(self) -> bool:
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Wait until the device has done its work."""
        if self.is_gpu:
            torch.cuda.synchronize()

    @contextlib.contextmanager
    def fused(self) -> Iterator[None]:
        """The path of a GPU, also on a CPU."""
        with contextlib.nullcontext() if self.is_gpu else fused_on_cpu():
            yield


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- Equality with the CPU ----


def small_network(cell: str) -> LanguageModel:
    config = NetworkConfig(vocab_size=VOCABULARY, cell=cell, rnn_size=96, num_layers=2, embedding_size=48)
    return LanguageModel(config, generator(1))


def small_run(device: torch.device, cell: str, steps: int, blank: float = 0.0) -> Run:
    """A run of the training loop on random ids."""
    rng = np.random.default_rng(5)
    stream = IdStream(rng.integers(VOCABULARY, size=20_000).astype(np.uint16), np.array([100, 900]))
    compute = Compute(device, torch.float32)
    objective = NextTokenObjective(
        small_network(cell).to(device), stream, None, compute, VOCABULARY, 32, 32, 0, blank=blank
    )
    return Run(objective, Schedule(0.003, 0.1, steps=steps, patience=0), generator(2))


def weights_after(steps: int, device: torch.device, cell: str) -> dict[str, Tensor]:
    run = small_run(device, cell, steps)
    for _ in run.events():
        pass
    return {name: weight.detach().cpu() for name, weight in run.objective.network.state_dict().items()}


def equality(machine: Machine, report: Report, work: Path) -> None:
    cpu = torch.device("cpu")
    allow_tf32(False)
    for cell in CELLS:
        start, here = small_network(cell).state_dict(), weights_after(20, cpu, cell)
        with machine.fused():
            there = weights_after(20, machine.device, cell)
        moved = math.sqrt(sum(float((here[name] - start[name]).square().sum()) for name in start))
        apart = math.sqrt(sum(float((here[name] - there[name]).square().sum()) for name in start))
        ratio = apart / moved
        report.add("equality", f"{cell}: weights after 20 steps, of their change", f"{ratio:.1e}",
                   ratio < WEIGHT_TOLERANCE, f"< {WEIGHT_TOLERANCE:g}")  # fmt: skip
        logits_and_samples(machine, report, cell)
    labels_and_forecasts(machine, report)


def logits_and_samples(machine: Machine, report: Report, cell: str) -> None:
    config = NetworkConfig(vocab_size=VOCABULARY, cell=cell, rnn_size=128, num_layers=2, embedding_size=64)
    weights = {name: weight.numpy() for name, weight in LanguageModel(config, generator(3)).state_dict().items()}
    exact = NativeEngine(config, weights) if library() is not None else NumpyEngine(config, weights)
    with machine.fused():
        engine = TorchEngine(config, weights, machine.device.type)
        ids = np.random.default_rng(1).integers(VOCABULARY, size=(40, 300))
        states = exact.initial(300), engine.initial(300)
        worst = 0.0
        for row in ids:
            (ours, first), (theirs, second) = exact.step(row, states[0]), engine.step(row, states[1])
            states = first, second
            worst = max(worst, float(np.abs(ours - theirs).max()))
        report.add("equality", f"{cell}: logits of 300 streams over 40 steps", f"{worst:.1e}",
                   worst < LOGIT_TOLERANCE, f"< {LOGIT_TOLERANCE:g}")  # fmt: skip
        alone, _ = engine.step(ids[0, :1], engine.initial(1))
        among, _ = engine.step(ids[0], engine.initial(300))
        report.add("equality", f"{cell}: a stream alone and among 300", "the same bits" if
                   np.array_equal(alone[0], among[0]) else "differs", np.array_equal(alone[0], among[0]))  # fmt: skip
        drawn = [
            np.array([[token for token, _ in step] for step in itertools.islice(sample_ids(
                each, PrimedState([], 0, each.initial(1)), FilterChain(SampleOptions(top_p=0.9)), 7, range(64)
            ), 50)])
            for each in (exact, engine)
        ]  # fmt: skip
        same = float((drawn[0] == drawn[1]).mean())
        report.add("equality", f"{cell}: drawn ids of 64 samples of 50", f"{same:.2%} the same", same > 0.95, "> 95 %")
        lengths = np.sort(np.random.default_rng(2).integers(1, 40, size=200))[::-1]
        pair = [each.nats_of_lanes(ids[:, :200], ids[:, 1:201], lengths, each.initial(200))[0] for each in
                (exact, engine)]  # fmt: skip
        worst = float(np.abs(pair[0] - pair[1]).max())
        report.add("equality", f"{cell}: nats of 200 records", f"{worst:.1e}", worst < LOGIT_TOLERANCE,
                   f"< {LOGIT_TOLERANCE:g}")  # fmt: skip


def labels_and_forecasts(machine: Machine, report: Report) -> None:
    config = ClassifierConfig(vocab_size=500, labels=("a", "b", "c"), rnn_size=64, embedding_size=64, stretch=50)
    network = Classifier(config, generator(4)).eval()
    nn.init.normal_(network.head_weight, generator=generator(5))
    rng = np.random.default_rng(3)
    texts = [rng.integers(500, size=int(size)) for size in rng.integers(1, 200, size=64)]
    chunks = chunk_texts(texts, config.stretch)
    windows = ForecasterConfig(targets=3, look_back=96, horizon=24, segment_length=24, levels=(10.0, 50.0, 90.0),
                               rnn_size=64, embedding_size=64)  # fmt: skip
    forecaster = Forecaster(windows, generator(6)).eval()
    history, channel = torch.randn(50, 96, generator=generator(7)), torch.arange(50) % 3
    results = []
    with torch.no_grad():
        for device, path in ((torch.device("cpu"), contextlib.nullcontext()), (machine.device, machine.fused())):
            with path:
                logits = network.to(device).network_logits(chunks, len(texts)).softmax(1).cpu()
                found = forecaster.to(device)(history.to(device), channel.to(device)).cpu()
                results.append((logits, found))
    for name, one, other in zip(("probabilities of labels", "forecasts"), *results, strict=True):
        worst = float((one - other).abs().max())
        report.add("equality", name, f"{worst:.1e}", worst < LOGIT_TOLERANCE, f"< {LOGIT_TOLERANCE:g}")


# ---- Speed of training ----


class TorchModel(nn.Module):
    """The model in plain PyTorch."""

    def __init__(self, cell: str, units: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 128)
        self.layers = TORCH_LAYERS[cell](128, units)
        self.output = nn.Linear(units, VOCABULARY)


def torch_step(cell: str, units: int, lanes: int, machine: Machine, bf16: bool = False) -> Callable[[Tensor], None]:
    model = TorchModel(cell, units).to(machine.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    state: Any = None

    def step(ids: Tensor) -> None:
        nonlocal state
        with torch.autocast(machine.device.type, torch.bfloat16, enabled=bf16):
            hidden, state = model.layers(model.embedding(ids[:-1]), state)
            logits = model.output(hidden)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        loss = F.cross_entropy(logits.float().flatten(0, 1), ids[1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimiser.step()

    return step


def our_step(cell: str, units: int, lanes: int, machine: Machine, fused: bool = True) -> Callable[[Tensor], None]:
    config = NetworkConfig(vocab_size=VOCABULARY, cell=cell, rnn_size=units, embedding_size=128)
    network = LanguageModel(config, generator(0)).to(machine.device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    states = network.initial(lanes)

    def step(ids: Tensor) -> None:
        nonlocal states
        with machine.fused() if fused else plain_loop():
            hidden, new = network(ids[:-1], states, dtype=torch.bfloat16 if machine.is_gpu else None)
        states = detach(new)
        loss = language_loss(network, hidden, ids[1:], VOCABULARY)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimiser.step()

    return step


@contextlib.contextmanager
def plain_loop() -> Iterator[None]:
    """Layers by the loop of a custom cell, with a launch for each operation of each step."""
    own, loops = stack.is_fused, {}
    stack.is_fused = lambda cell, device: False
    from seqgen.model.recurrent import scan

    for name in ("sequence_loop", "step_loop"):
        loops[name] = getattr(scan, name)
        setattr(scan, name, lambda cell, x: None)
    try:
        yield
    finally:
        stack.is_fused = own
        for name, loop in loops.items():
            setattr(scan, name, loop)


def tokens_per_second(step: Callable[[Tensor], None], lanes: int, machine: Machine, seconds: float) -> float:
    """The best of three measurements, each long enough that the last wait counts for nothing."""
    ids = torch.randint(VOCABULARY, (LENGTH + 1, lanes), generator=generator(1)).to(machine.device)
    for _ in range(2):
        step(ids)
    machine.wait()
    best, count = 0.0, 1
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(count):
            step(ids)
        machine.wait()
        spent = time.perf_counter() - began
        best = max(best, count * lanes * LENGTH / spent)
        count = max(1, min(200, round(count * seconds / spent)))
    return best


def limit(units: int, lanes: int, machine: Machine) -> float:
    """Tokens a second if a step were its recurrent products alone, one after another, forward and backward.

    This is the limit by arithmetic or by memory, whichever is lower at this size, since it is measured.
    """
    state = torch.randn(lanes, units, device=machine.device)
    weight = torch.randn(4 * units, units, device=machine.device)
    gates = torch.empty(lanes, 4 * units, device=machine.device)
    inputs = torch.randn(lanes * LENGTH, units, device=machine.device)
    allgates = torch.empty(lanes * LENGTH, 4 * units, device=machine.device)

    def products() -> None:
        for _ in range(LENGTH):
            torch.mm(state, weight.T, out=gates)  # forward
            torch.mm(gates, weight, out=state)  # backward
        torch.mm(allgates.T, inputs)  # the weights' gradient

    run = products
    if machine.is_gpu:
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            products()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            products()
        run = graph.replay
    run()
    machine.wait()
    began = time.perf_counter()
    for _ in range(3):
        run()
    machine.wait()
    return 3 * lanes * LENGTH / (time.perf_counter() - began)


def speed(machine: Machine, report: Report, work: Path) -> None:
    allow_tf32(True)
    sizes = [(64, 16)] if machine.quick else [(units, lanes) for units in (512, 1024, 2048) for lanes in (64, 256, 512)]
    seconds = 0.05 if machine.quick else 0.25
    for cell in ("lstm",) if not machine.quick else TORCH_LAYERS:
        for units, lanes in sizes:
            ours = tokens_per_second(our_step(cell, units, lanes, machine), lanes, machine, seconds)
            theirs = tokens_per_second(torch_step(cell, units, lanes, machine), lanes, machine, seconds)
            rounded = tokens_per_second(torch_step(cell, units, lanes, machine, bf16=True), lanes, machine, seconds)
            loop = tokens_per_second(our_step(cell, units, lanes, machine, fused=False), lanes, machine, seconds / 4)
            bound = limit(units, lanes, machine)
            where = f"{cell} {units} units, {lanes} lanes"
            checks = machine.is_gpu
            report.add("speed", where, f"{ours / 1e6:.3f} M tokens/s")
            report.add("speed", f"{where}: of nn.{cell.upper()} in TF32 ({theirs / 1e6:.3f} M)", f"{ours / theirs:.2f}",
                       ours >= OF_TORCH * theirs if checks else None, f"≥ {OF_TORCH}")  # fmt: skip
            report.add("speed", f"{where}: of the same under bfloat16 autocast ({rounded / 1e6:.3f} M)",
                       f"{ours / rounded:.2f}")  # fmt: skip
            report.add("speed", f"{where}: of the plain loop ({loop / 1e6:.3f} M)", f"{ours / loop:.1f}",
                       ours >= OF_LOOP * loop if checks else None, f"≥ {OF_LOOP:g}")  # fmt: skip
            report.add("speed", f"{where}: of its products alone ({bound / 1e6:.3f} M)", f"{ours / bound:.2f}",
                       ours >= OF_LIMIT * bound if checks and cell == "lstm" else None, f"≥ {OF_LIMIT}")  # fmt: skip


def memory(machine: Machine, report: Report, work: Path) -> None:
    """Peak memory and utilisation while a step repeats, and that nothing waits for the device between them."""
    units, lanes = (64, 16) if machine.quick else (1024, 512)
    allow_tf32(True)
    if not machine.is_gpu:
        report.add("memory", "peak and utilisation", "only on a GPU")
        return
    run = small_run(machine.device, "lstm", 9, blank=0.1)
    run._step(0.001, 0.5)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")  # an operation that waits raises
    try:
        run._step(0.001, 0.5)
        waits = "nothing waits"
    except RuntimeError as error:
        waits = str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    report.add("memory", "synchronisation within a step", waits, waits == "nothing waits", "none")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step = our_step("lstm", units, lanes, machine)
    ids = torch.randint(VOCABULARY, (LENGTH + 1, lanes), generator=generator(1)).to(machine.device)
    step(ids)
    seen: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not stop.wait(0.3):
            with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
                seen.append(float(subprocess.run(command, capture_output=True, text=True).stdout.split()[0]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    while time.perf_counter() - began < 3:
        for _ in range(20):
            step(ids)
        torch.cuda.synchronize()
    stop.set()
    watcher.join()
    peak = torch.cuda.max_memory_allocated() / 2**30
    report.add("memory", f"lstm {units} units, {lanes} lanes: peak", f"{peak:.2f} GiB")
    if seen:
        used = statistics.median(seen)
        report.add("memory", "utilisation", f"{used:.0f} %", used >= 80, "≥ 80 %")


def sampling(machine: Machine, report: Report, work: Path) -> None:
    """Steps of many streams, filters and draws not counted."""
    units = 64 if machine.quick else 1024
    config = NetworkConfig(vocab_size=VOCABULARY, rnn_size=units, embedding_size=128)
    weights = {name: weight.numpy() for name, weight in LanguageModel(config, generator(3)).state_dict().items()}
    exact = NativeEngine(config, weights) if library() is not None else NumpyEngine(config, weights)
    with machine.fused():
        for name, engine in ((machine.device.type, TorchEngine(config, weights, machine.device.type)), ("CPU", exact)):
            for streams in (1, 512):
                ids, state, count = np.zeros(streams, dtype=np.int64), engine.initial(streams), 0
                began = time.perf_counter()
                while time.perf_counter() - began < (0.1 if machine.quick else 1.0):
                    _, state = engine.step(ids, state)
                    count += streams
                rate = count / (time.perf_counter() - began)
                report.add("sampling", f"{streams} streams, LSTM {units}, {name}", f"{rate:,.0f} ids/s")


# ---- The real command ----


def seqgen(*arguments: str, program: tuple[str, ...] = ("-m", "seqgen"), **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *program, *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-400:])
    return done.stdout


def last_loss(model: Path) -> float:
    lines = (model / "metrics.jsonl").read_text().splitlines()
    return float(json.loads(lines[-1])["val_loss"])


def made_up_text(path: Path) -> Path:
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("etaoinshrdlu"), size=int(size))) for size in rng.integers(2, 8, size=300)]
    path.write_text(" ".join(words[min(299, int(rng.exponential(40)))] for _ in range(40_000)))
    return path


def resume(machine: Machine, report: Report, work: Path) -> None:
    """A run that stops on one device goes on on the other, both ways, and ends like one that stayed."""
    text = made_up_text(work / "text.txt")
    steps, half = (12, 6) if machine.quick else (120, 60)
    flags = ["--rnn-size", "64", "--batch-size", "16", "--seq-length", "32", "--precision", "fp32", "--quiet",
             "--dropout", "0", "--blank", "0"]  # fmt: skip
    kind = machine.device.type
    stop = stop_at(work, half)

    def run(name: str, first: str, second: str) -> float:
        model = work / f"resume-{name}"
        seqgen("train", str(text), "-o", str(model), "--steps", str(steps), "--device", first, *flags, program=stop)
        seqgen("train", str(text), "-o", str(model), "--resume", "--device", second, "--quiet")
        return last_loss(model)

    chains = (("cpu", "cpu", "cpu"), ("there", "cpu", kind), ("back", kind, "cpu"))
    with ThreadPoolExecutor() as pool:
        stayed, *moved = pool.map(lambda chain: run(*chain), chains)
    for (name, _, _), loss in zip(chains[1:], moved, strict=True):
        report.add("resume", f"{name}: loss of one that stayed {stayed:.4f}", f"{loss:.4f}", abs(loss - stayed) < 0.01,
                   "within 0.01")  # fmt: skip


def stop_at(work: Path, step: int) -> tuple[str, ...]:
    """A program that is seqgen with a Ctrl-C after so many steps."""
    script = work / "stop.py"
    script.write_text(
        "import os, signal, sys\n"
        "from seqgen.training import loop\n"
        "own = loop.Run._step\n"
        "def step(run, *given):\n"
        f"    if run.position.step == {step}: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return own(run, *given)\n"
        "loop.Run._step = step\n"
        "from seqgen.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    sys.exit(0 if end.code in (0, 130) else end.code)\n"
    )
    return (str(script),)


def processes(machine: Machine, report: Report, work: Path) -> None:
    """`torchrun` with one process, whose gradients go through NCCL (gloo in a rehearsal)."""
    text = made_up_text(work / "text.txt")
    flags = ["--steps", "6" if machine.quick else "60", "--rnn-size", "64", "--batch-size", "16", "--seq-length", "32",
             "--device", machine.device.type, "--precision", "fp32", "--quiet", "--overwrite"]  # fmt: skip

    def run(name: str, *program: str) -> float:
        model = work / f"processes-{name}"
        seqgen("train", str(text), "-o", str(model), *flags, program=program)
        return last_loss(model)

    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "seqgen")
    with ThreadPoolExecutor() as pool:
        alone, ranks = pool.map(lambda program: run(*program), (("alone", "-m", "seqgen"), ("torchrun", *torchrun)))
    report.add("processes", f"torchrun: loss of one process {alone:.4f}", f"{ranks:.4f}", abs(alone - ranks) < 1e-3,
               "within 0.001")  # fmt: skip


def learning(machine: Machine, report: Report, work: Path, data: Path) -> None:
    """What a budget gives: training by the command, then `evaluate` on the test set, without adaptation."""
    device = ["--device", machine.device.type]
    text = (data / "tinyshakespeare/input.txt").read_bytes()
    cut = len(text) - len(text) // 10
    for name, part in (("train", text[:cut]), ("test", text[cut:])):
        (work / f"shakespeare.{name}.txt").write_bytes(part)
    for part in ("train", "valid", "test"):
        with gzip.open(data / f"wikitext2/{part}.txt.gz") as file:
            (work / f"wikitext.{part}.txt").write_bytes(file.read())
    dialogues = data / "dailydialog"
    parts = {part: sorted(dialogues.glob(f"dialogues_{part}*"))[0] for part in ("train", "validation", "test")}
    runs: list[tuple[str, int, list[str], str, str, float | None]] = [
        ("tiny-shakespeare, trained on nine tenths", 60, [str(work / "shakespeare.train.txt")],
         str(work / "shakespeare.test.txt"), "nats_per_character", 1.40),
        ("WikiText-2, subwords", 180,
         [str(work / "wikitext.train.txt"), "--valid", str(work / "wikitext.valid.txt"), "--tokenizer", "subword"],
         str(work / "wikitext.test.txt"), "perplexity_per_word", 95.0),
        ("DailyDialog", 120,
         [str(parts["train"]), "--valid", str(parts["validation"]), "--task", "dialogue"], str(parts["test"]),
         "perplexity_per_word", None),
    ]  # fmt: skip
    for number, (name, seconds, flags, *_) in enumerate(runs):
        seconds = 4 if machine.quick else seconds
        model = work / f"learning-{number}"
        began = time.monotonic()
        seqgen("train", *flags, "-o", str(model), "--budget", f"{seconds}s", "--quiet", *device)
        took = time.monotonic() - began
        report.add("learning", f"{name}: seconds of the command", f"{took:.1f}",
                   took < seconds + 15 or not machine.is_gpu, f"< {seconds + 15}")  # fmt: skip
    if machine.quick:
        return

    def evaluate(number: int) -> Any:
        model, test = work / f"learning-{number}", runs[number][3]
        return json.loads(seqgen("evaluate", str(model), test, "--json", "--no-baselines", *device))["metrics"]

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(evaluate, range(len(runs))))
    for number, (name, seconds, _, _, metric, most) in enumerate(runs):
        network = json.loads((work / f"learning-{number}" / "config.json").read_text())["network"]
        value = found[number][metric]
        ok = None if most is None or not machine.is_gpu else value <= most
        report.add("learning", f"{name}, {seconds} s, {network['cell']} {network['rnn_size']}", f"{value:.4g} {metric}",
                   ok, "" if most is None else f"≤ {most}")  # fmt: skip


PARTS = {
    "equality": equality, "speed": speed, "memory": memory, "sampling": sampling, "resume": resume,
    "processes": processes,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", help="parts, separated by commas")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("gpu.py: PyTorch finds no GPU; --device cpu --quick rehearses", file=sys.stderr)
        return 2
    machine = Machine(torch.device(given.device), given.quick)
    report, began = Report(), time.monotonic()
    name = torch.cuda.get_device_name() if machine.is_gpu else f"{machine.device.type}, a rehearsal"
    print(f"PyTorch {torch.__version__}, {name}\n\n| part | what | value | check |\n|---|---|---|---|", flush=True)
    chosen = given.only.split(",") if given.only else [*PARTS, "learning"]
    with tempfile.TemporaryDirectory() as folder:
        for part in chosen:
            started = time.monotonic()
            try:
                if part != "learning":
                    PARTS[part](machine, report, Path(folder))
                elif given.data is not None:
                    learning(machine, report, Path(folder), given.data)
            except Exception as error:  # the other parts still have something to show
                report.add(part, type(error).__name__, " ".join(str(error).split())[-300:], False, "no error")
            report.add(part, "seconds", f"{time.monotonic() - started:.0f}")
    seconds = time.monotonic() - began
    report.add("all", "seconds", f"{seconds:.0f}", seconds < 480 or not machine.is_gpu, "< 480")
    for line in report.failed:
        print(f"FAILED: {line}", file=sys.stderr)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
