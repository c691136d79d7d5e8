"""Logs of chats with a time before each message: WhatsApp, IRC, and others with `NAME: text` behind the time.

The messages of a file are one conversation, in the order of the file, which is that of time. Dates are recognised in
any order of day, month and year, and never read.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from seqgen.corpus.conversations.parsing import (
    FileHead,
    TextDocument,
    Utterances,
    at_least,
    speakers_by_name,
)
from seqgen.corpus.conversations.report import ConversationReport

_MARKS = "[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]*+"  # possessive: it stands twice in a row
_GAP = "[ \u00a0\u202f]"
_DATE = (
    rf"{_MARKS}(?:\d{{1,4}}{_MARKS}[./-]{_MARKS}{_GAP}?\d{{1,2}}{_MARKS}[./-]{_MARKS}{_GAP}?\d{{1,4}}\.?"
    rf"|\d{{4}}[年년]{_GAP}?\d{{1,2}}[月월]{_GAP}?\d{{1,2}}[日일])"
)
_HALF = r"(?:[AaPp]\.?[ \u00a0\u202f]?[Mm]\.?|Uhr|上午|下午|凌晨|早上|中午|晚上|午前|午後|오전|오후|[صم])"
_TIME = (
    rf"(?:{_HALF}{_GAP}*)?\d{{1,2}}(?:[:.]|{_GAP}?h{_GAP}?)\d{{2}}"
    rf"(?P<seconds>[:.]\d{{2}}(?:[.,]\d{{1,6}})?|{_GAP}min{_GAP}\d{{2}}{_GAP}s)?(?:{_GAP}*{_HALF})?"
)
_WORDS = rf"(?:{_GAP}*[^\W\d_][\w.]{{0,7}}(?:{_GAP}[^\W\d_][\w.]{{0,7}})?)?"  # of any language: "π.μ.", "da manhã"
_BETWEEN = rf"(?:{_GAP}[^\W\d_]\.)?(?P<comma>[,،、]?){_MARKS}{_GAP}*(?:(?:à|às|at|um|a las|alle|kl\.?|klo|om){_GAP}+)?"
_DATED = re.compile(
    rf"{_MARKS}(?:(?P<open>\[){_DATE}{_BETWEEN}{_TIME}{_WORDS}\]{_GAP}?|(?:{_DATE}"
    + _BETWEEN.replace("<comma>", "<comma2>")
    + _TIME.replace("<seconds>", "<seconds2>")
    + rf"|\d{{1,2}}:\d{{2}}(?P<comma3>,){_GAP}{_DATE})(?:{_WORDS}{_GAP}[-–—]|:|(?<=\d),){_GAP})(?P<rest>.*)"
)
_TIMED = re.compile(
    rf"{_MARKS}[\[(]?(?:{_DATE}(?:[,T]|{_GAP})?{_GAP}*)?{_TIME}(?:Z|[+-]\d{{2}}:?\d{{2}})?[\])]?(?:{_GAP}*-)?[ \t]+"
    r"(?P<rest>.*)"
)
_NAMED = re.compile(r"(?P<name>[^:：]{1,60}?)\s?[:：](?:\s+(?P<text>.*)|$)")
_RANK = r"(?:[~&@%+!](?=[^\d\s]))?"  # before a nick of IRC
_TABBED = re.compile(rf"{_RANK}(?P<name>[^\t:]{{1,60}})\t(?P<text>.*)")
_QUOTES = re.compile('["“”«»]')
_LEVEL = re.compile(
    r"\b(?:INFO|WARN|WARNING|ERROR|DEBUG|TRACE|FATAL|CRITICAL|NOTICE|SEVERE|信息|警告|错误|調試|调试|情報|エラー|정보|경고|오류)\b",
    re.IGNORECASE,
)
_PROGRAM = re.compile(r"[\[\]{}<>=/\\()]|\d{3}|\.\w")  # in names of modules and processes
_PLACED = re.compile("[^:：]{1,60}[:：] \u200e.*")  # what WhatsApp puts in the place of a message
_CJK = "\u2e80"  # the first of their characters
_YEAR_FIRST = re.compile(rf"{_MARKS}\[?\d{{4}}")
_ISO_DATE = re.compile(rf"{_MARKS}\[\d{{4}}-\d{{2}}-\d{{2}}\b")
_MODULE = re.compile(r"[\w.]+\.[\w.]+|.*\[\d+\]")
_MEETING = re.compile(r"From\s+(.+?)(?P<to>\s+to\s+.+)?", re.IGNORECASE)  # Zoom
_NOTE = re.compile(r"\([^()\d]{1,40}\)$")  # behind a name: (she/her)
_BIDI = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MAX_NAME_WORDS = 6  # more of them before a colon are a sentence of the program's
_MIN_NAMED = 0.3  # of the stamped lines; the others are the program's

# Placeholders of WhatsApp's, in the words of several languages. With an invisible mark before it, any text is one.
_OMITTED = re.compile(
    r"<[^<>]{3,60}>"  # <Media omitted>, <Medien ausgeschlossen>, <省略多媒体文件>
    r"|(?:image|video|audio|sticker|gif|document|contact card|video note|bild|imagen|imagem|immagine|afbeelding|vidéo|"
    r"vídeo|documento?|dokument|kontaktkarte)[\w .-]{0,40}? "
    r"(?:omitted|weggelassen|ausgeschlossen|omitid[oa]|absente?|omis[e]?|omess[oa]|ocultad[oa]|weggelaten)"
    r"|[\w .-]{1,80}\.\w{2,5} \([^()]{4,40}\)",  # IMG-20240203-WA0001.jpg (file attached)
    re.IGNORECASE,
)
_DOCUMENT = re.compile(  # A.pdf • 12 pages document omitted
    f"[^\u200e]{{1,200}}\\.\\w{{1,5}}{_GAP}\u2022{_GAP}\u200e[^<]*"
)
_DELETED = frozenset((
    "this message was deleted", "you deleted this message", "diese nachricht wurde gelöscht",
    "du hast diese nachricht gelöscht", "se eliminó este mensaje", "eliminaste este mensaje",
    "ce message a été supprimé", "vous avez supprimé ce message", "questo messaggio è stato eliminato",
    "hai eliminato questo messaggio", "mensagem apagada", "essa mensagem foi apagada", "você apagou esta mensagem",
    "esta mensagem foi apagada", "apagou esta mensagem", "dit bericht is verwijderd", "u hebt dit bericht verwijderd",
    "je hebt dit bericht verwijderd", "данное сообщение удалено", "вы удалили данное сообщение",
    "це повідомлення видалено", "ви видалили це повідомлення", "bu mesaj silindi", "bu mesajı sildiniz",
    "pesan ini dihapus", "pesan ini telah dihapus", "anda menghapus pesan ini", "anda telah menghapus pesan ini",
    "ta wiadomość została usunięta", "usunięto tę wiadomość", "det här meddelandet raderades",
    "du raderade det här meddelandet", "denne besked blev slettet", "du slettede denne besked",
    "denne meldingen ble slettet", "du slettet denne meldingen", "tämä viesti poistettiin", "poistit tämän viestin",
    "tato zpráva byla odstraněna", "acest mesaj a fost șters", "ai șters acest mesaj", "αυτό το μήνυμα διαγράφηκε",
    "διαγράψατε αυτό το μήνυμα", "tin nhắn này đã bị xóa", "bạn đã xóa tin nhắn này", "تم حذف هذه الرسالة",
    "حذفت هذه الرسالة", "این پیام حذف شد", "הודעה זו נמחקה", "מחקת הודעה זו", "此消息已被删除", "此消息已删除",
    "这条消息已被删除", "这条消息已删除", "您删除了此消息", "你删除了此消息", "您删除了这条消息", "你删除了这条消息",
    "您已删除此消息", "你已删除此消息", "此訊息已刪除", "此訊息已被刪除", "這則訊息已刪除", "您已刪除此訊息",
    "你已刪除此訊息", "您刪除了此訊息", "你刪除了此訊息", "你已刪除這則訊息",
    "このメッセージは削除されました", "このメッセージを削除しました", "삭제된 메시지입니다",
    "이 메시지는 삭제되었습니다",
))  # fmt: skip
_SERVICE = frozenset((
    "missed voice call", "missed video call", "null", "waiting for this message", "未接语音通话", "未接视频通话",
    "未接語音通話", "未接視訊通話", "未接視像通話", "未接群组语音通话", "未接群组视频通话",
    "正在等待此消息", "正在等待此訊息",
))  # fmt: skip
_MARK = re.compile('<[^<>=/"\n]{4,60}>')  # <This message was edited>: in words for both, or behind an invisible mark
_MESSAGE = re.compile(
    "messag|mensa|nachricht|bericht|mesaj|сообщени|повідомлен|pesan|wiadomoś|meddel|besked|melding|viesti|zpráv|správ|"
    "üzenet|μήνυμα|tin nhắn|رسالة|پیام|הודעה|消息|訊息|メッセージ|메시지",
    re.IGNORECASE,
)
_CHANGED = re.compile(
    "edit|bearbeitet|modifi|bewerkt|düzenle|измен|редаг|редакт|змінен|edytowan|redigera|redigere|muokat|upraven|"
    "szerkeszt|επεξεργ|chỉnh sửa|تعديل|ویرایش|נערכ|编辑|編輯|編集|수정",
    re.IGNORECASE,
)


@dataclass
class _Entry:
    stamp: str  # the time
    rest: str  # of the line, behind the time
    more: list[str]  # the lines that follow without a time


def parse_whatsapp(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """WhatsApp's export of a chat, in the date format of any language; Signal's.

    03/02/2024, 10:15 - Mary: Shall we go?
    03/02/2024, 10:16 - Tom: In a minute.
    03/02/2024, 10:17 - Mary: <Media omitted>
    """
    turns: list[tuple[str, str]] = []
    entries = _entries(text, _DATED, report)
    for entry, following in itertools.pairwise(entries):
        report.system_turns += _take_day(entry, following)
    for entry, named in zip(entries, _people([entry.rest for entry in entries], _MAX_NAME_WORDS), strict=True):
        if named is None:
            report.system_turns += 1
            continue
        said = _said("\n".join([named["text"] or "", *entry.more]), report)
        if said is not None:
            turns.append((_clean_name(named["name"]), said))
    yield speakers_by_name(turns)


def _take_day(entry: _Entry, following: _Entry) -> bool:
    """Take the last line away if it is the day that begins with the next message, as KakaoTalk writes it."""
    lines = entry.more
    last = next((index for index in reversed(range(len(lines))) if lines[index].strip()), None)
    day = None if last is None else _DAY_ABOVE.fullmatch(lines[last].strip())
    if day is None or not following.stamp.startswith(day["date"]) or entry.stamp.startswith(day["date"]):
        return False
    del lines[last:]
    return True


def _said(text: str, report: ConversationReport) -> str | None:
    """Return what someone wrote; None for what the program put in its place."""
    first, _, more = text.partition("\n")
    bare = _BIDI.sub("", first).strip()
    words = bare.rstrip(" .…。").lower()
    if words in _DELETED:
        report.deleted += 1
        return None
    if words in _SERVICE:
        report.system_turns += 1
        return None
    is_placeholder = (_OMITTED.fullmatch(bare) or _DOCUMENT.fullmatch(first)) is not None
    if is_placeholder or first.startswith("\u200e"):
        if is_placeholder or bare.startswith("<"):
            report.media += 1
        else:
            report.system_turns += 1
        return more if more.strip() else None
    return _without_mark(text)


def _without_mark(text: str) -> str:
    """Return a text without the mark of an edit at its end."""
    said = text.rstrip()
    start = said.rfind("<")
    mark = _MARK.fullmatch(said, start) if start >= 0 else None
    if mark and (said.startswith("\u200e", start - 1) or (_MESSAGE.search(mark[0]) and _CHANGED.search(mark[0]))):
        return said[:start].rstrip("\u200e").rstrip()
    return text


def parse_log(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """A time, and behind it `NAME: text`, as in Signal's and Zoom's chats; or tabs between them, as in LINE's.

    [10:15] Mary: Shall we go?
    [10:16] Tom: In a minute.
    [10:16] Tom: I can't find my hat.
    """
    turns: list[tuple[str, str]] = []
    entries = _entries(text, _TIMED, report)
    for entry, named in zip(entries, _people([entry.rest for entry in entries]), strict=True):
        if named is None:
            report.system_turns += 1
            continue
        more = [line for line in entry.more if not _DAY.fullmatch(line.strip())]  # a day stands above its messages
        report.system_turns += len(entry.more) - len(more)
        said = "\n".join([named["text"] or "", *more]).strip()
        if named.re is _TABBED and "\n" in said and said[0] == said[-1] == '"':  # LINE's, around several lines
            said = said[1:-1]
        turns.append((_speaker(named["name"]), said))
    yield speakers_by_name(_without_media(turns, report))


def _named(rest: str) -> re.Match[str] | None:
    """The name and the text behind a time; None for the program's, such as the arrows of WeeChat."""
    named = _TABBED.fullmatch(rest) or _NAMED.fullmatch(rest)
    return named if named and any(map(str.isalnum, named["name"])) else None


