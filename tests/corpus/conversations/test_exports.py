"""What chat programs export: WhatsApp, Telegram, Discord, Slack, Messenger, Signal, ChatGPT, IRC, subtitles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seqgen.corpus.conversations.read import looks_like_dialogue, read_conversations
from seqgen.corpus.conversations.report import ConversationReport
from seqgen.corpus.sources import Document
from seqgen.errors import DataError

Spoken = list[list[tuple[int, str]]]


def read(folder: Path, files: dict[str, str], lenient: bool = False) -> tuple[Spoken, ConversationReport]:
    documents = []
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
        documents.append(Document(name, folder / name))
    conversations, report = read_conversations(documents, warn=(lambda _: None) if lenient else None)
    assert sum(report.speakers.values()) == report.turns
    return [[(turn.speaker, turn.text) for turn in each.turns] for each in conversations], report


NARROW, LEFT, RIGHT = "\u202f", "\u200e", "\u200f"
STAMPS = {
    "English": "03/02/2024, 10:15 - ",
    "American": "2/3/24, 10:15 AM - ",
    "American since 2023": f"2/3/24, 10:15{NARROW}PM - ",
    "German": "03.02.24, 10:15 - ",
    "French": "03/02/2024 à 10:15 - ",
    "Spanish": f"3/2/24, 10:15{NARROW}p.{NARROW}m. - ",
    "Brazilian": "03/02/2024 10:15 - ",
    "Dutch": "03-02-2024 10:15 - ",
    "Hungarian": "2024. 02. 03. 10:15 - ".replace(". ", ".", 2),
    "Japanese": "2024/02/03 10:15 - ",
    "Chinese": "2024/2/3 上午10:15 - ",
    "Arabic": f"{RIGHT}3{RIGHT}/2{RIGHT}/2024، 10:15 ص - ",
    "Swedish": "2024-02-03 10:15 - ",
    "iPhone": "[03/02/2024, 10:15:32] ",
    "American iPhone": f"[2/3/24, 10:15:32{NARROW}AM] ",
    "German iPhone": f"{LEFT}[03.02.24, 10:15:32] ",
    "Dutch iPhone": "[03-02-24 10:15:32] ",
    "Canadian French": "2024-02-03 10 h 15 - ",
    "Canadian French iPhone": f"[2024-02-03 10{NARROW}h{NARROW}15{NARROW}min{NARROW}32{NARROW}s] ",
    "before 2015": "3/2/14, 1:59:59 PM: ",
    "before 2015, ISO": "2016-06-27, 8:04:08 AM: ",
}


@pytest.mark.parametrize("stamp", STAMPS)
def test_whatsapp_every_date_form_is_read(stamp: str, tmp_path: Path) -> None:
    mark = STAMPS[stamp]
    texts = [
        "Ann Lee: hi: you",
        "Bob: <Media omitted>",
        "+49 171 123: ho",
        "Ann Lee: see\n\n12:30, or 3/2?",
        "Ann added Bob",
    ]
    text = "".join(f"{mark}{each}\n" for each in texts)
    assert looks_like_dialogue(text.encode())
    found, report = read(tmp_path, {"chat.txt": text})
    assert found == [[(0, "hi: you"), (1, "ho"), (0, "see\n\n12:30, or 3/2?")]]
    assert (report.format, report.media, report.system_turns, report.damaged_lines) == ("WhatsApp", 1, 1, 0)
    assert report.speakers == {"Ann Lee": 2, "+49 171 123": 1}


MEDIA = [
    "<Media omitted>", "<Medien ausgeschlossen>", "<Multimedia omitido>", "<Médias omis>", "<省略多媒体文件>",
    f"{LEFT}image omitted", f"{LEFT}<attached: 00000012-PHOTO.jpg>", "image omitted", "Bild weggelassen",
    f"Report.pdf • {LEFT}12 pages {LEFT}document omitted", f"報告.pdf • {LEFT}12 頁 {LEFT}文件已省略",
    "imagem ocultada", "IMG-20240203-WA0001.jpg (file attached)", "VID 1.mp4 (Datei angehängt)",
]  # fmt: skip


@pytest.mark.parametrize("placeholder", MEDIA)
def test_whatsapp_placeholders_of_media_are_left_out_and_counted(placeholder: str, tmp_path: Path) -> None:
    stamp = "[03/02/2024, 10:15:32] "
    found, report = read(tmp_path, {"chat.txt": f"{stamp}A: a\n{stamp}B: {placeholder}\n{stamp}B: b\n"})
    assert (found, report.media) == ([[(0, "a"), (1, "b")]], 1)
    found, report = read(tmp_path, {"chat.txt": f"{stamp}A: a\n{stamp}B: {placeholder}\na caption\n"})
    assert (found, report.media) == ([[(0, "a"), (1, "a caption")]], 1)


def test_whatsapp_service_messages_are_by_no_one(tmp_path: Path) -> None:
    stamp = "2/3/24, 10:15 - "
    lines = [
        f"{stamp}Messages and calls are end-to-end encrypted. No one outside can read them: tap to learn more.",
        f"{stamp}Ann changed the subject from “Plan” to “Plan: B”",
        f"{stamp}Ann: a <This message was edited>",
        f"{stamp}Bob: This message was deleted",
        f"[2/3/24, 10:15:01] Group: {LEFT}Ann added you",
        f"[2/3/24, 10:15:01] ~{NARROW}Bob: b",
    ]
    found, report = read(tmp_path, {"chat.txt": "\n".join(lines[1:])})
    assert found == [[(0, "a"), (1, "b")]]
    assert (report.system_turns, report.deleted) == (2, 1)
    assert report.speakers == {"Ann": 1, "Bob": 1}


DELETED = ["This message was deleted.", "Bu mesaj silindi", "Вы удалили данное сообщение", "Pesan ini dihapus",
           "このメッセージは削除されました。", "你删除了此消息", "您刪除了此訊息"]  # fmt: skip
EDITED = [
    "<This message was edited>",
    "<Bu mesaj düzenlendi>",
    "<Mensagem editada>",
    "<此訊息已編輯>",
    f"{LEFT}<anything>",
]


def test_whatsapp_notices_of_deletion_and_marks_of_edits_are_left_out(tmp_path: Path) -> None:
    stamp = "3.02.2024 10:15 - "
    said = ["Ann: <b>a</b>", *(f"Bob: {notice}" for notice in DELETED), *(f"Bob: ok {mark}" for mark in EDITED),
            "Ann: I said <in a message>", "Bob: <3"]  # fmt: skip
    found, report = read(tmp_path, {"chat.txt": "".join(f"{stamp}{each}\n" for each in said)})
    assert found == [[(0, "<b>a</b>"), (1, "\n".join(["ok"] * len(EDITED))), (0, "I said <in a message>"), (1, "<3")]]
    assert report.deleted == len(DELETED)


@pytest.mark.parametrize("call", ["Missed voice call", "未接语音通话", "未接视频通话。", "未接視訊通話"])
def test_whatsapp_calls_that_were_missed_are_no_messages(call: str, tmp_path: Path) -> None:
    said = "".join(f"2024年2月3日 上午10:15 - {each}\n" for each in ("A: a", f"B: {call}", "B: b"))
    found, report = read(tmp_path, {"chat.txt": said})
    assert (found, report.system_turns) == ([[(0, "a"), (1, "b")]], 1)


def test_whatsapp_names_of_quotes_or_many_words_are_people_where_they_recur(tmp_path: Path) -> None:
    stamp = "03/02/2024, 10:15 - "
    said = ['Tom "Tommy" Lee: a', "Ann: b", "Praxis Dr. Anna Maria von der Heide: c", "Ann: d",
            'Ann changed the subject from “A: x” to “B: y”', 'Ann changed the subject from “A: x” to “C”',
            'Tom "Tommy" Lee: e', "Praxis Dr. Anna Maria von der Heide: f",
            "You are now one of the people here: g"]  # fmt: skip
    text = "".join(f"{stamp}{each}\n" for each in said)
    assert looks_like_dialogue(text.encode())
    found, report = read(tmp_path, {"chat.txt": text})
    assert found == [[(0, "a"), (1, "b"), (2, "c"), (1, "d"), (0, "e"), (2, "f")]]
    assert report.system_turns == 3


def test_whatsapp_lines_before_the_first_message_and_days_are_no_text(tmp_path: Path) -> None:
    """KakaoTalk's, of a phone. A date that somebody writes stays."""
    day = "2024년 2월 {}일 오전 9:00"
    text = "Ann 님과 카카오톡 대화\n저장한 날짜 : 2024년 2월 5일 오후 10:15\n\n\n" + "".join(
        f"{day.format(n)}\n{day.format(n)}, Ann : a\n{day.format(n)}, Bob : b\n3.2.2024\n{day.format(n)}, Ann : c\n\n"
        for n in (1, 2)
    )
    assert looks_like_dialogue(text.encode())
    found, report = read(tmp_path, {"chat.txt": text})
    assert found == [[(0, "a"), (1, "b\n3.2.2024"), (0, "c\na"), (1, "b\n3.2.2024"), (0, "c")]]
    assert (report.system_turns, report.damaged_lines) == (1, 3)


