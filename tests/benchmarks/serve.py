"""Load on `seqgen serve`, compared with the model's own batch figure in the same run.

    python tests/benchmarks/serve.py MODEL [--clients 64] [--seconds 120] [--length 500] [--requests N]

The server is the command in a process of its own, and the clients are one other process. Each client asks for a
streamed text, reads it to its end, and asks for the next, with seeds of its own. The comparison is `Model.sample` of as
many texts in one batch, without a server. Every 50th text is compared with what the model writes for its seed alone.
--requests stops after so many, for the memory of the server over many requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import seqgen

_EVERY = 50  # texts of which one is compared


@dataclass
class Tally:
    """What the clients saw."""

    characters: int = 0
    texts: int = 0
    lost: int = 0
    first: list[float] = field(default_factory=list)  # seconds to the first character
    kept: dict[int, str] = field(default_factory=dict)  # texts by seed
    seed: int = 0
    memory: list[int] = field(default_factory=list)  # kilobytes of the server


async def ask(port: int, seed: int, length: int, tally: Tally) -> None:
    """One streamed text over one connection."""
    body = json.dumps({"prompt": "The ", "length": length, "seed": seed, "stream": True}).encode()
    began, text, first, done = time.monotonic(), "", None, False
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    )  # fmt: skip
    while line := await reader.readline():
        if line.startswith(b"data: {"):
            text += json.loads(line[6:])["choices"][0]["text"]
            first = first or (time.monotonic() - began if text else None)
        done = done or line.startswith(b"data: [DONE]")
    writer.close()
    tally.texts += 1
    tally.characters += len(text)
    tally.lost += not done or len(text) != length
    tally.first.append(first or float("inf"))
    if seed % _EVERY == 0:
        tally.kept[seed] = text


async def load(port: int, clients: int, seconds: float, length: int, requests: int, pid: int) -> Tally:
    """Keep `clients` texts going for so long."""
    tally, end = Tally(), time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < end and tally.seed < requests:
            tally.seed += 1
            if tally.seed % 500 == 0:
                tally.memory.append(resident(pid))
            await ask(port, tally.seed, length, tally)

    await asyncio.gather(*(client() for _ in range(clients)))
    return tally


def resident(pid: int) -> int:
    """Kilobytes of memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("--requests", type=int, default=1 << 60)
    given = parser.parse_args()
    model = seqgen.load(given.model)
    model.sample("The ", given.clients, length=20)
    began = time.monotonic()
    alone = sum(len(sample.text) for sample in model.sample("The ", given.clients, length=4 * given.length))
    alone_speed = alone / (time.monotonic() - began)
    line = [sys.executable, "-m", "seqgen", "serve", given.model, "--port", "0"]
    server = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    port = int(server.stderr.readline().rpartition(":")[2])
    drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
    try:
        asyncio.run(load(port, 4, 2, 50, 1 << 60, server.pid))  # loads the model
        began = time.monotonic()
        tally = asyncio.run(load(port, given.clients, given.seconds, given.length, given.requests, server.pid))
        speed = tally.characters / (time.monotonic() - began)
    finally:
        server.terminate()
        server.wait()
        drain.wait()
    wrong = [
        seed
        for seed, text in tally.kept.items()
        if model.sample("The ", length=given.length, seed=seed)[0].text != text
    ]
    first = sorted(tally.first)
    print(f"{given.clients} clients: {speed:,.0f} characters a second; one batch without a server {alone_speed:,.0f}; "
          f"ratio {speed / alone_speed:.2f}")  # fmt: skip
    print(f"to the first character: p50 {1000 * first[len(first) // 2]:.0f} ms, "
          f"p99 {1000 * first[int(0.99 * (len(first) - 1))]:.0f} ms")  # fmt: skip
    print(f"{tally.texts:,} texts, {tally.lost} lost, {len(tally.kept)} compared, {len(wrong)} differ")
    if tally.memory:
        print("memory of the server, MB:", *(f"{kilobytes / 1024:.0f}" for kilobytes in tally.memory))
    return 1 if tally.lost or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