def _people(rests: Sequence[str], most_words: int | None = None) -> list[re.Match[str] | None]:
    """The name and the text behind each time; None for the program's.

    A quotation or a sentence of many words before a colon is the program's, unless it recurs: then it is a name.
    """
    named = [_named(rest) for rest in rests]
    counts = Counter(match["name"] for match in named if match)

    def is_name(match: re.Match[str]) -> bool:
        name = match["name"]
        if match.re is _NAMED and _QUOTES.search(name):
            return counts[name] > 1 and _is_balanced(name)
        return most_words is None or len(name.split()) <= most_words or counts[name] > 1

    return [match if match and is_name(match) else None for match in named]


def _is_balanced(name: str) -> bool:
    """Whether each quote in it has its other one."""
    return name.count('"') % 2 == 0 and name.count("“") == name.count("”") and name.count("«") == name.count("»")


def _entries(text: TextDocument, stamp: re.Pattern[str], report: ConversationReport) -> list[_Entry]:
    """The messages, each with the lines that continue it."""
    entries: list[_Entry] = []
    for number, line in enumerate(text.lines(), 1):
        match = stamp.fullmatch(line)
        if match:
            entries.append(_Entry(line[: match.start("rest")], match["rest"], []))
        elif entries:
            entries[-1].more.append(line)
        elif line.strip():
            report.add_damage(text.name, number, "no time before the text")
    return entries


