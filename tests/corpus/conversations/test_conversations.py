"""Conversation formats: detection, parsing, normalisation, reports and errors."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus.conversations.formats import FORMATS
from seqgen.corpus.conversations.read import (
    Conversation,
    Turn,
    iter_conversations,
    looks_like_dialogue,
    read_conversations,
)
from seqgen.corpus.conversations.report import ConversationReport
from seqgen.corpus.sources import Document
from seqgen.errors import DataError
from tests.helpers.running import prose

QUICK = settings(max_examples=60, deadline=None)
Utterances = list[tuple[int, str]]

# Text with the characters that are special in some format: quotes, commas, colons, dashes, brackets, escapes, CJK.
LETTERS = st.sampled_from([*"abcdxyz 你好吗éñ'\"\\,;:：-#|>[]{}()?!.1290/&*%@`~", "\U0001f600", "\u2028", "\u3000"])
WORDS = st.text(LETTERS, min_size=1, max_size=25).map(str.strip).filter(bool)
LINES = st.lists(WORDS, min_size=1, max_size=3).map("\n".join)


def talks(turns: st.SearchStrategy[str], smallest: int = 1) -> st.SearchStrategy[list[list[str]]]:
    """Several conversations between two alternating speakers."""
    return st.lists(st.lists(turns, min_size=smallest, max_size=5), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for Hypothesis, whose examples overwrite each other's files."""
    return tmp_path_factory.mktemp("scratch")


def spoken(conversations: list[Conversation]) -> list[Utterances]:
    return [[(turn.speaker, turn.text) for turn in conversation.turns] for conversation in conversations]


def by_turns(conversations: list[list[str]]) -> list[Utterances]:
    return [[(index % 2, text) for index, text in enumerate(turns)] for turns in conversations]