DAYS = {"Taiwan": "2024/02/0{}（日）", "English": "Sat, 02/0{}/2024", "Thai": "2024.02.0{} วันเสาร์",
        "Japanese": "2024/02/0{}(土)"}  # fmt: skip


@pytest.mark.parametrize("language", DAYS)
def test_days_and_quotes_of_line_are_no_text(language: str, tmp_path: Path) -> None:
    days = [f'{DAYS[language].format(n)}\n10:15\tAnn\thi "you"\n10:16\tBob\t"one\ntwo"\n\n' for n in (1, 2, 3)]
    text = f"[LINE] Ann\n\n{''.join(days)}"
    assert looks_like_dialogue(text.encode())
    found, report = read(tmp_path, {"chat.txt": text})
    assert found == [[(0, 'hi "you"'), (1, "one\ntwo")] * 3]
    assert report.system_turns == 2


def test_zoom_chat_with_private_messages_and_notes_behind_names_is_read(tmp_path: Path) -> None:
    said = [("Ann (she/her)", "Everyone", "a"), ("Bob", "Everyone", "b"), ("Ann (she/her)", "Bob(Direct Message)", "c")]
    text = "".join(f"10:15:2{n}\t From  {who} to  {whom}:\n\t{words}\n" for n, (who, whom, words) in enumerate(said))
    assert looks_like_dialogue(text.encode())
    found, report = read(tmp_path, {"chat.txt": text})
    assert found == [[(0, "a"), (1, "b"), (0, "c")]]
    assert report.speakers == {"Ann (she/her)": 2, "Bob": 1}
    found, _ = read(tmp_path, {"chat.txt": "10:15:20 Ann (she/her): a\n10:15:21 Bob: b\n"})
    assert found == [[(0, "a"), (1, "b")]]


