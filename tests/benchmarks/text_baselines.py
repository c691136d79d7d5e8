"""Test loss after equal training time: seqgen, plain `nn.LSTM`, a transformer and nanoGPT's recipe for a CPU.

    python tests/benchmarks/text_baselines.py DATA [--seconds 60,180] [--only ours,lstm_bf16,…] [--plot FILE.png]

DATA contains tinyshakespeare/input.txt. Each model trains on the first nine tenths for the given seconds. Reading and
evaluation count for seqgen, but not for the baselines. The test set is the last tenth; the loss is in nats per
character, with the state carried through it ("carried") and in independent windows of 256 characters ("windows"), as
nanoGPT does it. No checkpoint is chosen by the test set: the last step counts. The curves are test losses during
training. The baselines are plain PyTorch after their authors' recipes; those that can't run here are named.

    lstm_fp32, lstm_bf16   one `nn.LSTM` of 512 units, Adam, 0.005, cosine to zero, 32 × 64, state carried
    transformer            four layers of width 160, about as many weights, bf16, AdamW 1e-3, cosine, 32 × 128
    nanogpt                its README's recipe for a CPU: 4 layers, 4 heads, width 128, 12 × 64, 2,000 steps, dropout 0
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.processors import process_core_count

WINDOW = 256


class PlainLSTM(nn.Module):
    """The usual first LSTM: embedding, `nn.LSTM`, linear layer."""

    def __init__(self, vocabulary: int, units: int = 512) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 128)
        self.layers = nn.LSTM(128, units)
        self.output = nn.Linear(units, vocabulary)

    def forward(self, ids: Tensor, state: tuple[Tensor, Tensor] | None = None):
        hidden, state = self.layers(self.embedding(ids), state)
        return self.output(hidden), state


class Block(nn.Module):
    """Causal self-attention and an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(self.before_attention(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.before_mlp(x))


class Transformer(nn.Module):
    """GPT-2: learnt positions, pre-layer normalisation, output weights tied to the embedding."""

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.embedding, self.position = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                nn.init.normal_(
                    weight, std=0.02 / (math.sqrt(2 * layers) if name.endswith(("out.weight", "2.weight")) else 1)
                )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) + self.position(torch.arange(ids.shape[1]))
        return self.norm(self.blocks(x)) @ self.embedding.weight.T


@dataclass
class Result:
    """Losses in nats per character, and sizes, of one model."""

    name: str
    curve: list[tuple[float, float]] = field(default_factory=list)  # seconds, loss
    carried: float = math.nan
    windows: float = math.nan
    weights: int = 0
    tokens: int = 0
    seconds: float = 0.0
    note: str = ""


