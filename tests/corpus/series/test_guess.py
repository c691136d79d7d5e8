"""Detection of time series files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seqgen.corpus.series.read import looks_like_series
from seqgen.corpus.series.tables import sniff_parquet
from tests.helpers.series import DAYS, daily_table, document, parquet_file

LOOKS = [
    ("t.csv", DAYS, True),
    ("t.txt", DAYS, True),
    ("t.csv", b"symbol,date,price\nA,Jan 1 2000,39\nA,Feb 1 2000,36\nB,Jan 1 2000,9\nB,Feb 1 2000,7\n", True),
    ("t.csv", b"a,b\n1,2\n3,4\n5,6\n", True),
    ("t.txt", b"a,b\n1,2\n3,4\n5,6\n", False),  # numbers without times, in a text file
    ("t.csv", b"label,text\n1,what a film\n0,dull and long\n1,I liked it\n", False),
    ("t.tsv", b"what a film\t1\ndull and long\t0\nI liked it\t1\n", False),
    (
        "t.csv",
        b"date,text,likes\n2020-01-01,this is a sentence of some length,3\n2020-01-02,and this is as long as that,5\n"
        b"2020-01-03,and one more that is long enough,2\n",
        False,
    ),
    (
        "t.txt",
        b"Call me Ishmael. Some years ago, never mind how long,\nhaving little or no money in my purse,\nI thought\n",
        False,
    ),
    ("t.csv", b"date,x\n2020-01-01,1\n", False),
    ("t.mid", b"MThd\x00\x00\x00\x06\x00\x01", False),
    ("t.csv", b"", False),
    ("t.json", b'{"a": 1}\n{"a": 2}\n{"a": 3}\n', False),
    ("t.csv.gz", b"not compressed", False),
    ("t.csv", "date\tx\n2020-01-01\t1\n2020-01-02\t2\n2020-01-03\t3\n".encode("utf-16"), True),
]

WORDS = ("sunny", "light rain", "fog")


def table(header: str, row: Callable[[int], tuple[object, ...]]) -> bytes:
    """A table of 40 days."""
    rows = (",".join(map(str, (f"2021-{n // 28 + 1:02}-{n % 28 + 1:02}", *row(n)))) for n in range(40))
    return "\n".join([header, *rows, ""]).encode()


# Numbers that only identify the rows, beside texts; numbers that measure something, beside names and texts.
LOOKS += [
    (
        "t.csv",
        table("发布时间,编号,弹幕内容,是否有用", lambda n: (88_000 + 3 * n, f"太好看了第{n}次", "是否"[n % 2])),
        False,
    ),
    ("t.csv", table("created,id,summary,is_bug", lambda n: (n * n, f"Button {n} broken", "yn"[n % 2])), False),
    ("t.csv", table("Date,AuthorID,Author,Content", lambda n: (n % 2, "ab"[n % 2], f"hi there {n}")), False),
    ("t.csv", table("Date,AuthorID,Author,Content", lambda n: (n % 2, "ab"[n % 2], ("ok", "yes")[n % 3 > 0])), False),
    ("t.csv", table("日期,评论,点赞数", lambda n: (f"这部电影真的非常非常好看哦{n}", n * n % 7)), False),
    ("t.csv", table("date,weather,temp", lambda n: (WORDS[n % 3], n % 9)), True),
    ("t.csv", table("date,id,product,amount", lambda n: (n, f"Product {n}", n * n % 7)), True),
    ("t.csv", table("date,event,temp", lambda n: (f"event {n}", n)), True),  # it rises by one each day
    ("t.csv", table("date,index,comment", lambda n: (n * n, f"Day {n} was fine")), True),  # of prices
    ("t.csv", table("date,number,place", lambda n: (n * n, f"Main Street {n}")), True),  # of a meter
    ("t.csv", table("日期,单号,评论", lambda n: (n * n, f"这部电影真的非常非常好看哦{n}")), False),
    ("t.csv", table("date,sale_id,item,qty", lambda n: (n, f"cup no {n}", n % 2 + 1)), True),
    ("t.csv", table("date,id,item,price", lambda n: (n, f"cup no {n}", (9.9, 19.9)[n % 2])), True),
    ("t.csv", table("date,NO,station", lambda n: (n * n % 13, f"Station {n}")), True),  # an oxide
    ("t.csv", table("日期,店铺,销量", lambda n: (f"上海市浦东新区张江高科技园区{'一二'[n % 2]}店", n * n % 7)), True),
    ("t.csv", table("date,no", lambda n: (n * n,)), True),
    (
        "t.csv",
        table("date,country,number", lambda n: ("AB"[n % 2], n * n)),
        True,
    ),  # measured, though it rises
    ("t.csv", table("date,region,house price index", lambda n: ("AB"[n % 2], n * n)), True),
    ("t.csv", table("date,lead,flow_pk", lambda n: ("AB"[n % 2], n % 7)), True),
    ("t.csv", table("日期,销售额,备注", lambda n: (n * n % 7, f"今天店里搞活动客人特别多哦{n}")), True),
]


@pytest.mark.parametrize(("name", "data", "expected"), LOOKS)
def test_looks_like_series_by_file(tmp_path: Path, name: str, data: bytes, expected: bool) -> None:
    assert looks_like_series(document(tmp_path, data, name).path) is expected


def test_looks_like_series_large_parquet_and_missing_files(tmp_path: Path) -> None:
    assert looks_like_series(document(tmp_path, daily_table(*range(20_000))).path)
    assert looks_like_series(document(tmp_path, parquet_file(t=[1, 2], x=[1.0, 2.0]), "t.parquet").path)
    assert not looks_like_series(document(tmp_path, parquet_file(t=["a", "b"], x=[1.0, 2.0]), "u.parquet").path)
    assert not looks_like_series(tmp_path / "missing.csv") and not looks_like_series(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sniff_parquet_reads_only_the_first_rows_of_a_group(tmp_path: Path) -> None:
    """All of the first group of rows was held in memory, which may be the whole file."""
    rng = np.random.default_rng(1)
    path = document(tmp_path, parquet_file(text=[rng.bytes(200).hex() for _ in range(20_000)]), "t.parquet").path

    def read_bytes() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before = read_bytes()
    assert list(sniff_parquet(path).header) == ["text"]
    assert path.stat().st_size > 8e6 and read_bytes() - before < 4e6
