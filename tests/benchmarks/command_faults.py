"""Fault injection in commands other than `train`: what they write is whole or not there, and the next one goes on.

    python tests/benchmarks/command_faults.py [COMMAND...] [--count 200] [--full] [--seed 0] [--json]

Each command runs in a process of its own (`helpers.fault_injection`). It is hit by a signal at a random moment, or
killed in the middle of a write, around an fsync, at an opened file or inside a packet that it sends. With --full, its
file accesses find the disk full instead, one after another. After each:

- every file that it writes is the old one or the whole new one; a full disk is one line and status 2;
- after any signal but SIGKILL no unfinished file is left, and after SIGKILL none once the command was repeated;
- the command repeated ends as the undisturbed one; no process is left, and no port is taken;
- a model on the hub is whole or not there; a server that is asked to end finishes what has begun.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from safetensors.numpy import load_file

import seqgen
from seqgen.api.train import folder as model_folders
from seqgen.cli.main import main as seqgen_main
from tests.helpers import hub_server, model_zoo
from tests.helpers.fault_injection import (
    STOPS,
    Durations,
    Ended,
    FaultError,
    Moment,
    Phase,
    Points,
    Tally,
    add_arguments,
    contents,
    full,
    kill,
    measure_targets,
    require,
    require_no_scratch,
    run,
    send_at,
    start,
    succeed,
    unfinished,
    workspace_in_memory,
)

MOST_POINTS = 24  # of a type, at which a command finds the disk full: a wave file is written in a thousand pieces
Line = list[str] | Callable[[], int]
PHASES = {
    "run": ("seqgen.api.train.run", "_run"),
    "plan of all": ("seqgen.api.compare", "_common"),
    "push": ("seqgen.interop.hub", "push"),
    "fetch": ("seqgen.interop.hub", "_fetch"),
    "data in memory": ("seqgen.corpus.documents", "Spool.store"),
}
PHASE = Phase(PHASES)
NO_ROOM = os.strerror(errno.ENOSPC)
TALLY = Tally()


@dataclass
class Command:
    """A command to be hit.

    Attributes:
        line: what is run in a scene, a folder with the models and inputs beside it.
        before: makes the files of the scene that are there before.
        again: what is run after it was hit; by default the same.
        result: what it comes to, without times.
        old: of the scene after `before`.
    """

    name: str
    line: Callable[[Path], Line]
    result: Callable[[Path], dict[str, Any]]
    before: Callable[[Path], None] = lambda scene: None
    again: Callable[[Path], Line] | None = None
    old: dict[str, Any] = field(default_factory=dict)
    new: dict[str, Any] = field(default_factory=dict)
    points: Counter[str] = field(default_factory=Counter)
    durations: Durations = field(default_factory=Durations)

    def run(self, scene: Path, prepare: Callable[[], None] = lambda: None) -> Ended:
        return run(self.line(scene), scene, prepare)

    def run_again(self, scene: Path, prepare: Callable[[], None] = lambda: None) -> Ended:
        return run((self.again or self.line)(scene), scene, prepare)


def file_digests(scene: Path) -> dict[str, Any]:
    """Digests of what a command wrote into `out`, except for unfinished files."""
    found = contents(scene / "out")
    return {name: hashlib.sha256(data).hexdigest()[:16] for name, data in found.items() if not name.endswith(".part")}


def weights_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(load_file(folder / "model.safetensors").items()):
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()[:16]


def models_in(scene: Path) -> dict[str, Any]:
    """The weights of the models in `out`, each of which must load, and what a comparison says of itself."""
    found: dict[str, Any] = {}
    for config in sorted((scene / "out").rglob("config.json")):
        if ".part" not in str(config):
            seqgen.load(config.parent)
            found[str(config.parent.relative_to(scene))] = weights_of(config.parent)
    if (scene / "out" / "compare.json").exists():
        found["compare.json"] = json.loads((scene / "out" / "compare.json").read_text())
    if (scene / "out.png").exists():
        found["out.png"] = (scene / "out.png").read_bytes().startswith(b"\x89PNG")
    return found


def make_commands(models: dict[str, Path], inputs: Path) -> dict[str, Command]:
    """The commands, on models that are trained already."""
    (inputs / "long.txt").write_text((model_zoo.CORPORA / "tidewater.txt").read_text()[:6000])
    train = ["--rnn-size", "8", "--embedding-size", "4", "--batch-size", "4", "--seq-length", "16", "--threads", "1",
             "--steps", "6", "--precision", "fp32"]  # fmt: skip
    text, music, series = (str(models[name]) for name in ("text", "music", "forecast"))
    compare = ["compare", str(inputs / "long.txt"), "--cells", "gru,rnn", *train, "-q"]

    def comparison(scene: Path, *more: str) -> list[str]:
        return [*compare, "-o", str(scene / "out"), "--plot", str(scene / "out.png"), *more]

    def other_comparison(scene: Path) -> None:
        succeed([*compare, "-o", str(scene / "out"), "--seed", "5"], scene, "no comparison to begin with")

    def replaced(scene: Path) -> list[str]:
        saved = json.loads((scene / "out" / "compare.json").read_text())
        return comparison(scene, *["--overwrite"] * ("seed" in saved["options"]))

    def old_file(*names: str) -> Callable[[Path], None]:
        def write(scene: Path) -> None:
            for name in names:
                (scene / "out" / name).parent.mkdir(parents=True, exist_ok=True)
                (scene / "out" / name).write_text("old")

        return write

    def in_memory(scene: Path) -> int:
        texts = (inputs / "long.txt").read_text().splitlines(keepends=True)
        model_folders._SAVE_EVERY = -1.0
        try:
            seqgen.train(data=texts, output=scene / "out" / "m", rnn_size=8, steps=6, threads=1, precision="fp32",
                         embedding_size=4, batch_size=4, seq_length=16, overwrite=True)  # fmt: skip
        except seqgen.SeqgenError as error:
            sys.stderr.write(f"seqgen: error: {error}\n")
            return 2
        except KeyboardInterrupt:
            return 130
        return 0

    def fetched(scene: Path) -> dict[str, Any]:
        home = scene / "cache" / "models" / "me--there"
        found = contents(home) if home.exists() else {}
        return {name: hashlib.sha256(data).hexdigest() for name, data in found.items() if not name.startswith(".")}

    tunes = sorted(path for path in (inputs / "tunes").iterdir())
    commands = [
        Command("compare", comparison, models_in),
        Command("compare --overwrite", lambda s: comparison(s, "--overwrite"), models_in, other_comparison, replaced),
        Command(
            "export", lambda s: ["export", text, "-o", str(s / "out" / "m.onnx"), "-q"],
            file_digests, old_file("m.onnx"),
        ),
        Command(
            "export --torch", lambda s: ["export", text, "--torch", "-o", str(s / "out" / "m.safetensors"), "-q"],
            file_digests, old_file("m.safetensors"),
        ),
        Command(
            "render", lambda s: ["render", str(inputs / "tunes"), "-o", f"{s / 'out'}/", "--format", "musicxml", "-q"],
            file_digests, old_file(f"{tunes[0].stem}.musicxml"),
        ),
        Command(
            "render to a wave", lambda s: ["render", str(tunes[0]), "-o", str(s / "out" / "a.wav"), "-q"],
            file_digests, old_file("a.wav"),
        ),
        Command(
            "sample", lambda s: ["sample", text, "-l", "60", "-n", "20", "--seed", "1", "-o", str(s / "out" / "a.txt")],
            file_digests, old_file("a.txt"),
        ),
        Command(
            "sample music",
            lambda s: ["sample", music, "-l", "2", "-n", "3", "--seed", "1", "-o", str(s / "out" / "a.mid"), "-q"],
            file_digests,
        ),
        Command(
            "forecast",
            lambda s: ["forecast", series, str(inputs / "table.csv"), "-o", str(s / "out" / "a.csv"), "--plot",
                       str(s / "out" / "a.png"), "-q"],
            file_digests, old_file("a.csv", "a.png"),
        ),
        Command("train(data=…)", lambda s: functools.partial(in_memory, s), models_in),
        Command("push", lambda s: ["push", text, f"me/{s.name}", "-q"], on_hub),
        Command("hf:", lambda s: ["info", "hf:me/there", "--json"], fetched),
    ]  # fmt: skip
    return {command.name: command for command in commands}


def on_hub(scene: Path) -> dict[str, Any]:
    """The digests of the files that the hub has of a model. What it has must load from there, if it has anything."""
    files = ask_hub(f"/files/me/{scene.name}")
    if files:
        line = ["info", f"hf:me/{scene.name}", "--json"]
        ended = run(line, scene, cache=scene / f"cache-{time.monotonic_ns()}")
        require(ended.status == 0, f"a part of a model is on the hub: {ended.output[-500:]}")
    return {name: name == "README.md" or digest for name, digest in files.items()}  # the card has its name


# ---- A hub in a process of its own ----


class _Hub(hub_server._Handler):
    """Tells what it has, so that it can be asked by another process."""

    def _answer(self, body: bytes) -> None:
        if self.path.startswith("/files/"):
            repository = self.hub.repositories.get(self.path.removeprefix("/files/"))
            files = {} if repository is None else repository.revisions["main"]
            self._json({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
            return
        with contextlib.suppress(ValueError):  # a request that ended in the middle
            super()._answer(body)


@contextlib.contextmanager
def hub(workspace: Path) -> Iterator[None]:
    """Serve a hub until the end of a `with` block."""
    port = free_port()

    def serve() -> int:
        from http.server import ThreadingHTTPServer

        found = hub_server.Hub(address=f"http://127.0.0.1:{port}")
        server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Hub,), {"hub": found}))
        server.daemon_threads = True
        sys.stderr.close()  # tracebacks of connections that broke off
        server.serve_forever()
        return 0

    os.environ |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_TOKEN": "hf_right", "HF_HOME": str(workspace / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    for name in ("HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        os.environ.pop(name, None)
    process = start(serve, workspace)
    wait_for(port)
    try:
        yield
    finally:
        process.signal(signal.SIGKILL)
        process.wait()


def ask_hub(path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(os.environ["HF_ENDPOINT"].removeprefix("http://"), timeout=600)
    connection.request("GET", path)
    found: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def wait_for(port: int, seconds: float = 600) -> None:
    """Wait until something listens on a port."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60):
            return
        time.sleep(0.02)
    raise FaultError(f"nothing listens on port {port}")


