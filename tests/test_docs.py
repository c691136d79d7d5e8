"""The documentation: every command in it runs, its output has the shape shown, links lead somewhere, `seqgen docs`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import seqgen
from tests.helpers.documented import Page, command_server, explain, read_page, run_page, shape_difference

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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the commands run in a POSIX shell")
@each_page
def test_docs_commands_run_and_write_what_is_shown(
    path: Path, tmp_path: Path, private_cache: Path, server: str
) -> None:
    page = read(path)
    if not page.python and all(example.reason for example in page.examples):
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
