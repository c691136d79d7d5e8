"""Messages as JSON objects: which keys hold the text, the speaker and the time; questions with their replies.

Keys are found by the names that chat programs give them, compared without case and punctuation.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from seqgen.corpus.conversations.parsing import ASSISTANT_ROLES, SYSTEM_ROLES, USER_ROLES, at_least

_TEXTS = ("content", "value", "text", "utterance", "message", "body", "msg", "mes", "messagetext", "messagebody",
          "post", "comment", "内容", "內容", "消息内容", "訊息內容", "聊天内容", "聊天內容", "发言内容", "消息",
          "訊息", "发言", "發言", "台词", "台詞", "文本")  # fmt: skip
SPEAKERS = (
    "role", "from", "sender", "fromname", "sendername", "username", "speaker", "speakername", "author", "authorname",
    "name", "displayname", "nickname", "nick", "user", "who", "participant", "character", "agent", "creator",
    "createdby", "sentby", "postedby", "by", "fromid", "senderid",
    "authorid", "userid", "speakerid", "speakeridx", "isfromme", "fromme", "isuser", "isme", "direction",
    "角色", "发送者", "發送者", "发送人", "发信人", "发件人", "寄件者", "说话人", "說話人", "说话者", "发话人",
    "发言人", "發言人", "发言者", "昵称", "暱稱", "用户昵称", "用户名", "姓名", "名字", "人物", "发布者", "作者",
    "用户",
)  # fmt: skip
_WITH_IDS = ("from", "sender", "author", "speaker")  # beside ids of the same people
_NAMES = (
    "role", "nickname", "displayname", "realname", "fullname", "name", "username", "title", "firstname", "login", "id",
    "email", "address", "number",
)  # fmt: skip
_TIMES = (
    "timestampms", "dateunixtime", "timestamp", "createtime", "createdat", "createdutc", "created", "ts", "time",
    "date", "datetime", "sentat", "sentdate", "senttime", "senddate", "时间", "時間", "日期",
)  # fmt: skip
# Of further keys nothing but words of sending, of a message and of a clock: others are dates of birth, or of changes.
_TIME_SENT = re.compile(
    "(?:sent|send|posted|post|created|create|creation|published|publish|written|said|compose|arrival|received|receive|"
    "original|message|msg|chat|comment|utterance|utc|gmt|local|unix|server|at|on|of|"
    "发送|發送|发出|發出|发布|發布|發佈|发表|發表|发言|發言|发帖|發帖|发文|發文|发|發|创建|創建|提交|记录|記錄|接收|"
    "收到|消息|訊息|信息|聊天|对话|對話|评论|評論|留言|本地|北京|服务器|的|"
    "date|time|日期|时间|時間)*(?:time|date|timestamp|时间|時間|日期)"
)
_IDS = ("id", "messageid", "uuid", "msgid")
_PARENTS = ("parentid", "parentmessageuuid", "parentmessageid", "replyto", "parent", "inreplyto")
_CONVERSATIONS = (
    "conversationid", "convid", "dialogueid", "dialogid", "threadid", "chatid", "sessionid", "messagetreeid",
    "channelid", "roomid", "channel", "room", "linkid", "会话id", "对话id", "会话编号", "对话编号",
)  # fmt: skip
_MEDIA = (
    "photo", "photos", "video", "videos", "audio", "audiofiles", "attachments", "files", "file", "sticker", "stickers",
    "gifs", "mediatype", "media", "image", "embeds", "share", "contactinformation", "locationinformation", "poll",
)  # fmt: skip
# Values of these keys are few and repeated, and are no names.
NOT_SPEAKERS = frozenset((
    *_TEXTS, *_TIMES, *_IDS, *_PARENTS, *_CONVERSATIONS, *_MEDIA, "type", "subtype", "kind", "lang", "language",
    "emotion", "act", "dialogact", "topic", "intent", "sentiment", "status", "state", "turn", "turnid", "index",
    "round", "weight", "model", "contenttype", "edited", "ispinned", "rank", "score", "stars", "rating", "label",
    "metadata", "meta", "split", "source", "类型", "類型", "种类", "體裁", "体裁", "语言", "語言", "语种", "情绪",
    "情緒", "心情", "情感", "情感倾向", "话题", "話題", "主题", "主題", "意图", "意圖", "状态", "狀態", "轮次", "序号",
    "编号", "权重", "模型", "排名", "分数", "得分", "星级", "评分", "評分", "标签", "標籤", "来源", "來源",
))  # fmt: skip
# Objects with these keys are articles, reviews or examples of classes, rather than messages.
_NOT_MESSAGES = frozenset((
    "title", "headline", "label", "labels", "rating", "stars", "url", "price", "category", "标题", "標題", "题目",
    "题名", "标签", "標籤", "类别", "分类", "情感", "情感倾向", "评分", "評分", "星级", "链接", "网址", "价格",
))  # fmt: skip
_DELETED_KEYS = frozenset(("isunsent", "deleted", "isdeleted"))
_OPENAI_PARTS = frozenset((None, "text", "input_text", "output_text", "image", "image_url", "input_image"))

_ASKED = ("instruction", "prompt", "context", "question", "query", "input", "user", "human", "customer", "q", "ask",
          "问", "问题", "提问", "問題", "提問", "用户", "客户")  # fmt: skip
_REPLIED = ("completion", "response", "chosen", "output", "answer", "reply", "assistant", "gpt", "chatgpt", "bot",
            "model", "agent", "a", "答", "回答", "回复", "回覆", "答复", "答案", "助手", "客服", "机器人")  # fmt: skip
_WEAK_REPLIED = frozenset(
    ("bot", "model", "agent", "a", "gpt", "chatgpt", "客服", "机器人")
)  # often names of other things

CHINESE_NAMES = frozenset(name for name in (*_TEXTS, *SPEAKERS, *_ASKED, *_REPLIED) if not name.isascii())
"""Of texts, speakers, questions and replies: in a first row they are the names of columns."""
KNOWN_ROLES = USER_ROLES | ASSISTANT_ROLES | SYSTEM_ROLES
_PUNCTUATION = str.maketrans("", "", "_-. ")


def normal_key(key: str) -> str:
    """A key without case and punctuation."""
    return key.lower().translate(_PUNCTUATION)


@dataclass(frozen=True)
class Keys:
    """The keys of messages that have the same keys, by what they mean, those to be preferred first."""

    texts: tuple[str, ...]
    speakers: tuple[str, ...]
    times: tuple[str, ...]
    media: tuple[str, ...]
    deleted: tuple[str, ...]
    ids: tuple[str, ...]
    parents: tuple[str, ...]
    conversations: tuple[str, ...]
    speaker_id: str | None  # beside the first key of speakers: from_id beside from
    type: str | None
    subtype: str | None
    is_plain: bool  # nothing but text and speaker matters

    @classmethod
    def of(cls, message: Iterable[str], rejected: frozenset[str] = frozenset(), found: str | None = None) -> Keys:
        """Args: rejected: normal keys that hold no speakers; found: the key that was found by its values."""
        by_name: dict[str, str] = {}
        for key in message:
            by_name.setdefault(normal_key(key), key)

        def pick(names: Iterable[str]) -> tuple[str, ...]:
            return tuple(by_name[name] for name in names if name in by_name)

        speakers = pick(name for name in SPEAKERS if name not in rejected)
        texts = pick(
            name for name in _TEXTS if name != "value" or "from" in by_name or "role" in by_name or not speakers
        )
        if found in by_name.values() and found is not None:
            speakers = (*speakers, found)
        speakers = tuple(key for key in speakers if key not in texts)
        others = (name for name in by_name if _TIME_SENT.fullmatch(name))
        times, media, deleted = pick(dict.fromkeys((*_TIMES, *others))), pick(_MEDIA), pick(sorted(_DELETED_KEYS))
        ids, parents, conversations = pick(_IDS), pick(_PARENTS), pick(_CONVERSATIONS)
        stem = normal_key(speakers[0]).removesuffix("name") if speakers else ""
        speaker_id = by_name.get(f"{stem}id") if stem in _WITH_IDS else None
        speaker_id = speaker_id if speaker_id in speakers else None
        kind, subtype = by_name.get("type") or by_name.get("messagetype"), by_name.get("subtype")
        is_plain = not (times or media or deleted or parents or speaker_id or kind or subtype or "envelope" in by_name)
        return cls(
            texts, speakers, times, media, deleted, ids, parents, conversations, speaker_id, kind, subtype, is_plain
        )  # fmt: skip

    @property
    def used(self) -> tuple[str, ...]:
        """All keys that matter."""
        kinds = tuple(key for key in (self.type, self.subtype) if key)
        return (*self.texts, *self.speakers, *self.times, *self.media, *self.deleted, *self.ids, *self.parents,
                *self.conversations, *kinds)  # fmt: skip


@dataclass(frozen=True)
class _Shape:
    """What the keys of an object say of it. Most files have few shapes, so that it is found once for each."""

    texts: tuple[str, ...]
    asked: tuple[tuple[str, str], ...]  # (normal key, key)
    replied: tuple[tuple[str, str], ...]
    system: str | None
    is_example: bool


@functools.lru_cache(maxsize=1024)
def _shape(keys: tuple[str, ...]) -> _Shape:
    by_name = {normal_key(key): key for key in keys}
    is_message = any(key in by_name for key in ("role", "from", "sender", "author"))
    asked = () if is_message else tuple((name, by_name[name]) for name in _ASKED if name in by_name)
    replied = tuple((name, by_name[name]) for name in _REPLIED if name in by_name)
    return _Shape(Keys.of(keys).texts, asked, replied, by_name.get("system"), not _NOT_MESSAGES.isdisjoint(by_name))


def pair(value: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Return (system message, question, reply) of an object with a question and its reply; None for others.

    A question may be in several parts: an instruction and its input.
    """
    shape = _shape(tuple(value))
    if not shape.asked or not shape.replied:
        return None
    asked = {name: text for name, key in shape.asked if isinstance(text := value[key], str)}
    replied = next(
        ((name, text) for name, key in shape.replied if name not in asked and isinstance(text := value[key], str)), None
    )
    if not asked or replied is None:
        return None
    is_weak = replied[0] in _WEAK_REPLIED
    if is_weak and USER_ROLES.isdisjoint(asked) and not (asked.keys() == {"q"} and replied[0] == "a"):
        return None
    question = "\n".join(text for part in asked.values() if (text := part.strip()))
    system = value[shape.system] if shape.system else ""
    return system if isinstance(system, str) else "", question, replied[1]


