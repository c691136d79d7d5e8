"""Inputs after reports in public trackers of what went wrong when people's files were read.

Each row: the report, the kind (see below), a small input of ours like the one it tells of, and what is read from it.
A dialects of tables · B what a file is · C chats · D times and numbers · F headers · G folders · I MIDI · L labels
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from seqgen.api.reading.run import read
from seqgen.errors import DataError
from tests.helpers.midi_files import midi_file, off, on

Result = dict[str, Any]
Files = dict[str, bytes]


@dataclass(frozen=True)
class Report:
    """`check` gives what is compared with `expected`; an error is compared by its text."""

    where: str
    kind: str
    files: Files
    check: Callable[[Result], Any]
    expected: Any
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.where}"


def text(result: Result) -> str:
    return str(result["first"][0])


def warned(*words: str) -> Callable[[Result], bool]:
    """Whether one warning has all the words."""
    return lambda result: any(all(word in sentence for word in words) for sentence in result["warnings"])


def times(result: Result) -> list[str]:
    return [row["time"] for row in result["first"]]


def values(result: Result) -> list[list[float]]:
    return [list(row["values"].values()) for row in result["first"]]


def turns(result: Result) -> list[tuple[int, str]]:
    return [(turn["speaker"], turn["text"]) for turn in result["first"][0]]


def table(*lines: str, encoding: str = "utf-8", end: str = "\n") -> Files:
    return {"table.csv": (end.join(lines) + end).encode(encoding)}


def chat(value: Any) -> Files:
    return {"chat.json": json.dumps(value, ensure_ascii=False).encode()}


def whatsapp(*lines: str) -> Files:
    return {"chat.txt": ("\n".join(lines) + "\n").encode()}


def song(*metas: bytes) -> bytes:
    """A MIDI file of eight notes, with further meta events at its beginning."""
    track = b"".join(b"\0\xff" + meta for meta in metas)
    for number in range(8):
        track += bytes([0, 0x90, 60 + number, 64, 96, 0x80, 60 + number, 64])
    track += b"\0\xff\x2f\0"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 96) + b"MTrk" + struct.pack(">I", len(track)) + track


def riff(data: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(data) + 12) + b"RMIDdata" + struct.pack("<I", len(data)) + data


NOTES = [{"notes": 8, "bars": 2}]
PROSE = "The storm was late. “It’s nothing,” said the widow, and shut the door – twice.\n" * 40
CHINESE = "第一场秋雨来的时候，她正在院子里晾衣服，听见远处有人喊她的名字。\n" * 40
DAYS = [f"{day:02}" for day in range(1, 29)]
RATED = [f"it was {word} number {n},{label}" for n in range(15) for word, label in (("fine", 1), ("poor", 0))]
SAID = [("Ann", "Is it far?"), ("Bob", "A mile."), ("Ann", "Shall we go?"), ("Bob", "Soon.")] * 3
SPOKEN = [(n % 2, words) for n, (_, words) in enumerate(SAID)]
WHATSAPP_TIMES = {
    "joweich/chat-miner#24 (a)": "26-04-2022 12:{:02} - ",
    "joweich/chat-miner#24 (b)": "[25/09/20 10:27:{:02} a.m.] ",
    "joweich/chat-miner#54": "2022/12/14, 09:{:02} - ",
    "joweich/chat-miner#66": "8/21/21, 11:{:02} PM - ",
    "Duelion/whatsapp-wrapped#12": "03.08.21, 12:{:02} - ",
    "Pustur/whatsapp-chat-parser#199": "[7/11/2017, 8:20:{:02} PM] ",
    "nmoya/whatsapp-parser#4": "24/3/14, 13:59:{:02}: ",
    "noe/whatsapp2md#3": "05/10/2020, 00:{:02} - ",
    "ChatLab/ChatLab#131": "\u200e[14/10/2021, 3:34:{:02}\u202fPM] ",
}
REPORTS = [
    *(
        Report(where, "C", whatsapp(*(form.format(10 + n) + f"{who}: {words}" for n, (who, words) in enumerate(SAID))),
               turns, SPOKEN)
        for where, form in WHATSAPP_TIMES.items()
    ),
    # ---- B: what a file is ----
    Report("ml5js/training-charRNN#5", "B", {"in.txt": PROSE.encode("cp1252")}, text, PROSE[:400]),
    Report("siyuanzhao/automated-essay-grading#3", "B", {"in.tsv": PROSE.encode("cp1252")}, text, PROSE[:400],
           {"task": "text"}),
    Report("yangjianxin1/GPT2-chitchat#52", "B", {"train.txt": CHINESE.encode("gbk")}, text, CHINESE[:400]),
    Report("eriklindernoren/PyTorch-YOLOv3#374", "B", {"train.txt": CHINESE.encode("gb18030")},
           warned("GB18030"), True),
    Report("foamliu/Sentiment-Analysis#3", "B", {"in.txt": b"\xef\xbb\xbf" + CHINESE.encode()}, text, CHINESE[:400]),
    Report("NatLibFi/Annif#207", "B", {"in.txt": PROSE.encode() + b"\x8b stray\n" + PROSE.encode()},
           warned("in.txt"), True),
    Report("chiphuyen/stanford-tensorflow-tutorials#122", "B", {"in.txt": PROSE.encode()},
           lambda found: found["warnings"], []),
    Report("pandas-dev/pandas#4793", "B", {"t.csv": b'\xef\xbb\xbf"text","label"\n' + "\n".join(RATED).encode()},
           lambda found: found["columns"], {"text": "text", "label": "label"}),
    Report("biolab/orange3#7000", "B", {"t.csv": "﻿country;text;label\n".encode() + "\n".join(
        f"nowhere;{row.replace(',', ';')}" for row in RATED).encode()}, lambda found: next(iter(found["columns"])),
           "country"),
    # ---- A: dialects of tables ----
    Report("dathere/datapusher-plus#256", "A",
           table("date;temperature;place", *(f"2011-01-{day};{int(day) - 9};Galway" for day in DAYS)),
           lambda found: (found["delimiter"], found["columns"]["temperature"]), (";", "target")),
    Report("python/cpython#119123", "A",
           table("id;flag;a;cost;group;text;label", *(
               f"{n};False;;{n}.25;['1', '2'];the words, number {n};{'yes' if n % 2 else 'no'}" for n in range(20))),
           lambda found: (found["delimiter"], found["labels"]), (";", {"no": 10, "yes": 10})),
    Report("bis-med-it/pysdmx#460", "A",
           table("STRUCTURE,TIME_PERIOD,OBS_VALUE,NOTE", *(
               f"ESTAT:EI(1.0),2021-{month:02},{month}.5,a|b" for month in range(1, 13))),
           lambda found: (found["delimiter"], found["columns"]["OBS_VALUE"]), (",", "target"), {"task": "forecast"}),
    Report("Unstructured-IO/unstructured#2218", "A",
           table("text|label", *(f"one, two, and three, number {n}|{n % 2}" for n in range(20))),
           lambda found: (found["delimiter"], text(found)[:25]), ("|", "{'text': 'one, two, and t")),
    Report("duckdb/duckdb#14115", "A",
           table("FlightDate|Carrier|Delay", *(f"2021-03-{day}|AA|{day}" for day in DAYS)),
           lambda found: found["delimiter"], "|"),
    Report("flairNLP/flair#966", "A",
           table("text\tlabel", *(f"\"quoted\" word {n} of it\t{n % 2}" for n in range(20))),
           lambda found: found["records"], 20),
    Report("flairNLP/flair#1412", "A",
           table("| text | label_topic |", *(f"| the law of number {n} | law {n % 2} |" for n in range(20))),
           lambda found: found["records"], 20, {"task": "classify", "label_column": "label_topic"}),
    # ---- F: headers · L: labels ----
    Report("flairNLP/flair#826", "F", table("sentence,class", *RATED), lambda found: found["labels"],
           {"0": 15, "1": 15}),
    Report("flairNLP/flair#2068", "L",
           table("text,label", *(row.replace(",0", ",NONE") for row in RATED)), lambda found: found["labels"],
           {"1": 15, "NONE": 15}),
    Report("flairNLP/flair#491", "L",
           {"train.csv": "\n".join(f"{row.split(',')[0]}\t__label__{row[-1]}" for row in RATED).encode()},
           lambda found: len(found["labels"]), 2, {"task": "classify"}),
    # ---- G: folders ----
    Report("pytorch/vision#109", "G",
           {"set/pos/1.txt": b"a good one", "set/neg/1.txt": b"a bad one", "set/pos/2.txt": b"better",
            "set/neg/2.txt": b"worse", "set/.DS_Store": b"\0\0\0\1Bud1", "set/pos/.DS_Store": b"\0\0\0\1Bud1"},
           lambda found: found["labels"], {"neg": 2, "pos": 2}),
    Report("tensorflow/tensorflow#46595", "G",
           {"set/skip/1.txt": b"leave it", "set/no_skip/1.txt": b"take it",
            "set/.ipynb_checkpoints/1.txt": b"take it", "set/skip/2.txt": b"no", "set/no_skip/2.txt": b"yes"},
           lambda found: found["labels"], {"no_skip": 2, "skip": 2}),
    # ---- D: times and numbers ----
    Report("pandas-dev/pandas#11725", "D",
           table("Datum;Wert", *(f"{day}.3.1945;{day}" for day in ("29", "30")), *(f"{n}.4.1945;{n}" for n in (1, 2))),
           times, ["1945-03-29T00:00:00", "1945-03-30T00:00:00", "1945-03-31T00:00:00"]),
    Report("pandas-dev/pandas#26304", "D",
           table("t,v", "12.01.2017 17:00,1", "12.01.2017 18:00,2", "12.01.2017 19:00,3", "13.01.2017 00:00,4"),
           lambda found: times(found)[0], "2017-01-12T17:00:00"),
    Report("pandas-dev/pandas#22168", "D",
           table("date,v", "2018-04-11 10:15:00,1", "2018-04-11  10:30:00,2", "2018-04-11  10:45:00,3"),
           times, [f"2018-04-11T10:{minute}:00" for minute in (15, 30, 45)]),
    Report("pandas-dev/pandas#55244", "D",
           table("t,v", *(f"{day}-May-2022 08:00:00,{day}" for day in (29, 30, 31)), "01-Jun-2022 08:00:00,1"),
           times, [f"2022-05-{day}T08:00:00" for day in (29, 30, 31)]),
    Report("pandas-dev/pandas#14066", "D",
           table("Datum;Wert", *(f"{day}.01.2016;1.0{day},5" for day in DAYS)), values, [[1001.5], [1002.5], [1003.5]]),
    Report("JuliaData/CSV.jl#1150", "D",
           table("Monat;Preis", *(f"2021-{n:02}-01;5.8{n:02},72" for n in range(1, 13))), values,
           [[5801.72], [5802.72], [5803.72]]),
    Report("ngrunwald/meta-csv#5", "D",
           table("tag;cases;per100k", *(f"2020-03-{day};2.1{day};19,{day}" for day in DAYS)), values,
           [[2101.0, 19.01], [2102.0, 19.02], [2103.0, 19.03]]),
    Report("pola-rs/polars#6698", "D", table("jour;x", *(f"{day}/02/2021;10,{day}" for day in DAYS)), values,
           [[10.01], [10.02], [10.03]]),
    Report("pola-rs/polars#18797", "D", table("dia;x", *(f"2021-02-{day};1.299,{day}" for day in DAYS)), values,
           [[1299.01], [1299.02], [1299.03]]),
    Report("unit8co/darts#303", "D",
           table("Date,Close", *(f"2021-03-{day:02},{day}" for day in range(1, 31) if (day - 1) % 7 < 5)),
           lambda found: (found["records"], found["warnings"]), (22, [])),
    Report("unit8co/darts#282", "D",
           table("TIME,QUANTITY", "2006-01-01,13", "2006-04-01,2", "2006-07-01,5", "2007-01-01,3", "2007-04-01,11"),
           lambda found: (found["records"], warned("2006-10-01")(found) or bool(found["warnings"])), (6, True)),
    Report("unit8co/darts#1251", "D",
           table("timestamp,v", *(f"{1664400000000 + 200 * n},{n}" for n in range(20))),
           str, "less than a second apart"),
    Report("unit8co/darts#484", "D",
           table("date,store,sales", *(f"2021-01-{day},{store},{day}" for store in ("a", "b") for day in DAYS)),
           str, "--series store"),
    # ---- C: chats ----
    Report("MasterScrat/Chatistics#43", "C",
           chat({"participants": [{"name": "A"}, {"name": "B"}], "messages": [
               {"sender_name": "AB"[n % 2], "timestamp_ms": 10 - n,
                "content": "été n°".encode().decode("latin-1") + str(n)} for n in range(6)]}),
           lambda found: turns(found)[0], (0, "été n°5")),
    Report("telegramdesktop/tdesktop#25000", "C",
           chat({"name": "x", "type": "personal_chat", "id": 1, "messages": [
               {"id": n, "type": "message", "date": f"2022-08-29T10:00:{n:02}", "from": "AB"[n % 2],
                "from_id": f"user{n % 2}", "text": ["see ", {"type": "bold", "text": "this"}, f" {n}"]}
               for n in range(6)]}),
           lambda found: turns(found)[:2], [(0, "see this 0"), (1, "see this 1")]),
    Report("axolotl-ai-cloud/axolotl#752", "C",
           {"set.jsonl": "\n".join(json.dumps({"conversations": [
               {"from": "human", "value": f"ask {n}"}, {"from": "assistant", "value": f"say {n}"}]})
               for n in range(5)).encode()},
           turns, [(0, "ask 0"), (1, "say 0")]),
    Report("axolotl-ai-cloud/axolotl#325", "C",
           chat([{"conversations": [{"from": "system", "value": "be brief"}, {"from": "user", "value": f"ask {n}"},
                                    {"from": "chatgpt", "value": f"say {n}"}]} for n in range(5)]),
           turns, [(0, "ask 0"), (1, "say 0")]),
    Report("Tencent/AngelSlim#345", "C",
           chat([{"system": "be brief", "conversations": [
               {"from": ("human", "gpt")[k % 2], "value": f"turn {k}"} for k in range(6)]} for _ in range(3)]),
           lambda found: len(found["first"][0]), 6),
    Report("NVIDIA-NeMo/Automodel#2375", "C",
           chat([{"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}] * 4),
           turns, [(0, "a"), (1, "b")]),
    # ---- I: MIDI ----
    Report("mido/mido#105", "I", {"a.mid": song(b"\x59\x02\x08\x00")}, lambda found: found["first"], NOTES),
    Report("mido/mido#358", "I", {"a.mid": song(b"\x59\x00")}, lambda found: found["first"], NOTES),
    Report("mido/mido#235", "I", {"a.mid": song(b"\x59\x02\xfe\xff")}, lambda found: found["first"], NOTES),
    Report("mido/mido#187", "I", {"a.mid": song(b"\x59\x02\x80\x00")}, lambda found: found["first"], NOTES),
    Report("mido/mido#42", "I", {"a.mid": song(b"\x00\x00")}, lambda found: found["first"], NOTES),
    Report("mido/mido#43", "I", {"a.mid": riff(song())}, lambda found: found["first"], NOTES),
    Report("kovaxis/midly#4", "I", {"a.rmi": riff(song())}, lambda found: found["first"], NOTES),
    Report("mido/mido#480", "I", {"a.mid": song().replace(struct.pack(">I", 68), struct.pack(">I", 90))},
           lambda found: found["first"], NOTES),
    Report("mido/mido#107", "I", {"tunes/a.mid": song(), "tunes/._a.mid": b"\0\5\x16\7", "tunes/b.mid": song()},
           lambda found: found["records"], 2),
    Report("craffel/pretty-midi#165", "I", {"a.mid": song(b"\x59\x02\xee\x01")}, lambda found: found["first"], NOTES),
]  # fmt: skip


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.id)
def test_reported_input_is_read_rightly(report: Report, tmp_path: Path) -> None:
    for name, data in report.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    source = str(tmp_path / next(iter(report.files)).split("/")[0])
    try:
        result = read(source, **report.options)
    except DataError as error:
        assert isinstance(report.expected, str) and report.expected in str(error), error
        return
    assert report.check(result) == report.expected, json.dumps(result, ensure_ascii=False)[:2000]


def test_there_are_fifty_reports() -> None:
    assert len({report.where for report in REPORTS}) >= 50


def test_a_song_is_what_it_claims(tmp_path: Path) -> None:
    """The files of this module differ from sound ones only where they say so."""
    sound = midi_file([event for n in range(8) for event in (on(2 * n, 60 + n), off(2 * n + 1, 60 + n))])
    (tmp_path / "a.mid").write_bytes(sound)
    assert read(str(tmp_path / "a.mid"))["first"][0]["notes"] == 8
