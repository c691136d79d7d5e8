"""Speed of a training step compared with PyTorch's own recurrent layers: tokens a second and their ratio, in one run.

    python tests/benchmarks/speed.py [--units 128,512,2048] [--batch 64] [--length 64] [--threads 1,2]
                                     [--cells lstm,gru,rnn] [--memory]

A step is: embedding lookup, recurrent layers, loss over 65 characters, backward pass, clipping, AdamW. The comparison
runs `nn.LSTM`, `nn.GRU` and `nn.RNN` in float32 and under bfloat16 autocast in the same loop, alternately. Each figure
is the best of several rounds, since something else may run for a moment. --memory prints the peak memory of a separate
process for each.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.config import NetworkConfig
from seqgen.model.language import LanguageModel, detach
from seqgen.training.cross_entropy import language_loss

VOCABULARY = 65
TORCH_LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class TorchModel(nn.Module):
    """The model in plain PyTorch."""

    def __init__(self, cell: str, units: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 128)
        self.layers = TORCH_LAYERS[cell](128, units, layers)
        self.output = nn.Linear(units, VOCABULARY)


def torch_step(cell: str, units: int, layers: int, batch: int, bf16: bool) -> Callable[[Tensor], None]:
    model = TorchModel(cell, units, layers)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    state = None

    def step(ids: Tensor) -> None:
        nonlocal state
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            hidden, state = model.layers(model.embedding(ids[:-1]), state)
            logits = model.output(hidden)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        loss = F.cross_entropy(logits.float().flatten(0, 1), ids[1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimiser.step()

    return step


def seqgen_step(cell: str, units: int, layers: int, batch: int, bf16: bool) -> Callable[[Tensor], None]:
    config = NetworkConfig(vocab_size=VOCABULARY, cell=cell, rnn_size=units, num_layers=layers, embedding_size=128)
    network = LanguageModel(config, torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    states = network.initial(batch)
    dtype = torch.bfloat16 if bf16 else torch.float32

    def step(ids: Tensor) -> None:
        nonlocal states
        hidden, states = network(ids[:-1], states, dtype=dtype)
        states = detach(states)
        loss = language_loss(network, hidden, ids[1:], VOCABULARY)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimiser.step()

    return step


CONTENDERS: dict[str, tuple[Callable[..., Callable[[Tensor], None]], bool]] = {
    "seqgen fp32": (seqgen_step, False),
    "seqgen bf16": (seqgen_step, True),
    "torch fp32": (torch_step, False),
    "torch bf16": (torch_step, True),
}


def measure(
    cell: str, units: int, layers: int, batch: int, length: int, rounds: int, names: Sequence[str] = tuple(CONTENDERS)
) -> dict[str, float]:
    """Tokens a second of each contender."""
    ids = torch.randint(VOCABULARY, (length + 1, batch), generator=torch.Generator().manual_seed(1))
    steps, best = {}, {}
    for name in names:
        make, bf16 = CONTENDERS[name]
        torch.manual_seed(0)
        try:
            step = make(cell, units, layers, batch, bf16)
            step(ids)  # on some processors PyTorch's layers have no bfloat16
        except RuntimeError as error:
            print(f"  {name}: {str(error).splitlines()[0]}")
            continue
        steps[name], best[name] = step, float("inf")
    for _ in range(rounds):
        for name, step in steps.items():
            for _ in range(2):
                began = time.perf_counter()
                step(ids)
                best[name] = min(best[name], time.perf_counter() - began)
    return {name: batch * length / seconds for name, seconds in best.items()}


def peak_resident() -> int:
    """Peak memory of this process in kilobytes (`ru_maxrss` starts with that of the parent process)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def peak(cell: str, units: int, layers: int, batch: int, length: int, contender: str) -> None:
    """Print the megabytes that a few steps add to the peak memory."""
    make, bf16 = CONTENDERS[contender]
    ids = torch.randint(VOCABULARY, (length + 1, batch))
    before = peak_resident()
    step = make(cell, units, layers, batch, bf16)
    for _ in range(5):
        step(ids)
    print(json.dumps((peak_resident() - before) / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", default="128,256,512,1024,2048")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--cells", default="lstm,gru,rnn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak_of:
        peak(given.cells, int(given.units), given.layers, given.batch, given.length, given.peak_of)
        return
    heads = " ".join(f"{name:>11}" for name in CONTENDERS)
    print(f"thousands of tokens a second, {given.layers} layer, batch {given.batch} × {given.length}")
    print(f"{'':22}{heads}   seqgen bf16 / torch fp32, / torch bf16; seqgen fp32 / torch fp32")
    for cell in given.cells.split(","):
        for units in map(int, given.units.split(",")):
            for threads in map(int, given.threads.split(",")):
                torch.set_num_threads(threads)
                got = measure(cell, units, given.layers, given.batch, given.length, given.rounds)
                columns = " ".join(f"{got.get(name, float('nan')) / 1e3:11.1f}" for name in CONTENDERS)
                pairs = (("seqgen bf16", "torch fp32"), ("seqgen bf16", "torch bf16"), ("seqgen fp32", "torch fp32"))
                ratios = "  ".join(f"{got[a] / got[b]:5.2f}" if a in got and b in got else "    –" for a, b in pairs)
                print(f"{cell:5}{units:6}{threads:3} threads{columns}   {ratios}", flush=True)
            if given.memory:
                shape = ["--units", str(units), "--layers", str(given.layers), "--batch", str(given.batch)]
                command = [sys.executable, __file__, "--cells", cell, *shape, "--length", str(given.length)]
                for name in CONTENDERS:
                    done = subprocess.run([*command, "--peak-of", name], stdout=subprocess.PIPE, text=True, check=False)
                    print(f"      {name}: {done.stdout.strip() or 'failed'} MB", flush=True)


if __name__ == "__main__":
    main()