def test_ranks_before_nicks_of_weechat_are_no_part_of_the_name(tmp_path: Path) -> None:
    said = ["@ann\ta", "bob\tb", "ann\tc", "+bob\td"]
    found, report = read(tmp_path, {"a.log": "".join(f"2024-02-03 10:15:00\t{each}\n" for each in said)})
    assert found == [[(0, "a"), (1, "b"), (0, "c"), (1, "d")]]
    assert report.speakers == {"ann": 2, "bob": 2}


LOGS = {
    "levels": "2024-01-01 10:15:32 - INFO: a\n2024-01-01 10:15:33 - ERROR: b\n2024-01-01 10:15:34 - INFO: c\n",
    "brackets": "[2024-02-03 10:15:32] local.ERROR: a\n[2024-02-03 10:15:33] local.INFO: b\n",
    "levels in Chinese": "[2024-01-01 10:15:32] 信息: a\n[2024-01-01 10:15:33] 错误: b\n" * 2,
    "modules": "2024-01-01 10:15:32 - app.db: a\n2024-01-01 10:15:33 - app.web: b\n2024-01-01 10:15:34 - app.db: c\n",
    "processes": "Feb  3 10:15:32 host sshd[123]: a\nFeb  3 10:15:33 host cron[1]: b\n" * 2,
    "access": '1.2.3.4 - - [03/Feb/2024:10:15:32 +0000] "GET / HTTP/1.1" 200 5\n' * 3,
}


