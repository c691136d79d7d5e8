"""Quantiles of held-out lines, and `score --above`, which prints what is less probable."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

import seqgen
from seqgen.errors import ModelError, UserError
from seqgen.generation.held_out_lines import HELD_OUT_LINES, measure_lines, nats_above
from tests.helpers.running import Run, prose
from tests.helpers.terminal import TerminalRun

ODD = b"zq#x!! 9%9 ~~ {panic}\n"


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of lines, with their quantiles."""
    folder = tmp_path_factory.mktemp("logs")
    rng = random.Random(1)
    lines = [f"INFO user {rng.randrange(100)} logged in" for _ in range(3000)]
    (folder / "app.log").write_text("\n".join(lines) + "\n")
    seqgen.train(
        str(folder / "app.log"), folder / "model", steps=60, rnn_size=24, batch_size=8, seq_length=32, threads=1,
        precision="fp32",
    )  # fmt: skip
    return folder


def test_quantiles_are_those_of_the_scores_of_lines(model_folder: Path) -> None:
    model = seqgen.load(model_folder)
    text = prose(90, seed=7).encode()
    kept = measure_lines(model.checkpoint.language_config, model.checkpoint.weights(), model.codec,
                         model.codec.encode(text))  # fmt: skip
    assert kept is not None
    nats = [score.nats for score in model.score_lines(text.splitlines(keepends=True))]
    assert kept["lines"] == pytest.approx(len(nats), abs=6)
    median = kept["nats"][kept["percent"].index(50)]
    assert median == pytest.approx(np.median(nats), rel=0.05)
    config = {HELD_OUT_LINES: kept}
    assert nats_above(config, 50) == median and nats_above(config, 100) == kept["nats"][-1]
    assert kept["nats"][0] < nats_above(config, 52.5) < nats_above(config, 90)


def test_text_of_one_line_has_no_quantiles(model_folder: Path) -> None:
    model = seqgen.load(model_folder)
    ids = model.codec.encode(b"one line without an end")
    assert measure_lines(model.checkpoint.language_config, model.checkpoint.weights(), model.codec, ids) is None


def test_share_that_too_few_lines_can_tell_is_refused() -> None:
    config = {HELD_OUT_LINES: {"lines": 500, "percent": [0, 100], "nats": [1.0, 3.0]}}
    assert nats_above(config, 99.8) == pytest.approx(2.996)
    with pytest.raises(UserError, match=r"99.9% needs 1,000 held-out lines, and this model had 500"):
        nats_above(config, 99.9)
    with pytest.raises(ModelError, match="train it again"):
        nats_above({}, 99)


@pytest.mark.parametrize(
    "kept", [7, {}, {"lines": 9, "percent": [0, 100], "nats": [1]}, {"lines": 9, "percent": [0, 100], "nats": [2, 1]},
             {"lines": "x", "percent": [0], "nats": [0]}, {"lines": 9, "percent": [0, 1e999], "nats": [1, 2]}]
)  # fmt: skip
def test_damaged_quantiles_are_one_clear_error(kept: object) -> None:
    with pytest.raises(ModelError, match="held_out_lines is not a table of quantiles"):
        nats_above({HELD_OUT_LINES: kept}, 50)


def test_score_above_prints_only_unlikely_lines(logs: Path, run: Run) -> None:
    usual = b"".join((logs / "app.log").read_bytes().splitlines(keepends=True)[:50])
    command = ("score", logs / "model", "-", "--lines", "--above", "99.5%")
    printed = run(*command, stdin=usual + ODD + usual).out.splitlines(keepends=True)
    # The first line has none before it, and those after the odd one have that: they may be unlikely too.
    assert ODD in printed and len(printed) <= 6
    assert run(*command, stdin=usual + ODD.rstrip()).out.endswith(ODD)
    *_, record = run(*command, "--per-token", stdin=usual + ODD).records
    assert record["name"] == "-:51" and record["nats"] > 0
    assert "".join(token for token, _ in record["per_token"]).encode() == ODD
    assert run("score", logs / "model", "-", "--lines", "--above", "0", stdin=usual).out == usual
    assert "--above needs --lines" in run("score", logs / "model", "-", "--above", "99%", stdin=usual, status=2).err
    for percent in ("much", "101%", "-1"):
        assert "--above must be a percentage" in run(*command[:-1], percent, stdin=usual, status=2).err


def test_score_above_marks_what_was_surprising_on_a_terminal(logs: Path, inside: TerminalRun) -> None:
    (logs / "new.log").write_bytes(b"INFO user 7 logged in\nINFO user 8 logged \x1b[5m#%~ in\n")
    shown = inside("score", logs / "model", logs / "new.log", "--lines", "--above", "99%").decode()
    assert "user 7" not in shown and "\x1b[5m" not in shown
    assert "\x1b[97;41m" in shown and "logged" in shown
