"""The documentation: every command in it runs, its output has the shape shown, links lead somewhere, `seqgen docs`."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import seqgen
from seqgen.api.compare import Comparison
from seqgen.cli.commands.docs import TOPICS
from seqgen.config import ForecastOptions, SampleOptions, TrainOptions, flag_name
from tests.helpers.documented import Page, command_server, explain, read_page, run_page, shape_difference
from tests.helpers.running import COMMANDS, Run, imported_packages
from tests.helpers.terminal import TerminalRun

ROOT = Path(__file__).resolve().parents[1]
DOCS = Path(seqgen.__file__).parent / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
IDS = [path.relative_to(ROOT).as_posix() for path in PAGES]
MAX_NOT_RUN = 0.15  # of all commands

each_page = pytest.mark.parametrize("path", PAGES, ids=IDS)


def read(path: Path) -> Page:
    return read_page(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with command_server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.mark.parametrize("path", [ROOT / "README.md", DOCS / "zh" / "README.md"], ids=["en", "zh"])
def test_readme_trains_no_model_where_it_has_trained_one(path: Path) -> None:
    """Also those that no test runs: somebody follows the page from its first command on."""
    trained: list[str] = []
    commands = r"^(?:\$ |python3 .*/)?seqgen train [^\n&`]*?-o (\S+)([^\n&]*)"
    for name, others in re.findall(commands, path.read_text("utf-8"), re.MULTILINE):
        assert name not in trained or "--overwrite" in others, name
        trained.append(name)
    assert len(trained) > 5


# The commands of all pages take four minutes of a processor: those of README run always, the others by `-m pages`.
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the commands run in a POSIX shell")
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path == PAGES[0] else pytest.mark.pages) for path in PAGES],
    ids=IDS,
)
def test_docs_commands_run_and_write_what_is_shown(
    path: Path, tmp_path: Path, private_cache: Path, server: str
) -> None:
    page = read(path)
    if all(example.reason for example in page.examples):
        return
    wrong = []
    for example, outcome in run_page(page, tmp_path, server, private_cache):
        codes = {code for _, code in outcome.failed}
        fails = codes != {2} if example.expects_error else bool(codes or outcome.status)
        difference = shape_difference(example.shown, outcome.output)
        if fails or difference:
            wrong.append(f"{difference or f'status {outcome.status}'}\n{explain(example, outcome)}")
    assert not wrong, "\n".join(wrong)


def test_docs_few_commands_are_not_run_and_none_stands_outside_a_console_block() -> None:
    pages = {path: read(path) for path in PAGES}
    assert {path: page.stray for path, page in pages.items() if page.stray} == {}
    examples = [example for page in pages.values() for example in page.examples]
    assert sum(example.reason is not None for example in examples) <= MAX_NOT_RUN * len(examples)


def test_docs_safety_names_tests_that_exist() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", (DOCS / "safety.md").read_text("utf-8"))
    assert len(named) >= 30
    for path, name in named:
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), f"{path}::{name}"


@each_page
def test_docs_links_lead_to_files_and_headings(path: Path) -> None:
    text = path.read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, heading = target.partition("#")
        page = (path.parent / name).resolve() if name else path
        assert page.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
            assert heading in {anchor(title) for title in titles}, target


def anchor(title: str) -> str:
    """The name of a heading in links, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_docs_topics_are_the_pages() -> None:
    assert {path.stem for path in DOCS.glob("*.md")} == set(TOPICS) - {"reference"}


def test_docs_pictures_are_small() -> None:
    pictures = sorted((DOCS / "img").iterdir())
    assert pictures and all(path.stat().st_size < 60_000 for path in pictures)
    shown = {
        (path.parent / name).resolve()
        for path in PAGES
        for name in re.findall(r"\]\((\S+\.png)\)", path.read_text("utf-8"))
    }
    assert set(pictures) == shown