@pytest.mark.parametrize("case", LOGS)
def test_logs_of_programs_are_no_dialogue(case: str, tmp_path: Path) -> None:
    assert not looks_like_dialogue(LOGS[case].encode())
    with pytest.raises(DataError, match="no dialogue in a known format"):
        read(tmp_path, {"a.log": LOGS[case]})


CHATS = {
    "IRC": "[00:00] <ann> hi\n=== bob [n=b@x] has joined #a\n[00:01] <@bob> ho\n[00:01]  * ann waves\n",
    "IRC by irssi": "--- Log opened\n12:00 -!- ann [x@y] has joined #a\n12:00 < ann> hi\n12:01 <+bob> ho\n",
    "IRC without times": "<ann> hi\n<bob> ho\n",
    "log of Zoom": "10:15:32 From Ann Lee to Everyone: hi\n10:15:40 From Bob to Everyone: ho\n",
    "log in brackets": "[10:15] Ann: hi\n[10:16] Bob: ho\n",
    "log with dates": "2024-02-03 10:15 Ann: hi\n2024-02-03 10:15 Bob: ho\n",
    "WhatsApp or Signal": "[2024-02-03, 10:15] Me: hi\n[2024-02-03, 10:16] Bob: ho\n",
    "SubRip": "1\n00:00:01,000 --> 00:00:02,000\nANN: hi\n\n2\n00:03,000 --> 00:04,000\n- BOB: <i>ho</i>\n[door]\n",
    "SubRip as WebVTT": "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ann Lee>hi</v>\n\n00:03.000 --> 00:04.000\n<v Bob>ho\n",
}


@pytest.mark.parametrize("case", CHATS)
def test_chats_in_text_are_read_with_their_speakers(case: str, tmp_path: Path) -> None:
    found, report = read(tmp_path, {"chat.txt": CHATS[case]})
    assert found == [[(0, "hi"), (1, "ho")]]
    assert report.format == case.split()[0]
    assert report.damaged_lines == 0
    assert len(report.speakers) == 2


def test_logs_of_programs_in_chinese_are_no_chats() -> None:
    for form, is_chat in (("2024-05-01 ", False), ("2024/05/01 ", True), ("2024/5/1 下午", True)):
        lines = [f"[{form}09:15:{n:02}] {'数据库服务器'[n % 2 * 3 :][:3]}: 作业 {n}" for n in range(20)]
        assert looks_like_dialogue("\n".join(lines).encode()) == is_chat, form


def test_subtitles_without_names_are_refused_in_one_line(tmp_path: Path) -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\nHi.\n\n2\n00:00:03,000 --> 00:00:04,000\n- Ho.\n- Hum.\n"
    assert not looks_like_dialogue(text.encode())
    with pytest.raises(DataError, match=r"^who speaks in 'film\.srt' is unknown"):
        read(tmp_path, {"film.srt": text})


def cues(*texts: str, times: str = "00:00:{0:02}.000 --> 00:00:{1:02}.000", head: str = "WEBVTT\n\n") -> str:
    return head + "".join(f"{times.format(2 * n, 2 * n + 1)}\n{text}\n\n" for n, text in enumerate(texts))


def test_cues_with_one_digit_of_seconds_are_read_and_damaged_ones_counted(tmp_path: Path) -> None:
    text = cues("<v Ann>hi</v>", "<v Bob>ho</v>", times="0:0:{0}.0 --> 0:0:{1}.560")
    assert looks_like_dialogue(text.encode())
    found, report = read(tmp_path, {"teams.vtt": text})
    assert (found, report.damaged_lines) == ([[(0, "hi"), (1, "ho")]], 0)
    found, report = read(tmp_path, {"teams.vtt": f"{text}0:0:9 --> 0:0:11.0\n<v Ann>so</v>\n"})
    assert found == [[(0, "hi"), (1, "ho")]]
    assert report.first_damage == "teams.vtt, line 9: no times of a cue around the arrow"