def read_text(
    folder: Path, text: str | bytes, name: str = "talk.txt", format: str | None = None
) -> tuple[list[Utterances], ConversationReport]:
    path = folder / name
    path.write_bytes(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
    conversations, report = read_conversations([Document(name, path)], format)
    assert report.conversations == len(conversations)
    assert report.turns == sum(len(conversation.turns) for conversation in conversations)
    return spoken(conversations), report


# Each format: written by a small writer and read back.


def as_messages(conversations: list[list[str]], keys: tuple[str, str, str, str, str]) -> list[dict[str, object]]:
    many, who, words, asker, answerer = keys
    return [
        {many: [{who: (asker, answerer)[index % 2], words: text} for index, text in enumerate(turns)]}
        for turns in conversations
    ]


MESSAGES = st.sampled_from(
    [("messages", "role", "content", "user", "assistant"), ("conversations", "from", "value", "human", "gpt")]
)


@QUICK
@given(
    conversations=talks(LINES),
    keys=MESSAGES,
    layout=st.sampled_from(["lines", "array", "spread", "one line"]),
    ascii=st.booleans(),
)
def test_parse_messages_written_messages_are_read_back(
    conversations: list[list[str]], keys: tuple[str, str, str, str, str], layout: str, ascii: bool, scratch: Path
) -> None:
    objects = as_messages(conversations, keys)
    if layout == "lines":
        text = "\n".join(json.dumps(one, ensure_ascii=ascii) for one in objects)
    elif layout == "array":
        text = "[" + ",\n".join(json.dumps(one, ensure_ascii=ascii) for one in objects) + "]"
    else:
        text = json.dumps(objects, ensure_ascii=ascii, indent=2 if layout == "spread" else None)
    assert looks_like_dialogue(text.encode())
    found, report = read_text(scratch, text, "talk.json")
    assert found == by_turns(conversations)
    assert (report.format, report.damaged_lines, report.unknown_roles) == ("messages", 0, 0)


@QUICK
@given(
    conversations=talks(LINES),
    key=st.sampled_from(["", "dialog", "dialogue", "turns", "utterances", "people"]),
    array=st.booleans(),
)
def test_parse_turns_written_turns_are_read_back(
    conversations: list[list[str]], key: str, array: bool, scratch: Path
) -> None:
    def one(turns: list[str]) -> object:
        if key == "people":
            return {"turns": [{"speaker": ("Mary", "Tom")[i % 2], "text": text} for i, text in enumerate(turns)]}
        return {key: turns} if key else turns

    values = [one(turns) for turns in conversations]
    text = json.dumps(values) if array else "\n".join(json.dumps(value) for value in values)
    found, report = read_text(scratch, text, "talk.jsonl")
    assert found == by_turns(conversations)
    assert (report.format, report.damaged_lines) == ("turns", 0)


def as_transcript(conversations: list[list[str]], names: tuple[str, str], colon: str) -> str:
    return "\n\n".join(
        "\n".join(f"{names[i % 2]}{colon} " + text.replace("\n", "\n  ") for i, text in enumerate(turns))
        for turns in conversations
    )


NAMES = st.sampled_from([("Mary", "Tom"), ("老王", "小李"), ("Dr. A. Smith", "C-3PO"), ("user", "bot")])


@QUICK
@given(conversations=talks(LINES, 2), names=NAMES, colon=st.sampled_from(":："))
def test_parse_transcript_written_transcript_is_read_back(
    conversations: list[list[str]], names: tuple[str, str], colon: str, scratch: Path
) -> None:
    found, report = read_text(scratch, as_transcript(conversations, names, colon))
    assert found == by_turns(conversations)
    assert (report.format, report.damaged_lines) == ("transcript", 0)


@QUICK
@given(conversations=talks(WORDS))
def test_parse_eou_written_turns_are_read_back(conversations: list[list[str]], scratch: Path) -> None:
    text = "".join("".join(f"{turn} __eou__ " for turn in turns) + "\n" for turns in conversations)
    assert looks_like_dialogue(text.encode())
    found, report = read_text(scratch, text)
    assert (found, report.format) == (by_turns(conversations), "eou")


def single(text: str) -> str:
    return "'" + text.replace("'", "''").replace("\n", "\n\n      ") + "'"


def double(text: str) -> str:
    return json.dumps(text)


def literal(text: str) -> str:
    return "|-\n      " + text.replace("\n", "\n      ")


@QUICK
@given(conversations=talks(LINES, 2), style=st.sampled_from([single, double, literal]), indent=st.sampled_from([0, 2]))
def test_parse_yaml_written_conversations_are_read_back(
    conversations: list[list[str]], style: Callable[[str], str], indent: int, scratch: Path
) -> None:
    lines = ["# made up", "categories:", "- talk", "conversations:"]
    for turns in conversations:
        for index, text in enumerate(turns):
            lines.append(" " * indent + ("  - " if index else "- - ") + style(text))
    found, report = read_text(scratch, "\n".join(lines) + "\n", "talk.yml")
    assert found == by_turns(conversations)
    assert (report.format, report.damaged_lines) == ("yaml", 0)


@QUICK
@given(
    rows=st.lists(st.tuples(LINES, LINES), min_size=1, max_size=5),
    comma=st.sampled_from(",\t"),
    windows=st.booleans(),
    mark=st.booleans(),
)
def test_parse_csv_and_tsv_written_rows_are_read_back(
    rows: list[tuple[str, str]], comma: str, windows: bool, mark: bool, scratch: Path
) -> None:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    lines = [f"id{comma}Question{comma}回答", *(comma.join(["7", cell(a), cell(b)]) for a, b in rows)]
    text = "\ufeff" * mark + ("\r\n" if windows else "\n").join(lines)
    found, report = read_text(scratch, text)
    assert found == by_turns([list(row) for row in rows])
    assert (report.format, report.damaged_lines) == ("csv" if comma == "," else "tsv", 0)


# Rows of any width don't tell which of several delimiters is the delimiter.
UNDIVIDED = st.text(st.sampled_from([*"abc 你éñ'\\,-#>[]{}()?!.1290/&*%@`~", "\U0001f600", "\u2028"]), max_size=25).map(
    lambda text: f"x{text.rstrip()}"
)


@QUICK
@given(conversations=talks(UNDIVIDED, 2), comma=st.sampled_from(",\t"))
def test_parse_csv_and_tsv_without_header_rows_are_turns(
    conversations: list[list[str]], comma: str, scratch: Path
) -> None:
    rows = [comma.join('"' + turn.replace('"', '""') + '"' for turn in turns) for turns in conversations]
    format = "csv" if comma == "," else "tsv"
    found, _ = read_text(scratch, "\n".join([f"who am I{comma}you", *rows]), format=format)
    assert found == [[(0, "who am I"), (1, "you")], *by_turns(conversations)]


PLAIN = WORDS.filter(lambda text: "    " not in text and "\\n" not in text and "|" not in text)
EVEN = st.lists(st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=3), min_size=1, max_size=3)