def joined_turns(value: Mapping[str, Any]) -> list[Any] | None:
    """Return the messages of an object with two lists of them, a question and its reply; None for others.

    The reply may be a single message or a text, and may repeat the question. A preferred reply counts as one.
    """
    shape = _shape(tuple(value))
    asked = next((value[key] for _, key in shape.asked if _are_messages(value[key])), None)
    replied = next((reply for _, key in shape.replied if (reply := value[key]) is not asked and reply), None)
    if isinstance(replied, dict):
        replied = [replied]
    if _are_messages(replied) and (asked is None or _begins_with(replied, asked)):
        is_whole = len(replied) > 1 and ("chosen" in value or asked is not None)
        return replied if is_whole else None
    if asked is None or not (_are_messages(replied) or isinstance(replied, str)):
        return None
    return [*asked, *([{"role": "assistant", "content": replied}] if isinstance(replied, str) else replied)]


def _are_messages(value: Any) -> TypeGuard[list[Any]]:
    """Whether it is a list of messages, some of which may be the program's."""
    return isinstance(value, list) and at_least(sum(map(is_surely_message, value)), len(value), 0.5)


def _begins_with(messages: list[Any], start: list[Any]) -> bool:
    return messages[: len(start)] == start


def is_message(value: Any) -> bool:
    """Whether a value is an object with the text of a message."""
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("envelope"), dict):
        return True
    if pair(value) is not None:
        return False
    for key in _shape(tuple(value)).texts:
        text = value[key]
        if isinstance(text, str) or (isinstance(text, dict) and _text(text)):
            return True
        if isinstance(text, list) and not _are_messages(text):  # parts of one
            return True
    return False