def test_meetings_name_speakers_of_small_letters_and_of_one_cue(tmp_path: Path) -> None:
    said = ["Mary Smith: a", "iPhone: b", "Ann Lee: c", "Mary Smith: d", "tom jones: e", "iPhone: f", "Ann Lee: g",
            "Lee, Bob: h", "Mary Smith: i", "Lee, Bob: j", "iPhone: k", "Ann Lee: l",
            "Bob Gray: I say: no"]  # fmt: skip
    text = cues(*said)
    assert looks_like_dialogue(text.encode())
    found, report = read(tmp_path, {"zoom.vtt": text})
    assert [words for _, words in found[0]] == [*"abcdefghijkl", "I say: no"]
    assert report.speakers == {
        "Mary Smith": 3, "iPhone": 3, "Ann Lee": 3, "tom jones": 1, "Lee, Bob": 2, "Bob Gray": 1,
    }  # fmt: skip


def test_words_before_a_colon_are_no_names_where_cues_go_on_without_one(tmp_path: Path) -> None:
    text = cues("ANN: a", "and then: b", "BOB: c", "that is: d", "ANN: e", "BOB: f", "ANN: g", "BOB: h")
    found, _ = read(tmp_path, {"film.vtt": text})
    assert [words for _, words in found[0]] == ["a\nand then: b", "c\nthat is: d", *"efgh"]


def test_entities_of_webvtt_are_characters(tmp_path: Path) -> None:
    said = "<v Ann &amp; Bob>salt&nbsp;&amp; pepper, 1 &lt; 2, &#233; &uuml; &amp;lt;</v>", "<v Cy>&lt;b&gt;ho</v>"
    found, report = read(tmp_path, {"a.vtt": cues(*said)})
    assert found == [[(0, "salt\xa0& pepper, 1 < 2, é &uuml; &lt;"), (1, "<b>ho")]]
    assert report.speakers == {"Ann & Bob": 1, "Cy": 1}
    found, _ = read(tmp_path, {"a.srt": cues("ANN: a &amp; b", "BOB: c", head="")})
    assert found == [[(0, "a &amp; b"), (1, "c")]]


def test_telegram_page_is_refused_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a web page; export the chat as JSON .*Machine-readable JSON"):
        read(tmp_path, {"messages.html": "<!DOCTYPE html>\n<html><body>Ann: hi</body></html>\n"})


def telegram(**more: Any) -> dict[str, Any]:
    people = {"from": "Ann", "from_id": "user1"}, {"from": None, "from_id": "user2"}
    texts: list[Any] = [["see ", {"type": "link", "text": "http://x"}, "!"], "ho", "", "so"]
    messages = [
        {
            "id": n,
            "type": "message",
            "date": f"2024-02-03T10:0{n}:00",
            **people[n % 2],
            "text": text,
            "text_entities": [],
        }
        for n, text in enumerate(texts)
    ]
    messages[2]["photo"] = "photos/1.jpg"
    service = {"id": 9, "type": "service", "date": "2024-02-03T10:01:30", "actor": "Ann", "action": "call", "text": ""}
    return {"name": "Bob", "type": "personal_chat", "id": 5, "messages": [*messages, service], **more}


def chatgpt() -> dict[str, Any]:
    def node(name: str, parent: str | None, role: str, text: str, **more: Any) -> dict[str, Any]:
        message = {"author": {"role": role}, "content": {"content_type": "text", "parts": [text]}, **more}
        return {"id": name, "message": message, "parent": parent, "children": []}

    nodes = [
        {"id": "root", "message": None, "parent": None, "children": ["a"]},
        node("a", "root", "system", ""),
        node("b", "a", "user", "hi"),
        node("c", "b", "assistant", "an older reply"),
        node("d", "b", "assistant", "search()", recipient="browser"),
        node("e", "d", "tool", "found"),
        node("f", "e", "assistant", "ho", recipient="all"),
    ]
    return {"title": "t", "mapping": {each["id"]: each for each in nodes}, "current_node": "f"}