def _speaker(name: str) -> str:
    meeting = _MEETING.fullmatch(name)
    return _clean_name(meeting[1] if meeting else name)


def _clean_name(name: str) -> str:
    return _BIDI.sub("", name).strip().removeprefix("~").strip()


def is_whatsapp(head: FileHead) -> bool:
    """Whether lines begin with a date and a time in brackets or before a dash."""
    return _stamped_names(head, _DATED) is not None


def is_surely_whatsapp(head: FileHead) -> bool:
    """Whether it is also unlike the log of a program.

    Such has neither a comma after the date nor the day first, and has seconds; nor has it invisible marks, or Chinese,
    Japanese or Korean names behind brackets: with these languages WhatsApp writes no dates in the form of ISO 8601.
    """
    names = _stamped_names(head, _DATED)
    if names is None or len(names) < 2 or (len(names) > 2 and len(names) == names.total()):
        return False
    matches = [match for line in head.nonblank_lines if (match := _DATED.fullmatch(line))]
    if any(_PLACED.fullmatch(match["rest"]) for match in matches):
        return True
    usual = sum(
        bool(match["comma"] or match["comma2"] or match["comma3"])
        or not (match["seconds"] or match["seconds2"])
        or not _YEAR_FIRST.match(match[0])
        or not match[0][: match.start("rest")].isascii()  # a half of the day in words, or marks
        or (match["open"] is not None and not _ISO_DATE.match(match[0]) and _is_cjk(_named(match["rest"])))
        for match in matches
    )
    return at_least(usual, len(matches), 0.9)


