"""`seqgen inspect`: units, gates, gradients and saliency as CSV, JSON, colour, page and picture."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import seqgen
from seqgen.api.inspect.run import inspect
from seqgen.cli.commands.inspect import is_fed
from tests.helpers.running import Run
from tests.helpers.terminal import TerminalRun

GOLDEN = Path(__file__).parents[2] / "golden" / "models"
TALES = GOLDEN / "tidewater-lstm"
TIDEWATER = Path(__file__).parents[3] / "corpora" / "tidewater.txt"
NASTY = 'She said </script><b>"no"</b> \x1b[31m& went\n'


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def page_data(path: Path) -> dict[str, object]:
    """The data inside a page, which no text in it may end."""
    page = path.read_text("utf-8")
    (found,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page)
    assert "http" not in page.replace("http-equiv", "") and page.count("</script>") == 2
    assert "(..." not in page.replace(found, "")  # a call of as many arguments as steps fails from 125,000 on
    return json.loads(found)


def test_inspect_in_a_pipe_is_csv_of_all_units(run: Run) -> None:
    text = b"The old lamp\nwas \xe7\x81\xaf lit"
    found = rows(run("inspect", TALES, "-", "--what", "cell", stdin=text).text)
    model = seqgen.load(TALES)
    units, count = model.checkpoint.network.rnn_size, len(model.codec.encode(text))
    assert list(found[0]) == ["position", "token", "layer", "unit", "value"]
    assert len(found) == count * units and {row["layer"] for row in found} == {"1"}
    assert "".join(row["token"] for row in found[::units]).encode() == text
    one = rows(run("inspect", TALES, "-", "--what", "cell", "--unit", 5, "--csv", stdin=text).text)
    assert one == [row for row in found if row["unit"] == "5"]
    (record,) = run("inspect", TALES, "-", "--what", "cell", "--json", stdin=text).json
    values = np.array(record["layers"][0]["values"])
    np.testing.assert_allclose(values.ravel(), [float(row["value"]) for row in found], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("what", ["hidden", "saliency"])
def test_inspect_writes_the_file_of_values_beside_a_page_and_a_picture(what: str, run: Run, tmp_path: Path) -> None:
    arguments = ("inspect", TALES, "-", "--what", what)
    alone = run(*arguments, stdin=b"the old lamp").out
    result = run(
        *arguments, "--html", tmp_path / "a.html", "--plot", tmp_path / "a.png", "-o", tmp_path / "a.csv",
        stdin=b"the old lamp",
    )  # fmt: skip
    assert result.out == b"" and (tmp_path / "a.csv").read_bytes() == alone
    assert (tmp_path / "a.html").exists() and (tmp_path / "a.png").exists()


def test_inspect_csv_of_windows_line_ends_has_a_row_a_step(run: Run) -> None:
    out = run("inspect", TALES, "-", "--unit", 0, "--csv", stdin=b"one\r\ntwo\r\n").out.decode()
    found = list(csv.reader(io.StringIO(out, newline="")))
    assert all(len(row) == 5 for row in found) and "".join(row[1] for row in found[1:]) == "one\r\ntwo\r\n"


def test_inspect_warns_of_texts_that_were_learnt_as_evaluate_does(zoo: dict[str, Path]) -> None:
    """Of a model that has learnt the held-out part too, it said that this part was left out."""
    model, source = seqgen.load(zoo["classify"]), str(zoo["classify"].parent / "texts.csv")
    said: list[str] = []
    model.evaluate(source, baselines=False, warn=said.append)
    model.inspect(source, 50, warn=said.append)
    learnt = f"{source!r}: the model was trained on this"
    assert model.checkpoint.has_learnt_all and [each for each in said if "trained on" in each] == [learnt, learnt]


def test_inspect_of_several_records_has_them_all_and_says_which(run: Run, tmp_path: Path) -> None:
    """Saliency had the first only, without a word, and rows of units did not say whose they were."""
    arguments, texts = ("inspect", GOLDEN / "reviews-lstm", "-"), b"good book\nbad kettle\nnice lamp\n"
    for flags in (["--what", "saliency"], ["--unit", "3"]):
        found = rows(run(*arguments, *flags, "--csv", stdin=texts).text)
        tokens = {name: [row["token"] for row in found if row["record"] == name] for name in ("text 1", "text 3")}
        made = run(*arguments, *flags, "--json", stdin=texts)
        records = made.records if flags[0] == "--what" else made.json
        assert [record["name"] for record in records] == list(dict.fromkeys(row["record"] for row in found))
        assert all(set(record["tokens"]) == set(tokens[record["name"]]) for record in records[::2])
        drawn = run(*arguments, *flags, "--html", tmp_path / "a.html", stdin=texts)
        assert "the first of 3 records is drawn" in drawn.err


def test_inspect_without_a_source_reads_the_held_out_end(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    found = inspect(seqgen.load(TALES), [], 200, said.append, said.append)
    text = TIDEWATER.read_text("utf-8")
    assert "".join(found.records[0].view.tokens) in text[-len(text) // 10 - 5 :]
    assert said == ["of the sources that the model was trained on, the held-out end is read"]
    with open(os.devnull) as nothing:  # what a script has
        monkeypatch.setattr("sys.stdin", nothing)
        assert not is_fed()


def test_inspect_top_is_measured_in_every_form(run: Run, tmp_path: Path) -> None:
    arguments = ("inspect", TALES, "tidewater", "--length", 900, "--top", 3, "-q")
    found = run(*arguments, "--json").json
    assert [row["feature"] for row in rows(run(*arguments, "--csv").text)] == [each["feature"] for each in found]
    assert all(each["bits"] > each["baseline"] and each["bits"] <= each["entropy"] for each in found)
    run(*arguments, "--html", tmp_path / "a.html", "--plot", tmp_path / "a.png")
    data = page_data(tmp_path / "a.html")
    assert [each["unit"] for each in data["meanings"]] == [each["unit"] for each in found]  # type: ignore[attr-defined]
    assert data["unit"] == found[0]["unit"] and (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_inspect_page_holds_any_text_and_its_numbers(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run("inspect", TALES, "-", "--html", page, stdin=NASTY.encode() + b"\xff")
    assert result.out == b""
    data = page_data(page)
    assert "".join(data["tokens"]) == NASTY + "\ufffd"  # type: ignore[arg-type]
    (layer,) = data["layers"]  # type: ignore[misc]
    shares = np.frombuffer(base64.b64decode(layer["values"]), np.uint8).reshape(-1, layer["units"])
    found = rows(run("inspect", TALES, "-", "--csv", stdin=NASTY.encode() + b"\xff").text)
    values = np.array([float(row["value"]) for row in found]).reshape(shares.shape)
    np.testing.assert_allclose(shares / 255 * 2 - 1, values, atol=0.005)


def test_inspect_on_a_terminal_colours_and_sends_no_control_characters(inside: TerminalRun, tmp_path: Path) -> None:
    (tmp_path / "nasty.txt").write_text(NASTY)
    shown = inside("inspect", TALES, tmp_path / "nasty.txt", "--unit", 3, "-q").decode()
    assert "\x1b[30;48;5;" in shown and "\x1b[31m" not in shown
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown).startswith('She said </script><b>"no"</b> ␛[31m& went')


@pytest.mark.parametrize(
    ("model", "source", "kind"),
    [("tunes-gru", "tunes", "roll"), ("weather-gru", "weather", "curve"), ("reviews-lstm", "reviews", "text")],
)
def test_inspect_of_every_task_draws_and_explains(model: str, source: str, kind: str, run: Run, tmp_path: Path) -> None:
    page, picture = tmp_path / "p.html", tmp_path / "p.png"
    run("inspect", GOLDEN / model, source, "--length", 150, "--html", page, "--plot", picture, "-q")
    data = page_data(page)
    assert data["kind"] == kind and picture.stat().st_size > 5000
    if kind == "text":
        for values in zip(*(score["values"] for score in data["scores"]), strict=True):  # type: ignore[attr-defined]
            assert sum(values) == pytest.approx(1, abs=1e-5)
    run("inspect", GOLDEN / model, source, "--length", 150, "--what", "saliency", "--html", page, "-q")
    assert page_data(page)["saliency"]
    lines = rows(run("inspect", GOLDEN / model, source, "--what", "gradient", "--csv", "--length", 900, "-q").text)
    assert list(lines[0]) == ["lag", "layer", "mean", "p10", "p90"]
    assert all(float(row["p10"]) <= float(row["p90"]) for row in lines)


def test_inspect_saliency_of_a_series_is_of_its_forecast(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forecast has no name: the title was `what the prediction '' leaned on`."""
    titles: list[str] = []
    monkeypatch.setattr("seqgen.plots.inspection.curve_values", lambda *_, title: titles.append(title) or b"")
    what = ("--what", "saliency", "--length", 3, "-q")
    run("inspect", GOLDEN / "weather-gru", "weather", *what, "--plot", tmp_path / "p.png")
    assert titles == ["weather-gru: what the forecast leaned on"]