def test_chatgpt_without_current_node_follows_the_longest_branch(tmp_path: Path) -> None:
    for current in ({}, {"current_node": None}, {"current_node": "none"}, {"current_node": ["f"]}):
        chat = chatgpt()
        del chat["current_node"]
        found, _ = read(tmp_path, {"chat.json": json.dumps(chat | current)})
        assert found == [[(0, "hi"), (1, "ho")]]


@pytest.mark.parametrize("order", [1, -1])
def test_claude_questions_and_replies_that_were_replaced_are_left_out(order: int, tmp_path: Path) -> None:
    def message(name: str, parent: str, text: str, minute: int) -> dict[str, Any]:
        sender, time = ("human", "assistant")[minute % 2], f"2024-02-03T10:0{minute}:00.5Z"
        return {"uuid": name, "parent_message_uuid": parent, "text": text, "sender": sender, "created_at": time}

    messages = [
        message("a", "0", "hi", 0), message("b", "a", "no", 1), message("c", "a", "ho", 3), message("d", "c", "so", 4),
    ]  # fmt: skip
    found, report = read(tmp_path, {"chat.json": json.dumps([{"chat_messages": messages[::order]}])})
    assert (found, report.branches) == ([[(0, "hi"), (1, "ho"), (0, "so")]], 1)
    people = [{**each, "sender": each["sender"].replace("human", "Ann")} for each in messages]
    found, report = read(tmp_path, {"chat.json": json.dumps([{"chat_messages": people}])})
    assert report.branches == 0


DISCORD = {
    "guild": {"id": "1", "name": "g"},
    "channel": {"id": "2", "name": "c"},
    "messages": [
        {"id": "1", "type": "GuildMemberJoin", "timestamp": "2024-02-03T10:00:00+00:00", "content": "Joined.",
         "author": {"id": "7", "name": "ann"}, "attachments": []},
        {"id": "2", "type": "Default", "timestamp": "2024-02-03T10:01:00.123+00:00", "content": "hi",
         "author": {"id": "7", "name": "ann", "nickname": "Ann", "roles": [{"id": "3"}]}, "attachments": []},
        {"id": "3", "type": "Default", "timestamp": "2024-02-03T10:02:00+00:00", "content": "",
         "author": {"id": "7", "name": "ann", "nickname": "Ann"}, "attachments": [{"url": "x"}]},
        {"id": "4", "type": "Reply", "timestamp": "2024-02-03T10:03:00+00:00", "content": "ho",
         "author": {"id": "8", "name": "bob", "nickname": "Bob"}, "attachments": []},
    ],
}  # fmt: skip
MESSENGER = {
    "participants": [{"name": "JÃ¶rg"}, {"name": "Ann"}],
    "messages": [
        {"sender_name": "JÃ¶rg", "timestamp_ms": 3000, "content": "schÃ¶n"},
        {"sender_name": "JÃ¶rg", "timestamp_ms": 2500, "is_unsent": True},
        {"sender_name": "Ann", "timestamp_ms": 2000, "photos": [{"uri": "x"}]},
        {"sender_name": "Ann", "timestamp_ms": 1000, "content": "hi"},
    ],
}
CLAUDE = [{"uuid": "u", "name": "n", "chat_messages": [
    {"uuid": "1", "text": "hi", "sender": "human", "created_at": "2024-02-03T10:00:00Z", "attachments": []},
    {"uuid": "2", "text": "", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "ho"}],
     "sender": "assistant", "created_at": "2024-02-03T10:01:00Z"}]}]  # fmt: skip
