"""`sample` with several temperatures, with alternatives, and together with a writer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import seqgen
from seqgen.api import sampling
from seqgen.api.model import Model
from seqgen.cli.output import StderrLogger
from seqgen.cli.writing import WritingSession
from seqgen.errors import UserError
from seqgen.generation.text import Sample
from tests.helpers.running import Run
from tests.helpers.terminal import Terminal, start_on_terminal

GOLDEN = Path(__file__).parents[2] / "golden" / "models"
TALES = GOLDEN / "tidewater-lstm"


def test_sample_of_several_temperatures_is_a_block_each(run: Run) -> None:
    singles = [run("sample", TALES, "-t", t, "--length", 30, "-p", "The ").text for t in ("0.2", "1.2")]
    several = run("sample", TALES, "-t", "0.2,1.2", "--length", 30, "-p", "The ").text
    assert several == f"==> temperature 0.2 <==\n{singles[0]}\n\n==> temperature 1.2 <==\n{singles[1]}\n"
    assert run("sample", TALES, "-t", "0.2", "-t", "1.2", "--length", 30, "-p", "The ").text == several
    records = run("sample", TALES, "-t", "0.2,1.2", "--length", 30, "-n", 2, "--json").records
    assert [record["temperature"] for record in records] == [0.2, 0.2, 1.2, 1.2]
    (alone,) = run("sample", TALES, "-t", "1.2", "--length", 30, "--first", 1, "--json").records
    assert {**alone, "temperature": 1.2} == records[3]


def test_sample_temperatures_come_from_a_file_of_flags(run: Run, tmp_path: Path) -> None:
    for line, count in (("temperature = [0.5, 1]", 2), ("temperature = 0.5", 1)):
        (tmp_path / "c.toml").write_text(line)
        assert len(run("sample", TALES, "--config", tmp_path / "c.toml", "--json", "--length", 5).records) == count


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-t", "0.5,warm"], "--temperature must be a number, or several such as 0.2,0.5,1; not '0.5,warm'"),
        (["-t", "0.5,-1"], "--temperature must be at least 0, not -1"),
        (["-t", "0.5,1", "--state-out", "s"], "--state-out saves one text"),
        (["--interactive"], "--interactive needs a terminal"),
        (["--interactive", "--json"], "--json can't be used with --interactive"),
        *[
            (["--interactive", *flags], f"{flags[0]} can't be used with --interactive")
            for flags in (
                ["--first", "3"],
                ["--length", "9"],
                ["--stop", "e"],
                ["--stop-at-end"],
                ["--label", "x"],
                ["--adaptive"],
                ["--beam", "3"],
                ["--no-show-prompt"],
            )
        ],
        (["--alternatives", "0"], "--alternatives"),
    ],
)
def test_sample_choices_that_make_no_sense_are_refused(flags: list[str], said: str, run: Run) -> None:
    assert said in run("sample", TALES, *flags, status=2).err


def test_sample_choices_of_music_are_refused(run: Run) -> None:
    for flags in (["-t", "0.5,1"], ["--alternatives", "3"], ["--interactive"]):
        assert "can't be used with a model for music" in run("sample", GOLDEN / "tunes-gru", *flags, status=2).err


def test_sample_alternatives_are_the_most_probable_tokens(run: Run) -> None:
    (record,) = run("sample", TALES, "--alternatives", 4, "--length", 20, "-p", "The ", "--json", "--exact").records
    assert "".join(each["token"] for each in record["per_token"]) == record["text"]
    assert sum(math.log(each["probability"]) for each in record["per_token"]) == pytest.approx(
        record["log_probability"], abs=1e-3
    )
    for each in record["per_token"]:
        shares = [share for _, share in each["alternatives"]]
        assert len(shares) == 4 and shares == sorted(shares, reverse=True) and sum(shares) + each["probability"] <= 1
        assert each["token"] not in [token for token, _ in each["alternatives"]]
    lines = run("sample", TALES, "--alternatives", 2, "--length", 20, "-p", "The ", "--exact").lines
    assert [json.loads(line.split("\t")[0]) for line in lines] == [each["token"] for each in record["per_token"]]
    greedy = run("sample", TALES, "--alternatives", 1, "--length", 9, "-t", 0, "--json").records[0]["per_token"]
    assert all(each["probability"] >= each["alternatives"][0][1] for each in greedy)


def test_sample_interactive_writes_what_was_chosen_and_typed(terminal: Terminal, tmp_path: Path) -> None:
    written = tmp_path / "text.txt"
    process = start_on_terminal(
        terminal, "sample", TALES, "--interactive", "--alternatives", 3, "-p", "The old", "-t", 0.7, "-o", written
    )
    first = seqgen.load(TALES).sample("The old", 12, length=40, temperature=0.7)[0].text
    for expected, keys in [
        (b"  3  ", b"1\n"),  # the first continuation
        (b"\n> ", b" by the quay\n"),
        (b"by the quay\r\n", b"/back\n"),
        (b"/back", b" by a wall\n"),
        (b"by a wall\r\n", b"9\n"),
        (b"there are", b"/nonsense\n"),
        (b"no such command", b"/edit\n"),
        (b"edit> ", b"!\n"),
        (b"wall!", b"/text\n"),
        (b"/text\r\n", b"/quit\n"),
    ]:
        terminal.wait_for(expected)
        terminal.type(keys)
    assert process.wait(60) == 0
    text = written.read_text("utf-8")
    word = text.removeprefix("The old").removesuffix(" by a wall!\n")
    assert text.endswith(" by a wall!\n") and word and first.startswith(word.split(" ")[0])


def writing(monkeypatch: pytest.MonkeyPatch, model: Model, typed: list[str], **options: Any) -> str:
    """The text of a session that begins with The."""
    lines = iter(typed)

    def line(_: str) -> str:
        for each in lines:
            return each
        raise EOFError

    monkeypatch.setattr("seqgen.cli.writing.is_terminal", lambda _: True)
    monkeypatch.setattr("builtins.input", line)
    request = sampling.make_request("The", options)
    return WritingSession(model, request, "The", 3, StderrLogger(quiet=False)).run()


def test_sample_interactive_searches_as_asked(
    zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, shown = seqgen.load(zoo["text"]), []
    for search in ({}, {"max_copy": 1}, {"best_of": 4}):
        assert writing(monkeypatch, model, ["1"], **search) != "The"
        (first,) = [line[5:] for line in capsys.readouterr().out.splitlines() if line.startswith("  1  ")][:1]
        wanted = model.sample("The", 12, length=40, **search)[0].text
        assert wanted.replace("\n", "↵").startswith(first)
        shown.append(first)
    assert len(set(shown)) == 3


def test_sample_interactive_loses_no_text_where_nothing_may_follow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = seqgen.load(TALES)
    samples = model.sample

    def sample(prompt: bytes, *given: Any, **options: Any) -> list[Sample]:
        if prompt.endswith(b"sea"):
            raise UserError("cannot continue the text")
        return samples(prompt, *given, **options)

    monkeypatch.setattr(model, "sample", sample)
    assert writing(monkeypatch, model, [" sea", " and"]) == "The sea and"
    said = capsys.readouterr().err
    assert said.count("warning: cannot continue the text") == said.count("no continuation here") == 1