def test_inspect_gradient_says_what_is_left(run: Run, tmp_path: Path) -> None:
    arguments = ("inspect", TALES, "tidewater", "--what", "gradient", "--lags", 40, "--length", 2000, "-q")
    (line,) = run(*arguments).lines
    match = re.fullmatch(r"LSTM: 1 % left after (\d+) steps", line)
    assert match is not None
    means = [float(row["mean"]) for row in rows(run(*arguments, "--csv").text)]
    steps = int(match[1])
    assert means[steps] < 0.01 * means[0] <= means[steps - 1]
    several = run(*arguments, "--beside", GOLDEN / "tunes-gru", status=2)  # which can't read text
    assert several.out == b""
    both = run(*arguments, "--beside", TALES, "--plot", tmp_path / "g.png")
    assert [line.partition(":")[0] for line in both.lines] == ["LSTM (tidewater-lstm)"] * 2
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")
    # The last row of a series has no future: its loss is nothing, and so was the gradient of it.
    alone = run("inspect", GOLDEN / "weather-gru", "weather", *arguments[3:5], "--length", 1, status=2)
    assert "through 0 steps at most" in alone.err
    text = TIDEWATER.read_bytes()[:300]  # piped in, both models read it
    piped = run("inspect", TALES, "--what", "gradient", "--lags", 5, "--beside", TALES, "--csv", stdin=text)
    assert len(rows(piped.text)) == 2 * 6


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--what", "moods"], "there is no 'moods' to inspect; --what takes hidden, cell"),
        (["--what", "reset-gate"], "the cell of this model, lstm, has hidden, cell, input-gate"),
        (["--unit", "999"], "this model has units 0 to 31"),
        (["--layer", "7"], "this model has layers 1 to 1"),
        (["--top", "3"], "--top needs 400 steps or more; there are 10"),
        (["--what", "gradient", "--lags", "50"], "through 2 steps at most"),
        (["--what", "gradient", "--html", "x"], "--html can't be used with --what gradient"),
        (["--beside", "x"], "--beside can't be used with --what hidden"),
        (["--csv", "--json"], "give --csv or --json, not both"),
    ],
)
def test_inspect_of_what_is_not_there_is_refused(flags: list[str], said: str, run: Run) -> None:
    result = run("inspect", TALES, "-", *flags, stdin=b"ten chars.", status=2)
    assert said in result.err and result.err.count("\n") == 1 and result.out == b""


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVE = """<script>addEventListener("load", () => {
  const of = id => document.getElementById(id);
  of("search").value = "said"; of("search").oninput({target: of("search")});
  document.querySelector("#meanings button").click();
  const unit = of("number").value;
  of("unit").value = 5; of("unit").oninput({target: of("unit")});
  of("text").onmousemove({target: document.querySelector("#text span"), clientX: 5, clientY: 5});
  document.title = [unit, of("number").value, of("hits").textContent, of("tip").textContent].join("|");
});</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_inspect_page_works_in_a_browser(run: Run, tmp_path: Path) -> None:
    run("inspect", TALES, "tidewater", "--top", 2, "--length", 900, "--html", tmp_path / "a.html", "-q")
    page = (tmp_path / "a.html").read_text("utf-8")
    (tmp_path / "driven.html").write_text(page.replace("</body>", DRIVE), "utf-8")
    done = subprocess.run(
        [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "driven.html").as_uri()],
        capture_output=True, timeout=120,
    )  # fmt: skip
    (title,) = re.findall(r"<title>(.*?)</title>", done.stdout.decode())
    first, fifth, hits, tip = title.split("|")
    data = page_data(tmp_path / "a.html")
    assert (int(first), fifth) == (data["meanings"][0]["unit"], "5")  # type: ignore[index]
    said = "".join(data["tokens"]).lower().count("said")  # type: ignore[arg-type]
    values = rows(run("inspect", TALES, "tidewater", "--unit", 5, "--length", 1, "--csv", "-q").text)
    assert hits == f"{said} found" and tip.startswith(f'1  "{values[0]["token"]}"  ')
    assert float(tip.split()[-1]) == pytest.approx(float(values[0]["value"]), abs=0.005)


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_inspect_tells_of_characters_that_no_font_has(
    quiet: tuple[str, ...], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqgen.plots.figure._fonts", lambda: ["DejaVu Sans"])
    for _ in range(2):
        made = run("inspect", TALES, "-", "--plot", tmp_path / "p.png", *quiet, stdin="灯 lit".encode())
        assert ("seqgen: warning: no font has 灯: boxes stand for" in made.err) != bool(quiet)