def _is_cjk(named: re.Match[str] | None) -> bool:
    return named is not None and max(named["name"]) > _CJK


def is_surely_log(head: FileHead) -> bool:
    """Whether there are also tabs around the names, or words that programs for meetings put there."""
    rests = [match["rest"] for line in head.nonblank_lines if (match := _TIMED.fullmatch(line))]
    sure = sum("\t" in rest or _FROM.match(rest) is not None for rest in rests)
    return at_least(sure, len(rests), 0.9) and is_log(head) and not _is_table(head)


def _is_table(head: FileHead) -> bool:
    """Whether the first line is a header."""
    first = head.nonblank_lines[0]
    return "\t" in first and not any(map(str.isdecimal, first))


_FROM = re.compile(r"From\s.+\sto\s.+:")
_FEW_STARTS = 8  # lines at the beginning, before the first message of a log


def is_log(head: FileHead) -> bool:
    """Whether most lines have a time and a name, and the names are few."""
    names = _stamped_names(head, _TIMED, _FEW_STARTS)
    starts = sum(not line[0].isspace() and not _DAY.fullmatch(line.strip()) for line in head.nonblank_lines)
    if names is None or any(map(_is_program, names)):
        return False
    people = Counter(map(_speaker, names.elements()))
    return _are_speakers(people) and at_least(people.total(), starts, 0.6)