SKYPE = {"userId": "8:ann", "conversations": [{"id": "8:bob", "displayName": "Bob", "MessageList": [
    {"id": str(4 - n), "displayName": None, "originalarrivaltime": f"2021-01-01T10:00:0{4 - n}.1Z", "messagetype": kind,
     "content": text, "conversationid": "8:bob", "from": who}
    for n, (who, kind, text) in enumerate((
        ("8:bob", "RichText", "<b raw_pre='*'>so</b>, don&apos;t &lt;3 <ss type='smile'>:)</ss>"),
        ("8:bob", "RichText/UriObject", "<URIObject uri='https://x'>To view this photo, go to: x</URIObject>"),
        ("8:ann", "RichText", "I&apos;m &amp;c."),
        ("8:ann", "ThreadActivity/AddMember", "<addmember><target>8:bob</target></addmember>"),
    ))
]}]}  # fmt: skip
OASST = {"message_tree_id": "x", "prompt": {"text": "hi", "role": "prompter", "replies": [
    {"text": "no", "role": "assistant", "rank": 1, "replies": [{"text": "why", "role": "prompter", "replies": []}]},
    {"text": "ho", "role": "assistant", "rank": 0, "replies": []}]}}  # fmt: skip
EXPORTS: dict[str, tuple[Any, Spoken, dict[str, int], dict[str, int]]] = {
    "Telegram": (
        telegram(), [[(0, "see http://x!"), (1, "ho\nso")]], {"Ann": 1, "user2": 1}, {"media": 1, "system_turns": 1},
    ),
    "Telegram, all chats": (
        {"about": "x", "contacts": {"list": [{"first_name": "B"}]}, "chats": {"list": [telegram(), telegram(id=6)]}},
        [[(0, "see http://x!"), (1, "ho\nso")]] * 2, {"Ann": 2, "user2": 2}, {"media": 2, "system_turns": 2},
    ),
    "Discord": (DISCORD, [[(0, "hi"), (1, "ho")]], {"Ann": 1, "Bob": 1}, {"media": 1, "system_turns": 1}),
    "Messenger": (
        MESSENGER, [[(0, "hi"), (1, "schön")]], {"Ann": 1, "Jörg": 1},
        {"media": 1, "deleted": 1, "newest_first": 1, "repaired": 2},
    ),
    "ChatGPT": ([chatgpt()], [[(0, "hi"), (1, "ho")]], {"user": 1, "assistant": 1}, {"branches": 1, "system_turns": 3}),
    "Claude": (CLAUDE, [[(0, "hi"), (1, "ho")]], {"human": 1, "assistant": 1}, {}),
    "messages, Skype": (
        SKYPE, [[(0, "I'm &c."), (1, "so, don't <3 :)")]], {"8:ann": 1, "8:bob": 1},
        {"media": 1, "system_turns": 1, "newest_first": 1},
    ),
    "OASST": (OASST, [[(0, "hi"), (1, "ho")]], {"prompter": 1, "assistant": 1}, {"branches": 2}),
    "messages": ([{"role": "user", "content": "hi"},
                  {"role": "assistant", "content": None, "tool_calls": [{"id": "x"}]},
                  {"role": "assistant", "content": [{"type": "text", "text": "ho"}]}],
                 [[(0, "hi"), (1, "ho")]], {"user": 1, "assistant": 1}, {"empty_turns": 1}),
    "pairs": ([{"instruction": "Add", "input": "1 2", "output": "3", "system": "Be brief", "history": [["a", "b"]]},
               {"instruction": "Hi", "input": "", "output": "Ho"}],
              [[(0, "a"), (1, "b"), (0, "Add\n1 2"), (1, "3")], [(0, "Hi"), (1, "Ho")]], {"1": 3, "2": 3},
              {"system_turns": 1}),
}  # fmt: skip
COUNTS = ("media", "deleted", "system_turns", "branches", "newest_first", "reordered", "repaired", "empty_turns",
          "damaged_lines", "unknown_roles")  # fmt: skip


@pytest.mark.parametrize("case", EXPORTS)
@pytest.mark.parametrize("indent", [None, 2])
def test_exports_in_json_are_read(case: str, indent: int | None, tmp_path: Path) -> None:
    value, spoken, speakers, counts = EXPORTS[case]
    text = json.dumps(value, indent=indent)
    assert looks_like_dialogue(text.encode())
    found, report = read(tmp_path, {"result.json": text})
    assert found == spoken
    assert report.format == case.split(",")[0]
    assert report.speakers == speakers
    assert {name: getattr(report, name) for name in COUNTS if getattr(report, name)} == counts