def is_surely_message(value: Any) -> bool:
    """Whether it is a message with a speaker, and not an article, a review or an example of a class."""
    if not is_message(value):
        return False
    if "envelope" in value:
        return True
    keys = Keys.of(value)
    if is_example(value) or not keys.speakers or not keys.texts:
        return False
    return any(name_of(value[key]) for key in keys.speakers)


def is_example(value: Mapping[str, Any]) -> bool:
    """Whether an object is an article, a review or an example of a class."""
    return _shape(tuple(value)).is_example


def text_of(message: Mapping[str, Any], keys: Keys) -> str:
    """The text of a message: of several keys the first that has any."""
    for key in keys.texts:
        text = message[key]
        if not isinstance(text, str):
            text = _text(text)
        if text:
            return text
    return ""


def _text(content: Any) -> str:
    """Return the text of a message: a string, or a list of parts, of which those with text count."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        inner = (content[key] for key in ("parts", "text", "content", "body", "conversation") if key in content)
        text = next((text for value in inner if (text := _text(value))), "")
        return without_tags(text) if content.get("contentType") == "html" else text
    if not isinstance(content, list):
        return ""
    # Links, bold words and other parts of a paragraph are joined as they are; those of chat models are paragraphs.
    inline = any(isinstance(part, str) for part in content) and any(isinstance(part, dict) for part in content)
    inline = inline or any(
        isinstance(part, dict) and isinstance(part.get("type"), str) and _is_entity(part) for part in content
    )
    texts = [_text(part.get("text", "")) if isinstance(part, dict) else _text(part) for part in content]
    return "".join(texts) if inline else "\n".join(texts)


def without_tags(text: str) -> str:
    """The text of HTML."""
    return html.unescape(_TAG.sub("", "\n".join(part.strip() for part in _PARAGRAPH.split(text)))).strip()


_PARAGRAPH = re.compile(r"(?i)</p>|</div>|<br\s*/?>")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")


def _is_entity(part: Mapping[str, Any]) -> bool:
    return part["type"] not in _OPENAI_PARTS and isinstance(part.get("text"), str)


def name_of(value: Any) -> str:
    """The name of a speaker: a scalar, or the name in an object or in one within it."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        by_name = {normal_key(key): key for key in value}
        for name in _NAMES:
            found = value.get(by_name.get(name, ""))
            if isinstance(found, str | int) and (text := name_of(found)):
                last = value.get(by_name.get("lastname", "")) if name == "firstname" else None
                return f"{text} {last}" if isinstance(last, str) and last else text
        return next((name for inner in value.values() if isinstance(inner, dict) and (name := name_of(inner))), "")
    return ""
