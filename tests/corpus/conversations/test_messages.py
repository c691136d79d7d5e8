"""Conversations in JSON, found by structure: layouts, keys, order, services, exports of chat programs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus.conversations.parsing import HEAD_BYTES
from seqgen.corpus.conversations.read import looks_like_dialogue, read_conversations
from seqgen.corpus.conversations.report import ConversationReport
from seqgen.corpus.sources import Document
from seqgen.errors import DataError

QUICK = settings(max_examples=60, deadline=None)
Spoken = list[list[tuple[int, str]]]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for Hypothesis, whose examples overwrite each other's files."""
    return tmp_path_factory.mktemp("scratch")


def read(folder: Path, files: dict[str, str], lenient: bool = False) -> tuple[Spoken, ConversationReport]:
    documents = []
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        documents.append(Document(name, folder / name))
    conversations, report = read_conversations(documents, warn=(lambda _: None) if lenient else None)
    assert sum(report.speakers.values()) == report.turns
    return [[(turn.speaker, turn.text) for turn in each.turns] for each in conversations], report


def read_json(folder: Path, value: Any, **layout: Any) -> tuple[Spoken, ConversationReport]:
    return read(folder, {"chat.json": json.dumps(value, **layout)})


def messages(people: str, *keys: str, **more: Any) -> list[dict[str, Any]]:
    """Messages `0`, `1`, … by people of one letter each; keys: of the speaker (nested ones last), and of the text."""
    *who, text = keys
    found = []
    for number, person in enumerate(people):
        value: Any = person
        for key in who[:0:-1]:
            value = {key: value}
        found.append({who[0]: value, text: str(number), **more})
    return found


def joined(people: str) -> list[tuple[int, str]]:
    """What is read of `messages(people)`."""
    numbers = {person: number for number, person in enumerate(dict.fromkeys(people))}
    runs = itertools.groupby(enumerate(people), key=lambda item: item[1])
    return [(numbers[person], "\n".join(str(number) for number, _ in run)) for person, run in runs]


# Layout.

LAYOUTS = [
    {},
    {"indent": 2},
    {"indent": 0},
    {"indent": "\t"},
    {"separators": (",", ":")},
    {"separators": (" ,\n", "\n: ")},
]


def wrapped(conversation: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "a list of messages": conversation,
        "an object": {"messages": conversation},
        "other keys first": {"id": 7, "meta": {"tags": ["a", "b"], "n": [{"x": 1}]}, "messages": conversation},
        "an unknown key": {"id": "x", "discussion": conversation},
        "a list of lists": [conversation, conversation],
        "a list of objects": [{"messages": conversation}, {"id": 1, "messages": conversation}],
        "an object of lists": {"first": conversation, "second": conversation},
        "an object of objects": {"first": {"log": conversation}, "second": {"log": conversation}},
        "within": {"version": 1, "data": {"chats": [{"turns": conversation}, {"turns": conversation}]}},
        "parts": {"train": [{"messages": conversation}], "test": [{"messages": conversation}]},
        "parts among other keys": {
            "meta": {"license": "MIT", "authors": ["Ann A", "Bob B"]},
            "train": [{"messages": conversation}],
            "validation": [],
            "test": [{"messages": conversation}],
        },
    }


@pytest.mark.parametrize("wrapping", wrapped([]))
@pytest.mark.parametrize("layout", range(len(LAYOUTS)))
def test_read_json_layout_makes_no_difference(wrapping: str, layout: int, tmp_path: Path) -> None:
    value = wrapped(messages("ABBA", "role", "content"))[wrapping]
    found, report = read_json(tmp_path, value, **LAYOUTS[layout])
    assert found == [joined("ABBA")] * (1 if wrapping in list(wrapped([]))[:4] else 2)
    assert report.damaged_lines == 0
    assert looks_like_dialogue(json.dumps(value, **LAYOUTS[layout]).encode())


def test_read_json_several_values_in_a_file_are_several_conversations(tmp_path: Path) -> None:
    value = {"messages": messages("AB", "role", "content")}
    texts = [json.dumps(value, indent=indent) for indent in (None, 1, 4)]
    found, _ = read(tmp_path, {"a.json": "\n".join(texts), "b.json": "".join(texts[1:])})
    assert found == [joined("AB")] * 5


