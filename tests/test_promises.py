"""The tables of promises: every promise of README, the help and the pages has a row, and every row a test."""

from __future__ import annotations

import pytest

from tests.helpers import promises
from tests.helpers.promises import UNPROMISED, Promise, not_held, plain, promising, sentences


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return promises.pages()


@pytest.fixture(scope="module")
def said(texts: dict[str, str]) -> list[str]:
    """All sentences of the documentation, as they are compared."""
    return [plain(sentence) for page in texts.values() for sentence in sentences(page)]


def test_promise_of_the_documentation_has_a_row(texts: dict[str, str]) -> None:
    without = not_held(texts, promises.promises())
    assert not without, (
        "these sentences sound like promises. Quote some of their words (“…”) in a row of seqgen/docs/safety.md, beside"
        " the test or benchmark that holds them; write that test if there is none; say less if it isn't so; or, if they"
        " promise nothing of the program, add them to UNPROMISED in tests/helpers/promises.py:\n" + "\n".join(without)
    )


def test_promise_is_held_by_tests_that_exist() -> None:
    rows = promises.promises()
    assert len(rows) >= 90
    assert [row.text for row in rows if not row.holders] == []
    assert [(row.text, each) for row in rows for each in row.holders if not promises.is_there(each)] == []


def test_promise_quotes_words_that_the_documentation_has(said: list[str]) -> None:
    quotes = [quote for row in promises.promises() for quote in row.quotes]
    assert [quote for quote in quotes if len(quote) < promises.MIN_QUOTE] == []
    gone = [quote for quote in quotes if not any(quote in sentence for sentence in said)]
    assert not gone, f"no page says this any more; take it out of seqgen/docs/safety.md: {gone}"
    assert len(set(quotes)) == len(quotes)


def test_promise_quote_means_few_sentences(said: list[str]) -> None:
    """Otherwise a few words would hold sentences that nobody thought of."""
    found = {
        quote: sorted({sentence for sentence in said if quote in sentence})
        for row in promises.promises()
        for quote in row.quotes
    }
    assert {quote: sentences for quote, sentences in found.items() if len(sentences) > 6} == {}


def test_unpromised_words_are_those_of_sentences_that_sound_like_promises(texts: dict[str, str]) -> None:
    sounding = [plain(sentence) for page in texts.values() for sentence in promising(page)]
    words = [each for group in UNPROMISED.values() for each in group]
    assert [each for each in words if not any(plain(each) in sentence for sentence in sounding)] == []


PAGE = """# A page

It never stops. The ids are read; what **never** was is
kept. `--never` is a flag.

    never in an example

```
never in a block
```

| input | never | always |
|---|---|---|
| text | runs | nothing is lost |
"""


def test_promising_sentences_are_found_in_prose_and_tables() -> None:
    assert promising(PAGE) == ["It never stops.", "what **never** was is kept.", "never runs", "nothing is lost"]
    assert not_held({"p": PAGE}, [Promise("", ("never stops", "what never was", "never runs"), ())]) == [
        "p: nothing is lost"
    ]


@pytest.mark.parametrize(
    ("holder", "there"),
    [
        ("tests/test_promises.py::test_holder_is_there", True), ("tests/benchmarks/soak.py", True),
        ("tests/test_promises.py::test_of_nothing", False), ("tests/test_promises.py", False),
        ("tests/benchmarks/none.py", False), ("tests/nowhere.py::test_holder_is_there", False),
    ],
)  # fmt: skip
def test_holder_is_there(holder: str, there: bool) -> None:
    assert promises.holders(f"by `{holder}`") == [holder]
    assert promises.is_there(holder) is there
