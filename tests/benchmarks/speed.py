"""How fast a training step is, beside PyTorch's own recurrent layers: tokens a second and their ratio, in one go.

    python tests/benchmarks/speed.py [--units 128,512,2048] [--batch 64] [--length 64] [--threads 1,2]
                                     [--cells lstm,gru,rnn] [--memory]

A step is: look up, the recurrent layers, the loss over 65 characters, back, clip, AdamW. The peers are `nn.LSTM`,
`nn.GRU` and `nn.RNN` in float32 and under bfloat16 autocast, in the same loop, by turns; each figure is the best of
several rounds, since something else may run for a moment. --memory tells the peak of a process that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.config import NetworkConfig
from seqgen.model.language import LanguageModel, detach
from seqgen.training.cross_entropy import language_loss

VOCABULARY = 65
PEERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Peer(nn.Module):
    """What one writes without us."""

    def __init__(self, cell: str, units: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 128)
        self.layers = PEERS[cell](128, units, layers)
        self.output = nn.Linear(units, VOCABULARY)


def peer_step(cell: str, units: int, layers: int, batch: int, low: bool) -> Callable[[Tensor], None]:
    model = Peer(cell, units, layers)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    state = None

    def step(ids: Tensor) -> None:
        nonlocal state
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            hidden, state = model.layers(model.embedding(ids[:-1]), state)
            logits = model.output(hidden)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        loss = F.cross_entropy(logits.float().flatten(0, 1), ids[1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimiser.step()

    return step


def our_step(cell: str, units: int, layers: int, batch: int, low: bool) -> Callable[[Tensor], None]:
    config = NetworkConfig(vocab_size=VOCABULARY, cell=cell, rnn_size=units, num_layers=layers, embedding_size=128)
    network = LanguageModel(config, torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    states = network.initial(batch)
    dtype = torch.bfloat16 if low else torch.float32

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


WHO: dict[str, tuple[Callable[..., Callable[[Tensor], None]], bool]] = {
    "ours fp32": (our_step, False),
    "ours bf16": (our_step, True),
    "torch fp32": (peer_step, False),
    "torch bf16": (peer_step, True),
}


def measure(cell: str, units: int, layers: int, batch: int, length: int, rounds: int) -> dict[str, float]:
    """Tokens a second of each, by turns."""
    ids = torch.randint(VOCABULARY, (length + 1, batch), generator=torch.Generator().manual_seed(1))
    steps, best = {}, {}
    for name, (make, low) in WHO.items():
        torch.manual_seed(0)
        try:
            step = make(cell, units, layers, batch, low)
            step(ids)  # on some processors the peers have no bfloat16
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


def most_resident() -> int:
    """Kilobytes; of this program alone (`ru_maxrss` begins with what the process had that started it)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def peak(cell: str, units: int, layers: int, batch: int, length: int, who: str) -> None:
    """Prints the megabytes that a few steps take, above those of the program before."""
    make, low = WHO[who]
    ids = torch.randint(VOCABULARY, (length + 1, batch))
    before = most_resident()
    step = make(cell, units, layers, batch, low)
    for _ in range(5):
        step(ids)
    print(json.dumps((most_resident() - before) / 1024))


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
    heads = " ".join(f"{name:>11}" for name in WHO)
    print(f"thousands of tokens a second, {given.layers} layer, batch {given.batch} × {given.length}")
    print(f"{'':22}{heads}   ours bf16 / torch fp32, / torch bf16; ours fp32 / torch fp32")
    for cell in given.cells.split(","):
        for units in map(int, given.units.split(",")):
            for threads in map(int, given.threads.split(",")):
                torch.set_num_threads(threads)
                got = measure(cell, units, given.layers, given.batch, given.length, given.rounds)
                columns = " ".join(f"{got.get(name, float('nan')) / 1e3:11.1f}" for name in WHO)
                pairs = (("ours bf16", "torch fp32"), ("ours bf16", "torch bf16"), ("ours fp32", "torch fp32"))
                ratios = "  ".join(f"{got[a] / got[b]:5.2f}" if a in got and b in got else "    –" for a, b in pairs)
                print(f"{cell:5}{units:6}{threads:3} threads{columns}   {ratios}", flush=True)
            if given.memory:
                shape = ["--units", str(units), "--layers", str(given.layers), "--batch", str(given.batch)]
                command = [sys.executable, __file__, "--cells", cell, *shape, "--length", str(given.length)]
                for name in WHO:
                    done = subprocess.run([*command, "--peak-of", name], stdout=subprocess.PIPE, text=True, check=False)
                    print(f"      {name}: {done.stdout.strip() or 'failed'} MB", flush=True)


if __name__ == "__main__":
    main()
