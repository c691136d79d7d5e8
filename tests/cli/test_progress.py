"""The status of a training run on a terminal: its lines fit, and show the course of the validation loss."""

from __future__ import annotations

import io
import itertools
import mmap
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from seqgen.cli import progress
from seqgen.cli.output import StderrLogger, hanging
from seqgen.cli.progress import Status, memory_in_use, sparkline
from seqgen.training.loop import Finishing, Stepped
from tests.helpers.running import TINY_FLAGS
from tests.helpers.terminal import Terminal, start_on_terminal


def training_status() -> Status:
    status = Status()
    status.activity, status.fraction, status.left = "training", 0.42, "1:23 left"
    status.numbers = ["loss 1.438", "13,946 tokens/s", "458.1 MB", "step 436"]
    status.losses, status.held_out = [3.0, 2.0, 1.6, 1.4, 1.3], "2.059 bits/char"
    return status


@pytest.mark.parametrize("width", [1, 8, 20, 40, 80, 200])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_status_lines_fit_the_terminal(width: int, ascii_only: bool) -> None:
    status = training_status()
    status.losses *= 40
    lines = [line.plain for line in status.lines(width, ascii_only)]
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert not ascii_only or all(line.isascii() for line in lines)


def test_status_of_a_narrow_terminal_keeps_what_matters() -> None:
    head, numbers, held_out = (line.plain for line in training_status().lines(40))
    assert head.endswith(" 42%  1:23 left")
    assert "━" in head
    assert numbers.split("  ")[1:] == ["loss 1.438", "13,946 tokens/s", "458.1 MB"]
    assert held_out == "  held out ██▄▂▁ 2.059 bits/char"


def test_status_bar_shows_without_colours_how_far_it_is() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=40, force_terminal=True, no_color=True)
    console.print(training_status())
    assert re.search("━+(\x1b\\[[0-9;]*m)*─+", stream.getvalue())
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", stream.getvalue())


def test_status_before_training_cuts_a_long_activity() -> None:
    status = Status()
    status.activity = "reading " + "x" * 300
    (line,) = status.lines(40)
    assert len(line.plain) == 40
    assert line.plain[2:].startswith("reading xx")


def test_sparkline_falls_with_the_values_and_fits() -> None:
    assert sparkline([3, 2, 1], 10) == "██▁"
    assert sparkline([1, 2, 3], 10) == "▁▅█"
    assert sparkline([5, 5, 5], 10) == "▁▁▁"
    assert sparkline([2, 1], 10) == "█▁"
    assert sparkline([], 10) == sparkline([1], 0) == ""
    thin = sparkline([float(value) for value in range(1000, 0, -1)], 20)
    assert len(thin) == 20
    assert (thin[0], thin[-1]) == ("█", "▁")


def test_memory_in_use_grows_with_what_is_allocated() -> None:
    before = memory_in_use()
    assert before is not None
    held = mmap.mmap(-1, 64 << 20)  # new pages, not some that were freed
    held.write(b"x" * len(held))
    after = memory_in_use()
    assert after is not None
    assert after - before > 32 << 20
    del held


def test_progress_on_a_terminal_has_time_speed_memory_and_a_sparkline(
    terminal: Terminal, text_file: Path, tmp_path: Path
) -> None:
    flags = [*TINY_FLAGS[:2], "--steps", 200, *TINY_FLAGS[4:]]
    process = start_on_terminal(terminal, "train", text_file, "-o", tmp_path / "model", *flags)
    assert process.wait(timeout=120) == 0
    shown = terminal.close().decode()
    for pattern in (r"\d:\d\d left", r"[\d,]+ tokens/s", r"[\d.]+ MB", "held out .*[▁▂▃▄▅▆▇█]{2}", r"bits/char"):
        assert re.search(pattern, shown), pattern


def stepped(step: int, pretrains: bool) -> Stepped:
    return Stepped(step, 1.5, 0.5, 0.01, 640, 100.0, 61.0, pretrains)


@pytest.fixture
def events_at_once(monkeypatch: pytest.MonkeyPatch) -> list[Stepped]:
    """Steps of pretraining and of the run after it, none of which comes too soon to be shown."""
    monkeypatch.setattr(progress, "_LINE_INTERVAL", -1.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=itertools.count(100.0).__next__))
    return [stepped(7, True), stepped(1, False)]


def test_lines_tell_steps_of_pretraining_from_others(
    events_at_once: list[Stepped], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = progress._Lines(StderrLogger(False))
    lines._training = cast(Any, object())
    for event in events_at_once:
        lines.event(event)
    assert capsys.readouterr().err.splitlines() == [
        "seqgen: pretraining, step 7: loss 1.5000, 100 tokens/s, 1:01 left of it",
        "seqgen: step 1: loss 1.5000, 100 tokens/s, 1:01 left",
    ]


def test_bar_tells_pretraining_from_training(events_at_once: list[Stepped]) -> None:
    bar = progress._Bar()
    bar._training = cast(Any, object())
    shown = []
    for event in [*events_at_once, Finishing(), stepped(1, False)]:
        bar.event(event)
        shown.append(bar._status.activity)
    assert shown == ["pretraining", "training", "learning the held-out part too", "learning the held-out part too"]


def test_hanging_wraps_on_a_narrow_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = "one two three four five six seven eight nine"
    assert hanging("name  ", text, is_terminal=False) == f"name  {text}\n"
    first, second = hanging("name  ", text, is_terminal=True).splitlines()
    assert (first, second) == ("name  one two three four five six seven", "      eight nine")
    assert hanging("name  ", "", is_terminal=True) == "name\n"
