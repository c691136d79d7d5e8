"""What notebooks show: fragments of HTML with all that they should tell, and no text of others that could act."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from seqgen.plots import notebook
from seqgen.plots.forecast import ForecastCurve, Panel
from seqgen.plots.svg import SvgLine, chart

HOSTILE = "</td></svg><script>alert(1)</script> & \"x\" 'y' onload=z \x1b[31m"
SHOWN = "</td></svg><script>alert(1)</script> & \"x\" 'y' onload=z ␛[31m"
SVG = "{http://www.w3.org/2000/svg}"


def parsed(fragment: str) -> ElementTree.Element:
    """A fragment, which must be well-formed, without scripts, handlers, and addresses to load something from."""
    found = ElementTree.fromstring(f"<div>{fragment}</div>")
    for element in found.iter():
        assert element.tag.removeprefix(SVG) in {"div", "table", "tr", "th", "td", "span", "pre", "svg", "text", "line",
                                                 "path"}  # fmt: skip
        for name, value in element.attrib.items():
            assert not name.startswith("on") and name not in ("src", "href") and "url(" not in value
    return found


def panel(title: str = "temperature", dates: bool = False, gap: bool = False) -> Panel:
    index = np.datetime64("2024-01-01", "D") + np.arange(40) if dates else np.arange(1, 41)
    history = np.sin(np.arange(30.0))
    history[10 : 12 if gap else 10] = np.nan
    point = np.zeros(10)
    bands = ((80.0, point - 1, point + 1), (95.0, point - 2, point + 2))
    return Panel(title, index[:30], history, (ForecastCurve(index[30:], point, bands),))


def paths(element: ElementTree.Element, kind: str) -> list[str]:
    """The outlines of lines ("stroke") or of areas ("fill")."""
    found = [path for path in element.iter(SVG + "path") if path.get("fill") == "none" or kind == "fill"]
    return [path.get("d") or "" for path in found if (path.get("fill") == "none") == (kind == "stroke")]


def texts(element: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in element.iter(SVG + "text")]


@pytest.mark.parametrize(
    "fragment",
    [
        notebook.facts(HOSTILE, [(HOSTILE, HOSTILE)]),
        notebook.heading(HOSTILE),
        notebook.forecast([panel(HOSTILE)]),
        notebook.surprisal([(HOSTILE, 1.0)]),
        chart("x", [SvgLine(np.arange(2), np.arange(2), "#000", HOSTILE)]),
    ],
    ids=["facts", "heading", "forecast", "surprisal", "chart"],
)
def test_notebook_texts_of_others_are_only_text(fragment: str) -> None:
    assert SHOWN in "".join(parsed(fragment).itertext())


def test_facts_are_rows_of_names_and_values() -> None:
    found = parsed(notebook.facts("tales", [("task", "text"), ("", "and more")]))
    rows = [[cell.text or "" for cell in row] for row in found.iter("tr")]
    assert rows == [["task", "text"], ["", "and more"]]


def test_learning_curve_has_a_point_for_each_validation() -> None:
    records: list[dict[str, Any]] = [{"step": 10 * n, "train_loss": 3 / n, "val_loss": 4 / n} for n in range(1, 9)]
    records += [{"step": 90, "train_loss": None, "val_loss": float("nan")}]
    found = parsed(notebook.learning_curve(records))
    assert [len(re.findall("[ML]", line)) for line in paths(found, "stroke")] == [8, 8]
    assert {"training", "validation"} <= {span.tail for span in found.iter("span")}
    assert "steps" in texts(found)
    assert notebook.learning_curve([]) == notebook.learning_curve([{"step": 1}]) == ""


def test_forecast_is_a_chart_of_history_intervals_and_forecast() -> None:
    found = parsed(notebook.forecast([panel(gap=True), panel("pressure")]))
    assert len(list(found.iter(SVG + "svg"))) == 4  # and a frame within each
    assert [line.count("M") for line in paths(found, "stroke")] == [2, 1, 1, 1]  # the gap is not bridged
    assert len(paths(found, "fill")) == 4
    assert "95 % interval" in "".join(found.itertext())
    assert {"temperature", "pressure", "row"} <= set(texts(found))


def test_forecast_of_many_columns_says_how_many_are_left_out() -> None:
    assert "and 3 more columns" in notebook.forecast([panel()] * 15)


@pytest.mark.parametrize(
    ("unit", "step", "labels"),
    [
        ("s", 1, ["2024-01-31 23:30:15", "2024-01-31 23:30:30", "2024-01-31 23:30:45"]),
        ("m", 7, ["2024-02-01 00:00", "2024-02-01 01:00", "2024-02-01 02:00", "2024-02-01 03:00", "2024-02-01 04:00"]),
        ("h", 1, ["2024-02-01 00:00", "2024-02-01 12:00", "2024-02-02 00:00", "2024-02-02 12:00"]),
        ("D", 1, ["2024-02-01", "2024-02-08", "2024-02-15", "2024-02-22", "2024-02-29", "2024-03-07"]),
        ("M", 1, ["2024", "2025", "2026", "2027"]),
        ("Y", 3, ["2050", "2100"]),
    ],
)
def test_chart_times_are_labelled_at_round_ones(unit: str, step: int, labels: list[str]) -> None:
    times = np.datetime64("2024-01-31T23:30:05").astype(f"datetime64[{unit}]") + np.arange(41) * step
    found = texts(parsed(chart("x", [SvgLine(times, np.arange(41) / 41, "#000")])))
    assert [text for text in found if text.startswith("2")] == labels


@pytest.mark.parametrize("values", [[7, 7, 7], [0, 1e-12, 2e-12], [0, 1e300, -1e300], [np.nan, 3, np.inf], [5]])
def test_chart_of_any_values_is_drawn_within_its_frame(values: list[float]) -> None:
    found = parsed(chart("x", [SvgLine(np.arange(len(values)), np.array(values, dtype=float), "#000")]))
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", "".join(paths(found, "stroke")))]
    assert numbers and all(0 <= number <= 720 for number in numbers)
    assert len(texts(found)) > 2  # the title, and labels of the axes


def test_chart_without_a_finite_value_is_empty() -> None:
    assert chart("x", [SvgLine(np.arange(2), np.array([np.nan, np.inf]), "#000")]) == chart("x", []) == ""


def test_surprisal_colours_what_was_not_expected() -> None:
    found = parsed(notebook.surprisal([("a", 0.0), ("bc", 6.0), ("d", 6.0), ("\n", 99.0)]))
    spans = list(next(found.iter("pre")))
    assert [span.text for span in spans] == ["a", "bc", "d", "↵\n"]
    opacity = [float((span.get("style") or "").rpartition(",")[2][:-1]) for span in spans]
    assert opacity[0] == 0 < opacity[1] < opacity[2] < opacity[3]  # by character, not by token
    assert spans[1].get("title") == "8.66 bits"


def test_surprisal_bytes_of_a_character_are_that_character() -> None:
    tokens = [("\\xe7", 1.0), ("\\x81", 1.0), ("\\xaf", 2.0), ("x", 0.0), ("\\xff", 1.0), ("y", 0.0)]
    (pre,) = parsed(notebook.surprisal(tokens)).iter("pre")
    assert [span.text for span in pre] == ["灯", "x", "\\xff", "y"]
    assert pre[0].get("title") == "5.77 bits"


def test_surprisal_names_of_events_are_coloured_by_token() -> None:
    (pre,) = parsed(notebook.surprisal([("note 60", 2.0), ("bar", 2.0)], " ")).iter("pre")
    assert "".join(pre.itertext()) == "note 60 bar"
    assert pre[0].get("style") == pre[1].get("style")


def test_surprisal_of_a_long_text_is_of_its_beginning() -> None:
    (pre,) = parsed(notebook.surprisal([("a", 1.0)] * 6000)).iter("pre")
    assert len(pre) == 5000
    assert "".join(pre.itertext()).endswith("… and 1,000 more tokens")