def _is_program(name: str) -> bool:
    """Whether it is like the name of a module or a process; whom a meeting says to speak is none."""
    meeting = _MEETING.fullmatch(name)
    return not (meeting and meeting["to"]) and _PROGRAM.search(_NOTE.sub("", name)) is not None


def _are_speakers(names: Counter[str]) -> bool:
    """Whether names are few and repeated."""
    return len(names) > 1 and (len(names) == 2 or 2 * len(names) <= names.total())


def _stamped_names(head: FileHead, stamp: re.Pattern[str], before: int = 3) -> Counter[str] | None:
    """Return the names behind the times, if lines have them and are no log of a program.

    Up to `before` lines may precede them; more, up to `_FEW_STARTS`, where most lines have a time.
    """
    lines = head.nonblank_lines
    rests = [match["rest"] for line in lines if (match := stamp.fullmatch(line))]
    before = _FEW_STARTS if at_least(len(rests), len(lines), 0.5) else before
    if not rests or not any(stamp.fullmatch(line) for line in lines[:before]):
        return None
    matches = [match for match in _people(rests) if match]
    # Behind an invisible mark the program speaks, for example in the name of the group.
    names = Counter(_clean_name(match["name"]) for match in matches if not (match["text"] or "").startswith("\u200e"))
    if names and all(_MODULE.fullmatch(name) for name in names):
        return None
    if any(_LEVEL.search(name) for name in names) or not at_least(names.total(), len(rests), _MIN_NAMED):
        return None
    return names


# A line with the name and the time above each message: QQ, WeChat; or both in brackets before it: KakaoTalk.

_ABOVE = re.compile(
    rf"(?:{_DATE}{_GAP}+{_TIME}[ \t]+(?P<name>[^:：\t]{{1,60}}?)(?:[(<](?P<id>[^()<>]{{3,60}})[)>])?"
    rf"|(?P<first>[^\d:：\s\[][^:：\t]{{0,59}}?)[ \t]{{1,4}}(?:{_DATE}{_GAP}+)?"
    + _TIME.replace("<seconds>", "<seconds2>")
    + r")\s*"
)
_BRACKETS = re.compile(rf"\[(?P<name>[^\[\]]{{1,60}})\] \[{_TIME}\] (?P<text>.*)")
_RULE = re.compile(r"[-=_*]{5,}.*")