@QUICK
@given(conversations=EVEN, between=st.sampled_from(["\t", "    "]))
def test_parse_parlai_numbered_lines_are_read_back(
    conversations: list[list[tuple[str, str]]], between: str, scratch: Path
) -> None:
    lines = [f"{i} {a}{between}{b}" for pairs in conversations for i, (a, b) in enumerate(pairs, 1)]
    found, report = read_text(scratch, "\n".join(lines))
    assert found == by_turns([[text for pair in pairs for text in pair] for pairs in conversations])
    assert report.format == "parlai"


@QUICK
@given(conversations=EVEN)
def test_parse_parlai_fields_are_read_back(conversations: list[list[tuple[str, str]]], scratch: Path) -> None:
    lines = [
        f"text:{a}\tlabels:{b}" + "\tepisode_done:True" * (i == len(pairs))
        for pairs in conversations
        for i, (a, b) in enumerate(pairs, 1)
    ]
    assert looks_like_dialogue("\n".join(lines).encode())
    found, report = read_text(scratch, "\n".join(lines))
    assert found == by_turns([[text for pair in pairs for text in pair] for pairs in conversations])
    assert report.format == "parlai"


@pytest.mark.parametrize("name", FORMATS)
def test_format_example_is_read_in_that_format(name: str, tmp_path: Path) -> None:
    example = FORMATS[name].example
    assert 3 <= len(example.splitlines()) <= 4
    found, report = read_text(tmp_path, example)
    assert report.format == name
    assert not report.damaged_lines
    assert found[0][0][0] == 0
    assert found[0][1][0] == 1


# Odd inputs: (format, file, conversations, what is counted).