def windows_of(text: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, shape (windows, length)."""
    count = (len(text) - 1) // length
    return text[: count * length].view(count, length), text[1 : count * length + 1].view(count, length)


def measure_windows(logits: Callable[[Tensor], Tensor], text: Tensor, length: int) -> float:
    inputs, targets = windows_of(text, length)
    total = 0.0
    with torch.inference_mode():
        for x, y in zip(inputs.split(64), targets.split(64), strict=True):
            total += float(F.cross_entropy(logits(x).float().flatten(0, 1), y.flatten(), reduction="sum"))
    return total / targets.numel()


def measure_carried(model: PlainLSTM, text: Tensor) -> float:
    total, state = 0.0, None
    with torch.inference_mode():
        for start in range(0, len(text) - 1, 4096):
            piece = text[start : start + 4097]
            logits, state = model(piece[:-1, None], state)
            total += float(F.cross_entropy(logits[:, 0], piece[1:], reduction="sum"))
    return total / (len(text) - 1)


def train(
    result: Result,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: Callable[[int], Tensor],
    rate: Callable[[float, int], float],
    seconds: float,
    evaluate: Callable[[], float],
    max_steps: int = 1 << 60,
    clip: float = 1.0,
) -> None:
    """Train for so many seconds; the twelve calls of `evaluate` during training don't count."""
    spent, number, next_evaluation = 0.0, 0, seconds / 12
    while spent < seconds and number < max_steps:
        began = time.monotonic()
        for group in optimiser.param_groups:
            group["lr"] = rate(spent / seconds, number)
        loss = step(number)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        spent += time.monotonic() - began
        number += 1
        if spent >= next_evaluation:
            model.eval()
            result.curve.append((spent, evaluate()))
            model.train()
            next_evaluation += seconds / 12
    model.eval()
    result.seconds = spent
    result.weights = sum(weight.numel() for weight in model.parameters())


def plain_lstm(result: Result, train_ids: Tensor, test: Tensor, vocabulary: int, seconds: float, bf16: bool) -> None:
    torch.manual_seed(0)
    model = PlainLSTM(vocabulary)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    lanes, length, state = 32, 64, None
    stream = train_ids[: len(train_ids) // lanes * lanes].view(lanes, -1).T

    def step(number: int) -> Tensor:
        nonlocal state
        start = number * length % (len(stream) - length - 1)
        state = None if start < length else state
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits, state = model(stream[start : start + length], state)
        state = (state[0].detach(), state[1].detach())
        result.tokens += lanes * length
        return F.cross_entropy(logits.float().flatten(0, 1), stream[start + 1 : start + length + 1].flatten())

    def logits(x: Tensor) -> Tensor:
        return model(x.T)[0].transpose(0, 1)

    cosine = lambda fraction, _: 5e-3 * 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))  # noqa: E731
    train(result, model, optimiser, step, cosine, seconds, lambda: measure_windows(logits, test, WINDOW), clip=0.5)
    result.windows, result.carried = measure_windows(logits, test, WINDOW), measure_carried(model, test)


def transformer(
    result: Result, train_ids: Tensor, test: Tensor, vocabulary: int, seconds: float, nanogpt: bool
) -> None:
    torch.manual_seed(0)
    if nanogpt:
        width, layers, heads, context, batch, max_steps, decay = 128, 4, 4, 64, 12, 2000, 0.1
    else:
        width, layers, heads, context, batch, max_steps, decay = 160, 4, 4, 128, 32, 1 << 60, 0.1
    model = Transformer(vocabulary, width, layers, heads, context)
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    others = [weight for weight in model.parameters() if weight.dim() < 2]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
    rng = np.random.default_rng(0)

    def step(number: int) -> Tensor:
        starts = rng.integers(len(train_ids) - context - 1, size=batch)
        ids = torch.stack([train_ids[start : start + context + 1] for start in starts])
        with torch.autocast("cpu", torch.bfloat16, enabled=not nanogpt):
            logits = model(ids[:, :-1])
        result.tokens += batch * context
        return F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())

    def rate(fraction: float, number: int) -> float:
        fraction = number / max_steps if nanogpt else fraction
        return min(1.0, (number + 1) / 100) * (1e-4 + 9e-4 * 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0))))

    evaluate = lambda: measure_windows(model, test, context)  # noqa: E731 - no longer than in training
    train(result, model, optimiser, step, rate, 1e9 if nanogpt else seconds, evaluate, max_steps)
    result.windows = evaluate()
    result.note = f"windows of {context}" + (", 2,000 steps whatever the time" if nanogpt else "")
    if nanogpt:
        result.curve = [(result.seconds, result.windows)]


