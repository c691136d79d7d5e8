"""Tables as strangers export them: each row of the table of trials is a small input and what a good program reads.

A dialects of tables · D times and numbers · E guessing · F headers · L labels · M lists of names
"""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from seqgen.api.reading.run import read
from seqgen.corpus.labelled.labels import cell_splitter
from seqgen.errors import DataError

Result = dict[str, Any]
DAYS = [datetime.date(2021, 1, 1) + datetime.timedelta(days=n) for n in range(40)]
HOURS = [datetime.datetime(2021, 1, 1) + datetime.timedelta(hours=n) for n in range(60)]
SAID = [(f"the room was {word} and number {n}", label)
        for n in range(12) for word, label in (("fine", "good"), ("poor", "bad"))]  # fmt: skip
BOTH = {"bad": 12, "good": 12}


@dataclass(frozen=True)
class Trial:
    """`check` gives what is compared with `expected`; an error is compared by its text."""

    name: str
    lines: list[str]
    check: Callable[[Result], Any]
    expected: Any
    options: dict[str, Any] = field(default_factory=dict)
    file: str = "table.csv"
    encoding: str = "utf-8"
    end: str = "\n"


def task(result: Result) -> str:
    return str(result["task"])


def columns(result: Result) -> dict[str, str]:
    return {name: role for name, role in result["columns"].items() if role != "unused"}


def labels(result: Result) -> dict[str, int]:
    return dict(result["labels"])


def first(result: Result) -> Any:
    row = result["first"][0]
    return (row["time"][:16], list(row["values"].values())) if "values" in row else (row["text"], row["labels"])


def quiet(result: Result) -> tuple[Any, list[str]]:
    """The first row, and the warnings."""
    return first(result), result["warnings"]


def warned(*words: str) -> Callable[[Result], tuple[Any, bool]]:
    """The first row, and whether one warning has all the words."""
    return lambda result: (first(result), any(all(word in each for word in words) for each in result["warnings"]))


def daily(write: Callable[[datetime.date, int], str]) -> list[str]:
    return [write(day, n) for n, day in enumerate(DAYS)]


def de(number: float) -> str:
    """A number as it is written in German: 1.234,50."""
    return f"{number:,.2f}".replace(",", "_").replace(".", ",").replace("_", ".")


def labelled(header: str, mark: str = ",") -> list[str]:
    return [header, *(f"{text}{mark}{label}" for text, label in SAID)]