def forms() -> list[tuple[str, str, str]]:
    """(task, name, content) of the examples of input on the page about formats."""
    found = []
    for task, title in (("dialogue", "Dialogue"), ("classify", "Labelled texts")):
        section = (DOCS / "formats.md").read_text("utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
        found += [
            (task, *each) for each in re.findall(r"^(\w[^\n]*):\n\n```\n(.*?)```$", section, re.MULTILINE | re.DOTALL)
        ]
    return found


@pytest.mark.parametrize(("task", "name", "content"), forms(), ids=[form[1] for form in forms()])
def test_docs_formats_are_read_as_the_page_says(task: str, name: str, content: str, run: Run, tmp_path: Path) -> None:
    if name == "A folder for each class":
        for path in content.split():
            (tmp_path / "in" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / path).write_text("What a lovely book.\n")
    else:
        (tmp_path / "in").write_text(content)
    found = run("read", str(tmp_path / "in"), "--task", task, "--json", "-q").json
    assert found["task"] == task and found["records"] >= 1 and found["first"]
    read = str(found["first"])
    for word in re.findall(r"far|mile|lovely|broke", content):
        assert word in read


def test_readme_is_short_and_begins_with_the_languages() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert lines[0] == "English · [简体中文](seqgen/docs/zh/README.md)"
    assert len(lines) <= 250


# ---- The command ----


def test_docs_command_lists_pages_and_prints_their_markdown(run: Run) -> None:
    lines = run("docs").lines
    assert [line.split()[0] for line in lines][: len(TOPICS)] == list(TOPICS)
    for topic in ("music", "MUSIC", "music.md"):
        assert run("docs", topic).out == (DOCS / "music.md").read_bytes()


def test_docs_command_prints_translations(run: Run) -> None:
    for path in DOCS.glob("*/*.md"):
        assert run("docs", path.relative_to(DOCS).with_suffix("").as_posix()).out == path.read_bytes()


def test_docs_reference_names_every_command_and_flag_with_its_default(run: Run) -> None:
    page = run("docs", "reference").text
    for command in COMMANDS:
        assert f"\n## seqgen {command}\n" in page
    for options in (TrainOptions, SampleOptions, ForecastOptions):
        for item in dataclasses.fields(options):
            assert flag_name(item.name) in page
    assert "| `--cell lstm\\|gru\\|rnn` | Recurrent cell. [default: lstm] |" in page


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_docs_command_on_a_terminal_renders_the_whole_page(
    inside: TerminalRun, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    shown: list[str] = []
    monkeypatch.setattr("pydoc.pager", shown.append)
    inside("docs", "safety")
    assert ("\x1b[" in shown[0]) == (not environment)
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown[0])
    assert "decompression bomb" in text and "|---|" not in text and "…" not in text


def test_docs_command_loads_no_torch() -> None:
    code = "import sys\nfrom seqgen.cli.main import main\nassert main(sys.argv[1:]) == 0"
    for arguments in (["docs"], ["docs", "music"], ["docs", "reference"]):
        assert not imported_packages(code, *arguments) & {"torch", "numpy", "datasets"}


def test_page_has_the_keys_of_json(run: Run, tmp_path: Path) -> None:
    table = (DOCS / "formats.md").read_text("utf-8").partition("## JSON\n")[2]
    rows = re.findall(r"^\| `([a-z]+) ?([^`|]*)` \| (.+) \|$", table, re.MULTILINE)
    assert [name for name, _, _ in rows] == ["evaluate", "score", "classify", "forecast", "info", "read", "compare"]
    golden = ROOT / "tests" / "golden" / "models"
    (tmp_path / "a.txt").write_text("The tide came in.\n")
    text = tmp_path / "a.txt"
    arguments = {
        "evaluate": (golden / "tidewater-lstm", text, "--no-baselines"),
        "score": (golden / "tidewater-lstm", text, "--per-token"),
        "classify": (golden / "reviews-lstm", text),
        "forecast": (golden / "weather-gru", "weather"),
        "info": (golden / "tidewater-lstm",),
        "read": (text,),
    }
    for name, flags, keys in rows:
        found = (
            Comparison("text", "units", {}, [], []).to_json()
            if name == "compare"
            else json.loads(run(name, *arguments[name], *flags.split()).out.partition(b"\n{")[0])
        )
        assert not set(re.findall(r"`(\w+)`", keys)) - set(found), name