# ---- Faults ----


def undisturbed(command: Command, workspace: Path) -> None:
    """Run it without faults, and store what it comes to and what can be hit."""

    def once(prepare: Callable[[], None]) -> None:
        with scene_of(workspace, f"undisturbed-{time.monotonic_ns()}") as scene:
            command.before(scene)
            command.old = command.result(scene)
            ended = command.run(scene, lambda: (split_sends(None), prepare()))
            require(ended.status == 0, f"{command.name} does not run: {ended}")
            found = command.result(scene)
            require(command.new in ({}, found), f"{command.name} has two outcomes: {found}, {command.new}")
            command.new = found

    command.points, command.durations = measure_targets(once, PHASE, workspace, workspace)
    command.points["send"] = 12 if command.name in ("push", "hf:") else 0


@contextlib.contextmanager
def scene_of(workspace: Path, name: str) -> Iterator[Path]:
    """An empty folder with a folder `out`."""
    scene = workspace / name
    (scene / "out").mkdir(parents=True)
    try:
        yield scene
    finally:
        shutil.rmtree(scene)


def split_sends(at: int | None) -> None:
    """Kill this process in the middle of what it sends to a socket for the `at`-th time."""
    count = 0

    def splitting(method: Any) -> Any:
        def send(self: Any, data: Any, *more: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:
                method(self, memoryview(data)[: len(data) // 2], *more)
                kill()
            return method(self, data, *more)

        return send

    for name in ("send", "sendall"):
        setattr(socket.socket, name, splitting(getattr(socket.socket, name)))


def hit_at_random(command: Command, scene: Path, rng: random.Random) -> None:
    """A signal at a random moment, or SIGKILL at a point; again and again with some probability."""
    command.before(scene)
    run_it = command.run
    for _ in range(rng.randint(1, 4)):
        PHASE.clear()
        kinds = [kind for kind, count in command.points.items() if count]
        if kinds and rng.random() < 0.5:
            kind = rng.choice(kinds)
            at, number = (kind, rng.randint(1, command.points[kind])), int(signal.SIGKILL)

            def prepare(at: tuple[str, int] = at) -> None:
                PHASE.watch()
                if at[0] == "send":
                    split_sends(at[1])
                else:
                    Points(at, kill).install(scene)
        else:
            number = int(rng.choice([signal.SIGKILL, *STOPS]))
            moment = command.durations.draw(rng)

            def prepare(moment: Moment = moment, number: int = number) -> None:  # type: ignore[misc]
                send_at(moment, number, PHASE)

        before = set(unfinished(scene / "out"))
        ended = run_it(scene, prepare)
        ended.require_stopped(number)
        if ended.status:
            TALLY.hits[command.name, PHASE.now, signal.Signals(number).name] += 1
        if ended.status not in (0, -number):
            left = set(unfinished(scene / "out")) - before
            require(not left, f"unfinished after {number}: {left}")
        is_sound(command, scene)
        run_it = command.run_again
        if ended.status == 0:
            break
    finishes(command, scene)


def is_sound(command: Command, scene: Path) -> None:
    """Require that every file or model is the old one or the new one, and that no old one is gone.

    A comparison, and a model that is being trained, goes through others.
    """
    found = command.result(scene)  # loads models
    if command.result is models_in:
        return
    for name in found.keys() | command.old.keys():
        allowed = {command.old.get(name), command.new.get(name)}
        if name not in command.old:
            allowed.add(None)
        require(found.get(name) in allowed, f"{name} is neither the old nor the new one")


def finishes(command: Command, scene: Path) -> None:
    """Require that the command repeated ends as the undisturbed one, and leaves nothing behind."""
    ended = command.run_again(scene)
    require(ended.status == 0, f"it does not go on: {ended}")
    found = command.result(scene)
    differing = sorted(name for name in found.keys() | command.new.keys() if found.get(name) != command.new.get(name))
    require(not differing, f"it ended differently: {differing}")
    require(not unfinished(scene), f"left behind: {unfinished(scene)}")
    require_no_scratch(scene)


def full_everywhere(command: Command, workspace: Path, minutes: float) -> None:
    """Let the file accesses find the disk full, one after another."""
    for kind in ("write", "before", "touch"):
        count = command.points[kind]
        for number in range(1, count + 1, -(-count // MOST_POINTS) or 1):
            if TALLY.is_over(minutes):
                return
            where = f"full at {kind} {number}"
            with scene_of(workspace, f"full-{kind}-{number}") as scene, TALLY.attempt(command.name, where):
                command.before(scene)
                PHASE.clear()
                points = Points((kind, number), full)
                if not command.run(scene, functools.partial(points.install, scene)).require_done_or(NO_ROOM):
                    require(not unfinished(scene), f"unfinished: {unfinished(scene)}")
                is_sound(command, scene)
                finishes(command, scene)


# ---- The server ----


def hit_server(model: Path, scene: Path, rng: random.Random) -> None:
    """A signal to a busy server: it ends, and another one serves on the same port at once."""
    port, cut, counted = free_port(), [0], [0]
    line = ["serve", str(model), "--port", str(port)]
    number = int(rng.choice([signal.SIGKILL, *STOPS]))
    server = start(line, scene)
    loads = rng.random() < 0.8
    clients: list[threading.Thread] = []
    if loads:
        wait_for(port)

        def client(seed: int) -> None:
            try:
                while True:
                    began, done = stream(port, seed, 30 + 40 * (seed % 3))
                    counted[0] += 1
                    cut[0] += began and not done
            except OSError:
                return

        clients = [threading.Thread(target=client, args=(seed,)) for seed in range(rng.randint(1, 3))]
        for thread in clients:
            thread.start()
    cpu = time.monotonic() + rng.uniform(0, 1.5)
    while time.monotonic() < cpu:
        time.sleep(0.01)
    server.signal(number)
    ended = server.wait()
    for thread in clients:
        thread.join()
    ended.require_stopped(number)
    require(ended.status, "it ended before the signal")
    TALLY.hits["serve", "under load" if loads else "start", signal.Signals(number).name] += 1
    if number != signal.SIGKILL:
        require(not cut[0], f"{cut[0]} of {counted[0]} texts were cut")
    second = start(line, scene)
    wait_for(port)
    require(stream(port, 1, 20) == (True, True), "the next server on this port does not answer")
    second.signal(signal.SIGTERM)
    require(second.wait().status == 143, "the next server does not end")
    require_no_scratch(scene)


def stream(port: int, seed: int, length: int) -> tuple[bool, bool]:
    """Ask for a streamed text: whether the answer began, and whether it came to its end. Raises `OSError`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    began = False
    try:
        body = json.dumps({"prompt": "The ", "length": length, "seed": seed, "stream": True})
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        began = answer.status == 200
        return began, answer.read().endswith(b"data: [DONE]\n\n")
    except (http.client.HTTPException, OSError):
        if began:
            return True, False
        raise OSError("no server") from None
    finally:
        connection.close()


def main() -> int:
    """Inject faults, and print how many the commands survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", help="words in the names of commands; all by default")
    add_arguments(parser, 200)
    parser.add_argument("--full", action="store_true", help="a full disk at every file access instead")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with workspace_in_memory() as workspace:
        os.environ["SEQGEN_CACHE"] = str(workspace / "cache")
        inputs = workspace / "inputs"
        inputs.mkdir()
        models = model_zoo.train_each(inputs)
        with hub(workspace):
            require(seqgen_main(["push", str(models["text"]), "me/there", "-q"]) == 0, "no model on the hub")
            commands = {
                name: command
                for name, command in make_commands(models, inputs).items()
                if not given.commands or any(word in name for word in given.commands)
            }
            for command in commands.values():
                with scene_of(workspace, "warm") as scene:  # imports, in this process
                    os.environ["SEQGEN_CACHE"] = str(scene / "cache")
                    line = command.line(scene)
                    _quietly(lambda line=line: seqgen_main(line) if isinstance(line, list) else line())  # type: ignore[misc]
                undisturbed(command, workspace)
            names = [*commands, *(["serve"] if not given.full and _asked("serve", given.commands) else [])]
            if "serve" in names:
                __import__("seqgen.server.run")
            TALLY.begin()
            for command in commands.values() if given.full else ():
                full_everywhere(command, workspace, given.minutes)
            for number in range(0 if given.full else given.count):
                if TALLY.is_over(given.minutes):
                    break
                rng = random.Random(f"{given.seed} {number}")
                name = names[number % len(names)]
                if given.verbose:
                    print(number, name, file=sys.stderr, flush=True)
                where = f"--seed {given.seed}, number {number}"
                with scene_of(workspace, f"scene-{number}") as scene, TALLY.attempt(name, where):
                    if name == "serve":
                        hit_server(models["text"], scene, rng)
                    else:
                        hit_at_random(commands[name], scene, rng)
    if given.json:
        print(TALLY.json())
        return 0
    print(f"{'command':24}{'tried':>8}{'killed':>8}")
    for name in names:
        killed = sum(count for where, count in TALLY.hits.items() if where[0] == name)
        print(f"{name:24}{TALLY.tried[name]:>8}{killed:>8}")
    print(TALLY.summary())
    return 1 if TALLY.wrong else 0


def _asked(name: str, words: list[str]) -> bool:
    return not words or any(word in name for word in words)


def _quietly(function: Callable[[], object]) -> None:
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
        function()


if __name__ == "__main__":
    sys.exit(main())