def ours(
    result: Result, train_file: Path, test: Path, ids: Callable[[object], Tensor], seconds: float, work: Path
) -> None:
    """Run the command without a validation set and evaluate the last step once."""
    model = work / f"ours-{seconds:g}"
    began = time.monotonic()
    run = [sys.executable, "-m", "seqgen"]
    options = ["--val-fraction", "0", "--budget", f"{seconds:g}s", "--quiet"]
    subprocess.run([*run, "train", str(train_file), "-o", str(model), *options], check=True)
    result.seconds = time.monotonic() - began
    done = subprocess.run(
        [*run, "evaluate", str(model), str(test), "--adaptive", "--json", "--no-baselines"], stdout=subprocess.PIPE
    )
    found = json.loads(done.stdout)
    result.carried = found["metrics"]["nats_per_character"]
    from seqgen.api.model import load

    loaded = load(model)
    text = ids(loaded)

    def logits(x: Tensor) -> Tensor:
        hidden, _ = loaded.network(x.T, loaded.network.initial(len(x)))
        return loaded.network.logits(hidden).transpose(0, 1)

    result.windows = measure_windows(logits, text, WINDOW)
    result.curve = [(result.seconds, result.windows)]
    config = loaded.checkpoint.config
    shape = config["network"]
    result.weights = loaded.info()["parameters"]
    result.tokens = config["training"]["step"] * config["training"]["batch_size"] * config["training"]["seq_length"]
    result.note = (
        f"{shape['num_layers']} × {shape['cell'].upper()} {shape['rnn_size']}, "
        f"dynamic evaluation: {found['adaptive']['nats_per_character']:.4f}"
    )


def draw(results: dict[float, list[Result]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # seqgen is evaluated at the end only, since its schedule ends with the budget: its line joins several runs.
    ends = [point for group in results.values() for result in group if result.name == "ours" for point in result.curve]
    figure, axes = pyplot.subplots(1, len(results), figsize=(7 * len(results), 5), squeeze=False)
    for axis, (seconds, group) in zip(axes[0], results.items(), strict=True):
        for result in group:
            if result.curve:
                curve = [end for end in ends if end[0] <= 1.1 * seconds] if result.name == "ours" else result.curve
                axis.plot(*zip(*curve, strict=True), marker="o", label=f"{result.name} {result.windows:.3f}")
        axis.set(title=f"{seconds:g} seconds", xlabel="seconds", ylabel="nats per character, windows", ylim=(1.4, 2.2))
        axis.legend()
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seconds", default="60,180")
    parser.add_argument("--only", default="ours,lstm_bf16,lstm_fp32,transformer,nanogpt")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    text = (options.data / "tinyshakespeare" / "input.txt").read_bytes()
    characters = sorted(set(text))
    ids = torch.from_numpy(np.searchsorted(characters, np.frombuffer(text, dtype=np.uint8)).astype(np.int64))
    split = len(ids) - int(0.1 * len(ids))
    train_ids, test = ids[:split], ids[split:]
    results: dict[float, list[Result]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        train_file, test_file = work / "learn.txt", work / "test.txt"
        train_file.write_bytes(text[:split])
        test_file.write_bytes(text[split:])

        def encode_test_set(model: object) -> Tensor:
            codec = model.codec  # type: ignore[attr-defined]
            return torch.from_numpy(codec.encode(text[split:]).astype(np.int64))

        print(f"{'':14}{'seconds':>9}{'weights':>11}{'tokens':>12}{'carried':>10}{'windows':>10}")
        for seconds in map(float, options.seconds.split(",")):
            group = results[seconds] = []
            for name in options.only.split(","):
                result = Result(name)
                torch.set_num_threads(process_core_count())
                try:
                    if name == "ours":
                        ours(result, train_file, test_file, encode_test_set, seconds, work)
                    elif name.startswith("lstm"):
                        plain_lstm(result, train_ids, test, len(characters), seconds, name.endswith("bf16"))
                    else:
                        transformer(result, train_ids, test, len(characters), seconds, name == "nanogpt")
                except RuntimeError as error:
                    print(f"{name:14}cannot run here: {str(error).splitlines()[0]}", flush=True)
                    continue
                group.append(result)
                print(
                    f"{name:14}{result.seconds:9.0f}{result.weights:11,}{result.tokens:12,}{result.carried:10.4f}"
                    f"{result.windows:10.4f}   {result.note}",
                    flush=True,
                )
    if options.plot:
        draw(results, options.plot)


if __name__ == "__main__":
    main()
