"""Commands and Python in Markdown pages, run in a folder of their own with tiny networks.

A page's commands run in one shell, in order. `seqgen` in it is a small client: a server that has imported PyTorch once
forks a process for each, with the client's files, folder and environment.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers.waiting import eventually

NOT_RUN = re.compile(r"<!-- not run: (.+?) -->$")
_FENCE = re.compile(r"^(`{3,})(\w*)\s*$")
_HEREDOC = re.compile(r"<<-?\s*'?\"?(\w+)")


@dataclass
class Example:
    """A command of a page, and the lines that the page shows below it; or the Python between commands."""

    line: int
    command: str
    shown: list[str] = field(default_factory=list)
    reason: str | None = None  # why it is not run
    python: str = ""

    @property
    def expects_error(self) -> bool:
        return any(line.startswith("seqgen: error:") for line in self.shown)


@dataclass
class Page:
    examples: list[Example]
    stray: list[int]  # lines that begin with "$ " in other blocks


def read_page(text: str) -> Page:
    """Find the examples of a page: `$` lines of ```console blocks, the lines of ```sh blocks, and Python.

    Blocks of Python with no command between them are one example.
    """
    page = Page([], [])
    fence, language, reason = "", "", None
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        mark = _FENCE.match(line)
        if not fence:
            if mark:
                fence, language = mark[1], mark[2]
            elif line.strip():
                found = NOT_RUN.search(line)
                reason = found[1] if found else None
        elif mark and mark[1] == fence and not mark[2]:
            fence, reason = "", None
        elif language == "python":
            if reason is not None:
                continue
            if not page.examples or not page.examples[-1].python:
                page.examples.append(Example(number, f"seqgen --python example-{number}.py"))
            page.examples[-1].python += line + "\n"
        elif language == "sh" and line.strip() and not line.startswith("#"):
            page.examples.append(Example(number, _whole(line, lines), reason=reason))
        elif line.startswith("$ ") and language == "console":
            page.examples.append(Example(number, _whole(line[2:], lines), reason=reason))
        elif line.startswith("$ "):
            page.stray.append(number)
        elif language == "console" and page.examples:
            page.examples[-1].shown.append(line)
    return page


def _whole(command: str, lines: Iterator[tuple[int, str]]) -> str:
    """A command with the lines that continue it: after a backslash, or until the end of a here-document."""
    end = _HEREDOC.search(command)
    while end or command.endswith("\\"):
        line = next(lines)[1]
        command += "\n" + line
        if end and line == end[1]:
            break
    return command


# ---- The server ----


def tiny(arguments: list[str]) -> list[str]:
    """The arguments of `train` and `compare` for two steps of a tiny network; those of other commands as they are."""
    if arguments[:1] not in (["train"], ["compare"]):
        return arguments
    text = "\0".join(arguments)
    text = re.sub(r"\0--(budget|epochs|steps|rnn-size|hidden-size|threads)[\0=][^\0]*", "", text)
    resumed = "\0--resume" in text
    text += f"\0--threads\0{1}\0--steps\0{4 if resumed else 2}"
    if not resumed and "\0--init-from" not in text:
        text += "\0--rnn-size\x0016"
    return text.split("\0")


def serve(address: str) -> None:
    """Answer clients until the standard input ends."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import torch._dynamo  # noqa: F401 - L-BFGS imports it, in longer than the training takes

    from seqgen.cli.main import main

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(16)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    while True:
        client, _ = listener.accept()
        if os.fork() == 0:
            if os.fork() == 0:  # an orphan, which nobody has to wait for
                _run_forked(client, main)
            os._exit(0)
        client.close()
        os.wait()


def _run_forked(client: socket.socket, main: Any) -> None:
    status = 1
    try:
        data, handles, _, _ = socket.recv_fds(client, 1 << 16, 3)
        while not data.endswith(b"\n"):
            data += client.recv(1 << 16)
        request = json.loads(data)
        for target, handle in enumerate(handles):
            os.dup2(handle, target)
            os.close(handle)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, "w" if n else "r", encoding="utf-8") for n in range(3))
        if request["arguments"][:1] == ["--python"]:
            status = _run_python(request["arguments"][1])
        else:
            status = main(tiny(request["arguments"]))
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        with contextlib.suppress(OSError):
            client.sendall(str(status).encode())
        os._exit(0)


def _run_python(path: str) -> int:
    """Run a file whose trainings are tiny."""
    import seqgen

    trainings = {"train": seqgen.train, "compare": seqgen.compare}

    def tiny(name: str, *sources: Any, **options: Any) -> Any:
        kept = {key: value for key, value in options.items() if key not in ("budget", "epochs")}
        return trainings[name](*sources, **{**kept, "steps": 2, "rnn_size": 16, "threads": 1})

    for name in trainings:
        setattr(seqgen, name, functools.partial(tiny, name))
    exec(compile(Path(path).read_text("utf-8"), path, "exec"), {"__name__": "__main__"})
    return 0