ODD: dict[str, tuple[str, str, list[Utterances], dict[str, int]]] = {
    "system and unknown roles": (
        "messages",
        '{"messages": [{"role": "system", "content": "Be brief."}, {"role": "tool", "content": "3"},'
        ' {"role": "Assistant", "content": "Yes"}, {"role": "critic", "content": "No"}, {"role": "user",'
        ' "content": [{"type": "text", "text": "So?"}, {"type": "image"}]}, {"role": "bot", "content": null}]}',
        [[(1, "Yes"), (2, "No"), (0, "So?")]],
        {"system_turns": 2, "unknown_roles": 1, "empty_turns": 1, "odd": 1},
    ),
    "no known role": (
        "messages",
        '{"messages": [{"role": "Ann", "content": "a"}, {"role": "Bob", "content": "b"}]}',
        [[(0, "a"), (1, "b")]],
        {"unknown_roles": 2},
    ),
    "damaged in the middle": (
        "messages",
        '{"messages": [{"role": "user", "content": "a"}, {"role": "bot", "content": "b"}]}\n{"messages": [{"role\n'
        '\n{"other": 1}\n3\n{"messages": [{"role": "user", "content": "c"}]}\r\n',
        [[(0, "a"), (1, "b")], [(0, "c")]],
        {"damaged_lines": 3, "odd": 1},
    ),
    "cut off within an array": (
        "messages",
        '[{"messages": [{"role": "user", "content": "]\\"}"}, {"role": "bot", "content": "b"}]},\n {"messages": [{"ro',
        [[(0, ']"}'), (1, "b")]],
        {"damaged_lines": 1},
    ),
    "halves of characters": (
        "turns",
        '["\\ud83d\\ude00 \\ud800", "b"]',
        [[(0, "\U0001f600 \ufffd"), (1, "b")]],
        {},
    ),
    "empty and merged": (
        "turns",
        '["a", " ", "b", "c"]',
        [[(0, "a\nb"), (1, "c")]],
        {"empty_turns": 1, "merged_turns": 1},
    ),
    "nothing said": (
        "turns",
        '["a", "b"]\n[]\n["", " "]\n{"dialog": ["c", "d"]}',
        [[(0, "a"), (1, "b")], [(0, "c"), (1, "d")]],
        {"dropped": 2, "empty_turns": 2},
    ),
    "turns without speakers": ("turns", '{"turns": [{"text": "a"}, {"text": "b"}]}', [[(0, "a"), (1, "b")]], {}),
    "three people": ("transcript", "A: 1\nB: 2\nC: 3\nA: 4", [[(0, "1"), (1, "2"), (2, "3"), (0, "4")]], {"odd": 1}),
    "twice in a row": (
        "transcript",
        "A: 1\nA: 2\nB: at 12:30\nso it goes\n\n\n\nB：5\nA：http://x",
        [[(0, "1\n2"), (1, "at 12:30\nso it goes")], [(0, "5"), (1, "http://x")]],
        {"merged_turns": 1},
    ),
    "roles, the answerer first": (
        "transcript",
        "Bot: hi\nUser: hello\nBot: so?",
        [[(1, "hi"), (0, "hello"), (1, "so?")]],
        {},
    ),
    "a heading": (
        "transcript",
        "The first scene\n\nA: 1\nB: 2\nA: 3\nB:\n  4",
        [[(0, "1"), (1, "2"), (0, "3"), (1, "4")]],
        {"damaged_lines": 1},
    ),
    "no mark at the end": (
        "eou",
        "a __eou__ b\n__eou__ c __eou__\nd\n",
        [[(0, "a"), (1, "b")], [(1, "c")], [(0, "d")]],
        {"empty_turns": 1, "odd": 1},
    ),
    "plain scalars": (
        "yaml",
        "categories: [x]\nconversations: # here\n\n# note\n"
        "- - note: this # gone\n  - a\n    b\n\n    # gone\n    c - d\n"
        "-\n  - 'tis so\n  -\n    1963\n- - 'it''s'  # gone\n  -\n",
        [[(0, "note: this"), (1, "a b\nc - d")], [(0, "'tis so"), (1, "1963")], [(0, "it's")]],
        {"empty_turns": 1, "odd": 1},
    ),
    "folded and escaped": (
        "yaml",
        "conversations:\n- - >\n    a\n    b\n\n      c\n    d\n"
        '  - "x\\\n    y\\tz \\u00e9\\x41"\n- - |2+\n     a\n    b\n  - "\\q"\n'
        "other:\n- - no\n",
        [[(0, "a b\n\n  c\nd"), (1, "xy\tz éA")], [(0, "a\nb"), (1, '"\\q"')]],
        {},
    ),
    "damaged lists": (
        "yaml",
        "conversations:\n- - a\n  - b\n- c\n  - d\n- - e\n - f\n  - - g\n- - - h\n\t- i\n",
        [[(0, "a"), (1, "b")], [(0, "e")]],
        {"damaged_lines": 6, "odd": 1, "dropped": 1},
    ),
    "quotes that are words": (
        "csv",
        'question,answer\n"Oh" he said,yes\n5" pipe,no\n"open,so\na,b\n',
        [
            [(0, '"Oh" he said'), (1, "yes")],
            [(0, '5" pipe'), (1, "no")],
            [(0, '"open'), (1, "so")],
            [(0, "a"), (1, "b")],
        ],
        {},
    ),
    "short rows": (
        "csv",
        "question,id,answer\na,1,b\n\nc\nd,2,\n,,\n",
        [[(0, "a"), (1, "b")], [(0, "d")]],
        {"damaged_lines": 1, "empty_turns": 1, "odd": 1},
    ),
    "instruction and input": (
        "csv",
        "instruction;input;output;n\nSort, please.;b, a;a, b;1\nSay hi.;;Hi, you.;2\n",
        [[(0, "Sort, please.\nb, a"), (1, "a, b")], [(0, "Say hi."), (1, "Hi, you.")]],
        {},
    ),
    "unquoted commas in the reply": (
        "csv",
        "question,answer\na,b\nc,d, e, f\ng,h\n",
        [[(0, "a"), (1, "b")], [(0, "c"), (1, "d, e, f")], [(0, "g"), (1, "h")]],
        {},
    ),
    "a message in each row": (
        "csv",
        "Author,Date,Content\nMary,2020-01-02 10:00,So?\nTom,2020-01-02 10:01,No.\nMary,2020-01-02 10:02,Oh.\n",
        [[(0, "So?"), (1, "No."), (0, "Oh.")]],
        {"odd": 1},
    ),
    "messages of several conversations": (
        "tsv",
        "conversation_id\tspeaker\ttext\n1\tMary\tSo?\n1\tTom\tNo.\n2\tTom\tYes?\n2\tMary\tYes.\n",
        [[(0, "So?"), (1, "No.")], [(0, "Yes?"), (1, "Yes.")]],
        {},
    ),
    "header in another language": (
        "csv",
        "Nr;Frage;Antwort\n1;Wie geht es dir?;Gut, danke.\n2;Wo bist du?;Hier bin ich.\n3;Wer ist das?;Das bin ich.\n",
        [
            [(0, "Wie geht es dir?"), (1, "Gut, danke.")],
            [(0, "Wo bist du?"), (1, "Hier bin ich.")],
            [(0, "Wer ist das?"), (1, "Das bin ich.")],
        ],
        {},
    ),
    "filled up by a spreadsheet": (
        "tsv",
        "a\tb\tc\t\t\nd\te\n",
        [[(0, "a"), (1, "b"), (0, "c")], [(0, "d"), (1, "e")]],
        {"odd": 1},
    ),
    "rewards and personas": (
        "parlai",
        "1 your persona: i like tea.\n2 hi\tho\t1\tx|y\nbad\n3 one side\n4 a\\nb    c  d\n",
        [[(0, "hi"), (1, "ho"), (0, "one side\na\nb"), (1, "c  d")]],
        {"system_turns": 1, "merged_turns": 1, "damaged_lines": 1},
    ),
    "several labels": (
        "parlai",
        "id:x\ttext:a__PIPE__b: c\tlabels:d|e\nid:x\ttext:f\teval_labels:g\n",
        [[(0, "a|b: c"), (1, "d"), (0, "f"), (1, "g")]],
        {},
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_read_conversations_unusual_input_gives_expected_turns(case: str, tmp_path: Path) -> None:
    format, text, conversations, counts = ODD[case]
    found, report = read_text(tmp_path, text, format=format)
    assert found == conversations
    zero = {"empty_turns", "merged_turns", "unknown_roles", "system_turns", "odd", "dropped", "damaged_lines"}
    assert {name: getattr(report, name) for name in zero if getattr(report, name)} == counts


def test_first_damage_names_file_and_line(tmp_path: Path) -> None:
    _, report = read_text(tmp_path, '["a", "b"]\n["c", "d"]\n\n["e\n["f"]\n{}\n')
    assert report.first_damage == "talk.txt, line 4: not JSON"
    _, report = read_text(tmp_path, '[["a", "b"],\n["c", "d"],\n\n ["e" "f"], ["g"]]')
    assert report.first_damage == "talk.txt, line 4: not JSON"
    twice = '{"prompt": "c", "prompt": "d", "completion": "e"}\n'
    _, report = read_text(tmp_path, '["a", "b"]\n' + twice)
    assert report.first_damage == "talk.txt, line 2: the key 'prompt' is given twice, with different values"
    with pytest.raises(DataError, match=r"no conversation in 'talk.txt' \(talk.txt, line 1: the key 'prompt' is given"):
        read_text(tmp_path, twice)


# Arbitrary bytes.


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40, deadline=None)
@given(data=st.lists(st.sampled_from([FORMATS[name].example.encode() for name in FORMATS]) | st.binary(max_size=30)))
def test_read_conversations_arbitrary_bytes_are_read_or_refused(name: str, data: list[bytes], scratch: Path) -> None:
    for text in (b"".join(data), b"\n".join(data)):
        try:
            _, report = read_text(scratch, text, format=name)
        except DataError as error:
            assert "\n" not in str(error)
        else:
            assert "\n" not in report.summary()
        looks_like_dialogue(text)


def test_read_conversations_invalid_utf8_is_kept_and_told(tmp_path: Path) -> None:
    found, report = read_text(tmp_path, b"\xef\xbb\xbfcaf\xe9 __eou__ \xff __eou__\r\n")
    assert [text.encode("utf-8", "surrogateescape") for _, text in found[0]] == [b"caf\xe9", b"\xff"]
    assert "; 2 turns with bytes that are not UTF-8, learnt as they stand" in report.summary()


def test_read_conversations_gzip_is_decompressed(tmp_path: Path) -> None:
    found, _ = read_text(tmp_path, gzip.compress(b"hello,hi\nI say,so\n"), "talk.csv.gz")
    assert found == by_turns([["hello", "hi"], ["I say", "so"]])


# Files without dialogue.

PLAY = "FIRST CITIZEN:\nBefore we proceed, hear me.\n\nALL:\nSpeak, speak.\n\nFIRST CITIZEN:\nYou are resolved?\n"
PRICES = "symbol,date,price\nAB,Jan 1 2000,39.81\nAB,Feb 1 2000,36.35\n"
CODE = 'def speak(name: str) -> str:\n    """Says "__eou__"."""\n    return {"messages": [{"role": name}]}\n'
RECORDS = '{"text": "a film", "label": 1}\n{"text": "another", "label": 0}\n'
NOTES = "Title: a\nAuthor: b\nDate: c\n\nWe went: slowly.\n"
NONE = {
    "play": PLAY,
    "prices.csv": PRICES,
    "code.py": CODE,
    "records.jsonl": RECORDS,
    "notes": NOTES,
    "prose": prose(40),
}


@pytest.mark.parametrize("name", NONE)
def test_read_conversations_other_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(NONE[name], encoding="utf-8")
    assert not looks_like_dialogue(path)
    with pytest.raises(DataError) as error:
        read_conversations([Document(name, path)])
    message = str(error.value)
    assert "\n" not in message
    assert repr(name) in message
    assert all(format in message for format in FORMATS)


def test_looks_like_dialogue_only_for_unambiguous_formats(tmp_path: Path) -> None:
    plain = {"messages", "pairs", "eou", "WhatsApp", "IRC", "SubRip"}
    for name, format in FORMATS.items():
        assert looks_like_dialogue(format.example.encode()) == (name in plain)
    assert not looks_like_dialogue(b"The mark __eou__ ends a turn.\n")
    assert not looks_like_dialogue(b"A: hello\nB: hi\nA: so\nB: so\n")
    assert not looks_like_dialogue(tmp_path / "missing")
    assert not looks_like_dialogue(b"")


def test_read_conversations_first_line_longer_than_head_is_recognised(tmp_path: Path) -> None:
    words = "so it goes " * 10_000
    for one in (as_messages([[words, "b"]], ("messages", "role", "content", "user", "assistant"))[0], ["hi", words]):
        for text in (json.dumps(one) + "\n", json.dumps([one])):
            assert len(read_text(tmp_path, text)[0][0]) == 2
    assert looks_like_dialogue(b'{"messages": [{"role": "user", "content": "' + words.encode())


@pytest.mark.parametrize(
    ("text", "format", "what"),
    [
        ("a __eou__ b", "jsonl", "there is no dialogue format 'jsonl'; use one of messages, turns, pairs, eou"),
        ("", None, "'talk.txt' is empty"),
        (" \n", "eou", "there is no conversation in 'talk.txt'"),
        ("{", "messages", "there is no conversation in 'talk.txt' (talk.txt, line 1: not JSON)"),
    ],
)
def test_read_conversations_errors_are_one_line(text: str, format: str | None, what: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read_text(tmp_path, text, format=format)
    assert str(error.value).startswith(what)
    assert "\n" not in str(error.value)


def test_read_conversations_several_documents_skips_those_without_dialogue(tmp_path: Path) -> None:
    texts = {"a.txt": "a __eou__ b __eou__\n", "b.md": "A note of no kind.\n", "c.txt": "A: c\nB: d\n"}
    documents = []
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        documents.append(Document(name, tmp_path / name))
    with pytest.raises(DataError, match=r"^'b\.md' has no dialogue"):
        read_conversations(documents)
    warnings: list[str] = []
    conversations, report = read_conversations(documents, warn=warnings.append)
    assert conversations == [Conversation((Turn(0, a), Turn(1, b))) for a, b in ("ab", "cd")]
    assert report.summary() == "2 conversations, 4 turns (eou, transcript)"
    assert len(warnings) == 1
    with pytest.raises(DataError, match=r"^'b\.md' has no dialogue"):
        read_conversations(documents[1:2], warn=warnings.append)


def test_report_summary_names_every_count() -> None:
    report = ConversationReport("messages", 1000, 7740, 3, 1, 2, 1, 12, 1, 2, "talk.jsonl, line 12: not JSON")
    assert report.summary() == (
        "1,000 conversations, 7,740 turns (messages); 3 empty turns dropped; 1 system message dropped; 1 turn merged "
        "into the previous one of the same speaker; 2 turns with unknown roles assigned to further speakers; 12 "
        "conversations without a final reply; 1 empty conversation dropped; 2 damaged lines skipped (first: "
        "talk.jsonl, line 12: not JSON)"
    )


@pytest.mark.parametrize("array", [False, True])
def test_iter_conversations_long_file_needs_constant_memory(array: bool, tmp_path: Path) -> None:
    one = json.dumps(
        {"messages": [{"role": "user", "content": "x" * 20_000}, {"role": "bot", "content": "y" * 20_000}]}
    )
    path = tmp_path / "long.json"
    path.write_text(("[" if array else "") + ("," if array else "\n").join([one] * 400) + ("]" if array else ""))
    report = ConversationReport()
    tracemalloc.start()
    try:
        for conversation in iter_conversations([Document("long.json", path)], report):
            assert len(conversation.turns) == 2
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.conversations == 400
    assert peak < 8 << 20  # of a file of 16 MB
