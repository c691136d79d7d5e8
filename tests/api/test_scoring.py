"""Scores without PyTorch: they agree with PyTorch's, stream in flat memory, go on from states, and can be seen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgen.api.scoring import RecordScorer
from seqgen.evaluation.text import TorchScorer, token_nats
from seqgen.generation.scoring import EngineScorer
from tests.helpers.random_models import CODECS, ENGINES, Models, load_model
from tests.helpers.running import Run, imported_packages
from tests.helpers.terminal import TerminalRun
from tests.helpers.untrained import TEXT

STRANGE = "灯塔 🏮 café\t".encode() + b"\xff\xfe\x80 \xe4\xb8"


def nats(scored: Iterator[Any]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(piece.nats for piece in scored)])


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("engine", ENGINES)
def test_scores_are_those_of_the_network(models: Models, cell: str, engine: str) -> None:
    model = load_model(models("char", cell=cell, num_layers=2), engine)
    ids = model.codec.encode(TEXT[:2000] + STRANGE)
    ours = nats(EngineScorer(model.exact_engine, model.codec).read(ids))
    theirs = nats(TorchScorer(model.network, model.codec).read(ids))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", CODECS)
def test_a_record_is_one_however_it_comes(models: Models, kind: str) -> None:
    model = load_model(models(kind))
    whole = model.score(TEXT + STRANGE)
    chunks = [(TEXT + STRANGE)[start : start + 97] for start in range(0, len(TEXT + STRANGE), 97)]
    parts = model.score(chunks)
    assert parts.tokens == whole.tokens
    assert parts.nats == pytest.approx(whole.nats, rel=1e-6)
    theirs = nats(token_nats(model.network, model.codec, [TEXT + STRANGE]))
    assert whole.nats == pytest.approx(theirs.sum(), rel=1e-5)


def test_music_is_scored_under_its_grammar_without_torch(models: Models, run: Run, tmp_path: Path) -> None:
    model, piece = models("midi", "music"), tmp_path / "a.mid"
    run("sample", model, "-l", 4, "-o", piece)
    (record,) = run("score", model, piece, "--per-token").records
    assert record["per_token"][0][0] == "bar"
    from seqgen.evaluation.music_events import GrammarMasks

    some = load_model(model)
    ids = some.codec.encode(piece.read_bytes())
    masks = GrammarMasks(some.codec.vocabulary)  # type: ignore[attr-defined]
    theirs = nats(TorchScorer(some.network, some.codec, masks).read(ids))
    assert record["nats"] == pytest.approx(theirs.sum(), rel=1e-4)


@pytest.mark.parametrize("kind", CODECS)
def test_a_book_is_scored_in_parts(models: Models, run: Run, tmp_path: Path, kind: str) -> None:
    """Cut between lines, where any codec can be cut."""
    model, state = models(kind), tmp_path / "s"
    lines = TEXT.splitlines(keepends=True)
    first, second = b"".join(lines[:13]), b"".join(lines[13:20])
    (whole,) = run("score", model, stdin=first + second).records
    (one,) = run("score", model, "--state-out", state, stdin=first).records
    (two,) = run("score", model, "--state-in", state, stdin=second).records
    assert one["tokens"] + two["tokens"] == whole["tokens"]
    assert one["nats"] + two["nats"] == pytest.approx(whole["nats"], rel=1e-6)
    by_line = run("score", model, "--lines", "--state-in", state, "--state-out", state, stdin=second).records
    assert sum(record["nats"] for record in by_line) == pytest.approx(two["nats"], rel=1e-6)
    # What was read by the one command is known to the other.
    prompt = tmp_path / "p"
    prompt.write_bytes(first + second)
    read = run("sample", model, "--state-in", state, "-l", 30, "-t", 0).out
    assert run("sample", model, "--prompt-file", prompt, "--no-show-prompt", "-l", 30, "-t", 0).out == read


def test_every_record_goes_on_from_one_state(models: Models, run: Run, tmp_path: Path) -> None:
    """Which of several ways to go on is the likeliest."""
    model, state = models("char"), tmp_path / "s"
    run("score", model, "--state-out", state, stdin=TEXT[:500])
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(TEXT[500:560] if name == "a" else b"xyz")
    both = run("score", model, tmp_path / "a", tmp_path / "b", "--state-in", state).records
    alone = [run("score", model, tmp_path / name, "--state-in", state).records[0] for name in ("a", "b")]
    assert both == alone
    assert load_model(model).score(b"xyz", state=load_model(model).load_state(state)).nats == alone[1]["nats"]
    said = run("score", model, tmp_path / "a", tmp_path / "b", "--state-out", state, status=2)
    assert "there are more" in said.err and not said.out
    assert "is for text" in run("score", models("midi", "music"), "x", "--state-in", state, status=2).err
    assert "given twice" in run("score", model, "-", "--state-in", "-", status=2).err


# ---- streams ----


def test_the_tokens_of_a_record_come_as_it_is_read(models: Models) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "seqgen", "score", str(models("byte")), "--per-token"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    with process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"the old lamp")
        begun = b""
        while b'["p", ' not in begun:
            begun += process.stdout.read(1 << 16)
        process.stdin.write(b" was lit")
        process.stdin.close()
        record = json.loads(begun + process.stdout.read())
    assert "".join(piece for piece, _ in record["per_token"]) == "the old lamp was lit"
    assert sum(cost for _, cost in record["per_token"]) == pytest.approx(record["nats"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bounds memory as Linux can")
def test_memory_does_not_grow_with_the_record(models: Models) -> None:
    """The tokens of 200 kB more, told one by one, are 30 MB; and what is told is forgotten."""

    def most(size: int, *flags: str) -> int:
        program = (
            "import resource, sys\nfrom seqgen.cli.main import main\nassert main(sys.argv[1:]) == 0\n"
            "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, "score", str(models("byte", rnn_size=2, embedding_size=2)), *flags],
            input=TEXT * (size // len(TEXT)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        return int(done.stderr)

    little = most(10_000, "--per-token")
    for flags in (["--per-token"], ["--colour", "always"]):
        assert most(210_000, *flags) - little < 8_000  # kilobytes


def test_nothing_of_torch_is_needed(models: Models, run: Run, tmp_path: Path) -> None:
    text = tmp_path / "t"
    text.write_bytes(TEXT)
    tune = tmp_path / "t.mid"
    run("sample", models("midi", "music"), "-l", 3, "--seed", 1, "-o", tune)
    talks = tmp_path / "c.jsonl"
    talks.write_text('["Hello there", "Good morning"]\n')
    commands = [
        ["score", models("char"), text, "--per-token", "--state-out", tmp_path / "s"],
        ["score", models("subword"), text, "--lines"],
        ["score", models("midi", "music"), tune],
        ["score", models("dialogue", "dialogue"), talks],
        ["sample", models("char"), "--state-in", tmp_path / "s", "-l", 9, "--json", "--best-of", 2],
        ["sample", models("char"), "-l", 9, "--beam", 2],
    ]
    program = (
        "import json, sys\nfrom seqgen.cli.main import main\n"
        "for words in json.loads(sys.argv[1]):\n    assert main(words) == 0\n    assert 'torch' not in sys.modules"
    )
    assert not imported_packages(program, json.dumps([[str(word) for word in words] for words in commands])) & {
        "datasets"
    }


# ---- seen ----


def test_surprise_is_seen(models: Models, run: Run) -> None:
    text = "the lamp 灯\x1b[31m\n".encode() + b"\xff end"
    shown = run("score", models("byte"), "--colour", "always", stdin=text).text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown).replace("↵", "")
    assert plain == "the lamp 灯␛[31m\n\ufffd end\n"
    assert "\x1b[" in shown
    assert shown.rstrip("\n").endswith("\x1b[0m") or "\x1b[" not in shown.rsplit("\x1b[0m", 1)[-1]
    assert run("score", models("byte"), "--color", "auto", stdin=text).records, "no terminal: data"
    assert "--colour must be one of" in run("score", models("byte"), "--colour", "mauve", status=2).err


def test_the_less_likely_the_darker(models: Models) -> None:
    from seqgen.cli.highlight import SurprisalHighlighter
    from seqgen.generation.scoring import TokenScores

    codec = load_model(models("char")).codec
    ids = codec.encode(b"abcde")
    painted = SurprisalHighlighter(codec).highlight(TokenScores(ids, np.log(2) * np.array([0.5, 3.5, 6.0, 9.0, 20.0])))
    codes = re.findall(r"\x1b\[([0-9;]+)m", painted)
    assert painted.startswith("a\x1b[") and len({code for code in codes if code != "0"}) == 4
    spelt = CODECS["byte"]
    painter = SurprisalHighlighter(spelt)
    first = painter.highlight(TokenScores(spelt.encode("灯".encode())[:2], np.array([1.0, 2.0])))
    assert first == ""
    assert "灯" in painter.highlight(TokenScores(spelt.encode("灯".encode())[2:], np.array([20.0])))
    assert painter.finish() == "\x1b[0m\n"


def test_on_a_terminal_it_is_coloured_if_asked(models: Models, tmp_path: Path, inside: TerminalRun) -> None:
    text = tmp_path / "t"
    text.write_text("zzz the lamp\x1b[31m\n")
    said = inside("score", models("char"), text, "--colour", "auto")
    assert b"\x1b[0m" in said and b"\x1b[31m" not in said and b"bits_per_byte" not in said


def test_on_a_terminal_it_is_data_unless_asked(models: Models, tmp_path: Path, inside: TerminalRun) -> None:
    text = tmp_path / "t"
    text.write_text("zzz the lamp\n")
    said = inside("score", models("char"), text)
    assert b"bits_per_byte" in said and b"\x1b" not in said


def test_a_line_is_a_record_of_its_own(models: Models) -> None:
    record = RecordScorer(load_model(models("byte")))
    sizes = [sum(len(piece.ids) for piece in record.read_line(line)) for line in (b"one\n", b"three\n")]
    assert sizes == [4, 6]
    assert record.score("x").tokens == 6
