"""`seqgen score`: one record a document or a line, and tokens that sum to it."""

from __future__ import annotations

import json
import math
import os
import selectors
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.running import MIXED_BYTES, Command, Result, Run, is_close

# ---- score ----


def test_score_one_line_per_document(run: Run, model_folder: Path, two_files: Path) -> None:
    result = run("score", model_folder, two_files)
    assert [record["name"] for record in result.records] == [
        str(two_files / "a.txt"), str(two_files / "more" / "b.txt"),
    ]  # fmt: skip
    for record in result.records:
        size = Path(record["name"]).stat().st_size
        assert list(record) == ["name", "tokens", "nats", "bits_per_byte"]
        assert record["tokens"] == size
        assert is_close(record["bits_per_byte"], record["nats"] / math.log(2) / size)


def test_score_pipe_equals_file(run: Run, seqgen_command: Command, model_folder: Path, two_files: Path) -> None:
    text = (two_files / "a.txt").read_bytes()
    (filed,) = run("score", model_folder, two_files / "a.txt").records
    for arguments in ([], ["-"]):
        (piped,) = run("score", model_folder, *arguments, stdin=text).records
        assert piped == {**filed, "name": "-"}
    done = seqgen_command("score", model_folder, stdin=text)  # and by a real one
    assert (done.returncode, done.stderr) == (0, b"")
    assert is_close(json.loads(done.stdout)["nats"], filed["nats"])


@pytest.mark.parametrize(
    "text", [b"one line", b"one\ntwo\n", b"\n\n", b"a\n\nb", b"cr\r\nlf\r\n", MIXED_BYTES + b"\n!"]
)
def test_score_lines_one_line_per_line(run: Run, model_folder: Path, text: bytes) -> None:
    """As many lines out as in, the empty ones too; together they are the document."""
    lines = text.splitlines(keepends=True)
    result = run("score", model_folder, "--lines", stdin=text)
    assert [record["name"] for record in result.records] == [f"-:{number}" for number in range(1, len(lines) + 1)]
    for line, record in zip(lines, result.records, strict=True):
        assert is_close(record["bits_per_byte"], record["nats"] / math.log(2) / len(line))
    (whole,) = run("score", model_folder, stdin=text).records
    assert sum(record["tokens"] for record in result.records) == whole["tokens"]
    assert math.isclose(sum(record["nats"] for record in result.records), whole["nats"], rel_tol=1e-4)


def test_score_lines_empty_input_gives_no_output(run: Run, model_folder: Path) -> None:
    assert run("score", model_folder, "--lines", stdin=b"") == Result(0, b"", "")


@pytest.mark.parametrize("flags", [[], ["--lines"]], ids=["document", "lines"])
def test_score_per_token_sums_to_the_record(run: Run, model_folder: Path, flags: list[str]) -> None:
    text = b"the old lamp\nthe \xe7\x81\xaf boat\n"
    for record in run("score", model_folder, "--per-token", *flags, stdin=text).records:
        assert set(record) == {"name", "tokens", "nats", "bits_per_byte", "per_token"}
        assert len(record["per_token"]) == record["tokens"]
        assert is_close(sum(nats for _, nats in record["per_token"]), record["nats"])
    pieces = [piece for r in run("score", model_folder, "--per-token", stdin=b"the boy").records
              for piece, _ in r["per_token"]]  # fmt: skip
    assert "".join(pieces) == "the boy"


def test_score_unlikely_line_costs_more(run: Run, model_folder: Path) -> None:
    usual, strange = run("score", model_folder, "--lines", stdin=b"the boat came home\nzqxj vwkq pfgz xx\n").records
    assert strange["bits_per_byte"] > usual["bits_per_byte"]


def test_score_lines_streams(model_folder: Path) -> None:
    """Someone who follows a log reads along: `tail -f app.log | seqgen score logs --lines`."""
    with subprocess.Popen(
        [sys.executable, "-m", "seqgen", "score", str(model_folder), "--lines"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"the old lamp\n")
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            came = bool(waiting.select(timeout=20))
        process.stdin.write(b"was lit\n")
        process.stdin.close()
        assert process.stdout.read().count(b"\n") == 2
        assert process.wait(60) == 0
    assert came, "no score for a line that was there for 20 seconds"
