"""Detection of labelled texts in tables without usual names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from seqgen.corpus.labelled.read import looks_like_labelled_texts

SIGNS = ("good", "bad")


def table(header: str, row: Callable[[int], tuple[object, ...]]) -> bytes:
    return "\n".join([header, *(",".join(map(str, row(n))) for n in range(40)), ""]).encode()


def day(n: int) -> str:
    return f"2021-{n // 28 + 1:02}-{n % 28 + 1:02}"


LOOKS = [
    (True, table("编号,时间,弹幕内容,是否有用", lambda n: (88_000 + 3 * n, day(n), f"太好看了第{n}次", "是否"[n % 2]))),
    (True, table("id,created_at,text,is_spam", lambda n: (n, day(n), f"see you {n}", n % 2))),
    (True, table("id,user,when,msg,verdict", lambda n: (n * n, n % 7, day(n), f"so {n}", SIGNS[n % 2]))),
    (False, table("code,msg,verdict", lambda n: (f"k-{n}", f"so {n}", SIGNS[n % 2]))),  # which would be learnt, too
    (True, table(",msg,verdict", lambda n: (n, f"so {n}", SIGNS[n % 2]))),
    (True, table("Unnamed: 0,time,msg,verdict", lambda n: (n, day(n), f"so {n}", SIGNS[n % 2]))),
    (True, table("issue no,created,summary,is_bug", lambda n: (n * n, day(n), f"Button {n} broken", n % 2))),
    (True, table("id,created,summary,is_bug", lambda n: (n, day(n), f"Button {n} broken", f"{n % 2}.0"))),
    (True, table("id,created,summary,is_bug", lambda n: (n, day(n), f"Button {n} broken", n % 2 == 0))),
    (False, table("sale_id,date,item,qty", lambda n: (n, day(n), f"cup no {n}", n % 2 + 1))),  # they measure
    (False, table("id,date,item,price", lambda n: (n, day(n), f"cup no {n}", (9.9, 19.9)[n % 2]))),
    (False, table("id,time,sender,body", lambda n: (n, day(n), "ab"[n % 2], f"so {n}"))),  # a chat
    (False, table("Zeit,Sprecher,Text", lambda n: (day(n), "ab"[n % 2], f"so {n}"))),
    (False, table("时间,昵称,消息", lambda n: (day(n), "王李"[n % 2], f"你好{n}"))),
    (False, table("id,time,msg,likes,verdict", lambda n: (n, day(n), f"so {n}", n * n % 7, SIGNS[n % 2]))),
    (False, table("id,time,product,quantity", lambda n: (n, day(n), f"Product {n}", n % 5))),
    (False, table("time,note,done", lambda n: (day(n), f"felt {n}", n % 2))),  # a series of two values
    (False, table("date,temp,weather", lambda n: (day(n), n * n % 7, SIGNS[n % 2]))),
    (False, table("id,time,question,answer", lambda n: (n, day(n), f"how {n}?", f"so {n}"))),
    (False, table("time,city,event,kind", lambda n: (day(n), "XYZ"[n % 3], f"so it was {n}", SIGNS[n % 2]))),  # or city
    (False, table("id,msg,topic", lambda n: (n, f"so {n}", ""))),
    (False, table("id,msg,label", lambda n: (n, f"so {n}", ""))),
    (False, table("id,msg,topic", lambda n: (n, f"so {n}", n // 2))),  # as many labels as there could be
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "data"), LOOKS)
def test_looks_like_labelled_texts_beside_ids_times_and_people(tmp_path: Path, wanted: bool, data: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    assert looks_like_labelled_texts(tmp_path / "a.csv") is wanted
