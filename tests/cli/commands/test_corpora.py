"""`seqgen corpora`."""

from __future__ import annotations

from tests.helpers.running import Run

# ---- corpora ----


def test_the_catalogue_can_be_read_by_a_person_and_a_program(run: Run) -> None:
    table = run("corpora").out.decode()
    entries = run("corpora", "--json").json
    assert [line.split()[0] for line in table.splitlines()[1:]] == [entry["name"] for entry in entries]
