"""Chats as programs export them, and what is no chat: who speaks, in which order, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seqgen.api.reading.run import read
from seqgen.errors import DataError
from tests.helpers.workbooks import workbook_of

SAID = [
    ("Ann", "Is it far from here?"), ("Bob", "A mile, no more."), ("Ann", "Shall we go then?"), ("Bob", "In a minute."),
    ("Ann", "I have lost my hat."), ("Bob", "It is on the chair."),
]  # fmt: skip
TURNS = [(number % 2, words) for number, (_, words) in enumerate(SAID)]
ROLES = ("user", "assistant")


def lines(form: str, before: str = "", after: str = "") -> str:
    return before + "".join(form.format(n=10 + n, who=who, text=words) for n, (who, words) in enumerate(SAID)) + after


def times(form: str) -> list[str]:
    return [form.format(10 + n) for n in range(len(SAID))]


WHATSAPP = {
    "Hungarian": "2024. 02. 03. 10:{n} - {who}: {text}\n",
    "Croatian": "03. 02. 2024. 10:{n} - {who}: {text}\n",
    "Chinese": "2024年2月3日 上午10:{n} - {who}: {text}\n",
    "Korean": "2024년 2월 3일 오전 10:{n}, {who} : {text}\n",
    "Persian": "۱۴۰۲/۱۱/۱۴،\u200f ۱۰:{n} - {who}: {text}\n",
    "Vietnamese": "10:{n}, 03/02/2024 - {who}: {text}\n",
    "Greek": "3/2/24, 10:{n} π.μ. - {who}: {text}\n",
    "Bulgarian": "3.02.24 г., 10:{n} ч. - {who}: {text}\n",
    "Portuguese": "03/02/2024, 10:{n} da manhã - {who}: {text}\n",
    "Finnish": "3.2.2024 klo 10.{n} - {who}: {text}\n",
    "Chinese, of an iPhone": "[2024/2/3 下午10:{n}:05] {who}: {text}\n",
    "Korean, of an iPhone": "[2024. 2. 3. 오후 10:{n}:05] {who}: {text}\n",
    "Japanese, of an iPhone": "[2024/02/03 10:{n}:05] {who}さん: {text}\n",
    "Japanese, with marks": "[2024/02/03 10:{n}:05] {who}: \u200e画像は含まれていません\n"
    "[2024/02/03 10:{n}:06] {who}: {text}\n",
    "American, of an iPhone": "[2/3/24, 10:{n}:15\u202fAM] {who}: {text}\n",
}
LOGS = {
    "LINE": lines("10:{n}\t{who}\t{text}\n", "[LINE] Bob\n保存日時：2024/02/04 10:00\n\n2024/02/03(土)\n",
                  "10:30\tAnn\t[スタンプ]\n"),
    "KakaoTalk": lines("[{who}] [오전 10:{n}] {text}\n", "Bob 님과 카카오톡 대화\n\n-------- 2024년 2월 3일 --------\n",
                       "[Ann] [오후 1:00] 사진\n"),
    "QQ": lines("2024-02-03 10:{n}:00 {who}(12345)\n{text}\n\n", "消息记录\n\n======================\n"),
    "WeChat": lines("2024-02-03 10:{n}:00 {who}\n{text}\n\n"),
    "Slack, copied": lines("{who}  10:{n} AM\n{text}\n\n"),
    "WeeChat": lines("2024-02-03 10:{n}:00\t{who}\t{text}\n", after="2024-02-03 10:30:00\t-->\tcy has joined #x\n"),
    "Zoom": lines("10:{n}:00\t From  {who} to  Everyone:\n\t{text}\n"),
}  # fmt: skip
MEDIA = {"LINE", "KakaoTalk"}

NEWEST_FIRST = list(enumerate(SAID))[::-1]
EXPORTS: dict[str, Any] = {
    "Teams": {"value": [
        {"id": str(n), "messageType": "message", "createdDateTime": f"2024-02-03T10:{10 + n}:00Z",
         "from": {"application": None, "user": {"id": who.lower(), "displayName": who}},
         "body": {"contentType": "html", "content": f"<p>{words}</p>"}} for n, (who, words) in NEWEST_FIRST
    ] + [{"id": "9", "messageType": "systemEventMessage", "from": None, "body": {"content": "<systemEventMessage/>"}}]},
    "Skype": {"conversations": [{"id": "8:bob", "MessageList": [
        {"id": str(n), "displayName": None, "originalarrivaltime": f"2024-02-03T10:{10 + n}:00Z", "content": words,
         "messagetype": "RichText", "from": who} for n, (who, words) in NEWEST_FIRST]}]},
    "Google Chat": {"messages": [
        {"creator": {"name": who, "email": "x@y.z"}, "created_date": f"Saturday, 3 February 2024 at 10:{10 + n}:00 UTC",
         "text": words, "topic_id": str(n)} for n, (who, words) in enumerate(SAID)]},
    "Telegram, of a deleted account": {"name": None, "type": "personal_chat", "messages": [
        {"id": n, "type": "message", "date": f"2024-02-03T10:{10 + n}:00", "from": who if who == "Ann" else None,
         "from_id": f"user{who}", "text": words} for n, (who, words) in enumerate(SAID)]},
}  # fmt: skip


def message(number: int) -> dict[str, str]:
    return {"role": ROLES[number % 2], "content": SAID[number][1]}


SETS: dict[str, list[Any]] = {
    "prompt and completion of messages": [{"prompt": [message(0)], "completion": [message(1)]}] * 3,
    "input and output of messages": [{"input": [message(0)], "output": [message(1)]}] * 3,
    "output of one message": [{"input": [message(0)], "output": message(1)}] * 3,
    "chosen and rejected": [
        {"prompt": SAID[0][1], "chosen": SAID[1][1] + "!" * number, "rejected": "No."} for number in range(3)
    ],
    "chosen and rejected messages": [
        {"chosen": [message(0), message(1)], "rejected": [message(0), message(3)]}
    ] * 3,
    "calls of tools": [{"messages": [
        message(0), {"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": "42"},
        message(1),
    ]}] * 3,
    "a system that answers": [{"turns": [
        {"speaker": ("USER", "SYSTEM")[n % 2], "utterance": words} for n, (_, words) in enumerate(SAID)]}] * 3,
}  # fmt: skip

TRANSCRIPTS = {
    "names in bold": lines("**{who}:** {text}\n\n"),
    "a blank line after every turn": lines("{who}: {text}\n\n"),
    "headings": "".join(f"### {('Human', 'Assistant')[n % 2]}: {words}\n" for n, (_, words) in enumerate(SAID)),
    "hearing": "".join(f"{'QA'[n % 2]}. {words}\n" for n, (_, words) in enumerate(SAID)),
}


def turns(path: Path, task: str | None = None) -> tuple[dict[str, Any], list[tuple[int, str]]]:
    result = read(str(path), task=task)
    assert result["task"] == "dialogue", result["warnings"]
    return result, [(turn["speaker"], turn["text"]) for turn in result["first"][0]]


def warned(result: dict[str, Any], words: str) -> bool:
    return any(words in sentence for sentence in result["warnings"])


@pytest.mark.parametrize("language", WHATSAPP)
def test_whatsapp_date_of_a_language_is_recognised(language: str, tmp_path: Path) -> None:
    (tmp_path / "chat.txt").write_text(lines(WHATSAPP[language]), encoding="utf-8")
    result, found = turns(tmp_path / "chat.txt")
    assert (result["format"], found) == ("WhatsApp", TURNS)


@pytest.mark.parametrize("program", LOGS)
def test_log_of_a_program_is_recognised(program: str, tmp_path: Path) -> None:
    (tmp_path / "chat.txt").write_text(LOGS[program], encoding="utf-8")
    result, found = turns(tmp_path / "chat.txt")
    assert found == TURNS
    assert warned(result, "1 media message") == (program in MEDIA)


@pytest.mark.parametrize("program", EXPORTS)
@pytest.mark.parametrize("indent", [None, 2])
def test_export_of_a_program_has_its_speakers_in_order_of_time(
    program: str, indent: int | None, tmp_path: Path
) -> None:
    (tmp_path / "chat.json").write_text(json.dumps(EXPORTS[program], indent=indent), encoding="utf-8")
    assert turns(tmp_path / "chat.json")[1] == TURNS


@pytest.mark.parametrize("form", SETS)
def test_set_of_examples_has_questions_and_replies(form: str, tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_text("\n".join(map(json.dumps, SETS[form])), encoding="utf-8")
    result, found = turns(tmp_path / "set.jsonl")
    assert found[:2] == TURNS[:2]
    assert (result["records"], len(found)) == (3, 6 if "system" in form else 2)
    assert warned(result, "other branches dropped") == ("rejected" in form)


@pytest.mark.parametrize("form", TRANSCRIPTS)
def test_transcript_of_two_people_is_one_conversation(form: str, tmp_path: Path) -> None:
    (tmp_path / "talk.txt").write_text(TRANSCRIPTS[form], encoding="utf-8")
    result, found = turns(tmp_path / "talk.txt", "dialogue")
    assert (result["records"], found) == (1, TURNS)


def test_brackets_behind_a_speaker_are_no_part_of_the_name(tmp_path: Path) -> None:
    said = ["ANN: one", "BOB [whispering]: two", "ANN (aside, to all of the people here): three", "BOB: four",
            "ANN: five", "BOB: six", "ANN (Lee): seven", "CY (of us): eight"]  # fmt: skip
    (tmp_path / "play.txt").write_text("\n".join(said))
    result, found = turns(tmp_path / "play.txt", "dialogue")
    assert result["speakers"] == {"ANN": 4, "BOB": 3, "CY (of us)": 1}
    assert [words for _, words in found] == ["one", "two", "three", "four", "five", "six", "seven", "eight"]


def test_transcript_is_guessed_by_roles_only(tmp_path: Path) -> None:
    guessed = {}
    for form, text in TRANSCRIPTS.items():
        (tmp_path / "talk.txt").write_text(text, encoding="utf-8")
        guessed[form] = read(str(tmp_path / "talk.txt"))["task"]
    assert guessed == {form: "dialogue" if form == "headings" else "text" for form in TRANSCRIPTS}


def test_export_of_slack_has_names_of_one_day_too(tmp_path: Path) -> None:
    channel = tmp_path / "export" / "general"
    channel.mkdir(parents=True)
    said = [{"type": "message", "user": f"U{who}", "ts": f"17000000{n:02}.0", "text": words}
            for n, (who, words) in enumerate(SAID)]  # fmt: skip
    (channel / "2024-02-03.json").write_text(json.dumps(said))
    users = [{"id": f"U{who}", "name": who.lower(), "profile": {"real_name": who}} for who in ("Ann", "Bob")]
    (channel.parent / "users.json").write_text(json.dumps(users))
    (channel.parent / "channels.json").write_text(json.dumps([{"id": "C1", "name": "general", "created": 1}]))
    (channel.parent / "integration_logs.json").write_text("[]")
    result, found = turns(channel.parent)
    assert (found, result["speakers"]) == (TURNS, {"Ann": 3, "Bob": 3})
    assert warned(result, "channels.json")


def test_chat_of_one_person_is_told(tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_text(json.dumps([{"role": "user", "content": words} for _, words in SAID]))
    assert warned(turns(tmp_path / "chat.json")[0], "every turn is by one speaker, 'user'")


def test_posts_of_one_person_are_no_chat(tmp_path: Path) -> None:
    posts = [{"id": n, "text": f"post {n}", "user": {"name": "x"}} for n in range(20)]
    (tmp_path / "posts.json").write_text(json.dumps(posts))
    assert read(str(tmp_path / "posts.json"))["task"] == "text"


CHINESE = {
    "发送者,内容": "{who},{text}\n",
    "昵称,消息": "{who},{text}\n",
    "说话人\t台词": "{who}\t{text}\n",
    "时间,发送者,内容": "2024-02-03 10:{n}:00,{who},{text}\n",
    "部门,角色,聊天内容": "内科,{who},{text}\n",
}


@pytest.mark.parametrize("header", CHINESE)
def test_chat_in_a_table_with_chinese_names_has_its_speakers(header: str, tmp_path: Path) -> None:
    said = lines(CHINESE[header].replace("{text}", "“{text}”")).replace(", ", "，")
    (tmp_path / "chat.csv").write_text(f"{header}\n{said}", encoding="utf-8")
    result, found = turns(tmp_path / "chat.csv", "dialogue")
    assert result["speakers"] == {"Ann": 3, "Bob": 3}
    assert (result["records"], [who for who, _ in found]) == (1, [who for who, _ in TURNS])


def test_chat_in_json_with_chinese_keys_is_guessed_and_reviews_are_not(tmp_path: Path) -> None:
    said = [{"发送者": who, "发送时间": f"2024-02-03 10:{59 - n}", "内容": words}
            for n, (who, words) in enumerate(SAID)]  # fmt: skip
    (tmp_path / "chat.json").write_text(json.dumps(said))
    assert turns(tmp_path / "chat.json")[1] == [(1 - who, words) for who, words in TURNS[::-1]]
    reviews = [{"用户名": who, "内容": words, "评分": len(words) % 5} for who, words in SAID]
    (tmp_path / "reviews.json").write_text(json.dumps(reviews))
    assert read(str(tmp_path / "reviews.json"))["task"] != "dialogue"


@pytest.mark.parametrize(
    ("keys", "who"),
    [
        (("user", "用户", "text", "文本", "emotion", "情绪"), "many"),  # labelled texts
        (("author", "作者", "content", "内容", "poem", "诗名"), "many"),
        (("name", "姓名", "text", "文本"), "many"),
        (("nickname", "昵称", "text", "文本"), "many"),
        (("author", "作者", "content", "内容", "date", "发布日期"), "one"),
        (("author", "作者", "content", "内容", "date", "日期"), "few"),
        (("user", "用户", "name", "姓名", "content", "内容"), "few"),
        (("question", "问题", "agent", "客服"), "many"),
    ],
)
def test_json_lines_are_guessed_alike_with_english_and_chinese_keys(
    keys: tuple[str, ...], who: str, tmp_path: Path
) -> None:
    people = {"many": "{n}", "few": "{half}", "one": "Ann"}[who]
    for names in (keys[::2], keys[1::2]):
        rows = [{names[0]: people.format(n=n, half=n % 2), **dict.fromkeys(names[1:], f"so {n}")} for n in range(12)]
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert (read(str(tmp_path / "rows.jsonl"))["task"] == "dialogue") == (who == "few")


def test_labels_with_chinese_keys_are_not_taken_for_speakers(tmp_path: Path) -> None:
    rows = [{"用户": f"u{n}", "文本": f"so {n}", "情绪": "正负"[n % 2]} for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match="who speaks in"):
        read(str(tmp_path / "rows.jsonl"), task="dialogue")


@pytest.mark.parametrize("header", ["作者,内容", "author,content"])
def test_table_of_messages_all_by_different_people_is_refused_in_one_line(header: str, tmp_path: Path) -> None:
    (tmp_path / "poems.csv").write_text(f"{header}\n" + "".join(f"poet {n},a poem of {n} lines\n" for n in range(12)))
    with pytest.raises(DataError, match=r"who speaks in .*poems\.csv' is unknown"):
        read(str(tmp_path / "poems.csv"), task="dialogue")


@pytest.mark.parametrize("name", ["出生日期", "注册时间", "birthdate", "sender_birth_date", "发送者入职日期"])
def test_messages_are_not_put_in_order_of_other_times_than_those_of_sending(name: str, tmp_path: Path) -> None:
    rows = "".join(f"{who},{words.replace(',', '')},{1990 - n}-05-01\n" for n, (who, words) in enumerate(SAID))
    (tmp_path / "chat.csv").write_text(f"发送者,内容,{name}\n{rows}", encoding="utf-8")
    result, found = turns(tmp_path / "chat.csv", "dialogue")
    assert (found[0], warned(result, "in order of time")) == ((0, "Is it far from here?"), False)


@pytest.mark.parametrize(
    "name", ["日期", "发送时间", "消息的发布日期", "sent_date_time", "Posted Date", "Message Time"]
)
def test_messages_are_put_in_order_of_when_they_were_sent(name: str, tmp_path: Path) -> None:
    rows = "".join(f"{who},{words.replace(',', '')},{1990 - n}-05-01\n" for n, (who, words) in enumerate(SAID))
    (tmp_path / "chat.csv").write_text(f"发送者,内容,{name}\n{rows}", encoding="utf-8")
    assert turns(tmp_path / "chat.csv", "dialogue")[1][0] == (0, "It is on the chair.")


@pytest.mark.parametrize("header", ["提问,回复", "问题,答案", "ask,answer"])
def test_names_of_questions_and_replies_are_no_conversation(header: str, tmp_path: Path) -> None:
    rows = "".join(f'{SAID[n][1]},"{SAID[n + 1][1]}"\n' for n in (0, 2, 4))
    (tmp_path / "pairs.csv").write_text(f"{header}\n{rows}", encoding="utf-8")
    result, found = turns(tmp_path / "pairs.csv", "dialogue")
    assert (result["records"], found) == (3, TURNS[:2])
    assert list(result["columns"].values()) == ["question", "reply"]


def test_table_whose_columns_are_unknown_says_which_names_they_need(tmp_path: Path) -> None:
    (tmp_path / "chat.csv").write_text("Sprach,Was\n" + "Ann,Guten Tag\nBob,Wie geht es\n" * 6)
    assert warned(turns(tmp_path / "chat.csv", "dialogue")[0], "'Ann'; if they name who speaks")
    (tmp_path / "chat.csv").write_text(f"Wann,Wer,Was\n{lines('2024-02-03,{who},{text}').replace(', ', ' ')}")
    with pytest.raises(DataError, match="names such as question and answer, or speaker and text"):
        read(str(tmp_path / "chat.csv"), task="dialogue")


def test_workbook_whose_columns_are_unknown_says_which_names_they_need(tmp_path: Path) -> None:
    rows = [["id", "say", "back"], *([n, f"what is {n}?", f"that is {n}."] for n in range(9))]
    (tmp_path / "chat.xlsx").write_bytes(workbook_of({"chat": rows}))
    with pytest.raises(DataError, match="names such as question and answer, or speaker and text"):
        read(str(tmp_path / "chat.xlsx"), task="dialogue")


def test_names_of_columns_are_no_conversation_beside_a_column_of_another_name(tmp_path: Path) -> None:
    rows = "".join(f"{who},{words.replace(',', '')},Yes\n" for who, words in SAID)
    (tmp_path / "posts.csv").write_text(f"用户名,帖子,回复\n{rows}", encoding="utf-8")
    result, found = turns(tmp_path / "posts.csv", "dialogue")
    assert (result["records"], found[0]) == (len(SAID), (0, "Ann"))


def test_what_qq_says_itself_and_several_pictures_are_no_messages(tmp_path: Path) -> None:
    stamp, own = "2024-02-03 10:{n}:05 ", "系统消息(10000)\n{who}加入本群。\n\n"
    others = (own, "{who}(12345)\n[图片][图片]\n\n", "Cy(222)\n{who}撤回了一条消息\n\n")
    said = lines("2024-02-03 10:{n}:00 {who}(12345)\n{text}\n\n" + "".join(stamp + other for other in others))
    (tmp_path / "chat.txt").write_text(said, encoding="utf-8")
    result, found = turns(tmp_path / "chat.txt")
    assert (found, result["speakers"]) == (TURNS, {"Ann": 3, "Bob": 3})
    assert all(warned(result, f"6 {kind}") for kind in ("system messages", "media messages", "deleted messages"))


def test_what_people_say_of_recalled_messages_and_who_has_the_number_of_qq_are_messages(tmp_path: Path) -> None:
    (program, person), stamp = ("系統提示", "Cy"), "2024-02-03 11:{n}:00 "
    told = ["刚才老板撤回了一条消息", "你怎么撤回了一条消息", "咱们群里有人撤回了一条消息", "我撤回了一条消息"]
    recalled = ["你撤回了一条消息", "对方撤回了一條訊息", "“老板”撤回了一条消息", '"老板" 撤回了一条消息',
                "撤回了一条消息", "Cy撤回了一条消息", "管理员撤回了一条成员消息"]  # fmt: skip
    said = lines("2024-02-03 10:{n}:00 {who}(12345)\n{text}\n\n")
    for number, text in enumerate([*told, *recalled]):
        said += f"{stamp.format(n=10 + number)}{person}(10000)\n{text}\n\n"
    said += f"{stamp.format(n=50)}{program}(10000)\nAnn加入本群。\n\n"
    (tmp_path / "chat.txt").write_text(said, encoding="utf-8")
    result, found = turns(tmp_path / "chat.txt")
    assert found[len(TURNS) :] == [(2, "\n".join(told))]
    assert warned(result, f"{len(recalled)} deleted messages")
    assert warned(result, "1 system message")


def test_tables_whose_first_column_may_name_who_speaks_give_a_warning(tmp_path: Path) -> None:
    (tmp_path / "chat.csv").write_text("wer,was\n" + lines("{who},{text}\n").replace(", ", " ") * 2)
    (warning,) = read(str(tmp_path / "chat.csv"), task="dialogue")["warnings"]
    assert "the first column repeats few values such as 'Ann'; if they name who speaks" in warning


def test_tables_whose_first_column_is_empty_are_read(tmp_path: Path) -> None:
    """Its commonest value was looked for: an internal error."""
    (tmp_path / "chat.tsv").write_text("\u2028,answer\n" + lines("\u2028,{text}\n").replace(", ", " "))
    assert read(str(tmp_path / "chat.tsv"), task="dialogue")["sizes"] == {"turns": len(SAID) + 1}
