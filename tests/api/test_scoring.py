"""Scores without PyTorch: equal to PyTorch's, in constant memory, continued from states, and shown in colour."""

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
from seqgen.generation.scoring import Scorer
from tests.helpers.random_models import CODECS, ENGINES, Models, load_model
from tests.helpers.running import Run, imported_packages
from tests.helpers.scorers import network_scorer, token_nats
from tests.helpers.terminal import TerminalRun
from tests.helpers.untrained import TEXT

STRANGE = "灯塔 🏮 café\t".encode() + b"\xff\xfe\x80 \xe4\xb8"


def nats(scored: Iterator[Any]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(piece.nats for piece in scored)])


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("engine", ENGINES)
def test_scorer_equals_torch_network(models: Models, cell: str, engine: str) -> None:
    model = load_model(models("char", cell=cell, num_layers=2), engine)
    ids = model.codec.encode(TEXT[:2000] + STRANGE)
    ours = nats(Scorer(model.exact_engine, model.codec).read(ids))
    theirs = nats(network_scorer(model.network, model.codec).read(ids))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", CODECS)
def test_score_is_the_same_for_any_chunks(models: Models, kind: str) -> None:
    model = load_model(models(kind))
    whole = model.score(TEXT + STRANGE)
    chunks = [(TEXT + STRANGE)[start : start + 97] for start in range(0, len(TEXT + STRANGE), 97)]
    parts = model.score(chunks)
    assert parts.tokens == whole.tokens
    assert parts.nats == pytest.approx(whole.nats, rel=1e-6)
    theirs = nats(token_nats(model.network, model.codec, [TEXT + STRANGE]))
    assert whole.nats == pytest.approx(theirs.sum(), rel=1e-5)


def test_score_music_masks_events_without_torch(models: Models, run: Run, tmp_path: Path) -> None:
    model, piece = models("midi", "music"), tmp_path / "a.mid"
    run("sample", model, "-l", 4, "-o", piece)
    (record,) = run("score", model, piece, "--per-token").records
    assert record["per_token"][0][0] == "bar 3 to come"
    from seqgen.evaluation.music_likelihood import GrammarMasks

    some = load_model(model)
    ids = some.codec.encode(piece.read_bytes())
    masks = GrammarMasks(some.codec.vocabulary)  # type: ignore[attr-defined]
    theirs = nats(network_scorer(some.network, some.codec, masks).read(ids))
    assert record["nats"] == pytest.approx(theirs.sum(), rel=1e-4)


@pytest.mark.parametrize("kind", CODECS)
def test_score_state_continues_a_record(models: Models, run: Run, tmp_path: Path, kind: str) -> None:
    """Split between lines, where any codec can be split."""
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
    # The state that one command saves is read by the other.
    prompt = tmp_path / "p"
    prompt.write_bytes(first + second)
    read = run("sample", model, "--state-in", state, "-l", 30, "-t", 0).out
    assert run("sample", model, "--prompt-file", prompt, "--no-show-prompt", "-l", 30, "-t", 0).out == read


def test_score_state_begins_every_record(models: Models, run: Run, tmp_path: Path) -> None:
    """Compares several continuations of one text."""
    model, state = models("char"), tmp_path / "s"
    run("score", model, "--state-out", state, stdin=TEXT[:500])
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(TEXT[500:560] if name == "a" else b"xyz")
    both = run("score", model, tmp_path / "a", tmp_path / "b", "--state-in", state).records
    alone = [run("score", model, tmp_path / name, "--state-in", state).records[0] for name in ("a", "b")]
    assert both == alone
    assert load_model(model).score(b"xyz", state=load_model(model).load_state(state)).nats == alone[1]["nats"]
    printed = run("score", model, tmp_path / "a", tmp_path / "b", "--state-out", state, status=2)
    assert "after one record" in printed.err and not printed.out
    assert "is for text" in run("score", models("midi", "music"), "x", "--state-in", state, status=2).err
    assert "given twice" in run("score", model, "-", "--state-in", "-", status=2).err


# ---- Streams ----


def test_record_scorer_yields_tokens_while_reading(models: Models) -> None:
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
def test_record_scorer_needs_constant_memory(models: Models) -> None:
    """The tokens of another 200 kB would take 30 MB if they were kept after printing."""

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


def test_score_command_never_imports_torch(models: Models, run: Run, tmp_path: Path) -> None:
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


# ---- Colours ----


def test_score_colour_shows_surprisal(models: Models, run: Run) -> None:
    text = "the lamp 灯\x1b[31m\n".encode() + b"\xff end"
    shown = run("score", models("byte"), "--colour", "always", stdin=text).text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown).replace("↵", "")
    assert plain == "the lamp 灯␛[31m\n\ufffd end\n"
    assert "\x1b[" in shown
    assert shown.rstrip("\n").endswith("\x1b[0m") or "\x1b[" not in shown.rsplit("\x1b[0m", 1)[-1]
    assert run("score", models("byte"), "--color", "auto", stdin=text).records, "no terminal: data"
    assert "--colour must be one of" in run("score", models("byte"), "--colour", "mauve", status=2).err


def test_surprisal_highlighter_is_darker_for_less_probable_tokens(models: Models) -> None:
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


def test_score_on_terminal_with_colour_is_coloured(models: Models, tmp_path: Path, inside: TerminalRun) -> None:
    text = tmp_path / "t"
    text.write_text("zzz the lamp\x1b[31m\n")
    printed = inside("score", models("char"), text, "--colour", "auto")
    assert b"\x1b[0m" in printed and b"\x1b[31m" not in printed and b"bits_per_byte" not in printed


def test_score_on_terminal_is_json_by_default(models: Models, tmp_path: Path, inside: TerminalRun) -> None:
    text = tmp_path / "t"
    text.write_text("zzz the lamp\n")
    printed = inside("score", models("char"), text)
    assert b"bits_per_byte" in printed and b"\x1b" not in printed


def test_record_scorer_read_line_restarts_the_totals(models: Models) -> None:
    record = RecordScorer(load_model(models("byte")))
    sizes = [sum(len(piece.ids) for piece in record.read_line(line)) for line in (b"one\n", b"three\n")]
    assert sizes == [4, 6]
    assert record.score("x").tokens == 6