START = "2021-01-01T00:00"
FIRST = (START, [1000.5])
TEXT = ("the room was fine and number 0", ["good"])
TRIALS = [
    # ---- A: dialects ----
    Trial(
        "bank statement",
        [
            '"Konto:";"DE12 3456"',
            '""',
            '"Stand:";"1.234,56 EUR"',
            '"";',
            '"Buchungstag";"Text";"Saldo (EUR)"',
            *daily(lambda day, n: f'"{day:%d.%m.%Y}";"Miete";"{de(1000.5 + n)}"'),
        ],
        first,
        FIRST,
        encoding="cp1252",
    ),
    Trial(
        "rows above filled up by a spreadsheet",
        [
            "Konto:;DE12 3456;;",
            ";;;",
            "Stand:;1.234,56;EUR;"[:-4] + ";;",
            "Tag;Text;Betrag;Ort",
            *daily(lambda day, n: f"{day:%d.%m.%Y};Miete;{de(1000.5 + n)};Ulm"),
        ],
        warned("2 lines above the table"),
        (FIRST, True),
    ),
    Trial(
        "R's write.table",
        ['"date" "temp"', *daily(lambda day, n: f'"{n + 1}" "{day}" {1000.5 + n}')],
        first,
        FIRST,
        {"task": "forecast"},
        "out.txt",
    ),
    Trial(
        "psql",
        [" day        | amount", "------------+--------", *daily(lambda day, n: f" {day} | {1000.5 + n}"), "(40 rows)"],
        first,
        FIRST,
        {"task": "forecast"},
        "out.txt",
    ),
    Trial(
        "mysql",
        [
            "+-----+-----+",
            "| day | amount |",
            "+-----+-----+",
            *daily(lambda day, n: f"| {day} | {1000.5 + n} |"),
            "+-----+-----+",
            "40 rows in set (0.00 sec)",
        ],
        lambda found: (first(found), list(found["columns"])),
        (FIRST, ["day", "amount"]),
        {"task": "forecast"},
        "o.txt",
    ),
    Trial(
        "rows quoted as a whole", ['"date,value"', *daily(lambda day, n: f'"{day},{1000.5 + n}"')], quiet, (FIRST, [])
    ),
    Trial(
        "texts in rows quoted as a whole",
        ['"text,label"', *(f'"""{text}, indeed"",{label}"' for text, label in SAID)],
        first,
        (TEXT[0] + ", indeed", ["good"]),
    ),
    Trial(
        "single quotes",
        ["'text';'label'", *(f"'{text}; it''s so';'{label}'" for text, label in SAID)],
        first,
        (TEXT[0] + "; it's so", ["good"]),
    ),
    Trial(
        "carets",
        ["date^value", *daily(lambda day, n: f"{day}^{1000.5 + n}")],
        quiet,
        (FIRST, []),
        {"task": "forecast"},
        "out.txt",
    ),
    Trial(
        "tildes beside commas",
        ["text~label", *(f"well, {text}~{label}" for text, label in SAID)],
        labels,
        BOTH,
        {"task": "classify"},
    ),
    Trial(
        "commas in texts, in every row",
        labelled("text,label")[:1] + [f"well, {text}, is it,{label}" for text, label in SAID],
        warned("more than 2 cells"),
        (("well, the room was fine and number 0, is it", ["good"]), True),
    ),
    Trial(
        "the same behind the label",
        ["label,text", *(f"{label},“{text}, really” he said" for text, label in SAID)],
        first,
        (f"“{TEXT[0]}, really” he said", ["good"]),
    ),
    Trial(
        "one comma in every text",
        ["text,label", *(f"“so, {text}”,{label}" for text, label in SAID)],
        first,
        (f"“so, {TEXT[0]}”", ["good"]),
        {"task": "classify"},
    ),
    Trial(
        "decimal commas between commas",
        ["date,temp", *daily(lambda day, n: f"{day},{n},5")],
        str,
        "line 2 has 3 cells, but the header has 2; check for decimal commas",
        {"task": "forecast"},
    ),
    Trial(
        "names of rows",
        ['"Murder" "Pop"', *(f'"State {n}" {n}.5 {50 + n}' for n in range(20))],
        lambda found: list(found["columns"]),
        ["column_1", "Murder", "Pop"],
        {"task": "forecast"},
        "out.txt",
    ),
    # ---- D: times and numbers ----
    Trial(
        "three decimals between commas",
        ["date,a,b", *daily(lambda day, n: f"{day},{1 + n / 7:.3f},{12 + n / 7:.3f}")],
        quiet,
        ((START, [1.0, 12.0]), []),
    ),
    Trial(
        "three decimals without dates",
        ["a,b", *daily(lambda day, n: f"{1 + n / 7:.3f},{12 + n / 7:.3f}")],
        quiet,
        (("", [1.0, 12.0]), []),
    ),
    Trial(
        "thousands between semicolons",
        ["Datum;Gäste", *daily(lambda day, n: f"{day:%d.%m.%Y};1.{n + 100}")],
        warned("points group thousands (1.100 is 1100)", "2020-01-31"),
        ((START, [1100.0]), True),
    ),
    Trial(
        "thousands between tabs",
        ["Fecha\tVisitas", *daily(lambda day, n: f"{day:%d/%m/%Y}\t1.{n + 100}")],
        warned("if 1.100 means 1100, remove the points"),
        ((START, [1.1]), True),
        file="v.tsv",
    ),
    Trial(
        "a total below",
        ["Date,Sales", *daily(lambda day, n: f"{day},{1000.5 + n}"), "Total,40800"],
        warned("line 42", "'Total'"),
        (FIRST, True),
    ),
    Trial(
        "sums in words below",
        [
            "Datum;Umsatz;Gäste",
            *daily(lambda day, n: f"{day:%d.%m.%Y};{de(1000.5 + n)};{n}"),
            "Summe;9;9",
            "Mittelwert;9;9",
        ],
        warned("'Summe'"),
        ((START, [1000.5, 0.0]), True),
    ),
    Trial(
        "clock with a point",
        ["Pvm;Klo;Lämpö", *(f"{hour:%d.%m.%Y;%H.%M};{n},5" for n, hour in enumerate(HOURS))],
        lambda found: (found["records"], first(found)),
        (60, (START, [0.5])),
    ),
    Trial(
        "flags behind numbers",
        ["TIME,VALUE", *(f"2020M{n + 1:02},{1000.5 + n}{' p' * (n > 10)}" for n in range(12))],
        lambda found: (task(found), warned("'1011.5 p'")(found)),
        ("forecast", (("2020-01-01T00:00", [1000.5]), True)),
    ),
    Trial(
        "units behind numbers",
        ["date;temp;load", *daily(lambda day, n: f"{day};{n},5 °C;{1000.5 + n} kWh")],
        warned("'°C'"),
        ((START, [0.5, 1000.5]), True),
    ),
    Trial(
        "multipliers behind decimal commas",
        ['"Datum","Vol."', *daily(lambda day, n: f'"{day:%d.%m.%Y}","{"900,30K" if n == 1 else f"1,{n + 20}M"}"')],
        lambda found: [row["values"]["Vol."] for row in found["first"][:3]],
        [1_200_000, 900_300, 1_220_000],
        {"task": "forecast"},
    ),
    Trial(
        "a unit beside a multiplier",
        ["date;load", *daily(lambda day, n: f"{day};{'2900k' if n == 9 else f'{n}.5m'}")],
        str,
        "line 11, column 'load'",
        {"task": "forecast"},
    ),
    Trial(
        "multipliers before a unit",
        ["date,views", *daily(lambda day, n: f"{day},{'1.2K' if n in (3, 7) else 700 + n} views")],
        lambda found: (warned("suffixes such as K")(found)[1], warned("the unit 'views'")(found)),
        (True, (("2021-01-01T00:00", [700.0]), True)),
        {"task": "forecast"},
    ),
    Trial(
        "multipliers before a unit in Chinese",
        ["日期,播放", *daily(lambda day, n: f"{day},{'1.2万' if n == 1 else 7000 + n}次")],
        lambda found: [row["values"]["播放"] for row in found["first"][:3]],
        [7000, 12_000, 7002],
        {"task": "forecast"},
    ),
    Trial(
        "another unit in a row",
        ["date;load", *daily(lambda day, n: f"{day};{n}.5 {'M' if n == 9 else 'k'}Wh")],
        str,
        "line 11, column 'load'",
        {"task": "forecast"},
    ),
    Trial(
        "hours from 1 to 24",
        ["Datum;Zeit;kWh", *(f"{DAYS[n // 24]:%d.%m.%Y};{n % 24 + 1:02}:00;{n},5" for n in range(72))],
        lambda found: (found["records"], first(found)),
        (72, ("2021-01-01T01:00", [0.5])),
    ),
    Trial(
        "weekdays before dates",
        [
            "Tag;Gäste",
            *daily(lambda day, n: f"{('Mo', 'Di', 'Mi', 'Do', 'Fr', 'Sa', 'So')[day.weekday()]}, {day:%d.%m.%Y};{n}"),
        ],
        quiet,
        ((START, [0.0]), []),
    ),
    Trial(
        "Arabic digits",
        [
            "التاريخ;القيمة",
            *daily(lambda day, n: f"{day:%d/%m/%Y};{n + 1}٫٥".translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))),
        ],
        first,
        (START, [1.5]),
    ),
    Trial("a two-row series", ["date,v", "2021-01-01,1.5", "2021-01-02,1.6"], task, "forecast"),
    # ---- F: headers · E: guessing ----
    *(
        Trial(f"header {header}", labelled(header), lambda found: (task(found), labels(found)), ("classify", BOTH))
        for header in (
            "评论内容,情感倾向",
            "отзыв,оценка",
            "avis,note",
            "Kommentar,Stimmung",
            "본문,감성",
            "النص,التصنيف",
        )
    ),
    Trial(
        "grades before semicolons and commas",
        ["Note;Meinung", *(f"{1 + n % 3};Gutes Produkt, schnelle Lieferung {n}" for n in range(30))],
        lambda found: columns(found),
        {"Note": "label", "Meinung": "text"},
    ),
    Trial(
        "names that end in the usual ones",
        [
            "id,airline_sentiment,confidence,Review Text",
            *(f"{n}1,{label},0.{n},{text}" for n, (text, label) in enumerate(SAID)),
        ],
        columns,
        {"airline_sentiment": "label", "Review Text": "text"},
    ),
    Trial(
        "several candidates",
        ["id,comment_text,toxic,obscene", *(f"x{n},{text},{n % 2},{n % 3 // 2}" for n, (text, _) in enumerate(SAID))],
        lambda found: any("could be in" in each for each in found["warnings"]),
        True,
        {"task": "classify"},
    ),
    Trial(
        "times beside texts",
        [
            "0,Mon Apr 06 22:19:00 PDT 2009,2021/01/01 3:00:00 PM GMT+1,the room was fine",
            "4,Mon Apr 06 22:19:09 PDT 2009,2021/01/02 3:00:00 PM GMT+1,the room was poor",
        ]
        * 8,
        columns,
        {"column_1": "label", "column_4": "text"},
        {"task": "classify"},
    ),
    Trial(
        "names over several lines",
        ['Date,"Temp\n(°C)"', *daily(lambda day, n: f"{day},{1000.5 + n}")],
        columns,
        {"Date": "time", "Temp (°C)": "target"},
    ),
    Trial(
        "names with units", ["Date [UTC],Wind (m/s)", *daily(lambda day, n: f"{day},{1000.5 + n}")], quiet, (FIRST, [])
    ),
    Trial(
        "numbers and a label",
        ["length,width,species", *(f"{n}.5,{n}.1,{'ab'[n % 2]}" for n in range(30))],
        lambda found: (task(found), "read as prose" in found["warnings"][0]),
        ("text", True),
    ),
    # ---- L: labels ----
    Trial(
        "labels at bars",
        ["title,genres", *(f"Film number {n} is here,{('A|D', 'D', 'C|D', 'C')[n % 4]}" for n in range(40))],
        lambda found: (labels(found), warned("'A|D'", "A and D")(found)[1]),
        ({"A": 10, "C": 20, "D": 30}, True),
        {"task": "classify"},
    ),
    Trial(
        "lists in Python",
        [
            "text,labels",
            *(f'word number {n},"{("[" + chr(39) + "a" + chr(39) + "]", "[]")[n % 2]}"' for n in range(20)),
        ],
        labels,
        {"a": 10},
    ),
    Trial(
        "lists in JSON",
        ["text,labels", *(f'word number {n},"[""a"", ""b""]"' for n in range(20))],
        labels,
        {"a": 20, "b": 20},
    ),
    Trial(
        "capitals",
        ["text,label", *(f"word number {n},{('Good', 'good', 'Bad', 'bad')[n % 4]}" for n in range(40))],
        lambda found: (len(labels(found)), warned("capitals", "'Good' and 'good'")(found)[1]),
        (4, True),
    ),
    Trial(
        "stars",
        ["review,stars", *(f"😀 “fine”, number {n},{'★' * (n % 3)}☆" for n in range(30))],
        labels,
        {"☆": 10, "★☆": 10, "★★☆": 10},
    ),
    Trial(
        "leading zeros",
        ["text,category", *(f"word number {n},{('01', '1', '1.0')[n % 3]}" for n in range(30))],
        labels,
        {"01": 10, "1": 20},
    ),
    # ---- M: lists of names ----
    Trial(
        "a name with a comma",
        ['date,"Load, total [MW]",Wind', *daily(lambda day, n: f"{day},{1000.5 + n},{n}")],
        first,
        FIRST,
        {"target": ("Load, total [MW]",)},
    ),
    Trial(
        "a misspelt name",
        ["date,Close,x", *daily(lambda day, n: f"{day},{n},{n}")],
        str,
        "did you mean 'Close'?",
        {"target": ("Clsoe",)},
    ),
    Trial(
        "formulas that keep text", ["date,value", *daily(lambda day, n: f'="{day}",={1000.5 + n}')], quiet, (FIRST, [])
    ),
    Trial(
        "apostrophes that mark text", ["date,value", *daily(lambda day, n: f"{day},'{1000.5 + n}")], quiet, (FIRST, [])
    ),
    Trial(
        "cells of date and clock",
        ["date time v", *(f"{hour:%Y-%m-%d %H:%M} {1000.5 + n}" for n, hour in enumerate(HOURS))],
        lambda found: (found["records"], first(found)),
        (60, FIRST),
        {"task": "forecast"},
        "out.txt",
    ),
    Trial(
        "year and week in six digits",
        ["yearweek,v", *(f"2021{week:02},{week}" for week in range(1, 52))],
        quiet,
        (("2021-01-04T00:00", [1.0]), []),
    ),
    Trial(
        "some percent signs",
        ["date,v", *daily(lambda day, n: f"{day},{n}.5{'%' * (n % 2)}")],
        warned("some numbers have none"),
        ((START, [0.5]), True),
    ),
    Trial(
        "two currencies",
        ["date,v", *daily(lambda day, n: f"{day},{'€$'[n % 2]}{n}.5")],
        warned("they differ"),
        ((START, [0.5]), True),
    ),
    Trial(
        "notes beside numbers",
        [
            "date,v,note",
            *daily(lambda day, n: f"{day},{1000.5 + n},{'snow fell all day and all night' * (n % 9 == 0)}"),
        ],
        warned("'note' contains text"),
        (FIRST, True),
    ),
    Trial(
        "seconds with decimal commas",
        ["Zeit;U", *(f"{n / 2:.1f};{n + 1}.5".replace(".", ",") for n in range(40))],
        columns,
        {"U": "target"},
    ),
    Trial(
        "short texts",
        [
            "name,gender",
            *(
                f"{name},{'fm'[n % 2]}"
                for n, name in enumerate(["Ann", "Bob", "Cleo", "Dan", "Eva", "Fay", "Guy", "Hal", "Ida", "Joe"])
            ),
        ],
        labels,
        {"f": 5, "m": 5},
        {"task": "classify"},
    ),
    Trial(
        "German days beside texts",
        ["Tag;Text;Betrag", *daily(lambda day, n: f"{day:%d.%m.%Y};Miete {n % 4};{n},50")],
        task,
        "forecast",
    ),
    Trial(
        "fastText labels in a table",
        ["text,label", *(f"{text},__label__{label}" for text, label in SAID)],
        labels,
        BOTH,
    ),
    Trial(
        "objects as labels",
        ["text,label", *(f"{text},\"{{'name': '{label}'}}\"" for text, label in SAID)],
        str,
        ":2: the label is an object",
    ),
]


