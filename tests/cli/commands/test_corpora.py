"""`seqgen corpora`."""

from __future__ import annotations

from tests.helpers.running import Run

# ---- corpora ----


def test_corpora_lists_the_catalogue_as_text_and_json(run: Run) -> None:
    table = run("corpora").out.decode()
    entries = run("corpora", "--json").json
    assert [line.split()[0] for line in table.splitlines()[1:]] == [entry["name"] for entry in entries]
