"""Errors of the series reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqgen.errors import UserError
from tests.helpers.series import DAYS, daily_table, read_table

ERRORS = [
    ("nothing", b"", {}, "t.csv is not a table: it has no rows"),
    ("a header only", b"date,x\n", {}, "t.csv has a header but no rows"),
    (
        "binary",
        b"\x00\x93\xff\x03\x80" * 9,
        {},
        "t.csv is not a table: it is binary; use CSV, TSV, Excel or Parquet",
    ),
    (
        "a header over short rows",
        b"%s\n" % b",".join(b"n%d" % number for number in range(5000)) + b'1,"2"\n' * 5000,
        {},
        "t.csv has 5,000 columns, but its rows lack nearly all of their cells; leave out the columns without cells",
    ),
    ("a spreadsheet", b"PK\x03\x04rest", {}, "'t.csv' is a damaged zip archive, not text; get it again"),
    ("broken Parquet", b"PAR1rest", {}, "cannot read t.csv as Parquet: "),
    ("typing error", DAYS, {"targets": ("X2",)}, "t.csv has no column 'X2'; did you mean 'x'? The columns are date, x"),
    (
        "near miss",
        b"date,open,close\n2020-01-01,1,2\n",
        {"targets": ("clsoe",)},
        "t.csv has no column 'clsoe'; did you mean 'close'? The columns are date, open, close",
    ),
    ("no such time", DAYS, {"time_column": "when"}, "t.csv has no column 'when'; the columns are date, x"),
    ("no such series", DAYS, {"series": "id"}, "t.csv has no column 'id'; the columns are date, x"),
    (
        "no such covariate",
        DAYS,
        {"future_covariates": ("z",)},
        "t.csv has no column 'z'; the columns are date, x",
    ),
    ("twice", DAYS, {"targets": ("x", "x")}, "t.csv: the column 'x' is given twice"),
    (
        "time as target",
        DAYS,
        {"targets": ("date",)},
        "t.csv: the column 'date' has times or series names, not numbers",
    ),
    (
        "a sum between",
        daily_table(*range(2, 20)) + b"Total,500\n2020-01-20,4\n",
        {},
        "t.csv, line 20, column 'date': 'Total' is not a time; write it as 2020-01-31 or 2020-01-31 18:00:00",
    ),
    (
        "odd number",
        daily_table(1, 2, "12.5kg", 4),
        {},
        "t.csv, line 4, column 'x': '12.5kg' is not a number; correct it, or leave the cell empty",
    ),
    (
        "two decimal marks",
        b"date;x\n2020-01-01;1,5\n2020-01-02;2.25\n2020-01-03;2.75\n",
        {},
        "t.csv, line 2, column 'x': '1,5' is not a number; correct it, or leave the cell empty",
    ),
    (
        "infinite",
        daily_table(1, 2, "inf", 4),
        {},
        "t.csv, line 4, column 'x': infinite number; correct it, or leave the cell empty",
    ),
    (
        "too large",
        daily_table(1, 2, "1e999", 4),
        {},
        "t.csv, line 4, column 'x': infinite number; correct it, or leave the cell empty",
    ),
    (
        "text as target",
        b"date,x,sky\n2020-01-01,1,sun\n2020-01-02,2,rain\n",
        {"targets": ("sky",)},
        "t.csv, line 2: the target 'sky' contains text ('sun') instead of numbers",
    ),
    (
        "two numbers in a cell as target",
        daily_table("9℃ / -1℃", "4℃ / -6℃", "-1℃/-11℃"),
        {"targets": ("x",)},
        "t.csv: each cell of 'x' has two numbers ('9℃ / -1℃'); write them into two columns",
    ),
    (
        "two numbers of full width",
        daily_table("9℃／-1℃", "4℃／-6℃", "-1℃／-11℃"),
        {"targets": ("x",)},
        "t.csv: each cell of 'x' has two numbers ('9℃／-1℃'); write them into two columns",
    ),
    (
        "months as target",
        daily_table("01/2024", "02/2024", "03/2024"),
        {"targets": ("x",)},
        "t.csv, line 2: the target 'x' contains text ('01/2024') instead of numbers",
    ),
    (
        "two numbers in a cell",
        daily_table("120/80", "125/82", "118/79"),
        {},
        "t.csv has no numeric column to forecast; each cell of 'x' has two numbers ('120/80'); write them into two "
        "columns",
    ),
    (
        "words only",
        b"a,b\nx,y\nz,w\n",
        {},
        "t.csv has no numeric column to forecast; the columns are column_1, column_2",
    ),
    (
        "too many cells",
        b"date,x\n2020-01-01,1\n2020-01-02,1,5\n2020-01-03,2\n2020-01-04,2\n2020-01-05,2\n2020-01-06,2\n",
        {},
        "t.csv, line 3 has 3 cells, but the header has 2; check for decimal commas and unquoted text",
    ),
    (
        "open quote",
        b'date,x\n2020-01-01,"1\n2020-01-02,2\n2020-01-03,3\n2020-01-04,3\n',
        {},
        "t.csv, line 2, column 'x': '\"1' is not a number; correct it, or leave the cell empty",
    ),
    (
        "bad date",
        b"date,x\n2020-01-01,1\n2020-02-30,2\n2020-01-03,3\n",
        {},
        "t.csv, line 3, column 'date': '2020-02-30' is not a time; write it as 2020-01-31 or 2020-01-31 18:00:00",
    ),
    (
        "no date",
        b"date,x\n2020-01-01,1\nsoon,2\n2020-01-03,3\n",
        {"time_column": "date"},
        "t.csv, line 3, column 'date': 'soon' is not a time; write it as 2020-01-31 or 2020-01-31 18:00:00",
    ),
    (
        "neither order",
        b"date,x\n13/01/2020,1\n01/13/2020,2\n",
        {},
        "t.csv, line 3, column 'date': '01/13/2020' is not a time; write it as 2020-01-31 or 2020-01-31 18:00:00",
    ),
    ("no times at all", b"date,x\n,1\n,2\n", {"time_column": "date"}, "t.csv: the column 'date' has no times"),
    (
        "either order",
        b"date,x\n01/02/2020,1\n01/03/2020,2\n01/04/2020,3\n",
        {},
        "t.csv, line 2, column 'date': '01/02/2020' could be day/month or month/day, and no row decides it; "
        "write dates as 2020-01-31",
    ),
    (
        "a day that is none",
        b"year,month,day,x\n2020,1,31,1\n2020,2,30,2\n",
        {},
        "t.csv, line 3: invalid time 2020 2 30",
    ),
    (
        "part of a day",
        b"year,month,day,x\n2020,1,1,1\n2020,1,,2\n",
        {},
        "t.csv, line 3, column 'day': '' is not an integer",
    ),
    (
        "below each other",
        b"id,date,x\na,2020-01-01,1\na,2020-01-02,2\nb,2020-01-01,5\nb,2020-01-02,6\n",
        {},
        "t.csv has 2 series, distinguished by the column 'id'; give --series id",
    ),
    ("no names", b"id,date,x\n,2020-01-01,1\n,2020-01-02,2\n", {"series": "id"}, "t.csv: no row has a series name"),
    ("narrower", DAYS, {"frequency": "hour"}, "t.csv has a row every day, but one every hour is required"),
    (
        "strange frequency",
        DAYS,
        {"frequency": "moon"},
        "--frequency must be a step such as hour, '15 minutes', 'business day', month or row, not 'moon'",
    ),
    ("few rows without times", b"x\n5\n", {}, "t.csv is too short: 1 row; 2 are needed"),
    ("one row", daily_table(1), {}, "t.csv is too short: one row is not enough to infer the frequency"),
    ("few rows", DAYS, {"min_rows": 30}, "t.csv is too short: 4 rows, one every day; 30 are needed"),
    (
        "empty target",
        b"date,x,y\n2020-01-01,,1\n2020-01-02,,2\n2020-01-03,,2\n",
        {"targets": ("x",)},
        "t.csv: 'x' has no numbers",
    ),
    (
        "mostly empty target",
        daily_table(1, None, None, None, None, 6),
        {"targets": ("x",)},
        "t.csv: the target 'x' is missing in 67% of the rows; at most 50% may be missing",
    ),
    (
        "mostly empty covariate",
        b"date,x,y\n2020-01-01,1,\n2020-01-02,3,2\n2020-01-03,2,\n",
        {"covariates": ("y",)},
        "t.csv: the covariate 'y' is missing in 67% of the rows; at most 50% may be missing",
    ),
    (
        "gap near the end",
        daily_table(*range(40), *[None] * 8, 1, 2),
        {"frequency": "row"},
        "t.csv: 'x' has a gap of 8 rows after line 41; at most 5 can be interpolated; fill it, or cut the table there",
    ),
    (
        "one target ends",
        b"x,y\n" + b"".join(b"%d,%s\n" % (n % 7, b"" if n >= 40 else b"5") for n in range(50)),
        {},
        "t.csv: 'y' ends after line 41, 10 rows before the last; at most 5 can be filled; cut the table there, or "
        "leave the column out of the targets",
    ),
    (
        "mostly missing times",
        b"t,x\n" + b"".join(b"2020-01-%02d 09:%02d,1\n" % (6 + n // 9, n % 9) for n in range(27)),
        {},
        "t.csv: 2,862 of 2,889 times are missing at one row every minute; give a coarser --frequency, or ignore times "
        "(--frequency row)",
    ),
    (
        "a time far off",
        b"t,x\n2020-01-01 00:00,1\n2020-01-01 00:01,1\n2020-01-01 00:02,1\n9020-01-01 00:00,1\n",
        {},
        "from 2020-01-01T00:00:00 to 9020-01-01T00:00:00 there are ",
    ),
    (
        "faster than seconds",
        b"t,x\n" + b"".join(b"2020-01-01 00:00:00.%d,1\n" % n for n in range(9)),
        {},
        "t.csv has rows less than a second apart, but times have a resolution of one second; ignore times "
        "(--frequency row), or average the rows first",
    ),
]


@pytest.mark.parametrize("case", ERRORS, ids=[case[0] for case in ERRORS])
def test_read_series_errors_are_one_line(tmp_path: Path, case: tuple) -> None:
    _, data, options, message = case
    with pytest.raises(UserError) as caught:
        read_table(tmp_path, data, **options)
    message_text = str(caught.value)
    assert message_text == message or (message_text.startswith(message) and message.endswith(" ")), message_text
    assert "\n" not in message_text