def test_read_json_parts_behind_the_head_of_the_file_are_read(tmp_path: Path) -> None:
    chat = {"name": "c", "messages": messages("ABAB", "from", "text")}
    value = {
        "about": "x",
        "chats": {"list": [chat] * (HEAD_BYTES // len(json.dumps(chat)) + 1)},
        "left_chats": {"list": [chat, chat]},
        "contacts": {"list": [{"first_name": "B"}], "names": ["A", "B"]},
    }
    found, report = read_json(tmp_path, value)
    assert len(found) == len(value["chats"]["list"]) + 2
    assert report.damaged_lines == 0


def test_read_json_lists_of_ids_are_no_conversations(tmp_path: Path) -> None:
    direct = [{"id": f"D{number}", "created": 1_600_000_000, "members": ["U1", "U2"]} for number in range(3)]
    with pytest.raises(DataError, match="no dialogue in a known format"):
        read_json(tmp_path, direct)
    assert read_json(tmp_path, {"a": ["Shall we?", "Yes"]})[0] == [[(0, "Shall we?"), (1, "Yes")]]


def test_read_json_damage_in_one_long_chat_costs_one_message(tmp_path: Path) -> None:
    text = json.dumps({"messages": messages("ABAB", "sender", "text")}, indent=1)
    found, report = read(tmp_path, {"chat.json": text.replace('"text": "2"', '"text" "2"')})
    assert found == [[(0, "0"), (1, "1\n3")]]
    assert (report.damaged_lines, report.first_damage) == (1, "chat.json, line 11: not JSON")


# Speakers.

SPEAKER_KEYS = [
    ["role"], ["from"], ["sender"], ["sender_name"], ["author"], ["speaker"], ["name"], ["username"], ["user"],
    ["nick"], ["author", "name"], ["from", "first_name"], ["sender", "name"], ["author", "role"],
    ["user", "profile_name"], ["fromMe"], ["User Name"], ["speaker_id"], ["who_it_was"],
]  # fmt: skip


@pytest.mark.parametrize("keys", SPEAKER_KEYS, ids=".".join)
@pytest.mark.parametrize("text", ["content", "text", "message", "body"])
def test_read_json_speaker_is_the_key_that_names_it(keys: list[str], text: str, tmp_path: Path) -> None:
    if keys == ["user", "profile_name"]:
        with pytest.raises(DataError, match=r"^who speaks in 'chat\.json' is unknown"):
            read_json(tmp_path, messages("ABBABA", *keys, text, id="x"))
        return
    found, report = read_json(tmp_path, messages("ABBABA", *keys, text, lang="en"))
    assert found == [joined("ABBABA")]
    assert report.speakers == {"A": 3, "B": 2}
    assert (report.merged_turns, report.speaker_key) == (1, "who_it_was" if keys == ["who_it_was"] else "")


@QUICK
@given(
    people=st.text("ABC", min_size=1, max_size=12),
    key=st.sampled_from(["sender", "author", "speaker"]),
    indent=st.booleans(),
)
def test_read_json_runs_of_a_speaker_are_joined(people: str, key: str, indent: bool, scratch: Path) -> None:
    found, report = read_json(scratch, {"messages": messages(people, key, "text")}, indent=2 if indent else None)
    assert found == [joined(people)]
    assert report.merged_turns == len(people) - len(joined(people))


def test_read_json_same_name_of_two_ids_is_two_speakers(tmp_path: Path) -> None:
    chat = [{"author": {"id": number, "name": "Sam"}, "content": "x"} for number in (1, 2, 2, 1)]
    found, report = read_json(tmp_path, chat)
    assert [speaker for speaker, _ in found[0]] == [0, 1, 0]
    assert report.speakers == {"Sam (1)": 2, "Sam (2)": 1}


@pytest.mark.parametrize(("keys", "is_dated"), [(("from", "from_id"), True), (("sender_name", "sender_id"), False)])
def test_read_json_same_name_of_two_ids_beside_it_is_two_speakers(
    keys: tuple[str, str], is_dated: bool, tmp_path: Path
) -> None:
    name, key = keys
    chat = [{name: "Sam", key: f"user{n % 2}", "text": f"{n}", **({"date": n} if is_dated else {})} for n in range(10)]
    found, report = read_json(tmp_path, {"messages": chat})
    assert found == [[(n % 2, str(n)) for n in range(10)]]
    assert report.speakers == {"Sam (user0)": 5, "Sam (user1)": 5} and not report.changes()
    chat[3].pop(key)
    found, report = read_json(tmp_path, {"messages": chat})
    assert report.speakers == {"Sam": 1}  # nobody is two people for want of an id
    chat = [{name: "AB"[n % 2], key: "account", "text": f"{n}"} for n in range(10)]
    assert read_json(tmp_path, {"messages": chat})[1].speakers == {"A": 5, "B": 5}


def test_read_json_roles_keep_their_numbers_under_any_key(tmp_path: Path) -> None:
    for key in ("role", "from", "sender"):
        chat = [{key: "system", "text": "s"}, {key: "assistant", "text": "a"}, {key: "human", "text": "h"}]
        found, report = read_json(tmp_path, [chat])
        assert (found, report.system_turns) == ([[(1, "a"), (0, "h")]], 1)
        assert report.speakers == {"assistant": 1, "human": 1}


ALTERNATE = {
    "text": [{"text": "a"}, {"text": "b"}],
    "a number of the turn": {"dialogue": [{"turn": 1, "text": "a"}, {"turn": 2, "text": "b"}]},
    "an emotion": [{"dialog": [{"text": text, "emotion": "joy", "act": "inform"} for text in "ab"]}],
    "strings": ["a", "b"],
}


@pytest.mark.parametrize("case", ALTERNATE)
def test_read_json_turns_alternate_where_messages_have_no_more_than_text(case: str, tmp_path: Path) -> None:
    found, report = read_json(tmp_path, ALTERNATE[case], indent=1)
    assert found == [[(0, "a"), (1, "b")]]
    assert report.speakers == {"1": 1, "2": 1}


UNCLEAR = {
    "times": {"messages": [{"text": "a", "timestamp": 1}, {"text": "b", "timestamp": 2}]},
    "two candidates": [{"text": str(n), "colour": "ab"[n % 2], "place": "xy"[n // 2 % 2]} for n in range(8)],
    "a name for each message": [{"name": f"n{n}", "text": "x", "date": "2024"} for n in range(12)],
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_read_json_unknown_speakers_are_refused(case: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^who speaks in 'chat\.json' is unknown: .*'NAME: text'"):
        read_json(tmp_path, UNCLEAR[case])
    warnings: list[str] = []
    (tmp_path / "good.txt").write_text("A: a\nB: b\n")
    names = ("chat.json", "good.txt")
    conversations, _ = read_conversations([Document(name, tmp_path / name) for name in names], warn=warnings.append)
    assert len(conversations) == len(warnings) == 1


# Order of time.

TIMES = {
    "seconds": lambda number: 1_700_000_000 + number,
    "milliseconds": lambda number: 1_700_000_000_000 + number,
    "text": lambda number: f"17000000{number:02}.5",
    "ISO": lambda number: f"2024-02-03T10:{number:02}:00Z",
    "German": lambda number: f"03.02.2024 10:{number:02}",
    "e-mail": lambda number: f"Sat, 03 Feb 2024 10:{number:02}:00 +0000",
    "Twitter": lambda number: f"Sat Feb 03 10:{number:02}:00 +0000 2024",
    "Google Chat": lambda number: f"Saturday, February 3, 2024 at 10:{number:02}:00 AM UTC",
    "ISO with zones": lambda number: f"2024-02-03T{10 + number % 2}:{number:02}:00+0{number % 2}:00",
}


@QUICK
@given(data=st.data(), times=st.sampled_from(sorted(TIMES)), people=st.text("ABC", min_size=2, max_size=9))
def test_read_json_messages_shuffled_with_times_are_the_same_conversation(
    data: st.DataObject, times: str, people: str, scratch: Path
) -> None:
    chat = messages(people, "sender", "text")
    for number, message in enumerate(chat):
        message["timestamp"] = TIMES[times](number)
    shuffled = data.draw(st.permutations(chat))
    found, report = read_json(scratch, {"messages": shuffled})
    assert found == [joined(people)]
    assert report.newest_first + report.reordered >= (shuffled != chat)
    assert report.newest_first + report.reordered <= 1 + (shuffled != chat)


def test_read_json_newest_first_within_a_minute_too(tmp_path: Path) -> None:
    chat = messages("ABCABC", "sender", "text")
    for number, message in enumerate(chat):
        message["date"] = f"2024-02-03 10:0{number // 3}"
    found, report = read_json(tmp_path, chat[::-1])
    assert found == [joined("ABCABC")]
    assert (report.newest_first, report.reordered) == (1, 0)
    assert "1 conversation with the newest message first reversed" in report.summary()


@pytest.mark.parametrize(
    ("dates", "is_reversed", "is_unclear"),
    [
        (["2/3/2024 8:02 PM", "2/3/2024 8:01 PM", "2/3/2024 8:00 PM"], True, False),
        (["05/01/2024", "01/02/2024", "03/02/2024"], False, False),  # in order, if the day comes first
        (["02/03/2024", "01/04/2024", "03/01/2024"], False, True),
        (["yesterday 10:05", "yesterday 10:04", "10:03"], False, True),
        (["29-04", "30-04", "01-05"], False, True),  # not April of the year 29
    ],
)
def test_read_json_messages_are_reversed_only_by_dates_that_say_so(
    dates: list[str], is_reversed: bool, is_unclear: bool, tmp_path: Path
) -> None:
    chat = [{**each, "date": date} for each, date in zip(messages("ABC", "sender", "text"), dates, strict=True)]
    found, report = read_json(tmp_path, chat)
    expected = [(number, text) for number, (_, text) in enumerate(joined("ABC")[:: -1 if is_reversed else 1])]
    assert found == [expected]
    assert report.newest_first == is_reversed
    assert any("aren't understood; messages stay" in change for change in report.changes()) == is_unclear


@pytest.mark.parametrize("by_minute", [False, True])
@pytest.mark.parametrize(
    "parts",
    [
        {"date": "05/15/2024", "time": "14:0{}"},
        {"date": "15.05.2024", "time": "2:0{} PM"},
        {"created": "2 days ago", "date": "05/1{}/2024"},
        {"time": "2:0{} PM", "date": "May 15, 2024 2:0{} PM"},
    ],
)
def test_read_json_dates_are_found_beside_times_of_day_and_other_texts(
    parts: dict[str, str], by_minute: bool, tmp_path: Path
) -> None:
    chat = messages("ABCABC", "sender", "text")
    for number, message in enumerate(chat):
        place = number // 2 if by_minute else number
        message.update({key: text.format(place + 1) for key, text in parts.items()})
    found, report = read_json(tmp_path, chat[::-1])
    assert (found, report.newest_first, report.changes()[-1:]) == (
        [joined("ABCABC")],
        1,
        ["1 conversation with the newest message first reversed"],
    )


def test_read_json_times_that_are_not_understood_are_told_once_for_all_files(tmp_path: Path) -> None:
    chat = [{**each, "time": f"10:1{n}"} for n, each in enumerate(messages("ABCABC", "sender", "text"))]
    _, report = read(tmp_path, {f"{number}.json": json.dumps(chat) for number in range(3)})
    assert report.changes() == [
        "3 conversations with times such as '10:10' in 0.json that aren't understood; messages stay in the order of "
        "the file"
    ]


def test_read_json_rows_of_messages_are_grouped_and_put_after_what_they_reply_to(tmp_path: Path) -> None:
    rows = [
        {"id": "2", "conversation_id": "x", "speaker": "B", "text": "1", "reply-to": "1", "timestamp": None},
        {"id": "4", "conversation_id": "y", "speaker": "A", "text": "0", "reply-to": None, "timestamp": None},
        {"id": "1", "conversation_id": "x", "speaker": "A", "text": "0", "reply-to": None, "timestamp": None},
    ]
    found, report = read(tmp_path, {"rows.jsonl": "\n".join(map(json.dumps, rows))})
    assert found == [joined("AB"), joined("A")]
    assert report.reordered == 1


# Arbitrary JSON.

KEYS = ["messages", "role", "content", "text", "from", "mapping", "message", "parent", "ts", "type", "timestamp",
        "id", "author", "prompt", "replies", "envelope", "attachments", "current_node", "history", "output",
        "value"]  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "2024-02-03", "user", "message"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)


@QUICK
@given(value=JSON, lines=st.booleans())
def test_read_json_arbitrary_values_are_read_or_refused_in_any_layout(value: Any, lines: bool, scratch: Path) -> None:
    if lines and isinstance(value, list):
        texts = ["\n".join(map(json.dumps, value)), "\n \n".join(map(json.dumps, value)) + "\n"]
    else:
        texts = [json.dumps(value, **layout) for layout in LAYOUTS[::2]]
    outcomes: list[Any] = []
    for text in texts:
        looks_like_dialogue(text.encode())
        try:
            found, report = read(scratch, {"chat.json": text})
        except DataError as error:
            assert "\n" not in str(error)
            outcomes.append("refused")
        else:
            outcomes.append((found, report.format, report.speakers))
    assert all(outcome == outcomes[0] for outcome in outcomes)


OTHERS: dict[str, Any] = {
    "package": {"name": "x", "contributors": [{"name": "a", "email": "b"}], "keywords": ["a", "b"]},
    "settings": {"spec": {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}},
    "places": {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"name": "x"}}]},
    "news": {"articles": [{"author": author, "title": "t", "content": "c", "url": "u"} for author in "AAB"]},
    "reviews": [{"user": "a", "text": "good", "stars": 5}, {"user": "b", "text": "bad", "stars": 1}],
    "posts": [{"author": author, "body": "x"} for author in "ABC"],
    "texts": [{"text": "a"}, {"text": "b"}],
    "classes": [{"prompt": str(number), "completion": ("yes", "no")[number % 2]} for number in range(40)],
    "questions": {"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": [{"text": "a"}]}]}]}]},
    "numbers": [[1, 2], [3, 4]],
    "empty": [[], {}],
}


@pytest.mark.parametrize("case", OTHERS)
def test_looks_like_dialogue_other_json_is_none(case: str) -> None:
    for layout in LAYOUTS:
        assert not looks_like_dialogue(json.dumps(OTHERS[case], **layout).encode())
    if isinstance(OTHERS[case], list):
        assert not looks_like_dialogue("\n".join(map(json.dumps, OTHERS[case])).encode())