_CLIENT = """\
#!{python} -IS
import json, os, socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect({address!r})
request = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
socket.send_fds(client, [json.dumps(request).encode() + b"\\n"], [0, 1, 2])
status = int(client.recv(16) or b"1")
with open({log!r}, "a") as log:
    log.write(json.dumps([sys.argv[1:], status]) + "\\n")
sys.exit(status)
"""


@dataclass(frozen=True)
class Outcome:
    """What a command wrote, its exit status, and those of the `seqgen` in it that failed."""

    output: str
    status: int
    failed: list[tuple[list[str], int]]
    seconds: float


@contextlib.contextmanager
def command_server(folder: Path) -> Iterator[str]:
    """Start a server, and return its address."""
    address = str(folder / "socket")
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); from tests.helpers.documented import serve; serve({address!r})"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, env=environment) as server:
        assert eventually(lambda: os.path.exists(address) or server.poll() is not None)
        assert server.poll() is None
        yield address
        server.communicate()


def run_page(page: Page, folder: Path, address: str, cache: Path) -> list[tuple[Example, Outcome]]:
    """Run the examples of a page in `folder/work`, by the server at `address`."""
    work, home = folder / "work", folder / "home"
    work.mkdir()
    (home / "bin").mkdir(parents=True)
    examples = [example for example in page.examples if example.reason is None]
    for example in examples:
        if example.python:
            (work / example.command.split()[-1]).write_text(example.python, encoding="utf-8")
    client, log = home / "bin" / "seqgen", home / "log"
    client.write_text(_CLIENT.format(python=sys.executable, address=address, log=str(log)))
    client.chmod(0o755)
    script = "exec < /dev/null\n"
    for index, example in enumerate(examples):
        out = home / str(index)
        script += f": > {log}\n{{\n{example.command}\n}} > {out} 2>&1\n"
        script += f"echo $? $EPOCHREALTIME > {out}.status\nmv {log} {out}.log\n"
    environment = {
        "PATH": os.pathsep.join([str(home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(home), "SEQGEN_CACHE": str(cache), "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC",
    }  # fmt: skip
    began = time.time()
    subprocess.run(["bash", "-c", script], cwd=work, env=environment, check=False, timeout=600)
    outcomes = []
    for index, example in enumerate(examples):
        status, ended = (home / f"{index}.status").read_text().split()
        lines = map(json.loads, (home / f"{index}.log").read_text().splitlines())
        failed = [(arguments, code) for arguments, code in lines if code]
        output = (home / str(index)).read_text("utf-8", "replace")
        outcomes.append((example, Outcome(output, int(status), failed, float(ended) - began)))
        began = float(ended)
    return outcomes


# ---- Shape ----


def shape_difference(shown: list[str], output: str) -> str | None:
    """How output differs from the lines that a page shows, in shape; None if it doesn't.

    Each shown line that has a shape (a message, JSON, a table, `name  value`) must have one like it in the output,
    and an error must be there word by word. Other lines are free: text by a model of two steps is not that of the page.
    """
    wanted = [line for line in shown if line.strip() and line.strip() != "…"]
    if wanted and not output.strip():
        return "there is no output"
    shapes = {_shape(line) for line in output.splitlines()}
    missing = [line for line in wanted if _shape(line) is not None and _shape(line) not in shapes]
    return f"no line like {missing[0]!r}" if missing else None


def _shape(line: str) -> tuple[Any, ...] | None:
    if line.startswith("seqgen: error:"):
        return ("error", line)
    if message := re.match(r"seqgen: (?:[\w./-]+(?=:)|\S+ \S+)", line):
        return ("message", re.sub(r"[\d.,]+", "0", message[0]))
    if key := re.match(r'\{"(\w+)"', line):
        return ("object", key[1])
    if "\t" in line:
        return ("columns", line.count("\t"))
    if re.fullmatch(r"[^\s,]+(?: [\d:]+)?(?:,[^\s,]*)+", line):
        return ("cells", line.count(","))
    if name := re.match(r"([^\s\d]\S*(?: \S+)*)  +\S", line):
        return ("name", re.sub(r"\d+", "0", name[1]))
    return None


def explain(example: Example, outcome: Outcome) -> str:
    """A failed example for people."""
    return textwrap.indent(f"line {example.line}: $ {example.command}\n{outcome.output[-1500:]}", "  ")