def parse_blocks(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """A line with name and time above each message, as in QQ's and WeChat's chats, or `[NAME] [time]` before it.

    [Mary] [10:15] Shall we go?
    [Tom] [10:16] In a minute.
    [Tom] [10:16] I can't find my hat.
    """
    turns: list[tuple[str, list[str]]] = []
    for number, line in enumerate(text.lines(), 1):
        bare = line.strip()
        match = _BRACKETS.fullmatch(bare) or _ABOVE.fullmatch(bare)
        if match:
            found = match.groupdict()
            name = _clean_name(found["name"] or found["first"])
            if found.get("id") == _ID_OF_QQ and _LIKE_PROGRAM_OF_QQ.fullmatch(name):
                name = _PROGRAM_OF_QQ
            turns.append((name, [found.get("text") or ""]))
        elif turns and not _RULE.fullmatch(bare) and not _DAY.fullmatch(bare):
            turns[-1][1].append(line)
        elif _RULE.fullmatch(bare) or _DAY.fullmatch(bare):
            report.system_turns += 1
        elif bare:
            report.add_damage(text.name, number, "no name and time above the text")
    said = [(name, "\n".join(lines)) for name, lines in turns if name != _PROGRAM_OF_QQ]
    report.system_turns += len(turns) - len(said)
    yield speakers_by_name(_without_media(said, report))


def _without_media(turns: list[tuple[str, str]], report: ConversationReport) -> list[tuple[str, str]]:
    written = [turn for turn in turns if not _PICTURE.fullmatch(turn[1].strip())]
    names = {name for name, _ in turns}
    kept = [turn for turn in written if not _is_recalled(turn[1].strip(), names)]
    report.media += len(turns) - len(written)
    report.deleted += len(written) - len(kept)
    return kept


def _is_recalled(text: str, names: Collection[str]) -> bool:
    """Whether QQ or WeChat says that a message was recalled, and by whom; people may say so of others, too."""
    match = _RECALLED.fullmatch(text)
    if match is None:
        return False
    return bool(match["member"] or _RECALLER.fullmatch(match["who"])) or match["who"] in names


_RECALLED = re.compile(r"(?P<who>.{0,60}?) ?撤回了一[条條則则](?P<member>成员)?[消訊]息[.。]?")
_RECALLER = re.compile('|[你您妳]|[对對]方|["“「].{1,60}["”」]')
_PROGRAM_OF_QQ, _ID_OF_QQ = "系统消息", "10000"  # who joins, leaves or is renamed
_LIKE_PROGRAM_OF_QQ = re.compile("(?:QQ)?(?:系[统統](?:[消訊]息|提示|通知)?|System(?: ?messages?)?)", re.IGNORECASE)
_PICTURE = re.compile(
    r"(?:\[[^\[\]]{1,12}\]\s*)+|(?:사진|동영상|이모티콘|음성메시지)(?: \d+장)?"
)  # [图片][图片], [スタンプ], a photo
_WEEKDAY = r"(?:\s?[(（][^\d\s()（）]{1,12}[)）]|,?\s[^\d\s]{1,12})?"
_DAY = re.compile(rf"(?:\w{{1,12}}[.,]{{1,2}}\s)?(?P<date>{_DATE}){_WEEKDAY}")
_DAY_ABOVE = re.compile(rf"(?=\d{{4}}[年년]){_DAY.pattern}(?:\s{_TIME})?")  # in words: people write dates in digits


def is_surely_blocks(head: FileHead) -> bool:
    """Whether it also has several of them."""
    stamps = sum(bool(_BRACKETS.fullmatch(line) or _ABOVE.fullmatch(line)) for line in head.nonblank_lines)
    return stamps >= _MIN_STAMPS and is_blocks(head)


_MIN_STAMPS = 4


def is_blocks(head: FileHead) -> bool:
    """Whether many lines are such a name and time, each with text behind or below it, and the names are few."""
    lines = head.nonblank_lines
    stamps = [_BRACKETS.fullmatch(line.strip()) or _ABOVE.fullmatch(line.strip()) for line in lines]
    names = Counter(_clean_name(match["name"] or match["first"]) if match.re is _ABOVE else match["name"]
                    for match in stamps if match)  # fmt: skip
    spoken = sum(
        each is not None and (each.re is _BRACKETS or (index + 1 < len(lines) and stamps[index + 1] is None))
        for index, each in enumerate(stamps)
    )
    return (
        _are_speakers(names) and at_least(names.total(), len(lines), 0.2) and at_least(spoken, names.total(), 0.8)
        and not any(_PROGRAM.search(name) or _LEVEL.search(name) for name in names)
    )  # fmt: skip


# IRC.

_CLOCK = rf"(?:[\[(]?(?:{_DATE}[ T]|\w{{3}} \d{{1,2}} )?\d{{1,2}}:\d{{2}}(?::\d{{2}})?[\])]?\s+)"
_NICK = re.compile(rf"(?P<clock>{_CLOCK})?<\s*[~&@%+!]?(?P<name>[^<>/\s][^<>\s]{{0,31}})>\s(?P<text>.*)")
_EVENT = re.compile(rf"{_CLOCK}?(?:\*+|-!-|===|---|-->|<--|--)\s.*")


def parse_irc(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """A channel of IRC: `<NICK> text`, mostly behind a time. Who joins, leaves or acts is left out.

    [10:15] <mary> shall we go?
    [10:16] <tom> in a minute
    [10:17] * tom has quit
    """
    turns: list[tuple[str, str]] = []
    for number, line in enumerate(text.lines(), 1):
        match = _NICK.fullmatch(line)
        if match:
            turns.append((match["name"], match["text"]))
        elif _EVENT.fullmatch(line):
            report.system_turns += 1
        elif line.strip():
            report.add_damage(text.name, number, "no '<NICK>' before the text")
    yield speakers_by_name(turns)


def is_irc(head: FileHead) -> bool:
    """Whether most lines that are no events begin with a nick in angle brackets."""
    matches = [match for line in head.nonblank_lines if (match := _NICK.fullmatch(line)) and "</" not in match["text"]]
    events = sum(_EVENT.fullmatch(line) is not None for line in head.nonblank_lines)
    return at_least(len(matches), len(head.nonblank_lines) - events, 0.8)


def is_surely_irc(head: FileHead) -> bool:
    """Whether names also repeat, behind a time."""
    matches = [match for line in head.nonblank_lines if (match := _NICK.fullmatch(line))]
    timed = sum(match["clock"] is not None for match in matches)
    return is_irc(head) and at_least(timed, len(matches), 0.9) and len({match["name"] for match in matches}) > 1