def test_signal_cli_lines_are_one_conversation(tmp_path: Path) -> None:
    def line(name: str, time: int, **more: Any) -> str:
        return json.dumps({"envelope": {"source": "+1", "sourceName": name, "timestamp": time, **more}})

    lines = [
        line("Ann", 1, dataMessage={"message": "hi", "timestamp": 1}),
        line("Bob", 2, receiptMessage={"isRead": True}),
        line("Bob", 3, syncMessage={"sentMessage": {"message": "ho"}}),
    ]
    found, report = read(tmp_path, {"log.jsonl": "\n".join(lines)})
    assert (found, report.format, report.speakers) == ([[(0, "hi"), (1, "ho")]], "Signal", {"Ann": 1, "Bob": 1})


def test_slack_days_of_a_channel_are_one_conversation_by_names(tmp_path: Path) -> None:
    def message(user: str, text: str, time: str, **more: Any) -> dict[str, Any]:
        return {"type": "message", "user": user, "text": text, "ts": time, **more}

    users = [
        {"id": "U1", "name": "ann", "profile": {"real_name": "Ann Lee", "display_name": ""}},
        {"id": "U2", "name": "bob"},
    ]
    first = [
        message("U1", "<@U1> has joined the channel", "1.0", subtype="channel_join"),
        message("U1", "hi &lt;all&gt;, <@U2>: <https://x|a link>", "2.0", thread_ts="2.0"),
        message("U1", "next", "4.0"),
    ]
    second = [message("U2", "ho", "90000.0", thread_ts="2.0"), message("U2", "so", "90001.0")]
    files = {
        "users.json": json.dumps(users),
        "channels.json": json.dumps([{"id": "C1", "name": "general"}]),
        "dms.json": json.dumps([{"id": "D1", "created": 1, "members": ["U1", "U2"]}]),
        "general/2024-02-03.json": json.dumps(first),
        "general/2024-02-04.json": json.dumps(second, indent=2),
        "other/2024-02-03.json": json.dumps([message("U2", "alone", "1.0")]),
    }
    found, report = read(tmp_path, files, lenient=True)
    assert found == [[(0, "hi <all>, @bob: https://x"), (1, "ho"), (0, "next"), (1, "so")], [(0, "alone")]]
    assert (report.format, report.speakers) == ("Slack", {"Ann Lee": 2, "bob": 3})
    assert report.system_turns == 1


def test_messenger_numbered_files_are_one_conversation(tmp_path: Path) -> None:
    def part(*times: int) -> str:
        who = ("Ann", "Bob")
        return json.dumps(
            {"messages": [{"sender_name": who[t % 2], "timestamp_ms": t, "content": f"{t}"} for t in times]}
        )

    found, report = read(tmp_path, {"inbox/a/message_1.json": part(6, 5, 4), "inbox/a/message_2.json": part(3, 2, 1)})
    assert found == [[(number % 2, str(number + 1)) for number in range(6)]]
    assert report.newest_first == 1


def test_files_called_as_parts_are_conversations_of_their_own(tmp_path: Path) -> None:
    def chat(key: str, text: str) -> str:
        return json.dumps({key: [{"role": "user", "content": text}, {"role": "assistant", "content": "ho"}]})

    days = {f"2024-02-0{n}.json": chat("chat" if n == 3 else "messages", f"{n}") for n in (1, 2, 3)}
    found, report = read(tmp_path, {**days, "users.json": chat("messages", "us")})
    assert found == [[(0, text), (1, "ho")] for text in ("1", "2", "3", "us")]
    assert report.turns == 8


def test_part_of_another_structure_is_read_by_itself(tmp_path: Path) -> None:
    part = {"messages": [{"sender_name": "Ann", "timestamp_ms": n, "content": f"{n}"} for n in (1, 2)]}
    other = {"chat": [{"sender": "Bob", "text": "hi"}, {"sender": "Cy", "text": "ho"}]}
    files = {"message_1.json": json.dumps(part), "message_2.json": json.dumps(other)}
    assert read(tmp_path, files)[0] == [[(0, "1\n2")], [(0, "hi"), (1, "ho")]]