def read_trial(trial: Trial, lines: list[str], folder: Path) -> Result:
    path = folder / trial.file
    path.write_bytes((trial.end.join(lines) + trial.end).encode(trial.encoding))
    return read(str(path), **trial.options)


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_table_of_a_stranger_is_read_rightly(trial: Trial, tmp_path: Path) -> None:
    try:
        result = read_trial(trial, trial.lines, tmp_path)
    except DataError as error:
        assert isinstance(trial.expected, str) and trial.expected in str(error), error
        assert "\n" not in str(error) and trial.file in str(error)
        return
    assert trial.check(result) == trial.expected, json.dumps(result, ensure_ascii=False)[:2000]


SHUFFLED = ("three decimals between commas", "thousands between semicolons", "flags behind numbers", "labels at bars",
            "header avis,note", "commas in texts, in every row", "names that end in the usual ones")  # fmt: skip


@pytest.mark.parametrize("trial", [one for one in TRIALS if one.name in SHUFFLED], ids=lambda trial: trial.name)
def test_rows_in_another_order_are_read_alike(trial: Trial, tmp_path: Path) -> None:
    header, *rows = trial.lines
    random.Random(1).shuffle(rows)
    found = [read_trial(trial, lines, tmp_path) for lines in (trial.lines, [header, *rows])]
    for key in ("task", "delimiter", "records", "columns", "labels"):
        assert found[0][key] == found[1][key]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["Boston, MA", "Dallas, TX", "Austin, TX"], ("Boston, MA",)),
        (["yes; fully", "yes; partly", "no; fully"], ("yes; fully",)),
        (["CD|DVD", "Book"], ("CD|DVD",)),
        (["[sic]", "plain"], ("[sic]",)),
        (["1.0", "2"], ("1",)),
        (["", "a"], ()),
        (['["x", "y z"]', "[]"], ("x", "y z")),
        (["a;b", "a", "b;c", "c"], ("a", "b")),
    ],
)
def test_cell_splitter_splits_what_is_a_list(cells: list[str], expected: tuple[str, ...]) -> None:
    assert cell_splitter(cells)[0](cells[0]) == expected
